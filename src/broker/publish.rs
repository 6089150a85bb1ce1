//! The hot path: may it be published, who gets it, must it be kept, offer it.
//!
//! Consecutive messages of one read that go to the same receivers are offered together. What it costs:
//!
//! - *per batch and receiver*: one lock, at most one wake (only of a receiver whose queue was empty);
//! - *per message*: one allocation (a payload that is not small has its own beside it), one memo hit: two atomic loads
//!   and a comparison of pointers;
//! - *per message and receiver*: one entry in its queue and one count of references, none for the last receiver.
//!
//! A recorded message also takes the order lock and the log's, and is not held back. No clock is read here: a batch has
//! one time. No system call is made but the wake of a sleeping worker.

pub mod together;

use super::{Broker, Draft, Receipt, Refused, outbox::Outbox};
use crate::{
    auth::identity::{Denied, Identity},
    message::{Delivery, Message, Millis, Origin, Position},
    metrics::METRICS,
    mqtt::{
        PacketId, Qos,
        topic::{self, TopicName},
    },
    routing::{
        Subscriber, Target, Targets,
        condition::Condition,
        memo::Memo,
        shared::{Group, Member},
    },
    session::limits::Limits,
    store::{Urgency, frame::Lsn, record::Change},
};
use std::{num::NonZeroU64, sync::Arc, time::Instant};

/// Somebody who publishes: on whose rights, under which name, and whom his topics were for lately.
pub struct Publisher {
    identity: Arc<Identity>,
    origin: Arc<Origin>,
    /// The key of the publisher's own outbox, for No Local.
    receiver: Option<NonZeroU64>,
    /// Made when something is published: most connections never do.
    lately: Option<Box<Lately>>,
}

/// What a publisher that is not silent remembers.
struct Lately {
    permit: Option<Permit>,
    memo: Memo<Arc<Outbox>>,
    batch: Batch,
}

/// What the rules allowed last: most publishers stay with one topic for a while, and ask once.
struct Permit {
    topic: TopicName,
    retain: bool,
    generation: u64,
}

/// Consecutive messages for the same receivers that have not been offered yet.
#[derive(Default)]
struct Batch {
    messages: Vec<Arc<Message>>,
    targets: Option<Arc<Targets<Arc<Outbox>>>>,
    /// Published since this was last counted.
    published: u64,
}

impl Lately {
    fn new(receiver: Option<u64>) -> Self {
        Lately {
            permit: None,
            memo: Memo::new(receiver),
            batch: Batch::default(),
        }
    }
}

/// Messages held back at most, to be offered together.
const HELD: usize = 64;

impl Publisher {
    /// `receiver` is the key of the publisher's own outbox, for No Local.
    pub fn new(identity: Arc<Identity>, origin: Arc<Origin>, receiver: Option<u64>) -> Self {
        Publisher {
            identity,
            origin,
            receiver: receiver.and_then(NonZeroU64::new), // keys begin at 1
            lately: None,
        }
    }

    /// From now on it publishes on the rights of `identity`.
    pub fn act_as(&mut self, identity: Arc<Identity>) {
        self.identity = identity;
        if let Some(lately) = &mut self.lately {
            lately.permit = None;
        }
    }

    /// On whose rights it publishes.
    pub fn identity(&self) -> &Arc<Identity> {
        &self.identity
    }

    /// Whether the rules allow it.
    #[inline]
    pub(super) fn may_publish(&mut self, draft: &Draft) -> Result<(), Denied> {
        if self.identity.is_free() {
            // nobody asks anything of it, but not to publish what is the gateway's own
            return match draft.topic.is_reserved() {
                true => self.identity.may_publish(&draft.topic, draft.retain),
                false => Ok(()),
            };
        }
        // read before the question: a change in between makes the permit stale, never wrong
        let generation = self.identity.generation();
        if let Some(lately) = &self.lately
            && let Some(permit) = &lately.permit
            && permit.generation == generation
            && permit.retain == draft.retain
            && permit.topic == draft.topic
        {
            return Ok(());
        }
        self.identity.may_publish(&draft.topic, draft.retain)?;
        self.lately().permit = Some(Permit {
            topic: draft.topic.clone(),
            retain: draft.retain,
            generation,
        });
        Ok(())
    }

    /// What it remembers, from now on if it did not before.
    fn lately(&mut self) -> &mut Box<Lately> {
        let receiver = self.receiver.map(NonZeroU64::get);
        self.lately
            .get_or_insert_with(|| Box::new(Lately::new(receiver)))
    }

