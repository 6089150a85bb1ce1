//! Guessing passwords: a few tries are free, and then it takes longer and longer.

use crate::{
    support::{gateway::Gateway, http::Request, wire::Version, within},
    world::{self, USERS, by, mqtt, post, token},
};
use std::time::{Duration, Instant};
use tokio::{io::AsyncWriteExt, net::TcpStream};

const BAD_V5: u8 = 0x86;
const BAD_V3: u8 = 4;
const TOO_FAST_V5: u8 = 0x9F;
const UNAVAILABLE_V3: u8 = 3;

/// Wrong passwords, each another one, until the gateway no longer looks; how many it looked at.
async fn guess_until_closed(gateway: &Gateway, word: &str) -> u32 {
    for tried in 0.. {
        match mqtt(gateway, Version::V5, "ann", &format!("{word} {tried}")).await {
            BAD_V5 => {}
            TOO_FAST_V5 => return tried,
            other => panic!("CONNACK {other:#x}"),
        }
    }
    unreachable!("it ends by closing")
}

/// Waits until it looks again.
async fn wait_until_open(gateway: &Gateway) {
    while mqtt(gateway, Version::V5, "ann", "guess 0").await == TOO_FAST_V5 {}
}

#[tokio::test]
async fn after_five_wrong_passwords_nothing_is_looked_at_by_any_way_in() {
    let (gateway, _users) = world::start(&[]);
    assert_eq!(
        guess_until_closed(&gateway, "guess").await,
        6,
        "the sixth closes it"
    );
    // closed for longer than this test goes on
    for round in 0..3 {
        wait_until_open(&gateway).await;
        let looked_at = guess_until_closed(&gateway, &format!("guess in {round}")).await;
        assert_eq!(looked_at, 1);
    }
    // what is right is refused as unseen as what is wrong
    let (user, password) = USERS[0];
    assert_eq!(
        mqtt(&gateway, Version::V5, user, password).await,
        TOO_FAST_V5
    );
    assert_eq!(
        mqtt(&gateway, Version::V311, user, password).await,
        UNAVAILABLE_V3
    );
    assert_eq!(
        mqtt(&gateway, Version::V31, user, password).await,
        UNAVAILABLE_V3
    );
    let refused = post(&gateway, USERS[0], "a", b"x").await;
    let problem = refused.assert_problem(429, "quota-exceeded");
    let wait: u64 = refused
        .header("retry-after")
        .expect("a header")
        .parse()
        .expect("seconds");
    assert!((1..=16).contains(&wait), "{wait}");
    assert_eq!(problem["retry_after"], wait);
    let login = by(USERS[1], Request::post("/auth/session", ""));
    let refused = login.send(gateway.http).await;
    refused.assert_problem(429, "quota-exceeded");
    let answer = token(&gateway, "a-token").await;
    assert_eq!(answer["op"], "err", "{answer}");
    assert_eq!(answer["problem"]["status"], 429, "{answer}");
    assert!(answer["problem"]["retry_after"].is_u64(), "{answer}");
    gateway.logs("kind=\"failed-logins\"").await;
    assert!(!gateway.log().contains("guess"), "{}", gateway.log());
}

/// Sends a guess over HTTP, and does not wait for what comes of it.
async fn guess_and_go(gateway: &Gateway, password: &str) {
    use base64::prelude::*;
    let pair = BASE64_STANDARD.encode(format!("bob:{password}"));
    let mut stream = TcpStream::connect(gateway.http).await.expect("it accepts");
    let head = format!(
        "GET /api/v1/topics HTTP/1.1\r\nHost: {}\r\nAuthorization: Basic {pair}\r\n\r\n",
        gateway.http
    );
    let _ = stream.write_all(head.as_bytes()).await;
    // the hash takes longer
    tokio::time::sleep(Duration::from_millis(3)).await;
}

