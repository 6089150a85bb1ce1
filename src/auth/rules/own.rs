//! The gateway's own rule file: TOML, read as a whole or not at all.
//!
//! ```toml
//! [groups]
//! operators = ["alice", "bob"]
//!
//! [[rule]]
//! deny = ["publish"]
//! topics = ["plant/+/valve"]
//! via = ["rest"]
//!
//! [[rule]]
//! allow = ["publish", "subscribe"]
//! groups = ["operators"]
//! topics = ["plant/#"]
//!
//! [[rule]]
//! allow = ["publish", "retain"]
//! users = ["*"]
//! topics = ["home/%u/#"]
//! ```

use super::{
    Actions, Effect, Fault, Rule, RuleId, RuleSet, Via, Who, check_topic,
    who::{self, LISTENERS},
};
use serde::Deserialize;
use std::{collections::BTreeMap, ops::Range};
use toml::Spanned;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    groups: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    rule: Vec<Spanned<Written>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    allow: Option<Vec<String>>,
    deny: Option<Vec<String>>,
    topics: Option<Vec<String>>,
    users: Option<Vec<String>>,
    anonymous: Option<bool>,
    groups: Option<Vec<String>>,
    clients: Option<Vec<String>>,
    listeners: Option<Vec<String>>,
    via: Option<Vec<String>>,
}

/// Reads a rule file. A file without rules is a fault: it would deny everything to everybody, which is rarely meant and
/// can be said by a rule.
pub fn parse(text: &str) -> Result<RuleSet, Vec<Fault>> {
    let line_of = |span: Range<usize>| {
        let before = text.get(..span.start).unwrap_or(text);
        1 + before.bytes().filter(|byte| *byte == b'\n').count() as u32
    };
    let file: File = toml::from_str(text).map_err(|error| {
        let line = error.span().map_or(0, line_of);
        vec![Fault {
            line,
            what: error.message().to_owned(),
        }]
    })?;
    let (mut rules, mut faults) = (Vec::new(), Vec::new());
    for written in file.rule {
        let line = line_of(written.span());
        match rule(line, written.into_inner()) {
            Ok(rule) => rules.push(rule),
            Err(what) => faults.push(Fault { line, what }),
        }
    }
    if rules.is_empty() && faults.is_empty() {
        faults.push(Fault {
            line: 0,
            what: "there is no [[rule]]; to deny everything, write one: deny = [\"publish\", \"subscribe\"], topics = [\"#\"]"
                .to_owned(),
        });
    }
    let boxed = |names: Vec<String>| names.into_iter().map(String::into_boxed_str).collect();
    let groups = file.groups.into_iter();
    match faults.is_empty() {
        true => Ok(RuleSet {
            rules,
            groups: groups
                .map(|(group, users)| (group.into_boxed_str(), boxed(users)))
                .collect(),
            any_filter: false,
        }),
        false => Err(faults),
    }
}

fn rule(line: u32, written: Written) -> Result<Rule, String> {
    let (effect, actions) = match (written.allow, written.deny) {
        (Some(actions), None) => (Effect::Allow, actions),
        (None, Some(actions)) => (Effect::Deny, actions),
        _ => return Err("a rule has either allow = [...] or deny = [...]".to_owned()),
    };
    let mut all = Actions::default();
    for action in &actions {
        all = all | action_named(action)?;
    }
    if actions.is_empty() {
        return Err("name at least one of publish, subscribe, receive, retain".to_owned());
    }
    let topics = written.topics.unwrap_or_default();
    if topics.is_empty() {
        return Err("a rule names its topics: topics = [\"a/#\"]".to_owned());
    }
    topics.iter().try_for_each(|topic| check_topic(topic))?;
    let names = |key, names: Option<Vec<String>>| match names {
        Some(names) if names.is_empty() => Err(format!(
            "{key} = [] is for nobody; leave it out if the rule is for whoever"
        )),
        names => Ok(names.map(|names| names.into_iter().map(String::into_boxed_str).collect())),
    };
    let listeners: Option<Vec<Box<str>>> = names("listeners", written.listeners)?;
    for listener in listeners.iter().flatten() {
        // one that is never meant would allow nobody, or deny nobody
        if !LISTENERS.iter().any(|it| who::fits(listener, it, true)) {
            let known = LISTENERS.join(", ");
            return Err(format!(
                "listeners = [\"{listener}\"]: it is one of {known}"
            ));
        }
    }
    let via = written.via.map(|ways| {
        if ways.is_empty() {
            return Err(
                "via = [] is for no way in; leave it out if the rule is for all".to_owned(),
            );
        }
        let ways = ways.iter().map(|way| {
            Via::named(way).ok_or_else(|| {
                let known = Via::ALL.map(Via::as_str).join(", ");
                format!("via = \"{way}\": it is one of {known}")
            })
        });
        ways.collect::<Result<Vec<_>, _>>()
    });
    if written.anonymous == Some(false) && written.users.is_none() {
        return Err("anonymous = false alone is for nobody else: say users = [\"*\"] for whoever has a name".to_owned());
    }
    let anonymous = written.anonymous.unwrap_or(false);
    let mut users: Option<Vec<Box<str>>> = names("users", written.users)?;
    if anonymous && users.is_none() {
        users = Some(Vec::new());
    }
    Ok(Rule {
        id: RuleId::Own(line),
        effect,
        actions: all,
        who: Who {
            users,
            anonymous,
            groups: names("groups", written.groups)?,
            clients: names("clients", written.clients)?,
            listeners,
            via: via.transpose()?,
            has_wildcards: true,
        },
        topics: topics.into_iter().map(String::into_boxed_str).collect(),
        is_pattern: true,
    })
}

