//! Handshakes that come to nothing must cost nobody else anything.

use std::{
    io::ErrorKind,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    certs::{Certs, borrowed},
    client::{connect, ended, open_session, ping},
    support::{gateway::Gateway, within},
};

fn started(certs: &Certs, further: &[&str]) -> Gateway {
    let arguments = [certs.beside("mqtt.tls"), certs.beside("http.tls")].concat();
    Gateway::start(&[&borrowed(&arguments), further].concat())
}

#[tokio::test]
async fn those_who_never_finish_a_handshake_keep_nobody_out_and_are_dropped_in_time() {
    let certs = Certs::new();
    let gateway = started(&certs, &["--set", "mqtt.connect_timeout=5s"]);
    let port = gateway.port("mqtts");
    let begun = Instant::now();
    let mut stalled = Vec::new();
    for at in 0..300 {
        let mut stream = TcpStream::connect(("127.0.0.1", port))
            .await
            .expect("connected");
        // some say nothing, some begin a record that they never finish
        if at % 2 == 0 {
            stream
                .write_all(&[0x16, 3, 1, 2, 0, 1])
                .await
                .expect("written");
        }
        stalled.push(stream);
    }
    let mut client = connect(&certs, port).await.expect("TLS");
    open_session(&mut client, "prompt")
        .await
        .expect("a session");
    for stream in &stalled {
        let read = stream.try_read(&mut [0; 1]);
        let waits = read.is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
        assert!(waits, "the session came before the others' time was over");
    }
    for mut stream in stalled {
        ended(&mut stream).await;
    }
    assert!(
        begun.elapsed() >= Duration::from_secs(5),
        "they had their time"
    );
    gateway.refused_at_least("timeout", 300).await;
    ping(&mut client).await;
}

#[tokio::test]
async fn the_time_for_connect_includes_the_handshake() {
    let certs = Certs::new();
    let gateway = started(&certs, &["--set", "mqtt.connect_timeout=1s"]);
    let mut stream = connect(&certs, gateway.port("mqtts")).await.expect("TLS");
    ended(&mut stream).await;
    gateway.logs("no CONNECT in time").await;
}

#[tokio::test]
async fn more_handshakes_than_are_served_at_a_time_push_out_the_oldest_not_the_newest() {
    let certs = Certs::new();
    let gateway = started(&certs, &["--set", "mqtt.connect_timeout=60s"]);
    let port = gateway.port("mqtts");
    let mut oldest = TcpStream::connect(("127.0.0.1", port))
        .await
        .expect("connected");
    let mut crowd = Vec::new();
    for _ in 0..1030 {
        crowd.push(
            TcpStream::connect(("127.0.0.1", port))
                .await
                .expect("connected"),
        );
    }
    ended(&mut oldest).await;
    let mut client = connect(&certs, port).await.expect("TLS");
    open_session(&mut client, "late").await.expect("a session");
}

#[tokio::test]
async fn garbage_on_a_port_for_tls_costs_nobody_anything() {
    let certs = Certs::new();
    let gateway = started(&certs, &[]);
    let mut neighbour = connect(&certs, gateway.port("mqtts")).await.expect("TLS");
    open_session(&mut neighbour, "neighbour")
        .await
        .expect("a session");
    let record = [0x16, 3, 1, 0, 4, 1, 0, 0, 0];
    let zeros = [0; 70_000];
    for name in ["mqtts", "https"] {
        for garbage in [
            &b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"[..],
            b"\x10\x0c\0\x04MQTT\x04\x02\0\x3c\0\0",
            &[0xff; 4096],
            &zeros,
            &record,
            b"\x16\x03\x01\xff\xff",
            b"",
        ] {
            let mut stream = TcpStream::connect(("127.0.0.1", gateway.port(name)))
                .await
                .expect("connected");
            // it may be closed while this is being written
            let _ = stream.write_all(garbage).await;
            let _ = stream.shutdown().await;
            ended(&mut stream).await;
        }
    }
    ping(&mut neighbour).await;
    gateway.refused_at_least("tls", 8).await;
}

#[tokio::test]
async fn whoever_shakes_hands_and_then_says_nothing_is_dropped_in_both_versions_of_http() {
    let certs = Certs::new();
    let gateway = started(&certs, &[]);
    for alpn in [&["h2"][..], &["http/1.1"]] {
        let connector = crate::client::Connector {
            certs: &certs,
            certificate: None,
            alpn,
        };
        let mut stream = connector.connect(gateway.port("https")).await.expect("TLS");
        let begun = Instant::now();
        let mut heard = Vec::new();
        // HTTP/2 begins with the gateway's settings; whatever comes, an end does
        let _ = within("the end", stream.read_to_end(&mut heard)).await;
        assert!(begun.elapsed() < Duration::from_secs(20), "{alpn:?}");
    }
}
