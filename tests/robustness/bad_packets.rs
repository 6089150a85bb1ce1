//! Packets that are wrong, or too much, behind a CONNECT that is right: each gets its reason and a close; nobody else
//! notices.

use tokio::io::AsyncWriteExt;

use crate::{
    canary::Canary,
    support::{
        gateway::Gateway,
        mqtt::{Client, Link},
        unique,
        wire::{self, Opening, Properties, Publish, Value, Version, property},
    },
};

/// What a connected client may send that ends its connection, and the reasons MQTT 5 may give.
fn malformed_after_connect() -> Vec<(&'static str, Vec<u8>, &'static [u8])> {
    let text = |head: &[u8], text: &[u8], tail: &[u8]| {
        let mut body = head.to_vec();
        wire::put_binary(&mut body, text);
        body.extend_from_slice(tail);
        body
    };
    let with_id =
        |flags: u8, topic: &[u8], tail: &[u8]| wire::packet(flags, &text(&[], topic, tail));
    vec![
        ("packet type 0", vec![0x00, 0x00], &[0x81, 0x82]),
        (
            "CONNACK from a client",
            vec![0x20, 0x02, 0x00, 0x00],
            &[0x81, 0x82],
        ),
        (
            "SUBACK from a client",
            vec![0x90, 0x03, 0x00, 0x01, 0x00],
            &[0x81, 0x82],
        ),
        (
            "UNSUBACK from a client",
            vec![0xB0, 0x02, 0x00, 0x01],
            &[0x81, 0x82],
        ),
        ("PINGRESP from a client", vec![0xD0, 0x00], &[0x81, 0x82]),
        (
            "a remaining length of five bytes",
            vec![0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0x01],
            &[0x81],
        ),
        (
            "the largest remaining length",
            vec![0x30, 0xFF, 0xFF, 0xFF, 0x7F],
            &[0x95],
        ),
        ("QoS 3", with_id(0x36, b"a", &[0, 1, 0]), &[0x81]),
        ("DUP with QoS 0", with_id(0x38, b"a", &[0]), &[0x81, 0x82]),
        ("PUBLISH without a topic", wire::packet(0x30, &[]), &[0x81]),
        (
            "PUBLISH with half a topic",
            wire::packet(0x30, &[0, 9, b'a']),
            &[0x81],
        ),
        (
            "packet identifier 0",
            with_id(0x32, b"a", &[0, 0, 0]),
            &[0x81, 0x82],
        ),
        (
            "PUBLISH without its identifier",
            with_id(0x32, b"a", &[]),
            &[0x81],
        ),
        (
            "+ in a topic name",
            with_id(0x30, b"a/+/b", &[0]),
            &[0x90, 0x81, 0x82],
        ),
        (
            "# in a topic name",
            with_id(0x30, b"a/#", &[0]),
            &[0x90, 0x81, 0x82],
        ),
        (
            "an empty topic",
            with_id(0x30, b"", &[0]),
            &[0x82, 0x90, 0x81],
        ),
        (
            "NUL in a topic",
            with_id(0x30, b"a\0b", &[0]),
            &[0x81, 0x90],
        ),
        (
            "invalid UTF-8 in a topic",
            with_id(0x30, b"a\xFF", &[0]),
            &[0x81],
        ),
        (
            "a surrogate in a topic",
            with_id(0x30, b"a\xED\xA0\x80", &[0]),
            &[0x81],
        ),
        (
            "overlong UTF-8 in a topic",
            with_id(0x30, b"a\xC0\xAF", &[0]),
            &[0x81],
        ),
        (
            "SUBSCRIBE with flags 0",
            wire::packet(0x80, &text(&[0, 1, 0], b"a", &[0])),
            &[0x81],
        ),
        (
            "SUBSCRIBE without a filter",
            wire::packet(0x82, &[0, 1, 0]),
            &[0x81, 0x82],
        ),
        (
            "SUBSCRIBE with identifier 0",
            wire::packet(0x82, &text(&[0, 0, 0], b"a", &[0])),
            &[0x81, 0x82],
        ),
        (
            "SUBSCRIBE with QoS 3",
            wire::packet(0x82, &text(&[0, 1, 0], b"a", &[3])),
            &[0x81, 0x82],
        ),
        (
            "SUBSCRIBE with reserved bits",
            wire::packet(0x82, &text(&[0, 1, 0], b"a", &[0xC0])),
            &[0x81, 0x82],
        ),
        (
            "SUBSCRIBE without options",
            wire::packet(0x82, &text(&[0, 1, 0], b"a", &[])),
            &[0x81],
        ),
        (
            "UNSUBSCRIBE without a filter",
            wire::packet(0xA2, &[0, 1, 0]),
            &[0x81, 0x82],
        ),
        (
            "UNSUBSCRIBE with flags 0",
            wire::packet(0xA0, &text(&[0, 1, 0], b"a", &[])),
            &[0x81],
        ),
        ("PUBREL with flags 0", vec![0x60, 0x02, 0x00, 0x01], &[0x81]),
        ("PUBACK with flags", vec![0x42, 0x02, 0x00, 0x01], &[0x81]),
        ("PUBACK of one byte", vec![0x40, 0x01, 0x00], &[0x81]),
        ("PINGREQ with a body", vec![0xC0, 0x01, 0x00], &[0x81]),
        ("PINGREQ with flags", vec![0xC1, 0x00], &[0x81]),
        ("DISCONNECT with flags", vec![0xE1, 0x00], &[0x81]),
        ("a second CONNECT", Opening::v5("twice").encode(), &[0x82]),
    ]
}

