//! Sections 3.15 and 4.12: AUTH. The gateway offers no method of its own.

use crate::{
    stage::Stage,
    support::{
        unique,
        wire::{self, Opening, Properties, Publish, Value, property},
    },
};

claims! {
    v5_mqtt_4_12_0_1_a_method_nobody_knows_is_refused: v5["4.12.0-1", "4.12.0-4"];
    v5_mqtt_3_1_2_30_whoever_names_a_method_waits_for_connack: v5["3.1.2-30"];
    v5_mqtt_4_12_0_6_without_a_method_the_gateway_sends_no_auth: v5["4.12.0-6"];
    v5_mqtt_4_12_0_7_without_a_method_a_client_sends_no_auth: v5["4.12.0-7"];
    v5_mqtt_3_15_1_1_auth_with_flags_is_malformed: v5["3.15.1-1"];
    v5_mqtt_3_15_2_1_auth_with_a_stray_code_is_malformed: v5["3.15.2-1"];
}

fn with_method(at: &Stage) -> Opening {
    at.opening()
        .property(property::AUTHENTICATION_METHOD, Value::Text("bogus".into()))
}

async fn v5_mqtt_4_12_0_1_a_method_nobody_knows_is_refused(at: Stage) {
    let bare = with_method(&at);
    let data = Value::Binary(b"proof".to_vec());
    let with_data = with_method(&at).property(property::AUTHENTICATION_DATA, data);
    for opening in [bare, with_data] {
        at.turns_away_with("a method", &opening.encode(), Some(0x8C))
            .await;
    }
}

async fn v5_mqtt_3_1_2_30_whoever_names_a_method_waits_for_connack(at: Stage) {
    let topic = unique("auth/early");
    let mut watcher = at.subscriber(&[(&topic, 0)]).await;
    let mut bytes = with_method(&at).encode();
    bytes.extend(wire::publish(
        at.version,
        &Publish::new(&topic, "early", 0).retained(),
    ));
    bytes.extend(wire::pingreq());
    at.turns_away_with("too early", &bytes, Some(0x8C)).await;
    at.nothing_more_for(&mut watcher).await;
    assert_eq!(at.retained(&topic).await, []);
}

async fn v5_mqtt_4_12_0_6_without_a_method_the_gateway_sends_no_auth(at: Stage) {
    let (mut client, welcome) = at.connect(&at.opening()).await;
    for property in [
        property::AUTHENTICATION_METHOD,
        property::AUTHENTICATION_DATA,
    ] {
        assert_eq!(welcome.properties.get(property), None);
    }
    client.ping().await;
}

/// An AUTH with this code and method.
fn auth(code: u8, method: Option<&str>) -> Vec<u8> {
    let mut body = vec![code];
    let mut properties = Properties::default();
    if let Some(method) = method {
        properties = properties.text(property::AUTHENTICATION_METHOD, method);
    }
    wire::put_properties(&mut body, &properties);
    wire::packet(0xF0, &body)
}

async fn v5_mqtt_4_12_0_7_without_a_method_a_client_sends_no_auth(at: Stage) {
    for (what, bytes) in [
        ("continuing", auth(0x18, Some("bogus"))),
        ("re-authenticating", auth(0x19, Some("bogus"))),
        ("re-authenticating without a method", auth(0x19, None)),
        ("success, which only servers say", auth(0x00, Some("bogus"))),
        ("nothing at all", vec![0xF0, 0]),
    ] {
        at.forbids(what, &bytes, 0x82).await;
    }
}

async fn v5_mqtt_3_15_1_1_auth_with_flags_is_malformed(at: Stage) {
    let mut bytes = auth(0x19, Some("bogus"));
    for flags in [1, 2, 4, 8] {
        bytes[0] = 0xF0 | flags;
        at.forbids("flags", &bytes, 0x81).await;
        at.turns_away_with("flags, first of all", &bytes, None)
            .await;
    }
}

async fn v5_mqtt_3_15_2_1_auth_with_a_stray_code_is_malformed(at: Stage) {
    for code in [0x7F, 0x01, 0x80, 0x87] {
        at.forbids("a stray code", &auth(code, Some("bogus")), 0x81)
            .await;
    }
}