fn action_named(name: &str) -> Result<Actions, String> {
    match name {
        "publish" => Ok(Actions::PUBLISH),
        // whoever may subscribe is given what he subscribed to, but for what another rule denies
        "subscribe" => Ok(Actions::SUBSCRIBE | Actions::RECEIVE),
        "receive" => Ok(Actions::RECEIVE),
        "retain" => Ok(Actions::RETAIN),
        _ => Err(format!(
            "\"{name}\" is no action; it is one of publish, subscribe, receive, retain"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_in_order_with_their_lines() {
        let text = "[groups]\nops = [\"alice\"]\n\n[[rule]]\ndeny = [\"publish\"]\ntopics = [\"a/+\"]\nvia = [\"rest\"]\n\n\
                    # later\n[[rule]]\nallow = [\"publish\", \"retain\", \"subscribe\"]\nusers = [\"*\"]\ntopics = [\"%u/#\", \"b\"]\n";
        let set = parse(text).unwrap();
        assert_eq!(set.groups, [("ops".into(), vec!["alice".into()])]);
        let ids: Vec<_> = set.rules.iter().map(|rule| rule.id.to_string()).collect();
        assert_eq!(ids, ["rules:4", "rules:10"]);
        assert_eq!(set.rules[0].effect, Effect::Deny);
        assert_eq!(set.rules[0].who.via, Some(vec![Via::Rest]));
        assert_eq!(
            set.rules[1].actions.to_string(),
            "publish+subscribe+receive+retain"
        );
        assert_eq!(set.rules[1].topics, ["%u/#".into(), "b".into()]);
    }

    #[test]
    fn every_fault_is_told_with_its_line() {
        for (text, line, word) in [
            ("", 0, "no [[rule]]"),
            ("[[rule]]\n", 1, "either allow"),
            (
                "\n[[rule]]\nallow = [\"publish\"]\ndeny = [\"publish\"]\ntopics = [\"a\"]\n",
                2,
                "either allow",
            ),
            (
                "[[rule]]\nallow = [\"publsh\"]\ntopics = [\"a\"]\n",
                1,
                "publsh",
            ),
            (
                "[[rule]]\nallow = []\ntopics = [\"a\"]\n",
                1,
                "at least one",
            ),
            ("[[rule]]\nallow = [\"publish\"]\n", 1, "topics"),
            (
                "[[rule]]\nallow = [\"publish\"]\ntopics = [\"a/#/b\"]\n",
                1,
                "a/#/b",
            ),
            (
                "[[rule]]\nallow = [\"publish\"]\ntopics = [\"$share/g/a\"]\n",
                1,
                "$share",
            ),
            (
                "[[rule]]\nallow = [\"publish\"]\ntopics = [\"a\"]\nusers = []\n",
                1,
                "nobody",
            ),
            (
                "[[rule]]\nallow = [\"publish\"]\ntopics = [\"a\"]\nvia = [\"http\"]\n",
                1,
                "sse",
            ),
            (
                "[[rule]]\ndeny = [\"publish\"]\ntopics = [\"a\"]\nlisteners = [\"mqtt-tls\"]\n",
                1,
                "mqtts",
            ),
            (
                "[[rule]]\nallow = [\"publish\"]\ntopic = [\"a\"]\n",
                3,
                "unknown field",
            ),
            ("[[rule]\n", 1, ""),
        ] {
            let faults = parse(text).unwrap_err();
            assert!(faults[0].what.contains(word), "{text}: {faults:?}");
            assert_eq!(faults[0].line, line, "{text}: {faults:?}");
        }
        let two =
            "[[rule]]\nallow = []\ntopics = [\"a\"]\n[[rule]]\nallow = [\"x\"]\ntopics = [\"a\"]\n";
        let lines: Vec<_> = parse(two).unwrap_err().iter().map(|one| one.line).collect();
        assert_eq!(lines, [1, 4]);
    }
}
