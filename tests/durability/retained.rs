//! After a restart each topic retains the last acknowledged message, or a later one that was sent.

use std::collections::BTreeMap;

use crate::{
    support::{
        http::Request,
        mqtt::{Client, Link},
        wire::Opening,
    },
    world::World,
};

/// Checks what both ways in answer, while nobody publishes.
pub async fn check(world: &World) {
    let record = &world.record;
    let mut kept = BTreeMap::new();
    for (stream, of) in record.streams.iter().enumerate() {
        if !of.retained {
            continue;
        }
        let target = format!("/api/v1/topics/{}", of.topic);
        let answer = Request::get(&target).send(world.http).await;
        let last = record.last_acknowledged(stream);
        let found = match answer.status {
            404 => None,
            200 => match record.recognise(&of.topic, &answer.body) {
                Ok((_, number)) => {
                    kept.insert(of.topic.clone(), answer.body);
                    Some(number)
                }
                Err(strange) => {
                    let text = format!("retained is {strange}");
                    world.findings.note(text);
                    continue;
                }
            },
            status => panic!("{status} for {target}: {}", answer.text()),
        };
        if found < last {
            let text = format!("{} retains {found:?}, {last:?} was acknowledged", of.topic);
            world.findings.note(text);
        }
    }
    let opening = Opening::v5("onlooker");
    let (mut client, _) = Client::welcomed(Link::tcp(world.mqtt).await, &opening).await;
    client.subscribe(&[("kept/#", 1)]).await;
    for _ in 0..kept.len() {
        let got = client.receive().await;
        if !got.retain || kept.remove(&got.topic).as_deref() != Some(&got.payload[..]) {
            let text = format!(
                "a new subscriber is given {:.60} on {}",
                got.text(),
                got.topic
            );
            world.findings.note(text);
        }
    }
    client.disconnect().await;
}
