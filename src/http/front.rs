//! The outermost layers: every answer carries an id, every error its problem, and a panic stays one request's.

use crate::{
    http::{
        State,
        problem::{self, Kind, Problem},
        retained::http_date,
        serve::Connection,
    },
    listener::arrival::Peer,
    metrics::{METRICS, Refusal},
    observe::log::Escaped,
};
use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use std::{
    any::Any,
    fmt::{Display, Write},
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};
use tower_http::catch_panic::ResponseForPanic;

/// Names the request in the answer, in the log and in a problem's `instance`.
static REQUEST_ID: HeaderName = HeaderName::from_static("request-id");

static GUARDS: [(HeaderName, HeaderValue); 3] = [
    (
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    ),
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("same-origin"),
    ),
];

/// Gives the request an id, notes how it went, and writes out the problem it ended in.
///
/// The query is never logged: it may carry secrets.
pub async fn receive<F: Future<Output = Response>>(
    state: &State,
    request: Request,
    next: impl FnOnce(Request) -> F,
) -> Response {
    let id = next_id();
    let peer = request
        .extensions()
        .get::<Connection>()
        .map(|connection| connection.arrival.peer);
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let noted = tracing::enabled!(target: "tidegate::http", tracing::Level::DEBUG).then(|| {
        let path = request.uri().path().to_owned();
        (request.method().clone(), path, Instant::now())
    });
    let response = next(request).await;
    let status = response.status().as_u16();
    METRICS.responses(status).inc();
    let problem = response.extensions().get::<Problem>();
    if let Some((method, path, begun)) = noted {
        let refused = problem.map(|problem| problem.kind().slug());
        let micros = begun.elapsed().as_micros() as u64;
        tracing::debug!(target: "tidegate::http", id, %method, path, status, refused, micros, "answered");
    }
    if let Some(problem) = problem {
        let path = Escaped(uri.path());
        count(state, peer, problem, format_args!("{method} {path}, {id}"));
    }
    let mut response = problem::finish(response, &id);
    complete(response.headers_mut(), id);
    response
}

/// The whole answer to what was no request: hyper closes behind it.
pub fn no_request(state: &State, peer: Peer, status: StatusCode) -> Bytes {
    let (id, problem) = (next_id(), Problem::no_request(status));
    METRICS.responses(status.as_u16()).inc();
    count(state, Some(peer), &problem, &id);
    let body = problem.render(&id);
    let mut headers = problem::headers();
    complete(&mut headers, id);
    insert_date(&mut headers, state);
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    headers.insert(header::CONTENT_LENGTH, body.len().into());
    let mut answer = format!("HTTP/1.1 {status}\r\n").into_bytes();
    for (name, value) in &headers {
        answer.extend_from_slice(name.as_str().as_bytes());
        answer.extend_from_slice(b": ");
        answer.extend_from_slice(value.as_bytes());
        answer.extend_from_slice(b"\r\n");
    }
    answer.extend_from_slice(b"\r\n");
    answer.extend_from_slice(&body);
    answer.into()
}

/// Counts a refusal and notes it: what was wrong, which names the rule if there is one, and with what.
pub fn count(state: &State, peer: Option<Peer>, problem: &Problem, about: impl Display) {
    if let Some(peer) = peer
        && let Some(kind) = refusal(problem)
    {
        let (slug, detail) = (problem.kind().slug(), Escaped(problem.detail()));
        let why = format_args!("{slug}: {detail} ({about})");
        state.notes.refused(kind, peer, why, state.broker.uptime());
    }
}

/// What every answer carries: its id, and what keeps browsers from making more of it than it is. Pages of ours say
/// themselves what they may do.
fn complete(headers: &mut HeaderMap, id: String) {
    if let Ok(value) = HeaderValue::try_from(id) {
        headers.insert(REQUEST_ID.clone(), value);
    }
    for (name, value) in &GUARDS {
        if !headers.contains_key(name) {
            headers.insert(name, value.clone());
        }
    }
}

fn insert_date(headers: &mut HeaderMap, state: &State) {
    if let Ok(date) = HeaderValue::try_from(http_date(state.broker.now())) {
        headers.insert(header::DATE, date);
    }
}

/// The kind of refusal a problem is, if it is one.
pub fn refusal(problem: &Problem) -> Option<Refusal> {
    problem.counted().or_else(|| counted_as(problem.kind()))
}

/// What merely is not there is none.
fn counted_as(kind: Kind) -> Option<Refusal> {
    match kind {
        Kind::HostRejected => Some(Refusal::Host),
        Kind::OriginRejected => Some(Refusal::Origin),
        Kind::NotAuthenticated => Some(Refusal::Credentials),
        Kind::NotAuthorized | Kind::TopicReserved => Some(Refusal::NotAuthorized),
        Kind::TopicInvalid | Kind::FilterInvalid => Some(Refusal::Topic),
        Kind::PayloadTooLarge | Kind::UriTooLong | Kind::HeadTooLarge => Some(Refusal::TooLarge),
        Kind::PayloadFormatInvalid => Some(Refusal::Malformed),
        Kind::QuotaExceeded => Some(Refusal::Quota),
        Kind::NotSupported | Kind::RetainUnsupported => Some(Refusal::NotSupported),
        Kind::StorageUnavailable | Kind::Overloaded | Kind::ShuttingDown => Some(Refusal::Busy),
        Kind::NotFound | Kind::NotRetained | Kind::PreconditionFailed | Kind::Internal => None,
        _ => Some(Refusal::Request),
    }
}

/// What a client is told when a handler panicked: nothing but its request's id.
#[derive(Debug, Clone)]
pub struct AfterPanic;

impl ResponseForPanic for AfterPanic {
    type ResponseBody = Body;

    fn response_for_panic(&mut self, _: Box<dyn Any + Send + 'static>) -> Response {
        tracing::error!(target: "tidegate::http", "a request handler panicked");
        Problem::new(Kind::Internal, "the request's id leads to the log entry").into_response()
    }
}

/// Unique in this run; the random part tells runs apart.
fn next_id() -> String {
    static RUN: LazyLock<String> =
        LazyLock::new(|| format!("{:08x}-", getrandom::u32().unwrap_or_default()));
    static COUNT: AtomicU64 = AtomicU64::new(1);
    let mut id = String::with_capacity(RUN.len() + 16);
    id.push_str(&RUN);
    // writing to a String cannot fail
    let _ = write!(id, "{:x}", COUNT.fetch_add(1, Ordering::Relaxed));
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_ids_are_unique_and_safe_in_headers_and_paths() {
        let (one, other) = (next_id(), next_id());
        assert_ne!(one, other);
        assert!(
            one.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'),
            "{one}"
        );
    }
}
