//! Every way in times every way out: one message is the same message through each of them.
//!
//! One gateway, one set of receivers for all cells. Messages go one after the other, each receiver must see
//! exactly that sequence, and a marker after the last one proves that no second copy was on its way.

#[path = "../support/mod.rs"]
mod support;

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use futures_util::future::join_all;
use serde_json::json;
use support::{
    gateway::Gateway,
    http::{Request, encode},
    json_ws::JsonSocket,
    mqtt::{Client, Link},
    stream::{Encoding, Event, Stream},
    wire::{Opening, Properties, Publish, Value, Version, property},
};

const USER_PROPERTIES: [(&str, &str); 4] = [
    ("room", "kitchen"),
    ("Ordnung", "ä=ö"),
    ("room", "2"),
    ("empty", ""),
];
const EXPIRY: u32 = 3600;
const MARKER: &str = "doors/marker";

/// A payload of the table.
struct Payload {
    name: &'static str,
    bytes: Vec<u8>,
}

fn payloads() -> Vec<Payload> {
    let big = (0..1 << 20)
        .map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    vec![
        Payload {
            name: "text",
            bytes: "21.5 °C\r\n\"quoted\"\n".as_bytes().to_vec(),
        },
        Payload {
            name: "empty",
            bytes: vec![],
        },
        Payload {
            name: "every-byte",
            bytes: (0..=255).collect(),
        },
        Payload {
            name: "invalid-utf8",
            bytes: b"caf\xE9 \xED\xA0\x80 \xF5".to_vec(),
        },
        Payload {
            name: "1MiB",
            bytes: big,
        },
    ]
}

/// A way in.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Entry {
    Tcp(Version),
    WebSocket(Version),
    Rest,
    Json,
}

const ENTRIES: [(&str, Entry); 7] = [
    ("tcp31", Entry::Tcp(Version::V31)),
    ("tcp311", Entry::Tcp(Version::V311)),
    ("tcp5", Entry::Tcp(Version::V5)),
    ("ws311", Entry::WebSocket(Version::V311)),
    ("ws5", Entry::WebSocket(Version::V5)),
    ("rest", Entry::Rest),
    ("json", Entry::Json),
];

impl Entry {
    /// Whether this way in can say MQTT 5 properties.
    fn carries_properties(self) -> bool {
        matches!(
            self,
            Self::Tcp(Version::V5) | Self::WebSocket(Version::V5) | Self::Rest | Self::Json
        )
    }
}

/// One message of the table.
struct Sent<'a> {
    topic: String,
    payload: &'a Payload,
    qos: u8,
    retain: bool,
    /// What the way in could say of [`properties`].
    properties: Properties,
}

/// The properties that a message with this payload is published with where the way in has them.
fn properties(payload: &Payload) -> Properties {
    let is_text = std::str::from_utf8(&payload.bytes).is_ok();
    let mut all = Properties::default()
        .with(property::PAYLOAD_FORMAT, Value::Byte(u8::from(is_text)))
        .with(property::MESSAGE_EXPIRY, Value::Four(EXPIRY))
        .text(property::CONTENT_TYPE, "application/x-doors; v=1")
        .text(property::RESPONSE_TOPIC, "doors/answers/ü")
        .with(
            property::CORRELATION,
            Value::Binary(vec![0, 1, 0xFF, b'=', b'"']),
        );
    for (name, value) in USER_PROPERTIES {
        all = all.user(name, value);
    }
    all
}

/// A publisher at one of the ways in.
enum Publisher {
    Mqtt(Box<Client>),
    Rest,
    Json(Box<JsonSocket>),
}

impl Publisher {
    async fn open(gateway: &Gateway, name: &str, entry: Entry) -> Self {
        let id = format!("doors-in-{name}");
        match entry {
            Entry::Tcp(version) => Self::Mqtt(Box::new(
                Client::tcp(gateway, &Opening::new(version, &id)).await,
            )),
            Entry::WebSocket(version) => Self::Mqtt(Box::new(
                Client::websocket(gateway, &Opening::new(version, &id)).await,
            )),
            Entry::Rest => Self::Rest,
            Entry::Json => Self::Json(Box::new(JsonSocket::open(gateway.http).await)),
        }
    }

