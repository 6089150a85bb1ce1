//! `GET /api/v1/ws`: everything over one connection, in JSON. Subscriptions, publishing and their answers, each a text
//! frame with one object.
//!
//! What it delivers is what streams deliver, and what it takes is what `POST` takes: only the framing is its own.

mod acks;
mod conversation;
mod frames;
mod goodbye;
mod pulse;
mod socket;
mod subscription;

use crate::{
    auth::rules::Via,
    broker::Refused,
    http::{
        State, caller,
        problem::{Problem, ProblemBody},
        query::Query,
        upgrade::{self, Speech},
    },
};
use axum::{
    extract::{self as axum_extract, Request},
    response::Response,
};
use conversation::Conversation;
use pulse::Pace;
use std::{sync::Arc, time::Duration};

/// How long whoever comes without a name may take to say it; `http.head_timeout`, if that is less.
const INTRODUCTION: Duration = Duration::from_secs(5);

/// The subprotocol: this version of what is said.
const JSON: Speech = Speech {
    names: &["tidegate.v1"],
    hint: "offer the WebSocket subprotocol tidegate.v1, which speaks JSON; MQTT is spoken at /mqtt",
};

/// Speak JSON over WebSocket.
///
/// The subprotocol is `tidegate.v1`. Each text frame is one JSON object with an `op`. Clients say `sub`, `unsub`, `pub`
/// and `ping`, with a `ref` that the answer repeats; the gateway says `ready`, `ok`, `err` with a problem, `msg` with an
/// envelope, `gap`, `pong` and `bye`. `x-frames` describes them.
#[utoipa::path(
    get,
    path = "/api/v1/ws",
    operation_id = "websocket",
    tag = "websocket",
    params(("Sec-WebSocket-Protocol" = String, Header, description = "`tidegate.v1`, possibly among others.")),
    responses(
        (status = 101, description = "Frames from here on."),
        (status = 400, description = "`upgrade-invalid`, `parameter-invalid`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 403, description = "`origin-rejected`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 426, description = "`upgrade-required`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 429, description = "`quota-exceeded`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "`shutting-down`", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn get(
    axum_extract::State(state): axum_extract::State<Arc<State>>,
    request: Request,
) -> Result<Response, Problem> {
    if !upgrade::asks_for_websocket(request.headers()) {
        return Err(upgrade::required(
            "this is JSON over WebSocket; connect with a WebSocket client and the subprotocol tidegate.v1",
        ));
    }
    Query::parse(request.uri().query())?.finish()?;
    if state.broker.is_draining() {
        return Err(Refused::ShuttingDown.into());
    }
    // without one the first frame must say who speaks
    let caller = caller::by(&state, request.extensions(), Via::WsJson).ok();
    let held = caller.as_ref().map(conversation::hold).transpose()?;
    upgrade::accept(request, &JSON, move |io, arrival| {
        let max_message = state.broker.limits().json_message();
        let auth = state.config.head_timeout.min(INTRODUCTION);
        let (stopping, drain) = (state.shutdown.child_token(), state.config.drain);
        let name = format!("ws-{:016x}", getrandom::u64().unwrap_or_default());
        let conversation = Conversation::new(state, arrival.peer, name, caller.zip(held))
            .at(arrival.listener.name());
        let pace = Pace {
            auth,
            ..Pace::default()
        };
        socket::serve(io, conversation, pace, max_message, stopping, drain)
    })
}
