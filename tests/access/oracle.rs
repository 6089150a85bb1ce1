//! What the rules say, decided as naively as can be: the first rule that is about it.

use crate::random::Random;

#[derive(Clone, Debug)]
pub struct Rule {
    pub allow: bool,
    pub actions: Vec<&'static str>,
    pub topics: Vec<String>,
    pub users: Option<Vec<String>>,
}

pub const ACTIONS: [&str; 4] = ["publish", "subscribe", "receive", "retain"];

/// Rules that decide differently for nearly everything.
pub fn random_rules(random: &mut Random<'_>, users: &[&str]) -> Vec<Rule> {
    let count = random.between(8, 40);
    (0..count)
        .map(|_| {
            let actions: Vec<_> = ACTIONS.into_iter().filter(|_| random.once_in(2)).collect();
            let topics = (0..random.between(1, 3))
                .map(|_| pattern(random, true))
                .collect();
            let users = random.once_in(2).then(|| {
                let some = users.iter().filter(|_| random.once_in(2));
                let mut some: Vec<String> = some.map(|user| (*user).to_owned()).collect();
                if some.is_empty() {
                    some.push("nobody".to_owned());
                }
                some
            });
            Rule {
                allow: random.below(3) > 0,
                actions: if actions.is_empty() {
                    vec!["publish"]
                } else {
                    actions
                },
                topics,
                users,
            }
        })
        .collect()
}

/// A topic filter over few levels, so that filters meet.
pub fn pattern(random: &mut Random<'_>, placeholders: bool) -> String {
    let depth = random.between(1, 4);
    let mut levels = Vec::new();
    for nth in 0..depth {
        levels.push(match random.below(9) {
            0 => "+".to_owned(),
            1 if nth + 1 == depth => "#".to_owned(),
            2 if placeholders => "%u".to_owned(),
            other => ["a", "b", "c", "u0"][other as usize % 4].to_owned(),
        });
    }
    levels.join("/")
}

/// A topic over the same levels.
pub fn topic(random: &mut Random<'_>) -> String {
    let levels =
        (0..random.between(1, 4)).map(|_| ["a", "b", "c", "u0", "u1"][random.below(5) as usize]);
    levels.collect::<Vec<_>>().join("/")
}

pub fn as_toml(rules: &[Rule]) -> String {
    let mut text = String::new();
    for rule in rules {
        let effect = if rule.allow { "allow" } else { "deny" };
        text += &format!(
            "[[rule]]\n{effect} = {:?}\ntopics = {:?}\n",
            rule.actions, rule.topics
        );
        if let Some(users) = &rule.users {
            text += &format!("users = {users:?}\n");
        }
    }
    text
}

fn first<'a>(
    rules: &'a [Rule],
    user: &str,
    actions: &[&str],
    is_about: impl Fn(&str) -> bool,
) -> Option<&'a Rule> {
    rules.iter().find(|rule| {
        rule.users
            .as_ref()
            .is_none_or(|users| users.iter().any(|one| one == user))
            && rule.actions.iter().any(|action| actions.contains(action))
            && rule
                .topics
                .iter()
                .any(|topic| is_about(&topic.replace("%u", user)))
    })
}

pub fn may_publish(rules: &[Rule], user: &str, topic: &str, retain: bool) -> bool {
    let says = |actions: &[&str]| {
        first(rules, user, actions, |pattern| matches(pattern, topic))
            .is_some_and(|rule| rule.allow)
    };
    says(&["publish"]) && (!retain || says(&["retain"]))
}

pub fn may_receive(rules: &[Rule], user: &str, topic: &str) -> bool {
    let about = |pattern: &str| matches(pattern, topic);
    first(rules, user, &["receive", "subscribe"], about).is_some_and(|rule| rule.allow)
}

pub fn may_subscribe(rules: &[Rule], user: &str, filter: &str) -> bool {
    let about = |pattern: &str| covers(pattern, filter);
    first(rules, user, &["subscribe"], about).is_some_and(|rule| rule.allow)
}

pub fn matches(pattern: &str, topic: &str) -> bool {
    fn walk(pattern: &[&str], topic: &[&str]) -> bool {
        match (pattern.split_first(), topic.split_first()) {
            (Some((&"#", _)), _) | (None, None) => true,
            (Some((&"+", rest)), Some((_, more))) => walk(rest, more),
            (Some((one, rest)), Some((other, more))) => one == other && walk(rest, more),
            _ => false,
        }
    }
    walk(&levels(pattern), &levels(topic))
}

fn levels(text: &str) -> Vec<&str> {
    text.split('/').collect()
}

/// Every topic that the narrow one matches is matched by the wide one.
fn covers(wide: &str, narrow: &str) -> bool {
    let (wide, narrow) = (levels(wide), levels(narrow));
    for (nth, level) in wide.iter().enumerate() {
        match (*level, narrow.get(nth).copied()) {
            ("#", _) => return true,
            (_, None | Some("#")) => return false,
            ("+", Some(_)) => {}
            (one, Some(other)) if one == other => {}
            _ => return false,
        }
    }
    wide.len() == narrow.len()
}
