//! `tidegate pub`: publishes, waits until every message is acknowledged or on its way, and leaves.

use super::{
    FAILED,
    client::{ConnectArgs, Failure, qos},
    link::{self, Event, Sender},
};
use crate::mqtt::topic::TopicName;
use bytes::Bytes;
use std::{path::PathBuf, process::ExitCode};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader, stdin},
    sync::watch,
};

/// `tidegate pub`
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub struct Args {
    #[command(flatten)]
    connect: ConnectArgs,
    /// Topic to publish to
    #[arg(short, long, value_parser = topic)]
    topic: TopicName,
    /// Quality of service: 0, 1 or 2
    #[arg(short, long, default_value_t = 0, value_parser = qos())]
    qos: u8,
    /// Keep as the topic's retained message
    #[arg(short, long)]
    retain: bool,
    #[command(flatten)]
    payload: Payload,
}

/// Where the payload comes from: exactly one of these.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Payload {
    /// This text
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true)]
    message: Option<String>,
    /// The contents of a file
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// All of standard input, as one message
    #[arg(short, long)]
    stdin_file: bool,
    /// Each line of standard input that is not empty, as a message
    #[arg(short = 'l', long)]
    stdin_line: bool,
    /// Nothing: an empty message
    #[arg(short, long)]
    null_message: bool,
}

fn topic(text: &str) -> Result<TopicName, String> {
    TopicName::parse(text).map_err(|error| error.to_string())
}

/// Publishes; ends well if nothing was refused.
pub async fn publish(args: Args) -> Result<ExitCode, Failure> {
    let (sender, mut link) = link::open(&args.connect);
    let (finished, progress) = watch::channel(0u64);
    let feeder = tokio::spawn(feed(sender, args, progress));
    let mut refused = false;
    loop {
        match link.next().await? {
            Event::Sent => finished.send_modify(|n| *n += 1),
            Event::Acknowledged(outcome) => {
                if let Err(why) = outcome {
                    eprintln!("tidegate: publish refused: {why}");
                    refused = true;
                }
                finished.send_modify(|n| *n += 1);
            }
            Event::Closed => break,
            _ => {}
        }
    }
    feeder.await??;
    Ok(if refused {
        ExitCode::from(FAILED)
    } else {
        ExitCode::SUCCESS
    })
}

/// Sends everything there is to send, waits for its end, and closes; closes also if it cannot go on.
async fn feed(
    sender: Sender,
    args: Args,
    mut progress: watch::Receiver<u64>,
) -> Result<(), Failure> {
    let outcome = feed_all(&sender, &args).await;
    if let Ok(total) = outcome {
        progress.wait_for(|finished| *finished >= total).await?;
    }
    sender.disconnect().await?;
    outcome.map(|_| ())
}

async fn feed_all(sender: &Sender, args: &Args) -> Result<u64, Failure> {
    let send = |payload: Bytes| sender.publish(&args.topic, args.qos, args.retain, payload);
    if args.payload.stdin_line {
        let mut lines = BufReader::new(stdin());
        let mut total = 0;
        while let Some(line) = next_line(&mut lines).await? {
            send(line).await?;
            total += 1;
        }
        return Ok(total);
    }
    send(args.payload.whole().await?).await?;
    Ok(1)
}

/// The next line that is not empty, without its end. Any bytes: a payload need not be text.
async fn next_line(lines: &mut (impl AsyncBufReadExt + Unpin)) -> Result<Option<Bytes>, Failure> {
    loop {
        let mut line = Vec::new();
        if lines.read_until(b'\n', &mut line).await? == 0 {
            return Ok(None);
        }
        if line.ends_with(b"\n") {
            line.pop();
        }
        if !line.is_empty() {
            return Ok(Some(line.into()));
        }
    }
}

impl Payload {
    async fn whole(&self) -> Result<Bytes, Failure> {
        if let Some(text) = &self.message {
            return Ok(text.clone().into());
        }
        if let Some(file) = &self.file {
            let contents = tokio::fs::read(file).await;
            return match contents {
                Ok(contents) => Ok(contents.into()),
                Err(error) => Err(format!("{}: {error}", file.display()).into()),
            };
        }
        let mut contents = Vec::new();
        if self.stdin_file {
            stdin().read_to_end(&mut contents).await?;
        }
        Ok(contents.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::client::Version;
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
    fn arguments_are_those_of_other_mqtt_clients() {
        let args = parse("x -h broker -p 1884 -t a/b -q 2 -r -V 311 -m -5 -i me -u us -P er -k 30")
            .unwrap();
        assert_eq!(
            (args.connect.host.as_str(), args.connect.port),
            ("broker", 1884)
        );
        assert_eq!((&*args.topic, args.qos, args.retain), ("a/b", 2, true));
        assert_eq!(args.connect.version, Version::V311);
        assert_eq!(args.payload.message.as_deref(), Some("-5"));
        assert_eq!(args.connect.id, "me");
        assert_eq!(args.connect.keepalive, 30);
        let args = parse("x -t a -n").unwrap();
        assert_eq!(args.connect.version, Version::V5);
        assert_eq!(
            (args.connect.host.as_str(), args.connect.port),
            ("localhost", 1883)
        );
    }

    #[test]
    fn what_cannot_be_published_is_refused_before_connecting() {
        for line in [
            "x -t a/# -m x",
            "x -t a -q 3 -m x",
            "x -t a",
            "x -m x",
            "x -t a -m x -n",
            "x -t a -V 4 -n",
            "x -t a -n -k 1",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[tokio::test]
    async fn lines_lose_their_end_and_empty_ones_are_skipped() {
        let mut input = &b"one\n\n\xff\r\nlast"[..];
        let mut lines = vec![];
        while let Some(line) = next_line(&mut input).await.unwrap() {
            lines.push(line);
        }
        assert_eq!(lines, [&b"one"[..], b"\xff\r", b"last"]);
    }
}
