//! A message to be published, as JSON: the envelope that readers get, less what only the gateway can say.

use crate::{
    broker::Draft,
    http::{
        draft::Parts,
        envelope::Properties,
        extract::TopicRules,
        problem::{Kind, Problem},
    },
};
use serde::{Deserialize, Deserializer, de::IgnoredAny};
use serde_json::value::RawValue;
use utoipa::ToSchema;

/// A message to be published. What an envelope has beside this (`size`, `cursor`, `time` and others) is passed over.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewMessage {
    /// Where to: a topic name, without wildcards.
    #[schema(example = "home/kitchen/temp")]
    topic: String,
    /// The payload, written as `encoding` says; nothing is an empty one.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<serde_json::Value>, example = "21.5")]
    payload: Option<Box<RawValue>>,
    /// `utf8` (the default) and `base64`: a string. `json`: any JSON, whose text as it stands here is the payload.
    /// `none`: there is no payload.
    #[schema(example = "utf8")]
    encoding: Option<String>,
    /// Quality of service; 1 if not said.
    #[schema(minimum = 0, maximum = 2)]
    qos: Option<u64>,
    /// Also keep it as the topic's retained message; with an empty payload, clear that.
    #[serde(default)]
    retain: bool,
    /// What travels with it.
    #[serde(default)]
    properties: NewProperties,
    #[schema(ignore)]
    size: Option<u64>,
    #[serde(rename = "snapshot")]
    #[schema(ignore)]
    _snapshot: Option<IgnoredAny>,
    #[serde(rename = "cursor")]
    #[schema(ignore)]
    _cursor: Option<IgnoredAny>,
    #[serde(rename = "time")]
    #[schema(ignore)]
    _time: Option<IgnoredAny>,
    #[serde(rename = "matched")]
    #[schema(ignore)]
    _matched: Option<IgnoredAny>,
    /// As the header `Idempotency-Key`; only where the request is this one message, as JSON.
    #[schema(min_length = 1, max_length = 128)]
    idempotency_key: Option<String>,
}

/// MQTT 5.0 properties of a message to be published.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewProperties {
    /// Any text, usually a media type.
    content_type: Option<String>,
    /// `utf8`, which is checked, or `bytes`.
    payload_format: Option<String>,
    /// Seconds after which it is not delivered any more.
    #[schema(minimum = 1)]
    expiry: Option<u32>,
    /// Where to answer.
    response_topic: Option<String>,
    /// What to answer with, in base64.
    correlation_data: Option<String>,
    /// Pairs of name and value: order and duplicates count.
    #[serde(default)]
    user: Vec<(String, String)>,
}

/// Whatever is there, also `null`.
fn given<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(from).map(Some)
}

/// Reads one message of several out of its JSON text.
pub fn read(text: &str, rules: &TopicRules) -> Result<Draft, Problem> {
    let message = parse(text)?;
    if message.idempotency_key.is_some() {
        return Err(Problem::parameter(
            "idempotency_key",
            "the key is the whole request's: send it as Idempotency-Key",
        ));
    }
    message.draft(rules)
}

/// Reads the one message of a request out of its JSON text, and the key that it carries.
pub fn read_alone(text: &str, rules: &TopicRules) -> (Result<Draft, Problem>, Option<String>) {
    match parse(text) {
        Err(problem) => (Err(problem), None),
        Ok(mut message) => {
            let key = message.idempotency_key.take();
            (message.draft(rules), key)
        }
    }
}

fn parse(text: &str) -> Result<NewMessage, Problem> {
    serde_json::from_str(text).map_err(|error| Problem::new(Kind::BodyInvalid, error.to_string()))
}

