//! W16: addresses that the gateway asks are the operator's, whatever others write.

use crate::{
    setup,
    support::{
        gateway::Gateway,
        http::Request,
        json_ws::JsonSocket,
        mqtt::{Client, Link},
        wire::{Opening, Version},
        within,
    },
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use serde_json::{Value, json};
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
};

/// A place that notes everything that is said to it, and answers with an empty set of keys.
async fn listener() -> (SocketAddr, UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (heard, told) = unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = [0; 4096];
            let length = stream.read(&mut head).await.unwrap_or(0);
            let _ = heard.send(String::from_utf8_lossy(&head[..length]).into_owned());
            let answer =
                "HTTP/1.1 200 OK\r\nContent-Length: 11\r\nConnection: close\r\n\r\n{\"keys\":[]}";
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    (address, told)
}

fn token(algorithm: Algorithm, header: &Value) -> String {
    let mut head = header.clone();
    head["alg"] = json!(algorithm);
    // it ends in 2096
    let claims = json!({"sub": "u0", "aud": "tidegate", "exp": 4_000_000_000_u64});
    let [head, claims] = [head, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
    let message = format!("{head}.{claims}");
    // a signature that is good under the secret, and under no key of a set
    let key = EncodingKey::from_secret(setup::KEY.as_bytes());
    let signature = crypto::sign(message.as_bytes(), &key, Algorithm::HS256).expect("signed");
    format!("{message}.{signature}")
}

/// Shows a token at every way in.
async fn show(gateway: &Gateway, token: &str) -> u16 {
    let topics = Request::get("/api/v1/messages?topic=u0/a")
        .header("Authorization", &format!("Bearer {token}"));
    let status = topics.send(gateway.http).await.status;
    Request::post("/auth/session", json!({"token": token}).to_string())
        .header("Content-Type", "application/json")
        .send(gateway.http)
        .await;
    let mut socket = JsonSocket::unwelcomed(gateway.http).await;
    socket
        .say(json!({"op": "auth", "token": token}).to_string())
        .await;
    let _ = socket.next_or_close().await;
    let opening = Opening::new(Version::V5, "fetching").login("u0", token);
    Client::open(Link::tcp(gateway.mqtt).await, &opening).await;
    let link = Link::websocket(gateway.http, Version::V5).await;
    Client::open(link, &opening).await;
    status
}

/// W16: what a token names is not asked; the operator's set is, because of a key that is not known, and nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_header_of_a_token_makes_the_gateway_connect_anywhere() {
    let (issuer, mut asked) = listener().await;
    let (strange, mut heard) = listener().await;
    let keys = format!(
        "auth.jwt=[{{algorithms=[\"HS256\"],secret={:?},audience=\"tidegate\"}},\
         {{algorithms=[\"RS256\"],jwks_url=\"http://{issuer}/keys\",audience=\"tidegate\"}}]",
        setup::KEY
    );
    let (gateway, _folder) = setup::guarded(&["--set", &keys]);
    // at its start it asks by itself
    let first = within("the set to be asked for", asked.recv()).await;
    assert!(first.expect("heard").starts_with("GET /keys HTTP/1.1\r\n"));

    let there = format!("http://{strange}/keys");
    let headers: Vec<Value> = vec![
        json!({"jku": there}),
        json!({"x5u": there}),
        json!({"kid": there}),
        json!({"kid": format!("../../keys?at={there}")}),
        json!({"jwk": {"kty": "RSA", "n": "AQAB", "e": "AQAB", "x5u": there}}),
        json!({"jku": there, "x5u": there, "kid": there, "jwk": {"jku": there}, "x5c": [there]}),
        json!({"jku": format!("https://{strange}/keys"), "kid": "new"}),
        json!({"jku": there, "iss": there, "crit": ["jku"]}),
        json!({"typ": there, "cty": there, "url": there, "p2s": there}),
    ];
    let shown = Arc::new(AtomicUsize::new(0));
    let count = shown.clone();
    let showing = async {
        loop {
            for header in &headers {
                show(&gateway, &token(Algorithm::HS256, header)).await;
                let status = show(&gateway, &token(Algorithm::RS256, header)).await;
                assert_eq!(status, 401, "{header}");
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    // a key that is not known is looked for again in the set, but not at once
    let again = async {
        loop {
            let again = asked.recv().await.expect("heard");
            assert!(again.starts_with("GET /keys HTTP/1.1\r\n"), "{again}");
            assert!(!again.contains(&strange.to_string()), "{again}");
            if shown.load(Ordering::Relaxed) >= headers.len() {
                return;
            }
        }
    };
    within("the set to be asked for because of a token", async {
        tokio::select! { () = showing => {}, () = again => {} }
    })
    .await;

    // an address that is only passed over leaves a good token good
    assert_eq!(
        show(&gateway, &token(Algorithm::HS256, &headers[0])).await,
        200
    );
    // the first that comes to the place which all of them named is this
    let mut marker = TcpStream::connect(strange).await.expect("it listens");
    marker.write_all(b"the marker").await.expect("written");
    let heard = within("the marker", heard.recv()).await;
    assert_eq!(heard.as_deref(), Some("the marker"));
}
