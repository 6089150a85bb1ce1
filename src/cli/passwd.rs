//! `tidegate passwd`: who may come in with which password, in a file that Mosquitto can use too.
//!
//! A password is asked for on the terminal, or is one line of standard input; it is never an argument, which other users
//! of the machine could read.

mod replace;
mod terminal;

use self::replace::Replacement;
use super::{FAILED, USED_WRONGLY, end};
use crate::auth::password::{self, Fault, LoadError, PasswordFile, edit};
use std::{
    fmt,
    io::{self, BufRead, IsTerminal, Read},
    path::{Path, PathBuf},
    process::ExitCode,
};
use zeroize::Zeroizing;

/// Longest password that a CONNECT has room for, in bytes.
const MAX_PASSWORD: usize = 65_535;

/// `tidegate passwd`
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The password file; made if it is not there
    file: PathBuf,
    /// Whose password
    user: String,
    /// Remove the user
    #[arg(long, conflicts_with = "check")]
    delete: bool,
    /// Only tell whether a password is the user's: exit code 0 if it is, 1 if not
    #[arg(long)]
    check: bool,
}

/// Does what the arguments say.
pub fn run(args: Args) -> ExitCode {
    if let Err(fault) = password::check_name(&args.user) {
        return end(
            USED_WRONGLY,
            format_args!("nobody can have this name: {fault}"),
        );
    }
    let done = match (args.check, args.delete) {
        (true, _) => check(&args.file, &args.user),
        (_, true) => delete(&args.file, &args.user),
        _ => set(&args.file, &args.user),
    };
    done.unwrap_or_else(|refusal| end(refusal.code(), refusal))
}

/// Why nothing was changed.
enum Refusal {
    /// The file cannot be used.
    File(PathBuf, LoadError),
    /// The file cannot be written.
    Write(PathBuf, io::Error),
    /// There is no password to be had.
    Password(&'static str),
    /// The terminal or standard input fails.
    Input(io::Error),
    /// The user is not in the file.
    NoUser(PathBuf),
}

impl Refusal {
    fn code(&self) -> u8 {
        match self {
            Refusal::NoUser(_) | Refusal::Write(..) | Refusal::Input(_) => FAILED,
            Refusal::File(..) | Refusal::Password(_) => USED_WRONGLY,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::File(file, LoadError::Faults(faults)) => {
                write!(f, "{} cannot be used", file.display())?;
                faults.iter().try_for_each(|fault| write!(f, "\n{fault}"))
            }
            Refusal::File(file, error) => write!(f, "{} {error}", file.display()),
            Refusal::Write(file, error) => {
                write!(f, "{} cannot be written: {error}", file.display())
            }
            Refusal::Password(why) => f.write_str(why),
            Refusal::Input(error) => write!(f, "no password can be read: {error}"),
            Refusal::NoUser(file) => write!(f, "{} has no such user", file.display()),
        }
    }
}

fn set(file: &Path, user: &str) -> Result<ExitCode, Refusal> {
    // before anybody types a password; it may be another file by the time that he has
    text_of(file)?;
    let password = new_password()?;
    let hash = password::hash(&password).map_err(Refusal::Input)?;
    change(file, |old| Ok(edit::set(old, user, &hash)))
}

fn delete(file: &Path, user: &str) -> Result<ExitCode, Refusal> {
    change(file, |old| {
        edit::remove(old, user).ok_or_else(|| Refusal::NoUser(file.to_owned()))
    })
}

fn check(file: &Path, user: &str) -> Result<ExitCode, Refusal> {
    let users = PasswordFile::load(file).map_err(|error| Refusal::File(file.to_owned(), error))?;
    let password = match io::stdin().is_terminal() {
        true => terminal::ask("Password: ").map_err(Refusal::Input)?,
        false => line_of_input()?,
    };
    match users.verify(user, &password) {
        true => Ok(ExitCode::SUCCESS),
        false => Ok(end(FAILED, "this is not the user's password")),
    }
}

/// What is in the file; nothing if it is not there.
fn text_of(file: &Path) -> Result<String, Refusal> {
    match password::read(file) {
        Err(LoadError::Io(error)) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(Refusal::File(file.to_owned(), error)),
        Ok(text) => Ok(text),
    }
}

/// Reads the file, edits it and writes it, and nobody else does meanwhile.
fn change(
    file: &Path,
    edit: impl FnOnce(&str) -> Result<String, Refusal>,
) -> Result<ExitCode, Refusal> {
    let cannot_write = |error| Refusal::Write(file.to_owned(), error);
    let replacement = Replacement::begin(file).map_err(cannot_write)?;
    let text = edit(&text_of(file)?)?;
    replacement.finish(&text).map_err(cannot_write)?;
    // other lines may have been wrong before; to set passwords again is one way to put them right
    for fault in PasswordFile::parse(&text).err().unwrap_or_default() {
        warn(file, &fault);
    }
    Ok(ExitCode::SUCCESS)
}

fn warn(file: &Path, fault: &Fault) {
    eprintln!(
        "tidegate: no gateway will start with this file: {}, {fault}",
        file.display()
    );
}

type Password = Zeroizing<Vec<u8>>;

fn new_password() -> Result<Password, Refusal> {
    let password = match io::stdin().is_terminal() {
        false => line_of_input()?,
        true => {
            let first = terminal::ask("Password: ").map_err(Refusal::Input)?;
            if first != terminal::ask("The same again: ").map_err(Refusal::Input)? {
                return Err(Refusal::Password(
                    "the two passwords differ; nothing was changed",
                ));
            }
            first
        }
    };
    match password.len() {
        0 => Err(Refusal::Password(
            "the password is empty; nothing was changed",
        )),
        1..=MAX_PASSWORD => Ok(password),
        _ => Err(Refusal::Password(
            "the password is longer than 65535 bytes, more than a client can send; nothing was changed",
        )),
    }
}

/// The first line of standard input, without its end.
fn line_of_input() -> Result<Password, Refusal> {
    let mut line = Zeroizing::new(Vec::with_capacity(256));
    let mut input = io::stdin().lock().take(MAX_PASSWORD as u64 + 3);
    input.read_until(b'\n', &mut line).map_err(Refusal::Input)?;
    if line.pop_if(|byte| *byte == b'\n').is_some() {
        line.pop_if(|byte| *byte == b'\r');
    }
    Ok(line)
}
