//! Messages to the client above QoS 0: the window of what is unacknowledged.

use super::{packet_ids::PacketIds, violation::Violation};
use crate::{
    message::{Delivery, GroupId},
    mqtt::{PacketId, Qos},
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
    /// Something in the window was overtaken by what stands behind it in the log.
    overtaken: bool,
    /// Messages of share groups that are done with and that nobody has asked for yet.
    #[expect(clippy::box_collection)]
    settled: Option<Box<Vec<(GroupId, u64)>>>,
}

#[derive(Debug)]
struct InFlight {
    packet_id: PacketId,
    phase: Phase,
    way: Way,
}

/// How far this connection is with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// It has its identifier, and waits until that is durable.
    Held,
    /// A former connection sent it, this one has not.
    Due,
    /// This connection sent it.
    Sent,
}

#[derive(Debug)]
enum Phase {
    /// PUBLISH sent; PUBACK or PUBREC awaited.
    Publish(Delivery),
    /// PUBREL sent; PUBCOMP awaited. The message itself is no longer needed [MQTT-4.3.3-6], but its place in the log
    /// is, so that it is not read from there again.
    Release(Place),
}

/// Where a message stands in the log, and whose cursor it is a matter of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Its offset, or 0 if it was not recorded.
    pub offset: u64,
    /// The share group that chose this client; `None` if it is a matter of the session's own cursor.
    pub share: Option<GroupId>,
}

impl Phase {
    /// Whether a message of this QoS was sent and nothing was heard of it.
    fn awaits(&self, qos: Qos) -> bool {
        matches!(self, Phase::Publish(delivery) if delivery.qos == qos)
    }
}

impl Place {
    fn of(delivery: &Delivery) -> Self {
        Place {
            offset: delivery.position.map_or(0, |position| position.offset),
            share: delivery.share,
        }
    }
}

