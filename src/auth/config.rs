//! What an operator may choose about who may do what.

use super::{certificate::CertificateUser, rules::files::RuleFiles};
use std::path::PathBuf;

/// `[auth]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Whether clients without credentials are let in. Unset: from this machine only, and where no users are configured.
    pub anonymous: Option<bool>,
    /// Users and their passwords, as `tidegate passwd` and Mosquitto write them.
    pub passwd_file: Option<PathBuf>,
    /// Which name in a client's certificate is its user; `None`: a certificate lets in and names nobody.
    pub certificate_user: Option<CertificateUser>,
    /// Who may do what.
    pub rules: RuleFiles,
    /// Wrong logins from one address that cost nothing; each further one makes it wait. 0: never.
    pub failed_logins: u32,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            anonymous: None,
            passwd_file: None,
            certificate_user: None,
            rules: RuleFiles::default(),
            failed_logins: 5,
        }
    }
}

impl Config {
    /// Whether anybody can prove who he is.
    pub fn has_users(&self) -> bool {
        self.passwd_file.is_some() || self.certificate_user.is_some()
    }

    /// Whether somebody who shows nothing is let in.
    pub fn lets_anonymous_in(&self) -> bool {
        self.anonymous.unwrap_or(!self.has_users())
    }
}
