//! What a change of rights does to what is under way: nothing that is denied from now on is delivered any more.

use super::{
    Broker,
    outbox::{CloseReason, Outbox},
};
use crate::{
    auth::identity::Identity,
    message::{Delivery, Millis},
    routing::Subscriber as _,
    session::Session,
};
use hashbrown::HashSet;
use parking_lot::Mutex;
use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
    sync::{Arc, Weak},
};

/// Expiries that are not worth looking through.
const FEW: usize = 1024;

/// Receivers whose proof ends some day.
#[derive(Default)]
pub struct Expiries(Mutex<Queue>);

#[derive(Default)]
struct Queue {
    soonest_first: BinaryHeap<Reverse<Expiry>>,
    /// How many were left when last it was thinned out.
    left: usize,
}

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
    fn add(&self, expiry: Expiry) {
        let mut queue = self.0.lock();
        if queue.soonest_first.len() >= 2 * queue.left.max(FEW) {
            queue.thin_out();
        }
        queue.soonest_first.push(Reverse(expiry));
    }

    fn take_due(&self, now: Millis) -> Option<Expiry> {
        let queue = &mut self.0.lock().soonest_first;
        let is_due = queue.peek().is_some_and(|first| first.0.due <= now);
        is_due.then(|| queue.pop().map(|first| first.0)).flatten()
    }
}

impl Queue {
    /// Drops those whose receivers are gone: proofs may last for years, and receivers come and go with each request. Of
    /// several for one receiver the soonest is enough, since whoever is looked at and not over is noted anew.
    fn thin_out(&mut self) {
        let mut soonest_first: Vec<_> = std::mem::take(&mut self.soonest_first).into_vec();
        soonest_first.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        let mut noted = HashSet::new();
        soonest_first.retain(|Reverse(expiry)| {
            expiry.outbox.strong_count() > 0 && noted.insert(expiry.outbox.as_ptr())
        });
        self.left = soonest_first.len();
        self.soonest_first = soonest_first.into();
    }
}

impl Broker {
    /// Has whoever reads this outbox end when what proved who it is does.
    pub(super) fn watch_expiry(&self, outbox: &Arc<Outbox>) {
        if let Some(due) = outbox.reader().expires() {
            let outbox = Arc::downgrade(outbox);
            self.0.expiries.add(Expiry { due, outbox });
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
        let streams = self.0.streams.outboxes();
        streams.iter().for_each(|outbox| end(outbox));
        self.outboxes().iter().for_each(|outbox| end(outbox));
    }

    /// The rules have changed. Streams that lost a filter end; MQTT subscriptions stay, and what is denied is not delivered.
    pub fn rights_changed(&self) {
        // whoever matches from now on obeys the new rules; what was queued by the old ones is looked through behind that
        self.0.routes.rights_changed();
        self.0.streams.close_unauthorized();
        let streams = self.0.streams.outboxes();
        streams.iter().for_each(|outbox| self.drop_denied(outbox));
        for outbox in self.outboxes() {
            self.drop_denied(&outbox);
            if self.0.config.disconnect_on_revoke {
                outbox.ask_for_rights();
            }
        }
        self.serve_set_aside();
    }

    /// A session's client, whose will may be owed, has proved itself anew.
    pub fn read_as(
        &self,
        session: &Session,
        outbox: &Arc<Outbox>,
        identity: &Arc<Identity>,
        owes_will: bool,
    ) {
        outbox.read_as(identity.clone());
        if outbox.is_durable() || owes_will {
            self.keep_way(session.client_id(), identity);
        }
        self.watch_expiry(outbox);
        self.presence_changed(session);
        self.drop_denied(outbox);
    }

    /// What waits here and is denied now goes; what is of a share group is for its other members.
    pub(super) fn drop_denied(&self, outbox: &Arc<Outbox>) {
        let shared = outbox.drop_denied();
        self.pass_on_denied(&shared, outbox);
    }

    /// What was of a share group and is denied to this member is for the others.
    pub fn pass_on_denied(&self, shared: &[Delivery], outbox: &Outbox) {
        let except = Some(outbox.key());
        shared
            .iter()
            .for_each(|delivery| self.pass_on(delivery, except));
    }
}

/// Whether a session holds a subscription that it would not be given now.
pub fn is_beyond_rights(session: &Session, identity: &Identity) -> bool {
    let mut held = session.subscriptions();
    held.any(|held| identity.may_subscribe(&held.filter).is_err())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::outbox::{Bounds, Kind};

    fn outbox(key: u64) -> Arc<Outbox> {
        let bounds = Bounds {
            messages: 1,
            bytes: 1,
        };
        let reader = Identity::anonymous();
        Arc::new(Outbox::new(key, Kind::Stream, bounds, false, 0, reader))
    }

    fn expiry(due: u64, outbox: &Arc<Outbox>) -> Expiry {
        Expiry {
            due: Millis(due),
            outbox: Arc::downgrade(outbox),
        }
    }

    #[test]
    fn receivers_that_are_gone_are_not_kept_until_their_proofs_end() {
        let expiries = Expiries::default();
        for key in 0..10 * FEW as u64 {
            expiries.add(expiry(u64::MAX, &outbox(key)));
        }
        let kept = expiries.0.lock().soonest_first.len();
        assert!(kept <= 2 * FEW, "{kept}");
    }

    #[test]
    fn a_receiver_that_proves_itself_again_and_again_is_kept_with_its_soonest_end() {
        let expiries = Expiries::default();
        let (often, once) = (outbox(1), outbox(2));
        expiries.add(expiry(7, &once));
        for due in (5..10 * FEW as u64).rev() {
            expiries.add(expiry(due, &often));
        }
        expiries.0.lock().thin_out();
        let ends = [(); 3].map(|()| {
            let first = expiries.take_due(Millis(u64::MAX));
            first.map(|first| (first.due, first.outbox.upgrade().unwrap().key()))
        });
        assert_eq!(ends, [Some((Millis(5), 1)), Some((Millis(7), 2)), None]);
        assert!(expiries.0.lock().left <= 2);
    }
}
