//! Wills: when they are published, and who gets them.

use super::{
    broker, connect, on_disk, opening, publish, receive, subscribe, subscribe_with,
    wait_until_closed,
};
use crate::{
    broker::{
        registry::{Ending, StoredWill},
        *,
    },
    mqtt::{connect::Will, subscribe::SubscriptionOptions},
};

fn will(topic: &str, delay: u32) -> StoredWill {
    StoredWill {
        identity: Identity::anonymous(),
        number: 0,
        will: Will {
            topic: TopicName::parse(topic).unwrap(),
            payload: topic.into(),
            qos: Qos::AtLeastOnce,
            retain: false,
            delay,
            properties: None,
        },
    }
}

#[tokio::test]
async fn mqtt_3_8_3_3_no_local_keeps_a_will_from_the_client_it_is_of() {
    let broker = broker(1000);
    for takeover in [true, false] {
        let mut client = connect(&broker, "c", 100).await;
        let options = SubscriptionOptions {
            qos: Qos::AtLeastOnce,
            no_local: true,
            ..Default::default()
        };
        subscribe_with(&broker, &mut client, "will/#", options);
        let other = "will/other";
        let newcomer = takeover.then(|| {
            let (broker, opening) = (broker.clone(), opening(&broker, "c", 100));
            tokio::spawn(async move {
                broker
                    .connect(&opening, false, &Identity::anonymous())
                    .await
                    .map(|begun| begun.0)
            })
        });
        if takeover {
            wait_until_closed(&client.outbox).await;
        }
        broker.detach(client, Some(will("will/own", 0)), Ending::Broken);
        let mut back = match newcomer {
            Some(newcomer) => newcomer.await.unwrap().unwrap(),
            None => connect(&broker, "c", 100).await,
        };
        publish(&broker, other, other, Qos::AtLeastOnce);
        assert_eq!(receive(&broker, &mut back), [other], "takeover: {takeover}");
        broker.detach(back, None, Ending::Goodbye);
    }
}

#[tokio::test]
async fn mqtt_3_1_2_8_who_begins_anew_does_not_get_the_will_of_its_former_self() {
    let broker = broker(1000);
    let old = connect(&broker, "c", 100).await;
    broker.detach(old, Some(will("will/own", 50)), Ending::Broken);
    let mut watcher = connect(&broker, "watcher", 0).await;
    subscribe(&broker, &mut watcher, "will/#", Qos::AtLeastOnce);
    let opening = opening(&broker, "c", 100);
    let (mut fresh, _) = broker
        .connect(&opening, true, &Identity::anonymous())
        .await
        .unwrap();
    subscribe(&broker, &mut fresh, "will/#", Qos::AtLeastOnce);
    publish(&broker, "will/marker", "marker", Qos::AtLeastOnce);
    assert_eq!(receive(&broker, &mut watcher), ["will/own", "marker"]);
    assert_eq!(receive(&broker, &mut fresh), ["marker"]);
}

#[tokio::test]
async fn a_will_waits_for_its_delay_and_is_dropped_if_the_client_returns() {
    let broker = broker(1000);
    let mut watcher = connect(&broker, "watcher", 0).await;
    subscribe(&broker, &mut watcher, "will/#", Qos::AtLeastOnce);
    let leave = async |client_id, delay, ending| {
        let attached = connect(&broker, client_id, 100).await;
        broker.detach(
            attached,
            Some(will(&format!("will/{client_id}"), delay)),
            ending,
        );
    };
    leave("polite", 0, Ending::Goodbye).await;
    leave("stopped", 0, Ending::Stopped).await;
    leave("returns", 50, Ending::Broken).await;
    leave("waits", 50, Ending::Broken).await;
    leave("gone", 0, Ending::Broken).await;
    connect(&broker, "returns", 100).await;
    assert_eq!(receive(&broker, &mut watcher), ["will/gone"]);
    while let Some(timer) = broker.0.timers.take_due(broker.now().plus_seconds(60)) {
        broker.due(&timer.client_id, timer.number, timer.session_ends);
    }
    assert_eq!(receive(&broker, &mut watcher), ["will/waits"]);
}

#[tokio::test]
async fn a_will_that_is_done_late_leaves_that_of_the_next_connection() {
    let data = tempfile::tempdir().unwrap();
    {
        let broker = on_disk(&data);
        let client_id: Arc<str> = "c".into();
        let mut first = will("will/first", 0);
        broker.owe_will(&client_id, &mut first);
        // the client is back before the end of its former connection is written down
        broker.owe_will(&client_id, &mut will("will/second", 0));
        broker.publish_will(&client_id, None, first);
        broker.0.store.close();
    }
    let broker = on_disk(&data);
    let owed = broker.0.registry.owed.lock();
    let topics: Vec<_> = owed.values().map(|stored| &*stored.will.topic).collect();
    assert_eq!(topics, ["will/second"]);
}
