//! Durable receivers: reading from the log what was missed, until live; and cleaning the log behind them.

use super::{Broker, Order, outbox::Outbox};
use crate::{
    message::{Delivery, Message, Position},
    metrics::METRICS,
    mqtt::{
        Qos,
        topic::{TopicFilter, TopicName},
    },
    routing::{Subscriber, shared::Group},
    session::Session,
    store::{Page, Record, Wanted},
};
use hashbrown::HashMap;
use std::sync::Arc;

/// Records looked at per step.
const CHUNK: usize = 256;

/// Topics of which is remembered how far they are answered.
const MOST_TOPICS: usize = 1024;

impl Broker {
    /// The next messages that a session behind missed, at most `max`. At the end of the log the outbox goes live.
    pub fn catch_up(&self, session: &mut Session, outbox: &Outbox, max: usize) -> Vec<Delivery> {
        let mut missed = Vec::new();
        // not all of them may be for it, but a small window needs few
        let page = self.read_for(session, (2 * max).clamp(32, CHUNK));
        if page.is_end(session.taken_through()) {
            let _order = self.0.order.lock();
            if self.read_for(session, 1).is_end(session.taken_through()) {
                session.take_through(self.0.store.head());
                outbox.go_live();
            }
        }
        let mut through = page.through;
        let reader = outbox.reader();
        for record in page.records {
            if missed.len() == max {
                through = record.offset - 1;
                break;
            }
            let found = self.missed_by(session, &record);
            missed.extend(found.filter(|found| reader.may_read(&found.message.topic).is_ok()));
        }
        if let Some(first) = missed.first().and_then(|first| first.position) {
            outbox.hold_back(first.offset);
        }
        session.take_through(through);
        missed
    }

    /// The next part of the log that may have something for a session.
    fn read_for(&self, session: &Session, max: usize) -> Page {
        let filters = session.subscriptions();
        let own = filters.filter(|subscription| subscription.filter.share().is_none());
        let wanted = Wanted::by(own.map(|subscription| &subscription.filter));
        self.0
            .store
            .read(session.taken_through(), max, Some(&wanted))
    }

    /// Tells the log what a session has taken, and what of it is answered.
    pub fn note_taken(&self, session: &Session, outbox: &Arc<Outbox>) {
        let moved = outbox.note_taken(session.taken_through(), session.oldest_unanswered());
        if moved && self.0.store.is_durable() {
            let mover = (session.client_id().clone(), outbox.clone());
            self.0.moved.lock().push(mover);
        }
    }

    /// A record as this session gets it, if it does: a filter older than it matches, at QoS 1 or 2, and is not kept
    /// from its own publisher.
    fn missed_by(&self, session: &Session, record: &Record) -> Option<Delivery> {
        let message = &record.message;
        if session.has_taken(record.offset) {
            return None;
        }
        let publisher = message.origin.as_ref().and_then(|o| o.client_id.as_ref());
        let own = publisher == Some(session.client_id());
        let (mut qos, mut retain, mut ids) = (None, false, Vec::new());
        for subscription in session.subscriptions() {
            let wants = subscription.filter.share().is_none()
                && subscription.since < record.offset
                && !(own && subscription.options.no_local)
                && subscription.filter.matches(&message.topic);
            if wants {
                qos = qos.max(Some(subscription.options.qos));
                retain |= message.retain && subscription.options.retain_as_published;
                ids.extend(subscription.id);
            }
        }
        let qos = qos?.min(message.qos);
        (qos > Qos::AtMostOnce).then(|| Delivery {
            message: message.clone(),
            qos,
            retain,
            position: Some(Position {
                epoch: self.epoch(),
                offset: record.offset,
            }),
            subscription_ids: if ids.is_empty() {
                None
            } else {
                Some(ids.into())
            },
            share: None,
        })
    }

