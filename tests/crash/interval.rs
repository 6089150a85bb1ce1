//! Where an acknowledgement does not mean the disk, old state is on the disk all the same.

use crate::{
    disk::{MemoryDisk, after_crash},
    random::Random,
    run::{self, message, wait},
    states::seed,
};
use std::time::Duration;
use tidegate::{
    session::snapshot::Snapshot,
    store::{Store, Urgency, config::Durability, record::Change},
};

/// What a segment alone held is written anew before it goes; a power cut must not find neither of them.
#[test]
fn what_is_written_anew_is_on_the_disk_before_the_old_segment_goes() {
    let seed = seed();
    let hours = Durability::Interval(Duration::from_secs(3600));
    for round in 0..20 {
        let disk = MemoryDisk::default();
        let opened = run::open_with(hours, disk.clone(), 4_000);
        let (store, _) = opened.expect("as the test made it");
        let session = Snapshot::new("old".into(), None, 60, 0);
        store.change(Change::Session(Box::new(session)), Urgency::Now);
        let first = disk.files().keys().next().expect("a segment").clone();
        let one = message("t", &[b'x'; 500], false, None);
        let mut bytes = 0;
        for _ in 0..30 {
            let appended = store
                .append(&one, None, Urgency::Now)
                .expect("there is room");
            assert!(wait(&store, appended.lsn));
            bytes += appended.size;
        }
        store.trim(30, 30, bytes);
        store.compact(&|_, _| false, 0);
        assert!(
            !disk.files().contains_key(&first),
            "the old segment is gone"
        );
        let files = after_crash(&disk.steps(), &mut Random::seeded(seed + round));
        let opened = run::open(MemoryDisk::holding(files), 4_000);
        let (_, recovered) = opened.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert_eq!(recovered.sessions.len(), 1, "seed {seed}, round {round}");
    }
}
