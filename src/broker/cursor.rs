//! Durable receivers: reading from the log what was missed, until live; and cleaning the log behind them.

use super::{Broker, outbox::Outbox};
use crate::{
    message::{Delivery, Position},
    metrics::METRICS,
    mqtt::Qos,
    routing::Subscriber,
    session::Session,
    store::Record,
};
use std::sync::Arc;

/// Records looked at per step.
const CHUNK: usize = 256;

impl Broker {
    /// The next messages that a session behind missed, at most `max`. At the end of the log the outbox goes live.
    pub fn catch_up(&self, session: &mut Session, outbox: &Outbox, max: usize) -> Vec<Delivery> {
        let mut missed = Vec::new();
        let records = self.0.store.read(session.taken_through(), CHUNK);
        if records.is_empty() {
            let _order = self.0.order.lock();
            if self.0.store.read(session.taken_through(), 1).is_empty() {
                session.take_through(self.0.store.head());
                outbox.go_live();
            }
        }
        for record in records {
            if missed.len() == max {
                break;
            }
            missed.extend(self.missed_by(session, &record));
            session.take_through(record.offset);
        }
        outbox.set_taken_through(session.taken_through());
        missed
    }

    /// Tells the log what a live session has taken.
    pub fn note_taken(&self, session: &Session, outbox: &Outbox) {
        outbox.set_taken_through(session.taken_through());
    }

    /// A record as this session gets it, if it does: a filter older than it matches, at QoS 1 or 2, and is not kept
    /// from its own publisher.
    fn missed_by(&self, session: &Session, record: &Record) -> Option<Delivery> {
        let message = &record.message;
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
        let mut at = session.taken_through();
        loop {
            let records = self.0.store.read(at, CHUNK);
            let Some(last) = records.last() else { break };
            at = last.offset;
            let missed = records
                .iter()
                .filter(|record| self.missed_by(session, record).is_some());
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
            if group.behind().is_none() {
                continue;
            }
            let _order = self.0.order.lock();
            while let Some(after) = group.behind() {
                let records = self.0.store.read(after, CHUNK);
                if records.is_empty() {
                    group.set_behind(None);
                }
                for record in records {
                    let wanted = group.filter().matches(&record.message.topic);
                    let position = Position {
                        epoch: self.epoch(),
                        offset: record.offset,
                    };
                    if wanted && !self.assign(&group, &record.message, Some(position), None) {
                        return;
                    }
                    group.set_behind(Some(record.offset));
                }
            }
        }
    }

    /// Cleans the log while nothing is being offered.
    pub(super) fn clean_log(&self) {
        loop {
            // a record between its append and its last offer seems needed by nobody; taken anew for every record, so
            // that a long cleaning holds up no publisher
            let _order = self.0.order.lock();
            if !self.clean_oldest() {
                break;
            }
        }
    }

    /// Cleans the log from its oldest record: what nobody needs goes; above the limit the oldest goes although needed.
    /// False if it stays. Under the order lock only.
    pub(super) fn clean_oldest(&self) -> bool {
        let Some(record) = self.0.store.oldest() else {
            return false;
        };
        let needed = self.is_needed(&record);
        if needed && !self.0.store.is_over_limit() {
            return false;
        }
        if needed {
            METRICS.publishes_dropped.inc();
        }
        self.0.store.trim(record.offset);
        true
    }

    fn is_needed(&self, record: &Record) -> bool {
        let targets = self.0.routes.matching(&record.message.topic, None);
        let needs = |receiver: &Arc<Outbox>| receiver.is_durable() && receiver.needs(record.offset);
        targets
            .direct
            .iter()
            .any(|target| target.qos > Qos::AtMostOnce && needs(&target.subscriber))
            || targets
                .shared
                .iter()
                .any(|group| group.behind().is_some_and(|after| after < record.offset))
    }
}
