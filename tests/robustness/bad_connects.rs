//! Connections that do not begin as they should: with no CONNECT, a wrong one, or one that never ends.

use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    canary::Canary,
    support::{
        gateway::Gateway,
        mqtt::{Client, Link},
        wire::{self, Opening, PUBACK, Packet, Publish, Version},
        within,
    },
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_does_not_begin_with_connect_is_closed_without_a_word() {
    let gateway = Gateway::shared();
    let mut canary = Canary::perched(&gateway).await;
    for bytes in [
        wire::pingreq(),
        wire::publish(Version::V311, &Publish::new("a", "x", 0)),
        wire::subscribe(Version::V311, 1, &[("#", 0)], &Default::default()),
        wire::ack(PUBACK, 1),
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        vec![0xFF; 64],
        vec![0x10, 0xFF, 0xFF, 0xFF, 0x7F],
        vec![0x10, 0x00],
    ] {
        let mut stream = TcpStream::connect(gateway.mqtt)
            .await
            .expect("the gateway accepts");
        let _ = stream.write_all(&bytes).await;
        let mut answer = vec![];
        let _ = within("a close", stream.read_to_end(&mut answer)).await;
        // a CONNACK of refusal is allowed where the first packet at least tried to be a CONNECT
        let refusal = answer.first() == Some(&0x20) && bytes[0] == 0x10;
        assert!(
            answer.is_empty() || refusal,
            "{bytes:02x?} was answered {answer:02x?}"
        );
        canary.sing().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_connects_are_refused() {
    let gateway = Gateway::shared();
    let connect = |version: u8, flags: u8, tail: &[u8]| {
        let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', version, flags, 0, 0];
        body.extend_from_slice(tail);
        wire::packet(0x10, &body)
    };
    for (what, version, bytes) in [
        (
            "the reserved flag",
            Version::V311,
            connect(4, 0x03, &[0, 1, b'x']),
        ),
        (
            "will QoS 3",
            Version::V311,
            connect(4, 0x1E, &[0, 1, b'x', 0, 1, b't', 0, 0]),
        ),
        (
            "will QoS without a will",
            Version::V311,
            connect(4, 0x0A, &[0, 1, b'x']),
        ),
        (
            "will retain without a will",
            Version::V311,
            connect(4, 0x22, &[0, 1, b'x']),
        ),
        (
            "password without a user name in 3.1.1",
            Version::V311,
            connect(4, 0x42, &[0, 1, b'x', 0, 1, b'p']),
        ),
        (
            "a missing client identifier",
            Version::V311,
            connect(4, 0x02, &[]),
        ),
        (
            "bytes after the end",
            Version::V311,
            connect(4, 0x02, &[0, 1, b'x', 9, 9]),
        ),
        (
            "invalid UTF-8 in the identifier",
            Version::V311,
            connect(4, 0x02, &[0, 1, 0xFF]),
        ),
        (
            "a wildcard in the will topic",
            Version::V311,
            connect(4, 0x06, &[0, 1, b'x', 0, 1, b'#', 0, 0]),
        ),
        ("flags in the fixed header", Version::V311, {
            let mut b = connect(4, 2, &[0, 1, b'x']);
            b[0] = 0x11;
            b
        }),
        (
            "receive maximum 0",
            Version::V5,
            connect(5, 2, &[3, 0x21, 0, 0, 0, 1, b'x']),
        ),
        (
            "maximum packet size 0",
            Version::V5,
            connect(5, 2, &[5, 0x27, 0, 0, 0, 0, 0, 1, b'x']),
        ),
        (
            "an unknown property",
            Version::V5,
            connect(5, 2, &[2, 0x7F, 0, 0, 1, b'x']),
        ),
        (
            "authentication data without a method",
            Version::V5,
            connect(5, 2, &[4, 0x16, 0, 1, 1, 0, 1, b'x']),
        ),
        (
            "a property twice",
            Version::V5,
            connect(5, 2, &[10, 0x11, 0, 0, 0, 1, 0x11, 0, 0, 0, 1, 0, 1, b'x']),
        ),
        (
            "request problem information 2",
            Version::V5,
            connect(5, 2, &[2, 0x17, 2, 0, 1, b'x']),
        ),
        (
            "an unknown authentication method",
            Version::V5,
            connect(5, 2, &[4, 0x15, 0, 1, b'm', 0, 1, b'x']),
        ),
    ] {
        let mut client = Client::on(Link::tcp(gateway.mqtt).await, version);
        client.send(&bytes).await;
        match client.next().await {
            None => {}
            Some(Packet::Connack {
                session_present: false,
                code,
                ..
            }) => {
                assert!(
                    if version == Version::V5 {
                        code >= 0x80
                    } else {
                        (1..=5).contains(&code)
                    },
                    "{what}: {code}"
                );
                assert_eq!(client.next().await, None, "{what}");
            }
            other => panic!("{what}: {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connect_that_dribbles_in_is_cut_off() {
    let gateway = Gateway::shared();
    let mut canary = Canary::perched(&gateway).await;
    let mut dripping = TcpStream::connect(gateway.mqtt)
        .await
        .expect("the gateway accepts");
    let mut silent = TcpStream::connect(gateway.mqtt)
        .await
        .expect("the gateway accepts");
    let since = Instant::now();
    let mut bytes = Opening::v311("dribble").encode();
    bytes.extend([0; 64]);
    let dribble = async {
        for byte in bytes {
            if dripping.write_all(&[byte]).await.is_err() || is_over(&mut dripping).await {
                return since.elapsed();
            }
            tokio::time::sleep(Duration::from_millis(800)).await;
        }
        panic!("a dribbling CONNECT was never cut off")
    };
    let wait = async {
        let mut answer = vec![];
        let _ = within(
            "the silent one to be closed",
            silent.read_to_end(&mut answer),
        )
        .await;
        since.elapsed()
    };
    let (dribbled, waited) = tokio::join!(dribble, wait);
    for lasted in [dribbled, waited] {
        assert!(
            lasted < Duration::from_secs(15),
            "CONNECT has ten seconds, not {lasted:?}"
        );
    }
    canary.sing().await;
}

/// Whether the peer has closed, or answered before the CONNECT was whole; asked without waiting.
async fn is_over(stream: &mut TcpStream) -> bool {
    let mut byte = [0];
    tokio::time::timeout(Duration::from_millis(1), stream.read(&mut byte))
        .await
        .is_ok()
}
