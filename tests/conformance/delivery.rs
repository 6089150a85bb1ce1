//! Section 4.3: the flows of QoS 0, 1 and 2, in both directions.

use std::{collections::BTreeSet, time::Duration};

use crate::{
    stage::{Stage, with_id},
    support::{
        mqtt::Client,
        unique,
        wire::{self, PUBACK, PUBCOMP, PUBREC, PUBREL, Publish, Value, property},
    },
};

claims! {
    v5_v311_mqtt_4_3_2_1_fresh_deliveries_have_free_identifiers_and_no_dup:
        v5["4.3.2-1", "4.3.2-2", "4.3.3-1", "4.3.3-2"] v311["4.3.2-1", "4.3.3-1"];
    v5_v311_mqtt_4_3_2_3_qos_1_is_unacknowledged_until_puback: v5["4.3.2-3"] v311["4.3.2-1"];
    v5_v311_mqtt_4_3_2_5_after_puback_the_identifier_is_new_whatever_dup_says: v5["4.3.2-5"] v311["4.3.2-2"];
    v5_v311_mqtt_4_3_3_3_qos_2_goes_step_by_step_and_never_back:
        v5["4.3.3-3", "4.3.3-4", "4.3.3-5", "4.3.3-6"] v311["4.3.3-1"];
    v5_mqtt_4_3_3_4_a_failing_pubrec_ends_the_exchange: v5["4.3.3-4", "4.4.0-2"];
    v5_mqtt_4_3_3_7_expiry_does_not_touch_what_was_sent: v5["4.3.3-7"];
    v5_mqtt_4_3_3_9_after_a_refusal_the_identifier_is_new: v5["4.3.3-9"];
    v5_v311_mqtt_4_3_3_10_a_repeated_qos_2_publish_is_delivered_once:
        v5["4.3.3-10", "4.3.3-11", "4.3.3-12", "4.3.3-8"] v311["4.3.3-2"];
    v5_mqtt_4_3_3_13_the_handshake_goes_on_after_the_message_expired: v5["4.3.3-13"];
    v5_v311_a_pubrel_answered_twice_frees_the_identifier_once:
        v5["PUBREL repeated after PUBCOMP"] v311["PUBREL repeated after PUBCOMP"];
    v5_v311_mqtt_4_3_3_3_an_acknowledgement_of_the_other_qos_acknowledges_nothing:
        v5["4.3.3-3", "4.3.2-3"] v311["4.3.3-1", "4.3.2-1"];
}

async fn v5_v311_mqtt_4_3_2_1_fresh_deliveries_have_free_identifiers_and_no_dup(at: Stage) {
    let topic = unique("delivery/fresh");
    let mut client = at.subscriber(&[(&topic, 2)]).await;
    let mut publisher = at.client().await;
    let mut ids = BTreeSet::new();
    let mut held = vec![];
    for n in 0..60 {
        let qos = 1 + n % 2;
        publisher
            .publish(&Publish::new(&topic, n.to_string(), qos))
            .await;
        let got = client.receive_only().await;
        assert_eq!((got.qos, got.dup), (qos, false));
        assert!(got.id != 0 && ids.insert(got.id), "{} is in use", got.id);
        // every third is acknowledged and its identifier free again
        match n % 3 {
            0 => {
                client.acknowledge(&got).await;
                ids.remove(&got.id);
            }
            _ => held.push(got),
        }
    }
    for got in held {
        client.acknowledge(&got).await;
    }
    at.nothing_more_for(&mut client).await;
}

async fn v5_v311_mqtt_4_3_2_3_qos_1_is_unacknowledged_until_puback(at: Stage) {
    let (topic, id) = (unique("delivery/one"), unique("receiver"));
    let (mut client, _) = at.resume(&id).await;
    client.subscribe(&[(&topic, 1)]).await;
    for text in ["owed", "done"] {
        at.publish(&Publish::new(&topic, text, 1)).await;
    }
    let (owed, done) = (client.receive_only().await, client.receive_only().await);
    // a PUBACK for another identifier does not acknowledge it
    client.send(&wire::ack(PUBACK, owed.id ^ 0x4000)).await;
    client.acknowledge(&done).await;
    client.ping().await;
    drop(client);
    let (mut client, _) = at.resume(&id).await;
    let again = client.receive().await;
    assert_eq!(
        (again.id, again.text().as_str(), again.dup),
        (owed.id, "owed", true)
    );
    client.ping().await;
    drop(client);
    let (mut client, _) = at.resume(&id).await;
    at.nothing_more_for(&mut client).await;
}

