//! Packet identifiers for messages to the client: never one that is in use [MQTT-2.2.1-4].

use crate::mqtt::PacketId;
use std::collections::BTreeSet;

/// Identifiers in use, and the next to try. A tree owns nothing while it is empty.
#[derive(Debug, Default)]
pub struct PacketIds {
    last: u16,
    used: BTreeSet<PacketId>,
}

impl PacketIds {
    /// A free identifier, now in use. Only while fewer than 65,535 are in use.
    pub fn take(&mut self) -> PacketId {
        loop {
            self.last = self.last.wrapping_add(1);
            if let Some(id) = PacketId::new(self.last)
                && self.used.insert(id)
            {
                return id;
            }
        }
    }

    /// The identifier is in use. The next one tried comes behind it.
    pub fn occupy(&mut self, id: PacketId) {
        self.used.insert(id);
        self.last = self.last.max(id.get());
    }

    /// The identifier is free again.
    pub fn free(&mut self, id: PacketId) {
        self.used.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mqtt_2_2_1_4_identifiers_wrap_around_and_skip_those_in_use() {
        let mut ids = PacketIds::default();
        let stuck = ids.take();
        assert_eq!(stuck.get(), 1);
        for expected in 2..=u16::MAX {
            let id = ids.take();
            assert_eq!(id.get(), expected);
            ids.free(id);
        }
        assert_eq!(ids.take().get(), 2);
    }
}
