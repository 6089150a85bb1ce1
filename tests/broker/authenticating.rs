//! The AUTH exchange of MQTT 5, with a challenge method that only these tests know. The gateway runs inside the test,
//! through the library, because the program offers no method.

use bytes::Bytes;
use std::{net::SocketAddr, sync::Arc};

use tidegate::{
    app::Gateway as Embedded,
    auth::{
        exchange::{Exchange, Method, Methods, Step},
        identity::Identity,
    },
    config::Settings,
};

use crate::support::{
    gateway::Gateway,
    mqtt::{Client, Link},
    unique,
    wire::{self, Opening, Packet, Properties, Publish, Value, Version, Will, property},
};

const NAME: &str = "mirror";
const CONTINUE: u8 = 0x18;
const AGAIN: u8 = 0x19;

/// The client says who it is, is challenged with a word, and must say it backwards. "late" is challenged twice, the
/// word for "eve" has no answer, and "short" needs no challenge.
struct Mirror;

#[derive(Default)]
struct Challenge {
    user: Option<String>,
    round: u8,
}

impl Method for Mirror {
    fn name(&self) -> &str {
        NAME
    }

    fn begin(&self) -> Box<dyn Exchange> {
        Box::new(Challenge::default())
    }
}

impl Exchange for Challenge {
    fn step(&mut self, data: Option<Bytes>) -> Step {
        let said = data.map(|data| String::from_utf8_lossy(&data).into_owned());
        let said = said.unwrap_or_default();
        let Some(user) = &self.user else {
            if said == "short" {
                return done(&said);
            }
            self.user = Some(said);
            return Step::Continue(Some("word0".into()));
        };
        if said != format!("{}drow", self.round) || user == "eve" {
            return Step::Refused(format!("{user} said {said}"));
        }
        if user == "late" && self.round == 0 {
            self.round = 1;
            return Step::Continue(Some("word1".into()));
        }
        done(user)
    }
}

fn done(user: &str) -> Step {
    Step::Done {
        identity: Arc::new(Identity::named(user)),
        data: Some("welcome".into()),
    }
}

struct Running {
    gateway: Embedded,
    _data: tempfile::TempDir,
}

impl Running {
    async fn start(change: impl FnOnce(&mut Settings)) -> Self {
        let data = tempfile::tempdir().expect("a folder for the gateway's data");
        let mut settings = Settings::default();
        settings.mqtt.bind.set_port(0);
        settings.http.bind.set_port(0);
        settings.store.path = data.path().to_owned();
        change(&mut settings);
        let mut methods = Methods::default();
        methods.offer(Arc::new(Mirror));
        let gateway = Embedded::start(settings, methods).await.expect("it starts");
        Running {
            gateway,
            _data: data,
        }
    }

    fn mqtt(&self) -> SocketAddr {
        self.gateway.mqtt()
    }
}

fn opening(user: &str) -> Opening {
    let opening = Opening::v5(&unique("client"));
    let opening = opening.property(property::AUTHENTICATION_METHOD, Value::Text(NAME.into()));
    opening.property(
        property::AUTHENTICATION_DATA,
        Value::Binary(user.as_bytes().to_vec()),
    )
}

fn data(properties: &Properties) -> &[u8] {
    match properties.get(property::AUTHENTICATION_DATA) {
        Some(Value::Binary(data)) => data,
        other => panic!("authentication data expected, not {other:?}"),
    }
}

/// The next packet, which must be an AUTH that names the method.
async fn challenged(client: &mut Client) -> Vec<u8> {
    match client.next().await {
        Some(Packet::Auth {
            code: CONTINUE,
            properties,
        }) => {
            let method = properties.string(property::AUTHENTICATION_METHOD);
            assert_eq!(method, Some(NAME), "[MQTT-4.12.0-5]");
            data(&properties).to_vec()
        }
        other => panic!("AUTH 0x18 expected, not {other:?}"),
    }
}

/// The next packet, which must be a CONNACK: its code and properties.
async fn welcomed(client: &mut Client) -> (u8, Properties) {
    match client.next().await {
        Some(Packet::Connack {
            code, properties, ..
        }) => (code, properties),
        other => panic!("CONNACK expected, not {other:?}"),
    }
}

