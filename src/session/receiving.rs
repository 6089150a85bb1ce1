//! Messages from the client: the QoS 2 identifiers that wait for PUBREL, and the window we announced.

use super::violation::Violation;
use crate::mqtt::{PacketId, Qos, reason::ReasonCode};
use std::collections::BTreeSet;

/// The receiving side of QoS 1 and 2. Its sets are trees: they own nothing while they are empty.
#[derive(Debug)]
pub struct Receiving {
    /// Accepted QoS 2 messages whose PUBREL has not come.
    unreleased: BTreeSet<PacketId>,
    /// Those of them that a former connection sent: a new connection begins with its whole window (4.9).
    former: BTreeSet<PacketId>,
    /// QoS 1 messages handed to the broker and not answered yet.
    unanswered: usize,
    /// Receive Maximum we announced; `None` on 3.x, which has none.
    maximum: Option<u16>,
}

/// Whether a PUBLISH brings something.
#[derive(Debug, PartialEq, Eq)]
pub enum Arrival {
    /// A new message.
    New,
    /// A QoS 2 message we have already.
    Repeated(PacketId),
}

impl Receiving {
    /// Nothing under way.
    pub fn new(maximum: Option<u16>) -> Self {
        Receiving {
            unreleased: BTreeSet::new(),
            former: BTreeSet::new(),
            unanswered: 0,
            maximum,
        }
    }

    /// Goes on under a new connection's window; QoS 2 identifiers stay.
    pub fn resume(&mut self, maximum: Option<u16>) {
        self.maximum = maximum;
        self.unanswered = 0;
        self.former.clone_from(&self.unreleased);
    }

    /// QoS 2 messages that wait for PUBREL, whichever connections sent them.
    pub fn unreleased(&self) -> usize {
        self.unreleased.len()
    }

    /// The identifiers that wait for PUBREL.
    pub fn identifiers(&self) -> &BTreeSet<PacketId> {
        &self.unreleased
    }

    /// Takes over what a former run of the gateway had taken.
    pub fn restore(&mut self, unreleased: BTreeSet<PacketId>) {
        self.unreleased = unreleased;
    }

    /// Takes note of a PUBLISH.
    pub fn arrived(&mut self, packet_id: Option<PacketId>, qos: Qos) -> Result<Arrival, Violation> {
        let Some(packet_id) = packet_id else {
            return Ok(Arrival::New);
        };
        if self.unreleased.contains(&packet_id) && qos == Qos::ExactlyOnce {
            return Ok(Arrival::Repeated(packet_id));
        }
        // [MQTT-3.3.4-7]
        let open = self.unreleased.len() - self.former.len() + self.unanswered;
        if self.maximum.is_some_and(|maximum| open >= maximum.into()) {
            return Err(Violation::ReceiveMaximumExceeded);
        }
        match qos {
            Qos::ExactlyOnce => {
                self.unreleased.insert(packet_id);
            }
            _ => self.unanswered += 1,
        }
        Ok(Arrival::New)
    }

    /// The message was acknowledged, or refused.
    pub fn answered(&mut self, packet_id: PacketId, qos: Qos, reason: ReasonCode) {
        match qos {
            // [MQTT-4.3.3-9]
            Qos::ExactlyOnce if reason.is_failure() => self.free(packet_id),
            Qos::ExactlyOnce => {}
            _ => self.unanswered = self.unanswered.saturating_sub(1),
        }
    }

    /// PUBREL came; false if we know nothing of the identifier.
    pub fn released(&mut self, packet_id: PacketId) -> bool {
        let known = self.unreleased.contains(&packet_id);
        self.free(packet_id);
        known
    }

    fn free(&mut self, packet_id: PacketId) {
        self.unreleased.remove(&packet_id);
        self.former.remove(&packet_id);
    }
}
