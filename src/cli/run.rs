//! `tidegate run` and `tidegate check-config`: from what the operator wrote to a running gateway.

use super::{FAILED, USED_WRONGLY, end};
use crate::{
    app,
    auth::loaded::{LoadFault, Loaded},
    config::{
        self, Settings,
        fault::{Fault, Faults},
    },
    listener::tls,
    observe::log,
};
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

/// `tidegate run`
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Settings file (TOML)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where MQTT is served, like --set mqtt.bind=ADDR
    #[arg(long, value_name = "ADDR")]
    mqtt: Option<String>,
    /// Where everything web is served, like --set http.bind=ADDR
    #[arg(long, value_name = "ADDR")]
    http: Option<String>,
    /// The data folder, like --set store.path=DIR
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
    /// Change any setting; wins over environment and file
    #[arg(long, value_name = "KEY=VALUE", value_parser = assignment)]
    set: Vec<(String, String)>,
}

impl Args {
    /// What the flags say about settings, as (path, value); what comes later wins.
    pub fn flags(&self) -> Vec<(String, String)> {
        [
            ("mqtt.bind", &self.mqtt),
            ("http.bind", &self.http),
            ("store.path", &self.data),
        ]
        .into_iter()
        .filter_map(|(path, value)| Some((path.to_owned(), value.clone()?)))
        .chain(self.set.iter().cloned())
        .collect()
    }
}

/// `tidegate check-config`
#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    /// Settings file (TOML), checked together with the environment
    #[arg(required_unless_present = "example")]
    file: Option<PathBuf>,
    /// Print an example file with every setting and its default
    #[arg(long, conflicts_with = "file")]
    example: bool,
}

fn assignment(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => {
            Ok((key.trim().to_owned(), value.trim().to_owned()))
        }
        _ => Err("expected KEY=VALUE, such as limits.payload=2MiB".to_owned()),
    }
}

/// Variables that may be settings. Bytes that are no text become a value that no setting has.
fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| {
        Some((
            name.into_string().ok()?,
            value.to_string_lossy().into_owned(),
        ))
    })
}

/// The settings, with a look into the files that they name.
fn checked(file: Option<&Path>, flags: Vec<(String, String)>) -> Result<Settings, Faults> {
    let settings = config::load(file, environment(), flags)?;
    let mut faults = Vec::new();
    let mut fault = |path: String, what: String| {
        faults.push(Fault {
            path,
            what,
            place: None,
        });
    };
    if let Err(found) = Loaded::load(&settings.auth) {
        for LoadFault { path, what } in found {
            fault(path.to_owned(), what);
        }
    }
    let tls = [
        ("mqtt.tls", &settings.mqtt.tls),
        ("http.tls", &settings.http.tls),
    ];
    for (section, tls) in tls.into_iter().filter(|(_, tls)| tls.is_on()) {
        if let Err(tls::files::Faults(found)) = tls::files::load(section, tls) {
            found.iter().for_each(|it| fault(it.key(), it.what()));
        }
    }
    match faults.is_empty() {
        true => Ok(settings),
        false => Err(Faults(faults)),
    }
}

/// Runs the gateway until it is told to stop.
pub fn run(args: Args) -> ExitCode {
    let settings = match checked(args.config.as_deref(), args.flags()) {
        Ok(settings) => settings,
        Err(faults) => {
            return end(
                USED_WRONGLY,
                format_args!("the settings are wrong\n{faults}"),
            );
        }
    };
    log::start(settings.log);
    match app::run(settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => end(FAILED, error),
    }
}

/// Checks a file and starts nothing.
pub fn check(args: CheckArgs) -> ExitCode {
    let Some(file) = args.file else {
        print!("{}", config::example::EXAMPLE);
        return ExitCode::SUCCESS;
    };
    match checked(Some(&file), vec![]) {
        Ok(_) => {
            println!("{}: ok", file.display());
            ExitCode::SUCCESS
        }
        Err(faults) => end(
            USED_WRONGLY,
            format_args!("the settings are wrong\n{faults}"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Only {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn short_flags_come_before_set_so_that_set_wins() {
        let line = "x --set mqtt.bind=127.0.0.1:2 --mqtt 127.0.0.1:1 --data d --set a.b=c=d";
        let flags = Only::try_parse_from(line.split(' ')).unwrap().args.flags();
        let flags: Vec<_> = flags
            .iter()
            .map(|(k, v)| (k.as_str(), v.as_str()))
            .collect();
        assert_eq!(
            flags,
            [
                ("mqtt.bind", "127.0.0.1:1"),
                ("store.path", "d"),
                ("mqtt.bind", "127.0.0.1:2"),
                ("a.b", "c=d"),
            ]
        );
    }
}