    /// Whether so many messages with so many bytes together may be published now. They count from now on.
    pub fn take_rate(&self, messages: usize, bytes: usize) -> Result<(), Refused> {
        let Some(quota) = self.identity.quota().filter(|it| it.limits_publishing()) else {
            return Ok(());
        };
        let taken = quota.take(messages as u64, bytes as u64, Instant::now());
        taken.map_err(|wait| Refused::TooFast { wait })
    }

    /// Lets go of what was remembered: a publisher that fell silent keeps nobody's queue alive.
    pub fn rest(&mut self) {
        self.lately = None;
    }
}

impl Batch {
    /// Adds a message; offers those before it if it is for others or there are enough.
    fn add(&mut self, targets: &Arc<Targets<Arc<Outbox>>>, message: Arc<Message>) {
        let same = self.targets.as_ref();
        if !same.is_some_and(|same| Arc::ptr_eq(same, targets)) || self.messages.len() >= HELD {
            self.offer();
            self.targets = Some(targets.clone());
        }
        self.messages.push(message);
    }

    /// One lock and at most one wake per receiver. The last one gets the messages themselves: in the most frequent
    /// case, one receiver, no reference is counted.
    fn offer(&mut self) {
        if let Some(targets) = self.targets.take()
            && let Some((last, others)) = targets.direct.split_last()
        {
            for target in others {
                let copies = self.messages.iter().cloned();
                target
                    .subscriber
                    .offer(copies.map(|message| delivery(target, message, None)));
            }
            let messages = self.messages.drain(..);
            last.subscriber
                .offer(messages.map(|message| delivery(last, message, None)));
        }
        METRICS
            .messages_published
            .add(std::mem::take(&mut self.published));
    }
}

impl Broker {
    /// Publishes a message: routed when this returns, durable when the receipt's position is. Refused if its publisher
    /// is faster than it may be.
    pub fn publish(&self, publisher: &mut Publisher, draft: Draft) -> Result<Receipt, Refused> {
        publisher.take_rate(1, draft.payload.len())?;
        let receipt = self.publish_in_batch(publisher, draft, None, self.now());
        self.flush(publisher);
        receipt
    }

    /// As [`Broker::publish`], one of several that came at `now`: consecutive messages for the same receivers are held
    /// back and offered together, so that a receiver is locked and woken once for all of them. [`Broker::flush`] ends
    /// the batch.
    ///
    /// `inbound` is the packet identifier of a QoS 2 message whose publisher has a session that is kept: it is noted as
    /// taken, in one with the message. How fast it may be is for the caller to ask: who reads on more slowly need not refuse.
    pub fn publish_in_batch(
        &self,
        publisher: &mut Publisher,
        draft: Draft,
        inbound: Option<PacketId>,
        now: Millis,
    ) -> Result<Receipt, Refused> {
        publisher.may_publish(&draft)?;
        self.admit(&draft)?;
        self.route(publisher, draft, inbound, None, Some(&self.0.limits), now)
    }

    /// Publishes a message that is to be retained, if `condition` holds of what its topic retains; else nothing is done.
    /// Between the look and the write nobody else writes, whichever way he comes.
    pub fn publish_if(
        &self,
        condition: &Condition,
        publisher: &mut Publisher,
        draft: Draft,
    ) -> Result<Receipt, Refused> {
        publisher.take_rate(1, draft.payload.len())?;
        publisher.may_publish(&draft)?;
        // what came of it tells of what is retained
        publisher.identity.may_read(&draft.topic)?;
        self.admit(&draft)?;
        let (limits, now) = (Some(&self.0.limits), self.now());
        let receipt = self.route(publisher, draft, None, Some(condition), limits, now);
        self.flush(publisher);
        receipt
    }

    /// Offers what a batch still holds back.
    pub fn flush(&self, publisher: &mut Publisher) {
        if let Some(lately) = &mut publisher.lately {
            lately.batch.offer();
        }
    }

    /// Publishes in the gateway's own name, also on topics that are its own. What it retains has no limit but its own
    /// number of topics.
    pub fn announce(
        &self,
        publisher: &mut Publisher,
        mut draft: Draft,
    ) -> Result<Receipt, Refused> {
        draft.retain &= self.0.limits.features.retain;
        let receipt = self.route(publisher, draft, None, None, None, self.now());
        self.flush(publisher);
        receipt
    }

