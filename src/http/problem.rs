//! What went wrong, as a status and `application/problem+json`: the only place where errors become answers.
//!
//! A [`Problem`] travels in the response's extensions until the outermost layer knows the request's id and writes it
//! out ([`finish`]). An error that the framework answered in its own words becomes a problem there, too.

mod kind;

pub use kind::{Kind, TYPE_BASE};

use crate::{
    broker::Refused, http::idempotency::Remember, metrics::Refusal, mqtt::reason::ReasonCode,
};
use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header},
    response::IntoResponse,
};
use serde::Serialize;
use std::{borrow::Cow, time::Duration};
use utoipa::ToSchema;

/// One thing wrong with one part of the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Fault {
    /// The query parameter, header or member of a message it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameter: Option<String>,
    /// The message of a batch it is about, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<usize>,
    /// What is wrong with it.
    pub detail: String,
}

impl Fault {
    /// Of one message of a batch.
    pub fn item(index: usize, problem: &Problem) -> Self {
        Fault {
            parameter: None,
            index: Some(index),
            detail: problem.detail.clone().into_owned(),
        }
    }
}

/// An error on its way to the client.
#[derive(Debug, Clone)]
pub struct Problem {
    kind: Kind,
    detail: Cow<'static, str>,
    reason: Option<ReasonCode>,
    counted: Option<Refusal>,
    errors: Vec<Fault>,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// Something may have been done all the same.
    outcome_unknown: bool,
    /// Although the kind is for good, this one may pass.
    may_pass: bool,
    /// In seconds.
    retry_after: Option<u64>,
}

impl Problem {
    /// A problem of `kind`; `detail` says what it was this time, and how to mend it.
    pub fn new(kind: Kind, detail: impl Into<Cow<'static, str>>) -> Self {
        Problem {
            kind,
            detail: detail.into(),
            reason: kind.row().3,
            counted: None,
            errors: Vec::new(),
            headers: Vec::new(),
            outcome_unknown: false,
            may_pass: false,
            retry_after: None,
        }
    }

    /// What came was no request, and got this status from who reads them.
    pub fn no_request(status: StatusCode) -> Self {
        let detail = match Kind::of_status(status) {
            Kind::UriTooLong => {
                "the target may have 65534 bytes; long topics can go in the body, as JSON"
            }
            Kind::HeadTooLarge => {
                "request line and headers may have 80 KiB together, and 100 headers"
            }
            _ => {
                "it is no HTTP/1.1: look at the request line, the headers, and the length of the body"
            }
        };
        Problem::new(Kind::of_status(status), detail)
    }

    /// One query parameter or header is wrong.
    pub fn parameter(name: &str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Problem {
            errors: vec![Fault {
                parameter: Some(name.to_owned()),
                index: None,
                detail: detail.clone(),
            }],
            ..Problem::new(
                Kind::ParameterInvalid,
                format!("{}: {detail}", name.escape_debug()),
            )
        }
    }

    /// The same with one more header in the answer.
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// The same, counted as this.
    pub fn count_as(mut self, refusal: Refusal) -> Self {
        self.counted = Some(refusal);
        self
    }

    /// The same with what is wrong with the parts of the request.
    pub fn with_errors(mut self, errors: Vec<Fault>) -> Self {
        self.errors = errors;
        self
    }

    /// The same; unless `is_final`, it may pass.
    pub fn for_now_unless(mut self, is_final: bool) -> Self {
        self.may_pass = !is_final;
        self
    }

    /// Which kind it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What it is counted as, where the broker refused; other problems are counted by their kind.
    pub fn counted(&self) -> Option<Refusal> {
        self.counted
    }

    /// What it was this time.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The MQTT reason code that says the same.
    pub fn reason(&self) -> Option<ReasonCode> {
        self.reason
    }

    /// Whether something may have been done all the same.
    pub fn is_outcome_unknown(&self) -> bool {
        self.outcome_unknown
    }

    /// Whether the same request of anybody would be refused again: it does not depend on who asks, nor when.
    pub fn is_final(&self) -> bool {
        let status = self.kind.status();
        let passes = matches!(
            status,
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS
        );
        status.is_client_error() && !passes && !self.may_pass
    }

