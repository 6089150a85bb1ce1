//! Bytes that wait for a socket. Small packets are joined, large payloads stay shared.

use super::{PacketId, publish::PublishHead};
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
    pub fn put_payload(&mut self, payload: &Bytes) {
        if payload.len() < SHARED {
            return self.put(payload);
        }
        self.shared_bytes += payload.len();
        self.shared.push_back(Shared {
            place: self.removed + self.joined.len(),
            payload: payload.clone(),
        });
    }

    /// Appends the front of a PUBLISH with what is this receiver's own in it.
    pub fn put_head(&mut self, head: &PublishHead, first_byte: u8, id: Option<PacketId>) {
        let start = self.joined.len();
        self.joined.extend_from_slice(&head.bytes);
        if let Some(first) = self.joined.get_mut(start) {
            *first = first_byte;
        }
        if let (Some(at), Some(id)) = (head.id_at, id) {
            self.joined[start + at..start + at + 2].copy_from_slice(&id.get().to_be_bytes());
        }
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

    /// Gives all memory back if nothing waits: for connections that fall idle.
    pub fn release(&mut self) {
        if self.is_empty() {
            *self = WriteQueue::default();
        }
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
    use crate::mqtt::{
        Version,
        publish::{HeadParts, first_byte},
    };

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
                let large = Bytes::from(vec![round; 1024 + usize::from(round)]);
                queue.put(&[round, 1]);
                queue.put_payload(&large);
                queue.put_payload(&large);
                queue.put_payload(&Bytes::from_static(b"small"));
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
        queue.put_payload(&large);
        queue.put_payload(&small);
        assert!(!large.is_unique() && small.is_unique());
        queue.advance(1024);
        assert!(large.is_unique());
        assert_eq!(queue.len(), 1023);
    }

    #[test]
    fn a_drained_queue_keeps_little_and_a_released_one_nothing() {
        let mut queue = WriteQueue::default();
        queue.put(&[0; 100_000]);
        queue.advance(100_000);
        assert_eq!((queue.joined.capacity(), queue.len()), (0, 0));
        queue.put(&[0; 100]);
        queue.advance(100);
        assert!(queue.joined.capacity() >= 100);
        queue.release();
        assert_eq!(queue.joined.capacity(), 0);
    }

    #[test]
    fn a_backlog_that_never_drains_does_not_grow() {
        let mut queue = WriteQueue::default();
        queue.put(&[0; 1000]);
        for _ in 0..1000 {
            queue.put(&[0; 1000]);
            queue.put_payload(&Bytes::from(vec![0; 2000]));
            queue.advance(3000);
        }
        assert_eq!(queue.len(), 1000);
        assert!(queue.joined.capacity() < 100_000);
    }

    #[test]
    fn a_head_gets_its_own_flags_and_identifier() {
        let head = HeadParts {
            version: Version::V311,
            topic: "t",
            alias: None,
            with_id: true,
            properties: None,
            expiry: None,
            subscription_ids: &[],
            payload_len: 1,
        }
        .encode();
        let mut queue = WriteQueue::default();
        queue.put(&[0xD0, 0]);
        queue.put_head(
            &head,
            first_byte(true, crate::mqtt::Qos::AtLeastOnce, false),
            PacketId::new(0x102),
        );
        queue.put_payload(&Bytes::from_static(b"p"));
        assert_eq!(
            drained(&mut queue, 100),
            [0xD0, 0, 0x3A, 6, 0, 1, b't', 1, 2, b'p']
        );
    }
}
