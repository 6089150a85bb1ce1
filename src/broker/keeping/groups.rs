//! What the store is told of share groups with a member that is kept, and where they go on after a start.

use crate::{
    broker::{Broker, outbox::Outbox},
    message::GroupId,
    mqtt::topic::TopicFilter,
    routing::{Routes, shared::Group},
    session::snapshot::{Outgoing, Stage},
    store::{Urgency, kept::GroupCursor, record::Change},
};
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::sync::Arc;

/// Share groups with a member that is kept, by their whole filter, and what was last written down of each.
#[derive(Default)]
pub struct KeptGroups(Mutex<HashMap<Box<str>, KeptGroup>>);

struct KeptGroup {
    group: Arc<Group<Arc<Outbox>>>,
    /// As [`Group::note_standing`] told when it was last written down; 0 is before anything has moved.
    moves: u64,
}

/// Open messages that are written down each time a share group has moved; with more of them all above the oldest may be
/// given again after a crash.
pub(super) const MOST_OPEN: usize = 256;

impl Broker {
    pub(super) fn keep_group(&self, filter: &TopicFilter, head: u64) {
        let Some(group) = self.0.routes.group(filter) else {
            return;
        };
        let mut groups = self.0.kept_groups.0.lock();
        // a group whose last member left and came again is another one, of the same name
        let known = groups.get(filter.as_str());
        if !known.is_some_and(|known| Arc::ptr_eq(&known.group, &group)) {
            // that nothing has moved yet is worth a record, too
            let moves = group.note_standing(head, u64::MAX, |through, open| {
                self.write_group(filter.as_str().into(), through, open);
            });
            groups.insert(filter.as_str().into(), KeptGroup { group, moves });
        }
    }

    fn write_group(&self, filter: Box<str>, through: u64, open: Vec<u64>) {
        let change = Change::Group {
            filter,
            through,
            done: Vec::new(),
            open,
        };
        self.tell(change, Urgency::Soon);
    }

    pub(super) fn group_filter(&self, id: GroupId) -> Option<Box<str>> {
        let group = self.0.routes.group_named(id)?;
        Some(group.filter().as_str().into())
    }

    /// Writes down the cursors of groups that have moved; `since` tells from which count of moves on a group has moved.
    pub(super) fn write_groups(&self, most_open: usize, since: impl Fn(u64) -> u64) {
        let mut groups = self.0.kept_groups.0.lock();
        groups.retain(|filter, kept| {
            if !kept.group.is_durable() {
                let filter = filter.clone();
                self.tell(Change::GroupGone { filter }, Urgency::Soon);
                return false;
            }
            let _order = self.0.order.lock();
            let head = self.0.store.head();
            kept.moves =
                kept.group
                    .note_standing(head, since(kept.moves), |mut through, mut open| {
                        if open.len() > most_open {
                            through = open.first().map_or(through, |first| first - 1);
                            open.clear();
                        }
                        self.write_group(filter.clone(), through, open);
                    });
            true
        });
    }

    /// Share groups go on where they were. `held` is what sessions hold at QoS 2 of each, `since` from where on the oldest
    /// member of each came in.
    pub(super) fn restore_groups(
        &self,
        known: Vec<(Box<str>, GroupCursor)>,
        mut held: HashMap<Box<str>, Vec<u64>>,
        mut since: HashMap<Box<str>, u64>,
    ) {
        for (filter, cursor) in known {
            since.remove(&filter);
            let Some(group) = durable_group(&self.0.routes, &filter) else {
                self.tell(Change::GroupGone { filter }, Urgency::Soon);
                continue;
            };
            let held = held.remove(&filter).unwrap_or_default();
            let done = cursor.done.into_iter();
            group.restore(cursor.through, cursor.open, done.chain(held));
            let kept = KeptGroup { group, moves: 0 };
            self.0.kept_groups.0.lock().insert(filter, kept);
        }
        // what was written of these is damaged: they go on where the oldest of their members came in
        for (filter, through) in since {
            if let Some(group) = durable_group(&self.0.routes, &filter) {
                let held = held.remove(&filter).unwrap_or_default();
                group.restore(through, [], held);
                self.write_group(filter.clone(), through, Vec::new());
                let kept = KeptGroup { group, moves: 0 };
                self.0.kept_groups.0.lock().insert(filter, kept);
            }
        }
    }

    /// The share group that gave a message to a client before the start, if it has members.
    pub(super) fn group_of(&self, one: &Outgoing) -> Option<Arc<Group<Arc<Outbox>>>> {
        let filter = TopicFilter::parse(one.group.as_deref()?).ok()?;
        self.0.routes.group(&filter)
    }

    /// What a member has not answered is still needed, although the group does not give it again.
    pub(super) fn hold_for_group(&self, one: &Outgoing) {
        if matches!(one.stage, Stage::Sent(_))
            && let Some(group) = self.group_of(one)
        {
            group.given(one.offset);
        }
    }

    /// A session is over whose client has not come back since the start: what its share groups gave it dies with it.
    pub(in crate::broker) fn end_stored(&self, stored: &[Outgoing]) {
        for one in stored {
            if let Some(group) = self.group_of(one) {
                group.settle(one.offset);
            }
        }
    }
}

/// The share group of this whole filter, if it has a member that must not miss anything.
fn durable_group(routes: &Routes<Arc<Outbox>>, filter: &str) -> Option<Arc<Group<Arc<Outbox>>>> {
    let group = routes.group(&TopicFilter::parse(filter).ok()?)?;
    group.is_durable().then_some(group)
}
