//! When the store is full of messages, and when one is too large for it.

use super::*;
use crate::{
    auth::rules::Way,
    broker::registry::Ending,
    store::{Urgency, record::Change},
};

/// A broker whose store takes about so many messages of 100 bytes.
fn broker_with_room_for(messages: usize) -> (Broker, usize) {
    let one = Draft {
        payload: ".".repeat(100).as_str().into(),
        ..draft()
    };
    let weight = one.into_message(None, Millis(0)).weight();
    let store = MemoryStore::new(Epoch(*b"testtest"), messages * weight, 1 << 20);
    let config = Config::default();
    (
        Broker::new(config, Limits::default(), Box::new(store)),
        messages * weight,
    )
}

fn draft() -> Draft {
    Draft {
        topic: TopicName::parse("t").unwrap(),
        payload: "".into(),
        qos: Qos::AtLeastOnce,
        retain: false,
        properties: None,
    }
}

#[tokio::test]
async fn whoever_publishes_above_the_limit_clears_away_no_more_than_that_takes() {
    let (broker, _) = broker_with_room_for(10);
    let mut reader = connect(&broker, "reader", 60).await;
    subscribe(&broker, &mut reader, "t", Qos::AtLeastOnce);
    let text = ".".repeat(100);
    for _ in 0..10 {
        publish(&broker, "t", &text, Qos::AtLeastOnce);
    }
    receive(&broker, &mut reader);
    acknowledge(&broker, &mut reader);
    // nobody needs any of them now, and it is the next round that clears them away
    assert_eq!(broker.0.store.size().0, 10);
    publish(&broker, "t", &text, Qos::AtLeastOnce);
    assert_eq!(broker.0.store.size().0, 10);
    let mut publisher = broker.publisher(Identity::anonymous(), None);
    let one = Draft {
        payload: text.as_str().into(),
        ..draft()
    };
    broker
        .publish_together(&mut publisher, vec![one], true, None)
        .unwrap();
    assert_eq!(broker.0.store.size().0, 10);
    broker.clean_log();
    assert_eq!(broker.0.store.size().0, 2);
}

#[tokio::test]
async fn a_message_that_the_store_can_never_hold_is_too_large() {
    let (broker, max_bytes) = broker_with_room_for(10);
    let mut reader = connect(&broker, "reader", 60).await;
    subscribe(&broker, &mut reader, "t", Qos::AtLeastOnce);
    let one = Draft {
        payload: ".".repeat(max_bytes).as_str().into(),
        ..draft()
    };
    let mut publisher = broker.publisher(Identity::anonymous(), None);
    let refused = broker.publish(&mut publisher, one).unwrap_err();
    // an acknowledgement has no 0x95
    assert_eq!(refused.reason(), ReasonCode::QuotaExceeded);
    assert_eq!(refused.kind(), Refusal::TooLarge);
    assert!(refused.is_want_of_room());
}

#[tokio::test]
async fn changes_that_no_message_counts_for_do_not_grow_behind_one_that_waits() {
    let data = tempfile::tempdir().unwrap();
    let broker = on_disk(&data);
    let mut away = connect(&broker, "away", 100).await;
    subscribe(&broker, &mut away, "t", Qos::AtLeastOnce);
    broker.detach(away, None, Ending::Broken);
    publish(&broker, "t", "it waits", Qos::AtLeastOnce);
    let files = || -> u64 {
        let files = std::fs::read_dir(data.path()).unwrap();
        files
            .map(|file| file.unwrap().metadata().unwrap().len())
            .sum()
    };
    // the log is to have a megabyte, and so has each of its files
    for megabytes in 1..=20 {
        for _ in 0..20 {
            let way = Way {
                groups: vec!["g".repeat(50_000).into()],
                ..Way::default()
            };
            let client = "away".into();
            broker.tell(Change::CameIn { client, way }, Urgency::Now);
        }
        let all = broker.everything_durable();
        broker.watermark().reached(all).await.unwrap();
        broker.compact();
        broker.clean_log();
        broker.compact();
        if megabytes == 2 {
            assert_eq!(broker.0.store.size().0, 1);
        }
    }
    assert_eq!(broker.0.store.size().0, 0);
    assert!(files() < 12 << 20, "{} bytes", files());
}
