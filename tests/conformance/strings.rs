//! Section 1.5: text and numbers on the wire.

use crate::{
    stage::{Stage, joined, text},
    support::{
        unique,
        wire::{self, Publish, Version},
    },
};

claims! {
    v5_v311_mqtt_1_5_4_1_ill_formed_utf8_in_connect_is_refused:
        v5["1.5.4-1", "3.1.3-4", "3.1.3-11", "3.1.3-12"] v311["1.5.3-1", "3.1.3-4", "3.1.3-10", "3.1.3-11"];
    v5_v311_mqtt_1_5_4_1_ill_formed_utf8_in_topics_and_filters_ends_the_connection:
        v5["1.5.4-1", "3.3.2-1", "3.8.3-1", "3.10.3-1"] v311["1.5.3-1", "3.3.2-1", "3.8.3-1", "3.10.3-1"];
    v5_v311_mqtt_1_5_4_2_nul_in_a_text_ends_the_connection:
        v5["1.5.4-2", "4.7.3-2"] v311["1.5.3-2", "4.7.3-2"];
    v5_v311_mqtt_1_5_4_3_a_byte_order_mark_is_text_like_any_other:
        v5["1.5.4-3"] v311["1.5.3-3"];
    v5_mqtt_1_5_5_1_a_number_longer_than_needed_is_malformed: v5["1.5.5-1"];
    v5_mqtt_1_5_7_1_both_halves_of_a_user_property_are_text: v5["1.5.7-1"];
    v5_mqtt_3_3_2_13_response_topic_and_content_type_are_text: v5["3.3.2-13", "3.3.2-19"];
    v5_v311_control_characters_and_noncharacters_are_text:
        v5["characters a text should not hold"] v311["characters a text should not hold"];
}

/// Surrogates, overlong forms, a cut sequence, a byte UTF-8 does not know, a code point beyond the last.
const ILL_FORMED: [&[u8]; 5] = [
    b"a\xED\xA0\x80",
    b"a\xC0\xAF",
    b"a\xE2\x82",
    b"a\xFFb",
    b"\xF4\x90\x80\x80",
];

async fn v5_v311_mqtt_1_5_4_1_ill_formed_utf8_in_connect_is_refused(at: Stage) {
    let id = text(unique("utf8").as_bytes());
    let no_properties: &[u8] = if at.is_v5() { &[0] } else { &[] };
    for bad in ILL_FORMED {
        let bad = &*text(bad);
        let user = joined(&[&id, bad]);
        let will = joined(&[&id, no_properties, bad, &text(b"x")]);
        for (what, bytes) in [
            ("client identifier", at.connect_bytes(0x02, bad)),
            ("user name", at.connect_bytes(0x82, &user)),
            ("will topic", at.connect_bytes(0x06, &will)),
        ] {
            at.turns_away(what, &bytes, 0x81).await;
        }
    }
}

async fn v5_v311_mqtt_1_5_4_1_ill_formed_utf8_in_topics_and_filters_ends_the_connection(at: Stage) {
    for bad in ILL_FORMED {
        let filter = joined(&[&text(bad), &[0]]);
        for (what, bytes) in [
            ("topic", at.publish_bytes(0x30, bad, &[], b"x")),
            ("filter to subscribe to", at.request_bytes(0x82, 1, &filter)),
            ("filter to give up", at.request_bytes(0xA2, 1, &text(bad))),
        ] {
            at.forbids(what, &bytes, 0x81).await;
        }
    }
    let beyond = wire::packet(0x30, &[0, 9, b'a']);
    at.forbids("a topic longer than its packet", &beyond, 0x81)
        .await;
}

