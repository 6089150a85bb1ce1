use super::{
    outbox::{CloseReason, Outbox},
    registry::{Attached, Ending, StoredWill},
    resume::{Gap, Reason, Start},
    stream::{Stream, StreamItem},
    subscribe::Replay,
    *,
};
use crate::{
    message::Delivery,
    mqtt::{
        Packet, Version,
        ack::Ack,
        connect::{Connect, ConnectProperties, Will},
        subscribe::{Subscribe, SubscriptionOptions},
        topic::TopicFilter,
        write_queue::WriteQueue,
    },
    session::{
        Request,
        opening::{Opening, Refusal, negotiate},
    },
    store::{
        config::Durability,
        disk::Folder,
        log::Options,
        memory::MemoryStore,
        recovery::{self, Header},
    },
};

fn broker(max_queued_messages: usize) -> Broker {
    let config = Config {
        max_queued_messages,
        ..Config::default()
    };
    let store = MemoryStore::new(Epoch(*b"testtest"), 1 << 20, 1 << 20);
    Broker::new(config, Limits::default(), Box::new(store))
}

fn opening(broker: &Broker, client_id: &str, expiry: u32) -> Opening {
    let connect = Connect {
        version: Version::V5,
        bridge: false,
        clean_start: false,
        keep_alive: 0,
        client_id: client_id.into(),
        will: None,
        username: None,
        password: None,
        properties: ConnectProperties {
            session_expiry: Some(expiry),
            ..Default::default()
        },
    };
    negotiate(&connect, broker.limits(), u32::MAX, String::new).unwrap()
}

async fn connect(broker: &Broker, client_id: &str, expiry: u32) -> Attached {
    broker
        .connect(
            &opening(broker, client_id, expiry),
            false,
            &Identity::anonymous(),
        )
        .await
        .unwrap()
        .0
}

fn subscribe(broker: &Broker, attached: &mut Attached, filter: &str, qos: Qos) -> Vec<Replay> {
    let options = SubscriptionOptions {
        qos,
        ..Default::default()
    };
    subscribe_with(broker, attached, filter, options)
}

fn subscribe_with(
    broker: &Broker,
    attached: &mut Attached,
    filter: &str,
    options: SubscriptionOptions,
) -> Vec<Replay> {
    let request = Subscribe {
        packet_id: 1.try_into().unwrap(),
        subscription_id: None,
        user: Vec::new(),
        filters: vec![(filter.into(), options)],
    };
    let (session, outbox) = (&mut attached.session, &attached.outbox);
    let subscribed = broker.subscribe(&Identity::anonymous(), session, outbox, &request);
    subscribed.unwrap().replays
}

fn publish(broker: &Broker, topic: &str, payload: &str, qos: Qos) -> Receipt {
    let draft = Draft {
        topic: TopicName::parse(topic).unwrap(),
        payload: payload.into(),
        qos,
        retain: false,
        properties: None,
    };
    broker
        .publish(&mut broker.publisher(Identity::anonymous(), None), draft)
        .unwrap()
}

fn publish_numbers(broker: &Broker, topic: &str, range: std::ops::Range<usize>) {
    for number in numbers(range) {
        publish(broker, topic, &number, Qos::AtLeastOnce);
    }
}

/// Takes everything that waits for a session, as its connection would.
fn receive(broker: &Broker, attached: &mut Attached) -> Vec<String> {
    let mut received = Vec::new();
    loop {
        let mut batch = Vec::new();
        attached.outbox.take(&mut batch, 100, 100);
        if batch.is_empty() && look(&attached.outbox).behind {
            batch = broker.catch_up(&mut attached.session, &attached.outbox, 100);
        }
        if batch.is_empty() && !look(&attached.outbox).behind {
            return received;
        }
        for delivery in batch {
            received.push(payload(&delivery));
            attached
                .session
                .deliver(delivery, broker.now(), &mut WriteQueue::default());
        }
        broker.note_taken(&attached.session, &attached.outbox);
    }
}

