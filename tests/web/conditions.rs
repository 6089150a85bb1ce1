//! `If-Match`, `If-None-Match`: compare-and-set of a topic's state, atomic whichever way others write.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use crate::support::{
    gateway::Gateway,
    http::{Request, Response},
    mqtt::Client,
    unique,
    wire::{Opening, Publish},
};

fn target(stem: &str) -> (String, String) {
    let topic = unique(stem);
    (format!("/api/v1/topics/{topic}"), topic)
}

fn etag(answer: &Response) -> String {
    let etag = answer.header("etag");
    etag.unwrap_or_else(|| panic!("an ETag in {answer:?}"))
        .to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_expects_another_state_is_refused_and_does_nothing() {
    let gateway = Gateway::shared();
    let (target, topic) = target("condition/refused");
    let twin = format!("/api/v1/topics?topic={topic}");
    let mut watcher = Client::tcp(&gateway, &Opening::v5(&unique("watcher"))).await;
    watcher.subscribe(&[(&topic, 1)]).await;

    // nothing is retained: whatever must be there is not
    for (method, body) in [("PUT", "x"), ("DELETE", "")] {
        for value in ["*", "\"k7q2m9xa-1\"", "\"x\""] {
            let request = Request::new(method, &target).body(body);
            request
                .header("If-Match", value)
                .send(gateway.http)
                .await
                .assert_problem(412, "precondition-failed");
        }
    }
    let first = Request::put(&target, "one")
        .header("If-None-Match", "*")
        .send(gateway.http)
        .await;
    assert_eq!(first.status, 200, "{}", first.text());
    let one = etag(&first);
    let second = Request::put(&twin, "two")
        .header("If-Match", &format!("\"elsewhere\", {one}"))
        .send(gateway.http)
        .await;
    assert_eq!(second.status, 200, "{}", second.text());
    let two = etag(&second);
    assert_ne!(one, two);
    let read = Request::get(&target).send(gateway.http).await;
    assert_eq!((etag(&read), read.text().as_str()), (two.clone(), "two"));

    // one state later everything that was right is wrong
    for (name, value) in [
        ("If-Match", one.clone()),
        ("If-Match", format!("W/{two}")),
        ("If-None-Match", "*".to_owned()),
        ("If-None-Match", format!("W/{two}")),
    ] {
        for request in [
            Request::put(&target, "lost"),
            Request::put(&twin, "lost"),
            Request::post(&format!("{target}?retain=true"), "lost"),
            Request::new("DELETE", &target),
        ] {
            let answer = request.header(name, &value).send(gateway.http).await;
            let problem = answer.assert_problem(412, "precondition-failed");
            assert!(problem.get("reason_code").is_none(), "{problem}");
        }
    }
    let gone = Request::new("DELETE", &target)
        .header("If-Match", &two)
        .send(gateway.http)
        .await;
    assert_eq!((gone.status, gone.body.len()), (204, 0));

    // what was refused went nowhere
    let mut seen = vec![];
    for _ in 0..3 {
        seen.push(watcher.receive().await.text());
    }
    assert_eq!(seen, ["one", "two", ""]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_condition_that_is_not_understood_is_refused_and_never_ignored() {
    let gateway = Gateway::shared();
    let (target, _) = target("condition/malformed");
    let kept = Request::put(&target, "kept").send(gateway.http).await;
    assert_eq!(kept.status, 200);
    for (name, value) in [
        ("If-Match", ""),
        ("If-Match", "unquoted"),
        ("If-Match", "\"open"),
        ("If-None-Match", "*, \"a\""),
        ("If-None-Match", "w/\"a\""),
        ("If-Unmodified-Since", "Sun, 06 Nov 1994 08:49:37 GMT"),
    ] {
        for request in [
            Request::put(&target, "lost"),
            Request::post(&format!("{target}?retain=true"), "lost"),
            Request::new("DELETE", &target),
        ] {
            let answer = request.header(name, value).send(gateway.http).await;
            let problem = answer.assert_problem(400, "parameter-invalid");
            assert_eq!(
                problem["errors"][0]["parameter"],
                name.to_ascii_lowercase(),
                "{problem}"
            );
        }
    }
    // a message that is not retained has no state to compare
    for name in ["If-Match", "If-None-Match"] {
        let request = Request::post(&target, "lost").header(name, "*");
        let answer = request.send(gateway.http).await;
        let problem = answer.assert_problem(400, "parameter-invalid");
        assert_eq!(problem["errors"][0]["parameter"], "retain", "{problem}");
    }
    let read = Request::get(&target).send(gateway.http).await;
    assert_eq!((read.text().as_str(), etag(&read)), ("kept", etag(&kept)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_says_which_state_it_has_or_wants() {
    let gateway = Gateway::shared();
    let (target, _) = target("condition/read");
    let tag = etag(&Request::put(&target, "x").send(gateway.http).await);
    for method in ["GET", "HEAD"] {
        let ask = |name: &str, value: &str| Request::new(method, &target).header(name, value);
        let read = ask("If-Match", &tag).send(gateway.http).await;
        assert_eq!(read.status, 200, "{method}");
        let other = ask("If-Match", "\"other\"").send(gateway.http).await;
        assert_eq!(other.status, 412, "{method}");
        let known = ask("If-None-Match", &tag).send(gateway.http).await;
        assert_eq!((known.status, etag(&known)), (304, tag.clone()), "{method}");
        assert!(known.header("last-modified").is_some(), "{method}");
    }
    // an envelope tells the seconds left, so its tag is weak: good for 304, not for writing
    let envelope = Request::get(&format!("{target}?envelope=true"))
        .send(gateway.http)
        .await;
    assert_eq!(etag(&envelope), format!("W/{tag}"));
    let request = Request::get(&target).header("If-None-Match", &etag(&envelope));
    assert_eq!(request.send(gateway.http).await.status, 304);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_message_is_no_state() {
    let gateway = Gateway::shared();
    let (target, topic) = target("condition/expired");
    let mut watcher = Client::tcp(&gateway, &Opening::v5(&unique("watcher"))).await;
    watcher.subscribe(&[(&topic, 1)]).await;
    let brief = Request::put(&format!("{target}?expiry=1"), "brief")
        .send(gateway.http)
        .await;
    assert_eq!(brief.status, 200);
    assert_eq!(watcher.receive().await.text(), "brief");
    let read = Request::get(&target).send(gateway.http).await;
    if read.status == 200 {
        assert_eq!(read.header("mqtt-expiry"), Some("1"));
    }
    // waits for the event: the state is gone for readers, lists, conditions and subscribers alike
    let deadline = tokio::time::Instant::now() + crate::support::DEADLINE;
    while Request::get(&target).send(gateway.http).await.status != 404 {
        assert!(
            tokio::time::Instant::now() < deadline,
            "it expires within its second"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let known = Request::get(&target).header("If-None-Match", &etag(&brief));
    known
        .send(gateway.http)
        .await
        .assert_problem(404, "not-retained");
    let stale = Request::put(&target, "late").header("If-Match", &etag(&brief));
    stale
        .send(gateway.http)
        .await
        .assert_problem(412, "precondition-failed");
    let fresh = Request::put(&target, "fresh").header("If-None-Match", "*");
    assert_eq!(fresh.send(gateway.http).await.status, 200);
}

/// Where the retained message of a topic is a number, and programs over HTTP and MQTT fight for it.
///
/// Those over HTTP count up, each by compare-and-set; those over MQTT set it to a number of their own, unconditionally.
/// If nothing is lost, the sequence of states that the topic had is one that these programs can have made one after
/// the other: each HTTP write is exactly one more than the state before it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn counters_over_http_lose_no_update_to_each_other_nor_to_mqtt() {
    let gateway = Gateway::shared();
    let (target, topic) = target("condition/counter");
    let long = std::env::var_os("TIDEGATE_TEST_LONG").is_some();
    let (counters, rounds, resets) = if long { (16, 250, 400) } else { (8, 25, 40) };

    let mut watcher = Client::tcp(&gateway, &Opening::v5(&unique("watcher"))).await;
    watcher.subscribe(&[(&topic, 1)]).await;
    let begun = Request::put(&target, "0").send(gateway.http).await;
    assert_eq!(begun.status, 200);
    assert_eq!(watcher.receive().await.text(), "0");

    let mut tasks = tokio::task::JoinSet::new();
    let refused = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    for _ in 0..counters {
        let (gateway, target, refused) = (gateway.clone(), target.clone(), refused.clone());
        tasks.spawn(async move {
            for _ in 0..rounds {
                loop {
                    let read = Request::get(&target).send(gateway.http).await;
                    let number: u64 = read.text().parse().expect("a number");
                    let request = Request::put(&target, (number + 1).to_string());
                    let request = request.header("If-Match", &etag(&read));
                    match request.send(gateway.http).await.status {
                        200 => break,
                        412 => drop(refused.fetch_add(1, Ordering::Relaxed)),
                        other => panic!("{other}"),
                    }
                }
            }
        });
    }
    let counting = Arc::new(AtomicBool::new(true));
    let mqtt = {
        let (gateway, topic, counting) = (gateway.clone(), topic.clone(), counting.clone());
        tokio::spawn(async move {
            let mut client = Client::tcp(&gateway, &Opening::v311(&unique("resets"))).await;
            let mut sent = BTreeSet::new();
            for reset in 1..=resets {
                if !counting.load(Ordering::Relaxed) {
                    break;
                }
                // numbers that no counter reaches from below: one million apart
                let number = reset * 1_000_000;
                let message = Publish::new(&topic, number.to_string(), 1).retained();
                client.publish(&message).await;
                sent.insert(number);
            }
            sent
        })
    };
    let watching = tokio::spawn(async move {
        let mut states = vec![];
        loop {
            let text = watcher.receive().await.text();
            match text.parse::<u64>() {
                Ok(number) => states.push(number),
                Err(_) => return states,
            }
        }
    });
    while let Some(done) = tasks.join_next().await {
        done.expect("a counter");
    }
    counting.store(false, Ordering::Relaxed);
    let resets = mqtt.await.expect("the MQTT publisher");
    let end = Request::put(&target, "end").send(gateway.http).await;
    assert_eq!(end.status, 200);
    let states = watching.await.expect("the watcher");

    let (mut counted, mut reset, mut before) = (0, BTreeSet::new(), 0);
    for state in states {
        if resets.contains(&state) && state != before + 1 {
            reset.insert(state);
        } else {
            assert_eq!(state, before + 1, "an update was lost");
            counted += 1;
        }
        before = state;
    }
    assert_eq!(counted, counters * rounds);
    assert_eq!(reset, resets);
    assert!(
        refused.load(Ordering::Relaxed) > 0,
        "they did meet: somebody had to try again"
    );
}
