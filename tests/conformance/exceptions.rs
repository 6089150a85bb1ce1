//! Statements no server test can verify, each with its reason.

/// A statement without a test.
pub struct Exception {
    /// `v5` or `v311`.
    pub version: &'static str,
    /// Number without `MQTT-`.
    pub id: &'static str,
    /// Why nothing a server is sent or sends shows it.
    pub reason: &'static str,
}

const fn v5(id: &'static str, reason: &'static str) -> Exception {
    Exception {
        version: "v5",
        id,
        reason,
    }
}

const fn v311(id: &'static str, reason: &'static str) -> Exception {
    Exception {
        version: "v311",
        id,
        reason,
    }
}

/// All of them.
pub const EXCEPTIONS: &[Exception] = &[
    v5(
        "3.2.2-4",
        "what a client does on hearing of a session it does not know happens inside the client; its close looks like any other",
    ),
    v5(
        "3.2.2-5",
        "a client discards its own state, unseen; the server has none left that could contradict it",
    ),
    v5(
        "3.3.2-10",
        "whether a client accepts an alias shows only inside the client",
    ),
    v5(
        "3.3.4-5",
        "about servers that send a copy per subscription; the gateway sends one copy, see 3.3.4-4",
    ),
    v5(
        "3.3.4-8",
        "a client that delays its own packets cannot be told from one that has nothing to send",
    ),
    v311(
        "7.0.0-1",
        "the gateway dials out to no other server, so it is never a client",
    ),
    v311(
        "7.1.2-1",
        "what transports a client supports shows only in the one it uses",
    ),
];