/// Answers all QoS 1 messages that a session was sent.
fn acknowledge(broker: &Broker, attached: &mut Attached) {
    let sent = attached.session.snapshot(None, None, |_| None).outgoing;
    for one in sent {
        let ack = Packet::PubAck(Ack::new(one.packet_id, ReasonCode::Success));
        let answered = attached.session.handle(ack, &mut WriteQueue::default());
        assert_eq!(answered, Ok(Request::Room));
    }
    broker.note_taken(&attached.session, &attached.outbox);
}

/// What a reader would see, without taking anything.
fn look(outbox: &Outbox) -> outbox::Taken {
    outbox.take(&mut Vec::new(), 0, 0)
}

fn payload(delivery: &Delivery) -> String {
    String::from_utf8(delivery.message.payload.to_vec()).unwrap()
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}

#[tokio::test]
async fn a_durable_session_gets_what_it_missed_once_and_in_order_then_goes_on_live() {
    let broker = broker(1000);
    let mut away = connect(&broker, "away", 100).await;
    subscribe(&broker, &mut away, "t/#", Qos::AtLeastOnce);
    publish_numbers(&broker, "t/x", 0..3);
    assert_eq!(receive(&broker, &mut away), numbers(0..3));
    broker.detach(away, None, Ending::Broken);
    publish_numbers(&broker, "t/x", 3..6);
    publish(
        &broker,
        "t/x",
        "lost: QoS 0 waits for nobody",
        Qos::AtMostOnce,
    );
    publish(&broker, "other", "not asked for", Qos::AtLeastOnce);
    let mut back = connect(&broker, "away", 100).await;
    assert!(back.present);
    publish(&broker, "t/x", "6", Qos::AtLeastOnce);
    assert_eq!(receive(&broker, &mut back), numbers(3..7));
    publish(&broker, "t/x", "7", Qos::ExactlyOnce);
    assert_eq!(receive(&broker, &mut back), numbers(7..8));
}

#[tokio::test]
async fn a_durable_session_that_overflows_reads_the_log_and_misses_nothing() {
    let broker = broker(4);
    let mut slow = connect(&broker, "slow", 100).await;
    subscribe(&broker, &mut slow, "t", Qos::AtLeastOnce);
    publish_numbers(&broker, "t", 0..20);
    assert!(look(&slow.outbox).behind);
    assert_eq!(receive(&broker, &mut slow), numbers(0..20));
    assert!(!look(&slow.outbox).behind);
}

#[tokio::test]
async fn a_clean_session_that_overflows_at_qos_1_is_closed_and_at_qos_0_loses_the_newest() {
    let broker = broker(4);
    let mut careful = connect(&broker, "careful", 0).await;
    let mut careless = connect(&broker, "careless", 0).await;
    subscribe(&broker, &mut careful, "t", Qos::AtLeastOnce);
    subscribe(&broker, &mut careless, "t", Qos::AtMostOnce);
    publish_numbers(&broker, "t", 0..6);
    assert_eq!(look(&careful.outbox).closing, Some(CloseReason::TooSlow));
    assert_eq!(look(&careless.outbox).closing, None);
    assert_eq!(receive(&broker, &mut careless), numbers(0..4));
}

#[tokio::test]
async fn what_waits_for_an_absent_session_is_limited_and_the_oldest_goes() {
    let broker = broker(3);
    let mut away = connect(&broker, "away", 100).await;
    subscribe(&broker, &mut away, "t", Qos::AtLeastOnce);
    broker.detach(away, None, Ending::Broken);
    publish_numbers(&broker, "t", 0..10);
    let mut back = connect(&broker, "away", 100).await;
    assert_eq!(receive(&broker, &mut back), numbers(7..10));
}

