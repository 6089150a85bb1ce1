//! Discovery, probes, metrics, OpenAPI, its page, and the dashboard.

use crate::support::{gateway::Gateway, http::Request, mqtt::Client, unique, wire::Opening};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn discovery_tells_version_limits_and_where_to_read_on() {
    let gateway = Gateway::shared();
    let answer = Request::get("/api/v1").send(gateway.http).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let told = answer.json();
    assert_eq!(told["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(told["limits"]["payload"], 1 << 20);
    let mqtt = serde_json::json!({"port": gateway.mqtt.port(), "tls_port": null});
    assert_eq!(told["mqtt"], mqtt);
    for name in ["docs", "openapi"] {
        let target = told[name]
            .as_str()
            .unwrap_or_else(|| panic!("{name}: {told}"));
        let answer = Request::get(target).send(gateway.http).await;
        assert_eq!(answer.status, 200, "{name} at {target}");
    }
    let limits = told["limits"].as_object().expect("limits");
    for name in [
        "json_message",
        "receive_maximum",
        "session_expiry",
        "batch_messages",
        "page_messages",
        "replay_scan",
    ] {
        assert!(limits[name].as_u64() > Some(0), "{name}: {told}");
    }
    let features = told["features"].as_array().expect("features");
    for name in [
        "history",
        "long-poll",
        "stream",
        "json-websocket",
        "idempotency-key",
    ] {
        assert!(features.contains(&name.into()), "{name}: {told}");
    }
    assert_eq!(told["auth"][0], "anonymous");
    assert!(told["durability"].is_string(), "{told}");
    let time = told["time"].as_str().expect("a time");
    assert!(
        time.ends_with('Z') && time.contains('T'),
        "RFC 3339: {time}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn probes_say_that_it_lives_and_is_ready() {
    let gateway = Gateway::shared();
    for path in ["/healthz", "/readyz"] {
        assert_eq!(
            Request::get(path).send(gateway.http).await.status,
            200,
            "{path}"
        );
        assert_eq!(
            Request::new("HEAD", path).send(gateway.http).await.status,
            200,
            "{path}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_are_open_metrics() {
    let gateway = Gateway::shared();
    let _client = Client::tcp(&gateway, &Opening::v5(&unique("counted"))).await;
    let answer = Request::get("/metrics").send(gateway.http).await;
    assert_eq!(answer.status, 200);
    assert!(
        answer
            .header("content-type")
            .is_some_and(|v| v.contains("openmetrics") || v.starts_with("text/plain"))
    );
    let text = answer.text();
    assert!(
        text.trim_end().ends_with("# EOF"),
        "OpenMetrics ends with # EOF"
    );
    assert!(
        text.contains("# TYPE tidegate_"),
        "names begin with tidegate_:\n{text:.400}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openapi_describes_every_route_and_is_the_committed_one() {
    let gateway = Gateway::shared();
    let served = Request::get("/openapi.json").send(gateway.http).await;
    assert_eq!(served.status, 200);
    assert!(
        served
            .header("content-type")
            .is_some_and(|v| v.starts_with("application/json"))
    );
    let served = served.json();
    assert!(
        served["openapi"]
            .as_str()
            .is_some_and(|v| v.starts_with("3.1")),
        "{}",
        served["openapi"]
    );
    for path in [
        "/api/v1/topics/{topic}",
        "/api/v1/topics",
        "/api/v1/stream",
        "/healthz",
        "/readyz",
        "/metrics",
    ] {
        assert!(served["paths"].get(path).is_some(), "{path} is described");
    }
    // whoever comes may have failed to log in too often
    for operation in served["paths"]
        .as_object()
        .expect("paths")
        .values()
        .flat_map(|path| path.as_object().expect("operations").values())
    {
        for status in ["429", "503"] {
            let id = &operation["operationId"];
            assert!(
                operation["responses"].get(status).is_some(),
                "{id}: {status}"
            );
        }
    }
    let schemes = &served["components"]["securitySchemes"];
    let named = |scheme: &str| {
        (
            schemes[scheme]["in"].as_str(),
            schemes[scheme]["name"].as_str(),
        )
    };
    assert_eq!(named("session"), (Some("cookie"), Some("__Host-tidegate")));
    assert_eq!(named("ticket"), (Some("query"), Some("ticket")));
    let file =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/openapi/openapi.json"));
    let committed: serde_json::Value =
        serde_json::from_str(&file.expect("openapi/openapi.json")).expect("JSON");
    assert_eq!(
        served, committed,
        "openapi/openapi.json differs from what the code serves: generate it again"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documentation_page_needs_nothing_from_elsewhere() {
    let gateway = Gateway::shared();
    let mut page = Request::get("/docs").send(gateway.http).await;
    if matches!(page.status, 301 | 302 | 303 | 307 | 308) {
        let target = page.header("location").expect("a location").to_owned();
        let target = if target.starts_with('/') {
            target
        } else {
            format!("/{}", target.trim_start_matches("./"))
        };
        page = Request::get(&target).send(gateway.http).await;
    }
    assert_eq!(page.status, 200);
    assert!(
        page.header("content-type")
            .is_some_and(|v| v.starts_with("text/html"))
    );
    assert_offline(&page.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_dashboard_needs_nothing_from_elsewhere_and_runs_no_inline_script() {
    let gateway = Gateway::shared();
    let page = Request::get("/")
        .header("Accept", "text/html")
        .send(gateway.http)
        .await;
    assert_eq!(page.status, 200);
    assert!(
        page.header("content-type")
            .is_some_and(|v| v.starts_with("text/html"))
    );
    let policy = page
        .header("content-security-policy")
        .expect("a policy")
        .to_owned();
    assert!(
        policy.contains("default-src 'self'") && !policy.contains("unsafe"),
        "{policy}"
    );
    assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(page.header("referrer-policy"), Some("no-referrer"));
    let html = page.text();
    assert_offline(&html);
    assert!(!html.contains("onclick=") && !html.contains("javascript:"));
    // whatever the page asks for is there
    for attribute in ["src=\"", "href=\""] {
        for part in html.split(attribute).skip(1) {
            let link = part.split('"').next().unwrap_or_default();
            if link.starts_with('#') || link.contains(':') || link.is_empty() {
                continue;
            }
            let target = format!("/{}", link.trim_start_matches("./").trim_start_matches('/'));
            let status = Request::get(&target).send(gateway.http).await.status;
            assert!(
                (200..400).contains(&status),
                "{link} on the dashboard: {status}"
            );
        }
    }
}

/// No script, style, font or image of another host.
fn assert_offline(html: &str) {
    for tag in html.split('<').filter(|tag| {
        ["script", "link", "img", "iframe"]
            .iter()
            .any(|t| tag.starts_with(t))
    }) {
        for scheme in ["src=\"http", "href=\"http", "src=\"//", "href=\"//"] {
            assert!(
                !tag.contains(scheme),
                "an address of another host in <{tag}"
            );
        }
    }
}
