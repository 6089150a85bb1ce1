//! From single results to rows: medians, and ratios to the relay of the same round.

use super::{
    goal::{Bound, Goal},
    load::Case,
    outcome::Outcome,
    percentile::median,
};
use serde::{Deserialize, Serialize};

/// The broker that others are compared with, if there is one of this name.
const YARDSTICK: &str = "relay";

/// One result, as it is written to a file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Measured {
    /// Name of the broker.
    pub broker: String,
    /// The case as it was asked for.
    pub line: String,
    /// Its round, from 1.
    pub round: u16,
    /// What came out.
    pub outcome: Outcome,
}

/// Cases by brokers.
#[derive(Debug)]
pub struct Table {
    /// Names of the columns.
    pub brokers: Vec<String>,
    /// One per case and measure.
    pub rows: Vec<Row>,
    /// How many rounds the medians are of.
    pub rounds: u16,
}

/// One case.
#[derive(Debug)]
pub struct Row {
    /// The case as it was written.
    pub name: String,
    /// What its values are.
    pub measure: &'static str,
    /// What it is to be.
    pub goal: Option<Bound>,
    /// The rows that differ in size only are a group.
    pub group: String,
    /// The sizes that may differ within the group.
    pub sizes: [(&'static str, usize); 2],
    /// One per broker; `None` where it could not do it.
    pub cells: Vec<Option<Cell>>,
}

/// What a broker reached in a case.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    /// The median.
    pub value: f64,
    /// The median of the ratios to the yardstick.
    pub ratio: Option<f64>,
    /// Deliveries per second, the median.
    pub per_second: f64,
    /// Deliveries lost in all rounds.
    pub lost: u64,
}

/// A number that an outcome may have.
type Measure = fn(&Outcome) -> Option<f64>;

/// What an outcome can be judged by.
const MEASURES: [(&str, Measure); 10] = [
    ("delivered per CPU second", |of| {
        of.per_cpu_second
            .filter(|_| of.latency.is_none() && of.delivered > 0)
    }),
    ("delivered per second", |of| {
        (of.per_cpu_second.is_none() && of.latency.is_none() && of.delivered > 0)
            .then_some(of.per_second)
    }),
    ("acknowledged per second", |of| {
        is_durable(of).then_some(of.per_second)
    }),
    ("acknowledged per CPU second", |of| {
        of.per_cpu_second.filter(|_| is_durable(of))
    }),
    ("syncs per second", |of| of.syncs_per_second),
    ("% kept beside stalled ones", |of| Some(of.kept? * 100.0)),
    ("p50 µs", |of| Some(of.latency?.p50_us)),
    ("p99 µs", |of| Some(of.latency?.p99_us)),
    ("p99.9 µs", |of| Some(of.latency?.p999_us)),
    ("bytes each", |of| of.bytes_each),
];

/// Whether messages were kept for sessions that were away; nothing was delivered to anyone then.
fn is_durable(of: &Outcome) -> bool {
    of.case == Case::Durable.to_string()
}

impl Table {
    /// Puts results in order: rows as they first occur.
    pub fn of(brokers: Vec<String>, rounds: u16, results: &[Measured]) -> Self {
        let mut rows = Vec::new();
        let mut seen: Vec<&str> = Vec::new();
        for first in results {
            if seen.contains(&first.line.as_str()) {
                continue;
            }
            seen.push(&first.line);
            let of_line: Vec<_> = results
                .iter()
                .filter(|result| result.line == first.line)
                .collect();
            for (measure, value) in MEASURES {
                let row = row(&brokers, &of_line, measure, value);
                rows.extend(row.cells.iter().any(Option::is_some).then_some(row));
            }
        }
        Table {
            brokers,
            rows,
            rounds,
        }
    }

    /// Says what the first broker is to reach.
    pub fn aim(&mut self, goals: &[Goal]) {
        for row in &mut self.rows {
            let goal = goals
                .iter()
                .find(|goal| goal.case == row.name && goal.measure == row.measure);
            row.goal = goal.map(|goal| goal.bound.clone());
        }
    }

