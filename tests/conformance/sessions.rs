//! Sections 4.1 and 4.4 to 4.6: session state, resending, order.

use std::{collections::BTreeSet, time::Duration};

use crate::{
    stage::{Stage, with_id},
    support::{
        unique,
        wire::{self, PUBACK, PUBCOMP, PUBREC, PUBREL, Packet, Publish},
    },
};

claims! {
    v5_v311_mqtt_4_1_0_1_state_is_kept_as_long_as_the_connection: v5["4.1.0-1"] v311["4.1.0-2"];
    v5_mqtt_4_1_0_2_state_goes_when_its_expiry_has_passed: v5["4.1.0-2"];
    v311_mqtt_4_1_0_1_state_is_kept_over_any_number_of_connections: v311["4.1.0-1"];
    v5_v311_mqtt_4_4_0_1_what_was_left_open_is_sent_again_on_resuming_and_only_then:
        v5["4.4.0-1"] v311["4.4.0-1"];
    v5_v311_mqtt_4_5_0_1_a_message_is_for_every_session_that_subscribed: v5["4.5.0-1"] v311["4.5.0-1"];
    v5_v311_mqtt_4_5_0_2_whoever_does_not_acknowledge_is_still_owed: v5["4.5.0-2"] v311["4.5.0-2"];
    v5_v311_mqtt_4_6_0_1_a_sender_that_repeats_in_another_order_is_tolerated:
        v5["4.6.0-1", "4.6.0-4"] v311["4.6.0-1"];
    v5_v311_mqtt_4_6_0_2_acknowledgements_in_any_order_are_tolerated:
        v5["4.6.0-2", "4.6.0-3"] v311["4.6.0-2", "4.6.0-3"];
    v5_v311_mqtt_4_6_0_2_the_gateway_acknowledges_in_the_order_of_arrival:
        v5["4.6.0-2", "4.6.0-3"] v311["4.6.0-2", "4.6.0-3"];
    v311_mqtt_4_6_0_4_the_gateway_repeats_and_releases_in_order: v311["4.6.0-4", "4.6.0-1", "4.6.0-6"];
    v5_v311_mqtt_4_6_0_5_messages_of_a_publisher_arrive_in_order:
        v5["4.6.0-5", "4.6.0-6"] v311["4.6.0-5", "4.6.0-6"];
    v5_v311_mqtt_4_6_0_5_order_outlives_the_connection: v5["4.6.0-5"] v311["4.6.0-6"];
    v311_mqtt_4_8_0_2_what_cannot_be_stored_ends_the_connection_that_brought_it: v311["4.8.0-2"];
    v5_what_cannot_be_stored_is_refused: v5["a message that cannot be stored"];
    v5_v311_nothing_is_sent_again_on_a_live_connection:
        v5["no retransmission within a connection"] v311["no retransmission within a connection"];
    v5_v311_mqtt_4_1_0_1_retained_messages_still_to_be_sent_are_part_of_the_state:
        v5["4.1.0-1"] v311["4.1.0-1"];
    v5_v311_qos_0_does_not_wait_for_who_is_away: v5["QoS 0 for a session that is away"] v311["QoS 0 for a session that is away"];
}

async fn v5_v311_mqtt_4_1_0_1_state_is_kept_as_long_as_the_connection(at: Stage) {
    let (topic, id) = (unique("sessions/live"), unique("live"));
    let opening = match at.is_v5() {
        true => at.opening_of(&id).session_expiry(1),
        false => at.opening_of(&id),
    };
    let mut client = at.client_of(&opening).await;
    client.subscribe(&[(&topic, 1)]).await;
    tokio::time::sleep(Duration::from_millis(2500)).await;
    at.publish(&Publish::new(&topic, "still", 1)).await;
    assert_eq!(client.receive().await.text(), "still");
}

