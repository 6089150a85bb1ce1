//! Messages to the client: the window of what is unacknowledged, and the bytes of one PUBLISH.

use super::{aliases::Choice, packet_ids::PacketIds};
use crate::{
    message::{Delivery, GroupId, Millis},
    mqtt::{
        PacketId, Qos, Version,
        payload::Payload,
        publish::{Head, Sizes},
        write_queue::WriteQueue,
    },
};
use std::collections::VecDeque;

/// Room for this many messages is kept when none is under way; more is given back.
const KEPT: usize = 32;

/// The sending side of QoS 1 and 2.
#[derive(Debug)]
pub struct Sending {
    ids: PacketIds,
    /// In the order first sent.
    window: VecDeque<InFlight>,
    /// Of the window: sent on this connection and not acknowledged.
    unacknowledged: usize,
    maximum: usize,
    /// Whether a former connection's PUBRELs are still to be repeated.
    repeat_releases: bool,
    /// How many of the window a former connection sent and this one has not.
    to_resend: usize,
}

#[derive(Debug)]
struct InFlight {
    packet_id: PacketId,
    phase: Phase,
    /// Whether this connection has sent it.
    sent: bool,
}

#[derive(Debug)]
enum Phase {
    /// PUBLISH sent; PUBACK or PUBREC awaited.
    Publish(Delivery),
    /// PUBREL sent; PUBCOMP awaited. The message itself is no longer needed [MQTT-4.3.3-6].
    Release,
}

impl Phase {
    fn is_publish_at(&self, qos: Qos) -> bool {
        matches!(self, Phase::Publish(delivery) if delivery.qos == qos)
    }
}

impl Sending {
    /// Nothing under way; at most `maximum` messages may be.
    pub fn new(maximum: u16) -> Self {
        Sending {
            ids: PacketIds::default(),
            window: VecDeque::new(),
            unacknowledged: 0,
            maximum: maximum.into(),
            repeat_releases: false,
            to_resend: 0,
        }
    }

    /// A new connection with its own window: everything unacknowledged is to be sent again.
    pub fn resume(&mut self, maximum: u16) {
        self.maximum = maximum.into();
        self.unacknowledged = 0;
        self.repeat_releases = true;
        for item in &mut self.window {
            item.sent = false;
        }
        self.to_resend = self
            .window
            .iter()
            .filter(|item| matches!(item.phase, Phase::Publish(_)))
            .count();
    }

    /// Messages not yet acknowledged.
    pub fn in_flight(&self) -> usize {
        self.window.len()
    }

    /// How many new messages may be sent: the window's room, once what is older has been sent again.
    #[inline]
    pub fn quota(&self) -> usize {
        if self.to_resend == 0 {
            // releases of former connections take no room in the window, but keep their identifiers
            let free_ids = usize::from(u16::MAX).saturating_sub(self.window.len());
            self.maximum
                .saturating_sub(self.unacknowledged)
                .min(free_ids)
        } else {
            0
        }
    }

    /// A free identifier [MQTT-4.3.2-1], [MQTT-4.3.3-1].
    pub fn next_id(&mut self) -> PacketId {
        self.ids.take()
    }

    /// A new message is on its way.
    pub fn sent(&mut self, packet_id: PacketId, delivery: Delivery) {
        self.window.push_back(InFlight {
            packet_id,
            phase: Phase::Publish(delivery),
            sent: true,
        });
        self.unacknowledged += 1;
    }

    /// PUBACK: the message is done. False if there is no such at QoS 1 [MQTT-4.3.3-3].
    pub fn acknowledged(&mut self, packet_id: PacketId) -> bool {
        self.finish(packet_id, |phase| phase.is_publish_at(Qos::AtLeastOnce))
    }

    /// PUBREC of 0x80 or above: the message is done [MQTT-4.4.0-2]. False if there is no such at QoS 2.
    pub fn refused(&mut self, packet_id: PacketId) -> bool {
        self.finish(packet_id, |phase| phase.is_publish_at(Qos::ExactlyOnce))
    }

    /// The client does not take packets of its size any more: it counts as delivered [MQTT-3.1.2-25].
    pub fn given_up(&mut self, packet_id: PacketId) {
        self.take(packet_id);
    }

    /// PUBCOMP: the exchange is done.
    pub fn completed(&mut self, packet_id: PacketId) -> bool {
        self.finish(packet_id, |phase| matches!(phase, Phase::Release))
    }

    /// PUBREC: the client has the message. False if there is no such exchange at QoS 2 [MQTT-4.3.2-3].
    pub fn received(&mut self, packet_id: PacketId) -> bool {
        let Some(at) = self.find(packet_id) else {
            return false;
        };
        let item = &mut self.window[at];
        match &item.phase {
            Phase::Release => return true,
            Phase::Publish(delivery) if delivery.qos != Qos::ExactlyOnce => return false,
            Phase::Publish(_) if !item.sent => self.to_resend -= 1,
            Phase::Publish(_) => {}
        }
        self.window[at].phase = Phase::Release;
        true
    }

