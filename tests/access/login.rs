//! Web sessions, tickets, and the first frame of a JSON WebSocket.

use crate::{
    setup::{Guarded, PASSWORD, basic},
    support::{
        http::{Request, Response},
        json_ws::{self, JsonSocket},
        stream::{Encoding, Stream},
    },
};
use serde_json::{Value, json};
use std::net::SocketAddr;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UnixStream},
};

const RULES: &str = "[[rule]]\nallow = [\"publish\", \"subscribe\"]\nusers = [\"u0\"]\ntopics = [\"a/#\"]\n\
                     [[rule]]\nallow = [\"publish\"]\nusers = [\"u1\"]\ntopics = [\"#\"]\n";

fn guarded() -> Guarded {
    Guarded::start(&["u0", "u1"], RULES)
}

/// A request as a page of the gateway itself sends it.
fn own(method: &str, target: &str, http: SocketAddr) -> Request {
    Request::new(method, target).header("Origin", &format!("http://{http}"))
}

async fn log_in(http: SocketAddr) -> String {
    let body = json!({"user": "u0", "password": PASSWORD}).to_string();
    let login = own("POST", "/auth/session", http)
        .header("Content-Type", "application/json")
        .body(body);
    let answer = login.send(http).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["user"], "u0");
    let cookie = answer.header("set-cookie").expect("a cookie");
    for word in [
        "__Host-tidegate=",
        "HttpOnly",
        "Secure",
        "SameSite=Strict",
        "Path=/",
    ] {
        assert!(cookie.contains(word), "{cookie}");
    }
    assert!(!cookie.contains("Domain"), "{cookie}");
    cookie.split(';').next().unwrap_or_default().to_owned()
}

async fn stream(http: SocketAddr, target: &str, headers: &[(&str, &str)]) -> Stream {
    let mut request = Request::get(target).header("Accept", "text/event-stream");
    for (name, value) in headers {
        request = request.header(name, value);
    }
    Stream::on(request.open(http).await, Encoding::Sse)
}

#[tokio::test]
async fn a_session_stands_for_its_user_and_ends_with_its_streams_when_it_is_logged_out() {
    let guarded = guarded();
    let http = guarded.gateway.http;
    let cookie = log_in(http).await;
    let who = Request::get("/auth/session")
        .header("Cookie", &cookie)
        .send(http)
        .await;
    assert_eq!(who.json()["user"], "u0");
    let asked_by_head = Request::new("HEAD", "/auth/session").header("Cookie", &cookie);
    assert_eq!(asked_by_head.send(http).await.status, 200);
    let mut open = stream(http, "/api/v1/stream?topic=a/x", &[("Cookie", &cookie)]).await;
    assert_eq!(open.next().await.name, "ready");
    let publish = |target: &str| {
        own("POST", target, http)
            .header("Cookie", &cookie)
            .body("1")
    };
    assert_eq!(publish("/api/v1/topics/a/x").send(http).await.status, 200);
    assert_eq!(open.message().await.payload(), b"1");
    publish("/api/v1/topics/b")
        .send(http)
        .await
        .assert_problem(403, "not-authorized");

    // renewed without credentials, and the stream goes on
    let renewed = own("POST", "/auth/session", http)
        .header("Cookie", &cookie)
        .send(http)
        .await;
    assert_eq!(renewed.status, 200, "{renewed:?}");
    publish("/api/v1/topics/a/x").send(http).await;
    assert_eq!(open.message().await.payload(), b"1");

    let out = own("DELETE", "/auth/session", http)
        .header("Cookie", &cookie)
        .send(http)
        .await;
    assert_eq!(out.status, 204);
    let bye = open.next().await;
    assert_eq!(
        (&*bye.name, &bye.data["reason"]),
        ("bye", &"token_expired".into())
    );
    publish("/api/v1/topics/a/x")
        .send(http)
        .await
        .assert_problem(401, "not-authenticated");
}

#[tokio::test]
async fn what_was_logged_out_while_its_body_came_publishes_nothing() {
    let guarded = guarded();
    let http = guarded.gateway.http;
    for (target, kind) in [
        ("/api/v1/topics/a/slow", "text/plain"),
        ("/api/v1/messages", "application/json"),
    ] {
        let cookie = log_in(http).await;
        let mut slow = TcpStream::connect(http).await.expect("it accepts");
        let body = r#"{"topic": "a/slow", "payload": "x"}"#;
        let (begin, rest) = body.split_at(10);
        let head = format!(
            "POST {target} HTTP/1.1\r\nHost: {http}\r\nOrigin: http://{http}\r\nCookie: {cookie}\r\n\
             Content-Type: {kind}\r\nContent-Length: {}\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n",
            body.len()
        );
        slow.write_all(head.as_bytes()).await.expect("it is read");
        // it asks for the body when it has looked at who sends it
        let mut asked = [0; 25];
        slow.read_exact(&mut asked).await.expect("an answer");
        assert_eq!(&asked, b"HTTP/1.1 100 Continue\r\n\r\n");
        slow.write_all(begin.as_bytes()).await.expect("it is read");
        let out = own("DELETE", "/auth/session", http).header("Cookie", &cookie);
        assert_eq!(out.send(http).await.status, 204);
        slow.write_all(rest.as_bytes()).await.expect("it is read");
        let mut answer = String::new();
        slow.read_to_string(&mut answer).await.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    }
}

