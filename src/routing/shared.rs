//! `$share` groups: who is in, and whose turn it is.

use super::Subscriber;
use crate::{
    message::GroupId,
    mqtt::{Qos, topic::TopicFilter},
};
use parking_lot::Mutex;
use std::{
    collections::BTreeSet,
    num::NonZeroU64,
    sync::atomic::{AtomicU64, Ordering},
};

/// Subscribers that share one filter: each message goes to one of them.
#[derive(Debug)]
pub struct Group<S> {
    id: GroupId,
    filter: TopicFilter,
    state: Mutex<State<S>>,
}

#[derive(Debug)]
struct State<S> {
    members: Vec<Member<S>>,
    turn: usize,
    /// Recorded messages above this offset were not assigned yet, because no member with room was online.
    behind: Option<u64>,
    /// Unanswered ones that wait for a member with room: a member has given them back, or could not be given them.
    returned: BTreeSet<u64>,
    /// Unanswered ones that nobody online may have, but somebody who is away.
    set_aside: BTreeSet<u64>,
    /// Recorded messages that a member was given and has not answered.
    unanswered: BTreeSet<u64>,
    /// Counts what changes of the three above.
    moves: u64,
    /// Recorded messages, still to be read again, that a member had answered or holds since a former run.
    answered: BTreeSet<u64>,
}

/// How much of it may be set aside; beyond that a group waits for who is away.
const MOST_SET_ASIDE: usize = 10_000;

impl<S> State<S> {
    fn look_again(&mut self) {
        self.returned.append(&mut self.set_aside);
    }
}

/// One member of a group.
#[derive(Debug, Clone)]
pub struct Member<S> {
    /// Who.
    pub subscriber: S,
    /// Granted QoS [MQTT-4.8.2-3].
    pub qos: Qos,
    /// Whether the member keeps the RETAIN flag.
    pub retain_as_published: bool,
    /// Its subscription identifier.
    pub id: Option<u32>,
}

impl<S: Subscriber> Group<S> {
    pub(super) fn new(ids: &AtomicU64, filter: TopicFilter) -> Self {
        let id = NonZeroU64::new(ids.fetch_add(1, Ordering::Relaxed)).unwrap_or(NonZeroU64::MIN);
        Group {
            id: GroupId(id),
            filter,
            state: Mutex::new(State {
                members: Vec::new(),
                turn: 0,
                behind: None,
                returned: BTreeSet::new(),
                set_aside: BTreeSet::new(),
                unanswered: BTreeSet::new(),
                moves: 0,
                answered: BTreeSet::new(),
            }),
        }
    }

    /// Its name for this run.
    pub fn id(&self) -> GroupId {
        self.id
    }

    /// The ShareName.
    pub fn name(&self) -> &str {
        self.filter.share().unwrap_or_default()
    }

    /// The shared filter, `$share/name/` included.
    pub fn filter(&self) -> &TopicFilter {
        &self.filter
    }

    /// Adds or replaces a member; true if it is new.
    pub(super) fn join(&self, member: Member<S>) -> bool {
        let mut state = self.state.lock();
        state.look_again();
        match state
            .members
            .iter_mut()
            .find(|m| m.subscriber.key() == member.subscriber.key())
        {
            Some(old) => {
                *old = member;
                false
            }
            None => {
                state.members.push(member);
                true
            }
        }
    }

    pub(super) fn leave(&self, key: u64) -> Option<Member<S>> {
        let mut state = self.state.lock();
        let at = state
            .members
            .iter()
            .position(|m| m.subscriber.key() == key)?;
        state.look_again();
        Some(state.members.remove(at))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.state.lock().members.is_empty()
    }

    /// Whether any member must not miss a message.
    pub fn is_durable(&self) -> bool {
        self.state
            .lock()
            .members
            .iter()
            .any(|m| m.qos > Qos::AtMostOnce && m.subscriber.is_durable())
    }

    /// The next member with room for a message of this weight that `may` have it, in turn; never the one with key
    /// `except`. One that is held up is passed over while there is another.
    pub fn next(
        &self,
        weight: usize,
        except: Option<u64>,
        may: impl Fn(&S) -> bool,
    ) -> Option<Member<S>> {
        let mut state = self.state.lock();
        let State { members, turn, .. } = &mut *state;
        let count = members.len();
        let mut in_turn = (*turn..*turn + count).map(|at| at % count);
        let takes = |at: &usize| {
            let subscriber = &members[*at].subscriber;
            Some(subscriber.key()) != except && subscriber.has_room(weight) && may(subscriber)
        };
        let at = in_turn
            .clone()
            .find(|at| takes(at) && !members[*at].subscriber.is_held_up())
            .or_else(|| in_turn.find(takes))?;
        *turn = at + 1;
        Some(members[at].clone())
    }

