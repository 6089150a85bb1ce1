//! What every answer carries against browsers' helpfulness, and CORS for the origins that are configured.

use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::support::{
    gateway::Gateway,
    http::{Request, Response, read_head},
    unique, within,
};

fn assert_guarded(answer: &Response, what: &str) {
    assert_eq!(
        answer.header("x-content-type-options"),
        Some("nosniff"),
        "{what}: {answer:?}"
    );
    let policy = answer.header("content-security-policy");
    let policy = policy.unwrap_or_else(|| panic!("{what}: no policy in {answer:?}"));
    assert!(
        policy.starts_with("default-src 'none'") || policy.starts_with("default-src 'self'"),
        "{what}: {policy}"
    );
    assert!(
        policy.contains("frame-ancestors 'none'") || policy.contains("sandbox"),
        "{what}: {policy}"
    );
    assert_eq!(
        answer.header("cross-origin-resource-policy"),
        Some("same-origin"),
        "{what}: {answer:?}"
    );
    assert!(answer.header("request-id").is_some(), "{what}: {answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_is_guarded_whoever_makes_it() {
    let gateway = Gateway::shared();
    let target = format!("/api/v1/topics/{}", unique("guarded"));
    assert_eq!(
        Request::put(&target, "x").send(gateway.http).await.status,
        200
    );
    for (method, target) in [
        ("POST", target.as_str()),
        ("PUT", &target),
        ("GET", &target),
        ("HEAD", &target),
        ("PATCH", &target),
        ("OPTIONS", &target),
        ("GET", "/api/v1/topics"),
        ("GET", "/api/v1"),
        ("GET", "/healthz"),
        ("GET", "/readyz"),
        ("GET", "/metrics"),
        ("GET", "/openapi.json"),
        ("GET", "/docs"),
        ("GET", "/docs/"),
        ("GET", "/"),
        ("GET", "/nothing"),
        ("GET", "/mqtt"),
        ("DELETE", &target),
    ] {
        let request = Request::new(method, target).body("x");
        let answer = request.send(gateway.http).await;
        assert_guarded(&answer, &format!("{method} {target}"));
    }
    let stream = Request::get("/api/v1/stream?topic=a")
        .open(gateway.http)
        .await;
    assert_guarded(&stream.head, "a stream");
    let foreign = Request::get("/").host("evil.example");
    let foreign = foreign.send(gateway.http).await;
    assert_guarded(&foreign, "a foreign host");
    let mut no_http = TcpStream::connect(gateway.http).await.expect("accepted");
    no_http.write_all(b"HELLO\r\n\r\n").await.expect("written");
    let answer = within("an answer to no HTTP", read_head(no_http)).await;
    assert_guarded(&answer.head, "no HTTP");
}

const PAGE: &str = "https://app.example";

fn assert_cors(answer: &Response, what: &str) {
    assert_eq!(
        answer.header("access-control-allow-origin"),
        Some(PAGE),
        "{what}: {answer:?}"
    );
    let vary = answer.all("vary").join(", ");
    assert!(vary.contains("Origin"), "{what}: {vary}");
    assert_eq!(
        answer.header("access-control-allow-credentials"),
        None,
        "{what}"
    );
    let exposed = answer.header("access-control-expose-headers");
    let exposed = exposed.unwrap_or_else(|| panic!("{what}: {answer:?}"));
    for name in [
        "ETag",
        "Link",
        "Location",
        "Retry-After",
        "RateLimit",
        "RateLimit-Policy",
        "Mqtt-Cursor",
        "Mqtt-Topic",
        "Mqtt-QoS",
        "Mqtt-Expiry",
        "Mqtt-Content-Type",
        "Mqtt-User-Property",
        "Mqtt-Omitted",
        "Idempotency-Replayed",
        "Request-Id",
    ] {
        assert!(
            exposed.split(", ").any(|exposed| exposed == name),
            "{what}: {name} in {exposed}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configured_origin_may_read_every_answer_errors_included() {
    let gateway = Gateway::start(&["--set", "http.origins=https://app.example"]);
    let from_page = |method: &str, target: &str| {
        Request::new(method, target)
            .body("x")
            .header("Origin", PAGE)
            .header("Sec-Fetch-Site", "cross-site")
    };
    for (method, target, status) in [
        ("PUT", "/api/v1/topics/cors/a", 200),
        ("GET", "/api/v1/topics/cors/a", 200),
        ("GET", "/api/v1/topics?filter=cors/%23", 200),
        ("GET", "/api/v1/topics/cors/none", 404),
        ("GET", "/nothing", 404),
        ("PATCH", "/api/v1/topics/cors/a", 405),
        ("POST", "/api/v1/topics/%2B", 400),
        ("POST", "/api/v1/topics/$SYS/x", 403),
        ("DELETE", "/api/v1/topics/cors/a", 204),
    ] {
        let answer = from_page(method, target).send(gateway.http).await;
        assert_eq!(answer.status, status, "{method} {target}: {answer:?}");
        assert_cors(&answer, &format!("{method} {target}"));
    }
    let stream = from_page("GET", "/api/v1/stream?topic=a")
        .open(gateway.http)
        .await;
    assert_cors(&stream.head, "a stream");
    gateway.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_preflight_allows_what_the_api_has_to_a_configured_origin_only() {
    let gateway = Gateway::start(&["--set", "http.origins=https://app.example"]);
    let preflight = |origin: &str| {
        Request::new("OPTIONS", "/api/v1/topics/cors/a")
            .header("Origin", origin)
            .header("Access-Control-Request-Method", "PUT")
            .header("Access-Control-Request-Headers", "if-match,content-type")
    };
    let allowed = preflight(PAGE).send(gateway.http).await;
    assert_eq!((allowed.status, allowed.body.len()), (204, 0));
    assert_eq!(
        allowed.header("access-control-allow-origin"),
        Some(PAGE),
        "{allowed:?}"
    );
    assert_eq!(allowed.header("access-control-max-age"), Some("7200"));
    let methods = allowed.header("access-control-allow-methods");
    let methods: Vec<_> = methods.expect("methods").split(", ").collect();
    for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] {
        assert!(methods.contains(&method), "{methods:?}");
    }
    let headers = allowed.header("access-control-allow-headers");
    let headers: Vec<_> = headers.expect("headers").split(", ").collect();
    for name in [
        "Authorization",
        "Content-Type",
        "Idempotency-Key",
        "If-Match",
        "If-None-Match",
        "Last-Event-ID",
        "Prefer",
    ] {
        assert!(headers.contains(&name), "{headers:?}");
    }
    for foreign in [
        "https://other.example",
        "http://app.example",
        "https://app.example:444",
        "https://app.example.evil.example",
        "null",
        "",
    ] {
        let refused = preflight(foreign).send(gateway.http).await;
        refused.assert_problem(405, "method-not-allowed");
        for name in ["origin", "methods", "headers"] {
            let name = format!("access-control-allow-{name}");
            assert_eq!(refused.header(&name), None, "{foreign}");
        }
    }
    gateway.stop();
}
