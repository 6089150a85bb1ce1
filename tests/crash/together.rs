//! Messages that are kept all or none, and requests that happen once: whatever a crash leaves of them.

use crate::{
    disk::{MemoryDisk, Step, after_crash},
    random::Random,
    run::{self, Model, message},
    states::seed,
};
use std::{io, sync::Arc};
use tidegate::{
    auth::identity::Identity,
    broker::{
        Broker, Draft, Refused, config::Config, idempotency::Met, publish::together::Outcome,
    },
    message::Millis,
    mqtt::{Qos, topic::TopicName},
    session::limits::Limits,
    store::{Store, Urgency, once::Once},
};

fn runs() -> usize {
    match std::env::var_os("TIDEGATE_TEST_LONG") {
        Some(_) => 40,
        None => 4,
    }
}

/// What was appended in one call.
struct Request {
    key: Option<String>,
    offsets: Vec<u64>,
    /// Of its last record.
    lsn: u64,
}

fn once(key: &str, fingerprint: u8) -> Arc<Once> {
    Arc::new(Once {
        user: None,
        key: key.into(),
        fingerprint: [fingerprint; 32],
        at: Millis(1_000),
        answer: format!("answer to {key}").into_bytes().into(),
    })
}

struct Appended {
    disk: MemoryDisk,
    requests: Vec<Request>,
    trims: Vec<(usize, u64)>,
}

/// Appends requests of one to six messages, many of them with a key, and gives back segments meanwhile.
fn appended(random: &mut Random) -> Appended {
    let disk = MemoryDisk::default();
    let (store, _) = run::open(disk.clone(), 4_000).expect("it opens");
    let mut all = Appended {
        disk: disk.clone(),
        requests: Vec::new(),
        trims: vec![(0, 0)],
    };
    let mut sizes = Vec::new();
    for number in 0..80 {
        let count = 1 + random.below(6);
        let messages: Vec<_> = (0..count)
            .map(|nth| {
                let mut payload = format!("{number}/{nth}").into_bytes();
                payload.resize(payload.len() + random.below(900) as usize, b'.');
                message(&format!("t/{nth}"), &payload, false, None)
            })
            .collect();
        let key = random.once_in(2).then(|| format!("key-{number}"));
        let once = key.as_deref().map(|key| once(key, number as u8));
        let appended = store
            .append_together(&messages, once.as_ref(), Urgency::Soon)
            .expect("room");
        let offsets: Vec<_> = appended.iter().map(|one| one.position.offset).collect();
        let lsn = appended.last().expect("at least one").lsn.0;
        let head = *offsets.last().expect("at least one");
        sizes.extend(appended.iter().map(|one| (one.position.offset, one.size)));
        all.requests.push(Request { key, offsets, lsn });
        if random.once_in(3) {
            let newest = store.newest();
            assert!(run::wait(&store, newest));
            disk.told(newest.0);
        }
        if random.once_in(8) {
            let (before, through) = (store.trimmed(), random.between(store.trimmed(), head));
            let gone = sizes
                .iter()
                .filter(|(at, _)| (before + 1..=through).contains(at));
            let bytes = gone.clone().map(|(_, size)| size).sum();
            store.trim(through, gone.count(), bytes);
            all.trims.push((disk.steps().len(), store.trimmed()));
            store.compact(&|_, _, _| {}, 0);
        }
    }
    drop(store);
    all
}

