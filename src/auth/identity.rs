//! An identity with its permissions, asked at publish, subscribe and delivery.

use crate::mqtt::topic::{TopicFilter, TopicName};
use std::sync::Arc;

/// Where a bridge tells its state; a bridge may write there although it is below `$SYS`.
const BRIDGE_STATE: &str = "$SYS/broker/connection/";

/// Where answers to requests go.
const REPLIES: &str = "$reply/";

/// Somebody who publishes and subscribes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// Name of the user; `None` for anonymous.
    pub user: Option<Arc<str>>,
    /// The connection said that it is a bridge (protocol level 0x83 or 0x84).
    bridge: bool,
}

/// Why something is not allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The topic belongs to the gateway.
    #[error("topics that begin with '$' are the gateway's own")]
    Reserved,
}

impl Identity {
    /// Somebody without a name: may do everything but write to the gateway's own topics.
    pub fn anonymous() -> Arc<Self> {
        Arc::new(Identity::default())
    }

    /// Somebody known by this name.
    pub fn named(user: &str) -> Self {
        Identity {
            user: Some(user.into()),
            ..Identity::default()
        }
    }

    /// On whose rights a will is published that was accepted before the gateway was started.
    pub fn of_will(user: Option<Arc<str>>, topic: &TopicName) -> Arc<Self> {
        Arc::new(Identity {
            user,
            // only a bridge's will was accepted there
            bridge: topic.starts_with(BRIDGE_STATE),
        })
    }

    /// As `self`, for a connection that declared itself a bridge.
    pub fn as_bridge(&self) -> Arc<Self> {
        Arc::new(Identity {
            bridge: true,
            ..self.clone()
        })
    }

    /// Whether the connection declared itself a bridge.
    pub fn is_bridge(&self) -> bool {
        self.bridge
    }

    /// Whether a message on `topic` may be published.
    pub fn may_publish(&self, topic: &TopicName) -> Result<(), Denied> {
        if topic.is_reserved() && !(self.bridge && topic.starts_with(BRIDGE_STATE)) {
            return Err(Denied::Reserved);
        }
        Ok(())
    }

    /// Whether what is published on `topic` may be read.
    pub fn may_read(&self, topic: &TopicName) -> Result<(), Denied> {
        // as below
        if topic.starts_with(REPLIES) {
            return Err(Denied::Reserved);
        }
        Ok(())
    }

    /// Whether `filter` may be subscribed to.
    pub fn may_subscribe(&self, filter: &TopicFilter) -> Result<(), Denied> {
        // a reply address is a capability: nobody but the gateway listens there
        if filter.pattern().starts_with(REPLIES) {
            return Err(Denied::Reserved);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gateways_own_topics_are_written_by_bridges_only_and_only_their_state() {
        let state = TopicName::parse("$SYS/broker/connection/plant.b/state").unwrap();
        let version = TopicName::parse("$SYS/broker/version").unwrap();
        let anyone = Identity::anonymous();
        assert_eq!(anyone.may_publish(&state), Err(Denied::Reserved));
        assert_eq!(anyone.as_bridge().may_publish(&state), Ok(()));
        assert_eq!(
            anyone.as_bridge().may_publish(&version),
            Err(Denied::Reserved)
        );
        assert_eq!(
            anyone.may_publish(&TopicName::parse("a/$b").unwrap()),
            Ok(())
        );
    }

    #[test]
    fn a_reply_address_is_nobodys_to_listen_on() {
        let filter = |text| TopicFilter::parse(text).unwrap();
        let anyone = Identity::anonymous();
        assert!(anyone.may_subscribe(&filter("$reply/x")).is_err());
        assert!(anyone.may_subscribe(&filter("$share/g/$reply/x")).is_err());
        assert!(
            anyone
                .may_read(&TopicName::parse("$reply/x").unwrap())
                .is_err()
        );
        assert!(anyone.may_subscribe(&filter("$SYS/#")).is_ok());
    }
}
