//! `Idempotency-Key`: a request that is sent again is answered again, and done once.
//!
//! (draft-ietf-httpapi-idempotency-key-header.) The key and the answer are one log record with the message; here is how
//! the key is written, what makes two requests the same, and how an answer is kept.

use crate::{
    auth::identity::Identity,
    broker::idempotency::{Met, Running},
    http::{
        State,
        problem::{Kind, OwnWords, Problem},
        topics::CURSOR,
    },
    store::once::Fingerprint,
};
use axum::{
    Extension,
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// The header that carries the key.
pub static KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Says that the request was done before.
static REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// Longest key, in bytes.
const LONGEST: usize = 128;

/// The key of a request, if it has one: a string of a structured field (RFC 9651), or without its quotes.
pub fn key(headers: &HeaderMap) -> Result<Option<Arc<str>>, Problem> {
    let mut values = headers.get_all(&KEY).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let wrong = |detail: &str| Problem::parameter("Idempotency-Key", detail);
    if values.next().is_some() {
        return Err(wrong("given more than once"));
    }
    let text = value.to_str().unwrap_or_default().trim();
    let key = match text.strip_prefix('"') {
        Some(rest) => unquoted(rest),
        None => Some(text.to_owned()).filter(|text| !text.contains(['"', '\\', ',', ';'])),
    };
    key.filter(|key| is_key(key))
        .map(|key| Some(key.into()))
        .ok_or_else(|| wrong("1 to 128 visible ASCII characters in quotes, as in \"8e03978e\""))
}

/// The key of a request that is a single message: as the header said it, or as the message says it.
pub fn key_of_message(
    header: Option<Arc<str>>,
    member: Option<&str>,
) -> Result<Option<Arc<str>>, Problem> {
    let wrong = |detail: &str| Err(Problem::parameter("idempotency_key", detail));
    match (header, member) {
        (header, None) => Ok(header),
        (_, Some(member)) if !is_key(member) => wrong("1 to 128 visible ASCII characters"),
        (Some(header), Some(member)) if *header != *member => {
            wrong("the header Idempotency-Key says another one")
        }
        (_, Some(member)) => Ok(Some(member.into())),
    }
}

fn is_key(text: &str) -> bool {
    (1..=LONGEST).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// What stands in front of the closing quote, which must be the end.
fn unquoted(rest: &str) -> Option<String> {
    let mut key = String::with_capacity(rest.len());
    let mut characters = rest.chars();
    loop {
        match characters.next()? {
            '"' => return characters.next().is_none().then_some(key),
            '\\' => match characters.next()? {
                escaped @ ('"' | '\\') => key.push(escaped),
                _ => return None,
            },
            plain => key.push(plain),
        }
    }
}

/// What all these parts together are known by.
pub fn fingerprint<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Fingerprint {
    let mut hash = Sha256::new();
    for part in parts {
        // with its length, so that nothing passes for a part beside it
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// An answer that can be given again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// The cursor of the one message, if it was one.
    pub cursor: Option<String>,
    /// JSON, or nothing.
    pub body: Vec<u8>,
}

impl Answer {
    /// As it is kept.
    pub fn kept(&self) -> Box<[u8]> {
        let cursor = self.cursor.as_deref().unwrap_or_default().as_bytes();
        let mut out = Vec::with_capacity(3 + cursor.len() + self.body.len());
        out.extend_from_slice(&self.status.as_u16().to_be_bytes());
        out.push(cursor.len() as u8); // at most 29
        out.extend_from_slice(cursor);
        out.extend_from_slice(&self.body);
        out.into()
    }

    fn read(kept: &[u8]) -> Option<Self> {
        let (status, rest) = kept.split_first_chunk()?;
        let (length, rest) = rest.split_first()?;
        let (cursor, body) = rest.split_at_checked((*length).into())?;
        let cursor = std::str::from_utf8(cursor).ok()?;
        Some(Answer {
            status: StatusCode::from_u16(u16::from_be_bytes(*status)).ok()?,
            cursor: (!cursor.is_empty()).then(|| cursor.to_owned()),
            body: body.to_vec(),
        })
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        let headers = response.headers_mut();
        let cursor = self
            .cursor
            .and_then(|text| HeaderValue::try_from(text).ok());
        if let Some(cursor) = cursor {
            headers.insert(CURSOR.clone(), cursor);
        }
        if self.status == StatusCode::NO_CONTENT {
            let preference = HeaderName::from_static("preference-applied");
            headers.insert(preference, HeaderValue::from_static("return=minimal"));
            return response;
        }
        let is_problem = self.status.is_client_error();
        let media_type = match is_problem {
            true => "application/problem+json",
            false => "application/json",
        };
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
        *response.body_mut() = Body::from(self.body);
        match is_problem {
            true => (Extension(OwnWords), response).into_response(),
            false => response,
        }
    }
}

/// What a request with a key meets.
pub enum First {
    /// It is new: to be done now.
    Fresh(Running),
    /// It was done before: this is its answer.
    Again(Response),
}

/// Begins a request that happens once.
pub async fn begin(
    state: &State,
    identity: &Identity,
    key: Arc<str>,
    fingerprint: Fingerprint,
) -> Result<First, Problem> {
    let user = identity.user().cloned();
    match state.broker.begin_once(user, key, fingerprint) {
        Met::New(running) => Ok(First::Fresh(running)),
        Met::InFlight => Err(Problem::new(
            Kind::IdempotencyInFlight,
            "the request with this key has not been answered yet; ask again",
        )
        .retry_later()),
        Met::Mismatch => Err(Problem::new(
            Kind::IdempotencyMismatch,
            "the key belongs to another request; a request of its own needs a key of its own",
        )),
        Met::Done(once) => {
            // whoever sent it first may have gone before it was durable
            let all = state.broker.everything_durable();
            state.broker.durable(all).await?;
            let answer = Answer::read(&once.answer);
            let answer = answer.ok_or_else(|| Problem::new(Kind::Internal, "no such answer"))?;
            let mut response = answer.into_response();
            let headers = response.headers_mut();
            headers.insert(REPLAYED.clone(), HeaderValue::from_static("true"));
            Ok(First::Again(response))
        }
    }
}

/// Marks the answer to a request that was refused and would be again, so that it is remembered as it is written out.
#[derive(Clone)]
pub struct Remember(Arc<Running>);

impl Remember {
    /// The problem was written out like this.
    pub fn as_written(&self, status: StatusCode, body: &[u8]) {
        let answer = Answer {
            status,
            cursor: None,
            body: body.to_vec(),
        };
        self.0.refused(answer.kept());
    }
}

/// The answer to a request with a key that was refused.
pub fn refused(running: Running, problem: Problem) -> Response {
    let is_final = problem.is_final();
    let mut response = problem.into_response();
    if is_final {
        let remember = Remember(Arc::new(running));
        response.extensions_mut().insert(remember);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key_of(values: &[&'static str]) -> Result<Option<String>, Kind> {
        let headers = values
            .iter()
            .map(|value| (KEY.clone(), HeaderValue::from_static(value)));
        match key(&headers.collect()) {
            Ok(key) => Ok(key.map(|key| key.to_string())),
            Err(problem) => Err(problem.kind()),
        }
    }

    #[test]
    fn a_key_stands_in_quotes_or_bare() {
        let long: &'static str = "x".repeat(128).leak();
        for (written, read) in [
            ("\"8e03978e-40d5\"", "8e03978e-40d5"),
            ("8e03978e-40d5", "8e03978e-40d5"),
            (" \"a\" ", "a"),
            (r#""a\"b\\c""#, r#"a"b\c"#),
            ("a/b+c==", "a/b+c=="),
            (long, long),
        ] {
            assert_eq!(key_of(&[written]), Ok(Some(read.to_owned())), "{written}");
        }
        assert_eq!(key_of(&[]), Ok(None));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let too_long: &'static str = "x".repeat(129).leak();
        for written in [
            "",
            "\"\"",
            "\"a",
            "\"a\"b",
            "\"a b\"",
            "a b",
            "a,b",
            "\"a\";p=1",
            r#""a\b""#,
            too_long,
            r#"a"b"#,
        ] {
            assert_eq!(key_of(&[written]), Err(Kind::ParameterInvalid), "{written}");
        }
        assert_eq!(key_of(&["a", "a"]), Err(Kind::ParameterInvalid));
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        let of = |parts: &[&'static str]| fingerprint(parts.iter().map(|part| part.as_bytes()));
        assert_eq!(of(&["ab", "c"]), of(&["ab", "c"]));
        assert_ne!(of(&["ab", "c"]), of(&["a", "bc"]));
        assert_ne!(of(&["ab", ""]), of(&["ab"]));
    }

    #[test]
    fn an_answer_is_kept_whole() {
        for (status, cursor, body) in [
            (StatusCode::OK, Some("k7q2m9xa-1"), "{}"),
            (StatusCode::NO_CONTENT, None, ""),
            (StatusCode::MULTI_STATUS, None, "{\"results\":[]}"),
        ] {
            let answer = Answer {
                status,
                cursor: cursor.map(str::to_owned),
                body: body.into(),
            };
            assert_eq!(Answer::read(&answer.kept()), Some(answer));
        }
        assert_eq!(Answer::read(&[]), None);
        assert_eq!(Answer::read(&[0, 200, 9]), None);
    }
}
