//! The same bytes through every way in and every way out, whatever they are.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value as Json, json};

use crate::support::{
    gateway::Gateway,
    http::{Request, encode},
    json_ws::{JsonSocket, payload},
    mqtt::Client,
    stream::{Encoding, Stream},
    wire::{Opening, Publish},
};

const SETTINGS: &[&str] = &[
    "--set",
    "limits.payload=16 MiB",
    "--set",
    "history_defaults.tail_bytes=64 MiB",
    "--set",
    "history=[{ filter = \"kept/#\" }]",
];

/// Payloads that something on the way might take for something else.
fn payloads() -> Vec<(&'static str, Vec<u8>)> {
    let mut random = vec![0; 10_000_000];
    getrandom::fill(&mut random).expect("randomness");
    let all: Vec<u8> = (0..=255).collect();
    let mut payloads = vec![
        ("all byte values", all),
        ("nothing", vec![]),
        ("CR", b"\r".to_vec()),
        ("LF", b"\n".to_vec()),
        ("CRLF", b"\r\n".to_vec()),
        ("line ends in a mix", b"\n\r\r\n\n\na\rb\r\nc\n".to_vec()),
        ("NUL", b"a\0b\0".to_vec()),
        (
            "an event of a stream",
            b"\n\nid: forged-1\nevent: bye\ndata: {}\n\ndata: x\n\n: hb\n\nretry: 1\n\n".to_vec(),
        ),
        (
            "a line of NDJSON",
            b"\"}\n{\"event\":\"bye\",\"reconnect\":false}\n".to_vec(),
        ),
        ("chunks", b"0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n".to_vec()),
        (
            "separators of JavaScript",
            "a\u{2028}b\u{2029}c\u{85}d".into(),
        ),
        ("a byte order mark", "\u{feff}text".into()),
        ("what JSON escapes", br#""\/\\ \u0000 </script>"#.to_vec()),
        ("a noncharacter", "\u{ffff}\u{fffe}\u{10ffff}".into()),
        ("an overlong NUL", b"\xC0\x80".to_vec()),
        ("half of a surrogate pair", b"\xED\xA0\x80".to_vec()),
        ("a character cut short", b"abc\xF0\x9F\x92".to_vec()),
        ("control characters", vec![0x01; 100_000]),
        ("10 MB of noise", random),
    ];
    if std::env::var_os("TIDEGATE_TEST_LONG").is_some() {
        payloads.push(("as much as there may be", vec![b'"'; 16 << 20]));
    }
    payloads
}

fn decoded(envelope: &Json) -> Vec<u8> {
    let text = envelope["payload"].as_str().expect("a payload");
    match envelope["encoding"].as_str() {
        Some("utf8") => text.as_bytes().to_vec(),
        Some("base64") => STANDARD.decode(text).expect("padded base64"),
        other => panic!("encoding {other:?}"),
    }
}

/// All messages of a topic that the log has, page by page.
pub async fn history(gateway: &Gateway, topic: &str) -> Vec<Json> {
    let mut messages = vec![];
    let mut since = "earliest".to_owned();
    loop {
        let target = format!("/api/v1/messages?topic={}&since={since}", encode(topic));
        let mut page = Request::get(&target).send(gateway.http).await.json();
        assert_eq!(page["gap"], Json::Null);
        let found = page["messages"].as_array_mut().expect("messages");
        messages.append(found);
        if page["complete"] == true {
            return messages;
        }
        since = page["cursor"].as_str().expect("a cursor").to_owned();
    }
}

/// Publishes over the WebSocket: as text what is text, unless it takes far more room in JSON.
fn operation(topic: &str, sent: &[u8]) -> Json {
    let text = std::str::from_utf8(sent).ok();
    let (encoding, text) = match text.filter(|text| text.len() <= 1 << 20) {
        Some(text) => ("utf8", text.to_owned()),
        None => ("base64", STANDARD.encode(sent)),
    };
    json!({"op": "pub", "topic": topic, "payload": text, "encoding": encoding, "qos": 1, "retain": true})
}

fn check(what: &str, way: &str, got: &[u8], sent: &[u8]) {
    // a comparison that fails does not print 10 MB
    assert!(
        got == sent,
        "{what} through {way}: {} bytes for {}: {:?} for {:?}",
        got.len(),
        sent.len(),
        &got[..got.len().min(40)],
        &sent[..sent.len().min(40)]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_bytes_come_out_of_every_way_as_went_into_any() {
    let gateway = Gateway::start(SETTINGS);
    let mut publisher = Client::tcp(&gateway, &Opening::v5("in")).await;
    let mut subscriber = Client::tcp(&gateway, &Opening::v311("out")).await;
    subscriber.subscribe(&[("kept/#", 1)]).await;
    let mut sse = Stream::ready(gateway.http, Encoding::Sse, &["kept/#"], "").await;
    let mut ndjson = Stream::ready(gateway.http, Encoding::Ndjson, &["kept/#"], "").await;
    let mut base64 =
        Stream::ready(gateway.http, Encoding::Sse, &["kept/#"], "payload=base64").await;
    let mut listening = JsonSocket::open(gateway.http).await;
    listening.subscribe(&["kept/#"], json!({})).await;
    let ways_in = ["mqtt", "rest", "websocket"];
    let payloads = payloads();
    for (nth, (what, sent)) in payloads.iter().enumerate() {
        for way in ways_in {
            let topic = format!("kept/{nth}/{way}");
            match way {
                "mqtt" => {
                    let message = Publish::new(&topic, sent.clone(), 1).retained();
                    publisher.publish(&message).await;
                }
                "websocket" => {
                    // a new one: large messages take their time, and nobody answers pings meanwhile
                    let mut asking = JsonSocket::open(gateway.http).await;
                    let answer = asking.answered(operation(&topic, sent)).await;
                    assert_eq!(answer["op"], "ok", "{what}");
                }
                _ => {
                    let target = format!("/api/v1/topics/{topic}?retain=true");
                    let answer = Request::post(&target, sent.clone());
                    assert_eq!(answer.send(gateway.http).await.status, 200, "{what}");
                }
            }
            check(what, "MQTT", &subscriber.receive().await.payload, sent);
            check(what, "SSE", &sse.message().await.payload(), sent);
            check(what, "NDJSON", &ndjson.message().await.payload(), sent);
            check(
                what,
                "WebSocket",
                &payload(&listening.message().await),
                sent,
            );
            let always = base64.message().await;
            assert_eq!(always.data["encoding"], "base64");
            check(what, "base64", &always.payload(), sent);
            let state = Request::get(&format!("/api/v1/topics/{topic}"))
                .send(gateway.http)
                .await;
            match sent.is_empty() {
                // an empty retained message is none
                true => {
                    state.assert_problem(404, "not-retained");
                }
                false => check(what, "GET", &state.body, sent),
            }
        }
    }
    // from memory, then from the disk
    let mut gateway = gateway;
    for life in ["first", "second"] {
        for (nth, (what, sent)) in payloads.iter().enumerate() {
            for way in ways_in {
                let topic = format!("kept/{nth}/{way}");
                let found = history(&gateway, &topic).await;
                assert_eq!(found.len(), 1, "{what}, {life} life");
                check(what, "the log", &decoded(&found[0]), sent);
                assert_eq!(found[0]["size"], sent.len());
                if sent.is_empty() {
                    continue;
                }
                let mut fresh = Stream::ready(gateway.http, Encoding::Ndjson, &[&topic], "").await;
                let snapshot = fresh.message().await;
                assert_eq!(snapshot.data["snapshot"], true);
                check(what, "a snapshot", &snapshot.payload(), sent);
            }
        }
        if life == "first" {
            gateway = gateway.restarted(SETTINGS);
        }
    }
}