#[tokio::test]
async fn the_log_is_cleaned_behind_the_last_who_needs_it() {
    let broker = broker(1000);
    let mut first = connect(&broker, "first", 100).await;
    let mut second = connect(&broker, "second", 100).await;
    subscribe(&broker, &mut first, "t", Qos::AtLeastOnce);
    subscribe(&broker, &mut second, "t", Qos::AtLeastOnce);
    publish_numbers(&broker, "t", 0..5);
    receive(&broker, &mut first);
    acknowledge(&broker, &mut first);
    receive(&broker, &mut second);
    broker.clean_log();
    assert_eq!(broker.0.store.size().0, 5);
    acknowledge(&broker, &mut second);
    broker.clean_log();
    assert_eq!(broker.0.store.size().0, 0);
}

#[tokio::test]
async fn a_message_nobody_durable_wants_is_not_recorded() {
    let broker = broker(1000);
    let mut clean = connect(&broker, "clean", 0).await;
    subscribe(&broker, &mut clean, "t", Qos::ExactlyOnce);
    assert_eq!(publish(&broker, "t", "x", Qos::ExactlyOnce).position, None);
    assert_eq!(receive(&broker, &mut clean), ["x"]);
}

#[tokio::test]
async fn a_takeover_moves_the_session_with_what_waits_in_it() {
    let broker = broker(1000);
    let mut old = connect(&broker, "c", 100).await;
    subscribe(&broker, &mut old, "t", Qos::AtLeastOnce);
    publish(&broker, "t", "x", Qos::AtLeastOnce);
    let newcomer = tokio::spawn({
        let (broker, opening) = (broker.clone(), opening(&broker, "c", 100));
        async move {
            broker
                .connect(&opening, false, &Identity::anonymous())
                .await
                .map(|begun| begun.0)
        }
    });
    wait_until_closed(&old.outbox).await;
    assert_eq!(look(&old.outbox).closing, Some(CloseReason::TakenOver));
    broker.detach(old, None, Ending::Broken);
    let mut new = newcomer.await.unwrap().unwrap();
    assert!(new.present && look(&new.outbox).closing.is_none());
    assert_eq!(receive(&broker, &mut new), ["x"]);
}

#[tokio::test]
async fn of_two_who_wait_for_the_same_session_the_later_gets_it() {
    let broker = broker(1000);
    let old = connect(&broker, "c", 0).await;
    let wait_for_it = || {
        let (broker, opening) = (broker.clone(), opening(&broker, "c", 0));
        tokio::spawn(async move {
            broker
                .connect(&opening, false, &Identity::anonymous())
                .await
                .map(|begun| begun.0)
        })
    };
    let first = wait_for_it();
    wait_until_closed(&old.outbox).await;
    let second = wait_for_it();
    // the first learns that it was overtaken before the session changes hands
    assert_eq!(first.await.unwrap().err(), Some(Refusal::TakenOver));
    broker.detach(old, None, Ending::Broken);
    assert!(second.await.unwrap().is_ok());
}

async fn wait_until_closed(outbox: &Arc<Outbox>) {
    std::future::poll_fn(|cx| outbox.poll_wait(cx, true)).await;
}

fn will(topic: &str, delay: u32) -> StoredWill {
    StoredWill {
        identity: Identity::anonymous(),
        will: Will {
            topic: TopicName::parse(topic).unwrap(),
            payload: topic.into(),
            qos: Qos::AtLeastOnce,
            retain: false,
            delay,
            properties: None,
        },
    }
}

#[tokio::test]
async fn mqtt_3_8_3_3_no_local_keeps_a_will_from_the_client_it_is_of() {
    let broker = broker(1000);
    for takeover in [true, false] {
        let mut client = connect(&broker, "c", 100).await;
        let options = SubscriptionOptions {
            qos: Qos::AtLeastOnce,
            no_local: true,
            ..Default::default()
        };
        subscribe_with(&broker, &mut client, "will/#", options);
        let other = "will/other";
        let newcomer = takeover.then(|| {
            let (broker, opening) = (broker.clone(), opening(&broker, "c", 100));
            tokio::spawn(async move {
                broker
                    .connect(&opening, false, &Identity::anonymous())
                    .await
                    .map(|begun| begun.0)
            })
        });
        if takeover {
            wait_until_closed(&client.outbox).await;
        }
        broker.detach(client, Some(will("will/own", 0)), Ending::Broken);
        let mut back = match newcomer {
            Some(newcomer) => newcomer.await.unwrap().unwrap(),
            None => connect(&broker, "c", 100).await,
        };
        publish(&broker, other, other, Qos::AtLeastOnce);
        assert_eq!(receive(&broker, &mut back), [other], "takeover: {takeover}");
        broker.detach(back, None, Ending::Goodbye);
    }
}

