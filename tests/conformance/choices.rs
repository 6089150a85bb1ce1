//! Where the standards leave a choice: what the gateway does, why, and which tests hold it to that.

/// One choice.
pub struct Choice {
    /// What is left open, and where.
    pub question: &'static str,
    /// What the gateway does.
    pub answer: &'static str,
    /// Why.
    pub reason: &'static str,
    /// Names of the tests that would fail if it did otherwise.
    pub tests: &'static [&'static str],
}

/// All of them.
pub const CHOICES: &[Choice] = &[];
