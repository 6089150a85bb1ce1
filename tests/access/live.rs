//! Rules that change while everything runs.

use crate::{
    setup::{Guarded, PASSWORD, basic, replace},
    support::{
        http::Request,
        json_ws::JsonSocket,
        mqtt::Client,
        stream::{Encoding, Stream},
        wire::{Opening, Packet, Properties, Publish, Will},
    },
};
use serde_json::json;

const ALL: &str =
    "[[rule]]\nallow = [\"publish\", \"subscribe\", \"retain\"]\ntopics = [\"#\", \"$SYS/#\"]\n";

fn denying(topic: &str) -> String {
    format!(
        "[[rule]]\ndeny = [\"publish\", \"subscribe\"]\nusers = [\"u0\"]\ntopics = [\"{topic}\"]\n{ALL}"
    )
}

async fn client(guarded: &Guarded, name: &str, user: &str) -> Client {
    let opening = Opening::v5(name).login(user, PASSWORD);
    Client::tcp(&guarded.gateway, &opening).await
}

async fn stream(guarded: &Guarded, user: &str, filter: &str) -> Stream {
    let target = format!("/api/v1/stream?topic={filter}");
    let request = Request::get(&target)
        .header("Accept", "text/event-stream")
        .header("Authorization", &basic(user));
    let mut stream = Stream::on(request.open(guarded.gateway.http).await, Encoding::Sse);
    assert_eq!(stream.next().await.name, "ready");
    stream
}

#[tokio::test]
async fn a_change_of_the_rules_ends_streams_and_silences_subscriptions() {
    let guarded = Guarded::start(&["u0", "u1"], ALL);
    let mut publisher = client(&guarded, "publisher", "u1").await;
    let mut denied = client(&guarded, "denied", "u0").await;
    denied.subscribe(&[("a/#", 1), ("b", 1)]).await;
    let mut lost = stream(&guarded, "u0", "a/x").await;
    let mut kept = stream(&guarded, "u0", "b").await;
    publisher.publish(&Publish::new("a/x", "1", 1)).await;
    assert_eq!(denied.receive().await.payload, b"1");
    assert_eq!(lost.message().await.payload(), b"1");

    guarded.rule(&denying("a/x")).await;
    publisher.publish(&Publish::new("a/x", "2", 1)).await;
    publisher.publish(&Publish::new("b", "3", 1)).await;
    assert_eq!(
        denied.receive().await.payload,
        b"3",
        "the subscription brings nothing that is denied"
    );
    assert_eq!(denied.publish(&Publish::new("a/x", "4", 1)).await, 0x87);
    let bye = lost.next().await;
    assert_eq!(
        (&*bye.name, &bye.data["reason"]),
        ("bye", &"rights_lost".into())
    );
    assert_eq!(kept.message().await.payload(), b"3");

    // and back again, without a word of the client
    guarded.rule(ALL).await;
    publisher.publish(&Publish::new("a/x", "5", 1)).await;
    assert_eq!(denied.receive().await.payload, b"5");
}

#[tokio::test]
async fn rules_that_cannot_be_read_leave_the_old_ones_in_force() {
    let guarded = Guarded::start(&["u0", "u1"], &denying("a"));
    let mut client = client(&guarded, "c", "u0").await;
    for broken in [
        "",
        "[[rule]]\nallow = [\"everything\"]\ntopics = [\"#\"]\n",
        "\u{0}",
    ] {
        guarded.rule(broken).await;
        assert_eq!(
            client.publish(&Publish::new("a", "x", 1)).await,
            0x87,
            "{broken:?}"
        );
        assert!(
            client.publish(&Publish::new("b", "x", 1)).await < 0x80,
            "{broken:?}"
        );
    }
    let log = guarded.gateway.log();
    assert!(
        log.contains("auth.rules_file") && log.contains("everything"),
        "{log}"
    );
    let metrics = Request::get("/metrics").header("Authorization", &basic("u0"));
    let metrics = metrics.send(guarded.gateway.http).await.text();
    assert!(metrics.contains("reloads_failed_total 3"), "{metrics}");
}

