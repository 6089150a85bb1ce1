//! How a topic is spelled in a URL: the path form, its `?topic=` twin, and what is no topic at all.

use crate::support::{
    gateway::Gateway,
    http::{Request, encode},
    mqtt::Client,
    stream::{Encoding, Stream},
    unique,
    wire::{Opening, Publish},
};

/// Topics by their spelling after `/api/v1/topics`; `{}` stands for a level of the test's own.
const SPELLINGS: [(&str, &str); 18] = [
    ("/{}/a/b", "{}/a/b"),
    ("/{}%2Fa%2fb", "{}/a/b"),
    ("//{}/a", "/{}/a"),
    ("/%2F{}/a", "/{}/a"),
    ("/{}//b", "{}//b"),
    ("/{}/a/", "{}/a/"),
    ("/{}//", "{}//"),
    ("/{}/caf%C3%A9/%E5%AE%B6", "{}/café/家"),
    ("/{}/a%20b", "{}/a b"),
    ("/{}/100%25", "{}/100%"),
    ("/{}/x;y=1,2:3@4!$&'()*=~", "{}/x;y=1,2:3@4!$&'()*=~"),
    ("/{}/%252F", "{}/%2F"),
    ("?topic={}/a/b", "{}/a/b"),
    ("?topic=%2F{}%2F%2Fb", "/{}//b"),
    ("?topic={}/../b/.", "{}/../b/."),
    ("?topic={}/living+room", "{}/living room"),
    ("?topic={}/%20", "{}/ "),
    ("?topic={}/x%3Fy%26z", "{}/x?y&z"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_spelling_reaches_exactly_its_topic() {
    let gateway = Gateway::shared();
    let level = unique("spelling");
    let mut watcher = Client::tcp(&gateway, &Opening::v5(&unique("watcher"))).await;
    watcher
        .subscribe(&[(&format!("{level}/#"), 0), (&format!("/{level}/#"), 0)])
        .await;
    for (spelling, topic) in SPELLINGS {
        let (target, topic) = (
            format!("/api/v1/topics{}", spelling.replace("{}", &level)),
            topic.replace("{}", &level),
        );
        let answer = Request::post(&target, "x").send(gateway.http).await;
        assert_eq!(answer.status, 200, "POST {target}: {}", answer.text());
        assert_eq!(answer.json()["topic"], topic, "POST {target}");
        assert_eq!(watcher.receive().await.topic, topic, "POST {target}");

        // the four other verbs read the same spelling the same way
        let put = Request::put(&target, "kept").send(gateway.http).await;
        assert_eq!(put.status, 200, "PUT {target}: {}", put.text());
        assert_eq!(watcher.receive().await.topic, topic, "PUT {target}");
        let twin = format!("/api/v1/topics?topic={}", encode(&topic));
        for target in [&target, &twin] {
            let got = Request::get(target).send(gateway.http).await;
            assert_eq!(
                (got.status, got.text().as_str()),
                (200, "kept"),
                "GET {target}"
            );
            let head = Request::new("HEAD", target).send(gateway.http).await;
            assert_eq!(head.status, 200, "HEAD {target}");
        }
        let gone = Request::new("DELETE", &target).send(gateway.http).await;
        assert_eq!(gone.status, 204, "DELETE {target}");
        assert_eq!(watcher.receive().await.topic, topic, "DELETE {target}");
        Request::get(&twin)
            .send(gateway.http)
            .await
            .assert_problem(404, "not-retained");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_topic_name_is_a_problem_for_every_verb() {
    let gateway = Gateway::shared();
    let long = format!("/{}", "x/".repeat(129));
    let bad = [
        "/s/%2B/t",
        "/s/+/t",
        "/s/%23",
        "/+",
        "/a+b",
        "/a%00b",
        "/a%FF",
        "/caf%E9",
        "/%ED%A0%80",
        "/%C0%AF",
        "/a%zz",
        "/a%",
        "/a%2",
        "/a%0Ab",
        "/a%7Fb",
        "/a%C2%85",
        "/a%EF%BF%BE",
        "/a%E2%80%AEb",
        "?topic=s/%23",
        "?topic=s/+/t",
        "?topic=a%00b",
        "?topic=%FF",
        "?topic=%zz",
        "?topic=",
        &long,
    ];
    for spelling in bad {
        let target = format!("/api/v1/topics{spelling}");
        for request in [
            Request::post(&target, "x"),
            Request::put(&target, "x"),
            Request::get(&target),
            Request::new("DELETE", &target),
        ] {
            let answer = request.send(gateway.http).await;
            let problem = answer.assert_problem(400, "topic-invalid");
            assert_eq!(problem["reason_code"], 0x90, "{target}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_given_twice_or_not_at_all_is_a_problem() {
    let gateway = Gateway::shared();
    for target in ["/api/v1/topics?topic=a&topic=b", "/api/v1/topics/a?topic=b"] {
        let answer = Request::post(target, "x").send(gateway.http).await;
        assert_eq!(answer.status, 400, "{target}: {}", answer.text());
        answer.assert_problem(400, "parameter-invalid");
    }
    let answer = Request::post("/api/v1/topics", "x")
        .send(gateway.http)
        .await;
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert!(
        answer
            .header("content-type")
            .is_some_and(|v| v.starts_with("application/problem+json"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_with_a_dollar_are_reserved_but_readable() {
    let gateway = Gateway::shared();
    for target in [
        "/api/v1/topics/$SYS/x",
        "/api/v1/topics/%24SYS/x",
        "/api/v1/topics?topic=$other/x",
    ] {
        for request in [
            Request::post(target, "x"),
            Request::put(target, "x"),
            Request::new("DELETE", target),
        ] {
            request
                .send(gateway.http)
                .await
                .assert_problem(403, "topic-reserved");
        }
    }
    Request::get("/api/v1/topics/$SYS/nothing")
        .send(gateway.http)
        .await
        .assert_problem(404, "not-retained");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn filters_read_a_plus_as_the_wildcard_when_it_is_a_whole_level() {
    let gateway = Gateway::shared();
    let level = unique("plus");
    for (query, filter) in [
        ("{}/+/t", "{}/+/t"),
        ("{}/%2B/t", "{}/+/t"),
        ("{}/living+room/%2B", "{}/living room/+"),
        ("{}/living+room/+", "{}/living room/+"),
        ("{}/%23", "{}/#"),
        ("+/{}/%23", "+/{}/#"),
        ("{}/%20/t", "{}/ /t"),
        ("{}/+a", "{}/ a"),
        ("%24share/g/{}/+", "$share/g/{}/+"),
        ("{}//", "{}//"),
    ] {
        let target = format!("/api/v1/stream?topic={}", query.replace("{}", &level));
        let mut stream = Stream::raw(gateway.http, Encoding::Sse, &target).await;
        assert_eq!(stream.head.status, 200, "{target}");
        let ready = stream.next().await;
        assert_eq!(
            ready.data["filters"],
            serde_json::json!([filter.replace("{}", &level)]),
            "{target}"
        );
        // a lost `#` cannot be seen, only guessed: the hint says how to send it
        let hinted = ready.data["hint"]
            .as_str()
            .is_some_and(|hint| hint.contains("%23"));
        assert_eq!(hinted, filter.ends_with('/'), "{target}: {}", ready.data);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_filter_is_a_problem() {
    let gateway = Gateway::shared();
    for query in [
        "topic=a/%23/b",
        "topic=a%2B/b",
        "topic=a%23",
        "topic=",
        "topic=%00",
        "topic=%FF",
        "topic=%zz",
        "topic=a%2",
        "topic=%24share/g",
        "topic=%24share//a",
        "topic=%24share/g%2B/a",
        "topic=ok&topic=a%23",
    ] {
        let target = format!("/api/v1/stream?{query}");
        let problem = Request::get(&target)
            .send(gateway.http)
            .await
            .assert_problem(400, "filter-invalid");
        assert_eq!(problem["reason_code"], 0x8F, "{target}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_that_only_mqtt_can_create_are_streamed_safely() {
    let gateway = Gateway::shared();
    let root = unique("control");
    let topic = format!("{root}/line\nbreak\rand\u{7f}bell\u{7}\u{2028}data: x\n\nid: 7");
    let mut publisher = Client::tcp(&gateway, &Opening::v5(&unique("in"))).await;
    for encoding in [Encoding::Sse, Encoding::Ndjson] {
        let mut stream = Stream::ready(gateway.http, encoding, &[&format!("{root}/#")], "").await;
        let remembered = publisher
            .publish(&Publish::new(&topic, "a\r\nevent: ready\n\n", 1))
            .await;
        assert!(remembered < 0x80);
        let event = stream.message().await;
        assert_eq!(event.data["topic"], topic);
        assert_eq!(event.payload(), b"a\r\nevent: ready\n\n");
        assert_ne!(event.last_id, "7");
    }
}
