//! A message on its way in, written in JSON: the envelope that comes out, as far as a publisher has a say in it.
//!
//! What comes out may be sent back in as it is: members that say what the gateway did with a message are passed over.

use crate::{
    broker::Draft,
    http::{
        envelope::Properties,
        extract::{self, TopicRules},
        problem::{Kind, Problem},
    },
    mqtt::{Qos, payload::Payload, property::MessageProperties},
};
use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// With or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A message as its publisher wrote it.
#[derive(Debug, Deserialize)]
pub struct Written<'a> {
    #[serde(borrow)]
    topic: Cow<'a, str>,
    /// Absent: no bytes.
    #[serde(borrow, default, deserialize_with = "whatever")]
    payload: Option<&'a RawValue>,
    encoding: Option<String>,
    size: Option<u64>,
    qos: Option<u64>,
    retain: Option<bool>,
    properties: Option<Properties>,
    #[serde(borrow)]
    idempotency_key: Option<&'a RawValue>,
}

/// Any value, and `null` as one of them.
fn whatever<'de, D: Deserializer<'de>>(from: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(from).map(Some)
}

/// What makes a message, as it was written.
pub struct Parts<'a> {
    /// Where to.
    pub topic: &'a str,
    /// Any value, as `encoding` says.
    pub payload: Option<&'a RawValue>,
    /// `utf8` if not said.
    pub encoding: Option<&'a str>,
    /// Bytes of the payload, if it was written by a gateway.
    pub size: Option<u64>,
    /// 1 if not said.
    pub qos: Option<u64>,
    /// Whether it becomes the topic's retained message.
    pub retain: bool,
    /// What travels with it.
    pub properties: Properties,
}

impl Written<'_> {
    /// What it asks to publish, if it can be.
    pub fn draft(self, rules: &TopicRules) -> Result<Draft, Problem> {
        if self.idempotency_key.is_some() {
            return Err(Problem::parameter(
                "idempotency_key",
                "here a message has none: send it over HTTP, with Idempotency-Key",
            ));
        }
        let parts = Parts {
            topic: &self.topic,
            payload: self.payload,
            encoding: self.encoding.as_deref(),
            size: self.size,
            qos: self.qos,
            retain: self.retain.unwrap_or(false),
            properties: self.properties.unwrap_or_default(),
        };
        parts.draft(rules)
    }
}

impl Parts<'_> {
    /// What is asked to be published, if it can be.
    pub fn draft(self, rules: &TopicRules) -> Result<Draft, Problem> {
        let topic = extract::name(self.topic, rules)
            .map_err(|detail| Problem::new(Kind::TopicInvalid, detail))?;
        let payload = self.payload()?;
        let qos = match self.qos {
            None => Qos::AtLeastOnce.min(rules.maximum_qos),
            Some(qos) => u8::try_from(qos)
                .ok()
                .and_then(Qos::from_wire)
                .ok_or_else(|| Problem::parameter("qos", "one of 0, 1, 2"))?,
        };
        let properties = properties_of(self.properties, rules)?;
        Ok(Draft {
            topic,
            payload,
            qos,
            retain: self.retain,
            properties: (properties != MessageProperties::default()).then(|| Box::new(properties)),
        })
    }

    fn payload(&self) -> Result<Payload, Problem> {
        let Some(written) = self.payload else {
            return match (self.size, self.encoding) {
                (_, Some("json")) => {
                    Err(Problem::parameter("payload", "encoding json needs a value"))
                }
                (None | Some(0), _) => Ok(Payload::EMPTY),
                // an envelope that was read without its payload must not become an empty message
                (Some(_), _) => {
                    let detail = "it was left out, but its size is not 0";
                    Err(Problem::parameter("payload", detail))
                }
            };
        };
        let text = || -> Result<String, Problem> {
            let text = serde_json::from_str(written.get());
            let detail = "a string of Unicode, unless encoding is json";
            text.map_err(|_| Problem::parameter("payload", detail))
        };
        match self.encoding.unwrap_or("utf8") {
            "utf8" => Ok(text()?.into_bytes().into()),
            "base64" => match BASE64.decode(text()?) {
                Ok(bytes) => Ok(bytes.into()),
                Err(_) => Err(Problem::parameter("payload", "it is not base64")),
            },
            // byte for byte as it was written: numbers keep their spelling
            "json" => Ok(written.get().into()),
            "none" => {
                let detail = "there is one, although encoding is none";
                Err(Problem::parameter("payload", detail))
            }
            _ => {
                let detail = "one of utf8, base64, json, none";
                Err(Problem::parameter("encoding", detail))
            }
        }
    }
}

