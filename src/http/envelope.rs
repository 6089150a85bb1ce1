//! The JSON form of a message, the same wherever the web sees one.
//!
//! Never a raw newline: JSON strings escape them, and nothing here is indented, so that one message is one line of SSE
//! and of NDJSON.

use crate::{
    broker::resume::Gap,
    message::{Message, Millis, Position},
    mqtt::property::MessageProperties,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::{BufMut, Bytes};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{collections::BTreeMap, io::Write};
use time::{OffsetDateTime, macros::format_description};
use utoipa::ToSchema;

/// How a payload is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PayloadForm {
    /// As text if it is UTF-8, else base64.
    #[default]
    Auto,
    /// Always base64: stable for binary topics, whose bytes may be UTF-8 by chance.
    Base64,
    /// Not at all.
    None,
}

/// What `payload=` may say.
pub const PAYLOAD_FORMS: &[(&str, PayloadForm)] = &[
    ("auto", PayloadForm::Auto),
    ("base64", PayloadForm::Base64),
    ("none", PayloadForm::None),
];

/// What one receiver's copy adds to the shared members.
#[derive(Debug, Clone, Copy)]
pub struct Copy<'a> {
    /// Replayed from the retained store.
    pub snapshot: bool,
    /// Where the message stands in the log.
    pub position: Option<Position>,
    /// Which of the receiver's filters match, numbered from 1; `None` if it has but one.
    pub matched: Option<&'a [u32]>,
    /// The clock, for the rest of an expiry.
    pub now: Millis,
}

