//! One table of questions through every way in: each gives the answer that the rules give.

use crate::{
    oracle::{self, Rule},
    random::Random,
    setup::{Guarded, PASSWORD, basic},
    support::{
        http::{Request, encode},
        json_ws::JsonSocket,
        mqtt::{Client, Link},
        stream::{Encoding, Stream},
        wire::{Opening, Publish, Version},
    },
};
use futures_util::future::join_all;
use serde_json::json;

const USERS: [&str; 3] = ["u0", "u1", "u2"];

/// One user, in by every way that stays open.
struct Caller {
    user: &'static str,
    mqtt: Client,
    websocket: Client,
    json: JsonSocket,
}

impl Caller {
    async fn come(guarded: &Guarded, user: &'static str) -> Self {
        let opening = |way| Opening::v5(&format!("{user}-{way}")).login(user, PASSWORD);
        let gateway = &guarded.gateway;
        let link = Link::websocket(gateway.http, Version::V5).await;
        Self {
            user,
            mqtt: Client::tcp(gateway, &opening("tcp")).await,
            websocket: Client::welcomed(link, &opening("ws")).await.0,
            json: JsonSocket::open_with(gateway.http, &[("authorization", &basic(user))]).await,
        }
    }

    /// Whether it was published, by MQTT over TCP and WebSocket, REST and JSON.
    async fn publish(&mut self, guarded: &Guarded, topic: &str, retain: bool) -> [bool; 5] {
        let message = Publish {
            retain,
            ..Publish::new(topic, "x", 1)
        };
        let over_tcp = self.mqtt.publish(&message).await;
        let over_websocket = self.websocket.publish(&message).await;
        let target = format!("/api/v1/topics?topic={}&retain={retain}", encode(topic));
        let rest = Request::post(&target, "x").header("Authorization", &basic(self.user));
        let rest = rest.send(guarded.gateway.http).await;
        let item = json!({"topic": topic, "payload": "x", "qos": 1, "retain": retain});
        let batch = Request::post("/api/v1/messages", json!([item]).to_string())
            .header("Content-Type", "application/json")
            .header("Authorization", &basic(self.user));
        let batch = batch.send(guarded.gateway.http).await.json();
        let frame =
            json!({"op": "pub", "topic": topic, "payload": "x", "qos": 1, "retain": retain});
        let frame = self.json.answered(frame).await;
        if rest.status != 200 {
            rest.assert_problem(403, "not-authorized");
        }
        let done = &batch["results"][0]["status"];
        [
            accepted(over_tcp),
            accepted(over_websocket),
            rest.status == 200,
            done == 200,
            frame["op"] == "ok",
        ]
    }

    /// Whether it was subscribed to, by MQTT over TCP and WebSocket, SSE and JSON.
    async fn subscribe(&mut self, guarded: &Guarded, filter: &str) -> [bool; 4] {
        let over_tcp = self.mqtt.subscribe(&[(filter, 1)]).await[0];
        self.mqtt.unsubscribe(&[filter]).await;
        let over_websocket = self.websocket.subscribe(&[(filter, 1)]).await[0];
        self.websocket.unsubscribe(&[filter]).await;
        let stream = open(guarded, self.user, filter).await;
        if stream.head.status != 200 {
            assert_eq!(stream.head.status, 403);
        }
        let frame = self
            .json
            .answered(json!({"op": "sub", "topics": [filter]}))
            .await;
        if let Some(sub) = frame["sub"].as_u64() {
            self.json.answered(json!({"op": "unsub", "sub": sub})).await;
        }
        [
            accepted(over_tcp),
            accepted(over_websocket),
            stream.head.status == 200,
            frame["op"] == "ok",
        ]
    }