async fn v5_v311_mqtt_1_5_4_2_nul_in_a_text_ends_the_connection(at: Stage) {
    at.turns_away("identifier", &at.connect_bytes(0x02, &text(b"a\0b")), 0x81)
        .await;
    let filter = joined(&[&text(b"a\0b"), &[0]]);
    for (what, bytes) in [
        ("topic", at.publish_bytes(0x30, b"a\0b", &[], b"x")),
        ("filter to subscribe to", at.request_bytes(0x82, 1, &filter)),
        ("filter to give up", at.request_bytes(0xA2, 1, &text(b"\0"))),
    ] {
        at.forbids(what, &bytes, 0x81).await;
    }
}

async fn v5_v311_mqtt_1_5_4_3_a_byte_order_mark_is_text_like_any_other(at: Stage) {
    let plain = unique("strings/bom");
    let marked = format!("\u{FEFF}{plain}");
    let mut subscriber = at.subscriber(&[(&marked, 0)]).await;
    at.publish(&Publish::new(&plain, "not this", 0)).await;
    at.publish(&Publish::new(&marked, "this", 0)).await;
    let bytes = joined(&[b"\xEF\xBB\xBF", plain.as_bytes()]);
    subscriber
        .expect(&at.publish_bytes(0x30, &bytes, &[], b"this"))
        .await;
}

async fn v5_mqtt_1_5_5_1_a_number_longer_than_needed_is_malformed(at: Stage) {
    // the gateway's own numbers are checked by the decoder of these tests, packet by packet
    let long_properties = wire::packet(0x30, &joined(&[&text(b"a"), &[0x80, 0x00], b"x"]));
    at.forbids("property length 80 00", &long_properties, 0x81)
        .await;
    let properties = [0x0B, 0x81, 0x80, 0x00];
    let body = joined(&[&[0, 1, 4], &properties, &text(b"a"), &[0]]);
    at.forbids(
        "subscription identifier 81 80 00",
        &wire::packet(0x82, &body),
        0x81,
    )
    .await;
    let five = [0x30, 0x80, 0x80, 0x80, 0x80, 0x01];
    at.forbids("a remaining length of five bytes", &five, 0x81)
        .await;
}

async fn v5_mqtt_1_5_7_1_both_halves_of_a_user_property_are_text(at: Stage) {
    let good = text(b"good");
    for bad in [&b"a\xFF"[..], b"a\0", b"\xED\xBF\xBF"] {
        let bad = text(bad);
        for pair in [
            joined(&[&[0x26], &bad, &good]),
            joined(&[&[0x26], &good, &bad]),
        ] {
            let length = [pair.len() as u8];
            let publish = joined(&[&text(b"a"), &length, &pair, b"x"]);
            at.forbids("in PUBLISH", &wire::packet(0x30, &publish), 0x81)
                .await;
            let connect = at.connect_bytes_with(0x02, &pair, &text(b"pair"));
            at.turns_away("in CONNECT", &connect, 0x81).await;
        }
    }
}

async fn v5_mqtt_3_3_2_13_response_topic_and_content_type_are_text(at: Stage) {
    assert_eq!(at.version, Version::V5);
    for property in [0x08, 0x03] {
        for bad in ILL_FORMED {
            let block = joined(&[&[property], &text(bad)]);
            let body = joined(&[&text(b"a"), &[block.len() as u8], &block]);
            at.forbids("ill-formed UTF-8", &wire::packet(0x30, &body), 0x81)
                .await;
        }
    }
}

async fn v5_v311_control_characters_and_noncharacters_are_text(at: Stage) {
    for odd in [
        "\u{1}",
        "\u{1F}",
        "\u{7F}",
        "\u{9F}",
        "\u{FFFF}",
        "\u{FDD0}",
        "\u{10FFFF}",
    ] {
        let topic = unique("strings/odd") + odd;
        let mut subscriber = at.subscriber(&[(&topic, 0)]).await;
        at.publish(&Publish::new(&topic, odd, 0)).await;
        subscriber
            .expect(&at.publish_bytes(0x30, topic.as_bytes(), &[], odd.as_bytes()))
            .await;
    }
}
