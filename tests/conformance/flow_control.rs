//! Section 4.9, and 3.3.4 as far as it is about Receive Maximum: how much may be under way.

use crate::{
    stage::{Stage, with_id},
    support::{
        unique,
        wire::{self, PUBCOMP, PUBREC, PUBREL, Packet, Properties, Publish, Value, property},
    },
};

claims! {
    v5_mqtt_4_9_0_1_a_window_of_one_is_one: v5["4.9.0-1", "3.3.4-9", "4.9.0-2"];
    v5_mqtt_3_3_4_9_no_more_than_receive_maximum_is_unacknowledged: v5["3.3.4-9", "4.9.0-2"];
    v5_mqtt_4_9_0_2_what_is_sent_again_counts_too: v5["4.9.0-2"];
    v5_mqtt_3_3_4_10_a_full_window_holds_back_nothing_but_publish: v5["3.3.4-10", "4.9.0-3"];
    v5_a_failing_pubrec_gives_the_slot_back: v5["PUBREC of 0x80 and above and the window"];
    v5_a_smaller_window_after_resuming_is_kept: v5["a smaller Receive Maximum on resuming"];
}

fn window(opening: wire::Opening, size: u16) -> wire::Opening {
    opening.property(property::RECEIVE_MAXIMUM, Value::Two(size))
}

async fn v5_mqtt_4_9_0_1_a_window_of_one_is_one(at: Stage) {
    let topic = unique("flow/one");
    let mut client = at.client_of(&window(at.opening(), 1)).await;
    client.subscribe(&[(&topic, 2)]).await;
    for n in 0..6u8 {
        at.publish(&Publish::new(&topic, n.to_string(), 1 + n % 2))
            .await;
    }
    for n in 0..6u8 {
        let got = client.receive_only().await;
        assert_eq!((got.text(), got.qos), (n.to_string(), 1 + n % 2));
        client.send(&wire::pingreq()).await;
        client.expect(&[0xD0, 0]).await; // nothing else before its acknowledgement
        if got.qos == 2 {
            client.send(&wire::ack(PUBREC, got.id)).await;
            client.acknowledgement(PUBREL, got.id).await;
            client.send(&wire::pingreq()).await;
            client.expect(&[0xD0, 0]).await; // PUBREC gives no room, PUBCOMP does
            client.send(&wire::ack(PUBCOMP, got.id)).await;
        } else {
            client.acknowledge(&got).await;
        }
    }
}

async fn v5_mqtt_3_3_4_9_no_more_than_receive_maximum_is_unacknowledged(at: Stage) {
    let topic = unique("flow/three");
    let mut client = at.client_of(&window(at.opening(), 3)).await;
    client.subscribe(&[(&topic, 2)]).await;
    for n in 0..10u8 {
        at.publish(&Publish::new(&topic, n.to_string(), 1 + n % 2))
            .await;
    }
    let mut open = std::collections::VecDeque::new();
    for n in 0..10 {
        if open.len() == 3 {
            client.send(&wire::pingreq()).await;
            client.expect(&[0xD0, 0]).await;
            let oldest: Publish = open.pop_front().expect("three");
            client.acknowledge(&oldest).await;
        }
        let got = client.receive_only().await;
        assert_eq!(got.text(), n.to_string());
        open.push_back(got);
    }
    at.publish(&Publish::new(&topic, "QoS 0", 0)).await;
    assert_eq!(client.receive_only().await.text(), "QoS 0", "needs no room");
}

async fn v5_mqtt_4_9_0_2_what_is_sent_again_counts_too(at: Stage) {
    let (topic, id) = (unique("flow/again"), unique("receiver"));
    let opening = window(at.lasting(&id), 3);
    let mut client = at.client_of(&opening).await;
    client.subscribe(&[(&topic, 1)]).await;
    for n in 0..6u8 {
        at.publish(&Publish::new(&topic, n.to_string(), 1)).await;
    }
    for n in 0..3 {
        assert_eq!(client.receive_only().await.text(), n.to_string());
    }
    drop(client);
    let mut client = at.client_of(&opening).await;
    let mut open = vec![];
    for n in 0..3 {
        let again = client.receive_only().await;
        assert_eq!((again.text(), again.dup), (n.to_string(), true));
        open.push(again);
    }
    client.send(&wire::pingreq()).await;
    client.expect(&[0xD0, 0]).await;
    for message in open {
        client.acknowledge(&message).await;
    }
    for n in 3..6 {
        let got = client.receive().await;
        assert_eq!((got.text(), got.dup), (n.to_string(), false));
    }
}

