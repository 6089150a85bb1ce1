//! Plots of a report, as SVG. Colours come from the page, so that they suit light and dark.

use super::{
    outcome::number,
    page::{colour, escaped},
    table::{Row, Table},
};
use std::fmt::Write;

/// The brokers of one case as bars.
pub fn bars(brokers: &[String], row: &Row) -> String {
    const BAR: f64 = 22.0;
    const LEFT: f64 = 90.0;
    let values = row.cells.iter().flatten().map(|cell| cell.value);
    let largest = values.fold(f64::MIN_POSITIVE, f64::max);
    let height = 26.0 + BAR * brokers.len() as f64;
    let mut svg = format!(
        "<svg viewBox=\"0 0 400 {height}\" role=img><text y=14><tspan class=t>{}</tspan><tspan class=s dx=8>{}</tspan></text>",
        escaped(&row.name),
        row.measure
    );
    for (at, (broker, cell)) in brokers.iter().zip(&row.cells).enumerate() {
        let top = 24.0 + BAR * at as f64;
        let (value, text) = match cell {
            Some(cell) => (cell.value, number(cell.value)),
            None => (0.0, "–".to_owned()),
        };
        let length = value / largest * 220.0;
        let base = top + 13.0;
        let _ = write!(
            svg,
            "<text x=0 y={base}>{}</text><rect class={} x={LEFT} y={top} width={length:.1} height={}></rect>\
             <text x={:.1} y={base}>{text}</text>",
            escaped(broker),
            colour(at),
            BAR - 5.0,
            LEFT + length + 6.0,
        );
    }
    svg + "</svg>\n"
}

/// A plot of cost against size for each group of rows that differ in one size only.
pub fn growths(table: &Table) -> Vec<String> {
    let mut plots = vec![];
    for size in 0..2 {
        let mut seen = vec![];
        let rates = |row: &&Row| row.measure.starts_with("delivered");
        for row in table.rows.iter().filter(rates) {
            let series = |row: &Row| (row.group.clone(), row.measure, row.sizes[1 - size]);
            if seen.contains(&series(row)) {
                continue;
            }
            seen.push(series(row));
            let alike = table
                .rows
                .iter()
                .filter(|other| series(other) == series(row));
            let mut rows: Vec<_> = alike.collect();
            rows.sort_by_key(|row| row.sizes[size].1);
            rows.dedup_by_key(|row| row.sizes[size].1);
            if rows.len() > 1 {
                plots.push(growth(table, size, &rows));
            }
        }
    }
    plots
}

/// Both axes are logarithmic: what doubles rises by the same everywhere.
struct Axes {
    x: [f64; 2],
    y: [f64; 2],
}

impl Axes {
    const LEFT: f64 = 60.0;
    const TOP: f64 = 34.0;
    const WIDTH: f64 = 560.0;
    const HEIGHT: f64 = 240.0;
    const BOTTOM: f64 = Self::TOP + Self::HEIGHT;

    fn x(&self, size: f64) -> f64 {
        Self::LEFT + share(self.x, size) * Self::WIDTH
    }

    fn y(&self, cost: f64) -> f64 {
        Self::BOTTOM - share(self.y, cost) * Self::HEIGHT
    }

    /// The numbers 1, 2 and 5 of every power of ten within the costs.
    fn ticks(&self) -> impl Iterator<Item = f64> {
        let range = self.y;
        let powers = (range[0].log10().floor() as i32)..=(range[1].log10().ceil() as i32);
        let ticks = powers.flat_map(|power| [1.0, 2.0, 5.0].map(|of| of * 10_f64.powi(power)));
        ticks.filter(move |tick| (range[0]..=range[1]).contains(tick))
    }
}

fn share([low, high]: [f64; 2], value: f64) -> f64 {
    (value / low).ln() / (high / low).ln().max(f64::EPSILON)
}

fn growth(table: &Table, size: usize, rows: &[&Row]) -> String {
    let cost = |rate: f64| 1e6 / rate;
    let unit = match rows[0].measure {
        "delivered per CPU second" => "µs of processor time per delivery",
        _ => "µs per delivery",
    };
    let of_row = |row: &Row| row.sizes[size].1.max(1) as f64;
    let curves: Vec<Vec<_>> = (0..table.brokers.len())
        .map(|at| {
            let point = |row: &&Row| Some((of_row(row), cost(row.cells[at].as_ref()?.value)));
            rows.iter().filter_map(point).collect()
        })
        .collect();
    let costs = || curves.iter().flatten().map(|point| point.1);
    let axes = Axes {
        x: [of_row(rows[0]), of_row(rows[rows.len() - 1])],
        y: [
            costs().fold(f64::MAX, f64::min) / 1.3,
            costs().fold(f64::MIN_POSITIVE, f64::max) * 1.3,
        ],
    };
    let mut svg = format!(
        "<figure><svg viewBox=\"0 0 740 {}\" role=img><text y=14><tspan class=t>{}</tspan>\
         <tspan class=s dx=8>{unit} against {}</tspan></text>",
        Axes::BOTTOM + 26.0,
        escaped(&rows[0].group),
        rows[0].sizes[size].0,
    );
    put_grid(&mut svg, &axes, rows, size);
    let names = put_curves(&mut svg, &axes, &curves);
    for (at, y) in names {
        let _ = write!(
            svg,
            "<text x={} y={y:.1}>{}</text>",
            Axes::LEFT + Axes::WIDTH + 12.0,
            escaped(&table.brokers[at])
        );
    }
    svg += "</svg>";
    put_costs(&mut svg, table, size, rows, &curves);
    svg + "</figure>\n"
}