#[tokio::test]
async fn a_cookie_acts_for_pages_of_the_gateway_only() {
    let guarded = guarded();
    let http = guarded.gateway.http;
    let cookie = log_in(http).await;
    let target = "/api/v1/topics/a/x";
    let with_cookie = || Request::post(target, "x").header("Cookie", &cookie);
    for request in [
        with_cookie(),
        with_cookie().header("Origin", "http://evil.example"),
        with_cookie().header("Origin", "null"),
        with_cookie().header("Sec-Fetch-Site", "cross-site"),
        with_cookie().header("Sec-Fetch-Site", "same-site"),
    ] {
        request
            .send(http)
            .await
            .assert_problem(403, "origin-rejected");
    }
    assert_eq!(
        with_cookie()
            .header("Sec-Fetch-Site", "same-origin")
            .send(http)
            .await
            .status,
        200
    );
    // a form cannot log anybody in
    for kind in [
        "application/x-www-form-urlencoded",
        "text/plain",
        "multipart/form-data",
    ] {
        let body = json!({"user": "u0", "password": PASSWORD}).to_string();
        let form = own("POST", "/auth/session", http)
            .header("Content-Type", kind)
            .body(body);
        form.send(http)
            .await
            .assert_problem(415, "media-type-unsupported");
    }
    let forged = own("POST", target, http)
        .header("Cookie", "__Host-tidegate=AAAA")
        .body("x");
    forged
        .send(http)
        .await
        .assert_problem(401, "not-authenticated");
}

async fn ticket(http: SocketAddr, user: &str, wish: Value) -> Response {
    let request = Request::post("/auth/tickets", wish.to_string())
        .header("Content-Type", "application/json")
        .header("Authorization", &basic(user));
    request.send(http).await
}

#[tokio::test]
async fn a_ticket_can_do_what_it_names_and_no_more_than_its_caller() {
    let guarded = guarded();
    let http = guarded.gateway.http;
    let issued = ticket(http, "u0", json!({"topics": ["a/x"]})).await;
    assert_eq!(issued.status, 201, "{issued:?}");
    assert_eq!(issued.header("cache-control"), Some("no-store"));
    let ticket_text = issued.json()["ticket"]
        .as_str()
        .expect("a ticket")
        .to_owned();
    for _ in 0..2 {
        let target = format!("/api/v1/stream?topic=a/x&ticket={ticket_text}");
        let mut open = stream(http, &target, &[]).await;
        assert_eq!(open.next().await.name, "ready");
    }
    let refused = Request::get(&format!("/api/v1/stream?topic=a/y&ticket={ticket_text}"));
    refused
        .send(http)
        .await
        .assert_problem(403, "not-authorized");
    let publish = Request::post(&format!("/api/v1/topics/a/x?ticket={ticket_text}"), "x");
    publish
        .send(http)
        .await
        .assert_problem(403, "not-authorized");
    let both = Request::get(&format!("/api/v1/stream?topic=a/x&ticket={ticket_text}"))
        .header("Authorization", &basic("u0"));
    both.send(http).await.assert_problem(400, "request-invalid");
    // not more than the caller
    ticket(http, "u0", json!({"topics": ["b"]}))
        .await
        .assert_problem(403, "not-authorized");
    ticket(http, "u1", json!({"topics": ["a/x"]}))
        .await
        .assert_problem(403, "not-authorized");
    // nobody gives out what he was given
    let again = Request::post(
        &format!("/auth/tickets?ticket={ticket_text}"),
        r#"{"topics":["a/x"]}"#,
    )
    .header("Content-Type", "application/json");
    again.send(http).await.assert_problem(403, "not-authorized");
    let log = guarded.gateway.log();
    assert!(!log.contains(&ticket_text), "the log shows a ticket");
}

