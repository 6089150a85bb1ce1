//! Topics, filters and options out of a URL, strictly: what arrives is exactly what was meant, or it is refused.
//!
//! The framework's own extractors decode leniently (a stray `%zz` passes, ill-formed UTF-8 is replaced, `+` is always
//! a space), so none of them is used here.

use crate::{
    http::{
        percent::{self, Plus},
        problem::{Kind, Problem},
        query::{Query, text_of},
    },
    mqtt::{
        Qos,
        property::MessageProperties,
        topic::{self, TopicFilter, TopicName},
    },
};
use axum::http::{HeaderMap, Uri, header};
use base64::{
    Engine,
    alphabet::URL_SAFE,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use bytes::Bytes;

/// The collection of topics; behind it comes a topic's name.
pub const TOPICS: &str = "/api/v1/topics";

/// base64url, with or without padding.
pub const BASE64URL: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What topics and filters of the web are held to beyond MQTT's own rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicRules {
    /// Levels of a topic or filter.
    pub levels: usize,
    /// Bytes of a topic or filter.
    pub bytes: usize,
    /// Filters of one request.
    pub filters: usize,
    /// User properties of one message.
    pub user_properties: usize,
    /// What is published without a `qos` has 1, but not more than this.
    pub maximum_qos: Qos,
    /// Whether control and format characters are taken.
    pub allow_controls: bool,
}

/// The topic a request is about: the whole path behind [`TOPICS`] — its slashes are levels, `%2F` is one as well —
/// or `?topic=`, which can say every topic.
pub fn topic(uri: &Uri, query: &mut Query<'_>, rules: &TopicRules) -> Result<TopicName, Problem> {
    let rest = uri.path().strip_prefix(TOPICS).unwrap_or_default();
    let in_path = rest.strip_prefix('/').filter(|path| !path.is_empty());
    let text = match (in_path, query.take("topic")?) {
        (Some(_), Some(_)) => {
            return Err(Problem::parameter(
                "topic",
                "the topic is in the path already; give one of the two",
            ));
        }
        (Some(raw), None) => percent::decode(raw, Plus::Literal),
        (None, Some(raw)) => percent::decode(raw, Plus::Level),
        (None, None) => {
            return Err(Problem::new(
                Kind::TopicInvalid,
                "there is no topic: write it behind /api/v1/topics/ or as ?topic=",
            ));
        }
    };
    let text = text.map_err(|fault| Problem::new(Kind::TopicInvalid, fault.to_string()))?;
    name(&text, rules).map_err(|detail| Problem::new(Kind::TopicInvalid, detail))
}

/// A topic name within what the web allows; or what is wrong with it.
pub fn name(text: &str, rules: &TopicRules) -> Result<TopicName, String> {
    let name = TopicName::parse(text).map_err(|error| error.to_string())?;
    within_web_limits(text, rules)?;
    Ok(name)
}

/// The filters of a request: every `topic=` of its query, in order.
pub fn filters(query: &mut Query<'_>, rules: &TopicRules) -> Result<Vec<TopicFilter>, Problem> {
    let raw = query.take_all("topic");
    if raw.is_empty() {
        return Err(Problem::parameter(
            "topic",
            "required: what to listen to, as in ?topic=home/%23",
        ));
    }
    if raw.len() > rules.filters {
        return Err(Problem::parameter(
            "topic",
            format!(
                "{} filters, at most {} are allowed",
                raw.len(),
                rules.filters
            ),
        ));
    }
    raw.into_iter().map(|raw| filter(raw, rules)).collect()
}

/// One filter, still encoded.
pub fn filter(raw: &str, rules: &TopicRules) -> Result<TopicFilter, Problem> {
    let text = percent::decode(raw, Plus::Level)
        .map_err(|fault| Problem::new(Kind::FilterInvalid, fault.to_string()))?;
    topic_filter(&text, rules)
}

/// A topic filter within what the web allows.
pub fn topic_filter(text: &str, rules: &TopicRules) -> Result<TopicFilter, Problem> {
    let invalid = |detail: String| Problem::new(Kind::FilterInvalid, detail);
    let filter = TopicFilter::parse(text).map_err(|error| invalid(error.to_string()))?;
    within_web_limits(text, rules).map_err(invalid)?;
    Ok(filter)
}