/// As [`malformed_after_connect`], for what only MQTT 5 has.
fn malformed_in_v5() -> Vec<(&'static str, Vec<u8>, &'static [u8])> {
    let publish = |properties: &[u8]| {
        let mut body = vec![];
        wire::put_text(&mut body, "a");
        wire::put_var(&mut body, properties.len() as u32);
        body.extend_from_slice(properties);
        wire::packet(0x30, &body)
    };
    let sharing =
        |filter: &str| wire::subscribe(Version::V5, 1, &[(filter, 4)], &Properties::default());
    let sub_id = |n| {
        let properties = Properties::default().with(property::SUBSCRIPTION_ID, Value::Var(n));
        wire::subscribe(Version::V5, 1, &[("a", 0)], &properties)
    };
    vec![
        ("an unknown property", publish(&[0x7F, 0]), &[0x81]),
        (
            "a property of another packet",
            publish(&[0x11, 0, 0, 0, 1]),
            &[0x81, 0x82],
        ),
        ("a property cut short", publish(&[0x02, 0, 0]), &[0x81]),
        ("a property twice", publish(&[0x01, 0, 0x01, 0]), &[0x82]),
        ("payload format 2", publish(&[0x01, 2]), &[0x81, 0x82]),
        ("topic alias 0", publish(&[0x23, 0, 0]), &[0x94]),
        (
            "a subscription identifier from a client",
            publish(&[0x0B, 1]),
            &[0x82, 0x81],
        ),
        (
            "a wildcard in the response topic",
            publish(&[0x08, 0, 3, b'a', b'/', b'#']),
            &[0x82, 0x81, 0x90],
        ),
        (
            "NUL in a user property",
            publish(&[0x26, 0, 1, 0, 0, 1, b'x']),
            &[0x81],
        ),
        (
            "properties longer than the packet",
            wire::packet(0x30, &[0, 1, b'a', 0x7F, 0x01]),
            &[0x81],
        ),
        ("subscription identifier 0", sub_id(0), &[0x82, 0x81]),
        (
            "retain handling 3",
            wire::subscribe(Version::V5, 1, &[("a", 0x30)], &Properties::default()),
            &[0x82, 0x81],
        ),
        (
            "no local on a shared subscription",
            sharing("$share/g/a"),
            &[0x82],
        ),
        ("AUTH without a method", vec![0xF0, 0x00], &[0x82, 0x81]),
        (
            "DISCONNECT with an unknown property",
            wire::packet(0xE0, &[0, 2, 0x7F, 0]),
            &[0x81],
        ),
    ]
}

