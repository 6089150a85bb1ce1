//! Sections 3.2.2.3.3 to 3.2.2.3.8: what the gateway says it takes, and who asks for more.

use crate::{
    stage::{Stage, text, with_id},
    support::{
        unique,
        wire::{self, PUBREL, Packet, Publish, Value, property},
    },
};

claims! {
    v5_mqtt_3_2_2_15_a_packet_at_the_announced_size_is_taken_and_one_above_ends_the_connection:
        v5["3.2.2-15"];
    v311_a_packet_above_the_limit_ends_the_connection: v311["a packet above the gateway's limit"];
    v5_mqtt_3_2_2_17_aliases_from_1_to_the_announced_maximum_are_accepted_and_no_others:
        v5["3.2.2-17", "3.3.2-12", "3.3.2-9", "3.3.2-8", "3.3.2-7"];
    v5_mqtt_3_2_2_18_without_a_topic_alias_maximum_no_alias_is_accepted: v5["3.2.2-18"];
    v5_mqtt_3_3_4_7_more_unacknowledged_messages_than_announced_end_the_connection:
        v5["3.3.4-7", "4.9.0-2"];
    v5_a_new_connection_begins_with_its_whole_window:
        v5["the client's send quota begins anew with each connection"];
    v311_nobody_counts_what_a_client_of_3_1_1_has_not_released: v311["no receive maximum"];
    v5_mqtt_3_3_2_7_aliases_of_the_gateway_die_with_the_connection: v5["3.3.2-7"];
}

/// A PUBLISH of exactly this size: user properties fill what the topic leaves.
fn sized(topic: &str, size: usize) -> Vec<u8> {
    // type, remaining length, topic, property length: the lengths take three bytes each
    let mut rest = size - 1 - 3 - 2 - topic.len() - 3;
    let mut properties = vec![];
    while rest > 0 {
        let block = if rest > 60_000 { 50_000 } else { rest };
        properties.extend([0x26, 0, 1, b'k']);
        properties.extend(text(&vec![b'v'; block - 6]));
        rest -= block;
    }
    let mut body = text(topic.as_bytes());
    wire::put_var(&mut body, properties.len() as u32);
    body.extend(properties);
    wire::packet(0x30, &body)
}

async fn v5_mqtt_3_2_2_15_a_packet_at_the_announced_size_is_taken_and_one_above_ends_the_connection(
    at: Stage,
) {
    let at = at.with(&["limits.payload=1KiB"]);
    let topic = unique("limits/largest");
    let mut subscriber = at.subscriber(&[(&topic, 0)]).await;
    let (mut client, welcome) = at.connect(&at.opening()).await;
    let most = welcome.properties.number(property::MAXIMUM_PACKET_SIZE);
    let most = most.expect("the gateway has a limit") as usize;
    assert_eq!(most, (1 << 10) + (256 << 10));
    let largest = sized(&topic, most);
    assert_eq!(largest.len(), most);
    client.send(&largest).await;
    subscriber.expect(&largest).await;
    let above = sized(&topic, most + 1);
    assert_eq!(above.len(), most + 1);
    client.try_send(&above).await;
    at.is_over("a byte too many", &mut client, 0x95).await;
    // the header alone condemns it
    let mut head = vec![0x30];
    wire::put_var(&mut head, most as u32);
    at.forbids("a length that says so", &head, 0x95).await;
}

async fn v311_a_packet_above_the_limit_ends_the_connection(at: Stage) {
    let mut head = vec![0x30];
    wire::put_var(&mut head, (1 << 20) + (256 << 10));
    at.forbids("a length that says so", &head, 0x95).await;
}

fn aliased(topic: &str, payload: &str, alias: u16) -> Publish {
    Publish::new(topic, payload, 0).property(property::TOPIC_ALIAS, Value::Two(alias))
}

async fn v5_mqtt_3_2_2_17_aliases_from_1_to_the_announced_maximum_are_accepted_and_no_others(
    at: Stage,
) {
    let root = unique("limits/alias");
    let [one, two] = ["one", "two"].map(|n| format!("{root}/{n}"));
    let mut subscriber = at.subscriber(&[(&format!("{root}/+"), 0)]).await;
    let (mut client, welcome) = at.connect(&at.opening()).await;
    let most = welcome.properties.number(property::TOPIC_ALIAS_MAXIMUM);
    let most = most.expect("the gateway takes aliases") as u16;
    for (message, topic) in [
        (aliased(&one, "set", 1), &one),
        (aliased(&two, "the last", most), &two),
        (aliased("", "used", 1), &one),
        (aliased("", "the last used", most), &two),
        (aliased(&two, "moved", 1), &two),
        (aliased("", "used again", 1), &two),
    ] {
        client.publish(&message).await;
        // the alias belongs to the sender's connection: it is resolved, not forwarded
        let payload = message.payload.as_slice();
        subscriber
            .expect(&at.publish_bytes(0x30, topic.as_bytes(), &[], payload))
            .await;
    }
    for alias in 1..=most {
        client.publish(&aliased(&one, "all of them", alias)).await;
        subscriber
            .expect(&at.publish_bytes(0x30, one.as_bytes(), &[], b"all of them"))
            .await;
    }
    for (what, alias, topic, code) in [
        ("above the maximum", most + 1, one.as_str(), 0x94),
        ("alias 0", 0, one.as_str(), 0x94),
        ("alias 0 without a topic", 0, "", 0x94),
        // on a new connection nothing is mapped any more
        ("not mapped", 1, "", 0x82),
    ] {
        let publish = wire::publish(at.version, &aliased(topic, "x", alias));
        at.forbids(what, &publish, code).await;
    }
    let neither = wire::publish(at.version, &Publish::new("", "x", 0));
    at.forbids("neither topic nor alias", &neither, 0x82).await;
    at.nothing_more_for(&mut subscriber).await;
}

