//! Somebody who publishes and subscribes, with what he may do: asked at publish, subscribe and delivery.
//!
//! An identity obeys the rules in force at the moment it is asked. They are compiled for it once per change of the rules.

use super::certificate::Certificate;
use super::quota::Quota;
use super::rules::{
    Actions, RuleId, Subject, Via, Way,
    access::Access,
    rights::{Decision, Grants, Rights},
};
use crate::{
    message::Millis,
    mqtt::topic::{TopicFilter, TopicName},
};
use arc_swap::ArcSwapOption;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// Where a bridge tells its state; a bridge may write there although it is below `$SYS`.
const BRIDGE_STATE: &str = "$SYS/broker/connection/";

/// Where answers to requests go.
const REPLIES: &str = "$reply/";

/// Somebody who publishes and subscribes.
#[derive(Debug, Default)]
pub struct Identity {
    subject: Subject,
    /// The connection said that it is a bridge (protocol level 0x83 or 0x84).
    bridge: bool,
    /// `None` where there are no rules: everything is allowed.
    access: Option<Arc<Access>>,
    /// What a token allows, and nothing else.
    token: Option<Arc<Grants>>,
    /// What a ticket leaves of it.
    ticket: Option<Arc<Rights>>,
    /// How much it may do; `None` is without limit.
    quota: Option<Arc<Quota>>,
    /// What proved it.
    proof: Proof,
    /// The only client identifier it is good for.
    only_as: Option<Arc<str>>,
    /// When what proved it is no longer true.
    proven_until: Option<Millis>,
    /// When it is to end.
    expires: Option<Deadline>,
    /// When it ends even if that is put off.
    latest: Option<Millis>,
    compiled: ArcSwapOption<Compiled>,
}

#[derive(Debug)]
struct Compiled {
    generation: u64,
    rights: Rights,
}

/// What proved who somebody is.
#[derive(Debug, Clone, Default)]
pub enum Proof {
    /// Nothing: anonymous, or what was kept over a start.
    #[default]
    None,
    /// A password; the number tells its line in the password file from any other.
    Password(u64),
    /// A token.
    Token,
    /// A client certificate.
    Certificate(Arc<Certificate>),
}

/// When something ends; shared by all that ends with it, and may be put off.
#[derive(Debug, Clone)]
pub struct Deadline(Arc<AtomicU64>);

/// The time of what has been ended, which is never put off.
const ENDED: u64 = 0;

impl Deadline {
    /// At that time.
    pub fn at(time: Millis) -> Self {
        Deadline(Arc::new(AtomicU64::new(time.0)))
    }

    /// When it is.
    pub fn time(&self) -> Millis {
        Millis(self.0.load(Ordering::Relaxed))
    }

    /// It is then instead; false if it has been ended, which it stays.
    pub fn move_to(&self, time: Millis) -> bool {
        let put_off = |held| (held != ENDED).then_some(time.0);
        let moved = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, put_off);
        moved.is_ok()
    }

    /// It has come, for good.
    pub fn end(&self) {
        self.0.store(ENDED, Ordering::Relaxed);
    }
}

/// Why something is not allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The topic belongs to the gateway.
    #[error("topics that begin with '$' are the gateway's own")]
    Reserved,
    /// A rule denies it, or none allows it.
    #[error("not authorized ({0})")]
    By(RuleId),
}

impl Clone for Identity {
    fn clone(&self) -> Self {
        Identity {
            subject: self.subject.clone(),
            bridge: self.bridge,
            access: self.access.clone(),
            token: self.token.clone(),
            ticket: self.ticket.clone(),
            quota: self.quota.clone(),
            proof: self.proof.clone(),
            only_as: self.only_as.clone(),
            proven_until: self.proven_until,
            expires: self.expires.clone(),
            latest: self.latest,
            // another one may be asked to come in another way
            compiled: ArcSwapOption::empty(),
        }
    }
}

impl Identity {
    /// Somebody without a name where there are no rules: may do everything but write to the gateway's own topics.
    pub fn anonymous() -> Arc<Self> {
        Arc::new(Identity::default())
    }

