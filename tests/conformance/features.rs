//! Sections 3.2.2.3.4, 3.2.2.3.5 and 3.2.2.3.11 to 13: what an operator switched off is announced and refused.

use crate::{
    stage::{Stage, will, with_id},
    support::{
        unique,
        wire::{self, Properties, Publish, Value, property},
    },
};

claims! {
    v5_mqtt_3_2_2_9_a_lower_maximum_qos_is_announced_and_kept_to:
        v5["3.2.2-9", "3.2.2-10", "3.2.2-11", "3.2.2-12"];
    v5_mqtt_3_2_2_13_without_retained_messages_nobody_sends_any: v5["3.2.2-13", "3.2.2-14"];
    v311_mqtt_3_8_3_2_without_wildcards_a_filter_that_has_one_is_rejected: v311["3.8.3-2"];
    v5_subscriptions_of_a_kind_that_is_switched_off_end_the_connection:
        v5["wildcards, shared subscriptions, subscription identifiers not available"];
    v311_what_is_switched_off_ends_the_connection_that_publishes_it:
        v311["QoS or RETAIN that the gateway does not serve"];
    v5_response_information_is_told_to_who_asks: v5["response information"];
    v5_a_gateway_that_stops_names_another: v5["server reference"];
}

async fn v5_mqtt_3_2_2_9_a_lower_maximum_qos_is_announced_and_kept_to(at: Stage) {
    for most in [0u8, 1] {
        let at = at.with(&[&format!("features.maximum_qos={most}")]);
        let topic = unique("features/qos");
        let (mut client, welcome) = at.connect(&at.opening()).await;
        let told = welcome.properties.get(property::MAXIMUM_QOS);
        assert_eq!(told, Some(&Value::Byte(most)));
        for asked in 0..=2 {
            assert_eq!(
                client.subscribe(&[(&topic, asked)]).await,
                [asked.min(most)]
            );
        }
        client.publish(&Publish::new(&topic, "x", most)).await;
        assert_eq!(client.receive().await.qos, most);
        for qos in most + 1..=2 {
            let publish = with_id(at.version, &Publish::new(&topic, "x", qos), 1);
            at.forbids("a PUBLISH above it", &publish, 0x9B).await;
            let mut last = will(&topic);
            last.qos = qos;
            let connect = at.opening().will(last).encode();
            at.turns_away("a will above it", &connect, 0x9B).await;
        }
        client.ping().await;
    }
}

async fn v5_mqtt_3_2_2_13_without_retained_messages_nobody_sends_any(at: Stage) {
    let at = at.with(&["features.retain=false"]);
    let topic = unique("features/retain");
    let (mut client, welcome) = at.connect(&at.opening()).await;
    let told = welcome.properties.get(property::RETAIN_AVAILABLE);
    assert_eq!(told, Some(&Value::Byte(0)));
    let mut last = will(&topic);
    last.retain = true;
    let connect = at.opening().will(last).encode();
    at.turns_away("a retained will", &connect, 0x9A).await;
    for payload in ["x", ""] {
        let publish = wire::publish(at.version, &Publish::new(&topic, payload, 0).retained());
        at.forbids("RETAIN", &publish, 0x9A).await;
    }
    client.subscribe(&[(&topic, 1)]).await;
    client.publish(&Publish::new(&topic, "marker", 1)).await;
    assert_eq!(client.receive().await.text(), "marker");
}

async fn v311_mqtt_3_8_3_2_without_wildcards_a_filter_that_has_one_is_rejected(at: Stage) {
    let at = at.with(&["features.wildcard_subscriptions=false"]);
    let mut client = at.client().await;
    let filters = [("a/#", 0), ("plain", 1), ("+/b", 2), ("#", 0)];
    assert_eq!(client.subscribe(&filters).await, [0x80, 1, 0x80, 0x80]);
    client.publish(&Publish::new("plain", "x", 0)).await;
    assert_eq!(client.receive().await.text(), "x");
}

async fn v5_subscriptions_of_a_kind_that_is_switched_off_end_the_connection(at: Stage) {
    let at = at.with(&[
        "features.wildcard_subscriptions=false",
        "features.shared_subscriptions=false",
        "features.subscription_identifiers=false",
    ]);
    let (_, welcome) = at.connect(&at.opening()).await;
    for told in [0x28, 0x29, 0x2A] {
        assert_eq!(welcome.properties.get(told), Some(&Value::Byte(0)));
    }
    let none = Properties::default();
    let id = Properties::default().with(property::SUBSCRIPTION_ID, Value::Var(1));
    for (filter, properties, code) in [
        ("a/#", &none, 0xA2),
        ("+", &none, 0xA2),
        ("$share/g/t", &none, 0x9E),
        ("t", &id, 0xA1),
    ] {
        let subscribe = wire::subscribe(at.version, 1, &[(filter, 0)], properties);
        at.forbids(filter, &subscribe, code).await;
    }
}

async fn v311_what_is_switched_off_ends_the_connection_that_publishes_it(at: Stage) {
    let at = at.with(&["features.maximum_qos=1", "features.retain=false"]);
    let two = with_id(at.version, &Publish::new("features/t", "x", 2), 1);
    at.forbids("QoS 2", &two, 0).await;
    let kept = wire::publish(at.version, &Publish::new("features/t", "x", 0).retained());
    at.forbids("RETAIN", &kept, 0).await;
    let mut client = at.client().await;
    assert_eq!(client.subscribe(&[("features/t", 2)]).await, [1]);
}

async fn v5_response_information_is_told_to_who_asks(at: Stage) {
    let at = at.with(&["mqtt.response_information=replies/%c/"]);
    for (asks, told) in [(None, false), (Some(0), false), (Some(1), true)] {
        let id = unique("asker");
        let mut opening = at.opening_of(&id);
        if let Some(asks) = asks {
            opening = opening.property(property::REQUEST_RESPONSE_INFORMATION, Value::Byte(asks));
        }
        let (_, welcome) = at.connect(&opening).await;
        let wanted = format!("replies/{id}/");
        let got = welcome.properties.string(property::RESPONSE_INFORMATION);
        assert_eq!(got, told.then_some(wanted.as_str()));
    }
}

async fn v5_a_gateway_that_stops_names_another(at: Stage) {
    let at = at.with(&["mqtt.server_reference=other.example:1883"]);
    let mut client = at.client().await;
    at.gateway.terminate();
    match client.next().await {
        Some(wire::Packet::Disconnect { code, properties }) => {
            assert_eq!(code, 0x9C);
            let other = properties.string(property::SERVER_REFERENCE);
            assert_eq!(other, Some("other.example:1883"));
        }
        other => panic!("DISCONNECT 0x9C expected, not {other:?}"),
    }
    client.ends().await;
}
