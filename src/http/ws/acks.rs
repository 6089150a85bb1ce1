//! Answers to `pub` that wait until everything that must survive is durable. In the order of the questions; later
//! messages are published meanwhile.

use super::frames::Ref;
use crate::{
    message::Position,
    store::{
        frame::Lsn,
        watermark::{StorageFailed, Watermark},
    },
};
use std::{
    collections::VecDeque,
    task::{Context, Poll, ready},
};

/// A message that was published and whose publisher does not know yet.
#[derive(Debug)]
pub struct Ack {
    /// What to call the answer.
    pub to: Ref,
    /// Where it was recorded.
    pub cursor: Option<Position>,
    /// What must be durable first.
    pub until: Option<Lsn>,
}

/// All that one client waits for.
#[derive(Debug)]
pub struct Acks {
    waiting: VecDeque<Ack>,
    /// Who waits, for the watermark.
    waiter: u64,
}

impl Acks {
    /// Nothing yet; `waiter` is a name that the watermark gave.
    pub fn new(waiter: u64) -> Self {
        Acks {
            waiting: VecDeque::new(),
            waiter,
        }
    }

    /// How many answers are owed.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// One more.
    pub fn push(&mut self, ack: Ack) {
        self.waiting.push_back(ack);
    }

    /// The oldest, as soon as its time has come.
    pub fn poll(
        &mut self,
        watermark: &Watermark,
        cx: &mut Context<'_>,
    ) -> Poll<(Ack, Result<(), StorageFailed>)> {
        let Some(oldest) = self.waiting.front() else {
            return Poll::Pending;
        };
        let reached = match oldest.until {
            None => Ok(()),
            Some(lsn) => ready!(watermark.poll_reached(lsn, self.waiter, cx)),
        };
        match self.waiting.pop_front() {
            Some(ack) => Poll::Ready((ack, reached)),
            None => Poll::Pending,
        }
    }

    /// Ready when the store has written something more.
    pub fn poll_progress(&self, watermark: &Watermark, cx: &mut Context<'_>) -> Poll<()> {
        let next = Lsn(watermark.durable().0 + 1);
        watermark.poll_reached(next, self.waiter, cx).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::task::noop_waker;

    fn ack(offset: u64, until: Option<u64>) -> Ack {
        Ack {
            to: Ref::default(),
            cursor: Some(Position {
                epoch: crate::message::Epoch(*b"k7q2m9xa"),
                offset,
            }),
            until: until.map(Lsn),
        }
    }

    #[test]
    fn answers_keep_the_order_of_the_questions() {
        let watermark = Watermark::new(Lsn(5));
        let waker = noop_waker();
        let mut cx = Context::from_waker(&waker);
        let mut acks = Acks::new(watermark.waiter());
        for (offset, until) in [(1, Some(5)), (2, Some(6)), (3, None)] {
            acks.push(ack(offset, until));
        }
        let mut next = |acks: &mut Acks| match acks.poll(&watermark, &mut cx) {
            Poll::Ready((ack, reached)) => Some((ack.cursor.unwrap().offset, reached.is_ok())),
            Poll::Pending => None,
        };
        assert_eq!(next(&mut acks), Some((1, true)));
        assert_eq!(next(&mut acks), None, "the second is not durable");
        watermark.advance(Lsn(6));
        assert_eq!(next(&mut acks), Some((2, true)));
        assert_eq!(next(&mut acks), Some((3, true)));
        assert_eq!((next(&mut acks), acks.len()), (None, 0));
    }
}
