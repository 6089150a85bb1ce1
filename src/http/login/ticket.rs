//! `/auth/tickets`: a part of one's rights for a while, in a URL.
//!
//! An `EventSource` and a browser's WebSocket can send no header, and a token in a URL stands in logs and histories for as
//! long as it lives. A ticket is random, short-lived and can do only what it names.

use super::{
    must_be_json,
    table::{Held, Owner},
};
use crate::{
    auth::{identity::Identity, rules::rights::Grants},
    http::{
        State, body, caller, envelope, extract,
        problem::{Kind, Problem, ProblemBody},
    },
    message::Millis,
};
use axum::{
    Json,
    extract::{self as axum_extract, Request},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

/// Longest life in seconds.
const LONGEST: u64 = 60 * 60;

/// How long one lives that does not say.
const USUAL: u64 = 5 * 60;

/// How many one user has at most, or those at an address who are nobody.
pub(super) const MOST_EACH: usize = 1000;

/// What is wished for is kept with the ticket.
const BOUND: body::Bound = body::Bound {
    bytes: 4 * 1024,
    what: "the wish for a ticket",
};

/// What a ticket stands for.
#[derive(Clone)]
pub struct Ticket {
    /// On whose rights, and on which of them.
    pub(super) identity: Arc<Identity>,
    ends: Millis,
    once: bool,
}

impl Held for Ticket {
    fn ends(&self) -> Millis {
        // with its caller, who may log out
        let callers = self.identity.expires();
        callers.map_or(self.ends, |callers| callers.min(self.ends))
    }

    fn is_once(&self) -> bool {
        self.once
    }
}

/// Which ticket.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Wish {
    /// Topic filters, of what the caller may do himself.
    topics: Vec<String>,
    /// `subscribe`, `publish` or both; `subscribe` if not given.
    #[serde(default)]
    actions: Option<Vec<Action>>,
    /// Seconds; 300 if not given.
    #[schema(minimum = 1, maximum = 3600)]
    ttl: Option<u64>,
    /// `reconnect` (the default) for an `EventSource`, which repeats its URL; the stream ends with the ticket. `once` for
    /// a WebSocket, which goes on as long as the caller's own credentials.
    #[serde(default)]
    uses: Uses,
}

/// What a ticket is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// To subscribe and read.
    Subscribe,
    /// To publish.
    Publish,
}

/// How often it can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Uses {
    /// Any number of times as long as it lives.
    #[default]
    Reconnect,
    /// A single time.
    Once,
}

/// A ticket, to be sent as `?ticket=`.
#[derive(Debug, Serialize, ToSchema)]
pub struct Issued {
    /// The secret.
    ticket: String,
    /// When it ends.
    #[schema(format = "date-time")]
    expires: String,
}

/// Get a ticket
///
/// It stands in the URL of a stream or a WebSocket as `?ticket=` and can do what it names as long as its caller may, and no
/// longer than the session that it was got with. A wish has at most 4 KiB. A user has at most 1,000 tickets, and so have all
/// at an address who are nobody: one more takes the place of the oldest.
#[utoipa::path(
    post,
    path = "/auth/tickets",
    operation_id = "getTicket",
    tag = "auth",
    request_body(content = Wish, content_type = "application/json"),
    responses(
        (status = 201, description = "The ticket.", body = Issued),
        (status = 400, description = "`body-invalid`, `filter-invalid`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 401, description = "`not-authenticated`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 403, description = "`not-authorized`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 413, description = "`payload-too-large`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 415, description = "`media-type-unsupported`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "`overloaded`", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn post(
    axum_extract::State(state): axum_extract::State<Arc<State>>,
    request: Request,
) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let caller = caller::of(&state, &head.extensions)?;
    if caller.is_attenuated() {
        // it could renew itself for ever
        let detail = "a ticket gives out no tickets";
        return Err(Problem::new(Kind::NotAuthorized, detail));
    }
    let bytes = body::read_within(body, &head.headers, BOUND, state.config.body_timeout).await?;
    must_be_json(&head.headers)?;
    let wish: Wish = serde_json::from_slice(&bytes)
        .map_err(|error| Problem::new(Kind::BodyInvalid, error.to_string()))?;
    let seconds = wish.ttl.unwrap_or(USUAL);
    if wish.topics.is_empty()
        || wish.topics.len() > state.rules.filters
        || !(1..=LONGEST).contains(&seconds)
    {
        let most = state.rules.filters;
        let detail = format!("topics: 1 to {most} filters; ttl: 1 to {LONGEST} seconds");
        return Err(Problem::new(Kind::BodyInvalid, detail));
    }
    let actions = wish.actions.unwrap_or_else(|| vec![Action::Subscribe]);
    let mut grants = Grants::default();
    for text in &wish.topics {
        let filter = extract::topic_filter(text, &state.rules)?;
        if actions.contains(&Action::Subscribe) {
            caller
                .may_subscribe(&filter)
                .map_err(crate::broker::Refused::from)?;
            grants.subscribe.push(filter.pattern().into());
        }
        if actions.contains(&Action::Publish) {
            // what the caller may not publish the ticket cannot either: both are asked
            grants.publish.push(filter.pattern().into());
        }
    }
    let now = state.broker.now();
    let ends = now.plus_seconds(seconds);
    let ends = ends.min(caller.expires().unwrap_or(ends));
    let identity = (*caller).clone().with_ticket(&grants);
    let identity = match wish.uses {
        Uses::Reconnect => identity.no_later_than(ends),
        Uses::Once => identity,
    };
    let ticket = Ticket {
        identity: Arc::new(identity),
        ends,
        once: wish.uses == Uses::Once,
    };
    let owner = Owner::of(&caller, caller::ip_of(&head.extensions));
    let given_out = state.logins.tickets.give_out(ticket, owner, now);
    let ticket = given_out
        .ok_or_else(|| Problem::new(Kind::Overloaded, "too many tickets"))?
        .secret;
    let expires = envelope::rfc3339(ends);
    let no_store = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    let issued = Json(Issued { ticket, expires });
    Ok((StatusCode::CREATED, no_store, issued).into_response())
}
