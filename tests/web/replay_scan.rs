//! How far one read of the log looks (`limits.replay_scan`), and that many readers of old files disturb no publisher.

use serde_json::Value;
use tokio::task::JoinSet;

use crate::support::{
    gateway::Gateway,
    http::{Request, encode},
    mqtt::Client,
    stream::{Encoding, Stream},
    wire::{self, Opening, Publish, Version},
};

/// What is kept, in files: the tail in memory is small.
const KEPT: &[&str] = &[
    "--set",
    "log.level=warn",
    "--set",
    "history=[{ filter = \"scan/#\" }]",
    "--set",
    "history_defaults.tail_bytes=64 KiB",
];

/// Messages between two that are wanted.
const NOISE: usize = 1_000;

fn settings(more: &[&'static str]) -> Vec<&'static str> {
    [KEPT, more].concat()
}

/// Publishes to `scan/noise`, and among it four times to `scan/a/wanted`.
async fn fill(gateway: &Gateway) {
    let mut publisher = Client::tcp(gateway, &Opening::v311("in")).await;
    for wanted in 0..4 {
        let message = Publish::new("scan/a/wanted", wanted.to_string(), 1);
        publisher.publish(&message).await;
        let noise = Publish::new("scan/noise", vec![b'x'; 100], 0);
        let noise = wire::publish(Version::V311, &noise).repeat(NOISE);
        publisher.send(&noise).await;
        // answered when all before it is routed
        publisher
            .publish(&Publish::new("scan/noise", "last", 1))
            .await;
    }
    publisher.disconnect().await;
}

/// What matches, page by page, and how many pages there were.
async fn pages(gateway: &Gateway, topic: &str, order: &str) -> (Vec<String>, usize) {
    let (mut texts, mut count) = (vec![], 0);
    let mut from = String::new();
    loop {
        let target = format!(
            "/api/v1/messages?topic={}&limit=1000&order={order}{from}",
            encode(topic)
        );
        let answer = Request::get(&target).send(gateway.http).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let page = answer.json();
        assert_eq!(page["gap"], Value::Null);
        let found = page["messages"].as_array().expect("messages");
        texts.extend(
            found
                .iter()
                .map(|one| one["payload"].as_str().expect("text").to_owned()),
        );
        count += 1;
        if page["complete"] == true {
            return (texts, count);
        }
        assert!(count < 100, "no page is the last: {page}");
        let name = if order == "asc" { "since" } else { "until" };
        from = format!("&{name}={}", page["cursor"].as_str().expect("a cursor"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_ends_where_it_has_looked_at_enough_and_the_next_goes_on_there() {
    let bounded = Gateway::start(&settings(&["--set", "limits.replay_scan=500"]));
    fill(&bounded).await;
    for order in ["asc", "desc"] {
        // the noise is what lies between: a filter that matches both cannot skip it
        let (texts, count) = pages(&bounded, "scan/+/+", order).await;
        let mut expected: Vec<String> = (0..4).map(|n: u32| n.to_string()).collect();
        if order == "desc" {
            expected.reverse();
        }
        assert_eq!(texts, expected, "{order}");
        assert!(
            count >= 4 * NOISE / 800,
            "{count} pages of 500 records each, {order}"
        );
    }
    let last = Request::get("/api/v1").send(bounded.http).await.json();
    assert_eq!(last["limits"]["replay_scan"], 500);

    let unbounded = Gateway::start(&settings(&[]));
    fill(&unbounded).await;
    for order in ["asc", "desc"] {
        let (texts, count) = pages(&unbounded, "scan/+/+", order).await;
        assert_eq!((texts.len(), count), (4, 1), "{order}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn last_looks_no_further_back_than_it_may() {
    let gateway = Gateway::start(&settings(&["--set", "limits.replay_scan=1500"]));
    fill(&gateway).await;
    let options = "last=4&retained=never";
    let mut stream = Stream::ready(gateway.http, Encoding::Ndjson, &["scan/+/+"], options).await;
    let answer = Request::post("/api/v1/topics/scan/a/wanted", "marker");
    assert_eq!(answer.send(gateway.http).await.status, 200);
    let mut texts = vec![];
    while texts.last().is_none_or(|text| text != "marker") {
        texts.push(String::from_utf8(stream.message().await.payload()).expect("text"));
    }
    assert!(
        texts.len() < 5 && texts.contains(&"3".to_owned()),
        "{texts:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_streams_that_read_files_all_come_to_the_end_while_publishers_are_answered() {
    let gateway = Gateway::start(&settings(&[]));
    fill(&gateway).await;
    let mut readers = JoinSet::new();
    for nth in 0..40 {
        let address = gateway.http;
        readers.spawn(async move {
            let encoding = [Encoding::Sse, Encoding::Ndjson][nth % 2];
            let options = "since=earliest";
            let mut stream = Stream::ready(address, encoding, &["scan/#"], options).await;
            let mut count = 0;
            loop {
                let event = stream.message().await;
                count += 1;
                if event.data["payload"] == "end" {
                    return count;
                }
            }
        });
    }
    let mut publisher = Client::tcp(&gateway, &Opening::v311("meanwhile")).await;
    for number in 0..100 {
        let message = Publish::new("scan/meanwhile", number.to_string(), 1);
        publisher.publish(&message).await;
    }
    publisher
        .publish(&Publish::new("scan/meanwhile", "end", 1))
        .await;
    while let Some(count) = readers.join_next().await {
        assert_eq!(count.expect("the reader is fine"), 4 * (NOISE + 2) + 101);
    }
}
