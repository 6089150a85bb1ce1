//! How the web ways in and out end: readiness falls, what is under way is answered, streams leave one by one.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::support::{
    gateway::Gateway,
    http::{Request, Response, read_head},
    stream::{Encoding, Stream},
    within,
};

/// A connection that the gateway has accepted, with the first byte of a request on it.
struct Begun(TcpStream, Vec<u8>);

impl Begun {
    async fn on(gateway: &Gateway, request: Request) -> Self {
        let bytes = request.encode(gateway.http);
        let mut stream = TcpStream::connect(gateway.http).await.expect("accepted");
        stream.write_all(&bytes[..1]).await.expect("written");
        Begun(stream, bytes)
    }

    async fn finished(self) -> Response {
        let Begun(stream, mut bytes) = self;
        bytes.remove(0);
        Begun(stream, bytes).whole().await
    }

    async fn whole(self) -> Response {
        let Begun(mut stream, bytes) = self;
        stream.write_all(&bytes).await.expect("written");
        within("the answer", async {
            let mut opened = read_head(stream).await;
            let mut body = Vec::new();
            while opened.body.chunk(&mut body).await {}
            opened.head.body = body;
            opened.head
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_it_stops_publishes_are_answered_and_readiness_and_new_streams_are_not() {
    let mut gateway = Gateway::start(&["--set", "http.drain=4s"]);
    let ready = Begun::on(&gateway, Request::get("/readyz")).await;
    let publish = Begun::on(&gateway, Request::post("/api/v1/topics/drain", "x")).await;
    let lines = Request::get("/api/v1/stream?topic=drain").header("Accept", "application/x-ndjson");
    let lines = Begun::on(&gateway, lines).await;
    let events = Request::get("/api/v1/stream?topic=drain").header("Accept", "text/event-stream");
    let events = Begun::on(&gateway, events).await;
    // connections are accepted in order
    let last = Request::get("/healthz").send(gateway.http).await;
    assert_eq!(last.status, 200);
    gateway.terminate();
    within("the end of listening", async {
        while TcpStream::connect(gateway.http).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;

    let ready = ready.finished().await;
    assert_eq!(ready.status, 503);
    assert_eq!(ready.json()["checks"]["broker"], "draining");
    let published = publish.finished().await;
    assert_eq!(published.status, 200, "{}", published.text());
    let refused = lines.finished().await;
    let problem = refused.assert_problem(503, "shutting-down");
    assert_eq!(problem["reason_code"], 0x8B);
    assert!(refused.header("retry-after").is_some());
    // an EventSource would never come back after a 503
    let told = events.finished().await;
    assert_eq!(told.status, 200);
    let text = told.text();
    assert!(
        text.contains("retry: ") && text.contains("event: bye"),
        "{text}"
    );
    assert!(text.contains(r#""reason":"shutting_down""#), "{text}");
    let status = gateway.exited_within(Duration::from_secs(10));
    assert_eq!(status.and_then(|status| status.code()), Some(0));
}

/// A connection on which a request was answered, and which is kept.
async fn idle(gateway: &Gateway) -> TcpStream {
    let opened = Request::get("/healthz").open(gateway.http).await;
    assert_eq!(opened.head.status, 200);
    opened.body.into_stream().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_it_stops_connections_that_are_kept_are_answered_once_more() {
    let mut gateway = Gateway::start(&["--set", "http.drain=8s"]);
    let (publisher, balancer) = (idle(&gateway).await, idle(&gateway).await);
    let _nobody = idle(&gateway).await;
    let stopped = Instant::now();
    gateway.terminate();
    within("the end of listening", async {
        while TcpStream::connect(gateway.http).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let publish = Request::post("/api/v1/topics/drain", "x");
    for (connection, request, status) in [
        (publisher, publish, 200),
        (balancer, Request::get("/readyz"), 503),
    ] {
        let begun = Begun(connection, request.encode(gateway.http));
        let answer = begun.whole().await;
        assert_eq!(answer.status, status, "{}", answer.text());
        assert_eq!(answer.header("connection"), Some("close"));
    }
    // the drain is for streams: nobody waits for whoever says nothing
    let status = gateway.exited_within(Duration::from_secs(10));
    assert_eq!(status.and_then(|status| status.code()), Some(0));
    let took = stopped.elapsed();
    assert!(took < Duration::from_secs(7), "{took:?} of a drain of 8 s");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn streams_leave_one_by_one_over_the_drain_and_are_told_when_to_return() {
    const STREAMS: usize = 90;
    const DRAIN: Duration = Duration::from_secs(3);
    let mut gateway = Gateway::start(&["--set", "http.drain=3s"]);
    let mut streams = vec![];
    for _ in 0..STREAMS {
        streams.push(Stream::ready(gateway.http, Encoding::Sse, &["a"], "").await);
    }
    let asked = Instant::now();
    gateway.terminate();
    let mut leaving = tokio::task::JoinSet::new();
    for mut stream in streams {
        leaving.spawn(async move {
            let bye = stream.next().await;
            (bye, stream.retry, asked.elapsed())
        });
    }
    let (mut thirds, mut returns) = ([0; 3], vec![]);
    while let Some(left) = leaving.join_next().await {
        let (bye, retry, after) = left.expect("a stream");
        assert_eq!(
            (
                bye.name.as_str(),
                &bye.data["reason"],
                &bye.data["reconnect"]
            ),
            ("bye", &json!("shutting_down"), &json!(true))
        );
        let third = after.as_millis() * 3 / DRAIN.as_millis();
        thirds[third.min(2) as usize] += 1;
        returns.push(retry.expect("a retry with the bye"));
    }
    // 30 in each third, give or take; all at once would be 90 in one
    assert!(thirds.iter().all(|count| *count >= 8), "{thirds:?}");
    assert!(
        returns.iter().all(|retry| (1000..=3000).contains(retry)),
        "{returns:?}"
    );
    returns.sort_unstable();
    returns.dedup();
    assert!(returns.len() > STREAMS / 3, "jittered: {returns:?}");
    let status = gateway.exited_within(Duration::from_secs(10));
    assert_eq!(status.and_then(|status| status.code()), Some(0));
}
