//! The outermost layers: every answer carries an id, every error its problem, and a panic stays one request's.

use crate::http::problem::{self, Kind, Problem};
use axum::{
    extract::Request,
    http::{HeaderName, HeaderValue},
    middleware::Next,
    response::{IntoResponse, Response},
};
use std::{
    any::Any,
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

/// Names the request in the answer, in the log and in a problem's `instance`.
static REQUEST_ID: HeaderName = HeaderName::from_static("request-id");

/// Gives the request an id, notes how it went, and writes out the problem it ended in.
///
/// The query is never logged: it may carry secrets.
pub async fn receive(request: Request, next: Next) -> Response {
    let id = next_id();
    let method = request.method().clone();
    let path = tracing::enabled!(tracing::Level::DEBUG).then(|| request.uri().path().to_owned());
    let begun = Instant::now();
    let response = next.run(request).await;
    let refused = response
        .extensions()
        .get::<Problem>()
        .map(|problem| problem.kind().slug());
    let status = response.status().as_u16();
    tracing::debug!(
        target: "tidegate::http", id, %method, path, status, refused, micros = begun.elapsed().as_micros() as u64,
        "answered"
    );
    let mut response = problem::finish(response, &id);
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID.clone(), value);
    }
    response
}

/// What a client is told when a handler panicked: nothing but its request's id.
pub fn after_panic(_: Box<dyn Any + Send + 'static>) -> Response {
    tracing::error!(target: "tidegate::http", "a request handler panicked");
    Problem::new(Kind::Internal, "the request's id leads to the log entry").into_response()
}

/// Unique in this run; the random part tells runs apart.
fn next_id() -> String {
    static RUN: LazyLock<u32> = LazyLock::new(|| getrandom::u32().unwrap_or_default());
    static COUNT: AtomicU64 = AtomicU64::new(1);
    format!("{:08x}-{:x}", *RUN, COUNT.fetch_add(1, Ordering::Relaxed))
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
