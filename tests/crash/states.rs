//! Thousands of crashes of recorded runs, each opened and compared with the model.

use crate::{
    disk::{MemoryDisk, Step, after_crash},
    random::Random,
    run::{self, Model, message},
};
use tidegate::store::{Store, Urgency};

fn states() -> usize {
    match std::env::var_os("TIDEGATE_TEST_LONG") {
        Some(_) => 20_000,
        None => 500,
    }
}

pub fn seed() -> u64 {
    let given = std::env::var("TIDEGATE_TEST_SEED").ok();
    let seed = given.and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()) * 7_919);
    eprintln!("TIDEGATE_TEST_SEED={seed}");
    seed
}

#[test]
fn whenever_it_crashes_the_log_is_there_up_to_a_point_that_is_not_before_what_was_told() {
    const PER_RUN: usize = 250;
    let seed = seed();
    let mut random = Random::seeded(seed);
    let mut given_back = 0;
    for nth in 0..states().div_ceil(PER_RUN) {
        let run = run::run(&MemoryDisk::default(), &mut random, 400).expect("it opens");
        let steps = run.disk.steps();
        let dropped = |step: &Step| matches!(step, Step::Remove(_));
        given_back += steps.iter().filter(|step| dropped(step)).count();
        for _ in 0..PER_RUN {
            let cut = random.between(0, steps.len() as u64) as usize;
            let files = after_crash(&steps[..cut], &mut random);
            let told = steps[..cut].iter().rev().find_map(|step| match step {
                Step::Told(lsn) => Some(*lsn),
                _ => None,
            });
            let told = told.unwrap_or(0);
            let trimmed = run.trims.iter().take_while(|(at, _)| *at <= cut);
            let trimmed = trimmed.map(|(_, through)| *through).max().unwrap_or(0);
            let (store, recovered) = run::open(MemoryDisk::holding(files), 4_000)
                .unwrap_or_else(|error| panic!("seed {seed}, run {nth}, cut {cut}: {error}"));
            let found = Model::found(&store, &recovered, trimmed);
            let mut model = Model::default();
            let mut ops = run.ops.iter().peekable();
            while let Some((_, op)) = ops.next_if(|(lsn, _)| *lsn <= told) {
                model.apply(op);
            }
            let told_model = model.clone();
            // what was not told may be there, too, but only as far as everything before it is
            loop {
                let mut now = model.clone();
                now.messages = now.messages.split_off(&(trimmed + 1));
                if now == found {
                    break;
                }
                match ops.next() {
                    Some((_, op)) => model.apply(op),
                    None => panic!(
                        "seed {seed}, run {nth}, cut {cut}, told {told}, trimmed {trimmed}:\nfound {}\ntold  {}",
                        brief(&found),
                        brief(&told_model)
                    ),
                }
            }
            let next = message("t", b"next", false, None);
            let next = store.append(&next, None, Urgency::Now).expect("room");
            let given = run.ops.iter().filter_map(|(_, op)| match op {
                run::Op::Message { offset, .. } => Some(*offset),
                _ => None,
            });
            let is_new = given
                .filter(|_| cut == steps.len())
                .all(|offset| offset < next.position.offset);
            assert!(is_new, "a position is given twice");
        }
    }
    assert!(given_back > 0, "no run gave a segment back");
}

/// A model in a few lines.
fn brief(model: &Model) -> String {
    let messages: Vec<_> = model.messages.keys().collect();
    let retained = model.retained.iter();
    let retained: Vec<_> = retained.map(|(topic, (at, _))| (topic, at)).collect();
    format!("{messages:?} {:?} {retained:?}", model.sessions)
}
