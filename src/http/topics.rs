//! `/api/v1/topics/{topic}`: publish to a topic, and set, read or clear what it retains.

use crate::{
    auth::identity::Identity,
    broker::{Draft, Receipt, publish::together::Outcome},
    http::{
        State, body, caller, conditions, extract,
        idempotency::{self, Answer, First},
        problem::{Kind, Problem, ProblemBody},
        query::Query,
    },
    message::Position,
    mqtt::{Qos, payload::Payload, topic::TopicName},
    routing::condition::Condition,
    store::once::Fingerprint,
};
use axum::{
    Json,
    extract::{self as axum_extract, Request},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// A place in the log: of what was published, or where a stream begins.
pub static CURSOR: HeaderName = HeaderName::from_static("mqtt-cursor");
static PREFER: HeaderName = HeaderName::from_static("prefer");
static PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// Headers that change what a request means, and that are not obeyed. Silently doing something else would be worse
/// than refusing. A date is no condition for a state that may change twice within its second.
static NOT_YET: [HeaderName; 1] = [header::IF_UNMODIFIED_SINCE];

/// What became of a publish.
#[derive(Debug, Serialize, ToSchema)]
pub struct Published {
    /// The message's place in the log; `null` if it was not recorded.
    #[schema(example = "k7q2m9xa-10482")]
    cursor: Option<String>,
    /// Where it was published to.
    #[schema(example = "home/kitchen/temp")]
    topic: String,
    /// As published.
    qos: u8,
    /// MQTT's: 0.
    reason_code: u8,
}

/// Publish bytes.
///
/// The body is the payload, byte for byte. `200` means what PUBACK means: with `qos=1`, the default, everything that
/// must survive is durable. The topic is the rest of the path; its slashes may be written `%2F`. Every topic, also
/// those that URLs cannot carry in a path, can be given as `/api/v1/topics?topic=`.
#[utoipa::path(
    post,
    path = "/api/v1/topics/{topic}",
    operation_id = "publish",
    tag = "topics",
    params(
        ("topic" = String, Path, description = "A topic name, without wildcards. As one segment, `/` is `%2F`.", example = "home%2Fkitchen%2Ftemp"),
        ("qos" = Option<u8>, Query, description = "Quality of service.", minimum = 0, maximum = 2),
        ("retain" = Option<bool>, Query, description = "Also keep it as the topic's retained message; with an empty body, clear that."),
        ("expiry" = Option<u32>, Query, description = "Seconds after which it is not delivered any more.", minimum = 1),
        ("response_topic" = Option<String>, Query, description = "Where to answer."),
        ("correlation" = Option<String>, Query, description = "What to answer with, base64url."),
        ("payload_format" = Option<String>, Query, description = "`utf8` or `bytes`; `utf8` is checked."),
        ("user" = Option<Vec<String>>, Query, description = "A user property, `name=value`; repeatable, in order."),
        ("Content-Type" = Option<String>, Header, description = "The content type property; `application/x-www-form-urlencoded` counts as none."),
        ("Prefer" = Option<String>, Header, description = "`return=minimal` asks for 204 without a body."),
        ("Idempotency-Key" = Option<String>, Header, description = "A string of your choice, `\"8e03978e\"`: sent again with the same key, the request is done once and answered as before, with `Idempotency-Replayed: true`."),
        ("If-Match" = Option<String>, Header, description = "With `retain=true`, as PUT."),
        ("If-None-Match" = Option<String>, Header, description = "With `retain=true`, as PUT."),
    ),
    request_body(content = Vec<u8>, content_type = "application/octet-stream", description = "Any bytes of any type."),
    responses(
        (status = 200, description = "Published.", body = Published, headers(("Mqtt-Cursor" = String, description = "Present if it was recorded."))),
        (status = 204, description = "Published, as `Prefer: return=minimal` asked."),
        (status = 400, description = "`topic-invalid`, `parameter-invalid`, `body-invalid`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 403, description = "`not-authorized`, `topic-reserved`, `origin-rejected`, `not-supported`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "`idempotency-in-flight`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 413, description = "`payload-too-large`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 415, description = "`media-type-unsupported`: Content-Encoding", body = ProblemBody, content_type = "application/problem+json"),
        (status = 412, description = "`precondition-failed`: nothing was done", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "`payload-format-invalid`, `retain-unsupported`, `idempotency-mismatch`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 429, description = "`quota-exceeded`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "`overloaded`, `shutting-down`, `storage-unavailable`", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn post(
    axum_extract::State(state): axum_extract::State<Arc<State>>,
    request: Request,
) -> Result<Response, Problem> {
    let key = idempotency::key(request.headers())?;
    let (head, draft, condition) = draft(&state, request).await?;
    match key {
        None => Ok(publish(&state, &head, draft, &condition).await?.0),
        Some(_) if condition.is_some() => Err(Problem::parameter(
            "Idempotency-Key",
            "not together with If-Match and If-None-Match: a condition makes a repetition harmless by itself",
        )),
        Some(key) => publish_once(&state, &head, draft, key).await,
    }
}

/// Set the retained message.
///
/// As POST with `retain=true`, but never by accident a deletion: an empty body is refused.
#[utoipa::path(
    put,
    path = "/api/v1/topics/{topic}",
    operation_id = "setRetained",
    tag = "topics",
    params(
        ("topic" = String, Path, description = "A topic name, without wildcards. As one segment, `/` is `%2F`.", example = "home%2Flamp"),
        ("qos" = Option<u8>, Query, description = "Quality of service.", minimum = 0, maximum = 2),
        ("expiry" = Option<u32>, Query, description = "Seconds after which it is gone.", minimum = 1),
        ("response_topic" = Option<String>, Query, description = "Where to answer."),
        ("correlation" = Option<String>, Query, description = "What to answer with, base64url."),
        ("payload_format" = Option<String>, Query, description = "`utf8` or `bytes`; `utf8` is checked."),
        ("user" = Option<Vec<String>>, Query, description = "A user property, `name=value`; repeatable, in order."),
        ("Content-Type" = Option<String>, Header, description = "The content type property; `application/x-www-form-urlencoded` counts as none."),
        ("Prefer" = Option<String>, Header, description = "`return=minimal` asks for 204 without a body."),
        ("If-Match" = Option<String>, Header, description = "Only if what is retained has this `ETag`, or with `*` if anything is retained: nobody else wrote in between, over MQTT neither."),
        ("If-None-Match" = Option<String>, Header, description = "`*`: only if nothing is retained."),
    ),
    request_body(content = Vec<u8>, content_type = "application/octet-stream", description = "Any bytes of any type, at least one."),
    responses(
        (status = 200, description = "Set.", body = Published, headers(("ETag" = String, description = "For the next `If-Match`."), ("Mqtt-Cursor" = String, description = "Where it was recorded."))),
        (status = 204, description = "Set, as `Prefer: return=minimal` asked."),
        (status = 400, description = "As POST; `body-invalid` if the body is empty", body = ProblemBody, content_type = "application/problem+json"),
        (status = 412, description = "`precondition-failed`: nothing was done", body = ProblemBody, content_type = "application/problem+json"),
        (status = 403, description = "As POST", body = ProblemBody, content_type = "application/problem+json"),
        (status = 413, description = "`payload-too-large`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 415, description = "`media-type-unsupported`: Content-Encoding", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "`payload-format-invalid`, `retain-unsupported`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 429, description = "`quota-exceeded`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "As POST", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn put(
    axum_extract::State(state): axum_extract::State<Arc<State>>,
    request: Request,
) -> Result<Response, Problem> {
    let (head, draft, condition) = draft(&state, request).await?;
    if draft.payload.is_empty() {
        return Err(Problem::new(
            Kind::BodyInvalid,
            "an empty retained message is none: use DELETE to clear the topic",
        ));
    }
    let (mut response, receipt) = publish(&state, &head, draft, &condition).await?;
    // what is served now is what was sent
    let tag = receipt.position.map(conditions::tag);
    add(response.headers_mut(), &header::ETAG, tag);
    Ok(response)
}

/// Clear the retained message.
///
/// Publishes an empty retained message, as MQTT does it. `204` also if nothing was retained.
#[utoipa::path(
    delete,
    path = "/api/v1/topics/{topic}",
    operation_id = "clearRetained",
    tag = "topics",
    params(
        ("topic" = String, Path, description = "A topic name, without wildcards. As one segment, `/` is `%2F`.", example = "home%2Flamp"),
        ("If-Match" = Option<String>, Header, description = "As PUT."),
        ("If-None-Match" = Option<String>, Header, description = "As PUT."),
    ),
    responses(
        (status = 204, description = "Nothing is retained any more."),
        (status = 412, description = "`precondition-failed`: nothing was done", body = ProblemBody, content_type = "application/problem+json"),
        (status = 400, description = "`topic-invalid`, `parameter-invalid`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 403, description = "As POST", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "`retain-unsupported`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 429, description = "`quota-exceeded`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "As POST", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn delete(
    axum_extract::State(state): axum_extract::State<Arc<State>>,
    request: Request,
) -> Result<Response, Problem> {
    let (head, _) = request.into_parts();
    refuse_what_is_not_obeyed(&head.headers)?;
    refuse_key(&head.headers)?;
    let mut query = Query::parse(head.uri.query())?;
    let topic = extract::topic(&head.uri, &mut query, &state.rules)?;
    query.finish()?;
    let condition = conditions::condition(&head.headers)?;
    let draft = Draft {
        topic,
        payload: Payload::EMPTY,
        qos: Qos::AtLeastOnce.min(state.rules.maximum_qos),
        retain: true,
        properties: None,
    };
    let caller = caller::of(&state, &head.extensions)?;
    let receipt = send(&state, caller, draft, &condition).await?;
    let mut response = StatusCode::NO_CONTENT.into_response();
    add_cursor(response.headers_mut(), &receipt);
    Ok(response)
}

/// Reads a request to publish: everything about it is checked before its body is awaited.
async fn draft(state: &State, request: Request) -> Result<(Parts, Draft, Condition), Problem> {
    let (head, body) = request.into_parts();
    refuse_what_is_not_obeyed(&head.headers)?;
    let mut query = Query::parse(head.uri.query())?;
    let topic = extract::topic(&head.uri, &mut query, &state.rules)?;
    let options = extract::publish_options(&mut query, &head.headers, &state.rules)?;
    query.finish()?;
    let is_put = head.method == axum::http::Method::PUT;
    if is_put {
        refuse_key(&head.headers)?;
    }
    if is_put && options.retain == Some(false) {
        return Err(Problem::parameter(
            "retain",
            "PUT sets the retained message; use POST to publish without",
        ));
    }
    let retain = is_put || options.retain == Some(true);
    let condition = conditions::condition(&head.headers)?;
    if condition.is_some() && !retain {
        return Err(Problem::parameter(
            "retain",
            "a condition is one on the retained message: it needs retain=true",
        ));
    }
    let (limit, patience) = (state.broker.limits().payload, state.config.body_timeout);
    let payload = body::read(body, &head.headers, limit, patience).await?;
    caller::still_counts(state, &*caller::of(state, &head.extensions)?)?;
    let draft = Draft {
        topic,
        payload,
        qos: options.qos,
        retain,
        properties: options.properties,
    };
    Ok((head, draft, condition))
}

/// Publishes, unless the same request was done before.
async fn publish_once(
    state: &State,
    head: &Parts,
    draft: Draft,
    key: Arc<str>,
) -> Result<Response, Problem> {
    let identity = caller::of(state, &head.extensions)?;
    let running = match idempotency::begin(state, &identity, key, fingerprint(&draft)).await? {
        First::Again(answer) => return Ok(answer),
        First::Fresh(running) => running,
    };
    let (topic, qos, minimal) = (draft.topic.clone(), draft.qos, wants_minimal(&head.headers));
    let answer = |each: &[Outcome]| {
        let position = each.first().and_then(|one| one.ok().flatten());
        let cursor = position.map(|position| position.to_string());
        let (status, body) = match minimal {
            true => (StatusCode::NO_CONTENT, Vec::new()),
            // strings and numbers always have a JSON form
            false => (
                StatusCode::OK,
                serde_json::to_vec(&published(position, &topic, qos)).unwrap_or_default(),
            ),
        };
        Answer {
            status,
            cursor,
            body,
        }
    };
    let kept = |each: &[Outcome]| answer(each).kept();
    let done = {
        let mut publisher = state.broker.publisher(identity, None);
        let answering = Some((&running, &kept as _));
        let broker = &state.broker;
        broker.publish_together(&mut publisher, vec![draft], false, answering)?
    };
    if let Some(refused) = done.each.iter().find_map(|one| one.err()) {
        return Ok(idempotency::refused(running, refused.into()));
    }
    if let Some(durable_at) = done.durable_at {
        state.broker.durable(durable_at).await?;
    }
    Ok(answer(&done.each).into_response())
}

/// What makes two publishes the same.
fn fingerprint(draft: &Draft) -> Fingerprint {
    let mut properties = Vec::new();
    if let Some(some) = &draft.properties {
        some.put_block(&mut properties);
    }
    let options = [draft.qos as u8, draft.retain.into()];
    let parts: [&[u8]; 5] = [
        b"POST topics",
        draft.topic.as_bytes(),
        &options,
        &properties,
        &draft.payload,
    ];
    idempotency::fingerprint(parts)
}

async fn publish(
    state: &State,
    head: &Parts,
    draft: Draft,
    condition: &Condition,
) -> Result<(Response, Receipt), Problem> {
    let (topic, qos) = (draft.topic.clone(), draft.qos);
    let caller = caller::of(state, &head.extensions)?;
    let receipt = send(state, caller, draft, condition).await?;
    let mut response = match wants_minimal(&head.headers) {
        true => (
            StatusCode::NO_CONTENT,
            [(PREFERENCE_APPLIED.clone(), "return=minimal")],
        )
            .into_response(),
        false => Json(published(receipt.position, &topic, qos)).into_response(),
    };
    add_cursor(response.headers_mut(), &receipt);
    Ok((response, receipt))
}

/// Publishes and, above QoS 0, waits until everything that must survive is durable.
async fn send(
    state: &State,
    caller: Arc<Identity>,
    draft: Draft,
    condition: &Condition,
) -> Result<Receipt, Problem> {
    let waits = draft.qos != Qos::AtMostOnce;
    let mut publisher = state.broker.publisher(caller, None);
    let receipt = match condition.is_some() {
        true => state.broker.publish_if(condition, &mut publisher, draft)?,
        false => state.broker.publish(&mut publisher, draft)?,
    };
    if let Some(durable_at) = receipt.durable_at.filter(|_| waits) {
        state.broker.durable(durable_at).await?;
    }
    Ok(receipt)
}

fn published(position: Option<Position>, topic: &TopicName, qos: Qos) -> Published {
    Published {
        cursor: position.map(|position| position.to_string()),
        topic: topic.to_string(),
        qos: qos as u8,
        // "no matching subscribers" would tell who listens
        reason_code: 0,
    }
}

fn add_cursor(headers: &mut HeaderMap, receipt: &Receipt) {
    let cursor = receipt.position.map(|position| position.to_string());
    add(headers, &CURSOR, cursor);
}

fn add(headers: &mut HeaderMap, name: &HeaderName, value: Option<String>) {
    if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
        headers.insert(name, value);
    }
}

fn wants_minimal(headers: &HeaderMap) -> bool {
    headers
        .get_all(&PREFER)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|preference| preference.trim().eq_ignore_ascii_case("return=minimal"))
}

/// To set or clear twice does no harm.
fn refuse_key(headers: &HeaderMap) -> Result<(), Problem> {
    match headers.contains_key(&idempotency::KEY) {
        false => Ok(()),
        true => Err(Problem::parameter(
            "Idempotency-Key",
            "PUT and DELETE can be sent again without",
        )),
    }
}

fn refuse_what_is_not_obeyed(headers: &HeaderMap) -> Result<(), Problem> {
    match headers.keys().find(|name| NOT_YET.contains(name)) {
        None => Ok(()),
        Some(name) => Err(Problem::parameter(
            name.as_str(),
            "this version does not support the header here",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minimal_answers_are_asked_for_among_other_preferences() {
        let prefers = |value| {
            let mut headers = HeaderMap::new();
            headers.insert(PREFER.clone(), HeaderValue::from_static(value));
            wants_minimal(&headers)
        };
        assert!(prefers("return=minimal"));
        assert!(prefers("respond-async, Return=Minimal"));
        assert!(!prefers("return=representation"));
    }

    #[test]
    fn a_header_that_would_change_the_meaning_is_refused() {
        let name = "if-unmodified-since";
        let mut headers = HeaderMap::new();
        headers.insert(
            HeaderName::from_static(name),
            HeaderValue::from_static("\"x\""),
        );
        assert!(refuse_what_is_not_obeyed(&headers).is_err(), "{name}");
        assert!(refuse_what_is_not_obeyed(&HeaderMap::new()).is_ok());
    }
}
