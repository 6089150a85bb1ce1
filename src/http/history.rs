//! `GET /api/v1/messages`: a page of the log, and, if there is nothing yet, a wait for the next message.
//!
//! A read is a short stream: it begins where the caller says, is told the same gaps, and makes its filters recorded, so
//! that the next read finds what came in between.

use crate::{
    broker::{
        resume::{Gap, Start},
        stream::{Stream, StreamItem, place},
    },
    http::{
        State, caller,
        envelope::{self, PAYLOAD_FORMS, PayloadForm},
        extract,
        problem::{Kind, Problem, ProblemBody},
        query::Query,
        since,
    },
    message::{Delivery, Position},
};
use axum::{
    extract::{self as axum_extract, Request},
    http::header,
    response::{IntoResponse, Response},
};
use bytes::{BufMut, Bytes, BytesMut};
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, timeout_at};
use utoipa::ToSchema;

/// Messages in a page if nobody says how many.
const LIMIT: usize = 100;

/// Bytes after which a page ends, whatever its limit.
const PAGE_BYTES: usize = 8 * 1024 * 1024;

/// Messages that match, oldest first unless asked otherwise.
#[derive(ToSchema)]
#[schema(as = MessagePage)]
#[allow(dead_code)] // the page is written as it is read
pub struct PageBody {
    /// At most `limit`.
    messages: Vec<envelope::Envelope>,
    /// Where to go on: the next `since`, or with `order=desc` the next `until`.
    #[schema(example = "k7q2m9xa-10482")]
    cursor: String,
    /// Whether there is nothing more at the moment.
    complete: bool,
    /// What may be missing in front of the messages, as in a stream's `gap` event.
    gap: Option<GapBody>,
}

/// A range in which messages may be missing.
#[derive(ToSchema)]
#[schema(as = Gap)]
#[allow(dead_code)] // it is written as in streams
pub struct GapBody {
    /// Why; as in streams.
    #[schema(example = "expired")]
    reason: String,
    /// What came up to here is not missing.
    from: Option<String>,
    /// What comes above this is not missing.
    to: Option<String>,
    /// Messages, at most.
    lost_at_most: Option<u64>,
}

/// What a caller asked for.
struct Wishes {
    start: Start,
    until: Option<u64>,
    limit: usize,
    newest_first: bool,
    wait: Duration,
    payload: PayloadForm,
}

/// What is found, on its way out.
struct Page {
    messages: BytesMut,
    count: usize,
    payload: PayloadForm,
    many_filters: bool,
}

/// Read what was recorded.
///
/// The messages of the log that match any of the filters. Call again with `since` set to `cursor` to go on; with `wait`
/// the answer comes as soon as there is a message, or empty when the time is over.
#[utoipa::path(
    get,
    path = "/api/v1/messages",
    operation_id = "readMessages",
    tag = "messages",
    params(
        ("topic" = Vec<String>, Query, description = "A topic filter; repeatable. `#` must be written `%23`.", example = "home/%23"),
        ("since" = Option<String>, Query, description = "Where to begin: a cursor, `earliest` (the default), `now`, a time (RFC 3339), or how long ago (`45s`, `10m`, `2h`)."),
        ("until" = Option<String>, Query, description = "Where to end: a cursor (its message is the last), a time, or how long ago."),
        ("limit" = Option<u64>, Query, description = "Messages at most; 100 if not said.", minimum = 1, maximum = 1000),
        ("order" = Option<String>, Query, description = "`asc` (oldest first, the default) or `desc`."),
        ("wait" = Option<u64>, Query, description = "Seconds to wait for a message if there is none.", minimum = 0, maximum = 60),
        ("payload" = Option<String>, Query, description = "How payloads are written: `auto`, `base64` or `none`."),
    ),
    responses(
        (status = 200, description = "A page.", body = PageBody),
        (status = 400, description = "`filter-invalid`, `parameter-invalid`, `shared-sub-cursor`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 403, description = "`not-authorized`, `not-supported`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 429, description = "`quota-exceeded`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "`shutting-down`", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn get(
    axum_extract::State(state): axum_extract::State<Arc<State>>,
    request: Request,
) -> Result<Response, Problem> {
    let caller = caller::of(&state, request.extensions())?;
    let mut query = Query::parse(request.uri().query())?;
    let filters = extract::filters(&mut query, &state.rules)?;
    if filters.iter().any(|filter| filter.share().is_some()) {
        let detail =
            "a message of a shared subscription goes to one of its members, and is not read again";
        return Err(Problem::new(Kind::SharedSubCursor, detail));
    }
    let wishes = wishes(&state, &mut query)?;
    query.finish()?;
    let mut stream = state.broker.stream(caller, &filters, wishes.start)?;
    let mut gap = stream.take_gap();
    let mut page = Page {
        messages: BytesMut::new(),
        count: 0,
        payload: wishes.payload,
        many_filters: filters.len() > 1,
    };
    let (cursor, complete) = match wishes.newest_first {
        true => {
            let read = read_back(&state, &mut stream, &wishes, &mut page).await;
            gap = both(gap, stream.take_gap());
            read
        }
        false => read_on(&state, &mut stream, &wishes, &mut page, &mut gap).await,
    };
    let json = page.finish(cursor, complete, gap);
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, json).into_response())
}

