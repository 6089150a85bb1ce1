//! Tokens through every way in: who they stand for, what they allow, and what becomes of whoever came with them.

use crate::{
    setup::basic,
    support::{
        gateway::Gateway,
        http::Request,
        json_ws::{self, JsonSocket},
        mqtt::{Client, Link},
        stream::{Encoding, Stream},
        wire::{self, Opening, Packet, Publish, Value as Property, Will, property},
    },
};
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const SECRET: &str = "a secret of at least thirty-two bytes";

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("a time after 1970").as_secs()
}

/// A token of `user` for so many seconds, with further claims.
fn token(user: &str, seconds: u64, further: Value) -> String {
    let mut claims = json!({"sub": user, "aud": "tidegate", "exp": now() + seconds});
    for (name, value) in further.as_object().into_iter().flatten() {
        claims[name] = value.clone();
    }
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    encode(&Header::default(), &claims, &key).expect("a token")
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

/// A gateway that takes tokens, with these rules, and its folder.
fn gateway(rules: &str) -> (Gateway, tempfile::TempDir) {
    gateway_with(rules, &[])
}

/// As above, with further arguments.
fn gateway_with(rules: &str, further: &[&str]) -> (Gateway, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let (config, file) = (folder.path().join("t.toml"), folder.path().join("rules"));
    std::fs::write(&file, rules).expect("a rule file");
    let text = format!(
        "[auth]\nanonymous = true\nfailed_logins = 0\nrules_file = {:?}\n[[auth.jwt]]\nalgorithms = [\"HS256\"]\nsecret = {SECRET:?}\n\
         audience = \"tidegate\"\nleeway = \"0s\"\n",
        file.display().to_string()
    );
    std::fs::write(&config, text).expect("a config");
    let config = config.display().to_string();
    let arguments = [&["--config", config.as_str()], further].concat();
    (Gateway::start(&arguments), folder)
}

const RULES: &str = "[[rule]]\ndeny = [\"publish\", \"subscribe\"]\ntopics = [\"a/secret\"]\ngroups = [\"guests\"]\n\
                     [[rule]]\nallow = [\"publish\", \"subscribe\"]\nusers = [\"*\"]\ntopics = [\"a/#\"]\n";

async fn over_http(gateway: &Gateway, method: &str, target: &str, token: &str) -> u16 {
    let request = Request::new(method, target).header("Authorization", &bearer(token));
    request
        .body(if method == "GET" { "" } else { "x" })
        .send(gateway.http)
        .await
        .status
}

#[tokio::test]
async fn a_token_stands_for_its_user_at_every_way_in() {
    let (gateway, _folder) = gateway(RULES);
    let good = token("alice", 60, json!({}));
    let guest = token("bob", 60, json!({"groups": ["guests"]}));
    for (token, allowed) in [(&good, true), (&guest, false)] {
        let status = over_http(&gateway, "POST", "/api/v1/topics/a/secret", token).await;
        assert_eq!(status == 200, allowed);
        let mut json = JsonSocket::open(gateway.http).await;
        let answer = json.answered(json!({"op": "auth", "token": token})).await;
        assert_eq!(answer["op"], "ok", "{answer}");
        let frame = json!({"op": "pub", "topic": "a/secret", "payload": "x", "qos": 1});
        assert_eq!(json.answered(frame).await["op"] == "ok", allowed);
        // MQTT: as the password of whatever user name, which proves nothing
        let opening = Opening::v5("c").login("whoever", token);
        let mut client = Client::tcp(&gateway, &opening).await;
        let code = client.publish(&Publish::new("a/secret", "x", 1)).await;
        assert_eq!(code < 0x80, allowed);
        // MQTT 5: by the method jwt
        let mut client = by_method(&gateway, "d", token).await.expect("it is let in");
        let code = client.publish(&Publish::new("a/secret", "x", 1)).await;
        assert_eq!(code < 0x80, allowed);
    }
    let who = Request::get("/auth/session").header("Authorization", &bearer(&good));
    assert_eq!(who.send(gateway.http).await.json()["user"], "alice");
}

/// Connects by the method `jwt`; the reason code if the gateway does not agree.
async fn by_method(gateway: &Gateway, name: &str, token: &str) -> Result<Client, u8> {
    open_by_method(gateway, Opening::v5(name), token).await
}

/// As above, with what else the client wants.
async fn open_by_method(gateway: &Gateway, opening: Opening, token: &str) -> Result<Client, u8> {
    let opening = opening
        .property(
            property::AUTHENTICATION_METHOD,
            Property::Text("jwt".to_owned()),
        )
        .property(
            property::AUTHENTICATION_DATA,
            Property::Binary(token.into()),
        );
    let (client, welcome) = Client::open(Link::tcp(gateway.mqtt).await, &opening).await;
    match welcome.code {
        0 => Ok(client),
        code => Err(code),
    }
}

#[tokio::test]
async fn the_discovery_document_names_every_way_to_prove_oneself() {
    let (gateway, _folder) = gateway(RULES);
    let told = Request::get("/api/v1").send(gateway.http).await.json();
    assert_eq!(
        told["auth"],
        json!(["anonymous", "bearer", "session", "ticket"])
    );
}

#[tokio::test]
async fn wrong_tokens_by_the_method_count_as_wrong_passwords_do() {
    let (gateway, _folder) = gateway_with(RULES, &["--set", "auth.failed_logins=5"]);
    let good = token("alice", 60, json!({}));
    for guess in 0..6 {
        // each twice: the same counts once
        for _ in 0..2 {
            let refused = by_method(&gateway, "d", &format!("guess.{guess}")).await;
            assert!(matches!(refused, Err(0x87 | 0x9F)), "{guess}");
        }
    }
    let code = by_method(&gateway, "d", &good).await.err();
    assert_eq!(code, Some(0x9F), "nothing is looked at");
    let opening = Opening::v5("c").login("whoever", &good);
    let (_, welcome) = Client::open(Link::tcp(gateway.mqtt).await, &opening).await;
    assert_eq!(welcome.code, 0x9F, "nor by another way");
}

#[tokio::test]
async fn a_token_that_was_good_and_is_over_is_no_guess() {
    let (gateway, _folder) = gateway_with(RULES, &["--set", "auth.failed_logins=1"]);
    for nth in 0..4 {
        let over = token("alice", 0, json!({"jti": nth}));
        let opening = Opening::v5("c").login("whoever", &over);
        let (_, welcome) = Client::open(Link::tcp(gateway.mqtt).await, &opening).await;
        assert_eq!(welcome.code, 0x86);
        assert_eq!(by_method(&gateway, "d", &over).await.err(), Some(0x87));
        assert_eq!(
            over_http(&gateway, "POST", "/api/v1/topics/a/b", &over).await,
            401
        );
    }
    let fresh = token("alice", 60, json!({}));
    assert!(by_method(&gateway, "d", &fresh).await.is_ok());
}

#[tokio::test]
async fn a_token_that_proves_nothing_is_nobody_and_never_anonymous() {
    let (gateway, _folder) = gateway(RULES);
    let key = EncodingKey::from_secret(b"another secret of thirty-two bytes!!");
    let claims = json!({"sub": "alice", "aud": "tidegate", "exp": now() + 60});
    let forged = encode(&Header::default(), &claims, &key).expect("a token");
    let foreign = token("alice", 60, json!({"aud": "others"}));
    let over = token("alice", 0, json!({}));
    for wrong in [&forged, &foreign, &over, "a.b.c", "nonsense"] {
        let request = Request::get("/api/v1/topics").header("Authorization", &bearer(wrong));
        let problem = request.send(gateway.http).await;
        problem.assert_problem(401, "not-authenticated");
        let challenge = problem.header("www-authenticate").unwrap_or_default();
        assert!(challenge.contains("invalid_token"), "{challenge}");
        let opening = Opening::v5("c").login("u", wrong);
        let refused = Client::open(Link::tcp(gateway.mqtt).await, &opening)
            .await
            .1;
        assert_eq!(refused.code, 0x86);
        assert_eq!(by_method(&gateway, "d", wrong).await.err(), Some(0x87));
    }
    // whoever shows nothing is anonymous here, and whoever shows a password has none
    assert_eq!(
        Request::get("/api/v1/topics")
            .send(gateway.http)
            .await
            .status,
        200
    );
    let password = Request::get("/api/v1/topics").header("Authorization", &basic("u0"));
    password
        .send(gateway.http)
        .await
        .assert_problem(401, "not-authenticated");
    let log = gateway.log();
    assert!(!log.contains(&forged) && !log.contains(SECRET), "{log}");
}

#[tokio::test]
async fn rights_in_a_token_are_all_there_are_and_rules_still_deny() {
    let (gateway, _folder) = gateway(RULES);
    let rights =
        json!({"mqtt": {"pub": ["b/#", "a/secret"], "sub": ["b/+"]}, "groups": ["guests"]});
    let token = token("alice", 60, rights);
    for (method, target, allowed) in [
        ("POST", "/api/v1/topics/b/x", true),
        ("POST", "/api/v1/topics/a/x", false),
        ("POST", "/api/v1/topics/a/secret", false),
        ("POST", "/api/v1/topics/b/x?retain=true", false),
        ("GET", "/api/v1/messages?topic=b/x", true),
        ("GET", "/api/v1/messages?topic=b/%23", false),
    ] {
        let status = over_http(&gateway, method, target, &token).await;
        assert_eq!(status == 200, allowed, "{method} {target}: {status}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_back_after_a_kill_has_had_the_rights_of_the_token_meanwhile() {
    let (gateway, folder) = gateway(
        "[[rule]]\ndeny = [\"subscribe\"]\ntopics = [\"a/secret\"]\ngroups = [\"guests\"]\n\
         [[rule]]\nallow = [\"publish\", \"subscribe\"]\nusers = [\"bob\"]\ntopics = [\"a/#\"]\n",
    );
    let alice = token("alice", 60, json!({"mqtt": {"sub": ["a/#"]}}));
    let guest = token("bob", 60, json!({"groups": ["guests"]}));
    let kept = Opening::v5("kept").resuming().session_expiry(600);
    let kept = kept.login("alice", &alice);
    let mut client = Client::tcp(&gateway, &kept).await;
    client.subscribe(&[("$share/g/a/+", 1)]).await;
    client.disconnect().await;
    let config = folder.path().join("t.toml").display().to_string();
    let gateway = gateway.killed(&["--config", &config]);
    let mut other = Client::tcp(&gateway, &Opening::v5("other").login("bob", &guest)).await;
    other.subscribe(&[("$share/g/a/+", 1)]).await;
    // nobody but the session that is away may have the first of them
    for topic in ["a/secret", "a/open", "a/open", "a/open"] {
        let target = format!("/api/v1/topics/{topic}?qos=1");
        assert_eq!(over_http(&gateway, "POST", &target, &guest).await, 200);
    }
    assert_eq!(other.receive().await.topic, "a/open");
    let mut client = Client::tcp(&gateway, &kept).await;
    assert_eq!(client.receive().await.topic, "a/secret");
}

#[tokio::test]
async fn a_token_for_one_client_identifier_is_for_no_other() {
    let (gateway, _folder) = gateway(RULES);
    let token = token(
        "alice",
        60,
        json!({"mqtt": {"pub": ["#"], "sub": ["#"], "client_id": "mine"}}),
    );
    for (name, code) in [("mine", None), ("yours", Some(0x87))] {
        assert_eq!(
            by_method(&gateway, name, &token).await.err(),
            code,
            "{name}"
        );
    }
    let opening = Opening::v5("yours").login("u", &token);
    let refused = Client::open(Link::tcp(gateway.mqtt).await, &opening)
        .await
        .1;
    assert_eq!(refused.code, 0x86);
}

#[tokio::test]
async fn whatever_came_with_a_token_ends_with_it_and_says_so() {
    let (gateway, _folder) = gateway(RULES);
    let brief = token("alice", 2, json!({}));
    let mut client = by_method(&gateway, "c", &brief)
        .await
        .expect("it is let in");
    let opened = Request::get("/api/v1/stream?topic=a/x")
        .header("Accept", "text/event-stream")
        .header("Authorization", &bearer(&brief))
        .open(gateway.http)
        .await;
    let mut stream = Stream::on(opened, Encoding::Sse);
    assert_eq!(stream.next().await.name, "ready");
    let headers = [("authorization", &*bearer(&brief))];
    let mut json = JsonSocket::open_with(gateway.http, &headers).await;
    json.subscribe(&["a/x"], json!({})).await;
    match client.next().await {
        Some(Packet::Disconnect { code, .. }) => assert_eq!(code, 0x87),
        other => panic!("DISCONNECT expected, not {other:?}"),
    }
    let bye = stream.next().await;
    assert_eq!(
        (&*bye.name, &bye.data["reason"]),
        ("bye", &"token_expired".into())
    );
    let bye = json.next().await;
    assert_eq!(
        (&bye["op"], &bye["reason"]),
        (&"bye".into(), &"token_expired".into())
    );
    assert_eq!(json.closed().await, 4401);
}

#[tokio::test]
async fn a_fresh_token_keeps_a_connection_open_and_another_users_does_not() {
    let (gateway, _folder) = gateway(RULES);
    let mut renewing = by_method(&gateway, "renewing", &token("alice", 2, json!({})))
        .await
        .expect("in");
    let mut changing = by_method(&gateway, "changing", &token("alice", 60, json!({})))
        .await
        .expect("in");
    let mut expiring = by_method(&gateway, "expiring", &token("alice", 2, json!({})))
        .await
        .expect("in");
    let mut json = JsonSocket::open(gateway.http).await;
    json.answered(json!({"op": "auth", "token": token("alice", 2, json!({}))}))
        .await;
    json.subscribe(&["a/x"], json!({})).await;
    renewing.subscribe(&[("a/x", 1)]).await;
    let again = |user: &str| wire::auth(0x19, "jwt", token(user, 600, json!({})).as_bytes());
    renewing.send(&again("alice")).await;
    match renewing.next().await {
        Some(Packet::Auth { code, .. }) => assert_eq!(code, 0),
        other => panic!("AUTH expected, not {other:?}"),
    }
    let renewed = json
        .answered(json!({"op": "auth", "token": token("alice", 600, json!({}))}))
        .await;
    assert_eq!(renewed["op"], "ok", "{renewed}");
    changing.send(&again("bob")).await;
    match changing.next().await {
        Some(Packet::Disconnect { code, .. }) => assert_eq!(code, 0x87),
        other => panic!("DISCONNECT expected, not {other:?}"),
    }
    // when the one that was not renewed is gone, the others are still there
    assert!(matches!(
        expiring.next().await,
        Some(Packet::Disconnect { code: 0x87, .. })
    ));
    renewing.publish(&Publish::new("a/x", "1", 1)).await;
    assert_eq!(renewing.receive().await.payload, b"1");
    assert_eq!(json_ws::payload(&json.message().await), b"1");
}

/// Proves itself anew, and is let.
async fn go_on_by(client: &mut Client, token: &str) {
    client
        .send(&wire::auth(0x19, "jwt", token.as_bytes()))
        .await;
    let answer = client.take("AUTH", |it| matches!(it, Packet::Auth { .. }));
    assert!(matches!(answer.await, Packet::Auth { code: 0, .. }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_will_is_published_on_the_rights_that_its_client_had_last_also_over_a_kill() {
    let at_once = ["--set", "session.restart_grace=0s"];
    let (mut gateway, _folder) = gateway_with(RULES, &at_once);
    let config = _folder.path().join("t.toml").display().to_string();
    let arguments = ["--config", config.as_str(), at_once[0], at_once[1]];
    for is_killed in [false, true] {
        let will = Will {
            topic: "a/gone".to_owned(),
            payload: b"gone".to_vec(),
            qos: 1,
            ..Will::default()
        };
        let opening = Opening::v5("owner").will(will);
        let owner = open_by_method(&gateway, opening, &token("alice", 60, json!({}))).await;
        let mut owner = owner.expect("it is let in");
        let less = json!({"mqtt": {"pub": ["a/other"], "sub": []}});
        go_on_by(&mut owner, &token("alice", 60, less)).await;
        // what is acknowledged comes behind it on the disk
        let keeping = Opening::v5("keeping").session_expiry(60);
        let keeping = keeping.login("w", &token("bob", 60, json!({})));
        let mut keeping = Client::tcp(&gateway, &keeping).await;
        keeping.subscribe(&[("a/kept", 1)]).await;
        assert_eq!(keeping.publish(&Publish::new("a/kept", "x", 1)).await, 0);
        match is_killed {
            false => drop(owner),
            true => gateway = gateway.killed(&arguments),
        }
        gateway.logs("a will was not published").await;
    }
}

#[tokio::test]
async fn whoever_says_later_who_he_is_is_counted_among_his_connections_from_then_on() {
    let (gateway, _folder) = gateway_with(RULES, &["--set", "quota.connections=1"]);
    let auth = || json!({"op": "auth", "token": token("alice", 60, json!({}))});
    let mut first = JsonSocket::open(gateway.http).await;
    let mut second = JsonSocket::open(gateway.http).await;
    // the second time it has its place
    for _ in 0..2 {
        let answer = first.answered(auth()).await;
        assert_eq!(answer["op"], "ok", "{answer}");
    }
    let answer = second.answered(auth()).await;
    json_ws::assert_err(&answer, "quota-exceeded");
    assert_eq!(second.closed().await, 4429);
    let other = json!({"op": "auth", "token": token("bob", 60, json!({}))});
    assert_eq!(first.answered(other).await["op"], "ok");
    // and its place is free
    let mut third = JsonSocket::open(gateway.http).await;
    let answer = third.answered(auth()).await;
    assert_eq!(answer["op"], "ok", "{answer}");
}

#[tokio::test]
async fn a_socket_that_listens_to_nothing_ends_with_its_token_too() {
    let (gateway, _folder) = gateway(RULES);
    let mut socket = JsonSocket::open(gateway.http).await;
    let brief = json!({"op": "auth", "token": token("alice", 2, json!({}))});
    assert_eq!(socket.answered(brief).await["op"], "ok");
    // long before the next ping
    let in_time = tokio::time::timeout(Duration::from_secs(10), socket.next());
    let bye = in_time.await.expect("a word about its end");
    assert_eq!(
        (&bye["op"], &bye["reason"]),
        (&"bye".into(), &"token_expired".into())
    );
    assert_eq!(socket.closed().await, 4401);
}
