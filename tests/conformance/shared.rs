//! Section 4.8: shared subscriptions. 3.1.1 knows none: there they are the gateway's extension.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    stage::{Stage, joined, text},
    support::{
        unique,
        wire::{
            self, PUBACK, PUBCOMP, PUBREC, PUBREL, Packet, Properties, Publish, Value, Version,
            property,
        },
    },
};

claims! {
    v5_mqtt_4_8_2_1_a_share_name_is_there_and_has_no_wildcard: v5["4.8.2-1", "4.8.2-2"];
    v311_a_share_name_that_is_none_ends_the_connection: v311["$share with a name or filter missing"];
    v5_mqtt_4_8_2_3_each_copy_keeps_to_its_members_granted_qos: v5["4.8.2-3"];
    v5_mqtt_4_8_2_4_a_qos_2_delivery_is_completed_with_the_member_that_began_it: v5["4.8.2-4"];
    v5_mqtt_4_8_2_5_a_qos_2_delivery_dies_with_the_session_that_began_it: v5["4.8.2-5"];
    v5_mqtt_4_8_2_6_a_refused_message_is_offered_to_nobody_else: v5["4.8.2-6"];
    v5_v311_each_message_goes_to_one_member_of_each_group:
        v5["shared subscriptions: one copy per group"] v311["shared subscriptions: one copy per group"];
    v5_v311_what_a_leaving_member_did_not_acknowledge_at_qos_1_goes_to_another:
        v5["unacknowledged QoS 1 of a shared subscription"] v311["unacknowledged QoS 1 of a shared subscription"];
    v5_v311_a_member_whose_session_is_kept_hands_on_what_it_did_not_acknowledge_all_the_same:
        v5["unacknowledged QoS 1 of a member that may return"]
        v311["unacknowledged QoS 1 of a member that may return"];
    v5_what_waits_for_a_member_that_does_not_acknowledge_goes_to_another_when_it_leaves:
        v5["a member of a share group whose window is full"];
    v5_what_no_member_can_be_sent_waits_for_the_first_who_acknowledges_or_leaves:
        v5["a share group all of whose windows are full"];
    v5_a_client_may_be_in_groups_and_beside_them: v5["shared and other subscriptions of one client"];
}

async fn v5_mqtt_4_8_2_1_a_share_name_is_there_and_has_no_wildcard(at: Stage) {
    let mut client = at.client().await;
    for filter in [
        "$share//t",
        "$share/",
        "$share",
        "$share/g",
        "$share/g/",
        "$share/g+/t",
        "$share/g#/t",
        "$share/+/t",
        "$share/#",
        "$share/g/a#",
    ] {
        let granted = client.subscribe(&[(filter, 1)]).await;
        assert_eq!(granted, [0x8F], "{filter}");
    }
    let granted = client
        .subscribe(&[("$share/g/+", 0), ("$share/g/#", 1), ("$share/g//", 2)])
        .await;
    assert_eq!(granted, [0, 1, 2]);
}

async fn v311_a_share_name_that_is_none_ends_the_connection(at: Stage) {
    for filter in [
        "$share//t",
        "$share/g",
        "$share/g/",
        "$share/g+/t",
        "$share/+/t",
    ] {
        let filters = joined(&[&text(filter.as_bytes()), &[0]]);
        at.forbids(filter, &at.request_bytes(0x82, 1, &filters), 0)
            .await;
    }
}

async fn v5_mqtt_4_8_2_3_each_copy_keeps_to_its_members_granted_qos(at: Stage) {
    let topic = unique("shared/qos");
    let filter = format!("$share/g/{topic}");
    let mut members = vec![at.subscriber(&[(&filter, 0)]).await];
    members.push(at.subscriber(&[(&filter, 2)]).await);
    let count = 40;
    for n in 0..count {
        at.publish(&Publish::new(&topic, n.to_string(), 2)).await;
    }
    let mut got = BTreeMap::new();
    for (member, qos) in members.iter_mut().zip([0, 2]) {
        for message in at.rest_of(member).await {
            assert_eq!(message.qos, qos);
            *got.entry(message.text()).or_insert(0) += 1;
        }
    }
    assert_eq!(got.len(), count);
    assert!(got.values().all(|copies| *copies == 1));
}

