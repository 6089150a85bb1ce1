//! The same random dialogues to the gateway and to Mosquitto. What differs is explained in
//! `tests/conformance/differences.md`, or it is a fault.

#[path = "../support/random.rs"]
mod random;
#[path = "../support/mod.rs"]
mod support;

mod dialogue;
mod fixed;
mod party;
mod rules;

use std::collections::BTreeMap;

use futures_util::future::join_all;

use dialogue::{CLIENTS, Step, dialogue};
use party::Parties;
use random::{Random, Repeat, seed};
use rules::{Difference, HEADINGS, Verdict, verdict};
use support::gateway::Gateway;
use support::mosquitto::Mosquitto;

/// Dialogues at a time.
/// Answers that wait for the disk may come behind PINGRESP, by which a dialogue knows that all has been said. Mosquitto
/// waits for nothing either.
const IN_MEMORY: [&str; 4] = [
    "--set",
    "log.level=warn",
    "--set",
    "store.durability=memory",
];

const AT_A_TIME: u64 = 8;

/// What explains how many differences.
type Explained = BTreeMap<&'static str, u32>;

/// Holds a dialogue with both, up to the first difference that leaves them in different states. An error is a
/// difference without an explanation.
async fn hold(
    steps: &[Step],
    gateway: &Gateway,
    mosquitto: &Mosquitto,
    explained: &mut Explained,
) -> Result<(), String> {
    let mut ours = Parties::new(gateway.mqtt, CLIENTS);
    let mut theirs = Parties::new(mosquitto.mqtt, CLIENTS);
    for (at, step) in steps.iter().enumerate() {
        let (ours, theirs) = tokio::join!(ours.take(step), theirs.take(step));
        if ours == theirs {
            continue;
        }
        let difference = Difference {
            step,
            before: &steps[..at],
            ours,
            theirs,
        };
        match verdict(&difference) {
            Verdict::Harmless(heading) => *explained.entry(heading).or_insert(0) += 1,
            Verdict::Final(heading) => {
                *explained.entry(heading).or_insert(0) += 1;
                return Ok(());
            }
            Verdict::Unexplained => return Err(difference.to_string()),
        }
    }
    Ok(())
}

/// How many dialogues: as many as `TIDEGATE_TEST_DIALOGUES` says, to look for a rare difference.
fn dialogues() -> u64 {
    match std::env::var("TIDEGATE_TEST_DIALOGUES") {
        Ok(text) => text.parse().expect("a number of dialogues"),
        Err(_) if std::env::var_os("TIDEGATE_TEST_LONG").is_some() => 20_000,
        Err(_) => 2_000,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gateway_and_mosquitto_differ_only_where_it_is_explained() {
    let (seed, _) = seed("TIDEGATE_TEST_SEED");
    let _repeat = Repeat(format!(
        "TIDEGATE_TEST_SEED={seed} cargo test --test differential"
    ));
    let (gateway, mosquitto) = (Gateway::start(&IN_MEMORY), Mosquitto::start());
    let dialogues = dialogues();
    let mut explained = Explained::new();
    let mut faults = Vec::new();
    for first in (0..dialogues).step_by(AT_A_TIME as usize) {
        let held = (first..first + AT_A_TIME).map(|number| {
            let steps = dialogue(number, &mut Random::seeded(seed + number));
            let (gateway, mosquitto) = (&gateway, &mosquitto);
            async move {
                let mut explained = Explained::new();
                let course = hold(&steps, gateway, mosquitto, &mut explained).await;
                (course, explained)
            }
        });
        for (course, found) in join_all(held).await {
            for (heading, times) in found {
                *explained.entry(heading).or_insert(0) += times;
            }
            faults.extend(course.err());
        }
    }
    eprintln!("{dialogues} dialogues; differences by what explains them: {explained:#?}");
    assert!(
        faults.is_empty(),
        "{} of {dialogues} dialogues differ:\n{}",
        faults.len(),
        faults.join("\n\n")
    );
}

#[test]
fn every_rule_is_a_heading_of_the_page_and_every_heading_a_rule() {
    let page = include_str!("../conformance/differences.md");
    let mut headings: Vec<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .collect();
    let mut rules = HEADINGS.to_vec();
    headings.sort_unstable();
    rules.sort_unstable();
    assert_eq!(headings, rules);
}