impl NewMessage {
    fn draft(self, rules: &TopicRules) -> Result<Draft, Problem> {
        let message = self;
        let written = message.properties;
        let parts = Parts {
            topic: &message.topic,
            payload: message.payload.as_deref(),
            encoding: message.encoding.as_deref(),
            size: message.size,
            qos: message.qos,
            retain: message.retain,
            properties: Properties {
                content_type: written.content_type,
                payload_format: written.payload_format,
                expiry: written.expiry,
                response_topic: written.response_topic,
                correlation_data: written.correlation_data,
                user: written.user,
            },
        };
        parts.draft(rules)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::{Qos, property::MessageProperties};

    const RULES: TopicRules = TopicRules {
        levels: 8,
        bytes: 100,
        filters: 64,
        user_properties: 2,
        maximum_qos: Qos::ExactlyOnce,
        allow_controls: false,
    };

    fn payload(members: &str) -> Result<Vec<u8>, Kind> {
        match read(&format!(r#"{{"topic":"a",{members}}}"#), &RULES) {
            Ok(draft) => Ok(draft.payload.to_vec()),
            Err(problem) => Err(problem.kind()),
        }
    }

    #[test]
    fn payloads_are_written_in_four_ways() {
        for (members, bytes) in [
            (r#""payload":"21.5""#, &b"21.5"[..]),
            (
                r#""payload":"k\u00e4se\n","encoding":"utf8""#,
                "käse\n".as_bytes(),
            ),
            (r#""payload":"/wA=","encoding":"base64""#, &[0xFF, 0]),
            (r#""payload":"/wA","encoding":"base64""#, &[0xFF, 0]),
            (
                r#""payload":{"b":1.50, "a":1e2},"encoding":"json""#,
                br#"{"b":1.50, "a":1e2}"#,
            ),
            (r#""payload":"x","encoding":"json""#, br#""x""#),
            (r#""payload":null,"encoding":"json""#, b"null"),
            (r#""encoding":"none""#, b""),
            (r#""encoding":"none","size":0"#, b""),
            (r#""qos":0"#, b""),
        ] {
            assert_eq!(payload(members).as_deref(), Ok(bytes), "{members}");
        }
    }

    #[test]
    fn a_message_that_is_none_is_refused() {
        for members in [
            r#""payload":21.5"#,
            r#""payload":null"#,
            r#""payload":{},"encoding":"utf8""#,
            r#""payload":"_","encoding":"base64""#,
            r#""payload":"x","encoding":"none""#,
            r#""encoding":"none","size":4"#,
            r#""payload":"x","encoding":"hex""#,
            r#""qos":3"#,
            r#""properties":{"expiry":0}"#,
            r#""properties":{"payload_format":"text"}"#,
            r#""properties":{"response_topic":"a/#"}"#,
            r#""properties":{"correlation_data":"_"}"#,
            r#""properties":{"user":[["a","\u0000"]]}"#,
            r#""properties":{"user":[["a","1"],["b","2"],["c","3"]]}"#,
            r#""idempotency_key":"x""#,
        ] {
            assert_eq!(payload(members), Err(Kind::ParameterInvalid), "{members}");
        }
        for members in [
            r#""retian":true"#,
            r#""retain":1"#,
            r#""qos":"1""#,
            r#""properties":{"type":"x"}"#,
            r#""properties":{"user":[["a"]]}"#,
            r#""properties":{"user":{"a":"b"}}"#,
        ] {
            assert_eq!(payload(members), Err(Kind::BodyInvalid), "{members}");
        }
        for text in ["{}", "[]", "1", r#""a""#, "null"] {
            assert_eq!(
                read(text, &RULES).unwrap_err().kind(),
                Kind::BodyInvalid,
                "{text}"
            );
        }
        for topic in ["", "a/#", "+", "a\\u0000b", "a\\nb", "1/2/3/4/5/6/7/8/9"] {
            let text = format!(r#"{{"topic":"{topic}"}}"#);
            assert_eq!(
                read(&text, &RULES).unwrap_err().kind(),
                Kind::TopicInvalid,
                "{topic}"
            );
        }
    }

    #[test]
    fn everything_that_travels_reaches_the_message_and_what_readers_see_is_passed_over() {
        let text = r#"{"topic":"home//temp","payload":"21.5","encoding":"utf8","size":4,"qos":2,"retain":true,
            "snapshot":false,"cursor":"k7q2m9xa-10482","time":"2026-11-22T16:05:00.123Z","matched":[0],
            "properties":{"content_type":"text/plain","payload_format":"utf8","expiry":57,"response_topic":"r/1",
            "correlation_data":"AAE=","user":[["room","kitchen"],["room","2"]]}}"#;
        let draft = read(text, &RULES).unwrap();
        assert_eq!(
            (&*draft.topic, draft.qos, draft.retain),
            ("home//temp", Qos::ExactlyOnce, true)
        );
        let properties = *draft.properties.unwrap();
        assert_eq!(
            properties,
            MessageProperties {
                payload_is_utf8: Some(true),
                message_expiry: Some(57),
                content_type: Some("text/plain".into()),
                response_topic: Some("r/1".into()),
                correlation_data: Some(vec![0, 1].into()),
                user: vec![
                    ("room".into(), "kitchen".into()),
                    ("room".into(), "2".into())
                ],
            }
        );
    }
}
