//! `GET /api/v1/topics`: lists by filter and levels of the tree, in pages, over as many topics as there are.

use std::{collections::BTreeSet, time::Instant};

use serde_json::Value;

use crate::support::{
    gateway::Gateway,
    http::{Request, Response, encode},
    mqtt::Client,
    unique,
    wire::{Opening, Publish},
};

async fn list(gateway: &Gateway, query: &str) -> Value {
    let target = format!("/api/v1/topics?{query}");
    let answer = Request::get(&target).send(gateway.http).await;
    assert_eq!(answer.status, 200, "{target}: {}", answer.text());
    answer.json()
}

fn names(page: &Value) -> Vec<&str> {
    let topics = page["topics"].as_array().expect("topics");
    topics
        .iter()
        .filter_map(|entry| entry["topic"].as_str())
        .collect()
}

fn prefixes(page: &Value) -> Vec<&str> {
    let prefixes = page["prefixes"].as_array().expect("prefixes");
    prefixes.iter().filter_map(Value::as_str).collect()
}

/// Retains a message on each topic.
async fn retain(gateway: &Gateway, topics: &[String]) {
    let mut client = Client::tcp(gateway, &Opening::v311(&unique("retains"))).await;
    for topic in topics {
        client
            .publish(&Publish::new(topic, "x", 1).retained())
            .await;
    }
}

fn below(root: &str, names: &[&str]) -> Vec<String> {
    names.iter().map(|name| format!("{root}{name}")).collect()
}

/// Follows `next` to the end; every address that `Link` names leads to the same page, and only one that is too long for a
/// header is not named.
async fn pages(gateway: &Gateway, query: &str) -> Vec<Value> {
    let mut target = format!("/api/v1/topics?{query}");
    let mut pages = vec![];
    loop {
        let answer = Request::get(&target).send(gateway.http).await;
        assert_eq!(answer.status, 200, "{target}: {}", answer.text());
        let page = answer.json();
        match (page["next"].as_str(), next_link(&answer)) {
            (Some(next), Some(link)) => {
                assert!(link.ends_with(&format!("after={next}")), "{link}");
                assert!(link.len() < 4096, "{} bytes", link.len());
                target = link;
            }
            (Some(next), None) => {
                target = format!("/api/v1/topics?{query}&after={next}");
                assert!(target.len() > 4000, "{target}");
            }
            (None, None) => {
                pages.push(page);
                return pages;
            }
            other => panic!("`next` and Link disagree: {other:?}"),
        }
        pages.push(page);
    }
}

