//! What the store is told of sessions, wills and share groups, and what it tells at a start.
//!
//! A session that is kept is written whole when it begins, and change by change from then on. Its cursor is written
//! lazily: after a crash a QoS 1 message may come again. What is told of share groups stands in [`groups`].

mod groups;

use super::{
    Broker,
    outbox::{Bounds, Kind, Outbox},
    registry::{Left, StoredWill, expiry_deadline},
};
use crate::{
    auth::{identity::Identity, rules::Way},
    message::{Delivery, Millis, Position},
    metrics::METRICS,
    mqtt::{PacketId, Qos, topic::TopicFilter},
    session::{
        Session,
        sending::Place,
        snapshot::{Outgoing, Snapshot, Stage},
    },
    store::{StoreError, Urgency, frame::Lsn, record::Change, recovery::Recovered},
};
pub use groups::KeptGroups;
use groups::MOST_OPEN;
use hashbrown::HashMap;
use std::{collections::VecDeque, sync::Arc, time::Instant};

impl Broker {
    pub(super) fn tell(&self, change: Change, urgency: Urgency) -> Lsn {
        self.0.store.change(change, urgency)
    }

    /// A client came in whose session is kept, or whose will is owed: rules may ask how when nobody is there to be asked.
    pub(super) fn keep_way(&self, client_id: &Arc<str>, identity: &Identity) {
        if !self.has_room() {
            // what is known of how it came in before stands
            return;
        }
        let (client, way) = (client_id.clone(), identity.way());
        self.tell(Change::CameIn { client, way }, Urgency::Soon);
    }

    /// A session that outlives its connection begins.
    pub(super) fn keep_new(
        &self,
        client_id: &Arc<str>,
        identity: &Identity,
        expiry: u32,
        head: u64,
    ) -> Lsn {
        self.keep_way(client_id, identity);
        let user = identity.user().cloned();
        let snapshot = Snapshot::new(client_id.clone(), user, expiry, head);
        self.tell(Change::Session(Box::new(snapshot)), Urgency::Now)
    }

    /// A connection of the session came or, at `parked`, went.
    pub(super) fn keep_presence(&self, session: &Session, parked: Option<Millis>) -> Lsn {
        let (client, expiry) = (session.client_id().clone(), session.expiry());
        let change = Change::Presence {
            client,
            expiry,
            parked,
        };
        self.tell(change, Urgency::Soon)
    }

    /// The session is over.
    pub(super) fn keep_end(&self, client_id: &Arc<str>) -> Lsn {
        let client = client_id.clone();
        // nobody is answered, but a client that ended its session does not expect it to come back
        self.tell(Change::Ended { client }, Urgency::Now)
    }

    /// A filter was added or replaced.
    pub(super) fn keep_subscription(
        &self,
        session: &Session,
        filter: &TopicFilter,
        head: u64,
    ) -> Option<Lsn> {
        let subscription = session.subscription(filter.as_str())?;
        if !session.is_durable() || !self.0.store.is_durable() {
            return None;
        }
        if filter.share().is_some() && subscription.options.qos > Qos::AtMostOnce {
            self.keep_group(filter, head);
        }
        let change = Change::Subscribed {
            client: session.client_id().clone(),
            subscription: subscription.clone(),
        };
        Some(self.tell(change, Urgency::Now))
    }

    /// A filter was removed.
    pub(super) fn keep_unsubscription(&self, session: &Session, filter: &str) -> Option<Lsn> {
        let change = || Change::Unsubscribed {
            client: session.client_id().clone(),
            filter: filter.into(),
        };
        session
            .is_durable()
            .then(|| self.tell(change(), Urgency::Now))
    }

    /// Whether there is room on the disk for more than what was accepted already.
    pub(super) fn has_room(&self) -> bool {
        self.0.store.health() != Err(StoreError::Full)
    }

