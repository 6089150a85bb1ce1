//! Messages of share groups: given to one member, and taken out again for another one.

use super::{Inner, Outbox};
use crate::message::{Delivery, GroupId};
use parking_lot::MutexGuard;

impl Outbox {
    /// Gives a share group's message to this member; given back if it has no room after all.
    pub fn assign(&self, delivery: Delivery) -> Result<(), Delivery> {
        let inner = self.inner.lock();
        if !inner.is_online() {
            return Err(delivery);
        }
        self.push_within_bounds(inner, delivery)
    }

    /// As [`Outbox::assign`], also if the member is away: it waits here for a session that is kept.
    pub(in crate::broker) fn keep(&self, delivery: Delivery) -> Result<(), Delivery> {
        self.push_within_bounds(self.inner.lock(), delivery)
    }

    /// Takes back what this member had and nobody else takes. Whatever the bounds are: it is no more than it had.
    pub(in crate::broker) fn put_back(&self, delivery: Delivery) {
        push(self.inner.lock(), delivery);
    }

    fn push_within_bounds(
        &self,
        inner: MutexGuard<'_, Inner>,
        delivery: Delivery,
    ) -> Result<(), Delivery> {
        if inner.is_full(self.bounds, delivery.message.weight()) {
            return Err(delivery);
        }
        push(inner, delivery);
        Ok(())
    }

    /// The share groups that gave it what waits.
    pub(in crate::broker) fn shares(&self) -> Vec<GroupId> {
        let inner = self.inner.lock();
        inner.queue.iter().filter_map(|one| one.share).collect()
    }

    /// Takes out messages of share groups that others can take.
    pub(in crate::broker) fn release_shared(
        &self,
        others: impl Fn(GroupId) -> bool,
    ) -> Vec<Delivery> {
        let mut released = Vec::new();
        self.inner.lock().retain(|queued| {
            let leaves = queued.share.is_some_and(&others);
            if leaves {
                released.push(queued.clone());
            }
            !leaves
        });
        released
    }

    /// Drops what its reader may not have, and gives back what of it is of share groups.
    pub(in crate::broker) fn drop_denied(&self) -> Vec<Delivery> {
        let reader = self.reader();
        let mut released = Vec::new();
        self.inner.lock().retain(|queued| {
            let leaves = reader.may_read(&queued.message.topic).is_err();
            if leaves && queued.share.is_some() {
                released.push(queued.clone());
            }
            !leaves
        });
        released
    }
}

fn push(mut inner: MutexGuard<'_, Inner>, delivery: Delivery) {
    let waker = inner.push(delivery);
    drop(inner);
    if let Some(waker) = waker {
        waker.wake();
    }
}
