//! Parts of MQTT that an operator may switch off. What is off is announced in CONNACK and refused when it is used all
//! the same; 3.x clients, which cannot be told, only meet the refusal.

use super::violation::Violation;
use crate::mqtt::{Qos, Version, connack::ConnAck, publish::Publish, subscribe::Subscribe};

/// `[features]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Features {
    /// The highest QoS of messages, in either direction.
    pub maximum_qos: Qos,
    /// Whether messages may be retained.
    pub retain: bool,
    /// Whether filters may have wildcards.
    pub wildcard_subscriptions: bool,
    /// Whether `$share` filters are served.
    pub shared_subscriptions: bool,
    /// Whether subscriptions may have identifiers.
    pub subscription_identifiers: bool,
}

impl Default for Features {
    fn default() -> Self {
        Features {
            maximum_qos: Qos::ExactlyOnce,
            retain: true,
            wildcard_subscriptions: true,
            shared_subscriptions: true,
            subscription_identifiers: true,
        }
    }
}

impl Features {
    /// Says in a 5.0 CONNACK what is off; a property that is left out means that it is on.
    pub fn announce(self, connack: &mut ConnAck) {
        let off = |on: bool| (!on).then_some(false);
        // [MQTT-3.2.2-9]
        connack.maximum_qos = (self.maximum_qos < Qos::ExactlyOnce).then_some(self.maximum_qos);
        connack.retain_available = off(self.retain);
        connack.wildcard_available = off(self.wildcard_subscriptions);
        connack.shared_available = off(self.shared_subscriptions);
        connack.subscription_ids_available = off(self.subscription_identifiers);
    }

    /// Whether a PUBLISH uses only what is on. 3.x has no code for it: there, too, the connection ends, since an
    /// acknowledgement would say that the message was taken.
    pub fn check_publish(self, publish: &Publish) -> Result<(), Violation> {
        if publish.qos > self.maximum_qos {
            return Err(Violation::QosNotSupported); // [MQTT-3.2.2-11]
        }
        if publish.retain && !self.retain {
            return Err(Violation::RetainNotSupported); // [MQTT-3.2.2-14]
        }
        Ok(())
    }

    /// Whether a SUBSCRIBE uses only what is on (3.2.2.3.11 to 13). A 5.0 client was told, so it breaks the protocol;
    /// a 3.x client was not, and gets a SUBACK that refuses the one filter.
    pub fn check_subscribe(self, subscribe: &Subscribe, version: Version) -> Result<(), Violation> {
        if !version.is_v5() {
            return Ok(());
        }
        if subscribe.subscription_id.is_some() && !self.subscription_identifiers {
            return Err(Violation::SubscriptionIdsNotSupported);
        }
        for (filter, _) in &subscribe.filters {
            if !self.shared_subscriptions && filter.starts_with("$share/") {
                return Err(Violation::SharedNotSupported);
            }
            if !self.wildcard_subscriptions && filter.contains(['+', '#']) {
                return Err(Violation::WildcardsNotSupported);
            }
        }
        Ok(())
    }
}