    /// Somebody known by this name, where there are no rules.
    pub fn named(user: &str) -> Self {
        Identity::new(
            Subject {
                user: Some(user.into()),
                ..Subject::default()
            },
            None,
        )
    }

    /// Somebody who obeys these rules, if there are any.
    pub fn new(subject: Subject, access: Option<Arc<Access>>) -> Self {
        Identity {
            subject,
            access,
            ..Identity::default()
        }
    }

    /// On whose rights a will is published, and messages wait, that was accepted before the gateway was started.
    pub fn restored(
        user: Option<Arc<str>>,
        client_id: Arc<str>,
        way: Way,
        access: Option<Arc<Access>>,
    ) -> Self {
        let subject = Subject {
            user,
            client_id: Some(client_id),
            listener: way.listener,
            via: way.via,
            groups: way.groups,
        };
        let identity = Identity::new(subject, access);
        match way.grants {
            Some(grants) => identity.with_token(grants),
            None => identity,
        }
    }

    /// As `self`, with nothing but what the token grants.
    pub fn with_token(mut self, grants: impl Into<Arc<Grants>>) -> Self {
        // without rules there is nothing that a token's rights could be asked beside
        self.access.get_or_insert_default();
        self.token = Some(grants.into());
        self
    }

    /// As `self`, less what the ticket does not name.
    pub fn with_ticket(mut self, grants: &Grants) -> Self {
        self.ticket = Some(Arc::new(Rights::only(grants, RuleId::Ticket)));
        self
    }

    /// As `self`, who may do so much.
    pub fn with_quota(mut self, quota: Option<Arc<Quota>>) -> Self {
        self.quota = quota;
        self
    }

    /// As `self`, until then.
    pub fn until(mut self, expires: Deadline) -> Self {
        self.expires = Some(expires);
        self
    }

    /// As `self`, until then at the latest; what it was to end with ends it still.
    pub fn no_later_than(mut self, time: Millis) -> Self {
        self.latest = Some(time);
        self
    }

    /// As `self`, proven by something that ends at this time, and so to end then.
    pub fn proven_only_until(mut self, time: Millis) -> Self {
        self.proven_until = Some(time);
        self.until(Deadline::at(time))
    }

    /// When what proved it ends, or `otherwise` if it does not.
    pub fn proven_until(&self, otherwise: Millis) -> Millis {
        self.proven_until.unwrap_or(otherwise)
    }

    /// As `self`, good for this client identifier alone; nobody, if it has another one.
    pub fn only_as(mut self, client_id: Arc<str>) -> Option<Self> {
        let other = self.subject.client_id.as_ref();
        if other.is_some_and(|other| *other != client_id) {
            return None;
        }
        self.only_as = Some(client_id);
        Some(self)
    }

    /// As `self`, come in as `subject` did, but for user and groups; nobody, if it is for another client identifier.
    pub fn come_in_as(&self, subject: &Subject) -> Option<Self> {
        let mut placed = self.clone();
        placed.subject = Subject {
            user: self.subject.user.clone(),
            groups: self.subject.groups.clone(),
            ..subject.clone()
        };
        match self.only_as.clone() {
            None => Some(placed),
            Some(client_id) => placed.only_as(client_id),
        }
    }

    /// As `self`, proven by this.
    pub fn proven_by(mut self, proof: Proof) -> Self {
        self.proof = proof;
        self
    }

    /// As `self`, for a connection that declared itself a bridge.
    pub fn as_bridge(mut self) -> Self {
        self.bridge = true;
        self
    }

    /// As `self`, by another way.
    pub fn by(&self, via: Via) -> Self {
        let mut other = self.clone();
        other.subject.via = via;
        other
    }

    /// As `self`, by another listener.
    pub fn at(&self, listener: &'static str) -> Self {
        let mut other = self.clone();
        other.subject.listener = listener;
        other
    }

    /// As `self`, for the will it leaves: only a bridge's will is accepted where a bridge tells its state.
    pub fn for_will(self, topic: &TopicName) -> Self {
        let bridge = topic.starts_with(BRIDGE_STATE);
        Identity { bridge, ..self }
    }

    /// The user; `None` is anonymous.
    pub fn user(&self) -> Option<&Arc<str>> {
        self.subject.user.as_ref()
    }