async fn v5_mqtt_4_8_2_4_a_qos_2_delivery_is_completed_with_the_member_that_began_it(at: Stage) {
    let (topic, id) = (unique("shared/begun"), unique("beginner"));
    let filter = format!("$share/g/{topic}");
    for received in [false, true] {
        let (mut first, _) = at.resume(&id).await;
        first.subscribe(&[(&filter, 2)]).await;
        at.publish(&Publish::new(&topic, "x", 2)).await;
        let begun = first.receive_only().await;
        if received {
            first.send(&wire::ack(PUBREC, begun.id)).await;
            first.acknowledgement(PUBREL, begun.id).await;
        }
        let mut other = at.subscriber(&[(&filter, 2)]).await;
        drop(first);
        at.nothing_more_for(&mut other).await;
        let (mut first, present) = at.resume(&id).await;
        assert!(present);
        match first.next().await {
            Some(Packet::Publish(again)) => {
                assert_eq!((again.id, again.dup, received), (begun.id, true, false));
                first.acknowledge(&again).await;
            }
            Some(Packet::Ack {
                kind: PUBREL, id, ..
            }) => {
                assert_eq!((id, received), (begun.id, true));
                first.send(&wire::ack(PUBCOMP, id)).await;
            }
            other => panic!("{other:?}"),
        }
        at.nothing_more_for(&mut first).await;
        at.nothing_more_for(&mut other).await;
        first.unsubscribe(&[&filter]).await;
    }
}

async fn v5_mqtt_4_8_2_5_a_qos_2_delivery_dies_with_the_session_that_began_it(at: Stage) {
    let topic = unique("shared/dies");
    let filter = format!("$share/g/{topic}");
    for expiry in [0, 1] {
        let mut first = at.client_of(&at.opening().session_expiry(expiry)).await;
        first.subscribe(&[(&filter, 2)]).await;
        at.publish(&Publish::new(&topic, "x", 2)).await;
        assert_eq!(first.receive_only().await.text(), "x");
        let mut other = at.subscriber(&[(&filter, 2)]).await;
        drop(first);
        tokio::time::sleep(Duration::from_millis(u64::from(expiry) * 2200)).await;
        at.nothing_more_for(&mut other).await;
    }
}

async fn v5_mqtt_4_8_2_6_a_refused_message_is_offered_to_nobody_else(at: Stage) {
    let topic = unique("shared/refused");
    let filter = format!("$share/g/{topic}");
    for (qos, kind) in [(1, PUBACK), (2, PUBREC)] {
        let mut refusing = at.subscriber(&[(&filter, qos)]).await;
        at.publish(&Publish::new(&topic, "x", qos)).await;
        let got = refusing.receive_only().await;
        let mut other = at.subscriber(&[(&filter, qos)]).await;
        refusing.send(&wire::ack_with(kind, got.id, 0x80)).await;
        refusing.ping().await;
        at.nothing_more_for(&mut other).await;
        drop(refusing);
        at.nothing_more_for(&mut other).await;
    }
}

async fn v5_v311_each_message_goes_to_one_member_of_each_group(at: Stage) {
    let root = unique("shared/groups");
    let topic = format!("{root}/t");
    let mut members = vec![];
    for (group, version) in [
        ("a", Version::V5),
        ("a", Version::V311),
        ("a", at.version),
        ("b", at.version),
    ] {
        let filter = format!("$share/{group}/{root}/+");
        members.push((
            group,
            at.in_version(version).subscriber(&[(&filter, 1)]).await,
        ));
    }
    let mut alone = at.subscriber(&[(&topic, 1)]).await;
    let count = 60;
    for n in 0..count {
        at.publish(&Publish::new(&topic, n.to_string(), 1)).await;
    }
    let (mut copies, mut busy) = (BTreeMap::new(), 0);
    for (group, member) in &mut members {
        let stage = at.in_version(member.version);
        let got = stage.rest_of(member).await;
        busy += usize::from(*group == "a" && !got.is_empty());
        for message in got {
            *copies.entry((*group, message.text())).or_insert(0) += 1;
        }
    }
    assert_eq!(copies.len(), 2 * count, "each group gets everything");
    assert!(copies.values().all(|copies| *copies == 1), "and once");
    assert!(busy > 1, "the members share it");
    assert_eq!(at.rest_of(&mut alone).await.len(), count);
}

async fn v5_v311_what_a_leaving_member_did_not_acknowledge_at_qos_1_goes_to_another(at: Stage) {
    let topic = unique("shared/left");
    let filter = format!("$share/g/{topic}");
    let mut leaving = at.subscriber(&[(&filter, 1)]).await;
    for n in 0..5 {
        at.publish(&Publish::new(&topic, n.to_string(), 1)).await;
    }
    for n in 0..5 {
        let got = leaving.receive_only().await;
        assert_eq!(got.text(), n.to_string());
        if n == 2 {
            leaving.acknowledge(&got).await;
            leaving.ping().await;
        }
    }
    let mut staying = at.subscriber(&[(&filter, 1)]).await;
    at.nothing_more_for(&mut staying).await;
    drop(leaving);
    for n in [0, 1, 3, 4] {
        assert_eq!(staying.receive().await.text(), n.to_string());
    }
    at.nothing_more_for(&mut staying).await;
}

