//! The two-party model of `tests/model`, its choices made by the fuzzer.

#[path = "../../model/client.rs"]
mod client;
#[path = "../../model/ledger.rs"]
mod ledger;
#[path = "../../model/link.rs"]
mod link;
#[path = "../../model/server.rs"]
mod server;
#[path = "../../model/tap.rs"]
mod tap;
#[path = "../../model/world.rs"]
mod world;

use crate::random;

/// Every byte is a choice.
pub fn run(data: &[u8]) {
    world::World::new(random::Random::bytes(data)).live(2_000);
}
