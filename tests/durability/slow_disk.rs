//! A disk that stands still: publishers are not read any further, memory stays bounded, and nothing is refused or lost.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::tcp::OwnedWriteHalf,
};

use crate::{
    cycles::tell,
    everyone::ROOMY,
    image::Image,
    support::{
        gateway::Gateway,
        http::Request,
        mqtt::{Client, Link},
        wire::{self, Opening, PUBACK, Packet, Publish, Version},
        within,
    },
};

const PUBLISHERS: u16 = 4;
const MESSAGES: u16 = 4_000;
const PAYLOAD: usize = 8 * 1024;
/// More than the queue of the store, and what stands in buffers of a few connections.
const MEMORY: u64 = 24 * 1024 * 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_disk_stands_still_publishers_are_not_read_and_then_everything_is_acknowledged() {
    let image = match Image::mounted(512) {
        Ok(image) => image,
        Err(why) => {
            return tell(&format!(
                "SKIPPED, no disk is slow: an image cannot be mounted here: {why}"
            ));
        }
    };
    let data = tempfile::tempdir_in(image.root()).expect("a folder for the gateway's data");
    let data = Arc::new(data);
    let gateway = Gateway::start_on(data.clone(), &ROOMY);
    let away = Opening::v5("away").resuming().session_expiry(300);
    let mut client = Client::tcp(&gateway, &away).await;
    client.subscribe(&[("kept/#", 1)]).await;
    client.disconnect().await;

    let frozen = image.freeze();
    let before = gateway.resident();
    let mut publishers = vec![];
    for publisher in 0..PUBLISHERS {
        publishers.push(tokio::spawn(flood(gateway.mqtt, publisher)));
    }
    // it does what it must to be kept alive, and is not read either
    let impatient = Opening::v5("impatient").keep_alive(1);
    let mut impatient = Client::tcp(&gateway, &impatient).await;
    let (begun, mut pings) = (Instant::now(), 0);
    let mut most = before;
    let offered = u64::from(PUBLISHERS) * u64::from(MESSAGES) * PAYLOAD as u64;
    let mut taken = 0;
    within("the publishers to stand still", async {
        loop {
            tokio::time::sleep(Duration::from_millis(300)).await;
            impatient.send(&wire::pingreq()).await;
            pings += 1;
            most = most.max(gateway.resident());
            let now = read_so_far(&gateway).await;
            let same = std::mem::replace(&mut taken, now) == now && now > 0;
            // twice as long as it would be taken for dead
            if same && begun.elapsed() > Duration::from_secs(3) {
                break;
            }
        }
    })
    .await;
    assert!(taken < offered / 4, "{taken} of {offered} bytes were read");
    let grown = most - before;
    assert!(grown < MEMORY, "{grown} bytes of memory for {offered}");
    assert!(publishers.iter().all(|publisher| !publisher.is_finished()));

    drop(frozen);
    for _ in 0..pings {
        assert_eq!(impatient.next().await, Some(Packet::Pingresp));
    }
    for publisher in publishers {
        publisher.await.expect("a publisher with all its answers");
    }
    let gateway = gateway.killed(&ROOMY);
    let (mut client, welcome) = Client::tcp_with_welcome(&gateway, &away).await;
    assert!(welcome.session_present);
    let mut next = [0; PUBLISHERS as usize];
    for _ in 0..u32::from(PUBLISHERS) * u32::from(MESSAGES) {
        let got = client.receive().await;
        let publisher: usize = got.topic["kept/".len()..].parse().expect("a number");
        let text = got.text();
        let number: u16 = text.split(' ').next().unwrap().parse().expect("a number");
        assert_eq!(number, next[publisher], "of publisher {publisher}");
        next[publisher] += 1;
    }
}

/// Publishes as fast as it is read, and takes the answers, which come in order. A client of 3.1.1 knows no limit of
/// what is under way, and a refusal would close its connection.
async fn flood(gateway: SocketAddr, publisher: u16) {
    let opening = Opening::new(Version::V311, &format!("flood-{publisher}"));
    let (client, _) = Client::welcomed(Link::tcp(gateway).await, &opening).await;
    let Link::Tcp(stream) = client.link else {
        unreachable!("it is TCP");
    };
    let (mut read, write) = stream.into_split();
    let writing = tokio::spawn(write_all(write, publisher));
    let mut received = vec![];
    for expected in 1..=MESSAGES {
        let packet = loop {
            if let Some(packet) = wire::take_packet(Version::V311, &mut received) {
                break packet;
            }
            let count = within("PUBACK", read.read_buf(&mut received)).await;
            let count = count.expect("the connection stands");
            assert!(
                count > 0,
                "publisher {publisher} is closed before {expected}"
            );
        };
        match packet {
            Packet::Ack {
                kind: PUBACK, id, ..
            } => assert_eq!(id, expected),
            other => panic!("{other:?}"),
        }
    }
    writing.await.expect("everything was taken");
}

/// Gives back its end, without which the connection would seem closed.
async fn write_all(mut to: OwnedWriteHalf, publisher: u16) -> OwnedWriteHalf {
    for id in 1..=MESSAGES {
        let text = format!("{} {}", id - 1, "x".repeat(PAYLOAD));
        let mut message = Publish::new(&format!("kept/{publisher}"), text, 1);
        message.id = id;
        let bytes = wire::publish(Version::V311, &message);
        to.write_all(&bytes).await.expect("the gateway stays");
    }
    to
}

/// Bytes of payloads that were read, as `/metrics` says.
async fn read_so_far(gateway: &Gateway) -> u64 {
    let page = Request::get("/metrics").send(gateway.http).await.text();
    let line = page
        .lines()
        .find_map(|line| line.strip_prefix("tidegate_mqtt_received_payload_bytes_total "));
    line.and_then(|number| number.parse().ok())
        .expect("a number of bytes")
}