#[tokio::test]
async fn a_ticket_for_once_is_used_up_and_one_for_a_second_is_over_with_its_stream() {
    let guarded = guarded();
    let http = guarded.gateway.http;
    let text = |answer: Response| {
        answer.json()["ticket"]
            .as_str()
            .expect("a ticket")
            .to_owned()
    };
    let once = text(ticket(http, "u0", json!({"topics": ["a/x"], "uses": "once"})).await);
    let target = format!("/api/v1/stream?topic=a/x&ticket={once}");
    let mut open = stream(http, &target, &[]).await;
    assert_eq!(open.next().await.name, "ready");
    let again = Request::get(&target).send(http).await;
    again.assert_problem(401, "not-authenticated");
    let short = text(ticket(http, "u0", json!({"topics": ["a/x"], "ttl": 1})).await);
    let target = format!("/api/v1/stream?topic=a/x&ticket={short}");
    let mut brief = stream(http, &target, &[]).await;
    assert_eq!(brief.next().await.name, "ready");
    let bye = brief.next().await;
    assert_eq!(
        (&*bye.name, &bye.data["reason"]),
        ("bye", &"token_expired".into())
    );
    Request::get(&target)
        .send(http)
        .await
        .assert_problem(401, "not-authenticated");
    // the other stream goes on
    let publish = Request::post("/api/v1/topics/a/x", "1").header("Authorization", &basic("u1"));
    assert_eq!(publish.send(http).await.status, 200);
    assert_eq!(open.message().await.payload(), b"1");
}

#[tokio::test]
async fn tickets_of_a_session_and_their_streams_end_when_it_is_logged_out() {
    let guarded = guarded();
    let http = guarded.gateway.http;
    let cookie = log_in(http).await;
    let mut targets = Vec::new();
    for uses in ["reconnect", "once"] {
        let request = own("POST", "/auth/tickets", http)
            .header("Content-Type", "application/json")
            .header("Cookie", &cookie)
            .body(json!({"topics": ["a/x"], "uses": uses}).to_string());
        let issued = request.send(http).await.json();
        let ticket = issued["ticket"].as_str().expect("a ticket");
        targets.push(format!("/api/v1/stream?topic=a/x&ticket={ticket}"));
    }
    let mut open = stream(http, &targets[0], &[]).await;
    assert_eq!(open.next().await.name, "ready");
    let out = own("DELETE", "/auth/session", http).header("Cookie", &cookie);
    assert_eq!(out.send(http).await.status, 204);
    for target in &targets {
        Request::get(target)
            .send(http)
            .await
            .assert_problem(401, "not-authenticated");
    }
    let bye = open.next().await;
    assert_eq!(
        (&*bye.name, &bye.data["reason"]),
        ("bye", &"token_expired".into())
    );
}

/// A request through the socket in the file system; the whole answer.
async fn over_unix(guarded: &Guarded, method: &str, target: &str, body: &str) -> String {
    let mut socket = UnixStream::connect(guarded.gateway.listening("http-unix"))
        .await
        .expect("it accepts");
    let request = format!(
        "{method} {target} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        basic("u0"),
        body.len()
    );
    socket
        .write_all(request.as_bytes())
        .await
        .expect("it is read");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.expect("an answer");
    answer
}

#[tokio::test]
async fn rules_ask_where_a_cookie_and_a_ticket_come_in_and_not_where_they_were_given_out() {
    let rules = "[[rule]]\ndeny = [\"publish\"]\nlisteners = [\"http\"]\ntopics = [\"a/#\"]\n\
                 [[rule]]\nallow = [\"publish\", \"subscribe\"]\nusers = [\"u0\"]\ntopics = [\"#\"]\n";
    let folder = tempfile::tempdir().expect("a folder");
    let unix = format!("http.unix={}", folder.path().join("http.sock").display());
    let guarded = Guarded::with("rules_file", &["u0"], rules, &["--set", &unix]);
    let http = guarded.gateway.http;
    let allowed = over_unix(&guarded, "POST", "/api/v1/topics/a/x", "1").await;
    assert!(allowed.starts_with("HTTP/1.1 200 "), "{allowed}");
    let in_there = over_unix(&guarded, "POST", "/auth/session", "").await;
    let cookie = in_there
        .lines()
        .find_map(|line| line.strip_prefix("set-cookie: "))
        .and_then(|cookie| cookie.split(';').next())
        .expect("a cookie");
    let wish = json!({"topics": ["a/x"], "actions": ["publish"]}).to_string();
    let issued = over_unix(&guarded, "POST", "/auth/tickets", &wish).await;
    let body = issued.split("\r\n\r\n").nth(1).expect("a body");
    let issued: Value = serde_json::from_str(body).expect("a ticket");
    let ticket = issued["ticket"].as_str().expect("a ticket");

    let target = "/api/v1/topics/a/x";
    let with_cookie = own("POST", target, http).header("Cookie", cookie).body("1");
    let with_ticket = Request::post(&format!("{target}?ticket={ticket}"), "1");
    for request in [with_cookie, with_ticket] {
        let answer = request.send(http).await;
        answer.assert_problem(403, "not-authorized");
    }
    let check = "/api/v1/auth/check?action=publish&topic=a/x";
    let with_cookie = Request::get(check)
        .header("Sec-Fetch-Site", "same-origin")
        .header("Cookie", cookie);
    let with_ticket = Request::get(&format!("{check}&ticket={ticket}"));
    for request in [with_cookie, with_ticket] {
        let told = request.send(http).await.json();
        assert_eq!(
            (&told["allowed"], &told["rule"]),
            (&json!(false), &json!("rules:1"))
        );
    }
}

