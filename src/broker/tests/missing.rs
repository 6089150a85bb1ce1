//! A session that is kept misses nothing: what waits, what is in the log, and what is neither.

use super::{
    acknowledge, broker, connect, look, numbers, publish, publish_numbers, receive, subscribe,
    subscribe_with,
};
use crate::{
    broker::{outbox::CloseReason, registry::Ending, *},
    mqtt::subscribe::SubscriptionOptions,
};

#[tokio::test]
async fn a_durable_session_gets_what_it_missed_once_and_in_order_then_goes_on_live() {
    let broker = broker(1000);
    let mut away = connect(&broker, "away", 100).await;
    subscribe(&broker, &mut away, "t/#", Qos::AtLeastOnce);
    publish_numbers(&broker, "t/x", 0..3);
    assert_eq!(receive(&broker, &mut away), numbers(0..3));
    broker.detach(away, None, Ending::Broken);
    publish_numbers(&broker, "t/x", 3..6);
    publish(
        &broker,
        "t/x",
        "lost: QoS 0 waits for nobody",
        Qos::AtMostOnce,
    );
    publish(&broker, "other", "not asked for", Qos::AtLeastOnce);
    let mut back = connect(&broker, "away", 100).await;
    assert!(back.present);
    publish(&broker, "t/x", "6", Qos::AtLeastOnce);
    assert_eq!(receive(&broker, &mut back), numbers(3..7));
    publish(&broker, "t/x", "7", Qos::ExactlyOnce);
    assert_eq!(receive(&broker, &mut back), numbers(7..8));
}

#[tokio::test]
async fn a_durable_session_that_overflows_reads_the_log_and_misses_nothing() {
    let broker = broker(4);
    let mut slow = connect(&broker, "slow", 100).await;
    subscribe(&broker, &mut slow, "t", Qos::AtLeastOnce);
    publish_numbers(&broker, "t", 0..20);
    assert!(look(&slow.outbox).behind);
    assert_eq!(receive(&broker, &mut slow), numbers(0..20));
    assert!(!look(&slow.outbox).behind);
}

#[tokio::test]
async fn a_clean_session_that_overflows_at_qos_1_is_closed_and_at_qos_0_loses_the_newest() {
    let broker = broker(4);
    let mut careful = connect(&broker, "careful", 0).await;
    let mut careless = connect(&broker, "careless", 0).await;
    subscribe(&broker, &mut careful, "t", Qos::AtLeastOnce);
    subscribe(&broker, &mut careless, "t", Qos::AtMostOnce);
    publish_numbers(&broker, "t", 0..6);
    assert_eq!(look(&careful.outbox).closing, Some(CloseReason::TooSlow));
    assert_eq!(look(&careless.outbox).closing, None);
    assert_eq!(receive(&broker, &mut careless), numbers(0..4));
}

#[tokio::test]
async fn what_waits_for_an_absent_session_is_limited_and_the_oldest_goes() {
    let broker = broker(3);
    let mut away = connect(&broker, "away", 100).await;
    subscribe(&broker, &mut away, "t", Qos::AtLeastOnce);
    broker.detach(away, None, Ending::Broken);
    publish_numbers(&broker, "t", 0..10);
    let mut back = connect(&broker, "away", 100).await;
    assert_eq!(receive(&broker, &mut back), numbers(7..10));
}

#[tokio::test]
async fn the_log_is_cleaned_behind_the_last_who_needs_it() {
    let broker = broker(1000);
    let mut first = connect(&broker, "first", 100).await;
    let mut second = connect(&broker, "second", 100).await;
    subscribe(&broker, &mut first, "t", Qos::AtLeastOnce);
    subscribe(&broker, &mut second, "t", Qos::AtLeastOnce);
    publish_numbers(&broker, "t", 0..5);
    receive(&broker, &mut first);
    acknowledge(&broker, &mut first);
    receive(&broker, &mut second);
    broker.clean_log();
    assert_eq!(broker.0.store.size().0, 5);
    acknowledge(&broker, &mut second);
    broker.clean_log();
    assert_eq!(broker.0.store.size().0, 0);
}

#[tokio::test]
async fn a_message_nobody_durable_wants_is_not_recorded() {
    let broker = broker(1000);
    let mut clean = connect(&broker, "clean", 0).await;
    subscribe(&broker, &mut clean, "t", Qos::ExactlyOnce);
    assert_eq!(publish(&broker, "t", "x", Qos::ExactlyOnce).position, None);
    assert_eq!(receive(&broker, &mut clean), ["x"]);
}

#[tokio::test]
async fn a_session_resumed_for_the_last_time_gets_what_it_missed_before_what_comes_now() {
    let broker = broker(1000);
    let mut client = connect(&broker, "client", 100).await;
    subscribe(&broker, &mut client, "t", Qos::AtLeastOnce);
    broker.detach(client, None, Ending::Broken);
    publish_numbers(&broker, "t", 0..3);
    // from now on the session ends with its connection
    let mut back = connect(&broker, "client", 0).await;
    broker.clean_log();
    publish_numbers(&broker, "t", 3..5);
    assert_eq!(receive(&broker, &mut back), numbers(0..5));
}

#[tokio::test]
async fn what_no_local_keeps_from_its_publisher_is_not_kept_in_the_log_for_it() {
    let broker = broker(1000);
    let mut bridge = connect(&broker, "bridge", 100).await;
    let options = SubscriptionOptions {
        qos: Qos::AtLeastOnce,
        no_local: true,
        ..Default::default()
    };
    subscribe_with(&broker, &mut bridge, "t", options);
    let anyone = Identity::anonymous();
    let mut other = connect(&broker, "other", 100).await;
    subscribe(&broker, &mut other, "t", Qos::AtLeastOnce);
    let origin = crate::message::Origin {
        client_id: Some("bridge".into()),
        user: None,
    };
    let mut publisher = Publisher::new(anyone, origin.into(), Some(bridge.outbox.key()));
    let draft = Draft {
        topic: TopicName::parse("t").unwrap(),
        payload: b"own".into(),
        qos: Qos::AtLeastOnce,
        retain: false,
        properties: None,
    };
    broker.publish(&mut publisher, draft).unwrap();
    broker.clean_log();
    assert_eq!(broker.0.store.size().0, 1);
    assert_eq!(receive(&broker, &mut other), ["own"]);
    acknowledge(&broker, &mut other);
    broker.clean_log();
    assert_eq!(broker.0.store.size().0, 0);
    assert_eq!(receive(&broker, &mut bridge), [""; 0]);
}
