//! Packets other than PUBLISH to the client: within the terms it set, with an explanation where it wants one and has room
//! for it.

use super::{Session, opening::Terms, violation::Violation};
use crate::mqtt::{Packet, property::Explanation, write_queue::WriteQueue};

impl Session {
    /// Writes a packet, without its explanation where the client does not want or cannot take one.
    pub(super) fn send(&self, packet: Packet, out: &mut WriteQueue) {
        send(packet, &self.terms, out);
    }

    /// As `send`, for an answer whose length nobody but the client decides.
    pub(super) fn must_send(&self, packet: Packet, out: &mut WriteQueue) -> Result<(), Violation> {
        match send(packet, &self.terms, out) {
            true => Ok(()),
            false => Err(Violation::AnswerTooLarge),
        }
    }
}

/// Writes a packet under these terms; leaves out an explanation that the client does not want [MQTT-3.1.2-29], or that
/// would exceed its maximum [MQTT-3.2.2-19]. What exceeds it all the same is not sent [MQTT-3.1.2-24]: false.
pub fn send(mut packet: Packet, terms: &Terms, out: &mut WriteQueue) -> bool {
    if !terms.problem_information
        && !matches!(packet, Packet::ConnAck(_) | Packet::Disconnect(_))
        && let Some(explanation) = explanation_of(&mut packet)
    {
        *explanation = None;
    }
    let tail = out.tail();
    let start = tail.len();
    packet.encode(terms.version, tail);
    if tail.len() - start > terms.max_packet_out
        && let Some(explanation) = explanation_of(&mut packet)
        && explanation.take().is_some()
    {
        tail.truncate(start);
        packet.encode(terms.version, tail);
    }
    if tail.len() - start > terms.max_packet_out {
        tail.truncate(start);
        return false;
    }
    out.count_packet();
    true
}

pub(super) fn explanation(why: &str) -> Option<Box<Explanation>> {
    Some(Box::new(Explanation {
        reason_string: Some(why.into()),
        user: Vec::new(),
    }))
}

fn explanation_of(packet: &mut Packet) -> Option<&mut Option<Box<Explanation>>> {
    match packet {
        Packet::ConnAck(packet) => Some(&mut packet.explanation),
        Packet::Disconnect(packet) => Some(&mut packet.explanation),
        Packet::SubAck(packet) | Packet::UnsubAck(packet) => Some(&mut packet.explanation),
        Packet::Auth(packet) => Some(&mut packet.explanation),
        Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => {
            Some(&mut ack.explanation)
        }
        _ => None,
    }
}
