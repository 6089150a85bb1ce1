//! A gateway with users and rules.

use crate::support::gateway::Gateway;
use base64::{Engine, engine::general_purpose::STANDARD};
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

/// Everybody's password, and its line as Mosquitto writes it (PBKDF2 with few rounds, so that tests do not wait for it).
pub const PASSWORD: &str = "secret";
const HASH: &str = "$7$101$AAECAwQFBgcICQoL$Xr99N9ym9ys8TWxis5ajETJq6EVYzmc6nb8t3pUYnPBbCAbICS4xejTltonXWCtJNBvA+By+TXUqU6qCblO00w==";

/// A gateway whose users all have the same password.
pub struct Guarded {
    pub gateway: Gateway,
    folder: tempfile::TempDir,
    rules: &'static str,
}

impl Guarded {
    /// With these users, and rules in the gateway's own file.
    pub fn start(users: &[&str], rules: &str) -> Self {
        Self::with("rules_file", users, rules, &[])
    }

    /// As [`Guarded::start`], with the rules in the file of this setting and further arguments.
    pub fn with(setting: &'static str, users: &[&str], rules: &str, further: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let lines: Vec<String> = users
            .iter()
            .map(|user| format!("{user}:{HASH}\n"))
            .collect();
        let (passwords, file) = (folder.path().join("passwords"), folder.path().join("rules"));
        fs::write(&passwords, lines.concat()).expect("a password file");
        fs::write(&file, rules).expect("a rule file");
        let gateway = Gateway::start(&borrowed(&arguments(&folder, setting, further)));
        Self {
            gateway,
            folder,
            rules: setting,
        }
    }

    /// Kills the gateway and starts another one, as this one was but for the further arguments.
    pub fn killed(self, further: &[&str]) -> Self {
        let arguments = arguments(&self.folder, self.rules, further);
        let gateway = self.gateway.killed(&borrowed(&arguments));
        Self { gateway, ..self }
    }

    pub fn rules_path(&self) -> PathBuf {
        self.folder.path().join("rules")
    }

    pub fn passwords_path(&self) -> PathBuf {
        self.folder.path().join("passwords")
    }

    /// Writes other rules, and returns when the gateway has read them, or has found them faulty.
    pub async fn rule(&self, rules: &str) {
        let seen = count(&self.gateway, self.rules);
        replace(&self.rules_path(), rules);
        while count(&self.gateway, self.rules) == seen {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn arguments(folder: &tempfile::TempDir, rules: &str, further: &[&str]) -> Vec<String> {
    let file = |name: &str| folder.path().join(name).display().to_string();
    let settings = [
        // how fast one may guess is not the question here
        "auth.failed_logins=0".to_owned(),
        format!("auth.passwd_file={}", file("passwords")),
        format!("auth.{rules}={}", file("rules")),
    ];
    let settings = settings.into_iter();
    let ours = settings.flat_map(|setting| ["--set".to_owned(), setting]);
    ours.chain(further.iter().map(|it| (*it).to_owned()))
        .collect()
}

fn borrowed(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}

fn count(gateway: &Gateway, _setting: &str) -> usize {
    let log = gateway.log();
    log.matches("rules read again").count() + log.matches("the rules cannot be used").count()
}

/// As editors do it: whole or not at all.
pub fn replace(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    fs::write(&beside, text).expect("it can be written");
    fs::rename(&beside, path).expect("it can be renamed");
}

/// The value of an Authorization header.
pub fn basic(user: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{PASSWORD}")))
}
