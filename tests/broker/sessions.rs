//! What outlives a connection: subscriptions, undelivered messages, half-finished flows.

use std::time::Duration;

use crate::support::{
    gateway::Gateway,
    mqtt::{Client, Link},
    unique,
    wire::{
        self, Opening, PUBACK, PUBCOMP, PUBREC, PUBREL, Packet, Properties, Publish, Value,
        Version, property,
    },
};

/// An opening that resumes, with a session that lives on.
fn lasting(version: Version, id: &str) -> Opening {
    let opening = Opening::new(version, id).resuming();
    if version == Version::V5 {
        opening.session_expiry(300)
    } else {
        opening
    }
}

async fn resume(gateway: &Gateway, opening: &Opening) -> (Client, bool) {
    let (client, welcome) = Client::tcp_with_welcome(gateway, opening).await;
    (client, welcome.session_present)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_keeps_its_subscriptions_and_what_came_at_qos_1_and_2() {
    let gateway = Gateway::shared();
    for version in [Version::V31, Version::V311, Version::V5] {
        let (topic, id) = (unique("sessions/kept"), unique("sleeper"));
        let (mut client, present) = resume(&gateway, &lasting(version, &id)).await;
        assert!(!present);
        client.subscribe(&[(&topic, 2)]).await;
        client.disconnect().await;
        let mut publisher = Client::tcp(&gateway, &Opening::v311(&unique("in"))).await;
        for n in 1..=20 {
            publisher
                .publish(&Publish::new(&topic, n.to_string(), 1 + n % 2))
                .await;
        }
        let (mut client, present) = resume(&gateway, &lasting(version, &id)).await;
        // MQTT 3.1 has no such flag
        assert_eq!(present, version != Version::V31, "{version:?}");
        // in order within each QoS [MQTT-4.6.0-6]
        let mut expected = [1, 2].map(|qos| (1..=20u8).filter(move |n| 1 + n % 2 == qos));
        for _ in 1..=20 {
            let got = client.receive().await;
            let n = expected[usize::from(got.qos) - 1].next();
            assert_eq!(
                (got.text(), got.dup),
                (n.unwrap().to_string(), false),
                "{version:?}"
            );
        }
        publisher.publish(&Publish::new(&topic, "live", 1)).await;
        assert_eq!(client.receive().await.text(), "live");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mqtt_4_4_0_1_what_was_not_acknowledged_is_sent_again_with_dup_and_the_same_identifier() {
    let gateway = Gateway::shared();
    for version in [Version::V311, Version::V5] {
        for qos in [1, 2] {
            let (topic, id) = (unique("sessions/again"), unique("sleeper"));
            let (mut client, _) = resume(&gateway, &lasting(version, &id)).await;
            client.subscribe(&[(&topic, qos)]).await;
            let mut publisher = Client::tcp(&gateway, &Opening::v311(&unique("in"))).await;
            publisher.publish(&Publish::new(&topic, "first", qos)).await;
            publisher
                .publish(&Publish::new(&topic, "second", qos))
                .await;
            let before = [client.receive_only().await, client.receive_only().await];
            drop(client);
            let (mut client, present) = resume(&gateway, &lasting(version, &id)).await;
            assert!(present);
            for sent in &before {
                let again = client.receive().await;
                assert!(again.dup, "{version:?} QoS {qos}: {again:?}");
                assert_eq!(
                    (again.id, &again.payload),
                    (sent.id, &sent.payload),
                    "{version:?} QoS {qos}"
                );
            }
            client.disconnect().await;
            let (mut client, _) = resume(&gateway, &lasting(version, &id)).await;
            publisher
                .publish(&Publish::new(&topic, "marker", qos))
                .await;
            assert_eq!(
                client.receive().await.text(),
                "marker",
                "what was acknowledged stays so"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mqtt_4_4_0_1_an_unfinished_pubrel_is_sent_again() {
    let gateway = Gateway::shared();
    let (topic, id) = (unique("sessions/pubrel"), unique("sleeper"));
    let (mut client, _) = resume(&gateway, &lasting(Version::V5, &id)).await;
    client.subscribe(&[(&topic, 2)]).await;
    let mut publisher = Client::tcp(&gateway, &Opening::v311(&unique("in"))).await;
    publisher.publish(&Publish::new(&topic, "once", 2)).await;
    let got = client.receive_only().await;
    client.send(&wire::ack(PUBREC, got.id)).await;
    client.acknowledgement(PUBREL, got.id).await;
    drop(client); // without PUBCOMP
    let (mut client, present) = resume(&gateway, &lasting(Version::V5, &id)).await;
    assert!(present);
    assert!(
        matches!(client.next().await, Some(Packet::Ack { kind: PUBREL, id, .. }) if id == got.id),
        "PUBREL, not PUBLISH, after the message was received"
    );
    client.send(&wire::ack(PUBCOMP, got.id)).await;
    publisher.publish(&Publish::new(&topic, "marker", 2)).await;
    assert_eq!(client.receive().await.text(), "marker");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_inbound_qos_2_identifier_outlives_the_connection() {
    let gateway = Gateway::shared();
    let (topic, id) = (unique("sessions/inbound"), unique("sender"));
    let mut subscriber = Client::tcp(&gateway, &Opening::v5(&unique("out"))).await;
    subscriber.subscribe(&[(&topic, 2)]).await;
    let (mut client, _) = resume(&gateway, &lasting(Version::V5, &id)).await;
    let mut message = Publish::new(&topic, "once", 2);
    message.id = 9;
    client.send(&wire::publish(Version::V5, &message)).await;
    client.acknowledgement(PUBREC, 9).await;
    drop(client);
    let (mut client, present) = resume(&gateway, &lasting(Version::V5, &id)).await;
    assert!(present);
    message.dup = true;
    client.send(&wire::publish(Version::V5, &message)).await;
    client.acknowledgement(PUBREC, 9).await;
    client.send(&wire::ack(PUBREL, 9)).await;
    client.acknowledgement(PUBCOMP, 9).await;
    client.publish(&Publish::new(&topic, "marker", 2)).await;
    assert_eq!(subscriber.receive().await.text(), "once");
    assert_eq!(subscriber.receive().await.text(), "marker");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_side_has_packet_identifiers_of_its_own_before_and_after_resuming() {
    let gateway = Gateway::shared();
    for version in [Version::V311, Version::V5] {
        let (topic, id) = (unique("sessions/both-ways"), unique("both-ways"));
        let (mut client, _) = resume(&gateway, &lasting(version, &id)).await;
        client.subscribe(&[(&topic, 2)]).await;
        let mut other = Client::tcp(&gateway, &Opening::v5(&unique("other"))).await;
        other.publish(&Publish::new(&topic, "to", 2)).await;
        let to = client.receive_only().await;
        // the same number on its way to the gateway
        let mut from = Publish::new("sessions/elsewhere", "from", 2);
        from.id = to.id;
        client.send(&wire::publish(version, &from)).await;
        assert_eq!(client.acknowledgement(PUBREC, from.id).await, 0);
        drop(client);
        let (mut client, _) = resume(&gateway, &lasting(version, &id)).await;
        let again = client.receive_only().await;
        assert_eq!((again.id, again.dup), (to.id, true));
        // each step belongs to its own direction
        client.send(&wire::ack(PUBREL, from.id)).await;
        assert_eq!(client.acknowledgement(PUBCOMP, from.id).await, 0);
        client.send(&wire::ack(PUBREC, to.id)).await;
        assert_eq!(client.acknowledgement(PUBREL, to.id).await, 0);
        // free for the client again, while the gateway still waits for its PUBCOMP
        client.send(&wire::publish(version, &from)).await;
        assert_eq!(client.acknowledgement(PUBREC, from.id).await, 0);
        client.send(&wire::ack(PUBCOMP, to.id)).await;
        client.send(&wire::ack(PUBREL, from.id)).await;
        assert_eq!(client.acknowledgement(PUBCOMP, from.id).await, 0);
        other.publish(&Publish::new(&topic, "next", 1)).await;
        assert_eq!(client.receive().await.text(), "next");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_takeover_hands_the_session_over_with_nothing_lost() {
    let gateway = Gateway::shared();
    let (topic, id) = (unique("sessions/takeover"), unique("twin"));
    let (mut first, _) = resume(&gateway, &lasting(Version::V5, &id)).await;
    first.subscribe(&[(&topic, 1)]).await;
    let mut publisher = Client::tcp(&gateway, &Opening::v311(&unique("in"))).await;
    for n in 0..10 {
        publisher
            .publish(&Publish::new(&topic, n.to_string(), 1))
            .await;
    }
    let unacknowledged = first.receive_only().await;
    let (mut second, present) = resume(&gateway, &lasting(Version::V5, &id)).await;
    assert!(present);
    assert_eq!(unacknowledged.text(), "0");
    for n in 0..10 {
        assert_eq!(second.receive().await.text(), n.to_string());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mqtt_3_1_2_4_a_clean_start_wipes_the_session() {
    let gateway = Gateway::shared();
    for version in [Version::V311, Version::V5] {
        let (topic, id) = (unique("sessions/wiped"), unique("sleeper"));
        let (mut client, _) = resume(&gateway, &lasting(version, &id)).await;
        client.subscribe(&[(&topic, 1)]).await;
        client.disconnect().await;
        let mut publisher = Client::tcp(&gateway, &Opening::v311(&unique("in"))).await;
        publisher
            .publish(&Publish::new(&topic, "lost by intent", 1))
            .await;
        let (client, welcome) =
            Client::tcp_with_welcome(&gateway, &Opening::new(version, &id)).await;
        assert!(!welcome.session_present);
        client.disconnect().await;
        let (mut client, present) = resume(&gateway, &lasting(version, &id)).await;
        assert!(
            !present,
            "{version:?}: a session with clean start ends with its connection"
        );
        publisher
            .publish(&Publish::new(&topic, "no subscription", 1))
            .await;
        client.subscribe(&[(&topic, 1)]).await;
        publisher.publish(&Publish::new(&topic, "marker", 1)).await;
        assert_eq!(client.receive().await.text(), "marker");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mqtt_3_1_2_23_a_session_ends_when_its_expiry_has_passed() {
    let gateway = Gateway::shared();
    let (short, long) = (unique("short"), unique("long"));
    for (id, seconds) in [(&short, 1), (&long, 60)] {
        Client::tcp(&gateway, &Opening::v5(id).session_expiry(seconds))
            .await
            .disconnect()
            .await;
    }
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert!(
        !resume(&gateway, &Opening::v5(&short).resuming()).await.1,
        "expired"
    );
    assert!(
        resume(&gateway, &Opening::v5(&long).resuming()).await.1,
        "not expired"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disconnect_may_change_the_session_expiry_but_not_from_zero() {
    let gateway = Gateway::shared();
    let id = unique("leaver");
    let mut client = Client::tcp(&gateway, &Opening::v5(&id).session_expiry(300)).await;
    let now = Properties::default().with(property::SESSION_EXPIRY, Value::Four(0));
    client.send(&wire::disconnect_with(0, &now)).await;
    client.closed().await;
    assert!(
        !resume(&gateway, &Opening::v5(&id).resuming()).await.1,
        "the session ended with DISCONNECT"
    );

    let mut client = Client::tcp(&gateway, &Opening::v5(&unique("liar"))).await;
    let later = Properties::default().with(property::SESSION_EXPIRY, Value::Four(60));
    client.send(&wire::disconnect_with(0, &later)).await;
    assert_eq!(client.closed().await, Some(0x82));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mqtt_3_3_2_5_a_queued_message_expires_and_what_is_left_is_told() {
    let gateway = Gateway::shared();
    let (topic, id) = (unique("sessions/expiry"), unique("sleeper"));
    let (mut client, _) = resume(&gateway, &lasting(Version::V5, &id)).await;
    client.subscribe(&[(&topic, 1)]).await;
    client.disconnect().await;
    let mut publisher = Client::tcp(&gateway, &Opening::v5(&unique("in"))).await;
    for (payload, seconds) in [("short", 1), ("long", 100)] {
        let message = Publish::new(&topic, payload, 1)
            .property(property::MESSAGE_EXPIRY, Value::Four(seconds));
        publisher.publish(&message).await;
    }
    tokio::time::sleep(Duration::from_millis(2100)).await;
    let (mut client, _) = resume(&gateway, &lasting(Version::V5, &id)).await;
    let got = client.receive().await;
    assert_eq!(got.text(), "long", "the short-lived one is gone");
    let left = got
        .properties
        .number(property::MESSAGE_EXPIRY)
        .expect("what is left of the expiry");
    assert!(
        (90..=98).contains(&left),
        "{left} seconds left of 100 after two"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_may_be_resumed_under_another_version_and_over_websocket() {
    let gateway = Gateway::shared();
    let (topic, id) = (unique("sessions/crossing"), unique("sleeper"));
    let (mut client, _) = resume(&gateway, &lasting(Version::V311, &id)).await;
    client.subscribe(&[(&topic, 1)]).await;
    client.disconnect().await;
    let mut publisher = Client::tcp(&gateway, &Opening::v5(&unique("in"))).await;
    publisher.publish(&Publish::new(&topic, "across", 1)).await;
    let link = Link::websocket(gateway.http, Version::V5).await;
    let (mut client, welcome) = Client::welcomed(link, &lasting(Version::V5, &id)).await;
    assert!(welcome.session_present);
    assert_eq!(client.receive().await.text(), "across");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unsubscribing_ends_delivery_and_says_what_it_found() {
    let gateway = Gateway::shared();
    let (topic, other) = (unique("sessions/unsubscribed"), unique("sessions/still"));
    let mut client = Client::tcp(&gateway, &Opening::v5(&unique("out"))).await;
    client.subscribe(&[(&topic, 1), (&other, 1)]).await;
    assert_eq!(
        client.unsubscribe(&[&topic, "never/subscribed"]).await,
        [0x00, 0x11]
    );
    let mut publisher = Client::tcp(&gateway, &Opening::v311(&unique("in"))).await;
    publisher.publish(&Publish::new(&topic, "no", 1)).await;
    publisher.publish(&Publish::new(&other, "yes", 1)).await;
    assert_eq!(client.receive().await.text(), "yes");
    let mut old = Client::tcp(&gateway, &Opening::v311(&unique("out"))).await;
    assert!(old.unsubscribe(&["never/subscribed"]).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_acknowledged_message_is_not_repeated_on_a_live_connection() {
    let gateway = Gateway::shared();
    let topic = unique("sessions/live");
    let mut client = Client::tcp(&gateway, &Opening::v311(&unique("out"))).await;
    client.subscribe(&[(&topic, 1)]).await;
    let mut publisher = Client::tcp(&gateway, &Opening::v311(&unique("in"))).await;
    publisher
        .publish(&Publish::new(&topic, "late ack", 1))
        .await;
    let first = client.receive_only().await;
    // the server's turn to grow impatient: no version may resend while the connection lives
    tokio::time::sleep(Duration::from_secs(3)).await;
    publisher.publish(&Publish::new(&topic, "next", 1)).await;
    assert_eq!(client.receive_only().await.text(), "next");
    client.send(&wire::ack(PUBACK, first.id)).await;
    client.ping().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_share_group_was_sent_while_nobody_was_there_waits_for_the_first_who_comes() {
    let gateway = Gateway::shared();
    let (topic, id) = (unique("sessions/shared"), unique("sleeper"));
    let filter = format!("$share/g/{topic}");
    let (mut client, _) = resume(&gateway, &lasting(Version::V311, &id)).await;
    client.subscribe(&[(&filter, 1)]).await;
    client.disconnect().await;
    let mut publisher = Client::tcp(&gateway, &Opening::v311(&unique("in"))).await;
    for text in ["one", "two"] {
        publisher.publish(&Publish::new(&topic, text, 1)).await;
    }
    let (mut client, _) = resume(&gateway, &lasting(Version::V311, &id)).await;
    for text in ["one", "two"] {
        assert_eq!(client.receive().await.text(), text);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mqtt_3_1_2_6_a_clean_session_is_not_resumed_by_who_takes_its_identifier_over() {
    let gateway = Gateway::shared();
    for version in [Version::V311, Version::V5] {
        let (topic, id) = (unique("sessions/clean"), unique("taken"));
        let mut old = Client::tcp(&gateway, &Opening::new(version, &id)).await;
        old.subscribe(&[(&topic, 1)]).await;
        let (mut heir, present) = resume(&gateway, &lasting(version, &id)).await;
        assert!(!present, "{version:?}");
        let mut publisher = Client::tcp(&gateway, &Opening::v311(&unique("in"))).await;
        publisher
            .publish(&Publish::new(&topic, "not subscribed", 1))
            .await;
        heir.subscribe(&[("sessions/marker", 1)]).await;
        publisher
            .publish(&Publish::new("sessions/marker", "", 1))
            .await;
        assert_eq!(heir.receive_until("sessions/marker").await, []);
    }
}