#[tokio::test]
async fn mqtt_3_1_2_8_who_begins_anew_does_not_get_the_will_of_its_former_self() {
    let broker = broker(1000);
    let old = connect(&broker, "c", 100).await;
    broker.detach(old, Some(will("will/own", 50)), Ending::Broken);
    let mut watcher = connect(&broker, "watcher", 0).await;
    subscribe(&broker, &mut watcher, "will/#", Qos::AtLeastOnce);
    let opening = opening(&broker, "c", 100);
    let (mut fresh, _) = broker
        .connect(&opening, true, &Identity::anonymous())
        .await
        .unwrap();
    subscribe(&broker, &mut fresh, "will/#", Qos::AtLeastOnce);
    publish(&broker, "will/marker", "marker", Qos::AtLeastOnce);
    assert_eq!(receive(&broker, &mut watcher), ["will/own", "marker"]);
    assert_eq!(receive(&broker, &mut fresh), ["marker"]);
}

#[tokio::test]
async fn a_replay_that_a_connection_leaves_unfinished_goes_on_with_the_session() {
    let broker = broker(1000);
    let retain = |topic: &str, payload: &str, qos| {
        let mut publisher = broker.publisher(Identity::anonymous(), None);
        let draft = Draft {
            topic: TopicName::parse(topic).unwrap(),
            payload: payload.into(),
            qos,
            retain: true,
            properties: None,
        };
        broker.publish(&mut publisher, draft).unwrap();
    };
    for topic in ["t/1", "t/2", "t/3", "t/4"] {
        retain(topic, "before", Qos::AtLeastOnce);
    }
    let mut client = connect(&broker, "c", 100).await;
    let replays = subscribe(&broker, &mut client, "t/#", Qos::AtLeastOnce);
    client.replays.extend(replays);
    let first = broker.replay(&mut client.replays[0], &Identity::default(), 1);
    assert_eq!(first.len(), 1);
    broker.detach(client, None, Ending::Broken);
    // one that the log keeps for the session, and one that nothing else will bring
    retain("t/2", "logged", Qos::AtLeastOnce);
    retain("t/3", "missed", Qos::AtMostOnce);
    let mut back = connect(&broker, "c", 100).await;
    retain("t/4", "live", Qos::AtMostOnce);
    assert_eq!(back.replays.len(), 1);
    let replayed = broker.replay(&mut back.replays[0], &Identity::default(), 100);
    let replayed: Vec<_> = replayed.iter().map(payload).collect();
    assert!(back.replays[0].is_done());
    assert_eq!(replayed, ["missed"]);
    let mut received = receive(&broker, &mut back);
    received.sort();
    assert_eq!(received, ["live", "logged"]);
    // a session begun anew has nothing to go on with
    broker.detach(back, None, Ending::Broken);
    let opening = opening(&broker, "c", 100);
    let (fresh, _) = broker
        .connect(&opening, true, &Identity::anonymous())
        .await
        .unwrap();
    assert!(fresh.replays.is_empty());
}

