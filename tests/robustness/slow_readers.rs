//! Receivers that stop reading cost a bounded amount of memory and nobody's time.

use tokio::net::TcpStream;

use crate::{
    canary::Canary,
    support::{
        gateway::Gateway,
        http::Request,
        mqtt::{Client, Link},
        unique,
        wire::{self, Opening, Publish, Version},
        within,
    },
};

const MIB: u64 = 1 << 20;

/// A bound far below what is published, so that keeping too much is seen.
const BOUNDED: [&str; 2] = ["--set", "session.max_queued_bytes=4MiB"];

/// Publishes `count` messages of 64 KiB to `topic`, the canary singing between them.
async fn flood(gateway: &Gateway, canary: &mut Canary, topic: &str, qos: u8, count: u32) {
    let mut publisher = Client::tcp(gateway, &Opening::v311(&unique("flood"))).await;
    let message = Publish::new(topic, vec![b'x'; 64 << 10], qos);
    for n in 0..count {
        publisher.publish(&message).await;
        if n % 16 == 0 {
            canary.sing().await;
        }
    }
    // the gateway has taken all of it
    publisher.ping().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscribers_that_never_read_delay_nobody_and_stay_within_their_bound() {
    let gateway = Gateway::start(&BOUNDED);
    let mut canary = Canary::perched(&gateway).await;
    canary.sing().await;
    let before = gateway.resident();
    let mut stuck = vec![];
    for qos in [0, 1, 2] {
        for version in [Version::V311, Version::V5] {
            let link = Link::narrow(gateway.mqtt).await;
            let (mut client, _) =
                Client::welcomed(link, &Opening::new(version, &unique("stuck"))).await;
            client.subscribe(&[("flood/mqtt", qos)]).await;
            stuck.push(client);
        }
    }
    // 128 MiB for each of six, of which each may keep 4 and what its socket takes
    for qos in [0, 1] {
        flood(&gateway, &mut canary, "flood/mqtt", qos, 1024).await;
    }
    canary.was_never_delayed();
    let grown = gateway.resident().saturating_sub(before);
    assert!(
        grown < 64 * MIB,
        "{} MiB more for six stuck readers",
        grown / MIB
    );
    drop(stuck);
    canary.sing().await;
    gateway.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stalled_streams_delay_nobody_and_stay_within_their_bound() {
    let gateway = Gateway::start(&[]);
    let mut canary = Canary::perched(&gateway).await;
    canary.sing().await;
    let before = gateway.resident();
    let mut stalled = vec![];
    for accept in ["text/event-stream", "application/x-ndjson"] {
        for _ in 0..4 {
            let request = Request::get("/api/v1/stream?topic=flood/web").header("Accept", accept);
            let opened = request.open_narrow(gateway.http).await;
            assert_eq!(opened.head.status, 200);
            stalled.push(opened);
        }
    }
    flood(&gateway, &mut canary, "flood/web", 1, 1024).await;
    canary.was_never_delayed();
    // the messages are recorded while a stream wants them: the log's tail counts, once for all of them
    let grown = gateway.resident().saturating_sub(before);
    assert!(
        grown < 128 * MIB,
        "{} MiB more for eight stalled streams",
        grown / MIB
    );
    drop(stalled);
    canary.sing().await;
    gateway.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_websocket_that_never_reads_delays_nobody() {
    let gateway = Gateway::start(&BOUNDED);
    let mut canary = Canary::perched(&gateway).await;
    let mut stuck = Client::websocket(&gateway, &Opening::v5("stuck")).await;
    stuck.subscribe(&[("flood/websocket", 0)]).await;
    let before = gateway.resident();
    flood(&gateway, &mut canary, "flood/websocket", 1, 1024).await;
    canary.was_never_delayed();
    let grown = gateway.resident().saturating_sub(before);
    assert!(
        grown < 32 * MIB,
        "{} MiB more for one stuck WebSocket",
        grown / MIB
    );
    gateway.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_is_only_half_there_is_closed_after_its_keep_alive() {
    let gateway = Gateway::start(&[]);
    let mut canary = Canary::perched(&gateway).await;
    let will = wire::Will {
        topic: "half/open".into(),
        payload: b"gone".to_vec(),
        qos: 1,
        ..Default::default()
    };
    let mut watcher = Client::tcp(&gateway, &Opening::v5("watcher")).await;
    watcher.subscribe(&[("half/open", 1)]).await;
    // it connects, subscribes to everything, and then neither sends nor reads, as a machine without power
    let link = Link::narrow(gateway.mqtt).await;
    let opening = Opening::v311("half").keep_alive(1).will(will);
    let (mut half, _) = Client::welcomed(link, &opening).await;
    half.subscribe(&[("flood/half", 1)]).await;
    flood(&gateway, &mut canary, "flood/half", 1, 64).await;
    assert_eq!(
        watcher.receive().await.text(),
        "gone",
        "its full socket does not keep it alive"
    );
    canary.was_never_delayed();
    gateway.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_gets_every_qos_1_message_in_the_end() {
    let gateway = Gateway::start(&[]);
    let mut canary = Canary::perched(&gateway).await;
    let (mut slow, _) = Client::welcomed(
        Link::narrow(gateway.mqtt).await,
        &Opening::v5("slow").session_expiry(600),
    )
    .await;
    slow.subscribe(&[("slow/qos1", 1)]).await;
    let mut publisher = Client::tcp(&gateway, &Opening::v5("in")).await;
    let count = 400;
    for n in 0..count {
        let mut payload = vec![b' '; 8 << 10];
        payload.extend(n.to_string().bytes());
        publisher
            .publish(&Publish::new("slow/qos1", payload, 1))
            .await;
        if n % 50 == 0 {
            canary.sing().await;
        }
    }
    for n in 0..count {
        assert_eq!(
            slow.receive().await.text().trim_start(),
            n.to_string(),
            "in order, nothing lost"
        );
    }
    canary.was_never_delayed();
    gateway.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_idle_connections_of_every_kind_leave_the_door_open() {
    let gateway = Gateway::start(&[]);
    let mut canary = Canary::perched(&gateway).await;
    let before = gateway.resident();
    let (mut idle, mut clients) = (vec![], vec![]);
    for n in 0..150 {
        for address in [gateway.mqtt, gateway.http] {
            idle.push(
                within("a connection", TcpStream::connect(address))
                    .await
                    .expect("the gateway accepts"),
            );
        }
        clients.push(Client::tcp(&gateway, &Opening::v311(&format!("idle-{n}"))).await);
    }
    for _ in 0..20 {
        canary.sing().await;
    }
    canary.was_never_delayed();
    let grown = gateway.resident().saturating_sub(before);
    assert!(
        grown < 32 * MIB,
        "{} MiB more for 450 idle connections",
        grown / MIB
    );
    gateway.stop();
}