async fn v5_mqtt_4_1_0_2_state_goes_when_its_expiry_has_passed(at: Stage) {
    let (short, long) = (unique("short"), unique("long"));
    for (id, seconds) in [(&short, 1), (&long, 60)] {
        drop(
            at.client_of(&at.opening_of(id).session_expiry(seconds))
                .await,
        );
    }
    tokio::time::sleep(Duration::from_millis(2200)).await;
    let (_, welcome) = at.connect(&at.opening_of(&short).resuming()).await;
    assert!(!welcome.session_present);
    let (_, welcome) = at.connect(&at.opening_of(&long).resuming()).await;
    assert!(welcome.session_present);
}

async fn v311_mqtt_4_1_0_1_state_is_kept_over_any_number_of_connections(at: Stage) {
    let (topic, id) = (unique("sessions/kept"), unique("kept"));
    let (mut client, _) = at.resume(&id).await;
    client.subscribe(&[(&topic, 2)]).await;
    for n in 0..5 {
        client.disconnect().await;
        at.publish(&Publish::new(&topic, n.to_string(), 1 + n % 2))
            .await;
        let (resumed, present) = at.resume(&id).await;
        assert!(present);
        client = resumed;
        assert_eq!(client.receive().await.text(), n.to_string());
    }
}

async fn v5_v311_mqtt_4_4_0_1_what_was_left_open_is_sent_again_on_resuming_and_only_then(
    at: Stage,
) {
    let (topic, id) = (unique("sessions/open"), unique("open"));
    let (mut client, _) = at.resume(&id).await;
    client.subscribe(&[(&topic, 2)]).await;
    for (text, qos) in [("one", 1), ("two", 2), ("released", 2)] {
        at.publish(&Publish::new(&topic, text, qos)).await;
    }
    let one = client.receive_only().await;
    let two = client.receive_only().await;
    let released = client.receive_only().await;
    client.send(&wire::ack(PUBREC, released.id)).await;
    client.acknowledgement(PUBREL, released.id).await;
    for _ in 0..2 {
        drop(client);
        (client, _) = at.resume(&id).await;
        let mut seen = vec![];
        for _ in 0..3 {
            match client.next().await {
                Some(Packet::Publish(again)) => {
                    assert!(again.dup);
                    seen.push((3, again.id, again.text()));
                }
                Some(Packet::Ack {
                    kind, id, code: 0, ..
                }) => seen.push((kind, id, String::new())),
                other => panic!("{other:?}"),
            }
        }
        seen.sort();
        let mut wanted = [
            (3, one.id, "one".to_owned()),
            (3, two.id, "two".to_owned()),
            (PUBREL, released.id, String::new()),
        ];
        wanted.sort();
        assert_eq!(seen, wanted);
        client.send(&wire::pingreq()).await;
        client.expect(&[0xD0, 0]).await; // each once
    }
    client.send(&wire::ack(PUBCOMP, released.id)).await;
    client.acknowledge(&one).await;
    client.acknowledge(&two).await;
    at.nothing_more_for(&mut client).await;
}

async fn v5_v311_mqtt_4_5_0_1_a_message_is_for_every_session_that_subscribed(at: Stage) {
    let (root, away) = (unique("sessions/every"), unique("away"));
    let (mut client, _) = at.resume(&away).await;
    client.subscribe(&[(&format!("{root}/+"), 1)]).await;
    client.disconnect().await;
    let mut others = vec![];
    for filter in ["a", "+", "#"] {
        others.push(at.subscriber(&[(&format!("{root}/{filter}"), 1)]).await);
    }
    at.publish(&Publish::new(&format!("{root}/a"), "for all", 1))
        .await;
    let (client, _) = at.resume(&away).await;
    others.push(client);
    for mut client in others {
        assert_eq!(client.receive().await.text(), "for all");
    }
}

