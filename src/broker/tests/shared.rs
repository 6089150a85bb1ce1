//! Share groups: what a member leaves goes to the others, or waits.

use super::{broker, connect, numbers, publish, publish_numbers, receive, subscribe};
use crate::{
    broker::{registry::Ending, *},
    mqtt::write_queue::WriteQueue,
    store::memory::MemoryStore,
};

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
