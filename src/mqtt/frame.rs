//! The fixed header, and the incremental decoder: feed bytes, take packets.

use super::{
    Packet, Version,
    ack::Ack,
    auth::Auth,
    connack::ConnAck,
    connect::Connect,
    disconnect::Disconnect,
    error::{DecodeError, Malformed, ProtocolFault},
    packet_type::PacketType,
    payload::Payload,
    primitive::{Reader, parse_varint},
    property::MAX_USER_PROPERTIES,
    publish::Publish,
    subscribe::{SubAck, Subscribe, Unsubscribe},
    topic::TopicName,
};
use bytes::Bytes;

/// A payload of at least this many bytes is shared with the buffer its frame was assembled in.
const SHARED_PAYLOAD: usize = 4096;

/// Who sent the bytes that are decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// A client; we are the server.
    Client,
    /// A server; we are the client, or a test.
    Server,
}

/// Whether packets are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gate {
    /// As they come.
    Open,
    /// One, then no more: a CONNECT, or one step of an authentication before its answer is decided.
    One,
    /// None: what comes is kept unread.
    Shut,
}

/// Turns the bytes of one connection into packets, however they are split.
///
/// Whole frames are decoded where they arrive; only the unfinished one is kept, in a buffer that grows with what has
/// arrived and never with what a header promises. A decoder that is between packets owns no buffer.
///
/// After an error the stream has lost its frame: the decoder must not be fed again.
#[derive(Debug)]
pub struct Decoder {
    from: Peer,
    version: Option<Version>,
    /// Most bytes of one packet, fixed header included.
    limit: usize,
    /// Most User Properties of one packet or will.
    user_properties: usize,
    gate: Gate,
    /// The unfinished frame; while the gate is shut, everything behind the packet that shut it.
    buffer: Vec<u8>,
    /// Bytes of the packets that the gate let through one by one.
    admitted: u32,
    last_topic: Option<TopicName>,
}

impl Decoder {
    /// A decoder of a new connection: the first packet must be CONNECT [MQTT-3.1.0-1] and have at most `limit` bytes.
    pub fn new(from: Peer, limit: usize) -> Self {
        Decoder {
            from,
            version: None,
            limit,
            user_properties: MAX_USER_PROPERTIES,
            gate: Gate::One,
            buffer: Vec::new(),
            admitted: 0,
            last_topic: None,
        }
    }

    /// A decoder of a connection whose version is known already: a client's, or a test's. It never waits for
    /// [`accept`](Self::accept).
    pub fn with_version(from: Peer, version: Version, limit: usize) -> Self {
        Decoder {
            version: Some(version),
            gate: Gate::Open,
            ..Decoder::new(from, limit)
        }
    }

    /// Goes on behind CONNECT, with packets of at most `limit` bytes. What was kept comes out of the next
    /// [`feed`](Self::feed), which may be given nothing.
    pub fn accept(&mut self, limit: usize) {
        self.limit = limit;
        self.gate = Gate::Open;
    }

    /// Takes one packet behind CONNECT although that is not answered yet, for an authentication that needs more than
    /// CONNECT [MQTT-3.1.4-6]. What was kept comes out of the next [`feed`](Self::feed), which may be given nothing.
    pub fn admit_one(&mut self) {
        self.gate = Gate::One;
    }

    /// From now on a packet or will with more User Properties is refused.
    pub fn limit_user_properties(&mut self, most: usize) {
        self.user_properties = most;
    }

    /// Takes `bytes` and appends the packets that are complete now. Packets in front of an error are among them.
    pub fn feed(&mut self, bytes: &[u8], packets: &mut Vec<Packet>) -> Result<(), DecodeError> {
        if self.gate == Gate::Shut || self.buffer.is_empty() {
            return self.decode_all(bytes, packets);
        }
        // either one unfinished frame, or what came behind CONNECT
        let kept = std::mem::take(&mut self.buffer);
        let unfinished = match self.header(&kept)? {
            None => true,
            Some(header) => header.total > kept.len(),
        };
        if unfinished {
            self.buffer = kept;
        } else {
            self.decode_all(&kept, packets)?;
        }
        self.decode_all(bytes, packets)
    }

