//! SUBSCRIBE and UNSUBSCRIBE: grant, enter the routes, and replay what is retained.

use super::{Broker, outbox::Outbox};
use crate::{
    auth::identity::Identity,
    message::{Delivery, Position},
    metrics::{METRICS, Refusal},
    mqtt::{
        Qos,
        reason::ReasonCode,
        subscribe::{RetainHandling, Subscribe, SubscriptionOptions, Unsubscribe},
        topic::{self, TopicFilter, TopicName},
    },
    routing::retained::Retained,
    session::{Session, violation::Violation},
    store::frame::Lsn,
};
use std::sync::Arc;

/// Retained messages that a subscription is still to get: read in chunks, as the receiver has room.
#[derive(Debug, Clone)]
pub struct Replay {
    filter: TopicFilter,
    qos: Qos,
    ids: Option<Arc<[u32]>>,
    after: Option<TopicName>,
    /// What was written later comes live, or out of the log.
    through: Position,
    /// What was written up to here at QoS 0 came while nobody listened, and no log has it.
    missed_through: Position,
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
            missed_through: through,
            done: false,
        }
    }

    /// Goes on for a connection that listens from `head` on.
    pub(super) fn resume(&mut self, head: Position) {
        self.missed_through = head;
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

/// What came of a SUBSCRIBE.
#[derive(Debug)]
pub struct Subscribed {
    /// One reason per filter, in order.
    pub reasons: Vec<ReasonCode>,
    /// What is to be replayed once SUBACK is out.
    pub replays: Vec<Replay>,
    /// SUBACK is due when the store has come so far.
    pub durable_at: Option<Lsn>,
}

impl Broker {
    /// Subscribes a session.
    pub fn subscribe(
        &self,
        identity: &Identity,
        session: &mut Session,
        outbox: &Arc<Outbox>,
        request: &Subscribe,
    ) -> Result<Subscribed, Violation> {
        let (mut reasons, mut replays) = (Vec::with_capacity(request.filters.len()), Vec::new());
        let mut durable_at = None;
        for (nth, (text, asked)) in request.filters.iter().enumerate() {
            let mut options = match identity.is_bridge() {
                true => for_a_bridge(*asked, text),
                false => *asked,
            };
            // [MQTT-3.2.2-10]
            options.qos = options.qos.min(self.0.limits.features.maximum_qos);
            let id = request.subscription_id;
            let is_new = || {
                let known = session.subscription(text);
                known.is_none_or(|old| (old.options, old.id) != (options, id))
            };
            let admitted = match nth < self.0.limits.filters_per_request {
                // it would be written down
                true if session.is_durable() && is_new() && !self.has_room() => {
                    Err(ReasonCode::QuotaExceeded)
                }
                true => self.admit_filter(identity, session, text, *asked)?,
                false => Err(ReasonCode::QuotaExceeded),
            };
            reasons.push(match admitted {
                Ok(filter) => {
                    let (replay, lsn) = self.enter(session, outbox, filter, options, id);
                    replays.extend(replay);
                    durable_at = durable_at.max(lsn);
                    granted(options.qos)
                }
                Err(reason) => {
                    METRICS.refused(kind_of(reason)).inc();
                    reason
                }
            });
        }
        Ok(Subscribed {
            reasons,
            replays,
            durable_at,
        })
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
        let limits = &self.0.limits;
        Ok(
            // a 5.0 client that uses what is off was closed for it; a 3.x client learns it here
            if filter.share().is_some() && !limits.features.shared_subscriptions {
                Err(ReasonCode::SharedSubscriptionsNotSupported)
            } else if filter.has_wildcards() && !limits.features.wildcard_subscriptions {
                // 3.1.1: [MQTT-3.8.3-2]
                Err(ReasonCode::WildcardSubscriptionsNotSupported)
            } else if topic::is_deeper(filter.pattern(), limits.topic_levels)
                || text.len() > limits.topic_bytes
            {
                Err(ReasonCode::TopicFilterInvalid)
            } else if identity.may_subscribe(&filter).is_err() {
                Err(ReasonCode::NotAuthorized)
            } else if session.subscription(text).is_none()
                && (session.subscription_count() >= limits.filters_per_session
                    // the last to be asked: it counts from here on
                    || identity.quota().is_some_and(|quota| !quota.subscribe()))
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
    ) -> (Option<Replay>, Option<Lsn>) {
        let order = self.0.order.lock();
        let head = self.head();
        self.0
            .routes
            .subscribe(&filter, outbox.clone(), options, id);
        let known = session
            .subscription(filter.as_str())
            .is_some_and(|old| (old.options, old.id) == (options, id));
        let new = session.subscribe(filter.clone(), options, id, head.offset);
        drop(order);
        // clients subscribe anew at every reconnection: what is known is not written again, but it may have been
        // written a moment ago
        let durable_at = match known {
            true => session.is_durable().then(|| self.everything_durable()),
            false => self.keep_subscription(session, &filter, head.offset),
        };
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
        let replay =
            replays.then(|| Replay::new(filter, options.qos, id.map(|id| [id].into()), head));
        (replay, durable_at)
    }

    /// Ends subscriptions: one reason per filter, in order.
    pub fn unsubscribe(
        &self,
        session: &mut Session,
        outbox: &Arc<Outbox>,
        request: &Unsubscribe,
    ) -> (Vec<ReasonCode>, Option<Lsn>) {
        let (mut durable_at, mut left) = (None, Vec::new());
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
                    if let Some(quota) = outbox.reader().quota() {
                        quota.unsubscribe(1);
                    }
                    if subscription.filter.share().is_some() {
                        METRICS.subscriptions_shared.dec();
                        left.push(subscription.filter);
                    }
                    durable_at = durable_at.max(self.keep_unsubscription(session, text));
                    ReasonCode::Success
                }
            });
        let reasons: Vec<_> = reasons.collect();
        self.serve_left(&left);
        // what was not yet sent for these filters is dropped, unless another filter wants it too
        outbox.retain(|queued| {
            let mut left = session.subscriptions();
            queued.share.is_some()
                || left.any(|left| {
                    left.filter.share().is_none() && left.filter.matches(&queued.message.topic)
                })
        });
        (reasons, durable_at)
    }

    /// The next retained messages of a replay that `reader` may have, at most `max`.
    pub fn replay(&self, replay: &mut Replay, reader: &Identity, max: usize) -> Vec<Delivery> {
        let found = self.replay_retained(replay, reader, max).into_iter();
        let deliveries = found.map(|retained| Delivery {
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

    /// As [`Broker::replay`], with the place of each in the log.
    pub(super) fn replay_retained(
        &self,
        replay: &mut Replay,
        reader: &Identity,
        max: usize,
    ) -> Vec<Retained> {
        let pattern = replay.filter.pattern();
        let chunk = self.0.retained.matching(
            pattern,
            replay.after.as_ref(),
            replay.missed_through,
            max,
            self.now(),
        );
        replay.done = chunk.resume_after.is_none();
        replay.after = chunk.resume_after;
        let mut found = chunk.found;
        found.retain(|retained| {
            let comes_live = retained.position > replay.through
                && replay.qos.min(retained.message.qos) > Qos::AtMostOnce;
            !comes_live && reader.may_read(&retained.message.topic).is_ok()
        });
        found
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

/// What a refused filter is counted as.
fn kind_of(reason: ReasonCode) -> Refusal {
    match reason {
        ReasonCode::NotAuthorized => Refusal::NotAuthorized,
        ReasonCode::TopicFilterInvalid => Refusal::Topic,
        ReasonCode::QuotaExceeded => Refusal::Filters,
        _ => Refusal::NotSupported,
    }
}

fn granted(qos: Qos) -> ReasonCode {
    match qos {
        Qos::AtMostOnce => ReasonCode::Success,
        Qos::AtLeastOnce => ReasonCode::GrantedQos1,
        Qos::ExactlyOnce => ReasonCode::GrantedQos2,
    }
}
