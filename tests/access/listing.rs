//! Lists of what is retained, for somebody who may read little of it: nothing in them tells of the rest.

use crate::{
    setup::{Guarded, PASSWORD, basic},
    support::{
        http::{Request, Response},
        mqtt::Client,
        wire::{Opening, Publish},
    },
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;
use std::time::Instant;

/// `u0` may read nothing that has a level `hidden` below `home`.
const RULES: &str = "[[rule]]\ndeny = [\"receive\"]\ntopics = [\"home/hidden/#\", \"home/+/hidden/#\", \"hidden/#\"]\nusers = [\"u0\"]\n\
     [[rule]]\nallow = [\"publish\", \"subscribe\", \"retain\"]\ntopics = [\"#\"]\n";

const READABLE: [&str; 4] = ["home/a", "home/m/open", "home/z", "home/z/open"];

/// A gateway with so many hidden topics behind the first readable one, and some more in the levels `m` and `z` and behind
/// them all.
async fn guarded(hidden: usize) -> Guarded {
    let guarded = Guarded::start(&["u0", "u1"], RULES);
    let opening = Opening::v5("fills").login("u1", PASSWORD);
    let mut client = Client::tcp(&guarded.gateway, &opening).await;
    for (stretch, count) in [
        ("home/hidden", hidden),
        ("home/m/hidden", 3000),
        ("home/z/hidden", 3000),
        ("hidden", 3000),
    ] {
        for n in 0..count {
            let topic = format!("{stretch}/{n:06}");
            client
                .publish(&Publish::new(&topic, "x", 0).retained())
                .await;
        }
    }
    // behind all that is readable, so that no page ends there
    for topic in READABLE.iter().chain(&["home/z/hidden"]) {
        client
            .publish(&Publish::new(topic, "x", 1).retained())
            .await;
    }
    guarded
}

/// Follows `next` to the end: names and prefixes in the order in which they were told, and the number of pages.
async fn told(guarded: &Guarded, query: &str) -> (Vec<String>, Vec<String>, usize) {
    let (mut names, mut prefixes) = (vec![], vec![]);
    let mut target = format!("/api/v1/topics?{query}");
    for pages in 1.. {
        let request = Request::get(&target).header("Authorization", &basic("u0"));
        let answer = request.send(guarded.gateway.http).await;
        assert_eq!(answer.status, 200, "{target}: {}", answer.text());
        let page = answer.json();
        let texts = |of: &Value, member: &str| -> Vec<String> {
            let all = of.as_array().into_iter().flatten();
            let text = |one: &Value| one.get(member).unwrap_or(one).as_str().map(str::to_owned);
            all.filter_map(text).collect()
        };
        names.extend(texts(&page["topics"], "topic"));
        prefixes.extend(texts(&page["prefixes"], ""));
        assert_tells_nothing_hidden(&answer, &page);
        match page["next"].as_str() {
            Some(next) => target = format!("/api/v1/topics?{query}&after={next}"),
            None => return (names, prefixes, pages),
        }
    }
    unreachable!("it comes to an end")
}

fn assert_tells_nothing_hidden(answer: &Response, page: &Value) {
    let link = answer.header("link").unwrap_or_default();
    assert!(!answer.text().contains("hidden") && !link.contains("hidden"));
    if let Some(next) = page["next"].as_str() {
        assert!(link.contains(next), "{link}");
        let place = URL_SAFE_NO_PAD
            .decode(next.trim_end_matches('='))
            .expect("base64url");
        let place = String::from_utf8_lossy(&place);
        assert!(!place.contains("hidden"), "the next page is behind {place}");
    }
}

#[tokio::test]
async fn no_page_of_a_list_ends_on_a_topic_that_may_not_be_read_however_many_there_are() {
    // more than a page looks at of what may be read
    let guarded = guarded(40_000).await;
    for limit in [1, 2, 3, 5, 1000] {
        for question in ["prefix=home/", "filter=home/%23", "prefix=", "filter=%23"] {
            let query = format!("{question}&limit={limit}");
            let (names, prefixes, pages) = told(&guarded, &query).await;
            let home: Vec<_> = names.iter().filter(|it| !it.starts_with("$SYS/")).collect();
            assert_eq!(home, READABLE, "{query}");
            assert!(prefixes.is_empty());
            if !question.contains("home") {
                continue;
            }
            // what is hidden behind the last one makes no further page; a page that has looked long enough may be short
            let most = READABLE.len().div_ceil(limit).max(2);
            assert!(pages <= most, "{query}: {pages} pages");
        }
        let query = format!("prefix=home/&delimiter=/&limit={limit}");
        let (names, prefixes, pages) = told(&guarded, &query).await;
        assert_eq!(names, ["home/a", "home/z"], "{query}");
        assert_eq!(prefixes, ["home/m/", "home/z/"], "{query}");
        let most = 4_usize.div_ceil(limit).max(2);
        assert!(pages <= most, "{query}: {pages} pages");
        for question in ["prefix=home/hidden/", "prefix=hidden", "filter=hidden/%23"] {
            let query = format!("{question}&limit={limit}");
            let found = told(&guarded, &query).await;
            assert_eq!(found, (vec![], vec![], 1), "{query}");
        }
    }
}

/// 100,000 hidden topics (40,000 in the short mode), looked through by many at a time: meanwhile somebody else is answered
/// again and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_looks_through_much_that_is_hidden_holds_nobody_up() {
    let hidden = match std::env::var_os("TIDEGATE_TEST_LONG") {
        Some(_) => 100_000,
        None => 40_000,
    };
    let guarded = guarded(hidden).await;
    let http = guarded.gateway.http;
    let lists = futures_util::future::join_all((0..8).map(|_| async {
        let (names, _, _) = told(&guarded, "filter=home/%23").await;
        assert_eq!(names, READABLE);
        Instant::now()
    }));
    let others = async {
        for n in 0..5 {
            let target = format!("/api/v1/topics/other/{n}");
            let put = Request::put(&target, "x").header("Authorization", &basic("u1"));
            assert_eq!(put.send(http).await.status, 200);
        }
        Instant::now()
    };
    let (listed, answered) = tokio::join!(lists, others);
    let first = listed.iter().min().expect("lists");
    assert!(answered < *first, "others waited for the lists");
}
