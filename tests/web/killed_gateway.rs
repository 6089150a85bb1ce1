//! Readers and writers of a gateway that is killed again and again: what was acknowledged arrives, behind at most one
//! gap for each kill, and that gap tells the truth.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::watch,
};

use crate::{
    got::{Got, WRITERS, amount, offset},
    support::{
        gateway::Gateway,
        http::Request,
        mqtt::{Client, Link},
        stream::{Encoding, Event, Stream},
        unique,
        wire::{self, Opening, PUBACK, Packet, Publish, Version},
        within,
    },
};

/// The gateway of the moment: which life it lives, and where.
#[derive(Clone, Copy)]
struct Life {
    number: usize,
    mqtt: SocketAddr,
    http: SocketAddr,
}

/// Acknowledged messages of each writer, by its life.
type Progress = Arc<Vec<AtomicUsize>>;

async fn life_after(lives: &mut watch::Receiver<Life>, number: usize) -> Life {
    let next = lives.wait_for(|life| life.number > number);
    *within("the next life of the gateway", next)
        .await
        .expect("there is one")
}

/// A client, unless the gateway is killed before it says CONNACK.
async fn connect(address: SocketAddr) -> Option<Client> {
    let socket = TcpStream::connect(address).await.ok()?;
    let opening = Opening::v5(&unique("insisting"));
    let mut client = Client::on(Link::Tcp(socket), opening.version);
    client.try_send(&opening.encode()).await;
    let welcome = client.next().await?;
    assert!(
        matches!(welcome, Packet::Connack { code: 0, .. }),
        "{welcome:?}"
    );
    Some(client)
}

/// One message over MQTT at QoS 1; false if the gateway was killed before it acknowledged.
async fn publish_by_mqtt(client: &mut Client, topic: &str, number: usize) -> bool {
    let mut message = Publish::new(topic, number.to_string(), 1);
    message.id = client.packet_id();
    if !client.try_send(&wire::publish(Version::V5, &message)).await {
        return false;
    }
    loop {
        match client.next().await {
            Some(Packet::Ack {
                kind: PUBACK,
                id,
                code,
                ..
            }) if id == message.id => {
                assert!(code < 0x80, "refused with {code:#04x}");
                return true;
            }
            Some(_) => {}
            None => return false,
        }
    }
}

/// One message by POST; false if the gateway was killed before it answered.
async fn publish_by_post(address: SocketAddr, topic: &str, number: usize) -> bool {
    let Ok(mut socket) = TcpStream::connect(address).await else {
        return false;
    };
    let target = format!("/api/v1/topics/{topic}");
    let request = Request::post(&target, number.to_string()).header("Connection", "close");
    let mut answer = vec![];
    let sent = socket.write_all(&request.encode(address)).await;
    let heard = within("an answer or the end", socket.read_to_end(&mut answer)).await;
    // an answer that is cut off may say anything
    let is_whole = sent.is_ok() && heard.is_ok() && answer.ends_with(b"}");
    assert!(!is_whole || answer.starts_with(b"HTTP/1.1 200"));
    is_whole
}

/// Publishes numbers, each until it is acknowledged, over all lives of the gateway.
async fn insist(mut lives: watch::Receiver<Life>, nth: usize, each: usize, progress: Progress) {
    let topic = format!("kept/{nth}");
    let mut life = *lives.borrow_and_update();
    let mut mqtt = None;
    let mut number = 0;
    while number < each {
        let done = if nth % 2 == 1 {
            publish_by_post(life.http, &topic, number).await
        } else {
            if mqtt.is_none() {
                mqtt = connect(life.mqtt).await;
            }
            match mqtt.as_mut() {
                Some(client) => publish_by_mqtt(client, &topic, number).await,
                None => false,
            }
        };
        if done {
            number += 1;
            progress[nth].fetch_add(1, Ordering::Relaxed);
        } else {
            mqtt = None;
            life = life_after(&mut lives, life.number).await;
        }
    }
}

