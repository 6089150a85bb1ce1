//! The catalogue of problems: each kind that can be provoked from outside, with its status, slug and MQTT reason.

use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::support::{
    gateway::Gateway,
    http::{Request, Response, read_head},
    unique, within,
};

/// Slug, status, the MQTT reason code if there is one, and a request that is answered so.
type Row = (&'static str, u16, Option<u8>, Request);

fn rows(long: usize) -> Vec<Row> {
    let topic = |path: &str| format!("/api/v1/topics/{path}");
    let handshake = |version: &str| {
        Request::get("/mqtt")
            .header("Connection", "Upgrade")
            .header("Upgrade", "websocket")
            .header("Sec-WebSocket-Version", version)
            .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
    };
    vec![
        (
            "topic-invalid",
            400,
            Some(0x90),
            Request::post(&topic("a/%23"), "x"),
        ),
        (
            "filter-invalid",
            400,
            Some(0x8F),
            Request::get("/api/v1/stream?topic=a%23"),
        ),
        (
            "parameter-invalid",
            400,
            Some(0x83),
            Request::post(&topic("a?qos=3"), "x"),
        ),
        (
            "body-invalid",
            400,
            Some(0x81),
            Request::put(&topic("a"), ""),
        ),
        (
            "request-invalid",
            400,
            None,
            Request::get("/").header("Host", "localhost"),
        ),
        ("upgrade-invalid", 400, None, handshake("13")),
        (
            "topic-reserved",
            403,
            Some(0x87),
            Request::post(&topic("$SYS/a"), "x"),
        ),
        (
            "origin-rejected",
            403,
            None,
            Request::post(&topic("a"), "x").header("Origin", "null"),
        ),
        ("not-found", 404, None, Request::get("/nothing")),
        (
            "not-retained",
            404,
            None,
            Request::get(&topic(&unique("catalogue/none"))),
        ),
        (
            "method-not-allowed",
            405,
            None,
            Request::new("PATCH", &topic("a")),
        ),
        (
            "not-acceptable",
            406,
            None,
            Request::get("/api/v1/stream?topic=a").header("Accept", "text/html"),
        ),
        (
            "precondition-failed",
            412,
            None,
            Request::put(&topic(&unique("catalogue/none")), "x").header("If-Match", "*"),
        ),
        (
            "payload-too-large",
            413,
            Some(0x95),
            Request::post(&topic("a"), vec![0; long]),
        ),
        (
            "uri-too-long",
            414,
            None,
            Request::get(&topic(&"a".repeat(66_000))),
        ),
        (
            "media-type-unsupported",
            415,
            None,
            Request::post(&topic("a"), "x").header("Content-Encoding", "gzip"),
        ),
        (
            "host-rejected",
            421,
            None,
            Request::get("/").host("evil.example"),
        ),
        (
            "payload-format-invalid",
            422,
            Some(0x99),
            Request::post(&topic("a?payload_format=utf8"), [0xFF]),
        ),
        ("upgrade-required", 426, None, Request::get("/mqtt")),
        (
            "head-too-large",
            431,
            None,
            Request::get("/").header("X", &"a".repeat(83_000)),
        ),
    ]
}

fn assert_row(answer: &Response, (slug, status, reason, request): &Row) {
    let problem = answer.assert_problem(*status, slug);
    let told = problem["reason_code"].as_u64();
    assert_eq!(told, reason.map(u64::from), "{slug}: {request:?}");
    let id = answer.header("request-id").expect("a Request-Id");
    assert_eq!(problem["instance"], format!("/requests/{id}"), "{slug}");
    assert_eq!(answer.header("cache-control"), Some("no-store"), "{slug}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_that_a_request_can_provoke_is_told_as_documented() {
    let gateway = Gateway::shared();
    for row in rows((1 << 20) + 1) {
        let answer = row.3.send(gateway.http).await;
        assert_row(&answer, &row);
    }
    // the same without a body for who asks for the head only
    let head = Request::new("HEAD", "/nothing").send(gateway.http).await;
    assert_eq!(head.status, 404);
    assert_eq!(
        head.header("content-type"),
        Some("application/problem+json")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_operator_switched_off_or_bounded_is_told_as_documented() {
    let gateway = Gateway::start(&[
        "--set",
        "features.retain=false",
        "--set",
        "features.maximum_qos=1",
    ]);
    let put = Request::put("/api/v1/topics/a", "x");
    let row: Row = ("retain-unsupported", 422, Some(0x9A), put);
    assert_row(&row.3.send(gateway.http).await, &row);
    let post = Request::post("/api/v1/topics/a?qos=2", "x");
    let row: Row = ("not-supported", 403, Some(0x9B), post);
    assert_row(&row.3.send(gateway.http).await, &row);
    gateway.stop();
    let gateway = Gateway::start(&["--set", "limits.retained_messages=1"]);
    // there is one, this or one of the gateway's own numbers
    Request::put("/api/v1/topics/a", "x")
        .send(gateway.http)
        .await;
    let row: Row = (
        "storage-unavailable",
        503,
        Some(0x97),
        Request::put("/api/v1/topics/b", "x"),
    );
    let answer = row.3.send(gateway.http).await;
    assert_row(&answer, &row);
    assert!(answer.header("retry-after").is_some(), "{answer:?}");
    gateway.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_http_is_told_as_a_problem_too_and_closed() {
    let gateway = Gateway::shared();
    let post = "POST /api/v1/topics/a HTTP/1.1\r\nHost: localhost\r\n";
    for (bytes, status, slug) in [
        ("HELLO\r\n\r\n".to_owned(), 400, "request-invalid"),
        ("GET / HTTP/9.9\r\n\r\n".to_owned(), 400, "request-invalid"),
        (
            "GET  / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
            400,
            "request-invalid",
        ),
        (
            "GET / HTTP/1.1\r\nno colon\r\n\r\n".to_owned(),
            400,
            "request-invalid",
        ),
        (
            "GET / HTTP/1.1\r\nHost: localhost\r\nA\u{1}: b\r\n\r\n".to_owned(),
            400,
            "request-invalid",
        ),
        (
            format!("{post}Content-Length: x\r\n\r\n"),
            400,
            "request-invalid",
        ),
        (
            format!("{post}Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
            400,
            "request-invalid",
        ),
        (
            format!("{post}Transfer-Encoding: gzip\r\n\r\n"),
            400,
            "request-invalid",
        ),
        (
            format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(66_000)),
            414,
            "uri-too-long",
        ),
        (
            format!("GET / HTTP/1.1\r\nA: {}\r\n\r\n", "a".repeat(83_000)),
            431,
            "head-too-large",
        ),
    ] {
        // also behind a request that was one
        for before in ["", "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"] {
            let shown: String = bytes.chars().take(80).collect();
            let mut stream = TcpStream::connect(gateway.http).await.expect("accepted");
            if !before.is_empty() {
                stream.write_all(before.as_bytes()).await.expect("written");
                let opened = within("the first answer", read_head(stream)).await;
                assert_eq!(opened.head.status, 200);
                stream = opened.body.into_stream().await;
            }
            // the refusal may close the connection before all of it is read
            let _ = stream.write_all(bytes.as_bytes()).await;
            let answer = within("an answer to no HTTP", async {
                let mut opened = read_head(stream).await;
                let mut body = Vec::new();
                while opened.body.chunk(&mut body).await {}
                opened.head.body = body;
                opened.head
            })
            .await;
            let problem = answer.assert_problem(status, slug);
            assert_eq!(answer.header("connection"), Some("close"), "{shown}");
            let id = answer.header("request-id").expect("a Request-Id");
            assert_eq!(problem["instance"], format!("/requests/{id}"), "{shown}");
        }
    }
}
