//! `/openapi.json`, and `/docs`: swagger-ui, from the binary and without a network.

use crate::http::{
    dashboard, openapi,
    problem::{Kind, Problem},
};
use axum::{
    body::Body,
    extract::Request,
    http::{HeaderValue, header},
    response::{IntoResponse, Redirect, Response},
};
use std::{
    borrow::Cow,
    sync::{Arc, LazyLock},
};
use utoipa_swagger_ui::Config;

/// swagger-ui sets styles of its own and draws with `data:` images.
const CONTENT_POLICY: &str = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
     object-src 'none'; base-uri 'none'; frame-ancestors 'none'";

static CONFIG: LazyLock<Arc<Config<'static>>> =
    LazyLock::new(|| Arc::new(Config::from("/openapi.json")));
static DOCUMENT: LazyLock<String> = LazyLock::new(openapi::document);

/// The document.
pub async fn openapi_json() -> Response {
    (
        [
            (header::CONTENT_TYPE, "application/json"),
            (header::CACHE_CONTROL, "no-cache"),
        ],
        DOCUMENT.as_str(),
    )
        .into_response()
}

/// swagger-ui's own links are relative to `/docs/`.
pub async fn redirect() -> Redirect {
    Redirect::permanent("/docs/")
}

/// A file of swagger-ui.
pub async fn file(request: Request) -> Result<Response, Problem> {
    let path = request.uri().path().trim_start_matches("/docs/");
    let found = utoipa_swagger_ui::serve(path, CONFIG.clone());
    let Ok(Some(file)) = found else {
        return Err(Problem::new(
            Kind::NotFound,
            "the documentation has no such file",
        ));
    };
    let bytes = match file.bytes {
        Cow::Borrowed(bytes) => Body::from(bytes),
        Cow::Owned(bytes) => Body::from(bytes),
    };
    let mut response = ([(header::CONTENT_TYPE, file.content_type)], bytes).into_response();
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    dashboard::protect(response.headers_mut(), CONTENT_POLICY);
    Ok(response)
}
