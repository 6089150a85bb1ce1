//! Walks over MQTT frames without decoding them: the generator must cost far less than the server it measures.

use crate::mqtt::primitive::parse_varint;

/// PUBLISH, PUBACK, PUBREC, PUBREL and PUBCOMP as the upper half of a first byte.
pub const PUBLISH: u8 = 3;
/// The answer to a QoS 1 message.
pub const PUBACK: u8 = 4;
/// QoS 2, part 1.
pub const PUBREC: u8 = 5;
/// QoS 2, part 2.
pub const PUBREL: u8 = 6;
/// QoS 2, part 3.
pub const PUBCOMP: u8 = 7;

/// One complete frame.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    first: u8,
    body: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The upper half of the first byte.
    pub fn kind(self) -> u8 {
        self.first >> 4
    }

    /// The quality of service of a PUBLISH.
    pub fn qos(self) -> u8 {
        self.first >> 1 & 3
    }

    /// Everything behind the fixed header.
    pub fn body(self) -> &'a [u8] {
        self.body
    }

    /// The topic of a PUBLISH; empty if there is none.
    pub fn topic(self) -> &'a [u8] {
        let end = self.topic_end();
        self.body.get(2..end).unwrap_or_default()
    }

    /// The two bytes of the packet identifier: behind the topic of a PUBLISH, in front of anything else.
    pub fn id(self) -> [u8; 2] {
        let at = if self.kind() == PUBLISH {
            self.topic_end()
        } else {
            0
        };
        match self.body.get(at..at + 2) {
            Some(id) => [id[0], id[1]],
            None => [0, 0],
        }
    }

    /// The last `count` bytes, which is how a payload of known length is found without reading what is before it.
    pub fn payload(self, count: usize) -> &'a [u8] {
        let from = self.body.len().saturating_sub(count);
        &self.body[from..]
    }

    fn topic_end(self) -> usize {
        match self.body {
            [high, low, ..] => 2 + usize::from(u16::from_be_bytes([*high, *low])),
            _ => 2,
        }
    }
}

/// Hands every complete frame to `each` and returns how many bytes they were; a started frame is left over.
///
/// `None`: a length was no length, the stream is lost.
pub fn walk<'a>(bytes: &'a [u8], mut each: impl FnMut(Frame<'a>)) -> Option<usize> {
    let mut at = 0;
    while let [first, rest @ ..] = &bytes[at..] {
        let Some((length, header)) = parse_varint(rest).ok()? else {
            break;
        };
        let Some(body) = rest.get(header..header + length as usize) else {
            break;
        };
        each(Frame {
            first: *first,
            body,
        });
        at += 1 + header + body.len();
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    const QOS_1: &[u8] = &[0x32, 8, 0, 1, b'a', 0x12, 0x34, 7, 8, 9];

    fn kinds(bytes: &[u8]) -> (Vec<u8>, Option<usize>) {
        let mut kinds = vec![];
        let consumed = walk(bytes, |frame| kinds.push(frame.kind()));
        (kinds, consumed)
    }

    #[test]
    fn complete_frames_are_walked_and_a_started_one_is_left() {
        let mut bytes = [QOS_1, &[0x40, 2, 0, 1], QOS_1].concat();
        assert_eq!(kinds(&bytes), (vec![PUBLISH, PUBACK, PUBLISH], Some(24)));
        bytes.pop();
        assert_eq!(kinds(&bytes), (vec![PUBLISH, PUBACK], Some(14)));
        assert_eq!(kinds(&bytes[..1]), (vec![], Some(0)));
        assert_eq!(kinds(&[]), (vec![], Some(0)));
    }

    #[test]
    fn a_length_of_five_bytes_is_the_end() {
        assert_eq!(kinds(&[0x30, 0xff, 0xff, 0xff, 0xff, 1]).1, None);
    }

    #[test]
    fn the_parts_of_a_publish_are_where_they_should_be() {
        walk(QOS_1, |frame| {
            assert_eq!((frame.qos(), frame.topic()), (1, &b"a"[..]));
            assert_eq!(frame.id(), [0x12, 0x34]);
            assert_eq!(frame.payload(3), [7, 8, 9]);
        });
        walk(&[0x40, 2, 5, 6], |frame| assert_eq!(frame.id(), [5, 6]));
        walk(&[0x30, 1, 9], |frame| {
            assert_eq!((frame.topic(), frame.id()), (&[][..], [0, 0]));
        });
    }
}
