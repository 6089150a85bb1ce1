//! Mosquitto's ACL file as it is.
//!
//! `user NAME` opens a section, `topic [read|write|readwrite|deny] FILTER` stands in one (before the first: for clients
//! without a user name), and `pattern ...` is for everybody, with `%u` and `%c`. A section decides before the patterns,
//! and within each of the two what denies is asked first. Like Mosquitto, SUBSCRIBE is accepted whatever the filter: what may be
//! read is decided message by message.
//!
//! Stricter than Mosquitto: a line that says nothing known is a fault and not passed over, and so is a filter that is
//! none; whoever may write may also retain, and nothing else.

use super::{Actions, Effect, Fault, Rule, RuleId, RuleSet, Who, check_topic};

const READ: Actions = Actions::RECEIVE;
const WRITE: Actions = Actions::of_writing();

/// Reads an ACL file. A file without a rule is a fault, as is any line that cannot be read.
pub fn parse(text: &str) -> Result<RuleSet, Vec<Fault>> {
    let mut faults = Vec::new();
    // the sections in order of their users, each with what denies and what allows
    let mut sections: Vec<Section> = Vec::new();
    let mut patterns = Section::of(Who::default());
    let mut current: Option<String> = None;
    for (line, text) in (1..).zip(text.lines()) {
        if text.trim().is_empty() || text.starts_with('#') {
            continue;
        }
        let text = text.trim();
        let mut fault = |what: String| faults.push(Fault { line, what });
        let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let rest = rest.trim();
        match word {
            "user" if rest.is_empty() => fault("user needs a name".to_owned()),
            "user" => current = Some(rest.to_owned()),
            "topic" | "pattern" => match access(rest) {
                Err(what) => fault(what),
                Ok((effect, actions, filter)) => {
                    let section = match word {
                        "pattern" => &mut patterns,
                        _ => section_of(&mut sections, current.as_deref()),
                    };
                    // elsewhere a percent sign is one
                    let is_pattern = word == "pattern";
                    section.add(line, effect, actions, filter, is_pattern);
                }
            },
            // not what it says: a password file, given for this one, is full of secrets
            _ => fault("it begins with none of user, topic, pattern, and is no comment".to_owned()),
        }
    }
    let mut rules: Vec<Rule> = sections.into_iter().flat_map(Section::in_order).collect();
    rules.extend(patterns.in_order());
    if rules.is_empty() && faults.is_empty() {
        faults.push(Fault {
            line: 0,
            what: "there is no rule in it, so nobody could do anything; write \"topic readwrite #\" for everything"
                .to_owned(),
        });
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    Ok(RuleSet {
        rules,
        groups: Vec::new(),
        any_filter: true,
    })
}

struct Section {
    who: Who,
    denied: Vec<Rule>,
    others: Vec<Rule>,
}

impl Section {
    fn of(who: Who) -> Self {
        Section {
            who,
            denied: Vec::new(),
            others: Vec::new(),
        }
    }

    fn add(&mut self, line: u32, effect: Effect, actions: Actions, filter: &str, is_pattern: bool) {
        let rule = Rule {
            id: RuleId::Mosquitto(line),
            effect,
            actions,
            who: self.who.clone(),
            topics: vec![filter.into()],
            is_pattern,
        };
        match effect {
            Effect::Deny => self.denied.push(rule),
            Effect::Allow => self.others.push(rule),
        }
    }

    fn in_order(self) -> impl Iterator<Item = Rule> {
        self.denied.into_iter().chain(self.others)
    }
}

fn section_of<'a>(sections: &'a mut Vec<Section>, user: Option<&str>) -> &'a mut Section {
    let who = Who::user(user);
    let at = sections.iter().position(|section| section.who == who);
    let at = at.unwrap_or_else(|| {
        sections.push(Section::of(who));
        sections.len() - 1
    });
    &mut sections[at]
}

