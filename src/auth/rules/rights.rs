//! A rule set as one identity sees it: what is not for it is left out, placeholders are filled in.
//!
//! Asked when a publisher's topic or a subscriber's targets are new, never per message of a topic that is known.

use super::{Actions, CLIENT, Effect, Rule, RuleId, RuleSet, Subject, USER};
use crate::{auth::jwt::TokenRights, mqtt::topic};

/// What came of asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// Whether it may be done.
    pub allowed: bool,
    /// What decided.
    pub by: RuleId,
}

/// Rights that come with a token or a ticket: topic filters per action.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Grants {
    /// What may be published to.
    pub publish: Vec<Box<str>>,
    /// What may be subscribed to and received.
    pub subscribe: Vec<Box<str>>,
    /// Where what is published may be retained.
    pub retain: Vec<Box<str>>,
}

impl From<TokenRights> for Grants {
    fn from(rights: TokenRights) -> Self {
        let boxed = |filters: Vec<String>| filters.into_iter().map(Into::into).collect();
        Grants {
            publish: boxed(rights.publish),
            subscribe: boxed(rights.subscribe),
            retain: boxed(rights.retain),
        }
    }
}

/// The rules that are for one identity, in order.
#[derive(Debug, PartialEq, Eq)]
pub struct Rights {
    rules: Vec<Compiled>,
    any_filter: bool,
    /// Who decides what no rule decides.
    otherwise: RuleId,
}

#[derive(Debug, PartialEq, Eq)]
struct Compiled {
    id: RuleId,
    effect: Effect,
    actions: Actions,
    pattern: Box<str>,
}

impl Rights {
    /// Those of `subject`. With a token's grants, these and nothing else are allowed, and what the rules deny stays
    /// denied.
    pub fn compile(set: &RuleSet, subject: &Subject, token: Option<&Grants>) -> Self {
        let nothing = |otherwise| Rights {
            rules: Vec::new(),
            any_filter: set.any_filter && token.is_none(),
            otherwise,
        };
        if makes_wildcards(set, subject) {
            return nothing(RuleId::Name);
        }
        let groups = groups_of(set, subject);
        let is_wild = is_wild(subject);
        // what such a pattern denies cannot be left out where a token allows whatever is not denied
        if is_wild && token.is_some() && set.rules.iter().any(is_pattern_of_mosquitto) {
            return nothing(RuleId::Name);
        }
        let mut rights = nothing(RuleId::Default);
        let own = set.rules.iter().filter(|rule| {
            // Mosquitto asks its patterns last, and for such a name not at all
            let is_asked = !(is_wild && is_pattern_of_mosquitto(rule));
            let is_left = token.is_none() || rule.effect == Effect::Deny;
            is_asked && is_left && rule.who.means(subject, &groups)
        });
        for rule in own {
            let filled = rule.topics.iter().filter_map(|text| match rule.is_pattern {
                true => fill_in(text, subject).filter(|_| {
                    // a name with levels must not reach into the topics of a name that it begins with
                    let opens = rule.effect == Effect::Allow && matches!(rule.id, RuleId::Own(_));
                    !(opens && has_levels(text, subject))
                }),
                false => Some(text.clone()),
            });
            rights.rules.extend(filled.map(|pattern| Compiled {
                id: rule.id,
                effect: rule.effect,
                actions: rule.actions,
                pattern,
            }));
        }
        if let Some(grants) = token {
            rights.allow(grants, RuleId::Token);
        }
        rights
    }

    /// Nothing but these.
    pub fn only(grants: &Grants, id: RuleId) -> Self {
        let mut rights = Rights {
            rules: Vec::new(),
            any_filter: false,
            otherwise: id,
        };
        rights.allow(grants, id);
        rights
    }

    fn allow(&mut self, grants: &Grants, id: RuleId) {
        let of_each_kind = [
            (&grants.publish, Actions::PUBLISH),
            (&grants.retain, Actions::RETAIN),
            (&grants.subscribe, Actions::SUBSCRIBE | Actions::RECEIVE),
        ];
        for (filters, actions) in of_each_kind {
            self.rules.extend(filters.iter().map(|pattern| Compiled {
                id,
                effect: Effect::Allow,
                actions,
                pattern: pattern.clone(),
            }));
        }
    }

