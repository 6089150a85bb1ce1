//! The files of `static/`, embedded: dashboard and whatever belongs to it.

use crate::http::problem::{Kind, Problem};
use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use rust_embed::{EmbeddedFile, RustEmbed};
use std::{borrow::Cow, fmt::Write};

#[derive(RustEmbed)]
#[folder = "static/"]
#[allow_missing = true]
struct Files;

/// What pages of ours may do: everything from here, nothing from elsewhere, no inline script.
const CONTENT_POLICY: &str = "default-src 'self'; img-src 'self' data: blob:; connect-src 'self'; object-src 'none'; \
     base-uri 'none'; frame-ancestors 'none'";

/// Every path that is nothing else: a file, or nothing.
pub async fn fallback(request: Request) -> Result<Response, Problem> {
    let path = request.uri().path().trim_start_matches('/');
    file(request.method(), path, request.headers())
}

/// A file by its path in `static/`.
pub fn file(method: &Method, path: &str, headers: &HeaderMap) -> Result<Response, Problem> {
    let Some(file) = Files::get(path) else {
        return Err(Problem::new(
            Kind::NotFound,
            "there is no such resource; /api/v1 and /openapi.json tell what there is",
        ));
    };
    if !matches!(*method, Method::GET | Method::HEAD) {
        return Err(Problem::new(Kind::MethodNotAllowed, "files are only read")
            .with_header(header::ALLOW, HeaderValue::from_static("GET,HEAD")));
    }
    let etag = etag(&file);
    let is_known = headers
        .get(header::IF_NONE_MATCH)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|tags| {
            tags.split(',')
                .any(|tag| tag.trim().trim_start_matches("W/") == etag)
        });
    let mut response = match is_known {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => content(file),
    };
    let headers = response.headers_mut();
    if let Ok(etag) = HeaderValue::try_from(etag) {
        headers.insert(header::ETAG, etag);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    protect(headers, CONTENT_POLICY);
    Ok(response)
}

/// The headers of every page of ours.
pub fn protect(headers: &mut HeaderMap, content_policy: &'static str) {
    let fixed = [
        (header::CONTENT_SECURITY_POLICY, content_policy),
        (header::REFERRER_POLICY, "no-referrer"),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("permissions-policy"),
            "camera=(), microphone=(), geolocation=()",
        ),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

fn content(file: EmbeddedFile) -> Response {
    let content_type = file.metadata.mimetype();
    let content_type =
        match content_type.starts_with("text/") || content_type == "application/javascript" {
            true => format!("{content_type}; charset=utf-8"),
            false => content_type.to_owned(),
        };
    let bytes = match file.data {
        Cow::Borrowed(bytes) => Body::from(bytes),
        Cow::Owned(bytes) => Body::from(bytes),
    };
    ([(header::CONTENT_TYPE, content_type)], bytes).into_response()
}

fn etag(file: &EmbeddedFile) -> String {
    let mut etag = String::from("\"");
    for byte in &file.metadata.sha256_hash()[..12] {
        // writing to a String cannot fail
        let _ = write!(etag, "{byte:02x}");
    }
    etag.push('"');
    etag
}