fn properties_of(written: Properties, rules: &TopicRules) -> Result<MessageProperties, Problem> {
    if written.user.len() > rules.user_properties {
        let (count, most) = (written.user.len(), rules.user_properties);
        return Err(Problem::parameter(
            "user",
            format!("{count} user properties, at most {most} are allowed"),
        ));
    }
    if let Some(topic) = &written.response_topic {
        // [MQTT-3.3.2-14]
        extract::name(topic, rules)
            .map_err(|detail| Problem::parameter("response_topic", detail))?;
    }
    let payload_is_utf8 = match written.payload_format.as_deref() {
        None => None,
        Some("utf8") => Some(true),
        Some("bytes") => Some(false),
        Some(_) => return Err(Problem::parameter("payload_format", "one of utf8, bytes")),
    };
    if written.expiry == Some(0) {
        return Err(Problem::parameter("expiry", "a whole number, at least 1"));
    }
    let correlation_data = match &written.correlation_data {
        None => None,
        Some(text) => match BASE64.decode(text) {
            Ok(data) if data.len() <= usize::from(u16::MAX) => Some(data.into()),
            Ok(_) => return Err(too_long("correlation_data")),
            Err(_) => return Err(Problem::parameter("correlation_data", "it is not base64")),
        },
    };
    let content_type = written
        .content_type
        .map(|text| string("content_type", text));
    let user = written
        .user
        .into_iter()
        .map(|(name, value)| Ok((string("user", name)?, string("user", value)?)));
    Ok(MessageProperties {
        payload_is_utf8,
        message_expiry: written.expiry,
        content_type: content_type.transpose()?,
        response_topic: written.response_topic.map(Into::into),
        correlation_data,
        user: user.collect::<Result<_, Problem>>()?,
    })
}

/// Text that MQTT can carry [MQTT-1.5.4-2].
fn string(member: &str, text: String) -> Result<Box<str>, Problem> {
    if text.contains('\0') {
        return Err(Problem::parameter(member, "it contains U+0000"));
    }
    if text.len() > usize::from(u16::MAX) {
        return Err(too_long(member));
    }
    Ok(text.into())
}

