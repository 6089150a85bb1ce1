//! Share groups: what a member leaves goes to the others, or waits.

use super::{
    acknowledge, broker, connect, numbers, on_disk, opening, payload, publish, publish_numbers,
    receive, subscribe,
};
use crate::{
    auth::rules::{Subject, access::Access, own},
    broker::{
        registry::{Attached, Ending},
        resume::Start,
        stream::{Stream, StreamItem},
        *,
    },
    mqtt::{
        Packet, PacketId, ack::Ack, subscribe::Unsubscribe, topic::TopicFilter,
        write_queue::WriteQueue,
    },
    session::Delivered,
    store::memory::MemoryStore,
};
use std::sync::atomic::{AtomicBool, Ordering};

/// Sends a member what waits for it, as its connection would: the texts, and their identifiers.
pub(super) fn send(broker: &Broker, attached: &mut Attached) -> Vec<(String, PacketId)> {
    let (mut batch, mut sent) = (Vec::new(), Vec::new());
    attached.outbox.take(&mut batch, 100, 100);
    let (session, out, now) = (
        &mut attached.session,
        &mut WriteQueue::default(),
        broker.now(),
    );
    for delivery in batch {
        let text = payload(&delivery);
        if delivery.qos == Qos::ExactlyOnce && broker.keeps(session) {
            let copy = delivery.clone();
            let packet_id = session.hold(delivery, now).unwrap();
            broker.pair(session, packet_id, &copy);
            session.deliver_held(packet_id, now, out);
        } else {
            session.deliver(delivery, now, out);
        }
        let under_way = session.snapshot(None, None, |_| None).outgoing;
        sent.push((text, under_way.back().unwrap().packet_id));
    }
    sent
}

pub(super) fn texts(sent: Vec<(String, PacketId)>) -> Vec<String> {
    sent.into_iter().map(|(text, _)| text).collect()
}

/// A packet of a member, and what its connection does about it.
pub(super) fn answer(broker: &Broker, attached: &mut Attached, answer: Packet) {
    let (session, out) = (&mut attached.session, &mut WriteQueue::default());
    match session.handle(answer, out).unwrap() {
        crate::session::Request::Received(packet_id) => {
            broker.answered(session, packet_id);
        }
        crate::session::Request::Completed(packet_id) => broker.completed(session, packet_id),
        _ => {}
    }
    broker.settle_shared(session);
}

pub(super) fn ack(packet_id: PacketId) -> Ack {
    Ack::new(packet_id, ReasonCode::Success)
}

pub(super) fn unsubscribe(broker: &Broker, attached: &mut Attached, filter: &str) {
    let request = Unsubscribe {
        packet_id: PacketId::MIN,
        user: Vec::new(),
        filters: vec![filter.into()],
    };
    let (reasons, _) = broker.unsubscribe(&mut attached.session, &attached.outbox, &request);
    assert_eq!(reasons, [ReasonCode::Success]);
}

/// How many messages the log still has that somebody needs.
pub(super) fn needed(broker: &Broker) -> usize {
    broker.clean_log();
    broker.0.store.size().0
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
    broker.serve_groups(&back.session);
    assert_eq!(receive(&broker, &mut back), numbers(0..4));
}

