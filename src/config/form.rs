//! What a value may look like: read from what was written, and written back for the example.

use super::{
    units::{parse_duration, parse_size, spell_duration, spell_size},
    written::Written,
};
use crate::{
    auth::certificate::CertificateUser,
    broker::history::{MAX_RULES, Rule},
    listener::{networks::Networks, tls::config::ClientCert},
    mqtt::{Qos, topic::TopicFilter},
    observe::log::{Format, Level},
    store::config::Durability,
};
use std::{
    fmt,
    net::SocketAddr,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

/// The value does not look like what is expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unfit {
    /// Altogether.
    Whole,
    /// In one of several tables.
    In(EntryFault),
}

/// What is wrong with one of several tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryFault {
    /// Which one, from 1.
    pub entry: usize,
    /// The member it is about, if it is about one.
    pub member: Option<String>,
    /// What is expected, and what was found unless that may be a secret.
    pub what: String,
}

impl fmt::Display for EntryFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "entry {}: ", self.entry)?;
        if let Some(member) = &self.member {
            write!(f, "{member}: ")?;
        }
        f.write_str(&self.what)
    }
}

/// What is wrong with a member of a table, or with the table.
pub type MemberFault = (Option<String>, String);

type ReadMembers<T> = fn(&[(String, Written)]) -> Result<T, MemberFault>;

/// A member is not what is expected.
pub(super) fn unfit(member: &str, expected: &str, found: &Written) -> MemberFault {
    let what = format!("expected {expected}, found {found}");
    (Some(member.to_owned()), what)
}

type Read<T> = Box<dyn Fn(&Written) -> Result<T, Unfit> + Send + Sync>;

/// How values of one kind are read and written.
pub struct Form<T> {
    /// What is expected, to follow the word "expected".
    pub expected: String,
    /// From what was written.
    pub read: Read<T>,
    /// As TOML; `None` if there is no way to write it, because it means "not set".
    pub write: fn(&T) -> Option<String>,
}

pub(super) fn form<T>(
    expected: impl Into<String>,
    read: impl Fn(&Written) -> Option<T> + Send + Sync + 'static,
    write: fn(&T) -> Option<String>,
) -> Form<T> {
    Form {
        expected: expected.into(),
        read: Box::new(move |written| read(written).ok_or(Unfit::Whole)),
        write,
    }
}

/// A TOML string, or text from where everything is text.
pub(super) fn text(written: &Written) -> Option<&str> {
    match written {
        Written::Text(text) | Written::String(text) => Some(text),
        _ => None,
    }
}

pub(super) fn quoted(text: impl ToString) -> Option<String> {
    Some(toml::Value::String(text.to_string()).to_string())
}

/// Address and port. Names are not looked up: a gateway that may bind nowhere else should not depend on a resolver.
pub fn address() -> Form<SocketAddr> {
    form(
        r#"an IP address and a port such as "127.0.0.1:1883" or "[::1]:1883""#,
        |written| text(written)?.parse().ok(),
        |address| quoted(address),
    )
}

/// As [`address`], or nothing, which is written as an empty text.
pub fn optional_address() -> Form<Option<SocketAddr>> {
    form(
        r#"an IP address and a port such as "127.0.0.1:8883", or """#,
        |written| match text(written)? {
            "" => Some(None),
            address => address.parse().ok().map(Some),
        },
        |address| quoted(address.map(|it| it.to_string()).unwrap_or_default()),
    )
}

/// A file, or nothing, which is written as an empty text.
pub fn optional_path() -> Form<Option<PathBuf>> {
    form(
        r#"a path such as "/etc/tidegate/server.pem", or """#,
        |written| {
            let path = text(written)?;
            Some((!path.is_empty()).then(|| path.into()))
        },
        |path| quoted(path.as_deref().unwrap_or(Path::new("")).display()),
    )
}

