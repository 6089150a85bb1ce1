//! What the changes in the log add up to: sessions, wills, share groups, requests that happen once, and where the log
//! itself stands.
//!
//! The same code takes a change when it is written and when it is read at a start, so that what a start finds is what
//! was there. It also knows in which segment each thing was last written whole, so that a segment can go once what it
//! alone holds was written anew.

mod anew;

use super::{once::Keys, record::Change};
use crate::{
    auth::rules::Way,
    message::Millis,
    mqtt::{PacketId, Qos, connect::Will},
    session::snapshot::{Snapshot, Stage},
};
use hashbrown::HashMap;
use std::{collections::BTreeSet, sync::Arc};

/// Everything that is kept beside the messages.
#[derive(Debug, Default)]
pub struct Kept {
    /// Sessions by client identifier.
    pub sessions: HashMap<Arc<str>, Placed<Snapshot>>,
    /// Wills of clients that were connected, or whose will is delayed.
    pub wills: HashMap<Arc<str>, Placed<OwedWill>>,
    /// How clients with a session or a will came in; not of those that a version before this was told of.
    pub ways: HashMap<Arc<str>, Placed<Way>>,
    /// Share groups by their whole filter.
    pub groups: HashMap<Box<str>, Placed<GroupCursor>>,
    /// Requests that happen once and were done.
    pub keys: Keys,
    /// Offsets up to here may be in use.
    pub reserved: u64,
    /// Nobody needs the messages up to here.
    pub trimmed: u64,
    /// The history rules of the last run, and above which position what matches them was recorded.
    pub history: Vec<(Box<str>, u64)>,
    /// The runs of the gateway, oldest first.
    pub runs: Vec<Run>,
    /// The head at which the last run stopped by itself.
    pub stopped_at: Option<u64>,
}

/// A thing, and the segment that holds it whole; later changes of it are in that segment or a later one.
#[derive(Debug)]
pub struct Placed<T> {
    /// It.
    pub kept: T,
    /// The number of the segment.
    pub segment: u64,
}

/// A will that is published unless its client says goodbye.
#[derive(Debug, Clone, PartialEq)]
pub struct OwedWill {
    /// On whose rights.
    pub user: Option<Arc<str>>,
    /// It.
    pub will: Will,
}

/// How far a share group is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GroupCursor {
    /// Everything up to here was given to members, and is done with but for what is open.
    pub through: u64,
    /// QoS 2 messages above it that are done with.
    pub done: BTreeSet<u64>,
    /// Messages up to there that are not done with.
    pub open: BTreeSet<u64>,
}

/// One run of the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// When it was started.
    pub at: Millis,
    /// The first offset it could give.
    pub first: u64,
    /// Whether the run before it ended by itself; else what that one gave above its last record is a hole.
    pub clean: bool,
}

impl Placed<GroupCursor> {
    /// A client is done with a message, by a record that only says so to whoever knows the session. That one is whole
    /// in `session`: when it goes, the group must be written anew, too.
    fn done(&mut self, offset: u64, session: u64) {
        let is_new = match offset > self.kept.through {
            true => self.kept.done.insert(offset),
            false => self.kept.open.remove(&offset),
        };
        if is_new {
            self.segment = self.segment.min(session);
        }
    }
}

/// Runs that are remembered.
const RUNS: usize = 64;