async fn v5_v311_mqtt_4_5_0_2_whoever_does_not_acknowledge_is_still_owed(at: Stage) {
    let (topic, id) = (unique("sessions/owed"), unique("mute"));
    let (mut mute, _) = at.resume(&id).await;
    mute.subscribe(&[(&topic, 2)]).await;
    for qos in [1, 2] {
        at.publish(&Publish::new(&topic, qos.to_string(), qos))
            .await;
    }
    for round in 0..3 {
        for qos in [1, 2] {
            let got = mute.receive_only().await;
            assert_eq!((got.text(), got.dup), (qos.to_string(), round > 0));
        }
        drop(mute);
        (mute, _) = at.resume(&id).await;
    }
}

async fn v5_v311_mqtt_4_6_0_1_a_sender_that_repeats_in_another_order_is_tolerated(at: Stage) {
    let (topic, id) = (unique("sessions/shuffled"), unique("sender"));
    let mut subscriber = at.subscriber(&[(&topic, 2)]).await;
    let (mut sender, _) = at.resume(&id).await;
    for n in 1..=5u8 {
        let message = Publish::new(&topic, n.to_string(), 2);
        sender.send(&with_id(at.version, &message, n.into())).await;
        sender.expect(&[0x50, 2, 0, n]).await;
    }
    drop(sender);
    let (mut sender, _) = at.resume(&id).await;
    for n in [4, 1, 5, 2, 3] {
        let mut message = Publish::new(&topic, n.to_string(), 2);
        message.dup = true;
        sender.send(&with_id(at.version, &message, n.into())).await;
        sender.expect(&[0x50, 2, 0, n]).await;
    }
    for n in [3, 5, 1, 2, 4] {
        sender.send(&wire::ack(PUBREL, n.into())).await;
        sender.expect(&[0x70, 2, 0, n]).await;
    }
    let got = at.rest_of(&mut subscriber).await;
    let got: Vec<String> = got.iter().map(Publish::text).collect();
    assert_eq!(got, ["1", "2", "3", "4", "5"]);
}

async fn v5_v311_mqtt_4_6_0_2_acknowledgements_in_any_order_are_tolerated(at: Stage) {
    let (topic, id) = (unique("sessions/reverse"), unique("receiver"));
    let (mut client, _) = at.resume(&id).await;
    client.subscribe(&[(&topic, 2)]).await;
    let mut open = vec![];
    for n in 0..10u8 {
        at.publish(&Publish::new(&topic, n.to_string(), 1 + n % 2))
            .await;
        open.push(client.receive_only().await);
    }
    for message in open.iter().rev() {
        client.acknowledge(message).await;
    }
    client.ping().await;
    drop(client);
    let (mut client, _) = at.resume(&id).await;
    at.nothing_more_for(&mut client).await;
}

async fn v5_v311_mqtt_4_6_0_2_the_gateway_acknowledges_in_the_order_of_arrival(at: Stage) {
    let topic = unique("sessions/acks");
    let mut publisher = at.client().await;
    let (mut bytes, mut answers) = (vec![], vec![]);
    for id in 1..=200u16 {
        let qos = 1 + (id % 3 == 0) as u8;
        bytes.extend(with_id(at.version, &Publish::new(&topic, "x", qos), id));
        answers.push((if qos == 1 { PUBACK } else { PUBREC }, id));
    }
    publisher.send(&bytes).await;
    let mut got = vec![];
    for _ in 0..200 {
        match publisher.next().await {
            Some(Packet::Ack {
                kind, id, code: 0, ..
            }) => got.push((kind, id)),
            other => panic!("{other:?}"),
        }
    }
    for kind in [PUBACK, PUBREC] {
        let of = |list: &[(u8, u16)]| -> Vec<u16> {
            list.iter()
                .filter(|(k, _)| *k == kind)
                .map(|(_, id)| *id)
                .collect()
        };
        assert_eq!(of(&got), of(&answers));
    }
}

