//! `GET /api/v1/topics/{topic}`: what a topic retains, as its publisher sent it.
//!
//! Payload and content type are anybody's choice, and the origin is the dashboard's: nothing read from here may run
//! as a page of ours.

use crate::{
    broker::Refused,
    http::{
        State, caller, conditions, envelope, extract, listing, negotiate, percent,
        problem::{Kind, Problem, ProblemBody},
        query::Query,
    },
    message::{Message, Millis, Position},
};
use axum::{
    body::Body,
    extract::{self as axum_extract, Request},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use std::sync::Arc;
use time::{OffsetDateTime, macros::format_description};

/// The envelope's own media type. `application/json` does not ask for it: who wants JSON wants the payload's.
pub const ENVELOPE_TYPE: &str = "application/vnd.tidegate.message+json";

/// What survives unencoded in header values beside letters and digits.
const KEPT: &str = "-._~/$:@";

/// Bytes of all headers that a publisher has a say in. Many clients read no answer with much more of them (node takes
/// 16 KiB in all, curl 300 KiB), and nobody must be able to make a topic unreadable.
const PUBLISHED_BYTES: usize = 8 * 1024;

/// How many they may be: there are clients that read no answer with more than a hundred headers in all (Python, hyper). The
/// user properties of a message, as many as there may be unless the settings allow more, fit.
const PUBLISHED: usize = 70;

/// The longest content type that is repeated as the answer's own; a type and a subtype have 127 each (RFC 6838, 4.2).
const CONTENT_TYPE_BYTES: usize = 255;

/// Names the headers that were left out, and where what they would have said stands.
static OMITTED: HeaderName = HeaderName::from_static("mqtt-omitted");

/// Read the retained message.
///
/// The payload as it was published, its properties in headers; with `envelope=true` or
/// `Accept: application/vnd.tidegate.message+json` the JSON envelope.
#[utoipa::path(
    get,
    path = "/api/v1/topics/{topic}",
    operation_id = "getRetained",
    tag = "topics",
    params(
        ("topic" = String, Path, description = "A topic name, without wildcards. As one segment, `/` is `%2F`.", example = "home%2Flamp"),
        ("envelope" = Option<bool>, Query, description = "Answer with the JSON envelope."),
        ("payload" = Option<String>, Query, description = "How the envelope writes the payload: `auto`, `base64` or `none`."),
        ("If-Match" = Option<String>, Header, description = "Answer 412 unless the state has this `ETag`."),
        ("If-None-Match" = Option<String>, Header, description = "Answer 304 if the state still has this `ETag`."),
    ),
    responses(
        (status = 200, description = "The payload, as text, as bytes, or with its stored content type if a browser does nothing with it but show it.", content((Vec<u8> = "application/octet-stream"), (Vec<u8> = "*/*"), (envelope::Envelope = "application/vnd.tidegate.message+json")),
         headers(("ETag" = String, description = "The cursor of the write."), ("Mqtt-Topic" = String), ("Mqtt-QoS" = u8), ("Mqtt-Expiry" = u32, description = "Seconds left."), ("Mqtt-Content-Type" = String), ("Mqtt-User-Property" = String, description = "Repeated; `name=value`, percent-encoded."), ("Mqtt-Omitted" = String, description = "Which of `Mqtt-Topic`, `Mqtt-Content-Type` and `Mqtt-User-Property` are not here, or not all of them, because they have more than 8 KiB together or are more than 70; `envelope=1` has them all."))),
        (status = 304, description = "Not changed."),
        (status = 412, description = "`precondition-failed`: `If-Match` names another state", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "`not-retained`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 400, description = "`topic-invalid`, `parameter-invalid`", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn get(
    axum_extract::State(state): axum_extract::State<Arc<State>>,
    request: Request,
) -> Result<Response, Problem> {
    let caller = caller::of(&state, request.extensions())?;
    let (uri, headers) = (request.uri(), request.headers());
    let mut query = Query::parse(uri.query())?;
    if listing::is_asked(uri, &query) {
        return listing::list(&state, &caller, uri).await;
    }
    let topic = extract::topic(uri, &mut query, &state.rules)?;
    let as_envelope = query.flag("envelope")?;
    let form = query
        .choice("payload", envelope::PAYLOAD_FORMS)?
        .unwrap_or_default();
    query.finish()?;
    let condition = conditions::condition(headers)?;
    let as_envelope = as_envelope.unwrap_or_else(|| negotiate::names(headers, ENVELOPE_TYPE));

    let now = state.broker.now();
    let retained = state.broker.retained(&caller, &topic)?;
    let Some(retained) = retained.filter(|retained| !retained.message.is_expired(now)) else {
        return Err(Problem::new(
            Kind::NotRetained,
            "nothing is retained on this topic",
        ));
    };
    let (message, position) = (&retained.message, retained.position);
    let validators = validators(message, position, as_envelope);
    if !condition.is_what_must_be(Some(position)) {
        return Err(Refused::PreconditionFailed.into());
    }
    if condition.is_what_must_not_be(Some(position)) {
        return Ok((StatusCode::NOT_MODIFIED, validators).into_response());
    }
    let mut response = match as_envelope {
        true => {
            let copy = envelope::Copy {
                snapshot: true,
                position: Some(position),
                matched: None,
                now,
            };
            let json = envelope::object(message, form, copy);
            (
                [(
                    header::CONTENT_TYPE,
                    HeaderValue::from_static(ENVELOPE_TYPE),
                )],
                Body::from(json),
            )
                .into_response()
        }
        false => raw(message, now),
    };
    response.headers_mut().extend(validators);
    Ok(response)
}

/// What an answer and a 304 for it have in common.
fn validators(message: &Message, position: Position, as_envelope: bool) -> HeaderMap {
    let mut headers = HeaderMap::new();
    // an envelope tells the seconds left, so two of one write may differ
    let weak = if as_envelope { "W/" } else { "" };
    let tag = conditions::tag(position);
    insert(&mut headers, header::ETAG, &format!("{weak}{tag}"));
    insert(
        &mut headers,
        header::LAST_MODIFIED,
        &http_date(message.time),
    );
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("no-cache, private"),
    );
    headers.insert(header::VARY, HeaderValue::from_static("Accept"));
    guard(&mut headers);
    headers
}

/// Keeps a browser from taking a stored payload for a page.
fn guard(headers: &mut HeaderMap) {
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; sandbox"),
    );
    let same_origin = HeaderValue::from_static("same-origin");
    headers.insert(
        HeaderName::from_static("cross-origin-resource-policy"),
        same_origin,
    );
}

