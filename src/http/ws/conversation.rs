//! What a client and the gateway have to say to each other, without the socket they say it over.
//!
//! What is heard is done at once; what is to be said waits until somebody asks for it. So everything here is bounded:
//! a client that does not listen is not heard any further once enough answers are owed to it.

use super::{
    acks::{Ack, Acks},
    frames::{self, Op, Ref, Wish},
    goodbye::Goodbye,
    subscription::{Said, Subscription},
};
use crate::{
    auth::{
        chain::Unproven,
        identity::Identity,
        quota::{Held, Thing},
        rules::{Subject, Via},
    },
    broker::{Refused, publish::Publisher, resume::Start},
    http::{
        State, caller,
        draft::Written,
        extract, front,
        probes::PublicLimits,
        problem::{Kind, Problem},
        since,
    },
    listener::arrival::Peer,
    message::Millis,
    metrics::Tally,
    mqtt::Qos,
};
use futures_util::{StreamExt, stream::SelectAll};
use serde_json::Map;
use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::Instant;

/// Messages of one client whose publishing has not been answered.
const MOST_ACKS: usize = 256;
/// Other answers that a client has not taken.
const MOST_ANSWERS: usize = 64;

/// One client's conversation.
pub struct Conversation {
    state: Arc<State>,
    peer: Peer,
    /// Where the connection was accepted.
    listener: &'static str,
    /// What the client is called in `ready` and in the log.
    name: String,
    /// On whose rights; nobody may do anything before it is known.
    speaker: Option<Speaker>,
    /// It has shown a token, which is being looked at. Nothing is heard meanwhile.
    authenticating: Option<Authenticating>,
    /// When it is to be asked whether what the client showed counts no more.
    ends_at: Option<Instant>,
    subscriptions: SelectAll<Subscription>,
    last_sub: u64,
    answers: VecDeque<String>,
    acks: Acks,
    /// What it published that nobody has counted yet.
    published: Tally,
    /// It has published more than it may: until when it is not heard.
    slowed_until: Option<Instant>,
    /// Said when nothing else is left to say. Nothing is heard any more.
    ending: Option<Goodbye>,
}

/// Somebody who is known.
struct Speaker {
    identity: Arc<Identity>,
    publisher: Publisher,
    /// Its place among the connections that its identity may have.
    held: Option<Held>,
}

impl Speaker {
    /// Whether its connections are counted together with those of `other`.
    fn counts_with(&self, other: &Identity) -> bool {
        match (self.identity.quota(), other.quota()) {
            (Some(own), Some(other)) => Arc::ptr_eq(own, other),
            (own, other) => own.is_none() && other.is_none(),
        }
    }
}

/// A token that is being looked at: its key may have to be asked for.
struct Authenticating {
    to: Ref,
    proven: Pin<Box<dyn Future<Output = Result<Identity, Unproven>> + Send>>,
}

/// A place among the connections that somebody may have, if they are counted.
pub fn hold(identity: &Arc<Identity>) -> Result<Option<Held>, Refused> {
    let Some(quota) = identity.quota() else {
        return Ok(None);
    };
    let held = quota.hold(Thing::Connection);
    let quota = "connections";
    held.map(Some).ok_or(Refused::TooMany { quota })
}

/// Where a subscription begins.
fn start(wish: &Wish, now: Millis) -> Result<Start, Problem> {
    match (&wish.since, wish.last) {
        (Some(_), Some(_)) => Err(Problem::parameter("last", "not together with since")),
        (Some(since), None) => Ok(since::parse(since, now)),
        (None, Some(last)) if (1..=since::MOST).contains(&last) => Ok(Start::Last(last)),
        (None, Some(_)) => {
            let detail = format!("a whole number, 1 to {}", since::MOST);
            Err(Problem::parameter("last", detail))
        }
        (None, None) => Ok(Start::Now),
    }
}

impl Conversation {
    /// With a client called `name`, who need not say who it is if it is `known`.
    pub fn new(
        state: Arc<State>,
        peer: Peer,
        name: String,
        known: Option<(Arc<Identity>, Option<Held>)>,
    ) -> Self {
        let acks = Acks::new(state.broker.watermark().waiter());
        let mut conversation = Conversation {
            state,
            peer,
            listener: "http",
            name,
            speaker: None,
            authenticating: None,
            ends_at: None,
            subscriptions: SelectAll::new(),
            last_sub: 0,
            answers: VecDeque::new(),
            acks,
            published: Tally::default(),
            slowed_until: None,
            ending: None,
        };
        if let Some((identity, held)) = known {
            conversation.welcome(identity, held);
        }
        conversation
    }