    /// Identifiers whose PUBREL a former connection sent: they are repeated first and at once [MQTT-3.3.4-10].
    pub fn releases_to_repeat(&mut self) -> Vec<PacketId> {
        if !std::mem::take(&mut self.repeat_releases) {
            return Vec::new();
        }
        let releases = self
            .window
            .iter()
            .filter(|item| matches!(item.phase, Phase::Release));
        releases.map(|item| item.packet_id).collect()
    }

    /// The oldest message still to be sent again, if the window has room for it.
    pub fn next_to_resend(&self) -> Option<(PacketId, &Delivery)> {
        if self.to_resend == 0 || self.unacknowledged >= self.maximum {
            return None;
        }
        self.window.iter().find_map(|item| match &item.phase {
            Phase::Publish(delivery) if !item.sent => Some((item.packet_id, delivery)),
            _ => None,
        })
    }

    /// The message was sent again.
    pub fn resent(&mut self, packet_id: PacketId) {
        if let Some(at) = self.find(packet_id) {
            self.window[at].sent = true;
            self.unacknowledged += 1;
            self.to_resend -= 1;
        }
    }

    /// Whether nothing of a former connection is left to send again.
    pub fn all_resent(&self) -> bool {
        self.to_resend == 0
    }

    /// Takes out unacknowledged QoS 1 messages of share groups in which `others` can take them.
    pub fn release_shared(&mut self, others: impl Fn(GroupId) -> bool) -> Vec<Delivery> {
        let leaves = |item: &InFlight| match &item.phase {
            Phase::Publish(delivery) if delivery.qos == Qos::AtLeastOnce => {
                delivery.share.is_some_and(&others)
            }
            _ => false,
        };
        let ids: Vec<PacketId> = self
            .window
            .iter()
            .filter(|item| leaves(item))
            .map(|item| item.packet_id)
            .collect();
        let items = ids.into_iter().filter_map(|id| self.take(id));
        items
            .filter_map(|item| match item.phase {
                Phase::Publish(delivery) => Some(delivery),
                Phase::Release => None,
            })
            .collect()
    }

    fn finish(&mut self, packet_id: PacketId, expected: impl FnOnce(&Phase) -> bool) -> bool {
        match self.find(packet_id) {
            Some(at) if expected(&self.window[at].phase) => self.take(packet_id).is_some(),
            _ => false,
        }
    }

    fn take(&mut self, packet_id: PacketId) -> Option<InFlight> {
        let at = self.find(packet_id)?;
        let item = self.window.remove(at)?;
        self.ids.free(packet_id);
        match item.phase {
            _ if item.sent => self.unacknowledged -= 1,
            Phase::Publish(_) => self.to_resend -= 1,
            Phase::Release => {}
        }
        if self.window.is_empty() && self.window.capacity() > KEPT {
            self.window = VecDeque::new();
        }
        Some(item)
    }

    /// Acknowledgements mostly come in the order of sending: the first look finds them.
    fn find(&self, packet_id: PacketId) -> Option<usize> {
        self.window
            .iter()
            .position(|item| item.packet_id == packet_id)
    }
}

/// The bytes of one PUBLISH.
pub struct Outgoing<'a> {
    head: Head<'a>,
    sizes: Sizes,
    payload: &'a Payload,
}

impl<'a> Outgoing<'a> {
    /// Lays out `delivery` for a receiver. `dup` says that it was sent before [MQTT-3.3.1-1].
    pub fn new(
        delivery: &'a Delivery,
        alias: Choice,
        version: Version,
        dup: bool,
        now: Millis,
    ) -> Self {
        let message = &*delivery.message;
        let (topic, alias) = match alias {
            Choice::None => (&*message.topic, None),
            Choice::Set(alias) => (&*message.topic, Some(alias)),
            Choice::Use(alias) => ("", Some(alias)),
        };
        let head = Head {
            version,
            dup,
            qos: delivery.qos,
            retain: delivery.retain,
            topic,
            alias,
            properties: message.properties.as_deref(),
            expiry: message.expiry_left(now),
            subscription_ids: delivery.subscription_ids.as_deref().unwrap_or_default(),
            payload_len: message.payload.len(),
        };
        Outgoing {
            sizes: head.sizes(),
            head,
            payload: &message.payload,
        }
    }

    /// Size of the whole packet in bytes.
    pub fn size(&self) -> usize {
        self.sizes.packet()
    }

    /// Appends the packet.
    pub fn write(&self, packet_id: Option<PacketId>, out: &mut WriteQueue) {
        self.head.put(&self.sizes, packet_id, out.tail());
        out.put_payload(self.payload);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_never_completes_qos_2_runs_out_of_identifiers_not_the_gateway() {
        let mut sending = Sending::new(9);
        for _ in 0..u16::MAX {
            let packet_id = sending.next_id();
            sending.window.push_back(InFlight {
                packet_id,
                phase: Phase::Release,
                sent: true,
            });
        }
        sending.resume(9);
        assert_eq!(sending.quota(), 0);
        assert!(sending.completed(PacketId::MIN));
        assert_eq!((sending.quota(), sending.next_id()), (1, PacketId::MIN));
    }
}