async fn v5_mqtt_3_2_2_18_without_a_topic_alias_maximum_no_alias_is_accepted(at: Stage) {
    let at = at.with(&["limits.topic_alias_maximum=0"]);
    let (_, welcome) = at.connect(&at.opening()).await;
    let most = welcome.properties.number(property::TOPIC_ALIAS_MAXIMUM);
    assert_eq!(most.unwrap_or(0), 0);
    let publish = wire::publish(at.version, &aliased("limits/alias", "x", 1));
    at.forbids("an alias", &publish, 0x94).await;
}

async fn v5_mqtt_3_3_4_7_more_unacknowledged_messages_than_announced_end_the_connection(at: Stage) {
    let at = at.with(&["limits.receive_maximum=4"]);
    let topic = unique("limits/receive");
    let (mut client, welcome) = at.connect(&at.opening()).await;
    assert_eq!(
        welcome.properties.number(property::RECEIVE_MAXIMUM),
        Some(4)
    );
    let message = Publish::new(&topic, "x", 2);
    for id in 1..=4 {
        client.send(&with_id(at.version, &message, id)).await;
        client.expect(&[0x50, 2, 0, id as u8]).await;
    }
    // QoS 0 is not counted, PUBREL gives room for one, and a repeated message takes none
    client
        .send(&wire::publish(at.version, &Publish::new(&topic, "x", 0)))
        .await;
    client.send(&with_id(at.version, &message, 4)).await;
    client.expect(&[0x50, 2, 0, 4]).await;
    client.send(&wire::ack(PUBREL, 1)).await;
    client.expect(&[0x70, 2, 0, 1]).await;
    client.send(&with_id(at.version, &message, 5)).await;
    client.expect(&[0x50, 2, 0, 5]).await;
    client.send(&with_id(at.version, &message, 6)).await;
    at.is_over("a fifth", &mut client, 0x93).await;
}

async fn v5_a_new_connection_begins_with_its_whole_window(at: Stage) {
    let at = at.with(&["limits.receive_maximum=4"]);
    let (topic, id) = (unique("limits/window"), unique("sender"));
    let message = Publish::new(&topic, "x", 2);
    for first in [1, 5] {
        let (mut client, _) = at.resume(&id).await;
        for id in first..first + 4 {
            client.send(&with_id(at.version, &message, id)).await;
            client.expect(&[0x50, 2, 0, id as u8]).await;
        }
    }
}

async fn v311_nobody_counts_what_a_client_of_3_1_1_has_not_released(at: Stage) {
    let at = at.with(&["limits.receive_maximum=4"]);
    let mut client = at.client().await;
    for id in 1..=50 {
        let message = Publish::new("limits/unreleased", "x", 2);
        client.send(&with_id(at.version, &message, id)).await;
        client.expect(&[0x50, 2, 0, id as u8]).await;
    }
    client.send(&wire::pingreq()).await;
    assert_eq!(client.next().await, Some(Packet::Pingresp));
}

async fn v5_mqtt_3_3_2_7_aliases_of_the_gateway_die_with_the_connection(at: Stage) {
    let (topic, id) = (unique("limits/forgotten"), unique("forgetful"));
    let opening = at
        .lasting(&id)
        .property(property::TOPIC_ALIAS_MAXIMUM, Value::Two(4));
    for _ in 0..2 {
        let mut client = at.client_of(&opening).await;
        client.subscribe(&[(&topic, 1)]).await;
        for n in 0..3 {
            at.publish(&Publish::new(&topic, n.to_string(), 1)).await;
            let got = client.receive().await;
            let alias = got.properties.number(property::TOPIC_ALIAS);
            // the first on each connection names the topic, also if it was named on the one before
            assert_eq!(got.topic.is_empty(), n > 0);
            assert!(n == 0 || alias.is_some());
        }
        at.publish(&Publish::new(&topic, "unacknowledged", 1)).await;
        client.receive_only().await;
        drop(client);
        let mut client = at.client_of(&opening).await;
        let again = client.receive().await;
        assert_eq!((again.topic, again.dup), (topic.clone(), true));
    }
}
