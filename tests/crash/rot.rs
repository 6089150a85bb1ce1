//! Flipped bits, cut files and zeroed pages: the rest is served, and nothing wrong ever is.

use crate::{
    disk::{Files, MemoryDisk},
    random::Random,
    run::{self, Model, message},
    states::seed,
};
use std::collections::BTreeMap;
use tidegate::store::{Store, Urgency, log::DiskStore, record::Change};

fn trials() -> usize {
    match std::env::var_os("TIDEGATE_TEST_LONG") {
        Some(_) => 10_000,
        None => 200,
    }
}

fn written(store: &DiskStore, random: &mut Random) -> BTreeMap<u64, Vec<u8>> {
    let mut all = BTreeMap::new();
    for number in 0..400 {
        let mut payload = format!("message {number}").into_bytes();
        payload.resize(payload.len() + random.below(300) as usize, b'.');
        let one = message(&format!("t/{number}"), &payload, false, None);
        let appended = store
            .append(&one, None, Urgency::Soon)
            .expect("as the test made it");
        all.insert(appended.position.offset, payload);
        if number % 10 == 0 {
            let newest = store.newest();
            assert!(run::wait(store, newest));
            let client = "c".into();
            store.change(Change::WillDone { client }, Urgency::Soon);
        }
    }
    all
}

/// Damages the files, and tells in which file and between which bytes.
fn damage(files: &mut Files, random: &mut Random) -> (String, usize, usize, &'static str) {
    let names: Vec<_> = files.keys().cloned().collect();
    let name = names[random.below(names.len() as u64) as usize].clone();
    let file = files.get_mut(&name).expect("as the test made it");
    let at = random.below(file.len() as u64) as usize;
    match random.below(4) {
        0 => {
            let page = at / 4096 * 4096;
            let end = (page + 4096).min(file.len());
            file[page..end].fill(0);
            (name, page, end, "zeroed")
        }
        1 => {
            let end = file.len();
            file.truncate(at);
            (name, at, end, "cut")
        }
        _ => {
            file[at] ^= 1 << random.below(8);
            (name, at, at + 1, "flipped")
        }
    }
}

#[test]
fn damage_costs_the_records_it_hits_and_nothing_wrong_is_ever_served() {
    let seed = seed();
    let mut random = Random::seeded(seed);
    let disk = MemoryDisk::default();
    let (store, _) = run::open(disk.clone(), 20_000).expect("as the test made it");
    let all = written(&store, &mut random);
    drop(store);
    let whole = disk.files();
    assert!(whole.len() > 3, "several segments");
    let last = whole.keys().last().cloned();
    let mut unreported = Vec::new();
    for trial in 0..trials() {
        let mut files = whole.clone();
        let (name, at, end, how) = damage(&mut files, &mut random);
        let what = format!("seed {seed}, trial {trial}: {name} {how} {at}..{end}");
        let opened = run::open(MemoryDisk::holding(files), 20_000);
        let (store, recovered) = opened.unwrap_or_else(|error| panic!("{what}: {error}"));
        let found = Model::found(&store, &recovered, 0).messages;
        for (offset, payload) in &found {
            assert_eq!(
                all.get(offset),
                Some(payload),
                "{what}: wrong payload at {offset}"
            );
        }
        let lost = all.len() - found.len();
        match how {
            "flipped" => assert!(lost <= 1, "{what}: {lost} lost"),
            // records of 64 bytes and more
            "zeroed" => assert!(lost <= 4096 / 64 + 2, "{what}: {lost} lost"),
            _ => {}
        }
        // what is cut off the end of the log, or zeros there, look as if there had never been anything
        let is_end = how != "flipped" && last.as_ref() == Some(&name) && end == whole[&name].len();
        if lost > 0 && recovered.damage.is_empty() && !is_end {
            unreported.push(format!("{what} of {}: {lost} lost", whole[&name].len()));
        }
    }
    assert!(
        unreported.is_empty(),
        "loss without a report: {unreported:#?}"
    );
}

/// A log of several runs, each with a message, and the last position given.
fn runs(count: usize) -> (Files, u64) {
    let disk = MemoryDisk::default();
    let mut last = 0;
    for _ in 0..count {
        let (store, _) = run::open(disk.clone(), 20_000).expect("as the test made it");
        let one = message("t", b"one", false, None);
        let appended = store
            .append(&one, None, Urgency::Now)
            .expect("as the test made it");
        last = appended.position.offset;
    }
    (disk.files(), last)
}

#[test]
fn a_stop_that_damage_follows_is_not_the_last_and_no_position_is_given_twice() {
    let (mut files, last) = runs(2);
    let second = files.values_mut().last().expect("as the test made it");
    second[64..].fill(0xff);
    let (store, recovered) =
        run::open(MemoryDisk::holding(files), 20_000).expect("as the test made it");
    assert!(!recovered.clean);
    let next = message("t", b"next", false, None);
    let next = store
        .append(&next, None, Urgency::Now)
        .expect("as the test made it");
    assert!(next.position.offset > last, "{next:?} after {last}");
}

#[test]
fn a_file_that_is_gone_from_the_middle_is_reported_and_the_rest_is_served() {
    let (mut files, _) = runs(3);
    let middle = files.keys().nth(1).cloned().expect("as the test made it");
    files.remove(&middle);
    let (store, recovered) =
        run::open(MemoryDisk::holding(files), 20_000).expect("as the test made it");
    assert_eq!(recovered.damage.len(), 1, "{:?}", recovered.damage);
    let found = Model::found(&store, &recovered, 0);
    assert_eq!(found.messages.len(), 2);
}

#[test]
fn a_log_whose_only_header_is_damaged_is_set_aside_and_a_new_one_begins() {
    let (mut files, _) = runs(1);
    let (name, file) = files.iter_mut().next().expect("as the test made it");
    let name = name.clone();
    file[20] ^= 1;
    let disk = MemoryDisk::holding(files);
    let (store, recovered) = run::open(disk.clone(), 20_000).expect("as the test made it");
    assert_eq!(recovered.damage.len(), 1);
    assert!(recovered.damage[0].bytes > 64, "{:?}", recovered.damage);
    assert!(disk.files().contains_key(&format!("{name}.damaged")));
    let one = message("t", b"one", false, None);
    let appended = store.append(&one, None, Urgency::Now);
    assert!(run::wait(
        &store,
        appended.expect("as the test made it").lsn
    ));
    // and what is set aside once is not overwritten when that happens again
    drop(store);
    let mut files = disk.files();
    let is_log = |file: &(&String, &mut Vec<u8>)| file.0.ends_with(".log");
    let again = files.iter_mut().find(is_log).expect("the new one");
    again.1[20] ^= 1;
    let disk = MemoryDisk::holding(files);
    drop(run::open(disk.clone(), 20_000).expect("as the test made it"));
    let files = disk.files();
    let aside = files.keys().filter(|name| name.ends_with(".damaged"));
    assert_eq!(aside.count(), 2);
}