/// Networks of proxies.
pub fn networks() -> Form<Networks> {
    let Form { expected, read, .. } = list(
        r#"a list of networks such as ["10.0.0.0/8", "192.0.2.7", "::1"] (all bits behind the prefix zero), or "unix""#,
        |item| Networks::parse([item].into_iter()).is_ok(),
    );
    Form {
        expected,
        read: Box::new(move |written| {
            let items = read(written)?;
            Networks::parse(items.iter().map(String::as_str)).map_err(|_| Unfit::Whole)
        }),
        write: |networks| {
            let items: Option<Vec<String>> = networks.items().map(quoted).collect();
            Some(format!("[{}]", items?.join(", ")))
        },
    }
}

/// A span of time within `range`.
pub fn duration(range: RangeInclusive<Duration>) -> Form<Duration> {
    form(
        format!(
            r#"a duration from "{}" to "{}", such as "50ms", "10s", "5m", "2h" or "7d""#,
            spell_duration(*range.start()),
            spell_duration(*range.end())
        ),
        move |written| parse_duration(text(written)?).filter(|span| range.contains(span)),
        |span| quoted(spell_duration(*span)),
    )
}

/// A number of bytes within `range`.
pub fn size(range: RangeInclusive<usize>) -> Form<usize> {
    form(
        format!(
            r#"a size from "{}" to "{}", such as "512 KiB", "1 MiB" or a number of bytes"#,
            spell_size(*range.start()),
            spell_size(*range.end())
        ),
        move |written| {
            let bytes = match written {
                Written::Integer(number) => usize::try_from(*number).ok(),
                other => parse_size(text(other)?),
            };
            bytes.filter(|bytes| range.contains(bytes))
        },
        |bytes| quoted(spell_size(*bytes)),
    )
}

/// A whole number within `range`.
pub fn count<T>(range: RangeInclusive<T>) -> Form<T>
where
    T: TryFrom<i64> + std::str::FromStr + PartialOrd + ToString + Send + Sync + 'static,
{
    form(
        format!(
            "a whole number from {} to {}",
            range.start().to_string(),
            range.end().to_string()
        ),
        move |written| {
            let number = match written {
                Written::Integer(number) => T::try_from(*number).ok(),
                // a number in quotes is not a number in TOML
                Written::Text(text) => text.trim().parse().ok(),
                _ => None,
            };
            number.filter(|number| range.contains(number))
        },
        |number| Some(number.to_string()),
    )
}

/// A quality of service.
pub fn qos() -> Form<Qos> {
    let Form { expected, read, .. } = count(0..=2u8);
    Form {
        expected,
        read: Box::new(move |written| Qos::from_wire(read(written)?).ok_or(Unfit::Whole)),
        write: |qos| Some((*qos as u8).to_string()),
    }
}

/// Yes or no.
pub fn flag() -> Form<bool> {
    form("true or false", boolean, |flag| Some(flag.to_string()))
}

const CERTIFICATE_USERS: &[(&str, Option<CertificateUser>)] = &[
    ("", None),
    ("cn", Some(CertificateUser::CommonName)),
    ("dns", Some(CertificateUser::Dns)),
    ("uri", Some(CertificateUser::Uri)),
    ("email", Some(CertificateUser::Email)),
    ("fingerprint", Some(CertificateUser::Fingerprint)),
];

/// `auth.certificate_user`
pub fn certificate_user() -> Form<Option<CertificateUser>> {
    word(CERTIFICATE_USERS, |by| spell(CERTIFICATE_USERS, by))
}

/// `auth.on_revoke`: whether to disconnect.
pub fn on_revoke() -> Form<bool> {
    form(
        r#""keep" or "disconnect""#,
        |written| match text(written)? {
            "keep" => Some(false),
            "disconnect" => Some(true),
            _ => None,
        },
        |disconnect| quoted(if *disconnect { "disconnect" } else { "keep" }),
    )
}

