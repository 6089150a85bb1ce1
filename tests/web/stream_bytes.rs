//! A stream as its bytes: how they are framed for whom, how they end, and what else is on the connection.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{
    gateway::Gateway,
    http::Request,
    mqtt::Client,
    stream::{Encoding, Stream},
    unique,
    wire::{Opening, Publish},
    within,
};

/// A connection on which a test writes what it likes.
struct Peer {
    socket: TcpStream,
    heard: String,
}

impl Peer {
    async fn say(gateway: &Gateway, text: &str) -> Self {
        let mut socket = TcpStream::connect(gateway.http)
            .await
            .expect("the gateway accepts");
        let sent = socket.write_all(text.as_bytes()).await;
        sent.expect("the gateway reads");
        let heard = String::new();
        Peer { socket, heard }
    }

    /// Reads until `text` was heard.
    async fn hear(&mut self, text: &str) {
        let what = format!("{text:?}");
        within(&what, async {
            while !self.heard.contains(text) {
                assert!(self.read().await, "{text:?} is not in {:?}", self.heard);
            }
        })
        .await;
    }

    /// Reads to the end; how the stream's body ends.
    async fn hear_all(mut self) -> String {
        within("the end of the connection", async {
            while self.read().await {}
        })
        .await;
        self.heard
    }

    async fn read(&mut self) -> bool {
        let mut bytes = [0; 4096];
        let count = self.socket.read(&mut bytes).await.unwrap_or(0);
        self.heard
            .push_str(std::str::from_utf8(&bytes[..count]).expect("streams are UTF-8"));
        count > 0
    }
}

async fn publish(gateway: &Gateway, topic: &str, payload: impl Into<Vec<u8>>) {
    let mut client = Client::tcp(gateway, &Opening::v311(&unique("in"))).await;
    client.publish(&Publish::new(topic, payload, 1)).await;
    client.disconnect().await;
}

/// The streams that are open.
async fn open_streams(gateway: &Gateway) -> u32 {
    let page = Request::get("/metrics").send(gateway.http).await.text();
    let line = page
        .lines()
        .find_map(|line| line.strip_prefix("tidegate_streams_open "));
    line.and_then(|count| count.parse().ok())
        .expect("the metric")
}

