//! Up to which record everything is durable, and who waits for how much.
//!
//! One atomic that everybody may look at, and waiters in the order of what they wait for: a sync wakes those it serves
//! and nobody else.

use super::frame::Lsn;
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    future::poll_fn,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    task::{Context, Poll, Waker},
};

/// The disk failed. What waited is in an unknown state, and nothing is acknowledged until the gateway is started anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the storage has failed")]
pub struct StorageFailed;

/// The durable end of the log.
#[derive(Debug, Default)]
pub struct Watermark {
    durable: AtomicU64,
    failed: AtomicBool,
    /// By what they wait for, and who they are: whoever asks again replaces his former self.
    waiters: Mutex<BTreeMap<(Lsn, u64), Waker>>,
    next: AtomicU64,
}

impl Watermark {
    /// Everything up to `durable` is.
    pub fn new(durable: Lsn) -> Self {
        Watermark {
            durable: AtomicU64::new(durable.0),
            ..Default::default()
        }
    }

    /// The newest durable record.
    #[inline]
    pub fn durable(&self) -> Lsn {
        Lsn(self.durable.load(Ordering::Acquire))
    }

    /// Whether the disk has failed.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// A name for somebody who waits and has no other. Receivers are known by their keys, which begin at 1.
    pub fn waiter(&self) -> u64 {
        u64::MAX - self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Ready when `lsn` is durable, or never will be.
    pub fn poll_reached(
        &self,
        lsn: Lsn,
        waiter: u64,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), StorageFailed>> {
        if let Some(answer) = self.answer(lsn) {
            return Poll::Ready(answer);
        }
        let mut waiters = self.waiters.lock();
        // again, under the lock that whoever moves the mark takes afterwards
        if let Some(answer) = self.answer(lsn) {
            return Poll::Ready(answer);
        }
        waiters.insert((lsn, waiter), cx.waker().clone());
        Poll::Pending
    }

    fn answer(&self, lsn: Lsn) -> Option<Result<(), StorageFailed>> {
        if self.durable() >= lsn {
            return Some(Ok(()));
        }
        self.has_failed().then_some(Err(StorageFailed))
    }

    /// Returns when `lsn` is durable, or never will be.
    pub async fn reached(&self, lsn: Lsn) -> Result<(), StorageFailed> {
        let waiter = self.waiter();
        poll_fn(|cx| self.poll_reached(lsn, waiter, cx)).await
    }

    /// Everything up to `lsn` is durable now.
    pub fn advance(&self, lsn: Lsn) {
        self.durable.fetch_max(lsn.0, Ordering::Release);
        let reached = {
            let mut waiters = self.waiters.lock();
            let later = waiters.split_off(&(Lsn(lsn.0 + 1), 0));
            std::mem::replace(&mut *waiters, later)
        };
        reached.into_values().for_each(Waker::wake);
    }

    /// Nothing more will be durable.
    pub fn fail(&self) {
        self.failed.store(true, Ordering::Release);
        let all = std::mem::take(&mut *self.waiters.lock());
        all.into_values().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::task::noop_waker;

    fn poll(mark: &Watermark, lsn: u64, waiter: u64) -> Poll<Result<(), StorageFailed>> {
        mark.poll_reached(Lsn(lsn), waiter, &mut Context::from_waker(&noop_waker()))
    }

    #[test]
    fn a_waiter_is_served_by_the_sync_that_reaches_it_and_not_before() {
        let mark = Watermark::new(Lsn(5));
        assert_eq!(poll(&mark, 5, 1), Poll::Ready(Ok(())));
        assert_eq!(poll(&mark, 7, 1), Poll::Pending);
        assert_eq!(poll(&mark, 9, 2), Poll::Pending);
        mark.advance(Lsn(7));
        assert_eq!(mark.waiters.lock().len(), 1);
        assert_eq!(poll(&mark, 7, 1), Poll::Ready(Ok(())));
        assert_eq!(poll(&mark, 9, 2), Poll::Pending);
    }

    #[test]
    fn after_a_failure_what_is_durable_stays_so_and_nothing_else_becomes_it() {
        let mark = Watermark::new(Lsn(0));
        mark.advance(Lsn(3));
        assert_eq!(poll(&mark, 4, 1), Poll::Pending);
        mark.fail();
        assert_eq!(poll(&mark, 4, 1), Poll::Ready(Err(StorageFailed)));
        assert_eq!(poll(&mark, 3, 1), Poll::Ready(Ok(())));
        assert!(mark.waiters.lock().is_empty());
    }
}
