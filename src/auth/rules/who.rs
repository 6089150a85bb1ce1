//! Whom a rule is for, and who somebody is.

use super::rights::Grants;
use std::{fmt, sync::Arc};

/// The way somebody came in, or a message is to go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Via {
    /// MQTT over a byte stream: TCP, TLS or a unix socket.
    #[default]
    Mqtt,
    /// MQTT over WebSocket.
    WebSocket,
    /// Requests over HTTP.
    Rest,
    /// An event stream.
    Sse,
    /// JSON over WebSocket.
    WsJson,
}

impl Via {
    /// All of them.
    pub const ALL: [Via; 5] = [Via::Mqtt, Via::WebSocket, Via::Rest, Via::Sse, Via::WsJson];

    /// As rules write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Via::Mqtt => "mqtt",
            Via::WebSocket => "websocket",
            Via::Rest => "rest",
            Via::Sse => "sse",
            Via::WsJson => "ws-json",
        }
    }

    /// By the name that rules write.
    pub fn named(name: &str) -> Option<Via> {
        Via::ALL.into_iter().find(|via| via.as_str() == name)
    }
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The listeners, by the names that rules write.
pub(super) const LISTENERS: [&str; 6] =
    ["mqtt", "mqtts", "mqtt-unix", "http", "https", "http-unix"];

/// How somebody came in, as far as rules ask and a start does not tell by itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Way {
    /// The listener; empty if it is not known.
    pub listener: &'static str,
    /// The way in.
    pub via: Via,
    /// Groups, as a token named them.
    pub groups: Vec<Arc<str>>,
    /// What a token limited it to, if it did.
    pub grants: Option<Arc<Grants>>,
}

impl Way {
    /// Rough size in bytes.
    pub fn weight(&self) -> usize {
        let groups = self.groups.iter().map(|group| group.len());
        let grants = self.grants.iter().flat_map(|grants| {
            [&grants.publish, &grants.subscribe, &grants.retain]
                .into_iter()
                .flatten()
        });
        64 + groups
            .chain(grants.map(|filter| filter.len()))
            .sum::<usize>()
    }

    /// The listener of this name; empty if there is none of that name.
    pub fn listener_named(name: &str) -> &'static str {
        let mut all = LISTENERS.into_iter();
        all.find(|listener| *listener == name).unwrap_or_default()
    }
}

/// Who somebody is, as far as rules ask.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Subject {
    /// The user; `None` is anonymous.
    pub user: Option<Arc<str>>,
    /// Groups, as a token names them.
    pub groups: Vec<Arc<str>>,
    /// The MQTT client identifier; web requests have none.
    pub client_id: Option<Arc<str>>,
    /// The listener: `mqtt`, `mqtts`, `http`, `https`, `mqtt-unix`, `http-unix`.
    pub listener: &'static str,
    /// The way in.
    pub via: Via,
}

/// Whom a rule is for: whoever fits everything that is given.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Who {
    /// One of these users, or clients without a user name where `anonymous` says so. `None`: whoever.
    pub users: Option<Vec<Box<str>>>,
    /// Whether clients without a user name are meant beside `users`.
    pub anonymous: bool,
    /// Somebody in one of these groups. `None`: whoever.
    pub groups: Option<Vec<Box<str>>>,
    /// One of these client identifiers. `None`: whatever.
    pub clients: Option<Vec<Box<str>>>,
    /// Through one of these listeners. `None`: whichever.
    pub listeners: Option<Vec<Box<str>>>,
    /// By one of these ways. `None`: whichever.
    pub via: Option<Vec<Via>>,
    /// Whether names may end in `*`, which stands for any rest.
    pub has_wildcards: bool,
}

impl Who {
    /// Exactly this user; `None` is anonymous.
    pub fn user(name: Option<&str>) -> Self {
        Who {
            users: Some(name.into_iter().map(Box::from).collect()),
            anonymous: name.is_none(),
            ..Who::default()
        }
    }

    /// Whether `subject` is meant. Groups that the rule file itself gives to users are in `also`.
    pub fn means(&self, subject: &Subject, also: &[Box<str>]) -> bool {
        let named = |names: &Option<Vec<Box<str>>>, name: &str| {
            names
                .as_ref()
                .is_none_or(|names| names.iter().any(|it| fits(it, name, self.has_wildcards)))
        };
        let is_user = match (&self.users, &subject.user) {
            (None, _) => true,
            (Some(_), None) => self.anonymous,
            (Some(_), Some(user)) => named(&self.users, user),
        };
        let in_group = self.groups.is_none()
            || subject
                .groups
                .iter()
                .any(|group| named(&self.groups, group))
            || also.iter().any(|group| named(&self.groups, group));
        let is_client = match (&self.clients, &subject.client_id) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(_), Some(id)) => named(&self.clients, id),
        };
        is_user
            && in_group
            && is_client
            && named(&self.listeners, subject.listener)
            && self
                .via
                .as_ref()
                .is_none_or(|ways| ways.contains(&subject.via))
    }
}

/// Whether this is the name, or, with wildcards, begins it and ends in `*`.
pub(super) fn fits(pattern: &str, name: &str, has_wildcards: bool) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) if has_wildcards => name.starts_with(start),
        _ => pattern == name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject() -> Subject {
        Subject {
            user: Some("alice".into()),
            groups: vec!["ops".into()],
            client_id: Some("dev-7".into()),
            listener: "mqtts",
            via: Via::Mqtt,
        }
    }

    fn names(names: &[&str]) -> Option<Vec<Box<str>>> {
        Some(names.iter().map(|name| (*name).into()).collect())
    }

    #[test]
    fn a_rule_is_for_whoever_fits_all_that_it_names() {
        let all = Who {
            users: names(&["bob", "al*"]),
            groups: names(&["ops"]),
            clients: names(&["dev-*"]),
            listeners: names(&["mqtts"]),
            via: Some(vec![Via::Mqtt]),
            anonymous: false,
            has_wildcards: true,
        };
        assert!(Who::default().means(&subject(), &[]));
        assert!(all.means(&subject(), &[]));
        for change in [
            Who {
                users: names(&["bob"]),
                ..all.clone()
            },
            Who {
                users: names(&[]),
                ..all.clone()
            },
            Who {
                groups: names(&["op"]),
                ..all.clone()
            },
            Who {
                clients: names(&["dev"]),
                ..all.clone()
            },
            Who {
                listeners: names(&["mqtt"]),
                ..all.clone()
            },
            Who {
                via: Some(vec![Via::Rest, Via::Sse]),
                ..all.clone()
            },
        ] {
            assert!(!change.means(&subject(), &[]), "{change:?}");
        }
    }

    #[test]
    fn whoever_has_no_name_is_nobody_unless_the_rule_says_so() {
        let nobody = Subject::default();
        let anyone = Who {
            has_wildcards: true,
            ..Who::default()
        };
        assert!(
            !Who {
                users: names(&["*"]),
                ..anyone.clone()
            }
            .means(&nobody, &[])
        );
        assert!(
            !Who {
                clients: names(&["*"]),
                ..anyone
            }
            .means(&nobody, &[])
        );
        assert!(Who::user(None).means(&nobody, &[]));
        assert!(!Who::user(None).means(&subject(), &[]));
    }

    #[test]
    fn groups_come_with_the_token_or_out_of_the_file() {
        let who = Who {
            groups: names(&["viewers"]),
            ..Who::default()
        };
        assert!(!who.means(&subject(), &[]));
        assert!(who.means(&subject(), &["viewers".into()]));
    }
}