#[tokio::test]
async fn a_will_waits_for_its_delay_and_is_dropped_if_the_client_returns() {
    let broker = broker(1000);
    let mut watcher = connect(&broker, "watcher", 0).await;
    subscribe(&broker, &mut watcher, "will/#", Qos::AtLeastOnce);
    let leave = async |client_id, delay, ending| {
        let attached = connect(&broker, client_id, 100).await;
        broker.detach(
            attached,
            Some(will(&format!("will/{client_id}"), delay)),
            ending,
        );
    };
    leave("polite", 0, Ending::Goodbye).await;
    leave("stopped", 0, Ending::Stopped).await;
    leave("returns", 50, Ending::Broken).await;
    leave("waits", 50, Ending::Broken).await;
    leave("gone", 0, Ending::Broken).await;
    connect(&broker, "returns", 100).await;
    assert_eq!(receive(&broker, &mut watcher), ["will/gone"]);
    while let Some(timer) = broker.0.timers.take_due(broker.now().plus_seconds(60)) {
        broker.due(&timer.client_id, timer.number, timer.session_ends);
    }
    assert_eq!(receive(&broker, &mut watcher), ["will/waits"]);
}

#[tokio::test]
async fn a_share_group_with_a_durable_member_loses_nothing_while_nobody_is_there() {
    let broker = broker(1000);
    let mut member = connect(&broker, "member", 100).await;
    subscribe(&broker, &mut member, "$share/g/t", Qos::AtLeastOnce);
    publish(&broker, "t", "0", Qos::AtLeastOnce);
    assert_eq!(receive(&broker, &mut member), ["0"]);
    broker.detach(member, None, Ending::Broken);
    publish_numbers(&broker, "t", 1..4);
    broker.clean_log();
    let mut back = connect(&broker, "member", 100).await;
    broker.serve_groups(&back.session);
    // the first was sent and not acknowledged: it is in the window, to be sent again
    assert_eq!(back.session.in_flight(), 1);
    publish(&broker, "t", "4", Qos::AtLeastOnce);
    assert_eq!(receive(&broker, &mut back), numbers(1..5));
}

#[tokio::test]
async fn a_leaving_member_hands_its_unacknowledged_qos_1_to_the_others() {
    let broker = broker(1000);
    let mut leaver = connect(&broker, "leaver", 0).await;
    subscribe(&broker, &mut leaver, "$share/g/t", Qos::AtLeastOnce);
    publish_numbers(&broker, "t", 0..4);
    let mut batch = Vec::new();
    leaver.outbox.take(&mut batch, 2, 2);
    for delivery in batch {
        leaver
            .session
            .deliver(delivery, broker.now(), &mut WriteQueue::default());
    }
    let mut stays = connect(&broker, "stays", 0).await;
    subscribe(&broker, &mut stays, "$share/g/t", Qos::AtLeastOnce);
    broker.detach(leaver, None, Ending::Broken);
    assert_eq!(receive(&broker, &mut stays), numbers(0..4));
}

fn stream(broker: &Broker, filters: &[TopicFilter], start: Start) -> Stream {
    broker
        .stream(Identity::anonymous(), filters, start)
        .unwrap()
}

/// All messages that are there, and what is told to be missing.
fn everything(stream: &mut Stream) -> (Vec<String>, Vec<Gap>) {
    let (mut messages, mut gaps) = (Vec::new(), Vec::new());
    loop {
        match stream.try_next() {
            Some(StreamItem::Message(delivery)) => messages.push(payload(&delivery)),
            Some(StreamItem::Gap(gap)) => gaps.push(gap),
            Some(StreamItem::Closed(reason)) => panic!("{reason:?}"),
            None if stream.is_behind() => {}
            None => return (messages, gaps),
        }
    }
}

#[test]
fn a_stream_goes_on_exactly_where_the_one_before_it_was_given_up() {
    let broker = broker(1000);
    let filters = [TopicFilter::parse("t/#").unwrap()];
    let mut first = stream(&broker, &filters, Start::Now);
    publish_numbers(&broker, "t/x", 0..300);
    let mut got = Vec::new();
    for _ in 0..137 {
        if let Some(StreamItem::Message(delivery)) = first.try_next() {
            got.push(payload(&delivery));
        }
    }
    let cursor = first.cursor();
    drop(first);
    publish_numbers(&broker, "t/x", 300..500);
    publish(&broker, "other", "not for it", Qos::AtLeastOnce);
    let mut second = stream(&broker, &filters, Start::After(Some(cursor)));
    publish_numbers(&broker, "t/x", 500..600);
    let (rest, gaps) = everything(&mut second);
    assert_eq!(gaps, []);
    got.extend(rest);
    assert_eq!(got, numbers(0..600));
    assert_eq!(second.cursor(), broker.head());
}

