//! `$SYS`: what monitoring reads, and who may not write there.

use crate::support::{
    gateway::Gateway,
    mqtt::Client,
    unique,
    wire::{Opening, Publish, Version},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_names_that_exporters_read_are_retained() {
    let gateway = Gateway::shared();
    let mut client = Client::tcp(&gateway, &Opening::v311(&unique("exporter"))).await;
    client.subscribe(&[("$SYS/#", 1)]).await;
    let mut missing: Vec<&str> = vec![
        "version",
        "uptime",
        "clients/connected",
        "clients/total",
        "clients/maximum",
        "clients/disconnected",
        "messages/received",
        "messages/sent",
        "bytes/received",
        "bytes/sent",
        "publish/messages/received",
        "publish/messages/sent",
        "publish/messages/dropped",
        "subscriptions/count",
        "retained messages/count",
    ];
    // they are written every 10 s, the first time soon after the start
    while !missing.is_empty() {
        let got = client.receive().await;
        assert!(got.topic.starts_with("$SYS/"), "{}", got.topic);
        let name = got.topic.strip_prefix("$SYS/broker/").unwrap_or_default();
        if let Some(at) = missing.iter().position(|wanted| *wanted == name) {
            let text = got.text();
            match missing.swap_remove(at) {
                "version" => assert!(text.contains(env!("CARGO_PKG_VERSION")), "version {text}"),
                "uptime" => assert!(
                    text.split(' ')
                        .next()
                        .is_some_and(|n| n.parse::<u64>().is_ok()),
                    "uptime {text}"
                ),
                other => assert!(text.parse::<f64>().is_ok(), "{other} is no number: {text}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_publishes_to_sys() {
    let gateway = Gateway::shared();
    let topic = format!("$SYS/{}", unique("mine"));
    let marker = unique("system/marker");
    let mut watcher = Client::tcp(&gateway, &Opening::v5(&unique("watcher"))).await;
    watcher.subscribe(&[(&topic, 1), (&marker, 1)]).await;
    let mut new = Client::tcp(&gateway, &Opening::v5(&unique("in"))).await;
    assert_eq!(
        new.publish(&Publish::new(&topic, "no", 1)).await,
        0x87,
        "PUBACK"
    );
    assert_eq!(
        new.publish(&Publish::new(&topic, "no", 2).retained()).await,
        0x87,
        "PUBREC"
    );
    new.publish(&Publish::new(&topic, "no", 0)).await;
    for version in [Version::V31, Version::V311] {
        let mut old = Client::tcp(&gateway, &Opening::new(version, &unique("in"))).await;
        // MQTT 3 can only acknowledge as normal
        old.publish(&Publish::new(&topic, "no", 1)).await;
        old.publish(&Publish::new(&topic, "no", 2)).await;
        old.ping().await;
    }
    new.publish(&Publish::new(&marker, "end", 1)).await;
    let got: Vec<Publish> = watcher.receive_until(&marker).await;
    assert!(got.is_empty(), "{got:?}");
}
