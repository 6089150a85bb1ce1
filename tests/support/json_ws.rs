//! A client of the JSON WebSocket, `/api/v1/ws`.

use std::net::SocketAddr;

use base64::{Engine, engine::general_purpose::STANDARD};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{
        self, Message, client::IntoClientRequest, handshake::client::Response, http::HeaderValue,
        protocol::WebSocketConfig,
    },
};

use super::{DEADLINE, within};

/// Where it is, and what is offered there.
pub const PATH: &str = "/api/v1/ws";
pub const PROTOCOL: &str = "tidegate.v1";

/// An open conversation.
pub struct JsonSocket {
    pub socket: WebSocketStream<TcpStream>,
    /// The first frame.
    pub ready: Value,
    next_ref: u64,
}

impl JsonSocket {
    /// Connects and reads `ready`.
    pub async fn open(address: SocketAddr) -> Self {
        Self::welcomed(
            within("a connection", TcpStream::connect(address))
                .await
                .expect("it accepts"),
        )
        .await
    }

    /// As [`JsonSocket::open`], with a receive buffer as small as the kernel allows.
    pub async fn narrow(address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(2048).expect("SO_RCVBUF");
        Self::welcomed(socket.connect(address).await.expect("it accepts")).await
    }

    /// As [`JsonSocket::open`], with further headers in the handshake.
    pub async fn open_with(address: SocketAddr, headers: &[(&'static str, &str)]) -> Self {
        let stream = within("a connection", TcpStream::connect(address)).await;
        Self::welcomed_with(stream.expect("it accepts"), headers).await
    }

    /// Connects without a word about who it is, where `ready` comes only behind that.
    pub async fn unwelcomed(address: SocketAddr) -> Self {
        let stream = within("a connection", TcpStream::connect(address)).await;
        let stream = stream.expect("it accepts");
        let (socket, _) = Self::shake(stream, address, Some(PROTOCOL), &[])
            .await
            .expect("the upgrade succeeds");
        Self {
            socket,
            ready: Value::Null,
            next_ref: 0,
        }
    }

    async fn welcomed(stream: TcpStream) -> Self {
        Self::welcomed_with(stream, &[]).await
    }

    async fn welcomed_with(stream: TcpStream, headers: &[(&'static str, &str)]) -> Self {
        let address = stream.peer_addr().expect("an address");
        let (socket, response) = Self::shake(stream, address, Some(PROTOCOL), headers)
            .await
            .expect("the upgrade succeeds");
        let chosen = response.headers().get("sec-websocket-protocol");
        assert_eq!(chosen.map(|v| v.as_bytes()), Some(PROTOCOL.as_bytes()));
        assert_eq!(response.headers().get("sec-websocket-extensions"), None);
        Self::on(socket).await
    }

    /// Reads `ready` behind a handshake.
    pub async fn on(socket: WebSocketStream<TcpStream>) -> Self {
        let mut opened = Self {
            socket,
            ready: Value::Null,
            next_ref: 0,
        };
        opened.ready = opened.next().await;
        assert_eq!(opened.ready["op"], "ready", "{}", opened.ready);
        opened
    }

    /// A handshake with any offer of subprotocols and further headers.
    pub async fn shake(
        stream: TcpStream,
        address: SocketAddr,
        protocols: Option<&str>,
        headers: &[(&'static str, &str)],
    ) -> Result<(WebSocketStream<TcpStream>, Response), tungstenite::Error> {
        let mut request = format!("ws://{address}{PATH}").into_client_request()?;
        if let Some(protocols) = protocols {
            let value = HeaderValue::from_str(protocols)?;
            request
                .headers_mut()
                .insert("sec-websocket-protocol", value);
        }
        for (name, value) in headers {
            request
                .headers_mut()
                .insert(*name, HeaderValue::from_str(value)?);
        }
        stream.set_nodelay(true)?;
        let config = WebSocketConfig::default().read_buffer_size(4096);
        within(
            "the handshake",
            client_async_with_config(request, stream, Some(config)),
        )
        .await
    }

    /// Sends any text.
    pub async fn say(&mut self, text: impl Into<String>) {
        let sent = self.socket.send(Message::text(text.into()));
        within("a frame to be taken", sent)
            .await
            .expect("the gateway reads");
    }

    /// Sends an operation under a new `ref`, and returns that.
    pub async fn ask(&mut self, mut op: Value) -> u64 {
        self.next_ref += 1;
        op["ref"] = self.next_ref.into();
        self.say(op.to_string()).await;
        self.next_ref
    }

    /// Sends an operation and returns the next frame, which must be its answer.
    pub async fn answered(&mut self, op: Value) -> Value {
        let reference = self.ask(op).await;
        let answer = self.next().await;
        assert_eq!(answer["ref"], reference, "{answer}");
        answer
    }

    /// Subscribes, with further members; the number of the subscription.
    pub async fn subscribe(&mut self, topics: &[&str], members: Value) -> u64 {
        let mut op = json!({"op": "sub", "topics": topics});
        for (name, value) in members.as_object().into_iter().flatten() {
            op[name] = value.clone();
        }
        let answer = self.answered(op).await;
        assert_eq!(answer["op"], "ok", "{answer}");
        answer["sub"]
            .as_u64()
            .unwrap_or_else(|| panic!("no `sub` in {answer}"))
    }

    /// The next frame.
    pub async fn next(&mut self) -> Value {
        match self.next_or_close().await {
            Ok(frame) => frame,
            Err(code) => panic!("closed with {code}"),
        }
    }

    /// The next frame, which must be a message.
    pub async fn message(&mut self) -> Value {
        let frame = self.next().await;
        assert_eq!(frame["op"], "msg", "a message expected: {frame}");
        frame
    }

    /// The next frame, or the code the gateway closes with; 1006 if there is none.
    pub async fn next_or_close(&mut self) -> Result<Value, u16> {
        let next = tokio::time::timeout(DEADLINE, async {
            loop {
                match self.socket.next().await {
                    Some(Ok(Message::Text(text))) => {
                        let frame = serde_json::from_str(&text);
                        return Ok(frame.unwrap_or_else(|e| panic!("{e} in {text:.300}")));
                    }
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    Some(Ok(Message::Close(Some(close)))) => return Err(close.code.into()),
                    Some(Ok(other)) => panic!("not a text frame: {other:?}"),
                    Some(Err(_)) | None => return Err(1006),
                }
            }
        });
        next.await
            .unwrap_or_else(|_| panic!("waited {DEADLINE:?} in vain for a frame"))
    }

    /// Reads on until the gateway closes.
    pub async fn closed(&mut self) -> u16 {
        loop {
            if let Err(code) = self.next_or_close().await {
                return code;
            }
        }
    }
}

/// The bytes of the payload of a message.
pub fn payload(frame: &Value) -> Vec<u8> {
    let text = frame["payload"]
        .as_str()
        .unwrap_or_else(|| panic!("no payload in {frame}"));
    match frame["encoding"].as_str() {
        Some("utf8") => text.as_bytes().to_vec(),
        Some("base64") => STANDARD.decode(text).expect("padded base64"),
        other => panic!("encoding {other:?}"),
    }
}

/// Asserts that this is an `err` with a problem of the slug.
pub fn assert_err(frame: &Value, slug: &str) {
    assert_eq!(frame["op"], "err", "{frame}");
    let problem = &frame["problem"];
    let last = problem["type"]
        .as_str()
        .unwrap_or_default()
        .rsplit(['/', '#'])
        .next();
    assert_eq!(last, Some(slug), "{frame}");
    assert!(
        problem["status"].is_u64() && problem["title"].is_string(),
        "{frame}"
    );
    assert!(
        problem["detail"]
            .as_str()
            .is_some_and(|detail| !detail.is_empty()),
        "{frame}"
    );
}
