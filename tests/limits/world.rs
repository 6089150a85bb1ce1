//! A gateway with users, and the ways in to it.

use crate::support::{
    gateway::Gateway,
    http::{Request, Response},
    json_ws::{JsonSocket, PROTOCOL},
    mqtt::{Client, Link, Welcome},
    wire::{Opening, Version},
    within,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use futures_util::{SinkExt, StreamExt};
use std::{
    io::Write,
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
};
use tokio::{io::AsyncWriteExt, net::TcpStream};
use tokio_tungstenite::tungstenite::Message;

/// The users of [`start`], with these passwords.
pub const USERS: [(&str, &str); 2] = [("ann", "ann's"), ("bob", "bob's")];

/// A gateway that knows [`USERS`], with further settings, each `KEY=VALUE`.
pub fn start(settings: &[&str]) -> (Gateway, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder for the users");
    let file = folder.path().join("passwd");
    USERS.iter().for_each(|user| add(&file, user));
    (
        Gateway::start(&borrowed(&arguments(&folder, settings))),
        folder,
    )
}

/// The same gateway after a stop, with the same users.
pub fn restarted(gateway: Gateway, users: &tempfile::TempDir, settings: &[&str]) -> Gateway {
    gateway.restarted(&borrowed(&arguments(users, settings)))
}

fn arguments(users: &tempfile::TempDir, settings: &[&str]) -> Vec<String> {
    let file = users.path().join("passwd");
    let users = format!("auth.passwd_file={}", file.display());
    let all = settings.iter().map(|it| (*it).to_owned()).chain([users]);
    all.flat_map(|setting| ["--set".to_owned(), setting])
        .collect()
}

fn borrowed(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}

fn add(file: &Path, (user, password): &(&str, &str)) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .arg("passwd")
        .arg(file)
        .arg(user)
        .stdin(Stdio::piped())
        .spawn()
        .expect("the built tidegate starts");
    let mut input = child.stdin.take().expect("a pipe");
    input.write_all(password.as_bytes()).expect("it reads");
    drop(input);
    assert!(child.wait().expect("it ends").success());
}

/// A CONNECT with a user name and a password; what CONNACK says.
pub async fn mqtt(gateway: &Gateway, version: Version, user: &str, password: &str) -> u8 {
    let link = Link::tcp(gateway.mqtt).await;
    let opening = Opening::new(version, &crate::support::unique("c")).login(user, password);
    Client::open(link, &opening).await.1.code
}

/// A client of this user.
pub async fn client(gateway: &Gateway, opening: Opening, (user, password): (&str, &str)) -> Client {
    Client::tcp(gateway, &opening.login(user, password)).await
}

/// The request as of this user.
pub fn by((user, password): (&str, &str), request: Request) -> Request {
    let pair = STANDARD.encode(format!("{user}:{password}"));
    request.header("Authorization", &format!("Basic {pair}"))
}

/// Publishing by a request.
pub async fn post(gateway: &Gateway, user: (&str, &str), topic: &str, payload: &[u8]) -> Response {
    let request = Request::post(&format!("/api/v1/topics/{topic}"), payload);
    by(user, request).send(gateway.http).await
}

/// What the gateway answers to a first frame of a JSON WebSocket that shows this token.
pub async fn token(gateway: &Gateway, token: &str) -> serde_json::Value {
    let stream = TcpStream::connect(gateway.http).await.expect("it accepts");
    let shaken = JsonSocket::shake(stream, gateway.http, Some(PROTOCOL), &[]).await;
    let (mut socket, _) = shaken.expect("the upgrade succeeds");
    let auth = serde_json::json!({"op": "auth", "token": token, "ref": 1});
    let sent = socket.send(Message::text(auth.to_string())).await;
    sent.expect("the gateway reads");
    let answer = within("an answer", socket.next()).await;
    let answer = answer.expect("a frame").expect("a frame");
    serde_json::from_str(answer.to_text().expect("text")).expect("JSON")
}

/// A JSON WebSocket of this user: what the handshake is answered with.
pub async fn json_socket(
    gateway: &Gateway,
    (user, password): (&str, &str),
) -> Result<JsonSocket, u16> {
    let stream = TcpStream::connect(gateway.http).await.expect("it accepts");
    let pair = STANDARD.encode(format!("{user}:{password}"));
    let basic = format!("Basic {pair}");
    let headers = [("authorization", basic.as_str())];
    match JsonSocket::shake(stream, gateway.http, Some(PROTOCOL), &headers).await {
        Ok((socket, _)) => Ok(JsonSocket::on(socket).await),
        Err(tokio_tungstenite::tungstenite::Error::Http(answer)) => Err(answer.status().as_u16()),
        Err(error) => panic!("{error}"),
    }
}

/// A connection of a client at this address, as a trusted proxy tells it.
pub async fn from(client: &str, gateway: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(gateway).await.expect("it accepts");
    let family = if client.contains(':') { "TCP6" } else { "TCP4" };
    let local = if client.contains(':') {
        "::1"
    } else {
        "127.0.0.1"
    };
    let header = format!("PROXY {family} {client} {local} 4000 1883\r\n");
    stream.write_all(header.as_bytes()).await.expect("it reads");
    stream
}

/// CONNECT from this address.
pub async fn open_from(client: &str, gateway: SocketAddr, opening: &Opening) -> (Client, Welcome) {
    Client::open(Link::Tcp(from(client, gateway).await), opening).await
}