    async fn publish(&mut self, gateway: &Gateway, sent: &Sent<'_>) {
        let bytes = sent.payload.bytes.clone();
        match self {
            Self::Mqtt(client) => {
                let mut message = Publish::new(&sent.topic, bytes, sent.qos);
                message.retain = sent.retain;
                message.properties = sent.properties.clone();
                let code = client.publish(&message).await;
                assert!(
                    code < 0x80,
                    "publishing {} was refused with {code:#04x}",
                    sent.topic
                );
            }
            Self::Json(socket) => {
                let answer = socket.answered(json_frame(sent, &bytes)).await;
                assert_eq!(answer["op"], "ok", "{}: {answer}", sent.topic);
            }
            Self::Rest => {
                let answer = rest_request(sent, bytes).send(gateway.http).await;
                assert_eq!(answer.status, 200, "{}: {}", sent.topic, answer.text());
                let receipt = answer.json();
                assert_eq!(
                    (&receipt["topic"], &receipt["qos"]),
                    (&sent.topic.as_str().into(), &sent.qos.into())
                );
            }
        }
    }
}

/// The `pub` that publishes `sent` with all its properties.
fn json_frame(sent: &Sent<'_>, bytes: &[u8]) -> serde_json::Value {
    let text = |id| sent.properties.string(id);
    let is_text = sent.properties.number(property::PAYLOAD_FORMAT) == Some(1);
    let Some(Value::Binary(correlation)) = sent.properties.get(property::CORRELATION) else {
        panic!("the table's properties have correlation data")
    };
    let mut frame = json!({
        "op": "pub", "topic": sent.topic, "qos": sent.qos, "retain": sent.retain,
        "properties": {
            "content_type": text(property::CONTENT_TYPE),
            "payload_format": if is_text { "utf8" } else { "bytes" },
            "expiry": EXPIRY,
            "response_topic": text(property::RESPONSE_TOPIC),
            "correlation_data": STANDARD.encode(correlation),
            "user": USER_PROPERTIES,
        },
    });
    match std::str::from_utf8(bytes) {
        Ok(text) => frame["payload"] = text.into(),
        Err(_) => {
            frame["payload"] = STANDARD.encode(bytes).into();
            frame["encoding"] = "base64".into();
        }
    }
    frame
}

/// The POST or, for every second retained message, the PUT that publishes `sent` with all its properties.
fn rest_request(sent: &Sent<'_>, body: Vec<u8>) -> Request {
    let format = if sent.properties.number(property::PAYLOAD_FORMAT) == Some(1) {
        "utf8"
    } else {
        "bytes"
    };
    let Some(Value::Binary(correlation)) = sent.properties.get(property::CORRELATION) else {
        panic!("the table's properties have correlation data")
    };
    let mut target = format!(
        "/api/v1/topics/{}?qos={}&expiry={EXPIRY}&payload_format={format}&response_topic={}&correlation={}",
        sent.topic,
        sent.qos,
        encode(
            sent.properties
                .string(property::RESPONSE_TOPIC)
                .unwrap_or_default()
        ),
        URL_SAFE_NO_PAD.encode(correlation),
    );
    for (name, value) in USER_PROPERTIES {
        target.push_str(&format!("&user={}={}", encode(name), encode(value)));
    }
    let by_put = sent.retain && sent.qos != 1;
    if sent.retain && !by_put {
        target.push_str("&retain=true");
    }
    let content_type = sent
        .properties
        .string(property::CONTENT_TYPE)
        .unwrap_or_default();
    Request::new(if by_put { "PUT" } else { "POST" }, &target)
        .body(body)
        .header("Content-Type", content_type)
}

/// A receiver at one of the ways out.
enum Receiver {
    Mqtt {
        client: Box<Client>,
        granted: u8,
        retain_as_published: bool,
    },
    Web(Box<Stream>),
    Json(Box<JsonSocket>),
}

impl Receiver {
    async fn mqtt(
        gateway: &Gateway,
        name: &str,
        websocket: bool,
        version: Version,
        granted: u8,
    ) -> Self {
        let opening = Opening::new(version, &format!("doors-out-{name}-{granted}"));
        let link = if websocket {
            Link::websocket(gateway.http, version).await
        } else {
            Link::tcp(gateway.mqtt).await
        };
        let (mut client, _) = Client::welcomed(link, &opening).await;
        let retain_as_published = version == Version::V5 && !websocket;
        let options = granted | if retain_as_published { 0x08 } else { 0 };
        assert_eq!(client.subscribe(&[("doors/#", options)]).await, [granted]);
        Self::Mqtt {
            client: Box::new(client),
            granted,
            retain_as_published,
        }
    }