/// Yes, no, or not said.
pub fn optional_flag() -> Form<Option<bool>> {
    form(
        "true or false",
        |written| boolean(written).map(Some),
        |flag| flag.map(|flag| flag.to_string()),
    )
}

fn boolean(written: &Written) -> Option<bool> {
    match written {
        Written::Boolean(flag) => Some(*flag),
        Written::Text(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// A text that fits into one field of MQTT.
pub fn line() -> Form<String> {
    form(
        "a text of at most 1024 bytes",
        |written| {
            let line = text(written)?;
            let fits = line.len() <= 1024 && !line.chars().any(char::is_control);
            fits.then(|| line.to_owned())
        },
        |line| quoted(line),
    )
}

/// A folder.
pub fn folder() -> Form<PathBuf> {
    form(
        r#"a folder such as "./tidegate-data""#,
        |written| {
            text(written)
                .filter(|path| !path.is_empty())
                .map(PathBuf::from)
        },
        |path| quoted(path.display()),
    )
}

/// Origins as browsers send them: scheme, host, port if it is not the scheme's own; nothing behind.
pub fn origins() -> Form<Vec<String>> {
    list(
        r#"a list of origins such as ["https://app.example"], without a path"#,
        |origin| {
            let host = ["https://", "http://"]
                .iter()
                .find_map(|scheme| origin.strip_prefix(scheme));
            host.is_some_and(is_host_with_port) && *origin == origin.to_ascii_lowercase()
        },
    )
}

/// Names for the Host header.
pub fn hosts() -> Form<Vec<String>> {
    list(
        r#"a list of host names such as ["gateway.example"], without port"#,
        is_host,
    )
}

fn is_host_with_port(text: &str) -> bool {
    match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => is_host(host) && port.parse::<u16>().is_ok(),
        _ => is_host(text),
    }
}

fn is_host(text: &str) -> bool {
    let inner = match text.strip_prefix('[') {
        Some(literal) => {
            return literal
                .strip_suffix(']')
                .is_some_and(|ip| ip.parse::<std::net::Ipv6Addr>().is_ok());
        }
        None => text,
    };
    !inner.is_empty()
        && inner
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_'))
}

/// A TOML array of strings, or text with commas between the items.
fn list(expected: &str, fits: fn(&str) -> bool) -> Form<Vec<String>> {
    form(
        expected,
        move |written| {
            let items: Vec<String> = match written {
                Written::Text(text) => text
                    .split(',')
                    .map(|item| item.trim().to_owned())
                    .filter(|item| !item.is_empty())
                    .collect(),
                Written::List(items) => items
                    .iter()
                    .map(|item| text(item).map(str::to_owned))
                    .collect::<Option<_>>()?,
                _ => return None,
            };
            items.iter().all(|item| fits(item)).then_some(items)
        },
        |items| {
            let items: Option<Vec<String>> = items.iter().map(quoted).collect();
            Some(format!("[{}]", items?.join(", ")))
        },
    )
}

/// One of a few words.
fn word<T: Copy + PartialEq + Send + Sync + 'static>(
    words: &'static [(&'static str, T)],
    write: fn(&T) -> Option<String>,
) -> Form<T> {
    let quoted: Vec<String> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
    form(
        format!("one of {}", quoted.join(", ")),
        |written| {
            let text = text(written)?;
            words
                .iter()
                .find(|(word, _)| *word == text)
                .map(|(_, value)| *value)
        },
        write,
    )
}

fn spell<T: PartialEq>(words: &[(&str, T)], value: &T) -> Option<String> {
    words
        .iter()
        .find(|(_, v)| v == value)
        .and_then(|(word, _)| quoted(word))
}

const LEVELS: &[(&str, Level)] = &[
    ("error", Level::Error),
    ("warn", Level::Warn),
    ("info", Level::Info),
    ("debug", Level::Debug),
    ("trace", Level::Trace),
];

/// `log.level`
pub fn level() -> Form<Level> {
    word(LEVELS, |level| spell(LEVELS, level))
}

