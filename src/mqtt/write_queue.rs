//! Bytes that wait for a socket. Small packets are joined, large payloads stay shared.

use super::payload::Payload;
use bytes::Bytes;
use std::{collections::VecDeque, io::IoSlice};

/// A payload of at least this many bytes is not copied.
const SHARED: usize = 1024;

/// Most bytes of an emptied buffer that are kept for the next packets.
const KEPT: usize = 16 * 1024;

/// What a connection has to send, in order, as slices for a vectored write.
///
/// Everything small stands in one buffer; a shared payload remembers which byte of that buffer it goes in front of.
#[derive(Debug, Default)]
pub struct WriteQueue {
    joined: Vec<u8>,
    /// How many bytes of `joined` are written.
    written: usize,
    /// How many bytes have left the front of `joined` since it was last empty: places count from there.
    removed: usize,
    shared: VecDeque<Shared>,
    /// Bytes in `shared` that are not written.
    shared_bytes: usize,
    /// Packets appended since they were last counted.
    packets: u32,
}

#[derive(Debug)]
struct Shared {
    /// The place in the joined bytes that it goes in front of.
    place: usize,
    /// What is not written of it.
    payload: Bytes,
}

impl WriteQueue {
    /// How many bytes wait.
    pub fn len(&self) -> usize {
        self.joined.len() - self.written + self.shared_bytes
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where encoders append; whatever is in it already must stay.
    pub fn tail(&mut self) -> &mut Vec<u8> {
        &mut self.joined
    }

    /// Appends a copy of `bytes`.
    pub fn put(&mut self, bytes: &[u8]) {
        self.joined.extend_from_slice(bytes);
    }

    /// Appends a payload: a copy of a small one, a large one itself.
    pub fn put_payload(&mut self, payload: &Payload) {
        if payload.len() < SHARED {
            return self.put(payload);
        }
        self.shared_bytes += payload.len();
        self.shared.push_back(Shared {
            place: self.removed + self.joined.len(),
            payload: payload.to_bytes(),
        });
    }

    /// Fills `slices` from the front of the queue; says how many were used.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut used = 0;
        let mut from = self.written;
        for shared in &self.shared {
            let to = shared.place - self.removed;
            for part in [&self.joined[from..to], &shared.payload] {
                if !part.is_empty() {
                    let Some(slice) = slices.get_mut(used) else {
                        return used;
                    };
                    *slice = IoSlice::new(part);
                    used += 1;
                }
            }
            from = to;
        }
        if let (false, Some(slice)) = (from == self.joined.len(), slices.get_mut(used)) {
            *slice = IoSlice::new(&self.joined[from..]);
            used += 1;
        }
        used
    }

    /// Removes the first `count` bytes: those that are written.
    pub fn advance(&mut self, mut count: usize) {
        while count > 0 {
            let end = self
                .shared
                .front()
                .map_or(self.joined.len(), |shared| shared.place - self.removed);
            let step = count.min(end - self.written);
            self.written += step;
            count -= step;
            let Some(shared) = self.shared.front_mut() else {
                break;
            };
            let step = count.min(shared.payload.len());
            bytes::Buf::advance(&mut shared.payload, step);
            self.shared_bytes -= step;
            count -= step;
            if count > 0 || (step > 0 && shared.payload.is_empty()) {
                self.shared.pop_front();
            }
        }
        self.tidy();
    }

    /// Whether it owns a buffer.
    pub fn has_buffer(&self) -> bool {
        self.joined.capacity() > 0
    }

    /// Uses `buffer`, which is empty, for what comes; only while the queue owns none.
    pub fn lend(&mut self, buffer: Vec<u8>) {
        debug_assert!(buffer.is_empty() && self.joined.is_empty());
        self.joined = buffer;
    }

    /// Gives the buffer back if nothing waits, so that a connection that falls idle owns none.
    pub fn reclaim(&mut self) -> Option<Vec<u8>> {
        if !self.is_empty() || self.joined.capacity() == 0 {
            return None;
        }
        self.shared = VecDeque::new();
        Some(std::mem::take(&mut self.joined))
    }

