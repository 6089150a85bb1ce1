//! Keys of tokens that change on the web: whoever has a token of the new one is let in, by whatever way he shows it.

use crate::support::{
    gateway::Gateway,
    json_ws::JsonSocket,
    mqtt::{Client, Link},
    wire::{self, Opening, Packet, Value as Property, property},
    within,
};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, jwk::Jwk};
use serde_json::{Value, json};
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

/// Each has a set of keys of its own, which the gateway asks for at most every half a minute.
const ISSUERS: [&str; 3] = ["socket", "connect", "again"];

/// The key that issuers sign with at first, and the one that they sign with later.
#[derive(Clone, Copy)]
enum Key {
    Old,
    New,
}

impl Key {
    fn algorithm(self) -> Algorithm {
        match self {
            Key::Old => Algorithm::ES256,
            Key::New => Algorithm::EdDSA,
        }
    }

    fn signer(self) -> EncodingKey {
        let signer = match self {
            Key::Old => {
                EncodingKey::from_ec_pem(include_bytes!("../../src/auth/jwt/testdata/p256.pem"))
            }
            Key::New => {
                EncodingKey::from_ed_pem(include_bytes!("../../src/auth/jwt/testdata/ed25519.pem"))
            }
        };
        signer.expect("a key")
    }

    fn public(self) -> Value {
        let key = Jwk::from_encoding_key(&self.signer(), self.algorithm()).expect("a public key");
        serde_json::to_value(key).expect("JSON")
    }

    fn token(self, issuer: &str) -> String {
        // it ends in 2096
        let claims =
            json!({"iss": issuer, "sub": "alice", "aud": "tidegate", "exp": 4_000_000_000_u64});
        encode(&Header::new(self.algorithm()), &claims, &self.signer()).expect("a token")
    }
}

/// Answers with the old key, and with both once that is said.
async fn issuers() -> (SocketAddr, Arc<AtomicBool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let has_new = Arc::new(AtomicBool::new(false));
    let both = has_new.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            let keys = match both.load(Ordering::Relaxed) {
                false => vec![Key::Old.public()],
                true => vec![Key::Old.public(), Key::New.public()],
            };
            let body = json!({ "keys": keys }).to_string();
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    (address, has_new)
}

/// Whether the JSON WebSocket takes it.
async fn by_socket(gateway: &Gateway, token: &str) -> bool {
    let mut socket = JsonSocket::unwelcomed(gateway.http).await;
    let answer = socket.answered(json!({"op": "auth", "token": token})).await;
    answer["op"] == "ok"
}

/// Connects by MQTT 5's method `jwt`, if it is taken.
async fn by_connect(gateway: &Gateway, issuer: &str, token: &str) -> Option<Client> {
    let opening = Opening::v5(issuer)
        .property(
            property::AUTHENTICATION_METHOD,
            Property::Text("jwt".to_owned()),
        )
        .property(
            property::AUTHENTICATION_DATA,
            Property::Binary(token.into()),
        );
    let (client, welcome) = Client::open(Link::tcp(gateway.mqtt).await, &opening).await;
    assert!(matches!(welcome.code, 0 | 0x87), "{welcome:?}");
    (welcome.code == 0).then_some(client)
}

/// Whether somebody who is in by the old one may go on by this one.
async fn by_auth(gateway: &Gateway, issuer: &str, token: &str) -> bool {
    let client = by_connect(gateway, issuer, &Key::Old.token(issuer)).await;
    let mut client = client.expect("the old one is still good");
    client
        .send(&wire::auth(0x19, "jwt", token.as_bytes()))
        .await;
    match client.next().await {
        Some(Packet::Auth { code, .. }) => code == 0,
        Some(Packet::Disconnect { code: 0x87, .. }) => false,
        other => panic!("AUTH or DISCONNECT expected, not {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_an_issuer_begins_to_use_is_asked_for_by_every_way_in() {
    let (address, has_new) = issuers().await;
    let entries = ISSUERS.map(|issuer| {
        format!(
            "{{algorithms=[\"ES256\",\"EdDSA\"],jwks_url=\"http://{address}/{issuer}\",issuer={issuer:?},audience=\"tidegate\"}}"
        )
    });
    let entries = format!("auth.jwt=[{}]", entries.join(","));
    // how fast one may guess is not the question here
    let gateway = Gateway::start(&["--set", &entries, "--set", "auth.failed_logins=0"]);
    for issuer in ISSUERS {
        let old = Key::Old.token(issuer);
        within("the first keys", async {
            while !by_socket(&gateway, &old).await {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
        .await;
    }
    has_new.store(true, Ordering::Relaxed);
    let [socket, connect, again] = ISSUERS.map(|issuer| Key::New.token(issuer));
    // nobody asks again for a while
    let pause = || tokio::time::sleep(Duration::from_millis(50));
    let socket = async {
        while !by_socket(&gateway, &socket).await {
            pause().await;
        }
    };
    let connect = async {
        while by_connect(&gateway, ISSUERS[1], &connect).await.is_none() {
            pause().await;
        }
    };
    let again = async {
        while !by_auth(&gateway, ISSUERS[2], &again).await {
            pause().await;
        }
    };
    tokio::join!(
        within("a new key by the JSON WebSocket", socket),
        within("a new key by CONNECT", connect),
        within("a new key by AUTH", again),
    );
}