    /// The version of the connection, as soon as its CONNECT has named it; also if that CONNECT was wrong otherwise.
    pub fn version(&self) -> Option<Version> {
        self.version
    }

    /// How many bytes are kept: those of an unfinished packet, and all behind CONNECT until it is accepted.
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// How many bytes the client made the gateway keep before CONNECT was accepted: what is [`buffered`](Self::buffered),
    /// CONNECT itself and what else was let through, which somebody still holds.
    pub fn unaccepted(&self) -> usize {
        self.buffered() + self.admitted as usize
    }

    fn decode_all(
        &mut self,
        mut bytes: &[u8],
        packets: &mut Vec<Packet>,
    ) -> Result<(), DecodeError> {
        while !bytes.is_empty() {
            if self.gate == Gate::Shut {
                self.buffer.extend_from_slice(bytes);
                return Ok(());
            }
            if !self.buffer.is_empty() {
                bytes = self.assemble(bytes, packets)?;
                continue;
            }
            match self.header(bytes)? {
                Some(header) if header.total <= bytes.len() => {
                    let (frame, rest) = bytes.split_at(header.total);
                    bytes = rest;
                    let body = &frame[header.length..];
                    // a copy, so that a small message does not hold on to a big read
                    packets.push(self.decode(&header, body, Payload::copy_from_slice)?);
                }
                _ => {
                    self.buffer = bytes.to_vec();
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Moves bytes to the unfinished frame and decodes it once it is whole; returns the bytes behind it.
    fn assemble<'a>(
        &mut self,
        bytes: &'a [u8],
        packets: &mut Vec<Packet>,
    ) -> Result<&'a [u8], DecodeError> {
        let Some(header) = self.header(&self.buffer)? else {
            let (next, rest) = bytes.split_at(1); // not empty, see decode_all
            self.buffer.extend_from_slice(next);
            return self.finish(rest, packets);
        };
        let missing = header.total - self.buffer.len();
        let (next, rest) = bytes.split_at(missing.min(bytes.len()));
        // twice the size if it must grow, so that no byte moves often, but never beyond the frame
        let needed = self.buffer.len() + next.len();
        if needed > self.buffer.capacity() {
            let capacity = needed.max(2 * self.buffer.capacity()).min(header.total);
            self.buffer.reserve_exact(capacity - self.buffer.len());
        }
        self.buffer.extend_from_slice(next);
        self.finish(rest, packets)
    }

    /// Decodes the buffered frame if it is whole; passes `rest` through.
    fn finish<'a>(
        &mut self,
        rest: &'a [u8],
        packets: &mut Vec<Packet>,
    ) -> Result<&'a [u8], DecodeError> {
        if let Some(header) = self
            .header(&self.buffer)?
            .filter(|header| header.total == self.buffer.len())
        {
            let frame = std::mem::take(&mut self.buffer);
            let packet = if header.kind == PacketType::Publish && frame.len() >= SHARED_PAYLOAD {
                let frame = Bytes::from(frame);
                self.decode(&header, &frame[header.length..], |payload| {
                    if payload.len() >= SHARED_PAYLOAD {
                        frame.slice_ref(payload).into()
                    } else {
                        Payload::copy_from_slice(payload)
                    }
                })
            } else {
                self.decode(&header, &frame[header.length..], Payload::copy_from_slice)
            };
            packets.push(packet?);
        }
        Ok(rest)
    }

    /// The fixed header in front of `bytes`, with everything checked that it alone can tell; `None` if it goes on.
    fn header(&self, bytes: &[u8]) -> Result<Option<Header>, DecodeError> {
        let Some((&first, rest)) = bytes.split_first() else {
            return Ok(None);
        };
        let kind = PacketType::from_wire(first >> 4).ok_or(Malformed::ReservedPacketType)?;
        match self.version {
            None if kind != PacketType::Connect => return Err(ProtocolFault::NotConnect.into()), // [MQTT-3.1.0-1]
            None => kind.check_flags(first, Version::V311)?,
            Some(version) => {
                if kind == PacketType::Auth && !version.is_v5() {
                    return Err(Malformed::ReservedPacketType.into());
                }
                if !kind.is_sent_by(self.from, version) {
                    return Err(ProtocolFault::WrongDirection.into());
                }
                kind.check_flags(first, version)?;
            }
        }
        let Some((remaining, digits)) = parse_varint(rest)? else {
            return Ok(None);
        };
        let length = 1 + digits;
        let total = length + remaining as usize;
        if total > self.limit {
            return Err(DecodeError::TooLarge {
                size: total,
                limit: self.limit,
            });
        }
        Ok(Some(Header {
            kind,
            first,
            length,
            total,
        }))
    }