const FORMATS: &[(&str, Format)] = &[("text", Format::Text), ("json", Format::Json)];

/// `log.format`
pub fn format() -> Form<Format> {
    word(FORMATS, |format| spell(FORMATS, format))
}

const CLIENT_CERTS: &[(&str, Option<ClientCert>)] = &[
    ("required", Some(ClientCert::Required)),
    ("optional", Some(ClientCert::Optional)),
    ("", None),
];

/// Whether clients need a certificate.
pub fn client_cert() -> Form<Option<ClientCert>> {
    word(CLIENT_CERTS, |wish| spell(CLIENT_CERTS, wish))
}

/// `store.durability`
pub fn durability() -> Form<Durability> {
    form(
        r#""fsync", { interval = "50ms" } or "memory""#,
        |written| match written {
            Written::Table(entries) => interval(entries),
            other => match text(other)? {
                "fsync" => Some(Durability::Fsync),
                "memory" => Some(Durability::Memory),
                // from where everything is text
                table => {
                    let table: toml::Table = toml::from_str(&format!("table = {table}")).ok()?;
                    let entries = table.get("table")?.as_table()?.iter();
                    let entries = entries.map(|(key, value)| {
                        let value = value.as_str().unwrap_or_default();
                        (key.clone(), Written::String(value.to_owned()))
                    });
                    interval(&entries.collect::<Vec<_>>())
                }
            },
        },
        |durability| match durability {
            Durability::Fsync => quoted("fsync"),
            Durability::Memory => quoted("memory"),
            Durability::Interval(interval) => Some(format!(
                "{{ interval = \"{}\" }}",
                spell_duration(*interval)
            )),
        },
    )
}

/// A form of up to `most` tables, whose faults are told by table.
pub(super) fn entries<T: 'static>(
    most: usize,
    expected: String,
    read: ReadMembers<T>,
    write: fn(&Vec<T>) -> Option<String>,
) -> Form<Vec<T>> {
    let read = move |written: &Written| {
        let tables = tables(written).ok_or(Unfit::Whole)?;
        if tables.len() > most {
            return Err(Unfit::Whole);
        }
        let numbered = tables.iter().zip(1..);
        let entry = |(written, entry): (&Written, usize)| {
            let read = match written {
                Written::Table(members) => read(members),
                // what was found may be a secret that stands in the wrong place
                _ => Err((None, "expected a table".to_owned())),
            };
            read.map_err(|(member, what)| {
                Unfit::In(EntryFault {
                    entry,
                    member,
                    what,
                })
            })
        };
        numbered.map(entry).collect()
    };
    Form {
        expected,
        read: Box::new(read),
        write,
    }
}

/// `[[history]]`
pub fn history() -> Form<Vec<Rule>> {
    entries(
        MAX_RULES,
        format!(
            r#"up to {MAX_RULES} tables with a "filter" and, if wanted, "max_age" and "max_bytes""#
        ),
        history_rule,
        |rules| {
            let shown = rules.iter().map(|rule| {
                let max_age = rule.max_age.map(spell_duration);
                let max_bytes = rule.max_bytes.map(spell_size);
                let named = [("max_age", max_age), ("max_bytes", max_bytes)];
                let named = named
                    .into_iter()
                    .filter_map(|(name, value)| Some((name, value?)));
                let rest = named.map(|(name, value)| format!(", {name} = \"{value}\""));
                let filter = toml::Value::String(rule.filter.as_str().to_owned());
                format!("{{ filter = {filter}{} }}", rest.collect::<String>())
            });
            Some(format!("[{}]", shown.collect::<Vec<_>>().join(", ")))
        },
    )
}