fn within_web_limits(text: &str, rules: &TopicRules) -> Result<(), String> {
    let is_plain = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    let checked = !is_plain && !rules.allow_controls;
    if checked && let Some(c) = text.chars().find(|c| is_unprintable(*c)) {
        return Err(format!(
            "it contains {}, a character that is not printed",
            c.escape_unicode()
        ));
    }
    if topic::is_deeper(text, rules.levels) {
        return Err(format!("it has more than {} levels", rules.levels));
    }
    if text.len() > rules.bytes {
        return Err(format!("it is longer than {} bytes", rules.bytes));
    }
    Ok(())
}

/// Controls, noncharacters and format characters: a topic made of them is a mistake or a trap for who reads it.
fn is_unprintable(c: char) -> bool {
    c.is_control()
        || (c as u32) & 0xFFFE == 0xFFFE
        || matches!(c,
            '\u{FDD0}'..='\u{FDEF}'
            // general category Cf
            | '\u{AD}' | '\u{600}'..='\u{605}' | '\u{61C}' | '\u{6DD}' | '\u{70F}' | '\u{890}' | '\u{891}'
            | '\u{8E2}' | '\u{180E}' | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}'
            | '\u{2060}'..='\u{2064}' | '\u{2066}'..='\u{206F}' | '\u{FEFF}' | '\u{FFF9}'..='\u{FFFB}'
            | '\u{110BD}' | '\u{110CD}' | '\u{13430}'..='\u{1343F}' | '\u{1BCA0}'..='\u{1BCA3}'
            | '\u{1D173}'..='\u{1D17A}' | '\u{E0001}' | '\u{E0020}'..='\u{E007F}')
}

/// How to publish: the options of a query and the headers that are part of the message.
#[derive(Debug, PartialEq)]
pub struct PublishOptions {
    /// 1 unless said otherwise: who waits for a status wants one that means something.
    pub qos: Qos,
    /// As given; PUT retains whatever it says.
    pub retain: Option<bool>,
    /// What travels with the payload.
    pub properties: Option<Box<MessageProperties>>,
}

/// Takes the options of a publish out of `query`.
pub fn publish_options(
    query: &mut Query<'_>,
    headers: &HeaderMap,
    rules: &TopicRules,
) -> Result<PublishOptions, Problem> {
    let qos = query.choice(
        "qos",
        &[
            ("0", Qos::AtMostOnce),
            ("1", Qos::AtLeastOnce),
            ("2", Qos::ExactlyOnce),
        ],
    )?;
    let retain = query.flag("retain")?;
    let properties = MessageProperties {
        payload_is_utf8: query.choice("payload_format", &[("utf8", true), ("bytes", false)])?,
        message_expiry: query.number("expiry", 1..=u32::MAX)?,
        content_type: content_type(headers)?,
        response_topic: response_topic(query, rules)?,
        correlation_data: correlation(query)?,
        user: user_properties(query, rules.user_properties)?,
    };
    let properties = (properties != MessageProperties::default()).then(|| Box::new(properties));
    Ok(PublishOptions {
        qos: qos.unwrap_or(Qos::AtLeastOnce.min(rules.maximum_qos)),
        retain,
        properties,
    })
}

fn response_topic(query: &mut Query<'_>, rules: &TopicRules) -> Result<Option<Box<str>>, Problem> {
    let Some(text) = query.text("response_topic")? else {
        return Ok(None);
    };
    // [MQTT-3.3.2-14]
    name(&text, rules).map_err(|detail| Problem::parameter("response_topic", detail))?;
    Ok(Some(text.into()))
}

fn correlation(query: &mut Query<'_>) -> Result<Option<Bytes>, Problem> {
    let Some(text) = query.text("correlation")? else {
        return Ok(None);
    };
    match BASE64URL.decode(&text) {
        Ok(data) => Ok(Some(data.into())),
        Err(_) => Err(Problem::parameter("correlation", "it is not base64url")),
    }
}

/// Name and value.
type UserProperty = (Box<str>, Box<str>);

