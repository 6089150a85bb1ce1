//! Sections 3.4 to 3.7: PUBACK, PUBREC, PUBREL and PUBCOMP of 5.0.

use crate::{
    stage::{Stage, with_id},
    support::{
        unique,
        wire::{self, PUBACK, PUBCOMP, PUBREC, PUBREL, Publish},
    },
};

claims! {
    v5_mqtt_3_4_2_1_a_code_that_is_not_the_packets_own_is_malformed:
        v5["3.4.2-1", "3.5.2-1", "3.6.2-1", "3.7.2-1"];
    v5_mqtt_3_4_2_1_every_code_of_a_client_is_understood: v5["3.4.2-1", "3.5.2-1", "3.6.2-1"];
    v5_mqtt_3_7_2_1_pubcomp_says_whether_the_identifier_was_known: v5["3.7.2-1", "3.6.2-1"];
    v5_acknowledgements_may_be_as_short_or_as_long_as_the_standard_allows:
        v5["remaining length 2, 3 and more in acknowledgements"];
}

async fn v5_mqtt_3_4_2_1_a_code_that_is_not_the_packets_own_is_malformed(at: Stage) {
    for (kind, codes) in [
        (PUBACK, &[0x7F, 0x01, 0x92, 0x82, 0xFF][..]),
        (PUBREC, &[0x7F, 0x92, 0x81]),
        (PUBREL, &[0x7F, 0x80, 0x10]),
        (PUBCOMP, &[0x7F, 0x80, 0x91]),
    ] {
        for code in codes {
            at.forbids("a stray code", &wire::ack_with(kind, 1, *code), 0x81)
                .await;
        }
    }
}

async fn v5_mqtt_3_4_2_1_every_code_of_a_client_is_understood(at: Stage) {
    let topic = unique("acks/codes");
    for qos in [1, 2] {
        let mut client = at.subscriber(&[(&topic, qos)]).await;
        for code in [0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99] {
            at.publish(&Publish::new(&topic, "x", qos)).await;
            let got = client.receive_only().await;
            let kind = if qos == 1 { PUBACK } else { PUBREC };
            client.send(&wire::ack_with(kind, got.id, code)).await;
            if qos == 2 && code < 0x80 {
                let [high, low] = got.id.to_be_bytes();
                client.expect(&[0x62, 2, high, low]).await;
                // the code of PUBCOMP may say that the client had forgotten it
                client.send(&wire::ack_with(PUBCOMP, got.id, 0x92)).await;
            }
            client.send(&wire::pingreq()).await;
            client.expect(&[0xD0, 0]).await;
        }
    }
}

async fn v5_mqtt_3_7_2_1_pubcomp_says_whether_the_identifier_was_known(at: Stage) {
    let mut client = at.client().await;
    let message = Publish::new(&unique("acks/known"), "x", 2);
    client.send(&with_id(at.version, &message, 9)).await;
    client.expect(&[0x50, 2, 0, 9]).await;
    client.send(&wire::ack(PUBREL, 9)).await;
    client.expect(&[0x70, 2, 0, 9]).await;
    client.send(&wire::ack(PUBREL, 9)).await;
    client.expect(&[0x70, 3, 0, 9, 0x92]).await;
    client.send(&wire::ack_with(PUBREL, 10, 0x92)).await;
    client.expect(&[0x70, 3, 0, 10, 0x92]).await;
}

async fn v5_acknowledgements_may_be_as_short_or_as_long_as_the_standard_allows(at: Stage) {
    let topic = unique("acks/forms");
    let mut client = at.subscriber(&[(&topic, 1)]).await;
    for tail in [
        &[][..],
        &[0],
        &[0, 0],
        &[0x10, 5, 0x1F, 0, 2, b'o', b'k'],
        &[0, 7, 0x26, 0, 1, b'a', 0, 1, b'b'],
    ] {
        at.publish(&Publish::new(&topic, "x", 1)).await;
        let got = client.receive_only().await;
        let body = [&got.id.to_be_bytes(), tail].concat();
        client.send(&wire::packet(0x40, &body)).await;
        client.send(&wire::pingreq()).await;
        client.expect(&[0xD0, 0]).await;
    }
    for (tail, code) in [
        (&[0, 1][..], 0x81),
        (&[0, 2, 0x01, 0], 0x81),
        (&[0, 6, 0x1F, 0, 0, 0x1F, 0, 0], 0x82),
        (&[0, 0, 0], 0x81),
    ] {
        let body = [&[0, 1], tail].concat();
        at.forbids("an odd PUBACK", &wire::packet(0x40, &body), code)
            .await;
    }
}
