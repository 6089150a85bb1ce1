//! Dialogues that once parted the two without an explanation, held step by step so that no luck is needed to see them.

use crate::{
    CLIENTS, Explained, IN_MEMORY,
    dialogue::{Deed, Step},
    hold,
    support::mosquitto::Mosquitto,
    support::{
        gateway::Gateway,
        wire::{self, Opening, Properties, Publish, Version, Will},
    },
};

fn step(who: usize, version: Version, name: &str, bytes: Vec<u8>) -> Step {
    assert!(who < CLIENTS);
    Step {
        who,
        name: name.to_owned(),
        version,
        deed: Deed::Send,
        bytes,
        no_local: false,
    }
}

fn connect(who: usize, opening: &Opening) -> Step {
    let deed = Deed::Connect {
        version: opening.version,
        acknowledges: true,
    };
    Step {
        deed,
        ..step(who, opening.version, "connect", opening.encode())
    }
}

fn subscribe(who: usize, version: Version, filter: &str) -> Step {
    let bytes = wire::subscribe(version, 1, &[(filter, 0)], &Properties::default());
    step(who, version, "subscribe", bytes)
}

/// What explains the only difference of these steps, which is also their last.
async fn explanation(steps: &[Step]) -> &'static str {
    let (gateway, mosquitto) = (Gateway::start(&IN_MEMORY), Mosquitto::start());
    let mut explained = Explained::new();
    let course = hold(steps, &gateway, &mosquitto, &mut explained).await;
    assert_eq!(course, Ok(()));
    let headings: Vec<_> = explained.into_iter().collect();
    let [(heading, 1)] = headings[..] else {
        panic!("one difference: {headings:?}")
    };
    heading
}

fn with_will(retain: bool) -> Opening {
    Opening::new(Version::V31, "leaving").will(Will {
        topic: "fixed/will".to_owned(),
        payload: b"gone".to_vec(),
        retain,
        ..Will::default()
    })
}

fn flagged_goodbye() -> Step {
    step(0, Version::V31, "DISCONNECT with flags", vec![0xE1, 0x00])
}

#[tokio::test]
async fn the_will_behind_a_goodbye_of_3_1_with_flags_is_explained() {
    let steps = [
        connect(0, &with_will(false)),
        connect(1, &Opening::new(Version::V31, "watching")),
        subscribe(1, Version::V31, "fixed/will"),
        flagged_goodbye(),
    ];
    assert_eq!(explanation(&steps).await, "What Mosquitto lets pass");
}

#[tokio::test]
async fn the_retained_will_behind_a_goodbye_of_3_1_with_flags_is_explained() {
    let steps = [
        connect(0, &with_will(true)),
        connect(1, &Opening::new(Version::V5, "coming later")),
        flagged_goodbye(),
        subscribe(1, Version::V5, "fixed/will"),
    ];
    assert_eq!(explanation(&steps).await, "What Mosquitto lets pass");
}

#[tokio::test]
async fn the_session_of_3_1_behind_a_second_connect_is_explained() {
    let mut opening = Opening::new(Version::V31, "returning");
    opening.clean = false;
    let message = wire::publish(Version::V5, &Publish::new("fixed/a", "one", 0));
    let steps = [
        connect(0, &opening),
        connect(1, &Opening::new(Version::V5, "publishing")),
        subscribe(0, Version::V31, "fixed/a"),
        step(0, Version::V31, "a second CONNECT", opening.encode()),
        connect(0, &opening),
        step(1, Version::V5, "publish", message),
    ];
    let heading = "The session behind a second CONNECT";
    assert_eq!(explanation(&steps).await, heading);
}

#[tokio::test]
async fn what_a_session_brings_behind_a_second_connect_is_explained() {
    let mut opening = Opening::new(Version::V311, "returning");
    opening.clean = false;
    let mut silent = connect(0, &opening);
    silent.deed = Deed::Connect {
        version: Version::V311,
        acknowledges: false,
    };
    let filter = wire::subscribe(Version::V311, 1, &[("fixed/a", 1)], &Properties::default());
    let mut message = Publish::new("fixed/a", "one", 1);
    message.id = 1;
    let message = wire::publish(Version::V5, &message);
    let steps = [
        silent,
        connect(1, &Opening::new(Version::V5, "publishing")),
        step(0, Version::V311, "subscribe", filter),
        step(1, Version::V5, "publish", message),
        step(0, Version::V311, "a second CONNECT", opening.encode()),
        connect(0, &opening),
    ];
    let heading = "The session behind a second CONNECT";
    assert_eq!(explanation(&steps).await, heading);
}
