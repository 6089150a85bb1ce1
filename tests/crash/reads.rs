//! What is read back while the log grows, and when the process may open no more files.

use crate::{
    disk::MemoryDisk,
    run::{self, message, wait},
};
use std::{io, sync::Arc};
use tidegate::{
    mqtt::topic::TopicFilter,
    store::{Store, Urgency, Wanted, log::DiskStore},
};

/// Keeps so many messages, each longer than a twentieth of what is held in memory.
fn keep(store: &dyn Store, count: usize) {
    let one = message("t", &[b'x'; 100], false, None);
    for _ in 0..count {
        store
            .append(&one, None, Urgency::Now)
            .expect("there is room");
    }
}

fn keep_durably(store: &DiskStore, count: usize) {
    keep(store, count);
    assert!(wait(store, store.newest()));
}

/// Everything there is, read from the beginning as a session reads it.
fn offsets(store: &dyn Store) -> Vec<u64> {
    let (mut found, mut after) = (Vec::new(), 0);
    loop {
        let page = store.read(after, 256, None);
        if page.is_end(after) {
            return found;
        }
        found.extend(page.records.iter().map(|record| record.offset));
        after = page.through;
    }
}

#[test]
fn what_is_written_while_a_part_is_read_is_not_passed_over() {
    let disk = MemoryDisk::default();
    let (store, _) = run::open(disk.clone(), 1 << 20).expect("as the test made it");
    let store = Arc::new(store);
    keep_durably(&store, 30);
    disk.amid_next_read({
        let store = store.clone();
        move || keep_durably(&store, 30)
    });
    assert_eq!(offsets(&*store), (1..=60).collect::<Vec<u64>>());
}

#[test]
fn a_process_that_may_open_no_more_files_reads_all_that_it_keeps() {
    let disk = MemoryDisk::default();
    let (store, _) = run::open(disk.clone(), 4_000).expect("as the test made it");
    keep_durably(&store, 100);
    drop(store);
    // what an earlier run wrote, and what this one writes
    let (store, _) = run::open(disk.clone(), 4_000).expect("it was stopped well");
    keep_durably(&store, 100);
    disk.open_no_more();
    assert_eq!(offsets(&store).len(), 200);
}

/// Everything that is recorded, kept or not, as a stream reads it; and from where on the store says that it is there.
fn recorded(store: &DiskStore) -> (Vec<u64>, u64) {
    let (mut found, mut after, mut floor) = (Vec::new(), 0, 0);
    loop {
        let (page, now) = store.look(after, 256, None);
        floor = floor.max(now.tail);
        if page.is_end(after) {
            return (found, floor);
        }
        found.extend(page.records.iter().map(|record| record.offset));
        after = page.through;
    }
}

#[test]
fn where_the_disk_ends_in_the_middle_of_a_block_what_stands_in_memory_alone_is_not_passed_over() {
    let (store, _) = run::open(MemoryDisk::default(), 1 << 20).expect("as the test made it");
    let live = message("live", &[b'x'; 100], false, None);
    for _ in 0..40 {
        keep_durably(&store, 1);
        store.remember(&live).expect("there is room");
    }
    let (found, floor) = recorded(&store);
    assert!(
        (20..79).contains(&floor),
        "in the middle of a block: {floor}"
    );
    let above: Vec<u64> = found.into_iter().filter(|offset| *offset > floor).collect();
    assert_eq!(above, (floor + 1..=80).collect::<Vec<u64>>());
}

#[test]
fn damage_that_comes_while_the_log_is_open_is_told_to_whoever_reads_there() {
    let disk = MemoryDisk::default();
    let (store, _) = run::open(disk.clone(), 1 << 20).expect("as the test made it");
    keep_durably(&store, 60);
    assert_eq!(store.look(0, 256, None).0.damage, None);
    let name = disk.files().keys().next().expect("a segment").clone();
    disk.damage(&name, 2_000);
    let page = store.look(0, 256, None).0;
    let read: Vec<u64> = page.records.iter().map(|record| record.offset).collect();
    let lost: Vec<u64> = (1..=page.through).filter(|at| !read.contains(at)).collect();
    assert_eq!(lost.len(), 1, "what is not damaged is read all the same");
    assert_eq!(page.damage, Some((lost[0] - 1, lost[0])));
    let below = store.look(lost[0] - 1, 256, None).0;
    assert_eq!(below.damage, page.damage);
    let above = store.look(lost[0], 256, None).0;
    assert_eq!(above.damage, None, "who has come so far missed nothing");
    let all = TopicFilter::parse("t").expect("a filter");
    let back = store.look_back(30, 256, &Wanted::by([&all].into_iter()));
    assert_eq!(
        back.damage, page.damage,
        "nor does it stay unsaid backwards"
    );
}

#[test]
fn what_is_not_to_be_written_takes_no_more_memory_after_the_disk_has_failed() {
    let open = |disk: &MemoryDisk| {
        let (store, _) = run::open(disk.clone(), 1 << 20).expect("as the test made it");
        assert!(wait(&store, store.newest()));
        store
    };
    let good = MemoryDisk::default();
    let steps = {
        let _store = open(&good);
        good.steps().len()
    };
    // the first message waits for the disk for ever
    let store = open(&MemoryDisk::failing_at(steps, io::ErrorKind::Other));
    keep(&store, 1);
    assert!(!wait(&store, store.newest()));
    let large = message("live", &vec![b'x'; 1 << 20], false, None);
    for _ in 0..100 {
        store.remember(&large).expect("it is given out live");
    }
    let (found, floor) = recorded(&store);
    assert!(found.len() < 20, "{} MiB", found.len());
    assert_eq!(floor, store.head(), "whoever missed it is told");
}