    /// A will is owed from now on, should the client vanish. On a full disk it is not written down: then it is owed for
    /// as long as the gateway runs.
    pub fn owe_will(&self, client_id: &Arc<str>, stored: &mut StoredWill) -> Lsn {
        stored.number = self.0.registry.next_key();
        let mut written = self.0.registry.written_wills.lock();
        if !self.has_room() {
            if written.remove(client_id).is_some() {
                let client = client_id.clone();
                self.tell(Change::WillDone { client }, Urgency::Soon);
            }
            return Lsn(0);
        }
        written.insert(client_id.clone(), stored.number);
        self.keep_way(client_id, &stored.identity);
        let change = Change::Will {
            client: client_id.clone(),
            user: stored.identity.user().cloned(),
            will: stored.will.clone(),
        };
        self.tell(change, Urgency::Soon)
    }

    /// The will with this number is owed no longer. If the client has come back meanwhile, the one of its new
    /// connection stays.
    pub(super) fn forget_will(&self, client_id: &Arc<str>, number: u64) {
        let mut written = self.0.registry.written_wills.lock();
        if written.get(client_id) == Some(&number) {
            written.remove(client_id);
            let client = client_id.clone();
            self.tell(Change::WillDone { client }, Urgency::Soon);
        }
    }

    /// Whether QoS 2 messages to this session are written down before they leave.
    pub fn keeps(&self, session: &Session) -> bool {
        session.is_durable() && self.0.store.is_durable()
    }

    /// A message is about to leave under this identifier: the two belong together once this is durable.
    pub fn pair(&self, session: &Session, packet_id: PacketId, delivery: &Delivery) -> Lsn {
        let share = delivery.share;
        let outgoing = Outgoing {
            packet_id,
            offset: delivery.position.map_or(0, |position| position.offset),
            stage: Stage::Sent(delivery.qos),
            retain: delivery.retain,
            group: share.and_then(|id| self.group_filter(id)),
        };
        let client = session.client_id().clone();
        self.tell(Change::Paired { client, outgoing }, Urgency::Now)
    }

    /// The client's PUBREC came: PUBREL waits for this.
    pub fn answered(&self, session: &Session, packet_id: PacketId) -> Lsn {
        let client = session.client_id().clone();
        self.tell(Change::Answered { client, packet_id }, Urgency::Now)
    }

    /// The client is done with a message that was paired.
    pub fn completed(&self, session: &mut Session, packet_id: PacketId) {
        // the group first: what it is written to hold behind this is given again after a restart
        self.settle_shared(session);
        let client = session.client_id().clone();
        self.tell(Change::Completed { client, packet_id }, Urgency::Soon);
    }

    /// Everything that was done so far is durable at this point.
    pub fn everything_durable(&self) -> Lsn {
        self.0.store.newest()
    }

    /// The client's PUBREL came.
    pub fn released(&self, session: &Session, packet_id: PacketId) -> Lsn {
        let client = session.client_id().clone();
        self.tell(Change::Released { client, packet_id }, Urgency::Now)
    }

    /// Publishers' memories of who is online hold no longer, nor what share groups set aside because of that.
    pub(super) fn presence_changed(&self, session: &Session) {
        session
            .subscriptions()
            .for_each(|subscription| self.0.routes.presence_changed(&subscription.filter));
    }

    /// Writes down cursors that moved. Of share groups with more than [`MOST_OPEN`] open messages only how far everything
    /// is done with.
    pub(super) fn keep_cursors(&self) {
        self.write_cursors();
        self.write_groups(MOST_OPEN, |moves| moves);
    }

    fn write_cursors(&self) {
        let moved = std::mem::take(&mut *self.0.moved.lock());
        for (client, outbox) in moved {
            outbox.begin_noting();
            let through = {
                let _order = self.0.order.lock();
                outbox.answered_through(self.0.store.head())
            };
            self.tell(Change::Cursor { client, through }, Urgency::Soon);
        }
    }

    /// Gives back room on the disk. Reads and writes files.
    pub(super) fn compact(&self) {
        let (_, retained) = self.0.retained.size();
        let if_retained = |topic: &_, offset, write: &mut dyn FnMut()| {
            // nobody takes it away, or sets another one, between the question and its answer
            let _order = self.0.order.lock();
            let kept = self.0.retained.get(topic, self.now());
            if kept.is_some_and(|kept| kept.position.offset == offset) {
                write();
            }
        };
        self.0.store.compact(&if_retained, retained);
    }

