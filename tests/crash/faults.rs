//! A disk that fails or is full at every single step in turn.

use crate::{
    disk::{MemoryDisk, Step},
    random::Random,
    run::{self, Model, message, wait},
    states::seed,
};
use std::{io, time::Duration};
use tidegate::store::{Store, StoreError, Urgency, record::Change};

fn stride() -> usize {
    match std::env::var_os("TIDEGATE_TEST_LONG") {
        Some(_) => 1,
        None => 20,
    }
}

/// Runs with a fault at one step after the other; what was told must be there afterwards.
fn with_faults(kind: io::ErrorKind) {
    let seed = seed();
    let clean = run::run(&MemoryDisk::default(), &mut Random::seeded(seed), 120);
    let steps = clean.expect("it opens").disk.steps().len();
    for at in (0..steps).step_by(stride()) {
        let disk = MemoryDisk::failing_at(at, kind);
        // a store that cannot even be opened has promised nothing
        let Some(run) = run::run(&disk, &mut Random::seeded(seed), 120) else {
            continue;
        };
        let told = disk.steps().iter().rev().find_map(|step| match step {
            Step::Told(lsn) => Some(*lsn),
            _ => None,
        });
        let trimmed = run.trims.iter().map(|(_, through)| *through).max();
        let trimmed = trimmed.unwrap_or(0);
        let opened = run::open(MemoryDisk::holding(disk.files()), 4_000);
        let (store, recovered) = opened.unwrap_or_else(|error| panic!("step {at}: {error}"));
        let found = Model::found(&store, &recovered, trimmed);
        for (lsn, op) in &run.ops {
            if let run::Op::Message {
                offset, payload, ..
            } = op
                && *lsn <= told.unwrap_or(0)
                && *offset > trimmed
            {
                assert_eq!(
                    found.messages.get(offset),
                    Some(payload),
                    "seed {seed}, step {at}"
                );
            }
        }
    }
}

#[test]
fn an_error_of_the_disk_at_any_step_costs_nothing_that_was_told() {
    with_faults(io::ErrorKind::Other);
}

#[test]
fn a_full_disk_at_any_step_costs_nothing_that_was_told() {
    with_faults(io::ErrorKind::StorageFull);
}

#[test]
fn after_a_failed_sync_nothing_is_durable_any_more_and_nothing_is_taken() {
    let clean = MemoryDisk::default();
    let (store, _) = run::open(clean.clone(), 4_000).expect("as the test made it");
    let before = clean.steps().len();
    drop(store);
    // the first steps of a run are always the same: the next sync is soon behind them
    let disk = MemoryDisk::failing_at(before + 1, io::ErrorKind::Other);
    let (store, _) = run::open(disk, 4_000).expect("as the test made it");
    let one = message("t", b"one", false, None);
    let appended = store
        .append(&one, None, Urgency::Now)
        .expect("as the test made it");
    assert!(!wait(&store, appended.lsn));
    assert_eq!(
        store.append(&one, None, Urgency::Now).unwrap_err(),
        StoreError::Failed
    );
    assert!(store.watermark().has_failed());
}

#[test]
fn a_disk_that_fills_up_refuses_messages_until_there_is_room_and_keeps_what_it_took() {
    let disk = MemoryDisk::default();
    let (store, _) = run::open(disk.clone(), 4_000).expect("as the test made it");
    let one = message("t", b"one", false, None);
    let first = store
        .append(&one, None, Urgency::Now)
        .expect("as the test made it");
    assert!(wait(&store, first.lsn));
    disk.set_free(Some(0));
    // seen with the next batch
    let second = store
        .append(&one, None, Urgency::Now)
        .expect("as the test made it");
    assert!(wait(&store, second.lsn));
    assert_eq!(
        store.append(&one, None, Urgency::Now).unwrap_err(),
        StoreError::Full
    );
    disk.set_free(None);
    let third = loop {
        match store.append(&one, None, Urgency::Now) {
            Ok(appended) => break appended,
            Err(error) => assert_eq!(error, StoreError::Full),
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    assert!(wait(&store, third.lsn));
    assert_eq!(store.read(0, 10, None).records.len(), 3);
}

#[test]
fn a_sync_that_fails_for_want_of_room_is_not_repeated_and_trusted() {
    let clean = MemoryDisk::default();
    drop(run::open(clean.clone(), 4_000).expect("as the test made it"));
    let steps = clean.steps();
    let syncs = steps.iter().enumerate();
    let syncs = syncs.filter(|(_, step)| matches!(step, Step::Sync(_) | Step::SyncNames));
    for (at, step) in syncs {
        let disk = MemoryDisk::failing_at(at, io::ErrorKind::StorageFull);
        let opened = run::open(disk.clone(), 4_000);
        if let Ok((store, _)) = opened {
            drop(store);
        }
        // nothing was written behind it but the cut of the last file, which makes no promise
        let after = &disk.steps()[at..];
        assert!(
            !after.iter().any(|step| matches!(step, Step::Write(..))),
            "{step:?} failed, then {after:?}"
        );
    }
}

#[test]
fn when_a_removed_segment_cannot_be_made_durable_nothing_is_acknowledged_any_more() {
    let disk = MemoryDisk::default();
    let (store, _) = run::open(disk.clone(), 2_000).expect("as the test made it");
    let one = message("t", &[b'.'; 900], false, None);
    for _ in 0..20 {
        let appended = store.append(&one, None, Urgency::Now);
        assert!(wait(&store, appended.expect("as the test made it").lsn));
    }
    let (messages, bytes) = store.size();
    store.trim(store.head(), messages, bytes);
    disk.fail_next_names(io::ErrorKind::Other);
    store.compact(&|_, _, _| {}, 0);
    assert!(store.watermark().has_failed());
    assert_eq!(
        store.append(&one, None, Urgency::Now).unwrap_err(),
        StoreError::Failed
    );
}

#[test]
fn what_changes_after_a_failure_is_not_kept_for_a_writer_that_has_ended() {
    let disk = MemoryDisk::default();
    let (store, _) = run::open(disk.clone(), 1 << 20).expect("as the test made it");
    disk.fail_next_sync(io::ErrorKind::Other);
    let change = || Change::Unsubscribed {
        client: "c".into(),
        filter: "f".repeat(60_000).into(),
    };
    let first = store.change(change(), Urgency::Now);
    assert!(!wait(&store, first));
    // more than may wait for a writer that only is slow
    for _ in 0..100 {
        let later = store.change(change(), Urgency::Now);
        assert!(!wait(&store, later));
    }
    assert!(!store.is_busy());
}

#[test]
fn after_a_stop_no_position_is_given_that_the_next_start_would_give_again() {
    let disk = MemoryDisk::default();
    let (store, _) = run::open(disk.clone(), 4_000).expect("as the test made it");
    let one = message("t", b"one", false, None);
    let kept = store.append(&one, None, Urgency::Now);
    let kept = kept.expect("as the test made it").position.offset;
    store.close();
    assert_eq!(store.remember(&one).unwrap_err(), StoreError::Failed);
    assert_eq!(
        store.append(&one, None, Urgency::Now).unwrap_err(),
        StoreError::Failed
    );
    assert_eq!(store.pass().offset, kept);
    // whoever waits for what is not written any more is told so
    let late = Change::WillDone { client: "c".into() };
    let late = store.change(late, Urgency::Now);
    assert!(!wait(&store, late));
    drop(store);
    let (store, _) = run::open(disk, 4_000).expect("as the test made it");
    let next = store.append(&one, None, Urgency::Now);
    assert_eq!(next.expect("as the test made it").position.offset, kept + 1);
}
