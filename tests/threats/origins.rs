//! W2, W3: origins that look like a trusted one, on CORS and on every WebSocket.

use crate::{
    setup,
    support::{gateway::Gateway, http::Request, json_ws::PROTOCOL, mqtt::Link},
};
use std::net::SocketAddr;
use tokio_tungstenite::tungstenite::Error;

const TRUSTED: &str = "https://app.example";

/// Thirty-odd origins, none of which is the trusted one or the gateway's own.
fn imposters(own: SocketAddr) -> Vec<String> {
    let port = own.port();
    let mut all: Vec<String> = [
        "null",
        "*",
        "https://app.example.evil.test",
        "https://evil.test/https://app.example",
        "https://evilapp.example",
        "https://app.example2",
        "https://sub.app.example",
        "https://example",
        "https://app_example",
        "https://app.example:8443",
        "https://app.example:443x",
        "http://app.example",
        "HTTPS://APP.EXAMPLE",
        "https://App.Example",
        "https://app.example.",
        "https://app.example/",
        "https://app.example/path",
        "https://app.example?x",
        "https://app.example#x",
        "https://app.example@evil.test",
        "https://user@app.example",
        "https://user:password@app.example",
        "https://app.example,https://evil.test",
        "https://app.example https://evil.test",
        "https://evil.test https://app.example",
        "https://xn--pp-mia.example",
        "https://app.example%00.evil.test",
        "https://app.example%2eevil.test",
        "https://app.example\t.evil.test",
        "file://",
        "app.example",
        "//app.example",
        "javascript://app.example",
        "chrome-extension://app.example",
    ]
    .map(str::to_owned)
    .into();
    all.extend([
        "http://localhost".to_owned(),
        format!("http://127.0.0.1:{}", port ^ 1),
        format!("http://127.0.0.1:{port}.evil.test"),
        format!("http://127.0.0.1.evil.test:{port}"),
        format!("http://127.0.0.1.:{port}"),
        format!("http://127.1:{port}"),
        format!("http://[::ffff:127.0.0.1]:{port}"),
        format!("http://user@127.0.0.1:{port}"),
        format!("http://127.0.0.1:{port}/"),
        format!("ws://127.0.0.1:{port}"),
        format!("http://127.0.0.1:0{port}"),
        format!("http://evil.test#127.0.0.1:{port}"),
    ]);
    all
}

/// W2: an answer names the trusted origin or none, and never one that was only sent; caches are told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cors_is_for_the_trusted_origin_to_the_letter() {
    let gateway = Gateway::start(&["--set", &format!("http.origins={TRUSTED}")]);
    let allowed = |answer: &crate::support::http::Response, what: &str| {
        let credentials = answer.header("access-control-allow-credentials");
        assert_eq!(credentials, None, "{what}");
        let varies = answer.all("vary").join(",").to_ascii_lowercase();
        assert!(varies.contains("origin"), "{what}: Vary: {varies}");
        answer
            .header("access-control-allow-origin")
            .map(str::to_owned)
    };
    for origin in imposters(gateway.http) {
        let get = Request::get("/api/v1").header("Origin", &origin);
        assert_eq!(
            allowed(&get.send(gateway.http).await, &origin),
            None,
            "{origin}"
        );
        let preflight = Request::new("OPTIONS", "/api/v1/topics/a")
            .header("Origin", &origin)
            .header("Access-Control-Request-Method", "PUT")
            .header("Access-Control-Request-Headers", "authorization");
        let answer = preflight.send(gateway.http).await;
        assert_eq!(allowed(&answer, &origin), None, "{origin}");
        assert_eq!(
            answer.header("access-control-allow-methods"),
            None,
            "{origin}"
        );
        let post = Request::post("/api/v1/topics/a", "x").header("Origin", &origin);
        let answer = post.send(gateway.http).await;
        answer.assert_problem(403, "origin-rejected");
        assert_eq!(allowed(&answer, &origin), None, "{origin}");
    }
    let get = Request::get("/api/v1").header("Origin", TRUSTED);
    let allowed = allowed(&get.send(gateway.http).await, TRUSTED);
    assert_eq!(allowed.as_deref(), Some(TRUSTED));
    // two of them are none
    let twice = Request::post("/api/v1/topics/a", "x")
        .header("Origin", TRUSTED)
        .header("Origin", "http://evil.test");
    twice
        .send(gateway.http)
        .await
        .assert_problem(403, "origin-rejected");
}

/// W2: where nothing is configured there is no CORS at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_configured_origins_no_answer_has_a_word_of_cors() {
    let gateway = Gateway::shared();
    for origin in imposters(gateway.http)
        .iter()
        .map(String::as_str)
        .chain([TRUSTED])
    {
        for request in [
            Request::get("/api/v1/topics/a"),
            Request::post("/api/v1/topics/a", "x"),
            Request::new("OPTIONS", "/api/v1/topics/a")
                .header("Access-Control-Request-Method", "POST"),
        ] {
            let answer = request.header("Origin", origin).send(gateway.http).await;
            for name in [
                "access-control-allow-origin",
                "access-control-allow-methods",
                "access-control-allow-headers",
                "access-control-allow-private-network",
            ] {
                assert_eq!(answer.header(name), None, "{origin}");
            }
        }
    }
}

/// W3: no WebSocket opens for an imposter, whatever the browser adds by itself, at any of the paths.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_websocket_opens_for_a_page_of_another_origin() {
    let (gateway, _folder) = setup::guarded(&["--set", &format!("http.origins={TRUSTED}")]);
    let cookie = setup::cookie(gateway.http, "u0").await;
    let basic = setup::basic("u0");
    let proofs: [&[(&'static str, &str)]; 3] =
        [&[("cookie", &cookie)], &[("authorization", &basic)], &[]];
    for (path, protocol) in [
        ("/mqtt", "mqtt"),
        ("/ws", "mqtt"),
        ("/", "mqtt"),
        ("/api/v1/ws", PROTOCOL),
    ] {
        for proof in proofs {
            let open = async |more: &[(&'static str, &str)]| {
                let headers = [proof, more].concat();
                match Link::upgrade(gateway.http, path, Some(protocol), &headers).await {
                    Err(Error::Http(answer)) => answer.status().as_u16(),
                    Err(other) => panic!("{path} {headers:?}: {other}"),
                    Ok(_) => 101,
                }
            };
            for origin in imposters(gateway.http) {
                let status = open(&[("origin", &origin)]).await;
                assert_eq!(status, 403, "{path} for {origin} with {proof:?}");
            }
            for site in ["cross-site", "same-site", "nonsense", ""] {
                assert_eq!(
                    open(&[("sec-fetch-site", site)]).await,
                    403,
                    "{path} {site}"
                );
            }
            let own = format!("http://{}", gateway.http);
            for origin in [TRUSTED, &own] {
                assert_eq!(
                    open(&[("origin", origin)]).await,
                    101,
                    "{path} for {origin}"
                );
            }
            // a program names no origin, and has no cookie
            let alone = if proof.first().is_some_and(|(name, _)| *name == "cookie") {
                403
            } else {
                101
            };
            assert_eq!(open(&[]).await, alone, "{path} with {proof:?}");
        }
    }
}
