//! What is read back while the log grows, and when the process may open no more files.

use crate::{
    disk::MemoryDisk,
    run::{self, message, wait},
};
use std::sync::Arc;
use tidegate::store::{Store, Urgency};

/// Keeps so many messages, each longer than a twentieth of what is held in memory.
fn keep(store: &dyn Store, count: usize) {
    let one = message("t", &[b'x'; 100], false, None);
    for _ in 0..count {
        store
            .append(&one, None, Urgency::Now)
            .expect("there is room");
    }
}

fn keep_durably(store: &tidegate::store::log::DiskStore, count: usize) {
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