fn raw(message: &Message, now: Millis) -> Response {
    let mut response = Body::from(message.payload.to_bytes()).into_response();
    let headers = response.headers_mut();
    headers.insert(
        HeaderName::from_static("mqtt-qos"),
        HeaderValue::from(u16::from(message.qos as u8)),
    );
    if let Some(seconds) = message.expiry_left(now) {
        headers.insert(
            HeaderName::from_static("mqtt-expiry"),
            HeaderValue::from(seconds),
        );
    }
    let stored = message
        .properties
        .as_ref()
        .and_then(|properties| properties.content_type.as_deref());
    let mut published = Published::within(PUBLISHED_BYTES);
    published.add("Mqtt-Topic", percent::encode(&message.topic, KEPT));
    if let Some(stored) = stored {
        let kept = format!("{KEPT} ;=,\"+*!#&'()?[]{{}}|");
        published.add("Mqtt-Content-Type", percent::encode(stored, &kept));
    }
    for (name, value) in message
        .properties
        .iter()
        .flat_map(|properties| &properties.user)
    {
        let (name, value) = (percent::encode(name, KEPT), percent::encode(value, KEPT));
        published.add("Mqtt-User-Property", format!("{name}={value}"));
    }
    published.write(headers);
    match stored.map(shown_as) {
        Some(Some(content_type)) => insert(headers, header::CONTENT_TYPE, &content_type),
        Some(None) => {
            insert(headers, header::CONTENT_TYPE, "application/octet-stream");
            insert(headers, header::CONTENT_DISPOSITION, "attachment");
        }
        None if std::str::from_utf8(&message.payload).is_ok() => {
            insert(headers, header::CONTENT_TYPE, "text/plain; charset=utf-8");
        }
        None => insert(headers, header::CONTENT_TYPE, "application/octet-stream"),
    }
    response
}