/// Reads to the end over all lives of the gateway, one connection in each.
///
/// `heard_in` tells in which life, counted from 1, it last heard something.
async fn follow(
    mut lives: watch::Receiver<Life>,
    encoding: Encoding,
    heard_in: Arc<AtomicUsize>,
) -> Got {
    let mut life = *lives.borrow_and_update();
    let mut got = Got::default();
    loop {
        let presented = got.last_id.clone();
        let since = presented.as_ref().map(|id| format!("since={id}"));
        let options = since.unwrap_or_default();
        let mut stream = Stream::open(life.http, encoding, &["kept/#"], &options).await;
        let mut gaps = 0;
        while let Some(event) = stream.next_or_end().await {
            match event.name.as_str() {
                "message" => {
                    let id = event.data["cursor"].as_str().expect("a cursor").to_owned();
                    if got.message(&id, &event.data) {
                        return got;
                    }
                }
                "gap" => {
                    gaps += 1;
                    assert_eq!(event.data["reason"], "crash", "{event:?}");
                    is_truthful(&event, got.last_id.as_deref());
                    got.gaps.push(event.data);
                }
                "ready" => {
                    got.last_id = got
                        .last_id
                        .or(event.data["since"].as_str().map(str::to_owned))
                }
                _ => {}
            }
            heard_in.store(life.number + 1, Ordering::Relaxed);
        }
        assert!(gaps <= 1, "{gaps} gaps on one connection");
        life = life_after(&mut lives, life.number).await;
    }
}

/// A gap begins where the client is, and does not end before.
fn is_truthful(gap: &Event, last_id: Option<&str>) {
    let (from, to) = (gap.data["from"].as_str(), gap.data["to"].as_str());
    assert_eq!(from, last_id, "{gap:?}");
    let (from, to) = (from.expect("from"), to.expect("to"));
    assert!(offset(from) <= offset(to), "{gap:?}");
    assert_eq!(
        gap.data["lost_at_most"],
        offset(to) - offset(from),
        "{gap:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_kills_of_the_gateway_every_acknowledged_message_arrives_behind_at_most_one_gap_each()
{
    const SETTINGS: &[&str] = &[
        "--set",
        "history=[{ filter = \"kept/#\" }]",
        "--set",
        "log.level=warn",
    ];
    let each = amount(10_000) / WRITERS;
    let kills = amount(50);
    let mut gateway = Gateway::start(SETTINGS);
    let life = |number, gateway: &Gateway| Life {
        number,
        mqtt: gateway.mqtt,
        http: gateway.http,
    };
    let (tell, lives) = watch::channel(life(0, &gateway));
    let progress: Progress = Arc::new((0..WRITERS).map(|_| AtomicUsize::new(0)).collect());
    let heard_in: Vec<_> = (0..2).map(|_| Arc::new(AtomicUsize::new(0))).collect();
    let readers: Vec<_> = [Encoding::Sse, Encoding::Ndjson]
        .into_iter()
        .zip(&heard_in)
        .map(|(encoding, heard_in)| tokio::spawn(follow(lives.clone(), encoding, heard_in.clone())))
        .collect();
    let hear = |life: usize| {
        let all = heard_in.clone();
        let heard = move || all.iter().all(|one| one.load(Ordering::Relaxed) > life);
        within("the readers in this life", until(heard))
    };
    // they are there before the first message
    hear(0).await;
    let writers: Vec<_> = (0..WRITERS)
        .map(|nth| tokio::spawn(insist(lives.clone(), nth, each, progress.clone())))
        .collect();
    for kill in 0..kills {
        hear(kill).await;
        // everybody is at work, and work is left for the lives to come
        let enough = (kill + 1) * each / (kills + 1);
        let at_work = || {
            progress
                .iter()
                .all(|one| one.load(Ordering::Relaxed) >= enough)
        };
        within("work in this life", until(at_work)).await;
        gateway = gateway.killed(SETTINGS);
        let next = life(kill + 1, &gateway);
        tell.send(next).expect("somebody listens");
    }
    for writer in writers {
        writer.await.expect("the writer is fine");
    }
    let end = Request::post("/api/v1/topics/kept/end", "end");
    assert_eq!(end.send(gateway.http).await.status, 200);
    for reader in readers {
        let got = reader.await.expect("the reader is fine");
        assert!(got.gaps.len() <= kills, "{:?}", got.gaps);
        for nth in 0..WRITERS {
            let numbers = &got.by_topic[&format!("kept/{nth}")];
            let mut once = numbers.clone();
            once.dedup();
            // what a kill left unanswered was published again, next to itself
            assert_eq!(once, (0..each).collect::<Vec<_>>(), "writer {nth}");
            assert!(
                numbers.len() <= each + kills,
                "writer {nth}: {}",
                numbers.len()
            );
        }
    }
}

/// Looks again and again; what it waits for happens in other tasks.
async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