fn next_link(answer: &Response) -> Option<String> {
    let link = answer.header("link")?;
    let (address, rest) = link.strip_prefix('<')?.split_once('>')?;
    assert_eq!(rest, "; rel=\"next\"");
    Some(address.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_filter_lists_what_it_matches_with_the_state_of_each() {
    let gateway = Gateway::shared();
    let root = unique("list/filter");
    retain(&gateway, &below(&root, &["", "/a", "/a/t", "/b/t", "/c"])).await;
    for (filter, expected) in [
        ("/#", &["", "/a", "/a/t", "/b/t", "/c"][..]),
        ("/+/t", &["/a/t", "/b/t"]),
        ("/a", &["/a"]),
        ("/none", &[]),
        ("/+", &["/a", "/c"]),
    ] {
        let query = format!("filter={}", encode(&format!("{root}{filter}")));
        let page = list(&gateway, &query).await;
        assert_eq!(names(&page), below(&root, expected), "{filter}");
        assert_eq!(page["next"], Value::Null);
        assert!(page.get("prefixes").is_none(), "{page}");
    }
    // each entry is the envelope that the topic itself answers with
    let topic = format!("{root}/a");
    let query = format!("filter={}&payload=true", encode(&topic));
    let page = list(&gateway, &query).await;
    let target = format!("/api/v1/topics/{topic}?envelope=true");
    let alone = Request::get(&target).send(gateway.http).await;
    assert_eq!(page["topics"][0], alone.json());
    assert_eq!(page["topics"][0]["payload"], "x");
    assert_eq!(page["topics"][0]["snapshot"], true);
    let without = list(&gateway, &format!("filter={}", encode(&topic))).await;
    assert_eq!(without["topics"][0].get("payload"), None, "not asked for");
    assert_eq!(without["topics"][0]["size"], 1);
    let base64 = list(&gateway, &format!("filter={topic}&payload=base64")).await;
    assert_eq!(base64["topics"][0]["payload"], "eA==");
    // what is gone is not listed any more
    Request::new("DELETE", &format!("/api/v1/topics/{topic}"))
        .send(gateway.http)
        .await;
    let gone = list(&gateway, &format!("filter={}", encode(&topic))).await;
    assert!(names(&gone).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tree_is_told_level_by_level_empty_levels_included() {
    let gateway = Gateway::shared();
    let root = unique("list/tree");
    let all = ["", "/", "//", "//b", "/a", "/a/b", "/a/c/d", "-2/x", "0"];
    retain(&gateway, &below(&root, &all)).await;
    for (prefix, topics, levels) in [
        ("", &["", "0"][..], &["-2/", "/"][..]),
        ("/", &["/", "/a"], &["//", "/a/"]),
        ("//", &["//", "//b"], &[]),
        ("/a/", &["/a/b"], &["/a/c/"]),
        ("/a/c/d", &["/a/c/d"], &[]),
        ("/none/", &[], &[]),
    ] {
        let query = format!("prefix={}&delimiter=/", encode(&format!("{root}{prefix}")));
        let page = list(&gateway, &query).await;
        assert_eq!(names(&page), below(&root, topics), "{prefix:?}");
        assert_eq!(prefixes(&page), below(&root, levels), "{prefix:?}");
        // one entry a page tells the same
        let pages = pages(&gateway, &format!("{query}&limit=1")).await;
        let (mut seen, mut seen_levels) = (vec![], vec![]);
        for page in &pages {
            assert!(names(page).len() + prefixes(page).len() <= 1);
            seen.extend(names(page));
            seen_levels.extend(prefixes(page));
        }
        assert_eq!(seen, below(&root, topics), "{prefix:?}");
        assert_eq!(seen_levels, below(&root, levels), "{prefix:?}");
    }
    // without a delimiter everything that begins so, in the order of the names
    let page = list(&gateway, &format!("prefix={root}")).await;
    let mut sorted = below(&root, &all);
    sorted.sort();
    assert_eq!(names(&page), sorted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gateways_own_topics_are_below_their_prefix_and_not_under_a_wildcard() {
    let gateway = Gateway::shared();
    let page = list(&gateway, "prefix=$SYS/&delimiter=/").await;
    assert_eq!(prefixes(&page), ["$SYS/broker/"]);
    let page = list(&gateway, "filter=%23&limit=1000").await;
    assert!(names(&page).iter().all(|name| !name.starts_with('$')));
    let root = list(&gateway, "delimiter=%2F").await;
    assert!(prefixes(&root).contains(&"$SYS/"), "{root}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_question_is_a_problem() {
    let gateway = Gateway::shared();
    for (query, slug) in [
        ("filter=a/%23/b", "filter-invalid"),
        ("filter=", "filter-invalid"),
        ("filter=a&filter=b", "parameter-invalid"),
        ("filter=$share/g/a", "parameter-invalid"),
        ("filter=a&prefix=b", "parameter-invalid"),
        ("filter=a&delimiter=/", "parameter-invalid"),
        ("prefix=a&delimiter=.", "parameter-invalid"),
        ("prefix=%FF", "parameter-invalid"),
        ("limit=0", "parameter-invalid"),
        ("limit=1001", "parameter-invalid"),
        ("after=forged", "parameter-invalid"),
        ("after=", "parameter-invalid"),
        ("payload=json", "parameter-invalid"),
        ("quary=a", "parameter-invalid"),
        ("topic=", "topic-invalid"),
        ("topic=a&filter=b", "parameter-invalid"),
    ] {
        Request::get(&format!("/api/v1/topics?{query}"))
            .send(gateway.http)
            .await
            .assert_problem(400, slug);
    }
}

/// Topics that begin with the same 60,000 bytes, and one behind them all.
async fn retain_long(gateway: &Gateway, root: &str) -> (String, Vec<String>) {
    let long = format!("{root}/{}", "x".repeat(60_000));
    let mut topics = below(
        &long,
        &["", "/", "/1", "/2", "/2/a", "/2/b", "/3/a", "/3/b", "0"],
    );
    topics.push(format!("{root}/y"));
    retain(gateway, &topics).await;
    (long, topics)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_pass_topics_too_long_for_an_address_and_tell_each_once() {
    let gateway = Gateway::shared();
    let root = unique("list/long");
    let (long, topics) = retain_long(&gateway, &root).await;
    for limit in [1, 2, 3, 100] {
        for question in ["filter=ROOT/%23", "prefix=ROOT/"] {
            let query = question.replace("ROOT", &root);
            let pages = pages(&gateway, &format!("{query}&limit={limit}")).await;
            let seen: Vec<_> = pages.iter().flat_map(names).collect();
            assert!(seen == topics, "{query}, {limit}: {} topics", seen.len());
        }
        // levels are as long
        let query = format!("prefix={root}/&delimiter=/&limit={limit}");
        let pages = pages(&gateway, &query).await;
        let seen: Vec<_> = pages.iter().flat_map(names).collect();
        let levels: Vec<_> = pages.iter().flat_map(prefixes).collect();
        let expected = [&*long, &topics[8], &topics[9]];
        assert!(seen == expected, "{limit}: {} topics", seen.len());
        assert!(levels == [format!("{long}/")], "{limit}: {}", levels.len());
    }
    // a question as long as the topics
    let query = format!("prefix={long}/&delimiter=/&limit=1");
    let pages = pages(&gateway, &query).await;
    let seen: Vec<_> = pages.iter().flat_map(names).collect();
    let levels: Vec<_> = pages.iter().flat_map(prefixes).collect();
    assert!(seen == topics[1..4], "{} topics", seen.len());
    assert!(levels == below(&long, &["/2/", "/3/"]), "{}", levels.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_a_long_topic_is_gone_nothing_behind_it_is_passed_over() {
    let gateway = Gateway::shared();
    let root = unique("list/gone");
    let (_, topics) = retain_long(&gateway, &root).await;
    let query = format!("filter={root}/%23&limit=5");
    let first = list(&gateway, &query).await;
    assert!(names(&first) == topics[..5]);
    let target = format!("/api/v1/topics/{}", encode(&topics[4]));
    let gone = Request::new("DELETE", &target).send(gateway.http).await;
    assert_eq!(gone.status, 204);
    let next = first["next"].as_str().expect("next");
    let rest = pages(&gateway, &format!("{query}&after={next}")).await;
    let seen: BTreeSet<_> = rest.iter().flat_map(names).collect();
    assert!(topics[5..].iter().all(|topic| seen.contains(&**topic)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_is_bounded_in_bytes_whatever_its_limit() {
    let gateway = Gateway::shared();
    let root = unique("list/large");
    for n in 0..5 {
        let target = format!("/api/v1/topics/{root}/{n}");
        let put = Request::put(&target, vec![b'x'; 600_000]);
        assert_eq!(put.send(gateway.http).await.status, 200);
    }
    let query = format!("filter={root}/%23&payload=true&limit=1000");
    let pages = pages(&gateway, &query).await;
    assert!(pages.len() >= 3, "{} pages of 3 MB", pages.len());
    let seen: Vec<_> = pages.iter().flat_map(names).collect();
    assert_eq!(seen, below(&root, &["/0", "/1", "/2", "/3", "/4"]));
    for page in &pages {
        assert!(names(page).len() <= 2, "more than 1 MiB and an entry");
    }
}

/// Over 100,000 retained topics (10,000 in the short mode): every listing is complete, no page takes long, and looking
/// leaves nothing behind in memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_topics_are_listed_with_bounded_work_and_memory() {
    let count = match std::env::var_os("TIDEGATE_TEST_LONG") {
        Some(_) => 100_000,
        None => 10_000,
    };
    let gateway = Gateway::start(&[]);
    let name = |n: usize| format!("many/{:02}/{:03}/{n:06}", n % 100, n % 1000);
    let mut client = Client::tcp(&gateway, &Opening::v311("fills")).await;
    for n in 0..count {
        let message = Publish::new(&name(n), format!("value {n}"), 0).retained();
        client.publish(&message).await;
    }
    client
        .publish(&Publish::new("many", "last", 1).retained())
        .await;

    let before = gateway.resident();
    let mut slowest = std::time::Duration::ZERO;
    let mut target = "/api/v1/topics?filter=many/%23&limit=1000&payload=true".to_owned();
    let mut seen = BTreeSet::new();
    loop {
        let begun = Instant::now();
        let answer = Request::get(&target).send(gateway.http).await;
        slowest = slowest.max(begun.elapsed());
        let page = answer.json();
        for topic in names(&page) {
            assert!(seen.insert(topic.to_owned()), "{topic} twice");
        }
        match next_link(&answer) {
            Some(link) => target = link,
            None => break,
        }
    }
    assert_eq!(seen.len(), count + 1, "each topic once");
    // one that matches few: pages may be empty, but come to an end and miss nothing
    let rare = format!("filter={}", encode(&format!("many/+/+/{:06}", count - 1)));
    let pages = pages(&gateway, &rare).await;
    let found: Vec<_> = pages.iter().flat_map(names).collect();
    assert_eq!(found, [name(count - 1)]);
    // the top of the tree steps over what is below
    let begun = Instant::now();
    let top = list(&gateway, "prefix=many/&delimiter=/").await;
    assert_eq!(prefixes(&top).len(), 100);
    let step = begun.elapsed();
    let growth = gateway.resident().saturating_sub(before);
    // however many there are: what the pages were made in, kept by the allocator for each worker
    assert!(
        growth < 64 << 20,
        "{growth} bytes more after listing {count} topics"
    );
    println!("slowest page of 1000: {slowest:?}, a level of 100: {step:?}, growth {growth}");
    gateway.stop();
}
