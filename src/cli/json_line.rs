//! A received message as one line of JSON, with the member names of the web API's envelope.

use super::link::Received;
use base64::{Engine, prelude::BASE64_STANDARD};
use rumqttc::v5::mqttbytes::v5::PublishProperties;
use serde::Serialize;

/// The line, without its end.
pub fn of(message: &Received) -> String {
    let (payload, encoding) = match std::str::from_utf8(&message.payload) {
        Ok(text) => (text.to_owned(), "utf8"),
        Err(_) => (BASE64_STANDARD.encode(&message.payload), "base64"),
    };
    let line = Line {
        topic: &message.topic,
        payload,
        encoding,
        size: message.payload.len(),
        qos: message.qos,
        retain: message.retain,
        properties: message
            .properties
            .as_ref()
            .map(Properties::from)
            .unwrap_or_default(),
    };
    serde_json::to_string(&line).expect("strings and numbers always have a JSON form")
}

#[derive(Serialize)]
struct Line<'a> {
    topic: &'a str,
    payload: String,
    encoding: &'static str,
    size: usize,
    qos: u8,
    retain: bool,
    #[serde(skip_serializing_if = "Properties::is_empty")]
    properties: Properties<'a>,
}

#[derive(Serialize, Default, PartialEq)]
struct Properties<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_format: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expiry: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_topic: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_data: Option<String>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    user: &'a [(String, String)],
}

impl Properties<'_> {
    fn is_empty(&self) -> bool {
        *self == Properties::default()
    }
}

impl<'a> From<&'a PublishProperties> for Properties<'a> {
    fn from(from: &'a PublishProperties) -> Self {
        Properties {
            content_type: from.content_type.as_deref(),
            payload_format: (from.payload_format_indicator == Some(1)).then_some("utf8"),
            expiry: from.message_expiry_interval,
            response_topic: from.response_topic.as_deref(),
            correlation_data: from
                .correlation_data
                .as_ref()
                .map(|data| BASE64_STANDARD.encode(data)),
            user: &from.user_properties,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_text_and_a_line_stays_one_line() {
        let message = Received {
            topic: "a/b".into(),
            payload: "2\n1".into(),
            qos: 1,
            ..Received::default()
        };
        assert_eq!(
            of(&message),
            r#"{"topic":"a/b","payload":"2\n1","encoding":"utf8","size":3,"qos":1,"retain":false}"#
        );
    }

    #[test]
    fn other_bytes_become_base64_and_properties_keep_order_and_doubles() {
        let pair = |v: &str| ("k".to_owned(), v.to_owned());
        let properties = PublishProperties {
            content_type: Some("x/y".into()),
            payload_format_indicator: Some(1),
            message_expiry_interval: Some(57),
            response_topic: Some("r".into()),
            correlation_data: Some(vec![0, 1].into()),
            user_properties: vec![pair("2"), pair("1")],
            ..PublishProperties::default()
        };
        let message = Received {
            payload: vec![0xff].into(),
            retain: true,
            properties: Some(properties),
            ..Received::default()
        };
        assert_eq!(
            of(&message),
            r#"{"topic":"","payload":"/w==","encoding":"base64","size":1,"qos":0,"retain":true,"properties":{"content_type":"x/y","payload_format":"utf8","expiry":57,"response_topic":"r","correlation_data":"AAE=","user":[["k","2"],["k","1"]]}}"#
        );
    }
}