#[test]
fn a_filter_is_recorded_from_its_first_stream_on_and_a_while_longer() {
    let config = Config {
        linger: std::time::Duration::ZERO,
        ..Config::default()
    };
    let store = MemoryStore::new(Epoch(*b"testtest"), 1 << 20, 1 << 20);
    let broker = Broker::new(config, Limits::default(), Box::new(store));
    let filters = [TopicFilter::parse("t/#").unwrap()];
    assert_eq!(publish(&broker, "t", "0", Qos::AtMostOnce).position, None);
    let mut first = stream(&broker, &filters, Start::Now);
    let cursor = first.cursor();
    drop(first);
    assert!(
        publish(&broker, "t", "1", Qos::AtMostOnce)
            .position
            .is_some()
    );
    let mut second = stream(&broker, &filters, Start::After(Some(cursor)));
    assert_eq!(everything(&mut second), (vec!["1".to_owned()], vec![]));
    let cursor = second.cursor();
    drop(second);
    broker.stop_recording();
    assert_eq!(publish(&broker, "t", "2", Qos::AtMostOnce).position, None);
    // other positions are given meanwhile
    let other = [TopicFilter::parse("other").unwrap()];
    let _other = stream(&broker, &other, Start::Now);
    publish(&broker, "other", "x", Qos::AtMostOnce);
    let mut third = stream(&broker, &filters, Start::After(Some(cursor)));
    let (messages, gaps) = everything(&mut third);
    assert_eq!(messages, numbers(0..0));
    assert_eq!(gaps[0].reason, Reason::NotRecorded);
}

#[test]
fn publishers_that_race_a_join_neither_lose_nor_double_anything() {
    let store = MemoryStore::new(Epoch(*b"testtest"), 1 << 26, 1 << 26);
    let broker = Broker::new(Config::default(), Limits::default(), Box::new(store));
    let filters = [TopicFilter::parse("t/#").unwrap()];
    let keeps = stream(&broker, &filters, Start::Now);
    let each = 2000;
    let threads: Vec<_> = (0..3)
        .map(|nth| {
            let broker = broker.clone();
            std::thread::spawn(move || publish_numbers(&broker, &format!("t/{nth}"), 0..each))
        })
        .collect();
    let mut got: std::collections::HashMap<String, Vec<String>> = Default::default();
    let mut cursor = Position {
        epoch: broker.epoch(),
        offset: 0,
    };
    let mut taken = 0;
    while taken < 3 * each {
        // a new stream after every few messages
        let mut one = stream(&broker, &filters, Start::After(Some(cursor)));
        for _ in 0..97 {
            match one.try_next() {
                Some(StreamItem::Message(delivery)) => {
                    let topic = delivery.message.topic.to_string();
                    got.entry(topic).or_default().push(payload(&delivery));
                    taken += 1;
                }
                Some(other) => panic!("{other:?}"),
                None => break,
            }
        }
        cursor = one.cursor();
    }
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    drop(keeps);
    for nth in 0..3 {
        assert_eq!(got[&format!("t/{nth}")], numbers(0..each));
    }
}