/// The items of a TOML array of tables, also where everything is text.
pub(super) fn tables(written: &Written) -> Option<Vec<Written>> {
    match written {
        Written::List(items) => Some(items.clone()),
        written => {
            let items = text(written)?;
            let table: toml::Table = toml::from_str(&format!("items = {items}")).ok()?;
            let items = table.get("items")?.as_array()?.iter();
            Some(items.map(Written::from_value).collect())
        }
    }
}

fn history_rule(members: &[(String, Written)]) -> Result<Rule, MemberFault> {
    let (mut filter, mut max_age, mut max_bytes) = (None, None, None);
    for (name, value) in members {
        let wrong = |expected| unfit(name, expected, value);
        match name.as_str() {
            "filter" => {
                let parsed = text(value).and_then(|text| TopicFilter::parse(text).ok());
                let parsed = parsed.filter(|filter| filter.share().is_none());
                let expected = r#"a topic filter such as "plant/#", without $share"#;
                filter = Some(parsed.ok_or_else(|| wrong(expected))?);
            }
            "max_age" => {
                let parsed = text(value).and_then(parse_duration);
                let expected = r#"a number with a unit, such as "7d", "12h" or "90s""#;
                max_age = Some(parsed.ok_or_else(|| wrong(expected))?);
            }
            "max_bytes" => {
                let parsed = match value {
                    Written::Integer(number) => usize::try_from(*number).ok(),
                    other => text(other).and_then(parse_size),
                };
                let expected = r#"a size such as "200 MiB""#;
                max_bytes = Some(parsed.ok_or_else(|| wrong(expected))?);
            }
            _ => {
                let what = "is unknown; an entry has filter, max_age and max_bytes";
                return Err((Some(name.clone()), what.to_owned()));
            }
        }
    }
    let lacking = || (None, r#"needs filter, such as "plant/#""#.to_owned());
    Ok(Rule {
        filter: filter.ok_or_else(lacking)?,
        max_age,
        max_bytes,
    })
}

fn interval(entries: &[(String, Written)]) -> Option<Durability> {
    let [(key, value)] = entries else { return None };
    let interval = parse_duration(text(value)?)?;
    let range = Duration::from_millis(1)..=Duration::from_secs(60);
    (key == "interval" && range.contains(&interval)).then_some(Durability::Interval(interval))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn string(text: &str) -> Written {
        Written::String(text.to_owned())
    }

    #[test]
    fn a_size_is_a_number_of_bytes_or_text_with_a_unit() {
        let any = size(0..=1 << 20);
        for written in [Written::Integer(1 << 20), string("1 MiB")] {
            assert_eq!((any.read)(&written), Ok(1 << 20));
        }
        for written in [Written::Integer(-1), string("2 MiB")] {
            assert_eq!((any.read)(&written), Err(Unfit::Whole));
        }
        assert_eq!((any.write)(&2048).unwrap(), "\"2 KiB\"");
    }

    #[test]
    fn a_duration_needs_its_unit_and_keeps_its_range() {
        let some = duration(Duration::from_secs(1)..=Duration::from_secs(60));
        assert_eq!((some.read)(&string("1m")), Ok(Duration::from_secs(60)));
        for written in [Written::Integer(10), string("500ms"), string("61s")] {
            assert_eq!((some.read)(&written), Err(Unfit::Whole));
        }
        assert!(some.expected.contains(r#"from "1s" to "1m""#));
    }

    #[test]
    fn a_number_outside_its_range_is_refused_and_the_range_named() {
        let port = count::<u16>(1..=1024);
        assert_eq!((port.read)(&Written::Integer(0)), Err(Unfit::Whole));
        assert_eq!((port.read)(&Written::Integer(70_000)), Err(Unfit::Whole));
        assert_eq!((port.read)(&string("7")), Err(Unfit::Whole));
        assert_eq!((port.read)(&Written::Text("7".into())), Ok(7));
        assert_eq!(port.expected, "a whole number from 1 to 1024");
    }

    #[test]
    fn lists_come_as_arrays_or_with_commas() {
        let both = vec![
            "https://a.example".to_owned(),
            "http://[::1]:8080".to_owned(),
        ];
        let array = Written::List(both.iter().map(|o| string(o)).collect());
        assert_eq!((origins().read)(&array).unwrap(), both);
        let text = Written::Text("https://a.example, http://[::1]:8080".into());
        assert_eq!((origins().read)(&text).unwrap(), both);
        assert_eq!((origins().read)(&Written::Text(String::new())), Ok(vec![]));
        for wrong in [
            "*",
            "a.example",
            "https://a.example/",
            "HTTPS://a",
            "https://",
            "https://a:b",
        ] {
            let list = Written::List(vec![string(wrong)]);
            assert_eq!((origins().read)(&list), Err(Unfit::Whole), "{wrong}");
        }
        for wrong in ["a.example:80", "http://a", "a/b", ""] {
            let list = Written::List(vec![string(wrong)]);
            assert_eq!((hosts().read)(&list), Err(Unfit::Whole), "{wrong}");
        }
        assert!((hosts().read)(&Written::List(vec![string("a.example")])).is_ok());
    }

    #[test]
    fn history_rules_name_a_filter_and_may_have_limits() {
        let inline =
            r#"[{ filter = "plant/#", max_age = "7d" }, { filter = "a", max_bytes = "1 MiB" }]"#;
        let rules = (history().read)(&Written::Text(inline.to_owned())).unwrap();
        assert_eq!((history().write)(&rules).as_deref(), Some(inline));
        assert_eq!(rules[0].max_age, Some(Duration::from_secs(7 * 24 * 3600)));
        for (wrong, told) in [
            (r#"[{ max_age = "7d" }]"#, "entry 1: needs filter"),
            (
                r#"[{ filter = "a/#/b" }]"#,
                r#"entry 1: filter: expected a topic filter such as "plant/#", without $share, found "a/#/b""#,
            ),
            (
                r#"[{ filter = "$share/g/a" }]"#,
                "entry 1: filter: expected",
            ),
            (
                r#"[{ filter = "a", max_agee = "7d" }]"#,
                "entry 1: max_agee: is unknown",
            ),
            (
                r#"[{ filter = "a" }, { filter = "b", max_age = "7 days" }]"#,
                r#"entry 2: max_age: expected a number with a unit, such as "7d", "12h" or "90s", found "7 days""#,
            ),
            (
                r#"[{ filter = "a", max_bytes = true }]"#,
                r#"entry 1: max_bytes: expected a size such as "200 MiB", found true"#,
            ),
            ("[7]", "entry 1: expected a table"),
        ] {
            let read = (history().read)(&Written::Text(wrong.to_owned()));
            let Err(Unfit::In(fault)) = read else {
                panic!("{wrong}: {read:?}");
            };
            assert!(fault.to_string().starts_with(told), "{wrong}: {fault}");
        }
        let read = (history().read)(&Written::Text("7".to_owned()));
        assert_eq!(read, Err(Unfit::Whole));
    }

    #[test]
    fn durability_is_a_word_or_an_interval_however_it_is_written() {
        let every_50ms = Durability::Interval(Duration::from_millis(50));
        let table = |key: &str, value| Written::Table(vec![(key.to_owned(), string(value))]);
        for (written, durability) in [
            (string("fsync"), Durability::Fsync),
            (string("memory"), Durability::Memory),
            (table("interval", "50ms"), every_50ms),
            (Written::Text("{ interval = \"50ms\" }".into()), every_50ms),
        ] {
            assert_eq!((super::durability().read)(&written), Ok(durability));
        }
        let wrong = [
            string("disk"),
            table("interval", "0s"),
            table("every", "1s"),
        ];
        for written in wrong {
            assert_eq!((super::durability().read)(&written), Err(Unfit::Whole));
        }
        let shown = (super::durability().write)(&every_50ms);
        assert_eq!(shown.as_deref(), Some("{ interval = \"50ms\" }"));
    }
}
