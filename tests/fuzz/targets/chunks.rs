//! One stream, cut in two ways, is the same packets and the same end.

use tidegate::mqtt::{
    Packet, Version,
    error::DecodeError,
    frame::{Decoder, Peer},
};

/// The first byte says who sends in which version, the next eight how the stream is cut, the others are sent.
pub fn run(data: &[u8]) {
    let Some(((choice, cuts), bytes)) = data
        .split_first_chunk::<9>()
        .map(|(head, bytes)| ((head[0], &head[1..]), bytes))
    else {
        return;
    };
    let whole = read(choice, [bytes].into_iter());
    let single = read(choice, bytes.chunks(1));
    assert_eq!(single, whole, "byte for byte");
    let (mut rest, mut sizes) = (bytes, cuts.iter().cycle());
    let pieces = std::iter::from_fn(|| {
        let size = usize::from(*sizes.next()?) + 1;
        let (now, later) = rest.split_at(size.min(rest.len()));
        rest = later;
        (!now.is_empty()).then_some(now)
    });
    assert_eq!(read(choice, pieces), whole, "in pieces");
}

/// What a connection reads, and why it stops.
fn read<'a>(
    choice: u8,
    pieces: impl Iterator<Item = &'a [u8]>,
) -> (Vec<Packet>, Result<(), DecodeError>) {
    let version = [Version::V31, Version::V311, Version::V5][usize::from(choice) % 3];
    let mut decoder = match choice / 3 % 3 {
        0 => Decoder::with_version(Peer::Client, version, 1000),
        1 => Decoder::with_version(Peer::Server, version, 1000),
        _ => Decoder::new(Peer::Client, 200),
    };
    let mut packets = Vec::new();
    for piece in pieces {
        if let Err(error) = feed(&mut decoder, piece, &mut packets) {
            return (packets, Err(error));
        }
    }
    (packets, Ok(()))
}

fn feed(decoder: &mut Decoder, piece: &[u8], packets: &mut Vec<Packet>) -> Result<(), DecodeError> {
    let before = packets.len();
    decoder.feed(piece, packets)?;
    if before == 0 && matches!(packets[..], [Packet::Connect(_)]) {
        decoder.accept(1000);
        decoder.feed(&[], packets)?;
    }
    Ok(())
}