async fn v5_v311_mqtt_4_3_2_5_after_puback_the_identifier_is_new_whatever_dup_says(at: Stage) {
    let topic = unique("delivery/reused");
    let mut subscriber = at.subscriber(&[(&topic, 1)]).await;
    let mut publisher = at.client().await;
    for (text, dup) in [("one", false), ("two", true), ("three", true)] {
        let mut message = Publish::new(&topic, text, 1);
        message.dup = dup;
        publisher.send(&with_id(at.version, &message, 5)).await;
        publisher.expect(&[0x40, 2, 0, 5]).await;
        assert_eq!(subscriber.receive().await.text(), text);
    }
}

async fn v5_v311_mqtt_4_3_3_3_qos_2_goes_step_by_step_and_never_back(at: Stage) {
    let (topic, id) = (unique("delivery/two"), unique("receiver"));
    let (mut client, _) = at.resume(&id).await;
    client.subscribe(&[(&topic, 2)]).await;
    at.publish(&Publish::new(&topic, "x", 2)).await;
    let publish = client.next_bytes().await.expect("the message");
    assert_eq!(publish[0], 0x34);
    let at_id = 4 + topic.len();
    let (high, low) = (publish[at_id], publish[at_id + 1]);
    let again = [&[0x3C], &publish[1..]].concat();
    for _ in 0..2 {
        drop(client);
        (client, _) = at.resume(&id).await;
        client.expect(&again).await;
    }
    client.send(&[0x50, 2, high, low]).await;
    client.expect(&[0x62, 2, high, low]).await;
    for _ in 0..2 {
        drop(client);
        (client, _) = at.resume(&id).await;
        client.expect(&[0x62, 2, high, low]).await;
    }
    // a repeated PUBREC gets a repeated PUBREL
    client.send(&[0x50, 2, high, low]).await;
    client.expect(&[0x62, 2, high, low]).await;
    client.send(&[0x70, 2, high, low]).await;
    client.ping().await;
    drop(client);
    let (mut client, present) = at.resume(&id).await;
    assert!(present);
    at.nothing_more_for(&mut client).await;
}

async fn v5_mqtt_4_3_3_4_a_failing_pubrec_ends_the_exchange(at: Stage) {
    for (qos, kind) in [(1, PUBACK), (2, PUBREC)] {
        let (topic, id) = (unique("delivery/failed"), unique("receiver"));
        let (mut client, _) = at.resume(&id).await;
        client.subscribe(&[(&topic, qos)]).await;
        at.publish(&Publish::new(&topic, "refused", qos)).await;
        let refused = client.receive_only().await;
        client.send(&wire::ack_with(kind, refused.id, 0x80)).await;
        client.send(&wire::pingreq()).await;
        client.expect(&[0xD0, 0]).await; // and no PUBREL before it
        drop(client);
        let (mut client, present) = at.resume(&id).await;
        assert!(present);
        client.send(&wire::pingreq()).await;
        client.expect(&[0xD0, 0]).await; // and nothing sent again
        at.nothing_more_for(&mut client).await;
    }
}

async fn v5_mqtt_4_3_3_7_expiry_does_not_touch_what_was_sent(at: Stage) {
    let (topic, id) = (unique("delivery/expired"), unique("receiver"));
    let (mut client, _) = at.resume(&id).await;
    client.subscribe(&[(&topic, 2)]).await;
    for qos in [1, 2] {
        let message = Publish::new(&topic, qos.to_string(), qos)
            .property(property::MESSAGE_EXPIRY, Value::Four(2));
        at.publish(&message).await;
    }
    let first = [client.receive_only().await, client.receive_only().await];
    tokio::time::sleep(Duration::from_millis(3200)).await;
    drop(client);
    let (mut client, _) = at.resume(&id).await;
    for sent in first {
        let again = client.receive().await;
        assert_eq!(
            (again.id, again.text(), again.dup),
            (sent.id, sent.text(), true)
        );
    }
    at.nothing_more_for(&mut client).await;
}