#[tokio::test]
async fn a_leaving_member_keeps_what_the_others_have_no_room_for() {
    let broker = broker(2);
    let mut leaver = connect(&broker, "leaver", 100).await;
    subscribe(&broker, &mut leaver, "$share/g/t", Qos::AtLeastOnce);
    for number in numbers(0..5) {
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
    let back = connect(&broker, "leaver", 100).await;
    // under the identifiers that it has them under already [MQTT-4.4.0-1]
    let under_way = back.session.snapshot(None, None, |_| None).outgoing;
    let ids: Vec<_> = under_way.iter().map(|one| one.packet_id.get()).collect();
    assert_eq!(ids, [3, 4, 5]);
}

#[tokio::test]
async fn what_a_member_is_not_sent_because_it_expired_or_is_too_large_is_done_with() {
    let broker = broker(1000);
    let mut member = connect(&broker, "member", 100).await;
    subscribe(&broker, &mut member, "$share/g/t", Qos::ExactlyOnce);
    for qos in [Qos::AtLeastOnce, Qos::ExactlyOnce] {
        let properties = crate::mqtt::property::MessageProperties {
            message_expiry: Some(1),
            ..Default::default()
        };
        let draft = Draft {
            topic: TopicName::parse("t").unwrap(),
            payload: "expires".into(),
            qos,
            retain: false,
            properties: Some(Box::new(properties)),
        };
        let mut publisher = broker.publisher(Identity::anonymous(), None);
        broker.publish(&mut publisher, draft).unwrap();
    }
    publish(&broker, "t", "larger than it takes", Qos::AtLeastOnce);
    let mut batch = Vec::new();
    member.outbox.take(&mut batch, 3, 3);
    let [at_least_once, exactly_once, large] = batch.try_into().unwrap();
    let session = &mut member.session;
    let mut terms = session.terms().clone();
    terms.max_packet_out = 20;
    session.resume(terms);
    let (out, later) = (&mut WriteQueue::default(), broker.now().plus_seconds(60));
    let delivered = session.deliver(at_least_once, later, out);
    assert_eq!(delivered, Delivered::Expired);
    assert_eq!(session.hold(exactly_once, later), None);
    assert_eq!(session.deliver(large, later, out), Delivered::TooLarge);
    broker.settle_shared(session);
    assert_eq!(needed(&broker), 0);
}

#[tokio::test]
async fn a_member_that_unsubscribed_still_answers_what_it_was_given() {
    let broker = broker(1000);
    let mut leaver = connect(&broker, "leaver", 100).await;
    subscribe(&broker, &mut leaver, "$share/g/t", Qos::AtLeastOnce);
    publish_numbers(&broker, "t", 0..2);
    let sent = send(&broker, &mut leaver);
    let mut stays = connect(&broker, "stays", 100).await;
    subscribe(&broker, &mut stays, "$share/g/t", Qos::AtLeastOnce);
    unsubscribe(&broker, &mut leaver, "$share/g/t");
    answer(&broker, &mut leaver, Packet::PubAck(ack(sent[0].1)));
    assert_eq!(needed(&broker), 1);
    // and what it does not answer goes to the others
    broker.detach(leaver, None, Ending::Broken);
    let sent = send(&broker, &mut stays);
    answer(&broker, &mut stays, Packet::PubAck(ack(sent[0].1)));
    assert_eq!((needed(&broker), texts(sent)), (0, numbers(1..2)));
}

#[tokio::test]
async fn a_qos_2_message_that_leaves_behind_an_unsubscription_is_for_nobody_else_after_a_kill() {
    let data = tempfile::tempdir().unwrap();
    {
        let broker = on_disk(&data);
        let mut leaver = connect(&broker, "leaver", 100).await;
        subscribe(&broker, &mut leaver, "$share/g/t", Qos::ExactlyOnce);
        publish(&broker, "t", "once", Qos::ExactlyOnce);
        let mut stays = connect(&broker, "stays", 100).await;
        subscribe(&broker, &mut stays, "$share/g/t", Qos::ExactlyOnce);
        unsubscribe(&broker, &mut leaver, "$share/g/t");
        assert_eq!(texts(send(&broker, &mut leaver)), ["once"]);
        broker.0.store.close();
    }
    let broker = on_disk(&data);
    let mut stays = connect(&broker, "stays", 100).await;
    broker.serve_groups(&stays.session);
    assert_eq!(texts(send(&broker, &mut stays)), Vec::<String>::new());
    // it is kept for the one that has its identifier
    assert_eq!(needed(&broker), 1);
    let leaver = connect(&broker, "leaver", 100).await;
    assert_eq!(leaver.session.in_flight(), 1);
    assert!(leaver.session.snapshot(None, None, |_| None).outgoing[0].offset > 0);
}

#[tokio::test]
async fn what_is_handed_on_to_a_member_at_qos_0_is_done_with() {
    let broker = broker(1000);
    let mut leaver = connect(&broker, "leaver", 100).await;
    subscribe(&broker, &mut leaver, "$share/g/t", Qos::AtLeastOnce);
    publish(&broker, "t", "0", Qos::AtLeastOnce);
    assert_eq!(texts(send(&broker, &mut leaver)), ["0"]);
    let mut stays = connect(&broker, "stays", 0).await;
    subscribe(&broker, &mut stays, "$share/g/t", Qos::AtMostOnce);
    broker.detach(leaver, None, Ending::Broken);
    assert_eq!(receive(&broker, &mut stays), ["0"]);
    assert_eq!(needed(&broker), 0);
}

#[tokio::test]
async fn what_nobody_takes_after_all_stays_protected_for_whoever_had_it() {
    let broker = broker(1000);
    let mut holder = connect(&broker, "holder", 100).await;
    let mut other = connect(&broker, "other", 100).await;
    subscribe(&broker, &mut holder, "$share/g/t", Qos::AtLeastOnce);
    publish(&broker, "t", "0", Qos::AtLeastOnce);
    let mut batch = Vec::new();
    holder.outbox.take(&mut batch, 1, 1);
    let held = batch.remove(0);
    subscribe(&broker, &mut other, "$share/g/t", Qos::AtLeastOnce);
    let filter = TopicFilter::parse("$share/g/t").unwrap();
    let group = broker.0.routes.group(&filter).unwrap();
    // somebody comes and goes between the question whether he has room and the message
    let outbox = other.outbox.clone();
    let gone = Arc::new(AtomicBool::new(false));
    let ends = gone.clone();
    let toggles = std::thread::spawn(move || {
        while !ends.load(Ordering::Relaxed) {
            outbox.go_online();
            outbox.go_offline();
        }
    });
    let mut lost = 0;
    for _ in 0..200_000 {
        let except = Some(holder.outbox.key());
        if !broker.assign(&group, &held.message, held.position, except)
            && !group.needs(held.position.unwrap().offset)
        {
            lost += 1;
            break;
        }
        other.outbox.retain(|_| false);
    }
    gone.store(true, Ordering::Relaxed);
    toggles.join().unwrap();
    assert_eq!(lost, 0);
}

#[tokio::test]
async fn after_a_stop_a_qos_2_message_that_a_member_has_is_for_nobody_else() {
    let data = tempfile::tempdir().unwrap();
    let mut broker = on_disk(&data);
    let mut slow = connect(&broker, "slow", 100).await;
    let mut quick = connect(&broker, "quick", 100).await;
    subscribe(&broker, &mut slow, "$share/g/t", Qos::ExactlyOnce);
    subscribe(&broker, &mut quick, "$share/g/t", Qos::ExactlyOnce);
    publish(&broker, "t", "0", Qos::ExactlyOnce);
    publish(&broker, "t", "1", Qos::ExactlyOnce);
    assert_eq!(texts(send(&broker, &mut slow)), ["0"]);
    let sent = send(&broker, &mut quick);
    answer(&broker, &mut quick, Packet::PubRec(ack(sent[0].1)));
    assert_eq!(texts(sent.clone()), ["1"]);
    // one stop after the other: PUBCOMP comes before the last
    for stops in 0..3 {
        broker.detach(slow, None, Ending::Stopped);
        broker.detach(quick, None, Ending::Stopped);
        broker.close_store();
        drop(broker);
        broker = on_disk(&data);
        slow = connect(&broker, "slow", 100).await;
        quick = connect(&broker, "quick", 100).await;
        broker.serve_groups(&slow.session);
        let more = [
            texts(send(&broker, &mut slow)),
            texts(send(&broker, &mut quick)),
        ];
        assert_eq!(more.concat(), Vec::<String>::new(), "{stops} stops");
        if stops == 1 {
            answer(&broker, &mut quick, Packet::PubComp(ack(sent[0].1)));
        }
    }
    assert_eq!(quick.session.in_flight(), 0);
    assert_eq!(slow.session.in_flight(), 1);
}

#[tokio::test]
async fn what_a_member_had_at_qos_2_dies_with_its_session_also_if_it_never_came_back_after_a_start()
{
    let data = tempfile::tempdir().unwrap();
    {
        let broker = on_disk(&data);
        for client in ["gone", "stays"] {
            let mut member = connect(&broker, client, 100).await;
            subscribe(&broker, &mut member, "$share/g/t", Qos::ExactlyOnce);
            if client == "gone" {
                publish(&broker, "t", "its own", Qos::ExactlyOnce);
                assert_eq!(texts(send(&broker, &mut member)), ["its own"]);
            }
        }
        broker.0.store.close();
    }
    let broker = on_disk(&data);
    let mut stays = connect(&broker, "stays", 100).await;
    broker.serve_groups(&stays.session);
    assert_eq!(needed(&broker), 1);
    let opening = opening(&broker, "gone", 0);
    let (gone, _) = broker
        .connect(&opening, true, &Identity::anonymous())
        .await
        .unwrap();
    assert!(!gone.present);
    assert_eq!(needed(&broker), 0);
    assert_eq!(texts(send(&broker, &mut stays)), Vec::<String>::new());
}

fn stream(broker: &Broker, filter: &str) -> Stream {
    let filters = [TopicFilter::parse(filter).unwrap()];
    broker
        .stream(Identity::anonymous(), &filters, Start::Now)
        .unwrap()
}

/// What a stream brings now, at most so much.
fn bring(stream: &mut Stream, most: usize) -> Vec<String> {
    let next = std::iter::from_fn(|| stream.try_next()).take(most);
    let texts = next.map(|item| match item {
        StreamItem::Message(delivery) => payload(&delivery),
        other => panic!("{other:?}"),
    });
    texts.collect()
}

/// A group whose durable member is away.
async fn group_with_somebody_away(broker: &Broker) {
    let mut away = connect(broker, "away", 100).await;
    subscribe(broker, &mut away, "$share/g/t", Qos::AtLeastOnce);
    broker.detach(away, None, Ending::Broken);
}

#[tokio::test]
async fn what_a_stream_has_brought_for_a_share_group_is_done_with() {
    let broker = broker(1000);
    group_with_somebody_away(&broker).await;
    let mut stream = stream(&broker, "$share/g/t");
    publish_numbers(&broker, "t", 0..3);
    assert_eq!(bring(&mut stream, 2), numbers(0..2));
    assert_eq!(needed(&broker), 1);
    assert_eq!(bring(&mut stream, 2), numbers(2..3));
    assert_eq!(needed(&broker), 0);
}

#[tokio::test]
async fn what_a_stream_has_not_brought_when_it_ends_goes_to_the_others_of_its_share_group() {
    let broker = broker(1000);
    group_with_somebody_away(&broker).await;
    let mut first = stream(&broker, "$share/g/t");
    publish_numbers(&broker, "t", 0..100);
    assert_eq!(bring(&mut first, 1), numbers(0..1));
    let mut second = stream(&broker, "$share/g/t");
    drop(first);
    assert_eq!(bring(&mut second, 10), numbers(1..11));
    // and with nobody there to those that return
    drop(second);
    let mut back = connect(&broker, "away", 100).await;
    broker.serve_groups(&back.session);
    assert_eq!(receive(&broker, &mut back), numbers(11..100));
}

#[tokio::test]
async fn a_stream_gets_what_waited_while_its_share_group_had_no_room() {
    let broker = broker(1000);
    group_with_somebody_away(&broker).await;
    let mut stream = stream(&broker, "$share/g/t");
    publish_numbers(&broker, "t", 0..700);
    assert_eq!(bring(&mut stream, 1000), numbers(0..700));
    assert_eq!(needed(&broker), 0);
}

/// Somebody who may subscribe to `t/#`, and whose rules can be changed.
pub(super) fn somebody(access: &Arc<Access>) -> Arc<Identity> {
    Arc::new(Identity::new(Subject::default(), Some(access.clone())))
}

#[tokio::test]
async fn what_a_stream_is_denied_from_then_on_goes_to_the_others_of_its_share_group() {
    let rules = "[[rule]]\nallow = [\"subscribe\", \"receive\"]\ntopics = [\"t/#\"]\n";
    let denying = "[[rule]]\ndeny = [\"receive\"]\ntopics = [\"t/secret\"]\n".to_owned() + rules;
    let filters = [TopicFilter::parse("$share/g/t/#").unwrap()];
    // by a change of the rules, and by a proof of another identity while some are taken already
    for of_the_rules in [true, false] {
        let broker = broker(1000);
        let mut away = connect(&broker, "away", 100).await;
        subscribe(&broker, &mut away, "$share/g/t/#", Qos::AtLeastOnce);
        broker.detach(away, None, Ending::Broken);
        let access = Arc::new(Access::new(own::parse(rules).unwrap()));
        let mut stream = broker
            .stream(somebody(&access), &filters, Start::Now)
            .unwrap();
        publish(&broker, "t/open", "0", Qos::AtLeastOnce);
        publish(&broker, "t/secret", "1", Qos::AtLeastOnce);
        if of_the_rules {
            access.replace(own::parse(&denying).unwrap());
            broker.rights_changed();
            assert_eq!(bring(&mut stream, 2), numbers(0..1));
        } else {
            assert_eq!(bring(&mut stream, 1), numbers(0..1));
            let access = Arc::new(Access::new(own::parse(&denying).unwrap()));
            assert!(stream.read_as(&somebody(&access)));
            assert_eq!(bring(&mut stream, 1), numbers(0..0));
        }
        let mut back = connect(&broker, "away", 100).await;
        broker.serve_groups(&back.session);
        assert_eq!(receive(&broker, &mut back), numbers(1..2));
        acknowledge(&broker, &mut back);
        broker.settle_shared(&mut back.session);
        assert_eq!(needed(&broker), 0);
    }
}

#[tokio::test]
async fn what_a_member_leaves_and_nobody_has_room_for_waits_in_the_log() {
    let broker = broker(4);
    let mut kept = connect(&broker, "kept", 100).await;
    subscribe(&broker, &mut kept, "$share/g/t", Qos::AtLeastOnce);
    let mut worker = connect(&broker, "worker", 0).await;
    subscribe(&broker, &mut worker, "$share/g/t", Qos::AtLeastOnce);
    publish_numbers(&broker, "t", 0..8);
    broker.detach(worker, None, Ending::Broken);
    broker.clean_log();
    let mut received = receive(&broker, &mut kept);
    assert_eq!(received.len(), 4);
    broker.serve_groups(&kept.session);
    received.extend(receive(&broker, &mut kept));
    received.sort();
    assert_eq!(received, numbers(0..8));
    super::acknowledge(&broker, &mut kept);
    broker.settle_shared(&mut kept.session);
    assert_eq!(needed(&broker), 0);
}
