//! `GET /api/v1/topics`: what is retained, by filter or as one level of a tree, a page at a time.
//!
//! Not a search of payloads, and never a refusal for what a caller may not read: that is not there, and no page ends on it.
//! A page is bounded in entries and in bytes, and in topics looked at, but for those that are hidden from the caller: they
//! are passed over at once, and others have their turn meanwhile.

mod place;

use self::place::Place;
use crate::{
    auth::identity::Identity,
    broker::listing::Selection,
    http::{
        State,
        envelope::{self, PayloadForm},
        extract, percent,
        problem::{Problem, ProblemBody},
        query::Query,
    },
    routing::retained::level::{Found, Mark},
};
use axum::{
    body::Body,
    http::{HeaderValue, Uri, header},
    response::{IntoResponse, Response},
};
use bytes::{BufMut, BytesMut};
use serde::Serialize;
use utoipa::ToSchema;

/// Bytes of a page; a single entry may have more.
const PAGE_BYTES: usize = 1024 * 1024;
/// Entries that are fetched at a time.
const STEP: usize = 64;
/// Steps of a page, if it may end after the last of them: each looks at a bounded number of topics.
const STEPS: usize = 32;
/// The longest `Link`: many clients take no answer with a longer header. The body's `next` says the same.
const LINK_BYTES: usize = 4096;

/// A page of what is retained.
#[derive(Debug, Serialize, ToSchema)]
pub struct TopicList {
    /// Topics with their retained messages, in the order of their names.
    topics: Vec<envelope::Envelope>,
    /// With `delimiter`: what deeper topics begin with, up to and with the next `/`.
    #[schema(example = json!(["home/kitchen/", "home//"]))]
    prefixes: Option<Vec<String>>,
    /// What `after` goes on with; `null` at the end. A page may be short, even empty, before that.
    #[schema(required)]
    next: Option<String>,
}

/// What a caller wants to see.
struct Wishes {
    selection: Selection,
    limit: usize,
    after: Option<Place>,
    payload: PayloadForm,
}

