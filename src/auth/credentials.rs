//! What the settings say about proofs, with its files read: passwords and keys of tokens.

use super::{
    config::Config,
    jwt::Verifier,
    password::{LoadError, PasswordFile},
};
use std::fmt;

/// Passwords and keys, ready to verify with.
#[derive(Default)]
pub struct Credentials {
    /// `auth.passwd_file`
    pub passwords: Option<PasswordFile>,
    /// `[[auth.jwt]]`; `None` without any.
    pub tokens: Option<Verifier>,
}

/// A file that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialFault {
    /// The setting that names it.
    pub path: &'static str,
    /// What is wrong and how to put it right.
    pub what: String,
}

impl fmt::Display for CredentialFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.what)
    }
}

impl Credentials {
    /// Reads all files that the settings name. The error tells everything that is wrong with any. Keys on the web are
    /// not asked for. Blocks.
    pub fn load(config: &Config) -> Result<Self, Vec<CredentialFault>> {
        let mut faults = Vec::new();
        let mut credentials = Credentials::default();
        if let Some(file) = &config.passwd_file {
            let shown = file.display();
            match PasswordFile::load(file) {
                Ok(passwords) => credentials.passwords = Some(passwords),
                Err(error) => faults.extend(told(error).map(|what| CredentialFault {
                    path: "auth.passwd_file",
                    what: format!("{shown} {what}"),
                })),
            }
        }
        match Verifier::load(&config.jwt) {
            Ok(verifier) => credentials.tokens = (!config.jwt.is_empty()).then_some(verifier),
            Err(found) => faults.extend(found.iter().map(|fault| CredentialFault {
                path: "auth.jwt",
                what: fault.to_string(),
            })),
        }
        match faults.is_empty() {
            true => Ok(credentials),
            false => Err(faults),
        }
    }
}

/// Each faulty line by itself.
fn told(error: LoadError) -> impl Iterator<Item = String> {
    match error {
        LoadError::Faults(faults) => faults.iter().map(ToString::to_string).collect(),
        LoadError::Io(error) if error.kind() == std::io::ErrorKind::NotFound => {
            vec!["is not there; make it with `tidegate passwd`".to_owned()]
        }
        error => vec![error.to_string()],
    }
    .into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::config::{Jwt, KeySource};

    #[test]
    fn everything_wrong_with_any_file_is_told_at_once_with_its_setting() {
        let folder = tempfile::tempdir().unwrap();
        let passwords = folder.path().join("passwd");
        std::fs::write(&passwords, "ann\nbob:clear\n").unwrap();
        let jwt = |file: &str| Jwt {
            keys: vec![KeySource::JwksFile(folder.path().join(file))],
            ..Jwt::default()
        };
        let config = Config {
            passwd_file: Some(passwords.clone()),
            jwt: vec![jwt("a"), jwt("b")],
            ..Config::default()
        };
        let faults = Credentials::load(&config).err().unwrap();
        let told: Vec<_> = faults.iter().map(ToString::to_string).collect();
        let name = passwords.display();
        for (told, expected) in told.iter().zip([
            format!("auth.passwd_file: {name} line 1: there is no colon in it; "),
            format!("auth.passwd_file: {name} line 2: it has a password in clear text"),
            "auth.jwt: entry 1: jwks_file = ".to_owned(),
            "auth.jwt: entry 2: jwks_file = ".to_owned(),
        ]) {
            assert!(told.starts_with(&expected), "{told}");
        }
        assert_eq!(told.len(), 4);
        std::fs::remove_file(&passwords).unwrap();
        let faults = Credentials::load(&config).err().unwrap();
        assert!(
            faults[0]
                .what
                .ends_with("is not there; make it with `tidegate passwd`")
        );
    }

    #[test]
    fn without_settings_there_is_nothing_to_verify_with() {
        let credentials = Credentials::load(&Config::default()).unwrap_or_default();
        assert!(credentials.passwords.is_none() && credentials.tokens.is_none());
    }
}