async fn expect_close(
    gateway: &Gateway,
    what: &str,
    version: Version,
    bytes: &[u8],
    reasons: &[u8],
    websocket: bool,
) {
    let opening = Opening::new(version, &unique("rude"));
    let link = if websocket {
        Link::websocket(gateway.http, version).await
    } else {
        Link::tcp(gateway.mqtt).await
    };
    let (mut client, _) = Client::welcomed(link, &opening).await;
    client.try_send(bytes).await;
    let reason = client.closed().await;
    match version {
        Version::V5 => assert!(
            reason.is_some_and(|r| reasons.contains(&r)),
            "{what}: {reason:02x?} of {reasons:02x?}"
        ),
        _ => assert_eq!(reason, None, "{what}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_packets_are_answered_with_their_reason_and_a_close() {
    let gateway = Gateway::shared();
    let mut canary = Canary::perched(&gateway).await;
    for (what, bytes, reasons) in malformed_after_connect() {
        for websocket in [false, true] {
            expect_close(&gateway, what, Version::V5, &bytes, reasons, websocket).await;
        }
        // the same bytes for MQTT 3.1.1, where a property length byte is no part of the packet
        if !what.contains("SUBSCRIBE") {
            expect_close(&gateway, what, Version::V311, &bytes, &[], false).await;
        }
        canary.sing().await;
    }
    for (what, bytes, reasons) in malformed_in_v5() {
        expect_close(&gateway, what, Version::V5, &bytes, reasons, false).await;
        canary.sing().await;
    }
    canary.was_never_delayed();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_subscriptions_of_3_1_1_are_closed() {
    let gateway = Gateway::shared();
    let subscribe = |filter: &str, options| {
        wire::subscribe(Version::V311, 1, &[(filter, options)], &Default::default())
    };
    for (what, bytes) in [
        ("no filter", wire::packet(0x82, &[0, 1])),
        ("QoS 3", subscribe("a", 3)),
        ("reserved bits", subscribe("a", 4)),
        ("flags 0", {
            let mut bytes = subscribe("a", 0);
            bytes[0] = 0x80;
            bytes
        }),
        (
            "identifier 0",
            wire::subscribe(Version::V311, 0, &[("a", 0)], &Default::default()),
        ),
        ("NUL", subscribe("a\0", 0)),
        ("UNSUBSCRIBE without a filter", wire::packet(0xA2, &[0, 1])),
        ("DISCONNECT with a body", vec![0xE0, 0x01, 0x00]),
        ("packet type 15", vec![0xF0, 0x00]),
    ] {
        expect_close(&gateway, what, Version::V311, &bytes, &[], false).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_bytes_after_connect_end_only_their_own_connection() {
    let gateway = Gateway::shared();
    let mut canary = Canary::perched(&gateway).await;
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for n in 0..300 {
        let version = if n % 2 == 0 {
            Version::V5
        } else {
            Version::V311
        };
        let (client, _) = Client::welcomed(
            Link::tcp(gateway.mqtt).await,
            &Opening::new(version, &unique("noise")),
        )
        .await;
        let Link::Tcp(mut stream) = client.link else {
            unreachable!("asked for TCP")
        };
        let bytes: Vec<u8> = (0..1 + random() % 64).map(|_| random() as u8).collect();
        let _ = stream.write_all(&bytes).await;
        if n % 20 == 0 {
            canary.sing().await;
        }
    }
    canary.sing().await;
    canary.was_never_delayed();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deep_topics_and_many_filters_are_bounded() {
    let gateway = Gateway::shared();
    let mut canary = Canary::perched(&gateway).await;
    let deep = vec!["x"; 129].join("/");
    let mut client = Client::tcp(&gateway, &Opening::v5(&unique("deep"))).await;
    let code = client.subscribe(&[(&deep, 0)]).await;
    assert!(
        matches!(code[..], [0x8F | 0x97]),
        "129 levels in a filter: {code:02x?}"
    );
    let code = client.publish(&Publish::new(&deep, "x", 1)).await;
    assert!(
        matches!(code, 0x90 | 0x97),
        "129 levels in a topic: {code:#04x}"
    );
    let slashes = "/".repeat(65_535);
    let code = client.subscribe(&[(&slashes, 0)]).await;
    assert!(
        matches!(code[..], [0x8F | 0x97]),
        "65535 slashes: {code:02x?}"
    );
    canary.sing().await;
    canary.was_never_delayed();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_oversized_websocket_message_ends_its_connection_only() {
    let gateway = Gateway::shared();
    let mut canary = Canary::perched(&gateway).await;
    let mut client = Client::websocket(&gateway, &Opening::v5(&unique("big"))).await;
    let message = Publish::new("big", vec![0; 4 << 20], 0);
    client.try_send(&wire::publish(Version::V5, &message)).await;
    let reason = client.closed().await;
    assert!(matches!(reason, None | Some(0x95)), "{reason:02x?}");
    canary.sing().await;
}
