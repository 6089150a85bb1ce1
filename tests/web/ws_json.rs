//! `GET /api/v1/ws`: the handshake, and each operation with its answers.

use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Error;

use crate::support::{
    gateway::Gateway,
    http::Request,
    json_ws::{JsonSocket, PATH, assert_err, payload},
    mqtt::Client,
    stream::{Encoding, Stream},
    unique,
    wire::{Opening, Publish},
};

/// A handshake that is refused: the status, and the problem in its body.
async fn refused(
    gateway: &Gateway,
    offer: Option<&str>,
    headers: &[(&'static str, &str)],
) -> (u16, Value) {
    let stream = TcpStream::connect(gateway.http).await.expect("it accepts");
    match JsonSocket::shake(stream, gateway.http, offer, headers).await {
        Err(Error::Http(response)) => {
            let body = response.body().as_deref().unwrap_or_default();
            (
                response.status().as_u16(),
                serde_json::from_slice(body).unwrap_or(Value::Null),
            )
        }
        Err(other) => panic!("{offer:?} {headers:?}: {other}"),
        Ok(_) => panic!("{offer:?} {headers:?} was upgraded"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_subprotocol_must_be_offered() {
    let gateway = Gateway::shared();
    for offer in [None, Some("mqtt"), Some("tidegate.v2"), Some("TIDEGATE.V1")] {
        let (status, _) = refused(&gateway, offer, &[]).await;
        assert_eq!(status, 400, "{offer:?}");
    }
    let bare = Request::get(PATH)
        .header("Connection", "Upgrade")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
        .send(gateway.http)
        .await;
    let hint = bare.assert_problem(400, "upgrade-invalid")["detail"].to_string();
    assert!(
        hint.contains("tidegate.v1") && hint.contains("/mqtt"),
        "{hint}"
    );
    let stream = TcpStream::connect(gateway.http).await.expect("it accepts");
    let offer = Some("chat, tidegate.v1");
    let (_, response) = JsonSocket::shake(stream, gateway.http, offer, &[])
        .await
        .expect("one of several");
    assert_eq!(response.headers()["sec-websocket-protocol"], "tidegate.v1");
    let plain = Request::get(PATH).send(gateway.http).await;
    plain.assert_problem(426, "upgrade-required");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_page_or_host_gets_no_conversation() {
    let gateway = Gateway::shared();
    let offer = Some("tidegate.v1");
    for (name, value) in [
        ("origin", "http://evil.example"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
    ] {
        let (status, _) = refused(&gateway, offer, &[(name, value)]).await;
        assert_eq!(status, 403, "{name}: {value}");
    }
    let (status, _) = refused(&gateway, offer, &[("host", "evil.example")]).await;
    assert_eq!(status, 421);
    let stream = TcpStream::connect(gateway.http).await.expect("it accepts");
    let own = format!("http://{}", gateway.http);
    JsonSocket::shake(stream, gateway.http, offer, &[("origin", &own)])
        .await
        .expect("the gateway's own page");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ready_names_the_client_its_limits_and_where_the_log_is() {
    let gateway = Gateway::shared();
    let one = JsonSocket::open(gateway.http).await.ready;
    let two = JsonSocket::open(gateway.http).await.ready;
    assert!(
        one["client"]
            .as_str()
            .is_some_and(|name| name.starts_with("ws-")),
        "{one}"
    );
    assert_ne!(one["client"], two["client"]);
    let limits = &one["limits"];
    assert_eq!(limits["payload"], 1 << 20, "{one}");
    assert_eq!(limits["filters_per_request"], 64, "{one}");
    let most = limits["json_message"].as_u64().unwrap_or_default();
    assert!(most >= (4 << 20) / 3 + (64 << 10), "{one}");
    assert!(
        one["cursor"]
            .as_str()
            .is_some_and(|cursor| cursor.contains('-')),
        "{one}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_byte_goes_from_a_conversation_to_mqtt_and_to_streams_and_back() {
    let gateway = Gateway::shared();
    let topic = unique("ws/bytes");
    let all: Vec<u8> = (0..=255).collect();
    let mut mqtt = Client::tcp(&gateway, &Opening::v5(&unique("ws"))).await;
    mqtt.subscribe(&[(&topic, 1)]).await;
    let mut stream = Stream::ready(gateway.http, Encoding::Sse, &[&topic], "").await;
    let mut socket = JsonSocket::open(gateway.http).await;
    let sub = socket.subscribe(&[&topic], json!({})).await;

    use base64::{Engine, engine::general_purpose::STANDARD};
    let reference = socket
        .ask(json!({
            "op": "pub", "topic": topic, "payload": STANDARD.encode(&all), "encoding": "base64", "qos": 1,
            "properties": {"content_type": "application/x-all", "correlation_data": "AAE=", "user": [["a", "1"], ["a", "2"]]}
        }))
        .await;
    let (mut ok, mut own) = (Value::Null, Value::Null);
    for _ in 0..2 {
        let frame = socket.next().await;
        match frame["op"].as_str() {
            Some("ok") => ok = frame,
            _ => own = frame,
        }
    }
    assert_eq!(ok["ref"], reference);
    assert!(
        ok.get("cursor").is_some(),
        "null if nothing was recorded: {ok}"
    );
    assert_eq!((&own["op"], &own["sub"]), (&json!("msg"), &json!(sub)));
    assert_eq!(payload(&own), all);
    assert_eq!(own["properties"]["user"], json!([["a", "1"], ["a", "2"]]));
    assert_eq!(own.get("matched"), None, "one filter needs no telling");
    assert_eq!(mqtt.receive().await.payload, all);
    let event = stream.message().await;
    assert_eq!(event.payload(), all);
    // the envelope is the same, whatever carries it
    let mut envelope = own.clone();
    let members = envelope.as_object_mut().expect("an object");
    members.remove("op");
    members.remove("sub");
    assert_eq!(envelope, event.data);

    mqtt.publish(&Publish::new(&topic, all.clone(), 1)).await;
    assert_eq!(payload(&socket.message().await), all);
    let posted = Request::post(&format!("/api/v1/topics/{topic}"), all.clone());
    assert_eq!(posted.send(gateway.http).await.status, 200);
    assert_eq!(payload(&socket.message().await), all);
    mqtt.disconnect().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_heard_may_be_said_again_as_it_is() {
    let gateway = Gateway::shared();
    let topic = unique("ws/echo");
    let mut socket = JsonSocket::open(gateway.http).await;
    socket.subscribe(&[&topic], json!({})).await;
    let mut publisher = Client::tcp(&gateway, &Opening::v311(&unique("ws"))).await;
    publisher
        .publish(&Publish::new(&topic, "hé\u{0}\n", 1))
        .await;
    let mut heard = socket.message().await;
    heard["op"] = "pub".into();
    socket.ask(heard.clone()).await;
    let again = loop {
        let frame = socket.next().await;
        if frame["op"] == "msg" {
            break frame;
        }
        assert_eq!(frame["op"], "ok", "{frame}");
    };
    assert_eq!(payload(&again), payload(&heard));
    publisher.disconnect().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscriptions_of_one_connection_are_streams_of_their_own() {
    let gateway = Gateway::shared();
    let root = unique("ws/subs");
    let (a, b, all) = (
        format!("{root}/a"),
        format!("{root}/b"),
        format!("{root}/#"),
    );
    let mut socket = JsonSocket::open(gateway.http).await;
    let one = socket.subscribe(&[&a], json!({"payload": "base64"})).await;
    let two = socket
        .subscribe(&[&all, &b, &a], json!({"payload": "none"}))
        .await;
    assert_ne!(one, two);
    let mut publisher = Client::tcp(&gateway, &Opening::v311(&unique("ws"))).await;
    publisher.publish(&Publish::new(&a, "x", 1)).await;
    let mut heard = vec![socket.message().await, socket.message().await];
    heard.sort_by_key(|frame| frame["sub"].as_u64());
    assert_eq!(
        (&heard[0]["sub"], &heard[0]["payload"]),
        (&json!(one), &json!("eA=="))
    );
    assert_eq!(
        (&heard[1]["sub"], &heard[1]["encoding"]),
        (&json!(two), &json!("none"))
    );
    assert_eq!(heard[1]["matched"], json!([0, 2]));

    let answer = socket.answered(json!({"op": "unsub", "sub": two})).await;
    assert_eq!(answer["op"], "ok");
    publisher.publish(&Publish::new(&b, "not heard", 1)).await;
    publisher.publish(&Publish::new(&a, "marker", 1)).await;
    assert_eq!(payload(&socket.message().await), b"marker");
    let answer = socket.answered(json!({"op": "unsub", "sub": two})).await;
    assert_err(&answer, "not-found");
    publisher.disconnect().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retained_messages_come_first_unless_they_are_not_wanted() {
    let gateway = Gateway::shared();
    let root = unique("ws/retained");
    let filter = format!("{root}/+");
    let mut socket = JsonSocket::open(gateway.http).await;
    for leaf in ["a", "b"] {
        let topic = format!("{root}/{leaf}");
        let op = json!({"op": "pub", "topic": topic, "payload": leaf, "retain": true});
        let ok = socket.answered(op).await;
        assert!(
            ok["cursor"].is_string(),
            "what is retained is recorded: {ok}"
        );
    }
    for (retained, count) in [("auto", 2), ("always", 2), ("never", 0)] {
        let sub = socket
            .subscribe(&[&filter], json!({"retained": retained}))
            .await;
        let mut topics = vec![];
        for _ in 0..count {
            let frame = socket.message().await;
            assert_eq!(
                (&frame["snapshot"], &frame["retain"]),
                (&json!(true), &json!(true))
            );
            topics.push(frame["topic"].as_str().unwrap_or_default().to_owned());
        }
        topics.sort();
        let wanted = [format!("{root}/a"), format!("{root}/b")];
        assert_eq!(topics, wanted[..count], "{retained}");
        let live = Request::post(&format!("/api/v1/topics/{root}/c"), "live");
        assert_eq!(live.send(gateway.http).await.status, 200);
        let frame = socket.message().await;
        assert_eq!(
            (&frame["payload"], &frame["snapshot"]),
            (&json!("live"), &json!(false))
        );
        socket.answered(json!({"op": "unsub", "sub": sub})).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_messages_are_published_without_waiting_and_answered_in_their_order() {
    let gateway = Gateway::shared();
    let topic = unique("ws/pipelined");
    // somebody who is away, so that each message must be durable before its answer
    let opening = Opening::v311(&unique("away")).resuming();
    let mut away = Client::tcp(&gateway, &opening).await;
    away.subscribe(&[(&topic, 1)]).await;
    away.disconnect().await;
    let mut socket = JsonSocket::open(gateway.http).await;
    let count = 1000;
    let mut asked = vec![];
    for n in 0..count {
        let op = json!({"op": "pub", "topic": topic, "payload": n.to_string()});
        asked.push(socket.ask(op).await);
    }
    let mut before = 0;
    for reference in asked {
        let ok = socket.next().await;
        assert_eq!(
            (&ok["op"], &ok["ref"]),
            (&json!("ok"), &json!(reference)),
            "{ok}"
        );
        let cursor = ok["cursor"].as_str().unwrap_or_else(|| panic!("{ok}"));
        let offset = cursor
            .split_once('-')
            .and_then(|(_, offset)| offset.parse().ok());
        let offset: u64 = offset.unwrap_or_else(|| panic!("{cursor}"));
        assert!(offset > before, "{offset} after {before}");
        before = offset;
    }
    let mut back = Client::tcp(&gateway, &opening).await;
    for n in 0..count {
        assert_eq!(back.receive().await.text(), n.to_string());
    }
    back.disconnect().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ping_is_answered_with_its_ref_and_unknown_members_mean_nothing() {
    let gateway = Gateway::shared();
    let mut socket = JsonSocket::open(gateway.http).await;
    socket
        .say(r#"{"op":"ping","ref":"héllo","colour":{"red":[1,2,{}]}}"#)
        .await;
    assert_eq!(socket.next().await, json!({"op": "pong", "ref": "héllo"}));
    socket.say(r#" { "op" : "ping" } "#).await;
    assert_eq!(socket.next().await, json!({"op": "pong"}));
    let op = json!({"op": "sub", "topics": [unique("ws/unknown")], "tomorrow": true});
    assert_eq!(socket.answered(op).await["op"], "ok");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_is_told_and_the_conversation_goes_on() {
    let gateway = Gateway::shared();
    let mut socket = JsonSocket::open(gateway.http).await;
    for text in [
        "",
        "x",
        "[]",
        "{",
        "{}",
        r#"{"op":1}"#,
        r#"{"op":"ping","ref":[1]}"#,
    ] {
        socket.say(text).await;
        let frame = socket.next().await;
        assert_eq!(frame["op"], "err", "{text}: {frame}");
        assert_eq!(frame.get("ref"), None, "{text}: {frame}");
    }
    let many: Vec<String> = (0..65).map(|n| format!("a/{n}")).collect();
    for (op, slug) in [
        (json!({"op": "dance"}), "parameter-invalid"),
        (json!({"op": "req", "topic": "a"}), "parameter-invalid"),
        (json!({"op": "sub"}), "body-invalid"),
        (json!({"op": "sub", "topics": []}), "parameter-invalid"),
        (json!({"op": "sub", "topics": many}), "parameter-invalid"),
        (json!({"op": "sub", "topics": ["a/#/b"]}), "filter-invalid"),
        (
            json!({"op": "sub", "topics": ["a"], "since": "now", "last": 1}),
            "parameter-invalid",
        ),
        (
            json!({"op": "sub", "topics": ["a"], "last": 1001}),
            "parameter-invalid",
        ),
        (
            json!({"op": "sub", "topics": ["$share/g/a"], "since": "earliest"}),
            "shared-sub-cursor",
        ),
        (
            json!({"op": "sub", "topics": ["a"], "retained": "maybe"}),
            "parameter-invalid",
        ),
        (
            json!({"op": "sub", "topics": ["a"], "payload": "xml"}),
            "parameter-invalid",
        ),
        (
            json!({"op": "sub", "topics": ["$reply/x"]}),
            "topic-reserved",
        ),
        (json!({"op": "unsub", "sub": 99}), "not-found"),
        (json!({"op": "pub", "payload": "x"}), "body-invalid"),
        (
            json!({"op": "pub", "topic": "a/+", "payload": "x"}),
            "topic-invalid",
        ),
        (
            json!({"op": "pub", "topic": "$SYS/x", "payload": "x"}),
            "topic-reserved",
        ),
        (
            json!({"op": "pub", "topic": "a", "payload": 1}),
            "parameter-invalid",
        ),
        (
            json!({"op": "pub", "topic": "a", "payload": "*", "encoding": "base64"}),
            "parameter-invalid",
        ),
        (
            json!({"op": "pub", "topic": "a", "qos": 3}),
            "parameter-invalid",
        ),
        (
            json!({"op": "pub", "topic": "a", "idempotency_key": "k"}),
            "parameter-invalid",
        ),
        (
            json!({"op": "pub", "topic": "a", "payload": "/w==", "encoding": "base64", "properties": {"payload_format": "utf8"}}),
            "payload-format-invalid",
        ),
        (
            json!({"op": "pub", "topic": "a", "payload": "x".repeat((1 << 20) + 1)}),
            "payload-too-large",
        ),
    ] {
        let answer = socket.answered(op).await;
        assert_err(&answer, slug);
    }
    let instance = format!(
        "/clients/{}",
        socket.ready["client"].as_str().unwrap_or_default()
    );
    let answer = socket.answered(json!({"op": "unsub", "sub": 99})).await;
    assert_eq!(
        answer["problem"]["instance"],
        instance.as_str(),
        "it leads to the log"
    );
    assert_eq!(socket.answered(json!({"op": "ping"})).await["op"], "pong");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_of_the_largest_payload_goes_both_ways() {
    let gateway = Gateway::shared();
    let topic = unique("ws/large");
    let mut socket = JsonSocket::open(gateway.http).await;
    socket.subscribe(&[&topic], json!({})).await;
    let large: Vec<u8> = (0..1 << 20)
        .map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    use base64::{Engine, engine::general_purpose::STANDARD};
    let op = json!({"op": "pub", "topic": topic, "payload": STANDARD.encode(&large), "encoding": "base64", "qos": 0});
    socket.ask(op).await;
    let mut heard = false;
    for _ in 0..2 {
        let frame = socket.next().await;
        if frame["op"] == "msg" {
            assert!(payload(&frame) == large, "the bytes differ");
            heard = true;
        }
    }
    assert!(heard);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn json_is_published_as_it_was_written() {
    let gateway = Gateway::shared();
    let topic = unique("ws/json");
    let mut mqtt = Client::tcp(&gateway, &Opening::v311(&unique("ws"))).await;
    mqtt.subscribe(&[(&topic, 1)]).await;
    let mut socket = JsonSocket::open(gateway.http).await;
    let text = r#"{"celsius": 21.50, "é":[1e3,null]}"#;
    let frame = format!(r#"{{"op":"pub","topic":"{topic}","encoding":"json","payload":{text}}}"#);
    socket.say(frame).await;
    assert_eq!(socket.next().await, json!({"op": "ok", "cursor": null}));
    assert_eq!(mqtt.receive().await.text(), text);
    mqtt.disconnect().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_connection_has_so_many_filters_and_no_more() {
    let gateway = Gateway::start(&["--set", "limits.filters_per_session=5"]);
    let mut socket = JsonSocket::open(gateway.http).await;
    let first = socket.subscribe(&["a", "b", "c"], json!({})).await;
    socket.subscribe(&["d", "e"], json!({})).await;
    let sub = json!({"op": "sub", "topics": ["f"]});
    assert_err(&socket.answered(sub.clone()).await, "quota-exceeded");
    socket.answered(json!({"op": "unsub", "sub": first})).await;
    assert_eq!(socket.answered(sub).await["op"], "ok");
    gateway.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_that_falls_behind_hears_of_the_gap_and_the_state_again() {
    let gateway = Gateway::start(&[]);
    let mut publisher = Client::tcp(&gateway, &Opening::v311("in")).await;
    let mut state = Publish::new("flood/state", "state", 1);
    state.retain = true;
    publisher.publish(&state).await;
    let mut socket = JsonSocket::narrow(gateway.http).await;
    let sub = socket.subscribe(&["flood/#"], json!({})).await;
    assert_eq!(socket.message().await["snapshot"], true);
    // far more than sockets and a stream's ring hold
    for _ in 0..64 {
        publisher
            .publish(&Publish::new("flood/x", vec![b'x'; 1 << 20], 1))
            .await;
    }
    publisher
        .publish(&Publish::new("flood/end", "end", 1))
        .await;
    let (mut gaps, mut snapshots) = (0, 0);
    loop {
        let frame = socket.next().await;
        if frame["op"] == "gap" {
            assert_eq!(
                (&frame["sub"], &frame["reason"]),
                (&json!(sub), &json!("overflow")),
                "{frame}"
            );
            assert!(
                frame["lost_at_most"].as_u64().is_some_and(|lost| lost > 0),
                "{frame}"
            );
            gaps += 1;
        } else if frame["topic"] == "flood/state" {
            assert!(gaps > 0);
            snapshots += 1;
        } else if frame["topic"] == "flood/end" {
            break;
        }
    }
    assert!(
        gaps > 0 && snapshots == gaps,
        "{gaps} gaps, {snapshots} snapshots"
    );
    publisher.disconnect().await;
    gateway.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_goes_on_where_another_way_out_was_given_up() {
    let gateway = Gateway::shared();
    let topic = unique("ws/resume");
    let mut stream = Stream::ready(gateway.http, Encoding::Ndjson, &[&topic], "").await;
    let mut publisher = Client::tcp(&gateway, &Opening::v5(&unique("in"))).await;
    for text in ["1", "2", "3"] {
        publisher.publish(&Publish::new(&topic, text, 1)).await;
    }
    let first = stream.message().await;
    stream.abandon();
    let mut client = JsonSocket::open(gateway.http).await;
    let sub = json!({"op": "sub", "topics": [topic], "since": first.data["cursor"]});
    let ok = client.answered(sub).await;
    assert_eq!(
        (&ok["op"], &ok["cursor"]),
        (&json!("ok"), &first.data["cursor"])
    );
    for text in ["2", "3"] {
        let message = client.message().await;
        assert_eq!(payload(&message), text.as_bytes());
    }
    let forged = json!({"op": "sub", "topics": [topic], "since": "forged"});
    let ok = client.answered(forged).await;
    let gap = client.next().await;
    assert_eq!(
        (&gap["op"], &gap["sub"], &gap["reason"]),
        (&json!("gap"), &ok["sub"], &json!("unknown"))
    );
}
