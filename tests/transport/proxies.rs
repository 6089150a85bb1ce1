//! PROXY headers, in front of MQTT, HTTP and TLS.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

use crate::{
    certs::{Certs, borrowed},
    client::{ended, open_session},
    program::run,
    support::{gateway::Gateway, http::Request, within},
};

/// Proxies are on 127.0.0.2; everybody else is a stranger.
const SETTINGS: &[&str] = &[
    "--set",
    "mqtt.proxy_protocol=true",
    "--set",
    "mqtt.trusted_proxies=127.0.0.2",
    "--set",
    "http.proxy_protocol=true",
    "--set",
    "http.trusted_proxies=127.0.0.2",
    "--set",
    "log.level=debug",
];

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = (block.len() as u16).to_be_bytes();
    [SIGNATURE, &[command, family], &length, block].concat()
}

/// 203.0.113.9:40000 to 192.0.2.1:1883.
const FOUR: [u8; 12] = [203, 0, 113, 9, 192, 0, 2, 1, 0x9c, 0x40, 0x07, 0x5b];

/// A connection from 127.0.0.x.
async fn from(host: u8, port: u16) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(([127, 0, 0, host], 0).into()).expect("bound");
    let connected = socket.connect(([127, 0, 0, 1], port).into());
    within("a connection", connected).await.expect("connected")
}

#[tokio::test]
async fn a_trusted_proxy_names_the_client_and_its_name_is_what_is_logged() {
    let gateway = Gateway::start(SETTINGS);
    for (client, header, peer) in [
        (
            "v1-four",
            b"PROXY TCP4 203.0.113.9 192.0.2.1 40001 1883\r\n".to_vec(),
            "203.0.113.9:40001",
        ),
        (
            "v1-six",
            b"PROXY TCP6 2001:db8::9 ::1 40002 1883\r\n".to_vec(),
            "[2001:db8::9]:40002",
        ),
        ("v1-none", b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.2:"),
        ("v2-four", v2(0x21, 0x11, &FOUR), "203.0.113.9:40000"),
        (
            "v2-more",
            v2(0x21, 0x11, &[&FOUR[..], &[4, 0, 100], &[0; 100]].concat()),
            "203.0.113.9:40000",
        ),
        ("v2-local", v2(0x20, 0x11, &FOUR), "127.0.0.2:"),
    ] {
        let mut stream = from(2, gateway.mqtt.port()).await;
        stream.write_all(&header).await.expect("written");
        open_session(&mut stream, client).await.expect("a session");
        gateway
            .logs(&format!("connected client=\"{client}\" peer={peer}"))
            .await;
    }
}

#[tokio::test]
async fn a_trusted_proxy_without_a_valid_header_is_refused() {
    let gateway = Gateway::start(SETTINGS);
    let invalid = [
        b"PROXY TCP4 203.0.113.9 192.0.2.1 40001\r\n\r\n".to_vec(),
        b"PROXY TCP4 999.0.113.9 192.0.2.1 40001 1883\r\n".to_vec(),
        format!("PROXY UNKNOWN {}\r\n", "x".repeat(100)).into_bytes(),
        crate::client::connect_packet("no-header-at-all"),
        v2(0x31, 0x11, &FOUR),
        v2(0x21, 0x11, &FOUR[..11]),
        v2(0x21, 0x11, &[0; 5000]),
        // cut off
        b"PROXY TCP4 203.0.113".to_vec(),
        v2(0x21, 0x11, &FOUR)[..20].to_vec(),
    ];
    for header in &invalid {
        let mut stream = from(2, gateway.mqtt.port()).await;
        let _ = stream.write_all(header).await;
        let _ = stream.shutdown().await;
        ended(&mut stream).await;
    }
    assert!(!gateway.log().contains("connected client"), "nobody got in");
    // read over the web listener, which has its own strangers
    gateway
        .refused_at_least("proxy-header", invalid.len() as u64)
        .await;
}

#[tokio::test]
async fn a_proxy_that_never_finishes_its_header_is_dropped_in_two_seconds() {
    let gateway = Gateway::start(SETTINGS);
    let mut stream = from(2, gateway.mqtt.port()).await;
    stream.write_all(b"PROXY TCP4 ").await.expect("written");
    let begun = std::time::Instant::now();
    ended(&mut stream).await;
    assert!(
        begun.elapsed() < std::time::Duration::from_secs(8),
        "not the time for a CONNECT"
    );
    gateway.logs("no PROXY header in time").await;
}

#[tokio::test]
async fn a_strangers_header_is_no_header_and_without_one_it_is_served_as_itself() {
    let gateway = Gateway::start(SETTINGS);
    for header in [
        b"PROXY TCP4 203.0.113.9 192.0.2.1 40001 1883\r\n".to_vec(),
        v2(0x21, 0x11, &FOUR),
    ] {
        let mut stream = from(3, gateway.mqtt.port()).await;
        let _ = stream.write_all(&header).await;
        assert!(open_session(&mut stream, "spoofer").await.is_err());
    }
    let mut stream = from(3, gateway.mqtt.port()).await;
    open_session(&mut stream, "stranger")
        .await
        .expect("a session");
    gateway
        .logs("connected client=\"stranger\" peer=127.0.0.3:")
        .await;
    assert!(!gateway.log().contains("203.0.113.9"), "{}", gateway.log());
}

#[tokio::test]
async fn the_header_comes_before_tls_and_before_http() {
    let certs = Certs::new();
    let arguments = [certs.beside("mqtt.tls"), certs.beside("http.tls")].concat();
    let gateway = Gateway::start(&[&borrowed(&arguments), SETTINGS].concat());
    let at = gateway.port("https");
    // curl speaks version 1 of it and names its own address
    let url = format!("https://localhost:{at}/nowhere?x=1");
    let ca = certs.text("ca.pem");
    for version in ["--http1.1", "--http2"] {
        let curl = [
            "-s",
            "--haproxy-protocol",
            "--interface",
            "127.0.0.2",
            "--cacert",
            &ca,
            version,
            &url,
        ];
        let said = run("curl", &curl, b"").succeeded("curl");
        assert!(said.contains("not-found"), "{said}");
    }
    let mut stream = from(2, gateway.http.port()).await;
    let request = b"PROXY TCP4 203.0.113.9 192.0.2.1 40001 80\r\n\
        POST /api/v1/topics/%00 HTTP/1.1\r\nHost: 192.0.2.1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.expect("written");
    let mut answer = String::new();
    within("an answer", stream.read_to_string(&mut answer))
        .await
        .expect("read");
    // the address that the client used is the gateway's own as well
    assert!(answer.contains("topic-invalid"), "{answer}");
    gateway.logs("peer=203.0.113.9:40001 kind=\"topic\"").await;
    Request::get("/healthz").send(gateway.http).await;
}