#[tokio::test]
async fn a_connection_that_lost_a_subscription_ends_where_that_is_wished() {
    let further = ["--set", "auth.on_revoke=disconnect"];
    let guarded = Guarded::with("rules_file", &["u0", "u1"], ALL, &further);
    let mut lost = client(&guarded, "lost", "u0").await;
    let mut other = client(&guarded, "other", "u1").await;
    lost.subscribe(&[("a/x", 1)]).await;
    other.subscribe(&[("a/x", 1)]).await;
    guarded.rule(&denying("a/#")).await;
    match lost.next().await {
        Some(Packet::Disconnect { code, .. }) => assert_eq!(code, 0x87),
        other => panic!("DISCONNECT expected, not {other:?}"),
    }
    lost.ends().await;
    other.publish(&Publish::new("a/x", "1", 1)).await;
    assert_eq!(other.receive().await.payload, b"1");
}

#[tokio::test]
async fn a_shared_message_goes_to_a_member_who_may_have_it() {
    let guarded = Guarded::start(&["u0", "u1"], &denying("a/secret"));
    let mut publisher = client(&guarded, "publisher", "u1").await;
    let mut may_not = client(&guarded, "may-not", "u0").await;
    let mut may = client(&guarded, "may", "u1").await;
    for member in [&mut may_not, &mut may] {
        assert_eq!(
            member
                .subscribe(&[("$share/g/a/#", 1), ("marker", 1)])
                .await,
            [1, 1]
        );
    }
    for nth in 0..6 {
        publisher
            .publish(&Publish::new("a/secret", nth.to_string(), 1))
            .await;
    }
    publisher.publish(&Publish::new("marker", "", 1)).await;
    assert_eq!(may.receive_until("marker").await.len(), 6);
    assert_eq!(may_not.receive_until("marker").await.len(), 0);
}

#[tokio::test]
async fn what_waited_for_a_session_is_judged_by_the_rules_of_its_return() {
    let guarded = Guarded::start(&["u0", "u1"], ALL);
    let opening = Opening::v5("sleeper")
        .session_expiry(600)
        .login("u0", PASSWORD);
    let mut sleeper = Client::tcp(&guarded.gateway, &opening).await;
    sleeper.subscribe(&[("a/#", 1)]).await;
    sleeper.disconnect().await;
    let mut publisher = client(&guarded, "publisher", "u1").await;
    for topic in ["a/secret", "a/open"] {
        publisher.publish(&Publish::new(topic, "x", 1)).await;
    }
    guarded.rule(&denying("a/secret")).await;
    let (mut back, welcome) = Client::tcp_with_welcome(&guarded.gateway, &opening.resuming()).await;
    assert!(welcome.session_present);
    assert_eq!(back.receive().await.topic, "a/open");
}

#[tokio::test]
async fn what_was_sent_before_is_not_sent_again_to_whoever_may_not_have_it_on_its_return() {
    let guarded = Guarded::start(&["u0", "u1"], ALL);
    let opening = Opening::v5("sleeper")
        .session_expiry(600)
        .login("u0", PASSWORD);
    let mut sleeper = Client::tcp(&guarded.gateway, &opening).await;
    sleeper.subscribe(&[("a/#", 2), ("marker", 2)]).await;
    let mut publisher = client(&guarded, "publisher", "u1").await;
    for (topic, qos) in [("a/secret", 1), ("a/secret", 2), ("a/open", 1)] {
        publisher.publish(&Publish::new(topic, "x", qos)).await;
        assert_eq!(sleeper.receive_only().await.topic, topic);
    }
    sleeper.disconnect().await;
    guarded.rule(&denying("a/secret")).await;
    let (mut back, welcome) = Client::tcp_with_welcome(&guarded.gateway, &opening.resuming()).await;
    assert!(welcome.session_present);
    publisher.publish(&Publish::new("marker", "x", 1)).await;
    let again = back.receive_until("marker").await;
    let topics: Vec<_> = again.iter().map(|it| (&*it.topic, it.dup)).collect();
    assert_eq!(topics, [("a/open", true)]);
}

