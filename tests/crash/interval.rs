//! A store that syncs now and then: what was durable stays so, whatever is given back.

use crate::{
    disk::{MemoryDisk, Step, after_crash},
    random::Random,
    run::{self, message, wait},
    states::seed,
};
use std::time::Duration;
use tidegate::{
    session::snapshot::Snapshot,
    store::{Store, Urgency, config::Durability, record::Change},
};

/// Crashes looked at behind each removed segment.
const CRASHES: usize = 20;

#[test]
fn a_segment_goes_only_when_what_it_alone_held_is_synced_elsewhere() {
    let seed = seed();
    let mut random = Random::seeded(seed);
    let disk = MemoryDisk::default();
    let rarely = Durability::Interval(Duration::from_secs(3_600));
    let (store, _) = run::open_with(rarely, disk.clone(), 4_000).expect("as the test made it");
    let session = Snapshot::new("sleeper".into(), None, 60, 0);
    store.change(Change::Session(Box::new(session)), Urgency::Now);
    let retained = message("state", b"on", true, None);
    let kept = store.append(&retained, None, Urgency::Now).expect("room");
    let if_retained = |topic: &_, offset, write: &mut dyn FnMut()| {
        if *topic == retained.topic && offset == kept.position.offset {
            write();
        }
    };
    for _ in 0..20 {
        let large = message("t", &[b'.'; 900], false, None);
        let appended = store.append(&large, None, Urgency::Now).expect("room");
        assert!(wait(&store, appended.lsn));
    }
    let (messages, bytes) = store.size();
    store.trim(store.head(), messages, bytes);
    store.compact(&if_retained, 0);
    let steps = disk.steps();
    let removed = steps.iter().enumerate();
    let removed = removed.filter(|(_, step)| matches!(step, Step::Remove(_)));
    let removed: Vec<usize> = removed.map(|(at, _)| at).collect();
    assert!(!removed.is_empty(), "no segment was given back");
    for at in removed {
        for _ in 0..CRASHES {
            // behind the sync of the names
            let files = after_crash(&steps[..at + 2], &mut random);
            let opened = run::open(MemoryDisk::holding(files), 4_000);
            let (_, recovered) = opened.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            assert_eq!(recovered.sessions.len(), 1, "seed {seed}, step {at}");
            assert_eq!(recovered.retained.len(), 1, "seed {seed}, step {at}");
        }
    }
}
