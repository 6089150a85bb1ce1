//! `POST /api/v1/messages`: many messages, and what became of each.

use crate::support::{
    gateway::Gateway,
    http::{Request, Response},
    mqtt::Client,
    unique,
    wire::{self, Opening, property},
    within,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const MESSAGES: &str = "/api/v1/messages";

async fn post(gateway: &Gateway, target: &str, body: impl Into<Vec<u8>>) -> Response {
    Request::post(target, body)
        .header("Content-Type", "application/json")
        .send(gateway.http)
        .await
}

/// A watcher of everything below a stem of its own, and a topic that ends its wait.
async fn watched(gateway: &Gateway, stem: &str) -> (String, String, Client) {
    let stem = unique(stem);
    let mut watcher = Client::tcp(gateway, &Opening::v5(&unique("watcher"))).await;
    watcher.subscribe(&[(&format!("{stem}/#"), 2)]).await;
    let marker = format!("{stem}/marker");
    (stem, marker, watcher)
}

/// What the watcher got until now, in order.
async fn got(gateway: &Gateway, watcher: &mut Client, marker: &str) -> Vec<(String, String)> {
    let answer = Request::post(&format!("/api/v1/topics/{marker}"), "")
        .send(gateway.http)
        .await;
    assert_eq!(answer.status, 200);
    let got = watcher.receive_until(marker).await;
    let last = |topic: &str| topic.rsplit('/').next().map(str::to_owned);
    got.iter()
        .map(|one| (last(&one.topic).expect("a topic"), one.text()))
        .collect()
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(topic, text): &(&str, &str)| ((*topic).to_owned(), (*text).to_owned());
    pairs.iter().map(owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_became_of_each_message_is_told_and_those_that_can_be_are_published() {
    let gateway = Gateway::shared();
    let (stem, marker, mut watcher) = watched(&gateway, "batch/mixed").await;
    let body = json!([
        {"topic": format!("{stem}/a"), "payload": "1"},
        {"topic": format!("{stem}/b/#"), "payload": "2"},
        {"topic": format!("{stem}/c"), "payload": "AAE=", "encoding": "base64", "retain": true},
        {"payload": "no topic"},
        {"topic": "$SYS/broker/mine", "payload": "5"},
        {"topic": format!("{stem}/d"), "payload": "é", "properties": {"payload_format": "utf8"}},
        {"topic": format!("{stem}/e"), "retian": true},
        17,
    ]);
    let answer = post(&gateway, MESSAGES, body.to_string()).await;
    assert_eq!(answer.status, 207, "{}", answer.text());
    let told = answer.json();
    assert_eq!(
        (&told["accepted"], &told["rejected"]),
        (&json!(3), &json!(5))
    );
    let expected = [
        (200, ""),
        (400, "topic-invalid"),
        (200, ""),
        (400, "body-invalid"),
        (403, "topic-reserved"),
        (200, ""),
        (400, "body-invalid"),
        (400, "body-invalid"),
    ];
    let results = told["results"].as_array().expect("results");
    assert_eq!(results.len(), expected.len());
    for ((index, result), (status, slug)) in results.iter().enumerate().zip(expected) {
        assert_eq!(
            (&result["index"], &result["status"]),
            (&json!(index), &json!(status))
        );
        match slug {
            "" => {
                assert!(result.get("cursor").is_some(), "always there: {result}");
                assert!(result.get("problem").is_none());
            }
            slug => {
                let kind = result["problem"]["type"].as_str().unwrap_or_default();
                assert!(kind.ends_with(slug), "{slug}: {result}");
                assert!(result["problem"]["detail"].is_string(), "{result}");
            }
        }
    }
    assert!(results[2]["cursor"].is_string(), "it is retained: {told}");
    assert_eq!(
        got(&gateway, &mut watcher, &marker).await,
        pairs(&[("a", "1"), ("c", "\0\u{1}"), ("d", "é")])
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_message_an_array_and_lines_are_all_a_batch_and_published_in_order() {
    let gateway = Gateway::shared();
    let (stem, marker, mut watcher) = watched(&gateway, "batch/order").await;
    let envelope = |n: u32| json!({"topic": format!("{stem}/{n}"), "payload": n.to_string()});
    let many: Vec<Value> = (1..=500).map(envelope).collect();
    let lines: Vec<String> = (501..=1000).map(|n| envelope(n).to_string()).collect();
    let array = Value::from(many).to_string();
    for (kind, body, count) in [
        ("application/json", envelope(0).to_string(), 1),
        ("application/json; charset=utf-8", array, 500),
        ("application/x-ndjson", lines.join("\r\n\n"), 500),
        ("application/json", "[]".to_owned(), 0),
        ("application/x-ndjson", String::new(), 0),
    ] {
        let request = Request::post(MESSAGES, body).header("Content-Type", kind);
        let answer = request.send(gateway.http).await;
        assert_eq!(answer.status, 200, "{kind}: {}", answer.text());
        assert_eq!(answer.header("content-type"), Some("application/json"));
        let told = answer.json();
        assert_eq!(
            (&told["accepted"], &told["rejected"]),
            (&json!(count), &json!(0))
        );
        assert_eq!(told["results"].as_array().map(Vec::len), Some(count));
    }
    let got = got(&gateway, &mut watcher, &marker).await;
    let numbers: Vec<String> = got.into_iter().map(|(_, text)| text).collect();
    let expected: Vec<String> = (0..=1000).map(|n: u32| n.to_string()).collect();
    assert_eq!(numbers, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_that_travels_with_a_message_arrives() {
    let gateway = Gateway::shared();
    let (stem, _, mut watcher) = watched(&gateway, "batch/properties").await;
    let body = json!({
        "topic": format!("{stem}/x"), "payload": {"celsius": 21.5}, "encoding": "json", "qos": 2,
        "properties": {"content_type": "application/json", "payload_format": "utf8", "expiry": 60,
            "response_topic": "r/1", "correlation_data": "AAE=", "user": [["room", "kitchen"], ["room", "2"]]},
        // what readers see of a message may stay in it
        "size": 16, "snapshot": false, "cursor": null, "time": "2026-11-22T16:05:00.123Z",
    });
    let answer = post(&gateway, MESSAGES, body.to_string()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let got = watcher.receive().await;
    assert_eq!((got.text().as_str(), got.qos), (r#"{"celsius":21.5}"#, 2));
    let properties = &got.properties;
    assert_eq!(
        properties.string(property::CONTENT_TYPE),
        Some("application/json")
    );
    assert_eq!(properties.string(property::RESPONSE_TOPIC), Some("r/1"));
    let user = |value: &str| wire::Value::Pair("room".into(), value.into());
    assert_eq!(
        properties.all(property::USER),
        [&user("kitchen"), &user("2")],
        "order and duplicates"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_body_that_is_no_json_nothing_is_published() {
    let gateway = Gateway::shared();
    let (stem, marker, mut watcher) = watched(&gateway, "batch/malformed").await;
    let good = format!(r#"{{"topic":"{stem}/a","payload":"x"}}"#);
    for (kind, body) in [
        ("application/json", format!("[{good},")),
        ("application/json", format!("[{good}] trailing")),
        ("application/json", String::new()),
        ("application/x-ndjson", format!("{good}\n{{\"topic\":")),
    ] {
        let request = Request::post(MESSAGES, body).header("Content-Type", kind);
        let answer = request.send(gateway.http).await;
        answer.assert_problem(400, "body-invalid");
    }
    for kind in [
        None,
        Some("text/plain"),
        Some("application/x-www-form-urlencoded"),
    ] {
        let mut request = Request::post(MESSAGES, good.clone());
        if let Some(kind) = kind {
            request = request.header("Content-Type", kind);
        }
        let answer = request.send(gateway.http).await;
        answer.assert_problem(415, "media-type-unsupported");
    }
    post(&gateway, &format!("{MESSAGES}?atomc=true"), good.clone())
        .await
        .assert_problem(400, "parameter-invalid");
    assert_eq!(got(&gateway, &mut watcher, &marker).await, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_atomic_batch_is_published_whole_or_not_at_all() {
    let gateway = Gateway::shared();
    let (stem, marker, mut watcher) = watched(&gateway, "batch/atomic").await;
    let target = format!("{MESSAGES}?atomic=true");
    let message = |name: &str| json!({"topic": format!("{stem}/{name}"), "payload": name});
    let reserved = json!({"topic": "$SYS/x", "payload": "x"});
    let lying = json!({"topic": format!("{stem}/l"), "payload": "/w==", "encoding": "base64",
        "properties": {"payload_format": "utf8"}});
    for (bad, wrong) in [
        (
            json!([message("a"), {"topic": "b/#"}, message("c")]),
            vec![1],
        ),
        (json!([message("a"), message("b"), reserved]), vec![2]),
        (json!([lying, message("b"), lying]), vec![0, 2]),
        (json!([message("a"), 5]), vec![1]),
    ] {
        let answer = post(&gateway, &target, bad.to_string()).await;
        let problem = answer.assert_problem(422, "batch-rejected");
        let errors = problem["errors"].as_array().expect("errors");
        let indices: Vec<_> = errors.iter().map(|error| error["index"].clone()).collect();
        assert_eq!(indices, wrong, "{problem}");
        assert!(errors.iter().all(|error| error["detail"].is_string()));
    }
    assert_eq!(got(&gateway, &mut watcher, &marker).await, []);
    let good = json!([message("a"), message("b"), message("c")]);
    let answer = post(&gateway, &target, good.to_string()).await;
    assert_eq!(
        (answer.status, &answer.json()["accepted"]),
        (200, &json!(3))
    );
    assert_eq!(post(&gateway, &target, "[]").await.status, 200);
    assert_eq!(
        got(&gateway, &mut watcher, &marker).await,
        pairs(&[("a", "a"), ("b", "b"), ("c", "c")])
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_has_bounds_and_a_message_in_it_has_those_of_every_message() {
    let gateway = Gateway::shared();
    let (stem, marker, mut watcher) = watched(&gateway, "batch/bounds").await;
    let small = format!(r#"{{"topic":"{stem}/x","qos":0}}"#);
    let many = format!("[{}]", vec![small.as_str(); 1001].join(","));
    post(&gateway, MESSAGES, many)
        .await
        .assert_problem(413, "payload-too-large");
    let wide = format!("[{small},{}]", " ".repeat(8 << 20));
    post(&gateway, MESSAGES, wide)
        .await
        .assert_problem(413, "payload-too-large");
    let fits = json!({"topic": format!("{stem}/fits"), "payload": "x".repeat(1 << 20)});
    let large = json!({"topic": format!("{stem}/large"), "payload": "x".repeat((1 << 20) + 1)});
    let answer = post(&gateway, MESSAGES, json!([fits, large]).to_string()).await;
    let told = answer.json();
    assert_eq!(
        (answer.status, &told["results"][0]["status"]),
        (207, &json!(200))
    );
    assert_eq!(told["results"][1]["status"], 413, "{told}");
    let got = got(&gateway, &mut watcher, &marker).await;
    let topics: Vec<_> = got.iter().map(|(topic, _)| topic.as_str()).collect();
    assert_eq!(topics, ["fits"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_was_answered_outlives_a_kill() {
    let quiet = &["--set", "log.level=warn"];
    let gateway = Gateway::start(quiet);
    let lasting = Opening::v5("away").resuming().session_expiry(300);
    let mut away = Client::tcp(&gateway, &lasting).await;
    away.subscribe(&[("kept/#", 1)]).await;
    away.disconnect().await;
    for (target, text) in [
        (MESSAGES.to_owned(), "each"),
        (format!("{MESSAGES}?atomic=true"), "all"),
    ] {
        let batch: Vec<Value> = (0..200)
            .map(|n| json!({"topic": "kept/x", "payload": format!("{text}-{n}")}))
            .collect();
        let answer = post(&gateway, &target, Value::from(batch).to_string()).await;
        let told = answer.json();
        assert_eq!((answer.status, &told["accepted"]), (200, &json!(200)));
        assert!(told["results"][199]["cursor"].is_string());
    }
    let gateway = gateway.killed(quiet);
    let mut away = Client::tcp(&gateway, &lasting).await;
    for text in ["each", "all"] {
        for n in 0..200 {
            assert_eq!(away.receive().await.text(), format!("{text}-{n}"));
        }
    }
}

/// A request whose body is written while its answer is read.
struct Lines {
    stream: TcpStream,
    seen: Vec<u8>,
}

impl Lines {
    async fn open(gateway: &Gateway) -> Self {
        let mut stream = TcpStream::connect(gateway.http).await.expect("it accepts");
        let head = format!(
            "POST {MESSAGES} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/x-ndjson\r\n\
             Accept: application/x-ndjson\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
            gateway.http
        );
        stream.write_all(head.as_bytes()).await.expect("it reads");
        let seen = Vec::new();
        Lines { stream, seen }
    }

    async fn write(&mut self, text: &str) {
        let chunk = format!("{:x}\r\n{text}\r\n", text.len());
        let written = within(
            "the gateway to read",
            self.stream.write_all(chunk.as_bytes()),
        );
        written.await.expect("it reads");
    }

    async fn end(&mut self) {
        self.stream.write_all(b"0\r\n\r\n").await.expect("it reads");
    }

    /// The next line of the answer that is JSON: neither of the head nor of the chunks around it.
    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.seen) {
                let line: Vec<u8> = self.seen.drain(..=end).collect();
                if line.starts_with(b"{") {
                    return Some(serde_json::from_slice(&line).expect("JSON"));
                }
                continue;
            }
            let read = within("a result", self.stream.read_buf(&mut self.seen)).await;
            if read.expect("no reset") == 0 {
                return None;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_are_answered_while_more_of_them_are_sent() {
    let gateway = Gateway::shared();
    let (stem, marker, mut watcher) = watched(&gateway, "batch/lines").await;
    let mut lines = Lines::open(&gateway).await;
    let message = |n: u32| format!(r#"{{"topic":"{stem}/{n}","payload":"{n}"}}"#);
    lines.write(&format!("{}\n", message(0))).await;
    let first = lines.next().await.expect("before the end");
    assert_eq!(
        (&first["index"], &first["status"]),
        (&json!(0), &json!(200))
    );
    // cut in the middle, one that is no JSON, one that is no message, an empty one
    lines.write(&message(1)[..10]).await;
    lines
        .write(&format!("{}\r\n\nnonsense\n", &message(1)[10..]))
        .await;
    lines
        .write(&format!("{{\"topic\":\"a/#\"}}\n{}", message(4)))
        .await;
    let mut told = Vec::new();
    for _ in 1..=3 {
        told.push(lines.next().await.expect("a result"));
    }
    lines.end().await;
    told.push(lines.next().await.expect("a result"));
    let seen: Vec<_> = told
        .iter()
        .map(|one| (one["index"].as_u64(), one["status"].as_u64()))
        .collect();
    let expected = [(1, 200), (2, 400), (3, 400), (4, 200)];
    let expected: Vec<_> = expected.iter().map(|(i, s)| (Some(*i), Some(*s))).collect();
    assert_eq!(seen, expected);
    let last = lines.next().await.expect("a summary");
    assert_eq!(last, json!({"accepted": 3, "rejected": 2}));
    assert_eq!(lines.next().await, None);
    assert_eq!(
        got(&gateway, &mut watcher, &marker).await,
        pairs(&[("0", "0"), ("1", "1"), ("4", "4")])
    );
}

/// The most memory it ever held, in bytes.
fn peak(gateway: &Gateway) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid()));
    let status = status.expect("it is alive");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    number.expect("a number") * 1024
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_number_of_lines_is_taken_and_none_of_them_kept_in_memory() {
    let count: u64 = match std::env::var_os("TIDEGATE_TEST_LONG") {
        Some(_) => 40_000,
        None => 4_000,
    };
    let gateway = Gateway::start(&["--set", "log.level=warn"]);
    let before = peak(&gateway);
    let lines = Lines::open(&gateway).await;
    let (mut read, mut write) = lines.stream.into_split();
    let payload = "x".repeat(6_000);
    let writing = tokio::spawn(async move {
        let mut some = String::new();
        for n in 0..count {
            let line = format!(
                "{{\"topic\":\"many/{}\",\"payload\":\"{payload}\"}}\n",
                n % 10
            );
            some.push_str(&line);
            if n % 20 == 19 {
                let chunk = format!("{:x}\r\n{some}\r\n", some.len());
                write.write_all(chunk.as_bytes()).await.expect("it reads");
                some.clear();
            }
        }
        let long = "y".repeat(3 << 20);
        let chunk = format!("{:x}\r\n{long}\n\r\n0\r\n\r\n", long.len() + 1);
        write.write_all(chunk.as_bytes()).await.expect("it reads");
        write
    });
    let mut answer = Vec::new();
    while within("more results", read.read_buf(&mut answer))
        .await
        .expect("no reset")
        > 0
    {}
    let answer = String::from_utf8(answer).expect("JSON");
    writing.await.expect("it wrote all");
    let accepted = answer.matches("\"status\":200").count() as u64;
    assert_eq!(
        (accepted, answer.matches("\"status\":413").count()),
        (count, 1)
    );
    let summary = format!("{{\"accepted\":{count},\"rejected\":1}}");
    assert!(
        answer.contains(&summary),
        "the last line says that they are all"
    );
    let grown = peak(&gateway) - before;
    assert!(
        grown < 24 << 20,
        "{grown} bytes more for {} sent",
        count * 6_000
    );
}