    async fn expect(&mut self, sent: &Sent<'_>) {
        match self {
            Self::Mqtt {
                client,
                granted,
                retain_as_published,
            } => {
                let got = client.receive().await;
                let retain = sent.retain && *retain_as_published;
                check_publish(&got, sent, client.version, sent.qos.min(*granted), retain);
            }
            Self::Web(stream) => check_event(&stream.message().await, sent, false),
            Self::Json(socket) => check_event(&heard(socket).await, sent, false),
        }
    }

    async fn expect_marker(&mut self) {
        let topic = match self {
            Self::Mqtt { client, .. } => client.receive().await.topic,
            Self::Web(stream) => topic_of(&stream.message().await),
            Self::Json(socket) => topic_of(&heard(socket).await),
        };
        assert_eq!(topic, MARKER, "nothing arrives twice");
    }
}

/// The next message of a JSON WebSocket, as a stream would tell it.
async fn heard(socket: &mut JsonSocket) -> Event {
    Event {
        name: "message".to_owned(),
        last_id: String::new(),
        data: socket.message().await,
    }
}

fn topic_of(event: &Event) -> String {
    event.data["topic"].as_str().unwrap_or_default().to_owned()
}

fn check_publish(got: &Publish, sent: &Sent<'_>, version: Version, qos: u8, retain: bool) {
    let topic = &sent.topic;
    assert_eq!(&got.topic, topic, "the next message");
    assert!(
        got.payload == sent.payload.bytes,
        "{topic}: {} bytes differ",
        got.payload.len()
    );
    assert_eq!(
        (got.qos, got.retain, got.dup),
        (qos, retain, false),
        "{topic}: QoS, retain, DUP"
    );
    if version == Version::V5 {
        let seen = Properties(
            got.properties
                .0
                .iter()
                .filter(|(id, _)| *id != property::MESSAGE_EXPIRY)
                .cloned()
                .collect(),
        );
        let mut want = sent.properties.0.clone();
        want.retain(|(id, _)| *id != property::MESSAGE_EXPIRY);
        let by_id = |p: &[(u8, Value)]| {
            let mut sorted = p.to_vec();
            sorted.sort_by_key(|(id, _)| *id); // stable: user properties keep their order
            sorted
        };
        assert_eq!(by_id(&seen.0), by_id(&want), "{topic}: properties");
        check_expiry(topic, got.properties.number(property::MESSAGE_EXPIRY), sent);
    }
}

fn check_expiry(topic: &str, left: Option<u32>, sent: &Sent<'_>) {
    match sent.properties.number(property::MESSAGE_EXPIRY) {
        None => assert_eq!(left, None, "{topic}: an expiry nobody asked for"),
        Some(whole) => {
            let left = left.unwrap_or_else(|| panic!("{topic}: the expiry was lost"));
            assert!(
                left <= whole && left + 600 > whole,
                "{topic}: expiry {left} of {whole}"
            );
        }
    }
}

fn check_event(event: &Event, sent: &Sent<'_>, snapshot: bool) {
    let (topic, data) = (&sent.topic, &event.data);
    assert_eq!(data["topic"], *topic, "the next message");
    assert!(
        event.payload() == sent.payload.bytes,
        "{topic}: {} bytes differ",
        event.payload().len()
    );
    let encoding = if std::str::from_utf8(&sent.payload.bytes).is_ok() {
        "utf8"
    } else {
        "base64"
    };
    assert_eq!(data["encoding"], encoding, "{topic}");
    assert_eq!(data["size"], sent.payload.bytes.len(), "{topic}");
    assert_eq!(
        data["qos"], sent.qos,
        "{topic}: a stream is told the published QoS"
    );
    assert_eq!(data["retain"], sent.retain, "{topic}: retain as published");
    assert_eq!(data["snapshot"], snapshot, "{topic}");
    let seen = &data["properties"];
    let text = |id| {
        sent.properties
            .string(id)
            .map_or(serde_json::Value::Null, Into::into)
    };
    assert_eq!(
        seen["content_type"],
        text(property::CONTENT_TYPE),
        "{topic}"
    );
    assert_eq!(
        seen["response_topic"],
        text(property::RESPONSE_TOPIC),
        "{topic}"
    );
    match sent.properties.get(property::CORRELATION) {
        Some(Value::Binary(_)) => assert_eq!(seen["correlation_data"], "AAH/PSI=", "{topic}"),
        _ => assert!(seen["correlation_data"].is_null(), "{topic}"),
    }
    match sent.properties.number(property::PAYLOAD_FORMAT) {
        Some(1) => assert_eq!(seen["payload_format"], "utf8", "{topic}"),
        Some(_) => assert_eq!(seen["payload_format"], "bytes", "{topic}"),
        None => assert!(seen["payload_format"].is_null(), "{topic}"),
    }
    let user = serde_json::json!(USER_PROPERTIES);
    if sent.properties.all(property::USER).is_empty() {
        assert!(seen["user"].is_null(), "{topic}: {seen}");
    } else {
        assert_eq!(
            seen["user"], user,
            "{topic}: user properties in order, duplicates kept"
        );
    }
    check_expiry(topic, seen["expiry"].as_u64().map(|n| n as u32), sent);
}

