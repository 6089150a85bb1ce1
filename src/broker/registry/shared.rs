//! What a member of share groups leaves unacknowledged goes to the others.

use crate::{
    broker::{Broker, outbox::Outbox},
    metrics::METRICS,
    routing::{Subscriber, shared::Group},
    session::Session,
};
use std::sync::Arc;

impl Broker {
    /// Gives what an ended session held at QoS 1 for its share groups to members online, else to those that return.
    pub(super) fn leave_to_groups(
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

    /// Gives what a share group's member leaves unacknowledged at QoS 1 to the others at once. What no other can take
    /// stays with the session, as does QoS 2 [MQTT-4.8.2-4].
    pub(super) fn hand_on_shared(&self, session: &mut Session, outbox: &Arc<Outbox>) {
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

    pub(in crate::broker) fn groups_of(&self, session: &Session) -> Vec<Arc<Group<Arc<Outbox>>>> {
        let shared = session
            .subscriptions()
            .filter(|s| s.filter.share().is_some());
        shared
            .filter_map(|s| self.0.routes.group(&s.filter))
            .collect()
    }
}
