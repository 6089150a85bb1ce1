//! Section 3.1.2.10 and Server Keep Alive: silence, and what follows it.

use std::time::{Duration, Instant};

use crate::{
    stage::{Stage, will},
    support::{
        mqtt::Client,
        unique,
        wire::{self, Publish, property},
    },
};

claims! {
    v5_v311_mqtt_3_1_2_22_silence_of_one_and_a_half_keep_alives_ends_the_connection:
        v5["3.1.2-22", "3.1.2-20", "3.2.2-22"] v311["3.1.2-24", "3.1.2-23"];
    v5_mqtt_3_1_2_21_a_keep_alive_given_by_the_gateway_is_the_one_it_enforces: v5["3.1.2-21", "3.2.2-21"];
    v311_a_gateway_with_a_keep_alive_of_its_own_leaves_3_1_1_its_choice:
        v311["a cap on the keep-alive, which 3.1.1 could not be told of"];
    v5_v311_any_packet_and_any_part_of_one_is_a_sign_of_life:
        v5["a packet that takes longer than the keep-alive"] v311["a packet that takes longer than the keep-alive"];
}

/// How long a silent client lives.
async fn lifetime(at: &Stage, client: &mut Client, since: Instant) -> Duration {
    at.is_over("silent", client, 0x8D).await;
    since.elapsed()
}

fn is_about(lived: Duration, milliseconds: u64) {
    let wanted = Duration::from_millis(milliseconds);
    let slack = Duration::from_secs(5); // for a busy machine
    assert!(
        lived + Duration::from_millis(100) > wanted && lived < wanted + slack,
        "closed after {lived:?} instead of {wanted:?}"
    );
}

async fn v5_v311_mqtt_3_1_2_22_silence_of_one_and_a_half_keep_alives_ends_the_connection(
    at: Stage,
) {
    let topic = unique("keep-alive/will");
    let mut watcher = at.subscriber(&[(&topic, 1)]).await;
    let (_, welcome) = at.connect(&at.opening().keep_alive(1)).await;
    assert!(
        welcome
            .properties
            .get(property::SERVER_KEEP_ALIVE)
            .is_none()
    );
    let mut unbound = at.client().await; // keep-alive 0
    let since = Instant::now();
    let mut two = at.client_of(&at.opening().keep_alive(2)).await;
    let mut one = at
        .client_of(&at.opening().keep_alive(1).will(will(&topic)))
        .await;
    let mut pinging = at.client_of(&at.opening().keep_alive(2)).await;
    let pings = async {
        // longer than it would live in silence, and each well in time, on a busy machine too
        for _ in 0..8 {
            tokio::time::sleep(Duration::from_millis(500)).await;
            pinging.ping().await;
        }
    };
    let (first, second, ()) = tokio::join!(
        lifetime(&at, &mut one, since),
        lifetime(&at, &mut two, since),
        pings
    );
    is_about(first, 1500);
    is_about(second, 3000);
    assert_eq!(
        watcher.receive().await.text(),
        "gone",
        "as when the network fails"
    );
    unbound.ping().await;
}

async fn v5_mqtt_3_1_2_21_a_keep_alive_given_by_the_gateway_is_the_one_it_enforces(at: Stage) {
    let at = at.with(&["limits.keep_alive=1"]);
    let since = Instant::now();
    for asked in [0, 60] {
        let (_, welcome) = at.connect(&at.opening().keep_alive(asked)).await;
        let told = welcome.properties.number(property::SERVER_KEEP_ALIVE);
        assert_eq!(told, Some(1), "asked for {asked}");
    }
    // a client that goes by its own 60 seconds all the same
    let mut stubborn = at.client_of(&at.opening().keep_alive(60)).await;
    is_about(lifetime(&at, &mut stubborn, since).await, 1500);
}

async fn v311_a_gateway_with_a_keep_alive_of_its_own_leaves_3_1_1_its_choice(at: Stage) {
    let at = at.with(&["limits.keep_alive=1"]);
    let mut unbound = at.client().await;
    let mut told = at
        .in_version(crate::support::wire::Version::V5)
        .client()
        .await;
    assert_eq!(told.closed().await, Some(0x8D));
    unbound.ping().await;
}

async fn v5_v311_any_packet_and_any_part_of_one_is_a_sign_of_life(at: Stage) {
    let topic = unique("keep-alive/slow");
    let mut subscriber = at.subscriber(&[(&topic, 0)]).await;
    let mut slow = at.client_of(&at.opening().keep_alive(2)).await;
    let bytes = wire::publish(at.version, &Publish::new(&topic, "a slow upload", 0));
    for piece in bytes.chunks(bytes.len().div_ceil(8)) {
        slow.send(piece).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert_eq!(subscriber.receive().await.text(), "a slow upload");
    slow.ping().await;
    // half a packet and then nothing is silence
    slow.send(&bytes[..bytes.len() / 2]).await;
    at.is_over("half a packet", &mut slow, 0x8D).await;
}
