use super::*;
use crate::{
    auth::identity::Identity,
    broker::{Broker, outbox::CloseReason},
    http,
    listener::arrival::Peer,
};
use std::sync::Arc;
use tokio::io::{DuplexStream, duplex};

/// A moment that never comes.
const NEVER: Duration = Duration::from_secs(3600);

/// The other end of a conversation at this pace.
fn held(identity: Option<Arc<Identity>>, pace: Pace) -> DuplexStream {
    held_by(identity, pace).0
}

/// As [`held`], with the broker behind it.
fn held_by(identity: Option<Arc<Identity>>, pace: Pace) -> (DuplexStream, Broker) {
    let stop = CancellationToken::new();
    let state = Arc::new(http::tests::state(&stop));
    let broker = state.broker.clone();
    let conversation = Conversation::new(
        state,
        Peer::Local,
        "ws-1".to_owned(),
        identity.map(|one| (one, None)),
    );
    let (ours, theirs) = duplex(64 * 1024);
    tokio::spawn(serve(ours, conversation, pace, 1 << 20, stop, NEVER));
    (theirs, broker)
}

async fn client(stream: DuplexStream) -> WebSocketStream<DuplexStream> {
    WebSocketStream::from_raw_socket(stream, Role::Client, None).await
}

/// The code the gateway closes with, and what it says before.
async fn end(client: &mut WebSocketStream<DuplexStream>) -> (u16, Vec<String>) {
    let mut said = Vec::new();
    loop {
        match client.next().await {
            Some(Ok(Message::Text(text))) => said.push(text.to_string()),
            Some(Ok(Message::Close(Some(close)))) => return (close.code.into(), said),
            Some(Ok(_)) => {}
            other => panic!("{other:?} after {said:?}"),
        }
    }
}

#[tokio::test]
async fn a_client_that_answers_no_ping_is_closed_with_4408() {
    let pace = Pace {
        ping: Duration::from_millis(1),
        patience: Duration::from_millis(1),
        auth: NEVER,
    };
    let mut deaf = held(Some(Identity::anonymous()), pace);
    // read as bytes: no pong is sent
    let mut heard = Vec::new();
    deaf.read_to_end(&mut heard).await.unwrap();
    let close = [b"\x88\x09".as_slice(), &4408_u16.to_be_bytes(), b"no pong"].concat();
    let before = heard.strip_suffix(&*close).unwrap();
    assert!(before.ends_with(b"\x89\x00"), "one ping: {before:?}");
    assert!(
        !before[..before.len() - 2].ends_with(b"\x89\x00"),
        "and no other"
    );
}

#[tokio::test]
async fn a_large_frame_that_takes_its_time_is_a_sign_of_life() {
    let pace = Pace {
        ping: Duration::from_millis(1),
        patience: Duration::from_secs(2),
        auth: NEVER,
    };
    let mut slow = held(Some(Identity::anonymous()), pace);
    // a masked frame, a few bytes at a time; what it says is of no use, but is answered
    let text = vec![b' '; 200];
    let mut frame = vec![0x81, 0xfe, 0, 200, 0, 0, 0, 0];
    frame.extend(&text);
    // what takes its time is the thing itself: longer than a client may be silent
    for part in frame.chunks(26) {
        slow.write_all(part).await.unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let mut heard = Vec::new();
    slow.read_to_end(&mut heard).await.unwrap();
    let told = heard.windows(10).any(|part| part == b"\"op\":\"err\"");
    assert!(told, "{}", String::from_utf8_lossy(&heard));
}

#[tokio::test]
async fn a_client_that_answers_pings_stays() {
    let pace = Pace {
        ping: Duration::from_millis(1),
        patience: NEVER,
        auth: NEVER,
    };
    let mut client = client(held(Some(Identity::anonymous()), pace)).await;
    let mut pings = 0;
    while pings < 5 {
        match client.next().await {
            Some(Ok(Message::Ping(_))) => pings += 1,
            Some(Ok(Message::Text(_))) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn nothing_is_done_for_a_client_before_it_is_known() {
    let pace = Pace::default();
    let mut client = client(held(None, pace)).await;
    let question = Message::text(r#"{"op":"sub","ref":1,"topics":["a"]}"#);
    client.send(question).await.unwrap();
    let (code, said) = end(&mut client).await;
    assert_eq!((code, said.len()), (4401, 1), "{said:?}");
    assert!(said[0].starts_with(r#"{"op":"err","ref":1,"#), "{said:?}");
    assert!(said[0].contains("/problems/not-authenticated"), "{said:?}");
}

#[tokio::test]
async fn a_client_that_does_not_say_who_it_is_is_closed_with_4401() {
    let pace = Pace {
        auth: Duration::from_millis(1),
        ..Pace::default()
    };
    let mut client = client(held(None, pace)).await;
    assert_eq!(end(&mut client).await, (4401, vec![]));
}

#[tokio::test]
async fn a_conversation_that_the_broker_ends_hears_why_and_whether_to_come_back() {
    for (reason, code, word, reconnect) in [
        (CloseReason::Kicked, 1008, "kicked", false),
        (CloseReason::TakenOver, 1008, "kicked", false),
        (CloseReason::TooSlow, 1013, "too_slow", true),
    ] {
        let (stream, broker) = held_by(Some(Identity::anonymous()), Pace::default());
        let mut client = client(stream).await;
        let question = Message::text(r#"{"op":"sub","ref":1,"topics":["a"]}"#);
        client.send(question).await.unwrap();
        let answered = async {
            loop {
                match client.next().await {
                    Some(Ok(Message::Text(text))) if text.contains(r#""op":"ok""#) => return,
                    Some(Ok(_)) => {}
                    other => panic!("{other:?}"),
                }
            }
        };
        answered.await;
        broker.close_streams(reason);
        let (closed, said) = end(&mut client).await;
        assert_eq!(closed, code);
        let [bye] = &said[..] else {
            panic!("one frame before the end: {said:?}")
        };
        let bye: serde_json::Value = serde_json::from_str(bye).unwrap();
        let expected = serde_json::json!({"op": "bye", "reason": word, "reconnect": reconnect});
        assert_eq!(bye, expected);
    }
}

#[test]
fn a_large_message_is_cut_into_pieces_that_make_it_up() {
    let parts = [vec![b'h'; 10], vec![b'x'; 2 * PIECE + 1], vec![b't'; 3]].map(Bytes::from);
    let whole = parts.concat();
    let frames = pieces(parts);
    let kinds: Vec<_> = frames
        .iter()
        .map(|frame| (frame.header().opcode, frame.header().is_final))
        .collect();
    let (first, more) = (OpCode::Data(Data::Text), OpCode::Data(Data::Continue));
    assert_eq!(
        kinds,
        [
            (first, false),
            (more, false),
            (more, false),
            (more, false),
            (more, true)
        ]
    );
    let joined: Vec<u8> = frames
        .iter()
        .flat_map(|frame| frame.payload().to_vec())
        .collect();
    assert!(joined == whole);
    assert!(frames.iter().all(|frame| frame.payload().len() <= PIECE));
}
