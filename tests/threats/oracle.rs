//! W13: whether a user exists is nobody's business.

use crate::{
    setup,
    support::{
        gateway::Gateway,
        http::Request,
        json_ws::JsonSocket,
        mqtt::{Client, Link},
        wire::{Opening, Version},
    },
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

/// A user with another password, nobody's names, and what could be taken for either.
const WRONG: [(&str, &str); 6] = [
    ("u0", "wrong"),
    ("u0", ""),
    ("nobody", "wrong"),
    ("nobody", setup::PASSWORD),
    ("", setup::PASSWORD),
    ("U0", setup::PASSWORD),
];

async fn by_mqtt(gateway: &Gateway, version: Version, (user, password): (&str, &str)) -> u8 {
    let opening = Opening::new(version, "asks").login(user, password);
    let link = Link::tcp(gateway.mqtt).await;
    Client::open(link, &opening).await.1.code
}

/// Status, challenge and problem, without what differs between any two requests.
async fn by_http(gateway: &Gateway, request: Request) -> (u16, Option<String>, Value) {
    let answer = request.send(gateway.http).await;
    let challenge = answer.header("www-authenticate").map(str::to_owned);
    let mut problem = answer.json();
    problem["instance"] = Value::Null;
    (answer.status, challenge, problem)
}

/// W13: an unknown user and a wrong password are answered alike at every way in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_user_and_a_wrong_password_get_the_same_answer() {
    let (gateway, _folder) = setup::guarded(&[]);
    for version in [Version::V31, Version::V311, Version::V5] {
        let wanted = by_mqtt(&gateway, version, WRONG[0]).await;
        assert_ne!(wanted, 0);
        for wrong in WRONG {
            assert_eq!(by_mqtt(&gateway, version, wrong).await, wanted, "{wrong:?}");
        }
    }
    let basic = |(user, password): (&str, &str)| {
        let value = STANDARD.encode(format!("{user}:{password}"));
        Request::get("/api/v1/topics").header("Authorization", &format!("Basic {value}"))
    };
    let login = |(user, password): (&str, &str)| {
        let body = json!({"user": user, "password": password}).to_string();
        Request::post("/auth/session", body).header("Content-Type", "application/json")
    };
    for request in [
        &basic as &dyn Fn((&'static str, &'static str)) -> Request,
        &login,
    ] {
        let wanted = by_http(&gateway, request(WRONG[0])).await;
        assert_eq!(wanted.0, 401, "{wanted:?}");
        for wrong in WRONG {
            assert_eq!(by_http(&gateway, request(wrong)).await, wanted, "{wrong:?}");
        }
    }
    let mut answers = vec![];
    for _ in 0..2 {
        let mut socket = JsonSocket::unwelcomed(gateway.http).await;
        answers.push(
            socket
                .answered(json!({"op": "auth", "token": "a.b.c"}))
                .await["problem"]["type"]
                .clone(),
        );
    }
    assert_eq!(answers[0], answers[1]);
}