async fn begin(running: &Running, opening: &Opening) -> Client {
    let mut client = Client::on(Link::tcp(running.mqtt()).await, Version::V5);
    client.send(&opening.encode()).await;
    assert_eq!(challenged(&mut client).await, b"word0");
    client
}

async fn authenticated(running: &Running, user: &str) -> Client {
    let mut client = begin(running, &opening(user)).await;
    client.send(&wire::auth(CONTINUE, NAME, b"0drow")).await;
    assert_eq!(welcomed(&mut client).await.0, 0);
    client
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mqtt_4_12_0_2_and_5_a_challenge_is_answered_before_connack() {
    let running = Running::start(|_| {}).await;
    for rounds in [1, 2] {
        let user = if rounds == 1 { "ann" } else { "late" };
        let mut client = begin(&running, &opening(user)).await;
        client.send(&wire::auth(CONTINUE, NAME, b"0drow")).await;
        if rounds == 2 {
            assert_eq!(challenged(&mut client).await, b"word1");
            client.send(&wire::auth(CONTINUE, NAME, b"1drow")).await;
        }
        let (code, properties) = welcomed(&mut client).await;
        assert_eq!(code, 0);
        assert_eq!(
            properties.string(property::AUTHENTICATION_METHOD),
            Some(NAME)
        );
        assert_eq!(data(&properties), b"welcome");
        client.ping().await;
    }
    // one message is enough for some: CONNACK is the first answer
    let (_, welcome) = Client::welcomed(Link::tcp(running.mqtt()).await, &opening("short")).await;
    assert_eq!(data(&welcome.properties), b"welcome");
    running.gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mqtt_4_12_0_4_who_cannot_answer_is_refused() {
    let running = Running::start(|_| {}).await;
    for (user, answer) in [("ann", &b"word0"[..]), ("eve", b"0drow"), ("ann", b"")] {
        let mut client = begin(&running, &opening(user)).await;
        client.send(&wire::auth(CONTINUE, NAME, answer)).await;
        let (code, properties) = welcomed(&mut client).await;
        assert_eq!(code, 0x87);
        let why = properties
            .string(property::REASON_STRING)
            .unwrap_or_default();
        assert!(
            !why.contains(user),
            "the method's reason is not for the client: {why}"
        );
        assert_eq!(client.next().await, None);
    }
    running.gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mqtt_4_12_0_1_an_unknown_method_is_refused_and_the_program_knows_none() {
    let running = Running::start(|_| {}).await;
    let unknown = Opening::v5("c").property(
        property::AUTHENTICATION_METHOD,
        Value::Text("Mirror".into()),
    );
    let gateway = Gateway::shared();
    for (address, opening) in [(running.mqtt(), unknown), (gateway.mqtt, opening("ann"))] {
        let (mut refused, welcome) = Client::open(Link::tcp(address).await, &opening).await;
        assert_eq!(welcome.code, 0x8C);
        assert_eq!(refused.closed().await, None);
    }
    running.gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mqtt_3_1_2_30_only_auth_and_disconnect_may_come_before_connack() {
    let running = Running::start(|_| {}).await;
    let mut message = Publish::new("auth/early", "x", 1).retained();
    message.id = 1;
    let mut watcher = Client::welcomed(Link::tcp(running.mqtt()).await, &Opening::v5("watcher"))
        .await
        .0;
    watcher.subscribe(&[("auth/#", 1)]).await;
    for early in [
        wire::publish(Version::V5, &message),
        wire::pingreq(),
        wire::subscribe(Version::V5, 1, &[("a", 1)], &Properties::default()),
        Opening::v5("again").encode(),
        wire::auth(AGAIN, NAME, b"ann"),
        wire::auth(CONTINUE, "other", b"0drow"),
    ] {
        let mut client = begin(&running, &opening("ann")).await;
        client.send(&early).await;
        assert_eq!(welcomed(&mut client).await.0, 0x82, "{early:?}");
        assert_eq!(client.next().await, None);
    }
    // the codes that are the server's, and none
    for (bad, code) in [
        (wire::auth(0x00, NAME, b"0drow"), 0x82),
        (wire::auth(0x7F, NAME, b"0drow"), 0x81),
        (wire::packet(0xF0, &[]), 0x82),
        (wire::packet(0xF1, &[CONTINUE, 0]), 0x81),
        (wire::packet(0xF0, &[CONTINUE, 0]), 0x82),
    ] {
        let mut client = begin(&running, &opening("ann")).await;
        client.send(&bad).await;
        assert_eq!(welcomed(&mut client).await.0, code, "{bad:?}");
        assert_eq!(client.next().await, None);
    }
    let mut client = begin(&running, &opening("ann")).await;
    client.send(&wire::disconnect(Version::V5, 0)).await;
    assert_eq!(client.next().await, None, "[MQTT-3.14.0-1]");
    let mut client = authenticated(&running, "ann").await;
    client.publish(&Publish::new("auth/marker", "x", 1)).await;
    assert_eq!(watcher.receive().await.topic, "auth/marker");
    running.gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sent_behind_an_answer_waits_for_connack() {
    let running = Running::start(|_| {}).await;
    let mut client = begin(&running, &opening("late")).await;
    let mut bytes = wire::auth(CONTINUE, NAME, b"0drow");
    bytes.extend(wire::auth(CONTINUE, NAME, b"1drow"));
    bytes.extend(wire::pingreq());
    for byte in bytes {
        client.send(&[byte]).await;
    }
    assert_eq!(challenged(&mut client).await, b"word1");
    assert_eq!(welcomed(&mut client).await.0, 0);
    assert_eq!(client.next().await, Some(Packet::Pingresp));
    running.gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_time_for_connect_includes_the_exchange_and_so_does_its_size() {
    let running = Running::start(|settings| {
        settings.mqtt.connect_timeout = std::time::Duration::from_secs(1);
        settings.limits.connect = 1024;
    })
    .await;
    let mut silent = begin(&running, &opening("ann")).await;
    assert_eq!(silent.next().await, None);
    let mut big = begin(&running, &opening("ann")).await;
    big.send(&wire::auth(CONTINUE, NAME, &[b'x'; 1024])).await;
    assert_eq!(welcomed(&mut big).await.0, 0x95);
    running.gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_was_refused_has_no_session_and_no_will() {
    let running = Running::start(|_| {}).await;
    let link = Link::tcp(running.mqtt()).await;
    let mut watcher = Client::welcomed(link, &Opening::v5("watcher")).await.0;
    watcher.subscribe(&[("auth/#", 1)]).await;
    let mut eve = opening("eve").session_expiry(100).will(Will {
        topic: "auth/will".into(),
        qos: 1,
        ..Default::default()
    });
    eve.client = "eve".into();
    let mut client = begin(&running, &eve).await;
    client.send(&wire::auth(CONTINUE, NAME, b"0drow")).await;
    assert_eq!(welcomed(&mut client).await.0, 0x87);
    assert_eq!(client.next().await, None);
    let link = Link::tcp(running.mqtt()).await;
    let back = Opening::v5("eve").resuming();
    let (mut back, welcome) = Client::welcomed(link, &back).await;
    assert!(!welcome.session_present);
    back.publish(&Publish::new("auth/marker", "x", 1)).await;
    assert_eq!(watcher.receive().await.topic, "auth/marker");
    running.gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mqtt_4_12_1_1_a_client_authenticates_again_while_everything_goes_on() {
    let running = Running::start(|_| {}).await;
    let mut client = authenticated(&running, "ann").await;
    client.subscribe(&[("auth/x", 1)]).await;
    for _ in 0..2 {
        client.send(&wire::auth(AGAIN, NAME, b"ann")).await;
        assert_eq!(challenged(&mut client).await, b"word0");
        client
            .publish(&Publish::new("auth/x", "meanwhile", 1))
            .await;
        assert_eq!(client.receive().await.text(), "meanwhile");
        client.send(&wire::auth(CONTINUE, NAME, b"0drow")).await;
        match client.next().await {
            Some(Packet::Auth {
                code: 0,
                properties,
            }) => {
                let method = properties.string(property::AUTHENTICATION_METHOD);
                assert_eq!((method, data(&properties)), (Some(NAME), &b"welcome"[..]));
            }
            other => panic!("AUTH 0x00 expected, not {other:?}"),
        }
        client.publish(&Publish::new("auth/x", "after", 1)).await;
        assert_eq!(client.receive().await.text(), "after");
    }
    running.gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mqtt_4_12_1_2_who_fails_to_authenticate_again_is_disconnected() {
    let running = Running::start(|_| {}).await;
    // with a wrong answer, and as somebody else
    for (user, answer) in [("ann", &b"wrong"[..]), ("bob", b"0drow")] {
        let mut client = authenticated(&running, "ann").await;
        client.send(&wire::auth(AGAIN, NAME, user.as_bytes())).await;
        challenged(&mut client).await;
        client.send(&wire::auth(CONTINUE, NAME, answer)).await;
        assert_eq!(client.closed().await, Some(0x87), "{user}");
    }
    running.gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_auth_that_does_not_belong_is_a_protocol_error() {
    let running = Running::start(|_| {}).await;
    for wrong in [
        // [MQTT-4.12.1-1]
        wire::auth(AGAIN, "other", b"ann"),
        wire::auth(CONTINUE, NAME, b"0drow"),
    ] {
        let mut client = authenticated(&running, "ann").await;
        client.send(&wrong).await;
        assert_eq!(client.closed().await, Some(0x82));
    }
    let mut client = authenticated(&running, "ann").await;
    client.send(&wire::auth(AGAIN, NAME, b"ann")).await;
    challenged(&mut client).await;
    client.send(&wire::auth(AGAIN, NAME, b"ann")).await;
    assert_eq!(
        client.closed().await,
        Some(0x82),
        "a new beginning in the middle"
    );
    // [MQTT-4.12.0-6], [MQTT-4.12.0-7]
    let link = Link::tcp(running.mqtt()).await;
    let (mut plain, welcome) = Client::welcomed(link, &Opening::v5(&unique("plain"))).await;
    let method = welcome.properties.get(property::AUTHENTICATION_METHOD);
    assert_eq!(method, None);
    plain.send(&wire::auth(AGAIN, NAME, b"ann")).await;
    assert_eq!(plain.closed().await, Some(0x82));
    running.gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mqtt_3_1_2_24_a_challenge_larger_than_the_client_takes_is_not_sent() {
    let running = Running::start(|_| {}).await;
    let narrow = opening("ann").property(property::MAXIMUM_PACKET_SIZE, Value::Four(15));
    let mut client = Client::on(Link::tcp(running.mqtt()).await, Version::V5);
    client.send(&narrow.encode()).await;
    assert_eq!(welcomed(&mut client).await.0, 0x95);
    assert_eq!(client.next().await, None);
    running.gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connect_counts_as_unauthenticated_until_its_client_has_answered() {
    let running = Running::start(|settings| settings.limits.unauthenticated = 1 << 20).await;
    let large = || {
        let will = Will {
            topic: "x".repeat(65_000),
            payload: vec![b'x'; 65_000],
            ..Will::default()
        };
        let opening = opening("ann").login(&"x".repeat(65_000), "");
        opening.will(will)
    };
    // five of 195 kB fit, a sixth does not
    let mut waiting = vec![];
    for _ in 0..5 {
        let mut client = Client::on(Link::tcp(running.mqtt()).await, Version::V5);
        client.send(&large().encode()).await;
        challenged(&mut client).await;
        waiting.push(client);
    }
    let mut sixth = Client::on(Link::tcp(running.mqtt()).await, Version::V5);
    sixth.try_send(&large().encode()).await;
    assert_eq!(sixth.next().await, None);
    // those who have their CONNACK hold nothing more
    for client in &mut waiting {
        client.send(&wire::auth(CONTINUE, NAME, b"0drow")).await;
        assert_eq!(welcomed(client).await.0, 0);
    }
    let mut sixth = Client::on(Link::tcp(running.mqtt()).await, Version::V5);
    sixth.send(&large().encode()).await;
    challenged(&mut sixth).await;
}
