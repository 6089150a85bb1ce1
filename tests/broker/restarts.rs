//! What outlives the gateway: kill -9 and SIGTERM, then another process on the same data folder.

use std::time::Duration;

use crate::support::{
    gateway::Gateway,
    http::Request,
    mqtt::Client,
    unique,
    wire::{
        self, Opening, PUBACK, PUBCOMP, PUBREC, PUBREL, Packet, Properties, Publish, Value,
        Version, Will, property,
    },
};

const QUIET: &[&str] = &["--set", "log.level=warn"];

fn lasting(version: Version, id: &str) -> Opening {
    let opening = Opening::new(version, id).resuming();
    match version {
        Version::V5 => opening.session_expiry(300),
        _ => opening,
    }
}

async fn resume(gateway: &Gateway, version: Version, id: &str) -> (Client, bool) {
    let (client, welcome) = Client::tcp_with_welcome(gateway, &lasting(version, id)).await;
    (client, welcome.session_present)
}

async fn publish(gateway: &Gateway, topic: &str, texts: &[&str], qos: u8) {
    let mut publisher = Client::tcp(gateway, &Opening::v5(&unique("in"))).await;
    for text in texts {
        let code = publisher.publish(&Publish::new(topic, *text, qos)).await;
        assert!(code < 0x80, "{code:#x}");
    }
}

