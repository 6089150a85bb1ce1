//! `tidegate bench compare`: several brokers and cases in one run. Brokers take turns within each round, as a machine
//! drifts; what counts is the ratio to the relay of the same round.

use super::{
    CaseCommand, goal,
    load::{Case, Load},
    measure,
    outcome::Outcome,
    table::{Measured, Table},
};
use crate::cli::client::Failure;
use clap::Parser;
use std::{path::PathBuf, process::ExitCode, str::FromStr, time::Duration};

/// How long a broker is left alone between two cases, to part with the connections of the last one.
const PAUSE: Duration = Duration::from_millis(300);
/// How long a case may take above the time that is measured: connecting, filling, waiting for what is lost.
const PATIENCE: Duration = Duration::from_secs(60);

/// `tidegate bench compare`
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Brokers, with commas between them; the one named "relay" is the yardstick, the first one has the goals
    #[arg(
        long,
        required = true,
        value_delimiter = ',',
        value_name = "NAME=HOST:PORT[:PID[:HTTP_PORT]]"
    )]
    brokers: Vec<Broker>,
    /// Cases with their arguments and commas between them, such as "pairs,pairs --qos 1,fan-out --subscribers 100"
    #[arg(long, required_unless_present = "add", value_delimiter = ',', value_parser = case)]
    cases: Vec<CaseLine>,
    /// How often everything is measured; the median counts
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// How long to measure each case, instead of what the cases say
    #[arg(long)]
    seconds: Option<f64>,
    /// What the first broker is to reach: lines of case, measure and bound with tabs between them
    #[arg(long, value_name = "FILE")]
    goals: Option<PathBuf>,
    /// Where to write a report that a browser shows
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Where to write every single result, one JSON object per line
    #[arg(long, value_name = "FILE")]
    jsonl: Option<PathBuf>,
    /// Results of another run, as --jsonl writes them, to show as well
    #[arg(long, value_name = "FILE")]
    add: Option<PathBuf>,
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
    if matches!(case, Case::Idle | Case::Retained) {
        return Err(
            "needs a server that has just started: run it alone, and --add its result".to_owned(),
        );
    }
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    Ok(CaseLine { text, case, load })
}

/// Measures everything and prints the table.
pub async fn run(args: Args) -> Result<ExitCode, Failure> {
    let mut results = Vec::new();
    for round in 1..=args.rounds {
        for line in &args.cases {
            for broker in &args.brokers {
                match one(line, broker, args.seconds).await {
                    Ok(outcome) => {
                        eprintln!("round {round}  {:<10} {outcome}", broker.name);
                        results.push(Measured {
                            broker: broker.name.clone(),
                            line: line.text.clone(),
                            round,
                            outcome,
                        });
                    }
                    Err(why) => {
                        eprintln!("round {round}  {:<10} {}: {why}", broker.name, line.text)
                    }
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    if let Some(file) = &args.jsonl {
        let lines: Result<Vec<_>, _> = results.iter().map(serde_json::to_string).collect();
        std::fs::write(file, lines?.join("\n") + "\n")?;
    }
    if let Some(file) = &args.add {
        for line in std::fs::read_to_string(file)?.lines() {
            results.push(serde_json::from_str(line)?);
        }
    }
    let names = args.brokers.into_iter().map(|broker| broker.name).collect();
    let mut table = Table::of(names, args.rounds, &results);
    if let Some(file) = &args.goals {
        table.aim(&goal::parse(&std::fs::read_to_string(file)?)?);
    }
    print!("{}", table.text());
    if let Some(file) = &args.html {
        std::fs::write(file, table.html())?;
        eprintln!("report: {}", file.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// One case on one broker.
async fn one(line: &CaseLine, broker: &Broker, seconds: Option<f64>) -> Result<Outcome, Failure> {
    let load = Load {
        host: broker.host.clone(),
        port: broker.port,
        pid: broker.pid,
        http_port: broker.http_port.unwrap_or(0),
        seconds: seconds.unwrap_or(line.load.seconds),
        ..line.load.clone()
    };
    let limit = load.time() + PATIENCE;
    let outcome = tokio::time::timeout(limit, measure(line.case, &load)).await;
    let mut outcome = outcome.map_err(|_| "took too long")??;
    // after other cases memory says nothing: see the room that measures it
    outcome.bytes_each = None;
    Ok(outcome)
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
        assert!(case("idle").is_err());
    }
}
