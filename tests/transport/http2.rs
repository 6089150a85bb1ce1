//! HTTP/2 from a client that means no good: raw frames (RFC 9113).

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    certs::{Certs, borrowed},
    client::{Connector, Tls},
    support::{gateway::Gateway, within},
};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

const REFUSED_STREAM: u32 = 7;
const ENHANCE_YOUR_CALM: u32 = 11;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// GET of a path, in HPACK without a table: indexed :method and :scheme, literal :path and :authority.
fn get(path: &str) -> Vec<u8> {
    request(0x82, path)
}

fn request(method: u8, path: &str) -> Vec<u8> {
    let literal = |index: u8, text: &str| [&[index, text.len() as u8], text.as_bytes()].concat();
    [
        vec![method, 0x87],
        literal(0x04, path),
        literal(0x01, "localhost"),
    ]
    .concat()
}

struct Http2 {
    stream: Tls,
}

/// One frame, as it came.
struct Frame {
    kind: u8,
    stream: u32,
    payload: Vec<u8>,
}

impl Frame {
    /// The error code of a RST_STREAM, or of a GOAWAY.
    fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().expect("four bytes"))
    }
}

impl Http2 {
    async fn open(certs: &Certs, gateway: &Gateway) -> Self {
        let connector = Connector {
            certs,
            certificate: None,
            alpn: &["h2"],
        };
        let connected = connector.connect(gateway.port("https"));
        let mut stream = within("TLS", connected).await.expect("TLS");
        let preface = [
            &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..],
            &frame(SETTINGS, 0, 0, &[]),
        ]
        .concat();
        stream.write_all(&preface).await.expect("written");
        Http2 { stream }
    }

    async fn say(&mut self, bytes: &[u8]) {
        // it may be closed in the middle
        let _ = self.stream.write_all(bytes).await;
        let _ = self.stream.flush().await;
    }

    /// The next frame; `None` at the end.
    async fn next(&mut self) -> Option<Frame> {
        within("a frame", async {
            let mut head = [0; 9];
            self.stream.read_exact(&mut head).await.ok()?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let mut payload = vec![0; length];
            self.stream.read_exact(&mut payload).await.ok()?;
            let stream = u32::from_be_bytes(head[5..9].try_into().ok()?);
            Some(Frame {
                kind: head[3],
                stream,
                payload,
            })
        })
        .await
    }

    /// The next frame of this kind, or `None` if the connection ends before.
    async fn next_of(&mut self, kind: u8) -> Option<Frame> {
        loop {
            let frame = self.next().await?;
            if frame.kind == kind {
                return Some(frame);
            }
        }
    }
}

fn started(certs: &Certs) -> Gateway {
    Gateway::start(&borrowed(&certs.beside("http.tls")))
}

/// A well-behaved client is served.
async fn is_well(certs: &Certs, gateway: &Gateway) {
    let mut client = Http2::open(certs, gateway).await;
    client
        .say(&frame(
            HEADERS,
            END_STREAM | END_HEADERS,
            1,
            &get("/healthz"),
        ))
        .await;
    let data = client.next_of(DATA).await.expect("an answer");
    assert_eq!(data.stream, 1);
}

#[tokio::test]
async fn a_stream_shares_its_connection_with_other_requests() {
    let certs = Certs::new();
    let gateway = started(&certs);
    let mut client = Http2::open(&certs, &gateway).await;
    let stream = get("/api/v1/stream?topic=many/%2B");
    let stream = frame(HEADERS, END_STREAM | END_HEADERS, 1, &stream);
    client.say(&stream).await;
    let mut heard = String::new();
    while !heard.contains("event: ready") {
        let data = client.next_of(DATA).await.expect("the stream");
        heard.push_str(&String::from_utf8_lossy(&data.payload));
    }
    for number in 0..40 {
        let post = request(0x83, &format!("/api/v1/topics/many/{number}"));
        let id = 3 + 2 * number;
        client.say(&frame(HEADERS, END_HEADERS, id, &post)).await;
        client.say(&frame(DATA, END_STREAM, id, b"x")).await;
    }
    let mut answered = 0;
    let all = |heard: &str| (0..40).all(|number| heard.contains(&format!("\"many/{number}\"")));
    while answered < 40 || !all(&heard) {
        let data = client.next_of(DATA).await.expect("the stream and answers");
        match data.stream {
            1 => heard.push_str(&String::from_utf8_lossy(&data.payload)),
            _ => answered += usize::from(!data.payload.is_empty()),
        }
    }
    // taken back, it is over, and the connection is not
    client
        .say(&frame(RST_STREAM, 0, 1, &8u32.to_be_bytes()))
        .await;
    let last = frame(HEADERS, END_STREAM | END_HEADERS, 99, &get("/healthz"));
    client.say(&last).await;
    let data = client.next_of(DATA).await.expect("an answer");
    assert_eq!(data.stream, 99);
}