    /// Whether the first broker has reached the goal of a row; `None` if that cannot be said.
    pub fn reached(&self, row: &Row) -> Option<bool> {
        let (goal, own) = (row.goal.as_ref()?, row.cells.first()?.as_ref()?);
        let value = match goal.of() {
            None => own.value,
            Some(YARDSTICK) => own.ratio?,
            Some(other) => {
                let at = self.brokers.iter().position(|name| name == other)?;
                own.value / row.cells.get(at)?.as_ref()?.value
            }
        };
        Some(goal.holds(value))
    }
}

/// What of an outcome makes it larger or smaller than others of its group: the number of its kind, and the payload.
fn sizes(outcome: &Outcome) -> [(&'static str, usize); 2] {
    let number = match outcome.case.as_str() {
        "fan-out" | "neighbours" => ("receivers", outcome.subscribers),
        "sse" => ("streams", outcome.subscribers),
        "fan-in" | "durable" => ("publishers", outcome.publishers),
        "filters" => ("filters", outcome.count.unwrap_or(0) as usize),
        "idle" | "retained" => ("number", outcome.count.unwrap_or(0) as usize),
        _ => ("connections", outcome.publishers + outcome.subscribers),
    };
    [number, ("bytes of payload", outcome.payload)]
}

fn row(brokers: &[String], results: &[&Measured], measure: &'static str, value: Measure) -> Row {
    let outcome = &results[0].outcome;
    Row {
        name: results[0].line.clone(),
        measure,
        goal: None,
        group: match (outcome.qos, outcome.window) {
            (qos, 0) => format!("{}, QoS {qos}", outcome.case),
            (qos, window) => format!("{}, QoS {qos}, {window} under way", outcome.case),
        },
        sizes: sizes(outcome),
        cells: brokers
            .iter()
            .map(|broker| cell(broker, results, value))
            .collect(),
    }
}

fn cell(broker: &str, results: &[&Measured], value: Measure) -> Option<Cell> {
    let own: Vec<_> = results
        .iter()
        .filter(|result| result.broker == broker)
        .collect();
    let of_relay = |round| {
        let relay = results
            .iter()
            .find(|result| result.broker == YARDSTICK && result.round == round);
        value(&relay?.outcome)
    };
    let mut values: Vec<_> = own
        .iter()
        .filter_map(|result| value(&result.outcome))
        .collect();
    let mut rates: Vec<_> = own.iter().map(|result| result.outcome.per_second).collect();
    let mut ratios: Vec<_> = own
        .iter()
        .filter_map(|result| Some(value(&result.outcome)? / of_relay(result.round)?))
        .collect();
    Some(Cell {
        value: median(&mut values)?,
        ratio: median(&mut ratios),
        per_second: median(&mut rates)?,
        lost: own.iter().map(|result| result.outcome.lost).sum(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bench::goal;

    fn measured(broker: &str, round: u16, rate: f64) -> Measured {
        let outcome = format!(
            r#"{{"case":"pairs","qos":0,"publishers":1,"subscribers":1,"payload":8,"window":2,"seconds":1.0,
                "delivered":9,"lost":1,"per_second":5.0,"per_cpu_second":{rate}}}"#
        );
        Measured {
            broker: broker.to_owned(),
            line: "pairs".to_owned(),
            round,
            outcome: serde_json::from_str(&outcome).unwrap(),
        }
    }

    #[test]
    fn ratios_are_taken_round_by_round_and_missing_rounds_do_not_count() {
        let results = [
            measured("relay", 1, 100.0),
            measured("own", 1, 50.0),
            measured("relay", 2, 200.0),
            measured("relay", 3, 400.0),
            measured("own", 3, 100.0),
        ];
        let names = ["own", "relay", "absent"].map(str::to_owned).to_vec();
        let table = Table::of(names, 3, &results);
        assert_eq!(table.rows.len(), 1);
        assert_eq!(table.rows[0].measure, "delivered per CPU second");
        let [Some(own), Some(relay), None] = &table.rows[0].cells[..] else {
            panic!("{:?}", table.rows[0].cells);
        };
        assert_eq!((own.value, own.ratio, own.lost), (75.0, Some(0.375), 2));
        assert_eq!((relay.value, relay.ratio), (200.0, Some(1.0)));
    }

    #[test]
    fn goals_are_for_the_first_broker_alone_and_beside_others() {
        let results = [
            measured("own", 1, 50.0),
            measured("relay", 1, 100.0),
            measured("other", 1, 40.0),
        ];
        let names = ["own", "relay", "other"].map(str::to_owned).to_vec();
        let mut table = Table::of(names, 1, &results);
        let mut reached = |bound: &str| {
            let line = format!("pairs\tdelivered per CPU second\t{bound}");
            table.aim(&goal::parse(&line).unwrap());
            table.reached(&table.rows[0])
        };
        assert_eq!(reached(">= 50"), Some(true));
        assert_eq!(reached(">= 51"), Some(false));
        assert_eq!(reached(">= 0.5 relay"), Some(true));
        assert_eq!(reached(">= 1.3 other"), Some(false));
        assert_eq!(reached(">= 1 absent"), None);
    }

    #[test]
    fn an_outcome_is_judged_by_all_that_it_has() {
        let mut filters = measured("own", 1, 50.0);
        filters.outcome.bytes_each = Some(400.0);
        let table = Table::of(vec!["own".to_owned()], 1, &[filters]);
        let measures: Vec<_> = table.rows.iter().map(|row| row.measure).collect();
        assert_eq!(measures, ["delivered per CPU second", "bytes each"]);
    }
}
