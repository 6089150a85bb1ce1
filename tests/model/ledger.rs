//! What became of every message: the oracle that both parties report to.

use std::collections::BTreeMap;

use tidegate::mqtt::Qos;

/// Every message of a world, by direction and number.
#[derive(Default)]
pub struct Ledger {
    /// From the client to the server.
    pub up: BTreeMap<u64, Entry>,
    /// From the server to the client.
    pub down: BTreeMap<u64, Entry>,
    next: u64,
}

/// One message.
#[derive(Debug)]
pub struct Entry {
    pub qos: Qos,
    /// How often the receiving application got it.
    pub received: u32,
    /// How often the receiver refused it, which only a 5.0 sender notices.
    pub refused: u32,
    /// How often a PUBLISH with it was written.
    pub written: u32,
    pub fate: Fate,
}

/// How things stand between the two parties about one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Not settled.
    Open,
    /// The sender was told that it arrived; at QoS 0: it was written.
    Settled,
    /// The sender was told that it is not wanted.
    Refused,
    /// It was dropped for a reason that the standard allows.
    Dropped(&'static str),
}

impl Ledger {
    fn enter(entries: &mut BTreeMap<u64, Entry>, number: u64, qos: Qos) {
        entries.insert(
            number,
            Entry {
                qos,
                received: 0,
                refused: 0,
                written: 0,
                fate: Fate::Open,
            },
        );
    }

    /// A new message to the server.
    pub fn new_up(&mut self, qos: Qos) -> u64 {
        self.next += 1;
        Self::enter(&mut self.up, self.next, qos);
        self.next
    }

    /// A new message to the client.
    pub fn new_down(&mut self, qos: Qos) -> u64 {
        self.next += 1;
        Self::enter(&mut self.down, self.next, qos);
        self.next
    }

    /// What holds at every moment.
    pub fn check(&self, number: u64) {
        let entry = self.up.get(&number).or_else(|| self.down.get(&number));
        let entry = entry.expect("only messages of this world are on its link");
        match entry.qos {
            Qos::AtMostOnce => assert!(
                entry.received <= 1,
                "QoS 0 more than once: {number} {entry:?}"
            ),
            // no oftener than it was sent
            Qos::AtLeastOnce => assert!(
                entry.received <= entry.written,
                "QoS 1 from nowhere: {number} {entry:?}"
            ),
            Qos::ExactlyOnce => {
                assert!(
                    entry.received <= 1,
                    "QoS 2 more than once: {number} {entry:?}"
                );
            }
        }
        if entry.fate == Fate::Settled && entry.qos > Qos::AtMostOnce {
            assert!(
                entry.received + entry.refused > 0,
                "acknowledged and not received: {number} {entry:?}"
            );
        }
    }

    /// What holds when both parties have nothing left to say.
    pub fn check_settled(&self) {
        for (number, entry) in self.up.iter().chain(&self.down) {
            self.check(*number);
            if entry.qos > Qos::AtMostOnce {
                assert_ne!(entry.fate, Fate::Open, "never settled: {number} {entry:?}");
            }
        }
    }
}

/// A payload that says which message it is.
pub fn payload(number: u64, padding: usize) -> Vec<u8> {
    let mut bytes = number.to_be_bytes().to_vec();
    bytes.resize(8 + padding, b'.');
    bytes
}

/// The message that a payload belongs to.
pub fn number_in(payload: &[u8]) -> u64 {
    u64::from_be_bytes(payload[..8].try_into().expect("eight bytes"))
}
