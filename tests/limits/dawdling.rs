//! Whoever takes his time: one byte every tenth of a second, on every kind of listener. All of them are dropped at their
//! deadline, and meanwhile others come in.

use crate::{
    support::{
        gateway::Gateway,
        http::Request,
        json_ws::{JsonSocket, PROTOCOL},
        mqtt::{Client, Link},
        wire::{Opening, Version, packet},
        within,
    },
    world,
};
use futures_util::future::join_all;
use std::{net::SocketAddr, process::Command, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, UnixStream},
};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        pki_types::{CertificateDer, ServerName, pem::PemObject},
    },
};

/// What a gateway may take more of while all of these are on.
const ROOM: u64 = 64 * 1024 * 1024;

fn crowd() -> usize {
    match std::env::var_os("TIDEGATE_TEST_LONG") {
        Some(_) => 500,
        None => 50,
    }
}

struct Doors {
    gateway: Gateway,
    folder: tempfile::TempDir,
}

impl Doors {
    /// Every kind of listener, and nobody has more than a second.
    fn open() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let certificates = folder.path().join("certs");
        let made = Command::new(env!("CARGO_BIN_EXE_tidegate"))
            .arg("dev-certs")
            .arg("--out")
            .arg(&certificates)
            .output();
        assert!(made.expect("the built tidegate starts").status.success());
        let mut settings = vec![
            "mqtt.connect_timeout=1s".to_owned(),
            "http.head_timeout=1s".to_owned(),
            "http.body_timeout=1s".to_owned(),
            format!("mqtt.unix={}", folder.path().join("mqtt").display()),
        ];
        for section in ["mqtt", "http"] {
            let file = |name: &str| certificates.join(name).display().to_string();
            settings.push(format!("{section}.tls.bind=127.0.0.1:0"));
            settings.push(format!("{section}.tls.cert={}", file("server.pem")));
            settings.push(format!("{section}.tls.key={}", file("server-key.pem")));
        }
        let arguments: Vec<&str> = settings
            .iter()
            .flat_map(|setting| ["--set", setting.as_str()])
            .collect();
        Doors {
            gateway: Gateway::start(&arguments),
            folder,
        }
    }

    fn address(&self, name: &str) -> SocketAddr {
        self.gateway.listening(name).parse().expect("an address")
    }

    /// Asks over TLS, and reads the first bytes of the answer.
    async fn ask_over_tls(&self, name: &str, question: &[u8]) -> Vec<u8> {
        let mut roots = RootCertStore::empty();
        let authority = self.folder.path().join("certs/ca.pem");
        let authority = CertificateDer::from_pem_file(authority).expect("a certificate");
        roots.add(authority).expect("a CA");
        let config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = TcpStream::connect(self.address(name)).await;
        let host = ServerName::try_from("localhost").expect("a name");
        let connector = TlsConnector::from(Arc::new(config));
        let connected = connector.connect(host, stream.expect("it accepts"));
        let mut stream = within("TLS", connected).await.expect("TLS");
        stream.write_all(question).await.expect("it reads");
        let mut answer = vec![0; 4];
        let read = within("an answer", stream.read_exact(&mut answer)).await;
        read.expect("an answer");
        answer
    }

    /// Somebody in no hurry but quick enough comes in by every door.
    async fn are_passed_by_others(&self) {
        let connect = Opening::v311("good").encode();
        let request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let mut client = Client::tcp(&self.gateway, &Opening::v5("tcp")).await;
        client.ping().await;
        let mut client = Client::websocket(&self.gateway, &Opening::v5("ws")).await;
        client.ping().await;
        let health = Request::get("/healthz").send(self.gateway.http).await;
        assert_eq!(health.status, 200);
        assert_eq!(self.ask_over_tls("mqtts", &connect).await, [0x20, 2, 0, 0]);
        assert_eq!(self.ask_over_tls("https", request).await, b"HTTP");
        let unix = UnixStream::connect(self.gateway.listening("mqtt-unix")).await;
        let mut unix = unix.expect("it accepts");
        unix.write_all(&connect).await.expect("it reads");
        let mut answer = [0; 4];
        unix.read_exact(&mut answer).await.expect("CONNACK");
        assert_eq!(answer, [0x20, 2, 0, 0]);
    }

    /// All of `dawdlers` are dropped, and meanwhile others come in and memory stays.
    async fn withstand(&self, what: &str, dawdlers: impl Future<Output = Vec<()>>) {
        let before = self.gateway.resident();
        let good = async {
            self.are_passed_by_others().await;
            self.gateway.resident()
        };
        let (meanwhile, dropped) = tokio::join!(good, within(what, dawdlers));
        assert_eq!(dropped.len(), crowd());
        assert!(
            meanwhile < before + ROOM,
            "{what}: {before} to {meanwhile} bytes"
        );
        self.are_passed_by_others().await;
    }
}

/// Says `begin` at once and then the rest of `bytes` and zeros one by one, until it is dropped.
async fn drip<S: AsyncRead + AsyncWrite + Unpin>(stream: S, begin: &[u8], bytes: &[u8]) {
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

fn all<F: Future<Output = ()>>(one: impl Fn() -> F) -> impl Future<Output = Vec<()>> {
    join_all((0..crowd()).map(|_| one()))
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
    assert!(doors.gateway.refused("timeout").await >= 3 * crowd() as u64);
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
    assert!(gateway.refused("timeout").await >= crowd() as u64);
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