#[tokio::test]
async fn a_wish_for_a_ticket_must_make_sense() {
    let guarded = guarded();
    let http = guarded.gateway.http;
    for wish in [
        json!({}),
        json!({"topics": []}),
        json!({"topics": ["a/x"], "ttl": 0}),
        json!({"topics": ["a/x"], "ttl": 3601}),
        json!({"topics": ["a/x"], "actions": ["administer"]}),
        json!({"topics": ["a/x"], "uses": "twice"}),
        json!({"topics": ["a/x"], "hours": 3}),
    ] {
        ticket(http, "u0", wish)
            .await
            .assert_problem(400, "body-invalid");
    }
    ticket(http, "u0", json!({"topics": ["a/#/b"]}))
        .await
        .assert_problem(400, "filter-invalid");
    ticket(http, "u0", json!({"topics": ["a/".repeat(2048)]}))
        .await
        .assert_problem(413, "payload-too-large");
    let anonymous = Request::post("/auth/tickets", r#"{"topics":["a/x"]}"#);
    anonymous
        .send(http)
        .await
        .assert_problem(401, "not-authenticated");
}

#[tokio::test]
async fn a_websocket_says_who_it_is_in_its_handshake_or_its_first_frame_or_is_closed() {
    let guarded = guarded();
    let http = guarded.gateway.http;
    let mut known = JsonSocket::open_with(http, &[("authorization", &basic("u0"))]).await;
    let answer = known.answered(json!({"op": "sub", "topics": ["b"]})).await;
    json_ws::assert_err(&answer, "not-authorized");
    known.subscribe(&["a/#"], json!({})).await;
    for first in [
        json!({"op": "sub", "topics": ["a/#"]}),
        json!({"op": "auth", "token": "nonsense"}),
    ] {
        let mut unknown = JsonSocket::unwelcomed(http).await;
        let answer = unknown.answered(first).await;
        json_ws::assert_err(&answer, "not-authenticated");
        assert_eq!(unknown.closed().await, 4401);
    }
}

#[tokio::test]
async fn who_says_nothing_over_a_websocket_is_closed_however_long_a_head_may_take() {
    let further = ["--set", "http.head_timeout=5m"];
    let guarded = Guarded::with("rules_file", &["u0", "u1"], RULES, &further);
    let mut unknown = JsonSocket::unwelcomed(guarded.gateway.http).await;
    assert_eq!(unknown.closed().await, 4401);
}

#[tokio::test]
async fn what_everybody_may_see_needs_no_credentials_and_the_rest_does() {
    let guarded = guarded();
    let http = guarded.gateway.http;
    for open in [
        "/",
        "/healthz",
        "/readyz",
        "/api/v1",
        "/openapi.json",
        "/docs/",
        "/style.css",
    ] {
        assert_eq!(Request::get(open).send(http).await.status, 200, "{open}");
    }
    for guarded in [
        "/metrics",
        "/auth/session",
        "/api/v1/topics",
        "/api/v1/topics/a/x",
        "/api/v1/topics?topic=a/x",
        "/api/v1/messages?topic=a/x",
        "/api/v1/stream?topic=a/x",
        "/api/v1/auth/check?action=publish&topic=a",
        "/api/v1/nothing",
    ] {
        let answer = Request::get(guarded).send(http).await;
        answer.assert_problem(401, "not-authenticated");
        let challenge = answer.header("www-authenticate").unwrap_or_default();
        assert!(challenge.starts_with("Bearer"), "{guarded}: {challenge}");
    }
    for wrong in [
        "Basic dTA6d3Jvbmc=",
        "Basic !",
        "Basic",
        "Bearer x",
        "Digest x",
        "",
        "basic",
    ] {
        let answer = Request::get("/api/v1/topics")
            .header("Authorization", wrong)
            .send(http)
            .await;
        answer.assert_problem(401, "not-authenticated");
    }
}