    /// Whether a message came that was published on `topic`, to a subscription to `filter`: by MQTT over TCP and
    /// WebSocket, SSE and JSON. Behind it a message comes on a topic that everybody may have.
    async fn receive(
        &mut self,
        guarded: &Guarded,
        admin: &mut Client,
        filter: &str,
        topic: &str,
    ) -> [bool; 4] {
        let both = [(filter, 1), ("marker", 1)];
        self.mqtt.subscribe(&both).await;
        self.websocket.subscribe(&both).await;
        let sub = self.json.subscribe(&[filter, "marker"], json!({})).await;
        let mut stream = open(guarded, self.user, filter).await;
        assert_eq!(stream.next().await.name, "ready");
        for topic in [topic, "marker"] {
            assert!(accepted(admin.publish(&Publish::new(topic, "m", 1)).await));
        }
        let got = [
            !self.mqtt.receive_until("marker").await.is_empty(),
            !self.websocket.receive_until("marker").await.is_empty(),
            came(
                async || stream.message().await,
                |event| event.data["topic"].clone(),
            )
            .await,
            came(
                async || self.json.message().await,
                |frame| frame["topic"].clone(),
            )
            .await,
        ];
        self.mqtt.unsubscribe(&[filter, "marker"]).await;
        self.websocket.unsubscribe(&[filter, "marker"]).await;
        self.json.answered(json!({"op": "unsub", "sub": sub})).await;
        got
    }
}

/// Whether anything comes in front of the marker.
async fn came<T>(
    mut next: impl AsyncFnMut() -> T,
    topic: impl Fn(&T) -> serde_json::Value,
) -> bool {
    let mut before = false;
    loop {
        if topic(&next().await) == "marker" {
            return before;
        }
        before = true;
    }
}

async fn open(guarded: &Guarded, user: &str, filter: &str) -> Stream {
    let target = format!(
        "/api/v1/stream?topic={}&topic=marker&strict=1",
        encode(filter)
    );
    let request = Request::get(&target)
        .header("Accept", "text/event-stream")
        .header("Authorization", &basic(user));
    Stream::on(request.open(guarded.gateway.http).await, Encoding::Sse)
}

fn accepted(code: u8) -> bool {
    code < 0x80
}

/// Everything to the one who publishes for the table, and one topic to everybody.
fn with_basics(rules: Vec<Rule>) -> Vec<Rule> {
    let basic = |actions: &[&'static str], topics: &[&str], users: Option<&str>| Rule {
        allow: true,
        actions: actions.to_vec(),
        topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
        users: users.map(|user| vec![user.to_owned()]),
    };
    let mut all = vec![
        basic(&["publish", "subscribe", "retain"], &["#"], Some("admin")),
        basic(&["subscribe"], &["marker"], None),
    ];
    all.extend(rules);
    all
}

/// What is asked of the gateway.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Publish,
    Subscribe,
    Receive,
}

const KINDS: [Kind; 3] = [Kind::Publish, Kind::Subscribe, Kind::Receive];

struct Question {
    kind: Kind,
    user: usize,
    topic: String,
    filter: String,
    retain: bool,
}

impl Question {
    fn random(random: &mut Random<'_>, kind: Kind) -> Self {
        Self {
            kind,
            user: random.below(3) as usize,
            topic: oracle::topic(random),
            filter: oracle::pattern(random, false),
            retain: random.once_in(3),
        }
    }

    /// What the rules say; `None` if it cannot be asked: what is received is subscribed to before.
    fn answer(&self, rules: &[Rule]) -> Option<bool> {
        let (user, topic, filter) = (USERS[self.user], &self.topic, &self.filter);
        match self.kind {
            Kind::Publish => Some(oracle::may_publish(rules, user, topic, self.retain)),
            Kind::Subscribe => Some(oracle::may_subscribe(rules, user, filter)),
            Kind::Receive => {
                let may_ask =
                    oracle::matches(filter, topic) && oracle::may_subscribe(rules, user, filter);
                may_ask.then(|| oracle::may_receive(rules, user, topic))
            }
        }
    }

