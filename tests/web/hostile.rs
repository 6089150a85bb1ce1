//! Whatever a publisher writes into the places it may choose, readers get one well-formed message of it, and whoever asks
//! gets one well-formed answer.

use std::collections::BTreeSet;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value as Json, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    fidelity::history,
    support::{
        gateway::Gateway,
        http::{Request, encode},
        mqtt::Client,
        stream::{Encoding, Stream},
        unique,
        wire::{Opening, Properties, Publish, Value, property},
        within,
    },
};

/// Texts that would begin something new where they are written down without care.
const HOSTILE: &[&str] = &[
    "a\nb",
    "a\r\nSet-Cookie: evil=1",
    "\n\ndata: {\"evil\":true}\n\n",
    "\revent: bye\rdata: {}\r\r",
    "id: forged-9\n",
    "\": \"evil\", \"",
    "\\\",\\\"evil\\\":\\\"",
    "</script><script>alert(1)</script>",
    "a\u{2028}b\u{2029}c\u{85}",
    "%0d%0aSet-Cookie: evil=1",
    "\u{7f}\u{1}\u{1f}",
    "\u{feff}bom",
    "=;,\"'<>",
    "..%2f../..",
    "äöü €  ",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_publishers_choose_is_one_well_formed_message_everywhere() {
    let gateway = Gateway::start(&[
        "--set",
        "history=[{ filter = \"kept/#\" }]",
        // so that what MQTT clients may say can be asked for by its name
        "--set",
        "topics.allow_controls=true",
    ]);
    let mut publisher = Client::tcp(&gateway, &Opening::v5("in")).await;
    let mut subscriber = Client::tcp(&gateway, &Opening::v5("out")).await;
    subscriber.subscribe(&[("kept/#", 1)]).await;
    let mut sse = Stream::ready(gateway.http, Encoding::Sse, &["kept/#"], "").await;
    let mut ndjson = Stream::ready(gateway.http, Encoding::Ndjson, &["kept/#"], "").await;
    let mut seen = BTreeSet::new();
    for (nth, text) in HOSTILE.iter().enumerate() {
        let topic = format!("kept/{nth}/{text}");
        let properties = Properties::default()
            .text(property::CONTENT_TYPE, text)
            .text(property::RESPONSE_TOPIC, text)
            .with(property::CORRELATION, Value::Binary(text.as_bytes().into()))
            .user(text, text)
            .user("", "")
            .user("data", text);
        let mut message = Publish::new(&topic, *text, 1).retained();
        message.properties = properties;
        let code = publisher.publish(&message).await;
        assert!(code < 0x80, "{text:?} is refused with {code:#04x}");
        // another one, so that what breaks out of this one is seen
        let marker = format!("kept/{nth}-marker");
        publisher.publish(&Publish::new(&marker, "marker", 1)).await;

        let received = subscriber.receive().await;
        assert_eq!(
            (received.topic.as_str(), received.text().as_str()),
            (topic.as_str(), *text)
        );
        assert_eq!(subscriber.receive().await.topic, marker);
        let expected = json!({
            "content_type": text, "response_topic": text,
            "correlation_data": STANDARD.encode(text),
            "user": [[text, text], ["", ""], ["data", text]],
        });
        let mut copies = vec![];
        for stream in [&mut sse, &mut ndjson] {
            copies.push(stream.message().await.data);
            assert_eq!(stream.message().await.data["topic"], marker);
        }
        copies.append(&mut history(&gateway, &topic).await);
        let own = format!("kept/{nth}/#");
        let mut fresh = Stream::ready(gateway.http, Encoding::Sse, &[&own], "").await;
        copies.push(fresh.message().await.data);
        let state = format!("/api/v1/topics?topic={}", encode(&topic));
        let envelope = Request::get(&format!("{state}&envelope=true"));
        copies.push(envelope.send(gateway.http).await.json());
        assert_eq!(copies.len(), 5, "{text:?}");
        for copy in copies {
            assert_eq!(copy["topic"], topic);
            assert_eq!(copy["payload"], *text);
            assert_eq!(copy["properties"], expected);
        }

        let bytes = exchange(&gateway, &Request::get(&state)).await;
        let (head, body) = bytes.split_once("\r\n\r\n").expect("a head");
        assert_eq!(body, *text);
        assert!(
            !head.to_ascii_lowercase().contains("\nset-cookie"),
            "{head}"
        );
        for line in head.split("\r\n").skip(1) {
            let printable = |byte: u8| matches!(byte, b' '..=b'~');
            assert!(line.bytes().all(printable), "{line:?} for {text:?}");
            let (name, _) = line.split_once(": ").expect("`name: value`");
            seen.insert(name.to_ascii_lowercase());
        }
    }
    let known = [
        "cache-control",
        "connection",
        "content-disposition",
        "content-length",
        "content-security-policy",
        "content-type",
        "cross-origin-resource-policy",
        "date",
        "etag",
        "last-modified",
        "mqtt-content-type",
        "mqtt-correlation-data",
        "mqtt-expiry",
        "mqtt-qos",
        "mqtt-response-topic",
        "mqtt-topic",
        "mqtt-user-property",
        "request-id",
        "vary",
        "x-content-type-options",
    ];
    let strange: Vec<_> = seen
        .iter()
        .filter(|name| !known.contains(&name.as_str()))
        .collect();
    assert!(
        strange.is_empty(),
        "headers that nobody promised: {strange:?}"
    );
}

/// Everything that is on a connection after one request, to its end.
async fn exchange(gateway: &Gateway, request: &Request) -> String {
    within("an answer and the end of its connection", async {
        let mut socket = TcpStream::connect(gateway.http).await.expect("it accepts");
        let request = request.clone().header("Connection", "close");
        let sent = socket.write_all(&request.encode(gateway.http)).await;
        sent.expect("the gateway reads");
        let mut bytes = vec![];
        socket.read_to_end(&mut bytes).await.expect("a clean end");
        String::from_utf8(bytes).expect("an answer in UTF-8")
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hostile_request_gets_exactly_one_answer_and_no_reader_hears_more_than_one_event() {
    let gateway = Gateway::shared();
    let topic = "hostile/rest";
    let mut stream = Stream::ready(gateway.http, Encoding::Sse, &["hostile/#"], "").await;
    let mut number = 0;
    for text in HOSTILE.iter().chain(&["\0", "\u{ffff}"]) {
        let value = encode(text);
        for (target, content_type) in [
            (format!("/api/v1/topics?topic={value}"), None),
            (
                format!("/api/v1/topics?topic={topic}&response_topic={value}"),
                None,
            ),
            (format!("/api/v1/topics?topic={topic}&user={value}"), None),
            (format!("/api/v1/topics?topic={topic}&user=a={value}"), None),
            (
                format!("/api/v1/topics?topic={topic}&correlation={value}"),
                None,
            ),
            (format!("/api/v1/topics?topic={topic}&{value}=1"), None),
            (format!("/api/v1/topics?topic={topic}"), Some(*text)),
        ] {
            let breaks_the_request =
                content_type.is_some_and(|text| text.contains(['\r', '\n', '\0']));
            if breaks_the_request {
                continue;
            }
            let mut request = Request::post(&target, *text);
            if let Some(content_type) = content_type {
                request = request.header("Content-Type", content_type);
            }
            let bytes = exchange(&gateway, &request).await;
            assert_eq!(bytes.matches("HTTP/1.1 ").count(), 1, "{target}: {bytes}");
            let (head, body) = bytes.split_once("\r\n\r\n").expect("a head");
            assert!(
                !head.to_ascii_lowercase().contains("\nset-cookie"),
                "{head}"
            );
            let status = head.split(' ').nth(1).expect("a status");
            // what is no HTTP at all is refused in one line
            let answer: Json = match body {
                "" if content_type.is_some() && status == "400" => Json::Null,
                _ => serde_json::from_str(body).unwrap_or_else(|e| panic!("{e}: {bytes}")),
            };
            match status {
                "200" if answer["topic"] == topic => {
                    let event = stream.message().await;
                    assert_eq!(event.payload(), text.as_bytes());
                }
                "200" | "400" => {}
                other => panic!("{other} for {target}: {bytes}"),
            }
            number += 1;
            let marker = format!("marker {number}");
            let mark = Request::post(&format!("/api/v1/topics/{topic}"), marker.as_str());
            mark.send(gateway.http).await;
            assert_eq!(
                stream.message().await.payload(),
                marker.as_bytes(),
                "{target}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_would_have_to_be_decoded_is_not_published_as_it_is() {
    let gateway = Gateway::shared();
    let topic = unique("hostile/coded");
    for target in [
        format!("/api/v1/topics/{topic}?retain=true"),
        "/api/v1/messages".to_owned(),
    ] {
        for kind in ["application/json", "application/x-ndjson"] {
            let coded = Request::post(&target, "3\r\n\"a\"\r\n0\r\n\r\n")
                .header("Transfer-Encoding", "gzip, chunked")
                .header("Content-Type", kind)
                .header("Accept", kind);
            coded
                .send(gateway.http)
                .await
                .assert_problem(415, "media-type-unsupported");
        }
    }
    Request::get(&format!("/api/v1/topics/{topic}"))
        .send(gateway.http)
        .await
        .assert_problem(404, "not-retained");
}
