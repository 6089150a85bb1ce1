//! Section 4.7: topic names and filters.

use crate::{
    stage::{Stage, joined, text},
    support::{
        unique,
        wire::{Publish, Version},
    },
};

claims! {
    v5_mqtt_4_7_1_1_a_filter_with_a_misplaced_wildcard_is_refused_alone:
        v5["4.7.1-1", "4.7.1-2"];
    v311_mqtt_4_7_1_2_a_filter_with_a_misplaced_wildcard_ends_the_connection:
        v311["4.7.1-2", "4.7.1-3"];
    v5_v311_mqtt_4_7_1_2_wildcards_in_their_places_are_granted:
        v5["4.7.1-2", "4.7.1-1"] v311["4.7.1-2", "4.7.1-3"];
    v5_v311_mqtt_4_7_2_1_leading_wildcards_do_not_reach_dollar_topics: v5["4.7.2-1"] v311["4.7.2-1"];
    v5_v311_mqtt_4_7_3_1_topics_and_filters_are_not_empty: v5["4.7.3-1"] v311["4.7.3-1"];
    v5_v311_mqtt_4_7_3_3_a_topic_may_be_65535_bytes_long: v5["4.7.3-3"] v311["4.7.3-3"];
    v5_v311_mqtt_4_7_3_4_nothing_is_normalised: v5["4.7.3-4"] v311["4.7.3-4"];
    v5_v311_a_topic_deeper_than_the_limit_is_refused: v5["limits.topic_levels"] v311["limits.topic_levels"];
}

const MISPLACED: [&str; 9] = [
    "a#", "a/#/b", "#/a", "a/b#", "##", "a+", "a/b+/c", "+a", "++",
];

async fn v5_mqtt_4_7_1_1_a_filter_with_a_misplaced_wildcard_is_refused_alone(at: Stage) {
    let mut client = at.client().await;
    for filter in MISPLACED {
        let good = unique("topics/good");
        let granted = client.subscribe(&[(filter, 0), (&good, 1)]).await;
        assert_eq!(granted, [0x8F, 1], "{filter}");
    }
    client.ping().await;
}

async fn v311_mqtt_4_7_1_2_a_filter_with_a_misplaced_wildcard_ends_the_connection(at: Stage) {
    for filter in MISPLACED {
        let filters = joined(&[&text(b"good"), &[1], &text(filter.as_bytes()), &[0]]);
        let mut client = at.client().await;
        client.send(&at.request_bytes(0x82, 1, &filters)).await;
        at.is_over(filter, &mut client, 0).await;
    }
}

async fn v5_v311_mqtt_4_7_1_2_wildcards_in_their_places_are_granted(at: Stage) {
    let root = unique("topics/places");
    for (filter, topic) in [
        ("#", "a/b"),
        ("+/+", "a/b"),
        ("+/b", "a/b"),
        ("a/+", "a/b"),
        ("a/+/#", "a/b"),
        ("+/b/#", "a/b"),
        ("+", "a"),
        ("a/#", "a"),
        ("/+", "/a"),
    ] {
        let mut client = at.subscriber(&[(&format!("{root}/{filter}"), 0)]).await;
        let topic = format!("{root}/{topic}");
        at.publish(&Publish::new(&topic, filter, 0)).await;
        let got = client.receive().await;
        assert_eq!((got.text().as_str(), got.topic), (filter, topic));
    }
    let mut client = at.client().await;
    assert_eq!(
        client
            .subscribe(&[("#", 0), ("+", 1), ("+/#", 2), ("/", 0)])
            .await,
        [0, 1, 2, 0]
    );
}

async fn v5_v311_mqtt_4_7_2_1_leading_wildcards_do_not_reach_dollar_topics(at: Stage) {
    // whatever a new subscriber to these gets, the gateway's own topics are not among it
    for filter in ["#", "+/broker/version", "+/#", "+/+/+", "/#"] {
        let mut client = at.subscriber(&[(filter, 0)]).await;
        let got = at.rest_of(&mut client).await;
        assert!(got.iter().all(|m| !m.topic.starts_with('$')), "{filter}");
    }
    let mut client = at.subscriber(&[("$SYS/#", 0)]).await;
    assert!(client.receive().await.topic.starts_with("$SYS/"));
    let mut client = at.subscriber(&[("$SYS/broker/+", 0)]).await;
    assert!(client.receive().await.topic.starts_with("$SYS/broker/"));
}

async fn v5_v311_mqtt_4_7_3_1_topics_and_filters_are_not_empty(at: Stage) {
    for (first, id) in [(0x30, &[][..]), (0x32, &[0, 1])] {
        // in 5.0 an empty topic without an alias is a Protocol Error of its own
        at.forbids("topic", &at.publish_bytes(first, b"", id, b"x"), 0x82)
            .await;
    }
    let mut client = at.client().await;
    client
        .send(&at.request_bytes(0x82, 1, &joined(&[&text(b""), &[0]])))
        .await;
    match at.is_v5() {
        true => client.expect(&[0x90, 4, 0, 1, 0, 0x8F]).await,
        false => at.is_over("an empty filter", &mut client, 0).await,
    }
}

async fn v5_v311_mqtt_4_7_3_3_a_topic_may_be_65535_bytes_long(at: Stage) {
    let topic = unique("topics/long-") + &"x".repeat(65_535);
    let topic = &topic[..65_535];
    let mut client = at.subscriber(&[(topic, 1)]).await;
    at.publish(&Publish::new(topic, "arrived", 1)).await;
    let got = client.receive().await;
    assert_eq!((got.topic.len(), got.topic == topic), (65_535, true));
}

async fn v5_v311_mqtt_4_7_3_4_nothing_is_normalised(at: Stage) {
    let root = unique("topics/literal");
    // precomposed and decomposed, upper and lower case, empty levels, spaces, ligatures
    let pairs = [
        ("\u{e9}", "e\u{301}"),
        ("A", "a"),
        ("a//b", "a/b"),
        ("a/", "a"),
        ("a ", "a"),
        ("\u{fb01}", "fi"),
        ("%41", "A"),
        ("a/./b", "a/b"),
    ];
    for (one, other) in pairs {
        let [one, other] = [one, other].map(|t| format!("{root}/{t}"));
        let mut client = at.subscriber(&[(&one, 0)]).await;
        at.publish(&Publish::new(&other, "other", 0)).await;
        at.publish(&Publish::new(&one, "same", 0)).await;
        let got = at.rest_of(&mut client).await;
        assert_eq!(
            got.iter().map(Publish::text).collect::<Vec<_>>(),
            ["same"],
            "{one}"
        );
        assert_eq!(got[0].topic, one);
    }
}

async fn v5_v311_a_topic_deeper_than_the_limit_is_refused(at: Stage) {
    let levels = |count: usize| vec!["a"; count].join("/");
    let mut client = at.client().await;
    let granted = client
        .subscribe(&[(&levels(128), 1), (&levels(129), 1)])
        .await;
    let refused = if at.is_v5() { 0x8F } else { 0x80 };
    assert_eq!(granted, [1, refused]);
    assert_eq!(client.publish(&Publish::new(&levels(128), "x", 1)).await, 0);
    let code = client.publish(&Publish::new(&levels(129), "x", 1)).await;
    assert_eq!(code, if at.version == Version::V5 { 0x90 } else { 0 });
}
