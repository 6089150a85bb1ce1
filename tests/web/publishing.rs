//! `POST /api/v1/topics/{topic}`: bytes in, a receipt out.

use crate::support::{
    gateway::Gateway,
    http::Request,
    mqtt::Client,
    unique,
    wire::{Opening, property},
};

async fn watched(gateway: &Gateway, stem: &str) -> (String, Client) {
    let topic = unique(stem);
    let mut watcher = Client::tcp(gateway, &Opening::v5(&unique("watcher"))).await;
    watcher.subscribe(&[(&topic, 2)]).await;
    (topic, watcher)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publish_answers_with_a_receipt_and_qos_1_unless_told_otherwise() {
    let gateway = Gateway::shared();
    let (topic, mut watcher) = watched(&gateway, "publishing/receipt").await;
    for (query, qos) in [("", 1), ("?qos=0", 0), ("?qos=1", 1), ("?qos=2", 2)] {
        let answer = Request::post(&format!("/api/v1/topics/{topic}{query}"), "x")
            .send(gateway.http)
            .await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(
            answer
                .header("content-type")
                .is_some_and(|v| v.starts_with("application/json"))
        );
        let receipt = answer.json();
        assert_eq!(receipt["topic"], topic);
        assert_eq!(receipt["qos"], qos);
        assert_eq!(receipt["reason_code"], 0);
        let cursor = receipt
            .get("cursor")
            .expect("always there, null when nothing was recorded");
        assert_eq!(answer.header("mqtt-cursor"), cursor.as_str());
        let got = watcher.receive().await;
        assert_eq!(
            (got.qos, got.retain, got.text().as_str()),
            (qos, false, "x")
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prefer_minimal_answers_204() {
    let gateway = Gateway::shared();
    let (topic, mut watcher) = watched(&gateway, "publishing/minimal").await;
    let request =
        Request::post(&format!("/api/v1/topics/{topic}"), "x").header("Prefer", "return=minimal");
    let answer = request.send(gateway.http).await;
    assert_eq!((answer.status, answer.body.len()), (204, 0));
    assert_eq!(watcher.receive().await.text(), "x");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_listening_is_not_told() {
    let gateway = Gateway::shared();
    let answer = Request::post(
        &format!("/api/v1/topics/{}", unique("publishing/nobody")),
        "x",
    )
    .send(gateway.http)
    .await;
    assert_eq!(
        (answer.status, answer.json()["reason_code"].as_u64()),
        (200, Some(0))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_content_type_is_a_property_but_not_the_one_curl_adds_uninvited() {
    let gateway = Gateway::shared();
    let (topic, mut watcher) = watched(&gateway, "publishing/type").await;
    for (header, told) in [
        (Some("application/json"), Some("application/json")),
        (
            Some("Text/Plain; charset=UTF-8"),
            Some("Text/Plain; charset=UTF-8"),
        ),
        (Some("application/x-www-form-urlencoded"), None),
        (None, None),
    ] {
        let mut request = Request::post(&format!("/api/v1/topics/{topic}"), "a=b+c");
        if let Some(header) = header {
            request = request.header("Content-Type", header);
        }
        assert_eq!(request.send(gateway.http).await.status, 200);
        let got = watcher.receive().await;
        assert_eq!(got.properties.string(property::CONTENT_TYPE), told);
        assert_eq!(got.text(), "a=b+c", "the body is opaque");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn options_that_are_wrong_or_unknown_are_problems_that_name_them() {
    let gateway = Gateway::shared();
    for (query, parameter) in [
        ("qos=3", "qos"),
        ("qos=", "qos"),
        ("qos=one", "qos"),
        ("qos=1&qos=2", "qos"),
        ("retain=yes", "retain"),
        ("expiry=-1", "expiry"),
        ("expiry=4294967296", "expiry"),
        ("expiry=1.5", "expiry"),
        ("payload_format=json", "payload_format"),
        ("correlation=%3D%3F", "correlation"),
        ("response_topic=a/%23", "response_topic"),
        ("user=nothing", "user"),
        ("qso=1", "qso"),
        ("QOS=1", "QOS"),
    ] {
        let answer = Request::post(&format!("/api/v1/topics/publishing/options?{query}"), "x")
            .send(gateway.http)
            .await;
        let problem = answer.assert_problem(400, "parameter-invalid");
        assert!(
            problem.to_string().contains(parameter),
            "{query}: {problem}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payload_that_breaks_its_format_is_a_problem() {
    let gateway = Gateway::shared();
    let target = "/api/v1/topics/publishing/format?payload_format=utf8";
    Request::post(target, b"caf\xE9".to_vec())
        .send(gateway.http)
        .await
        .assert_problem(422, "payload-format-invalid");
    assert_eq!(
        Request::post(target, "café")
            .send(gateway.http)
            .await
            .status,
        200
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_encoded_body_is_refused() {
    let gateway = Gateway::shared();
    let request = Request::post("/api/v1/topics/publishing/gzip", vec![0x1F, 0x8B])
        .header("Content-Encoding", "gzip");
    request
        .send(gateway.http)
        .await
        .assert_problem(415, "media-type-unsupported");
    let request =
        Request::post("/api/v1/topics/publishing/gzip", "x").header("Content-Encoding", "identity");
    assert_eq!(request.send(gateway.http).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_payload_limit_holds_by_length_and_by_chunks() {
    let gateway = Gateway::shared();
    let (topic, mut watcher) = watched(&gateway, "publishing/limit").await;
    let target = format!("/api/v1/topics/{topic}");
    let (most, more) = (vec![b'x'; 1 << 20], vec![b'x'; (1 << 20) + 1]);
    assert_eq!(
        Request::post(&target, most.clone())
            .send(gateway.http)
            .await
            .status,
        200
    );
    assert_eq!(watcher.receive().await.payload.len(), most.len());
    Request::post(&target, more.clone())
        .send(gateway.http)
        .await
        .assert_problem(413, "payload-too-large");
    for (body, status) in [(&most, 200), (&more, 413)] {
        let mut chunked = vec![];
        for chunk in body.chunks(50_000) {
            chunked.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
            chunked.extend_from_slice(chunk);
            chunked.extend(b"\r\n");
        }
        chunked.extend(b"0\r\n\r\n");
        let request = Request::new("POST", &target)
            .header("Transfer-Encoding", "chunked")
            .body(chunked);
        let answer = request.send(gateway.http).await;
        assert_eq!(
            answer.status,
            status,
            "chunked, {} bytes: {}",
            body.len(),
            answer.text()
        );
    }
    assert_eq!(watcher.receive().await.payload.len(), most.len());
}