fn access(text: &str) -> Result<(Effect, Actions, &str), String> {
    let both = READ | WRITE;
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let (effect, actions, filter) = match (word, rest.trim()) {
        ("", _) => return Err("a filter is missing".to_owned()),
        // a filter alone, which may be called "read"
        (filter, "") => (Effect::Allow, both, filter),
        ("read", filter) => (Effect::Allow, READ, filter),
        ("write", filter) => (Effect::Allow, WRITE, filter),
        ("readwrite", filter) => (Effect::Allow, both, filter),
        ("deny", filter) => (Effect::Deny, both, filter),
        (word, _) => {
            return Err(format!(
                "\"{word}\" is none of read, write, readwrite, deny; before a filter with spaces one of them is needed"
            ));
        }
    };
    check_topic(filter)?;
    Ok((effect, actions, filter))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::rules::{Subject, rights::Rights};

    const FILE: &str = "# plant\n\
        topic read public/#\n\
        user alice\n\
        topic a/#\n\
        topic deny a/secret\n\
        topic write b/with space\n\
        pattern deny blocked/%u\n\
        pattern readwrite own/%u/%c/#\n\
        user al*\n\
        topic %u\n";

    fn can(user: Option<&str>, client: &str, topic: &str) -> String {
        let subject = Subject {
            user: user.map(Into::into),
            client_id: Some(client.into()),
            ..Subject::default()
        };
        let rights = Rights::compile(&parse(FILE).unwrap(), &subject, None);
        let both = [("r", READ), ("w", Actions::PUBLISH)];
        let may = both
            .iter()
            .filter(|(_, action)| rights.on_topic(*action, topic).allowed);
        may.map(|(letter, _)| *letter).collect()
    }

    #[test]
    fn sections_decide_before_patterns_and_denials_first() {
        for (user, topic, may) in [
            (Some("alice"), "a/x", "rw"),
            (Some("alice"), "a/secret", ""),
            (Some("alice"), "b/with space", "w"),
            (Some("alice"), "public/x", ""),
            (None, "public/x", "r"),
            (None, "a/x", ""),
            (Some("bob"), "own/bob/c/x", "rw"),
            (Some("bob"), "own/alice/c/x", ""),
            (Some("bob"), "own/bob/d/x", ""),
            (None, "own//c/x", ""),
            (Some("bob"), "blocked/bob", ""),
            // no wildcard in a name, no placeholder in a topic
            (Some("al*"), "%u", "rw"),
            (Some("al*"), "al*", ""),
        ] {
            assert_eq!(can(user, "c", topic), may, "{user:?} {topic}");
        }
    }

    #[test]
    fn a_name_that_would_be_a_wildcard_may_nothing() {
        for (user, client) in [("b+b", "c"), ("b#", "c"), ("bob", "#"), ("bob", "a+")] {
            assert_eq!(can(Some(user), client, "own/bob/c/x"), "");
        }
        // but what its section says
        assert_eq!(can(Some("alice"), "#", "a/x"), "rw");
    }

    #[test]
    fn whatever_cannot_be_read_is_a_fault_with_its_line() {
        for (text, line, word) in [
            ("", 0, "no rule"),
            ("# only a comment\n\n", 0, "no rule"),
            ("topic a\nuser\n", 2, "name"),
            ("topic a\nfoo bar\n", 2, "none of user"),
            ("topic reed a\n", 1, "reed"),
            ("topic a/#/b\n", 1, "a/#/b"),
            ("topic\n", 1, "missing"),
            ("topic a\n pattern write +a\n", 2, "+a"),
        ] {
            let faults = parse(text).unwrap_err();
            assert_eq!(faults[0].line, line, "{text}: {faults:?}");
            assert!(faults[0].what.contains(word), "{text}: {faults:?}");
        }
    }

    #[test]
    fn a_line_that_is_no_rule_is_not_told() {
        let faults = parse("ann:$7$101$salt$hash\nsecret\n").unwrap_err();
        assert_eq!(faults.len(), 2);
        let told = format!("{faults:?}");
        assert!(!told.contains("hash") && !told.contains("secret"), "{told}");
    }

    #[test]
    fn any_filter_may_be_subscribed_to() {
        let rights = Rights::compile(&parse("topic a\n").unwrap(), &Subject::default(), None);
        assert!(rights.on_filter("$other/#").allowed);
        assert!(!rights.on_topic(READ, "$other/x").allowed);
    }
}