    /// One with this answer, if a few thousand tries find any.
    fn with_answer(
        random: &mut Random<'_>,
        rules: &[Rule],
        kind: Kind,
        answer: bool,
    ) -> Option<Self> {
        let mut tries = (0..5_000).map(|_| Question::random(random, kind));
        tries.find(|question| question.answer(rules) == Some(answer))
    }
}

/// Rules that allow something of each kind, and forbid something: others would prove little.
fn varied_rules(random: &mut Random<'_>) -> Vec<Rule> {
    loop {
        let rules = with_basics(oracle::random_rules(random, &USERS));
        let mut some = |kind, answer| {
            let mut tries = (0..500).map(|_| Question::random(random, kind));
            tries.any(|question| question.answer(&rules) == Some(answer))
        };
        if KINDS
            .into_iter()
            .all(|kind| some(kind, true) && some(kind, false))
        {
            return rules;
        }
    }
}

#[tokio::test]
async fn the_same_rules_decide_at_every_way_in() {
    let (sets, each) = match std::env::var_os("TIDEGATE_TEST_LONG") {
        Some(_) => (10, 50),
        None => (2, 25),
    };
    let seed = getrandom::u64().unwrap_or(1);
    println!("seed {seed}");
    let mut random = Random::seeded(seed);
    let mut answers = [[0u32; 2]; 3];
    for _ in 0..sets {
        let rules = varied_rules(&mut random);
        let text = oracle::as_toml(&rules);
        let guarded = Guarded::start(&["admin", "u0", "u1", "u2"], &text);
        let admin = Opening::v5("admin").login("admin", PASSWORD);
        let mut admin = Client::tcp(&guarded.gateway, &admin).await;
        let mut callers = join_all(USERS.map(|user| Caller::come(&guarded, user))).await;
        for case in 0..each {
            let (kind, wanted) = (KINDS[case % 3], case % 2 == 0);
            let mut find = |answer| Question::with_answer(&mut random, &rules, kind, answer);
            let question = find(wanted).or_else(|| find(!wanted)).unwrap();
            let may = question.answer(&rules).unwrap();
            let (user, topic) = (USERS[question.user], &question.topic);
            let (filter, retain) = (&question.filter, question.retain);
            let caller = &mut callers[question.user];
            match kind {
                Kind::Publish => {
                    let got = caller.publish(&guarded, topic, retain).await;
                    assert_eq!(
                        got, [may; 5],
                        "{user} publishes {topic:?}, retain {retain}\n{text}"
                    );
                    // what is retained would come in front of everything else
                    let cleared = Publish::new(topic, "", 1).retained();
                    assert!(accepted(admin.publish(&cleared).await));
                }
                Kind::Subscribe => {
                    let got = caller.subscribe(&guarded, filter).await;
                    assert_eq!(got, [may; 4], "{user} subscribes to {filter:?}\n{text}");
                }
                Kind::Receive => {
                    let got = caller.receive(&guarded, &mut admin, filter, topic).await;
                    assert_eq!(
                        got, [may; 4],
                        "{user} receives {topic:?} by {filter:?}\n{text}"
                    );
                }
            }
            answers[kind as usize][usize::from(may)] += 1;
        }
    }
    println!("denied and allowed: {answers:?}");
    assert!(answers.iter().flatten().all(|count| *count > 0));
}

