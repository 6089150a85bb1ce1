//! Pages of other origins may neither publish, nor open sockets, nor rebind a name to this gateway.

use tokio_tungstenite::tungstenite::Error;

use crate::support::{
    gateway::Gateway,
    http::Request,
    mqtt::{Client, Link},
    unique,
    wire::Opening,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unsafe_request_of_a_foreign_page_is_rejected_and_does_nothing() {
    let gateway = Gateway::shared();
    let topic = unique("foreign/unsafe");
    let target = format!("/api/v1/topics/{topic}");
    let mut watcher = Client::tcp(&gateway, &Opening::v5(&unique("watcher"))).await;
    watcher.subscribe(&[(&topic, 1)]).await;
    for (header, value) in [
        ("Origin", "http://evil.example"),
        ("Origin", "null"),
        ("Origin", "http://localhost:1"),
        ("Origin", &format!("http://{}.evil.example", gateway.http)),
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Site", "same-site"),
    ] {
        for method in ["POST", "PUT", "DELETE"] {
            let request = Request::new(method, &target)
                .body("x")
                .header(header, value);
            request
                .send(gateway.http)
                .await
                .assert_problem(403, "origin-rejected");
        }
    }
    assert_eq!(
        Request::post(&target, "marker")
            .send(gateway.http)
            .await
            .status,
        200
    );
    assert_eq!(
        watcher.receive().await.text(),
        "marker",
        "nothing of the foreign pages arrived"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_of_the_gateways_own_page_passes() {
    let gateway = Gateway::shared();
    let target = format!("/api/v1/topics/{}", unique("foreign/own"));
    let own = format!("http://{}", gateway.http);
    for (header, value) in [
        ("Origin", own.as_str()),
        ("Sec-Fetch-Site", "same-origin"),
        ("Sec-Fetch-Site", "none"),
    ] {
        let answer = Request::post(&target, "x")
            .header(header, value)
            .send(gateway.http)
            .await;
        assert_eq!(answer.status, 200, "{header}: {value}: {}", answer.text());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reading_is_not_sending_and_no_foreign_page_may_read_the_answer() {
    let gateway = Gateway::shared();
    let answer = Request::get("/healthz")
        .header("Origin", "http://evil.example")
        .send(gateway.http)
        .await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("access-control-allow-origin"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_websocket_of_a_foreign_page_is_rejected() {
    let gateway = Gateway::shared();
    for path in ["/mqtt", "/ws", "/"] {
        for (name, value) in [
            ("origin", "http://evil.example"),
            ("origin", "null"),
            ("sec-fetch-site", "cross-site"),
        ] {
            match Link::upgrade(gateway.http, path, Some("mqtt"), &[(name, value)]).await {
                Err(Error::Http(response)) => {
                    assert_eq!(response.status(), 403, "{path} {name}: {value}")
                }
                Err(other) => panic!("{path} {name}: {value}: {other}"),
                Ok(_) => panic!("{path} {name}: {value} was upgraded"),
            }
        }
        let own = format!("http://{}", gateway.http);
        let (link, _) = Link::upgrade(gateway.http, path, Some("mqtt"), &[("origin", &own)])
            .await
            .expect("own page");
        Client::welcomed(link, &Opening::v5(&unique("own"))).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_host_name_is_misdirected() {
    let gateway = Gateway::shared();
    let port = gateway.http.port();
    for host in [
        "evil.example",
        "evil.example:80",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "10.0.0.1",
    ] {
        for request in [
            Request::get("/"),
            Request::get("/healthz"),
            Request::get("/api/v1/stream?topic=a"),
            Request::post("/api/v1/topics/a", "x"),
        ] {
            request
                .host(host)
                .send(gateway.http)
                .await
                .assert_problem(421, "host-rejected");
        }
        let upgrade = Link::upgrade(gateway.http, "/mqtt", Some("mqtt"), &[("host", host)]).await;
        match upgrade {
            Err(Error::Http(response)) => assert_eq!(response.status(), 421, "{host}"),
            _ => panic!("{host}: a WebSocket under a foreign name"),
        }
    }
    let known = ["localhost", "LOCALHOST", "127.0.0.1", "[::1]"];
    for host in known
        .iter()
        .flat_map(|host| [(*host).to_owned(), format!("{host}:{port}")])
    {
        assert_eq!(
            Request::get("/healthz")
                .host(&host)
                .send(gateway.http)
                .await
                .status,
            200,
            "{host}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn configured_origins_and_hosts_are_welcome() {
    let gateway = Gateway::start(&[
        "--set",
        "http.origins=https://app.example",
        "--set",
        "http.hosts=gate.example",
    ]);
    assert_eq!(
        Request::get("/healthz")
            .host("gate.example")
            .send(gateway.http)
            .await
            .status,
        200
    );
    let request =
        Request::post("/api/v1/topics/foreign/listed", "x").header("Origin", "https://app.example");
    let answer = request.send(gateway.http).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let request = Request::post("/api/v1/topics/foreign/listed", "x")
        .header("Origin", "https://other.example");
    request
        .send(gateway.http)
        .await
        .assert_problem(403, "origin-rejected");
    gateway.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_refusal_and_every_answer_is_counted() {
    let gateway = Gateway::start(&[]);
    let read = async |line: &str| {
        let metrics = Request::get("/metrics").send(gateway.http).await.text();
        let found = metrics.lines().find_map(|l| l.strip_prefix(line));
        let number = found.unwrap_or_else(|| panic!("{line} in\n{metrics}"));
        number.trim().parse::<u64>().unwrap()
    };
    for _ in 0..3 {
        Request::post("/api/v1/topics/counted", "x")
            .header("Origin", "http://evil.example")
            .send(gateway.http)
            .await
            .assert_problem(403, "origin-rejected");
    }
    assert_eq!(read(r#"tidegate_refused_total{reason="origin"}"#).await, 3);
    assert_eq!(
        read(r#"tidegate_http_responses_total{status="4xx"}"#).await,
        3
    );
}
