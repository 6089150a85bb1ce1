//! A two-party model: a client as the standard wants it and the session under test, over a link that delays, loses
//! and reconnects, with a clock that is moved by hand.
//!
//! Whatever happens: QoS 1 arrives at least once and QoS 2 exactly once, acknowledgements come in order, an identifier
//! in use is not used again, and neither side has more under way than the other allows. The steps are random;
//! `TIDEGATE_TEST_SEED` repeats the world of a failure.

#[path = "../support/random.rs"]
mod random;

mod client;
mod ledger;
mod link;
mod server;
mod tap;
mod world;

use random::{Random, Repeat};
use world::World;

/// Steps of one world.
const STEPS: u64 = 5_000;

fn live(seed: u64, steps: u64) {
    let _repeat = Repeat(format!("TIDEGATE_TEST_SEED={seed} cargo test --test model"));
    World::new(Random::seeded(seed)).live(steps);
}

#[test]
fn mqtt_4_3_whatever_the_link_does_qos_1_arrives_at_least_once_and_qos_2_exactly_once() {
    let (seed, given) = random::seed("TIDEGATE_TEST_SEED");
    if given {
        return live(seed, STEPS);
    }
    let steps = if std::env::var_os("TIDEGATE_TEST_LONG").is_some() {
        10_000_000
    } else {
        1_000_000
    };
    for world in 0..steps / STEPS {
        live(seed + world, STEPS);
    }
}
