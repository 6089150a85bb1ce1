//! `tidegate bench`: measures a broker, this one or any other, in what counts for whoever runs it: deliveries per
//! second of the server's processor time, what was lost, how long messages took, and what things cost in memory.
//!
//! One thread generates all load, so that the server has the other cores. It must cost far less than what it measures:
//! messages are encoded once, written in whole windows, and counted without being decoded. A publisher never has
//! more messages under way than its window, so no queue hides what a message costs.
//!
//! This room speaks to servers over sockets only, never to the gateway's own rooms beyond the codec.

mod compare;
mod durable;
mod flow;
mod frames;
mod goal;
mod latency;
mod load;
mod memory;
mod neighbours;
mod outcome;
mod pace;
mod page;
mod percentile;
mod plot;
mod process;
mod publisher;
mod relay;
mod report;
mod ring;
mod subscriber;
mod syncs;
mod table;
mod traffic;
mod web;
mod websocket;
mod wire;

use super::client::{self, Failure};
use load::{Case, Load};
use outcome::Outcome;
pub use outcome::number;
use std::process::ExitCode;

/// `tidegate bench`
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    #[command(flatten)]
    Case(CaseCommand),
    /// The yardstick: copies bytes between sockets without parsing them
    Relay(relay::Args),
    /// Several brokers and cases in turn, with a report
    Compare(compare::Args),
}

/// A case and how much of it.
#[derive(Debug, Clone, clap::Subcommand)]
enum CaseCommand {
    /// Each publisher has one subscriber
    Pairs(Load),
    /// One publisher, many subscribers
    FanOut(Load),
    /// Many publishers, one subscriber
    FanIn(Load),
    /// Pairs, while there are many other filters that match nothing; also bytes per filter
    Filters(Load),
    /// Bytes per connection that does nothing
    Idle(Load),
    /// Bytes per retained message
    Retained(Load),
    /// Delay of messages at a fixed rate
    Latency(Load),
    /// Delay of messages at half of the rate that pairs reach
    HalfLoad(Load),
    /// One publisher, many subscribers, beside others that never read
    Neighbours(Load),
    /// Pairs over WebSocket
    WsPairs(Load),
    /// One MQTT publisher, many SSE streams
    Sse(Load),
    /// HTTP clients that publish over kept connections
    HttpPost(Load),
    /// Publishers whose messages are kept for sessions that are away: delay of acknowledgements, and syncs
    Durable(Load),
}

impl CaseCommand {
    fn parts(self) -> (Case, Load) {
        match self {
            CaseCommand::Pairs(load) => (Case::Pairs, load),
            CaseCommand::FanOut(load) => (Case::FanOut, load),
            CaseCommand::FanIn(load) => (Case::FanIn, load),
            CaseCommand::Filters(load) => (Case::Filters, load),
            CaseCommand::Idle(load) => (Case::Idle, load),
            CaseCommand::Retained(load) => (Case::Retained, load),
            CaseCommand::Latency(load) => (Case::Latency, load),
            CaseCommand::HalfLoad(load) => (Case::HalfLoad, load),
            CaseCommand::Neighbours(load) => (Case::Neighbours, load),
            CaseCommand::WsPairs(load) => (Case::WsPairs, load),
            CaseCommand::Sse(load) => (Case::Sse, load),
            CaseCommand::HttpPost(load) => (Case::HttpPost, load),
            CaseCommand::Durable(load) => (Case::Durable, load),
        }
    }
}

/// Runs what the arguments say.
pub fn run(args: Args) -> ExitCode {
    match args.command {
        Command::Case(case) => client::block_on(alone(case)),
        Command::Compare(args) => client::block_on(compare::run(args)),
        Command::Relay(args) => {
            relay::run(args).unwrap_or_else(|error| super::end(super::FAILED, error))
        }
    }
}

async fn alone(case: CaseCommand) -> Result<ExitCode, Failure> {
    let (case, load) = case.parts();
    let outcome = measure(case, &load).await?;
    if load.json {
        println!("{}", outcome.json());
    } else {
        println!("{outcome}");
    }
    Ok(ExitCode::SUCCESS)
}

/// How many topics a publisher of the filters case takes turns with: a broker that remembers its last match does not
/// get away with that.
const TOPICS: usize = 64;

/// Measures one case.
async fn measure(case: Case, load: &Load) -> Result<Outcome, Failure> {
    let mut traffic = match case {
        Case::Pairs => traffic::pairs(load, false, 1).await?,
        Case::FanOut => traffic::fan_out(load, load.subscribers(case)).await?,
        Case::FanIn => traffic::fan_in(load).await?,
        Case::WsPairs => traffic::pairs(load, true, 1).await?,
        Case::Sse => web::sse(load).await?,
        Case::HttpPost => web::http_post(load).await?,
        Case::Idle => return memory::idle(load).await,
        Case::Retained => return memory::retained(load).await,
        Case::Latency => return latency::measure(case, load).await,
        Case::HalfLoad => return latency::at_half_load(load).await,
        Case::Neighbours => return neighbours::measure(load).await,
        Case::Durable => return durable::measure(load).await,
        Case::Filters => {
            let (_sessions, [before, after]) = memory::filters(load).await?;
            let mut traffic = traffic::pairs(load, false, TOPICS).await?;
            let mut outcome = traffic.measure(case, load).await?;
            outcome.memory(load.count(case), before, after);
            return Ok(outcome);
        }
    };
    traffic.measure(case, load).await
}