async fn v5_v311_a_member_whose_session_is_kept_hands_on_what_it_did_not_acknowledge_all_the_same(
    at: Stage,
) {
    let (topic, id) = (unique("shared/returns"), unique("returning"));
    let filter = format!("$share/g/{topic}");
    let (mut leaving, _) = at.resume(&id).await;
    leaving.subscribe(&[(&filter, 1)]).await;
    at.publish(&Publish::new(&topic, "open", 1)).await;
    assert_eq!(leaving.receive_only().await.text(), "open");
    let mut staying = at.subscriber(&[(&filter, 1)]).await;
    drop(leaving);
    assert_eq!(staying.receive().await.text(), "open");
    let (mut returned, _) = at.resume(&id).await;
    at.nothing_more_for(&mut returned).await;
    // and who comes instead of it, while it is connected, does not have it either
    at.publish(&Publish::new(&topic, "next", 1)).await;
    at.publish(&Publish::new(&topic, "next", 1)).await;
    assert_eq!(staying.receive().await.text(), "next");
    assert_eq!(returned.receive_only().await.text(), "next");
    let (mut instead, _) = at.resume(&id).await;
    assert_eq!(staying.receive().await.text(), "next");
    at.nothing_more_for(&mut instead).await;
    at.nothing_more_for(&mut staying).await;
}

async fn v5_what_waits_for_a_member_that_does_not_acknowledge_goes_to_another_when_it_leaves(
    at: Stage,
) {
    let topic = unique("shared/window");
    let filter = format!("$share/g/{topic}");
    let narrow = at
        .opening()
        .property(property::RECEIVE_MAXIMUM, Value::Two(1));
    let mut stuck = at.client_of(&narrow).await;
    stuck.subscribe(&[(&filter, 1)]).await;
    at.publish(&Publish::new(&topic, "stuck", 1)).await;
    assert_eq!(stuck.receive_only().await.text(), "stuck");
    let mut free = at.subscriber(&[(&filter, 1)]).await;
    for n in 0..10 {
        at.publish(&Publish::new(&topic, n.to_string(), 1)).await;
    }
    let mut got = at.rest_of(&mut free).await;
    assert_eq!(got.len(), 10, "nothing waits for one who is held up");
    drop(stuck);
    while got.len() < 11 {
        got.push(free.receive().await);
    }
    let texts: std::collections::BTreeSet<String> = got.iter().map(Publish::text).collect();
    assert_eq!(texts.len(), 11, "each once");
    at.nothing_more_for(&mut free).await;
}

async fn v5_what_no_member_can_be_sent_waits_for_the_first_who_acknowledges_or_leaves(at: Stage) {
    let topic = unique("shared/held-up");
    let filter = format!("$share/g/{topic}");
    let narrow = || {
        at.opening()
            .property(property::RECEIVE_MAXIMUM, Value::Two(1))
    };
    let (mut held, mut leaving) = (at.client_of(&narrow()).await, at.client_of(&narrow()).await);
    let mut got = vec![];
    for member in [&mut held, &mut leaving] {
        member.subscribe(&[(&filter, 1)]).await;
        at.publish(&Publish::new(&topic, "first", 1)).await;
        got.push(member.receive_only().await);
    }
    for n in 0..6 {
        at.publish(&Publish::new(&topic, n.to_string(), 1)).await;
    }
    held.acknowledge(&got[0]).await;
    for _ in 0..3 {
        got.push(held.receive().await);
    }
    at.nothing_more_for(&mut held).await;
    drop(leaving);
    for _ in 0..4 {
        got.push(held.receive().await);
    }
    at.nothing_more_for(&mut held).await;
    let mut texts: Vec<String> = got.iter().map(Publish::text).collect();
    texts.sort();
    let wanted = ["0", "1", "2", "3", "4", "5", "first", "first", "first"];
    assert_eq!(
        texts, wanted,
        "each once, and again what the leaving one had"
    );
}

async fn v5_a_client_may_be_in_groups_and_beside_them(at: Stage) {
    let topic = unique("shared/beside");
    let mut client = at.client().await;
    for (filter, id) in [
        (topic.clone(), 1),
        (format!("$share/a/{topic}"), 2),
        (format!("$share/b/{topic}"), 3),
    ] {
        let id = Properties::default().with(property::SUBSCRIPTION_ID, Value::Var(id));
        client.subscribe_with(&[(&filter, 1)], &id).await;
    }
    at.publish(&Publish::new(&topic, "x", 1)).await;
    let got = at.rest_of(&mut client).await;
    let mut ids: Vec<Option<u32>> = got
        .iter()
        .map(|m| m.properties.number(property::SUBSCRIPTION_ID))
        .collect();
    ids.sort_unstable();
    assert_eq!(
        ids,
        [Some(1), Some(2), Some(3)],
        "a copy for each, with its identifier"
    );
}
