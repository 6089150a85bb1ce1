//! What the caller may do, and which rule says so.

use crate::{
    auth::rules::{Actions, Via, rights::Decision},
    http::{
        State, caller, extract,
        problem::{Kind, Problem, ProblemBody},
        query::Query,
    },
};
use axum::{
    Json,
    extract::{self as axum_extract, Request},
};
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// What decided, and how.
#[derive(Debug, Serialize, ToSchema)]
pub struct Check {
    /// Whether it may be done.
    allowed: bool,
    /// `publish`, `subscribe`, `receive` or `retain`
    action: String,
    /// What it would be done with.
    topic: String,
    /// Who asks; `null` is anonymous.
    user: Option<String>,
    /// What decides: `rules:12` and `acl:3` are lines of the rule files, `default` is that no rule decides, `open` that
    /// there are none, `token` and `ticket` are the rights that came with one.
    rule: String,
    /// The rule's file, without its folder.
    file: Option<String>,
    /// The rule's line.
    line: Option<u32>,
}

/// May I?
///
/// Tells whether the caller may do something, and the rule that decides. The same answer as everywhere: it is asked of
/// the same rules. Rules may differ by the way in: `via` names the one that is meant, this one if it is left out. What is
/// asked here has no MQTT client identifier.
#[utoipa::path(
    get,
    path = "/api/v1/auth/check",
    operation_id = "checkRights",
    tag = "auth",
    params(
        ("action" = String, Query, description = "`publish`, `subscribe`, `receive` or `retain`."),
        ("topic" = String, Query, description = "A topic; for `subscribe` a topic filter."),
        ("via" = Option<String>, Query, description = "`mqtt`, `websocket`, `rest`, `sse` or `ws-json`."),
    ),
    responses(
        (status = 200, description = "What decides.", body = Check),
        (status = 400, description = "`parameter-invalid`, `topic-invalid`, `filter-invalid`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 401, description = "`not-authenticated`", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn get(
    axum_extract::State(state): axum_extract::State<Arc<State>>,
    request: Request,
) -> Result<Json<Check>, Problem> {
    let caller = caller::of(&state, request.extensions())?;
    let mut query = Query::parse(request.uri().query())?;
    let action = query.text("action")?.unwrap_or_default();
    let topic = query.text("topic")?.unwrap_or_default();
    let caller = match query.text("via")? {
        None => caller,
        Some(via) => {
            let known = || Problem::parameter("via", "mqtt, websocket, rest, sse or ws-json");
            Arc::new(caller.by(Via::named(&via).ok_or_else(known)?))
        }
    };
    query.finish()?;
    let named = Actions::named(&action)
        .ok_or_else(|| Problem::parameter("action", "publish, subscribe, receive or retain"))?;
    let Decision { allowed, by } = match named {
        Actions::SUBSCRIBE => {
            let filter = extract::topic_filter(&topic, &state.rules)?;
            caller.decide_filter(&filter)
        }
        _ => {
            let topic = extract::name(&topic, &state.rules)
                .map_err(|detail| Problem::new(Kind::TopicInvalid, detail))?;
            caller.decide(named, &topic)
        }
    };
    let place = state.chain.rule_files.place_of(by);
    Ok(Json(Check {
        allowed,
        action,
        topic,
        user: caller.user().map(|user| user.to_string()),
        rule: by.to_string(),
        file: place.and_then(|(path, _)| Some(path.file_name()?.to_string_lossy().into_owned())),
        line: place.map(|(_, line)| line),
    }))
}