#[tokio::test]
async fn a_stream_is_told_how_much_it_missed_and_is_gone_when_dropped() {
    let broker = broker(1000);
    let filters = [
        TopicFilter::parse("t/#").unwrap(),
        TopicFilter::parse("t/+").unwrap(),
    ];
    let mut stream = stream(&broker, &filters, Start::Now);
    publish(&broker, "t/x", "0", Qos::ExactlyOnce);
    let StreamItem::Message(first) = stream.next().await else {
        panic!("a message comes first")
    };
    assert_eq!(
        (payload(&first).as_str(), first.subscription_ids.as_deref()),
        ("0", Some(&[1, 2][..]))
    );
    // more than waits for it, and less than the log keeps
    publish_numbers(&broker, "t/x", 0..2000);
    assert_eq!(everything(&mut stream), (numbers(0..2000), vec![]));
    // more than the log keeps
    publish_numbers(&broker, "t/x", 0..9000);
    let (rest, gaps) = everything(&mut stream);
    let [gap] = gaps[..] else {
        panic!("one gap: {gaps:?}")
    };
    let lost = gap.lost_at_most.unwrap() as usize;
    assert_eq!(gap.reason, Reason::Overflow);
    assert_eq!(rest, numbers(lost..9000));
    drop(stream);
    assert_eq!(publish(&broker, "t/x", "x", Qos::AtMostOnce).offered, 0);
}

#[tokio::test]
async fn a_share_group_with_room_for_less_than_the_message_does_not_hold_up_its_publisher() {
    let config = Config {
        max_queued_bytes: 1000,
        ..Config::default()
    };
    let store = MemoryStore::new(Epoch(*b"testtest"), 1 << 20, 1 << 20);
    let broker = Broker::new(config, Limits::default(), Box::new(store));
    let mut member = connect(&broker, "member", 100).await;
    subscribe(&broker, &mut member, "$share/g/t", Qos::AtLeastOnce);
    publish(&broker, "t", &"a".repeat(700), Qos::AtLeastOnce);
    publish(&broker, "t", &"b".repeat(700), Qos::AtLeastOnce);
    assert_eq!(receive(&broker, &mut member), ["a".repeat(700)]);
    broker.serve_groups(&member.session);
    assert_eq!(receive(&broker, &mut member), ["b".repeat(700)]);
}

#[tokio::test]
async fn a_session_resumed_for_the_last_time_gets_what_it_missed_before_what_comes_now() {
    let broker = broker(1000);
    let mut client = connect(&broker, "client", 100).await;
    subscribe(&broker, &mut client, "t", Qos::AtLeastOnce);
    broker.detach(client, None, Ending::Broken);
    publish_numbers(&broker, "t", 0..3);
    // from now on the session ends with its connection
    let mut back = connect(&broker, "client", 0).await;
    broker.clean_log();
    publish_numbers(&broker, "t", 3..5);
    assert_eq!(receive(&broker, &mut back), numbers(0..5));
}

#[tokio::test]
async fn what_a_leaving_member_holds_and_nobody_online_takes_waits_for_a_member_that_returns() {
    let broker = broker(1000);
    let mut returns = connect(&broker, "returns", 100).await;
    subscribe(&broker, &mut returns, "$share/g/t", Qos::AtLeastOnce);
    broker.detach(returns, None, Ending::Broken);
    let mut leaver = connect(&broker, "leaver", 0).await;
    subscribe(&broker, &mut leaver, "$share/g/t", Qos::AtLeastOnce);
    publish_numbers(&broker, "t", 0..4);
    let mut batch = Vec::new();
    leaver.outbox.take(&mut batch, 2, 2);
    for delivery in batch {
        leaver
            .session
            .deliver(delivery, broker.now(), &mut WriteQueue::default());
    }
    broker.detach(leaver, None, Ending::Broken);
    let mut back = connect(&broker, "returns", 100).await;
    assert_eq!(receive(&broker, &mut back), numbers(0..4));
}

#[tokio::test]
async fn a_leaving_member_keeps_what_the_others_have_no_room_for() {
    let broker = broker(2);
    let mut leaver = connect(&broker, "leaver", 100).await;
    subscribe(&broker, &mut leaver, "$share/g/t", Qos::AtLeastOnce);
    for number in numbers(0..4) {
        publish(&broker, "t", &number, Qos::AtLeastOnce);
        let mut batch = Vec::new();
        leaver.outbox.take(&mut batch, 1, 1);
        for delivery in batch {
            leaver
                .session
                .deliver(delivery, broker.now(), &mut WriteQueue::default());
        }
    }
    let mut stays = connect(&broker, "stays", 0).await;
    subscribe(&broker, &mut stays, "$share/g/t", Qos::AtLeastOnce);
    broker.detach(leaver, None, Ending::Broken);
    assert_eq!(receive(&broker, &mut stays), numbers(0..2));
    let mut back = connect(&broker, "leaver", 100).await;
    assert_eq!(receive(&broker, &mut back), numbers(2..4));
}

