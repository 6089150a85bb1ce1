//! `[[auth.jwt]]`: how an entry is written.

use super::{
    form::{Form, MemberFault, entries, quoted, text, unfit},
    units::{parse_duration, spell_duration},
    written::Written,
};
use crate::auth::{
    config::{Jwt, KeySource},
    secret::{HIDDEN, Secret},
};
use jsonwebtoken::Algorithm;
use std::time::Duration;

const MOST: usize = 64;
/// What an entry may have.
const MEMBERS: &str = r#""algorithms" (or "algorithm"), one of "secret", "secret_file", "public_key_file", "jwks_file" and "jwks_url", "audience" (or a list), and, if wanted, "issuer", "user_claim", "groups_claim" and "leeway" (up to "5m")"#;
const ALGORITHMS: &str =
    r#""HS256", "RS256", "PS256" or each with 384 or 512, "ES256", "ES384", "EdDSA""#;
const MAX_LEEWAY: Duration = Duration::from_secs(300);

/// `[[auth.jwt]]`. What an entry must have is checked by [`Jwt::faults`], which has a sentence for each.
pub fn tokens() -> Form<Vec<Jwt>> {
    entries(
        MOST,
        format!("up to {MOST} tables with {MEMBERS}"),
        entry,
        |entries| {
            Some(format!(
                "[{}]",
                entries.iter().map(shown).collect::<Vec<_>>().join(", ")
            ))
        },
    )
}

