//! What the records of the log say, and their bytes. Format 1; a later one reads it, too.
//!
//! Everything that must be atomic with a message is in the message's own record: the publisher's packet identifier, that
//! it is its topic's retained message, and the key and the answer of a request that happens once.

mod change;
mod logged;
mod parts;
mod session;

pub use change::{Change, put_change};
pub use logged::{Logged, Together, put_first, put_message, put_retained};

use crate::mqtt::{
    error::{DecodeError, Malformed},
    primitive::Reader,
};

/// The body of a record does not say anything this version knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the record is whole, but says nothing that this version knows")]
pub struct Unreadable;

impl From<DecodeError> for Unreadable {
    fn from(_: DecodeError) -> Self {
        Unreadable
    }
}

impl From<Malformed> for Unreadable {
    fn from(_: Malformed) -> Self {
        Unreadable
    }
}

/// One record.
#[derive(Debug)]
pub enum Entry {
    /// A message of the log.
    Message(Logged),
    /// A retained message whose record in the log is gone.
    Retained(Logged),
    /// Anything else.
    Change(Change),
}

const MESSAGE: u8 = 1;
const RETAINED: u8 = 2;
const FIRST: u8 = 3;
const BATCH: u8 = 16;
const RUN: u8 = 17;
const RESERVED: u8 = 18;
const STOPPED: u8 = 19;
const TRIMMED: u8 = 20;
const HISTORY: u8 = 21;
const SESSION: u8 = 32;
const ENDED: u8 = 33;
const SUBSCRIBED: u8 = 34;
const UNSUBSCRIBED: u8 = 35;
const RECEIVED: u8 = 36;
const RELEASED: u8 = 37;
const PAIRED: u8 = 38;
const ANSWERED: u8 = 39;
const CURSOR: u8 = 40;
const PRESENCE: u8 = 41;
const COMPLETED: u8 = 42;
const WILL: u8 = 48;
const WILL_DONE: u8 = 49;
const GROUP: u8 = 50;
const GROUP_GONE: u8 = 51;
const ONCE: u8 = 52;
const CAME_IN: u8 = 53;
const GRANTED: u8 = 54;
const GROUP_OPEN: u8 = 55;

/// Reads the body of a record.
pub fn read(body: &[u8]) -> Result<Entry, Unreadable> {
    let mut reader = Reader::new(body);
    let reader = &mut reader;
    let change = match reader.u8()? {
        MESSAGE => return Ok(Entry::Message(logged::read(reader)?)),
        RETAINED => return Ok(Entry::Retained(logged::read(reader)?)),
        FIRST => return Ok(Entry::Message(logged::read_first(reader)?)),
        kind => change::read(kind, reader)?,
    };
    match reader.is_empty() {
        true => Ok(Entry::Change(change)),
        false => Err(Unreadable),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        auth::rules::{Via, Way, rights::Grants},
        message::{Message, Millis},
        mqtt::{Qos, topic::TopicName},
        store::once::Once,
    };
    use std::sync::Arc;

    fn message() -> Message {
        Message::new(
            TopicName::parse("a/b").unwrap(),
            b"payload".into(),
            Qos::ExactlyOnce,
            true,
            None,
            None,
            Millis(5),
        )
    }

    fn once(answer: usize) -> Arc<Once> {
        Arc::new(Once {
            user: Some("ann".into()),
            key: "8e03978e".into(),
            fingerprint: [9; 32],
            at: Millis(7),
            answer: vec![b'x'; answer].into(),
        })
    }

    #[test]
    fn the_first_of_several_messages_says_how_many_they_are_and_under_which_key() {
        for once in [None, Some(once(0)), Some(once(200_000))] {
            let begins = Together { messages: 3, once };
            let mut body = Vec::new();
            put_first(&mut body, 41, &message(), &begins);
            let Ok(Entry::Message(logged)) = read(&body) else {
                panic!("a message");
            };
            assert_eq!((logged.offset, logged.begins), (41, Some(begins)));
            assert_eq!(&*logged.message.payload, b"payload");
            assert!(logged.message.retain && logged.inbound.is_none());
        }
    }

    #[test]
    fn a_message_alone_is_written_as_ever() {
        let mut body = Vec::new();
        put_message(&mut body, 1, &message(), None);
        let text = b"\x01\0\0\0\0\0\0\0\x01\x06\0\0\0\0\0\0\0\x05\0\x03a/bpayload";
        assert_eq!(body, text);
        let Ok(Entry::Message(logged)) = read(&body) else {
            panic!("a message");
        };
        assert_eq!(logged.begins, None);
    }

    #[test]
    fn how_a_client_came_in_is_read_as_it_was_written_or_not_at_all() {
        let grants = Grants {
            publish: vec!["a/#".into()],
            subscribe: vec!["b/+".into(), "c".into()],
            retain: Vec::new(),
        };
        for grants in [None, Some(Arc::new(grants))] {
            let way = Way {
                listener: "https",
                via: Via::WebSocket,
                groups: vec!["plant".into(), "night".into()],
                grants,
            };
            let client = "c".into();
            let mut body = Vec::new();
            let written = Change::CameIn { client, way };
            put_change(&mut body, &written);
            match read(&body) {
                Ok(Entry::Change(change)) => assert_eq!(change, written),
                other => panic!("{other:?}"),
            }
            for cut in 0..body.len() {
                assert!(read(&body[..cut]).is_err(), "cut at {cut}");
            }
        }
    }

    #[test]
    fn a_request_that_happens_once_is_read_as_it_was_written_or_not_at_all() {
        let mut body = Vec::new();
        put_change(&mut body, &Change::Once(once(300)));
        match read(&body) {
            Ok(Entry::Change(change)) => assert_eq!(change, Change::Once(once(300))),
            other => panic!("{other:?}"),
        }
        for cut in 0..body.len() {
            assert!(read(&body[..cut]).is_err(), "cut at {cut}");
        }
    }
}
