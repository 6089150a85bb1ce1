//! What the fuzzers of `tests/fuzz` have found so far, run without them; and random bytes, to find the plainest faults
//! at once.

#[path = "support/random.rs"]
mod random;

#[path = "fuzz/targets/chunks.rs"]
mod chunks;
#[path = "fuzz/targets/conversation.rs"]
mod conversation;
#[path = "fuzz/targets/decode.rs"]
mod decode;
#[path = "fuzz/targets/session.rs"]
mod session;
#[path = "fuzz/targets/topics.rs"]
mod topics;

use std::{fs, path::Path};

use random::{Random, Repeat, seed};
use tidegate::mqtt::Version;

fn try_all(target: &str, run: impl Fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fuzz/corpus")
        .join(target);
    let mut tried = 0;
    for entry in fs::read_dir(&folder).expect("every target has a corpus") {
        let path = entry.expect("a folder that can be read").path();
        let _repeat = Repeat(format!("{target} on {}", path.display()));
        run(&fs::read(&path).expect("a file that can be read"));
        tried += 1;
    }
    assert!(tried > 0, "no corpus in {}", folder.display());
    let (seed, _) = seed("TIDEGATE_TEST_SEED");
    let _repeat = Repeat(format!(
        "TIDEGATE_TEST_SEED={seed} cargo test --test corpus {target}"
    ));
    let mut random = Random::seeded(seed);
    for _ in 0..20_000 {
        // few values, so that they mean something more often
        let spread = random.of(&[3, 9, 50, 256]);
        let length = random.below(200);
        let bytes: Vec<u8> = (0..length).map(|_| random.below(spread) as u8).collect();
        run(&bytes);
    }
}

#[test]
fn decode_v31() {
    try_all("decode_v31", |data| decode::run(Version::V31, data));
}

#[test]
fn decode_v311() {
    try_all("decode_v311", |data| decode::run(Version::V311, data));
}

#[test]
fn decode_v5() {
    try_all("decode_v5", |data| decode::run(Version::V5, data));
}

#[test]
fn chunks() {
    try_all("chunks", chunks::run);
}

#[test]
fn topics() {
    try_all("topics", topics::run);
}

#[test]
fn session() {
    try_all("session", session::run);
}

#[test]
fn conversation() {
    try_all("conversation", conversation::run);
}
