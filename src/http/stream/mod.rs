//! `GET /api/v1/stream`: messages as they come, as Server-Sent Events or NDJSON, over one code path.
//!
//! In this version a stream is live: its events carry no ids, so a browser that reconnects starts afresh, with the
//! retained messages of its filters.

mod framing;
mod outgoing;
mod random;
mod writer;

use crate::{
    auth::identity::Identity,
    http::{
        State,
        envelope::{self, PAYLOAD_FORMS, PayloadForm},
        extract,
        handover::{Leaving, Socket},
        negotiate,
        problem::{Kind, Problem, ProblemBody},
        query::Query,
        serve::Connection,
    },
    mqtt::topic::TopicFilter,
};
use axum::{
    body::Body,
    extract::{self as axum_extract, Request},
    http::{HeaderMap, HeaderName, HeaderValue, Method, Version, header},
    response::{IntoResponse, Response},
};
use framing::Framing;
use hyper::body::Body as _;
use outgoing::Coding;
use std::{io, sync::Arc, time::Duration};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

static LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
static ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Whether retained messages come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Retained {
    /// When the stream starts afresh and after a gap. Without ids every stream starts afresh.
    Wanted,
    Never,
}

/// What a client asked for.
#[derive(Debug)]
struct Wishes {
    filters: Vec<TopicFilter>,
    framing: Framing,
    retained: Retained,
    payload: PayloadForm,
    heartbeat: Duration,
    max_age: Duration,
    /// The client says where it left off, which this version cannot know.
    lost_track: bool,
    /// Real status codes also for conditions that pass.
    strict: bool,
}