#[tokio::test]
async fn what_may_not_be_received_is_not_read_by_any_other_way() {
    let rules = "[[rule]]\ndeny = [\"receive\"]\ntopics = [\"home/+/secret\"]\nusers = [\"u0\"]\n\
                 [[rule]]\nallow = [\"publish\", \"subscribe\", \"retain\"]\ntopics = [\"home/#\"]\n";
    let guarded = Guarded::start(&["u0", "u1"], rules);
    let http = guarded.gateway.http;
    let ask = |method: &str, target: &str, user: &str| {
        Request::new(method, target).header("Authorization", &basic(user))
    };
    for topic in ["home/a/secret", "home/a/open"] {
        let target = format!("/api/v1/topics/{topic}?retain=true");
        let sent = ask("POST", &target, "u1").body("x").send(http).await;
        assert_eq!(sent.status, 200);
    }
    let read =
        |target: &'static str, user| async move { ask("GET", target, user).send(http).await };
    // the state of one topic
    let one = "/api/v1/topics/home/a/secret";
    assert_eq!(read(one, "u1").await.status, 200);
    read(one, "u0").await.assert_problem(403, "not-authorized");
    // a condition tells of it, too
    let condition = ask("PUT", one, "u0").header("If-None-Match", "*").body("y");
    condition
        .send(http)
        .await
        .assert_problem(403, "not-authorized");
    // lists
    for (target, all, some) in [
        ("/api/v1/topics?filter=home/%23&payload=auto", 2, 1),
        ("/api/v1/topics?prefix=home/", 2, 1),
        ("/api/v1/topics?filter=home/a/secret", 1, 0),
    ] {
        let count = |answer: crate::support::http::Response| {
            let json = answer.json();
            json["topics"].as_array().map_or(0, Vec::len)
        };
        assert_eq!(count(read(target, "u1").await), all, "{target}");
        assert_eq!(count(read(target, "u0").await), some, "{target}");
    }
    // what is retained, as a stream and an MQTT subscription begin with it
    let opened = ask("GET", "/api/v1/stream?topic=home/%23", "u0")
        .header("Accept", "text/event-stream")
        .open(http)
        .await;
    let mut stream = Stream::on(opened, Encoding::Sse);
    assert_eq!(stream.next().await.name, "ready");
    assert_eq!(stream.message().await.data["topic"], "home/a/open");
    let opening = Opening::v5("reader").login("u0", PASSWORD);
    let mut reader = Client::tcp(&guarded.gateway, &opening).await;
    reader.subscribe(&[("home/#", 1)]).await;
    assert_eq!(reader.receive().await.topic, "home/a/open");
    // the log: live, from a cursor, and in pages
    for topic in ["home/a/secret", "home/a/open"] {
        let target = format!("/api/v1/topics/{topic}");
        ask("POST", &target, "u1").body("later").send(http).await;
    }
    assert_eq!(stream.message().await.data["topic"], "home/a/open");
    let after = reader.receive().await;
    assert_eq!(
        (&*after.topic, &*after.payload),
        ("home/a/open", b"later".as_slice())
    );
    for target in [
        "/api/v1/messages?topic=home/%23&since=earliest",
        "/api/v1/messages?topic=home/%23&order=desc",
    ] {
        let page = read(target, "u0").await.json();
        let messages = page["messages"].as_array().expect("messages");
        assert!(!messages.is_empty(), "{page}");
        assert!(
            messages.iter().all(|one| one["topic"] == "home/a/open"),
            "{page}"
        );
    }
}

#[tokio::test]
async fn the_check_answers_for_the_way_that_is_meant() {
    let rules = "[[rule]]\ndeny = [\"subscribe\"]\ntopics = [\"a\"]\nvia = [\"sse\"]\n\
                 [[rule]]\nallow = [\"publish\", \"subscribe\"]\ntopics = [\"#\"]\n";
    let guarded = Guarded::start(&["u0"], rules);
    let ask = async |via: &str| {
        let target = format!("/api/v1/auth/check?action=subscribe&topic=a{via}");
        let request = Request::get(&target).header("Authorization", &basic("u0"));
        request.send(guarded.gateway.http).await
    };
    for (via, allowed, rule) in [
        ("", true, "rules:5"),
        ("&via=mqtt", true, "rules:5"),
        ("&via=sse", false, "rules:1"),
    ] {
        let answer = ask(via).await.json();
        assert_eq!(
            (&answer["allowed"], &answer["rule"]),
            (&json!(allowed), &json!(rule))
        );
    }
    ask("&via=pigeon")
        .await
        .assert_problem(400, "parameter-invalid");
    let stream = open(&guarded, "u0", "a").await;
    assert_eq!(stream.head.status, 403);
}
