//! `tidegate bench`: measures a broker, this one or any other, in what counts for whoever runs it: deliveries per
//! second of the server's processor time, what was lost, how long messages took, and what things cost in memory.
//!
//! One thread generates all load, so that the server has the other cores. It must cost far less than what it measures:
//! messages are encoded once, written in whole windows, and counted without being decoded. A publisher never has
//! more messages under way than its window, so no queue hides what a message costs.
//!
//! This room speaks to servers over sockets only, never to the gateway's own rooms beyond the codec.

mod flow;
mod frames;
mod load;
mod outcome;
mod percentile;
mod process;
mod publisher;
mod relay;
mod ring;
mod subscriber;
mod traffic;
mod websocket;
mod wire;

use super::client::{self, Failure};
use load::{Case, Load};
use outcome::Outcome;
use std::process::ExitCode;

/// `tidegate bench`
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Each publisher has one subscriber
    Pairs(Load),
    /// One publisher, many subscribers
    FanOut(Load),
    /// Many publishers, one subscriber
    FanIn(Load),
    /// Pairs over WebSocket
    WsPairs(Load),
    /// The yardstick: copies bytes between sockets without parsing them
    Relay(relay::Args),
}

/// Runs what the arguments say.
pub fn run(args: Args) -> ExitCode {
    let (case, load) = match args.command {
        Command::Pairs(load) => (Case::Pairs, load),
        Command::FanOut(load) => (Case::FanOut, load),
        Command::FanIn(load) => (Case::FanIn, load),
        Command::WsPairs(load) => (Case::WsPairs, load),
        Command::Relay(args) => {
            return relay::run(args).unwrap_or_else(|error| super::end(super::FAILED, error));
        }
    };
    client::block_on(async move {
        let outcome = measure(case, &load).await?;
        if load.json {
            println!("{}", outcome.json());
        } else {
            println!("{outcome}");
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// Measures one case.
async fn measure(case: Case, load: &Load) -> Result<Outcome, Failure> {
    let traffic = match case {
        Case::FanOut => traffic::fan_out(load).await?,
        Case::FanIn => traffic::fan_in(load).await?,
        Case::WsPairs => traffic::pairs(load, true, 1).await?,
        _ => traffic::pairs(load, false, 1).await?,
    };
    traffic.measure(case, load).await
}
