//! What an operator may choose about sessions, queues and topics.

use super::history::Rule;
use std::time::Duration;

/// `[session]`, `[topics]` and `[sys]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Longest time a session is kept after its connection ended; a client that asks for more is told so.
    pub max_expiry: Duration,
    /// How long a client has, after a start of the gateway, to come back before its will is published; a longer will
    /// delay counts.
    pub restart_grace: Duration,
    /// Messages that wait for one receiver.
    pub max_queued_messages: usize,
    /// Bytes that wait for one receiver; a single message above it still waits.
    pub max_queued_bytes: usize,
    /// What is kept although nobody waits for it.
    pub history: Vec<Rule>,
    /// How long what a web stream or a history read asked for is recorded after the last of them has left.
    pub linger: Duration,
    /// How often the numbers under `$SYS/broker/` are published.
    pub sys_interval: Duration,
    /// Whether publishers on the web may use topics with control and format characters, as MQTT clients may.
    pub allow_controls: bool,
    /// Whether an MQTT connection ends when a change of the rules takes a subscription from it, which else stays and
    /// brings nothing.
    pub disconnect_on_revoke: bool,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            max_expiry: Duration::from_secs(7 * 24 * 60 * 60),
            restart_grace: Duration::from_secs(30),
            max_queued_messages: 100_000,
            max_queued_bytes: 16 * 1024 * 1024,
            history: Vec::new(),
            linger: Duration::from_secs(600),
            sys_interval: Duration::from_secs(10),
            allow_controls: false,
            disconnect_on_revoke: false,
        }
    }
}
