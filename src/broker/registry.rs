//! Who is online and whose session waits: client identifier to live connection or parked session.
//!
//! A takeover moves the session by value: the newcomer asks, the old connection's task hands over and ends.

use super::{
    Broker,
    outbox::{CloseReason, Outbox},
    subscribe::Replay,
};
use crate::{
    auth::{identity::Identity, quota::Quota},
    session::{Session, opening::Terms, snapshot::Outgoing},
    store::frame::Lsn,
};
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::sync::oneshot;

mod connecting;
mod detaching;
mod parking;
mod shared;
mod wills;

pub(super) use parking::expiry_deadline;
pub use wills::{LateWills, StoredWill};

/// All sessions by client identifier.
#[derive(Default)]
pub struct Registry {
    slots: Mutex<HashMap<Arc<str>, Slot>>,
    /// Connections and receivers are numbered from one source.
    next: AtomicU64,
    /// Wills of clients without a session that were connected when the gateway last stopped.
    pub(super) owed: Mutex<HashMap<Arc<str>, StoredWill>>,
    /// What was due and could not be published.
    pub(super) late: LateWills,
    /// The numbers of the wills that stand in the store, by client identifier.
    pub(super) written_wills: Mutex<HashMap<Arc<str>, u64>>,
}

enum Slot {
    Online {
        number: u64,
        outbox: Arc<Outbox>,
        /// Boxed: hardly any connection has one, and every place of the table has room for it.
        heir: Option<Box<Heir>>,
    },
    Parked(Box<Parked>),
}

struct Heir {
    number: u64,
    clean_start: bool,
    terms: Terms,
    identity: Arc<Identity>,
    hand_over: oneshot::Sender<(Attached, Beginning)>,
}

struct Parked {
    number: u64,
    left: Left,
}

/// What a connection leaves behind.
pub(super) struct Left {
    pub session: Session,
    pub outbox: Arc<Outbox>,
    pub will: Option<StoredWill>,
    pub replays: VecDeque<Replay>,
    /// What was under way when the gateway last stopped, and has not been read yet.
    pub stored: Vec<Outgoing>,
}

/// A connection's hold on its session.
pub struct Attached {
    /// The session, this connection's own until it detaches.
    pub session: Session,
    /// Where its messages come in.
    pub outbox: Arc<Outbox>,
    /// Whether there was state.
    pub present: bool,
    /// Retained messages that its subscriptions are still to get.
    pub replays: VecDeque<Replay>,
    number: u64,
}

/// What matters only until CONNACK.
#[derive(Default)]
struct Beginning {
    /// CONNACK is due when the store has come so far.
    durable_at: Option<Lsn>,
    /// What was under way when the gateway last stopped, to be read.
    stored: Vec<Outgoing>,
}

/// How a connection came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The client said goodbye: no will [MQTT-3.14.4-3].
    Goodbye,
    /// Anything else: the will is due [MQTT-3.1.2-8].
    Broken,
    /// The gateway stops: wills stay unpublished.
    Stopped,
}

impl Registry {
    pub(super) fn next_key(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed) + 1
    }
}

impl Broker {
    /// Tells every connection to end.
    pub(super) fn close_all(&self, reason: CloseReason) {
        for slot in self.0.registry.slots.lock().values() {
            if let Slot::Online { outbox, .. } = slot {
                outbox.close(reason);
            }
        }
    }

    /// The outboxes of all sessions, with a connection or without.
    pub(super) fn outboxes(&self) -> Vec<Arc<Outbox>> {
        let slots = self.0.registry.slots.lock();
        let outboxes = slots.values().map(|slot| match slot {
            Slot::Online { outbox, .. } => outbox.clone(),
            Slot::Parked(parked) => parked.left.outbox.clone(),
        });
        outboxes.collect()
    }

    /// Whether a connection has this session that counts in the same quota.
    pub fn is_held_by(&self, client_id: &str, quota: &Arc<Quota>) -> bool {
        let slots = self.0.registry.slots.lock();
        let Some(Slot::Online { outbox, .. }) = slots.get(client_id) else {
            return false;
        };
        let reader = outbox.reader();
        reader.quota().is_some_and(|held| Arc::ptr_eq(held, quota))
    }

    /// Connections that have a session now.
    pub fn online(&self) -> usize {
        self.0
            .registry
            .slots
            .lock()
            .values()
            .filter(|slot| matches!(slot, Slot::Online { .. }))
            .count()
    }
}
