//! W8: a position in the log is no right to what is there.

use crate::{
    setup,
    support::{
        gateway::Gateway,
        http::{Request, encode},
        json_ws::JsonSocket,
        stream::{Encoding, Stream},
    },
};
use serde_json::json;

const KEPT: [&str; 2] = ["--set", "history=[{ filter = \"#\" }]"];

async fn publish(gateway: &Gateway, user: &str, topic: &str, payload: &str) -> String {
    let target = format!("/api/v1/topics/{topic}");
    let request = Request::post(&target, payload).header("Authorization", &setup::basic(user));
    let answer = request.send(gateway.http).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["cursor"]
        .as_str()
        .expect("a cursor")
        .to_owned()
}

fn as_u1(target: &str) -> Request {
    Request::get(target).header("Authorization", &setup::basic("u1"))
}

/// W8: somebody else's cursor is a place to begin, and what is read from there is one's own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cursor_of_another_user_widens_nothing() {
    let (gateway, _folder) = setup::guarded(&KEPT);
    let before = publish(&gateway, "u0", "u0/a", "not for u1").await;
    publish(&gateway, "u1", "u1/a", "own").await;
    publish(&gateway, "u0", "u0/a", "not for u1 either").await;
    let last = publish(&gateway, "u1", "u1/a", "own, the last").await;
    let at = encode(&before);

    // by the stream, in both places that a position stands in
    for request in [
        as_u1("/api/v1/stream?topic=u1/%23").header("Last-Event-ID", &before),
        as_u1(&format!("/api/v1/stream?topic=u1/%23&since={at}")),
        as_u1("/api/v1/stream?topic=u1/%23&since=earliest"),
    ] {
        let request = request.header("Accept", "text/event-stream");
        let mut stream = Stream::on(request.open(gateway.http).await, Encoding::Sse);
        assert_eq!(stream.next().await.name, "ready");
        assert_eq!(stream.message().await.payload(), b"own");
        let event = stream.message().await;
        assert_eq!(event.payload(), b"own, the last");
        assert_eq!(event.last_id, last);
    }
    // what is another's is refused with the position as without
    for target in [
        format!("/api/v1/stream?topic=u0/%23&since={at}"),
        format!("/api/v1/stream?topic=%23&since={at}"),
        format!("/api/v1/stream?topic=u1/a&topic=u0/a&since={at}"),
        format!("/api/v1/messages?topic=u0/%23&since={at}"),
        format!("/api/v1/messages?topic=%23&since={at}"),
    ] {
        as_u1(&target)
            .send(gateway.http)
            .await
            .assert_problem(403, "not-authorized");
        let with_id = as_u1(&target).header("Last-Event-ID", &before);
        with_id
            .send(gateway.http)
            .await
            .assert_problem(403, "not-authorized");
    }
    // by the history
    let page = as_u1(&format!("/api/v1/messages?topic=u1/%23&since={at}"))
        .send(gateway.http)
        .await;
    assert_eq!(page.status, 200, "{page:?}");
    assert!(
        page.text().contains("own, the last") && !page.text().contains("not for u1"),
        "{}",
        page.text()
    );
    // by the WebSocket
    let basic = setup::basic("u1");
    let mut socket = JsonSocket::open_with(gateway.http, &[("authorization", &basic)]).await;
    let refused = socket
        .answered(json!({"op": "sub", "topics": ["u0/#"], "since": before}))
        .await;
    crate::support::json_ws::assert_err(&refused, "not-authorized");
    let answer = socket
        .answered(json!({"op": "sub", "topics": ["u1/#"], "since": before}))
        .await;
    assert_eq!(answer["op"], "ok", "{answer}");
    for payload in ["own", "own, the last"] {
        assert_eq!(socket.next().await["payload"], payload);
    }
}

/// W8: positions that were never given out are refused, or tell a gap, and never more than the rights.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forged_position_is_refused_or_shows_ones_own_messages_only() {
    let (gateway, _folder) = setup::guarded(&KEPT);
    let cursor = publish(&gateway, "u0", "u0/a", "not for u1").await;
    publish(&gateway, "u1", "u1/a", "own").await;
    let (epoch, offset) = cursor.split_once('-').expect("epoch and offset");
    let forged = [
        format!("{epoch}-0"),
        format!("{epoch}-1"),
        format!("{epoch}-{}", u64::MAX),
        format!("{epoch}-18446744073709551616"),
        format!("{epoch}--1"),
        format!("{epoch}-0{offset}"),
        format!("{epoch}-{offset}-1"),
        format!("{epoch}-{offset},{epoch}-0"),
        format!("{epoch}-{offset} OR 1=1"),
        format!("{epoch}-{offset}/../0"),
        epoch.to_owned(),
        format!("-{offset}"),
        format!("{}-{offset}", "a".repeat(epoch.len())),
        format!("{}-{offset}", "a".repeat(4096)),
        format!("{}-{offset}", epoch.to_uppercase()),
        offset.to_owned(),
        "0".to_owned(),
        "-1".to_owned(),
        "*".to_owned(),
        "u0/a".to_owned(),
        "earliest".to_owned(),
        "%00".to_owned(),
        "..".to_owned(),
        "\u{e4}".to_owned(),
    ];
    let mut told = 0;
    for (nth, id) in forged.iter().enumerate() {
        let marker = format!("marker {nth}");
        for request in [
            as_u1("/api/v1/stream?topic=u1/%23").header("Last-Event-ID", id),
            as_u1(&format!("/api/v1/stream?topic=u1/%23&since={}", encode(id))),
        ] {
            let request = request.header("Accept", "text/event-stream");
            let opened = request.open(gateway.http).await;
            if opened.head.status != 200 {
                assert_eq!(opened.head.status, 400, "{id}");
                continue;
            }
            told += 1;
            publish(&gateway, "u1", "u1/a", &marker).await;
            let mut stream = Stream::on(opened, Encoding::Sse);
            loop {
                let event = stream.next().await;
                if event.name != "message" {
                    assert!(
                        matches!(event.name.as_str(), "ready" | "gap" | "heartbeat"),
                        "{id}: {event:?}"
                    );
                    continue;
                }
                assert_eq!(event.data["topic"], "u1/a", "{id}");
                if event.payload() == marker.as_bytes() {
                    break;
                }
            }
        }
    }
    assert!(told > 0, "some of them are positions");
}