    fn admit(&self, draft: &Draft) -> Result<(), Refused> {
        let limits = &self.0.limits;
        if draft.qos > limits.features.maximum_qos {
            return Err(Refused::QosNotSupported);
        }
        if draft.retain && !limits.features.retain {
            return Err(Refused::RetainNotSupported);
        }
        if topic::is_deeper(&draft.topic, limits.topic_levels) {
            return Err(Refused::TopicTooDeep);
        }
        if draft.topic.len() > limits.topic_bytes {
            return Err(Refused::TopicTooLong);
        }
        if draft.payload.len() > limits.payload {
            return Err(Refused::PayloadTooLarge);
        }
        let says_utf8 = draft
            .properties
            .as_ref()
            .is_some_and(|p| p.payload_is_utf8 == Some(true));
        if says_utf8 && std::str::from_utf8(&draft.payload).is_err() {
            return Err(Refused::PayloadFormatInvalid);
        }
        Ok(())
    }

    /// Without `limits` the message is the gateway's own: whatever is to be retained is, and none of it is kept over a
    /// restart, which makes it anew.
    fn route(
        &self,
        publisher: &mut Publisher,
        draft: Draft,
        inbound: Option<PacketId>,
        condition: Option<&Condition>,
        limits: Option<&Limits>,
        now: Millis,
    ) -> Result<Receipt, Refused> {
        if inbound.is_some() {
            // its identifier is kept, also if the message is not: no more of them than there is room for
            self.0.store.health()?;
        }
        let Publisher {
            origin,
            receiver,
            lately,
            ..
        } = publisher;
        let Lately { memo, batch, .. } = &mut **lately
            .get_or_insert_with(|| Box::new(Lately::new(receiver.map(NonZeroU64::get))));
        let targets = memo.targets(&self.0.routes, &draft.topic);
        let is_wanted_later =
            targets.recorded != 0 || targets.tail || targets.durable && draft.qos > Qos::AtMostOnce;
        batch.published += 1;
        if !(draft.retain || is_wanted_later) {
            let offered = targets.direct.len() + targets.shared.len();
            let message = Arc::new(draft.into_message(None, now));
            if !targets.shared.is_empty() {
                // groups take turns message by message
                batch.offer();
                self.offer(targets, &message, None);
            } else if !targets.direct.is_empty() {
                batch.add(targets, message);
            }
            return Ok(Receipt {
                offered,
                position: None,
                durable_at: self.note_received(origin, inbound),
            });
        }
        batch.offer();
        let (qos, retain) = (draft.qos, draft.retain);
        let message = Arc::new(draft.into_message(Some(origin.clone()), now));
        let mut order = self.0.order.lock();
        // nobody sets what is retained but under the order lock: what holds now holds when it is set
        if let Some(condition) = condition {
            let current = self.0.retained.get(&message.topic, now);
            if !condition.holds(current.map(|retained| retained.position)) {
                return Err(Refused::PreconditionFailed);
            }
        }
        // nobody subscribes while the order lock is held: what matches now is what matches at this position
        if let Some(limits) = limits.filter(|_| retain) {
            // before anything is done with it: a message is taken whole or not at all
            self.0
                .retained
                .admits(&message, limits.retained_messages, limits.retained_bytes)
                .map_err(|limit| Refused::RetainedFull { limit })?;
        }
        let targets = memo.targets(&self.0.routes, &message.topic);
        let is_kept = targets.recorded != 0 || retain && limits.is_some();
        let must_survive = qos > Qos::AtMostOnce && (targets.durable || is_kept);
        let (position, durable_at) = if must_survive || is_kept {
            // nobody waits for a QoS 0 message: it is written with others
            let urgency = if must_survive {
                Urgency::Now
            } else {
                Urgency::Soon
            };
            let appended = self.0.store.append(&message, inbound, urgency)?;
            self.0.history.added(targets.recorded, appended.size);
            (appended.position, must_survive.then_some(appended.lsn))
        } else if targets.tail {
            let position = self.0.store.remember(&message)?;
            (position, self.note_received(origin, inbound))
        } else {
            (self.0.store.pass(), self.note_received(origin, inbound))
        };
        if retain {
            self.0.retained.set(&message, position);
        }
        let offered = self.offer(targets, &message, Some(position));
        // not before the offer: who needs this one is known only now
        // no more than there is to be room for: the rest is cleaned while nobody waits for it
        while self.0.store.is_over_limit() && self.clean_oldest(&mut order) {}
        Ok(Receipt {
            offered,
            position: Some(position),
            durable_at,
        })
    }