async fn v311_mqtt_4_6_0_4_the_gateway_repeats_and_releases_in_order(at: Stage) {
    let (topic, id) = (unique("sessions/ordered"), unique("receiver"));
    let (mut client, _) = at.resume(&id).await;
    client.subscribe(&[(&topic, 2)]).await;
    for n in 0..10u8 {
        at.publish(&Publish::new(&topic, n.to_string(), 1 + n % 2))
            .await;
    }
    let mut first = vec![];
    for _ in 0..10 {
        first.push(client.receive_only().await);
    }
    drop(client);
    let (mut client, _) = at.resume(&id).await;
    for sent in &first {
        let again = client.receive_only().await;
        assert_eq!((again.id, again.text()), (sent.id, sent.text()));
    }
    let two: Vec<u16> = first.iter().filter(|m| m.qos == 2).map(|m| m.id).collect();
    let pubrecs: Vec<u8> = two.iter().flat_map(|id| wire::ack(PUBREC, *id)).collect();
    client.send(&pubrecs).await;
    for id in &two {
        client.expect(&wire::ack(PUBREL, *id)).await;
    }
    drop(client);
    let (mut client, _) = at.resume(&id).await;
    let mut released = vec![];
    while released.len() < two.len() {
        if let Some(Packet::Ack {
            kind: PUBREL, id, ..
        }) = client.next().await
        {
            released.push(id);
        }
    }
    assert_eq!(released, two);
}

async fn v5_v311_mqtt_4_6_0_5_messages_of_a_publisher_arrive_in_order(at: Stage) {
    let count = 1000u32;
    for qos in 0..=2 {
        let topic = unique("sessions/order");
        let mut subscriber = at.subscriber(&[(&topic, qos)]).await;
        let (stage, name) = (at.clone(), topic.clone());
        let sending = tokio::spawn(async move {
            let mut publisher = stage.client().await;
            for n in 0..count {
                let message = Publish::new(&name, n.to_string(), qos);
                let id = (n % 50 + 1) as u16;
                publisher.send(&with_id(stage.version, &message, id)).await;
                if qos > 0 && id == 50 {
                    for id in 1..=50 {
                        let kind = if qos == 1 { PUBACK } else { PUBREC };
                        publisher.acknowledgement(kind, id).await;
                        if qos == 2 {
                            publisher.send(&wire::ack(PUBREL, id)).await;
                            publisher.acknowledgement(PUBCOMP, id).await;
                        }
                    }
                }
            }
            publisher.ping().await;
        });
        for n in 0..count {
            assert_eq!(
                subscriber.receive().await.text(),
                n.to_string(),
                "QoS {qos}"
            );
        }
        sending.await.expect("the publisher");
    }
}

async fn v5_v311_mqtt_4_6_0_5_order_outlives_the_connection(at: Stage) {
    let (topic, id) = (unique("sessions/across"), unique("receiver"));
    let (mut client, _) = at.resume(&id).await;
    client.subscribe(&[(&topic, 1)]).await;
    let mut publisher = at.client().await;
    let (mut sent, mut next) = (0, 0);
    for round in 0..10 {
        for _ in 0..20 {
            publisher
                .publish(&Publish::new(&topic, sent.to_string(), 1))
                .await;
            sent += 1;
        }
        // some are acknowledged, some were sent and not acknowledged, some come while the client is away
        for _ in 0..round {
            let got = client.receive().await;
            assert_eq!(got.text(), next.to_string());
            next += 1;
        }
        client.ping().await;
        drop(client);
        for _ in 0..5 {
            publisher
                .publish(&Publish::new(&topic, sent.to_string(), 1))
                .await;
            sent += 1;
        }
        (client, _) = at.resume(&id).await;
    }
    while next < sent {
        assert_eq!(client.receive().await.text(), next.to_string());
        next += 1;
    }
    at.nothing_more_for(&mut client).await;
}