    /// Whether this may be done with messages on `topic`; `action` is one that is about messages.
    pub fn on_topic(&self, action: Actions, topic: &str) -> Decision {
        self.first(action, |pattern| topic::matches(pattern, topic), false)
    }

    /// Whether this filter, without a share name, may be subscribed to: a rule must cover the whole of it. What another
    /// one denies of it is denied message by message.
    pub fn on_filter(&self, filter: &str) -> Decision {
        let covers = |pattern: &str| topic::covers(pattern, filter);
        self.first(Actions::SUBSCRIBE, covers, self.any_filter)
    }

    fn first(&self, action: Actions, is_about: impl Fn(&str) -> bool, otherwise: bool) -> Decision {
        let mut rules = self.rules.iter();
        let decides = |rule: &&Compiled| rule.actions.include(action) && is_about(&rule.pattern);
        match rules.find(decides) {
            Some(rule) => Decision {
                allowed: rule.effect == Effect::Allow,
                by: rule.id,
            },
            None => Decision {
                allowed: otherwise,
                by: self.otherwise,
            },
        }
    }
}

/// Whether a name of this subject would be a wildcard where a rule of our own puts it into a topic.
fn makes_wildcards(set: &RuleSet, subject: &Subject) -> bool {
    let mut own = set
        .rules
        .iter()
        .filter(|rule| !matches!(rule.id, RuleId::Mosquitto(_)));
    is_wild(subject) && own.any(Rule::has_placeholders)
}

fn is_pattern_of_mosquitto(rule: &Rule) -> bool {
    rule.is_pattern && matches!(rule.id, RuleId::Mosquitto(_))
}

fn is_wild(subject: &Subject) -> bool {
    let mut names = [&subject.user, &subject.client_id].into_iter().flatten();
    names.any(|name| name.contains(['+', '#']))
}

fn groups_of(set: &RuleSet, subject: &Subject) -> Vec<Box<str>> {
    let Some(user) = &subject.user else {
        return Vec::new();
    };
    let groups = set.groups.iter();
    let own = groups.filter(|(_, users)| users.iter().any(|member| **member == **user));
    own.map(|(group, _)| group.clone()).collect()
}

/// Whether a name that is filled in has more than one level.
fn has_levels(text: &str, subject: &Subject) -> bool {
    let names = [(USER, &subject.user), (CLIENT, &subject.client_id)];
    names.iter().any(|(placeholder, name)| {
        text.contains(placeholder) && name.as_ref().is_some_and(|name| name.contains('/'))
    })
}

