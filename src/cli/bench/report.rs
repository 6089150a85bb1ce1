//! The results of a comparison as a table for a terminal.

use super::{
    outcome::number,
    table::{Cell, Row, Table},
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
}

impl Table {
    /// For a terminal; in Markdown, so that it can be pasted.
    pub fn text(&self) -> String {
        let heads = ["case", "measure", "goal"].map(str::to_owned);
        let mut lines = vec![
            heads
                .into_iter()
                .chain(self.brokers.clone())
                .collect::<Vec<_>>(),
        ];
        for row in &self.rows {
            let cells = row.cells.iter().map(|cell| match cell {
                None => "-".to_owned(),
                Some(cell) if cell.lost > 0 => format!("{}, {} lost", cell.text(), cell.lost),
                Some(cell) => cell.text(),
            });
            let goal = self.goal(row).unwrap_or_default();
            let heads = [row.name.clone(), row.measure.to_owned(), goal];
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

    /// The goal of a row, if it has one, and whether it is reached.
    pub fn goal(&self, row: &Row) -> Option<String> {
        let mark = match self.reached(row) {
            Some(true) => " ✓",
            Some(false) => " ✗",
            None => "",
        };
        row.goal.as_ref().map(|goal| format!("{goal}{mark}"))
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

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
            goal: ">= 0.6 relay".parse().ok(),
            group: "fan-out".to_owned(),
            sizes: [("receivers", size), ("bytes of payload", 64)],
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
            lines
                .iter()
                .all(|line| line.chars().count() == lines[0].chars().count()),
            "{text}"
        );
        assert!(lines[2].contains("| 2,000,000 (0.50) "), "{text}");
        assert!(lines[2].contains("| ≥ 60 % of relay ✗ |"), "{text}");
        assert!(
            lines[3].contains("1,000,000 (0.50), 3 lost") && lines[3].contains("| - "),
            "{text}"
        );
    }
}
