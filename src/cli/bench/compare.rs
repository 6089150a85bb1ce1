//! `tidegate bench compare`: several brokers and cases in one run. Brokers take turns within each round, as a machine
//! drifts; what counts is the ratio to the relay of the same round.

use super::{
    CaseCommand,
    load::{Case, Load},
    measure,
    outcome::Outcome,
    percentile::median,
    report::{Cell, Row, Table},
};
use crate::cli::client::Failure;
use clap::Parser;
use std::{path::PathBuf, process::ExitCode, str::FromStr, time::Duration};

/// The broker that others are compared with, if there is one of this name.
const YARDSTICK: &str = "relay";
/// How long a broker is left alone between two cases, to part with the connections of the last one.
const PAUSE: Duration = Duration::from_millis(300);
/// How long a case may take above the time that is measured: connecting, filling, waiting for what is lost.
const PATIENCE: Duration = Duration::from_secs(60);

/// `tidegate bench compare`
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Brokers, with commas between them; the one named "relay" is the yardstick
    #[arg(
        long,
        required = true,
        value_delimiter = ',',
        value_name = "NAME=HOST:PORT[:PID[:HTTP_PORT]]"
    )]
    brokers: Vec<Broker>,
    /// Cases with their arguments and commas between them, such as "pairs,pairs --qos 1,fan-out --subscribers 100"
    #[arg(long, required = true, value_delimiter = ',', value_parser = case)]
    cases: Vec<CaseLine>,
    /// How often everything is measured; the median counts
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Where to write a report that a browser shows
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Where to write every single result, one JSON object per line
    #[arg(long, value_name = "FILE")]
    jsonl: Option<PathBuf>,
}

/// A broker to measure.
#[derive(Debug, Clone, PartialEq)]
struct Broker {
    name: String,
    host: String,
    port: u16,
    pid: Option<u32>,
    http_port: Option<u16>,
}

impl FromStr for Broker {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "expected NAME=HOST:PORT[:PID[:HTTP_PORT]]".to_owned();
        let number = |text: Option<&str>| text.map(str::parse::<u32>).transpose();
        let port = |number: u32| u16::try_from(number).map_err(|_| wrong());
        let (name, address) = text.split_once('=').ok_or_else(wrong)?;
        let mut parts = address.split(':');
        let host = parts
            .next()
            .filter(|host| !host.is_empty())
            .ok_or_else(wrong)?;
        let numbers = [
            number(parts.next()),
            number(parts.next()),
            number(parts.next()),
        ];
        match (numbers, parts.next()) {
            ([Ok(Some(mqtt)), Ok(pid), Ok(http)], None) => Ok(Broker {
                name: name.to_owned(),
                host: host.to_owned(),
                port: port(mqtt)?,
                pid,
                http_port: http.map(port).transpose()?,
            }),
            _ => Err(wrong()),
        }
    }
}

/// A case as it was written, and what it means.
#[derive(Debug, Clone)]
struct CaseLine {
    text: String,
    case: Case,
    load: Load,
}

#[derive(Debug, Parser)]
#[command(no_binary_name = true)]
struct Line {
    #[command(subcommand)]
    case: CaseCommand,
}

fn case(text: &str) -> Result<CaseLine, String> {
    let line = Line::try_parse_from(text.split_whitespace()).map_err(|error| error.to_string())?;
    let (case, load) = line.case.parts();
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    Ok(CaseLine { text, case, load })
}

