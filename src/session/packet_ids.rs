//! Packet identifiers for messages to the client: never one that is in use [MQTT-2.2.1-4].
//!
//! Identifiers are given in turn, so those in use mostly lie between the oldest of them and the last one given, and
//! nobody needs to keep a set of them.

use crate::mqtt::PacketId;

/// Which identifier is next.
#[derive(Debug, Default)]
pub struct PacketIds {
    last: u16,
    /// Those in use do not all lie between the oldest and the last.
    scattered: bool,
}

impl PacketIds {
    /// A free identifier. `oldest` is the one in use that was given first; `is_used` is asked only after one of them
    /// outlasted a whole turn, or was not given here. Only while fewer than 65,535 are in use.
    pub fn take(
        &mut self,
        oldest: Option<PacketId>,
        is_used: impl Fn(PacketId) -> bool,
    ) -> PacketId {
        loop {
            self.last = self.last.wrapping_add(1);
            let Some(id) = PacketId::new(self.last) else {
                continue;
            };
            match oldest {
                None => {
                    self.scattered = false;
                    return id;
                }
                // once around: from here on any may be in use
                Some(oldest) if id == oldest => self.scattered = true,
                Some(_) if self.scattered && is_used(id) => {}
                Some(_) => return id,
            }
        }
    }

    /// The identifier is in use although it was not given here. The next one tried comes behind it.
    pub fn occupy(&mut self, id: PacketId) {
        self.last = self.last.max(id.get());
        self.scattered = true;
    }

    /// The oldest in use is not known any more.
    pub fn scatter(&mut self) {
        self.scattered = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    #[test]
    fn mqtt_2_2_1_4_identifiers_wrap_around_and_skip_those_in_use() {
        let mut ids = PacketIds::default();
        let stuck = ids.take(None, |_| false);
        assert_eq!(stuck.get(), 1);
        for expected in 2..=u16::MAX {
            assert_eq!(ids.take(Some(stuck), |id| id == stuck).get(), expected);
        }
        assert_eq!(ids.take(Some(stuck), |id| id == stuck).get(), 2);
    }

    #[test]
    fn mqtt_2_2_1_4_whatever_order_they_are_freed_in_none_is_given_twice() {
        let mut ids = PacketIds::default();
        let mut used: VecDeque<PacketId> = VecDeque::new();
        for step in 0..300_000usize {
            let id = ids.take(used.front().copied(), |id| used.contains(&id));
            assert!(!used.contains(&id), "{id} at step {step}");
            used.push_back(id);
            // the oldest stays for long, and others are freed in any order
            if used.len() > 20 {
                let at = if step % 100_000 == 99_999 {
                    0
                } else {
                    1 + step * 7 % 19
                };
                used.remove(at);
            }
        }
    }
}
