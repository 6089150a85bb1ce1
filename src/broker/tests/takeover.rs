//! Sessions change hands: takeovers, resumptions, and the stop of the gateway.

use super::{
    broker, connect, look, on_disk, opening, payload, publish, receive, subscribe,
    wait_until_closed,
};
use crate::{
    auth::rules::{Subject, access::Access, own},
    broker::{outbox::CloseReason, registry::Ending, *},
    session::opening::Refusal,
};

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
    let broker = on_disk(&data);
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

#[tokio::test]
async fn who_resumes_with_less_rights_gets_no_more_what_waits_for_it_in_a_share_group() {
    let broker = broker(1000);
    let mut member = connect(&broker, "c", 100).await;
    subscribe(&broker, &mut member, "$share/g/t/#", Qos::AtLeastOnce);
    publish(&broker, "t/secret", "secret", Qos::AtLeastOnce);
    publish(&broker, "t/open", "open", Qos::AtLeastOnce);
    broker.detach(member, None, Ending::Broken);
    let rules = "[[rule]]\ndeny = [\"receive\"]\ntopics = [\"t/secret\"]\n\
                 [[rule]]\nallow = [\"subscribe\"]\ntopics = [\"#\"]\n";
    let access = Access::new(own::parse(rules).unwrap());
    let identity = Arc::new(Identity::new(Subject::default(), Some(Arc::new(access))));
    let opening = opening(&broker, "c", 100);
    let (mut back, _) = broker.connect(&opening, false, &identity).await.unwrap();
    broker.serve_groups(&back.session);
    assert_eq!(receive(&broker, &mut back), ["open"]);
}