/// Reads the retained message as a web client does.
async fn check_retained_get(gateway: &Gateway, sent: &Sent<'_>) {
    let topic = &sent.topic;
    let answer = Request::get(&format!("/api/v1/topics/{topic}"))
        .send(gateway.http)
        .await;
    assert_eq!(answer.status, 200, "GET {topic}: {}", answer.text());
    assert!(
        answer.body == sent.payload.bytes,
        "GET {topic}: {} bytes differ",
        answer.body.len()
    );
    assert_eq!(
        answer.header("mqtt-qos"),
        Some(sent.qos.to_string().as_str()),
        "GET {topic}"
    );
    assert_eq!(
        answer.header("mqtt-topic").map(|t| t.replace("%2F", "/")),
        Some(topic.clone())
    );
    let original = answer.header("mqtt-content-type");
    assert_eq!(
        original,
        sent.properties.string(property::CONTENT_TYPE),
        "GET {topic}"
    );
    let kind = answer.header("content-type").unwrap_or_default();
    if original.is_some() {
        assert_eq!(
            kind, "application/octet-stream",
            "GET {topic}: a type that is not in the safe list"
        );
    } else if std::str::from_utf8(&sent.payload.bytes).is_ok() {
        assert_eq!(kind, "text/plain; charset=utf-8", "GET {topic}");
    } else {
        assert_eq!(kind, "application/octet-stream", "GET {topic}");
    }
    // a recipient may join repeated fields with commas; names and values are percent-encoded, so both read the same
    let pairs: Vec<String> = answer
        .all("mqtt-user-property")
        .iter()
        .flat_map(|v| v.split(','))
        .map(|v| v.trim().to_owned())
        .collect();
    let want: Vec<String> = if sent.properties.all(property::USER).is_empty() {
        vec![]
    } else {
        USER_PROPERTIES
            .iter()
            .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
            .collect()
    };
    assert_eq!(pairs, want, "GET {topic}: user properties");
    check_expiry(
        topic,
        answer
            .header("mqtt-expiry")
            .map(|n| n.parse().expect("seconds")),
        sent,
    );
}