    /// Who it is, as far as rules ask.
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// How it came in.
    pub fn way(&self) -> Way {
        Way {
            listener: self.subject.listener,
            via: self.subject.via,
            groups: self.subject.groups.clone(),
            grants: self.token.clone(),
        }
    }

    /// When it is to end.
    pub fn expires(&self) -> Option<Millis> {
        let expires = self.expires.as_ref().map(Deadline::time);
        expires.into_iter().chain(self.latest).min()
    }

    /// How much it may do; `None` is without limit.
    #[inline]
    pub fn quota(&self) -> Option<&Arc<Quota>> {
        self.quota.as_ref()
    }

    /// What proved it.
    pub fn proof(&self) -> &Proof {
        &self.proof
    }

    /// Whether that is over.
    pub fn is_expired(&self, now: Millis) -> bool {
        self.expires().is_some_and(|expires| expires <= now)
    }

    /// Whether the connection declared itself a bridge.
    pub fn is_bridge(&self) -> bool {
        self.bridge
    }

    /// Whether it is a part of somebody's rights, by a ticket.
    pub fn is_attenuated(&self) -> bool {
        self.ticket.is_some()
    }

    /// Whether nothing is ever asked of it: there are no rules, and no ticket.
    #[inline]
    pub fn is_free(&self) -> bool {
        self.access.is_none() && self.ticket.is_none()
    }

    /// Which rules decide about it: an answer holds while this does.
    #[inline]
    pub fn generation(&self) -> u64 {
        self.access.as_ref().map_or(0, |access| access.generation())
    }

    /// Whether a message on `topic` may be published, and retained if it is to be.
    pub fn may_publish(&self, topic: &str, retain: bool) -> Result<(), Denied> {
        allowed(self.decide(Actions::PUBLISH, topic))?;
        match retain {
            true => allowed(self.decide(Actions::RETAIN, topic)),
            false => Ok(()),
        }
    }

    /// Whether what is published on `topic` may be received or read.
    pub fn may_read(&self, topic: &str) -> Result<(), Denied> {
        allowed(self.decide(Actions::RECEIVE, topic))
    }

    /// Whether `filter` may be subscribed to.
    pub fn may_subscribe(&self, filter: &TopicFilter) -> Result<(), Denied> {
        allowed(self.decide_filter(filter))
    }

    /// What decides about one action on messages of a topic.
    pub fn decide(&self, action: Actions, topic: &str) -> Decision {
        let is_own = match action {
            Actions::RECEIVE => topic.starts_with(REPLIES),
            _ => topic.starts_with('$') && !(self.bridge && topic.starts_with(BRIDGE_STATE)),
        };
        match is_own {
            true => RESERVED,
            false => self.ask(|rights| rights.on_topic(action, topic)),
        }
    }

    /// What decides about subscribing to a filter.
    pub fn decide_filter(&self, filter: &TopicFilter) -> Decision {
        // a reply address is a capability: nobody but the gateway listens there
        match filter.pattern().starts_with(REPLIES) {
            true => RESERVED,
            false => self.ask(|rights| rights.on_filter(filter.pattern())),
        }
    }

    /// Ticket and rules must both allow it.
    fn ask(&self, question: impl Fn(&Rights) -> Decision) -> Decision {
        if let Some(ticket) = &self.ticket {
            let decision = question(ticket);
            if !decision.allowed {
                return decision;
            }
        }
        let Some(access) = &self.access else {
            return Decision {
                allowed: true,
                by: RuleId::Open,
            };
        };
        let compiled = self.compiled.load();
        if let Some(compiled) = &*compiled
            && compiled.generation == access.generation()
        {
            return question(&compiled.rights);
        }
        let (generation, rules) = access.current();
        let rights = Rights::compile(&rules, &self.subject, self.token.as_deref());
        let decision = question(&rights);
        self.compiled
            .store(Some(Arc::new(Compiled { generation, rights })));
        decision
    }
}

const RESERVED: Decision = Decision {
    allowed: false,
    by: RuleId::Reserved,
};

