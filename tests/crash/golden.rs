//! A data folder of format 1, as it was written once: every later version opens it.

use std::{fs, path::Path, sync::Arc};
use tidegate::{
    message::{Epoch, Millis},
    mqtt::{
        PacketId, Qos,
        connect::Will,
        subscribe::SubscriptionOptions,
        topic::{TopicFilter, TopicName},
    },
    session::{
        snapshot::{Outgoing, Snapshot, Stage},
        subscriptions::Subscription,
    },
    store::{
        Store, Urgency,
        config::Durability,
        disk::Folder,
        log::{DiskStore, Options},
        once::Once,
        record::Change,
        recovery::{self, Header, OpenError, Recovered},
    },
};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/crash/golden/format-1");

/// As well of format 1, from a version that knows requests that happen once.
const WITH_KEYS: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/crash/golden/format-1-keys"
);

fn open(path: &Path) -> Result<(DiskStore, Recovered), OpenError> {
    let folder = Folder::open(path.to_owned())?;
    let options = Options::new(Durability::Fsync, 1 << 30, 1 << 20);
    let fresh = Header {
        epoch: Epoch(*b"goldgold"),
        secret: 0x60_1d,
        segment: 0,
    };
    recovery::open(Arc::new(folder), options, fresh, Millis(1_000), &|_| 0)
}

fn id(value: u16) -> PacketId {
    PacketId::new(value).expect("as the test made it")
}

fn session() -> Snapshot {
    let mut session = Snapshot::new("golden".into(), Some("user".into()), 3600, 1);
    session.parked = Some(Millis(900));
    session.subscribe(Subscription {
        filter: TopicFilter::parse("a/+/#").expect("as the test made it"),
        options: SubscriptionOptions {
            qos: Qos::ExactlyOnce,
            no_local: true,
            ..Default::default()
        },
        id: Some(7),
        since: 1,
    });
    session.unreleased.insert(id(3));
    session.outgoing.push_back(Outgoing {
        packet_id: id(9),
        offset: 2,
        stage: Stage::Release,
        retain: false,
        group: None,
    });
    session
}

fn will() -> Will {
    Will {
        topic: TopicName::parse("will").expect("as the test made it"),
        payload: b"gone".into(),
        qos: Qos::AtLeastOnce,
        retain: true,
        delay: 5,
        properties: None,
    }
}

#[test]
fn a_folder_of_format_1_opens_and_holds_what_was_put_into_it() {
    if std::env::var_os("TIDEGATE_WRITE_GOLDEN").is_some() {
        let _ = fs::remove_dir_all(GOLDEN);
        write();
    }
    let copy = copy_of(GOLDEN);
    let (store, recovered) = open(copy.path()).expect("as the test made it");
    assert!(recovered.damage.is_empty() && recovered.clean);
    assert_eq!(store.epoch(), Epoch(*b"goldgold"));
    assert_messages(
        &store,
        &[(1, "a/b/c", "one"), (2, "a/b/c", "two"), (3, "r", "kept")],
    );
    let kept = recovered
        .retained
        .values()
        .next()
        .expect("as the test made it");
    assert_eq!((kept.0, &*kept.1.payload), (3, &b"kept"[..]));
    assert_eq!(recovered.sessions, [session()]);
    assert_eq!(&*recovered.wills[0].0, "golden");
    assert_eq!(recovered.wills[0].1.will, will());
    assert_eq!(&*recovered.groups[0].0, "$share/g/a");
    assert_eq!(recovered.groups[0].1.through, 2);
}