async fn v5_mqtt_3_3_4_10_a_full_window_holds_back_nothing_but_publish(at: Stage) {
    let topic = unique("flow/full");
    let mut client = at.client_of(&window(at.opening(), 1)).await;
    client.subscribe(&[(&topic, 1)]).await;
    for _ in 0..5 {
        at.publish(&Publish::new(&topic, "x", 1)).await;
    }
    let first = client.receive_only().await;
    client.send(&wire::pingreq()).await;
    client.expect(&[0xD0, 0]).await;
    client
        .send(&wire::subscribe(
            at.version,
            1,
            &[("flow/other", 0)],
            &Properties::default(),
        ))
        .await;
    client.expect(&[0x90, 4, 0, 1, 0, 0]).await;
    client
        .send(&wire::unsubscribe(at.version, 2, &["flow/other"]))
        .await;
    client.expect(&[0xB0, 4, 0, 2, 0, 0]).await;
    let other = unique("flow/elsewhere");
    client
        .send(&with_id(at.version, &Publish::new(&other, "x", 1), 3))
        .await;
    client.expect(&[0x40, 2, 0, 3]).await;
    client
        .send(&with_id(at.version, &Publish::new(&other, "x", 2), 4))
        .await;
    client.expect(&[0x50, 2, 0, 4]).await;
    client.send(&wire::ack(PUBREL, 4)).await;
    client.expect(&[0x70, 2, 0, 4]).await;
    client.acknowledge(&first).await;
    for _ in 0..4 {
        client.receive().await;
    }
}

async fn v5_a_failing_pubrec_gives_the_slot_back(at: Stage) {
    let topic = unique("flow/refused");
    let mut client = at.client_of(&window(at.opening(), 1)).await;
    client.subscribe(&[(&topic, 2)]).await;
    for n in 0..5u8 {
        at.publish(&Publish::new(&topic, n.to_string(), 1 + n % 2))
            .await;
    }
    for n in 0..5 {
        let got = client.receive_only().await;
        assert_eq!(got.text(), n.to_string());
        let kind = if got.qos == 1 { 4 } else { PUBREC };
        client.send(&wire::ack_with(kind, got.id, 0x97)).await;
    }
}

async fn v5_a_smaller_window_after_resuming_is_kept(at: Stage) {
    let (topic, id) = (unique("flow/smaller"), unique("receiver"));
    let mut client = at.client_of(&window(at.lasting(&id), 5)).await;
    client.subscribe(&[(&topic, 2)]).await;
    for n in 0..8u8 {
        at.publish(&Publish::new(&topic, n.to_string(), 1 + n % 2))
            .await;
    }
    for _ in 0..5 {
        client.receive_only().await;
    }
    drop(client);
    let mut client = at.client_of(&window(at.lasting(&id), 2)).await;
    let mut open = 0;
    // in order within each QoS [MQTT-4.6.0-6]
    let mut expected = [1, 2].map(|qos| (0..8).filter(move |n| 1 + n % 2 == qos));
    for _ in 0..8 {
        let got = client.receive_only().await;
        let n = expected[usize::from(got.qos) - 1]
            .next()
            .expect("no more than sent");
        assert_eq!((got.text(), got.dup), (n.to_string(), n < 5));
        open += 1;
        if open == 2 {
            client.send(&wire::pingreq()).await;
            let next = client.next().await;
            assert_eq!(next, Some(Packet::Pingresp), "two are open");
        }
        client.acknowledge(&got).await;
        open -= 1;
    }
}
