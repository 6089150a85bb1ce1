//! Share groups: who gets what waits, also after a restart.

use super::{
    acknowledge, broker, connect, numbers, on_disk, publish, publish_numbers, receive,
    shared::{ack, answer, needed, send, somebody, texts, unsubscribe},
    subscribe,
};
use crate::{
    auth::rules::{access::Access, own},
    broker::{registry::Ending, *},
    mqtt::Packet,
    store::{Urgency, record},
};

#[tokio::test]
async fn what_a_worker_leaves_is_for_the_one_that_comes_first_and_not_for_who_is_away() {
    let broker = broker(1000);
    let mut away = connect(&broker, "away", 100).await;
    subscribe(&broker, &mut away, "$share/g/t", Qos::AtLeastOnce);
    broker.detach(away, None, Ending::Broken);
    let mut worker = connect(&broker, "worker", 0).await;
    subscribe(&broker, &mut worker, "$share/g/t", Qos::AtLeastOnce);
    publish_numbers(&broker, "t", 0..4);
    assert_eq!(send(&broker, &mut worker).len(), 4);
    broker.detach(worker, None, Ending::Broken);
    let mut next = connect(&broker, "next", 0).await;
    subscribe(&broker, &mut next, "$share/g/t", Qos::AtLeastOnce);
    broker.serve_groups(&next.session);
    assert_eq!(receive(&broker, &mut next), numbers(0..4));
}

#[tokio::test]
async fn what_nobody_online_may_have_holds_up_nothing_and_waits_for_whoever_may() {
    let rules = "[[rule]]\nallow = [\"subscribe\", \"receive\"]\ntopics = [\"t/#\"]\n";
    let denying = "[[rule]]\ndeny = [\"receive\"]\ntopics = [\"t/secret\"]\n".to_owned() + rules;
    // by somebody who returns, by one who joins, and by a change of the rules
    for way in ["returns", "joins", "rules"] {
        let broker = broker(1000);
        let mut away = connect(&broker, "away", 100).await;
        subscribe(&broker, &mut away, "$share/g/t/#", Qos::AtLeastOnce);
        broker.detach(away, None, Ending::Broken);
        let mut limited = connect(&broker, "limited", 0).await;
        subscribe(&broker, &mut limited, "$share/g/t/#", Qos::AtLeastOnce);
        let access = Arc::new(Access::new(own::parse(&denying).unwrap()));
        broker.read_as(&limited.session, &limited.outbox, &somebody(&access), false);
        publish(&broker, "t/a", "0", Qos::AtLeastOnce);
        publish(&broker, "t/secret", "secret", Qos::AtLeastOnce);
        publish(&broker, "t/a", "1", Qos::AtLeastOnce);
        assert_eq!(receive(&broker, &mut limited), numbers(0..2), "{way}");
        acknowledge(&broker, &mut limited);
        broker.settle_shared(&mut limited.session);
        // itself and what stands behind it
        assert_eq!(needed(&broker), 2, "{way}");
        let mut reader = match way {
            "returns" => connect(&broker, "away", 100).await,
            "joins" => {
                let mut joins = connect(&broker, "joins", 0).await;
                subscribe(&broker, &mut joins, "$share/g/t/#", Qos::AtLeastOnce);
                joins
            }
            _ => {
                access.replace(own::parse(rules).unwrap());
                // idle connections are not asked for it
                broker.rights_changed();
                limited
            }
        };
        if way != "rules" {
            broker.serve_groups(&reader.session);
        }
        assert_eq!(receive(&broker, &mut reader), ["secret"], "{way}");
        acknowledge(&broker, &mut reader);
        broker.settle_shared(&mut reader.session);
        assert_eq!(needed(&broker), 0, "{way}");
    }
}

#[tokio::test]
async fn after_a_stop_a_share_group_gives_again_what_is_open_and_nothing_that_is_done_with() {
    let data = tempfile::tempdir().unwrap();
    let mut broker = on_disk(&data);
    let mut holder = connect(&broker, "holder", 100).await;
    subscribe(&broker, &mut holder, "$share/g/t", Qos::AtLeastOnce);
    publish(&broker, "t", "open", Qos::AtLeastOnce);
    assert_eq!(texts(send(&broker, &mut holder)), ["open"]);
    broker.detach(holder, None, Ending::Stopped);
    let mut clean = connect(&broker, "clean", 0).await;
    subscribe(&broker, &mut clean, "$share/g/t", Qos::ExactlyOnce);
    publish_numbers(&broker, "t", 0..3);
    publish(&broker, "t", "twice", Qos::ExactlyOnce);
    for (text, packet_id) in send(&broker, &mut clean) {
        match text.as_str() {
            "twice" => {
                answer(&broker, &mut clean, Packet::PubRec(ack(packet_id)));
                answer(&broker, &mut clean, Packet::PubComp(ack(packet_id)));
            }
            _ => answer(&broker, &mut clean, Packet::PubAck(ack(packet_id))),
        }
    }
    broker.detach(clean, None, Ending::Stopped);
    broker.keep_cursors();
    for _ in 0..2 {
        broker.close_store();
        drop(broker);
        broker = on_disk(&data);
    }
    let mut other = connect(&broker, "other", 0).await;
    subscribe(&broker, &mut other, "$share/g/t", Qos::ExactlyOnce);
    broker.serve_groups(&other.session);
    assert_eq!(receive(&broker, &mut other), ["open"]);
}