/// Waits until the gateway has noticed that no stream is left.
async fn no_stream_is_left(gateway: &Gateway) {
    within("the end of the streams", async {
        while open_streams(gateway).await > 0 {}
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_http_1_0_client_gets_a_bare_body_that_ends_with_its_connection() {
    let mut gateway = Gateway::start(&[]);
    let target = "GET /api/v1/stream?topic=t HTTP/1.0\r\nHost: localhost\r\n\r\n";
    let mut peer = Peer::say(&gateway, target).await;
    peer.hear("event: ready").await;
    publish(&gateway, "t", "hello").await;
    peer.hear("hello").await;
    gateway.terminate();
    let all = peer.hear_all().await;
    let (head, body) = all.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.0 200"), "{head}");
    assert!(
        !head.to_ascii_lowercase().contains("transfer-encoding"),
        "{head}"
    );
    assert!(body.starts_with(": tidegate v1\nretry: "), "{body}");
    assert!(
        !body.contains('\r') && body.contains("event: bye"),
        "{body}"
    );
    assert!(body.ends_with("\n\n"), "{body}");
    assert_eq!(
        gateway
            .exited_within(Duration::from_secs(10))
            .and_then(|s| s.code()),
        Some(0)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_said_bye_ends_with_the_empty_chunk_and_its_connection() {
    let gateway = Gateway::start(&[]);
    let target = "GET /api/v1/stream?topic=t HTTP/1.1\r\nHost: localhost\r\n\r\n";
    // what is asked for behind a stream while the gateway stops is not answered
    let mut peer = Peer::say(&gateway, &target.repeat(2)).await;
    peer.hear("event: ready").await;
    gateway.terminate();
    let all = peer.hear_all().await;
    assert_eq!(all.matches("HTTP/1.1 200").count(), 1, "{all}");
    assert!(
        all.contains("event: bye") && all.ends_with("\n\n\r\n0\r\n\r\n"),
        "{all}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_head_of_a_stream_can_be_had_and_the_connection_goes_on() {
    let gateway = Gateway::start(&[]);
    let requests = "HEAD /api/v1/stream?topic=t HTTP/1.1\r\nHost: localhost\r\n\r\n\
                    GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let all = Peer::say(&gateway, requests).await.hear_all().await;
    assert_eq!(all.matches("HTTP/1.1 200").count(), 2, "{all}");
    assert!(
        all.contains("text/event-stream") && !all.contains("event: ready"),
        "{all}"
    );
    assert_eq!(open_streams(&gateway).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_ends_its_side_ends_its_stream() {
    let gateway = Gateway::start(&[]);
    for end in ["half", "whole"] {
        let target = "GET /api/v1/stream?topic=t HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let mut peer = Peer::say(&gateway, target).await;
        peer.hear("event: ready").await;
        assert_eq!(open_streams(&gateway).await, 1, "{end}");
        if end == "half" {
            peer.socket.shutdown().await.unwrap();
            let all = peer.hear_all().await;
            assert!(!all.contains("event: bye"), "{all}");
        } else {
            drop(peer);
        }
        no_stream_is_left(&gateway).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_nobody_reads_is_no_request() {
    let gateway = Gateway::start(&[]);
    for expect in ["", "Expect: 100-continue\r\n"] {
        let smuggled = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let request = format!(
            "GET /api/v1/stream?topic=t HTTP/1.1\r\nHost: localhost\r\n{expect}Content-Length: {}\r\n\r\n{smuggled}",
            100 + smuggled.len()
        );
        let mut peer = Peer::say(&gateway, &request).await;
        peer.hear("event: ready").await;
        publish(&gateway, "t", "hello").await;
        peer.hear("hello").await;
        let (head, _) = peer.heard.split_once("\r\n\r\n").unwrap();
        assert!(
            head.starts_with("HTTP/1.1 200"),
            "no 100 that nobody waits for: {head}"
        );
        assert!(head.contains("connection: close"), "{head}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn payloads_of_every_size_arrive_whole_and_in_order() {
    let gateway = Gateway::shared();
    let topic = unique("stream-bytes/sizes");
    for encoding in [Encoding::Sse, Encoding::Ndjson] {
        let mut stream = Stream::ready(gateway.http, encoding, &[&topic], "").await;
        let sizes = [0, 1, 100, 16_000, 17_000, 64_000, 200_000, 1_000_000, 3];
        let mut client = Client::tcp(&gateway, &Opening::v311(&unique("in"))).await;
        for size in sizes {
            client
                .publish(&Publish::new(&topic, vec![b'x'; size], 1))
                .await;
        }
        for size in sizes {
            let event = stream.message().await;
            assert_eq!(event.payload(), vec![b'x'; size]);
        }
        client.disconnect().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retained_state_larger_than_a_socket_takes_arrives_before_what_is_new() {
    let gateway = Gateway::start(&[]);
    let mut client = Client::tcp(&gateway, &Opening::v311("in")).await;
    for n in 0..300 {
        let mut message = Publish::new(&format!("state/{n:03}"), vec![b'x'; 30_000], 1);
        message.retain = true;
        client.publish(&message).await;
    }
    let mut stream = Stream::open(gateway.http, Encoding::Sse, &["state/#"], "").await;
    assert_eq!(stream.next().await.name, "ready");
    client.publish(&Publish::new("state/new", "new", 1)).await;
    for n in 0..300 {
        let event = stream.message().await;
        assert_eq!(event.data["topic"], format!("state/{n:03}"));
        assert_eq!(event.data["snapshot"], true);
    }
    assert_eq!(stream.message().await.data["payload"], "new");
    client.disconnect().await;
}