/// Someone who subscribes after the fact gets every retained message once, whatever way it came in.
async fn check_late_subscriber(
    gateway: &Gateway,
    version: Version,
    websocket: bool,
    kept: &[Sent<'_>],
) {
    let link = if websocket {
        Link::websocket(gateway.http, version).await
    } else {
        Link::tcp(gateway.mqtt).await
    };
    let id = format!("doors-late-{version:?}-{websocket}");
    let (mut client, _) = Client::welcomed(link, &Opening::new(version, &id)).await;
    client.subscribe(&[("doors/+/+/+/kept", 1)]).await;
    let mut missing: Vec<&Sent<'_>> = kept.iter().collect();
    while !missing.is_empty() {
        let got = client.receive().await;
        let at = missing.iter().position(|sent| sent.topic == got.topic);
        let sent = missing
            .remove(at.unwrap_or_else(|| panic!("{} was not retained, or came twice", got.topic)));
        check_publish(&got, sent, version, sent.qos.min(1), true);
    }
}

/// As [`check_late_subscriber`], for a subscription of a JSON WebSocket.
async fn check_late_socket(gateway: &Gateway, kept: &[Sent<'_>]) {
    let mut socket = JsonSocket::open(gateway.http).await;
    socket.subscribe(&["doors/+/+/+/kept"], json!({})).await;
    let mut missing: Vec<&Sent<'_>> = kept.iter().collect();
    while !missing.is_empty() {
        let event = heard(&mut socket).await;
        let at = missing
            .iter()
            .position(|sent| event.data["topic"] == sent.topic);
        let sent =
            missing.remove(at.unwrap_or_else(|| panic!("{} came uncalled", event.data["topic"])));
        check_event(&event, sent, true);
    }
}

/// As [`check_late_subscriber`], for a stream that starts with the retained snapshot.
async fn check_late_stream(gateway: &Gateway, encoding: Encoding, kept: &[Sent<'_>]) {
    let mut stream = Stream::ready(gateway.http, encoding, &["doors/+/+/+/kept"], "").await;
    let mut missing: Vec<&Sent<'_>> = kept.iter().collect();
    while !missing.is_empty() {
        let event = stream.message().await;
        let at = missing
            .iter()
            .position(|sent| event.data["topic"] == sent.topic);
        let sent =
            missing.remove(at.unwrap_or_else(|| panic!("{} came uncalled", event.data["topic"])));
        check_event(&event, sent, true);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_message_arrives_once_byte_for_byte_through_every_way_in_and_out() {
    let gateway = Gateway::start(&[]);
    let mut receivers = vec![];
    for (name, websocket, version) in [
        ("tcp311", false, Version::V311),
        ("tcp5", false, Version::V5),
        ("ws311", true, Version::V311),
        ("ws5", true, Version::V5),
    ] {
        for granted in [0, 1, 2] {
            receivers.push(Receiver::mqtt(&gateway, name, websocket, version, granted).await);
        }
    }
    for encoding in [Encoding::Sse, Encoding::Ndjson] {
        receivers.push(Receiver::Web(Box::new(
            Stream::ready(gateway.http, encoding, &["doors/#"], "").await,
        )));
    }

    let mut socket = JsonSocket::open(gateway.http).await;
    socket.subscribe(&["doors/#"], json!({})).await;
    receivers.push(Receiver::Json(Box::new(socket)));

    let payloads = payloads();
    let (mut cells, mut skipped, mut kept) = (0, 0, vec![]);
    for (name, entry) in ENTRIES {
        let mut publisher = Publisher::open(&gateway, name, entry).await;
        for qos in [0, 1, 2] {
            for payload in &payloads {
                for retain in [false, true] {
                    if retain && payload.bytes.is_empty() {
                        // An empty payload cannot be retained: in MQTT such a PUBLISH clears the topic.
                        skipped += receivers.len() + 1;
                        continue;
                    }
                    let last = if retain { "kept" } else { "live" };
                    let properties = if entry.carries_properties() {
                        properties(payload)
                    } else {
                        Properties::default()
                    };
                    let topic = format!("doors/{name}/{qos}/{}/{last}", payload.name);
                    let sent = Sent {
                        topic,
                        payload,
                        qos,
                        retain,
                        properties,
                    };
                    let (_, ()) = tokio::join!(
                        join_all(receivers.iter_mut().map(|receiver| receiver.expect(&sent))),
                        publisher.publish(&gateway, &sent)
                    );
                    cells += receivers.len();
                    if retain {
                        check_retained_get(&gateway, &sent).await;
                        cells += 1;
                        kept.push(sent);
                    }
                }
            }
        }
    }

    let mut last = Client::tcp(&gateway, &Opening::v311("doors-last")).await;
    last.publish(&Publish::new(MARKER, "end", 1)).await;
    join_all(receivers.iter_mut().map(Receiver::expect_marker)).await;
    // the live receivers go, so that the late ones have the gateway for themselves
    drop(receivers);

    for version in [Version::V311, Version::V5] {
        for websocket in [false, true] {
            check_late_subscriber(&gateway, version, websocket, &kept).await;
            cells += kept.len();
        }
    }
    for encoding in [Encoding::Sse, Encoding::Ndjson] {
        check_late_stream(&gateway, encoding, &kept).await;
        cells += kept.len();
    }
    check_late_socket(&gateway, &kept).await;
    cells += kept.len();
    println!("doors: {cells} cells hold, {skipped} skipped (an empty payload cannot be retained)");
    gateway.stop();
}