fn put_grid(svg: &mut String, axes: &Axes, rows: &[&Row], size: usize) {
    let right = Axes::LEFT + Axes::WIDTH;
    for tick in axes.ticks() {
        let y = axes.y(tick);
        let _ = write!(
            svg,
            "<path class=a d=\"M{} {y:.1}H{right}\"></path><text class=s x={} y={:.1} text-anchor=end>{tick}</text>",
            Axes::LEFT,
            Axes::LEFT - 8.0,
            y + 4.0
        );
    }
    for row in rows {
        let x = axes.x(row.sizes[size].1.max(1) as f64);
        let _ = write!(
            svg,
            "<path class=a d=\"M{x:.1} {}V{}\"></path><text class=s x={x:.1} y={} text-anchor=middle>{}</text>",
            Axes::TOP,
            Axes::BOTTOM,
            Axes::BOTTOM + 18.0,
            number(row.sizes[size].1 as f64)
        );
    }
}

/// Draws the curves; returns where the names of their brokers go, none upon another.
fn put_curves(svg: &mut String, axes: &Axes, curves: &[Vec<(f64, f64)>]) -> Vec<(usize, f64)> {
    let mut names = vec![];
    for (at, curve) in curves.iter().enumerate() {
        let Some(last) = curve.last() else { continue };
        let point =
            |(size, cost): &(f64, f64)| format!("{:.1},{:.1}", axes.x(*size), axes.y(*cost));
        let line: Vec<_> = curve.iter().map(point).collect();
        let class = colour(at);
        let _ = write!(
            svg,
            "<polyline class=\"l {class}\" points=\"{}\"></polyline>",
            line.join(" ")
        );
        for (size, cost) in curve {
            let (x, y) = (axes.x(*size), axes.y(*cost));
            let _ = write!(
                svg,
                "<circle class={class} cx={x:.1} cy={y:.1} r=3></circle>"
            );
        }
        names.push((at, axes.y(last.1) + 4.0));
    }
    names.sort_by(|a, b| a.1.total_cmp(&b.1));
    for at in 1..names.len() {
        names[at].1 = names[at].1.max(names[at - 1].1 + 15.0);
    }
    names
}

/// The costs themselves, and what the last tenfold added beside what those before it did.
fn put_costs(
    page: &mut String,
    table: &Table,
    size: usize,
    rows: &[&Row],
    curves: &[Vec<(f64, f64)>],
) {
    *page += "<div class=wide><table><tr><th>";
    for row in rows {
        let _ = write!(page, "<th class=n>{}", number(row.sizes[size].1 as f64));
    }
    *page += "<th class=n>grows by</tr>";
    for (at, curve) in curves.iter().enumerate() {
        let (Some(first), Some(last)) = (curve.first(), curve.last()) else {
            continue;
        };
        let _ = write!(
            page,
            "<tr><td><i class={}></i>{}",
            colour(at),
            escaped(&table.brokers[at])
        );
        for row in rows {
            let point = curve
                .iter()
                .find(|point| point.0 == row.sizes[size].1.max(1) as f64);
            let text = point.map_or("–".to_owned(), |(_, cost)| short(*cost));
            let _ = write!(page, "<td class=n>{text}");
        }
        let _ = write!(page, "<td class=n>×{:.2}</tr>", last.1 / first.1);
    }
    *page += "</table></div>";
}

/// Three digits, at least.
fn short(cost: f64) -> String {
    match cost {
        0.0..10.0 => format!("{cost:.2}"),
        10.0..100.0 => format!("{cost:.1}"),
        _ => number(cost),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bench::report::tests::table;

    #[test]
    fn rows_that_differ_in_size_become_one_plot_with_a_line_per_broker() {
        let plots = growths(&table());
        assert_eq!(plots.len(), 1);
        assert_eq!(plots[0].matches("<polyline").count(), 2);
        assert!(plots[0].contains("µs of processor time per delivery against receivers"));
        assert!(plots[0].contains("<td class=n>0.50<td class=n>1.00<td class=n>×2.00"));
        // the costs 0.5 and 1 are as far from the middle of a logarithmic axis
        let axes = Axes {
            x: [1.0, 100.0],
            y: [0.25, 4.0],
        };
        assert_eq!(axes.x(10.0), Axes::LEFT + Axes::WIDTH / 2.0);
        let middle = Axes::TOP + Axes::HEIGHT / 2.0;
        assert!((axes.y(0.5) - middle + axes.y(2.0) - middle).abs() < 1e-9);
        assert_eq!(axes.ticks().collect::<Vec<_>>(), [0.5, 1.0, 2.0]);
    }

    #[test]
    fn payload_and_number_are_plots_of_their_own() {
        let mut table = table();
        for (at, row) in table.rows.iter_mut().enumerate() {
            row.sizes = [("receivers", 10), ("bytes of payload", 64 << at)];
        }
        let plots = growths(&table);
        assert_eq!(plots.len(), 1);
        assert!(plots[0].contains("against bytes of payload"));
        // both differ: neither says what it costs
        table.rows[1].sizes[0].1 = 100;
        assert!(growths(&table).is_empty());
    }

    #[test]
    fn a_row_alone_has_no_growth() {
        let mut table = table();
        table.rows.pop();
        assert!(growths(&table).is_empty());
    }
}
