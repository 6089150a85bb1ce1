//! The driver: start, look for everything that was acknowledged, load, kill, and again.

use std::{
    io::Write,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use crate::{
    cast,
    everyone::{Everyone, ROOMY},
    findings::Findings,
    random::{self, Random, Repeat},
    record::Record,
    support::gateway::Gateway,
    world::{World, free_ports},
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

    let mut random = Random::seeded(seed);
    let data = tempfile::tempdir().expect("a folder for the gateway's data");
    let data = Arc::new(data);
    let ports = free_ports(&mut random);
    let record = Arc::new(Record::of(cast::streams()));
    let findings = Arc::new(Findings::of_run(seed));
    let mut everyone = Everyone::of(&record, &mut random);
    let (begun, mut told) = (Instant::now(), Instant::now());
    for cycle in 0..=cycles {
        let _cycle = Repeat(format!("it was cycle {cycle}"));
        let is_last = cycle == cycles;
        if random.once_in(5) {
            let mut command = Gateway::command(data.path(), ports, &ROOMY);
            let mut child = command.spawn().expect("the built tidegate starts");
            // a crash while it recovers from a crash
            thread::sleep(Duration::from_millis(random.between(1, 60)));
            child.kill().expect("SIGKILL");
            child.wait().expect("the killed child's status");
        }
        let gateway = Gateway::start_at(data.clone(), ports, &ROOMY);
        let (world, killed) = World::around(&gateway, cycle, &record, &findings);
        everyone.wake_all();
        if cycle > 0 && !is_last {
            everyone.send_some_away(&mut random);
        }
        everyone = everyone.verify(&world).await;
        everyone = everyone.end_some(&world, &mut random).await;
        findings.fail_if_any(cycle);
        if is_last {
            gateway.stop();
            break;
        }
        let moment = Duration::from_millis(random.between(200, 2_000));
        let kill = || drop(gateway); // SIGKILL
        everyone = everyone.load(&world, moment, kill, killed).await;
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
    let count = record.count_acknowledged();
    tell(&format!("{cycles} kills, {count} messages acknowledged"));
}

/// Not by `eprintln`, which the test harness holds back until the end: a thousand cycles take most of an hour.
pub fn tell(text: &str) {
    let _ = writeln!(std::io::stderr(), "durability: {text}");
}
