//! How much one client may ask for, whichever way it comes in.

/// What a packet may hold besides its payload: topic, properties, headers. In bytes.
const BESIDE_PAYLOAD: usize = 256 * 1024;

/// `[limits]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Largest payload of a message, in bytes. The one knob for sizes: other bounds derive from it.
    pub payload: usize,
    /// Levels of a topic name or filter.
    pub topic_levels: usize,
    /// Filters in one SUBSCRIBE or UNSUBSCRIBE, or on one web stream.
    pub filters_per_request: usize,
    /// Subscriptions one session may hold.
    pub filters_per_session: usize,
    /// QoS 1 and 2 messages that may be unacknowledged at a time, in each direction.
    pub receive_maximum: u16,
    /// Topic aliases a 5.0 client may set, and the most that are set for one.
    pub topic_alias_maximum: u16,
    /// Largest CONNECT, in bytes.
    pub connect: usize,
    /// What all connections that have not finished their CONNECT may hold together, in bytes.
    pub unauthenticated: usize,
    /// Connections open at a time, over all ways in; more wait to be accepted.
    pub connections: usize,
    /// Longest client identifier, in bytes.
    pub client_id_bytes: usize,
    /// Longest keep-alive a 5.0 client may have, in seconds; it is told a shorter one by Server Keep Alive, also if
    /// it asked for none. 0 leaves clients their choice.
    pub keep_alive: u16,
}

impl Limits {
    /// Largest MQTT packet after CONNECT, in bytes.
    pub fn packet(&self) -> usize {
        self.payload.saturating_add(BESIDE_PAYLOAD)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            payload: 1024 * 1024,
            topic_levels: 128,
            filters_per_request: 64,
            filters_per_session: 1000,
            receive_maximum: 1024,
            topic_alias_maximum: 32,
            connect: 512 * 1024,
            unauthenticated: 64 * 1024 * 1024,
            connections: 10_000,
            client_id_bytes: 65_535,
            keep_alive: 0,
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
}
