//! What an operator may choose about who may do what.

/// `[auth]`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Config {
    /// Whether clients without credentials may do everything from everywhere. Unset: from this machine only.
    pub anonymous: Option<bool>,
}
