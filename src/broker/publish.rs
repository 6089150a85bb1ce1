//! The hot path: may it be published, who gets it, must it be kept, offer it.
//!
//! Consecutive messages of one read that go to the same receivers are offered together: one lock and at most one wake
//! per receiver and group. Per message: one allocation for the shared message beside its payload, one memo hit (two atomic loads, one string
//! comparison), and per receiver a few reference counts; a wake only if its queue was empty. A recorded message also takes
//! the order lock and the log's.

use super::{Broker, Draft, Receipt, Refused, outbox::Outbox};
use crate::{
    auth::identity::Identity,
    message::{Delivery, Message, Origin, Position},
    metrics::METRICS,
    mqtt::{Qos, topic},
    routing::{
        Target, Targets,
        memo::Memo,
        shared::{Group, Member},
    },
};
use std::sync::Arc;

/// Somebody who publishes: on whose rights, under which name, and whom his topics were for lately.
pub struct Publisher {
    identity: Arc<Identity>,
    origin: Arc<Origin>,
    memo: Memo<Arc<Outbox>>,
    held: Vec<Arc<Message>>,
    held_for: Option<Arc<Targets<Arc<Outbox>>>>,
}

/// Messages held back at most, to be offered together.
const HELD: usize = 64;

impl Publisher {
    /// `receiver` is the key of the publisher's own outbox, for No Local.
    pub fn new(identity: Arc<Identity>, origin: Arc<Origin>, receiver: Option<u64>) -> Self {
        Publisher {
            identity,
            origin,
            memo: Memo::new(receiver),
            held: Vec::new(),
            held_for: None,
        }
    }

    /// Lets go of what was remembered: a publisher that fell silent keeps nobody's queue alive.
    pub fn rest(&mut self) {
        self.memo.forget();
        self.held = Vec::new();
    }
}

impl Broker {
    /// Publishes a message: routed when this returns, durable when the receipt's position is.
    pub fn publish(&self, publisher: &mut Publisher, draft: Draft) -> Result<Receipt, Refused> {
        let receipt = self.publish_in_batch(publisher, draft);
        self.flush(publisher);
        receipt
    }

    /// As [`Broker::publish`], one of several: consecutive messages for the same receivers are held back and offered
    /// together, so that a receiver is locked and woken once for all of them. [`Broker::flush`] ends the batch.
    pub fn publish_in_batch(
        &self,
        publisher: &mut Publisher,
        draft: Draft,
    ) -> Result<Receipt, Refused> {
        publisher.identity.may_publish(&draft.topic)?;
        self.admit(&draft)?;
        self.route(publisher, draft)
    }

    /// Offers what a batch still holds back.
    pub fn flush(&self, publisher: &mut Publisher) {
        let Some(targets) = publisher.held_for.take() else {
            return;
        };
        for target in &targets.direct {
            let deliveries = publisher
                .held
                .iter()
                .map(|message| delivery(target, message, None));
            target.subscriber.offer(deliveries);
        }
        publisher.held.clear();
    }

    /// Publishes in the gateway's own name, also on topics that are its own.
    pub fn announce(&self, publisher: &mut Publisher, draft: Draft) -> Result<Receipt, Refused> {
        let receipt = self.route(publisher, draft);
        self.flush(publisher);
        receipt
    }

    fn admit(&self, draft: &Draft) -> Result<(), Refused> {
        if topic::is_deeper(&draft.topic, self.0.limits.topic_levels) {
            return Err(Refused::TopicTooDeep);
        }
        if draft.payload.len() > self.0.limits.payload {
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

    fn route(&self, publisher: &mut Publisher, draft: Draft) -> Result<Receipt, Refused> {
        let Draft {
            topic,
            payload,
            qos,
            retain,
            properties,
        } = draft;
        let message = Arc::new(Message::new(
            topic,
            payload,
            qos,
            retain,
            properties,
            publisher.origin.clone(),
            self.now(),
        ));
        METRICS.messages_published.inc();
        let targets = publisher.memo.targets(&self.0.routes, &message.topic);
        let must_survive = targets.durable && qos > Qos::AtMostOnce;
        if !(retain || must_survive) {
            let offered = targets.direct.len() + targets.shared.len();
            self.hold(publisher, targets, message);
            return Ok(Receipt {
                offered,
                position: None,
            });
        }
        self.flush(publisher);
        let _order = self.0.order.lock();
        // nobody subscribes while the order lock is held: what matches now is what matches at this position
        let targets = publisher.memo.targets(&self.0.routes, &message.topic);
        let position = match targets.durable && qos > Qos::AtMostOnce {
            true => self.0.store.append(&message).map_err(Refused::Storage)?,
            false => self.0.store.pass(),
        };
        if retain {
            self.0.retained.set(&message, position);
        }
        let offered = self.offer(&targets, &message, Some(position));
        // not before the offer: who needs this one is known only now
        if self.0.store.is_over_limit() {
            while self.clean_oldest() {}
        }
        Ok(Receipt {
            offered,
            position: Some(position),
        })
    }

    /// Holds a message back for the others of its batch that go to the same receivers.
    fn hold(
        &self,
        publisher: &mut Publisher,
        targets: Arc<Targets<Arc<Outbox>>>,
        message: Arc<Message>,
    ) {
        let same = publisher
            .held_for
            .as_ref()
            .is_some_and(|held_for| Arc::ptr_eq(held_for, &targets));
        if !same || publisher.held.len() >= HELD {
            self.flush(publisher);
        }
        if !targets.shared.is_empty() {
            // groups take turns message by message
            self.flush(publisher);
            self.offer(&targets, &message, None);
        } else if !targets.direct.is_empty() {
            publisher.held.push(message);
            publisher.held_for = Some(targets);
        }
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
                .offer([delivery(target, message, position)]);
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
        let kept = position.filter(|_| message.qos > Qos::AtMostOnce && group.is_durable());
        match kept {
            // what came before still waits: this one waits behind it
            Some(_) if group.behind().is_some() => {}
            Some(position) => {
                if !self.assign(group, message, Some(position), None) {
                    group.set_behind(Some(position.offset - 1));
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
        while let Some(member) = group.next(message.weight(), except) {
            let delivery = shared_delivery(group, &member, message, position);
            if member.subscriber.assign(delivery).is_ok() {
                return true;
            }
        }
        false
    }

    /// Leaves a message with a member of the group whose session is kept, although it is away; false if there is none.
    pub(super) fn keep_for_group(
        &self,
        group: &Group<Arc<Outbox>>,
        message: &Arc<Message>,
        position: Option<Position>,
    ) -> bool {
        group.durable_members().iter().any(|member| {
            let delivery = shared_delivery(group, member, message, position);
            member.subscriber.keep(delivery).is_ok()
        })
    }
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
    message: &Arc<Message>,
    position: Option<Position>,
) -> Delivery {
    Delivery {
        message: message.clone(),
        // [MQTT-3.8.4-8]
        qos: target.qos.min(message.qos),
        // [MQTT-3.3.1-12], [MQTT-3.3.1-13]
        retain: message.retain && target.retain_as_published,
        position,
        subscription_ids: target.ids.clone(),
        share: None,
    }
}