#[tokio::test]
async fn a_share_group_of_which_nothing_is_known_after_a_start_goes_on_with_its_oldest_member() {
    let data = tempfile::tempdir().unwrap();
    {
        let broker = on_disk(&data);
        publish(&broker, "t", "before", Qos::AtLeastOnce);
        let mut member = connect(&broker, "member", 100).await;
        subscribe(&broker, &mut member, "$share/g/t", Qos::AtLeastOnce);
        broker.detach(member, None, Ending::Broken);
        publish_numbers(&broker, "t", 0..2);
        // what the group's record says is as good as damaged
        broker.tell(
            record::Change::GroupGone {
                filter: "$share/g/t".into(),
            },
            Urgency::Now,
        );
        broker.0.store.close();
    }
    for runs in 1..3 {
        let broker = on_disk(&data);
        publish(&broker, "t", &(runs + 1).to_string(), Qos::AtLeastOnce);
        assert_eq!(needed(&broker), 2 + runs);
        if runs == 2 {
            let mut back = connect(&broker, "member", 100).await;
            broker.serve_groups(&back.session);
            assert_eq!(receive(&broker, &mut back), numbers(0..4));
        }
        broker.0.store.close();
    }
}

#[tokio::test]
async fn what_waits_for_a_filter_goes_with_it_although_a_share_group_has_the_same() {
    let broker = broker(1000);
    let mut both = connect(&broker, "both", 0).await;
    subscribe(&broker, &mut both, "$share/g/t", Qos::AtLeastOnce);
    subscribe(&broker, &mut both, "t", Qos::AtLeastOnce);
    publish(&broker, "t", "0", Qos::AtLeastOnce);
    assert_eq!(both.outbox.len(), 2);
    unsubscribe(&broker, &mut both, "t");
    assert_eq!(receive(&broker, &mut both), ["0"]);
}

#[tokio::test]
async fn what_a_member_was_not_sent_before_it_left_is_for_the_one_that_comes_first() {
    let broker = broker(1000);
    let mut leaver = connect(&broker, "leaver", 100).await;
    subscribe(&broker, &mut leaver, "$share/g/t", Qos::AtLeastOnce);
    publish_numbers(&broker, "t", 0..4);
    broker.detach(leaver, None, Ending::Broken);
    let mut next = connect(&broker, "next", 0).await;
    subscribe(&broker, &mut next, "$share/g/t", Qos::AtLeastOnce);
    broker.serve_groups(&next.session);
    assert_eq!(receive(&broker, &mut next), numbers(0..4));
}

#[tokio::test]
async fn who_leaves_no_longer_holds_up_those_who_are_there_and_idle() {
    let only = |topic: &str| {
        let rules = format!(
            "[[rule]]\nallow = [\"receive\"]\ntopics = [\"{topic}\"]\n\
             [[rule]]\ndeny = [\"receive\"]\ntopics = [\"#\"]\n\
             [[rule]]\nallow = [\"subscribe\"]\ntopics = [\"#\"]\n"
        );
        somebody(&Arc::new(Access::new(own::parse(&rules).unwrap())))
    };
    let broker = broker(1);
    let mut full = connect(&broker, "full", 100).await;
    subscribe(&broker, &mut full, "$share/g/#", Qos::AtLeastOnce);
    broker.read_as(&full.session, &full.outbox, &only("a"), false);
    let mut idle = connect(&broker, "idle", 100).await;
    subscribe(&broker, &mut idle, "$share/g/#", Qos::AtLeastOnce);
    broker.read_as(&idle.session, &idle.outbox, &only("b"), false);
    for topic in ["a", "a", "b"] {
        publish(&broker, topic, topic, Qos::AtLeastOnce);
    }
    assert_eq!(idle.outbox.len(), 0);
    broker.detach(full, None, Ending::Broken);
    assert_eq!(receive(&broker, &mut idle), ["b"]);
}

#[tokio::test]
async fn after_a_stop_all_that_is_open_is_known_however_much_it_is() {
    let data = tempfile::tempdir().unwrap();
    let broker = on_disk(&data);
    let mut holder = connect(&broker, "holder", 100).await;
    subscribe(&broker, &mut holder, "$share/g/t", Qos::AtLeastOnce);
    publish_numbers(&broker, "t", 0..300);
    broker.detach(holder, None, Ending::Stopped);
    let mut clean = connect(&broker, "clean", 0).await;
    subscribe(&broker, &mut clean, "$share/g/t", Qos::AtLeastOnce);
    publish(&broker, "t", "done", Qos::AtLeastOnce);
    let sent = send(&broker, &mut clean);
    answer(&broker, &mut clean, Packet::PubAck(ack(sent[0].1)));
    assert_eq!(texts(sent), ["done"]);
    broker.detach(clean, None, Ending::Stopped);
    // in part, since it is much
    broker.keep_cursors();
    broker.close_store();
    drop(broker);
    let broker = on_disk(&data);
    let mut other = connect(&broker, "other", 0).await;
    subscribe(&broker, &mut other, "$share/g/t", Qos::AtLeastOnce);
    broker.serve_groups(&other.session);
    assert_eq!(receive(&broker, &mut other), numbers(0..300));
}