fn allowed(decision: Decision) -> Result<(), Denied> {
    match (decision.allowed, decision.by) {
        (true, _) => Ok(()),
        (false, RuleId::Reserved) => Err(Denied::Reserved),
        (false, rule) => Err(Denied::By(rule)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::rules::own;

    fn topic(text: &str) -> TopicName {
        TopicName::parse(text).unwrap()
    }

    #[test]
    fn the_gateways_own_topics_are_written_by_bridges_only_and_only_their_state() {
        let state = topic("$SYS/broker/connection/plant.b/state");
        let version = topic("$SYS/broker/version");
        let anyone = Identity::default();
        let bridge = Identity::default().as_bridge();
        assert_eq!(anyone.may_publish(&state, true), Err(Denied::Reserved));
        assert_eq!(bridge.may_publish(&state, true), Ok(()));
        assert_eq!(bridge.may_publish(&version, false), Err(Denied::Reserved));
        assert_eq!(anyone.may_publish(&topic("a/$b"), false), Ok(()));
    }

    #[test]
    fn a_reply_address_is_nobodys_to_listen_on() {
        let filter = |text| TopicFilter::parse(text).unwrap();
        let anyone = Identity::anonymous();
        assert!(anyone.may_subscribe(&filter("$reply/x")).is_err());
        assert!(anyone.may_subscribe(&filter("$share/g/$reply/x")).is_err());
        assert!(anyone.may_read("$reply/x").is_err());
        assert!(anyone.may_subscribe(&filter("$SYS/#")).is_ok());
    }

    #[test]
    fn the_rules_in_force_decide_at_the_moment_of_the_question() {
        let rules = |topics: &str| {
            let text = format!("[[rule]]\nallow = [\"publish\"]\ntopics = [\"{topics}\"]\n");
            own::parse(&text).unwrap()
        };
        let access = Arc::new(Access::new(rules("a")));
        let one = Identity::new(Subject::default(), Some(access.clone()));
        assert_eq!(one.may_publish(&topic("a"), false), Ok(()));
        let refused = Err(Denied::By(RuleId::Default));
        assert_eq!(one.may_publish(&topic("a"), true), refused);
        let before = one.generation();
        access.replace(rules("b"));
        assert_ne!(one.generation(), before);
        assert_eq!(one.may_publish(&topic("a"), false), refused);
        assert_eq!(one.may_publish(&topic("b"), false), Ok(()));
    }

    #[test]
    fn a_ticket_takes_away_and_never_gives() {
        let grants = |topics: &[&str]| Grants {
            publish: topics.iter().map(|topic| (*topic).into()).collect(),
            ..Grants::default()
        };
        let free = Identity::default().with_ticket(&grants(&["a/#"]));
        assert_eq!(free.may_publish(&topic("a/b"), false), Ok(()));
        let refused = Err(Denied::By(RuleId::Ticket));
        assert_eq!(free.may_publish(&topic("b"), false), refused);
        let token = Identity::default().with_token(grants(&["a/b"]));
        let both = token.with_ticket(&grants(&["a/#"]));
        assert_eq!(both.may_publish(&topic("a/b"), false), Ok(()));
        assert!(both.may_publish(&topic("a/c"), false).is_err());
    }

    #[test]
    fn what_was_ended_is_not_put_off_any_more() {
        let deadline = Deadline::at(Millis(10));
        let one = Identity::default().until(deadline.clone());
        assert!(deadline.move_to(Millis(20)));
        assert!(!one.is_expired(Millis(19)));
        deadline.end();
        assert!(!deadline.move_to(Millis(30)));
        assert!(one.is_expired(Millis(1)));
    }

    #[test]
    fn who_acts_for_somebody_for_a_while_ends_with_him_or_sooner() {
        let deadline = Deadline::at(Millis(10));
        let own = Identity::default().until(deadline.clone());
        let lent = own.clone().no_later_than(Millis(15));
        assert_eq!(lent.expires(), Some(Millis(10)));
        deadline.move_to(Millis(20));
        assert_eq!(lent.by(Via::Sse).expires(), Some(Millis(15)));
        assert_eq!(own.expires(), Some(Millis(20)));
        deadline.end();
        assert!(lent.is_expired(Millis(1)));
    }
}