fn wishes(state: &State, query: &mut Query<'_>) -> Result<Wishes, Problem> {
    let now = state.broker.now();
    let since = query.text("since")?;
    let until = query.text("until")?;
    let limit = query.number("limit", 1..=since::MOST)?.unwrap_or(LIMIT);
    let order = query.choice("order", &[("asc", false), ("desc", true)])?;
    let newest_first = order.unwrap_or(false);
    let wait = query.number("wait", 0..=60)?.unwrap_or(0);
    if newest_first && wait > 0 {
        return Err(Problem::parameter("wait", "not together with order=desc"));
    }
    let head = state.broker.head();
    let until = match until.as_deref().map(|text| since::parse(text, now)) {
        None | Some(Start::Now) => None,
        Some(Start::Since(time)) => Some(state.broker.position_before(time)),
        Some(Start::After(Some(at))) if at.epoch == head.epoch => Some(at.offset),
        Some(_) => {
            let detail = "a cursor of this gateway, a time (RFC 3339), or how long ago";
            return Err(Problem::parameter("until", detail));
        }
    };
    Ok(Wishes {
        start: since.map_or(Start::Earliest, |text| since::parse(&text, now)),
        until,
        limit,
        newest_first,
        wait: Duration::from_secs(wait),
        payload: query.choice("payload", PAYLOAD_FORMS)?.unwrap_or_default(),
    })
}

/// Reads from the beginning on; waits if there is nothing. Tells where to go on, and whether nothing is left.
async fn read_on(
    state: &State,
    stream: &mut Stream,
    wishes: &Wishes,
    page: &mut Page,
    gap: &mut Option<Gap>,
) -> (Position, bool) {
    let deadline = Instant::now() + wishes.wait;
    let epoch = state.broker.epoch();
    let end = wishes.until.unwrap_or(u64::MAX);
    // who asks for what ends before it begins is not sent back
    let last = end.max(stream.cursor().offset);
    let most = state.broker.limits().replay_scan;
    loop {
        let at = stream.cursor();
        let is_enough = page.count == wishes.limit || page.messages.len() >= PAGE_BYTES;
        if is_enough || stream.has_looked_at(most) {
            return (at, false);
        }
        // nothing more can come of what is asked for
        if at.offset >= end {
            let at = Position {
                epoch,
                offset: last,
            };
            return (at, true);
        }
        let item = match stream.try_next() {
            Some(item) => item,
            None if stream.is_behind() => {
                stream.turn().await;
                continue;
            }
            None if page.count > 0 || wishes.until.is_some() => return (stream.cursor(), true),
            None => match timeout_at(deadline, stream.next()).await {
                Ok(item) => item,
                Err(_) => return (stream.cursor(), true),
            },
        };
        match item {
            StreamItem::Message(delivery) => {
                if place(&delivery).is_some_and(|place| place.offset > end) {
                    let at = Position {
                        epoch,
                        offset: last,
                    };
                    return (at, true);
                }
                page.add(state, &delivery);
            }
            // what was read before it is a page of its own
            StreamItem::Gap(_) if page.count > 0 => return (at, false),
            StreamItem::Gap(found) => *gap = both(*gap, Some(found)),
            StreamItem::Closed(_) => return (at, false),
        }
    }
}

/// What is missing in one place, as one gap.
fn both(one: Option<Gap>, other: Option<Gap>) -> Option<Gap> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.and(other)),
        (one, other) => one.or(other),
    }
}

/// Reads from the end back to where the stream began.
async fn read_back(
    state: &State,
    stream: &mut Stream,
    wishes: &Wishes,
    page: &mut Page,
) -> (Position, bool) {
    let epoch = state.broker.epoch();
    let most = state.broker.limits().replay_scan;
    let first = stream.cursor().offset;
    let mut before = wishes
        .until
        .map_or(u64::MAX, |until| until.saturating_add(1));
    stream.begin_back(before - 1);
    loop {
        let (found, through) = stream.look_back(before).await;
        for delivery in found {
            let offset = delivery.position.map_or(0, |at| at.offset);
            if offset <= first {
                continue;
            }
            stream.cross_back(offset);
            page.add(state, &delivery);
            if page.count == wishes.limit || page.messages.len() >= PAGE_BYTES {
                let offset = offset - 1;
                return (Position { epoch, offset }, false);
            }
        }
        stream.cross_back(through.max(first + 1) - 1);
        if through <= first + 1 {
            let offset = first;
            return (Position { epoch, offset }, true);
        }
        if stream.has_looked_at(most) {
            let offset = through - 1;
            return (Position { epoch, offset }, false);
        }
        before = through;
        tokio::task::yield_now().await;
    }
}

impl Page {
    fn add(&mut self, state: &State, delivery: &Delivery) {
        let (message, now) = (&delivery.message, state.broker.now());
        if message.is_expired(now) {
            return;
        }
        let matched = delivery.subscription_ids.as_deref().unwrap_or_default();
        let copy = envelope::Copy {
            snapshot: false,
            position: delivery.position,
            matched: self.many_filters.then_some(matched),
            now,
        };
        if self.count > 0 {
            self.messages.put_u8(b',');
        }
        self.count += 1;
        self.messages
            .put_slice(&envelope::object(message, self.payload, copy));
    }

    fn finish(self, cursor: Position, complete: bool, gap: Option<Gap>) -> Bytes {
        let gap = gap.map_or(serde_json::Value::Null, envelope::gap);
        let mut out = BytesMut::with_capacity(self.messages.len() + 256);
        out.put_slice(b"{\"messages\":[");
        out.put_slice(&self.messages);
        let rest = format!("],\"cursor\":\"{cursor}\",\"complete\":{complete},\"gap\":{gap}}}");
        out.put_slice(rest.as_bytes());
        out.freeze()
    }
}