fn entry(members: &[(String, Written)]) -> Result<Jwt, MemberFault> {
    let mut entry = Jwt::default();
    for (name, value) in members {
        let wrong = |expected| unfit(name, expected, value);
        let line = || {
            let text = text(value).filter(|text| !text.is_empty());
            text.map(str::to_owned)
                .ok_or_else(|| wrong("a text that is not empty"))
        };
        let lines = || one_or_more(value).ok_or_else(|| wrong("a text, or a list of texts"));
        match name.as_str() {
            "algorithms" | "algorithm" if !entry.algorithms.is_empty() => {
                let what = "is there twice: write algorithms, or algorithm for one";
                return Err((Some(name.clone()), what.to_owned()));
            }
            "algorithms" | "algorithm" => {
                let names = lines()?;
                let is_one = name == "algorithms" || matches!(value, Written::String(_));
                let read = names.iter().map(|name| algorithm(name)).collect();
                let read: Option<Vec<_>> = Some(read).filter(|_| is_one).flatten();
                entry.algorithms = read.ok_or_else(|| wrong(ALGORITHMS))?;
            }
            // what was written there instead may be one
            "secret" => match text(value).filter(|text| !text.is_empty()) {
                Some(text) => entry
                    .keys
                    .push(KeySource::Secret(Secret::from(text.to_owned()))),
                None => {
                    let what = "expected a text that is not empty";
                    return Err((Some(name.clone()), what.to_owned()));
                }
            },
            "secret_file" => entry.keys.push(KeySource::SecretFile(line()?.into())),
            "public_key_file" => entry.keys.push(KeySource::PublicKeyFile(line()?.into())),
            "jwks_file" => entry.keys.push(KeySource::JwksFile(line()?.into())),
            "jwks_url" => entry.keys.push(KeySource::JwksUrl(line()?)),
            "issuer" => entry.issuer = Some(line()?),
            "audience" => entry.audience = lines()?,
            "user_claim" => entry.user_claim = line()?,
            "groups_claim" => entry.groups_claim = line()?,
            "leeway" => {
                let read = parse_duration(&line()?).filter(|span| *span <= MAX_LEEWAY);
                entry.leeway = read.ok_or_else(|| wrong(r#"a duration up to "5m""#))?;
            }
            _ => {
                return Err((
                    Some(name.clone()),
                    format!("is unknown; an entry has {MEMBERS}"),
                ));
            }
        }
    }
    Ok(entry)
}

fn algorithm(name: &str) -> Option<Algorithm> {
    name.parse().ok()
}

/// A text that is not empty, or a list of such.
fn one_or_more(value: &Written) -> Option<Vec<String>> {
    let items = match value {
        Written::List(items) => items.as_slice(),
        one => std::slice::from_ref(one),
    };
    let line = |item| {
        text(item)
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
    };
    items.iter().map(line).collect()
}

/// As TOML, with stars in the place of a secret.
fn shown(entry: &Jwt) -> String {
    let list = |items: &[String]| {
        let items: Vec<_> = items.iter().filter_map(quoted).collect();
        Some(format!("[{}]", items.join(", ")))
    };
    let names = entry.algorithms.iter().map(|name| format!("{name:?}"));
    let mut members = vec![("algorithms", list(&names.collect::<Vec<_>>()))];
    for keys in &entry.keys {
        let value = match keys {
            KeySource::Secret(_) => quoted(HIDDEN),
            KeySource::SecretFile(file)
            | KeySource::PublicKeyFile(file)
            | KeySource::JwksFile(file) => quoted(file.display()),
            KeySource::JwksUrl(url) => quoted(url),
        };
        members.push((keys.setting(), value));
    }
    members.extend([
        ("issuer", entry.issuer.as_ref().and_then(quoted)),
        ("audience", list(&entry.audience)),
        ("user_claim", quoted(&entry.user_claim)),
        ("groups_claim", quoted(&entry.groups_claim)),
        ("leeway", quoted(spell_duration(entry.leeway))),
    ]);
    let members = members
        .into_iter()
        .filter_map(|(name, value)| Some(format!("{name} = {}", value?)));
    format!("{{ {} }}", members.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load_text;

    const SECRET: &str = "an-example-of-a-secret-of-48-bytes-or-a-few-more-";

    fn faults(text: &str) -> String {
        load_text(text).unwrap_err().to_string()
    }

    #[test]
    fn entries_are_read_as_tables_and_as_text() {
        let text = "[[auth.jwt]]\nalgorithms = ['RS256', 'PS512']\njwks_url = 'https://a.example/k'\n\
                    audience = 'tidegate'\nissuer = 'https://a.example'\n\
                    [[auth.jwt]]\nalgorithm = 'HS256'\nsecret_file = '/run/secret'\naudience = ['a', 'b']\n\
                    user_claim = 'email'\ngroups_claim = 'roles'\nleeway = '0s'\n";
        let entries = load_text(text).unwrap().auth.jwt;
        assert_eq!(entries[0].algorithms, [Algorithm::RS256, Algorithm::PS512]);
        assert_eq!(entries[0].issuer.as_deref(), Some("https://a.example"));
        assert_eq!(
            (entries[0].user_claim.as_str(), entries[0].leeway.as_secs()),
            ("sub", 30)
        );
        assert_eq!(
            entries[1].keys,
            [KeySource::SecretFile("/run/secret".into())]
        );
        assert_eq!(
            (entries[1].audience.len(), entries[1].leeway),
            (2, Duration::ZERO)
        );
        let form = tokens();
        let written = (form.write)(&entries).unwrap();
        assert_eq!((form.read)(&Written::Text(written)).unwrap(), entries);
    }

    #[test]
    fn a_secret_is_shown_neither_in_settings_nor_in_faults() {
        let good =
            format!("[[auth.jwt]]\nalgorithm = 'HS256'\nsecret = '{SECRET}'\naudience = 'a'\n");
        let settings = load_text(&good).unwrap();
        assert!(!format!("{settings:?}").contains(SECRET));
        let shown = (tokens().write)(&settings.auth.jwt).unwrap();
        assert!(
            shown.contains("secret = \"***\"") && !shown.contains(SECRET),
            "{shown}"
        );
        let wrong = format!("{good}whatever = 1\n");
        assert!(!faults(&wrong).contains(SECRET));
        let inline = format!("auth.jwt = \"[{{ secret = '{SECRET}' \"");
        let told = faults(&inline);
        assert!(
            told.starts_with("auth.jwt: expected up to 64 tables") && !told.contains(SECRET),
            "{told}"
        );
    }

    #[test]
    fn what_an_entry_lacks_or_has_too_much_of_is_told_entry_by_entry() {
        let told = faults(
            "[[auth.jwt]]\nsecret = 'x'\n[[auth.jwt]]\nalgorithms = ['RS256', 'HS256']\njwks_file = 'a'\naudience = 'a'\n\
             [[auth.jwt]]\nalgorithm = 'RS256'\nsecret = 'x'\npublic_key_file = 'a'\naudience = 'a'\n\
             [[auth.jwt]]\nalgorithm = 'EdDSA'\naudience = 'a'\n\
             [[auth.jwt]]\nalgorithm = 'ES256'\nsecret = 'x'\naudience = 'a'\n",
        );
        for (line, expected) in told.lines().zip([
            "auth.jwt: entry 1 needs algorithms",
            "auth.jwt: entry 1 needs audience",
            "auth.jwt: entry 2 has public keys, with which HS256",
            "auth.jwt: entry 3 has more than one of secret",
            "auth.jwt: entry 4 needs one of secret",
            "auth.jwt: entry 5 has a secret, which is for HS256",
        ]) {
            assert!(line.starts_with(expected), "{told}");
        }
        assert_eq!(told.lines().count(), 6, "{told}");
    }

    #[test]
    fn key_sets_come_over_tls_or_from_this_machine() {
        let entry = |url: &str| {
            load_text(&format!(
                "[[auth.jwt]]\nalgorithm = 'ES256'\naudience = 'a'\njwks_url = '{url}'"
            ))
        };
        for good in [
            "https://a.example/k",
            "http://localhost:1/k",
            "http://127.9.9.9/k",
            "http://[::1]:80/k",
        ] {
            assert!(entry(good).is_ok(), "{good}");
        }
        for wrong in [
            "http://a.example/k",
            "http://localhost.example/k",
            "http://127.0.0.1.example/k",
            "http://[::ffff:10.0.0.1]/k",
            "https://ann:secret@a.example/k",
            "ftp://localhost/k",
            "file:///etc/passwd",
            "a.example",
            "https://",
        ] {
            assert!(entry(wrong).is_err(), "{wrong}");
        }
        assert!(
            !entry("https://ann:hunter2@a.example/k")
                .unwrap_err()
                .to_string()
                .contains("hunter2")
        );
    }

    #[test]
    fn an_entry_has_nothing_but_what_is_known() {
        for (wrong, member, what) in [
            ("algorithm = 'none'", "algorithm", "found \"none\""),
            ("algorithm = 'rs256'", "algorithm", "found \"rs256\""),
            ("algorithm = ['RS256']", "algorithm", "found [\"RS256\"]"),
            (
                "algorithm = 'RS256'\nalgorithms = ['RS256']",
                "algorithms",
                "is there twice",
            ),
            ("algorithms = 'ES512'", "algorithms", "found \"ES512\""),
            ("audience = ''", "audience", "found \"\""),
            ("audience = 5", "audience", "found 5"),
            ("leeway = '6m'", "leeway", "up to \"5m\", found \"6m\""),
            ("kid = 'x'", "kid", "is unknown"),
            ("jwks_file = ''", "jwks_file", "found \"\""),
            ("secret = 5", "secret", "expected a text"),
        ] {
            let told = faults(&format!(
                "[[auth.jwt]]\nissuer = 'a'\n\n[[auth.jwt]]\n{wrong}"
            ));
            let begin = format!("auth.jwt: entry 2: {member}: ");
            assert!(told.starts_with(&begin) && told.contains(what), "{told}");
            let line = 4 + wrong.lines().count();
            assert!(told.ends_with(&format!("line {line})")), "{told}");
        }
    }
}