#[tokio::test]
async fn what_a_member_of_a_share_group_may_not_have_again_is_for_the_others() {
    let guarded = Guarded::start(&["u0", "u1"], ALL);
    let sleeping = Opening::v5("sleeper")
        .session_expiry(600)
        .login("u0", PASSWORD);
    let mut sleeper = Client::tcp(&guarded.gateway, &sleeping).await;
    sleeper.subscribe(&[("$share/g/a/#", 1)]).await;
    let mut publisher = client(&guarded, "publisher", "u1").await;
    publisher.publish(&Publish::new("a/secret", "x", 1)).await;
    assert_eq!(sleeper.receive_only().await.payload, b"x");
    sleeper.disconnect().await;
    guarded.rule(&denying("a/secret")).await;
    let other = Opening::v5("other")
        .session_expiry(600)
        .login("u1", PASSWORD);
    let mut other = Client::tcp(&guarded.gateway, &other).await;
    other.subscribe(&[("$share/g/a/#", 1), ("marker", 1)]).await;
    let (mut back, welcome) =
        Client::tcp_with_welcome(&guarded.gateway, &sleeping.resuming()).await;
    assert!(welcome.session_present);
    back.ping().await;
    publisher.publish(&Publish::new("marker", "x", 1)).await;
    assert_eq!(other.receive_until("marker").await.len(), 1);
}

