//! How much one client may ask for, whichever way it comes in.

use super::features::Features;
use crate::mqtt::topic;

/// What a packet may hold besides its payload: topic, properties, headers. In bytes.
const BESIDE_PAYLOAD: usize = 256 * 1024;

/// The same for a message in JSON, in bytes.
const BESIDE_PAYLOAD_IN_JSON: usize = 64 * 1024;

/// `[limits]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Largest payload of a message, in bytes. The one knob for sizes: other bounds derive from it.
    pub payload: usize,
    /// Levels of a topic name or filter.
    pub topic_levels: usize,
    /// Longest topic name or filter, in bytes.
    pub topic_bytes: usize,
    /// User Properties of one packet, and of a will.
    pub user_properties: usize,
    /// Filters in one SUBSCRIBE, or on one web stream. An UNSUBSCRIBE only frees, and needs no limit but its size.
    pub filters_per_request: usize,
    /// Subscriptions one session may hold.
    pub filters_per_session: usize,
    /// QoS 1 and 2 messages that may be unacknowledged at a time, in each direction.
    pub receive_maximum: u16,
    /// QoS 2 messages from one client whose PUBREL has not come, those of former connections included.
    pub unreleased: u16,
    /// Topics with a retained message.
    pub retained_messages: usize,
    /// What all retained messages may hold together, in bytes.
    pub retained_bytes: usize,
    /// Sessions, those that wait for their clients included.
    pub sessions: usize,
    /// Topic aliases a 5.0 client may set, and the most that are set for one.
    pub topic_alias_maximum: u16,
    /// Largest CONNECT, in bytes.
    pub connect: usize,
    /// What all connections that have no CONNACK yet may hold together, their CONNECT included, in bytes.
    pub unauthenticated: usize,
    /// Connections open at a time, over all ways in; more wait to be accepted.
    pub connections: usize,
    /// Longest client identifier, in bytes.
    pub client_id_bytes: usize,
    /// Longest keep-alive a 5.0 client may have, in seconds; it is told a shorter one by Server Keep Alive, also if
    /// it asked for none. 0 leaves clients their choice.
    pub keep_alive: u16,
    /// Records of the log that one read of the web looks at; a stream looks at no more in one go.
    pub replay_scan: usize,
    /// What is switched on.
    pub features: Features,
}

impl Limits {
    /// Largest MQTT packet after CONNECT, in bytes.
    pub fn packet(&self) -> usize {
        self.payload.saturating_add(BESIDE_PAYLOAD)
    }

    /// Largest message in JSON, in bytes: its payload may be written in base64.
    pub fn json_message(&self) -> usize {
        let payload = self.payload.div_ceil(3).saturating_mul(4);
        payload.saturating_add(BESIDE_PAYLOAD_IN_JSON)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            payload: 1024 * 1024,
            topic_levels: 128,
            topic_bytes: topic::MAX_BYTES,
            user_properties: 64,
            filters_per_request: 64,
            filters_per_session: 1000,
            receive_maximum: 1024,
            unreleased: 16_384,
            retained_messages: 1_000_000,
            retained_bytes: 256 * 1024 * 1024,
            sessions: 100_000,
            topic_alias_maximum: 32,
            connect: 512 * 1024,
            unauthenticated: 64 * 1024 * 1024,
            connections: 10_000,
            client_id_bytes: 65_535,
            keep_alive: 0,
            replay_scan: 100_000,
            features: Features::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_takes_a_payload_of_the_limit_and_what_comes_with_it() {
        assert_eq!(Limits::default().packet(), 1024 * 1024 + 256 * 1024);
        assert_eq!(
            Limits {
                payload: usize::MAX,
                ..Limits::default()
            }
            .packet(),
            usize::MAX
        );
    }

    #[test]
    fn a_message_in_json_takes_a_payload_of_the_limit_in_base64() {
        let limits = Limits {
            payload: 4,
            ..Limits::default()
        };
        assert_eq!(limits.json_message(), 8 + 64 * 1024);
    }
}
