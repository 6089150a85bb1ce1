//! Several messages of one request: those that must survive are kept all or none.

use super::{Lately, Publisher};
use crate::{
    broker::{Broker, Draft, Refused, idempotency::Running, outbox::Outbox},
    message::{Message, Position},
    metrics::METRICS,
    mqtt::Qos,
    routing::Targets,
    store::{Urgency, frame::Lsn},
};
use std::sync::Arc;

/// What became of one of them: its position, if it was recorded.
pub type Outcome = Result<Option<Position>, Refused>;

/// What became of all of them.
#[derive(Debug)]
pub struct Outcomes {
    /// In the order they came in.
    pub each: Vec<Outcome>,
    /// When those that must survive are durable, if there are any.
    pub durable_at: Option<Lsn>,
}

impl Outcomes {
    /// Whether anything was refused.
    pub fn has_refused(&self) -> bool {
        self.each.iter().any(Result::is_err)
    }
}

/// A request that happens once, and what makes its answer of what became of its messages.
pub type Answering<'a> = (&'a Running, &'a dyn Fn(&[Outcome]) -> Box<[u8]>);

/// A message that is going to be published.
struct Ready {
    message: Arc<Message>,
    targets: Arc<Targets<Arc<Outbox>>>,
    position: Option<Position>,
    must_survive: bool,
}

impl Broker {
    /// Publishes messages one behind the other, nothing of anyone else's in between. With `all_or_none`, one that is
    /// refused keeps all of them from being published.
    ///
    /// With `once`, whatever is published is recorded and must survive, and the request with its answer is one with it.
    ///
    /// An error: the store takes nothing now, or it is too much at once; nothing was published.
    pub fn publish_together(
        &self,
        publisher: &mut Publisher,
        drafts: Vec<Draft>,
        all_or_none: bool,
        once: Option<Answering<'_>>,
    ) -> Result<Outcomes, Refused> {
        let bytes = drafts.iter().map(|draft| draft.payload.len()).sum();
        publisher.take_rate(drafts.len(), bytes)?;
        let now = self.now();
        self.flush(publisher);
        let admitted = drafts.into_iter().map(|draft| {
            publisher.may_publish(&draft)?;
            self.admit(&draft)?;
            let origin = Some(publisher.origin.clone());
            Ok(Arc::new(draft.into_message(origin, now)))
        });
        let mut admitted: Vec<Result<_, Refused>> = admitted.collect();
        let mut order = self.0.order.lock();
        self.admit_retained(&mut admitted);
        let is_refused = admitted.iter().any(Result::is_err);
        if all_or_none && is_refused || admitted.iter().all(Result::is_err) {
            let each = admitted.into_iter();
            return Ok(Outcomes {
                each: each.map(|one| one.map(|_| None)).collect(),
                durable_at: None,
            });
        }
        let mut head = self.head();
        let mut ready = |message: Arc<Message>| {
            let Lately { memo, .. } = &mut **publisher.lately();
            // nobody subscribes while the order lock is held
            let targets = memo.targets(&self.0.routes, &message.topic).clone();
            let is_kept = targets.recorded != 0 || message.retain;
            let must_survive =
                once.is_some() || message.qos > Qos::AtMostOnce && (targets.durable || is_kept);
            // what only the tail wants stands in the log with the others: their positions follow each other
            let position = (is_kept || must_survive || targets.tail).then(|| {
                head.offset += 1;
                head
            });
            Ready {
                message,
                targets,
                position,
                must_survive,
            }
        };
        let all: Vec<Result<Ready, Refused>> = admitted
            .into_iter()
            .map(|one| one.map(&mut ready))
            .collect();
        let each: Vec<Outcome> = all
            .iter()
            .map(|one| {
                one.as_ref()
                    .map(|one| one.position)
                    .map_err(|refused| *refused)
            })
            .collect();
        let published: Vec<Ready> = all.into_iter().flatten().collect();
        let once = once.map(|(running, answer)| Arc::new(running.done(now, answer(&each))));
        let recorded: Vec<&Ready> = published
            .iter()
            .filter(|one| one.position.is_some())
            .collect();
        let mut durable_at = None;
        if !recorded.is_empty() {
            let messages: Vec<_> = recorded.iter().map(|one| one.message.clone()).collect();
            let must_survive = recorded.iter().any(|one| one.must_survive);
            // nobody waits for what need not survive: it is written with others
            let urgency = match must_survive {
                true => Urgency::Now,
                false => Urgency::Soon,
            };
            let appended = self
                .0
                .store
                .append_together(&messages, once.as_ref(), urgency)?;
            for (one, appended) in recorded.iter().zip(&appended) {
                debug_assert_eq!(one.position, Some(appended.position));
                self.0.history.added(one.targets.recorded, appended.size);
            }
            durable_at = appended
                .last()
                .map(|last| last.lsn)
                .filter(|_| must_survive);
        }
        METRICS.messages_published.add(published.len() as u64);
        for one in &published {
            if let Some(position) = one.position.filter(|_| one.message.retain) {
                self.0.retained.set(&one.message, position);
            }
            self.offer(&one.targets, &one.message, one.position);
        }
        // no more than there is to be room for: the rest is cleaned while nobody waits for it
        while self.0.store.is_over_limit() && self.clean_oldest(&mut order) {}
        Ok(Outcomes { each, durable_at })
    }

    /// Refuses those to be retained for which there is no room, each as if those before it were retained already.
    fn admit_retained(&self, messages: &mut [Result<Arc<Message>, Refused>]) {
        let limits = &self.0.limits;
        let (mut most, mut bytes) = (limits.retained_messages, limits.retained_bytes);
        for one in messages {
            let Ok(message) = one else { continue };
            if !message.retain {
                continue;
            }
            match self.0.retained.admits(message, most, bytes) {
                Ok(()) => {
                    // it may replace one, and then leaves more room than this
                    most = most.saturating_sub(1);
                    bytes = bytes.saturating_sub(message.weight());
                }
                Err(limit) => *one = Err(Refused::RetainedFull { limit }),
            }
        }
    }
}