/// Headers with what a publisher wrote, as many as fit.
struct Published {
    room: usize,
    taken: Vec<(&'static str, String)>,
    omitted: Vec<&'static str>,
}

impl Published {
    fn within(room: usize) -> Self {
        Published {
            room,
            taken: Vec::new(),
            omitted: Vec::new(),
        }
    }

    fn add(&mut self, name: &'static str, value: String) {
        // as HTTP/1.1 writes it: `name: value`
        let left = self.room.checked_sub(name.len() + value.len() + 4);
        match left.filter(|_| self.taken.len() < PUBLISHED) {
            Some(left) => {
                self.room = left;
                self.taken.push((name, value));
            }
            None if self.omitted.last() == Some(&name) => {}
            None => self.omitted.push(name),
        }
    }

    fn write(self, headers: &mut HeaderMap) {
        for (name, value) in self.taken {
            let name = HeaderName::try_from(name).ok();
            // all of them are visible ASCII by construction
            if let Some((name, value)) = name.zip(HeaderValue::try_from(value).ok()) {
                headers.append(name, value);
            }
        }
        if !self.omitted.is_empty() {
            let names = self.omitted.join(", ");
            insert(
                headers,
                OMITTED.clone(),
                &format!("{names}; see=\"envelope=1\""),
            );
        }
    }
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    // all of them are visible ASCII by construction
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// The stored content type, if a browser does nothing with it but show it.
fn shown_as(stored: &str) -> Option<String> {
    const SAFE: [&str; 8] = [
        "text/plain",
        "application/json",
        "application/cbor",
        "application/octet-stream",
        "image/png",
        "image/jpeg",
        "image/webp",
        "image/gif",
    ];
    let (essence, parameters) = stored.split_once(';').unwrap_or((stored, ""));
    let essence = essence.trim().to_ascii_lowercase();
    let is_token = |c: char| c.is_ascii_alphanumeric() || "-.+_".contains(c);
    let is_media = ["audio/", "video/"]
        .iter()
        .filter_map(|kind| essence.strip_prefix(kind))
        // whatever ends so is XML by the rules of browsers (MIME Sniffing, 4.6), which may have scripts
        .filter(|name| !name.ends_with("+xml"))
        .any(|name| !name.is_empty() && name.chars().all(is_token));
    if !SAFE.contains(&essence.as_str()) && !is_media || essence.len() > CONTENT_TYPE_BYTES {
        return None;
    }
    // a comma would begin a second content type in some readers' eyes
    let plain = parameters
        .chars()
        .all(|c| is_token(c) || " ;=\"/:".contains(c));
    let is_short = stored.len() <= CONTENT_TYPE_BYTES;
    Some(match plain && is_short {
        true => stored.to_owned(),
        false => essence,
    })
}

/// The date form of HTTP headers (RFC 9110, 5.6.7).
pub fn http_date(moment: Millis) -> String {
    let format = format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );
    let seconds = i64::try_from(moment.0 / 1000).unwrap_or_default();
    let moment = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    moment.format(&format).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::{Qos, property::MessageProperties, topic::TopicName};

    fn answer(topic: &str, payload: &'static [u8], properties: MessageProperties) -> HeaderMap {
        let message = Message::new(
            TopicName::parse(topic).unwrap(),
            payload.to_vec().into(),
            Qos::AtLeastOnce,
            true,
            Some(Box::new(properties)),
            None,
            Millis(0),
        );
        raw(&message, Millis(0)).headers().clone()
    }