async fn v5_mqtt_4_3_3_9_after_a_refusal_the_identifier_is_new(at: Stage) {
    let topic = unique("delivery/allowed");
    let mut subscriber = at.subscriber(&[(&topic, 2)]).await;
    let mut publisher = at.client().await;
    let denied = Publish::new("$SYS/broker/version", "x", 2);
    publisher.send(&with_id(at.version, &denied, 7)).await;
    assert_eq!(publisher.acknowledgement(PUBREC, 7).await, 0x87);
    let mut allowed = Publish::new(&topic, "x", 2);
    allowed.dup = true;
    publisher.send(&with_id(at.version, &allowed, 7)).await;
    publisher.expect(&[0x50, 2, 0, 7]).await;
    assert_eq!(subscriber.receive().await.text(), "x");
}

async fn v5_v311_mqtt_4_3_3_10_a_repeated_qos_2_publish_is_delivered_once(at: Stage) {
    let topic = unique("delivery/once");
    let mut subscriber = at.subscriber(&[(&topic, 2)]).await;
    let mut publisher = at.client().await;
    for text in ["first", "second"] {
        for dup in [false, true, true] {
            let mut message = Publish::new(&topic, text, 2);
            message.dup = dup;
            publisher.send(&with_id(at.version, &message, 7)).await;
            publisher.expect(&[0x50, 2, 0, 7]).await;
        }
        publisher.send(&wire::ack(PUBREL, 7)).await;
        publisher.expect(&[0x70, 2, 0, 7]).await;
    }
    let got = at.rest_of(&mut subscriber).await;
    assert_eq!(
        got.iter().map(Publish::text).collect::<Vec<_>>(),
        ["first", "second"]
    );
}

async fn v5_mqtt_4_3_3_13_the_handshake_goes_on_after_the_message_expired(at: Stage) {
    let topic = unique("delivery/handshake");
    let mut publisher = at.client().await;
    let message = Publish::new(&topic, "x", 2).property(property::MESSAGE_EXPIRY, Value::Four(1));
    publisher.send(&with_id(at.version, &message, 7)).await;
    publisher.expect(&[0x50, 2, 0, 7]).await;
    tokio::time::sleep(Duration::from_millis(1200)).await;
    publisher.send(&with_id(at.version, &message, 7)).await;
    publisher.expect(&[0x50, 2, 0, 7]).await;
    publisher.send(&wire::ack(PUBREL, 7)).await;
    publisher.expect(&[0x70, 2, 0, 7]).await;
}

async fn v5_v311_a_pubrel_answered_twice_frees_the_identifier_once(at: Stage) {
    let topic = unique("delivery/released");
    let mut subscriber = at.subscriber(&[(&topic, 2)]).await;
    let mut publisher: Client = at.client().await;
    let message = Publish::new(&topic, "x", 2);
    publisher.send(&with_id(at.version, &message, 7)).await;
    publisher.expect(&[0x50, 2, 0, 7]).await;
    publisher.send(&wire::ack(PUBREL, 7)).await;
    publisher.expect(&[0x70, 2, 0, 7]).await;
    publisher.send(&wire::ack(PUBREL, 7)).await;
    match at.is_v5() {
        true => publisher.expect(&[0x70, 3, 0, 7, 0x92]).await,
        false => publisher.expect(&[0x70, 2, 0, 7]).await,
    }
    assert_eq!(at.rest_of(&mut subscriber).await.len(), 1);
}

async fn v5_v311_mqtt_4_3_3_3_an_acknowledgement_of_the_other_qos_acknowledges_nothing(at: Stage) {
    let (topic, id) = (unique("delivery/wrong"), unique("receiver"));
    let (mut client, _) = at.resume(&id).await;
    client.subscribe(&[(&topic, 2)]).await;
    for qos in [1, 2] {
        at.publish(&Publish::new(&topic, qos.to_string(), qos))
            .await;
    }
    let sent = [client.receive_only().await, client.receive_only().await];
    for (kind, nth) in [(PUBACK, 1), (PUBCOMP, 1), (PUBREC, 0), (PUBCOMP, 0)] {
        client.send(&wire::ack(kind, sent[nth].id)).await;
        at.is_over("the wrong acknowledgement", &mut client, 0x82)
            .await;
        (client, _) = at.resume(&id).await;
        for sent in &sent {
            let again = client.receive_only().await;
            assert_eq!(
                (again.id, again.text(), again.dup),
                (sent.id, sent.text(), true)
            );
        }
    }
    for message in &sent {
        client.acknowledge(message).await;
    }
    at.nothing_more_for(&mut client).await;
}
