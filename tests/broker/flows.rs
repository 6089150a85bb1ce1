//! QoS 1 and 2 both ways, duplicates, order.

use crate::support::{
    gateway::Gateway,
    mqtt::Client,
    unique,
    wire::{
        self, Opening, PUBACK, PUBCOMP, PUBREC, PUBREL, Packet, Publish, Value, Version, property,
    },
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_is_delivered_at_the_lower_of_published_and_granted_qos() {
    let gateway = Gateway::shared();
    for version in [Version::V31, Version::V311, Version::V5] {
        let topic = unique("flows/minimum");
        let mut publisher = Client::tcp(&gateway, &Opening::new(version, &unique("in"))).await;
        for granted in 0..=2 {
            let mut subscriber =
                Client::tcp(&gateway, &Opening::new(version, &unique("out"))).await;
            assert_eq!(subscriber.subscribe(&[(&topic, granted)]).await, [granted]);
            for published in 0..=2 {
                publisher
                    .publish(&Publish::new(&topic, "x", published))
                    .await;
                let got = subscriber.receive().await;
                assert_eq!(
                    (got.qos, got.dup),
                    (published.min(granted), false),
                    "{version:?}"
                );
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mqtt_4_3_3_10_a_qos_2_publish_repeated_before_pubrel_is_delivered_once() {
    let gateway = Gateway::shared();
    for version in [Version::V31, Version::V311, Version::V5] {
        let topic = unique("flows/duplicate");
        let mut subscriber = Client::tcp(&gateway, &Opening::new(version, &unique("out"))).await;
        subscriber.subscribe(&[(&topic, 2)]).await;
        let mut publisher = Client::tcp(&gateway, &Opening::new(version, &unique("in"))).await;
        let mut message = Publish::new(&topic, "once", 2);
        message.id = 77;
        publisher.send(&wire::publish(version, &message)).await;
        publisher.acknowledgement(PUBREC, 77).await;
        message.dup = true;
        publisher.send(&wire::publish(version, &message)).await;
        publisher.acknowledgement(PUBREC, 77).await;
        publisher.send(&wire::ack(PUBREL, 77)).await;
        assert_eq!(publisher.acknowledgement(PUBCOMP, 77).await, 0);
        // the identifier is free again: the same one now carries a new message
        (message.dup, message.payload) = (false, b"again".to_vec());
        publisher.send(&wire::publish(version, &message)).await;
        publisher.acknowledgement(PUBREC, 77).await;
        publisher.send(&wire::ack(PUBREL, 77)).await;
        publisher.acknowledgement(PUBCOMP, 77).await;
        assert_eq!(subscriber.receive().await.text(), "once");
        assert_eq!(subscriber.receive().await.text(), "again");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_pubrel_is_answered_again() {
    let gateway = Gateway::shared();
    let mut old = Client::tcp(&gateway, &Opening::v311(&unique("in"))).await;
    old.send(&wire::ack(PUBREL, 5)).await;
    old.acknowledgement(PUBCOMP, 5).await;
    let mut new = Client::tcp(&gateway, &Opening::v5(&unique("in"))).await;
    new.send(&wire::ack(PUBREL, 5)).await;
    assert_eq!(
        new.acknowledgement(PUBCOMP, 5).await,
        0x92,
        "packet identifier not found"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mqtt_4_3_3_a_failing_pubrec_from_the_receiver_ends_the_exchange() {
    let gateway = Gateway::shared();
    let topic = unique("flows/failing");
    let mut subscriber = Client::tcp(&gateway, &Opening::v5(&unique("out"))).await;
    subscriber.subscribe(&[(&topic, 2)]).await;
    let mut publisher = Client::tcp(&gateway, &Opening::v5(&unique("in"))).await;
    publisher.publish(&Publish::new(&topic, "refused", 2)).await;
    let refused = subscriber.receive_only().await;
    subscriber
        .send(&wire::ack_with(PUBREC, refused.id, 0x83))
        .await;
    publisher.publish(&Publish::new(&topic, "taken", 2)).await;
    let taken = subscriber.receive_only().await;
    assert_eq!(taken.text(), "taken");
    subscriber.send(&wire::ack(PUBREC, taken.id)).await;
    match subscriber
        .take("PUBREL", |p| matches!(p, Packet::Ack { kind: PUBREL, .. }))
        .await
    {
        Packet::Ack { id, .. } => assert_eq!(id, taken.id, "no PUBREL for the refused message"),
        _ => unreachable!(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_one_publisher_keep_their_order_within_each_qos() {
    let gateway = Gateway::shared();
    let topic = unique("flows/order");
    for qos in 0..=2 {
        let mut subscriber = Client::tcp(&gateway, &Opening::v311(&unique("out"))).await;
        subscriber.subscribe(&[(&topic, qos)]).await;
        let mut publisher = Client::tcp(&gateway, &Opening::v311(&unique("in"))).await;
        let count = 300u16;
        let sender = async {
            for n in 1..=count {
                let mut message = Publish::new(&topic, n.to_string(), qos);
                message.id = n;
                let bytes = wire::publish(Version::V311, &message);
                publisher.send(&bytes).await;
                if qos > 0 && n % 10 == 0 {
                    for id in n - 9..=n {
                        let kind = if qos == 1 { PUBACK } else { PUBREC };
                        publisher.acknowledgement(kind, id).await;
                        if qos == 2 {
                            publisher.send(&wire::ack(PUBREL, id)).await;
                            publisher.acknowledgement(PUBCOMP, id).await;
                        }
                    }
                }
            }
        };
        let receiver = async {
            for n in 1..=count {
                assert_eq!(
                    subscriber.receive().await.text(),
                    n.to_string(),
                    "QoS {qos}"
                );
            }
        };
        tokio::join!(sender, receiver);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn packets_may_come_in_pieces_and_together() {
    let gateway = Gateway::shared();
    let topic = unique("flows/pieces");
    let mut client = Client::on(
        crate::support::mqtt::Link::tcp(gateway.mqtt).await,
        Version::V311,
    );
    let mut message = Publish::new(&topic, "together", 1);
    message.id = 2;
    let mut together = Opening::v311(&unique("both")).encode();
    together.extend(wire::subscribe(
        Version::V311,
        1,
        &[(&topic, 1)],
        &Default::default(),
    ));
    together.extend(wire::publish(Version::V311, &message));
    client.send(&together).await;
    assert!(matches!(
        client.next().await,
        Some(Packet::Connack { code: 0, .. })
    ));
    assert_eq!(client.receive().await.text(), "together");
    client.acknowledgement(PUBACK, 2).await;
    (message.id, message.payload) = (3, b"in pieces".to_vec());
    for byte in wire::publish(Version::V311, &message) {
        client.send(&[byte]).await;
    }
    assert_eq!(client.receive().await.text(), "in pieces");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payload_that_says_it_is_text_and_is_not_is_refused() {
    let gateway = Gateway::shared();
    let topic = unique("flows/format");
    let mut subscriber = Client::tcp(&gateway, &Opening::v5(&unique("out"))).await;
    subscriber.subscribe(&[(&topic, 2)]).await;
    let mut publisher = Client::tcp(&gateway, &Opening::v5(&unique("in"))).await;
    for (payload, format, code) in [(&[0xFF][..], 1, 0x99), (&[0xFF], 0, 0), (b"text", 1, 0)] {
        for qos in 0..=2 {
            let format = Value::Byte(format);
            let message = Publish::new(&topic, payload, qos);
            let message = message.property(property::PAYLOAD_FORMAT, format.clone());
            let said = publisher.publish(&message).await;
            assert_eq!(said, if qos == 0 { 0 } else { code });
            if code == 0 {
                let got = subscriber.receive().await;
                assert_eq!(got.payload, payload);
                assert_eq!(got.properties.get(property::PAYLOAD_FORMAT), Some(&format));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_acknowledgement_of_the_wrong_kind_is_a_protocol_error() {
    let gateway = Gateway::shared();
    for version in [Version::V311, Version::V5] {
        for (qos, wrong) in [(2, PUBACK), (1, PUBREC), (1, PUBCOMP), (2, PUBCOMP)] {
            let topic = unique("flows/wrong");
            let mut subscriber =
                Client::tcp(&gateway, &Opening::new(version, &unique("out"))).await;
            subscriber.subscribe(&[(&topic, qos)]).await;
            let mut publisher = Client::tcp(&gateway, &Opening::v5(&unique("in"))).await;
            publisher.publish(&Publish::new(&topic, "x", qos)).await;
            let got = subscriber.receive_only().await;
            subscriber.send(&wire::ack(wrong, got.id)).await;
            let said = subscriber.closed().await;
            assert_eq!(
                said,
                (version == Version::V5).then_some(0x82),
                "{qos} {wrong}"
            );
        }
    }
}
