//! A gateway with every kind of listener, where nobody has more than a second, and somebody who comes in by each of them.

use crate::support::{gateway::Gateway, http::Request, mqtt::Client, wire::Opening, within};
use futures_util::future::join_all;
use std::{net::SocketAddr, process::Command, sync::Arc};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UnixStream},
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, RootCertStore,
        pki_types::{CertificateDer, ServerName, pem::PemObject},
    },
};

/// What a gateway may take more of while all of these are on.
pub const ROOM: u64 = 64 * 1024 * 1024;

/// How many dawdle at a time.
pub fn crowd() -> usize {
    match std::env::var_os("TIDEGATE_TEST_LONG") {
        Some(_) => 500,
        None => 50,
    }
}

/// A gateway with every kind of listener.
pub struct Doors {
    pub gateway: Gateway,
    folder: tempfile::TempDir,
}

impl Doors {
    /// Every kind of listener, and nobody has more than a second.
    pub fn open() -> Self {
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

    pub fn address(&self, name: &str) -> SocketAddr {
        self.gateway.listening(name).parse().expect("an address")
    }

    /// A connection over TLS, for one of these protocols.
    pub async fn over_tls(&self, name: &str, protocols: &[&str]) -> TlsStream<TcpStream> {
        let mut roots = RootCertStore::empty();
        let authority = self.folder.path().join("certs/ca.pem");
        let authority = CertificateDer::from_pem_file(authority).expect("a certificate");
        roots.add(authority).expect("a CA");
        let mut config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let protocols = protocols.iter().map(|name| name.as_bytes().to_vec());
        config.alpn_protocols = protocols.collect();
        let stream = TcpStream::connect(self.address(name)).await;
        let host = ServerName::try_from("localhost").expect("a name");
        let connector = TlsConnector::from(Arc::new(config));
        let connected = connector.connect(host, stream.expect("it accepts"));
        within("TLS", connected).await.expect("TLS")
    }

    /// Asks over TLS, and reads the first bytes of the answer.
    async fn ask_over_tls(&self, name: &str, question: &[u8]) -> Vec<u8> {
        let mut stream = self.over_tls(name, &[]).await;
        stream.write_all(question).await.expect("it reads");
        let mut answer = vec![0; 4];
        let read = within("an answer", stream.read_exact(&mut answer)).await;
        read.expect("an answer");
        answer
    }

    /// Somebody in no hurry but quick enough comes in by every door.
    pub async fn are_passed_by_others(&self) {
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
    pub async fn withstand(&self, what: &str, dawdlers: impl Future<Output = Vec<()>>) {
        self.withstand_within(ROOM, what, dawdlers).await;
    }

    /// As above, with so much room for all of them.
    pub async fn withstand_within(
        &self,
        room: u64,
        what: &str,
        dawdlers: impl Future<Output = Vec<()>>,
    ) {
        let before = self.gateway.resident();
        self.gateway.forget_peak();
        let others = self.are_passed_by_others();
        let ((), dropped) = tokio::join!(others, within(what, dawdlers));
        assert_eq!(dropped.len(), crowd());
        let peak = self.gateway.peak();
        assert!(peak < before + room, "{what}: {before} to {peak} bytes");
        self.are_passed_by_others().await;
    }
}

/// A crowd of these.
pub fn all<F: Future<Output = ()>>(one: impl Fn() -> F) -> impl Future<Output = Vec<()>> {
    join_all((0..crowd()).map(|_| one()))
}
