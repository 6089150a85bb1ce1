//! The messages of one publisher, encoded once: a batch is a slice, however many messages it has.

use super::websocket;
use crate::mqtt::primitive::{put_packet, put_text, put_u16};
use crate::mqtt::{Qos, Version, packet_type::PacketType, publish::first_byte};

/// Frames of equal length, twice in a row so that every batch is contiguous.
#[derive(Debug)]
pub struct Ring {
    bytes: Vec<u8>,
    frame: usize,
    count: usize,
}

/// What the messages of a ring have in common.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Protocol version.
    pub version: Version,
    /// Quality of service.
    pub qos: u8,
    /// RETAIN.
    pub retain: bool,
    /// Bytes of payload.
    pub payload: usize,
    /// Each packet in a WebSocket frame of its own, as most clients send them.
    pub websocket: bool,
}

impl Ring {
    /// One frame per topic, in order; all topics have the same length. Packet identifiers count from 1, the payload
    /// starts with `index`.
    pub fn new(shape: Shape, index: u32, topics: impl Iterator<Item = String>) -> Self {
        let mut bytes = Vec::new();
        let mut count = 0;
        for topic in topics {
            count += 1;
            let packet = publish(shape, index, &topic, count as u16);
            if shape.websocket {
                websocket::put_frame(&mut bytes, &packet);
            } else {
                bytes.extend_from_slice(&packet);
            }
        }
        let frame = bytes.len() / count;
        debug_assert_eq!(frame * count, bytes.len(), "topics of equal length");
        bytes.extend_from_within(..);
        Ring {
            bytes,
            frame,
            count,
        }
    }

    /// `count` messages from the `from`th on; never more than there are.
    pub fn slice(&self, from: u64, count: usize) -> &[u8] {
        let first = (from % self.count as u64) as usize;
        &self.bytes[first * self.frame..(first + count.min(self.count)) * self.frame]
    }
}

/// One PUBLISH.
pub fn publish(shape: Shape, index: u32, topic: &str, id: u16) -> Vec<u8> {
    let qos = Qos::from_wire(shape.qos).unwrap_or_default();
    let mut packet = Vec::with_capacity(topic.len() + shape.payload + 12);
    put_packet(&mut packet, first_byte(false, qos, shape.retain), |out| {
        put_text(out, topic);
        if shape.qos > 0 {
            put_u16(out, id);
        }
        if shape.version.is_v5() {
            out.push(0); // no properties
        }
        let start = out.len();
        out.extend_from_slice(&index.to_be_bytes());
        out.resize(start + shape.payload, b'x');
    });
    packet
}

/// The answer of `kind` with `id`; short enough for every version.
pub fn put_answer(out: &mut Vec<u8>, kind: PacketType, id: [u8; 2]) {
    out.extend_from_slice(&[kind.first_byte(), 2, id[0], id[1]]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bench::frames::walk;

    const SHAPE: Shape = Shape {
        version: Version::V311,
        qos: 1,
        retain: false,
        payload: 8,
        websocket: false,
    };

    fn ids(bytes: &[u8]) -> Vec<[u8; 2]> {
        let mut ids = vec![];
        assert_eq!(walk(bytes, |frame| ids.push(frame.id())), Some(bytes.len()));
        ids
    }

    #[test]
    fn a_batch_goes_round_the_end_without_a_seam() {
        let ring = Ring::new(SHAPE, 0, (0..3).map(|n| format!("t/{n}")));
        assert_eq!(ids(ring.slice(0, 2)), [[0, 1], [0, 2]]);
        assert_eq!(ids(ring.slice(5, 3)), [[0, 3], [0, 1], [0, 2]]);
        assert_eq!(ids(ring.slice(2, 9)).len(), 3);
    }

    #[test]
    fn the_payload_starts_with_the_index_and_has_the_length_asked_for() {
        for payload in [0, 3, 4, 64] {
            let shape = Shape {
                payload,
                version: Version::V5,
                ..SHAPE
            };
            walk(&publish(shape, 7, "abc", 1), |frame| {
                assert_eq!(frame.body().len(), 2 + 3 + 2 + 1 + payload);
                if payload >= 4 {
                    assert_eq!(frame.payload(payload)[..4], [0, 0, 0, 7]);
                }
            });
        }
    }
}