    /// Enforces the limits of what may wait for one session: the oldest goes, and is counted.
    pub(super) fn forget_surplus(&self, session: &mut Session) {
        let config = &self.0.config;
        let mut waiting: Vec<(u64, usize)> = Vec::new();
        let filters = session.subscriptions().map(|s| &s.filter);
        let wanted = Wanted::by(filters.filter(|filter| filter.share().is_none()));
        let mut at = session.taken_through();
        loop {
            let page = self.0.store.read(at, CHUNK, Some(&wanted));
            if page.is_end(at) {
                break;
            }
            at = page.through;
            let records = page.records.iter();
            let missed = records.filter(|record| self.missed_by(session, record).is_some());
            waiting.extend(missed.map(|record| (record.offset, record.message.weight())));
        }
        let mut bytes: usize = waiting.iter().map(|(_, weight)| weight).sum();
        let mut count = waiting.len();
        for (offset, weight) in waiting {
            if count <= config.max_queued_messages
                && (bytes <= config.max_queued_bytes || count == 1)
            {
                break;
            }
            session.take_through(offset);
            bytes -= weight;
            count -= 1;
            METRICS.publishes_dropped.inc();
        }
    }

    /// Assigns what waits for the share groups of this session, as far as their members have room.
    pub fn serve_groups(&self, session: &Session) {
        for subscription in session
            .subscriptions()
            .filter(|s| s.filter.share().is_some())
        {
            let Some(group) = self.0.routes.group(&subscription.filter) else {
                continue;
            };
            if group.has_waiting() {
                self.serve(&group);
            }
        }
    }

    /// Assigns what members have given back, or waits for one of them. False if nobody had room for all of it.
    pub(super) fn serve_returned(&self, group: &Group<Arc<Outbox>>) -> bool {
        while let Some(offset) = group.take_returned() {
            let record = self.0.store.get(offset);
            let record = record.filter(|record| group.has_reader(&record.message.topic));
            let Some(record) = record else {
                // above its limit the log has let go of it, or nobody may have it any more
                METRICS.publishes_dropped.inc();
                group.settle(offset);
                continue;
            };
            let epoch = self.epoch();
            let position = Position { epoch, offset };
            if !self.assign_or_set_aside(group, &record.message, position) {
                group.give_back(offset);
                return false;
            }
        }
        true
    }

    /// As [`Broker::assign`], of what must not be lost: what nobody online may have is set aside, and holds up nothing.
    pub(super) fn assign_or_set_aside(
        &self,
        group: &Group<Arc<Outbox>>,
        message: &Arc<Message>,
        position: Position,
    ) -> bool {
        self.assign(group, message, Some(position), None)
            || group.set_aside(position.offset, &message.topic)
    }

    /// Serves the share groups that a session was in, now that it has gone: what waited for it others may have.
    pub(super) fn serve_left(&self, filters: &[TopicFilter]) {
        let groups = filters
            .iter()
            .filter_map(|filter| self.0.routes.group(filter));
        for group in groups.filter(|group| group.has_waiting()) {
            self.serve(&group);
        }
    }

    /// Lets all share groups look again at what nobody had the right to.
    pub(super) fn serve_set_aside(&self) {
        for group in self.0.routes.all_groups() {
            group.look_again();
            if group.has_waiting() {
                self.serve(&group);
            }
        }
    }

    /// Assigns what waits for a share group, as far as its members have room.
    pub(super) fn serve(&self, group: &Group<Arc<Outbox>>) {
        if !self.serve_returned(group) {
            return;
        }
        let wanted = Wanted::by([group.filter()].into_iter());
        while let Some(after) = group.behind() {
            // read before the lock is taken: publishers wait for no file
            let mut page = self.0.store.read(after, CHUNK, Some(&wanted));
            let _order = self.0.order.lock();
            if group.behind() != Some(after) {
                // somebody else went on meanwhile
                continue;
            }
            if page.is_end(after) {
                page = self.0.store.read(after, 1, Some(&wanted));
            }
            if page.is_end(after) {
                group.set_behind(None);
                return;
            }
            for record in page.records {
                let wanted = group.filter().matches(&record.message.topic)
                    && record.message.qos > Qos::AtMostOnce
                    && !group.was_answered(record.offset)
                    && group.has_reader(&record.message.topic);
                let position = Position {
                    epoch: self.epoch(),
                    offset: record.offset,
                };
                if wanted && !self.assign_or_set_aside(group, &record.message, position) {
                    return;
                }
                group.set_behind(Some(record.offset));
            }
            group.set_behind(Some(page.through));
        }
    }

