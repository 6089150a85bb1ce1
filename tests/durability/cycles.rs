//! The gateway is killed again and again under load, sometimes also while it recovers.

use std::{
    io::Write,
    time::{Duration, Instant},
};

use crate::{
    lives::Lives,
    random::{self, Repeat},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn however_often_the_gateway_is_killed_what_it_acknowledged_is_there_and_qos_2_comes_once() {
    let cycles = match std::env::var("TIDEGATE_TEST_CYCLES") {
        Ok(text) => text.parse().expect("TIDEGATE_TEST_CYCLES is a number"),
        Err(_) if std::env::var_os("TIDEGATE_TEST_LONG").is_some() => 1_000,
        Err(_) => 30,
    };
    let (seed, _) = random::seed("TIDEGATE_TEST_SEED");
    // the times are not in the seed: a crash that needs a certain moment may take several runs to show again
    let _repeat = Repeat(format!(
        "TIDEGATE_TEST_SEED={seed} cargo test --test durability"
    ));
    tell(&format!("{cycles} kills, seed {seed}"));

    let data = tempfile::tempdir().expect("a folder for the gateway's data");
    let mut lives = Lives::of(data, seed);
    let record = lives.record.clone();
    let (begun, mut told) = (Instant::now(), Instant::now());
    for cycle in 0..cycles {
        if lives.random.once_in(5) {
            lives.kill_at_the_start();
        }
        lives = lives.live(cycle, drop).await; // SIGKILL
        if told.elapsed() > Duration::from_secs(20) {
            told = Instant::now();
            let count = record.count_acknowledged();
            let took = begun.elapsed().as_secs();
            tell(&format!(
                "{} of {cycles} kills, {count} messages acknowledged, {took} s",
                cycle + 1
            ));
        }
    }
    if lives.random.once_in(5) {
        lives.kill_at_the_start();
    }
    lives.end(cycles).await;
    let count = record.count_acknowledged();
    tell(&format!("{cycles} kills, {count} messages acknowledged"));
}

/// Not by `eprintln`, which the test harness holds back until the end: a thousand cycles take most of an hour.
pub fn tell(text: &str) {
    let _ = writeln!(std::io::stderr(), "durability: {text}");
}
