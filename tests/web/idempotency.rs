//! `Idempotency-Key`: sent again, answered again, done once.

use std::collections::HashMap;

use crate::support::{
    gateway::Gateway,
    http::{Request, Response},
    mqtt::Client,
    unique,
    wire::Opening,
    within,
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};

const QUIET: &[&str] = &["--set", "log.level=warn"];
const MESSAGES: &str = "/api/v1/messages";

fn keyed(target: &str, key: &str, body: impl Into<Vec<u8>>) -> Request {
    Request::post(target, body).header("Idempotency-Key", &format!("\"{key}\""))
}

fn batch(key: &str, body: &serde_json::Value) -> Request {
    keyed(MESSAGES, key, body.to_string()).header("Content-Type", "application/json")
}

fn is_replay(answer: &Response) -> bool {
    answer.header("idempotency-replayed") == Some("true")
}

async fn watched(gateway: &Gateway, stem: &str) -> (String, Client) {
    let stem = unique(stem);
    let mut watcher = Client::tcp(gateway, &Opening::v5(&unique("watcher"))).await;
    watcher.subscribe(&[(&format!("{stem}/#"), 2)]).await;
    (stem, watcher)
}

/// Payloads that came until now.
async fn got(gateway: &Gateway, watcher: &mut Client, stem: &str) -> Vec<String> {
    let marker = format!("{stem}/marker");
    let answer = Request::post(&format!("/api/v1/topics/{marker}"), "")
        .send(gateway.http)
        .await;
    assert_eq!(answer.status, 200);
    let got = watcher.receive_until(&marker).await;
    got.iter().map(|one| one.text()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publish_that_is_sent_again_is_answered_again_and_done_once() {
    let gateway = Gateway::shared();
    let (stem, mut watcher) = watched(&gateway, "once/publish").await;
    let target = format!("/api/v1/topics/{stem}/t");
    for (query, status) in [("", 200), ("?qos=0", 200), ("?qos=2&retain=true", 200)] {
        let request = keyed(&format!("{target}{query}"), &unique("key"), query);
        let first = request.send(gateway.http).await;
        assert_eq!(
            (first.status, is_replay(&first)),
            (status, false),
            "{}",
            first.text()
        );
        assert!(
            first.json()["cursor"].is_string(),
            "always recorded: {}",
            first.text()
        );
        for _ in 0..3 {
            let again = request.send(gateway.http).await;
            assert!(is_replay(&again));
            assert_eq!((again.status, &again.body), (first.status, &first.body));
            assert_eq!(again.header("mqtt-cursor"), first.header("mqtt-cursor"));
            assert_eq!(again.header("content-type"), first.header("content-type"));
        }
    }
    let minimal = keyed(&target, &unique("key"), "minimal").header("Prefer", "return=minimal");
    let first = minimal.send(gateway.http).await;
    let again = minimal.send(gateway.http).await;
    assert_eq!(
        (first.status, again.status, is_replay(&again)),
        (204, 204, true)
    );
    assert!(first.header("mqtt-cursor").is_some());
    assert_eq!(again.header("mqtt-cursor"), first.header("mqtt-cursor"));
    assert_eq!(
        got(&gateway, &mut watcher, &stem).await,
        ["", "?qos=0", "?qos=2&retain=true", "minimal"]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_is_sent_again_is_answered_again_and_done_once() {
    let gateway = Gateway::shared();
    let (stem, mut watcher) = watched(&gateway, "once/batch").await;
    let topic = format!("{stem}/t");
    let good =
        json!([{"topic": topic, "payload": "1"}, {"topic": topic, "payload": "2", "qos": 0}]);
    let mixed = json!([{"topic": topic, "payload": "3"}, {"topic": "a/#"}, {"topic": topic, "payload": "4"}]);
    for (body, status) in [(&good, 200), (&mixed, 207)] {
        let request = batch(&unique("key"), body);
        let first = request.send(gateway.http).await;
        assert_eq!(
            (first.status, is_replay(&first)),
            (status, false),
            "{}",
            first.text()
        );
        let again = request.send(gateway.http).await;
        assert_eq!((again.status, is_replay(&again)), (status, true));
        assert_eq!(again.body, first.body);
        let results = first.json()["results"].clone();
        let accepted = results.as_array().expect("results").iter();
        let accepted = accepted.filter(|one| one["status"] == 200);
        assert!(
            accepted.clone().count() == 2 && accepted.clone().all(|one| one["cursor"].is_string())
        );
    }
    assert_eq!(
        got(&gateway, &mut watcher, &stem).await,
        ["1", "2", "3", "4"]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_stands_for_one_request_only() {
    let gateway = Gateway::shared();
    let (stem, mut watcher) = watched(&gateway, "once/mismatch").await;
    let key = unique("key");
    let target = format!("/api/v1/topics/{stem}/t");
    let first = keyed(&target, &key, "x").send(gateway.http).await;
    assert_eq!(first.status, 200);
    let others = [
        keyed(&target, &key, "y"),
        keyed(&format!("{target}/u"), &key, "x"),
        keyed(&format!("{target}?qos=2"), &key, "x"),
        keyed(&format!("{target}?user=a=b"), &key, "x"),
        keyed(&target, &key, "x").header("Content-Type", "text/plain"),
        batch(&key, &json!({"topic": format!("{stem}/t"), "payload": "x"})),
    ];
    for other in others {
        let answer = other.send(gateway.http).await;
        answer.assert_problem(422, "idempotency-mismatch");
    }
    // the same topic and options in other words, the key without quotes
    let same = format!("/api/v1/topics?topic={}/t&qos=1", stem.replace('/', "%2F"));
    let again = Request::post(&same, "x").header("Idempotency-Key", &key);
    assert!(is_replay(&again.send(gateway.http).await));
    assert_eq!(got(&gateway, &mut watcher, &stem).await, ["x"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_key_is_refused_and_so_is_a_key_where_none_is_needed() {
    let gateway = Gateway::shared();
    let target = format!("/api/v1/topics/{}", unique("once/keys"));
    let long = "x".repeat(129);
    for key in ["", "\"\"", "\"a", "a b", "a,b", "caf\u{e9}", long.as_str()] {
        let request = Request::post(&target, "x").header("Idempotency-Key", key);
        let answer = request.send(gateway.http).await;
        let problem = answer.assert_problem(400, "parameter-invalid");
        assert!(problem.to_string().contains("Idempotency-Key"), "{problem}");
    }
    for request in [Request::put(&target, "x"), Request::new("DELETE", &target)] {
        let request = request.header("Idempotency-Key", "\"k\"");
        request
            .send(gateway.http)
            .await
            .assert_problem(400, "parameter-invalid");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_remembered_if_it_would_be_the_same_again() {
    let gateway = Gateway::shared();
    let target = format!(
        "/api/v1/topics/{}?payload_format=utf8",
        unique("once/refused")
    );
    let broken = batch(&unique("key"), &json!("not a message"));
    let atomic = json!([{"topic": "a/#"}]).to_string();
    let atomic = keyed(&format!("{MESSAGES}?atomic=true"), &unique("key"), atomic)
        .header("Content-Type", "application/json");
    let malformed = keyed(MESSAGES, &unique("key"), "[").header("Content-Type", "application/json");
    for (request, status) in [
        (keyed(&target, &unique("key"), b"\xff".to_vec()), 422),
        (broken, 207),
        (atomic, 422),
        (malformed, 400),
    ] {
        let first = request.send(gateway.http).await;
        let again = request.send(gateway.http).await;
        assert_eq!(
            (first.status, is_replay(&first)),
            (status, false),
            "{}",
            first.text()
        );
        assert_eq!((again.status, is_replay(&again)), (status, true));
        assert_eq!(again.body, first.body);
        assert_eq!(again.header("content-type"), first.header("content-type"));
    }
    // who may not today may tomorrow: the key is free
    let key = unique("key");
    let reserved = keyed("/api/v1/topics/$SYS/mine", &key, "x");
    for _ in 0..2 {
        let answer = reserved.send(gateway.http).await;
        answer.assert_problem(403, "topic-reserved");
        assert!(!is_replay(&answer));
    }
    let target = format!("/api/v1/topics/{}", unique("once/free"));
    assert_eq!(
        keyed(&target, &key, "x").send(gateway.http).await.status,
        200
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_at_a_time_one_is_done() {
    let gateway = Gateway::shared();
    let (stem, mut watcher) = watched(&gateway, "once/race").await;
    for round in 0..20 {
        let target = format!("/api/v1/topics/{stem}/t?qos=2");
        let request = keyed(&target, &unique("key"), round.to_string());
        let mut all = JoinSet::new();
        for _ in 0..8 {
            let (request, address) = (request.clone(), gateway.http);
            all.spawn(async move { request.send(address).await });
        }
        let answers = all.join_all().await;
        let fresh = answers
            .iter()
            .filter(|one| one.status == 200 && !is_replay(one));
        assert_eq!(fresh.count(), 1, "round {round}");
        for answer in answers.iter().filter(|one| one.status != 200) {
            answer.assert_problem(409, "idempotency-in-flight");
        }
    }
    let expected: Vec<String> = (0..20).map(|round: u32| round.to_string()).collect();
    assert_eq!(got(&gateway, &mut watcher, &stem).await, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn discovery_tells_how_long_keys_are_remembered() {
    let gateway = Gateway::shared();
    let told = Request::get("/api/v1").send(gateway.http).await.json();
    assert_eq!(told["idempotency"]["seconds"], 86_400);
    assert_eq!(told["idempotency"]["keys"], 100_000);
}

/// Sends a request; its status, if an answer came before the connection ended.
async fn try_send(request: &Request, address: std::net::SocketAddr) -> Option<u16> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    stream.write_all(&request.encode(address)).await.ok()?;
    let mut answer = Vec::new();
    // a reset after the answer does not take it back
    let _ = within("an answer or the end", stream.read_to_end(&mut answer)).await;
    let text = String::from_utf8_lossy(&answer);
    text.split_once("\r\n\r\n")?;
    text.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()
}

/// One request of the run below, and what must arrive of it.
struct Job {
    request: Request,
    texts: Vec<String>,
}

fn job(n: usize) -> Job {
    let key = format!("job-{n}");
    let (request, texts) = match n % 3 {
        0 => {
            let texts: Vec<_> = (0..3).map(|nth| format!("{n}.{nth}")).collect();
            let message = |text: &String| json!({"topic": "job/batch", "payload": text, "qos": 2});
            (batch(&key, &texts.iter().map(message).collect()), texts)
        }
        _ => {
            let text = n.to_string();
            (
                keyed("/api/v1/topics/job/one?qos=2", &key, text.as_str()),
                vec![text],
            )
        }
    };
    Job {
        request: request.header("Connection", "close"),
        texts,
    }
}

/// Lets the durable subscriber come, take what is there, and go.
async fn take_all(gateway: &Gateway, seen: &mut HashMap<String, u32>) {
    let opening = Opening::v5("subscriber").resuming().session_expiry(3600);
    let (mut subscriber, _) = Client::tcp_with_welcome(gateway, &opening).await;
    let marker = Request::post("/api/v1/topics/job/marker?qos=2", "marker");
    assert_eq!(marker.send(gateway.http).await.status, 200);
    for message in subscriber.receive_until("job/marker").await {
        *seen.entry(message.text()).or_default() += 1;
    }
    subscriber.disconnect().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_request_is_delivered_once_however_often_it_is_sent_and_the_gateway_killed() {
    let (jobs, kills) = match std::env::var_os("TIDEGATE_TEST_LONG") {
        Some(_) => (1_000, 25),
        None => (100, 4),
    };
    let jobs: Vec<Job> = (0..jobs).map(job).collect();
    let mut gateway = Gateway::start(QUIET);
    let opening = Opening::v5("subscriber").resuming().session_expiry(3600);
    let mut subscriber = Client::tcp(&gateway, &opening).await;
    subscriber.subscribe(&[("job/#", 2)]).await;
    subscriber.disconnect().await;
    let mut seen = HashMap::new();
    let mut confirmed = vec![false; jobs.len()];
    let (mut cut_off, mut replayed) = (0, 0);
    for round in 0..=kills {
        let is_last = round == kills;
        let mut sending = JoinSet::new();
        for (n, job) in jobs.iter().enumerate() {
            // new ones, those whose answer is not known, and some that were done long ago
            let is_due = n * kills / jobs.len() <= round && !confirmed[n];
            let is_again = confirmed[n] && (n + round) % 7 == 0;
            let copies = match (is_due, is_again) {
                (true, _) => 1 + (n * 31 + round) % 5,
                (_, again) => usize::from(again),
            };
            for _ in 0..copies {
                let (request, address) = (job.request.clone(), gateway.http);
                sending.spawn(async move { (n, try_send(&request, address).await) });
            }
        }
        let (mut answered, all) = (0, sending.len());
        while let Some(done) = sending.join_next().await {
            match done.expect("no sender panics") {
                (n, Some(200)) => {
                    replayed += usize::from(confirmed[n]);
                    confirmed[n] = true;
                }
                (_, Some(409)) => {}
                (n, Some(other)) => panic!("job {n}: {other}"),
                (_, None) => cut_off += 1,
            }
            answered += 1;
            if answered == all / 2 && !is_last {
                // the other half is under way
                gateway = tokio::task::block_in_place(|| gateway.killed(QUIET));
            }
        }
        if round % 2 == 0 {
            take_all(&gateway, &mut seen).await;
        }
    }
    while let Some(n) = confirmed.iter().position(|confirmed| !confirmed) {
        match try_send(&jobs[n].request, gateway.http).await {
            Some(200) => confirmed[n] = true,
            other => assert_eq!(other, Some(409), "job {n}"),
        }
    }
    take_all(&gateway, &mut seen).await;
    assert!(cut_off > 0, "no kill cut a request off");
    assert!(replayed > 0, "nothing was answered again");
    let expected: HashMap<String, u32> = jobs
        .iter()
        .flat_map(|job| &job.texts)
        .map(|text| (text.clone(), 1))
        .collect();
    let wrong: Vec<_> = expected
        .keys()
        .chain(seen.keys())
        .filter(|text| seen.get(*text) != Some(&1))
        .collect();
    assert!(wrong.is_empty(), "not exactly once: {wrong:?}");
    assert_eq!(seen.len(), expected.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_alone_in_its_request_may_carry_the_key_itself() {
    let gateway = Gateway::shared();
    let (topic, key) = (unique("once/envelope"), unique("key"));
    let publish = async |key: &str, header: Option<&str>, wrap: &str| {
        let one =
            format!("{{\"topic\":\"{topic}\",\"payload\":\"x\",\"idempotency_key\":\"{key}\"}}");
        let request = Request::post("/api/v1/messages", wrap.replace('_', &one));
        let mut request = request.header("Content-Type", "application/json");
        if let Some(header) = header {
            request = request.header("Idempotency-Key", header);
        }
        request.send(gateway.http).await
    };
    let first = publish(&key, None, "_").await;
    assert_eq!(first.status, 200, "{}", first.text());
    assert_eq!(first.header("idempotency-replayed"), None);
    for header in [None, Some(&*key)] {
        let again = publish(&key, header, "_").await;
        assert_eq!(again.header("idempotency-replayed"), Some("true"));
        assert_eq!(again.text(), first.text());
    }
    for (key, header) in [(&*key, Some("another")), ("not a key", None), ("", None)] {
        publish(key, header, "_")
            .await
            .assert_problem(400, "parameter-invalid");
    }
    // of several messages none has it: it is the request's
    let several = publish(&key, None, "[_]").await;
    assert_eq!(several.status, 207);
    assert!(
        several.text().contains("Idempotency-Key"),
        "{}",
        several.text()
    );
}
