//! The results of a comparison as one page for a browser, that needs nothing else: no script, no font, no network.

use super::{
    outcome::number,
    plot,
    table::{Cell, Row, Table},
};
use std::fmt::Write;

/// Colours of brokers, in light and in dark.
const COLOURS: [(&str, &str); 6] = [
    ("#0b6e99", "#4fb3dd"),
    ("#777777", "#a0a0a0"),
    ("#c2571a", "#f0905a"),
    ("#4a7c2c", "#8cc46a"),
    ("#8a4fa3", "#c390da"),
    ("#b03a48", "#ee7f8c"),
];

/// The class that gives what belongs to a broker its colour.
pub fn colour(broker: usize) -> String {
    format!("b{}", broker % COLOURS.len())
}

/// Text that means nothing to HTML.
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

impl Cell {
    fn notes(&self, broker: &str, measure: &str) -> String {
        let mut notes = vec![];
        if let Some(ratio) = self.ratio.filter(|_| broker != "relay") {
            notes.push(format!("{:.0} % of relay", ratio * 100.0));
        }
        if self.per_second > 0.0 && measure.starts_with("delivered") {
            notes.push(format!("{}/s", number(self.per_second)));
        }
        if self.lost > 0 {
            notes.push(format!("<b>{} lost</b>", number(self.lost as f64)));
        }
        notes.join(" · ")
    }
}

impl Table {
    /// The page.
    pub fn html(&self) -> String {
        let mut page = head();
        let _ = write!(
            page,
            "<p>Medians of {} rounds in which the brokers took turns, and the median of their shares of what the relay \
             reached in the same round. The relay copies the same bytes between the same sockets without parsing them: \
             the most that the operating system allows. Goals are those of {}.</p>\
             <div class=wide><table><tr><th>case<th>measure<th>goal",
            self.rounds,
            escaped(self.brokers.first().map_or("", String::as_str))
        );
        for (at, broker) in self.brokers.iter().enumerate() {
            let _ = write!(
                page,
                "<th class=n><i class={}></i>{}",
                colour(at),
                escaped(broker)
            );
        }
        page += "</tr>\n";
        let mut last = "";
        for row in &self.rows {
            self.put_row(&mut page, row, row.name != last);
            last = &row.name;
        }
        page += "</table></div>\n";
        let growths = plot::growths(self);
        if !growths.is_empty() {
            page += "<h2>Cost against size</h2>\n<p>A cost that grows with the logarithm of the size gains the same with \
                     every tenfold.</p>\n";
            page.extend(growths);
        }
        page += "<h2>Each case</h2>\n<div class=bars>";
        for row in &self.rows {
            page += &plot::bars(&self.brokers, row);
        }
        page + "</div>\n"
    }

    fn put_row(&self, page: &mut String, row: &Row, first: bool) {
        let class = match self.reached(row) {
            Some(true) => "reached",
            Some(false) => "missed",
            None => "",
        };
        let _ = write!(
            page,
            "<tr{}><td>{}<td>{}<td class=\"g {class}\">{}",
            if first { " class=first" } else { "" },
            if first {
                escaped(&row.name)
            } else {
                String::new()
            },
            row.measure,
            self.goal(row).unwrap_or_default(),
        );
        for (broker, cell) in self.brokers.iter().zip(&row.cells) {
            match cell {
                None => *page += "<td class=n>&ndash;",
                Some(cell) => {
                    let (value, notes) = (number(cell.value), cell.notes(broker, row.measure));
                    let _ = write!(page, "<td class=n>{value}<br><small>{notes}</small>");
                }
            }
        }
        *page += "</tr>\n";
    }
}

fn head() -> String {
    let of = |which: fn(&(&'static str, &'static str)) -> &'static str| {
        let one = |(at, pair)| format!(".b{at}{{--c:{}}}", which(pair));
        COLOURS.iter().enumerate().map(one).collect::<String>()
    };
    format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
         <title>tidegate bench</title><style>\
         :root{{color-scheme:light dark;--ink:#1d2429;--soft:#667079;--line:#d8dde1;--paper:#fff;--good:#2d7a35;--bad:#b3261e}}\
         {}@media(prefers-color-scheme:dark){{:root{{--ink:#e4e8eb;--soft:#98a2aa;--line:#3a4248;--paper:#15191c;\
         --good:#7cc784;--bad:#f28b82}}{}}}{STYLE}</style><h1>tidegate bench</h1>\n",
        of(|pair| pair.0),
        of(|pair| pair.1)
    )
}

const STYLE: &str = "\
body{font:15px/1.4 system-ui,sans-serif;max-width:75rem;margin:2rem auto;padding:0 1rem;color:var(--ink);background:var(--paper)}\
.wide{overflow-x:auto}table{border-collapse:collapse}td,th{padding:.25rem .7rem;text-align:left;vertical-align:top}\
tr.first td{border-top:1px solid var(--line)}td:first-child{font-family:ui-monospace,monospace;font-size:13px}\
.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}.g{white-space:nowrap}small{color:var(--soft)}\
.reached{color:var(--good)}.missed{color:var(--bad)}i{display:inline-block;width:.8em;height:.8em;margin-right:.4em;background:var(--c)}\
svg{display:block;width:100%;height:auto;overflow:visible}svg text{font:13px system-ui,sans-serif;fill:var(--ink)}\
svg .t{font-weight:600}svg .s{fill:var(--soft);font-size:12px}svg rect{fill:var(--c)}svg .l{stroke:var(--c);fill:none;stroke-width:2}\
svg circle{fill:var(--c)}svg .a{stroke:var(--line);fill:none}figure{margin:1.5rem 0 2.5rem;max-width:52rem}\
.bars{display:grid;grid-template-columns:repeat(auto-fill,minmax(22rem,1fr));gap:1.2rem 2rem}";

#[cfg(test)]
mod tests {
    use crate::cli::bench::report::tests::table;

    #[test]
    fn the_page_needs_nothing_from_elsewhere_and_is_not_broken_by_names() {
        let page = table().html();
        assert!(!page.contains("src=") && !page.contains("href=") && !page.contains("url("));
        assert!(!page.contains("a<b"));
        assert_eq!(page.matches("<svg").count(), 3);
        assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
    }

    #[test]
    fn a_goal_is_marked_as_reached_or_missed() {
        let mut table = table();
        assert!(
            table
                .html()
                .contains("class=\"g missed\">≥ 60 % of relay ✗")
        );
        table.rows[0].goal = ">= 0.5 relay".parse().ok();
        assert!(table.html().contains("class=\"g reached\">"));
    }
}
