//! `tidegate sub`: subscribes and prints what comes.

use super::{
    FAILED,
    client::{ConnectArgs, Failure, qos},
    json_line,
    link::{self, Event, Link, Received, Sender},
};
use crate::mqtt::topic::TopicFilter;
use std::{
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

/// The exit code of mosquitto_sub when its time is over.
const TIMED_OUT: u8 = 27;

/// `tidegate sub`
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub struct Args {
    #[command(flatten)]
    connect: ConnectArgs,
    /// Topic filter to subscribe to; may be repeated
    #[arg(short, long, required = true, value_name = "FILTER", value_parser = filter)]
    topic: Vec<String>,
    /// Quality of service: 0, 1 or 2
    #[arg(short, long, default_value_t = 0, value_parser = qos())]
    qos: u8,
    /// Leave after this many messages
    #[arg(short = 'C', long, value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Leave after this many seconds, with exit code 27
    #[arg(short = 'W', long = "timeout", value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    seconds: Option<u64>,
    /// Print each message as a line of JSON
    #[arg(long)]
    json: bool,
    /// Print the topic before the payload
    #[arg(short, long, conflicts_with = "json")]
    verbose: bool,
}

fn filter(text: &str) -> Result<String, String> {
    match TopicFilter::parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Subscribes and prints until the count is reached, the time is over, or someone interrupts.
pub async fn subscribe(args: Args) -> Result<ExitCode, Failure> {
    let (sender, link) = link::open(&args.connect);
    let printing = print_all(&args, sender, link);
    match args.seconds {
        None => printing.await,
        Some(seconds) => tokio::time::timeout(Duration::from_secs(seconds), printing)
            .await
            .unwrap_or(Ok(ExitCode::from(TIMED_OUT))),
    }
}

async fn print_all(args: &Args, sender: Sender, mut link: Link) -> Result<ExitCode, Failure> {
    tokio::spawn(disconnect_on_interrupt(sender.clone()));
    let mut left = args.count;
    loop {
        match link.next().await? {
            Event::Connected => sender.subscribe(&args.topic, args.qos).await?,
            Event::Subscribed(outcomes) => {
                for (filter, outcome) in args.topic.iter().zip(&outcomes) {
                    if let Err(why) = outcome {
                        eprintln!("tidegate: subscription to {filter:?} refused: {why}");
                    }
                }
                if outcomes.iter().all(Result::is_err) {
                    return Ok(ExitCode::from(FAILED));
                }
            }
            Event::Message(message) if left != Some(0) => {
                print(args, &message)?;
                left = left.map(|n| n - 1);
                if left == Some(0) {
                    sender.disconnect().await?;
                }
            }
            Event::Closed => return Ok(ExitCode::SUCCESS),
            _ => {}
        }
    }
}

async fn disconnect_on_interrupt(sender: Sender) {
    if tokio::signal::ctrl_c().await.is_ok() {
        // fails only if the connection is gone already
        let _ = sender.disconnect().await;
    }
}

fn print(args: &Args, message: &Received) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if args.json {
        writeln!(out, "{}", json_line::of(message))?;
    } else {
        if args.verbose {
            write!(out, "{} ", message.topic)?;
        }
        out.write_all(&message.payload)?;
        out.write_all(b"\n")?;
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    #[command(disable_help_flag = true)]
    struct Only {
        #[command(flatten)]
        args: Args,
    }

    fn parse(line: &str) -> Result<Args, clap::Error> {
        Only::try_parse_from(line.split(' ')).map(|only| only.args)
    }

    #[test]
    fn filters_may_be_repeated_and_are_checked() {
        let args = parse("x -t a/# -t $share/g/b/+ -q 1 -C 3 -W 10 --json").unwrap();
        assert_eq!(args.topic, ["a/#", "$share/g/b/+"]);
        assert_eq!(
            (args.qos, args.count, args.seconds, args.json),
            (1, Some(3), Some(10), true)
        );
        for line in [
            "x",
            "x -t a#",
            "x -t a -C 0",
            "x -t a -W x",
            "x -t a -v --json",
            "x -t a -q 3",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn help_is_the_long_flag_only_because_h_is_the_host() {
        assert_eq!(
            parse("x -t a -h 127.0.0.1").unwrap().connect.host,
            "127.0.0.1"
        );
        assert_eq!(
            parse("x --help").unwrap_err().kind(),
            clap::error::ErrorKind::DisplayHelp
        );
    }
}