#[tokio::test]
async fn what_no_local_keeps_from_its_publisher_is_not_kept_in_the_log_for_it() {
    let broker = broker(1000);
    let mut bridge = connect(&broker, "bridge", 100).await;
    let options = SubscriptionOptions {
        qos: Qos::AtLeastOnce,
        no_local: true,
        ..Default::default()
    };
    subscribe_with(&broker, &mut bridge, "t", options);
    let anyone = Identity::anonymous();
    let mut other = connect(&broker, "other", 100).await;
    subscribe(&broker, &mut other, "t", Qos::AtLeastOnce);
    let origin = crate::message::Origin {
        client_id: Some("bridge".into()),
        user: None,
    };
    let mut publisher = Publisher::new(anyone, origin.into(), Some(bridge.outbox.key()));
    let draft = Draft {
        topic: TopicName::parse("t").unwrap(),
        payload: b"own".into(),
        qos: Qos::AtLeastOnce,
        retain: false,
        properties: None,
    };
    broker.publish(&mut publisher, draft).unwrap();
    broker.clean_log();
    assert_eq!(broker.0.store.size().0, 1);
    assert_eq!(receive(&broker, &mut other), ["own"]);
    acknowledge(&broker, &mut other);
    broker.clean_log();
    assert_eq!(broker.0.store.size().0, 0);
    assert_eq!(receive(&broker, &mut bridge), [""; 0]);
}

#[tokio::test]
async fn who_inherits_a_session_while_the_gateway_stops_is_told_to_end_too() {
    let broker = broker(1000);
    let old = connect(&broker, "c", 100).await;
    let newcomer = tokio::spawn({
        let (broker, opening) = (broker.clone(), opening(&broker, "c", 100));
        async move {
            broker
                .connect(&opening, false, &Identity::anonymous())
                .await
                .map(|begun| begun.0)
        }
    });
    wait_until_closed(&old.outbox).await;
    broker.shut_down();
    broker.detach(old, None, Ending::Stopped);
    let new = newcomer.await.unwrap().unwrap();
    assert_eq!(look(&new.outbox).closing, Some(CloseReason::ShuttingDown));
}

#[tokio::test]
async fn connack_waits_for_what_a_reconnection_repeats_at_qos_2() {
    let data = tempfile::tempdir().unwrap();
    let folder = Folder::open(data.path().to_owned()).unwrap();
    let fresh = Header {
        epoch: Epoch(*b"testtest"),
        secret: 7,
        segment: 0,
    };
    let options = Options::new(Durability::Fsync, 1 << 20, 1 << 20);
    let (store, recovered) =
        recovery::open(Arc::new(folder), options, fresh, Millis(1), &|_| 0).unwrap();
    let broker = Broker::new(Config::default(), Limits::default(), Box::new(store));
    broker.restore(recovered);
    let mut client = connect(&broker, "client", 100).await;
    subscribe(&broker, &mut client, "t", Qos::ExactlyOnce);
    publish(&broker, "t", "once", Qos::ExactlyOnce);
    let mut batch = Vec::new();
    client.outbox.take(&mut batch, 1, 1);
    let delivery = batch.pop().unwrap();
    let packet_id = client.session.hold(delivery.clone(), broker.now()).unwrap();
    let paired = broker.pair(&client.session, packet_id, &delivery);
    broker.detach(client, None, Ending::Broken);
    let opening = opening(&broker, "client", 100);
    let (_back, durable_at) = broker
        .connect(&opening, false, &Identity::anonymous())
        .await
        .unwrap();
    assert!(durable_at >= Some(paired), "{durable_at:?} < {paired:?}");
}