#[tokio::test]
async fn a_will_obeys_the_rules_when_it_is_left_and_when_it_is_published() {
    use crate::support::wire::Will;
    let guarded = Guarded::start(&["u0", "u1"], &denying("denied"));
    let will = |topic: &str| Will {
        topic: topic.to_owned(),
        payload: b"gone".to_vec(),
        ..Will::default()
    };
    let leaving = |topic: &str| {
        Opening::v5("leaver")
            .login("u0", PASSWORD)
            .will(will(topic))
    };
    let link = crate::support::mqtt::Link::tcp(guarded.gateway.mqtt).await;
    let (_, welcome) = Client::open(link, &leaving("denied")).await;
    assert_eq!(welcome.code, 0x87);
    let mut watcher = client(&guarded, "watcher", "u1").await;
    watcher.subscribe(&[("later", 0), ("marker", 0)]).await;
    let leaver = Client::tcp(&guarded.gateway, &leaving("later")).await;
    guarded.rule(&denying("later")).await;
    drop(leaver);
    while !guarded.gateway.log().contains("a will was not published") {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    watcher.publish(&Publish::new("marker", "", 0)).await;
    assert!(watcher.receive_until("marker").await.is_empty());
}

#[tokio::test]
async fn a_user_whose_password_changed_or_who_is_gone_is_out() {
    let guarded = Guarded::start(&["u0", "u1"], ALL);
    let mut gone = client(&guarded, "gone", "u0").await;
    let mut stays = client(&guarded, "stays", "u1").await;
    let mut watching = stream(&guarded, "u0", "a").await;
    // it listens to nothing
    let login = [("authorization", &*basic("u0"))];
    let mut speaking = JsonSocket::open_with(guarded.gateway.http, &login).await;
    let frame = json!({"op": "pub", "topic": "a", "payload": "x"});
    assert_eq!(speaking.answered(frame.clone()).await["op"], "ok");
    assert_eq!(watching.message().await.payload(), b"x");
    let text = std::fs::read_to_string(guarded.passwords_path()).expect("the file");
    let left: Vec<&str> = text
        .lines()
        .filter(|line| !line.starts_with("u0:"))
        .collect();
    replace(&guarded.passwords_path(), &left.join("\n"));
    match gone.next().await {
        Some(Packet::Disconnect { code, .. }) => assert_eq!(code, 0x87),
        other => panic!("DISCONNECT expected, not {other:?}"),
    }
    assert_eq!(watching.next().await.name, "bye");
    assert_eq!(speaking.answered(frame).await["op"], "err");
    stays.ping().await;
    let request = Request::get("/api/v1/topics/a").header("Authorization", &basic("u0"));
    request
        .send(guarded.gateway.http)
        .await
        .assert_problem(401, "not-authenticated");
}

/// What may be published and received here depends on the way in; whatever is said of MQTT over TCP.
const BY_WAY: &str = "[[rule]]\nallow = [\"publish\", \"subscribe\"]\nlisteners = [\"http\"]\nvia = [\"websocket\"]\ntopics = [\"w/#\"]\n\
    [[rule]]\nallow = [\"publish\", \"subscribe\"]\nusers = [\"u1\"]\ntopics = [\"#\"]\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_a_kill_rules_ask_how_the_owner_of_a_will_and_of_a_session_came_in() {
    let at_once = &["--set", "session.restart_grace=0s"];
    let guarded = Guarded::with("rules_file", &["u0", "u1"], BY_WAY, at_once);
    let will = Will {
        topic: "w/gone".to_owned(),
        payload: b"gone".to_vec(),
        qos: 1,
        retain: false,
        properties: Properties::default(),
    };
    let kept = |name: &str| {
        Opening::v5(name)
            .login("u0", PASSWORD)
            .resuming()
            .session_expiry(300)
    };
    let mut away = Client::websocket(&guarded.gateway, &kept("away")).await;
    away.subscribe(&[("w/#", 1)]).await;
    away.disconnect().await;
    let watcher = Opening::v5("watcher")
        .login("u1", PASSWORD)
        .resuming()
        .session_expiry(300);
    let mut watching = Client::tcp(&guarded.gateway, &watcher).await;
    watching.subscribe(&[("w/gone", 1)]).await;
    let owner = kept("owner").will(will);
    let _owner = Client::websocket(&guarded.gateway, &owner).await;
    let guarded = guarded.killed(at_once);
    let mut watching = Client::tcp(&guarded.gateway, &watcher).await;
    assert_eq!(watching.receive().await.payload, b"gone");
    let mut publisher = client(&guarded, "publisher", "u1").await;
    publisher.publish(&Publish::new("w/new", "1", 1)).await;
    let mut away = Client::websocket(&guarded.gateway, &kept("away")).await;
    let got = [away.receive().await.payload, away.receive().await.payload];
    assert_eq!(got, [b"gone".to_vec(), b"1".to_vec()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_will_that_is_owed_over_a_kill_is_published_when_another_user_comes_by_its_clients_name()
{
    let guarded = Guarded::start(&["u0", "u1"], ALL);
    let watcher = Opening::v5("watcher")
        .login("u1", PASSWORD)
        .resuming()
        .session_expiry(300);
    let mut watching = Client::tcp(&guarded.gateway, &watcher).await;
    let filters = [("w/gone", 1), ("before", 1), ("after", 1)];
    watching.subscribe(&filters).await;
    let will = Will {
        topic: "w/gone".to_owned(),
        payload: b"gone".to_vec(),
        qos: 1,
        ..Will::default()
    };
    let owner = Opening::v5("pump").login("u0", PASSWORD).will(will);
    let _owner = Client::tcp(&guarded.gateway, &owner).await;
    // what is acknowledged comes behind the will on the disk
    let mut publisher = client(&guarded, "publisher", "u1").await;
    publisher.publish(&Publish::new("before", "", 1)).await;
    watching.receive_until("before").await;
    let guarded = guarded.killed(&[]);
    let _other = client(&guarded, "pump", "u1").await;
    let mut publisher = client(&guarded, "publisher", "u1").await;
    publisher.publish(&Publish::new("after", "", 1)).await;
    let mut watching = Client::tcp(&guarded.gateway, &watcher).await;
    let received = watching.receive_until("after").await;
    assert!(
        received.iter().any(|it| it.payload == b"gone"),
        "{received:?}"
    );
}
