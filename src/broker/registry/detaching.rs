//! A connection has ended: its session goes to its heir, is parked, or ends.

use super::{Attached, Ending, Left, Slot, StoredWill};
use crate::{
    broker::{Broker, outbox::Outbox},
    metrics::METRICS,
    mqtt::topic::TopicFilter,
    routing::Subscriber,
    session::Session,
    store::frame::Lsn,
};
use std::sync::Arc;

impl Broker {
    /// A connection has ended: its session goes to its heir, is parked, or ends.
    pub fn detach(&self, attached: Attached, will: Option<StoredWill>, ending: Ending) {
        let Attached {
            mut session,
            outbox,
            replays,
            number,
            ..
        } = attached;
        self.settle_shared(&mut session);
        let groups = groups_of(&session);
        let (client_id, key) = (session.client_id().clone(), outbox.key());
        self.hand_on_shared(&mut session, &outbox);
        let mut slots = self.0.registry.slots.lock();
        let heir = match slots.get_mut(&client_id) {
            Some(Slot::Online {
                number: current,
                heir,
                ..
            }) if *current == number => heir.take(),
            // cannot happen: a slot changes hands only here
            _ => return,
        };
        if let Some(heir) = heir
            && !heir.hand_over.is_closed()
        {
            slots.remove(&client_id);
            // a session without an expiry ends with its connection, also if another waits for it [MQTT-3.1.2-6 of 3.1.1]
            let ends = heir.clean_start || !session.is_durable();
            // the delay of a will ends at once with the session, and is cancelled by its resumption
            let owed = will.as_ref().map(|will| will.number);
            let will = will.filter(|w| ending == Ending::Broken && (w.will.delay == 0 || ends));
            if let Some(number) = owed
                && will.is_none()
                && ending != Ending::Stopped
            {
                self.forget_will(&client_id, number);
            }
            let left = Left {
                session,
                outbox,
                will: None,
                replays,
                stored: Vec::new(),
            };
            let (terms, number) = (heir.terms, heir.number);
            let begun = self.succeed(&mut slots, left, ends, terms, number, &heir.identity);
            drop(slots);
            self.serve_left(&groups);
            // before the heir has its session: what it subscribes to comes after its own will
            if let Some(will) = will {
                self.publish_will(&client_id, Some(key), will);
            }
            if let Err((mut attached, beginning)) = heir.hand_over.send(begun) {
                self.load_stored(&mut attached.session, beginning.stored);
                self.detach(attached, None, Ending::Broken);
            }
            return;
        }
        slots.remove(&client_id);
        // after a stop it is owed: the client is told to come back, and may not
        if let Some(will) = &will
            && ending == Ending::Goodbye
        {
            self.forget_will(&client_id, will.number);
        }
        let will = will.filter(|_| ending == Ending::Broken);
        if session.is_durable() {
            let left = Left {
                session,
                outbox,
                will,
                replays,
                stored: Vec::new(),
            };
            let due_now = self.park(&mut slots, left, number);
            drop(slots);
            self.serve_left(&groups);
            if let Some(will) = due_now {
                self.publish_will(&client_id, Some(key), will);
            }
        } else {
            // before anybody can begin a new session of this name: what is written of it comes behind this end
            self.end(&mut session, &outbox);
            drop(slots);
            self.serve_left(&groups);
            if let Some(will) = will {
                self.publish_will(&client_id, None, will);
            }
        }
    }

    /// The end of a session: nothing is for it any more [MQTT-4.1.0-2].
    pub(super) fn end(&self, session: &mut Session, outbox: &Arc<Outbox>) -> Option<Lsn> {
        for subscription in session.subscriptions() {
            if self
                .0
                .routes
                .unsubscribe(&subscription.filter, outbox.key())
            {
                METRICS.subscriptions.dec();
                if subscription.filter.share().is_some() {
                    METRICS.subscriptions_shared.dec();
                }
            }
        }
        if let Some(quota) = outbox.reader().quota() {
            quota.unsubscribe(session.subscription_count());
        }
        // from here on nobody assigns it anything: what is left of its groups' messages is all there is
        outbox.go_offline();
        self.leave_to_groups(session, outbox);
        session.abandon();
        self.settle_shared(session);
        outbox.retain(|_| false);
        METRICS.sessions.dec();
        outbox
            .is_durable()
            .then(|| self.keep_end(session.client_id()))
    }
}

/// The share groups that a session is in, by their filters.
pub(super) fn groups_of(session: &Session) -> Vec<TopicFilter> {
    let filters = session.subscriptions().map(|one| &one.filter);
    filters
        .filter(|filter| filter.share().is_some())
        .cloned()
        .collect()
}