    /// Writes down what only this process knows, and returns when everything is durable. All connections have ended.
    pub fn close_store(&self) {
        self.write_cursors();
        // all of each, also where nothing has moved since a part was written
        self.write_groups(usize::MAX, |_| u64::MAX);
        let now = self.now();
        self.each_parked(|session, outbox| {
            let user = outbox.reader().user().cloned();
            let mut snapshot = session.snapshot(user, Some(now), |id| self.group_filter(id));
            let done = self.0.store.done(&snapshot.client_id);
            let through = snapshot.through;
            snapshot.done = done.into_iter().filter(|at| *at > through).collect();
            self.tell(Change::Session(Box::new(snapshot)), Urgency::Soon);
        });
        self.0.store.close();
    }

    /// Takes over what a store found at the start. Nobody is connected yet.
    pub fn restore(&self, recovered: Recovered) {
        let now = self.now();
        let mut ways = recovered.ways;
        for (offset, message) in recovered.retained.into_values() {
            self.0.retained.set(&message, self.position(offset));
        }
        let filters = self
            .0
            .history
            .go_on(&recovered.history, self.0.store.head());
        if filters != recovered.history {
            self.tell(Change::History { filters }, Urgency::Soon);
        }
        let damaged = recovered.damage.iter().map(|damage| damage.after).collect();
        // a broker is restored once
        let _ = self.0.damaged.set(damaged);
        for (rules, size) in recovered.recorded {
            self.0.history.added(rules, size);
        }
        let mut wills: HashMap<Arc<str>, StoredWill> = recovered
            .wills
            .into_iter()
            .map(|(client, owed)| {
                let will = owed.will;
                let way = ways.get(&client).cloned().unwrap_or_default();
                let identity = self.restored(owed.user, &client, way);
                let identity = identity.for_will(&will.topic);
                let stored = StoredWill {
                    will,
                    identity: Arc::new(identity),
                    number: self.0.registry.next_key(),
                };
                let mut written = self.0.registry.written_wills.lock();
                written.insert(client.clone(), stored.number);
                (client, stored)
            })
            .collect();
        let mut held: HashMap<Box<str>, Vec<u64>> = HashMap::new();
        let mut since: HashMap<Box<str>, u64> = HashMap::new();
        for snapshot in recovered.sessions {
            let members = snapshot.subscriptions.iter();
            let members = members.filter(|one| one.options.qos > Qos::AtMostOnce);
            for one in members.filter(|one| one.filter.share().is_some()) {
                let first = since.entry(one.filter.as_str().into());
                let first = first.or_insert(one.since);
                *first = one.since.min(*first);
            }
            let groups = snapshot.outgoing.iter().filter(|one| is_kept_here(one));
            for one in groups {
                if let Some(group) = &one.group {
                    held.entry(group.clone()).or_default().push(one.offset);
                }
            }
            let client_id = snapshot.client_id.clone();
            let (will, way) = (wills.remove(&client_id), ways.remove(&client_id));
            // of a session that is over: published when everybody is there who is to receive it
            let owed = self.restore_session(snapshot, way.unwrap_or_default(), will, now);
            wills.extend(owed.map(|will| (client_id, will)));
        }
        // a session may hold something of a group that it has left and that others have entered only now
        self.each_stored(|one| self.hold_for_group(one));
        self.restore_groups(recovered.groups, held, since);
        for (client, will) in wills {
            // [MQTT-3.1.2-8]: with its session the delay has ended
            let due = now.plus_seconds(self.0.config.restart_grace.as_secs());
            self.0.registry.owed.lock().insert(client.clone(), will);
            self.0.timers.add(due, client, 0, false);
        }
        // who was restored may need what nobody needed before
        self.0.order.lock().answered.clear();
    }

    fn restored(&self, user: Option<Arc<str>>, client_id: &Arc<str>, way: Way) -> Identity {
        let quota = user
            .as_ref()
            .and_then(|user| self.0.quotas.of(Some(user), None, Instant::now()));
        Identity::restored(user, client_id.clone(), way, self.0.access.clone()).with_quota(quota)
    }

    fn position(&self, offset: u64) -> Position {
        let epoch = self.epoch();
        Position { epoch, offset }
    }