#[test]
fn whenever_it_crashes_a_request_is_there_whole_and_with_its_key_or_not_at_all() {
    let seed = seed();
    let mut random = Random::seeded(seed);
    let (mut torn, mut given_back) = (0, 0);
    for nth in 0..runs() {
        let Appended {
            disk,
            requests,
            trims,
        } = appended(&mut random);
        let steps = disk.steps();
        let is_removal = |step: &&Step| matches!(step, Step::Remove(_));
        given_back += steps.iter().filter(is_removal).count();
        for _ in 0..150 {
            let cut = random.between(0, steps.len() as u64) as usize;
            let what = format!("seed {seed}, run {nth}, cut {cut}");
            let files = after_crash(&steps[..cut], &mut random);
            let told = steps[..cut].iter().rev().find_map(|step| match step {
                Step::Told(lsn) => Some(*lsn),
                _ => None,
            });
            let told = told.unwrap_or(0);
            let trimmed = trims.iter().filter(|(at, _)| *at <= cut);
            let trimmed = trimmed.map(|(_, through)| *through).max().unwrap_or(0);
            let opened = run::open(MemoryDisk::holding(files), 4_000);
            let (store, recovered) = opened.unwrap_or_else(|error| panic!("{what}: {error}"));
            assert!(
                recovered.damage.is_empty(),
                "{what}: {:?}",
                recovered.damage
            );
            let found = Model::found(&store, &recovered, trimmed).messages;
            for request in &requests {
                let wanted = request.offsets.iter().copied().filter(|at| *at > trimmed);
                let (there, missing): (Vec<u64>, Vec<u64>) =
                    wanted.partition(|at| found.contains_key(at));
                assert!(there.is_empty() || missing.is_empty(), "{what}: in part");
                let was_told = request.lsn <= told;
                assert!(!was_told || missing.is_empty(), "{what}: lost");
                torn += usize::from(!was_told && !missing.is_empty());
                let Some(key) = &request.key else { continue };
                let known = store.once(&None, key);
                match known.map(|once| once.answer.clone()) {
                    Some(answer) => {
                        assert_eq!(*answer, *format!("answer to {key}").into_bytes(), "{what}");
                        assert!(missing.is_empty(), "{what}: {key} without its messages");
                    }
                    None => {
                        assert!(!was_told, "{what}: {key} forgotten");
                        assert!(there.is_empty(), "{what}: messages without {key}");
                    }
                }
            }
        }
    }
    assert!(torn > 0, "no crash came before the end of a request");
    assert!(given_back > 0, "no run gave a segment back");
}

#[test]
fn what_was_forgotten_or_came_again_is_so_after_a_start() {
    let disk = MemoryDisk::default();
    let (store, _) = run::open(disk.clone(), 4_000).expect("it opens");
    let one = [message("t", b"one", false, None)];
    for (key, fingerprint) in [("a", 1), ("b", 2), ("a", 3)] {
        let once = once(key, fingerprint);
        store
            .append_together(&one, Some(&once), Urgency::Now)
            .expect("room");
    }
    drop(store);
    let (store, _) = run::open(MemoryDisk::holding(disk.files()), 4_000).expect("it opens");
    let fingerprint = |key| store.once(&None, key).map(|once| once.fingerprint[0]);
    assert_eq!((fingerprint("a"), fingerprint("b")), (Some(3), Some(2)));
    store.forget_once(Millis(u64::MAX));
    assert_eq!((fingerprint("a"), fingerprint("b")), (None, None));
}

fn draft() -> Draft {
    Draft {
        topic: TopicName::parse("t").expect("as the test made it"),
        payload: b"once".into(),
        qos: Qos::AtLeastOnce,
        retain: true,
        properties: None,
    }
}

#[tokio::test]
async fn a_request_whose_sync_failed_is_not_done_again_while_the_process_lives() {
    let steps = {
        let disk = MemoryDisk::default();
        let (store, _) = run::open(disk.clone(), 1 << 20).expect("it opens");
        // what a start writes is written before anybody publishes
        let newest = store.newest();
        assert!(run::wait(&store, newest));
        disk.steps().len()
    };
    let mut unknown = 0;
    for step in steps + 1..steps + 14 {
        let disk = MemoryDisk::failing_at(step, io::ErrorKind::Other);
        let (store, _) = run::open(disk.clone(), 1 << 20).expect("it opens");
        let broker = Broker::new(Config::default(), Limits::default(), Box::new(store));
        for number in 0..4 {
            let key: Arc<str> = format!("key-{number}").into();
            let Met::New(running) = broker.begin_once(None, key.clone(), [7; 32]) else {
                panic!("met for the first time");
            };
            let mut publisher = broker.publisher(Identity::anonymous(), None);
            let answer = |_: &[Outcome]| -> Box<[u8]> { Box::from(&b"answer"[..]) };
            let answering = Some((&running, &answer as _));
            let done = broker.publish_together(&mut publisher, vec![draft()], false, answering);
            let Ok(done) = done else {
                break; // it had failed before
            };
            let outcome = broker.durable(done.durable_at.expect("it has a key")).await;
            drop(running);
            let Met::Done(once) = broker.begin_once(None, key, [7; 32]) else {
                panic!("it was published: it must not be again");
            };
            assert_eq!(&*once.answer, b"answer");
            let again = broker.durable(broker.everything_durable()).await;
            assert_eq!(again.is_ok(), outcome.is_ok(), "told the same again");
            if outcome.is_err() {
                assert_eq!(outcome, Err(Refused::StorageFailed));
                unknown += 1;
                break;
            }
        }
    }
    assert!(unknown > 0, "no sync of a request failed");
}
