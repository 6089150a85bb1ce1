//! The password file: who has which password, in lines that Mosquitto reads and writes too.
//!
//! A line is `user:hash`, with nothing behind the hash. What `mosquitto_passwd` of any version has written is read as it
//! is: `$6$` (SHA-512), `$7$` (PBKDF2) and argon2id. Lines that begin with `#` and empty ones say nothing.
//!
//! Where Mosquitto passes over a line that it does not understand, this is a fault: a user who was meant to be there,
//! or to be gone, must not be the other without anybody noticing. One faulty line makes the whole file unusable, and
//! all faulty lines are told at once. No message about a file holds a hash.
//!
//! To verify a password costs CPU and memory on purpose, up to a second: never do it where others wait for the thread.

pub mod edit;
mod stored;

pub use stored::hash;
use stored::{Cost, Stored};

use std::{
    collections::{HashMap, hash_map::Entry},
    fmt, io,
    path::Path,
};

/// Longest name of a user, in bytes: what fits into a CONNECT.
pub const MAX_NAME: usize = 65_535;

/// Largest file that is read: some 300,000 users.
const MAX_FILE: u64 = 64 << 20;

/// Users and what their passwords hash to.
pub struct PasswordFile {
    users: HashMap<Box<str>, User>,
    /// Stands in for whoever is not in the file.
    dummy: Stored,
}

struct User {
    stored: Stored,
    /// The hash as it stands in the file.
    text: Box<str>,
    line: usize,
}

/// One line that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Counts from 1.
    pub line: usize,
    /// What is wrong with it.
    pub what: String,
    /// How to put it right.
    pub fix: &'static str,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}; {}", self.line, self.what, self.fix)
    }
}

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The system does not give it.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// It is far larger than such a file can be.
    #[error("is larger than 64 MiB, so it is no password file")]
    TooLarge,
    /// Some of its lines; never none.
    #[error("{}", .0.iter().map(Fault::to_string).collect::<Vec<_>>().join("\n"))]
    Faults(Vec<Fault>),
}

const REMAKE: &str = "set this user's password again with `tidegate passwd`";
const REMOVE: &str = "remove the line, or begin it with # to keep it as a comment";

impl PasswordFile {
    /// Reads the file at `path`. Blocks.
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        Self::parse(&read(path)?).map_err(LoadError::Faults)
    }

    /// Takes the text of a file. Without any line that says something it is a file without users: nobody has a
    /// password. The error names every line that cannot be used.
    pub fn parse(text: &str) -> Result<Self, Vec<Fault>> {
        let (mut users, mut faults) = (HashMap::new(), Vec::new());
        for (index, line) in text.lines().enumerate() {
            if let Err((what, fix)) = take(line, index + 1, &mut users) {
                let line = index + 1;
                faults.push(Fault { line, what, fix });
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let dummy = Stored::dummy(most_frequent(&users));
        Ok(PasswordFile { users, dummy })
    }

    /// Whether this is the user's password. Takes as long for a user who is not there as for most who are: it computes
    /// a hash of the kind that is most frequent in the file. A file of several kinds still tells by time which kind a
    /// user has.
    pub fn verify(&self, user: &str, password: &[u8]) -> bool {
        let known = self.users.get(user);
        let stored = known.map_or(&self.dummy, |user| &user.stored);
        let matches = stored.matches(password);
        matches & known.is_some()
    }

    /// What the file says of the user, to notice when it changes. A secret, as are all hashes.
    pub fn stored(&self, user: &str) -> Option<&str> {
        self.users.get(user).map(|user| &*user.text)
    }

    /// How many users there are.
    pub fn len(&self) -> usize {
        self.users.len()
    }

    /// Whether nobody has a password.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }
}

impl fmt::Debug for PasswordFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PasswordFile({} users)", self.users.len())
    }
}

/// The text of the file at `path`, if it is one of reasonable size. Blocks.
pub fn read(path: &Path) -> Result<String, LoadError> {
    use io::Read;
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path)?;
    file.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(LoadError::TooLarge);
    }
    String::from_utf8(bytes).map_err(|error| {
        let whole = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        LoadError::Faults(vec![Fault {
            line: whole.iter().filter(|byte| **byte == b'\n').count() + 1,
            what: "is not UTF-8 text".to_owned(),
            fix: "save the file as UTF-8",
        }])
    })
}

/// Why nobody can have this name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameFault {
    /// Nothing.
    #[error("the name is empty")]
    Empty,
    /// Longer than any client can send.
    #[error("the name is longer than 65535 bytes")]
    TooLong,
    /// It ends the name in the file.
    #[error("the name has a colon in it")]
    Colon,
    /// A line break would make two lines of one.
    #[error("the name has a control character in it")]
    Control,
    /// A reader of the file takes them away.
    #[error("the name begins or ends with a space")]
    Space,
    /// The line would be a comment.
    #[error("the name begins with #")]
    Comment,
}

/// Whether a line of the file can begin with this name.
pub fn check_name(name: &str) -> Result<(), NameFault> {
    if name.is_empty() {
        return Err(NameFault::Empty);
    }
    if name.len() > MAX_NAME {
        return Err(NameFault::TooLong);
    }
    if name.contains(':') {
        return Err(NameFault::Colon);
    }
    // U+FEFF is what some editors begin a file with
    if name.contains(|c: char| c.is_control() || c == '\u{feff}') {
        return Err(NameFault::Control);
    }
    if name.trim() != name {
        return Err(NameFault::Space);
    }
    match name.starts_with('#') {
        true => Err(NameFault::Comment),
        false => Ok(()),
    }
}

/// Name and hash of a line, without the spaces around; `None` if it is a comment or empty. An error if it is neither
/// of these.
fn split(line: &str) -> Result<Option<(&str, &str)>, &'static str> {
    if line.starts_with('#') || line.trim().is_empty() {
        return Ok(None);
    }
    let (name, hash) = line.split_once(':').ok_or("there is no colon in it")?;
    Ok(Some((name.trim(), hash.trim())))
}

fn take(
    line: &str,
    number: usize,
    users: &mut HashMap<Box<str>, User>,
) -> Result<(), (String, &'static str)> {
    let split = split(line).map_err(|what| (what.to_owned(), REMOVE))?;
    let Some((name, text)) = split else {
        return Ok(());
    };
    check_name(name).map_err(|fault| (fault.to_string(), REMOVE))?;
    let stored = Stored::parse(text).map_err(|what| (what, REMAKE))?;
    match users.entry(name.into()) {
        Entry::Occupied(first) => Err((
            format!("its user is also on line {}", first.get().line),
            "remove one of both",
        )),
        Entry::Vacant(place) => {
            place.insert(User {
                stored,
                text: text.into(),
                line: number,
            });
            Ok(())
        }
    }
}

/// What most passwords of the file cost; of several the dearest.
fn most_frequent(users: &HashMap<Box<str>, User>) -> Cost {
    let mut counts: HashMap<Cost, usize> = HashMap::new();
    for user in users.values() {
        *counts.entry(user.stored.cost()).or_default() += 1;
    }
    let most = counts
        .into_iter()
        .max_by_key(|(cost, count)| (*count, *cost));
    most.map_or_else(Cost::default, |(cost, _)| cost)
}

#[cfg(test)]
mod tests;
