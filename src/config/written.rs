//! Values as they were written, before anybody knows what they should be.

use super::{
    fault::{Fault, Place},
    form::EntryFault,
};
use std::fmt;
use toml::de::{DeTable, DeValue};

/// One value as written.
#[derive(Debug, Clone, PartialEq)]
pub enum Written {
    /// From the environment or the command line, where everything is text.
    Text(String),
    /// A TOML string.
    String(String),
    /// A TOML integer.
    Integer(i64),
    /// A TOML boolean.
    Boolean(bool),
    /// A TOML array.
    List(Vec<Written>),
    /// A TOML table.
    Table(Vec<(String, Written)>),
    /// Something no setting is: what it is called.
    Other(&'static str),
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Written::Text(text) | Written::String(text) => write!(f, "{text:?}"),
            Written::Integer(number) => number.fmt(f),
            Written::Boolean(flag) => flag.fmt(f),
            Written::List(items) => {
                f.write_str("[")?;
                for (i, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if i > 0 { ", " } else { "" })?;
                }
                f.write_str("]")
            }
            Written::Table(_) => f.write_str("a table"),
            Written::Other(kind) => write!(f, "{kind}"),
        }
    }
}

impl Written {
    /// From text that was TOML.
    pub fn from_value(value: &toml::Value) -> Self {
        match value {
            toml::Value::String(text) => Written::String(text.clone()),
            toml::Value::Integer(number) => Written::Integer(*number),
            toml::Value::Boolean(flag) => Written::Boolean(*flag),
            toml::Value::Array(items) => {
                Written::List(items.iter().map(Written::from_value).collect())
            }
            toml::Value::Table(entries) => Written::Table(
                entries
                    .iter()
                    .map(|(key, value)| (key.clone(), Written::from_value(value)))
                    .collect(),
            ),
            toml::Value::Float(_) => Written::Other("a number with a fraction"),
            toml::Value::Datetime(_) => Written::Other("a date"),
        }
    }

    fn from_toml(value: &DeValue<'_>) -> Self {
        match value {
            DeValue::String(text) => Written::String(text.to_string()),
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
                .map_or(Written::Other("an integer out of range"), Written::Integer),
            DeValue::Boolean(flag) => Written::Boolean(*flag),
            DeValue::Array(items) => Written::List(
                items
                    .iter()
                    .map(|item| Written::from_toml(item.get_ref()))
                    .collect(),
            ),
            DeValue::Float(_) => Written::Other("a number with a fraction"),
            DeValue::Datetime(_) => Written::Other("a date"),
            DeValue::Table(entries) => Written::Table(
                entries
                    .iter()
                    .map(|(key, value)| {
                        let value = Written::from_toml(value.get_ref());
                        (key.get_ref().to_string(), value)
                    })
                    .collect(),
            ),
        }
    }
}

/// One value with the path and the place it was written at.
#[derive(Debug, Clone, PartialEq)]
pub struct Assignment {
    /// Path of the key, levels joined by dots.
    pub path: String,
    /// The value.
    pub value: Written,
    /// Where.
    pub place: Place,
    /// The lines of what is in it, where it is several tables: of each table, and of the members by name.
    pub entries: Vec<(usize, Vec<(String, usize)>)>,
}

impl Assignment {
    /// Where something is written that is wrong with one of several tables.
    pub fn place_of(&self, fault: &EntryFault) -> Place {
        let entry = self.entries.get(fault.entry - 1);
        let line = entry.map(|(line, members)| {
            let member = members
                .iter()
                .find(|(name, _)| Some(name) == fault.member.as_ref());
            member.map_or(*line, |(_, line)| *line)
        });
        match (&self.place, line) {
            (Place::File { name, .. }, Some(line)) => Place::File {
                name: name.clone(),
                line,
            },
            (place, _) => place.clone(),
        }
    }
}

/// What a TOML text assigns. A table is descended into as long as `is_section` says so of its path.
pub fn in_file(
    name: &str,
    text: &str,
    is_section: impl Fn(&str) -> bool,
) -> Result<Vec<Assignment>, Vec<Fault>> {
    let (document, errors) = DeTable::parse_recoverable(text);
    let line_of = |at: usize| text[..at.min(text.len())].matches('\n').count() + 1;
    if !errors.is_empty() {
        let fault = |error: &toml::de::Error| Fault {
            path: name.to_owned(),
            what: format!("not TOML: {}", error.message().replace('\n', ", ")),
            place: error.span().map(|span| Place::File {
                name: name.to_owned(),
                line: line_of(span.start),
            }),
        };
        return Err(errors.iter().map(fault).collect());
    }
    let mut found = Vec::new();
    let mut tables = vec![(String::new(), document.get_ref())];
    while let Some((above, table)) = tables.pop() {
        for (key, value) in table {
            let path = join(&above, key.get_ref());
            match value.get_ref() {
                DeValue::Table(inner) if is_section(&path) => tables.push((path, inner)),
                other => found.push((
                    key.span().start,
                    Assignment {
                        path,
                        value: Written::from_toml(other),
                        place: Place::File {
                            name: name.to_owned(),
                            line: line_of(key.span().start),
                        },
                        entries: entries(other, line_of),
                    },
                )),
            }
        }
    }
    found.sort_by_key(|(at, _)| *at);
    Ok(found
        .into_iter()
        .map(|(_, assignment)| assignment)
        .collect())
}

