//! Sections 3.15 and 4.12: AUTH. The program offers no method; where one is needed, the gateway runs in the test.

use crate::{
    mirror::{AGAIN, CONTINUE, NAME, Running, challenge, connack, opening},
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
    v5_mqtt_4_12_0_2_a_challenge_comes_before_connack_and_names_the_method:
        v5["4.12.0-2", "4.12.0-5", "3.2.0-1", "3.15.2-1"];
    v5_mqtt_4_12_0_3_a_client_may_only_continue: v5["4.12.0-3", "3.15.2-1", "3.1.2-30"];
    v5_mqtt_4_12_0_4_a_wrong_proof_is_refused: v5["4.12.0-4", "3.1.4-2"];
    v5_mqtt_4_12_0_5_another_method_in_the_middle_is_refused: v5["4.12.0-5"];
    v5_mqtt_4_12_1_1_a_client_authenticates_again_under_its_method:
        v5["4.12.1-1", "4.12.0-5", "3.2.0-2"];
    v5_mqtt_4_12_1_2_who_fails_to_authenticate_again_is_disconnected: v5["4.12.1-2"];
    v5_mqtt_3_15_2_2_auth_fits_the_clients_maximum_packet_size: v5["3.15.2-2", "3.15.2-3"];
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

async fn v5_mqtt_4_12_0_2_a_challenge_comes_before_connack_and_names_the_method(at: Stage) {
    let running = Running::start().await;
    let mut client = running.client(&at).await; // all of it, byte for byte
    client.ping().await;
    running.stop().await;
}

async fn v5_mqtt_4_12_0_3_a_client_may_only_continue(at: Stage) {
    let running = Running::start().await;
    let topic = unique("auth/early");
    for (bytes, code) in [
        (wire::auth(0x00, NAME, b"drow"), 0x82),
        (wire::auth(AGAIN, NAME, b"drow"), 0x82),
        (wire::auth(0x7F, NAME, b"drow"), 0x81),
        (wire::packet(0xF1, &[CONTINUE, 0]), 0x81),
        (wire::pingreq(), 0x82),
        (
            wire::publish(at.version, &Publish::new(&topic, "early", 0).retained()),
            0x82,
        ),
    ] {
        let mut client = running.challenged(&at, &opening(&at)).await;
        client.send(&bytes).await;
        connack(&mut client, code).await;
        client.ends().await;
    }
    let mut client = running.challenged(&at, &opening(&at)).await;
    client.send(&[0xE0, 0]).await;
    client.ends().await;
    let mut client = running.client(&at).await;
    client.subscribe(&[(&topic, 0)]).await;
    client.ping().await; // nothing retained came before its answer
    client.publish(&Publish::new(&topic, "first", 0)).await;
    assert_eq!(client.receive().await.text(), "first");
    running.stop().await;
}

async fn v5_mqtt_4_12_0_4_a_wrong_proof_is_refused(at: Stage) {
    let running = Running::start().await;
    for proof in [&b"word"[..], b""] {
        let mut client = running.challenged(&at, &opening(&at)).await;
        client.send(&wire::auth(CONTINUE, NAME, proof)).await;
        connack(&mut client, 0x87).await;
        client.ends().await;
    }
    running.stop().await;
}

async fn v5_mqtt_4_12_0_5_another_method_in_the_middle_is_refused(at: Stage) {
    let running = Running::start().await;
    for bytes in [
        wire::auth(CONTINUE, "other", b"drow"),
        auth(CONTINUE, None),
        vec![0xF0, 0],
    ] {
        let mut client = running.challenged(&at, &opening(&at)).await;
        client.send(&bytes).await;
        connack(&mut client, 0x82).await;
        client.ends().await;
    }
    running.stop().await;
}

async fn v5_mqtt_4_12_1_1_a_client_authenticates_again_under_its_method(at: Stage) {
    let running = Running::start().await;
    let mut client = running.client(&at).await;
    for _ in 0..2 {
        client.send(&wire::auth(AGAIN, NAME, b"ann")).await;
        client.expect(&challenge()).await;
        client.ping().await; // everything else goes on
        client.send(&wire::auth(CONTINUE, NAME, b"drow")).await;
        client.expect(&wire::auth(0x00, NAME, b"")).await;
    }
    client.send(&wire::auth(AGAIN, "other", b"ann")).await;
    at.is_over("another method", &mut client, 0x82).await;
    let mut client = running.client(&at).await;
    client.send(&wire::auth(CONTINUE, NAME, b"drow")).await;
    at.is_over("an answer to nothing", &mut client, 0x82).await;
    running.stop().await;
}

async fn v5_mqtt_4_12_1_2_who_fails_to_authenticate_again_is_disconnected(at: Stage) {
    let running = Running::start().await;
    let mut client = running.client(&at).await;
    client.send(&wire::auth(AGAIN, NAME, b"ann")).await;
    client.expect(&challenge()).await;
    client.send(&wire::auth(CONTINUE, NAME, b"wrong")).await;
    at.is_over("a wrong proof", &mut client, 0x87).await;
    running.stop().await;
}

async fn v5_mqtt_3_15_2_2_auth_fits_the_clients_maximum_packet_size(at: Stage) {
    let running = Running::start().await;
    // method and data alone are as long as this; a byte less and there is no way to ask
    let most = |bytes: usize| {
        let most = Value::Four(bytes as u32);
        opening(&at).property(property::MAXIMUM_PACKET_SIZE, most)
    };
    let length = challenge().len();
    running.challenged(&at, &most(length)).await;
    let mut client = running.line(&at, &most(length - 1)).await;
    client.expect(&[0x20, 3, 0, 0x95, 0]).await;
    client.ends().await;
    running.stop().await;
}
