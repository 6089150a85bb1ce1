//! What the operator wrote: file, then environment, then flags; read raw, then checked, all faults at once.
//!
//! Knows every room's Config; no room knows this one. Reads no file but the one it is given, and starts nothing.

pub mod example;
pub mod fault;
mod form;
mod jwt;
mod keys;
mod nearest;
mod rules;
mod units;
mod written;

use fault::{Fault, Faults};
use form::Unfit;
use keys::{Key, LATER, keys};
use rules::Sources;
use std::path::Path;
use written::Assignment;

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
    /// `[quota]`
    pub quota: crate::auth::quota::Limits,
    /// `[auth]`
    pub auth: crate::auth::config::Config,
    /// `[log]`
    pub log: crate::observe::log::Config,
    /// `runtime.workers`: threads that serve connections; 0 is one per CPU.
    pub workers: usize,
}

/// Reads `file`, then the `TIDEGATE_…` variables of `env`, then `flags` (path of a key, value); later ones win.
pub fn load(
    file: Option<&Path>,
    env: impl Iterator<Item = (String, String)>,
    flags: Vec<(String, String)>,
) -> Result<Settings, Faults> {
    let keys = keys();
    let mut faults = Vec::new();
    let mut assignments = Vec::new();
    if let Some(file) = file {
        match read_file(file, &keys) {
            Ok(found) => assignments.extend(found),
            Err(found) => faults.extend(found),
        }
    }
    assignments.extend(written::in_environment(env));
    assignments.extend(written::on_command_line(flags));
    settle(&keys, assignments, faults)
}

fn read_file(file: &Path, keys: &[Key]) -> Result<Vec<Assignment>, Vec<Fault>> {
    let name = file.display().to_string();
    let text = std::fs::read_to_string(file).map_err(|error| {
        vec![Fault {
            path: name.clone(),
            what: format!("cannot be read: {error}"),
            place: None,
        }]
    })?;
    written::in_file(&name, &text, |path| is_section(keys, path))
}

fn is_section(keys: &[Key], path: &str) -> bool {
    !path.is_empty() && keys.iter().any(|key| key.section() == path)
}

/// Takes what was written over the defaults, later over earlier, then checks the rules across settings.
fn settle(
    keys: &[Key],
    assignments: Vec<Assignment>,
    mut faults: Vec<Fault>,
) -> Result<Settings, Faults> {
    let mut settings = Settings::default();
    let mut sources = Sources::new();
    for assignment in assignments {
        let Assignment {
            path, value, place, ..
        } = &assignment;
        let what = match keys.iter().find(|key| key.path == *path) {
            None => unknown(keys, path),
            Some(key) => match (key.set)(&mut settings, value) {
                Ok(()) => {
                    sources.insert(key.path, place.clone());
                    continue;
                }
                Err(Unfit::In(fault)) => {
                    faults.push(Fault {
                        path: path.clone(),
                        what: fault.to_string(),
                        place: Some(assignment.place_of(&fault)),
                    });
                    continue;
                }
                // perhaps with a secret somewhere
                Err(Unfit::Whole) if key.is_secret => format!("expected {}", key.expected),
                Err(Unfit::Whole) => format!("expected {}, found {value}", key.expected),
            },
        };
        faults.push(Fault {
            path: path.clone(),
            what,
            place: Some(place.clone()),
        });
    }
    let mut broken = rules::check(&settings, &sources);
    // what could not be read is not held against a rule too
    broken.retain(|fault| !faults.iter().any(|known| known.path == fault.path));
    faults.extend(broken);
    if faults.is_empty() {
        Ok(settings)
    } else {
        Err(Faults(faults))
    }
}