    /// Notes that one more packet was appended.
    pub fn count_packet(&mut self) {
        self.packets += 1;
    }

    /// How many packets were noted since this was last asked.
    pub fn take_packets(&mut self) -> u32 {
        std::mem::take(&mut self.packets)
    }

    /// Lets go of what is written.
    fn tidy(&mut self) {
        if self.is_empty() {
            self.joined.clear();
            self.shared.clear();
            (self.written, self.removed) = (0, 0);
            if self.joined.capacity() > KEPT {
                self.joined = Vec::new();
            }
            if self.shared.capacity() * size_of::<Shared>() > KEPT {
                self.shared = VecDeque::new();
            }
        } else if self.written >= KEPT && self.written >= self.joined.len() / 2 {
            // a backlog that never drains: less moves than was written
            self.joined.drain(..self.written);
            self.removed += self.written;
            self.written = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drained(queue: &mut WriteQueue, step: usize) -> Vec<u8> {
        let mut out = Vec::new();
        while !queue.is_empty() {
            let before = queue.len();
            let mut slices = [IoSlice::new(&[]); 3];
            let used = queue.slices(&mut slices);
            let front: Vec<u8> = slices[..used]
                .iter()
                .flat_map(|slice| slice.to_vec())
                .take(step)
                .collect();
            assert!(!front.is_empty());
            out.extend_from_slice(&front);
            queue.advance(front.len());
            assert_eq!(queue.len(), before - front.len());
        }
        out
    }

    #[test]
    fn bytes_come_out_in_order_however_they_are_taken() {
        for step in [1, 7, 1000, 1024, 5000, usize::MAX] {
            let (mut queue, mut expected) = (WriteQueue::default(), Vec::new());
            for round in 0..20u8 {
                let large = Payload::from(vec![round; 1024 + usize::from(round)]);
                queue.put(&[round, 1]);
                queue.put_payload(&large);
                queue.put_payload(&large);
                queue.put_payload(&b"small".into());
                queue.tail().extend_from_slice(&[round, 2]);
                expected.extend_from_slice(
                    &[&[round, 1], &large[..], &large, b"small", &[round, 2]].concat(),
                );
            }
            assert_eq!(queue.len(), expected.len());
            assert_eq!(drained(&mut queue, step), expected);
        }
    }

    #[test]
    fn large_payloads_are_shared_and_small_ones_copied() {
        let (large, small) = (Bytes::from(vec![1; 1024]), Bytes::from(vec![2; 1023]));
        let mut queue = WriteQueue::default();
        queue.put_payload(&large.clone().into());
        queue.put_payload(&small.clone().into());
        assert!(!large.is_unique() && small.is_unique());
        queue.advance(1024);
        assert!(large.is_unique());
        assert_eq!(queue.len(), 1023);
    }

    #[test]
    fn a_drained_queue_keeps_little_and_gives_back_what_it_was_lent() {
        let mut queue = WriteQueue::default();
        queue.put(&[0; 100_000]);
        queue.advance(100_000);
        assert_eq!((queue.joined.capacity(), queue.len()), (0, 0));
        queue.put(&[0; 100]);
        queue.advance(100);
        assert!(queue.joined.capacity() >= 100);
        assert!(queue.reclaim().is_some_and(|buffer| buffer.is_empty()));
        assert_eq!(queue.joined.capacity(), 0);
        queue.lend(Vec::with_capacity(50));
        assert_eq!((queue.len(), queue.joined.capacity()), (0, 50));
        queue.put(&[1]);
        assert_eq!(queue.reclaim(), None);
    }

    #[test]
    fn a_backlog_that_never_drains_does_not_grow() {
        let mut queue = WriteQueue::default();
        queue.put(&[0; 1000]);
        for _ in 0..1000 {
            queue.put(&[0; 1000]);
            queue.put_payload(&vec![0; 2000].into());
            queue.advance(3000);
        }
        assert_eq!(queue.len(), 1000);
        assert!(queue.joined.capacity() < 100_000);
    }
}
