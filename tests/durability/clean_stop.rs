//! After SIGTERM and a new start everything is as it was.

use crate::support::{
    gateway::Gateway,
    http::Request,
    mqtt::Client,
    wire::{self, Opening, PUBACK, PUBREC, PUBREL, Publish, Version},
};

fn lasting(version: Version, id: &str) -> Opening {
    let opening = Opening::new(version, id).resuming();
    if version == Version::V5 {
        opening.session_expiry(300)
    } else {
        opening
    }
}

async fn resume(gateway: &Gateway, opening: &Opening) -> Client {
    let (client, welcome) = Client::tcp_with_welcome(gateway, opening).await;
    assert!(welcome.session_present, "{} is still known", opening.client);
    client
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_sigterm_sessions_queued_and_retained_messages_are_as_they_were_and_nothing_comes_twice()
 {
    let gateway = Gateway::start(&[]);
    let mut publisher = Client::tcp(&gateway, &Opening::v5("in")).await;
    let sleepers = [
        lasting(Version::V311, "sleeper-311"),
        lasting(Version::V5, "sleeper-5"),
    ];
    let awake = lasting(Version::V5, "awake");
    let mut readers = vec![];
    for sleeper in &sleepers {
        let mut client = Client::tcp(&gateway, sleeper).await;
        client.subscribe(&[("stop/#", 2)]).await;
        readers.push(client);
    }
    for n in 1..=10 {
        let message = Publish::new("stop/a", format!("read {n}"), 1 + n % 2);
        publisher.publish(&message).await;
    }
    for mut client in readers {
        for _ in 1..=10 {
            client.receive().await;
        }
        client.ping().await; // the last acknowledgement has been handled
        client.disconnect().await;
    }
    // one is connected when the gateway stops, with one message in each unfinished state
    let mut client = Client::tcp(&gateway, &awake).await;
    client.subscribe(&[("stop/b", 2)]).await;
    for (text, qos) in [("received", 1), ("half released", 2), ("only sent", 2)] {
        publisher.publish(&Publish::new("stop/b", text, qos)).await;
    }
    let received = client.receive_only().await;
    let mut others = [client.receive_only().await, client.receive_only().await];
    others.sort_by_key(|publish| publish.text());
    let [released, only_sent] = others;
    client.send(&wire::ack(PUBACK, received.id)).await;
    client.send(&wire::ack(PUBREC, released.id)).await;
    client.acknowledgement(PUBREL, released.id).await;

    for n in 1..=10 {
        let message = Publish::new("stop/a", format!("queued {n}"), 1 + n % 2);
        publisher.publish(&message).await;
    }
    let kept = Publish::new("stop/kept", "retained", 1).retained();
    publisher.publish(&kept).await;

    let gateway = gateway.restarted(&[]);
    let answer = Request::get("/api/v1/topics/stop/kept")
        .send(gateway.http)
        .await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "retained"));
    let mut publisher = Client::tcp(&gateway, &Opening::v5("in")).await;
    let mut expected: Vec<String> = vec![];
    expected.extend(["received", "half released", "only sent"].map(String::from));
    expected.extend((1..=10).map(|n| format!("queued {n}")));
    expected.push("retained".to_owned());
    for sleeper in &sleepers {
        let mut client = resume(&gateway, sleeper).await;
        publisher.publish(&Publish::new("stop/end", "1", 1)).await;
        publisher.publish(&Publish::new("stop/end", "2", 2)).await;
        let mut got = vec![];
        // the second sleeper has the markers of the first, too
        let markers = if sleeper.client == "sleeper-311" {
            2
        } else {
            4
        };
        let mut ends = 0;
        while ends < markers {
            let message = client.receive().await;
            if message.topic == "stop/end" {
                ends += 1;
            } else {
                got.push(message);
            }
        }
        for qos in [1, 2] {
            let of = |text: &String| match text.as_str() {
                "received" | "retained" => 1,
                "half released" | "only sent" => 2,
                other => {
                    let n: u8 = other["queued ".len()..].parse().unwrap();
                    1 + n % 2
                }
            };
            let wanted: Vec<_> = expected.iter().filter(|text| of(text) == qos).collect();
            let found = got.iter().filter(|message| message.qos == qos);
            let found: Vec<_> = found.map(Publish::text).collect();
            assert_eq!(
                found.iter().collect::<Vec<_>>(),
                wanted,
                "{} at QoS {qos}",
                sleeper.client
            );
        }
        assert!(got.iter().all(|message| !message.dup), "sent only once");
    }

    let mut client = resume(&gateway, &awake).await;
    let again = client.receive_only().await;
    assert_eq!(
        (again.text(), again.id, again.dup),
        ("only sent".to_owned(), only_sent.id, true)
    );
    client.acknowledge(&again).await;
    assert_eq!(client.acknowledgement(PUBREL, released.id).await, 0);
    client.send(&wire::ack(wire::PUBCOMP, released.id)).await;
    publisher.publish(&Publish::new("stop/b", "end", 1)).await;
    publisher.publish(&Publish::new("stop/b", "end", 2)).await;
    for _ in 1..=2 {
        assert_eq!(client.receive().await.text(), "end", "nothing comes twice");
    }
}