/// The share group that gave it, and where it stands in the log, if it does.
fn of_share_group(delivery: &Delivery) -> Option<(GroupId, u64)> {
    Some((delivery.share?, delivery.position?.offset))
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
            overtaken: false,
            settled: None,
        }
    }

    /// A new connection with its own window: everything unacknowledged is to be sent again.
    pub fn resume(&mut self, maximum: u16) {
        self.maximum = maximum.into();
        self.unacknowledged = 0;
        self.repeat_releases = true;
        // what was held stands before what left meanwhile, and comes behind it [MQTT-4.4.0-1]
        let window = self.window.make_contiguous();
        if window.iter().any(|item| item.way == Way::Held) {
            window.sort_by_key(|item| item.way == Way::Held);
            self.overtaken = true;
            self.ids.scatter();
        }
        for item in window {
            item.way = Way::Due;
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
        let window = &self.window;
        let oldest = window.front().map(|item| item.packet_id);
        let is_used = |id| window.iter().any(|item| item.packet_id == id);
        self.ids.take(oldest, is_used)
    }

    /// A new message is on its way.
    pub fn sent(&mut self, packet_id: PacketId, delivery: Delivery) {
        self.enter(packet_id, delivery, Way::Sent);
    }

    /// A new message has an identifier and its room in the window. [`Sending::let_go`] sends it.
    pub fn hold(&mut self, delivery: Delivery) -> PacketId {
        let packet_id = self.next_id();
        self.enter(packet_id, delivery, Way::Held);
        packet_id
    }

    fn enter(&mut self, packet_id: PacketId, delivery: Delivery, way: Way) {
        self.window.push_back(InFlight {
            packet_id,
            phase: Phase::Publish(delivery),
            way,
        });
        self.unacknowledged += 1;
    }

    /// The message that was held under this identifier, now to be sent.
    pub fn let_go(&mut self, packet_id: PacketId) -> Option<&Delivery> {
        let at = self.find(packet_id)?;
        if self.window[at].way != Way::Held {
            return None;
        }
        let mut item = self.window.remove(at)?;
        item.way = Way::Sent;
        // what left meanwhile was sent before it [MQTT-4.6.0-1 of 3.1.1]
        if at < self.window.len() {
            self.overtaken = true;
            self.ids.scatter();
        }
        self.window.push_back(item);
        match &self.window.back()?.phase {
            Phase::Publish(delivery) => Some(delivery),
            Phase::Release(_) => None,
        }
    }

    /// Takes over what a former run of the gateway had under way: all of it is due again. Without its message an
    /// exchange is taken to its end: the client may have it already. `place` is where the message stands.
    pub fn restore(&mut self, packet_id: PacketId, delivery: Option<Delivery>, place: Place) {
        self.ids.occupy(packet_id);
        // what the log has for it may be older
        self.overtaken = true;
        let (phase, due) = match delivery {
            Some(delivery) => (Phase::Publish(delivery), 1),
            None => (Phase::Release(place), 0),
        };
        self.to_resend += due;
        self.repeat_releases = true;
        let way = Way::Due;
        self.window.push_back(InFlight {
            packet_id,
            phase,
            way,
        });
    }

    /// The position of the oldest recorded message that the client has not answered, but for those of share groups.
    pub fn oldest_unanswered(&self) -> Option<u64> {
        let mut recorded = self.window.iter().filter_map(|item| match &item.phase {
            Phase::Publish(delivery) if delivery.share.is_none() => {
                delivery.position.map(|position| position.offset)
            }
            _ => None,
        });
        match self.overtaken {
            true => recorded.min(),
            false => recorded.next(),
        }
    }

    /// What is under way and logged, in the order first sent: identifier, message if it is still needed, and where it
    /// stands or stood in the log.
    pub fn under_way(&self) -> impl Iterator<Item = (PacketId, Option<&Delivery>, Place)> {
        let left = self.window.iter().filter(|item| item.way != Way::Held);
        let held = self.window.iter().filter(|item| item.way == Way::Held);
        left.chain(held).map(|item| match &item.phase {
            Phase::Publish(delivery) => (item.packet_id, Some(delivery), Place::of(delivery)),
            Phase::Release(place) => (item.packet_id, None, *place),
        })
    }

    /// Messages of share groups that were done with since this was last asked.
    pub fn take_settled(&mut self) -> Vec<(GroupId, u64)> {
        self.settled.take().map_or(Vec::new(), |settled| *settled)
    }

    /// Ends everything under way. What is of share groups is done with.
    pub fn abandon(&mut self) {
        let all: Vec<PacketId> = self.window.iter().map(|item| item.packet_id).collect();
        for packet_id in all {
            self.take(packet_id);
        }
    }

    fn settle(&mut self, at: usize) {
        if let Phase::Publish(delivery) = &self.window[at].phase
            && let Some(done) = of_share_group(delivery)
        {
            self.settled.get_or_insert_default().push(done);
        }
    }

    /// A message is not sent: it is done with as one that was.
    pub fn pass_over(&mut self, delivery: &Delivery) {
        if let Some(done) = of_share_group(delivery) {
            self.settled.get_or_insert_default().push(done);
        }
    }

    /// PUBACK: the message is done. False if there is no such.
    pub fn acknowledged(&mut self, packet_id: PacketId) -> Result<bool, Violation> {
        self.finish(packet_id, |phase| phase.awaits(Qos::AtLeastOnce))
    }

    /// PUBREC of 0x80 or above: the message is done [MQTT-4.4.0-2].
    pub fn refused(&mut self, packet_id: PacketId) -> Result<bool, Violation> {
        self.finish(packet_id, |phase| phase.awaits(Qos::ExactlyOnce))
    }

    /// PUBCOMP: the exchange is done.
    pub fn completed(&mut self, packet_id: PacketId) -> Result<bool, Violation> {
        self.finish(packet_id, |phase| matches!(phase, Phase::Release(_)))
    }

    /// PUBREC: the client has the message. False if there is no such exchange.
    pub fn received(&mut self, packet_id: PacketId) -> Result<bool, Violation> {
        let Some(at) = self.find(packet_id) else {
            return Ok(false);
        };
        let item = &mut self.window[at];
        match item.phase {
            // a client of 3.1 may repeat it
            Phase::Release(_) => return Ok(true),
            _ if !item.phase.awaits(Qos::ExactlyOnce) => {
                return Err(Violation::WrongAcknowledgement);
            }
            _ if item.way == Way::Due => self.to_resend -= 1,
            _ => {}
        }
        self.settle(at);
        let phase = &mut self.window[at].phase;
        if let Phase::Publish(delivery) = phase {
            *phase = Phase::Release(Place::of(delivery));
        }
        Ok(true)
    }

    /// The message cannot be sent to this client any more: it is as good as delivered [MQTT-3.1.2-25].
    pub fn give_up(&mut self, packet_id: PacketId) {
        self.take(packet_id);
    }

    /// The message is not for this client after all, and nobody is done with it.
    pub fn withdraw(&mut self, packet_id: PacketId) -> Option<Delivery> {
        match self.remove(packet_id)?.phase {
            Phase::Publish(delivery) => Some(delivery),
            Phase::Release(_) => None,
        }
    }

    /// Identifiers whose PUBREL a former connection sent: they are repeated first and at once [MQTT-3.3.4-10].
    pub fn releases_to_repeat(&mut self) -> Vec<PacketId> {
        if !std::mem::take(&mut self.repeat_releases) {
            return Vec::new();
        }
        let releases = self
            .window
            .iter()
            .filter(|item| matches!(item.phase, Phase::Release(_)));
        releases.map(|item| item.packet_id).collect()
    }

    /// Whether an exchange at QoS 2 is under way.
    pub fn has_qos_2(&self) -> bool {
        self.window.iter().any(|item| match &item.phase {
            Phase::Publish(delivery) => delivery.qos == Qos::ExactlyOnce,
            Phase::Release(_) => true,
        })
    }

    /// The oldest message still to be sent again, if the window has room for it.
    pub fn next_to_resend(&self) -> Option<(PacketId, &Delivery)> {
        if self.to_resend == 0 || self.unacknowledged >= self.maximum {
            return None;
        }
        self.window.iter().find_map(|item| match &item.phase {
            Phase::Publish(delivery) if item.way == Way::Due => Some((item.packet_id, delivery)),
            _ => None,
        })
    }

    /// The message was sent again.
    pub fn resent(&mut self, packet_id: PacketId) {
        if let Some(at) = self.find(packet_id) {
            self.window[at].way = Way::Sent;
            self.unacknowledged += 1;
            self.to_resend -= 1;
        }
    }

    /// Whether nothing of a former connection is left to send again.
    pub fn all_resent(&self) -> bool {
        self.to_resend == 0
    }

    /// The share groups whose unacknowledged QoS 1 messages are under way.
    pub fn shares(&self) -> impl Iterator<Item = GroupId> {
        self.window.iter().filter_map(|item| match &item.phase {
            Phase::Publish(delivery) if delivery.qos == Qos::AtLeastOnce => delivery.share,
            _ => None,
        })
    }

    /// Takes out those unacknowledged QoS 1 messages of share groups that others have `taken`.
    pub fn hand_on_shared(&mut self, mut taken: impl FnMut(&Delivery) -> bool) {
        let mut leaves = |item: &InFlight| match &item.phase {
            Phase::Publish(delivery) => {
                delivery.qos == Qos::AtLeastOnce && delivery.share.is_some() && taken(delivery)
            }
            Phase::Release(_) => false,
        };
        let left: Vec<PacketId> = self
            .window
            .iter()
            .filter(|item| leaves(item))
            .map(|item| item.packet_id)
            .collect();
        for packet_id in left {
            self.remove(packet_id);
        }
    }

    /// Ends an exchange, or tells that the client is in another one: what it acknowledged is not what it was sent.
    fn finish(
        &mut self,
        packet_id: PacketId,
        expected: impl FnOnce(&Phase) -> bool,
    ) -> Result<bool, Violation> {
        match self.find(packet_id) {
            None => Ok(false),
            Some(at) if expected(&self.window[at].phase) => Ok(self.take(packet_id).is_some()),
            Some(_) => Err(Violation::WrongAcknowledgement),
        }
    }

    fn take(&mut self, packet_id: PacketId) -> Option<InFlight> {
        let at = self.find(packet_id)?;
        self.settle(at);
        self.remove(packet_id)
    }

    fn remove(&mut self, packet_id: PacketId) -> Option<InFlight> {
        let at = self.find(packet_id)?;
        let item = self.window.remove(at)?;
        match item.phase {
            _ if item.way != Way::Due => self.unacknowledged -= 1,
            Phase::Publish(_) => self.to_resend -= 1,
            Phase::Release(_) => {}
        }
        if self.window.is_empty() {
            self.overtaken = false;
            if self.window.capacity() > KEPT {
                self.window = VecDeque::new();
            }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        message::{Epoch, Message, Millis, Position},
        mqtt::{payload::Payload, topic::TopicName},
    };
    use std::sync::Arc;

    fn delivery(offset: u64) -> Delivery {
        let topic = TopicName::parse("t").unwrap();
        let (payload, qos) = (Payload::EMPTY, Qos::ExactlyOnce);
        let message = Message::new(topic, payload, qos, false, None, None, Millis(0));
        let epoch = Epoch(*b"testtest");
        Delivery {
            message: Arc::new(message),
            qos,
            retain: false,
            position: Some(Position { epoch, offset }),
            subscription_ids: None,
            share: None,
        }
    }

    #[test]
    fn mqtt_4_4_0_1_what_was_held_when_the_connection_broke_comes_behind_what_was_sent() {
        let mut sending = Sending::new(9);
        let ids: Vec<_> = (1..=4)
            .map(|offset| sending.hold(delivery(offset)))
            .collect();
        for id in &ids[..2] {
            assert!(sending.let_go(*id).is_some());
        }
        let kept: Vec<_> = sending.under_way().map(|(id, ..)| id).collect();
        assert_eq!(kept, ids);
        sending.resume(9);
        for expected in ids {
            let (id, _) = sending.next_to_resend().unwrap();
            assert_eq!(id, expected);
            sending.resent(id);
        }
    }

    #[test]
    fn the_oldest_unanswered_is_found_although_what_was_held_comes_behind_what_was_sent() {
        let mut sending = Sending::new(9);
        sending.hold(delivery(1));
        let sent = sending.next_id();
        sending.sent(sent, delivery(2));
        sending.resume(9);
        assert_eq!(sending.oldest_unanswered(), Some(1));
    }

    #[test]
    fn a_client_that_never_completes_qos_2_runs_out_of_identifiers_not_the_gateway() {
        let mut sending = Sending::new(9);
        let (offset, share) = (0, None);
        for _ in 0..u16::MAX {
            let packet_id = sending.next_id();
            sending.window.push_back(InFlight {
                packet_id,
                phase: Phase::Release(Place { offset, share }),
                way: Way::Sent,
            });
        }
        sending.resume(9);
        assert_eq!(sending.quota(), 0);
        assert_eq!(sending.completed(PacketId::MIN), Ok(true));
        assert_eq!((sending.quota(), sending.next_id()), (1, PacketId::MIN));
    }
}