/// A gateway that has no room for a message of a whole MiB, and a session that should get it.
async fn too_much(at: &Stage) -> (Stage, String, Vec<u8>) {
    let at = at.with(&["store.max_bytes=1MiB"]);
    let topic = unique("sessions/full");
    let (mut away, _) = at.resume(&unique("away")).await;
    away.subscribe(&[(&topic, 1)]).await;
    away.disconnect().await;
    let payload = vec![b'x'; 1 << 20];
    (at, topic, payload)
}

async fn v311_mqtt_4_8_0_2_what_cannot_be_stored_ends_the_connection_that_brought_it(at: Stage) {
    let (at, topic, payload) = too_much(&at).await;
    let mut bystander = at.client().await;
    let mut publisher = at.client().await;
    let message = Publish::new(&topic, payload, 1);
    publisher.send(&with_id(at.version, &message, 1)).await;
    publisher.ends().await; // no PUBACK: it was not taken
    bystander.ping().await;
}

async fn v5_what_cannot_be_stored_is_refused(at: Stage) {
    let (at, topic, payload) = too_much(&at).await;
    let mut publisher = at.client().await;
    let code = publisher.publish(&Publish::new(&topic, payload, 1)).await;
    assert!([0x83, 0x97].contains(&code), "{code:#04x}");
    assert_eq!(
        publisher.publish(&Publish::new(&topic, "small", 1)).await,
        0
    );
}

async fn v5_v311_nothing_is_sent_again_on_a_live_connection(at: Stage) {
    let topic = unique("sessions/patient");
    let mut client = at.subscriber(&[(&topic, 2)]).await;
    for qos in [1, 2] {
        at.publish(&Publish::new(&topic, "x", qos)).await;
        client.receive_only().await;
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    client.send(&wire::pingreq()).await;
    client.expect(&[0xD0, 0]).await;
}

async fn v5_v311_mqtt_4_1_0_1_retained_messages_still_to_be_sent_are_part_of_the_state(at: Stage) {
    let (root, id) = (unique("sessions/retained"), unique("interrupted"));
    let at = at.with(&["limits.receive_maximum=4"]);
    let count = 20;
    for n in 0..count {
        let message = Publish::new(&format!("{root}/{n:02}"), "kept", 1).retained();
        at.publish(&message).await;
    }
    let (mut client, _) = at.resume(&id).await;
    client.subscribe(&[(&format!("{root}/+"), 1)]).await;
    let mut seen = BTreeSet::new();
    for _ in 0..6 {
        let got = client.receive_only().await;
        seen.insert(got.topic.clone());
        if seen.len() <= 3 {
            client.acknowledge(&got).await;
        }
    }
    client.ping().await;
    drop(client);
    // what changes meanwhile comes once, as the new message it is
    at.publish(&Publish::new(&format!("{root}/19"), "changed", 1).retained())
        .await;
    let (mut client, present) = at.resume(&id).await;
    assert!(present);
    let mut changed = vec![];
    while seen.len() < count {
        let got = client.receive().await;
        seen.insert(got.topic.clone());
        if got.topic.ends_with("/19") {
            changed.push((got.text(), got.retain));
        }
    }
    assert_eq!(changed, [("changed".to_owned(), false)]);
    at.nothing_more_for(&mut client).await;
}

async fn v5_v311_qos_0_does_not_wait_for_who_is_away(at: Stage) {
    let (topic, id) = (unique("sessions/fleeting"), unique("away"));
    let (mut client, _) = at.resume(&id).await;
    client.subscribe(&[(&topic, 2)]).await;
    client.disconnect().await;
    for qos in [0, 1, 0] {
        at.publish(&Publish::new(&topic, qos.to_string(), qos))
            .await;
    }
    let (mut client, _) = at.resume(&id).await;
    let got = at.rest_of(&mut client).await;
    assert_eq!(got.iter().map(Publish::text).collect::<Vec<_>>(), ["1"]);
}