/// List what is retained, or read a topic of any spelling.
///
/// With `filter` the topics that match; else those that begin with `prefix`, and with `delimiter=/` only one level of
/// them: deeper ones are told by their common `prefixes`. What the caller may not read is left out. With `topic` this is
/// `GET /api/v1/topics/{topic}` for any topic that MQTT allows.
#[utoipa::path(
    get,
    path = "/api/v1/topics",
    operation_id = "listTopics",
    tag = "topics",
    params(
        ("filter" = Option<String>, Query, description = "A topic filter; `#` must be written `%23`.", example = "home/%23"),
        ("prefix" = Option<String>, Query, description = "What topics begin with, any text; not with `filter`."),
        ("delimiter" = Option<String>, Query, description = "`/`: one level only; not with `filter`."),
        ("limit" = Option<usize>, Query, description = "Entries of a page; 100 if not given.", minimum = 1, maximum = 1000),
        ("after" = Option<String>, Query, description = "The `next` of the page before."),
        ("payload" = Option<String>, Query, description = "Whether and how payloads are written: `none` or `false` (the default), `auto` or `true`, `base64`. With `topic`: `auto`, `base64` or `none`."),
        ("topic" = Option<String>, Query, description = "Read this topic instead: any that MQTT allows."),
        ("envelope" = Option<bool>, Query, description = "With `topic`: answer with the JSON envelope."),
        ("If-Match" = Option<String>, Header, description = "With `topic`: answer 412 unless the state has this `ETag`."),
        ("If-None-Match" = Option<String>, Header, description = "With `topic`: answer 304 if the state still has this `ETag`."),
    ),
    responses(
        (status = 200, description = "A page; or the payload.", content((TopicList = "application/json"), (Vec<u8> = "application/octet-stream"), (Vec<u8> = "*/*"), (envelope::Envelope = "application/vnd.tidegate.message+json")),
         headers(("Link" = String, description = "`rel=\"next\"`, if there is more, and the address is not too long for a header."), ("ETag" = String, description = "With `topic`: the cursor of the write."))),
        (status = 304, description = "With `topic`: not changed."),
        (status = 400, description = "`filter-invalid`, `parameter-invalid`, `topic-invalid`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "With `topic`: `not-retained`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 412, description = "With `topic`: `precondition-failed`", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn list(state: &State, caller: &Identity, uri: &Uri) -> Result<Response, Problem> {
    let mut wishes = wishes(state, uri)?;
    let (mut topics, mut prefixes) = (Entries::default(), Entries::default());
    let mut at = match wishes.after.take() {
        Some(place) => Some(place.find(state, caller, &wishes.selection).await),
        None => None,
    };
    // where the next page begins: behind something that the caller may read
    let mut next = None;
    'steps: for step in 1.. {
        let is_full = |topics: &Entries, prefixes: &Entries| {
            topics.count + prefixes.count == wishes.limit
                || topics.json.len() + prefixes.json.len() > PAGE_BYTES
        };
        let left = wishes.limit - topics.count - prefixes.count;
        // one more than there is room for, to tell whether there is more
        let max = (left + 1).min(STEP);
        let page = state
            .broker
            .list(caller, &wishes.selection, at.as_ref(), max);
        let has_found = !page.found.is_empty();
        for found in page.found {
            if is_full(&topics, &prefixes) {
                break 'steps;
            }
            next = Some(found.mark());
            match found {
                Found::Level(level) => {
                    prefixes.add(&serde_json::to_vec(&level).unwrap_or_default())
                }
                Found::Topic(retained) => {
                    let copy = envelope::Copy {
                        snapshot: true,
                        position: Some(retained.position),
                        matched: None,
                        now: state.broker.now(),
                    };
                    topics.add(&envelope::object(&retained.message, wishes.payload, copy));
                }
            }
        }
        let Some(resume) = page.resume else {
            next = None;
            break;
        };
        let may_be_told = place::is_short(&resume) && may_read(caller, &resume);
        if may_be_told {
            next = Some(resume.clone());
        }
        if step >= STEPS && (has_found || may_be_told) {
            break;
        }
        at = Some(resume);
        // others of this worker have their turn
        tokio::task::yield_now().await;
    }
    let next = next.as_ref().map(place::spell);
    let is_tree = matches!(
        wishes.selection,
        Selection::Below {
            rolled_up: true,
            ..
        }
    );
    let body = render(topics, is_tree.then_some(prefixes), next.as_deref());
    let mut response = Body::from(body.freeze()).into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("no-cache, private"),
    );
    if let Some(link) = next.and_then(|next| link(uri, &next)) {
        headers.insert(header::LINK, link);
    }
    Ok(response)
}

/// Whether a request is about the collection and not about one topic.
pub fn is_asked(uri: &Uri, query: &Query<'_>) -> bool {
    let below = uri.path().strip_prefix(extract::TOPICS);
    matches!(below, Some("" | "/")) && !query.has("topic")
}

/// Whether a place names nothing that is hidden from the caller.
fn may_read(caller: &Identity, place: &Mark) -> bool {
    match place {
        Mark::Topic(topic) => caller.may_read(topic).is_ok(),
        // told only because of something in it that may be read
        Mark::Level(_) => true,
    }
}