/// Measures everything and prints the table.
pub async fn run(args: Args) -> Result<ExitCode, Failure> {
    let mut results = vec![vec![vec![]; args.brokers.len()]; args.cases.len()];
    let mut lines = String::new();
    for round in 1..=args.rounds {
        for (case, results) in args.cases.iter().zip(&mut results) {
            for (broker, results) in args.brokers.iter().zip(results) {
                let result = one(round, case, broker).await;
                if let Some(outcome) = &result {
                    lines += &format!(
                        "{{\"broker\":{:?},\"result\":{}}}\n",
                        broker.name,
                        outcome.json()
                    );
                }
                results.push(result);
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    let table = table(&args, &results);
    print!("{}", table.text());
    if let Some(file) = &args.html {
        std::fs::write(file, table.html())?;
        eprintln!("report: {}", file.display());
    }
    if let Some(file) = &args.jsonl {
        std::fs::write(file, lines)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// One case on one broker; `None` if it cannot do it.
async fn one(round: u16, line: &CaseLine, broker: &Broker) -> Option<Outcome> {
    // memory that was once taken is used again, so only the first time tells what things cost
    if round > 1 && matches!(line.case, Case::Idle | Case::Retained) {
        return None;
    }
    let load = Load {
        host: broker.host.clone(),
        port: broker.port,
        pid: broker.pid,
        http_port: broker.http_port.unwrap_or(0),
        ..line.load.clone()
    };
    let limit = load.time() + PATIENCE;
    let outcome = tokio::time::timeout(limit, measure(line.case, &load)).await;
    let why = match outcome {
        Ok(Ok(outcome)) => {
            eprintln!("round {round}  {:<10} {outcome}", broker.name);
            return Some(outcome);
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => "took too long".to_owned(),
    };
    eprintln!("round {round}  {:<10} {}: {why}", broker.name, line.text);
    None
}

/// `results` by case, broker and round.
fn table(args: &Args, results: &[Vec<Vec<Option<Outcome>>>]) -> Table {
    let names: Vec<_> = args
        .brokers
        .iter()
        .map(|broker| broker.name.clone())
        .collect();
    let yardstick = names.iter().position(|name| name == YARDSTICK);
    let known_pids = args.brokers.iter().all(|broker| broker.pid.is_some());
    let rows = args.cases.iter().zip(results).map(|(line, results)| {
        let cells = results
            .iter()
            .map(|rounds| cell(rounds, yardstick.map(|at| &results[at][..])))
            .collect();
        Row {
            name: line.text.clone(),
            measure: what(line, known_pids),
            sizes: sizes(line),
            cells,
        }
    });
    Table {
        rows: rows.collect(),
        brokers: names,
        rounds: args.rounds,
    }
}

fn what(line: &CaseLine, known_pids: bool) -> &'static str {
    match line.case {
        Case::Latency => "p99 µs",
        Case::Idle | Case::Retained => "bytes each",
        _ if known_pids => "delivered per CPU second",
        _ => "delivered per second",
    }
}

/// What may grow from row to row, for the plots: the group a row belongs to, and its sizes.
fn sizes(line: &CaseLine) -> (String, Vec<(&'static str, usize)>) {
    let group = format!(
        "{} qos {} window {}",
        line.case, line.load.qos, line.load.window
    );
    let sizes = vec![
        ("subscribers", line.load.subscribers(line.case)),
        ("publishers", line.load.publishers(line.case)),
        ("count", line.load.count(line.case) as usize),
        ("bytes of payload", line.load.payload),
    ];
    (group, sizes)
}

/// The number a case is judged by.
fn headline(outcome: &Outcome) -> Option<f64> {
    match (&outcome.latency, outcome.delivered) {
        (Some(latency), _) => Some(latency.p99_us),
        (None, 0) => outcome.bytes_each,
        _ => outcome.per_cpu_second.or(Some(outcome.per_second)),
    }
}

fn cell(rounds: &[Option<Outcome>], yardstick: Option<&[Option<Outcome>]>) -> Option<Cell> {
    let values = |of: &dyn Fn(&Outcome) -> Option<f64>| {
        median(&mut rounds.iter().flatten().filter_map(of).collect::<Vec<_>>())
    };
    let mut ratios: Vec<_> = rounds
        .iter()
        .zip(yardstick.unwrap_or_default())
        .filter_map(|(own, relay)| Some(headline(own.as_ref()?)? / headline(relay.as_ref()?)?))
        .collect();
    Some(Cell {
        value: values(&headline)?,
        ratio: median(&mut ratios),
        per_second: values(&|outcome| Some(outcome.per_second))?,
        lost: rounds.iter().flatten().map(|outcome| outcome.lost).sum(),
        // as above: only the first time tells
        bytes_each: rounds
            .iter()
            .flatten()
            .find_map(|outcome| outcome.bytes_each),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_is_name_address_and_perhaps_its_process() {
        let broker: Broker = "a=127.0.0.1:1883:77:8080".parse().unwrap();
        assert_eq!((broker.name.as_str(), broker.port), ("a", 1883));
        assert_eq!((broker.pid, broker.http_port), (Some(77), Some(8080)));
        assert_eq!("a=h:1".parse::<Broker>().unwrap().pid, None);
        for wrong in ["a", "a=h", "a=:1", "a=h:x", "a=h:1:2:3:4", "a=h:70000"] {
            assert!(wrong.parse::<Broker>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_case_is_written_as_on_the_command_line() {
        let line = case("fan-out  --qos 1 --subscribers 7").unwrap();
        assert_eq!(line.case, Case::FanOut);
        assert_eq!((line.load.qos, line.load.subscribers(line.case)), (1, 7));
        assert_eq!(line.text, "fan-out --qos 1 --subscribers 7");
        assert!(case("fly").is_err());
    }

    #[test]
    fn ratios_are_taken_round_by_round_and_missing_rounds_do_not_count() {
        let outcome = |rate: f64| {
            let line = case("pairs").unwrap();
            let mut outcome = Outcome::new(line.case, &line.load);
            outcome.rate(
                rate as u64,
                Duration::from_secs(1),
                Some(Duration::from_secs(1)),
            );
            Some(outcome)
        };
        let relay = [outcome(100.0), outcome(200.0), outcome(400.0)];
        let own = [outcome(50.0), None, outcome(100.0)];
        let cell = cell(&own, Some(&relay)).unwrap();
        assert_eq!((cell.value, cell.ratio), (75.0, Some(0.375)));
        assert!(super::cell(&[None], None).is_none());
    }
}