    /// A client gets some time to come back before its will is published.
    fn will_due(&self, will: &StoredWill, now: Millis) -> Millis {
        let grace = self.0.config.restart_grace.as_secs();
        now.plus_seconds(u64::from(will.will.delay).max(grace))
    }

    /// Gives the will back if the session is over.
    fn restore_session(
        &self,
        snapshot: Snapshot,
        way: Way,
        will: Option<StoredWill>,
        now: Millis,
    ) -> Option<StoredWill> {
        // without a goodbye its last connection ended with the gateway, so no later than now
        let parked = snapshot.parked.unwrap_or(now);
        let client_id = snapshot.client_id.clone();
        let stored: Vec<Outgoing> = snapshot
            .outgoing
            .iter()
            .filter(|one| is_kept_here(one))
            .cloned()
            .collect();
        let reader = Arc::new(self.restored(snapshot.user.clone(), &client_id, way));
        let session = Session::restored(snapshot);
        let is_over = !session.is_durable()
            || expiry_deadline(&session, parked).is_some_and(|ends| ends <= now);
        if is_over {
            self.keep_end(&client_id);
            return will;
        }
        let bounds = Bounds {
            messages: self.0.config.max_queued_messages,
            bytes: self.0.config.max_queued_bytes,
        };
        let (key, through) = (self.0.registry.next_key(), session.taken_through());
        let outbox = Arc::new(Outbox::new(
            key,
            Kind::Session,
            bounds,
            true,
            through,
            reader,
        ));
        outbox.go_offline();
        let unanswered = stored
            .iter()
            .filter(|one| matches!(one.stage, Stage::Sent(_)));
        let unanswered = unanswered.filter(|one| one.group.is_none() && one.offset > 0);
        outbox.note_taken(through, unanswered.map(|one| one.offset).min());
        // that much is written down; what moves from now on is not
        outbox.begin_noting();
        if let Some(quota) = outbox.reader().quota() {
            quota.resume_subscriptions(session.subscription_count());
        }
        for subscription in session.subscriptions() {
            let (filter, options) = (&subscription.filter, subscription.options);
            self.0
                .routes
                .subscribe(filter, outbox.clone(), options, subscription.id);
            METRICS.subscriptions.inc();
            if filter.share().is_some() {
                METRICS.subscriptions_shared.inc();
            }
        }
        let will_due = will.as_ref().map_or(now, |will| self.will_due(will, now));
        let left = Left {
            session,
            outbox,
            will,
            replays: VecDeque::new(),
            stored,
        };
        self.park_restored(left, parked, will_due);
        None
    }

    /// Reads what a session had under way when the gateway last stopped: it is sent again.
    pub(super) fn load_stored(&self, session: &mut Session, stored: Vec<Outgoing>) {
        for one in stored {
            let shared = self.group_of(&one);
            let Outgoing {
                packet_id,
                offset,
                stage,
                retain,
                group,
            } = one;
            let record = match stage {
                Stage::Sent(qos) => self.0.store.get(offset).map(|record| (record, qos)),
                _ => None,
            };
            let share = shared.as_ref().map(|shared| shared.id());
            let delivery = record.map(|(record, qos)| {
                let matching = session.subscriptions().filter(|s| {
                    group.as_deref() == s.filter.share().map(|_| s.filter.as_str())
                        && s.filter.matches(&record.message.topic)
                });
                let ids: Vec<u32> = matching.filter_map(|s| s.id).collect();
                Delivery {
                    message: record.message,
                    qos,
                    retain,
                    position: Some(self.position(offset)),
                    subscription_ids: (!ids.is_empty()).then(|| ids.into()),
                    share,
                }
            });
            if let (Some(shared), None) = (&shared, &delivery) {
                // the client has it, or the log has it no longer
                shared.settle(offset);
            }
            // of a group that is gone it is nobody's matter
            let is_known = group.is_none() || share.is_some();
            let offset = if is_known { offset } else { 0 };
            session.restore_outgoing(packet_id, delivery, Place { offset, share });
        }
    }
}

/// Whether a session goes on with it after a start: not if its share group gives it anew.
fn is_kept_here(one: &Outgoing) -> bool {
    match one.stage {
        Stage::Release => true,
        Stage::Sent(qos) => one.group.is_none() || qos == Qos::ExactlyOnce,
    }
}
