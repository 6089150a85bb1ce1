//! How many messages are under way, so that a publisher never fills queues: what is measured is the path of a message,
//! not the depth of a buffer.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use tokio::sync::Notify;

/// The counters of one publisher and all its receivers.
#[derive(Debug)]
pub struct Flow {
    receivers: u64,
    sent: AtomicU64,
    received: AtomicU64,
    /// Tells the publisher that it may send again.
    pub wake: Notify,
}

impl Flow {
    /// Nothing under way; each message will come out `receivers` times.
    pub fn new(receivers: usize) -> Self {
        Flow {
            receivers: receivers as u64,
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            wake: Notify::new(),
        }
    }

    /// Messages sent.
    pub fn sent(&self) -> u64 {
        self.sent.load(Relaxed)
    }

    /// Deliveries that were expected of what was sent.
    pub fn expected(&self) -> u64 {
        self.sent() * self.receivers
    }

    /// Deliveries that came.
    pub fn received(&self) -> u64 {
        self.received.load(Relaxed)
    }

    /// Messages that were sent and have not reached every receiver.
    pub fn under_way(&self) -> u64 {
        self.sent().saturating_sub(self.received() / self.receivers)
    }

    /// `count` messages are about to be written.
    pub fn send(&self, count: u64) {
        self.sent.fetch_add(count, Relaxed);
    }

    /// `count` deliveries came; wakes the publisher if a message has reached all its receivers by them.
    pub fn receive(&self, count: u64) {
        let before = self.received.fetch_add(count, Relaxed);
        if before / self.receivers != (before + count) / self.receivers {
            self.wake.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_under_way_until_its_last_receiver_has_it() {
        let flow = Flow::new(3);
        flow.send(1);
        flow.receive(2);
        assert_eq!(flow.under_way(), 1);
        flow.receive(1);
        assert_eq!(
            (flow.under_way(), flow.expected(), flow.received()),
            (0, 3, 3)
        );
    }
}