    /// Whether any member, online or not, may be given what is published on this topic.
    pub fn has_reader(&self, topic: &str) -> bool {
        let state = self.state.lock();
        let mut members = state.members.iter();
        members.any(|member| member.subscriber.may_receive(topic))
    }

    /// Members that must not miss a message, online or not.
    pub fn durable_members(&self) -> Vec<Member<S>> {
        let state = self.state.lock();
        let durable = |m: &&Member<S>| m.qos > Qos::AtMostOnce && m.subscriber.is_durable();
        state.members.iter().filter(durable).cloned().collect()
    }

    /// A recorded message was given to a member, at a QoS that is answered. False if one had it already and has not
    /// answered it.
    pub fn given(&self, offset: u64) -> bool {
        let mut state = self.state.lock();
        state.moves += 1;
        state.unanswered.insert(offset)
    }

    /// The member is done with it.
    pub fn settle(&self, offset: u64) {
        let mut state = self.state.lock();
        if state.unanswered.remove(&offset) {
            state.moves += 1;
        }
    }

    /// Everything up to here was given to members and answered. `head` is the head of the log.
    pub fn answered_through(&self, head: u64) -> u64 {
        let state = self.state.lock();
        let unanswered = state.unanswered.first().map(|first| first - 1);
        let waits = unanswered.into_iter().chain(state.behind);
        waits.min().unwrap_or(head)
    }

    /// Whether the log must still have this message for a member.
    pub fn needs(&self, offset: u64) -> bool {
        let state = self.state.lock();
        state.behind.is_some_and(|after| after < offset) || state.unanswered.contains(&offset)
    }

    /// Has `note` take down how far it is, as `head` is the head of the log: everything up to the first was given to
    /// members or waits for one, and what of it is unanswered. Not if nothing has moved since `moves`; tells what that is
    /// now. Nobody answers anything before it is taken down.
    pub fn note_standing(&self, head: u64, moves: u64, note: impl FnOnce(u64, Vec<u64>)) -> u64 {
        let state = self.state.lock();
        if state.moves != moves {
            let through = state.behind.unwrap_or(head);
            note(
                through,
                state.unanswered.range(..=through).copied().collect(),
            );
        }
        state.moves
    }

    /// Goes on where a former run of the gateway ended: what is open, or above `through`, is given anew, but for what
    /// members had answered or hold.
    pub fn restore(
        &self,
        through: u64,
        open: impl IntoIterator<Item = u64>,
        answered: impl IntoIterator<Item = u64>,
    ) {
        let mut state = self.state.lock();
        state.behind = Some(through);
        state.answered.extend(answered);
        for offset in open {
            if !state.answered.remove(&offset) {
                state.unanswered.insert(offset);
                state.returned.insert(offset);
            }
        }
    }

    /// Whether a message that is read again was answered before the gateway was started; asked once for each.
    pub fn was_answered(&self, offset: u64) -> bool {
        self.state.lock().answered.remove(&offset)
    }

    /// The offset above which recorded messages still wait for a member, if any do.
    pub fn behind(&self) -> Option<u64> {
        self.state.lock().behind
    }

    /// Notes from where on recorded messages wait, or that none do.
    pub fn set_behind(&self, after: Option<u64>) {
        self.state.lock().behind = after;
    }

    /// Whether anything waits for a member with room.
    pub fn has_waiting(&self) -> bool {
        let state = self.state.lock();
        state.behind.is_some() || !state.returned.is_empty()
    }

    /// A recorded message that a member has not answered waits in the log for one that has room.
    pub fn give_back(&self, offset: u64) {
        let mut state = self.state.lock();
        state.moves += 1;
        state.unanswered.insert(offset);
        state.returned.insert(offset);
    }

    /// A recorded message on this topic waits for somebody who is away, if nobody online may have it and somebody else
    /// may. False if that is not so, or there are too many of that kind.
    pub fn set_aside(&self, offset: u64, topic: &str) -> bool {
        let mut state = self.state.lock();
        let may = |member: &&Member<S>| member.subscriber.may_receive(topic);
        let mut readers = state.members.iter().filter(may).peekable();
        let is_for_nobody = readers.peek().is_none();
        if is_for_nobody
            || readers.any(|member| member.subscriber.is_online())
            || state.set_aside.len() >= MOST_SET_ASIDE
        {
            return false;
        }
        state.moves += 1;
        state.unanswered.insert(offset);
        state.set_aside.insert(offset);
        true
    }

    /// Other members may be there, or have other rights: what was set aside waits for whoever has room.
    pub fn look_again(&self) {
        self.state.lock().look_again();
    }

    /// Takes this one out again; false if somebody else has.
    pub fn take_back(&self, offset: u64) -> bool {
        self.state.lock().returned.remove(&offset)
    }

    /// The oldest of those that were given back; it is whoever's who takes it out.
    pub fn take_returned(&self) -> Option<u64> {
        self.state.lock().returned.pop_first()
    }
}