    /// Whether waiting may help: what tells an `EventSource` to come back instead of giving up.
    pub fn is_temporary(&self) -> bool {
        matches!(
            self.kind,
            Kind::Overloaded | Kind::ShuttingDown | Kind::QuotaExceeded
        )
    }

    /// The JSON text for the request `id`.
    pub fn render(&self, id: &str) -> Vec<u8> {
        // strings and numbers always have a JSON form
        serde_json::to_vec(&self.body(format!("/requests/{id}"))).unwrap_or_default()
    }

    /// As clients see it; `instance` leads to the log.
    pub fn body(&self, instance: String) -> ProblemBody {
        let (_, status, title, _) = self.kind.row();
        ProblemBody {
            r#type: self.kind.type_uri(),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: self.detail.clone().into_owned(),
            instance,
            reason_code: self.reason.map(|reason| reason as u8),
            errors: self.errors.clone(),
            outcome: self.outcome_unknown.then_some("unknown"),
            retry_after: self.retry_after,
        }
    }
}

/// An error as clients see it (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody {
    /// Names the kind; stable.
    #[schema(
        format = "uri",
        example = "https://tidegate.dev/problems/topic-invalid"
    )]
    r#type: String,
    /// The kind for people.
    title: String,
    /// The HTTP status.
    #[schema(example = 400)]
    status: u16,
    /// What it was this time.
    detail: String,
    /// `/requests/` and the answer's Request-Id, for the log; over a WebSocket `/clients/` and the client's name.
    instance: String,
    /// The MQTT reason code that says the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason_code: Option<u8>,
    /// Which parts of the request are wrong.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Fault>,
    /// `unknown`: it may have been done all the same. A retry with the same Idempotency-Key is safe.
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'static str>,
    /// As the header Retry-After, in seconds, for where there are no headers.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        let detail = refused.to_string();
        let reason = refused.reason();
        let mut problem = match refused {
            Refused::NotAuthorized(_) => Problem::new(Kind::NotAuthorized, detail),
            Refused::TopicReserved => Problem::new(Kind::TopicReserved, detail),
            Refused::TopicTooDeep | Refused::TopicTooLong => {
                Problem::new(Kind::TopicInvalid, detail)
            }
            Refused::QosNotSupported
            | Refused::WildcardsNotSupported
            | Refused::SharedNotSupported => Problem::new(Kind::NotSupported, detail),
            Refused::RetainNotSupported => Problem::new(Kind::RetainUnsupported, detail),
            Refused::PreconditionFailed => return Problem::new(Kind::PreconditionFailed, detail),
            Refused::FilterInvalid(_) => Problem::new(Kind::FilterInvalid, detail),
            Refused::PayloadTooLarge | Refused::MessageTooLarge => {
                Problem::new(Kind::PayloadTooLarge, detail)
            }
            Refused::PayloadFormatInvalid => Problem::new(Kind::PayloadFormatInvalid, detail),
            Refused::TooMany { .. } => Problem::new(Kind::QuotaExceeded, detail).retry_later(),
            Refused::TooFast { wait } => {
                Problem::new(Kind::QuotaExceeded, detail).retry_after(wait)
            }
            Refused::ShuttingDown => Problem::new(Kind::ShuttingDown, detail).retry_later(),
            Refused::StorageFailed => {
                Problem::new(Kind::StorageUnavailable, detail).with_unknown_outcome()
            }
            Refused::Storage(_) | Refused::RetainedFull { .. } => {
                Problem::new(Kind::StorageUnavailable, detail).retry_later()
            }
        };
        problem.reason = Some(reason);
        problem.counted = Some(refused.kind());
        problem
    }
}

impl Problem {
    fn with_unknown_outcome(mut self) -> Self {
        self.outcome_unknown = true;
        self
    }

    /// The same, and to be tried again in a moment.
    pub fn retry_later(self) -> Self {
        self.retry_after(Duration::ZERO)
    }

