//! `GET /api/v1/stream`, live: the opening, snapshots, heartbeats, payload modes, the goodbye.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{
    gateway::Gateway,
    http::Request,
    mqtt::Client,
    stream::{Encoding, Stream},
    unique,
    wire::{Opening, Publish},
};

const BOTH: [Encoding; 2] = [Encoding::Sse, Encoding::Ndjson];

async fn publish(gateway: &Gateway, topic: &str, payload: impl Into<Vec<u8>>, retain: bool) {
    let mut message = Publish::new(topic, payload, 1);
    message.retain = retain;
    let mut client = Client::tcp(gateway, &Opening::v311(&unique("in"))).await;
    client.publish(&message).await;
    client.disconnect().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_opens_with_ready_and_says_what_it_does() {
    let gateway = Gateway::shared();
    let (one, two) = (unique("streaming/one"), unique("streaming/two"));
    for encoding in BOTH {
        let filters = [format!("{one}/#"), format!("{two}/+")];
        let filters: Vec<&str> = filters.iter().map(String::as_str).collect();
        let mut stream = Stream::open(gateway.http, encoding, &filters, "").await;
        let kind = stream
            .head
            .header("content-type")
            .unwrap_or_default()
            .to_owned();
        match encoding {
            Encoding::Sse => assert_eq!(kind, "text/event-stream; charset=utf-8"),
            Encoding::Ndjson => assert!(kind.starts_with("application/x-ndjson"), "{kind}"),
        }
        assert_eq!(
            stream.head.header("cache-control"),
            Some("no-store, no-transform")
        );
        assert_eq!(stream.head.header("x-accel-buffering"), Some("no"));
        assert!(
            stream
                .head
                .header("vary")
                .is_some_and(|v| v.contains("Accept") && v.contains("Origin"))
        );
        assert_eq!(stream.head.header("content-encoding"), None);
        let ready = stream.next().await;
        assert_eq!(ready.name, "ready");
        assert_eq!(ready.data["filters"], json!(filters));
        assert_eq!(
            (&ready.data["live"], &ready.data["heartbeat"]),
            (&json!(true), &json!(15))
        );
        if encoding == Encoding::Sse {
            assert!(
                stream.retry.is_some_and(|ms| (2000..=5000).contains(&ms)),
                "retry {:?}",
                stream.retry
            );
            assert_eq!(
                stream.comments.first().map(String::as_str),
                Some("tidegate v1")
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accept_chooses_the_encoding() {
    let gateway = Gateway::shared();
    let target = "/api/v1/stream?topic=streaming/accept";
    for (accept, kind) in [
        (None, "text/event-stream"),
        (Some("*/*"), "text/event-stream"),
        (Some("text/event-stream"), "text/event-stream"),
        (Some("text/*"), "text/event-stream"),
        (Some("application/x-ndjson"), "application/x-ndjson"),
        (
            Some("application/x-ndjson, text/event-stream;q=0.5"),
            "application/x-ndjson",
        ),
        (
            Some("application/x-ndjson;q=0.5, text/event-stream"),
            "text/event-stream",
        ),
    ] {
        let mut request = Request::get(target);
        if let Some(accept) = accept {
            request = request.header("Accept", accept);
        }
        let head = request.open(gateway.http).await.head;
        assert!(
            head.header("content-type")
                .is_some_and(|v| v.starts_with(kind)),
            "{accept:?}: {head:?}"
        );
    }
    for accept in ["text/html", "application/json", "image/png, text/plain"] {
        let answer = Request::get(target)
            .header("Accept", accept)
            .send(gateway.http)
            .await;
        answer.assert_problem(406, "not-acceptable");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retained_messages_come_first_as_a_snapshot_without_an_id() {
    let gateway = Gateway::shared();
    let root = unique("streaming/snapshot");
    publish(&gateway, &format!("{root}/a"), "1", true).await;
    publish(&gateway, &format!("{root}/b"), "2", true).await;
    for encoding in BOTH {
        for (option, count) in [
            ("", 2),
            ("retained=auto", 2),
            ("retained=always", 2),
            ("retained=never", 0),
        ] {
            let filter = format!("{root}/+");
            let mut stream = Stream::open(gateway.http, encoding, &[&filter], option).await;
            let ready = stream.next().await;
            let mut topics = vec![];
            for _ in 0..count {
                let event = stream.message().await;
                assert_eq!(
                    (&event.data["snapshot"], &event.data["retain"]),
                    (&json!(true), &json!(true))
                );
                assert_eq!(
                    event.last_id, ready.last_id,
                    "a snapshot does not move the cursor"
                );
                topics.push(event.data["topic"].as_str().unwrap_or_default().to_owned());
            }
            topics.sort();
            let wanted = [format!("{root}/a"), format!("{root}/b")];
            assert_eq!(topics, wanted[..count], "{option}");
            publish(&gateway, &format!("{root}/c"), "live", false).await;
            let live = stream.message().await;
            assert_eq!(
                (&live.data["payload"], &live.data["snapshot"]),
                (&json!("live"), &json!(false))
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heartbeats_come_at_the_pace_asked_for() {
    let gateway = Gateway::shared();
    let filter = unique("streaming/heartbeat");
    let mut sse = Stream::ready(gateway.http, Encoding::Sse, &[&filter], "heartbeat=5").await;
    let mut ndjson = Stream::ready(gateway.http, Encoding::Ndjson, &[&filter], "heartbeat=5").await;
    let since = Instant::now();
    let beat = ndjson.next().await;
    assert_eq!(beat.name, "heartbeat");
    let waited = since.elapsed();
    assert!(
        (Duration::from_secs(3)..Duration::from_secs(10)).contains(&waited),
        "{waited:?}"
    );
    // on SSE a heartbeat fires no event; it is seen in the comments before the next one
    publish(&gateway, &filter, "after", false).await;
    let event = sse.message().await;
    assert_eq!(event.data["payload"], "after");
    assert!(
        sse.comments.iter().any(|comment| comment == "hb"),
        "{:?}",
        sse.comments
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn overlapping_filters_deliver_once_and_tell_which_matched() {
    let gateway = Gateway::shared();
    let root = unique("streaming/matched");
    for encoding in BOTH {
        let filters = [
            format!("{root}/#"),
            format!("{root}/other"),
            format!("{root}/+"),
        ];
        let filters: Vec<&str> = filters.iter().map(String::as_str).collect();
        let mut stream = Stream::ready(gateway.http, encoding, &filters, "").await;
        publish(&gateway, &format!("{root}/a"), "x", false).await;
        publish(&gateway, &format!("{root}/a/b"), "y", false).await;
        let first = stream.message().await;
        assert_eq!(
            (&first.data["payload"], &first.data["matched"]),
            (&json!("x"), &json!([0, 2]))
        );
        let second = stream.message().await;
        assert_eq!(
            (&second.data["payload"], &second.data["matched"]),
            (&json!("y"), &json!([0]))
        );
        let mut single = Stream::ready(gateway.http, encoding, &filters[..1], "").await;
        publish(&gateway, &format!("{root}/a"), "z", false).await;
        assert!(
            single.message().await.data.get("matched").is_none(),
            "one filter needs no telling"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn payload_modes_choose_the_rendering() {
    let gateway = Gateway::shared();
    let topic = unique("streaming/payload");
    for encoding in BOTH {
        for (mode, text, binary) in [
            ("auto", (json!("hé\n"), "utf8"), (json!("/wA="), "base64")),
            (
                "base64",
                (json!("aMOpCg=="), "base64"),
                (json!("/wA="), "base64"),
            ),
        ] {
            let mut stream = Stream::ready(
                gateway.http,
                encoding,
                &[&topic],
                &format!("payload={mode}"),
            )
            .await;
            publish(&gateway, &topic, "hé\n", false).await;
            publish(&gateway, &topic, vec![0xFF, 0], false).await;
            for (payload, name) in [text, binary] {
                let event = stream.message().await;
                assert_eq!(
                    (&event.data["payload"], &event.data["encoding"]),
                    (&payload, &json!(name)),
                    "{mode}"
                );
            }
        }
        let mut stream = Stream::ready(gateway.http, encoding, &[&topic], "payload=none").await;
        publish(&gateway, &topic, "hidden", false).await;
        let event = stream.message().await;
        assert_eq!(
            (&event.data["encoding"], &event.data["size"]),
            (&json!("none"), &json!(6))
        );
        assert!(event.data["payload"].is_null() && !event.data.to_string().contains("hidden"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_are_unnamed_events_and_carry_the_whole_envelope() {
    let gateway = Gateway::shared();
    let topic = unique("streaming/envelope");
    let mut stream = Stream::ready(gateway.http, Encoding::Sse, &[&topic], "").await;
    let target = format!("/api/v1/topics/{topic}?qos=2&user=a=1&user=a=2&expiry=100");
    assert_eq!(
        Request::post(&target, "x").send(gateway.http).await.status,
        200
    );
    let event = stream.message().await;
    let data = &event.data;
    assert_eq!(data["topic"], topic);
    assert_eq!(
        (&data["qos"], &data["retain"], &data["size"]),
        (&json!(2), &json!(false), &json!(1))
    );
    assert!(
        data.get("cursor").is_some(),
        "null when nothing was recorded: {data}"
    );
    if let Some(cursor) = data["cursor"].as_str() {
        assert_eq!(event.last_id, cursor, "the id is the cursor");
        assert!(
            cursor
                .bytes()
                .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-')),
            "{cursor}"
        );
    }
    assert_eq!(data["properties"]["user"], json!([["a", "1"], ["a", "2"]]));
    assert!(data["time"].as_str().is_some_and(|t| t.ends_with('Z')));
    assert!(
        data["properties"].get("content_type").is_none(),
        "what is absent is omitted"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_share_group_may_contain_streams() {
    let gateway = Gateway::shared();
    let (topic, end) = (unique("streaming/shared"), unique("streaming/end"));
    let filter = format!("$share/g/{topic}");
    let mut one = Stream::ready(gateway.http, Encoding::Sse, &[&filter, &end], "").await;
    let mut two = Stream::ready(gateway.http, Encoding::Ndjson, &[&filter, &end], "").await;
    for n in 0..10 {
        publish(&gateway, &topic, n.to_string(), false).await;
    }
    publish(&gateway, &end, "end", false).await;
    let mut seen = vec![];
    for stream in [&mut one, &mut two] {
        loop {
            let event = stream.message().await;
            if event.data["topic"] == end {
                break;
            }
            seen.push(
                event.data["payload"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned(),
            );
        }
    }
    seen.sort();
    assert_eq!(seen, (0..10).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn options_that_are_wrong_or_unknown_are_problems_that_name_them() {
    let gateway = Gateway::shared();
    for (query, parameter) in [
        ("heartbeat=4", "heartbeat"),
        ("heartbeat=61", "heartbeat"),
        ("heartbeat=x", "heartbeat"),
        ("payload=xml", "payload"),
        ("retained=maybe", "retained"),
        ("max_age=x", "max_age"),
        ("max_age=59", "max_age"),
        ("unknown=1", "unknown"),
        ("payload=auto&payload=none", "payload"),
    ] {
        let target = format!("/api/v1/stream?topic=a&{query}");
        let answer = Request::get(&target).open(gateway.http).await;
        assert_eq!(answer.head.status, 400, "{target}");
        let problem = Request::get(&target)
            .send(gateway.http)
            .await
            .assert_problem(400, "parameter-invalid");
        assert!(
            problem.to_string().contains(parameter),
            "{query}: {problem}"
        );
    }
    let nothing = Request::get("/api/v1/stream").send(gateway.http).await;
    assert_eq!(nothing.status, 400, "{}", nothing.text());
    let many: Vec<String> = (0..65).map(|n| format!("topic=a/{n}")).collect();
    let answer = Request::get(&format!("/api/v1/stream?{}", many.join("&")))
        .send(gateway.http)
        .await;
    assert_eq!(answer.status, 400, "at most 64 filters: {}", answer.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_says_bye_to_every_stream() {
    let mut gateway = Gateway::start(&[]);
    let mut streams = vec![];
    for encoding in BOTH {
        streams.push(Stream::ready(gateway.http, encoding, &["streaming/#"], "").await);
    }
    gateway.terminate();
    for mut stream in streams {
        let bye = loop {
            let event = stream.next().await;
            if event.name != "heartbeat" {
                break event;
            }
        };
        assert_eq!(
            (bye.name.as_str(), &bye.data["reason"]),
            ("bye", &json!("shutting_down"))
        );
        assert_eq!(bye.data["reconnect"], true);
        assert!(stream.next_or_end().await.is_none());
    }
    let status = gateway.exited_within(Duration::from_secs(10));
    assert_eq!(status.and_then(|s| s.code()), Some(0), "{}", gateway.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn head_is_answered_as_get_would_be() {
    let gateway = Gateway::start(&["--set", "features.wildcard_subscriptions=false"]);
    for (target, status) in [
        ("/api/v1/stream?topic=a", 200),
        ("/api/v1/stream?topic=a/%23", 403),
    ] {
        let got = Request::get(target).open(gateway.http).await;
        let head = Request::new("HEAD", target).send(gateway.http).await;
        assert_eq!((got.head.status, head.status), (status, status));
        let (kind, begins) = ("content-type", "mqtt-cursor");
        assert_eq!(head.header(kind), got.head.header(kind));
        // it begins where the log ends, and what the gateway tells of itself is in there, too
        for answer in [&head, &got.head] {
            assert_eq!(answer.header(begins).is_some(), status == 200);
        }
    }
}