/// Position, topic and payload of everything in the log.
fn assert_messages(store: &DiskStore, expected: &[(u64, &str, &str)]) {
    let records = store.read(0, 10, None).records;
    let read = records
        .iter()
        .map(|r| (r.offset, &*r.message.topic, &*r.message.payload));
    let expected = expected.iter();
    let expected = expected.map(|(offset, topic, text)| (*offset, *topic, text.as_bytes()));
    assert_eq!(read.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
}

fn copy_of(folder: &str) -> tempfile::TempDir {
    let copy = tempfile::tempdir().expect("as the test made it");
    for entry in fs::read_dir(folder)
        .expect("as the test made it")
        .map(Result::unwrap)
    {
        fs::copy(entry.path(), copy.path().join(entry.file_name())).expect("as the test made it");
    }
    copy
}

fn once(user: Option<&str>, key: &str) -> Arc<Once> {
    Arc::new(Once {
        user: user.map(Arc::from),
        key: key.into(),
        fingerprint: [0xA5; 32],
        at: Millis(800),
        answer: b"answer".to_vec().into(),
    })
}

#[test]
fn a_folder_with_requests_that_happen_once_opens_and_knows_them() {
    if std::env::var_os("TIDEGATE_WRITE_GOLDEN").is_some() {
        let _ = fs::remove_dir_all(WITH_KEYS);
        write_keys();
    }
    let copy = copy_of(WITH_KEYS);
    let (store, recovered) = open(copy.path()).expect("as the test made it");
    assert!(recovered.damage.is_empty() && recovered.clean);
    assert_messages(
        &store,
        &[
            (1, "a", "one"),
            (2, "a", "two"),
            (3, "a", "three"),
            (4, "a", "four"),
        ],
    );
    for (user, key) in [(None, "first"), (Some("ann"), "second"), (None, "moved")] {
        let known = store.once(&user.map(Arc::from), key);
        assert_eq!(known, Some(once(user, key)));
    }
}

fn write_keys() {
    let (store, _) = open(Path::new(WITH_KEYS)).expect("as the test made it");
    let message = |text: &str| crate::run::message("a", text.as_bytes(), false, None);
    let append = |texts: &[&str], once: Option<Arc<Once>>| {
        let messages: Vec<_> = texts.iter().map(|text| message(text)).collect();
        store
            .append_together(&messages, once.as_ref(), Urgency::Now)
            .expect("as the test made it");
    };
    append(&["one"], Some(once(None, "first")));
    append(&["two", "three"], Some(once(Some("ann"), "second")));
    append(&["four"], None);
    store.change(Change::Once(once(None, "moved")), Urgency::Now);
    drop(store);
    let _ = fs::remove_file(Path::new(WITH_KEYS).join("lock"));
}

fn write() {
    let (store, _) = open(Path::new(GOLDEN)).expect("as the test made it");
    for (topic, payload) in [("a/b/c", "one"), ("a/b/c", "two"), ("r", "kept")] {
        let one = crate::run::message(topic, payload.as_bytes(), topic == "r", Some("in"));
        store
            .append(&one, None, Urgency::Now)
            .expect("as the test made it");
    }
    store.change(Change::Session(Box::new(session())), Urgency::Now);
    store.change(
        Change::Will {
            client: "golden".into(),
            user: None,
            will: will(),
        },
        Urgency::Now,
    );
    store.change(
        Change::Group {
            filter: "$share/g/a".into(),
            through: 2,
            done: vec![4],
            open: Vec::new(),
        },
        Urgency::Now,
    );
    drop(store);
    let _ = fs::remove_file(Path::new(GOLDEN).join("lock"));
}

#[test]
fn a_folder_of_a_later_format_is_refused_by_name() {
    let copy = tempfile::tempdir().expect("as the test made it");
    let (store, _) = open(copy.path()).expect("as the test made it");
    drop(store);
    let file = copy.path().join("0000000001.log");
    let mut bytes = fs::read(&file).expect("as the test made it");
    bytes[8] = 2;
    let sum = crc32fast::hash(&bytes[..60]);
    bytes[60..64].copy_from_slice(&sum.to_le_bytes());
    fs::write(&file, bytes).expect("as the test made it");
    let Err(refused) = open(copy.path()) else {
        panic!("opened");
    };
    let text = refused.to_string();
    assert!(text.contains("0000000001.log is of format 2"), "{text}");
}
