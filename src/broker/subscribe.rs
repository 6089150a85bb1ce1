//! SUBSCRIBE and UNSUBSCRIBE: grant, enter the routes, and replay what is retained.

use super::{Broker, outbox::Outbox};
use crate::{
    auth::identity::Identity,
    message::{Delivery, Position},
    metrics::METRICS,
    mqtt::{
        Qos,
        reason::ReasonCode,
        subscribe::{RetainHandling, Subscribe, SubscriptionOptions, Unsubscribe},
        topic::{self, TopicFilter, TopicName},
    },
    session::{Session, violation::Violation},
};
use std::sync::Arc;

/// Retained messages that a subscription is still to get: read in chunks, as the receiver has room.
#[derive(Debug, Clone)]
pub struct Replay {
    filter: TopicFilter,
    qos: Qos,
    ids: Option<Arc<[u32]>>,
    after: Option<TopicName>,
    /// What was written later comes live.
    through: Position,
    done: bool,
}

impl Replay {
    pub(super) fn new(
        filter: TopicFilter,
        qos: Qos,
        ids: Option<Arc<[u32]>>,
        through: Position,
    ) -> Self {
        Replay {
            filter,
            qos,
            ids,
            after: None,
            through,
            done: false,
        }
    }

    /// The QoS it was granted.
    pub(super) fn qos(&self) -> Qos {
        self.qos
    }

    /// The subscription it belongs to.
    pub fn filter(&self) -> &str {
        self.filter.as_str()
    }

    /// Whether everything was handed out.
    pub fn is_done(&self) -> bool {
        self.done
    }
}

impl Broker {
    /// Subscribes a session: one reason per filter, in order, and what is to be replayed once SUBACK is out.
    pub fn subscribe(
        &self,
        identity: &Identity,
        session: &mut Session,
        outbox: &Arc<Outbox>,
        request: &Subscribe,
    ) -> Result<(Vec<ReasonCode>, Vec<Replay>), Violation> {
        let (mut reasons, mut replays) = (Vec::with_capacity(request.filters.len()), Vec::new());
        for (nth, (text, asked)) in request.filters.iter().enumerate() {
            let admitted = match nth < self.0.limits.filters_per_request {
                true => self.admit_filter(identity, session, text, *asked)?,
                false => Err(ReasonCode::QuotaExceeded),
            };
            let options = match identity.is_bridge() {
                true => for_a_bridge(*asked, text),
                false => *asked,
            };
            reasons.push(match admitted {
                Ok(filter) => {
                    replays.extend(self.enter(
                        session,
                        outbox,
                        filter,
                        options,
                        request.subscription_id,
                    ));
                    granted(options.qos)
                }
                Err(reason) => reason,
            });
        }
        Ok((reasons, replays))
    }

    fn admit_filter(
        &self,
        identity: &Identity,
        session: &Session,
        text: &str,
        options: SubscriptionOptions,
    ) -> Result<Result<TopicFilter, ReasonCode>, Violation> {
        let filter = match TopicFilter::parse(text) {
            Ok(filter) => filter,
            Err(_) if session.terms().version.is_v5() => {
                return Ok(Err(ReasonCode::TopicFilterInvalid));
            }
            Err(_) => return Err(Violation::FilterInvalid),
        };
        if filter.share().is_some() && options.no_local {
            return Err(Violation::NoLocalOnShared);
        }
        Ok(
            if topic::is_deeper(filter.pattern(), self.0.limits.topic_levels) {
                Err(ReasonCode::TopicFilterInvalid)
            } else if identity.may_subscribe(&filter).is_err() {
                Err(ReasonCode::NotAuthorized)
            } else if session.subscription(text).is_none()
                && session.subscription_count() >= self.0.limits.filters_per_session
            {
                Err(ReasonCode::QuotaExceeded)
            } else {
                Ok(filter)
            },
        )
    }

    fn enter(
        &self,
        session: &mut Session,
        outbox: &Arc<Outbox>,
        filter: TopicFilter,
        options: SubscriptionOptions,
        id: Option<u32>,
    ) -> Option<Replay> {
        let order = self.0.order.lock();
        let head = self.head();
        self.0
            .routes
            .subscribe(&filter, outbox.clone(), options, id);
        let new = session.subscribe(filter.clone(), options, id, head.offset);
        drop(order);
        if new {
            METRICS.subscriptions.inc();
            if filter.share().is_some() {
                METRICS.subscriptions_shared.inc();
            }
        }
        let wanted = match options.retain_handling {
            RetainHandling::Send => true,
            RetainHandling::SendIfNew => new,
            RetainHandling::DoNotSend => false,
        };
        // a shared subscription gets no retained messages (4.8.2)
        let replays = wanted && filter.share().is_none();
        replays.then(|| Replay::new(filter, options.qos, id.map(|id| [id].into()), head))
    }

    /// Ends subscriptions: one reason per filter, in order.
    pub fn unsubscribe(
        &self,
        session: &mut Session,
        outbox: &Arc<Outbox>,
        request: &Unsubscribe,
    ) -> Vec<ReasonCode> {
        let reasons = request
            .filters
            .iter()
            .map(|text| match session.unsubscribe(text) {
                None => ReasonCode::NoSubscriptionExisted,
                Some(subscription) => {
                    self.0
                        .routes
                        .unsubscribe(&subscription.filter, outbox.key());
                    METRICS.subscriptions.dec();
                    if subscription.filter.share().is_some() {
                        METRICS.subscriptions_shared.dec();
                    }
                    ReasonCode::Success
                }
            });
        let reasons = reasons.collect();
        // what was not yet sent for these filters is dropped, unless another filter wants it too
        outbox.retain(|queued| {
            queued.share.is_some()
                || session
                    .subscriptions()
                    .any(|left| left.filter.matches(&queued.message.topic))
        });
        reasons
    }

    /// The next retained messages of a replay, at most `max`.
    pub fn replay(&self, replay: &mut Replay, max: usize) -> Vec<Delivery> {
        let pattern = replay.filter.pattern();
        let chunk = self.0.retained.matching(
            pattern,
            replay.after.as_ref(),
            replay.through,
            max,
            self.now(),
        );
        replay.done = chunk.resume_after.is_none();
        replay.after = chunk.resume_after;
        let deliveries = chunk.found.into_iter().map(|retained| Delivery {
            qos: replay.qos.min(retained.message.qos),
            message: retained.message,
            retain: true,
            // not read from the log: no cursor moves by it
            position: None,
            subscription_ids: replay.ids.clone(),
            share: None,
        });
        deliveries.collect()
    }
}

/// What a bridge of MQTT 3 means but cannot say: nothing of its own comes back, and retained stays retained.
fn for_a_bridge(asked: SubscriptionOptions, filter: &str) -> SubscriptionOptions {
    SubscriptionOptions {
        no_local: !filter.starts_with("$share/"),
        retain_as_published: true,
        ..asked
    }
}

fn granted(qos: Qos) -> ReasonCode {
    match qos {
        Qos::AtMostOnce => ReasonCode::Success,
        Qos::AtLeastOnce => ReasonCode::GrantedQos1,
        Qos::ExactlyOnce => ReasonCode::GrantedQos2,
    }
}
