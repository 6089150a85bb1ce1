//! How conversations over `/api/v1/ws` end, and what one that does not listen costs the others.

use std::time::Duration;

use futures_util::SinkExt;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{
    Message,
    protocol::{
        CloseFrame,
        frame::{
            Frame,
            coding::{CloseCode, Data, OpCode},
        },
    },
};

use crate::support::{
    gateway::Gateway,
    json_ws::{JsonSocket, assert_err, payload},
    mqtt::Client,
    unique,
    wire::{Opening, Publish},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_text_is_closed_with_the_code_that_says_so() {
    let gateway = Gateway::shared();
    let continuation = Frame::message("x", OpCode::Data(Data::Continue), true);
    let not_utf8 = Frame::message(vec![0xFF], OpCode::Data(Data::Text), true);
    for (message, code) in [
        (Message::binary(b"{\"op\":\"ping\"}".to_vec()), 1003),
        (Message::Frame(not_utf8), 1007),
        (Message::Frame(continuation), 1002),
    ] {
        let mut socket = JsonSocket::open(gateway.http).await;
        socket
            .socket
            .send(message)
            .await
            .expect("the gateway reads");
        assert_eq!(socket.next_or_close().await, Err(code));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_is_too_large_is_closed_with_1009() {
    let gateway = Gateway::start(&["--set", "limits.payload=3000"]);
    let most = 4000 + (64 << 10);
    let padded = |length: usize| format!("{{\"op\":\"ping\"{}}}", " ".repeat(length - 13));
    for fragments in [1, 3] {
        let mut socket = JsonSocket::open(gateway.http).await;
        assert_eq!(socket.ready["limits"]["json_message"], most);
        for (text, fits) in [(padded(most), true), (padded(most + 1), false)] {
            let size = text.len().div_ceil(fragments);
            let mut parts: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
            let last = parts.pop().expect("it is not empty");
            let mut opcode = Data::Text;
            for part in parts {
                let frame = Frame::message(part.to_vec(), OpCode::Data(opcode), false);
                socket
                    .socket
                    .send(Message::Frame(frame))
                    .await
                    .expect("it reads");
                opcode = Data::Continue;
            }
            let frame = Frame::message(last.to_vec(), OpCode::Data(opcode), true);
            socket
                .socket
                .send(Message::Frame(frame))
                .await
                .expect("it reads");
            match fits {
                true => assert_eq!(socket.next().await, json!({"op": "pong"})),
                false => assert_eq!(socket.next_or_close().await, Err(1009)),
            }
        }
    }
    // far larger: the rest of it is on its way when the gateway closes, which must not cost the client the code
    let mut socket = JsonSocket::open(gateway.http).await;
    let _ = socket.socket.send(Message::text(padded(8 << 20))).await;
    assert_eq!(socket.next_or_close().await, Err(1009));
    gateway.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_stands_for_nobody_ends_the_conversation_with_4401() {
    let gateway = Gateway::shared();
    let mut socket = JsonSocket::open(gateway.http).await;
    let topic = unique("ws/nobody");
    let reference = socket.ask(json!({"op": "auth", "token": "secret"})).await;
    socket
        .ask(json!({"op": "pub", "topic": topic, "payload": "as anonymous?"}))
        .await;
    let answer = socket.next().await;
    assert_eq!(answer["ref"], reference);
    assert_err(&answer, "not-authenticated");
    assert!(!answer.to_string().contains("secret"));
    assert_eq!(
        socket.next_or_close().await,
        Err(4401),
        "what came after auth is not done"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_closes_is_answered_with_its_code() {
    let gateway = Gateway::shared();
    for code in [1000, 1001, 4000] {
        let mut socket = JsonSocket::open(gateway.http).await;
        socket.subscribe(&[&unique("ws/close")], json!({})).await;
        let close = CloseFrame {
            code: CloseCode::from(code),
            reason: "enough".into(),
        };
        socket
            .socket
            .send(Message::Close(Some(close)))
            .await
            .expect("the gateway reads");
        assert_eq!(socket.closed().await, code);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_says_bye_to_every_client_and_closes_with_1012() {
    let mut gateway = Gateway::start(&["--set", "http.drain=1s"]);
    let mut sockets = vec![];
    for _ in 0..8 {
        let mut socket = JsonSocket::open(gateway.http).await;
        socket.subscribe(&["a/#"], json!({})).await;
        sockets.push(socket);
    }
    gateway.terminate();
    for mut socket in sockets {
        let bye = socket.next().await;
        assert_eq!(
            bye,
            json!({"op": "bye", "reason": "shutting_down", "reconnect": true})
        );
        assert_eq!(socket.next_or_close().await, Err(1012));
    }
    let status = gateway.exited_within(Duration::from_secs(10));
    assert_eq!(status.and_then(|s| s.code()), Some(0), "{}", gateway.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_published_while_the_gateway_stops_is_answered_before_the_goodbye() {
    let gateway = Gateway::start(&["--set", "http.drain=2s"]);
    let mut socket = JsonSocket::open(gateway.http).await;
    gateway.terminate();
    let (mut asked, mut answered) = (0, 0);
    loop {
        let op =
            json!({"op": "pub", "topic": "last", "payload": "words", "retain": true, "ref": asked});
        let sent = socket.socket.send(Message::text(op.to_string())).await;
        asked += u64::from(sent.is_ok());
        match socket.next_or_close().await {
            Ok(frame) if frame["op"] == "ok" => {
                assert_eq!(frame["ref"], answered, "{frame}");
                answered += 1;
            }
            Ok(frame) => {
                assert_eq!(frame["op"], "bye", "{frame}");
                break;
            }
            Err(code) => panic!("{code} without bye"),
        }
    }
    assert_eq!(socket.next_or_close().await, Err(1012));
    assert!(
        answered > 0 && asked <= answered + 1,
        "{asked} asked, {answered} answered"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_never_listens_delays_nobody() {
    let gateway = Gateway::start(&[]);
    let mut deaf = JsonSocket::narrow(gateway.http).await;
    deaf.subscribe(&["flood"], json!({})).await;
    let mut neighbour = JsonSocket::open(gateway.http).await;
    neighbour.subscribe(&["flood"], json!({})).await;
    let mut publisher = Client::tcp(&gateway, &Opening::v311("in")).await;
    let before = gateway.resident();
    for n in 0..512_u32 {
        let mut bytes = vec![b'x'; 64 << 10];
        bytes[..4].copy_from_slice(&n.to_be_bytes());
        publisher
            .publish(&Publish::new("flood", bytes.clone(), 1))
            .await;
        assert!(payload(&neighbour.message().await) == bytes, "message {n}");
    }
    let grown = gateway.resident().saturating_sub(before);
    // the tail of the log, 16 MiB, with what was rendered of it, and what waits in buffers
    assert!(
        grown < 96 << 20,
        "{} MiB more for one deaf client",
        grown >> 20
    );
    publisher.disconnect().await;
    gateway.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_takes_no_answers_is_heard_no_further() {
    let gateway = Gateway::start(&[]);
    let mut deaf = JsonSocket::narrow(gateway.http).await;
    let before = gateway.resident();
    // each question is small and its answer large: what is not heard stays with the client
    let question = json!({"op": "dance", "ref": "x".repeat(60)}).to_string();
    let mut asked = 0;
    while tokio::time::timeout(
        Duration::from_secs(2),
        deaf.socket.feed(Message::text(question.clone())),
    )
    .await
    .is_ok_and(|sent| sent.is_ok())
    {
        asked += 1;
        assert!(asked < 2_000_000, "the gateway listens without end");
    }
    let grown = gateway.resident().saturating_sub(before);
    assert!(
        grown < 16 << 20,
        "{} MiB more for one deaf client",
        grown >> 20
    );
    // whoever begins to listen gets every answer that is owed
    let frame = deaf.next().await;
    assert_err(&frame, "parameter-invalid");
    let mut other = JsonSocket::open(gateway.http).await;
    let pong: Value = other.answered(json!({"op": "ping"})).await;
    assert_eq!(pong["op"], "pong");
    gateway.stop();
}
