//! A queue that grows block by block: what waits is never moved to make room for more, so that a receiver that does
//! not read costs the others little while its queue fills up. It has no bounds of its own.

use crate::message::Delivery;
use std::collections::VecDeque;

/// Messages in a block. Room for this many is kept when none waits; more is given back at once.
const BLOCK: usize = 64;

type Block = VecDeque<Delivery>;

/// Messages that wait, in order.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    /// The oldest. Empty only if nothing waits.
    first: Block,
    /// The rest; boxed, as most receivers never have one and each would carry the room for it.
    #[expect(clippy::box_collection)]
    rest: Option<Box<VecDeque<Block>>>,
    len: usize,
}

impl Backlog {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn push(&mut self, delivery: Delivery) {
        self.len += 1;
        if self.rest.is_none() && self.first.len() < BLOCK {
            return self.first.push_back(delivery);
        }
        let rest = self.rest.get_or_insert_default();
        match rest.back_mut() {
            Some(last) if last.len() < BLOCK => last.push_back(delivery),
            _ => {
                let mut block = Block::with_capacity(BLOCK);
                block.push_back(delivery);
                rest.push_back(block);
            }
        }
    }

    pub(super) fn front(&self) -> Option<&Delivery> {
        self.first.front()
    }

    pub(super) fn pop(&mut self) -> Option<Delivery> {
        let delivery = self.first.pop_front()?;
        self.len -= 1;
        if self.first.is_empty() {
            self.advance();
        }
        Some(delivery)
    }

    /// The next block comes to the front; without one, the empty one stays for what comes.
    fn advance(&mut self) {
        let Some(rest) = &mut self.rest else { return };
        if let Some(next) = rest.pop_front() {
            self.first = next;
        }
        if rest.is_empty() {
            self.rest = None;
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Delivery> {
        self.first
            .iter()
            .chain(self.rest.iter().flat_map(|rest| rest.iter().flatten()))
    }

    pub(super) fn retain(&mut self, mut keep: impl FnMut(&Delivery) -> bool) {
        self.first.retain(&mut keep);
        if let Some(rest) = &mut self.rest {
            rest.iter_mut().for_each(|block| block.retain(&mut keep));
            rest.retain(|block| !block.is_empty());
        }
        if self.first.is_empty() {
            self.advance();
        }
        if self.rest.as_ref().is_some_and(|rest| rest.is_empty()) {
            self.rest = None;
        }
        self.len = self.iter().count();
    }

    /// Gives back room that nothing needs.
    pub(super) fn shrink(&mut self) {
        if self.is_empty() {
            self.first = Block::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        message::{Message, Millis},
        mqtt::{Qos, payload::Payload, topic::TopicName},
    };
    use std::sync::Arc;

    fn delivery(number: usize) -> Delivery {
        let topic = TopicName::parse(&number.to_string()).unwrap();
        let (qos, payload) = (Qos::AtMostOnce, Payload::EMPTY);
        let message = Message::new(topic, payload, qos, false, None, None, Millis(0));
        Delivery {
            message: Arc::new(message),
            qos,
            retain: false,
            position: None,
            subscription_ids: None,
            share: None,
        }
    }

    fn number(delivery: &Delivery) -> usize {
        delivery.message.topic.parse().unwrap()
    }

    #[test]
    fn what_is_pushed_comes_out_in_order_however_pushes_and_pops_alternate() {
        for (pushes, pops) in [(1, 1), (3, 1), (BLOCK, 1), (BLOCK + 1, BLOCK), (500, 499)] {
            let (mut backlog, mut pushed, mut popped) = (Backlog::default(), 0, 0);
            for _ in 0..20 {
                for _ in 0..pushes {
                    backlog.push(delivery(pushed));
                    pushed += 1;
                }
                for _ in 0..pops {
                    assert_eq!(backlog.front().map(number), Some(popped));
                    assert_eq!(backlog.pop().as_ref().map(number), Some(popped));
                    popped += 1;
                }
                assert_eq!(backlog.len(), pushed - popped);
                assert!(backlog.iter().map(number).eq(popped..pushed));
            }
            while backlog.pop().is_some() {
                popped += 1;
            }
            assert_eq!((popped, backlog.len()), (pushed, 0));
            assert!(backlog.rest.is_none());
        }
    }

    #[test]
    fn what_is_kept_stays_in_order_whichever_blocks_become_empty() {
        let kept: [&dyn Fn(usize) -> bool; 5] = [
            &|_| true,
            &|_| false,
            &|n| n >= BLOCK,
            &|n| n < BLOCK,
            &|n| n % 100 == 3,
        ];
        for keep in kept {
            let mut backlog = Backlog::default();
            (0..4 * BLOCK).for_each(|n| backlog.push(delivery(n)));
            backlog.retain(|delivery| keep(number(delivery)));
            backlog.push(delivery(1000));
            let expected: Vec<_> = (0..4 * BLOCK).filter(|n| keep(*n)).chain([1000]).collect();
            assert_eq!(backlog.len(), expected.len());
            let out: Vec<_> = std::iter::from_fn(|| backlog.pop()).collect();
            assert_eq!(out.iter().map(number).collect::<Vec<_>>(), expected);
        }
    }
}