    /// As `self`, come in by this listener.
    pub fn at(mut self, listener: &'static str) -> Self {
        self.listener = listener;
        self
    }

    /// Whether the client is known.
    pub fn is_known(&self) -> bool {
        self.speaker.is_some()
    }

    /// Whether there is room for what the client may say next.
    pub fn has_room(&self) -> bool {
        self.ending.is_none()
            && self.authenticating.is_none()
            && self.acks.len() < MOST_ACKS
            && self.answers.len() < MOST_ANSWERS
    }

    /// Whether the client had better be heard: there is room, and the store can follow.
    pub fn takes_more(&self, cx: &mut Context<'_>) -> bool {
        let broker = &self.state.broker;
        let store_follows = !broker.is_busy()
            || self.acks.poll_progress(broker.watermark(), cx).is_ready()
            // it may have written all it had in between, and then nothing would wake this
            || !broker.is_busy();
        self.has_room() && store_follows && self.slowed_until.is_none()
    }

    /// When it is to be heard again, if it published more than it may.
    pub fn slowed_until(&self) -> Option<Instant> {
        self.slowed_until
    }

    /// Hears it again if that time has come.
    pub fn go_on(&mut self, now: Instant) {
        self.slowed_until = self.slowed_until.filter(|until| *until > now);
    }

    /// Does what a frame asks for. [`Conversation::pause`] ends a series of them.
    pub fn hear(&mut self, frame: &str) {
        let (to, op) = frames::read(frame);
        let done = op.and_then(|op| self.act(&to, op));
        if let Err(problem) = done {
            self.refuse(&to, &problem);
        }
    }

    /// Nothing more is heard for now: what was held back, to be offered together, goes out.
    pub fn pause(&mut self) {
        if let Some(speaker) = &mut self.speaker {
            self.state.broker.flush(&mut speaker.publisher);
            let (messages, bytes) = std::mem::take(&mut self.published).so_far();
            let quota = speaker.identity.quota();
            if messages > 0
                && let Some(quota) = quota.filter(|quota| quota.limits_publishing())
                && let Some(wait) = quota.charge(messages, bytes, std::time::Instant::now())
            {
                self.slow_down(wait);
            }
        }
    }

    fn slow_down(&mut self, wait: Duration) {
        self.slowed_until = self.slowed_until.max(Some(Instant::now() + wait));
    }

    /// Nothing was heard for a while.
    pub fn idle(&mut self) {
        if let Some(speaker) = &mut self.speaker {
            speaker.publisher.rest();
        }
        if self.is_over() {
            self.leave(Goodbye::TokenExpired);
        }
    }

    /// When what the client showed ends, as far as is known now.
    pub fn ends_at(&self) -> Option<Instant> {
        self.ends_at
    }

    /// Ends it if what the client showed does.
    pub fn end_if_over(&mut self, now: Instant) {
        if self.ends_at.is_none_or(|end| end > now) {
            return;
        }
        match self.is_over() {
            true => {
                self.ends_at = None;
                self.leave(Goodbye::TokenExpired);
            }
            // it was put off
            false => self.watch_end(),
        }
    }

    fn watch_end(&mut self) {
        let expires = self.speaker.as_ref().and_then(|it| it.identity.expires());
        self.ends_at = expires.and_then(|at| {
            let left = at.0.saturating_sub(self.state.broker.now().0);
            Instant::now().checked_add(Duration::from_millis(left))
        });
    }

    /// Whether what the client showed counts no more. Only one that listens is ended by the broker, too.
    fn is_over(&self) -> bool {
        let (chain, now) = (&self.state.chain, self.state.broker.now());
        let speaker = self.speaker.as_ref();
        speaker.is_some_and(|speaker| chain.is_over(&speaker.identity, now))
    }

    /// Says what is owed, then goodbye.
    pub fn leave(&mut self, goodbye: Goodbye) {
        self.ending.get_or_insert(goodbye);
    }