async fn texts(client: &mut Client, count: usize) -> Vec<String> {
    let mut texts = vec![];
    for _ in 0..count {
        texts.push(client.receive().await.text());
    }
    texts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_outlives_a_kill_with_its_session() {
    for version in [Version::V311, Version::V5] {
        let gateway = Gateway::start(QUIET);
        let (mut away, present) = resume(&gateway, version, "away").await;
        assert!(!present);
        away.subscribe(&[("one/#", 1), ("two/+", 2)]).await;
        away.disconnect().await;
        publish(&gateway, "one/a", &["1", "2"], 1).await;
        publish(&gateway, "two/a", &["3", "4"], 2).await;
        publish(&gateway, "other", &["not for it"], 1).await;
        let gateway = gateway.killed(QUIET);
        let (mut away, present) = resume(&gateway, version, "away").await;
        assert!(present);
        let mut got = texts(&mut away, 4).await;
        got.sort();
        assert_eq!(got, ["1", "2", "3", "4"]);
        publish(&gateway, "two/b", &["live"], 1).await;
        assert_eq!(texts(&mut away, 1).await, ["live"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connected_session_loses_nothing_to_a_kill_either() {
    let gateway = Gateway::start(QUIET);
    let (mut client, _) = resume(&gateway, Version::V5, "here").await;
    client.subscribe(&[("t", 1)]).await;
    publish(&gateway, "t", &["taken", "not answered"], 1).await;
    assert_eq!(client.receive().await.text(), "taken");
    assert_eq!(client.receive_only().await.text(), "not answered");
    let gateway = gateway.killed(QUIET);
    let (mut client, present) = resume(&gateway, Version::V5, "here").await;
    assert!(present);
    // what was answered may come again: cursors are written lazily
    let first = client.receive().await.text();
    if first == "taken" {
        assert_eq!(client.receive().await.text(), "not answered");
    } else {
        assert_eq!(first, "not answered");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_stop_everything_goes_on_with_the_same_identifiers_and_nothing_twice() {
    let gateway = Gateway::start(QUIET);
    let (mut client, _) = resume(&gateway, Version::V5, "here").await;
    client.subscribe(&[("t", 2)]).await;
    publish(&gateway, "t", &["answered", "not answered"], 1).await;
    publish(&gateway, "t", &["half way"], 2).await;
    assert_eq!(client.receive().await.text(), "answered");
    let open = [client.receive_only().await, client.receive_only().await];
    let gateway = gateway.restarted(QUIET);
    let (mut client, present) = resume(&gateway, Version::V5, "here").await;
    assert!(present);
    for sent in &open {
        let again = client.receive_only().await;
        assert_eq!(
            (again.text(), again.id, again.qos, again.dup),
            (sent.text(), sent.id, sent.qos, true)
        );
        client.acknowledge(&again).await;
    }
    publish(&gateway, "t", &["marker"], 1).await;
    assert_eq!(texts(&mut client, 1).await, ["marker"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_qos_2_message_from_a_client_is_taken_once_whenever_the_gateway_is_killed() {
    for version in [Version::V311, Version::V5] {
        // with somebody who must not miss it, and with nobody: the identifier is kept in another way
        for topic in ["wanted", "not-wanted"] {
            let gateway = Gateway::start(QUIET);
            let (mut away, _) = resume(&gateway, version, "away").await;
            away.subscribe(&[("wanted", 2), ("marker", 2)]).await;
            away.disconnect().await;
            let (mut sender, _) = resume(&gateway, version, "sender").await;
            let mut message = Publish::new(topic, "once", 2);
            message.id = 7;
            sender.send(&wire::publish(version, &message)).await;
            sender.expect(&wire::ack(PUBREC, 7)).await;
            let gateway = gateway.killed(QUIET);
            let (mut sender, present) = resume(&gateway, version, "sender").await;
            assert!(present);
            message.dup = true;
            sender.send(&wire::publish(version, &message)).await;
            sender.expect(&wire::ack(PUBREC, 7)).await;
            sender.send(&wire::ack(PUBREL, 7)).await;
            sender.expect(&wire::ack(PUBCOMP, 7)).await;
            let gateway = gateway.killed(QUIET);
            let (mut sender, _) = resume(&gateway, version, "sender").await;
            // free again: what comes under it now is another message
            let mut another = Publish::new("wanted", "another", 2);
            another.id = 7;
            sender.send(&wire::publish(version, &another)).await;
            sender.expect(&wire::ack(PUBREC, 7)).await;
            publish(&gateway, "marker", &["marker"], 2).await;
            let (mut away, _) = resume(&gateway, version, "away").await;
            let got = away.receive_until("marker").await;
            let got: Vec<_> = got.iter().map(Publish::text).collect();
            match topic {
                "wanted" => assert_eq!(got, ["once", "another"]),
                _ => assert_eq!(got, ["another"]),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_qos_2_message_to_a_client_comes_once_whenever_the_gateway_is_killed() {
    for version in [Version::V311, Version::V5] {
        let gateway = Gateway::start(QUIET);
        let (mut client, _) = resume(&gateway, version, "receiver").await;
        client.subscribe(&[("t", 2)]).await;
        publish(&gateway, "t", &["once"], 2).await;
        let sent = client.receive_only().await;
        let gateway = gateway.killed(QUIET);
        let (mut client, _) = resume(&gateway, version, "receiver").await;
        let again = client.receive_only().await;
        assert_eq!(
            (again.text(), again.id, again.dup),
            ("once".into(), sent.id, true),
            "{version:?}"
        );
        client.send(&wire::ack(PUBREC, sent.id)).await;
        client.expect(&wire::ack(PUBREL, sent.id)).await;
        let gateway = gateway.killed(QUIET);
        let (mut client, _) = resume(&gateway, version, "receiver").await;
        client.expect(&wire::ack(PUBREL, sent.id)).await;
        client.send(&wire::ack(PUBCOMP, sent.id)).await;
        let gateway = gateway.killed(QUIET);
        let (mut client, _) = resume(&gateway, version, "receiver").await;
        publish(&gateway, "t", &["next"], 2).await;
        loop {
            // that PUBCOMP came may not have been written down yet
            match client.next().await {
                Some(Packet::Ack {
                    kind: PUBREL, id, ..
                }) => {
                    assert_eq!(id, sent.id);
                    client.send(&wire::ack(PUBCOMP, id)).await;
                }
                Some(Packet::Publish(got)) => {
                    assert_eq!(got.text(), "next");
                    break;
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retained_messages_outlive_a_kill_and_the_last_one_wins() {
    let gateway = Gateway::start(QUIET);
    let mut publisher = Client::tcp(&gateway, &Opening::v5("in")).await;
    for (topic, text) in [("r/a", "old"), ("r/a", "new"), ("r/b", "gone"), ("r/b", "")] {
        publisher
            .publish(&Publish::new(topic, text, 1).retained())
            .await;
    }
    let gateway = gateway.killed(QUIET);
    let mut reader = Client::tcp(&gateway, &Opening::v5("out")).await;
    reader.subscribe(&[("r/#", 1)]).await;
    publish(&gateway, "r/marker", &["marker"], 1).await;
    let got = reader.receive_until("r/marker").await;
    let got: Vec<_> = got.iter().map(|m| (m.topic.clone(), m.text())).collect();
    assert_eq!(got, [("r/a".to_owned(), "new".to_owned())]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_ended_stays_ended_after_a_kill() {
    let gateway = Gateway::start(QUIET);
    let (mut client, _) = resume(&gateway, Version::V5, "left").await;
    client.subscribe(&[("kept", 1), ("dropped", 1)]).await;
    client.unsubscribe(&["dropped"]).await;
    client.disconnect().await;
    // a clean start ends what was there
    let (gone, _) = resume(&gateway, Version::V5, "gone").await;
    drop(gone);
    let clean = Client::tcp(&gateway, &Opening::v5("gone").session_expiry(0)).await;
    drop(clean);
    publish(&gateway, "dropped", &["no"], 1).await;
    publish(&gateway, "kept", &["yes"], 1).await;
    let gateway = gateway.killed(QUIET);
    let (_, present) = resume(&gateway, Version::V5, "gone").await;
    assert!(!present);
    let (mut client, present) = resume(&gateway, Version::V5, "left").await;
    assert!(present);
    assert_eq!(texts(&mut client, 1).await, ["yes"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wills_of_clients_that_do_not_come_back_after_a_kill_are_published() {
    let grace = &[
        "--set",
        "session.restart_grace=1s",
        "--set",
        "log.level=warn",
    ];
    let gateway = Gateway::start(grace);
    let (mut watcher, _) = resume(&gateway, Version::V5, "watcher").await;
    watcher.subscribe(&[("will/#", 1)]).await;
    let will = |topic: &str| Will {
        topic: topic.into(),
        payload: "gone".into(),
        qos: 1,
        ..Will::default()
    };
    let clean = Client::tcp(&gateway, &Opening::v5("clean").will(will("will/clean"))).await;
    let kept = lasting(Version::V5, "kept").will(will("will/kept"));
    let kept = Client::tcp(&gateway, &kept).await;
    let back = lasting(Version::V5, "back").will(will("will/back"));
    let back_before = Client::tcp(&gateway, &back).await;
    let polite = Client::tcp(&gateway, &Opening::v5("polite").will(will("will/polite"))).await;
    polite.disconnect().await;
    // wills of clean sessions are written with the next batch; this one is waited for
    publish(&gateway, "will/marker", &["written"], 1).await;
    assert_eq!(watcher.receive().await.text(), "written");
    let gateway = gateway.killed(grace);
    drop((clean, kept, back_before));
    let _back = Client::tcp(&gateway, &back).await;
    let (mut watcher, _) = resume(&gateway, Version::V5, "watcher").await;
    let mut topics = vec![];
    while topics.len() < 2 {
        let got = watcher.receive().await;
        if got.text() == "gone" {
            topics.push(got.topic);
        }
    }
    topics.sort();
    assert_eq!(topics, ["will/clean", "will/kept"]);
    publish(&gateway, "will/marker", &["marker"], 1).await;
    assert!(watcher.receive_until("will/marker").await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_share_group_with_a_member_that_is_kept_loses_nothing_to_a_kill() {
    let gateway = Gateway::start(QUIET);
    let (mut first, _) = resume(&gateway, Version::V5, "first").await;
    first.subscribe(&[("$share/g/t", 1)]).await;
    publish(&gateway, "t", &["given"], 1).await;
    assert_eq!(first.receive_only().await.text(), "given");
    first.disconnect().await;
    publish(&gateway, "t", &["1", "2"], 1).await;
    let gateway = gateway.killed(QUIET);
    let (mut first, present) = resume(&gateway, Version::V5, "first").await;
    assert!(present);
    publish(&gateway, "t", &["marker"], 1).await;
    assert_eq!(texts(&mut first, 4).await, ["given", "1", "2", "marker"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_share_group_whose_only_member_left_and_came_again_is_kept() {
    let gateway = Gateway::start(QUIET);
    let (mut first, _) = resume(&gateway, Version::V5, "first").await;
    first.subscribe(&[("$share/g/t", 1)]).await;
    first.unsubscribe(&["$share/g/t"]).await;
    first.subscribe(&[("$share/g/t", 1)]).await;
    first.disconnect().await;
    publish(&gateway, "t", &["1", "2"], 1).await;
    let gateway = gateway.restarted_after(QUIET, || {});
    let (mut first, present) = resume(&gateway, Version::V5, "first").await;
    assert!(present);
    publish(&gateway, "t", &["marker"], 1).await;
    assert_eq!(texts(&mut first, 3).await, ["1", "2", "marker"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_will_whose_session_ended_while_the_gateway_was_down_reaches_all_who_are_kept() {
    let grace = &[
        "--set",
        "session.restart_grace=1s",
        "--set",
        "log.level=warn",
    ];
    let gateway = Gateway::start(grace);
    let names: Vec<String> = (0..12).map(|nth| format!("watcher-{nth}")).collect();
    for name in &names {
        let (mut watcher, _) = resume(&gateway, Version::V5, name).await;
        watcher.subscribe(&[("will", 1)]).await;
        watcher.disconnect().await;
    }
    let will = Will {
        topic: "will".into(),
        payload: "gone".into(),
        qos: 1,
        properties: Properties::default().with(property::WILL_DELAY, Value::Four(100)),
        ..Will::default()
    };
    let short = Opening::v5("short").resuming().session_expiry(1).will(will);
    drop(Client::tcp(&gateway, &short).await);
    // written with what is written of the end of its connection
    publish(&gateway, "will", &["marker"], 1).await;
    let gateway = gateway.restarted_after(grace, || {
        std::thread::sleep(Duration::from_secs(2)); // its session ends meanwhile
    });
    for name in &names {
        let (mut watcher, present) = resume(&gateway, Version::V5, name).await;
        assert!(present);
        assert_eq!(texts(&mut watcher, 2).await, ["marker", "gone"], "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_history_rule_keeps_messages_that_nobody_waits_for() {
    let rules = &[
        "--set",
        "history=[{ filter = \"h/#\" }]",
        "--set",
        "sys.interval=1s",
    ];
    let gateway = Gateway::start(rules);
    publish(&gateway, "h/a", &["1", "2"], 1).await;
    publish(&gateway, "other", &["3"], 1).await;
    let gateway = gateway.killed(rules);
    // gauges are brought up to date now and then
    while stored(&gateway).await == 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(stored(&gateway).await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_member_that_is_not_kept_answers_for_its_share_group_is_needed_no_longer() {
    let rules = &["--set", "sys.interval=1s"];
    let gateway = Gateway::start(rules);
    let (mut away, _) = resume(&gateway, Version::V5, "away").await;
    away.subscribe(&[("$share/g/t", 1), ("kept", 1)]).await;
    away.disconnect().await;
    let mut member = Client::tcp(&gateway, &Opening::v5("member")).await;
    member.subscribe(&[("$share/g/t", 1)]).await;
    publish(&gateway, "t", &["1", "2", "3"], 1).await;
    assert_eq!(texts(&mut member, 3).await, ["1", "2", "3"]);
    publish(&gateway, "kept", &["marker"], 1).await;
    let cleaned = async {
        while stored(&gateway).await != 1 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let limit = Duration::from_secs(60);
    tokio::time::timeout(limit, cleaned)
        .await
        .expect("only the marker is needed");
}

async fn stored(gateway: &Gateway) -> u64 {
    let page = Request::get("/metrics").send(gateway.http).await.text();
    let line = page
        .lines()
        .find_map(|line| line.strip_prefix("tidegate_stored_messages "));
    line.and_then(|number| number.parse().ok())
        .expect("the number of stored messages")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_record_is_reported_and_everything_else_is_served() {
    let gateway = Gateway::start(QUIET);
    let (mut away, _) = resume(&gateway, Version::V5, "away").await;
    away.subscribe(&[("t", 1)]).await;
    away.disconnect().await;
    publish(&gateway, "t", &["before", "damaged-payload", "behind"], 1).await;
    let file = gateway.data().join("0000000001.log");
    let ready = Request::get("/readyz").send(gateway.http).await;
    assert_eq!(ready.json()["status"], "ready");
    let gateway = gateway.restarted_after(QUIET, || {
        let mut bytes = std::fs::read(&file).expect("the first segment");
        let at = bytes
            .windows(15)
            .position(|window| window == b"damaged-payload")
            .expect("the record");
        bytes[at] ^= 1;
        std::fs::write(&file, bytes).expect("the folder is ours");
    });
    let ready = Request::get("/readyz").send(gateway.http).await;
    assert_eq!(ready.status, 200);
    assert_eq!(ready.json()["status"], "degraded");
    assert_eq!(ready.json()["checks"]["store"], "damaged");
    assert!(gateway.log().contains("damage in the log"));
    let (mut away, present) = resume(&gateway, Version::V5, "away").await;
    assert!(present);
    assert_eq!(texts(&mut away, 2).await, ["before", "behind"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_memory_nothing_outlives_the_process_and_nothing_is_written() {
    let memory = &["--set", "store.durability=memory"];
    let gateway = Gateway::start(memory);
    let (mut client, _) = resume(&gateway, Version::V5, "c").await;
    client.subscribe(&[("t", 1)]).await;
    publish(&gateway, "t", &["x"], 1).await;
    assert!(!gateway.data().join("0000000001.log").exists());
    let gateway = gateway.restarted(memory);
    let (_, present) = resume(&gateway, Version::V5, "c").await;
    assert!(!present);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledgements_of_a_burst_come_in_order_and_every_message_is_kept() {
    let gateway = Gateway::start(QUIET);
    let (mut away, _) = resume(&gateway, Version::V5, "away").await;
    away.subscribe(&[("t", 1)]).await;
    away.disconnect().await;
    let mut publisher = Client::tcp(&gateway, &Opening::v5("in")).await;
    let mut bytes = vec![];
    for id in 1..=500u16 {
        // every other one is for nobody, and would be acknowledged at once but for those before it
        let topic = if id % 2 == 0 { "t" } else { "nobody" };
        let mut message = Publish::new(topic, id.to_string(), 1);
        message.id = id;
        bytes.extend(wire::publish(Version::V5, &message));
    }
    publisher.send(&bytes).await;
    for expected in 1..=500u16 {
        match publisher.next().await {
            Some(Packet::Ack {
                kind: PUBACK, id, ..
            }) => assert_eq!(id, expected),
            other => panic!("{other:?}"),
        }
    }
    let gateway = gateway.killed(QUIET);
    let (mut away, _) = resume(&gateway, Version::V5, "away").await;
    let expected: Vec<_> = (1..=250).map(|n| (2 * n).to_string()).collect();
    assert_eq!(texts(&mut away, 250).await, expected);
}
