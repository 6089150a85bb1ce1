//! The command line: reads arguments, hands over to the rooms, turns outcomes into exit codes. Knows everybody, is known
//! by nobody.
//!
//! Exit codes: 0 done, 1 it failed, 2 used or configured wrongly, 27 `sub -W` ran out of time.

mod bench;
mod client;
mod dev_certs;
mod explain;
mod json_line;
mod link;
mod passwd;
mod publish;
mod run;
mod store;
mod subscribe;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

const FAILED: u8 = 1;
const USED_WRONGLY: u8 = 2;

/// An MQTT broker that speaks HTTP, SSE and WebSocket.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: run::Args,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway; also what happens without a command
    Run(run::Args),
    /// Check a configuration file, or print an example of one
    CheckConfig(run::CheckArgs),
    /// Publish messages over MQTT
    Pub(publish::Args),
    /// Subscribe over MQTT and print what comes
    Sub(subscribe::Args),
    /// Tell which rule decides about an action, without a running gateway; exit code 0: allowed, 1: denied, 2: no answer
    Explain(explain::Args),
    /// Set, check or delete a user's password in a password file
    Passwd(passwd::Args),
    /// Look into a data folder that no gateway uses: check, dump, snapshot
    Store(store::Args),
    /// Make certificates to try TLS with
    DevCerts(dev_certs::Args),
    /// Measure an MQTT broker
    Bench(bench::Args),
    /// Print the OpenAPI document of the web API
    Openapi,
}

/// Everything the process does, from its arguments to its exit code.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command.unwrap_or(Command::Run(cli.run)) {
        Command::Run(args) => run::run(args),
        Command::CheckConfig(args) => run::check(args),
        Command::Pub(args) => client::block_on(publish::publish(args)),
        Command::Sub(args) => client::block_on(subscribe::subscribe(args)),
        Command::Explain(args) => explain::run(args),
        Command::Passwd(args) => passwd::run(args),
        Command::Store(args) => store::run(args),
        Command::DevCerts(args) => dev_certs::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Openapi => {
            print!("{}", crate::http::openapi::document());
            ExitCode::SUCCESS
        }
    }
}

/// Says why on standard error, and ends with `code`.
fn end(code: u8, why: impl std::fmt::Display) -> ExitCode {
    eprintln!("tidegate: {why}");
    ExitCode::from(code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn without_a_command_the_gateway_runs() {
        let cli = Cli::try_parse_from(["tidegate"]).unwrap();
        assert!(cli.command.is_none());
        let cli = Cli::try_parse_from(["tidegate", "--http", "127.0.0.1:0"]).unwrap();
        assert_eq!(
            cli.run.flags(),
            [("http.bind".to_owned(), "127.0.0.1:0".to_owned())]
        );
    }

    #[test]
    fn wrong_use_ends_with_2() {
        for line in [
            &["tidegate", "fly"][..],
            &["tidegate", "--mqtt"],
            &["tidegate", "run", "--set", "x"],
            &["tidegate", "check-config"],
            &["tidegate", "pub", "-t", "a"],
            &["tidegate", "sub"],
            &["tidegate", "passwd", "file"],
            &["tidegate", "passwd", "file", "user", "--check", "--delete"],
            &["tidegate", "store"],
            &["tidegate", "store", "snapshot", "from"],
        ] {
            assert_eq!(
                Cli::try_parse_from(line).unwrap_err().exit_code(),
                2,
                "{line:?}"
            );
        }
    }
}
