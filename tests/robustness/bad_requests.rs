//! HTTP that lies about its length, has too much in its head, or never ends it.

use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    canary::Canary,
    support::{
        gateway::Gateway,
        http::{Request, read_head},
        mqtt::Client,
        unique,
        wire::Opening,
        within,
    },
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_lie_about_their_length_publish_nothing() {
    let gateway = Gateway::shared();
    let mut canary = Canary::perched(&gateway).await;
    let topic = unique("lying");
    let mut watcher = Client::tcp(&gateway, &Opening::v5(&unique("watcher"))).await;
    watcher.subscribe(&[(&topic, 1)]).await;
    let head = |length: &str| {
        format!("POST /api/v1/topics/{topic} HTTP/1.1\r\nHost: localhost\r\n{length}\r\n\r\n")
    };
    // too short and then gone, by length and by chunks
    for bytes in [
        head("Content-Length: 100") + "only this",
        head("Transfer-Encoding: chunked") + "5\r\nhel",
    ] {
        let mut stream = TcpStream::connect(gateway.http)
            .await
            .expect("the gateway accepts");
        stream.write_all(bytes.as_bytes()).await.expect("written");
        drop(stream);
        canary.sing().await;
    }
    // far too long: refused by the head alone
    let mut stream = TcpStream::connect(gateway.http)
        .await
        .expect("the gateway accepts");
    stream
        .write_all(head("Content-Length: 999999999999").as_bytes())
        .await
        .expect("written");
    let answer = within("an early refusal", read_head(stream)).await;
    assert_eq!(answer.head.status, 413);
    // no chunks at all
    let mut stream = TcpStream::connect(gateway.http)
        .await
        .expect("the gateway accepts");
    stream
        .write_all((head("Transfer-Encoding: chunked") + "zz\r\nhello\r\n").as_bytes())
        .await
        .expect("written");
    let answer = within("a refusal of bad chunks", read_head(stream)).await;
    assert_eq!(answer.head.status, 400);
    let answer = Request::post(&format!("/api/v1/topics/{topic}"), "marker")
        .send(gateway.http)
        .await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        watcher.receive().await.text(),
        "marker",
        "nothing of the lies was published"
    );
    canary.was_never_delayed();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn huge_and_numerous_headers_are_refused() {
    let gateway = Gateway::shared();
    let mut canary = Canary::perched(&gateway).await;
    let huge = Request::get("/healthz")
        .header("X-Huge", &"x".repeat(2 << 20))
        .send(gateway.http)
        .await;
    assert!(matches!(huge.status, 400 | 413 | 431), "{}", huge.status);
    let mut many = Request::get("/healthz");
    for n in 0..2000 {
        many = many.header(&format!("X-{n}"), "x");
    }
    let many = many.send(gateway.http).await;
    assert!(matches!(many.status, 400 | 413 | 431), "{}", many.status);
    canary.sing().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_head_that_dribbles_in_is_cut_off() {
    let gateway = Gateway::shared();
    let mut stream = TcpStream::connect(gateway.http)
        .await
        .expect("the gateway accepts");
    stream
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: local")
        .await
        .expect("written");
    let since = Instant::now();
    let mut answer = vec![];
    let _ = within("a close", stream.read_to_end(&mut answer)).await;
    assert!(
        since.elapsed() < Duration::from_secs(15),
        "ten seconds for a head, not {:?}",
        since.elapsed()
    );
}
