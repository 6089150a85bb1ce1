//! `GET /api/v1/stream` and `GET /api/v1/messages` with a place in the log: where they go on, and what they are told.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::{
    gateway::Gateway,
    http::{Request, encode},
    mqtt::Client,
    stream::{Encoding, Event, Stream},
    unique,
    wire::{Opening, Publish},
};

const BOTH: [Encoding; 2] = [Encoding::Sse, Encoding::Ndjson];

const HISTORY: &[&str] = &[
    "--set",
    "log.level=warn",
    "--set",
    "history=[{ filter = \"kept/#\" }]",
];

async fn publish(gateway: &Gateway, topic: &str, payload: &str) -> Option<String> {
    let target = format!("/api/v1/topics?topic={}", encode(topic));
    let answer = Request::post(&target, payload).send(gateway.http).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["cursor"].as_str().map(str::to_owned)
}

async fn publish_numbers(gateway: &Gateway, topic: &str, numbers: std::ops::Range<usize>) {
    let mut publisher = Client::tcp(gateway, &Opening::v5(&unique("in"))).await;
    for number in numbers {
        publisher
            .publish(&Publish::new(topic, number.to_string(), 1))
            .await;
    }
    publisher.disconnect().await;
}

fn cursor_of(event: &Event) -> String {
    let members = ["cursor", "since", "to"];
    let found = members.iter().find_map(|name| event.data[name].as_str());
    found.unwrap_or_else(|| panic!("{event:?}")).to_owned()
}

fn offset_of(cursor: &str) -> u64 {
    let (_, offset) = cursor.split_once('-').expect("epoch and offset");
    offset.parse().expect("a number")
}