fn unknown(keys: &[Key], path: &str) -> String {
    let later = |known: &&&str| {
        path.strip_prefix(**known)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    if LATER.iter().find(later).is_some() {
        return "not available in this version; remove it".to_owned();
    }
    if is_section(keys, path) {
        return format!("is a section; write its settings below a line [{path}]");
    }
    let above = |key: &&Key| {
        path.strip_prefix(key.path)
            .is_some_and(|rest| rest.starts_with('.'))
    };
    if let Some(key) = keys.iter().find(above) {
        return format!("{} has no parts; expected {}", key.path, key.expected);
    }
    if let Some(known) = nearest::nearest(path, keys.iter().map(|key| key.path)) {
        return format!("unknown setting; did you mean {known}?");
    }
    let section = path.rsplit_once('.').map_or("", |(section, _)| section);
    if is_section(keys, section) {
        let names: Vec<_> = keys
            .iter()
            .filter(|key| key.section() == section)
            .map(Key::name)
            .collect();
        return format!("unknown setting; [{section}] has {}", names.join(", "));
    }
    let mut sections: Vec<_> = keys.iter().map(Key::section).collect();
    sections.retain(|section| !section.is_empty());
    sections.dedup();
    format!("unknown setting; the sections are {}", sections.join(", "))
}

/// What a file with this text, alone, makes of the defaults.
#[cfg(test)]
fn load_text(text: &str) -> Result<Settings, Faults> {
    let keys = keys();
    let found =
        written::in_file("test.toml", text, |path| is_section(&keys, path)).map_err(Faults)?;
    settle(&keys, found, vec![])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    fn load_all(
        file: &str,
        env: &[(&str, &str)],
        flags: &[(&str, &str)],
    ) -> Result<Settings, Faults> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.toml");
        std::fs::write(&path, file).unwrap();
        load(Some(&path), pairs(env).into_iter(), pairs(flags))
    }

    fn faults(text: &str) -> Vec<String> {
        load_text(text)
            .unwrap_err()
            .to_string()
            .lines()
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn nothing_written_means_the_defaults() {
        assert_eq!(
            load(None, std::iter::empty(), vec![]),
            Ok(Settings::default())
        );
    }

    #[test]
    fn flags_win_over_variables_and_those_over_the_file() {
        let file = "[http]\nbind = '127.0.0.1:1'\n[mqtt]\nbind = '127.0.0.1:1'\n[limits]\npayload = '2 MiB'";
        let env = [
            ("TIDEGATE_HTTP__BIND", "127.0.0.1:2"),
            ("TIDEGATE_MQTT__BIND", "127.0.0.1:2"),
        ];
        let flags = [("mqtt.bind", "127.0.0.1:3")];
        let settings = load_all(file, &env, &flags).unwrap();
        assert_eq!(settings.limits.payload, 2 << 20);
        assert_eq!(settings.http.bind.port(), 2);
        assert_eq!(settings.mqtt.bind.port(), 3);
    }

    #[test]
    fn text_from_variables_becomes_whatever_the_setting_is() {
        let env = [
            ("TIDEGATE_AUTH__ANONYMOUS", "true"),
            ("TIDEGATE_HTTP__HOSTS", "a.example,b.example"),
            ("TIDEGATE_HTTP__DRAIN", "500ms"),
            ("TIDEGATE_LIMITS__RECEIVE_MAXIMUM", "20"),
            ("TIDEGATE_LOG__FORMAT", "json"),
            ("TIDEGATE_STORE__PATH", "/var/lib/tidegate"),
            ("TIDEGATE_RUNTIME__WORKERS", "1"),
        ];
        let settings = load(None, pairs(&env).into_iter(), vec![]).unwrap();
        assert_eq!(settings.auth.anonymous, Some(true));
        assert_eq!(settings.http.hosts, ["a.example", "b.example"]);
        assert_eq!(settings.http.drain, Duration::from_millis(500));
        assert_eq!(settings.limits.receive_maximum, 20);
        assert_eq!(settings.log.format, crate::observe::log::Format::Json);
        assert_eq!(settings.store.path, Path::new("/var/lib/tidegate"));
        assert_eq!(settings.workers, 1);
    }

    #[test]
    fn all_faults_of_all_sources_are_told_at_once_each_with_its_place() {
        let found = load_all(
            "[mqtt]\nbind = 'localhost'\nbnid = 1\n",
            &[("TIDEGATE_HTTP__DRAIN", "5")],
            &[("limits.payload", "1 MB")],
        )
        .unwrap_err()
        .to_string();
        let lines: Vec<_> = found.lines().collect();
        assert_eq!(lines.len(), 4, "{found}");
        assert!(lines[0].starts_with("mqtt.bind: expected an IP address and a port"));
        assert!(lines[0].contains("found \"localhost\"") && lines[0].ends_with("t.toml, line 2)"));
        assert!(lines[1].starts_with("mqtt.bnid: unknown setting; did you mean mqtt.bind?"));
        assert!(lines[2].starts_with("http.drain: expected a duration from \"0s\" to \"8s\""));
        assert!(lines[2].ends_with("found \"5\" (environment variable TIDEGATE_HTTP__DRAIN)"));
        assert!(lines[3].starts_with("limits.payload: expected a size"));
        assert!(lines[3].ends_with("(command line)"));
    }

    #[test]
    fn unknown_settings_get_the_help_that_fits() {
        for (text, help) in [
            (
                "[mqtt]\ntls = true",
                "mqtt.tls: is a section; write its settings below a line [mqtt.tls]",
            ),
            (
                "mqtt.tls = { certificate = 'x' }",
                "mqtt.tls.certificate: unknown setting; [mqtt.tls] has bind, cert, key",
            ),
            (
                "admin.bind = 'x'",
                "admin: not available in this version; remove it",
            ),
            (
                "[admin]\nbind = 'x'",
                "admin: not available in this version",
            ),
            ("mqtt = 5", "mqtt: is a section"),
            (
                "[log]\ncolour = true",
                "log.colour: unknown setting; [log] has level, format",
            ),
            (
                "[bridge]\nx = 1",
                "bridge: unknown setting; the sections are mqtt, mqtt.tls, http, http.tls, store",
            ),
            (
                "payload = 5",
                "payload: unknown setting; did you mean limits.payload?",
            ),
        ] {
            let found = faults(text);
            assert!(found[0].starts_with(help), "{found:?}");
            assert_eq!(found.len(), 1, "{found:?}");
        }
    }

    #[test]
    fn values_of_a_wrong_type_or_range_say_what_is_expected() {
        for (text, help) in [
            (
                "mqtt.bind = 1883",
                "mqtt.bind: expected an IP address and a port",
            ),
            (
                "limits.receive_maximum = 0",
                "limits.receive_maximum: expected a whole number from 1 to 65535, found 0",
            ),
            (
                "limits.receive_maximum = '5'",
                "limits.receive_maximum: expected a whole number",
            ),
            ("limits.payload = 1.5", "limits.payload: expected a size"),
            (
                "session.max_expiry = 7",
                "session.max_expiry: expected a duration",
            ),
            (
                "auth.anonymous = 'yes'",
                "auth.anonymous: expected true or false, found \"yes\"",
            ),
            (
                "log.level = 'loud'",
                "log.level: expected one of \"error\", \"warn\"",
            ),
            (
                "http.origins = ['https://a.example/x']",
                "http.origins: expected a list of origins",
            ),
            (
                "http.hosts = 'a'",
                "http.hosts: expected a list of host names",
            ),
            ("store.path = ''", "store.path: expected a folder"),
            (
                "[store.durability]\nevery = '50ms'",
                "store.durability: expected \"fsync\", { interval",
            ),
            (
                "store.durability = 'disk'",
                "store.durability: expected \"fsync\", { interval",
            ),
            (
                "mqtt.bind.port = 1",
                "mqtt.bind: expected an IP address and a port",
            ),
        ] {
            let found = faults(text);
            assert!(found[0].starts_with(help), "{found:?}");
            assert_eq!(found.len(), 1, "{found:?}");
        }
    }

    #[test]
    fn an_address_others_can_reach_needs_anonymous_said_aloud() {
        let open = "mqtt.bind = '0.0.0.0:1883'\nhttp.bind = '[::]:8080'\n";
        let found = faults(open);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("mqtt.bind: 0.0.0.0:1883 can be reached from other machines"));
        assert!(found[0].contains("set auth.anonymous = true") && found[0].ends_with("line 1)"));
        assert!(found[1].contains("127.0.0.1:8080"));
        assert!(load_text(&format!("{open}auth.anonymous = true")).is_ok());
        assert!(load_text("mqtt.bind = '127.9.9.9:0'\nhttp.bind = '[::1]:0'").is_ok());
        assert!(load_text("mqtt.bind = '[::ffff:127.0.0.1]:0'").is_ok());
    }

    #[test]
    fn an_address_for_tls_needs_anonymous_said_aloud_and_a_socket_file_does_not() {
        let tls = |port| format!("bind = '0.0.0.0:{port}'\ncert = 'c'\nkey = 'k'\n");
        let text = format!("[mqtt.tls]\n{}[http.tls]\n{}", tls(8883), tls(8443));
        let found = faults(&text);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("mqtt.tls.bind: 0.0.0.0:8883 can be reached from other"));
        assert!(found[1].starts_with("http.tls.bind: 0.0.0.0:8443 can be reached from other"));
        assert!(load_text(&format!("auth.anonymous = true\n{text}")).is_ok());
        assert!(load_text(&text.replace("0.0.0.0", "127.0.0.1")).is_ok());
        assert!(load_text("mqtt.unix = '/run/tidegate'\nhttp.unix = '/run/web'").is_ok());
    }

    #[test]
    fn what_is_written_about_tls_must_not_be_for_nothing() {
        for (text, fault) in [
            ("cert = 'c'", "cert: needs mqtt.tls.key"),
            ("key = 'k'", "key: needs mqtt.tls.cert"),
            ("bind = '127.0.0.1:8883'", "bind: needs mqtt.tls.cert"),
            ("client_ca = 'a'", "client_ca: needs mqtt.tls.cert"),
            (
                "client_cert = 'required'",
                "client_cert: needs mqtt.tls.client_ca",
            ),
            ("crl = 'r'", "crl: needs mqtt.tls.client_ca"),
        ] {
            let found = faults(&format!("[mqtt.tls]\n{text}"));
            assert!(
                found[0].starts_with(&format!("mqtt.tls.{fault}, ")),
                "{found:?}"
            );
            assert_eq!(found.len(), 1, "{found:?}");
        }
        let table =
            "http.tls = { cert = 'c', key = 'k', client_ca = 'a', client_cert = 'optional' }";
        let settings = load_text(table).unwrap();
        assert_eq!(settings.http.tls.cert.as_deref(), Some(Path::new("c")));
        assert!(faults("http.tls.client_cert = 'maybe'")[0].contains("expected one of"));
    }

    #[test]
    fn users_by_certificate_need_a_listener_that_asks_for_certificates() {
        let user = "auth.certificate_user = 'cn'\n";
        let found = faults(user);
        assert!(
            found[0].starts_with("auth.certificate_user: needs mqtt.tls.client_ca or http.tls"),
            "{found:?}"
        );
        assert_eq!(found.len(), 1, "{found:?}");
        for section in ["mqtt", "http"] {
            let tls = format!("{section}.tls = {{ cert = 'c', key = 'k', client_ca = 'a' }}");
            assert!(load_text(&format!("{user}{tls}")).is_ok());
        }
    }

    #[test]
    fn two_listeners_need_two_addresses() {
        let found = faults("mqtt.bind = '127.0.0.1:80'\nhttp.bind = '127.0.0.1:80'");
        let told = "http.bind: 127.0.0.1:80 is what mqtt.bind has already; ";
        assert!(found[0].starts_with(told), "{found:?}");
        assert_eq!(found.len(), 1, "{found:?}");
        let tls = "bind = '127.0.0.1:1883'\ncert = 'c'\nkey = 'k'";
        let found = faults(&format!("[mqtt.tls]\n{tls}"));
        assert!(found[0].starts_with("mqtt.tls.bind: "), "{found:?}");
        // the system finds two
        let free = "mqtt.bind = '127.0.0.1:0'\nhttp.bind = '127.0.0.1:0'";
        assert!(load_text(free).is_ok());
        let beside = "mqtt.bind = '127.0.0.1:80'\nhttp.bind = '127.0.0.2:80'";
        assert!(load_text(beside).is_ok());
    }

    #[test]
    fn whoever_believes_proxies_must_say_which() {
        let found = faults("mqtt.proxy_protocol = true\nhttp.proxy_protocol = true");
        assert!(found[0].starts_with("mqtt.proxy_protocol: needs mqtt.trusted_proxies"));
        assert!(found[1].starts_with("http.proxy_protocol: needs http.trusted_proxies"));
        let found = faults("mqtt.trusted_proxies = ['::1']");
        assert!(
            found[0].contains("needs mqtt.proxy_protocol = true"),
            "{found:?}"
        );
        assert!(load_text("http.trusted_proxies = ['10.0.0.0/8', 'unix']").is_ok());
        let found = faults("http.trusted_proxies = ['10.0.0.1/8']");
        assert!(found[0].starts_with("http.trusted_proxies: expected a list of networks"));
    }

    #[test]
    fn to_send_clients_elsewhere_for_good_needs_to_say_where() {
        let found = faults("mqtt.server_moved = true");
        assert!(
            found[0].contains("needs mqtt.server_reference"),
            "{found:?}"
        );
        let both = "mqtt.server_moved = true\nmqtt.server_reference = \"other.example:1883\"";
        assert!(load_text(both).is_ok());
    }

    #[test]
    fn shutting_everybody_out_is_a_fault() {
        assert!(
            faults("auth.anonymous = false")[0].starts_with("auth.anonymous: false leaves nobody")
        );
    }

    #[test]
    fn a_file_that_is_not_there_or_not_toml_is_told_with_the_rest() {
        let missing = load(
            Some(Path::new("/nowhere/t.toml")),
            std::iter::empty(),
            pairs(&[("x", "1")]),
        );
        let text = missing.unwrap_err().to_string();
        assert!(
            text.starts_with("/nowhere/t.toml: cannot be read: "),
            "{text}"
        );
        assert_eq!(text.lines().count(), 2);
        let broken = load_all("mqtt = [", &[], &[("x", "1")]).unwrap_err();
        assert!(broken.0.len() >= 2 && broken.to_string().contains("not TOML"));
    }
}
