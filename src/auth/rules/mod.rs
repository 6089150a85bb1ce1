//! The operator's rules: who may publish, subscribe, receive and retain what.
//!
//! A rule set is an ordered list; the first rule that is for somebody, names the action and matches the topic decides,
//! and what no rule decides is denied. The gateway's own rule file ([`own`]) and Mosquitto's ACL file ([`mosquitto`]) both
//! come down to such a list. Nobody asks a rule set about a message: it is compiled for each identity into [`rights`].
//!
//! Pure: text in, decisions out. Reading and reloading files is the business of whoever holds an [`access`].

pub mod access;
pub mod files;
pub mod mosquitto;
pub mod own;
pub mod rights;
mod who;

pub use who::{Subject, Via, Way, Who};

use std::{fmt, ops::BitOr};

/// What can be allowed or denied; several at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Actions(u8);

impl Actions {
    /// To publish.
    pub const PUBLISH: Actions = Actions(1);
    /// To subscribe to a filter, whatever comes of it.
    pub const SUBSCRIBE: Actions = Actions(2);
    /// To be given a message, live, from the log or as what is retained.
    pub const RECEIVE: Actions = Actions(4);
    /// To change what is retained, beside publishing it.
    pub const RETAIN: Actions = Actions(8);

    /// To publish, retained or not.
    pub const fn of_writing() -> Actions {
        Actions(Actions::PUBLISH.0 | Actions::RETAIN.0)
    }

    /// One of them, by its name.
    pub fn named(name: &str) -> Option<Actions> {
        match name {
            "publish" => Some(Actions::PUBLISH),
            "subscribe" => Some(Actions::SUBSCRIBE),
            "receive" => Some(Actions::RECEIVE),
            "retain" => Some(Actions::RETAIN),
            _ => None,
        }
    }

    /// Whether all of `other` are among these.
    pub fn include(self, other: Actions) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for Actions {
    type Output = Actions;

    fn bitor(self, other: Actions) -> Actions {
        Actions(self.0 | other.0)
    }
}

impl fmt::Display for Actions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [
            (Actions::PUBLISH, "publish"),
            (Actions::SUBSCRIBE, "subscribe"),
            (Actions::RECEIVE, "receive"),
            (Actions::RETAIN, "retain"),
        ];
        let mut named = names
            .iter()
            .filter(|(action, _)| self.include(*action))
            .map(|(_, name)| *name);
        f.write_str(named.next().unwrap_or("nothing"))?;
        named.try_for_each(|name| write!(f, "+{name}"))
    }
}

/// Whether a rule allows or denies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It allows.
    Allow,
    /// It denies.
    Deny,
}

/// Where a rule stands, and its name towards people: `rules:12`, `acl:3`, or where a decision comes from that no line of a
/// file makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RuleId {
    /// A line of `auth.rules_file`.
    Own(u32),
    /// A line of `auth.acl_file`.
    Mosquitto(u32),
    /// The rights that came with a token.
    Token,
    /// The rights that a ticket was given.
    Ticket,
    /// No rule decided.
    Default,
    /// The name would be a wildcard where a rule puts it into a topic.
    Name,
    /// The topic is the gateway's own, whatever rules say.
    Reserved,
    /// There are no rules: everybody who is let in may do everything.
    Open,
}

impl fmt::Display for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RuleId::Own(line) => write!(f, "rules:{line}"),
            RuleId::Mosquitto(line) => write!(f, "acl:{line}"),
            RuleId::Token => f.write_str("token"),
            RuleId::Ticket => f.write_str("ticket"),
            RuleId::Default => f.write_str("default"),
            RuleId::Name => f.write_str("name"),
            RuleId::Reserved => f.write_str("reserved"),
            RuleId::Open => f.write_str("open"),
        }
    }
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Where it stands.
    pub id: RuleId,
    /// What it does.
    pub effect: Effect,
    /// With which actions.
    pub actions: Actions,
    /// For whom.
    pub who: Who,
    /// On which topics: topic filters.
    pub topics: Vec<Box<str>>,
    /// Whether they are patterns, in which `%u` and `%c` stand for the user and the client identifier.
    pub is_pattern: bool,
}

impl Rule {
    /// Whether a name is put into any of its topics.
    fn has_placeholders(&self) -> bool {
        let mut topics = self.topics.iter();
        self.is_pattern && topics.any(|topic| topic.contains(USER) || topic.contains(CLIENT))
    }
}

/// All rules, in the order in which they are asked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RuleSet {
    /// They.
    pub rules: Vec<Rule>,
    /// Users of groups, beside those that a token puts into one.
    pub groups: Vec<(Box<str>, Vec<Box<str>>)>,
    /// Whether a filter may be subscribed to that no rule decides about: what may be received is decided message by
    /// message.
    pub any_filter: bool,
}

impl RuleSet {
    /// The rules of both; those of `self` are asked first.
    pub fn followed_by(mut self, other: RuleSet) -> RuleSet {
        self.rules.extend(other.rules);
        self.groups.extend(other.groups);
        self.any_filter |= other.any_filter;
        self
    }
}

/// What is wrong with a line of a rule file, and how to mend it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The line, from 1; 0 is the file as a whole.
    pub line: u32,
    /// What.
    pub what: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.what),
            line => write!(f, "line {line}: {}", self.what),
        }
    }
}

/// What stands for the user and for the client identifier in a rule's topics.
const USER: &str = "%u";
const CLIENT: &str = "%c";

/// Whether a text is a topic filter once its placeholders are filled in.
fn check_topic(text: &str) -> Result<(), String> {
    let filled = text.replace(USER, "u").replace(CLIENT, "c");
    if filled.starts_with("$share/") {
        return Err(format!(
            "\"{text}\": a rule names topics, not shares of them; leave $share/NAME/ out"
        ));
    }
    match crate::mqtt::topic::TopicFilter::parse(&filled) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("\"{text}\" is not a topic filter: {error}")),
    }
}