    fn decode(
        &mut self,
        header: &Header,
        body: &[u8],
        payload: impl FnOnce(&[u8]) -> Payload,
    ) -> Result<Packet, DecodeError> {
        let (kind, from) = (header.kind, self.from);
        let version = match self.version {
            Some(version) => version,
            None => {
                let (version, _) = Connect::read_version(&mut Reader::new(body))?;
                self.version = Some(version);
                version
            }
        };
        let packet = match kind {
            PacketType::Publish => {
                let flags = header.first & 0x0F;
                Packet::Publish(Publish::decode(
                    flags,
                    body,
                    version,
                    from,
                    &mut self.last_topic,
                    payload,
                )?)
            }
            PacketType::PubAck => Packet::PubAck(Ack::decode(kind, body, version)?),
            PacketType::PubRec => Packet::PubRec(Ack::decode(kind, body, version)?),
            PacketType::PubRel => Packet::PubRel(Ack::decode(kind, body, version)?),
            PacketType::PubComp => Packet::PubComp(Ack::decode(kind, body, version)?),
            PacketType::PingReq => empty(body, Packet::PingReq)?,
            PacketType::PingResp => empty(body, Packet::PingResp)?,
            PacketType::Subscribe => Packet::Subscribe(Box::new(Subscribe::decode(body, version)?)),
            PacketType::SubAck => Packet::SubAck(Box::new(SubAck::decode(kind, body, version)?)),
            PacketType::Unsubscribe => {
                Packet::Unsubscribe(Box::new(Unsubscribe::decode(body, version)?))
            }
            PacketType::UnsubAck => {
                Packet::UnsubAck(Box::new(SubAck::decode(kind, body, version)?))
            }
            PacketType::Connect => Packet::Connect(Box::new(Connect::decode(body)?)),
            PacketType::ConnAck => Packet::ConnAck(Box::new(ConnAck::decode(body, version)?)),
            PacketType::Disconnect => {
                Packet::Disconnect(Box::new(Disconnect::decode(body, version, from)?))
            }
            PacketType::Auth => Packet::Auth(Box::new(Auth::decode(body, from)?)),
        };
        if packet.user_properties() > self.user_properties {
            return Err(DecodeError::TooManyUserProperties);
        }
        if self.gate == Gate::One {
            self.gate = Gate::Shut;
            self.admitted = self.admitted.saturating_add(header.total as u32);
        }
        Ok(packet)
    }
}

/// A fixed header that is accepted.
struct Header {
    kind: PacketType,
    first: u8,
    /// Bytes of the header itself.
    length: usize,
    /// Bytes of the whole packet.
    total: usize,
}

