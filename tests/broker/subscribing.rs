//! Filters, identifiers, options, shared subscriptions, topic aliases.

use std::collections::BTreeMap;

use crate::support::{
    gateway::Gateway,
    mqtt::Client,
    unique,
    wire::{Opening, Properties, Publish, Value, Version, property},
};

const NO_LOCAL: u8 = 0x04;

fn identifier(number: u32) -> Properties {
    Properties::default().with(property::SUBSCRIPTION_ID, Value::Var(number))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wildcards_match_as_the_standard_says() {
    let gateway = Gateway::shared();
    let root = unique("subscribing/wild");
    let topics = ["", "/a", "/a/b", "/a/b/c", "//c", "/b"];
    let cases: [(&str, &[&str]); 8] = [
        ("/#", &["", "/a", "/a/b", "/a/b/c", "//c", "/b"]),
        ("/+", &["/a", "/b"]),
        ("/+/b", &["/a/b"]),
        ("/a/#", &["/a", "/a/b", "/a/b/c"]),
        ("/+/+", &["/a/b", "//c"]),
        ("//c", &["//c"]),
        ("/+/b/#", &["/a/b", "/a/b/c"]),
        ("/A", &[]),
    ];
    let mut publisher = Client::tcp(&gateway, &Opening::v5(&unique("in"))).await;
    let marker = unique("subscribing/marker");
    for (filter, wanted) in cases {
        let mut subscriber = Client::tcp(&gateway, &Opening::v311(&unique("out"))).await;
        subscriber
            .subscribe(&[(&format!("{root}{filter}"), 1), (&marker, 1)])
            .await;
        for topic in topics {
            publisher
                .publish(&Publish::new(&format!("{root}{topic}"), "x", 1))
                .await;
        }
        publisher.publish(&Publish::new(&marker, "end", 1)).await;
        let got = subscriber.receive_until(&marker).await;
        let got: Vec<String> = got.iter().map(|m| m.topic.replacen(&root, "", 1)).collect();
        assert_eq!(got, wanted, "{filter}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mqtt_4_7_2_1_a_leading_wildcard_does_not_reach_topics_with_a_dollar() {
    let gateway = Gateway::shared();
    for filter in ["#", "+/broker/version", "+/#"] {
        let marker = unique("subscribing/dollar");
        let mut subscriber = Client::tcp(&gateway, &Opening::v5(&unique("out"))).await;
        // 1 | retain handling 2: what other tests left retained is not of interest
        subscriber.subscribe(&[(filter, 1), (&marker, 1)]).await;
        let mut publisher = Client::tcp(&gateway, &Opening::v5(&unique("in"))).await;
        publisher.publish(&Publish::new(&marker, "end", 1)).await;
        for got in subscriber.receive_until(&marker).await {
            assert!(
                !got.topic.starts_with('$'),
                "{filter} received {}",
                got.topic
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn overlapping_subscriptions_give_one_copy_at_the_highest_qos_with_every_identifier() {
    let gateway = Gateway::shared();
    let root = unique("subscribing/overlap");
    let (exact, marker) = (format!("{root}/a"), format!("{root}/marker"));
    let mut client = Client::tcp(&gateway, &Opening::v5(&unique("out"))).await;
    client.subscribe_with(&[(&exact, 0)], &identifier(1)).await;
    client
        .subscribe_with(&[(&format!("{root}/+"), 2)], &identifier(268_435_455))
        .await;
    client
        .subscribe_with(&[(&format!("{root}/#"), 1)], &identifier(300))
        .await;
    client.subscribe(&[(&format!("{root}/a/#"), 1)]).await;
    let elsewhere = exact.replacen("subscribing", "+", 1);
    // an identifier may stand for several subscriptions, and then stands there for each
    client
        .subscribe_with(
            &[(&elsewhere, 0), (&format!("{root}/+/#"), 0)],
            &identifier(9),
        )
        .await;
    let mut publisher = Client::tcp(&gateway, &Opening::v5(&unique("in"))).await;
    publisher.publish(&Publish::new(&exact, "x", 2)).await;
    publisher.publish(&Publish::new(&marker, "end", 1)).await;
    let got = client.receive_until(&marker).await;
    assert_eq!(got.len(), 1, "one copy: {got:?}");
    assert_eq!(got[0].qos, 2, "the highest QoS");
    let mut identifiers: Vec<u32> = got[0]
        .properties
        .all(property::SUBSCRIPTION_ID)
        .into_iter()
        .map(|v| match v {
            Value::Var(n) => *n,
            other => panic!("{other:?}"),
        })
        .collect();
    identifiers.sort_unstable();
    assert_eq!(identifiers, [1, 9, 9, 300, 268_435_455]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn overlapping_subscriptions_of_3_1_1_give_one_copy_too() {
    let gateway = Gateway::shared();
    let root = unique("subscribing/overlap3");
    let marker = format!("{root}/marker");
    let mut client = Client::tcp(&gateway, &Opening::v311(&unique("out"))).await;
    client
        .subscribe(&[
            (&format!("{root}/a"), 0),
            (&format!("{root}/+"), 1),
            (&format!("{root}/#"), 2),
        ])
        .await;
    let mut publisher = Client::tcp(&gateway, &Opening::v5(&unique("in"))).await;
    publisher
        .publish(&Publish::new(&format!("{root}/a"), "x", 2))
        .await;
    publisher.publish(&Publish::new(&marker, "end", 2)).await;
    let got = client.receive_until(&marker).await;
    assert_eq!(got.iter().map(|m| m.qos).collect::<Vec<_>>(), [2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mqtt_3_8_4_3_subscribing_again_replaces_options_and_identifier() {
    let gateway = Gateway::shared();
    let topic = unique("subscribing/replaced");
    let mut client = Client::tcp(&gateway, &Opening::v5(&unique("out"))).await;
    client.subscribe_with(&[(&topic, 0)], &identifier(1)).await;
    client.subscribe_with(&[(&topic, 1)], &identifier(2)).await;
    let mut publisher = Client::tcp(&gateway, &Opening::v5(&unique("in"))).await;
    for payload in ["one", "two"] {
        publisher.publish(&Publish::new(&topic, payload, 1)).await;
        let got = client.receive().await;
        assert_eq!((got.text().as_str(), got.qos), (payload, 1));
        assert_eq!(
            got.properties.all(property::SUBSCRIPTION_ID),
            [&Value::Var(2)]
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mqtt_3_8_3_3_no_local_spares_the_publisher_its_own_messages() {
    let gateway = Gateway::shared();
    let topic = unique("subscribing/local");
    let mut client = Client::tcp(&gateway, &Opening::v5(&unique("both"))).await;
    client.subscribe(&[(&topic, 1 | NO_LOCAL)]).await;
    client.publish(&Publish::new(&topic, "own", 1)).await;
    let mut other = Client::tcp(&gateway, &Opening::v5(&unique("other"))).await;
    other.publish(&Publish::new(&topic, "foreign", 1)).await;
    assert_eq!(client.receive().await.text(), "foreign");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_share_group_gives_each_message_to_exactly_one_member() {
    let gateway = Gateway::shared();
    let root = unique("subscribing/shared");
    let marker = format!("{root}/marker");
    let filter = format!("$share/workers/{root}/+");
    let mut members = vec![];
    for version in [Version::V5, Version::V5, Version::V311] {
        let mut member = Client::tcp(&gateway, &Opening::new(version, &unique("member"))).await;
        assert_eq!(
            member
                .subscribe(&[(&filter, 1), (&format!("{marker}/all"), 1)])
                .await,
            [1, 1]
        );
        members.push(member);
    }
    let mut outsider = Client::tcp(&gateway, &Opening::v5(&unique("other-group"))).await;
    outsider
        .subscribe(&[
            (&format!("$share/others/{root}/+"), 1),
            (&format!("{marker}/all"), 1),
        ])
        .await;
    let mut publisher = Client::tcp(&gateway, &Opening::v5(&unique("in"))).await;
    let count = 60;
    for n in 0..count {
        publisher
            .publish(&Publish::new(&format!("{root}/work"), n.to_string(), 1))
            .await;
    }
    publisher
        .publish(&Publish::new(&format!("{marker}/all"), "end", 1))
        .await;
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut busy = 0;
    for member in &mut members {
        let got = member.receive_until(&format!("{marker}/all")).await;
        busy += usize::from(!got.is_empty());
        for message in got {
            *seen.entry(message.text()).or_default() += 1;
        }
    }
    assert_eq!(seen.len(), count, "nothing lost");
    assert!(
        seen.values().all(|copies| *copies == 1),
        "nothing twice: {seen:?}"
    );
    assert!(busy > 1, "the work is shared");
    assert_eq!(
        outsider.receive_until(&format!("{marker}/all")).await.len(),
        count,
        "every group gets every message"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_leaving_group_member_did_not_acknowledge_goes_to_another() {
    let gateway = Gateway::shared();
    let topic = unique("subscribing/handover");
    let filter = format!("$share/g/{topic}");
    let mut leaving = Client::tcp(&gateway, &Opening::v5(&unique("leaving"))).await;
    leaving.subscribe(&[(&filter, 1)]).await;
    let mut publisher = Client::tcp(&gateway, &Opening::v5(&unique("in"))).await;
    publisher.publish(&Publish::new(&topic, "work", 1)).await;
    assert_eq!(leaving.receive_only().await.text(), "work");
    let mut staying = Client::tcp(&gateway, &Opening::v5(&unique("staying"))).await;
    staying.subscribe(&[(&filter, 1)]).await;
    drop(leaving);
    assert_eq!(staying.receive().await.text(), "work");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shared_subscription_with_no_local_is_a_protocol_error() {
    let gateway = Gateway::shared();
    let mut client = Client::tcp(&gateway, &Opening::v5(&unique("out"))).await;
    let filter = "$share/g/subscribing/wrong";
    let bytes = crate::support::wire::subscribe(
        Version::V5,
        1,
        &[(filter, 1 | NO_LOCAL)],
        &Properties::default(),
    );
    client.send(&bytes).await;
    assert_eq!(client.closed().await, Some(0x82), "[MQTT-3.8.3-4]");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invalid_filter_is_refused_and_its_neighbours_are_granted() {
    let gateway = Gateway::shared();
    let good = unique("subscribing/good");
    let mut client = Client::tcp(&gateway, &Opening::v5(&unique("out"))).await;
    let filters = [
        ("a/#/b", 0),
        (good.as_str(), 1),
        ("a+/b", 0),
        ("$share/g", 0),
        ("$share//a", 0),
        ("$share/g+/a", 0),
    ];
    let granted = client.subscribe(&filters).await;
    assert_eq!(granted, [0x8F, 1, 0x8F, 0x8F, 0x8F, 0x8F]);
    client.publish(&Publish::new(&good, "alive", 1)).await;
    assert_eq!(client.receive().await.text(), "alive");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_alias_of_the_client_stands_for_its_topic() {
    let gateway = Gateway::shared();
    let (one, two) = (unique("subscribing/alias"), unique("subscribing/alias"));
    let mut subscriber = Client::tcp(&gateway, &Opening::v5(&unique("out"))).await;
    subscriber.subscribe(&[(&one, 1), (&two, 1)]).await;
    let (mut publisher, welcome) =
        Client::tcp_with_welcome(&gateway, &Opening::v5(&unique("in"))).await;
    let most = welcome
        .properties
        .number(property::TOPIC_ALIAS_MAXIMUM)
        .expect("the gateway takes aliases");
    let aliased = |topic: &str, payload: &str, alias: u16| {
        Publish::new(topic, payload, 1).property(property::TOPIC_ALIAS, Value::Two(alias))
    };
    for (message, topic) in [
        (aliased(&one, "set", 1), &one),
        (aliased("", "used", 1), &one),
        (aliased(&two, "moved", 1), &two),
        (aliased("", "used again", 1), &two),
        (aliased(&one, "highest", most as u16), &one),
        (aliased("", "highest used", most as u16), &one),
    ] {
        assert_eq!(publisher.publish(&message).await, 0);
        let got = subscriber.receive().await;
        assert_eq!((&got.topic, got.text()), (topic, message.text()));
        assert!(
            got.properties.get(property::TOPIC_ALIAS).is_none(),
            "[MQTT-3.3.2-7] an alias is not forwarded"
        );
    }
    // an alias above the maximum, zero, and one never set
    let above = (most < 65535).then(|| (aliased(&one, "x", most as u16 + 1), 0x94));
    let wrong = [(aliased(&one, "x", 0), 0x94), (aliased("", "x", 2), 0x82)];
    for (message, reason) in wrong.into_iter().chain(above) {
        let mut client = Client::tcp(&gateway, &Opening::v5(&unique("in"))).await;
        let mut message = message;
        message.id = 1;
        client
            .send(&crate::support::wire::publish(Version::V5, &message))
            .await;
        assert_eq!(client.closed().await, Some(reason), "{message:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topic_aliases_of_the_gateway_stay_within_what_the_client_allows() {
    let gateway = Gateway::shared();
    let root = unique("subscribing/alias-out");
    let allowed = 2;
    let opening =
        Opening::v5(&unique("out")).property(property::TOPIC_ALIAS_MAXIMUM, Value::Two(allowed));
    let mut aliasing = Client::tcp(&gateway, &opening).await;
    let mut plain = Client::tcp(&gateway, &Opening::v5(&unique("out"))).await;
    for client in [&mut aliasing, &mut plain] {
        client.subscribe(&[(&format!("{root}/#"), 1)]).await;
    }
    let mut publisher = Client::tcp(&gateway, &Opening::v5(&unique("in"))).await;
    let mut known: BTreeMap<u32, String> = BTreeMap::new();
    for n in 0..30 {
        let topic = format!("{root}/{}", n % 3);
        publisher.publish(&Publish::new(&topic, "x", 1)).await;
        let got = plain.receive().await;
        assert_eq!(got.topic, topic);
        assert!(
            got.properties.get(property::TOPIC_ALIAS).is_none(),
            "this client allows no aliases"
        );
        let got = aliasing.receive().await;
        let meant = match got.properties.number(property::TOPIC_ALIAS) {
            None => got.topic.clone(),
            Some(alias) => {
                assert!((1..=u32::from(allowed)).contains(&alias), "alias {alias}");
                if !got.topic.is_empty() {
                    known.insert(alias, got.topic.clone());
                }
                known.get(&alias).expect("an alias set before").clone()
            }
        };
        assert_eq!(meant, topic);
    }
    assert!(!known.is_empty(), "the gateway uses the aliases it may");
}
