//! `tidegate store`: looks into a data folder that no gateway uses, for people and for their scripts. Changes nothing in
//! it.

mod change;
mod check;
mod dump;
mod report;
mod snapshot;

use super::{USED_WRONGLY, end};
use crate::store::{
    disk::Folder,
    recovery::{self, Header, OpenError},
};
use std::{
    fmt, io,
    path::{Path, PathBuf},
    process::ExitCode,
    time::SystemTime,
};

/// `tidegate store`
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Read all of a data folder, and say what is in it and whether it is whole
    ///
    /// Exit code 0: all is well, also if a crash cut off the end of the log. 1: something is damaged. 2: the folder
    /// cannot be read.
    Check(check::Args),
    /// Print what is in a data folder, one JSON object per line for each record
    Dump(dump::Args),
    /// Copy a data folder that no gateway uses to another place
    ///
    /// The copy is the same log, byte for byte, under the same epoch. Two gateways must not run from two copies: both
    /// would give the same positions to different messages, and a client that went from one to the other would miss
    /// some and get others again. Use one of them, and keep the other aside.
    Snapshot(snapshot::Args),
}

/// Does what the arguments say.
pub fn run(args: Args) -> ExitCode {
    let outcome = match args.command {
        Command::Check(args) => check::run(args),
        Command::Dump(args) => dump::run(args),
        Command::Snapshot(args) => snapshot::run(args),
    };
    outcome.unwrap_or_else(|refusal| end(USED_WRONGLY, refusal))
}

/// Why a data folder cannot be read, and what to do about it.
#[derive(Debug)]
struct Refusal {
    folder: PathBuf,
    why: Why,
}

#[derive(Debug)]
enum Why {
    /// A process has it.
    InUse,
    /// There is nothing that the store would read.
    NoLog,
    /// It is not empty, and a copy shall go there.
    NotEmpty,
    /// The store or the system refuses.
    Unreadable(OpenError),
}

impl Refusal {
    fn new(folder: &Path, why: impl Into<Why>) -> Self {
        Refusal {
            folder: folder.to_owned(),
            why: why.into(),
        }
    }
}

impl From<OpenError> for Why {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Io(error) => error.into(),
            error => Why::Unreadable(error),
        }
    }
}

impl From<io::Error> for Why {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock => Why::InUse,
            _ => Why::Unreadable(error.into()),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: ", self.folder.display())?;
        match &self.why {
            Why::InUse => {
                out.write_str("another process uses this data folder; stop that gateway first")
            }
            Why::NoLog => out.write_str(
                "there is no log in this folder; give the one that store.path or --data names",
            ),
            Why::NotEmpty => out.write_str("this folder is not empty; name a new one for the copy"),
            Why::Unreadable(OpenError::Newer { file, format }) => write!(
                out,
                "{file} is of format {format}, and this tidegate knows formats up to {}; use the one that wrote it",
                recovery::FORMAT
            ),
            Why::Unreadable(OpenError::Io(error)) => {
                let fix = match error.kind() {
                    io::ErrorKind::NotFound => "check the name",
                    io::ErrorKind::PermissionDenied => "run this as the user the gateway runs as",
                    io::ErrorKind::NotADirectory => "give the folder, not a file in it",
                    _ => "see that its disk works",
                };
                write!(out, "cannot use this folder: {error}; {fix}")
            }
            Why::Unreadable(error) => write!(out, "cannot read this folder: {error}"),
        }
    }
}

/// A data folder that is looked at, and which log it holds.
struct Looked {
    path: PathBuf,
    folder: Folder,
    /// None of its files says which log it belongs to.
    identity: Option<Header>,
}

impl Looked {
    /// Begins to look; nobody else changes the folder while this lives.
    fn at(path: &Path) -> Result<Self, Refusal> {
        let refuse = |why| Refusal::new(path, why);
        let folder = Folder::look(path.to_owned()).map_err(|error| refuse(error.into()))?;
        let identity = recovery::identify(&folder).map_err(|error| refuse(error.into()))?;
        if identity.is_none() && is_without_log(&folder).map_err(|error| refuse(error.into()))? {
            return Err(refuse(Why::NoLog));
        }
        Ok(Looked {
            path: path.to_owned(),
            folder,
            identity,
        })
    }

    /// The same for what goes wrong later.
    fn refuse(&self, why: impl Into<Why>) -> Refusal {
        Refusal::new(&self.path, why)
    }
}

fn is_without_log(folder: &Folder) -> io::Result<bool> {
    Ok(recovery::numbers(folder)?.is_empty())
}

/// The name of a log as cursors begin with it.
fn epoch(header: &Header) -> String {
    String::from_utf8_lossy(&header.epoch.0).into_owned()
}

/// Now, as the records have it.
fn now() -> crate::message::Millis {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    crate::message::Millis(since.map_or(0, |since| since.as_millis() as u64))
}
