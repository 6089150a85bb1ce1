//! Whoever takes his time: one byte every tenth of a second, on every kind of listener. All of them are dropped at their
//! deadline, and meanwhile others come in.

use crate::{
    doors::{Doors, all, crowd},
    support::{
        gateway::Gateway,
        http::Request,
        json_ws::{JsonSocket, PROTOCOL},
        mqtt::Link,
        wire::{Opening, Version, packet},
        within,
    },
    world,
};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, UnixStream},
};

/// Says `begin` at once and then the rest of `bytes` and zeros one by one, until it is dropped.
pub async fn drip<S: AsyncRead + AsyncWrite + Unpin>(stream: S, begin: &[u8], bytes: &[u8]) {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let read = async {
        let mut ignored = [0; 256];
        while matches!(reader.read(&mut ignored).await, Ok(count) if count > 0) {}
    };
    let write = async {
        let _ = writer.write_all(begin).await;
        let rest = std::iter::repeat(&b'x');
        for byte in bytes.iter().chain(rest) {
            tokio::time::sleep(Duration::from_millis(100)).await;
            if writer.write_all(&[*byte]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = read => {}
        () = write => {}
    }
}

async fn drip_tcp(address: SocketAddr, begin: &[u8], bytes: &[u8]) {
    let stream = TcpStream::connect(address).await.expect("it accepts");
    drip(stream, begin, bytes).await;
}

fn long_connect() -> Vec<u8> {
    let mut body = Opening::v311(&"c".repeat(5000)).encode();
    body.drain(..3);
    packet(0x10, &body)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_drips_his_connect_is_dropped_by_every_listener_of_mqtt() {
    let doors = Doors::open();
    let connect = long_connect();
    let mqtt = all(|| drip_tcp(doors.gateway.mqtt, &[], &connect));
    doors.withstand("mqtt", mqtt).await;
    let unix = all(|| async {
        let stream = UnixStream::connect(doors.gateway.listening("mqtt-unix")).await;
        drip(stream.expect("it accepts"), &[], &connect).await;
    });
    doors.withstand("mqtt-unix", unix).await;
    let websockets = all(|| async {
        let mut link = Link::websocket(doors.gateway.http, Version::V311).await;
        for byte in &connect {
            tokio::time::sleep(Duration::from_millis(100)).await;
            if !link.send(&[*byte]).await {
                return;
            }
        }
        panic!("nobody is read for so long");
    });
    doors.withstand("ws", websockets).await;
    let all = 3 * crowd() as u64;
    doors.gateway.refused_at_least("timeout", all).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_drips_his_tls_handshake_is_dropped() {
    let doors = Doors::open();
    let hello = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xFC, 3, 3];
    for name in ["mqtts", "https"] {
        let address = doors.address(name);
        doors
            .withstand(name, all(|| drip_tcp(address, &[], &hello)))
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_drips_a_request_is_dropped_in_its_head_and_in_its_body() {
    let doors = Doors::open();
    let http = doors.gateway.http;
    let head = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Long: ";
    doors
        .withstand("head", all(|| drip_tcp(http, b"", head)))
        .await;
    let publish =
        b"POST /api/v1/topics/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n";
    doors
        .withstand("body", all(|| drip_tcp(http, publish, b"")))
        .await;
    let lines = b"POST /api/v1/messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\
        Content-Type: application/x-ndjson\r\nAccept: application/x-ndjson\r\n\r\n";
    doors
        .withstand("a line", all(|| drip_tcp(http, lines, b"")))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_says_nothing_is_dropped() {
    let doors = Doors::open();
    for name in ["mqtt", "mqtts", "http", "https"] {
        let address = doors.address(name);
        let silent = all(|| async {
            let mut stream = TcpStream::connect(address).await.expect("it accepts");
            let _ = stream.read(&mut [0; 16]).await;
        });
        doors.withstand(name, silent).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_begins_and_goes_away_leaves_nothing() {
    let doors = Doors::open();
    for name in ["mqtt", "mqtts", "http", "https"] {
        let address = doors.address(name);
        for round in 0..4 {
            let flood = all(|| async {
                let mut stream = TcpStream::connect(address).await.expect("it accepts");
                let garbage = [[0xFF; 64], [0x16; 64], [b'G'; 64], [0; 64]][round];
                let _ = stream.write_all(&garbage).await;
            });
            doors.withstand(name, flood).await;
        }
    }
}

#[tokio::test]
async fn a_json_websocket_that_does_not_say_who_it_is_ends() {
    let (gateway, _users) = world::start(&["http.head_timeout=1s"]);
    let stream = TcpStream::connect(gateway.http).await.expect("it accepts");
    let shaken = JsonSocket::shake(stream, gateway.http, Some(PROTOCOL), &[]).await;
    let (socket, _) = shaken.expect("the upgrade succeeds");
    let mut stream = socket.into_inner();
    drip(&mut stream, &[], &[0x81, 0xFE, 0x10, 0]).await;
}

#[tokio::test]
async fn a_json_websocket_that_does_not_say_who_it_is_may_send_little() {
    let (gateway, _users) = world::start(&["http.head_timeout=5m"]);
    let stream = TcpStream::connect(gateway.http).await.expect("it accepts");
    let shaken = JsonSocket::shake(stream, gateway.http, Some(PROTOCOL), &[]).await;
    let (socket, _) = shaken.expect("the upgrade succeeds");
    let mut stream = socket.into_inner();
    // a frame of 1 MiB that does not end
    let head = [0x81, 0xFF, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0];
    let begin = [&head[..], &[b'x'; 100_000]].concat();
    within("it to be closed", drip(&mut stream, &begin, &[])).await;
}

#[tokio::test]
async fn who_drips_a_proxy_header_is_dropped() {
    let gateway = Gateway::start(&[
        "--set",
        "mqtt.connect_timeout=1s",
        "--set",
        "mqtt.proxy_protocol=true",
        "--set",
        "mqtt.trusted_proxies=127.0.0.1",
    ]);
    let header = b"PROXY TCP4 203.0.113.5 127.0.0.1 4000 1883\r\n";
    let dropped = all(|| drip_tcp(gateway.mqtt, &[], header));
    within("all to be dropped", dropped).await;
    gateway.refused_at_least("timeout", crowd() as u64).await;
}

#[tokio::test]
async fn what_is_too_large_or_packed_is_refused() {
    let (gateway, _users) = world::start(&["limits.payload=1024"]);
    let large = vec![b'x'; 1025];
    let post = Request::post("/api/v1/topics/a", large.clone());
    let refused = world::by(world::USERS[0], post).send(gateway.http).await;
    refused.assert_problem(413, "payload-too-large");
    let chunked = b"401\r\n".iter().chain(&large).chain(b"\r\n0\r\n\r\n");
    let chunked = Request::post("/api/v1/topics/a", chunked.copied().collect::<Vec<_>>())
        .header("Transfer-Encoding", "chunked");
    let refused = world::by(world::USERS[0], chunked).send(gateway.http).await;
    refused.assert_problem(413, "payload-too-large");
    for (path, kind) in [
        ("/api/v1/topics/a", "text/plain"),
        ("/api/v1/messages", "application/json"),
        ("/api/v1/messages", "application/x-ndjson"),
        ("/auth/tickets", "application/json"),
        ("/auth/session", "application/json"),
    ] {
        // a thousand times as large unpacked, who knows
        let packed = Request::post(path, [0x1F, 0x8B, 8, 0].as_slice())
            .header("Content-Type", kind)
            .header("Content-Encoding", "gzip");
        let refused = world::by(world::USERS[0], packed).send(gateway.http).await;
        refused.assert_problem(415, "media-type-unsupported");
        assert_eq!(refused.header("accept-encoding"), Some("identity"));
    }
}