/// The messages of a stream up to the one that says `last`, in order.
async fn until(stream: &mut Stream, last: &str) -> Vec<String> {
    let mut texts = vec![];
    loop {
        let text = String::from_utf8(stream.message().await.payload()).expect("text");
        if text == last {
            return texts;
        }
        texts.push(text);
    }
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

async fn read(gateway: &Gateway, topic: &str, options: &str) -> Value {
    let target = format!("/api/v1/messages?topic={}{options}", encode(topic));
    let answer = Request::get(&target).send(gateway.http).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    answer.json()
}

fn payloads(page: &Value) -> Vec<String> {
    let messages = page["messages"].as_array().expect("messages");
    let text = |message: &Value| message["payload"].as_str().unwrap_or_default().to_owned();
    messages.iter().map(text).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_comes_back_gets_what_it_missed_and_nothing_else() {
    let gateway = Gateway::shared();
    for encoding in BOTH {
        let topic = unique("resuming/missed");
        let mut stream = Stream::ready(gateway.http, encoding, &[&topic], "").await;
        publish_numbers(&gateway, &topic, 0..20).await;
        let mut last = stream.message().await;
        for _ in 1..7 {
            last = stream.message().await;
        }
        assert_eq!(last.payload(), b"6");
        let cursor = cursor_of(&last);
        if encoding == Encoding::Sse {
            assert_eq!(last.last_id, cursor, "the id is the message's own cursor");
        }
        stream.abandon();
        publish_numbers(&gateway, &topic, 20..30).await;
        let since = format!("since={cursor}");
        let mut back = Stream::open(gateway.http, encoding, &[&topic], &since).await;
        assert_eq!(back.head.header("mqtt-cursor"), Some(cursor.as_str()));
        let ready = back.next().await;
        assert_eq!(
            (&ready.data["since"], &ready.data["resumable"]),
            (&json!(cursor), &json!(true))
        );
        publish(&gateway, &topic, "end").await;
        assert_eq!(until(&mut back, "end").await, numbers(7..30));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn last_event_id_beats_since_and_ready_has_an_id_of_its_own() {
    let gateway = Gateway::shared();
    let topic = unique("resuming/header");
    let mut stream = Stream::open(gateway.http, Encoding::Sse, &[&topic], "").await;
    let ready = stream.next().await;
    assert_eq!(ready.last_id, cursor_of(&ready));
    // gone before the first message
    stream.abandon();
    publish(&gateway, &topic, "missed").await;
    let target = format!("/api/v1/stream?topic={}&since=now", encode(&topic));
    let opened = Request::get(&target)
        .header("Accept", "text/event-stream")
        .header("Last-Event-ID", &ready.last_id)
        .open(gateway.http)
        .await;
    let mut back = Stream::on(opened, Encoding::Sse);
    assert_eq!(back.next().await.name, "ready");
    assert_eq!(back.message().await.payload(), b"missed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_presented_as_a_cursor_is_answered_with_a_stream_and_a_gap() {
    let gateway = Gateway::shared();
    let topic = unique("resuming/forged");
    let mut stream = Stream::open(gateway.http, Encoding::Sse, &[&topic], "").await;
    let cursor = cursor_of(&stream.next().await);
    let (epoch, offset) = cursor.split_once('-').expect("epoch and offset");
    let offset: u64 = offset.parse().expect("a number");
    Request::put(&format!("/api/v1/topics/{topic}"), "state")
        .send(gateway.http)
        .await;
    for (presented, reason) in [
        (format!("{epoch}-{}", offset + 1_000_000_000), "unknown"),
        (format!("{epoch}-{}", u64::MAX), "unknown"),
        (format!("{epoch}-99999999999999999999999"), "unknown"),
        (format!("zzzzzzzz-{offset}"), "epoch"),
        ("nonsense".to_owned(), "unknown"),
        ("x".repeat(10_000), "unknown"),
        (format!("{epoch}-1%0d%0aevil"), "unknown"),
        (format!("{epoch}--1"), "unknown"),
    ] {
        let since = format!("since={presented}");
        let mut back = Stream::open(gateway.http, Encoding::Sse, &[&topic], &since).await;
        let ready = back.next().await;
        assert_eq!(ready.name, "ready");
        // cut off here, a browser presents the same again and is told the same again
        assert_eq!(ready.last_id, "", "what is missing has not been told yet");
        let foreign = (reason == "epoch").then_some(json!(presented));
        assert_eq!(ready.data.get("since"), foreign.as_ref());
        let gap = back.next().await;
        assert_eq!(
            (gap.name.as_str(), &gap.data["reason"]),
            ("gap", &json!(reason))
        );
        let to = gap.data["to"].as_str().expect("to");
        let state = back.message().await;
        assert_eq!(
            (state.payload(), &state.data["snapshot"]),
            (b"state".to_vec(), &json!(true))
        );
        // cut off amid the state, a browser comes back to all of it
        assert_eq!((&*gap.last_id, &*state.last_id), ("", ""));
        publish(&gateway, &topic, "live").await;
        let live = back.message().await;
        assert_eq!(live.payload(), b"live");
        assert!(offset_of(&live.last_id) >= offset_of(to), "{gap:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_cut_off_amid_the_state_comes_back_to_all_of_it() {
    let gateway = Gateway::shared();
    let topics = ["a", "b"].map(|name| unique(&format!("resuming/state/{name}")));
    for topic in &topics {
        let put = Request::put(&format!("/api/v1/topics/{topic}"), "state");
        assert_eq!(put.send(gateway.http).await.status, 200);
    }
    let filters = [&*topics[0], &*topics[1]];
    for _ in 0..2 {
        let mut stream = Stream::open(gateway.http, Encoding::Sse, &filters, "").await;
        let (ready, state) = (stream.next().await, stream.message().await);
        assert_eq!((&*ready.last_id, &*state.last_id), ("", ""));
        stream.abandon();
    }
    let mut stream = Stream::ready(gateway.http, Encoding::Ndjson, &filters, "").await;
    for _ in &topics {
        assert_eq!(stream.message().await.data["snapshot"], json!(true));
    }
    // behind the state it is told how far that was
    let told = stream.next().await;
    assert_eq!(told.name, "heartbeat");
    publish(&gateway, &topics[0], "missed").await;
    let since = format!("since={}", cursor_of(&told));
    let mut back = Stream::ready(gateway.http, Encoding::Ndjson, &filters, &since).await;
    assert_eq!(back.message().await.payload(), b"missed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_heartbeat_moves_the_cursor_of_a_stream_without_messages() {
    let gateway = Gateway::shared();
    let (quiet, busy) = (unique("resuming/quiet"), unique("resuming/busy"));
    let mut other = Stream::ready(gateway.http, Encoding::Ndjson, &[&busy], "").await;
    let mut stream = Stream::open(gateway.http, Encoding::Ndjson, &[&quiet], "heartbeat=5").await;
    let begun = cursor_of(&stream.next().await);
    let passed = publish(&gateway, &busy, "1").await.expect("recorded");
    other.message().await;
    let heartbeat = stream.next().await;
    assert_eq!(heartbeat.name, "heartbeat");
    let moved = cursor_of(&heartbeat);
    assert!(offset_of(&moved) > offset_of(&begun) && offset_of(&moved) >= offset_of(&passed));
    stream.abandon();
    publish(&gateway, &quiet, "missed").await;
    let since = format!("since={moved}");
    let mut back = Stream::ready(gateway.http, Encoding::Ndjson, &[&quiet], &since).await;
    assert_eq!(back.message().await.payload(), b"missed");
    let mut silent = Stream::ready(
        gateway.http,
        Encoding::Ndjson,
        &[&quiet],
        "heartbeat=5&heartbeat_ids=false",
    )
    .await;
    assert_eq!(silent.next().await.data, json!({"event": "heartbeat"}));
    // nor does what comes behind the state
    let state = Request::put(&format!("/api/v1/topics/{quiet}"), "state");
    assert_eq!(state.send(gateway.http).await.status, 200);
    for (options, after) in [
        ("heartbeat_ids=false", json!({"event": "heartbeat"})),
        ("", json!("a cursor")),
    ] {
        let filters = [quiet.as_str()];
        let mut opened = Stream::open(gateway.http, Encoding::Ndjson, &filters, options).await;
        let (ready, state) = (opened.next().await, opened.message().await);
        assert_eq!(
            (ready.name.as_str(), state.payload()),
            ("ready", b"state".to_vec())
        );
        let sign = opened.next().await;
        match after.is_object() {
            true => assert_eq!(sign.data, after),
            false => assert!(sign.data["cursor"].is_string(), "{:?}", sign.data),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_ends_before_it_begins_sends_nobody_back() {
    let gateway = Gateway::shared();
    let topic = unique("resuming/backwards");
    let _reader = Stream::ready(gateway.http, Encoding::Sse, &[&topic], "").await;
    publish_numbers(&gateway, &topic, 0..3).await;
    let page = async |options: &str| {
        let target = format!("/api/v1/messages?topic={}&{options}", encode(&topic));
        let answer = Request::get(&target).send(gateway.http).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    };
    let all = page("").await;
    let last = all["cursor"].as_str().expect("a cursor");
    let (epoch, _) = last.split_once('-').expect("epoch and offset");
    for until in ["10m", &format!("{epoch}-1")] {
        let options = format!("since={last}&until={until}&wait=1");
        let none = page(&options).await;
        assert_eq!(none["messages"], json!([]));
        assert_eq!(none["cursor"], *last, "{until}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn last_and_since_go_back_in_what_is_recorded() {
    let gateway = Gateway::shared();
    let topic = unique("resuming/back");
    let _reader = Stream::ready(gateway.http, Encoding::Sse, &[&topic], "").await;
    publish_numbers(&gateway, &topic, 0..10).await;
    for (options, expected) in [
        ("last=3", numbers(7..10)),
        ("last=1000", numbers(0..10)),
        ("since=earliest", numbers(0..10)),
        ("since=now", vec![]),
    ] {
        let mut stream = Stream::ready(gateway.http, Encoding::Ndjson, &[&topic], options).await;
        let marker = unique("end");
        publish(&gateway, &topic, &marker).await;
        let got = until(&mut stream, &marker).await;
        // the markers of the rounds before are messages, too
        let is_number = |text: &String| !text.starts_with("end");
        let got: Vec<_> = got.into_iter().filter(is_number).collect();
        assert_eq!(got, expected, "{options}");
    }
    for (options, slug) in [
        ("&last=3&since=now", "parameter-invalid"),
        ("&last=0", "parameter-invalid"),
        ("&last=1001", "parameter-invalid"),
    ] {
        let target = format!("/api/v1/stream?topic={}{options}", encode(&topic));
        let answer = Request::get(&target).send(gateway.http).await;
        answer.assert_problem(400, slug);
    }
    let shared = format!("/api/v1/stream?topic=$share/g/{topic}&since=earliest");
    let answer = Request::get(&shared).send(gateway.http).await;
    answer.assert_problem(400, "shared-sub-cursor");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_never_recorded_is_told_as_such() {
    let gateway = Gateway::shared();
    let topic = unique("resuming/never");
    publish(&gateway, &topic, "before anybody asked").await;
    let mut stream = Stream::ready(gateway.http, Encoding::Ndjson, &[&topic], "since=10m").await;
    let gap = stream.next().await;
    assert_eq!(
        (gap.name.as_str(), &gap.data["reason"]),
        ("gap", &json!("not-recorded"))
    );
    let page = read(&gateway, &unique("resuming/never"), "&since=10m").await;
    assert_eq!(page["gap"]["reason"], "not-recorded");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shared_filters_have_no_place_in_the_log() {
    let gateway = Gateway::shared();
    let (shared, own) = (unique("resuming/shared"), unique("resuming/own"));
    let filter = format!("$share/g/{shared}");
    let mut stream = Stream::open(gateway.http, Encoding::Sse, &[&filter], "").await;
    assert_eq!(stream.head.header("mqtt-cursor"), None);
    let ready = stream.next().await;
    assert_eq!(
        (&ready.data["resumable"], ready.last_id.as_str()),
        (&json!(false), "")
    );
    publish(&gateway, &shared, "1").await;
    let message = stream.message().await;
    assert_eq!(
        (&message.data["cursor"], message.last_id.as_str()),
        (&Value::Null, "")
    );
    let mut both = Stream::open(gateway.http, Encoding::Sse, &[&filter, &own], "").await;
    let ready = both.next().await;
    assert_eq!(ready.data["resumable"], "partial");
    assert_eq!(ready.data["not_recorded"], json!([filter]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_stream_falls_back_to_the_log_and_misses_nothing() {
    let gateway = Gateway::shared();
    let topic = unique("resuming/slow");
    let target = format!("/api/v1/stream?topic={}", encode(&topic));
    let opened = Request::get(&target)
        .header("Accept", "application/x-ndjson")
        .open_narrow(gateway.http)
        .await;
    let mut slow = Stream::on(opened, Encoding::Ndjson);
    assert_eq!(slow.next().await.name, "ready");
    let mut fast = Stream::ready(gateway.http, Encoding::Ndjson, &[&topic], "").await;
    // more than its queue and all buffers on the way, less than the tail
    let count = 3_000;
    let filler = "x".repeat(2_000);
    let mut publisher = Client::tcp(&gateway, &Opening::v5(&unique("in"))).await;
    for number in 0..count {
        let text = format!("{number} {filler}");
        publisher.publish(&Publish::new(&topic, text, 0)).await;
    }
    publisher.publish(&Publish::new(&topic, "end", 1)).await;
    let firsts = |texts: Vec<String>| -> Vec<String> {
        let first = |text: &String| text.split(' ').next().unwrap_or_default().to_owned();
        texts.iter().map(first).collect()
    };
    assert_eq!(firsts(until(&mut fast, "end").await), numbers(0..count));
    assert_eq!(firsts(until(&mut slow, "end").await), numbers(0..count));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_a_stop_a_history_rule_keeps_everything_and_other_filters_are_told_of_the_restart() {
    let gateway = Gateway::start(HISTORY);
    let (kept, other) = ("kept/a", "other/a");
    let mut stream =
        Stream::ready(gateway.http, Encoding::Ndjson, &["kept/#", "other/#"], "").await;
    publish(&gateway, kept, "0").await;
    publish(&gateway, other, "x").await;
    let cursor = cursor_of(&stream.message().await);
    publish_numbers(&gateway, kept, 1..5).await;
    let gateway = gateway.restarted(HISTORY);
    publish(&gateway, kept, "5").await;
    let since = format!("since={cursor}");
    let mut back = Stream::ready(gateway.http, Encoding::Ndjson, &["kept/#"], &since).await;
    publish(&gateway, kept, "end").await;
    assert_eq!(until(&mut back, "end").await, numbers(1..6));
    let mut both = Stream::ready(
        gateway.http,
        Encoding::Ndjson,
        &["kept/#", "other/#"],
        &since,
    )
    .await;
    let gap = both.next().await;
    assert_eq!(
        (gap.name.as_str(), &gap.data["reason"]),
        ("gap", &json!("restart"))
    );
    // what the rule keeps is there all the same
    assert_eq!(until(&mut both, "end").await, numbers(1..6));
    // where nothing is kept, the stream begins in front of its gap for whoever is cut off before that is told
    let mut lost = Stream::open(gateway.http, Encoding::Ndjson, &["other/#"], &since).await;
    assert_eq!(lost.next().await.data["since"], json!(cursor));
    assert_eq!(lost.next().await.name, "gap");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_a_kill_what_was_acknowledged_is_there_behind_one_gap() {
    let gateway = Gateway::start(HISTORY);
    let mut stream = Stream::ready(gateway.http, Encoding::Ndjson, &["kept/#"], "").await;
    publish_numbers(&gateway, "kept/a", 0..10).await;
    let cursor = cursor_of(&stream.message().await);
    let gateway = gateway.killed(HISTORY);
    publish(&gateway, "kept/a", "end").await;
    let since = format!("since={cursor}");
    let mut back = Stream::ready(gateway.http, Encoding::Ndjson, &["kept/#"], &since).await;
    let mut last = String::new();
    for number in 1..10 {
        let event = back.message().await;
        assert_eq!(event.data["payload"], json!(number.to_string()));
        last = cursor_of(&event);
    }
    let gap = back.next().await;
    assert_eq!(
        (gap.name.as_str(), &gap.data["reason"]),
        ("gap", &json!("crash"))
    );
    assert_eq!(gap.data["from"], json!(last));
    assert_eq!(until(&mut back, "end").await, numbers(0..0));
    // who is cut off behind `ready` and comes back with what it said is told all the same
    let since = format!("since={last}");
    let mut again = Stream::open(gateway.http, Encoding::Ndjson, &["kept/#"], &since).await;
    let told = cursor_of(&again.next().await);
    let since = format!("since={told}");
    let mut again = Stream::ready(gateway.http, Encoding::Ndjson, &["kept/#"], &since).await;
    assert_eq!(again.next().await.name, "gap");
    // and who has been told is not told again
    let since = format!("since={}", gap.data["to"].as_str().expect("to"));
    let mut again = Stream::ready(gateway.http, Encoding::Ndjson, &["kept/#"], &since).await;
    publish(&gateway, "kept/a", "after").await;
    assert_eq!(again.next().await.name, "message");
    // of several pages the one that comes to it says so
    let mut since = cursor;
    let mut told = Vec::new();
    loop {
        let page = read(&gateway, "kept/#", &format!("&limit=4&since={since}")).await;
        told.push((
            page["messages"].as_array().expect("a list").len(),
            page["gap"].clone(),
        ));
        since = page["cursor"].as_str().expect("a cursor").to_owned();
        if page["complete"] == true {
            break;
        }
    }
    let lengths: Vec<_> = told.iter().map(|(length, _)| *length).collect();
    assert_eq!(lengths, [4, 4, 1, 2]);
    assert_eq!(told[3].1["from"], json!(last));
    assert!(told[..3].iter().all(|(_, gap)| gap.is_null()), "{told:?}");
    // and so does the one that comes back to it
    let back = read(&gateway, "kept/#", "&limit=2&order=desc").await;
    assert_eq!(payloads(&back), ["after", "end"]);
    assert!(back["gap"].is_null(), "{back}");
    let until = back["cursor"].as_str().expect("a cursor");
    let back = read(
        &gateway,
        "kept/#",
        &format!("&limit=2&order=desc&until={until}"),
    )
    .await;
    assert_eq!(payloads(&back), ["9", "8"]);
    assert_eq!(back["gap"]["from"], json!(last));
    let until = back["cursor"].as_str().expect("a cursor");
    let back = read(
        &gateway,
        "kept/#",
        &format!("&limit=2&order=desc&until={until}"),
    )
    .await;
    assert!(back["gap"].is_null(), "{back}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_is_read_in_pages_in_both_directions() {
    let gateway = Gateway::start(HISTORY);
    publish_numbers(&gateway, "kept/a", 0..250).await;
    publish(&gateway, "other", "not asked for").await;
    let mut all = vec![];
    let mut since = "earliest".to_owned();
    loop {
        let page = read(&gateway, "kept/+", &format!("&since={since}&limit=100")).await;
        assert_eq!(page["gap"], Value::Null);
        all.extend(payloads(&page));
        since = page["cursor"].as_str().expect("a cursor").to_owned();
        if page["complete"] == true {
            break;
        }
    }
    assert_eq!(all, numbers(0..250));
    let (mut back, mut until) = (vec![], String::new());
    loop {
        let page = read(&gateway, "kept/#", &format!("&order=desc&limit=90{until}")).await;
        back.extend(payloads(&page));
        until = format!("&until={}", page["cursor"].as_str().expect("a cursor"));
        if page["complete"] == true {
            break;
        }
    }
    back.reverse();
    assert_eq!(back, numbers(0..250));
    let first = read(&gateway, "kept/#", "&limit=10").await;
    let until = first["messages"][4]["cursor"].as_str().expect("a cursor");
    let part = read(&gateway, "kept/#", &format!("&until={until}")).await;
    assert_eq!(payloads(&part), numbers(0..5));
    assert_eq!(part["complete"], true);
    // after a restart it comes from the disk
    let gateway = gateway.restarted(HISTORY);
    let page = read(&gateway, "kept/#", "&limit=1000").await;
    assert_eq!(payloads(&page), numbers(0..250));
    let page = read(&gateway, "kept/#", "&since=1h&limit=1000").await;
    assert_eq!(
        (payloads(&page), &page["gap"]),
        (numbers(0..250), &Value::Null)
    );
    let page = read(&gateway, "kept/#", "&limit=7&order=desc").await;
    assert_eq!(payloads(&page).first().map(String::as_str), Some("249"));
    let mut stream = Stream::ready(gateway.http, Encoding::Sse, &["kept/#"], "last=4").await;
    publish(&gateway, "kept/a", "end").await;
    assert_eq!(self::until(&mut stream, "end").await, numbers(246..250));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_poll_is_answered_by_the_next_message_and_loses_none_in_between() {
    let gateway = Gateway::shared();
    let topic = unique("resuming/poll");
    let begun = read(&gateway, &topic, "&since=now").await;
    assert_eq!(
        (payloads(&begun), &begun["complete"]),
        (vec![], &json!(true))
    );
    let mut cursor = begun["cursor"].as_str().expect("a cursor").to_owned();
    let writer = {
        let (gateway, topic) = (gateway.clone(), topic.clone());
        tokio::spawn(async move { publish_numbers(&gateway, &topic, 0..100).await })
    };
    let mut got = vec![];
    while got.len() < 100 {
        let page = read(
            &gateway,
            &topic,
            &format!("&since={cursor}&wait=30&limit=7"),
        )
        .await;
        assert_eq!(page["gap"], Value::Null);
        got.extend(payloads(&page));
        cursor = page["cursor"].as_str().expect("a cursor").to_owned();
    }
    writer.await.expect("the publisher is fine");
    assert_eq!(got, numbers(0..100));
    for (options, slug) in [
        ("&wait=61", "parameter-invalid"),
        ("&wait=1&order=desc", "parameter-invalid"),
        ("&limit=1001", "parameter-invalid"),
        ("&until=nonsense", "parameter-invalid"),
        ("&what=1", "parameter-invalid"),
    ] {
        let target = format!("/api/v1/messages?topic={topic}{options}");
        let answer = Request::get(&target).send(gateway.http).await;
        answer.assert_problem(400, slug);
    }
}

/// Numbered publishes by four publishers at once, over MQTT and REST, while streams die at any point and come back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_die_and_come_back_lose_nothing_double_nothing_and_keep_the_order() {
    let gateway = Gateway::shared();
    let root = unique("resuming/exact");
    let each = match std::env::var_os("TIDEGATE_TEST_LONG") {
        Some(_) => 2_500,
        None => 250,
    };
    let filter = format!("{root}/#");
    let mut stream = Stream::open(gateway.http, Encoding::Sse, &[&filter], "").await;
    let mut cursor = cursor_of(&stream.next().await);
    let mut writers = vec![];
    for nth in 0..4 {
        let (gateway, topic) = (gateway.clone(), format!("{root}/{nth}"));
        writers.push(tokio::spawn(async move {
            if nth % 2 == 0 {
                return publish_numbers(&gateway, &topic, 0..each).await;
            }
            for number in 0..each {
                publish(&gateway, &topic, &number.to_string()).await;
            }
        }));
    }
    let mut got: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let (mut taken, mut lives, mut seed) = (0, 0, 7_u64);
    while taken < 4 * each {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let life = (seed >> 33) % 60;
        for _ in 0..life {
            if taken == 4 * each {
                break;
            }
            let event = stream.message().await;
            let topic = event.data["topic"].as_str().expect("a topic").to_owned();
            let text = String::from_utf8(event.payload()).expect("text");
            got.entry(topic).or_default().push(text);
            cursor = event.last_id;
            taken += 1;
        }
        lives += 1;
        // the bytes on the way are lost with the connection
        stream.abandon();
        let since = format!("since={cursor}&retained=never");
        stream = Stream::ready(gateway.http, Encoding::Sse, &[&filter], &since).await;
    }
    for writer in writers {
        writer.await.expect("the publisher is fine");
    }
    for nth in 0..4 {
        assert_eq!(
            got[&format!("{root}/{nth}")],
            numbers(0..each),
            "{lives} lives"
        );
    }
    publish(&gateway, &format!("{root}/0"), "end").await;
    assert_eq!(until(&mut stream, "end").await, numbers(0..0));
}
