//! Any bytes, either way: they are refused, or they are packets that can be written and read back.

use tidegate::mqtt::{
    Packet, Version,
    frame::{Decoder, Peer},
};

/// The first byte says who sends, the others are sent.
pub fn run(version: Version, data: &[u8]) {
    let Some((choice, bytes)) = data.split_first() else {
        return;
    };
    let (mut decoder, from) = match choice % 3 {
        0 => (
            Decoder::with_version(Peer::Client, version, 1 << 20),
            Peer::Client,
        ),
        1 => (
            Decoder::with_version(Peer::Server, version, 1 << 20),
            Peer::Server,
        ),
        // settled by its own CONNECT
        _ => (Decoder::new(Peer::Client, 1 << 20), Peer::Client),
    };
    let mut packets = Vec::new();
    let mut result = decoder.feed(bytes, &mut packets);
    if matches!(packets[..], [Packet::Connect(_)]) && result.is_ok() {
        decoder.accept(1 << 20);
        result = decoder.feed(&[], &mut packets);
    }
    assert!(decoder.buffered() <= bytes.len());
    if result.is_ok() && packets.is_empty() {
        assert_eq!(decoder.buffered(), bytes.len());
    }
    let version = decoder.version().unwrap_or(version);
    let mut written = Vec::new();
    packets
        .iter()
        .for_each(|packet| packet.encode(version, &mut written));
    let mut again = Vec::new();
    let result = Decoder::with_version(from, version, usize::MAX).feed(&written, &mut again);
    assert_eq!(result, Ok(()), "{packets:?}");
    assert_eq!(again, packets);
}
