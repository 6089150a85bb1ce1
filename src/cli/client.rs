//! What `pub` and `sub` share: whom to connect to and as whom.

use super::{FAILED, end};
use clap::ValueEnum;
use std::{error::Error, process::ExitCode};

/// Why a client failed.
pub type Failure = Box<dyn Error + Send + Sync>;

/// Whom to connect to, and as whom. `-h` is the host, as in other MQTT clients; help is `--help`.
#[derive(Debug, Clone, clap::Args)]
pub struct ConnectArgs {
    /// Print help
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
    /// Host to connect to
    #[arg(short = 'h', long, default_value = "localhost")]
    pub host: String,
    /// Port to connect to
    #[arg(short, long, default_value_t = 1883)]
    pub port: u16,
    /// Client identifier; the gateway gives one if it is left out
    #[arg(
        short,
        long,
        value_name = "ID",
        default_value = "",
        hide_default_value = true
    )]
    pub id: String,
    /// User name
    #[arg(short, long, value_name = "NAME")]
    pub username: Option<String>,
    /// Password
    #[arg(short = 'P', long, requires = "username")]
    pub password: Option<String>,
    /// Keep-alive in seconds
    #[arg(short, long, value_name = "SECONDS", default_value_t = 60,
          value_parser = clap::value_parser!(u16).range(5..))]
    pub keepalive: u16,
    /// Version of MQTT
    #[arg(
        short = 'V',
        long = "protocol-version",
        value_name = "VERSION",
        default_value = "5"
    )]
    pub version: Version,
}

/// A version of MQTT to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Version {
    /// MQTT 3.1.1
    #[value(name = "311", alias = "mqttv311")]
    V311,
    /// MQTT 5.0
    #[value(name = "5", alias = "mqttv5")]
    V5,
}

/// Quality of service of the command line.
pub fn qos() -> clap::builder::RangedI64ValueParser<u8> {
    clap::value_parser!(u8).range(0..=2)
}

/// Runs one client to its end.
pub fn block_on(client: impl Future<Output = Result<ExitCode, Failure>>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return end(FAILED, error),
    };
    let outcome = runtime.block_on(client);
    // a read of standard input may never end; it must not hold up the exit
    runtime.shutdown_background();
    match outcome {
        Ok(code) => code,
        Err(error) => end(FAILED, error),
    }
}