#[tokio::test]
async fn whoever_does_not_wait_for_the_answer_has_guessed_all_the_same() {
    let (gateway, _users) = world::start(&[]);
    let (user, password) = USERS[0];
    within("the address to be closed", async {
        for number in 0.. {
            guess_and_go(&gateway, &format!("guess {number}")).await;
            if mqtt(&gateway, Version::V5, user, password).await == TOO_FAST_V5 {
                break;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn the_door_opens_again_and_whoever_then_fails_waits_twice_as_long() {
    let (gateway, _users) = world::start(&["auth.failed_logins=1"]);
    let closed = Instant::now();
    guess_until_closed(&gateway, "guess").await;
    let (user, password) = USERS[0];
    let fails = async |number| loop {
        match mqtt(&gateway, Version::V5, user, &format!("other {number}")).await {
            TOO_FAST_V5 => {}
            code => return code,
        }
    };
    assert_eq!(fails(1).await, BAD_V5);
    assert!(closed.elapsed().as_secs_f32() >= 1.0, " a second");
    let closed = Instant::now();
    loop {
        match mqtt(&gateway, Version::V5, user, password).await {
            TOO_FAST_V5 => {}
            code => break assert_eq!(code, 0),
        }
    }
    assert!(closed.elapsed().as_secs_f32() > 1.2, "about two seconds");
    // who got in cleared it: one is free again
    assert_eq!(fails(3).await, BAD_V5);
    assert_eq!(mqtt(&gateway, Version::V5, user, password).await, 0);
}

#[tokio::test]
async fn the_same_credentials_count_once_in_every_version_and_way() {
    let (gateway, _users) = world::start(&["auth.failed_logins=1"]);
    for _ in 0..3 {
        assert_eq!(mqtt(&gateway, Version::V5, "ann", "old").await, BAD_V5);
        assert_eq!(mqtt(&gateway, Version::V311, "ann", "old").await, BAD_V3);
        assert_eq!(mqtt(&gateway, Version::V31, "ann", "old").await, BAD_V3);
        let refused = post(&gateway, ("ann", "old"), "a", b"x").await;
        refused.assert_problem(401, "not-authenticated");
    }
    let (user, password) = USERS[0];
    assert_eq!(mqtt(&gateway, Version::V5, user, password).await, 0);
}

#[tokio::test]
async fn an_unknown_user_and_a_wrong_password_look_the_same() {
    let (gateway, _users) = world::start(&[]);
    for version in [Version::V5, Version::V311] {
        let known = mqtt(&gateway, version, "ann", "wrong").await;
        assert_eq!(mqtt(&gateway, version, "nobody", "wrong").await, known);
    }
    let mut known = post(&gateway, ("ann", "wrong"), "a", b"x").await.json();
    let mut unknown = post(&gateway, ("nobody", "wrong"), "a", b"x").await.json();
    for answer in [&mut known, &mut unknown] {
        answer["instance"].take();
    }
    assert_eq!(known, unknown);
}

#[tokio::test]
async fn the_delay_can_be_switched_off() {
    let (gateway, _users) = world::start(&["auth.failed_logins=0"]);
    for number in 0..12 {
        let code = mqtt(&gateway, Version::V5, "ann", &format!("guess {number}")).await;
        assert_eq!(code, BAD_V5);
    }
}

#[tokio::test]
async fn one_address_does_not_close_the_door_for_another() {
    let proxied = [
        "auth.failed_logins=1",
        "mqtt.proxy_protocol=true",
        "mqtt.trusted_proxies=127.0.0.1",
    ];
    let (gateway, _users) = world::start(&proxied);
    let code = async |from: &str, user: &str, password: &str| {
        let opening = crate::support::wire::Opening::v5("c").login(user, password);
        world::open_from(from, gateway.mqtt, &opening).await.1.code
    };
    assert_eq!(code("2001:db8::1", "ann", "a").await, BAD_V5);
    assert_eq!(code("2001:db8::2", "ann", "b").await, BAD_V5);
    let (user, password) = USERS[0];
    // a /64 is one address
    assert_eq!(code("2001:db8::3", user, password).await, TOO_FAST_V5);
    assert_eq!(code("2001:db8:0:1::3", user, password).await, 0);
    assert_eq!(code("192.0.2.1", user, password).await, 0);
}
