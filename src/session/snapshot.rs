//! What outlives a connection, as a store keeps it: plain data, in the order things happened.

use super::subscriptions::Subscription;
use crate::{
    message::Millis,
    mqtt::{PacketId, Qos},
};
use std::{collections::BTreeSet, sync::Arc};

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
    /// Messages to the client, in the order first sent.
    pub outgoing: Vec<Outgoing>,
}

/// A message to the client that has a packet identifier, or had one.
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
    /// The client has it; noted as long as the cursor is below it.
    Done,
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
            outgoing: Vec::new(),
        }
    }

    /// Moves the cursor; what it passes and is done needs no note any more.
    pub fn settle_through(&mut self, through: u64) {
        self.through = self.through.max(through);
        let through = self.through;
        self.outgoing
            .retain(|one| one.stage != Stage::Done || one.offset > through);
    }

    /// Notes how far the message with this identifier is. What is done and need not be noted any more is returned.
    pub fn move_to(&mut self, packet_id: PacketId, stage: Stage) -> Option<Outgoing> {
        // an identifier may be in use again while its former message is still noted as done
        let at = self
            .outgoing
            .iter()
            .position(|one| one.packet_id == packet_id && one.stage != Stage::Done)?;
        let one = &mut self.outgoing[at];
        one.stage = stage;
        // a share group's message is no matter of this cursor
        let noted = stage != Stage::Done || one.offset > self.through && one.group.is_none();
        (!noted).then(|| self.outgoing.remove(at))
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
        96 + self.client_id.len() + filters + 2 * self.unreleased.len() + 24 * self.outgoing.len()
    }
}