/// Appends the members of `message` that are the same for every receiver, without braces.
pub fn write_shared(out: &mut Vec<u8>, message: &Message, form: PayloadForm) {
    out.put_slice(b"\"topic\":");
    write_json(out, &*message.topic);
    match (form, std::str::from_utf8(&message.payload)) {
        (PayloadForm::None, _) => out.put_slice(br#","encoding":"none""#),
        (PayloadForm::Auto, Ok(text)) => {
            out.put_slice(b",\"payload\":");
            write_json(out, text);
            out.put_slice(br#","encoding":"utf8""#);
        }
        _ => {
            out.put_slice(b",\"payload\":\"");
            out.put_slice(STANDARD.encode(&*message.payload).as_bytes());
            out.put_slice(br#"","encoding":"base64""#);
        }
    }
    let (size, qos, retain) = (message.payload.len(), message.qos as u8, message.retain);
    // writing to memory cannot fail
    let _ = write!(
        out,
        r#","size":{size},"qos":{qos},"retain":{retain},"time":"{}""#,
        rfc3339(message.time)
    );
    if message.expires.is_none() {
        write_properties(out, message, None);
    }
}

/// Room for the shared members, and a little more.
pub fn room(message: &Message) -> usize {
    message.payload.len() + message.topic.len() + 320
}

/// Appends what is left of an expiry, among the properties: it differs from moment to moment. A comma is in front.
pub fn write_expiry(out: &mut Vec<u8>, message: &Message, now: Millis) {
    if message.expires.is_some() {
        write_properties(out, message, message.expiry_left(now));
    }
}

/// Appends how a copy came and where it stands, each with its comma in front.
pub fn write_place(out: &mut Vec<u8>, snapshot: bool, position: Option<Position>) {
    let _ = write!(out, r#","snapshot":{snapshot}"#);
    let _ = match position {
        Some(position) => write!(out, r#","cursor":"{position}""#),
        None => write!(out, r#","cursor":null"#),
    };
}

/// Appends which filters of a receiver match, numbered from 1, with a comma in front; nothing if it has but one.
pub fn write_matched(out: &mut Vec<u8>, matched: Option<&[u32]>) {
    let Some(filters) = matched else { return };
    out.put_slice(br#","matched":["#);
    for (at, filter) in filters.iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        let _ = write!(out, "{comma}{}", filter.saturating_sub(1));
    }
    out.put_u8(b']');
}

/// What a reader is told of messages that may be missing.
pub fn gap(gap: Gap) -> Value {
    let text = |at: Option<Position>| at.map(|at| Value::from(at.to_string()));
    let members = [
        ("reason", Some(gap.reason.as_str().into())),
        ("from", text(gap.from)),
        ("to", text(gap.to)),
        ("lost_at_most", gap.lost_at_most.map(Value::from)),
    ];
    let known = members.into_iter();
    known
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect()
}

/// One message on its own, as a JSON object.
pub fn object(message: &Message, form: PayloadForm, copy: Copy<'_>) -> Bytes {
    // not kept: a message that is asked for once is not held twice from then on
    let mut out = Vec::with_capacity(room(message));
    out.put_u8(b'{');
    write_shared(&mut out, message, form);
    write_expiry(&mut out, message, copy.now);
    write_place(&mut out, copy.snapshot, copy.position);
    write_matched(&mut out, copy.matched);
    out.put_u8(b'}');
    out.into()
}

fn write_json<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    // strings, numbers and maps of strings always have a JSON form, and memory takes it
    let _ = serde_json::to_writer(out, value);
}

fn write_properties(out: &mut Vec<u8>, message: &Message, expiry: Option<u32>) {
    let properties = match &message.properties {
        Some(properties) => Properties::of(properties, expiry),
        None => Properties::default(),
    };
    out.put_slice(b",\"properties\":");
    write_json(out, &properties);
}

/// RFC 3339 in UTC with milliseconds.
pub fn rfc3339(moment: Millis) -> String {
    let format =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    let nanos = i128::from(moment.0) * 1_000_000;
    let moment =
        OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    moment.format(&format).unwrap_or_default()
}

/// MQTT 5.0 properties of a message. What it does not have is left out.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Properties {
    /// Any text, usually a media type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// `utf8` or `bytes`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload_format: Option<String>,
    /// Seconds left until nobody gets it any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expiry: Option<u32>,
    /// Where to answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_topic: Option<String>,
    /// What to answer with, in base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation_data: Option<String>,
    /// Pairs of name and value: order and duplicates count.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub user: Vec<(String, String)>,
}

impl Properties {
    /// What a message has, with so much of its expiry.
    pub fn of(properties: &MessageProperties, expiry: Option<u32>) -> Self {
        let owned = |text: &Option<Box<str>>| text.as_deref().map(str::to_owned);
        Properties {
            content_type: owned(&properties.content_type),
            payload_format: properties
                .payload_is_utf8
                .map(|utf8| if utf8 { "utf8" } else { "bytes" }.to_owned()),
            expiry,
            response_topic: owned(&properties.response_topic),
            correlation_data: properties
                .correlation_data
                .as_ref()
                .map(|data| STANDARD.encode(data)),
            user: properties
                .user
                .iter()
                .map(|(name, value)| (name.to_string(), value.to_string()))
                .collect(),
        }
    }
}

/// One message. Clients ignore members they do not know.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Envelope {
    /// Where it was published to.
    #[schema(example = "home/kitchen/temp")]
    pub topic: String,
    /// The payload; absent with `payload=none`.
    #[schema(example = "21.5")]
    pub payload: Option<String>,
    /// How `payload` is written: `utf8`, `base64` or `none`.
    #[schema(example = "utf8")]
    pub encoding: String,
    /// The payload's bytes.
    pub size: usize,
    /// As published.
    pub qos: u8,
    /// As published.
    pub retain: bool,
    /// Whether it was replayed from the retained store.
    pub snapshot: bool,
    /// Its place in the log; `null` if it was not recorded.
    pub cursor: Option<String>,
    /// When the gateway took it.
    #[schema(format = "date-time")]
    pub time: String,
    /// Which filters of the request match, counted from 0; absent if there is but one.
    pub matched: Option<Vec<u32>>,
    /// What travels with the payload.
    pub properties: Properties,
    /// Members of later versions.
    #[serde(flatten)]
    #[schema(ignore)]
    pub unknown: BTreeMap<String, serde_json::Value>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        message::Epoch,
        mqtt::{Qos, topic::TopicName},
    };
    fn message(topic: &str, payload: &[u8], properties: Option<MessageProperties>) -> Message {
        Message::new(
            TopicName::parse(topic).unwrap(),
            payload.to_vec().into(),
            Qos::AtLeastOnce,
            true,
            properties.map(Box::new),
            None,
            Millis(1_795_363_500_123),
        )
    }

    fn copy() -> Copy<'static> {
        Copy {
            snapshot: false,
            position: None,
            matched: None,
            now: Millis(1_795_363_500_123),
        }
    }

    fn read(json: &[u8]) -> Envelope {
        assert!(
            !json.contains(&b'\n') && !json.contains(&b'\r'),
            "a raw newline breaks the framing"
        );
        let envelope: Envelope = serde_json::from_slice(json).unwrap();
        assert!(
            envelope.unknown.is_empty(),
            "undocumented: {:?}",
            envelope.unknown
        );
        envelope
    }

    #[test]
    fn the_documented_example() {
        let message = message("home/kitchen/temp", b"21.5", None);
        let position = Position {
            epoch: Epoch(*b"k7q2m9xa"),
            offset: 10482,
        };
        let copy = Copy {
            position: Some(position),
            matched: Some(&[1, 3]),
            ..copy()
        };
        assert_eq!(
            object(&message, PayloadForm::Auto, copy),
            concat!(
                r#"{"topic":"home/kitchen/temp","payload":"21.5","encoding":"utf8","size":4,"qos":1,"retain":true,"#,
                r#""time":"2026-11-22T16:05:00.123Z","properties":{},"#,
                r#""snapshot":false,"cursor":"k7q2m9xa-10482","matched":[0,2]}"#
            )
        );
    }

    #[test]
    fn payloads_survive_byte_for_byte() {
        let all: Vec<u8> = (0..=255).collect();
        for payload in [
            &b""[..],
            b"a\r\nb\0\"\\",
            "käse\u{2028}".as_bytes(),
            &all,
            b"\xff",
            b"\xed\xa0\x80",
        ] {
            for form in [PayloadForm::Auto, PayloadForm::Base64] {
                let envelope = read(&object(&message("a", payload, None), form, copy()));
                let text = envelope.payload.unwrap();
                let bytes = match envelope.encoding.as_str() {
                    "utf8" => text.into_bytes(),
                    "base64" => STANDARD.decode(text).unwrap(),
                    other => panic!("{other}"),
                };
                assert_eq!(bytes, payload);
                assert_eq!(envelope.size, payload.len());
            }
        }
        let without = read(&object(
            &message("a", b"x", None),
            PayloadForm::None,
            copy(),
        ));
        assert_eq!(
            (without.payload, without.encoding.as_str(), without.size),
            (None, "none", 1)
        );
    }

    #[test]
    fn topics_cannot_break_the_framing() {
        let envelope = read(&object(
            &message("a\n\ndata: {\"}\r/\u{7f}", b"", None),
            PayloadForm::Auto,
            copy(),
        ));
        assert_eq!(envelope.topic, "a\n\ndata: {\"}\r/\u{7f}");
    }

    #[test]
    fn properties_keep_order_and_duplicates_and_the_expiry_counts_down() {
        let properties = MessageProperties {
            payload_is_utf8: Some(true),
            message_expiry: Some(60),
            content_type: Some("text/plain".into()),
            response_topic: Some("r/1".into()),
            correlation_data: Some(Bytes::from_static(&[0, 1])),
            user: vec![
                ("room".into(), "kitchen".into()),
                ("room".into(), "2".into()),
            ],
        };
        let message = message("a", b"x", Some(properties));
        let later = Copy {
            now: Millis(message.time.0 + 3_000),
            ..copy()
        };
        let envelope = read(&object(&message, PayloadForm::Auto, later));
        assert_eq!(
            serde_json::to_value(&envelope.properties).unwrap(),
            serde_json::json!({
                "content_type": "text/plain", "payload_format": "utf8", "expiry": 57, "response_topic": "r/1",
                "correlation_data": "AAE=", "user": [["room", "kitchen"], ["room", "2"]],
            })
        );
    }
}
