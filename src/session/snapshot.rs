//! What outlives a connection, as a store keeps it: plain data, in the order things happened.

use super::{Session, opening::Terms, sending::Place, subscriptions::Subscription};
use crate::{
    message::{Delivery, GroupId, Millis},
    mqtt::{PacketId, Qos},
};
use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

/// One session that is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// Whose it is.
    pub client_id: Arc<str>,
    /// The user it was opened by.
    pub user: Option<Arc<str>>,
    /// Session Expiry Interval in seconds.
    pub expiry: u32,
    /// When its last connection ended; `None` while there is one.
    pub parked: Option<Millis>,
    /// Every record up to here that was for it is done with.
    pub through: u64,
    /// Its filters.
    pub subscriptions: Vec<Subscription>,
    /// QoS 2 messages of the client that wait for PUBREL.
    pub unreleased: BTreeSet<PacketId>,
    /// Messages to the client that it is not done with, in the order first sent.
    pub outgoing: VecDeque<Outgoing>,
    /// Positions above `through` of QoS 2 messages that it is done with.
    pub done: BTreeSet<u64>,
}

/// A message to the client that has a packet identifier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// Its identifier.
    pub packet_id: PacketId,
    /// Where it stands in the log.
    pub offset: u64,
    /// How far it is.
    pub stage: Stage,
    /// RETAIN of this copy.
    pub retain: bool,
    /// The share group, by its filter, that chose this client.
    pub group: Option<Box<str>>,
}

/// How far a message to the client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// PUBLISH was about to leave, at this QoS.
    Sent(Qos),
    /// PUBREC came: PUBREL is due until PUBCOMP comes.
    Release,
}

impl Session {
    /// A session as a store kept it, without a connection. What it had under way is given back one by one, by
    /// [`Session::restore_outgoing`].
    pub fn restored(snapshot: Snapshot) -> Self {
        let mut session = Session::new(
            snapshot.client_id,
            Terms::of_nobody(snapshot.expiry),
            snapshot.through,
        );
        for subscription in snapshot.subscriptions {
            session.subscriptions.insert(subscription);
        }
        session.receiving.restore(snapshot.unreleased);
        let under_way = snapshot.outgoing.iter().filter(|one| one.group.is_none());
        let under_way = under_way.map(|one| one.offset);
        let mut before = snapshot.done;
        before.extend(under_way.filter(|offset| *offset > snapshot.through));
        session.taken_before = (!before.is_empty()).then(|| Box::new(before));
        session
    }

    /// A message that was under way when the gateway last stopped: it is sent again, or, without its message, brought
    /// to its end. `place` is where the message stands in the log.
    pub fn restore_outgoing(
        &mut self,
        packet_id: PacketId,
        delivery: Option<Delivery>,
        place: Place,
    ) {
        self.sending.restore(packet_id, delivery, place);
    }

    /// What a store keeps of it. `group` names the filter of a share group.
    pub fn snapshot(
        &self,
        user: Option<Arc<str>>,
        parked: Option<Millis>,
        group: impl Fn(GroupId) -> Option<Box<str>>,
    ) -> Snapshot {
        let outgoing = self
            .sending
            .under_way()
            .map(|(packet_id, delivery, place)| {
                let group = place.share.and_then(&group);
                // the group is gone: nobody gives it again, and it is no matter of this session's cursor
                let is_nobodys = delivery.is_none() && place.share.is_some() && group.is_none();
                Outgoing {
                    packet_id,
                    offset: if is_nobodys { 0 } else { place.offset },
                    stage: delivery.map_or(Stage::Release, |delivery| Stage::Sent(delivery.qos)),
                    retain: delivery.is_some_and(|delivery| delivery.retain),
                    group,
                }
            });
        let unanswered = self.sending.oldest_unanswered();
        Snapshot {
            client_id: self.client_id.clone(),
            user,
            expiry: self.expiry,
            parked,
            through: unanswered.map_or(self.taken_through, |oldest| oldest - 1),
            subscriptions: self.subscriptions.iter().cloned().collect(),
            unreleased: self.receiving.identifiers().clone(),
            outgoing: outgoing.collect(),
            done: BTreeSet::new(),
        }
    }
}

impl Snapshot {
    /// A session without state, above whose cursor everything is new.
    pub fn new(client_id: Arc<str>, user: Option<Arc<str>>, expiry: u32, through: u64) -> Self {
        Snapshot {
            client_id,
            user,
            expiry,
            parked: None,
            through,
            subscriptions: Vec::new(),
            unreleased: BTreeSet::new(),
            outgoing: VecDeque::new(),
            done: BTreeSet::new(),
        }
    }

    /// Moves the cursor; what it passes and is done needs no note any more.
    pub fn settle_through(&mut self, through: u64) {
        self.through = self.through.max(through);
        self.done = self.done.split_off(&(self.through + 1));
    }

    fn find(&self, packet_id: PacketId) -> Option<usize> {
        self.outgoing
            .iter()
            .position(|one| one.packet_id == packet_id)
    }

    /// PUBREC came for the message with this identifier.
    pub fn received(&mut self, packet_id: PacketId) {
        if let Some(at) = self.find(packet_id) {
            self.outgoing[at].stage = Stage::Release;
        }
    }

    /// The client is done with the message with this identifier. One of a share group is answered: it is a matter of
    /// the group's cursor, not of this one.
    pub fn completed(&mut self, packet_id: PacketId) -> Option<Outgoing> {
        let at = self.find(packet_id)?;
        let one = self.outgoing.remove(at)?;
        if one.group.is_some() {
            return Some(one);
        }
        if one.offset > self.through {
            self.done.insert(one.offset);
        }
        None
    }

    /// Adds a filter, or replaces it.
    pub fn subscribe(&mut self, subscription: Subscription) {
        let same = |old: &&mut Subscription| old.filter.as_str() == subscription.filter.as_str();
        match self.subscriptions.iter_mut().find(same) {
            Some(old) => *old = subscription,
            None => self.subscriptions.push(subscription),
        }
    }

    /// Forgets a filter.
    pub fn unsubscribe(&mut self, filter: &str) {
        self.subscriptions
            .retain(|old| old.filter.as_str() != filter);
    }

    /// Rough size in bytes.
    pub fn weight(&self) -> usize {
        let filters = self.subscriptions.iter();
        let filters: usize = filters.map(|one| 32 + one.filter.as_str().len()).sum();
        96 + self.client_id.len()
            + filters
            + 2 * self.unreleased.len()
            + 24 * self.outgoing.len()
            + 8 * self.done.len()
    }
}