fn empty(body: &[u8], packet: Packet) -> Result<Packet, DecodeError> {
    if body.is_empty() {
        Ok(packet)
    } else {
        Err(Malformed::TrailingBytes.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::reason::ReasonCode;

    const CONNECT: &[u8] = b"\x10\x0D\0\x04MQTT\x04\x02\0\x0A\0\x01c";
    const PING: &[u8] = &[0xC0, 0];

    fn server() -> Decoder {
        Decoder::with_version(Peer::Client, Version::V311, 1 << 20)
    }

    #[test]
    fn the_rest_is_kept_behind_connect_until_it_is_accepted() {
        let (mut decoder, mut packets) = (Decoder::new(Peer::Client, 100), Vec::new());
        decoder
            .feed(&[CONNECT, PING].concat(), &mut packets)
            .unwrap();
        assert_eq!(
            (packets.len(), decoder.buffered(), decoder.version()),
            (1, 2, Some(Version::V311))
        );
        let big = [&[0x30, 0xC8, 1, 0, 1, b't'][..], &[b'x'; 197]].concat();
        decoder.feed(&big, &mut packets).unwrap();
        decoder.feed(PING, &mut packets).unwrap();
        assert_eq!(packets.len(), 1);
        decoder.accept(1000);
        decoder.feed(&[], &mut packets).unwrap();
        assert_eq!((packets.len(), decoder.buffered()), (4, 0));
        assert!(matches!(packets[3], Packet::PingReq));
    }

    #[test]
    fn mqtt_3_1_4_6_one_packet_may_pass_before_connect_is_answered() {
        const AUTH: &[u8] = &[0xF0, 6, 0x18, 4, 0x15, 0, 1, b'm'];
        let connect = [b"\x10\x0E\0\x04MQTT\x05\x02\0\x0A\0", &[0, 1, b'c'][..]].concat();
        for split in [1, 3, AUTH.len()] {
            let (mut decoder, mut packets) = (Decoder::new(Peer::Client, 100), Vec::new());
            let bytes = [&connect[..], AUTH, AUTH, PING].concat();
            let (now, later) = bytes.split_at(connect.len() + split);
            decoder.feed(now, &mut packets).unwrap();
            assert_eq!(packets.len(), 1);
            decoder.admit_one();
            decoder.feed(later, &mut packets).unwrap();
            assert!(matches!(packets[..], [_, Packet::Auth(_)]));
            decoder.admit_one();
            decoder.feed(&[], &mut packets).unwrap();
            assert_eq!((packets.len(), decoder.buffered()), (3, PING.len()));
            decoder.accept(100);
            decoder.feed(&[], &mut packets).unwrap();
            assert!(matches!(packets[3], Packet::PingReq));
        }
    }

    #[test]
    fn user_properties_are_limited_in_every_packet() {
        let subscribe = [
            &[0x82, 21, 0, 1, 14][..],
            &[0x26, 0, 1, b'a', 0, 1, b'b'].repeat(2),
            &[0, 1, b't', 0],
        ]
        .concat();
        for (most, taken) in [(2, true), (1, false)] {
            let mut decoder = Decoder::with_version(Peer::Client, Version::V5, 100);
            decoder.limit_user_properties(most);
            let read = decoder.feed(&subscribe, &mut Vec::new());
            let expected = match taken {
                true => Ok(()),
                false => Err(DecodeError::TooManyUserProperties),
            };
            assert_eq!(read, expected);
        }
    }

    #[test]
    fn a_connect_in_single_bytes_is_taken_and_the_rest_kept() {
        let (mut decoder, mut packets) = (Decoder::new(Peer::Client, 100), Vec::new());
        for byte in [CONNECT, PING, &PING[..1]].concat() {
            decoder.feed(&[byte], &mut packets).unwrap();
        }
        assert_eq!((packets.len(), decoder.buffered()), (1, 3));
        decoder.accept(100);
        decoder.feed(&[], &mut packets).unwrap();
        decoder.feed(&PING[1..], &mut packets).unwrap();
        assert_eq!((packets.len(), decoder.buffered()), (3, 0));
    }

    #[test]
    fn mqtt_3_1_0_1_the_first_packet_is_connect() {
        for first in [PING, b"GET / HTTP/1.1", &[0x30], &[0xE0, 0]] {
            let result = Decoder::new(Peer::Client, 100).feed(first, &mut Vec::new());
            assert_eq!(result, Err(ProtocolFault::NotConnect.into()));
        }
    }

    #[test]
    fn a_connect_that_is_wrong_behind_its_level_still_names_the_version() {
        let mut decoder = Decoder::new(Peer::Client, 100);
        let result = decoder.feed(
            b"\x10\x0E\0\x04MQTT\x05\x03\0\x0A\0\0\x01c",
            &mut Vec::new(),
        );
        assert_eq!(result.unwrap_err().reason(), ReasonCode::MalformedPacket);
        assert_eq!(decoder.version(), Some(Version::V5));
    }

    #[test]
    fn too_large_is_known_from_the_header() {
        let mut decoder = Decoder::new(Peer::Client, 100);
        let result = decoder.feed(&[0x10, 0xFF, 0xFF, 0xFF, 0x7F], &mut Vec::new());
        assert_eq!(
            result,
            Err(DecodeError::TooLarge {
                size: 268_435_460,
                limit: 100
            })
        );
        assert_eq!(decoder.buffered(), 0);
        // the whole packet counts, and exactly the limit is allowed [MQTT-3.2.2-15]
        for (limit, fits) in [(CONNECT.len(), true), (CONNECT.len() - 1, false)] {
            assert_eq!(
                Decoder::new(Peer::Client, limit)
                    .feed(CONNECT, &mut Vec::new())
                    .is_ok(),
                fits
            );
        }
    }

    #[test]
    fn a_promised_length_reserves_nothing() {
        let mut decoder = Decoder::with_version(Peer::Client, Version::V311, usize::MAX);
        decoder
            .feed(&[0x30, 0xFF, 0xFF, 0xFF, 0x7F, 0], &mut Vec::new())
            .unwrap();
        for _ in 0..1000 {
            decoder.feed(&[1], &mut Vec::new()).unwrap();
            assert!(decoder.buffer.capacity() <= 2 * decoder.buffered());
        }
    }

    #[test]
    fn packets_in_front_of_an_error_come_out_and_no_buffer_stays_when_idle() {
        let (mut decoder, mut packets) = (server(), Vec::new());
        decoder.feed(&[0xC0], &mut packets).unwrap();
        decoder.feed(&[0], &mut packets).unwrap();
        assert_eq!(decoder.buffer.capacity(), 0);
        let result = decoder.feed(&[0xC0, 0, 0xC0, 0, 0x00], &mut packets);
        assert_eq!(result, Err(Malformed::ReservedPacketType.into()));
        assert_eq!(packets.len(), 3);
    }

    #[test]
    fn a_large_payload_is_shared_with_its_frame_and_a_small_one_is_not() {
        let payload = vec![7; 100_000];
        let mut bytes = Vec::new();
        super::super::primitive::put_packet(&mut bytes, 0x30, |out| {
            out.extend_from_slice(&[0, 1, b't']);
            out.extend_from_slice(&payload);
        });
        let (mut decoder, mut packets) = (server(), Vec::new());
        for chunk in bytes.chunks(1000) {
            decoder.feed(chunk, &mut packets).unwrap();
        }
        let Some(Packet::Publish(publish)) = packets.pop() else {
            panic!("no PUBLISH")
        };
        assert_eq!(*publish.payload, payload);
        assert_eq!(
            publish.payload.to_bytes().as_ptr(),
            publish.payload.as_ptr()
        );
    }

    #[test]
    fn mqtt_2_1_3_1_reserved_flags_are_malformed() {
        for first in [0xC1, 0x42, 0x60, 0x6A, 0x80, 0x8A, 0xA0, 0xAA, 0xE1] {
            assert_eq!(
                server().feed(&[first], &mut Vec::new()),
                Err(Malformed::HeaderFlags.into()),
                "{first:#x}"
            );
        }
        // 3.1 repeats PUBREL, SUBSCRIBE and UNSUBSCRIBE with DUP
        for first in [0x62, 0x6A, 0x82, 0x8A, 0xA2, 0xAA] {
            let mut decoder = Decoder::with_version(Peer::Client, Version::V31, 100);
            assert_eq!(decoder.feed(&[first], &mut Vec::new()), Ok(()));
        }
    }

    #[test]
    fn packets_of_the_other_side_are_protocol_errors() {
        for first in [0x20, 0x90, 0xB0, 0xD0] {
            assert_eq!(
                server().feed(&[first], &mut Vec::new()),
                Err(ProtocolFault::WrongDirection.into())
            );
        }
        let mut client = Decoder::with_version(Peer::Server, Version::V311, 100);
        assert_eq!(
            client.feed(&[0xE0], &mut Vec::new()),
            Err(ProtocolFault::WrongDirection.into())
        );
        assert_eq!(
            server().feed(&[0xF0], &mut Vec::new()),
            Err(Malformed::ReservedPacketType.into())
        );
    }
}