    #[test]
    fn only_harmless_content_types_are_repeated() {
        for (stored, shown) in [
            ("text/plain", Some("text/plain")),
            (
                "text/plain; charset=latin1",
                Some("text/plain; charset=latin1"),
            ),
            ("Application/JSON", Some("Application/JSON")),
            ("video/mp4", Some("video/mp4")),
            ("text/plain; a=b, text/html", Some("text/plain")),
            ("text/html", None),
            ("image/svg+xml", None),
            ("text/plain, text/html", None),
            ("video/", None),
            ("video/x+xml", None),
            ("Audio/X+XML; a=b", None),
            ("video/x, text/html", None),
            ("", None),
            ("text/plain\r\nx: y", None),
        ] {
            assert_eq!(shown_as(stored).as_deref(), shown, "{stored:?}");
        }
    }

    #[test]
    fn properties_cannot_break_out_of_their_headers() {
        let properties = MessageProperties {
            content_type: Some("text/html\r\nSet-Cookie: x".into()),
            user: vec![("a=b".into(), "1,2".into()), ("ü\r\n".into(), "".into())],
            message_expiry: Some(60),
            ..MessageProperties::default()
        };
        let headers = answer("a b/ü\n", b"x", properties);
        assert_eq!(headers["mqtt-topic"], "a%20b/%C3%BC%0A");
        assert_eq!(headers["mqtt-content-type"], "text/html%0D%0ASet-Cookie: x");
        assert_eq!(headers["content-type"], "application/octet-stream");
        assert_eq!(headers["content-disposition"], "attachment");
        assert_eq!(headers["mqtt-expiry"], "60");
        let user: Vec<_> = headers.get_all("mqtt-user-property").iter().collect();
        assert_eq!(user, ["a%3Db=1%2C2", "%C3%BC%0D%0A="]);
    }

    #[test]
    fn what_a_publisher_wrote_never_makes_an_answer_that_is_too_long_to_read() {
        let long = "x".repeat(60_000);
        let properties = MessageProperties {
            content_type: Some(format!("text/plain; a={long}").into()),
            user: vec![
                ("a".into(), long.as_str().into()),
                ("b".into(), "1".into()),
                ("c".into(), long.as_str().into()),
            ],
            ..MessageProperties::default()
        };
        let headers = answer(&long, b"x", properties);
        let bytes: usize = headers.values().map(HeaderValue::len).sum();
        assert!(bytes < 2 * PUBLISHED_BYTES, "{bytes}");
        assert_eq!(headers["content-type"], "text/plain");
        let user: Vec<_> = headers.get_all("mqtt-user-property").iter().collect();
        assert_eq!(user, ["b=1"], "what fits is there");
        assert_eq!(
            headers["mqtt-omitted"],
            "Mqtt-Topic, Mqtt-Content-Type, Mqtt-User-Property; see=\"envelope=1\""
        );
        assert_eq!(shown_as(&format!("video/{long}")), None);
        let properties = MessageProperties {
            user: vec![("a".into(), "1".into()); 200],
            ..MessageProperties::default()
        };
        let many = answer("a", b"x", properties);
        assert!(many.len() < 90, "{} headers", many.len());
        assert_eq!(
            many["mqtt-omitted"],
            "Mqtt-User-Property; see=\"envelope=1\""
        );
        let small = answer("a", b"x", MessageProperties::default());
        assert_eq!(small.get("mqtt-omitted"), None);
    }

    #[test]
    fn without_a_content_type_the_bytes_decide() {
        let shown =
            |payload| answer("a", payload, MessageProperties::default())["content-type"].clone();
        assert_eq!(shown("grün".as_bytes()), "text/plain; charset=utf-8");
        assert_eq!(shown(b"\xff"), "application/octet-stream");
    }

    #[test]
    fn dates_are_those_of_http() {
        assert_eq!(
            http_date(Millis(784_111_777_000)),
            "Sun, 06 Nov 1994 08:49:37 GMT"
        );
    }
}
