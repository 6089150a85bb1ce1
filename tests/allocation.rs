//! What a decoder allocates is bounded by what it was given: no header's promise and no packet's shape makes it take
//! many times more.
//!
//! A test binary of its own, for its allocator counts everybody's bytes.

#[path = "support/random.rs"]
mod random;
#[path = "support/wire/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    reason = "each test crate includes this module and uses its part of it"
)]
mod wire;

use std::{alloc::System, fs, path::Path};

use random::{Random, Repeat, seed};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tidegate::mqtt::{
    Version,
    frame::{Decoder, Peer},
};

#[global_allocator]
static COUNTING: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Bytes allocated per byte of input, over the life of a packet: a filter of one letter takes four bytes on the wire,
/// and a text, its options and a growing list in memory.
const PER_BYTE: usize = 32;

/// Bytes allocated for the packets themselves: the largest struct of each kind.
const PER_PACKET: usize = 1024;

/// Feeds `bytes` in pieces and asserts that everything allocated on the way is in proportion.
fn is_in_proportion(what: &str, from: Peer, version: Version, bytes: &[u8], piece: usize) {
    let mut decoder = Decoder::with_version(from, version, usize::MAX);
    // where the caller collects them is the caller's
    let mut packets = Vec::with_capacity(bytes.len() / 2 + 1);
    let region = Region::new(COUNTING);
    for piece in bytes.chunks(piece.max(1)) {
        if decoder.feed(piece, &mut packets).is_err() {
            break;
        }
    }
    let total = region.change().bytes_allocated;
    let most = PER_BYTE * bytes.len() + PER_PACKET * (packets.len() + 1);
    assert!(
        total <= most,
        "{what}: {total} bytes allocated for {} bytes and {} packets",
        bytes.len(),
        packets.len()
    );
}

/// Packets that are as expensive as they can be for their size.
fn expensive() -> Vec<(&'static str, Version, Vec<u8>)> {
    let mut shapes = Vec::new();
    for version in [Version::V311, Version::V5] {
        let wire_version = match version {
            Version::V5 => wire::Version::V5,
            _ => wire::Version::V311,
        };
        let none = wire::Properties::default();
        let filters: Vec<(&str, u8)> = vec![("a", 0); 10_000];
        let names: Vec<&str> = vec!["a"; 10_000];
        shapes.extend([
            (
                "a promise of 256 MiB",
                version,
                vec![0x30, 0xFF, 0xFF, 0xFF, 0x7F, 0],
            ),
            (
                "a promised topic",
                version,
                vec![0x30, 0xFF, 0xFF, 0xFF, 0x7F, 0xFF, 0xFF],
            ),
            (
                "many filters",
                version,
                wire::subscribe(wire_version, 1, &filters, &none),
            ),
            (
                "many filters to leave",
                version,
                wire::unsubscribe(wire_version, 1, &names),
            ),
            ("many pings", version, wire::pingreq().repeat(10_000)),
            ("a large message", version, {
                let message = wire::Publish::new("a", vec![7; 1 << 20], 0);
                wire::publish(wire_version, &message)
            }),
            ("many small messages", version, {
                wire::publish(wire_version, &wire::Publish::new("a", "", 0)).repeat(10_000)
            }),
        ]);
    }
    let properties = |count: usize| {
        let mut properties = wire::Properties::default();
        for _ in 0..count {
            properties = properties.user("", "");
        }
        wire::Publish {
            properties,
            ..wire::Publish::new("a", "", 0)
        }
    };
    for count in [64, 65, 10_000] {
        let bytes = wire::publish(wire::Version::V5, &properties(count));
        shapes.push(("many user properties", Version::V5, bytes));
    }
    shapes
}

#[test]
fn no_input_allocates_more_than_its_own_size_allows() {
    for (what, version, bytes) in expensive() {
        for piece in [1, 7, 1000, usize::MAX] {
            is_in_proportion(what, Peer::Client, version, &bytes, piece);
        }
    }
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
    let (seed, _) = seed("TIDEGATE_TEST_SEED");
    let _repeat = Repeat(format!(
        "TIDEGATE_TEST_SEED={seed} cargo test --test allocation"
    ));
    let mut random = Random::seeded(seed);
    for (folder, version) in [
        ("decode_v31", Version::V31),
        ("decode_v311", Version::V311),
        ("decode_v5", Version::V5),
    ] {
        for entry in fs::read_dir(corpus.join(folder)).expect("a corpus") {
            let path = entry.expect("a folder that can be read").path();
            let packet = fs::read(&path).expect("a file that can be read");
            let what = path.display().to_string();
            for _ in 0..20 {
                let mut bytes = packet.get(1..).unwrap_or_default().to_vec();
                for _ in 0..random.below(4) {
                    let at = random.below(bytes.len() as u64) as usize;
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte = random.below(256) as u8;
                    }
                }
                let from = random.of(&[Peer::Client, Peer::Server]);
                let piece = random.between(1, 50) as usize;
                is_in_proportion(&what, from, version, &bytes, piece);
            }
        }
    }
}