    /// The identifier of a QoS 2 message that is not kept itself.
    fn note_received(&self, origin: &Origin, inbound: Option<PacketId>) -> Option<Lsn> {
        let (packet_id, client) = (inbound?, origin.client_id.clone()?);
        let change = Change::Received { client, packet_id };
        Some(self.0.store.change(change, Urgency::Now))
    }

    fn offer(
        &self,
        targets: &Targets<Arc<Outbox>>,
        message: &Arc<Message>,
        position: Option<Position>,
    ) -> usize {
        for target in &targets.direct {
            target
                .subscriber
                .offer([delivery(target, message.clone(), position)]);
        }
        for group in &targets.shared {
            self.offer_group(group, message, position);
        }
        targets.direct.len() + targets.shared.len()
    }

    fn offer_group(
        &self,
        group: &Arc<Group<Arc<Outbox>>>,
        message: &Arc<Message>,
        position: Option<Position>,
    ) {
        if !group.has_reader(&message.topic) {
            return;
        }
        let kept = position.filter(|_| message.qos > Qos::AtMostOnce && group.is_durable());
        match kept {
            // what came before still waits: this one waits behind it
            Some(_) if group.behind().is_some() => {}
            Some(position) => {
                if !self.assign_or_set_aside(group, message, position) {
                    group.set_behind(Some(position.offset - 1));
                    // a member that made room before this was noted found that nothing waits, and looks no more
                    if self.assign(group, message, Some(position), None) {
                        group.set_behind(None);
                    }
                }
            }
            None => {
                if !self.assign(group, message, None, None) {
                    METRICS.publishes_dropped.inc();
                }
            }
        }
    }

    /// Gives a message to the group's next member with room; false if there is none.
    pub(super) fn assign(
        &self,
        group: &Group<Arc<Outbox>>,
        message: &Arc<Message>,
        position: Option<Position>,
        except: Option<u64>,
    ) -> bool {
        // asked with the weight: a member with room for less would be asked again and again
        let may = |member: &Arc<Outbox>| member.may_receive(&message.topic);
        while let Some(member) = group.next(message.weight(), except, may) {
            let delivery = shared_delivery(group, &member, message, position);
            let is_answered = delivery.qos > Qos::AtMostOnce;
            let give = |delivery| member.subscriber.assign(delivery).is_ok();
            if give_unanswered(group, delivery, give) {
                // nobody answers it at QoS 0, whoever had it before
                let done = position.filter(|_| !is_answered);
                done.inspect(|position| group.settle(position.offset));
                return true;
            }
        }
        false
    }

    /// Leaves a message that is in no log with a member of the group whose session is kept, although it is away; false if
    /// there is none.
    pub(super) fn keep_for_group(
        &self,
        group: &Group<Arc<Outbox>>,
        message: &Arc<Message>,
    ) -> bool {
        let members = group.durable_members();
        let mut readers = members
            .iter()
            .filter(|member| member.subscriber.may_receive(&message.topic));
        readers.any(|member| {
            let delivery = shared_delivery(group, member, message, None);
            member.subscriber.keep(delivery).is_ok()
        })
    }
}

/// Gives a message to a member, from when on it is unanswered; false if the member does not take it. What another had
/// before, and has not answered, stays so then.
fn give_unanswered(
    group: &Group<Arc<Outbox>>,
    delivery: Delivery,
    give: impl FnOnce(Delivery) -> bool,
) -> bool {
    let answered = delivery.position.filter(|_| delivery.qos > Qos::AtMostOnce);
    // before the member has it, who may answer at once
    let new = answered.filter(|position| group.given(position.offset));
    let taken = give(delivery);
    if !taken {
        new.inspect(|position| group.settle(position.offset));
    }
    taken
}

fn shared_delivery(
    group: &Group<Arc<Outbox>>,
    member: &Member<Arc<Outbox>>,
    message: &Arc<Message>,
    position: Option<Position>,
) -> Delivery {
    Delivery {
        message: message.clone(),
        qos: member.qos.min(message.qos),
        retain: message.retain && member.retain_as_published,
        position,
        subscription_ids: member.id.map(|id| [id].into()),
        share: Some(group.id()),
    }
}

fn delivery(
    target: &Target<Arc<Outbox>>,
    message: Arc<Message>,
    position: Option<Position>,
) -> Delivery {
    Delivery {
        // [MQTT-3.8.4-8]
        qos: target.qos.min(message.qos),
        // [MQTT-3.3.1-12], [MQTT-3.3.1-13]
        retain: message.retain && target.retain_as_published,
        position,
        subscription_ids: target.ids.clone(),
        share: None,
        message,
    }
}