fn user_properties(query: &mut Query<'_>, most: usize) -> Result<Vec<UserProperty>, Problem> {
    let pair = |raw: &str| {
        let text = text_of("user", raw)?;
        match text.split_once('=') {
            Some((name, value)) => Ok((name.into(), value.into())),
            None => Err(Problem::parameter(
                "user",
                "written name=value, as in ?user=site=lab",
            )),
        }
    };
    let raw = query.take_all("user");
    if raw.len() > most {
        return Err(Problem::parameter(
            "user",
            format!("{} user properties, at most {most} are allowed", raw.len()),
        ));
    }
    raw.into_iter().map(pair).collect()
}

/// The Content Type property. What curl's `-d` and HTML forms send uninvited says nothing about the payload.
fn content_type(headers: &HeaderMap) -> Result<Option<Box<str>>, Problem> {
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return match headers.contains_key(header::CONTENT_TYPE) {
            true => Err(Problem::parameter("Content-Type", "given more than once")),
            false => Ok(None),
        };
    };
    let Ok(text) = value.to_str() else {
        return Err(Problem::parameter(
            "Content-Type",
            "it is not visible ASCII",
        ));
    };
    let essence = text.split(';').next().unwrap_or_default().trim();
    if essence.is_empty() || essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return Ok(None);
    }
    Ok(Some(text.into()))
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

    fn topic_of(uri: &str) -> Result<String, Kind> {
        let uri: Uri = uri.parse().unwrap();
        let mut query = Query::parse(uri.query()).map_err(|problem| problem.kind())?;
        topic(&uri, &mut query, &RULES)
            .map(|topic| topic.to_string())
            .map_err(|problem| problem.kind())
    }

    #[test]
    fn a_path_is_one_topic_byte_for_byte() {
        let table = [
            ("/api/v1/topics/a/b", "a/b"),
            ("/api/v1/topics/%2Fa/b", "/a/b"),
            ("/api/v1/topics//a/b", "/a/b"),
            ("/api/v1/topics/a//b", "a//b"),
            ("/api/v1/topics/a/", "a/"),
            ("/api/v1/topics/a%2Fb", "a/b"),
            ("/api/v1/topics/caf%C3%A9/%E5%AE%B6", "café/家"),
            ("/api/v1/topics/$SYS/x", "$SYS/x"),
            ("/api/v1/topics/a%2520b", "a%20b"),
            ("/api/v1/topics/a%2e%2e/b", "a../b"),
            ("/api/v1/topics?topic=%2Fa%2F%2Fb", "/a//b"),
            ("/api/v1/topics?topic=a/../b", "a/../b"),
            ("/api/v1/topics/?topic=a", "a"),
            ("/api/v1/topics?topic=living+room/x", "living room/x"),
        ];
        for (uri, expected) in table {
            assert_eq!(topic_of(uri).as_deref(), Ok(expected), "{uri}");
        }
    }

    #[test]
    fn what_is_no_topic_name_is_refused() {
        for uri in [
            "/api/v1/topics",
            "/api/v1/topics/",
            "/api/v1/topics?topic=",
            "/api/v1/topics/s/+/t",
            "/api/v1/topics/s/%23",
            "/api/v1/topics?topic=s/+/t",
            "/api/v1/topics/a%00b",
            "/api/v1/topics/%FF",
            "/api/v1/topics/%ED%A0%80",
            "/api/v1/topics/%zz",
            "/api/v1/topics/a%0D%0Ab",
            "/api/v1/topics/a%C2%85b",
            "/api/v1/topics/%EF%BF%BF",
            "/api/v1/topics/a%E2%80%8Bb",
        ] {
            assert_eq!(topic_of(uri), Err(Kind::TopicInvalid), "{uri}");
        }
        assert_eq!(
            topic_of("/api/v1/topics/a?topic=b"),
            Err(Kind::ParameterInvalid)
        );
        assert_eq!(
            topic_of("/api/v1/topics?topic=a&topic=b"),
            Err(Kind::ParameterInvalid)
        );
    }

    #[test]
    fn levels_and_bytes_are_bounded() {
        let deep = |levels: usize| format!("/api/v1/topics/{}", vec!["x"; levels].join("/"));
        assert!(topic_of(&deep(128)).is_ok());
        assert_eq!(topic_of(&deep(129)), Err(Kind::TopicInvalid));
        let long = |bytes: usize| format!("/api/v1/topics/{}", "x".repeat(bytes));
        assert!(topic_of(&long(1000)).is_ok());
        assert_eq!(topic_of(&long(1001)), Err(Kind::TopicInvalid));
    }

    #[test]
    fn filters_come_from_the_query_in_order() {
        let read = |raw| {
            let mut query = Query::parse(Some(raw)).unwrap();
            filters(&mut query, &RULES)
                .map(|filters| {
                    filters
                        .iter()
                        .map(TopicFilter::to_string)
                        .collect::<Vec<_>>()
                })
                .map_err(|problem| problem.kind())
        };
        assert_eq!(read("topic=s/+/t&topic=a/%23").unwrap(), ["s/+/t", "a/#"]);
        assert_eq!(read("topic=$share/g/a").unwrap(), ["$share/g/a"]);
        assert_eq!(read("x=1"), Err(Kind::ParameterInvalid));
        assert_eq!(read("topic=a%23"), Err(Kind::FilterInvalid));
        assert_eq!(read("topic=a%2Bb"), Err(Kind::FilterInvalid));
        assert_eq!(read("topic="), Err(Kind::FilterInvalid));
        assert_eq!(
            read(&["topic=a"; 65].join("&")),
            Err(Kind::ParameterInvalid)
        );
    }

    fn options_of(
        raw: &str,
        content_type: Option<&'static str>,
    ) -> Result<PublishOptions, Problem> {
        let mut headers = HeaderMap::new();
        if let Some(value) = content_type {
            headers.insert(header::CONTENT_TYPE, value.parse().unwrap());
        }
        let mut query = Query::parse(Some(raw))?;
        let options = publish_options(&mut query, &headers, &RULES)?;
        query.finish()?;
        Ok(options)
    }

    #[test]
    fn every_option_reaches_the_message() {
        let options = options_of(
            "qos=2&retain=true&expiry=60&response_topic=r/1&correlation=AAE&payload_format=utf8&user=a=1=2&user=a=&user=%3D",
            Some("text/plain; charset=utf-8"),
        )
        .unwrap();
        assert_eq!(
            (options.qos, options.retain),
            (Qos::ExactlyOnce, Some(true))
        );
        let properties = options.properties.unwrap();
        assert_eq!(properties.message_expiry, Some(60));
        assert_eq!(properties.response_topic.as_deref(), Some("r/1"));
        assert_eq!(properties.correlation_data.as_deref(), Some(&[0, 1][..]));
        assert_eq!(properties.payload_is_utf8, Some(true));
        assert_eq!(
            properties.content_type.as_deref(),
            Some("text/plain; charset=utf-8")
        );
        let user: Vec<_> = properties
            .user
            .iter()
            .map(|(name, value)| (&**name, &**value))
            .collect();
        assert_eq!(user, [("a", "1=2"), ("a", ""), ("", "")]);
    }

    #[test]
    fn a_form_content_type_is_as_good_as_none() {
        let options =
            options_of("", Some("application/X-www-form-urlencoded; charset=utf-8")).unwrap();
        assert_eq!(
            options,
            PublishOptions {
                qos: Qos::AtLeastOnce,
                retain: None,
                properties: None
            }
        );
    }

    #[test]
    fn a_bad_option_is_refused() {
        for raw in [
            "qos=3",
            "qos=",
            "retain=yes",
            "expiry=0",
            "expiry=4294967296",
            "expiry=-1",
            "response_topic=a/%23",
            "response_topic=",
            "correlation=%2B%2B",
            "correlation=A",
            "payload_format=text",
            "user=x",
            "user=a=1&user=b=2&user=c=3&user=d=4",
            "user=a%00=b",
            "qos=1&qos=1",
            "colour=red",
        ] {
            let kind = options_of(raw, None).unwrap_err().kind();
            assert_eq!(kind, Kind::ParameterInvalid, "{raw}");
        }
    }
}
