//! `GET /api/v1/stream`: messages as they come, as Server-Sent Events or NDJSON, over one code path.
//!
//! Every event carries the place in the log up to which everything was delivered, so a browser that reconnects goes on
//! exactly there; whatever may be missing nevertheless is told as a gap.

mod framing;
mod outgoing;
mod random;
mod writer;

use crate::{
    auth::rules::Via,
    broker::resume::Start,
    http::{
        State, caller,
        envelope::{self, PAYLOAD_FORMS, PayloadForm},
        extract,
        handover::{Leaving, Socket},
        negotiate,
        problem::{Kind, Problem, ProblemBody},
        query::Query,
        serve::Connection,
        since::{self, RETAINED, Retained},
        topics::CURSOR,
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
use futures_util::StreamExt;
use hyper::body::Body as _;
use outgoing::Coding;
#[cfg(test)]
pub use outgoing::Outgoing;
use std::{convert::Infallible, io, sync::Arc, time::Duration};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

static LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
static ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// What a client asked for.
#[derive(Debug)]
struct Wishes {
    filters: Vec<TopicFilter>,
    framing: Framing,
    retained: Retained,
    payload: PayloadForm,
    heartbeat: Duration,
    heartbeat_ids: bool,
    max_age: Duration,
    start: Start,
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
        ("since" = Option<String>, Query, description = "Where to begin: a cursor, `earliest`, `now`, a time (RFC 3339), or how long ago (`45s`, `10m`, `2h`)."),
        ("last" = Option<u64>, Query, description = "Begin with so many messages that are there.", minimum = 1, maximum = 1000),
        ("Last-Event-ID" = Option<String>, Header, description = "As `since`, which it overrules: browsers send it when they come back."),
        ("retained" = Option<String>, Query, description = "Whether retained messages come first: `auto` (when the stream starts afresh, and after a gap), `always`, `never`."),
        ("payload" = Option<String>, Query, description = "How payloads are written: `auto`, `base64` or `none`."),
        ("heartbeat" = Option<u64>, Query, description = "Seconds between signs of life.", minimum = 5, maximum = 60),
        ("heartbeat_ids" = Option<bool>, Query, description = "Whether signs of life tell a cursor (the default)."),
        ("max_age" = Option<u64>, Query, description = "Seconds, at most, until the stream ends with `bye`.", minimum = 60, maximum = 86400),
        ("strict" = Option<bool>, Query, description = "Answer 503 when busy, also to an EventSource, which then never comes back."),
        ("Accept" = Option<String>, Header, description = "`text/event-stream` (the default) or `application/x-ndjson`."),
    ),
    responses(
        (status = 200, description = "Endless.", content((String = "text/event-stream"), (envelope::Envelope = "application/x-ndjson"))),
        (status = 400, description = "`filter-invalid`, `parameter-invalid`, `shared-sub-cursor`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 403, description = "`not-authorized`, `not-supported`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 406, description = "`not-acceptable`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 429, description = "`quota-exceeded`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "`overloaded`, `shutting-down`", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn get(
    axum_extract::State(state): axum_extract::State<Arc<State>>,
    request: Request,
) -> Result<Response, Problem> {
    let wishes = wishes(&state, &request)?;
    let caller = caller::by(&state, request.extensions(), Via::Sse)?;
    let mut headers = headers(wishes.framing);
    let is_head = request.method() == Method::HEAD;
    let opened = state.broker.stream(caller, &wishes.filters, wishes.start);
    let mut source = match opened {
        Ok(source) => source,
        Err(refused) if is_head => return Err(refused.into()),
        Err(refused) => {
            return busy(refused.into(), &wishes, request.headers())
                .map(IntoResponse::into_response);
        }
    };
    if let Some(cursor) = source.beginning() {
        // a cursor is ASCII
        let cursor = HeaderValue::from_str(&cursor.to_string());
        headers.extend(cursor.ok().map(|cursor| (CURSOR.clone(), cursor)));
    }
    if is_head {
        return Ok(headers.into_response());
    }
    let connection = request.extensions().get::<Connection>().cloned();
    let Some(connection) = connection else {
        let detail = "the connection cannot be handed over";
        return Err(Problem::new(Kind::Internal, detail));
    };
    let writer = writer::Writer::new(source, &wishes, state.broker.clone(), state.config.drain);
    if request.version() == Version::HTTP_2 {
        // it shares its connection with other requests, so hyper has to write it
        let stopping = state.shutdown.child_token();
        let chunks = writer.chunks(stopping).map(Ok::<_, Infallible>);
        return Ok((headers, Body::from_stream(chunks)).into_response());
    }
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
    let since = since::start(&mut query, state.broker.now())?;
    since::refuse_shared(&filters, since)?;
    // a browser repeats the URL it began with, and tells in the header how far it came
    let last_id = headers.get(&LAST_EVENT_ID).filter(|id| !id.is_empty());
    let start = last_id.map_or(since, |id| {
        Start::After(id.to_str().ok().and_then(|id| id.parse().ok()))
    });
    let wishes = Wishes {
        filters,
        framing: Framing::negotiate(headers)?,
        retained: query.choice("retained", RETAINED)?.unwrap_or_default(),
        payload: query.choice("payload", PAYLOAD_FORMS)?.unwrap_or_default(),
        heartbeat: Duration::from_secs(query.number("heartbeat", 5..=60)?.unwrap_or(15)),
        heartbeat_ids: query.flag("heartbeat_ids")?.unwrap_or(true),
        max_age: Duration::from_secs(query.number("max_age", 60..=86_400)?.unwrap_or(600)),
        start,
        strict: query.flag("strict")?.unwrap_or(false),
    };
    query.finish()?;
    Ok(wishes)
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