/// `None` if there is no name to be filled in.
fn fill_in(text: &str, subject: &Subject) -> Option<Box<str>> {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        filled.push_str(&rest[..at]);
        rest = &rest[at..];
        let (name, length) = if rest.starts_with(USER) {
            (subject.user.as_deref()?, USER.len())
        } else if rest.starts_with(CLIENT) {
            (subject.client_id.as_deref()?, CLIENT.len())
        } else {
            ("%", 1)
        };
        filled.push_str(name);
        rest = &rest[length..];
    }
    filled.push_str(rest);
    // an empty name, or one with U+0000, makes no topic
    topic::TopicFilter::parse(&filled).ok()?;
    Some(filled.into_boxed_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::rules::own;

    const RULES: &str = r##"
        [groups]
        ops = ["bob"]
        [[rule]]
        deny = ["subscribe"]
        topics = ["plant/+/secret"]
        [[rule]]
        deny = ["publish"]
        topics = ["plant/valve"]
        groups = ["viewers"]
        [[rule]]
        allow = ["publish", "subscribe"]
        topics = ["plant/#"]
        groups = ["ops", "viewers"]
        [[rule]]
        allow = ["publish", "subscribe", "retain"]
        topics = ["home/%u/#", "at/%c"]
    "##;

    fn rights(user: &str, groups: &[&str], token: Option<&Grants>) -> Rights {
        let subject = Subject {
            user: Some(user.into()),
            groups: groups.iter().map(|group| (*group).into()).collect(),
            client_id: Some("c".into()),
            ..Subject::default()
        };
        Rights::compile(&own::parse(RULES).unwrap(), &subject, token)
    }

    #[test]
    fn the_first_rule_that_matches_decides_and_is_named() {
        let bob = rights("bob", &[], None);
        let told = |decision: Decision| (decision.allowed, decision.by.to_string());
        let publish = |topic| told(bob.on_topic(Actions::PUBLISH, topic));
        assert_eq!(publish("plant/valve"), (true, "rules:11".to_owned()));
        assert_eq!(publish("home/bob/x"), (true, "rules:15".to_owned()));
        assert_eq!(publish("home/eve/x"), (false, "default".to_owned()));
        assert_eq!(publish("at/c"), (true, "rules:15".to_owned()));
        let viewer = rights("eve", &["viewers"], None);
        let publish = |topic| told(viewer.on_topic(Actions::PUBLISH, topic));
        assert_eq!(publish("plant/valve"), (false, "rules:7".to_owned()));
        assert_eq!(publish("plant/other"), (true, "rules:11".to_owned()));
    }

    #[test]
    fn a_filter_must_be_covered_and_what_is_denied_of_it_is_denied_by_message() {
        let bob = rights("bob", &[], None);
        for (filter, allowed) in [
            ("plant/#", true),
            ("plant/+/x", true),
            ("plant/a/secret", false),
            ("plant/+/secret", false),
            ("#", false),
            ("+/a", false),
            ("home/bob", true),
            ("home/+", false),
        ] {
            assert_eq!(bob.on_filter(filter).allowed, allowed, "{filter}");
        }
        assert!(bob.on_topic(Actions::RECEIVE, "plant/a/b").allowed);
        assert!(!bob.on_topic(Actions::RECEIVE, "plant/a/secret").allowed);
    }

    #[test]
    fn a_token_allows_what_it_names_and_nothing_else_and_the_rules_still_deny() {
        let grants = Grants {
            publish: vec!["plant/#".into()],
            subscribe: vec!["other/#".into(), "plant/+/secret".into()],
            retain: vec!["plant/state".into()],
        };
        let viewer = rights("eve", &["viewers"], Some(&grants));
        assert!(viewer.on_topic(Actions::PUBLISH, "plant/x").allowed);
        assert!(!viewer.on_topic(Actions::PUBLISH, "plant/valve").allowed);
        assert!(!viewer.on_topic(Actions::RETAIN, "plant/x").allowed);
        assert!(viewer.on_topic(Actions::RETAIN, "plant/state").allowed);
        assert!(!viewer.on_topic(Actions::PUBLISH, "home/eve/x").allowed);
        assert!(viewer.on_filter("other/#").allowed);
        assert!(!viewer.on_filter("plant/a/secret").allowed);
    }

    #[test]
    fn a_name_with_a_wildcard_takes_no_denial_of_a_pattern_away_from_a_token() {
        let set = crate::auth::rules::mosquitto::parse("pattern deny secret/#\n").unwrap();
        let grants = Grants {
            publish: vec!["#".into()],
            subscribe: vec!["#".into()],
            retain: Vec::new(),
        };
        for (client, allowed) in [("x", true), ("x+", false)] {
            let subject = Subject {
                client_id: Some(client.into()),
                ..Subject::default()
            };
            let rights = Rights::compile(&set, &subject, Some(&grants));
            for action in [Actions::PUBLISH, Actions::RECEIVE] {
                assert!(!rights.on_topic(action, "secret/a").allowed, "{client}");
                assert_eq!(rights.on_topic(action, "open").allowed, allowed, "{client}");
            }
        }
    }

    #[test]
    fn a_name_that_is_a_percent_sign_is_filled_in_whole() {
        let subject = Subject {
            user: Some("%".into()),
            ..Subject::default()
        };
        assert_eq!(
            fill_in("home/%u/a%b", &subject).as_deref(),
            Some("home/%/a%b")
        );
    }

    #[test]
    fn names_that_are_wildcards_get_nothing_by_a_rule_that_fills_them_in() {
        let wild = rights("+", &["ops"], None);
        assert!(!wild.on_topic(Actions::PUBLISH, "plant/x").allowed);
        assert!(!wild.on_filter("plant/x").allowed);
        assert_eq!(
            wild.on_topic(Actions::PUBLISH, "home/bob/x").by,
            RuleId::Name
        );
        // user a may write there
        let deep = rights("a/b", &[], None);
        assert!(!deep.on_topic(Actions::PUBLISH, "home/a/b/x").allowed);
        assert!(deep.on_topic(Actions::PUBLISH, "at/c").allowed);
    }
}