impl Kept {
    /// Takes a change that stands in this segment.
    pub fn apply(&mut self, change: Change, segment: u64) {
        match change {
            Change::Batch { .. } => {}
            Change::Run { at, first, clean } => {
                self.stopped_at = None;
                // written anew with the segment it stands in
                self.runs.retain(|run| run.first != first);
                self.runs.push(Run { at, first, clean });
                let surplus = self.runs.len().saturating_sub(RUNS);
                self.runs.drain(..surplus);
            }
            Change::Reserved { through } => self.reserved = self.reserved.max(through),
            Change::Stopped { head } => self.stopped_at = Some(head),
            Change::Trimmed { through } => self.trimmed = self.trimmed.max(through),
            Change::History { filters } => self.history = filters,
            Change::Session(mut snapshot) => {
                let client = snapshot.client_id.clone();
                // what it is done with stays so, whatever it still holds of before
                let known = self.sessions.get(&client);
                let known = known.map_or(0, |placed| placed.kept.through);
                snapshot.through = snapshot.through.max(known);
                self.sessions.insert(
                    client,
                    Placed {
                        kept: *snapshot,
                        segment,
                    },
                );
            }
            Change::Presence {
                client,
                expiry,
                parked,
            } => {
                if let Some(session) = self.session(&client) {
                    session.expiry = expiry;
                    session.parked = parked;
                    if parked.is_none() {
                        // written down at a stop; from now on the cursor knows what is unanswered at QoS 1
                        session
                            .outgoing
                            .retain(|one| one.stage != Stage::Sent(Qos::AtLeastOnce));
                    }
                }
            }
            Change::Ended { client } => {
                if let Some(ended) = self.sessions.remove(&client) {
                    self.dies_with(ended);
                }
                self.forget_way(&client);
            }
            Change::Subscribed {
                client,
                subscription,
            } => {
                if let Some(session) = self.session(&client) {
                    session.subscribe(subscription);
                }
            }
            Change::Unsubscribed { client, filter } => {
                if let Some(session) = self.session(&client) {
                    session.unsubscribe(&filter);
                }
            }
            Change::Received { client, packet_id } => self.received(&client, packet_id),
            Change::Released { client, packet_id } => {
                if let Some(session) = self.session(&client) {
                    session.unreleased.remove(&packet_id);
                }
            }
            Change::Paired { client, outgoing } => {
                if let Some(session) = self.session(&client) {
                    session.outgoing.push_back(outgoing);
                }
            }
            Change::Answered { client, packet_id } => {
                if let Some(session) = self.session(&client) {
                    session.received(packet_id);
                }
            }
            Change::Completed { client, packet_id } => self.completed(&client, packet_id),
            Change::Cursor { client, through } => {
                if let Some(session) = self.session(&client) {
                    session.settle_through(through);
                }
            }
            Change::Will { client, user, will } => {
                let kept = OwedWill { user, will };
                self.wills.insert(client, Placed { kept, segment });
            }
            Change::CameIn { client, way } => {
                let placed = Placed { kept: way, segment };
                self.ways.insert(client, placed);
            }
            Change::WillDone { client } => {
                self.wills.remove(&client);
                self.forget_way(&client);
            }
            Change::Group {
                filter,
                through,
                done,
                open,
            } => {
                let placed = self.groups.entry(filter).or_insert_with(|| Placed {
                    kept: GroupCursor::default(),
                    segment,
                });
                let all: BTreeSet<u64> = done.into_iter().collect();
                let known = &mut placed.kept;
                if through >= known.through {
                    known.through = through;
                    known.open = open.into_iter().collect();
                }
                known.done = known.done.split_off(&(known.through + 1));
                // only then the record is all there is to know
                if known.through == through && known.done.is_subset(&all) {
                    placed.segment = segment;
                }
                let new = all.into_iter().filter(|offset| *offset > known.through);
                known.done.extend(new);
            }
            Change::GroupGone { filter } => {
                self.groups.remove(&filter);
            }
            Change::Once(once) => self.keys.insert(once, segment),
        }
    }

    /// What a share group gave this client at QoS 2 is for nobody else.
    fn dies_with(&mut self, ended: Placed<Snapshot>) {
        for one in ended.kept.outgoing {
            if let Some(group) = one.group.and_then(|group| self.groups.get_mut(&group))
                && one.stage != Stage::Sent(Qos::AtLeastOnce)
            {
                group.done(one.offset, ended.segment);
            }
        }
    }

    fn session(&mut self, client: &str) -> Option<&mut Snapshot> {
        self.sessions.get_mut(client).map(|placed| &mut placed.kept)
    }

    /// A QoS 2 message of the client was taken.
    pub fn received(&mut self, client: &str, packet_id: PacketId) {
        if let Some(session) = self.session(client) {
            session.unreleased.insert(packet_id);
        }
    }

    fn completed(&mut self, client: &str, packet_id: PacketId) {
        let Some(session) = self.sessions.get_mut(client) else {
            return;
        };
        let segment = session.segment;
        if let Some(done) = session.kept.completed(packet_id)
            && let Some(group) = done.group
            && let Some(group) = self.groups.get_mut(&group)
        {
            group.done(done.offset, segment);
        }
    }

    fn is_anybodys(&self, client: &str) -> bool {
        self.sessions.contains_key(client) || self.wills.contains_key(client)
    }

    fn forget_way(&mut self, client: &str) {
        if !self.is_anybodys(client) {
            self.ways.remove(client);
        }
    }

    /// Rough size in bytes of everything written whole.
    pub fn weight(&self) -> usize {
        let sessions = self.sessions.values();
        let sessions: usize = sessions.map(|placed| placed.kept.weight()).sum();
        let wills = self.wills.values();
        let wills: usize = wills
            .map(|placed| 64 + placed.kept.will.payload.len())
            .sum();
        let ways: usize = self.ways.values().map(|placed| placed.kept.weight()).sum();
        let groups = self.groups.values().map(|placed| &placed.kept);
        let groups: usize = groups
            .map(|group| 64 + 8 * (group.done.len() + group.open.len()))
            .sum();
        sessions + wills + ways + groups + self.keys.weight()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_that_is_written_anew_is_never_behind_what_it_was_done_with() {
        let mut kept = Kept::default();
        let written = |through| {
            let session = Snapshot::new("c".into(), None, 60, through);
            Change::Session(Box::new(session))
        };
        kept.apply(written(10), 1);
        kept.apply(written(7), 2);
        assert_eq!(kept.sessions["c"].kept.through, 10);
        let client = "c".into();
        kept.apply(Change::Ended { client }, 2);
        kept.apply(written(7), 2);
        assert_eq!(kept.sessions["c"].kept.through, 7, "another of that name");
    }
}
