//! `store.durability = { interval = … }`: the operating system has what was acknowledged, so no end of the process loses
//! it; the disk has it a little later.

use std::time::Duration;

use crate::support::{
    gateway::Gateway,
    http::Request,
    mqtt::Client,
    wire::{Opening, Publish, Version},
    within,
};

/// Kills for each version.
const LIVES: u32 = 4;

const INTERVAL: &[&str] = &["--set", "store.durability={ interval = \"50ms\" }"];

fn lasting(version: Version) -> Opening {
    let opening = Opening::new(version, "away").resuming();
    match version {
        Version::V5 => opening.session_expiry(300),
        _ => opening,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn written_at_intervals_nothing_that_was_acknowledged_is_lost_to_a_kill() {
    for version in [Version::V311, Version::V5] {
        let mut gateway = Gateway::start(INTERVAL);
        let mut away = Client::tcp(&gateway, &lasting(version)).await;
        away.subscribe(&[("kept/#", 2)]).await;
        away.disconnect().await;
        // each kill follows the last acknowledgement at once
        for life in 0..LIVES {
            let mut publisher = Client::tcp(&gateway, &Opening::v5("in")).await;
            for number in 0..20 {
                let text = format!("{life} {number}");
                let message = Publish::new("kept/a", text, 1 + number % 2);
                assert_eq!(publisher.publish(&message).await, 0);
            }
            let target = format!("/api/v1/topics/kept/{life}?qos=1&retain=true");
            let posted = Request::post(&target, "web").send(gateway.http).await;
            assert_eq!(posted.status, 200);
            gateway = gateway.killed(INTERVAL);
        }
        let (mut away, welcome) = Client::tcp_with_welcome(&gateway, &lasting(version)).await;
        assert!(welcome.session_present);
        let (mut once, mut twice, mut web) = (vec![], vec![], 0);
        while once.len() + twice.len() + web < LIVES as usize * 21 {
            let got = away.receive().await;
            match (got.topic.as_str(), got.qos) {
                ("kept/a", 1) => once.push(got.text()),
                ("kept/a", _) => twice.push(got.text()),
                _ => web += 1,
            }
        }
        let numbered = |which: u32| {
            let all = (0..LIVES).flat_map(|life| (0..20).map(move |number| (life, number)));
            let these = all.filter(move |(_, number)| number % 2 == which);
            these.map(|(life, number)| format!("{life} {number}"))
        };
        assert_eq!(once, numbered(0).collect::<Vec<_>>());
        assert_eq!(twice, numbered(1).collect::<Vec<_>>());
        for life in 0..LIVES {
            let target = format!("/api/v1/topics/kept/{life}");
            let kept = Request::get(&target).send(gateway.http).await;
            assert_eq!((kept.status, kept.text().as_str()), (200, "web"));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_acknowledgement_promises_is_said_at_the_start_and_by_the_api() {
    for (settings, promise) in [
        (
            &[] as &[&str],
            "fsync: acknowledged messages are on the disk",
        ),
        (INTERVAL, "a power cut loses at most 50 ms"),
        (
            &["--set", "store.durability=memory"],
            "survive their connection, not the process",
        ),
    ] {
        let gateway = Gateway::start(settings);
        let api = Request::get("/api/v1").send(gateway.http).await.json();
        let said = api["durability"].as_str().expect("a sentence");
        assert!(said.contains(promise), "{said:?}");
        let banner = async {
            // it comes behind `ready`
            while !gateway.log().contains(promise) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        within("the promise on standard error", banner).await;
    }
}
