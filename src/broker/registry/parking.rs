//! Sessions that wait for their clients: how they come to wait, and what becomes of them when their time is up.

use super::{Left, Parked, Slot, StoredWill, detaching::groups_of};
use crate::{
    broker::{Broker, outbox::Outbox},
    message::Millis,
    metrics::METRICS,
    routing::Subscriber,
    session::{NEVER, Session, snapshot::Outgoing},
};
use hashbrown::HashMap;
use std::sync::Arc;

impl Broker {
    /// Keeps a session without a connection. Answers a will that is due at once.
    pub(super) fn park(
        &self,
        slots: &mut HashMap<Arc<str>, Slot>,
        mut left: Left,
        number: u64,
    ) -> Option<StoredWill> {
        let (session, outbox) = (&mut left.session, &left.outbox);
        {
            let _order = self.0.order.lock();
            if outbox.go_offline() {
                session.take_through(self.0.store.head());
            }
            self.note_taken(session, outbox);
        }
        // what it was assigned while it left; from here on it is assigned nothing
        self.hand_on_shared(session, outbox);
        self.presence_changed(session);
        let now = self.now();
        self.keep_presence(session, Some(now));
        let client_id = session.client_id().clone();
        let ends = expiry_deadline(session, now);
        if let Some(ends) = ends {
            self.0.timers.add(ends, client_id.clone(), number, true);
        }
        let due_now = left.will.take_if(|will| will.will.delay == 0);
        if let Some(will) = &left.will {
            let due = now.plus_seconds(will.will.delay.into());
            if ends.is_none_or(|ends| due < ends) {
                self.0.timers.add(due, client_id.clone(), number, false);
            }
        }
        METRICS.sessions_parked.inc();
        let parked = Parked { number, left };
        slots.insert(client_id, Slot::Parked(Box::new(parked)));
        due_now
    }

    /// Takes over a session that a store kept, parked at `parked`; its will, if it is owed, is due at `will_due`.
    pub(in crate::broker) fn park_restored(&self, left: Left, parked: Millis, will_due: Millis) {
        let number = self.0.registry.next_key();
        let client_id = left.session.client_id().clone();
        let ends = expiry_deadline(&left.session, parked);
        if let Some(ends) = ends {
            self.0.timers.add(ends, client_id.clone(), number, true);
        }
        if left.will.is_some() && ends.is_none_or(|ends| will_due < ends) {
            self.0
                .timers
                .add(will_due, client_id.clone(), number, false);
        }
        METRICS.sessions.inc();
        METRICS.sessions_parked.inc();
        let parked = Slot::Parked(Box::new(Parked { number, left }));
        self.0.registry.slots.lock().insert(client_id, parked);
    }

    /// Ends whatever of a parked session is due: its will, or itself.
    pub(in crate::broker) fn due(&self, client_id: &Arc<str>, number: u64, session_ends: bool) {
        let owed = self.0.registry.owed.lock().remove(client_id);
        if let Some(will) = owed {
            self.publish_will(client_id, None, will);
        }
        let mut slots = self.0.registry.slots.lock();
        let Some(Slot::Parked(parked)) = slots.get_mut(client_id) else {
            return;
        };
        if parked.number != number {
            return;
        }
        let (will, key) = (parked.left.will.take(), parked.left.outbox.key());
        let ended = if session_ends {
            slots.remove(client_id)
        } else {
            None
        };
        let mut groups = Vec::new();
        if let Some(Slot::Parked(mut parked)) = ended {
            groups = groups_of(&parked.left.session);
            METRICS.sessions_parked.dec();
            METRICS.sessions_expired.inc();
            // under the lock: what is written of a new session of this name comes behind this end
            // its groups first: what they are written to hold behind the end is given again after a restart
            self.end_stored(&parked.left.stored);
            self.end(&mut parked.left.session, &parked.left.outbox);
        }
        drop(slots);
        self.serve_left(&groups);
        if let Some(will) = will {
            self.publish_will(client_id, Some(key), will);
        }
    }

    /// Every session without a connection that has something under way.
    pub(in crate::broker) fn each_parked(&self, mut see: impl FnMut(&Session, &Outbox)) {
        for slot in self.0.registry.slots.lock().values() {
            if let Slot::Parked(parked) = slot
                && parked.left.session.in_flight() > 0
            {
                see(&parked.left.session, &parked.left.outbox);
            }
        }
    }

    /// Everything that was under way to a session when the gateway last stopped and that was not read yet.
    pub(in crate::broker) fn each_stored(&self, mut see: impl FnMut(&Outgoing)) {
        for slot in self.0.registry.slots.lock().values() {
            if let Slot::Parked(parked) = slot {
                parked.left.stored.iter().for_each(&mut see);
            }
        }
    }

    /// Whether the session that this connection left still waits.
    pub(in crate::broker) fn is_parked(&self, client_id: &Arc<str>, number: u64) -> bool {
        let slots = self.0.registry.slots.lock();
        matches!(slots.get(client_id), Some(Slot::Parked(parked)) if parked.number == number)
    }

    /// Sessions that wait for their clients.
    pub(in crate::broker) fn parked(&self) -> usize {
        METRICS.sessions_parked.get() as usize
    }
}

/// When a session without a connection ends; `None` is never.
pub(in crate::broker) fn expiry_deadline(session: &Session, now: Millis) -> Option<Millis> {
    match session.expiry() {
        NEVER => None,
        seconds => Some(now.plus_seconds(seconds.into())),
    }
}
