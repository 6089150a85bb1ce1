//! The results of a comparison, as a table for a terminal and as one page for a browser that needs nothing else.

use super::{
    outcome::number,
    plot,
    table::{Cell, Table},
};
use std::fmt::Write;

impl Cell {
    fn text(&self) -> String {
        let mut text = number(self.value);
        if let Some(ratio) = self.ratio {
            let _ = write!(text, " ({ratio:.2})");
        }
        text
    }

    fn notes(&self) -> String {
        let mut notes = vec![];
        if self.per_second > 0.0 {
            notes.push(format!("{}/s", number(self.per_second)));
        }
        if self.lost > 0 {
            notes.push(format!("{} lost", number(self.lost as f64)));
        }
        notes.join(", ")
    }
}

impl Table {
    /// For a terminal; in Markdown, so that it can be pasted.
    pub fn text(&self) -> String {
        let mut lines = vec![vec!["case".to_owned(), "measure".to_owned()]];
        lines[0].extend(self.brokers.iter().cloned());
        for row in &self.rows {
            let cells = row.cells.iter().map(|cell| match cell {
                None => "-".to_owned(),
                Some(cell) if cell.lost > 0 => format!("{}, {} lost", cell.text(), cell.lost),
                Some(cell) => cell.text(),
            });
            let heads = [row.name.clone(), row.measure.to_owned()];
            lines.push(heads.into_iter().chain(cells).collect());
        }
        let columns = lines[0].len();
        let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max();
        let widths: Vec<_> = (0..columns)
            .map(|column| width(column).unwrap_or(0))
            .collect();
        let mut text = String::new();
        for (at, line) in lines.iter().enumerate() {
            for (cell, width) in line.iter().zip(&widths) {
                let _ = write!(text, "| {cell:<width$} ");
            }
            text += "|\n";
            if at == 0 {
                for width in &widths {
                    let _ = write!(text, "|{:-<1$}", "", width + 2);
                }
                text += "|\n";
            }
        }
        text
    }

    /// For a browser.
    pub fn html(&self) -> String {
        let mut page = String::from(HEAD);
        let _ = write!(
            page,
            "<p>Medians of {} rounds in which the brokers took turns; in brackets the median of the ratios to the relay \
             of the same round. The relay copies the same bytes without parsing them.</p><table><tr><th>case<th>measure",
            self.rounds
        );
        for broker in &self.brokers {
            let _ = write!(page, "<th>{}", escaped(broker));
        }
        page += "</tr>\n";
        for row in &self.rows {
            let _ = write!(page, "<tr><td>{}<td>{}", escaped(&row.name), row.measure);
            for cell in &row.cells {
                match cell {
                    None => page += "<td class=n>&ndash;",
                    Some(cell) => {
                        let _ = write!(
                            page,
                            "<td class=n>{}<br><small>{}</small>",
                            cell.text(),
                            cell.notes()
                        );
                    }
                }
            }
            page += "</tr>\n";
        }
        page += "</table>\n<h2>Cost against size</h2>\n";
        for growth in plot::growths(self) {
            page += &growth;
        }
        page += "<h2>Each case</h2>\n";
        for row in &self.rows {
            page += &plot::bars(&self.brokers, row);
        }
        page
    }
}

const HEAD: &str = "<!doctype html><html lang=en><meta charset=utf-8><title>tidegate bench</title><style>\
body{font:15px system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}\
table{border-collapse:collapse}td,th{padding:.3rem .8rem;border-bottom:1px solid #ddd;text-align:left;vertical-align:top}\
.n{text-align:right;font-variant-numeric:tabular-nums}small{color:#666}svg{display:block;margin:1rem 0 2rem}\
svg text{font:13px system-ui,sans-serif;fill:#222}</style><h1>tidegate bench</h1>\n";

/// Text that means nothing to HTML.
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::cli::bench::table::Row;

    /// Two brokers; the second could not do the second case.
    pub fn table() -> Table {
        let cell = |value: f64| Cell {
            value,
            ratio: Some(0.5),
            per_second: 9.0,
            lost: 0,
        };
        let row = |name: &str, size, cells| Row {
            name: name.to_owned(),
            measure: "delivered per CPU second",
            group: "fan-out".to_owned(),
            sizes: vec![("subscribers", size), ("publishers", 1)],
            cells,
        };
        Table {
            brokers: vec!["a<b".to_owned(), "relay".to_owned()],
            rows: vec![
                row(
                    "fan-out",
                    10,
                    vec![Some(cell(2_000_000.0)), Some(cell(4_000_000.0))],
                ),
                row(
                    "fan-out --subscribers 100",
                    100,
                    vec![
                        Some(Cell {
                            lost: 3,
                            ..cell(1_000_000.0)
                        }),
                        None,
                    ],
                ),
            ],
            rounds: 3,
        }
    }

    #[test]
    fn the_table_of_a_terminal_is_aligned_and_tells_of_losses() {
        let text = table().text();
        let lines: Vec<_> = text.lines().collect();
        assert!(
            lines.iter().all(|line| line.len() == lines[0].len()),
            "{text}"
        );
        assert!(lines[2].contains("| 2,000,000 (0.50) "), "{text}");
        assert!(
            lines[3].contains("1,000,000 (0.50), 3 lost") && lines[3].contains("| - "),
            "{text}"
        );
    }

    #[test]
    fn the_page_needs_nothing_from_elsewhere_and_is_not_broken_by_names() {
        let page = table().html();
        assert!(!page.contains("src=") && !page.contains("href=") && !page.contains("a<b"));
        assert_eq!(page.matches("<svg").count(), 3);
        assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
    }
}
