//! Messages to the client: new ones, and what a former connection left unacknowledged, as far as its window and its
//! maximum packet size allow.

use super::{Session, aliases, outgoing};
use crate::{
    message::{Delivery, GroupId, Millis},
    mqtt::{Packet, PacketId, Qos, ack::Ack, reason::ReasonCode, write_queue::WriteQueue},
};

/// What became of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivered {
    /// Written.
    Sent,
    /// Its expiry has passed [MQTT-3.3.2-5].
    Expired,
    /// Larger than the client takes: treated as delivered [MQTT-3.1.2-25].
    TooLarge,
}

/// What became of what a former connection left unacknowledged.
pub struct Resent {
    /// Nothing of it is left to be sent again.
    pub is_all: bool,
    /// Messages of share groups that the client may no longer read: they are for others.
    pub denied: Vec<Delivery>,
}

impl Session {
    /// Writes a message. Above QoS 0 only within [`Session::quota`].
    pub fn deliver(&mut self, delivery: Delivery, now: Millis, out: &mut WriteQueue) -> Delivered {
        self.note_taken(&delivery);
        if delivery.message.is_expired(now) {
            self.sending.pass_over(&delivery);
            return Delivered::Expired;
        }
        self.write_new(None, delivery, now, out)
    }

    /// Gives a QoS 2 message its identifier and its room in the window; [`Session::deliver_held`] writes it, once that
    /// the two belong together is durable. `None` if its expiry has passed.
    pub fn hold(&mut self, delivery: Delivery, now: Millis) -> Option<PacketId> {
        self.note_taken(&delivery);
        if delivery.message.is_expired(now) {
            self.sending.pass_over(&delivery);
            return None;
        }
        Some(self.sending.hold(delivery))
    }

    /// Writes a message that was held.
    pub fn deliver_held(
        &mut self,
        packet_id: PacketId,
        now: Millis,
        out: &mut WriteQueue,
    ) -> Delivered {
        match self.sending.let_go(packet_id).cloned() {
            Some(delivery) => self.write_new(Some(packet_id), delivery, now, out),
            // it was given up meanwhile
            None => Delivered::Expired,
        }
    }

    fn note_taken(&mut self, delivery: &Delivery) {
        if let Some(position) = delivery.position
            && delivery.qos > Qos::AtMostOnce
            && delivery.share.is_none()
        {
            self.taken_through = self.taken_through.max(position.offset);
        }
    }

    /// Writes a message for the first time; one without an identifier gets one if it needs it.
    fn write_new(
        &mut self,
        held: Option<PacketId>,
        delivery: Delivery,
        now: Millis,
        out: &mut WriteQueue,
    ) -> Delivered {
        let alias = match self.terms.version.is_v5() {
            true => self.aliases_out.choose(&delivery.message.topic),
            false => aliases::Choice::None,
        };
        let version = self.terms.version;
        let mut packet = outgoing::Outgoing::new(&delivery, alias, version, false, now);
        if packet.size() > self.terms.max_packet_out && alias != aliases::Choice::None {
            // an alias may cost more bytes than it saves
            self.aliases_out.take_back(alias);
            packet = outgoing::Outgoing::new(&delivery, aliases::Choice::None, version, false, now);
        }
        if packet.size() > self.terms.max_packet_out {
            match held {
                Some(packet_id) => self.sending.give_up(packet_id),
                None => self.sending.pass_over(&delivery),
            }
            return Delivered::TooLarge;
        }
        let new =
            (held.is_none() && delivery.qos > Qos::AtMostOnce).then(|| self.sending.next_id());
        packet.write(held.or(new), out);
        out.count_packet();
        if let Some(packet_id) = new {
            self.sending.sent(packet_id, delivery);
        }
        Delivered::Sent
    }

    /// Writes again what a former connection left unacknowledged, in the order it was first sent [MQTT-4.4.0-1], as
    /// far as the window allows, but for what its client may no longer read.
    pub fn resend(
        &mut self,
        now: Millis,
        may_read: impl Fn(&str) -> bool,
        out: &mut WriteQueue,
    ) -> Resent {
        let mut denied = Vec::new();
        for packet_id in self.sending.releases_to_repeat() {
            self.send(
                Packet::PubRel(Ack::new(packet_id, ReasonCode::Success)),
                out,
            );
        }
        while let Some((packet_id, delivery)) = self.sending.next_to_resend() {
            let is_denied = !may_read(&delivery.message.topic);
            if is_denied && delivery.qos == Qos::AtLeastOnce && delivery.share.is_some() {
                denied.extend(self.sending.withdraw(packet_id));
                continue;
            }
            // not expired: expiry no longer applies once a message was sent [MQTT-4.3.3-7]
            let packet = outgoing::Outgoing::new(
                delivery,
                aliases::Choice::None,
                self.terms.version,
                true,
                now,
            );
            if packet.size() <= self.terms.max_packet_out && !is_denied {
                packet.write(Some(packet_id), out);
                self.sending.resent(packet_id);
            } else if delivery.qos == Qos::ExactlyOnce {
                // as good as delivered [MQTT-3.1.2-25]; but the client may have it from the former connection and
                // would take the next message with this identifier for a repetition
                if self.sending.received(packet_id) == Ok(true) {
                    let release = Ack::new(packet_id, ReasonCode::Success);
                    self.send(Packet::PubRel(release), out);
                }
            } else {
                self.sending.give_up(packet_id);
            }
        }
        Resent {
            is_all: self.sending.all_resent(),
            denied,
        }
    }

    /// The share groups whose unacknowledged QoS 1 messages it holds.
    pub fn shares(&self) -> impl Iterator<Item = GroupId> {
        self.sending.shares()
    }

    /// Gives up those unacknowledged QoS 1 messages of share groups that others have `taken`.
    pub fn hand_on_shared(&mut self, taken: impl FnMut(&Delivery) -> bool) {
        self.sending.hand_on_shared(taken);
    }
}