fn too_long(member: &str) -> Problem {
    Problem::parameter(member, "it is longer than 65535 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: TopicRules = TopicRules {
        levels: 128,
        bytes: 1000,
        filters: 64,
        user_properties: 3,
        maximum_qos: Qos::ExactlyOnce,
        allow_controls: false,
    };

    fn draft(json: &str) -> Result<Draft, String> {
        let written: Written = serde_json::from_str(json).map_err(|error| error.to_string())?;
        written
            .draft(&RULES)
            .map_err(|problem| problem.kind().slug().to_owned())
    }

    #[test]
    fn a_topic_and_a_text_are_enough() {
        let draft = draft(r#"{"topic":"a/b","payload":"21.5 °C\n"}"#).unwrap();
        assert_eq!(&*draft.topic, "a/b");
        assert_eq!(&*draft.payload, "21.5 °C\n".as_bytes());
        assert_eq!((draft.qos, draft.retain), (Qos::AtLeastOnce, false));
        assert_eq!(draft.properties, None);
    }

    #[test]
    fn payloads_are_text_base64_or_any_json_as_it_was_written() {
        let payload = |rest: &str| {
            draft(&format!(r#"{{"topic":"a",{rest}}}"#)).map(|draft| draft.payload.to_vec())
        };
        for (written, bytes) in [
            (r#""qos":1"#, &b""[..]),
            (r#""encoding":"none""#, b""),
            (r#""payload":"\u0000\ud83d\ude00""#, "\0😀".as_bytes()),
            (r#""payload":"/wA=","encoding":"base64""#, b"\xff\0"),
            (r#""payload":"/wA","encoding":"base64""#, b"\xff\0"),
            (r#""payload":[1.50,  {}],"encoding":"json""#, b"[1.50,  {}]"),
            (r#""payload":null,"encoding":"json""#, b"null"),
            (r#""payload":"x","encoding":"json""#, br#""x""#),
        ] {
            assert_eq!(payload(written).unwrap(), bytes, "{written}");
        }
        for written in [
            r#""payload":1"#,
            r#""payload":{"a":1}"#,
            r#""payload":"\ud800""#,
            r#""payload":"*","encoding":"base64""#,
            r#""encoding":"json""#,
            r#""payload":null"#,
            r#""encoding":"none","size":3"#,
            r#""payload":"x","encoding":"none""#,
            r#""payload":"x","encoding":"xml""#,
        ] {
            assert_eq!(
                payload(written).unwrap_err(),
                "parameter-invalid",
                "{written}"
            );
        }
    }

    #[test]
    fn every_property_arrives() {
        let draft = draft(
            r#"{"topic":"a","qos":2,"retain":true,"properties":{"content_type":"text/plain","payload_format":"utf8",
                "expiry":60,"response_topic":"r/1","correlation_data":"AAE=","user":[["a","1"],["a",""]],"new":1}}"#,
        )
        .unwrap();
        assert_eq!((draft.qos, draft.retain), (Qos::ExactlyOnce, true));
        let properties = MessageProperties {
            payload_is_utf8: Some(true),
            message_expiry: Some(60),
            content_type: Some("text/plain".into()),
            response_topic: Some("r/1".into()),
            correlation_data: Some(vec![0, 1].into()),
            user: vec![("a".into(), "1".into()), ("a".into(), "".into())],
        };
        assert_eq!(draft.properties.as_deref(), Some(&properties));
    }

    #[test]
    fn what_comes_out_may_be_sent_back_in() {
        let json = r#"{"op":"msg","sub":1,"topic":"a","payload":"x","encoding":"utf8","size":1,"qos":1,"retain":true,
            "time":"2026-11-22T16:05:00.123Z","properties":{},"snapshot":true,"cursor":"k7q2m9xa-1","matched":[0]}"#;
        assert_eq!(&*draft(json).unwrap().payload, b"x");
    }

    #[test]
    fn a_bad_member_is_refused() {
        for (member, slug) in [
            (r#""topic":"a/#""#, "topic-invalid"),
            (r#""topic":"a\u0007""#, "topic-invalid"),
            (r#""topic":"a","qos":3"#, "parameter-invalid"),
            (r#""topic":"a","idempotency_key":"k""#, "parameter-invalid"),
            (
                r#""topic":"a","properties":{"expiry":0}"#,
                "parameter-invalid",
            ),
            (
                r#""topic":"a","properties":{"payload_format":"text"}"#,
                "parameter-invalid",
            ),
            (
                r#""topic":"a","properties":{"response_topic":"a/+"}"#,
                "parameter-invalid",
            ),
            (
                r#""topic":"a","properties":{"correlation_data":"*"}"#,
                "parameter-invalid",
            ),
            (
                r#""topic":"a","properties":{"content_type":"a\u0000"}"#,
                "parameter-invalid",
            ),
            (
                r#""topic":"a","properties":{"user":[["","1"],["","2"],["","3"],["","4"]]}"#,
                "parameter-invalid",
            ),
        ] {
            assert_eq!(
                draft(&format!("{{{member}}}")).unwrap_err(),
                slug,
                "{member}"
            );
        }
        assert!(draft(r#"{"payload":"x"}"#).unwrap_err().contains("topic"));
        assert!(draft(r#"{"topic":"a","qos":-1}"#).is_err());
        assert!(draft(r#"{"topic":"a","retain":"yes"}"#).is_err());
    }
}