/// Listen.
///
/// Messages that match any of the filters, as they are published, after the retained ones. The first event is
/// `ready`; messages are unnamed events with an envelope each. `gap` says that something may be missing, `bye` that
/// the stream ends and whether to come back.
#[utoipa::path(
    get,
    path = "/api/v1/stream",
    operation_id = "stream",
    tag = "stream",
    params(
        ("topic" = Vec<String>, Query, description = "A topic filter; repeatable. `#` must be written `%23`.", example = "home/%23"),
        ("retained" = Option<String>, Query, description = "`auto`, `always` or `never`: whether retained messages come first."),
        ("payload" = Option<String>, Query, description = "How payloads are written: `auto`, `base64` or `none`."),
        ("heartbeat" = Option<u64>, Query, description = "Seconds between signs of life.", minimum = 5, maximum = 60),
        ("max_age" = Option<u64>, Query, description = "Seconds, at most, until the stream ends with `bye`.", minimum = 60, maximum = 86400),
        ("strict" = Option<bool>, Query, description = "Answer 503 when busy, also to an EventSource, which then never comes back."),
        ("Accept" = Option<String>, Header, description = "`text/event-stream` (the default) or `application/x-ndjson`."),
    ),
    responses(
        (status = 200, description = "Endless.", content((String = "text/event-stream"), (envelope::Envelope = "application/x-ndjson"))),
        (status = 400, description = "`filter-invalid`, `parameter-invalid`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 403, description = "`not-authorized`, `not-supported`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 406, description = "`not-acceptable`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "`overloaded`, `shutting-down`", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn get(
    axum_extract::State(state): axum_extract::State<Arc<State>>,
    request: Request,
) -> Result<Response, Problem> {
    let wishes = wishes(&state, &request)?;
    let mut headers = headers(wishes.framing);
    if request.method() == Method::HEAD {
        return Ok(headers.into_response());
    }
    let source = match state.broker.stream(Identity::anonymous(), &wishes.filters) {
        Ok(source) => source,
        Err(refused) => {
            return busy(refused.into(), &wishes, request.headers())
                .map(IntoResponse::into_response);
        }
    };
    let connection = request.extensions().get::<Connection>().cloned();
    let Some(connection) = connection else {
        let detail = "the connection cannot be handed over";
        return Err(Problem::new(Kind::Internal, detail));
    };
    let writer = writer::Writer::new(source, &wishes, state.broker.clone(), state.config.drain);
    let mut course = Course {
        writer,
        coding: match request.version() {
            Version::HTTP_11 => Coding::Chunked,
            _ => Coding::ToTheEnd,
        },
        last: is_last(&request),
    };
    if course.last {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    let opening = course.writer.opening();
    let body = Leaving::new(opening, Box::new(course), connection.handover());
    Ok((headers, Body::new(body)).into_response())
}

/// The part of a stream that is written without hyper.
pub struct Course {
    writer: writer::Writer,
    coding: Coding,
    last: bool,
}

impl Course {
    /// Writes the stream to its end. True if the connection may then be asked for something else.
    pub async fn run<S: AsyncRead + AsyncWrite + Unpin, T>(
        mut self: Box<Self>,
        socket: &mut Socket<S, T>,
        stopping: &CancellationToken,
    ) -> io::Result<bool> {
        self.writer.run(socket, self.coding, stopping).await?;
        Ok(!self.last)
    }
}

/// Whether nothing can come behind this request: the client said so, or nobody will read the body it announced, which
/// must not be taken for another request.
fn is_last(request: &Request) -> bool {
    let closes = request.headers().get_all(header::CONNECTION);
    let closes = closes.iter().filter_map(|value| value.to_str().ok());
    request.version() != Version::HTTP_11
        || !request.body().is_end_stream()
        || closes
            .flat_map(|value| value.split(','))
            .any(|token| token.trim().eq_ignore_ascii_case("close"))
}

fn wishes(state: &State, request: &Request) -> Result<Wishes, Problem> {
    let headers = request.headers();
    let mut query = Query::parse(request.uri().query())?;
    let filters = extract::filters(&mut query, &state.rules)?;
    refuse_history(&mut query)?;
    let retained = [
        ("auto", Retained::Wanted),
        ("always", Retained::Wanted),
        ("never", Retained::Never),
    ];
    let wishes = Wishes {
        filters,
        framing: Framing::negotiate(headers)?,
        retained: query
            .choice("retained", &retained)?
            .unwrap_or(Retained::Wanted),
        payload: query.choice("payload", PAYLOAD_FORMS)?.unwrap_or_default(),
        heartbeat: Duration::from_secs(query.number("heartbeat", 5..=60)?.unwrap_or(15)),
        max_age: Duration::from_secs(query.number("max_age", 60..=86_400)?.unwrap_or(600)),
        lost_track: headers.get(&LAST_EVENT_ID).is_some_and(|id| !id.is_empty()),
        strict: query.flag("strict")?.unwrap_or(false),
    };
    query.finish()?;
    Ok(wishes)
}

/// `since=now` is what happens anyway; the rest must not look as if it worked.
fn refuse_history(query: &mut Query<'_>) -> Result<(), Problem> {
    if query.take("since")?.is_some_and(|since| since != "now") {
        return Err(Problem::parameter(
            "since",
            "streams of this version are live only: leave it out or say now",
        ));
    }
    match query.take("last")? {
        Some(_) => Err(Problem::parameter(
            "last",
            "streams of this version are live only",
        )),
        None => Ok(()),
    }
}

fn headers(framing: Framing) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(framing.content_type()),
    );
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("no-store, no-transform"),
    );
    headers.insert(header::VARY, HeaderValue::from_static("Accept, Origin"));
    // nginx holds a stream back to its end otherwise
    headers.insert(ACCEL_BUFFERING.clone(), HeaderValue::from_static("no"));
    headers
}

/// Any status but 200 makes an EventSource give up for good, so what will pass is said inside a short stream.
fn busy(
    problem: Problem,
    wishes: &Wishes,
    asked: &HeaderMap,
) -> Result<(HeaderMap, Body), Problem> {
    let is_event_source =
        wishes.framing == Framing::Sse && negotiate::names(asked, framing::SSE_TYPE);
    if !problem.is_temporary() || !is_event_source || wishes.strict {
        return Err(problem);
    }
    let goodbye = writer::busy_goodbye(&problem);
    Ok((headers(wishes.framing), Body::from(goodbye)))
}
