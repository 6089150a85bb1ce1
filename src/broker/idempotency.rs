//! Requests that carry a key of their sender's, so that they happen once however often they are sent.
//!
//! What was done is in the store, with its messages ([`Store::once`](crate::store::Store::once)). Here is what only this
//! process needs to know: which requests are under way, and which were refused in a way that will not change.

use super::Broker;
use crate::{
    message::Millis,
    store::once::{Fingerprint, Keys, Once},
};
use hashbrown::{HashMap, hash_map::Entry};
use parking_lot::Mutex;
use std::sync::Arc;

/// Whose key it is, and the key.
type Name = (Option<Arc<str>>, Arc<str>);

/// What is known of keys beside the store.
#[derive(Default)]
pub(super) struct Requests {
    running: Mutex<HashMap<Name, Fingerprint>>,
    refused: Mutex<Keys>,
}

/// What a key stands for when a request comes with it.
pub enum Met {
    /// A request that is new: to be done now.
    New(Running),
    /// The same request, done before: this is its answer.
    Done(Arc<Once>),
    /// The same request is under way.
    InFlight,
    /// Another request.
    Mismatch,
}

/// A request that is under way, until this is dropped.
pub struct Running {
    broker: Broker,
    name: Name,
    fingerprint: Fingerprint,
}

impl Requests {
    pub(super) fn forget(&self, now: Millis) {
        self.refused.lock().forget(now);
    }
}

impl Broker {
    /// A request with this key of `user` begins, unless it did before. What is [`Met::Done`] may be answered when
    /// [`Broker::everything_durable`] is.
    pub fn begin_once(
        &self,
        user: Option<Arc<str>>,
        key: Arc<str>,
        fingerprint: Fingerprint,
    ) -> Met {
        let requests = &self.0.requests;
        let now = self.now();
        let mut running = requests.running.lock();
        let name = (user, key);
        let place = match running.entry(name.clone()) {
            Entry::Occupied(other) => {
                return match *other.get() == fingerprint {
                    true => Met::InFlight,
                    false => Met::Mismatch,
                };
            }
            Entry::Vacant(place) => place,
        };
        // under the lock of those under way: who is done is known here before he is no longer known there
        let (user, key) = &name;
        let done = self.0.store.once(user, key);
        let done = done.or_else(|| requests.refused.lock().get(user, key).cloned());
        match done.filter(|once| !once.is_over(now)) {
            Some(once) if once.fingerprint == fingerprint => Met::Done(once),
            Some(_) => Met::Mismatch,
            None => {
                place.insert(fingerprint);
                let broker = self.clone();
                Met::New(Running {
                    broker,
                    name,
                    fingerprint,
                })
            }
        }
    }

    /// Forgets requests that are too long ago.
    pub(super) fn forget_requests(&self) {
        let now = self.now();
        self.0.requests.forget(now);
        self.0.store.forget_once(now);
    }
}

impl Running {
    /// The request was refused, and would be again: it is remembered while this process lives.
    pub fn refused(&self, answer: Box<[u8]>) {
        let once = Arc::new(self.done(self.broker.now(), answer));
        self.broker.0.requests.refused.lock().insert(once, 0);
    }

    /// The request as it is kept once it was done.
    pub(super) fn done(&self, at: Millis, answer: Box<[u8]>) -> Once {
        let (user, key) = self.name.clone();
        Once {
            user,
            key,
            fingerprint: self.fingerprint,
            at,
            answer,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.broker.0.requests.running.lock().remove(&self.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        auth::identity::Identity,
        broker::{Draft, config::Config, publish::together::Outcome},
        message::Epoch,
        mqtt::{Qos, topic::TopicName},
        session::limits::Limits,
        store::memory::MemoryStore,
    };

    fn broker() -> Broker {
        let store = MemoryStore::new(Epoch(*b"testtest"), 1 << 20);
        Broker::new(Config::default(), Limits::default(), Box::new(store))
    }

    fn begin(broker: &Broker, key: &str, fingerprint: u8) -> Met {
        broker.begin_once(None, key.into(), [fingerprint; 32])
    }

    fn draft(topic: &str) -> Draft {
        Draft {
            topic: TopicName::parse(topic).unwrap(),
            payload: b"x".into(),
            qos: Qos::AtMostOnce,
            retain: false,
            properties: None,
        }
    }

    fn do_it(broker: &Broker, running: &Running, topics: &[&str]) -> Vec<Outcome> {
        let mut publisher = broker.publisher(Identity::anonymous(), None);
        let answer = |each: &[Outcome]| -> Box<[u8]> {
            Box::from(format!("{} done", each.len()).as_bytes())
        };
        let drafts = topics.iter().map(|topic| draft(topic)).collect();
        let answering = Some((running, &answer as _));
        let done = broker.publish_together(&mut publisher, drafts, false, answering);
        done.unwrap().each
    }

    #[test]
    fn a_request_under_way_is_not_begun_again_and_one_that_was_given_up_is() {
        let broker = broker();
        let Met::New(running) = begin(&broker, "k", 1) else {
            panic!("new");
        };
        assert!(matches!(begin(&broker, "k", 1), Met::InFlight));
        assert!(matches!(begin(&broker, "k", 2), Met::Mismatch));
        let user = Some(Arc::from("ann"));
        assert!(matches!(
            broker.begin_once(user, "k".into(), [2; 32]),
            Met::New(_)
        ));
        drop(running);
        assert!(matches!(begin(&broker, "k", 2), Met::New(_)));
    }

    #[test]
    fn what_was_done_is_recorded_whoever_listens_and_answered_from_then_on() {
        let broker = broker();
        let Met::New(running) = begin(&broker, "k", 1) else {
            panic!("new");
        };
        let each = do_it(&broker, &running, &["a", "$SYS/no", "b"]);
        let offsets: Vec<_> = each
            .iter()
            .map(|one| one.ok().flatten().map(|position| position.offset))
            .collect();
        assert_eq!(offsets, [Some(1), None, Some(2)]);
        assert!(each[1].is_err());
        drop(running);
        match begin(&broker, "k", 1) {
            Met::Done(once) => assert_eq!(&*once.answer, b"3 done"),
            _ => panic!("done"),
        }
        assert!(matches!(begin(&broker, "k", 2), Met::Mismatch));
    }

    #[test]
    fn a_refusal_is_remembered_only_if_it_is_said_to_be() {
        let broker = broker();
        for (key, is_final) in [("final", true), ("passing", false)] {
            let Met::New(running) = begin(&broker, key, 1) else {
                panic!("new");
            };
            assert!(do_it(&broker, &running, &["$SYS/no"])[0].is_err());
            if is_final {
                running.refused(Box::from(&b"no"[..]));
            }
            drop(running);
            let known = matches!(begin(&broker, key, 1), Met::Done(_));
            assert_eq!(known, is_final, "{key}");
        }
    }
}
