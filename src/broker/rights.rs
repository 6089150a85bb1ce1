//! What a change of rights does to what is under way: nothing that is denied from now on is delivered any more.

use super::{
    Broker,
    outbox::{CloseReason, Outbox},
};
use crate::{
    auth::identity::Identity,
    message::{Delivery, Millis},
    metrics::METRICS,
    session::Session,
};
use parking_lot::Mutex;
use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
    sync::{Arc, Weak},
};

/// Receivers whose proof ends some day, soonest first.
#[derive(Default)]
pub struct Expiries(Mutex<BinaryHeap<Reverse<Expiry>>>);

struct Expiry {
    due: Millis,
    outbox: Weak<Outbox>,
}

impl PartialEq for Expiry {
    fn eq(&self, other: &Self) -> bool {
        self.due == other.due
    }
}

impl Eq for Expiry {}

impl PartialOrd for Expiry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Expiry {
    fn cmp(&self, other: &Self) -> Ordering {
        self.due.cmp(&other.due)
    }
}

impl Expiries {
    fn take_due(&self, now: Millis) -> Option<Expiry> {
        let mut queue = self.0.lock();
        let is_due = queue.peek().is_some_and(|first| first.0.due <= now);
        is_due.then(|| queue.pop().map(|first| first.0)).flatten()
    }
}

impl Broker {
    /// Has whoever reads this outbox end when what proved who it is does.
    pub(super) fn watch_expiry(&self, outbox: &Arc<Outbox>) {
        if let Some(due) = outbox.reader().expires() {
            let outbox = Arc::downgrade(outbox);
            self.0
                .expiries
                .0
                .lock()
                .push(Reverse(Expiry { due, outbox }));
        }
    }

    /// Ends whoever did not prove himself anew.
    pub(super) fn end_expired(&self) {
        let now = self.now();
        while let Some(expiry) = self.0.expiries.take_due(now) {
            let Some(outbox) = expiry.outbox.upgrade() else {
                continue;
            };
            match outbox.reader().is_expired(now) {
                true => outbox.close(CloseReason::Expired),
                // it was put off meanwhile
                false => self.watch_expiry(&outbox),
            }
        }
    }

    /// Ends every connection and stream whose identity is no longer one.
    pub fn end_where(&self, is_over: impl Fn(&Identity) -> bool) {
        let end = |outbox: &Outbox| {
            if is_over(&outbox.reader()) {
                outbox.close(CloseReason::Expired);
            }
        };
        self.0.streams.each(end);
        self.outboxes().iter().for_each(|outbox| end(outbox));
    }

    /// The rules have changed. Streams that lost a filter end; MQTT subscriptions stay, and what is denied is not delivered.
    pub fn rights_changed(&self) {
        // whoever matches from now on obeys the new rules; what was queued by the old ones is looked through behind that
        self.0.routes.rights_changed();
        self.0.streams.close_unauthorized();
        self.0.streams.each(drop_denied);
        for outbox in self.outboxes() {
            self.pass_on_denied(&outbox);
            drop_denied(&outbox);
            if self.0.config.disconnect_on_revoke {
                outbox.ask_for_rights();
            }
        }
    }

    /// A session's client has proved itself anew.
    pub fn read_as(&self, session: &Session, outbox: &Arc<Outbox>, identity: &Arc<Identity>) {
        outbox.read_as(identity.clone());
        self.watch_expiry(outbox);
        self.presence_changed(session);
        self.pass_on_denied(outbox);
        drop_denied(outbox);
    }

    /// What waits here for a share group and is denied now is for its other members.
    fn pass_on_denied(&self, outbox: &Arc<Outbox>) {
        let denied = outbox.release_denied();
        for delivery in denied {
            let message = &delivery.message;
            let targets = self.0.routes.matching(&message.topic, None);
            let mut groups = targets.shared.iter();
            let group = groups.find(|group| Some(group.id()) == delivery.share);
            let Some(group) = group else { continue };
            let except = Some(outbox.key());
            let taken = self.assign(group, message, delivery.position, except)
                || self.keep_for_group(group, message, delivery.position);
            if !taken {
                METRICS.publishes_dropped.inc();
                if let Some(position) = delivery.position {
                    group.settle(position.offset);
                }
            }
        }
    }
}

fn drop_denied(outbox: &Outbox) {
    let reader = outbox.reader();
    outbox.retain(|waiting: &Delivery| reader.may_read(&waiting.message.topic).is_ok());
}

/// Whether a session holds a subscription that it would not be given now.
pub fn is_beyond_rights(session: &Session, identity: &Identity) -> bool {
    let mut held = session.subscriptions();
    held.any(|held| identity.may_subscribe(&held.filter).is_err())
}
