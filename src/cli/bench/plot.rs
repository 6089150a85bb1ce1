//! Plots of a report, as SVG.

use super::{
    outcome::number,
    report::escaped,
    table::{Row, Table},
};
use std::fmt::Write;

const COLOURS: [&str; 6] = [
    "#0b6e99", "#999999", "#c2571a", "#4a7c2c", "#8a4fa3", "#b03a48",
];
const WIDTH: f64 = 800.0;

fn colour(broker: usize) -> &'static str {
    COLOURS[broker % COLOURS.len()]
}

/// The brokers of one case as bars.
pub fn bars(brokers: &[String], row: &Row) -> String {
    const BAR: f64 = 24.0;
    let largest = row
        .cells
        .iter()
        .flatten()
        .map(|cell| cell.value)
        .fold(1.0, f64::max);
    let height = 30.0 + BAR * brokers.len() as f64;
    let mut svg = format!(
        "<svg width={WIDTH} height={height}><text x=0 y=16 font-weight=bold>{}, {}</text>",
        escaped(&row.name),
        row.measure
    );
    for (at, (broker, cell)) in brokers.iter().zip(&row.cells).enumerate() {
        let top = 26.0 + BAR * at as f64;
        let (value, text) = match cell {
            Some(cell) => (cell.value, number(cell.value)),
            None => (0.0, "–".to_owned()),
        };
        let length = value / largest * 520.0;
        let _ = write!(
            svg,
            "<text x=0 y={:.0}>{}</text><rect x=130 y={top} width={length:.0} height={} fill=\"{}\"/>\
             <text x={:.0} y={:.0}>{text}</text>",
            top + 15.0,
            escaped(broker),
            BAR - 5.0,
            colour(at),
            length + 138.0,
            top + 15.0,
        );
    }
    svg + "</svg>\n"
}

/// A plot of cost against size for each group of rows that differ in one size.
pub fn growths(table: &Table) -> Vec<String> {
    let mut plots = vec![];
    let mut groups: Vec<(&str, &str)> = vec![];
    for row in &table.rows {
        let group = (row.group.as_str(), row.measure);
        if groups.contains(&group) {
            continue;
        }
        groups.push(group);
        let rows: Vec<_> = table
            .rows
            .iter()
            .filter(|other| (other.group.as_str(), other.measure) == group)
            .collect();
        // the first size in which they differ
        let grows = (0..row.sizes.len()).find(|&at| {
            rows.iter()
                .any(|other| other.sizes[at].1 != row.sizes[at].1)
        });
        if let Some(at) = grows {
            plots.push(growth(table, group.0, at, &rows));
        }
    }
    plots
}

fn growth(table: &Table, group: &str, size: usize, rows: &[&Row]) -> String {
    const LEFT: f64 = 70.0;
    const TOP: f64 = 40.0;
    const HEIGHT: f64 = 220.0;
    // cost: the time of one delivery, or the value itself where less is better already
    let per_time = rows.iter().all(|row| row.measure.starts_with("delivered"));
    let cost = |value: f64| if per_time { 1e6 / value } else { value };
    let unit = if per_time {
        "µs per delivery"
    } else {
        rows[0].measure
    };
    let places = |row: &Row| (row.sizes[size].1.max(1) as f64).log10();
    let (first, last) = rows
        .iter()
        .map(|row| places(row))
        .fold((f64::MAX, f64::MIN), |(low, high), place| {
            (low.min(place), high.max(place))
        });
    let costs = rows
        .iter()
        .flat_map(|row| row.cells.iter().flatten())
        .map(|cell| cost(cell.value));
    let highest = costs.fold(f64::MIN_POSITIVE, f64::max);
    let x =
        |place: f64| LEFT + (place - first) / (last - first).max(f64::EPSILON) * (WIDTH - 250.0);
    let y = |cost: f64| TOP + HEIGHT - cost / highest * HEIGHT;
    let mut svg = format!(
        "<svg width={WIDTH} height={}><text x=0 y=16 font-weight=bold>{}: {unit} against {}</text>\
         <path d=\"M{LEFT} {TOP}V{}H{}\" fill=none stroke=\"#888\"/>\
         <text x=0 y={:.0}>{highest:.2}</text><text x=0 y={:.0}>0</text>",
        TOP + HEIGHT + 40.0,
        escaped(group),
        rows[0].sizes[size].0,
        TOP + HEIGHT,
        WIDTH - 180.0,
        TOP + 5.0,
        TOP + HEIGHT,
    );
    for row in rows {
        let _ = write!(
            svg,
            "<text x={:.0} y={:.0} text-anchor=middle>{}</text>",
            x(places(row)),
            TOP + HEIGHT + 20.0,
            number(row.sizes[size].1 as f64)
        );
    }
    for (at, broker) in table.brokers.iter().enumerate() {
        let mut points: Vec<_> = rows
            .iter()
            .filter_map(|row| Some((places(row), cost(row.cells[at].as_ref()?.value))))
            .collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        let Some(&(place, value)) = points.last() else {
            continue;
        };
        let line: Vec<_> = points
            .iter()
            .map(|(place, cost)| format!("{:.1},{:.1}", x(*place), y(*cost)))
            .collect();
        let _ = write!(
            svg,
            "<polyline points=\"{}\" fill=none stroke=\"{}\" stroke-width=2 /><text x={:.0} y={:.0} style=\"fill:{}\">{}</text>",
            line.join(" "),
            colour(at),
            x(place) + 8.0,
            y(value) + 4.0,
            colour(at),
            escaped(broker)
        );
    }
    svg + "</svg>\n"
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
        assert!(plots[0].contains("µs per delivery against subscribers"));
        // 0.5 µs of at most 1 µs is half way up
        assert!(
            plots[0].contains("points=\"70.0,150.0 620.0,40.0\""),
            "{}",
            plots[0]
        );
    }

    #[test]
    fn a_row_alone_has_no_growth() {
        let mut table = table();
        table.rows.pop();
        assert!(growths(&table).is_empty());
    }
}