    /// Notes why the gateway ends it.
    pub fn note(&self, goodbye: Goodbye) {
        if let Some(kind) = goodbye.refusal() {
            let why = format_args!("{}: {}", goodbye.reason(), self.name);
            let broker = &self.state.broker;
            self.state
                .notes
                .refused(kind, self.peer, why, broker.uptime());
        }
    }

    /// What is to be said next: answers first, then messages of the subscriptions in turn.
    pub fn poll_say(&mut self, cx: &mut Context<'_>) -> Poll<Said> {
        if let Some(answer) = self.answers.pop_front() {
            return Poll::Ready(Said::Whole(answer.into()));
        }
        let watermark = self.state.broker.watermark();
        if let Poll::Ready((ack, reached)) = self.acks.poll(watermark, cx) {
            let answer = match reached {
                Ok(()) => frames::published(&ack.to, ack.cursor),
                Err(_) => {
                    let problem = Refused::StorageFailed.into();
                    self.note_refusal(&problem);
                    frames::err(&ack.to, &problem, &self.name)
                }
            };
            return Poll::Ready(Said::Whole(answer.into()));
        }
        match self.ending {
            Some(goodbye) if self.acks.len() == 0 => return Poll::Ready(Said::End(goodbye)),
            Some(_) => return Poll::Pending,
            None => {}
        }
        match self.subscriptions.poll_next_unpin(cx) {
            Poll::Ready(Some(said)) => Poll::Ready(said),
            // none is open
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }

    fn act(&mut self, to: &Ref, op: Op<'_>) -> Result<(), Problem> {
        if let Op::Auth { token } = op {
            self.authenticate(to, token);
            return Ok(());
        }
        if self.is_over() {
            self.leave(Goodbye::TokenExpired);
            let detail = "what was shown counts no more: it has expired or was withdrawn";
            return Err(Problem::new(Kind::NotAuthenticated, detail));
        }
        if !self.is_known() {
            self.leave(Goodbye::Unauthenticated);
            let detail = "the first frame must be auth";
            return Err(Problem::new(Kind::NotAuthenticated, detail));
        }
        match op {
            Op::Auth { .. } => {}
            Op::Pub(written) => self.publish(to, written)?,
            Op::Sub(wish) => self.subscribe(to, &wish)?,
            Op::Unsub { sub } => self.unsubscribe(to, sub)?,
            Op::Ping => self.answers.push_back(frames::pong(to)),
        }
        Ok(())
    }

    fn authenticate(&mut self, to: &Ref, token: String) {
        // what came before it is published on the rights of before
        self.pause();
        let subject = Subject {
            listener: self.listener,
            via: Via::WsJson,
            ..Subject::default()
        };
        let (chain, ip) = (self.state.chain.clone(), self.peer.ip());
        self.authenticating = Some(Authenticating {
            to: to.clone(),
            proven: Box::pin(async move { chain.prove_by_token(&token, ip, subject).await }),
        });
    }

    /// Goes on with looking at a token, if one was shown.
    pub fn go_on_authenticating(&mut self, cx: &mut Context<'_>) {
        if let Some(authenticating) = &mut self.authenticating
            && let Poll::Ready(proven) = authenticating.proven.as_mut().poll(cx)
            && let Some(Authenticating { to, .. }) = self.authenticating.take()
            && let Err(problem) = self.authenticated(&to, proven)
        {
            self.refuse(&to, &problem);
        }
    }

    fn authenticated(
        &mut self,
        to: &Ref,
        proven: Result<Identity, Unproven>,
    ) -> Result<(), Problem> {
        let identity = proven.map_err(|unproven| {
            // who says that he is somebody must not go on as nobody
            self.leave(Goodbye::Unauthenticated);
            caller::refused(&unproven)
        })?;
        let identity = Arc::new(identity);
        let held = match &mut self.speaker {
            // the place it has is among those of the same
            Some(speaker) if speaker.counts_with(&identity) => speaker.held.take(),
            _ => hold(&identity).inspect_err(|_| self.leave(Goodbye::TooMany))?,
        };
        self.answers.push_back(frames::ok(to));
        let mut subscriptions = self.subscriptions.iter_mut();
        if !subscriptions.all(|held| held.read_as(&identity)) {
            self.leave(Goodbye::RightsLost);
        }
        self.welcome(identity, held);
        Ok(())
    }

    /// From now on it is known who speaks. Said the first time.
    fn welcome(&mut self, identity: Arc<Identity>, held: Option<Held>) {
        let publisher = self.state.broker.publisher(identity.clone(), None);
        let before = self.speaker.replace(Speaker {
            identity,
            publisher,
            held,
        });
        self.watch_end();
        if before.is_none() {
            let limits = serde_json::to_value(PublicLimits::of(&self.state));
            let mut members = Map::new();
            members.insert("client".to_owned(), self.name.as_str().into());
            members.insert("limits".to_owned(), limits.unwrap_or_default());
            members.insert(
                "cursor".to_owned(),
                self.state.broker.head().to_string().into(),
            );
            self.answers.push_back(frames::control("ready", members));
        }
    }

    fn publish(&mut self, to: &Ref, written: Written<'_>) -> Result<(), Problem> {
        let Some(speaker) = &mut self.speaker else {
            return Ok(());
        };
        let draft = written.draft(&self.state.rules)?;
        let waits = draft.qos != Qos::AtMostOnce;
        self.published.add(draft.payload.len());
        let broker = &self.state.broker;
        let receipt = broker.publish_in_batch(&mut speaker.publisher, draft, None, broker.now())?;
        self.acks.push(Ack {
            to: to.clone(),
            cursor: receipt.position,
            until: receipt.durable_at.filter(|_| waits),
        });
        Ok(())
    }

    fn subscribe(&mut self, to: &Ref, wish: &Wish) -> Result<(), Problem> {
        // what was published before is not for this one
        self.pause();
        let Some(speaker) = &self.speaker else {
            return Ok(());
        };
        let start = start(wish, self.state.broker.now())?;
        let (wanted, most) = (wish.topics.len(), self.state.rules.filters);
        if wanted == 0 || wanted > most {
            let detail = format!("{wanted} filters: 1 to {most} are allowed");
            return Err(Problem::parameter("topics", detail));
        }
        let filters = wish.topics.iter();
        let filters = filters.map(|text| extract::topic_filter(text, &self.state.rules));
        let filters = filters.collect::<Result<Vec<_>, _>>()?;
        since::refuse_shared(&filters, start)?;
        let (broker, held) = (&self.state.broker, self.subscriptions.iter());
        let held: usize = held.map(Subscription::filters).sum();
        if held + wanted > broker.limits().filters_per_session {
            let most = broker.limits().filters_per_session;
            let detail =
                format!("one connection may have {most} filters (limits.filters_per_session)");
            return Err(Problem::new(Kind::QuotaExceeded, detail));
        }
        let mut source = broker.stream(speaker.identity.clone(), &filters, start)?;
        self.last_sub += 1;
        let cursor = source.beginning();
        let subscription = Subscription::new(self.last_sub, source, broker.clone(), wish);
        self.subscriptions.push(subscription);
        self.answers
            .push_back(frames::subscribed(to, self.last_sub, cursor));
        Ok(())
    }

    /// The client takes nothing for now: nobody waits for its subscriptions to read files.
    pub fn leave_queue(&mut self) {
        let mut all = self.subscriptions.iter_mut();
        if all.any(Subscription::leave_queue) {
            // all are asked anew when it takes something again
            let all = std::mem::take(&mut self.subscriptions).into_iter();
            self.subscriptions = all
                .map(|mut subscription| {
                    subscription.leave_queue();
                    subscription
                })
                .collect();
        }
    }

    fn unsubscribe(&mut self, to: &Ref, sub: u64) -> Result<(), Problem> {
        self.pause();
        let before = self.subscriptions.len();
        let all = std::mem::take(&mut self.subscriptions).into_iter();
        self.subscriptions = all
            .filter(|subscription| subscription.sub() != sub)
            .collect();
        if self.subscriptions.len() == before {
            let detail = format!("there is no subscription {sub}");
            return Err(Problem::new(Kind::NotFound, detail));
        }
        self.answers.push_back(frames::ok(to));
        Ok(())
    }

    fn refuse(&mut self, to: &Ref, problem: &Problem) {
        self.note_refusal(problem);
        self.answers.push_back(frames::err(to, problem, &self.name));
    }

    fn note_refusal(&self, problem: &Problem) {
        if let Some(kind) = front::refusal(problem) {
            let why = format_args!("{}: {}", problem.kind().slug(), self.name);
            let broker = &self.state.broker;
            self.state
                .notes
                .refused(kind, self.peer, why, broker.uptime());
        }
    }
}
