//! The one table of settings, in files by section. What is known, how it is checked, what it defaults to and what the
//! example says of it all come from here.

mod access;
mod http;
mod keeping;
mod limits;
mod mqtt;

use super::{
    Settings,
    form::{self, Form, Unfit},
    written::Written,
};
use std::time::Duration;

type Set = Box<dyn Fn(&mut Settings, &Written) -> Result<(), Unfit> + Send + Sync>;
type Show = Box<dyn Fn(&mut Settings) -> Option<String> + Send + Sync>;

/// One setting.
pub struct Key {
    /// Section and name.
    pub path: &'static str,
    /// For the operator: what it does.
    pub about: &'static str,
    /// What a value looks like, to follow the word "expected".
    pub expected: String,
    /// A value to show where the default is "not set".
    pub sample: &'static str,
    /// Values may hold secrets: they are not shown where something is wrong with them.
    pub is_secret: bool,
    /// Reads a value into the settings.
    pub set: Set,
    /// The value in the settings, as TOML; `None` if it is not set.
    pub show: Show,
}

impl Key {
    /// The part before the last dot.
    pub fn section(&self) -> &'static str {
        self.path
            .rsplit_once('.')
            .map_or("", |(section, _)| section)
    }

    /// The part after it.
    pub fn name(&self) -> &'static str {
        self.path
            .rsplit_once('.')
            .map_or(self.path, |(_, name)| name)
    }
}

fn key<T: 'static>(
    path: &'static str,
    about: &'static str,
    form: Form<T>,
    field: fn(&mut Settings) -> &mut T,
) -> Key {
    let Form {
        expected,
        read,
        write,
    } = form;
    Key {
        path,
        about,
        expected,
        sample: "true",
        is_secret: false,
        set: Box::new(move |settings, written| {
            *field(settings) = read(written)?;
            Ok(())
        }),
        show: Box::new(move |settings| write(field(settings))),
    }
}

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
/// 1 TiB, or everything a smaller machine can address.
const VAST: usize = MIB.saturating_mul(1024 * 1024);

/// All settings, section by section.
pub fn keys() -> Vec<Key> {
    let mut keys = vec![key(
        "history",
        "What is kept although nobody waits for it: the newest messages of a filter. As often as wanted:\n\
             [[history]]\n\
             filter = \"plant/#\"\n\
             max_age = \"7d\"        (if not said: as long as there is room)\n\
             max_bytes = \"200 MiB\"",
        form::history(),
        |s| &mut s.broker.history,
    )];
    keys.extend(mqtt::mqtt());
    keys.extend(http::http());
    keys.extend(keeping::store());
    keys.extend(keeping::history_defaults());
    keys.extend(keeping::session());
    keys.extend(keeping::topics());
    keys.extend(keeping::sys());
    keys.extend(limits::limits());
    keys.extend(limits::quota());
    keys.extend(limits::features());
    keys.extend(access::auth());
    keys.extend(process());
    keys
}

/// Sections `log` and `runtime`.
fn process() -> Vec<Key> {
    vec![
        key(
            "log.level",
            "The least important line that is still written: \"error\", \"warn\", \"info\", \"debug\" or \"trace\".",
            form::level(),
            |s| &mut s.log.level,
        ),
        key(
            "log.format",
            "\"text\" for people, \"json\" for one JSON object per line.",
            form::format(),
            |s| &mut s.log.format,
        ),
        key(
            "runtime.workers",
            "Threads that serve connections; 0 is one per CPU.",
            form::count(0..=1024),
            |s| &mut s.workers,
        ),
    ]
}

/// Settings of later versions: whoever writes one should hear that it is not misspelt.
pub const LATER: &[&str] = &["admin"];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn paths_have_a_section_and_a_name_and_are_unique() {
        let paths: Vec<_> = keys().iter().map(|key| key.path).collect();
        let levels = |path: &&str| path.split('.').count();
        assert!(paths.iter().all(|path| match levels(path) {
            1 => *path == "history",
            2 => true,
            _ => path.starts_with("mqtt.tls.") || path.starts_with("http.tls."),
        }));
        assert_eq!(paths.iter().collect::<BTreeSet<_>>().len(), paths.len());
        assert!(!LATER.iter().any(|later| paths.contains(later)));
    }

    #[test]
    fn every_default_can_be_written_and_read_back() {
        for key in keys() {
            let Some(shown) = (key.show)(&mut Settings::default()) else {
                continue;
            };
            let text = format!("{} = {shown}", key.path);
            let read = crate::config::load_text(&text).unwrap_or_else(|faults| panic!("{faults}"));
            assert_eq!(read, Settings::default(), "{text}");
        }
    }
}
