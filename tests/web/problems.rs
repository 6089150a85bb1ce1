//! Every error is `application/problem+json`, whatever part of the gateway noticed it.

use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::support::{
    gateway::Gateway,
    http::{Request, read_head},
    mqtt::Client,
    wire::Opening,
    within,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_path_is_a_problem() {
    let gateway = Gateway::shared();
    for path in [
        "/nothing",
        "/api",
        "/api/v1/nothing",
        "/api/v2/topics/a",
        "/healthz/",
        "/api/v1/stream/",
        "/%FF",
        "/docs/no",
    ] {
        Request::get(path)
            .send(gateway.http)
            .await
            .assert_problem(404, "not-found");
    }
    Request::post("/nothing", "x")
        .send(gateway.http)
        .await
        .assert_problem(404, "not-found");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_method_is_a_problem_that_names_the_right_ones() {
    let gateway = Gateway::shared();
    for (method, path, allowed) in [
        ("PATCH", "/api/v1/topics/a", "PUT"),
        ("PATCH", "/api/v1/topics?topic=a", "PUT"),
        ("POST", "/api/v1/stream?topic=a", "GET"),
        ("DELETE", "/healthz", "GET"),
        ("POST", "/readyz", "GET"),
        ("PUT", "/metrics", "GET"),
        ("POST", "/openapi.json", "GET"),
        ("POST", "/api/v1", "GET"),
        ("POST", "/", "GET"),
    ] {
        let answer = Request::new(method, path).send(gateway.http).await;
        answer.assert_problem(405, "method-not-allowed");
        assert!(
            answer.header("allow").is_some_and(|v| v.contains(allowed)),
            "{method} {path}: {answer:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_problem_names_the_request_it_is_about() {
    let gateway = Gateway::shared();
    let answer = Request::get("/nothing").send(gateway.http).await;
    let problem = answer.assert_problem(404, "not-found");
    let id = answer.header("request-id").expect("a Request-Id");
    assert_eq!(problem["instance"], format!("/requests/{id}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_very_long_uri_is_refused() {
    let gateway = Gateway::shared();
    let answer = Request::get(&format!("/api/v1/topics/{}", "a".repeat(70_000)))
        .send(gateway.http)
        .await;
    // refused while the head is read, before any of the gateway's own answers can be made
    assert!(matches!(answer.status, 414 | 431), "{}", answer.status);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_http_gets_an_answer_and_a_close() {
    let gateway = Gateway::shared();
    for bytes in [
        &b"HELLO\r\n\r\n"[..],
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"POST /api/v1/topics/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
        b"POST /api/v1/topics/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"POST /api/v1/topics/a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n",
    ] {
        let mut stream = TcpStream::connect(gateway.http).await.expect("the gateway accepts");
        stream.write_all(bytes).await.expect("written");
        let answer = within("an answer to no HTTP", read_head(stream)).await;
        assert!((400..500).contains(&answer.head.status), "{}: {:?}", answer.head.status, String::from_utf8_lossy(bytes));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_text_comes_back_as_json_and_never_as_markup() {
    let gateway = Gateway::shared();
    for path in [
        "/%3Cscript%3Ealert(1)%3C/script%3E",
        "/api/v1/stream?topic=%3Cimg%20src=x%3E%23",
    ] {
        let answer = Request::get(path)
            .header("Accept", "text/html")
            .send(gateway.http)
            .await;
        assert!(
            (400..500).contains(&answer.status),
            "{path}: {}",
            answer.status
        );
        assert!(
            answer
                .header("content-type")
                .is_some_and(|v| v.starts_with("application/problem+json")),
            "{path}"
        );
        assert_eq!(
            answer.header("x-content-type-options"),
            Some("nosniff"),
            "{path}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_elsewhere_or_without_the_headers_is_no_accident() {
    let gateway = Gateway::shared();
    let half = Request::get("/mqtt").send(gateway.http).await;
    assert!(matches!(half.status, 400 | 426), "{}", half.status);
    assert!(
        half.header("content-type")
            .is_some_and(|v| v.starts_with("application/problem+json")),
        "{half:?}"
    );
    let old = Request::get("/mqtt")
        .header("Connection", "Upgrade")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Version", "8")
        .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
        .header("Sec-WebSocket-Protocol", "mqtt")
        .send(gateway.http)
        .await;
    assert!(matches!(old.status, 400 | 426), "{}", old.status);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_says_what_was_refused_and_why_and_never_a_query() {
    let gateway = Gateway::start(&["--set", "log.format=json"]);
    let refused = Request::post("/api/v1/topics/$SYS/x?user=secret=1", "x")
        .send(gateway.http)
        .await;
    let problem = refused.assert_problem(403, "topic-reserved");
    gateway.logs("topic-reserved").await;
    let log = gateway.log();
    let line = log.lines().find(|line| line.contains("topic-reserved"));
    let line: serde_json::Value = serde_json::from_str(line.expect("a line")).expect("JSON");
    let reason = line["reason"].as_str().expect("a reason");
    let id = refused.header("request-id").expect("Request-Id");
    let detail = problem["detail"].as_str().expect("a detail");
    let expected = format!("topic-reserved: \"{detail}\" (POST \"/api/v1/topics/$SYS/x\", {id})");
    assert_eq!(reason, expected);
    assert!(!log.contains("secret"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_in_json_has_plain_texts_and_no_user_where_there_is_none() {
    let gateway = Gateway::start(&["--set", "log.format=json"]);
    let client = Client::tcp(&gateway, &Opening::v5("a \"client\"")).await;
    client.disconnect().await;
    gateway.logs("disconnected").await;
    let log = gateway.log();
    let lines = log.lines().map(serde_json::from_str);
    let lines: Vec<serde_json::Value> = lines.map(|line| line.expect("JSON")).collect();
    for message in ["connected", "disconnected"] {
        let line = lines.iter().find(|line| line["message"] == message);
        let line = line.unwrap_or_else(|| panic!("{message}: {log}"));
        assert_eq!(line["client"], "a \"client\"");
        assert_eq!(line.get("user"), None);
    }
}