    /// The same, and to be tried again when so much time is over: told in whole seconds, at least one.
    pub fn retry_after(mut self, wait: Duration) -> Self {
        let seconds = wait.as_millis().div_ceil(1000).max(1) as u64;
        self.retry_after = Some(seconds);
        self.with_header(header::RETRY_AFTER, seconds.into())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> axum::response::Response {
        let mut response = self.kind.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Marks an answer with an error status and a body of its own that is no problem document, such as that of `/readyz`.
#[derive(Debug, Clone, Copy)]
pub struct OwnWords;

/// Writes the problem of a response out, if there is one, as the answer to the request `id`.
pub fn finish(mut response: axum::response::Response, id: &str) -> axum::response::Response {
    if response.extensions().get::<OwnWords>().is_some() {
        return response;
    }
    let problem = match response.extensions_mut().remove::<Problem>() {
        Some(problem) => problem,
        None => match in_other_words(response.status()) {
            Some(problem) => problem,
            None => return response,
        },
    };
    let (mut head, _) = response.into_parts();
    head.headers.remove(header::CONTENT_LENGTH);
    head.headers.extend(headers());
    for (name, value) in &problem.headers {
        head.headers.append(name, value.clone());
    }
    let body = problem.render(id);
    if let Some(remember) = head.extensions.remove::<Remember>() {
        remember.as_written(head.status, &body);
    }
    Response::from_parts(head, Body::from(body))
}

/// The headers of every problem document.
pub fn headers() -> HeaderMap {
    HeaderMap::from_iter([
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        ),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ])
}

/// The problem behind an error status that somebody else chose.
fn in_other_words(status: StatusCode) -> Option<Problem> {
    if !status.is_client_error() && !status.is_server_error() {
        return None;
    }
    let detail = status.canonical_reason().unwrap_or("the request failed");
    Some(Problem::new(Kind::of_status(status), detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(response: axum::response::Response) -> serde_json::Value {
        let body = futures_util::FutureExt::now_or_never(axum::body::to_bytes(
            response.into_body(),
            65_536,
        ));
        serde_json::from_slice(&body.unwrap().unwrap()).unwrap()
    }

    #[test]
    fn an_error_in_words_of_its_own_is_left_as_it_is() {
        let mut response = (
            StatusCode::SERVICE_UNAVAILABLE,
            "{\"status\":\"not-ready\"}",
        )
            .into_response();
        response.extensions_mut().insert(OwnWords);
        let response = finish(response, "r-1");
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(read(response)["status"], "not-ready");
    }

    #[test]
    fn a_problem_names_its_type_its_request_and_the_mqtt_reason() {
        let response = finish(
            Problem::new(Kind::TopicInvalid, "it is empty").into_response(),
            "r-1",
        );
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        assert_eq!(
            response.headers()[header::CONTENT_TYPE],
            "application/problem+json"
        );
        assert_eq!(
            read(response),
            serde_json::json!({
                "type": "https://tidegate.dev/problems/topic-invalid", "title": "Not a topic name", "status": 400,
                "detail": "it is empty", "instance": "/requests/r-1", "reason_code": 0x90,
            })
        );
    }

    #[test]
    fn a_wrong_parameter_is_named() {
        let body = read(finish(
            Problem::parameter("qos", "0, 1 or 2").into_response(),
            "r",
        ));
        assert_eq!(
            body["errors"],
            serde_json::json!([{"parameter": "qos", "detail": "0, 1 or 2"}])
        );
    }

    #[test]
    fn the_frameworks_own_errors_become_problems() {
        let plain = (
            StatusCode::METHOD_NOT_ALLOWED,
            [(header::ALLOW, "GET")],
            "text",
        )
            .into_response();
        let response = finish(plain, "r");
        assert_eq!(response.headers()[header::ALLOW], "GET");
        assert_eq!(
            read(response)["type"],
            "https://tidegate.dev/problems/method-not-allowed"
        );
    }

    #[test]
    fn an_answer_that_is_no_error_is_left_alone() {
        let response = finish(
            (StatusCode::NOT_MODIFIED, [(header::ETAG, "\"x\"")]).into_response(),
            "r",
        );
        assert_eq!(response.headers().get(header::CONTENT_TYPE), None);
    }

    #[test]
    fn what_passes_says_when_to_try_again() {
        let response = finish(Problem::from(Refused::ShuttingDown).into_response(), "r");
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
        assert_eq!(read(response)["reason_code"], 0x8B);
    }
}
