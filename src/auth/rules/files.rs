//! The rule files as the operator names them, read together.

use super::{Fault, RuleId, RuleSet, mosquitto, own};
use std::{
    fmt, io,
    path::{Path, PathBuf},
};

/// Which files there are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RuleFiles {
    /// `auth.rules_file`, asked first.
    pub own: Option<PathBuf>,
    /// `auth.acl_file`, Mosquitto's.
    pub mosquitto: Option<PathBuf>,
}

/// Why they cannot be used.
#[derive(Debug)]
pub struct Unusable {
    /// The setting that names the file.
    pub key: &'static str,
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub why: Why,
}

/// Why a file cannot be used.
#[derive(Debug)]
pub enum Why {
    /// It cannot be read.
    Io(io::Error),
    /// What is in it.
    Faults(Vec<Fault>),
}

impl Unusable {
    /// What is wrong, without the name of the setting.
    pub fn what(&self) -> String {
        let path = self.path.display();
        match &self.why {
            Why::Io(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let how = match self.key {
                    "auth.acl_file" => "copy Mosquitto's ACL file there",
                    _ => {
                        r##"write a rule into it, such as [[rule]] allow = ["publish", "subscribe"] topics = ["#"]"##
                    }
                };
                format!("{path} is not there; {how}, or remove this setting")
            }
            Why::Io(error) => format!("{path} cannot be read: {error}"),
            Why::Faults(faults) => {
                let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
                format!("{path} {}", faults.join("; "))
            }
        }
    }
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.what())
    }
}

impl std::error::Error for Unusable {}

impl RuleFiles {
    /// What is in them; `None` if there are none.
    pub fn load(&self) -> Result<Option<RuleSet>, Unusable> {
        type Parse = fn(&str) -> Result<RuleSet, Vec<Fault>>;
        let files: [(_, _, Parse); 2] = [
            ("auth.rules_file", &self.own, own::parse),
            ("auth.acl_file", &self.mosquitto, mosquitto::parse),
        ];
        let mut all: Option<RuleSet> = None;
        for (key, path, parse) in files {
            let Some(path) = path else { continue };
            let unusable = |why| Unusable {
                key,
                path: path.clone(),
                why,
            };
            let text = std::fs::read_to_string(path).map_err(|error| unusable(Why::Io(error)))?;
            let rules = parse(&text).map_err(|faults| unusable(Why::Faults(faults)))?;
            all = Some(match all.take() {
                Some(first) => first.followed_by(rules),
                None => rules,
            });
        }
        Ok(all)
    }

    /// The file and the line of a rule, if one decided.
    pub fn place_of(&self, rule: RuleId) -> Option<(&Path, u32)> {
        match rule {
            RuleId::Own(line) => self.own.as_deref().map(|path| (path, line)),
            RuleId::Mosquitto(line) => self.mosquitto.as_deref().map(|path| (path, line)),
            _ => None,
        }
    }

    /// All of them.
    pub fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        self.own.iter().chain(&self.mosquitto)
    }
}
