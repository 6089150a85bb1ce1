//! What an operator may choose about who may do what.

use super::{certificate::CertificateUser, rules::files::RuleFiles, secret::Secret};
use jsonwebtoken::{Algorithm, AlgorithmFamily};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

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
    /// Whose tokens are accepted.
    pub jwt: Vec<Jwt>,
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
            jwt: Vec::new(),
            failed_logins: 5,
        }
    }
}

impl Config {
    /// Whether anybody can prove who he is.
    pub fn has_users(&self) -> bool {
        self.passwd_file.is_some() || self.certificate_user.is_some() || !self.jwt.is_empty()
    }

    /// Whether somebody who shows nothing is let in.
    pub fn lets_anonymous_in(&self) -> bool {
        self.anonymous.unwrap_or(!self.has_users())
    }
}

/// `[[auth.jwt]]`: somebody whose tokens are accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Jwt {
    /// What the tokens are signed with; no other algorithm is accepted with these keys.
    pub algorithms: Vec<Algorithm>,
    /// Where the keys are. There must be exactly one place.
    pub keys: Vec<KeySource>,
    /// What `iss` of the tokens must be; `None` for anything.
    pub issuer: Option<String>,
    /// What `aud` of the tokens must name one of.
    pub audience: Vec<String>,
    /// The claim that holds the user's name.
    pub user_claim: String,
    /// The claim that holds the user's groups.
    pub groups_claim: String,
    /// How much the issuer's clock may be ahead of ours: a token may be used so long before its `nbf`.
    pub leeway: Duration,
}

impl Default for Jwt {
    fn default() -> Self {
        Jwt {
            algorithms: Vec::new(),
            keys: Vec::new(),
            issuer: None,
            audience: Vec::new(),
            user_claim: "sub".to_owned(),
            groups_claim: "groups".to_owned(),
            leeway: Duration::from_secs(30),
        }
    }
}

/// Where keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// Here.
    Secret(Secret),
    /// In a file that holds nothing else; a line break at its end is not part of it.
    SecretFile(PathBuf),
    /// In a file in PEM.
    PublicKeyFile(PathBuf),
    /// In a file, as a JSON Web Key Set.
    JwksFile(PathBuf),
    /// On the web, as a JSON Web Key Set.
    JwksUrl(String),
}

impl KeySource {
    /// The setting that it comes from.
    pub fn setting(&self) -> &'static str {
        match self {
            KeySource::Secret(_) => "secret",
            KeySource::SecretFile(_) => "secret_file",
            KeySource::PublicKeyFile(_) => "public_key_file",
            KeySource::JwksFile(_) => "jwks_file",
            KeySource::JwksUrl(_) => "jwks_url",
        }
    }

    /// The file, if it is one.
    pub fn file(&self) -> Option<&Path> {
        match self {
            KeySource::SecretFile(file)
            | KeySource::PublicKeyFile(file)
            | KeySource::JwksFile(file) => Some(file),
            KeySource::Secret(_) | KeySource::JwksUrl(_) => None,
        }
    }
}

impl Jwt {
    /// What is wrong with the entry as it is written, each with the fix. Files are not looked at.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut fault = |what: &str| faults.push(what.to_owned());
        if self.algorithms.is_empty() {
            fault(r#"needs algorithms, what its tokens are signed with, such as ["RS256"]"#);
        }
        if self.audience.is_empty() {
            fault(
                "needs audience, the name of this gateway in the claim aud, so that tokens for others are refused",
            );
        }
        match &self.keys[..] {
            [keys] => {
                if let Some(what) = self.unfit_algorithms(keys) {
                    fault(what);
                }
                if let KeySource::JwksUrl(url) = keys
                    && let Err(what) = super::jwks::check_url(url)
                {
                    fault(what);
                }
            }
            [] => {
                fault("needs one of secret, secret_file, public_key_file, jwks_file and jwks_url")
            }
            _ => fault(
                "has more than one of secret, secret_file, public_key_file, jwks_file and jwks_url; keep one and make \
                 another [[auth.jwt]] for the other",
            ),
        }
        faults
    }

    fn unfit_algorithms(&self, keys: &KeySource) -> Option<&'static str> {
        let is_hmac = |algorithm: &Algorithm| algorithm.family() == AlgorithmFamily::Hmac;
        match keys {
            KeySource::Secret(_) | KeySource::SecretFile(_) => (!self.algorithms.iter().all(is_hmac)).then_some(
                "has a secret, which is for HS256, HS384 and HS512 only; take the others out of algorithms",
            ),
            _ => self.algorithms.iter().any(is_hmac).then_some(
                "has public keys, with which HS256, HS384 and HS512 would let everybody sign; take them out of \
                 algorithms",
            ),
        }
    }
}
