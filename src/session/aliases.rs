//! Topic aliases of one connection, both ways.

use super::violation::Violation;
use crate::mqtt::topic::TopicName;
use std::{collections::BTreeMap, num::NonZeroU16};

/// What the client's aliases stand for.
#[derive(Debug)]
pub struct AliasesIn {
    maximum: u16,
    topics: BTreeMap<NonZeroU16, TopicName>,
}

impl AliasesIn {
    /// Aliases from 1 to `maximum` are accepted [MQTT-3.3.2-12].
    pub fn new(maximum: u16) -> Self {
        AliasesIn {
            maximum,
            topics: BTreeMap::new(),
        }
    }

    /// The topic a PUBLISH means; a topic with an alias is remembered.
    pub fn resolve(
        &mut self,
        topic: Option<TopicName>,
        alias: Option<NonZeroU16>,
    ) -> Result<TopicName, Violation> {
        match (topic, alias) {
            (Some(topic), None) => Ok(topic),
            // [MQTT-3.3.2-9]
            (_, Some(alias)) if alias.get() > self.maximum => Err(Violation::AliasAboveMaximum),
            (Some(topic), Some(alias)) => {
                self.topics.insert(alias, topic.clone());
                Ok(topic)
            }
            (None, Some(alias)) => self
                .topics
                .get(&alias)
                .cloned()
                .ok_or(Violation::AliasUnknown),
            (None, None) => Err(Violation::AliasUnknown),
        }
    }
}

/// Aliases given to topics towards the client: the first topics get one and keep it.
#[derive(Debug)]
pub struct AliasesOut {
    maximum: u16,
    aliases: BTreeMap<TopicName, NonZeroU16>,
}

/// How a topic is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// In full.
    None,
    /// In full, with an alias for the next time.
    Set(NonZeroU16),
    /// By its alias alone.
    Use(NonZeroU16),
}

impl AliasesOut {
    /// Aliases from 1 to `maximum` may be used [MQTT-3.3.2-11]; with 0 none [MQTT-3.1.2-27].
    pub fn new(maximum: u16) -> Self {
        AliasesOut {
            maximum,
            aliases: BTreeMap::new(),
        }
    }

    /// How to write `topic` now.
    pub fn choose(&mut self, topic: &TopicName) -> Choice {
        if self.maximum == 0 {
            return Choice::None;
        }
        if let Some(alias) = self.aliases.get(topic) {
            return Choice::Use(*alias);
        }
        let used = self.aliases.len() as u16; // never above maximum
        match NonZeroU16::new(used + 1).filter(|alias| alias.get() <= self.maximum) {
            None => Choice::None,
            Some(alias) => {
                self.aliases.insert(topic.clone(), alias);
                Choice::Set(alias)
            }
        }
    }

    /// The packet with this choice was not sent after all.
    pub fn take_back(&mut self, choice: Choice) {
        if let Choice::Set(unsent) = choice {
            self.aliases.retain(|_, alias| *alias != unsent);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(text: &str) -> TopicName {
        TopicName::parse(text).unwrap()
    }

    #[test]
    fn mqtt_3_3_2_9_an_alias_above_the_maximum_or_unknown_is_a_violation() {
        let mut aliases = AliasesIn::new(2);
        let two = NonZeroU16::new(2);
        assert_eq!(aliases.resolve(None, two), Err(Violation::AliasUnknown));
        assert_eq!(aliases.resolve(Some(topic("a")), two), Ok(topic("a")));
        assert_eq!(aliases.resolve(None, two), Ok(topic("a")));
        assert_eq!(aliases.resolve(Some(topic("b")), two), Ok(topic("b")));
        assert_eq!(aliases.resolve(None, two), Ok(topic("b")));
        assert_eq!(
            aliases.resolve(Some(topic("a")), NonZeroU16::new(3)),
            Err(Violation::AliasAboveMaximum)
        );
    }

    #[test]
    fn mqtt_3_3_2_11_aliases_towards_the_client_stay_within_its_maximum() {
        let one = NonZeroU16::MIN;
        let mut aliases = AliasesOut::new(1);
        assert_eq!(aliases.choose(&topic("a")), Choice::Set(one));
        assert_eq!(aliases.choose(&topic("a")), Choice::Use(one));
        assert_eq!(aliases.choose(&topic("b")), Choice::None);
        assert_eq!(AliasesOut::new(0).choose(&topic("a")), Choice::None);
    }
}
