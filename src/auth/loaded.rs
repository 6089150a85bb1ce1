//! What the settings say about who may do what, with its files read: passwords, keys of tokens, rules.

use super::{
    config::Config,
    jwt::Verifier,
    password::{LoadError, PasswordFile},
    rules::RuleSet,
};
use std::fmt;

/// Passwords and keys, ready to verify with, and rules.
#[derive(Default)]
pub struct Loaded {
    /// `auth.passwd_file`
    pub passwords: Option<PasswordFile>,
    /// `[[auth.jwt]]`; `None` without any.
    pub tokens: Option<Verifier>,
    /// `auth.rules_file` and `auth.acl_file`
    pub rules: Option<RuleSet>,
}

/// A file that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadFault {
    /// The setting that names it.
    pub path: &'static str,
    /// What is wrong and how to put it right.
    pub what: String,
}

impl fmt::Display for LoadFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.what)
    }
}

impl Loaded {
    /// Reads all files that the settings name. The error tells everything that is wrong with any. Keys on the web are
    /// not asked for. Blocks.
    pub fn load(config: &Config) -> Result<Self, Vec<LoadFault>> {
        let mut faults = Vec::new();
        let mut loaded = Loaded::default();
        if let Some(file) = &config.passwd_file {
            let shown = file.display();
            match PasswordFile::load(file) {
                Ok(passwords) => loaded.passwords = Some(passwords),
                Err(error) => faults.extend(told(error).map(|what| LoadFault {
                    path: "auth.passwd_file",
                    what: format!("{shown} {what}"),
                })),
            }
        }
        match Verifier::load(&config.jwt) {
            Ok(verifier) => loaded.tokens = (!config.jwt.is_empty()).then_some(verifier),
            Err(found) => faults.extend(found.iter().map(|fault| LoadFault {
                path: "auth.jwt",
                what: fault.to_string(),
            })),
        }
        match config.rules.load() {
            Ok(rules) => loaded.rules = rules,
            Err(unusable) => faults.push(LoadFault {
                path: unusable.key,
                what: unusable.what(),
            }),
        }
        match faults.is_empty() {
            true => Ok(loaded),
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
        let faults = Loaded::load(&config).err().unwrap();
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
        let faults = Loaded::load(&config).err().unwrap();
        assert!(
            faults[0]
                .what
                .ends_with("is not there; make it with `tidegate passwd`")
        );
    }

    #[test]
    fn without_settings_there_is_nothing_to_verify_with() {
        let loaded = Loaded::load(&Config::default()).unwrap_or_default();
        assert!(loaded.passwords.is_none() && loaded.tokens.is_none());
    }
}
