//! Who is online and whose session waits: client identifier to live connection or parked session.
//!
//! A takeover moves the session by value: the newcomer asks, the old connection's task hands over and ends.

use super::{
    Broker, Draft,
    outbox::{Bounds, CloseReason, Kind, Outbox},
    publish::Publisher,
    subscribe::Replay,
};
use crate::{
    auth::{identity::Identity, quota::Quota},
    message::{Millis, Origin},
    metrics::METRICS,
    mqtt::connect::Will,
    routing::{Subscriber, shared::Group},
    session::{
        NEVER, Session,
        opening::{Opening, Refusal, Terms},
        snapshot::Outgoing,
    },
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

/// All sessions by client identifier.
#[derive(Default)]
pub struct Registry {
    slots: Mutex<HashMap<Arc<str>, Slot>>,
    /// Connections and receivers are numbered from one source.
    next: AtomicU64,
    /// Wills of clients without a session that were connected when the gateway last stopped.
    pub(super) owed: Mutex<HashMap<Arc<str>, StoredWill>>,
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

/// A will with the rights it was accepted under.
#[derive(Debug, Clone)]
pub struct StoredWill {
    /// What to publish.
    pub will: Will,
    /// On whose rights.
    pub identity: Arc<Identity>,
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
    /// Opens the session of an accepted CONNECT: a new one, the parked one, or the one another connection must give up.
    /// CONNACK is due when the store has come as far as the answer says.
    pub async fn connect(
        &self,
        opening: &Opening,
        clean_start: bool,
        identity: &Arc<Identity>,
    ) -> Result<(Attached, Option<Lsn>), Refusal> {
        if self.is_draining() {
            return Err(Refusal::ShuttingDown);
        }
        let registry = &self.0.registry;
        let number = registry.next_key();
        let terms = opening.terms.clone();
        let (mut due, mut clean_start) = (None, clean_start);
        let waiting = {
            let mut slots = registry.slots.lock();
            if let Some(slot) = slots.get(&opening.client_id) {
                clean_start |= slot.is_left_to(identity)?;
            }
            match slots.remove(&opening.client_id) {
                None if slots.len() >= self.0.limits.sessions => {
                    return Err(Refusal::TooManySessions);
                }
                None => {
                    METRICS.sessions.inc();
                    let client_id = opening.client_id.clone();
                    Ok(self.fresh(&mut slots, client_id, terms, number, identity))
                }
                Some(Slot::Parked(mut parked)) => {
                    METRICS.sessions_parked.dec();
                    // the session's end makes the will due; a new connection within the delay suppresses it
                    // [MQTT-3.1.3-9]
                    let will = parked.left.will.take();
                    if will.is_some() && !clean_start {
                        self.forget_will(&opening.client_id);
                    }
                    due = will.filter(|_| clean_start);
                    let left = parked.left;
                    Ok(self.succeed(&mut slots, left, clean_start, terms, number, identity))
                }
                Some(Slot::Online {
                    number: old,
                    outbox,
                    ..
                }) => {
                    let (hand_over, waiting) = oneshot::channel();
                    outbox.close(CloseReason::TakenOver);
                    // an heir that waited already is itself taken over: dropping its sender tells it
                    let heir = Some(Box::new(Heir {
                        number,
                        clean_start,
                        terms,
                        identity: identity.clone(),
                        hand_over,
                    }));
                    slots.insert(
                        opening.client_id.clone(),
                        Slot::Online {
                            number: old,
                            outbox,
                            heir,
                        },
                    );
                    Err(waiting)
                }
            }
        };
        if let Some(will) = due {
            self.publish_will(&opening.client_id, None, will);
        }
        if registry.owed.lock().remove(&opening.client_id).is_some() {
            self.forget_will(&opening.client_id);
        }
        let (mut attached, beginning) = match waiting {
            Ok(begun) => begun,
            Err(waiting) => waiting.await.map_err(|_| Refusal::TakenOver)?,
        };
        self.watch_expiry(&attached.outbox);
        if attached.present {
            // reading takes its time, so not while all others wait for the registry
            self.load_stored(&mut attached.session, beginning.stored);
            self.forget_surplus(&mut attached.session);
        }
        if self.is_draining() {
            // it may have come in, or inherited, behind the back of whoever told all connections to end
            attached.outbox.close(CloseReason::ShuttingDown);
        }
        Ok((attached, beginning.durable_at))
    }

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
            let had_will = will.is_some();
            let will = will.filter(|w| ending == Ending::Broken && (w.will.delay == 0 || ends));
            if had_will && will.is_none() && ending != Ending::Stopped {
                self.forget_will(&client_id);
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
        if will.is_some() && ending == Ending::Goodbye {
            self.forget_will(&client_id);
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
            if let Some(will) = due_now {
                self.publish_will(&client_id, Some(key), will);
            }
        } else {
            // before anybody can begin a new session of this name: what is written of it comes behind this end
            self.end(&mut session, &outbox);
            drop(slots);
            if let Some(will) = will {
                self.publish_will(&client_id, None, will);
            }
        }
    }

    /// Ends whatever of a parked session is due: its will, or itself.
    pub(super) fn due(&self, client_id: &Arc<str>, number: u64, session_ends: bool) {
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
        if let Some(Slot::Parked(mut parked)) = ended {
            METRICS.sessions_parked.dec();
            METRICS.sessions_expired.inc();
            // under the lock: what is written of a new session of this name comes behind this end
            self.end(&mut parked.left.session, &parked.left.outbox);
        }
        drop(slots);
        if let Some(will) = will {
            self.publish_will(client_id, Some(key), will);
        }
    }

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

    /// Sessions that wait for their clients.
    pub(super) fn parked(&self) -> usize {
        METRICS.sessions_parked.get() as usize
    }

    /// Whether the session that this connection left still waits.
    pub(super) fn is_parked(&self, client_id: &Arc<str>, number: u64) -> bool {
        let slots = self.0.registry.slots.lock();
        matches!(slots.get(client_id), Some(Slot::Parked(parked)) if parked.number == number)
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

    /// A new session in an empty slot.
    fn fresh(
        &self,
        slots: &mut HashMap<Arc<str>, Slot>,
        client_id: Arc<str>,
        terms: Terms,
        number: u64,
        identity: &Arc<Identity>,
    ) -> (Attached, Beginning) {
        let head = self.0.store.head();
        let bounds = Bounds {
            messages: self.0.config.max_queued_messages,
            bytes: self.0.config.max_queued_bytes,
        };
        let durable = terms.session_expiry > 0;
        let durable_at =
            durable.then(|| self.keep_new(&client_id, identity, terms.session_expiry, head));
        let outbox = Arc::new(Outbox::new(
            self.0.registry.next_key(),
            Kind::Session,
            bounds,
            durable,
            head,
            identity.clone(),
        ));
        slots.insert(
            client_id.clone(),
            Slot::Online {
                number,
                outbox: outbox.clone(),
                heir: None,
            },
        );
        let attached = Attached {
            session: Session::new(client_id, terms, head),
            outbox,
            present: false,
            replays: VecDeque::new(),
            number,
        };
        let beginning = Beginning {
            durable_at,
            ..Beginning::default()
        };
        (attached, beginning)
    }

    /// What becomes of existing state when a connection comes: resumed [MQTT-3.1.2-5] or thrown away [MQTT-3.1.2-4].
    fn succeed(
        &self,
        slots: &mut HashMap<Arc<str>, Slot>,
        left: Left,
        clean_start: bool,
        terms: Terms,
        number: u64,
        identity: &Arc<Identity>,
    ) -> (Attached, Beginning) {
        let Left {
            mut session,
            outbox,
            mut replays,
            stored,
            ..
        } = left;
        let client_id = session.client_id().clone();
        if clean_start {
            let ended_at = self.end(&mut session, &outbox);
            METRICS.sessions.inc();
            let (fresh, mut beginning) = self.fresh(slots, client_id, terms, number, identity);
            beginning.durable_at = beginning.durable_at.or(ended_at);
            return (fresh, beginning);
        }
        let before = session.expiry();
        session.resume(terms);
        outbox.read_as(identity.clone());
        outbox.go_online();
        self.presence_changed(&session);
        let noted = outbox.is_durable().then(|| {
            self.keep_way(session.client_id(), identity);
            self.keep_presence(&session, None)
        });
        let durable_at = match session.is_sending_qos_2() {
            // what is repeated behind CONNACK, a PUBLISH or a PUBREL, may have been noted a moment ago
            true => noted.map(|_| self.everything_durable()),
            false => noted.filter(|_| session.expiry() != before),
        };
        let head = self.head();
        replays.iter_mut().for_each(|replay| replay.resume(head));
        slots.insert(
            client_id,
            Slot::Online {
                number,
                outbox: outbox.clone(),
                heir: None,
            },
        );
        let attached = Attached {
            session,
            outbox,
            present: true,
            replays,
            number,
        };
        (attached, Beginning { durable_at, stored })
    }

    /// Keeps a session without a connection. Answers a will that is due at once.
    fn park(
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
    pub(super) fn park_restored(&self, left: Left, parked: Millis, will_due: Millis) {
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

    /// Every session without a connection that has something under way.
    pub(super) fn each_parked(&self, mut see: impl FnMut(&Session, &Outbox)) {
        for slot in self.0.registry.slots.lock().values() {
            if let Slot::Parked(parked) = slot
                && parked.left.session.in_flight() > 0
            {
                see(&parked.left.session, &parked.left.outbox);
            }
        }
    }

    /// The end of a session: nothing is for it any more [MQTT-4.1.0-2].
    fn end(&self, session: &mut Session, outbox: &Arc<Outbox>) -> Option<Lsn> {
        let groups = self.groups_of(session);
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
        self.leave_to_groups(&groups, session, outbox);
        session.abandon();
        for (id, offset) in session.take_settled() {
            if let Some(group) = groups.iter().find(|group| group.id() == id) {
                group.settle(offset);
            }
        }
        outbox.retain(|_| false);
        METRICS.sessions.dec();
        outbox
            .is_durable()
            .then(|| self.keep_end(session.client_id()))
    }

    /// Gives what an ended session held at QoS 1 for its share groups to members online, else to those that return.
    fn leave_to_groups(
        &self,
        groups: &[Arc<Group<Arc<Outbox>>>],
        session: &mut Session,
        outbox: &Outbox,
    ) {
        let mut left = session.release_shared(|_| true);
        left.extend(outbox.release_shared(|_| true));
        for delivery in left {
            let (message, position) = (&delivery.message, delivery.position);
            let group = groups
                .iter()
                .find(|group| Some(group.id()) == delivery.share);
            let kept = group.is_some_and(|group| {
                self.assign(group, message, position, None)
                    || self.keep_for_group(group, message, position)
            });
            if !kept {
                METRICS.publishes_dropped.inc();
                if let (Some(group), Some(position)) = (group, position) {
                    group.settle(position.offset);
                }
            }
        }
    }

    pub(super) fn groups_of(&self, session: &Session) -> Vec<Arc<Group<Arc<Outbox>>>> {
        let shared = session
            .subscriptions()
            .filter(|s| s.filter.share().is_some());
        shared
            .filter_map(|s| self.0.routes.group(&s.filter))
            .collect()
    }

    /// `receiver` is the key of the session's own outbox: No Local keeps a will from the client it is of
    /// [MQTT-3.8.3-3].
    pub(super) fn publish_will(
        &self,
        client_id: &Arc<str>,
        receiver: Option<u64>,
        stored: StoredWill,
    ) {
        let StoredWill { will, identity } = stored;
        let origin = Origin {
            client_id: Some(client_id.clone()),
            user: identity.user().cloned(),
        };
        let mut publisher = Publisher::new(identity, Arc::new(origin), receiver);
        let draft = Draft {
            topic: will.topic,
            payload: will.payload,
            qos: will.qos,
            retain: will.retain,
            properties: will.properties,
        };
        // a will is not refused for what its client published before
        let published = self.publish_in_batch(&mut publisher, draft, None, self.now());
        self.flush(&mut publisher);
        if let Err(refused) = published {
            METRICS.refused(refused.kind()).inc();
            tracing::warn!(client = ?client_id, %refused, "a will was not published");
        }
        self.forget_will(client_id);
    }

    /// Gives what a share group's member leaves unacknowledged at QoS 1 to the others at once. What no other can take
    /// stays with the session, as does QoS 2 [MQTT-4.8.2-4].
    fn hand_on_shared(&self, session: &mut Session, outbox: &Arc<Outbox>) {
        let groups = self.groups_of(session);
        if groups.is_empty() {
            return;
        }
        // asked before any outbox is locked: a group looks into the outboxes of its members
        let others = groups
            .iter()
            .filter(|group| group.next(0, Some(outbox.key()), |_| true).is_some());
        let others: Vec<_> = others.map(|group| group.id()).collect();
        let has_other = |id| others.contains(&id);
        let mut released = session.release_shared(has_other);
        released.extend(outbox.release_shared(has_other));
        for delivery in released {
            let group = groups
                .iter()
                .find(|group| Some(group.id()) == delivery.share);
            let taken = group.is_some_and(|group| {
                let except = Some(outbox.key());
                self.assign(group, &delivery.message, delivery.position, except)
            });
            // the others had less room than it seemed: it stays
            if !taken && outbox.keep(delivery).is_err() {
                METRICS.publishes_dropped.inc();
            }
        }
    }
}

impl Slot {
    /// A client identifier belongs to the user who opened its session. What was opened anonymously, and has no
    /// connection, stands in nobody's way, but nobody inherits it either: true then.
    fn is_left_to(&self, identity: &Identity) -> Result<bool, Refusal> {
        let (owner, is_parked) = match self {
            Slot::Online { outbox, .. } => (outbox.reader(), false),
            Slot::Parked(parked) => (parked.left.outbox.reader(), true),
        };
        match (owner.user(), identity.user()) {
            (owner, user) if owner == user => Ok(false),
            (None, Some(_)) if is_parked => Ok(true),
            _ => Err(Refusal::ClientIdOfAnother),
        }
    }
}

/// When a session without a connection ends; `None` is never.
pub(super) fn expiry_deadline(session: &Session, now: Millis) -> Option<Millis> {
    match session.expiry() {
        NEVER => None,
        seconds => Some(now.plus_seconds(seconds.into())),
    }
}