fn wishes(state: &State, uri: &Uri) -> Result<Wishes, Problem> {
    let mut query = Query::parse(uri.query())?;
    let filter = query.take("filter")?;
    let prefix = query.text("prefix")?;
    let delimiter = query.text("delimiter")?;
    let selection = match (filter, prefix, delimiter) {
        (Some(filter), None, None) => {
            let filter = extract::filter(filter, &state.rules)?;
            if filter.share().is_some() {
                let detail = "what is retained is not shared: leave $share/<group>/ out";
                return Err(Problem::parameter("filter", detail));
            }
            Selection::Matching(filter)
        }
        (Some(_), _, _) => {
            let detail = "it goes neither with prefix nor with delimiter";
            return Err(Problem::parameter("filter", detail));
        }
        (None, prefix, delimiter) => {
            if delimiter.as_deref().is_some_and(|text| text != "/") {
                return Err(Problem::parameter(
                    "delimiter",
                    "the levels of topics end in /",
                ));
            }
            Selection::Below {
                prefix: prefix.unwrap_or_default(),
                rolled_up: delimiter.is_some(),
            }
        }
    };
    let forms = [
        ("none", PayloadForm::None),
        ("false", PayloadForm::None),
        ("auto", PayloadForm::Auto),
        ("true", PayloadForm::Auto),
        ("base64", PayloadForm::Base64),
    ];
    let wishes = Wishes {
        selection,
        limit: query.number("limit", 1..=1000)?.unwrap_or(100),
        after: query.take("after")?.map(place::understand).transpose()?,
        payload: query
            .choice("payload", &forms)?
            .unwrap_or(PayloadForm::None),
    };
    query.finish()?;
    Ok(wishes)
}

/// JSON values with commas between them.
#[derive(Default)]
struct Entries {
    json: BytesMut,
    count: usize,
}

impl Entries {
    fn add(&mut self, value: &[u8]) {
        if self.count > 0 {
            self.json.put_u8(b',');
        }
        self.json.put_slice(value);
        self.count += 1;
    }
}

fn render(topics: Entries, prefixes: Option<Entries>, next: Option<&str>) -> BytesMut {
    let mut out = BytesMut::with_capacity(topics.json.len() + 256);
    out.put_slice(b"{\"topics\":[");
    out.put_slice(&topics.json);
    out.put_u8(b']');
    if let Some(prefixes) = prefixes {
        out.put_slice(b",\"prefixes\":[");
        out.put_slice(&prefixes.json);
        out.put_u8(b']');
    }
    out.put_slice(b",\"next\":");
    match next {
        // base64url needs no escapes
        Some(next) => {
            out.put_u8(b'"');
            out.put_slice(next.as_bytes());
            out.put_u8(b'"');
        }
        None => out.put_slice(b"null"),
    }
    out.put_u8(b'}');
    out
}

/// The address of the next page, unless it is too long for a header.
fn link(uri: &Uri, next: &str) -> Option<HeaderValue> {
    let mut address = format!("{}?", extract::TOPICS);
    for pair in uri.query().unwrap_or_default().split('&') {
        let is_other = pair.split('=').next() != Some("after");
        if is_other && !pair.is_empty() {
            // what was sent unencoded may be anything that ends a link
            address.push_str(&percent::encode(pair, "-._~!$'()*+,:;=@/?%"));
            address.push('&');
        }
    }
    let link = format!("<{address}after={next}>; rel=\"next\"");
    HeaderValue::try_from(link)
        .ok()
        .filter(|link| link.len() <= LINK_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_keeps_the_question() {
        let uri: Uri = "/api/v1/topics?filter=a/%23&after=xyz&limit=2&payload='true'"
            .parse()
            .unwrap();
        assert_eq!(
            link(&uri, "dGE").unwrap(),
            "</api/v1/topics?filter=a/%23&limit=2&payload='true'&after=dGE>; rel=\"next\""
        );
        let uri: Uri = "/api/v1/topics".parse().unwrap();
        assert_eq!(
            link(&uri, "dGE").unwrap(),
            "</api/v1/topics?after=dGE>; rel=\"next\""
        );
    }

    #[test]
    fn a_question_that_is_too_long_for_a_header_has_no_link() {
        let uri: Uri = format!("/api/v1/topics?prefix={}", "x".repeat(60_000))
            .parse()
            .unwrap();
        assert_eq!(link(&uri, "dGE"), None);
    }
}
