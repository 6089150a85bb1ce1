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

const fn no(version: &'static str, id: &'static str, reason: &'static str) -> Exception {
    Exception {
        version,
        id,
        reason,
    }
}

/// All of them.
pub const EXCEPTIONS: &[Exception] = &[no(
    "v5",
    "3.2.2-4",
    "what a client does about Session Present 1 that it did not expect happens inside the client",
)];