/// The lines of tables in an array, and of their members.
fn entries(
    value: &DeValue<'_>,
    line_of: impl Fn(usize) -> usize,
) -> Vec<(usize, Vec<(String, usize)>)> {
    let DeValue::Array(items) = value else {
        return vec![];
    };
    let lines = items.iter().map(|item| {
        let members = match item.get_ref() {
            DeValue::Table(members) => members
                .iter()
                .map(|(name, _)| (name.get_ref().to_string(), line_of(name.span().start)))
                .collect(),
            _ => vec![],
        };
        (line_of(item.span().start), members)
    });
    lines.collect()
}

/// A level that is not a bare word is quoted, so that a dot inside it is not taken for a border.
fn join(above: &str, level: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let level = match !level.is_empty() && level.chars().all(bare) {
        true => level.to_owned(),
        false => format!("{level:?}"),
    };
    match above {
        "" => level,
        _ => format!("{above}.{level}"),
    }
}

/// What variables assign: `TIDEGATE_HTTP__BIND` is `http.bind`. Other variables are nobody's business.
pub fn in_environment(variables: impl Iterator<Item = (String, String)>) -> Vec<Assignment> {
    let mut found: Vec<_> = variables
        .filter_map(|(name, value)| {
            let path = name.strip_prefix("TIDEGATE_")?;
            if is_service_link(path) {
                return None;
            }
            Some(Assignment {
                path: path.to_lowercase().replace("__", "."),
                value: Written::Text(value),
                place: Place::Variable(name),
                entries: vec![],
            })
        })
        .collect();
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// Kubernetes tells every pod about a Service named `tidegate` by variables such as `TIDEGATE_PORT_1883_TCP_ADDR` and
/// `TIDEGATE_SERVICE_HOST`. Nobody wrote them as settings.
fn is_service_link(rest: &str) -> bool {
    !rest.contains("__")
        && ["PORT", "SERVICE_HOST", "SERVICE_PORT"]
            .iter()
            .any(|link| rest == *link || rest.starts_with(&format!("{link}_")))
}

/// What flags assign.
pub fn on_command_line(flags: Vec<(String, String)>) -> Vec<Assignment> {
    flags
        .into_iter()
        .map(|(path, value)| Assignment {
            path,
            value: Written::Text(value),
            place: Place::Flag,
            entries: vec![],
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(path: &str) -> bool {
        matches!(path, "mqtt" | "store")
    }

    #[test]
    fn a_file_is_read_in_its_order_with_lines() {
        let text =
            "store.path = 'x'\n\n[mqtt]\n# c\nbind = \"a\"\n[store.durability]\ninterval = '1s'\n";
        let found = in_file("f.toml", text, section).unwrap();
        let seen: Vec<_> = found
            .iter()
            .map(|a| (a.path.as_str(), a.place.to_string(), a.value.to_string()))
            .collect();
        assert_eq!(
            seen,
            [
                (
                    "store.path",
                    "f.toml, line 1".to_owned(),
                    "\"x\"".to_owned()
                ),
                ("mqtt.bind", "f.toml, line 5".to_owned(), "\"a\"".to_owned()),
                (
                    "store.durability",
                    "f.toml, line 6".to_owned(),
                    "a table".to_owned()
                ),
            ]
        );
    }

    #[test]
    fn a_dot_inside_a_quoted_key_is_no_border() {
        let found = in_file("f", "\"mqtt.bind\" = 1", section).unwrap();
        assert_eq!(found[0].path, "\"mqtt.bind\"");
    }

    #[test]
    fn what_is_not_toml_is_told_with_its_line_and_on_one_line() {
        let faults = in_file("f.toml", "[mqtt]\nbind = \n", section).unwrap_err();
        let text = faults[0].to_string();
        assert!(text.starts_with("f.toml: not TOML: "), "{text}");
        assert!(text.ends_with("(f.toml, line 2)"), "{text}");
        assert!(!text.contains('\n'));
    }

    #[test]
    fn variables_name_keys_and_those_of_service_links_do_not() {
        let variables = [
            ("TIDEGATE_HTTP__BIND", "x"),
            ("TIDEGATE_LOG", "y"),
            ("TIDEGATE_PORT", "tcp://10.0.0.1:1883"),
            ("TIDEGATE_PORT_1883_TCP_ADDR", "10.0.0.1"),
            ("TIDEGATE_SERVICE_HOST", "10.0.0.1"),
            ("TIDEGATE_SERVICE_PORT_MQTT", "1883"),
            ("HOME", "/"),
        ];
        let found = in_environment(variables.iter().map(|(k, v)| ((*k).into(), (*v).into())));
        let paths: Vec<_> = found.iter().map(|a| a.path.as_str()).collect();
        assert_eq!(paths, ["http.bind", "log"]);
    }
}
