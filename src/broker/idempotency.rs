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
