//! What a member of share groups leaves unacknowledged goes to the others.

use crate::{
    broker::{Broker, outbox::Outbox},
    message::{Delivery, GroupId},
    metrics::METRICS,
    mqtt::Qos,
    routing::{Subscriber, shared::Group},
    session::Session,
};
use hashbrown::HashSet;
use std::sync::Arc;

impl Broker {
    /// Gives what an ended session held at QoS 1 for its share groups to members online, else to those that return.
    pub(super) fn leave_to_groups(&self, session: &mut Session, outbox: &Outbox) {
        let mut left = Vec::new();
        session.hand_on_shared(|delivery| {
            left.push(delivery.clone());
            true
        });
        left.extend(outbox.release_shared(|_| true));
        left.iter()
            .for_each(|delivery| self.pass_on(delivery, None));
    }

    /// Gives a share group's message, which somebody will not have after all, to another member online, else to one that
    /// returns; never to the one with key `except` while it is online. If nobody has room it waits in the log for whoever
    /// has it first.
    pub(in crate::broker) fn pass_on(&self, delivery: &Delivery, except: Option<u64>) {
        let (message, position) = (&delivery.message, delivery.position);
        let group = delivery.share.and_then(|id| self.0.routes.group_named(id));
        let taken = |group: &Arc<Group<Arc<Outbox>>>| self.assign(group, message, position, except);
        match (group, position) {
            (Some(group), _) if taken(&group) => {}
            (Some(group), Some(at)) if delivery.qos > Qos::AtMostOnce && group.is_durable() => {
                group.give_back(at.offset);
                // a member that made room before this was noted found that nothing waits, and looks no more
                if group.take_back(at.offset) && !taken(&group) {
                    group.give_back(at.offset);
                }
            }
            (Some(group), None) if self.keep_for_group(&group, message) => {}
            (group, position) => {
                METRICS.publishes_dropped.inc();
                if let (Some(group), Some(position)) = (group, position) {
                    group.settle(position.offset);
                }
            }
        }
    }

    /// Gives what a share group's member leaves unsent, or unacknowledged at QoS 1, to the others at once. What was sent
    /// and no other can take stays with the session, as does QoS 2 [MQTT-4.8.2-4]; the rest waits in the log.
    pub(super) fn hand_on_shared(&self, session: &mut Session, outbox: &Arc<Outbox>) {
        // also of groups that it has left meanwhile
        let given = session.shares().chain(outbox.shares());
        let given: HashSet<GroupId> = given.collect();
        if given.is_empty() {
            return;
        }
        // asked before any outbox is locked: a group looks into the outboxes of its members
        let groups = given.iter().filter_map(|id| self.0.routes.group_named(*id));
        let groups: Vec<_> = groups
            .filter(|group| group.next(0, Some(outbox.key()), |_| true).is_some())
            .collect();
        let group_of = |id| groups.iter().find(|group| group.id() == id);
        let taken = |delivery: &Delivery| {
            let group = delivery.share.and_then(group_of);
            let except = Some(outbox.key());
            group.is_some_and(|group| {
                self.assign(group, &delivery.message, delivery.position, except)
            })
        };
        // what was sent stays in its place until another has it: if it stays, it comes again as what it was [MQTT-4.4.0-1]
        session.hand_on_shared(taken);
        // what was not sent waits for whoever has room first
        let unsent = outbox.release_shared(|_| true);
        unsent.into_iter().for_each(|delivery| {
            let group = delivery.share.and_then(|id| self.0.routes.group_named(id));
            let kept = group.filter(|group| group.is_durable() && delivery.qos > Qos::AtMostOnce);
            match (kept, delivery.position) {
                _ if taken(&delivery) => {}
                (Some(group), Some(position)) => group.give_back(position.offset),
                // no log has it: it stays
                _ => outbox.put_back(delivery),
            }
        });
    }
}