#[tokio::test]
async fn a_flood_of_requests_that_are_taken_back_at_once_ends_its_connection() {
    let certs = Certs::new();
    let gateway = started(&certs);
    let mut attacker = Http2::open(&certs, &gateway).await;
    let mut flood = Vec::new();
    for stream in (1..20_000).step_by(2) {
        flood.extend(frame(
            HEADERS,
            END_STREAM | END_HEADERS,
            stream,
            &get("/healthz"),
        ));
        flood.extend(frame(RST_STREAM, 0, stream, &8u32.to_be_bytes()));
    }
    attacker.say(&flood).await;
    let goodbye = attacker.next_of(GOAWAY).await;
    assert!(goodbye.is_none_or(|frame| frame.code() == ENHANCE_YOUR_CALM));
    is_well(&certs, &gateway).await;
}

#[tokio::test]
async fn so_many_requests_are_open_at_a_time_and_no_more() {
    let certs = Certs::new();
    let gateway = started(&certs);
    let mut greedy = Http2::open(&certs, &gateway).await;
    let settings = greedy
        .next_of(SETTINGS)
        .await
        .expect("the gateway's settings");
    let told = settings
        .payload
        .chunks(6)
        .find(|entry| entry[..2] == [0, 3]);
    assert_eq!(
        told.expect("MAX_CONCURRENT_STREAMS")[2..],
        256u32.to_be_bytes()
    );
    let told = settings
        .payload
        .chunks(6)
        .find(|entry| entry[..2] == [0, 6]);
    assert_eq!(
        told.expect("MAX_HEADER_LIST_SIZE")[2..],
        (16 * 1024u32).to_be_bytes()
    );
    let mut requests = Vec::new();
    let streams = get("/api/v1/stream?topic=a");
    for stream in (1..=513).step_by(2) {
        requests.extend(frame(HEADERS, END_STREAM | END_HEADERS, stream, &streams));
    }
    greedy.say(&requests).await;
    let refused = greedy.next_of(RST_STREAM).await.expect("one is refused");
    assert_eq!((refused.stream, refused.code()), (513, REFUSED_STREAM));
    is_well(&certs, &gateway).await;
}

#[tokio::test]
async fn headers_without_an_end_and_pings_without_a_reader_are_bounded() {
    let certs = Certs::new();
    let gateway = started(&certs);
    let resident = gateway.resident();
    // one request whose header never ends
    let mut endless = Http2::open(&certs, &gateway).await;
    let field = [&[0x00, 3][..], b"x-y", &[100], &[b'z'; 100]].concat();
    let block: Vec<u8> = field
        .iter()
        .copied()
        .cycle()
        .take(field.len() * 150)
        .collect();
    endless.say(&frame(HEADERS, END_STREAM, 1, &get("/"))).await;
    for _ in 0..2000 {
        endless.say(&frame(CONTINUATION, 0, 1, &block)).await;
    }
    // whatever is said, the connection ends or the request does
    while let Some(frame) = endless.next().await {
        if matches!(frame.kind, GOAWAY | RST_STREAM) {
            break;
        }
    }
    // pings whose answers nobody reads
    let mut deaf = Http2::open(&certs, &gateway).await;
    let pings: Vec<u8> = (0..1000).flat_map(|_| frame(PING, 0, 0, &[0; 8])).collect();
    let flooding = async {
        for _ in 0..300 {
            deaf.say(&pings).await;
        }
    };
    let _ = tokio::time::timeout(std::time::Duration::from_secs(5), flooding).await;
    is_well(&certs, &gateway).await;
    let grown = gateway.resident().saturating_sub(resident);
    assert!(grown < 64 << 20, "{grown} bytes");
}

#[tokio::test]
async fn a_websocket_over_http2_is_told_where_websockets_are() {
    let certs = Certs::new();
    let gateway = started(&certs);
    let mut client = Http2::open(&certs, &gateway).await;
    client
        .say(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &get("/mqtt")))
        .await;
    let answer = client.next_of(DATA).await.expect("an answer");
    let text = String::from_utf8_lossy(&answer.payload).into_owned();
    assert!(text.contains("upgrade-required"), "{text}");
}