    /// Share groups are told what their members are done with.
    pub fn settle_shared(&self, session: &mut Session) {
        let mut last: Option<Arc<Group<Arc<Outbox>>>> = None;
        for (id, offset) in session.take_settled() {
            // not by the session's subscriptions: it may have left the group
            if last.as_ref().is_none_or(|group| group.id() != id) {
                last = self.0.routes.group_named(id);
            }
            if let Some(group) = &last {
                group.settle(offset);
            }
        }
    }

    /// A web stream has brought a message of a share group: nobody answers it, it is done with.
    pub(super) fn settle_brought(&self, delivery: &Delivery) {
        if let (Some(id), Some(position)) = (delivery.share, delivery.position)
            && let Some(group) = self.0.routes.group_named(id)
        {
            group.settle(position.offset);
        }
    }

    /// Cleans the log while nothing is being offered.
    pub(super) fn clean_log(&self) {
        loop {
            // a record between its append and its last offer seems needed by nobody; taken anew for every record, so
            // that a long cleaning holds up no publisher
            let mut order = self.0.order.lock();
            if !self.clean_oldest(&mut order) {
                break;
            }
        }
    }

    /// Cleans the log from its oldest record: what nobody needs goes; above the limit the oldest goes although needed.
    /// False if it stays.
    pub(super) fn clean_oldest(&self, order: &mut Order) -> bool {
        let store = &self.0.store;
        if order.oldest.is_empty() {
            let trimmed = store.trimmed();
            let page = store.read(trimmed, CHUNK, None);
            if page.is_end(trimmed) {
                return false;
            }
            if page.records.is_empty() {
                // what stood there cannot be read any more
                store.trim(page.through, 0, 0);
                return true;
            }
            order.oldest = page.records.into();
        }
        let Order { oldest, answered } = order;
        let Some(record) = oldest.front() else {
            return false;
        };
        let needed = self.is_needed(record, answered);
        if needed && !store.is_over_limit() && !store.has_outgrown() {
            // it may wait for long, and need not be kept in memory for that
            order.oldest.clear();
            return false;
        }
        if needed {
            METRICS.publishes_dropped.inc();
        }
        let matching = self.0.routes.recorded(&record.message.topic);
        self.0.history.removed(matching, record.size);
        store.trim(record.offset, 1, record.size);
        order.oldest.pop_front();
        true
    }

    fn is_needed(&self, record: &Record, answered: &mut HashMap<TopicName, u64>) -> bool {
        let topic = &record.message.topic;
        let rules = self.0.routes.recorded(topic);
        if self.0.history.holds(rules, &record.message, self.now()) {
            return true;
        }
        if self
            .0
            .routes
            .any_group(topic, |group| group.needs(record.offset))
        {
            return true;
        }
        // many records of a topic are for the same receivers, who may be very many: they are asked once for all
        if answered
            .get(topic)
            .is_some_and(|through| record.offset <= *through)
        {
            return false;
        }
        let through = self.answered_through(topic);
        if answered.len() >= MOST_TOPICS {
            answered.clear();
        }
        answered.insert(topic.clone(), through);
        let needs = |receiver: &Arc<Outbox>| receiver.is_durable() && receiver.needs(record.offset);
        record.offset > through && self.0.routes.any_above_qos_0(topic, needs)
    }

    /// Up to where every durable receiver of a topic has answered what was for it. Under the order lock only.
    fn answered_through(&self, topic: &TopicName) -> u64 {
        let head = self.0.store.head();
        let mut through = head;
        self.0.routes.any_above_qos_0(topic, |receiver| {
            if receiver.is_durable() {
                through = through.min(receiver.answered_through(head));
            }
            false
        });
        through
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
