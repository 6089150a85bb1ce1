//! Log lines on standard error.

/// `[log]`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Config {
    /// The least important line that is still written.
    pub level: Level,
    /// How a line is laid out.
    pub format: Format,
}

/// How important a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Level {
    /// Something that was promised does not hold.
    Error,
    /// Something an operator should look at.
    Warn,
    /// One line per connect, disconnect and refusal.
    #[default]
    Info,
    /// For finding faults.
    Debug,
    /// Everything.
    Trace,
}

/// How a line is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}
