//! What machines ask: are you alive, are you ready, how are you, what are you.

use crate::{
    auth::chain::Chain,
    broker::Refused,
    http::{
        State,
        batch::whole,
        caller, envelope,
        problem::{OwnWords, Problem},
        query::Query,
        since,
    },
    metrics::METRICS,
    store::{StoreError, once},
};
use axum::{
    Extension, Json,
    extract::{self as axum_extract, Request},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// What stands for all that the gateway tells of itself.
const SYS: &str = "$SYS/broker/uptime";

/// Whether the process lives.
#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    /// `ok`
    status: &'static str,
}

/// Whether the gateway should get traffic.
#[derive(Debug, Serialize, ToSchema)]
pub struct Readiness {
    /// `ready`, `degraded` or `not-ready`
    status: &'static str,
    /// What decided it.
    checks: Checks,
}

/// One word each: `ok`, or what is wrong.
#[derive(Debug, Serialize, ToSchema)]
pub struct Checks {
    /// `draining` while the gateway stops.
    broker: &'static str,
    /// `full`, `busy` or `failed` if it takes no messages that must be kept; `damaged` if a part of what was kept
    /// cannot be read any more: the rest is served.
    store: &'static str,
}

/// What this gateway is and can.
#[derive(Debug, Serialize, ToSchema)]
pub struct Discovery {
    /// The gateway's version.
    version: &'static str,
    /// Where people read on.
    docs: &'static str,
    /// Where programs read on.
    openapi: &'static str,
    /// What one client may ask for.
    limits: PublicLimits,
    /// What works, by name.
    features: Vec<&'static str>,
    /// How long requests with an Idempotency-Key are remembered.
    idempotency: Idempotency,
    /// Ways to say who one is: `anonymous` is to say nothing, `basic` and `bearer` are what the Authorization header says,
    /// `certificate` is a client's.
    auth: Vec<&'static str>,
    /// Where MQTT is served beside `/mqtt`, as the gateway itself sees it.
    mqtt: MqttPorts,
    /// What an acknowledgement promises, as the gateway runs.
    durability: String,
    /// The gateway's clock.
    #[schema(format = "date-time")]
    time: String,
}

/// Ports of MQTT.
#[derive(Debug, Default, Clone, Copy, Serialize, ToSchema)]
pub struct MqttPorts {
    /// Over TCP.
    #[serde(rename = "port")]
    #[schema(required)]
    pub plain: Option<u16>,
    /// Over TLS.
    #[serde(rename = "tls_port")]
    #[schema(required)]
    pub tls: Option<u16>,
}

/// Limits that clients should know.
#[derive(Debug, Serialize, ToSchema)]
pub struct PublicLimits {
    /// Largest payload, in bytes.
    payload: usize,
    /// Levels of a topic or filter.
    topic_levels: usize,
    /// Bytes of a topic or filter.
    topic_bytes: usize,
    /// Bytes of one message in JSON over a WebSocket.
    json_message: usize,
    /// Filters of one stream.
    filters_per_request: usize,
    /// Filters of all subscriptions of one WebSocket.
    filters_per_session: usize,
    /// User properties of one message.
    user_properties: usize,
    /// Highest QoS of a message.
    maximum_qos: u8,
    /// QoS 1 and 2 messages that may be unacknowledged at a time.
    receive_maximum: u16,
    /// Longest time a session is kept, in seconds.
    session_expiry: u64,
    /// Messages in one batch; there is no such limit if they come line by line.
    batch_messages: usize,
    /// Messages in one page of history.
    page_messages: usize,
    /// Messages of the log that one read looks at before it ends, whether or not they match.
    replay_scan: usize,
}

impl PublicLimits {
    /// As the operator set them.
    pub fn of(state: &State) -> Self {
        let limits = state.broker.limits();
        PublicLimits {
            payload: limits.payload,
            topic_levels: state.rules.levels,
            topic_bytes: state.rules.bytes,
            json_message: limits.json_message(),
            filters_per_request: state.rules.filters,
            filters_per_session: limits.filters_per_session,
            user_properties: state.rules.user_properties,
            maximum_qos: state.rules.maximum_qos as u8,
            receive_maximum: limits.receive_maximum,
            session_expiry: state.broker.max_expiry().as_secs(),
            batch_messages: whole::MOST,
            page_messages: since::MOST,
            replay_scan: limits.replay_scan,
        }
    }
}

/// Requests with an Idempotency-Key are remembered until the first of these bounds is reached.
#[derive(Debug, Serialize, ToSchema)]
pub struct Idempotency {
    /// For so many seconds.
    seconds: u64,
    /// So many of one principal.
    keys: usize,
    /// So many bytes of one principal's keys and answers.
    bytes: usize,
}

/// Liveness.
#[utoipa::path(get, path = "/healthz", operation_id = "health", tag = "operations",
    responses((status = 200, description = "The process lives.", body = Health)))]
pub async fn healthz() -> Json<Health> {
    Json(Health { status: "ok" })
}

/// Readiness.
#[utoipa::path(get, path = "/readyz", operation_id = "readiness", tag = "operations",
    responses((status = 200, description = "Ready.", body = Readiness), (status = 503, description = "Not ready.", body = Readiness)))]
pub async fn readyz(axum_extract::State(state): axum_extract::State<Arc<State>>) -> Response {
    let draining = state.broker.is_draining() || state.shutdown.is_cancelled();
    let store = match state.broker.store_health() {
        Err(StoreError::Full) => "full",
        Err(StoreError::Busy) => "busy",
        Err(_) => "failed",
        Ok(()) if METRICS.store_damaged.get() > 0 => "damaged",
        Ok(()) => "ok",
    };
    let broker = if draining { "draining" } else { "ok" };
    let (code, status) = match store {
        _ if draining => (StatusCode::SERVICE_UNAVAILABLE, "not-ready"),
        "ok" => (StatusCode::OK, "ready"),
        "damaged" | "busy" => (StatusCode::OK, "degraded"),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "not-ready"),
    };
    (
        code,
        [(header::CACHE_CONTROL, "no-store")],
        Extension(OwnWords),
        Json(Readiness {
            status,
            checks: Checks { broker, store },
        }),
    )
        .into_response()
}

/// Metrics.
///
/// They say what `$SYS/#` says: whoever may not read that may not read them.
#[utoipa::path(get, path = "/metrics", operation_id = "metrics", tag = "operations",
    responses((status = 200, description = "OpenMetrics text.", body = String, content_type = "application/openmetrics-text")))]
pub async fn metrics(
    axum_extract::State(state): axum_extract::State<Arc<State>>,
    request: Request,
) -> Result<Response, Problem> {
    let caller = caller::of(&state, request.extensions())?;
    caller.may_read(SYS).map_err(Refused::from)?;
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, (state.metrics)()).into_response())
}

/// Discovery.
#[utoipa::path(get, path = "/api/v1", operation_id = "discover", tag = "operations",
    responses((status = 200, description = "What this gateway is and can.", body = Discovery)))]
pub async fn discovery(
    axum_extract::State(state): axum_extract::State<Arc<State>>,
    request: Request,
) -> Result<Response, Problem> {
    Query::parse(request.uri().query())?.finish()?;
    let switched = state.broker.limits().features;
    let discovery = Discovery {
        version: env!("CARGO_PKG_VERSION"),
        docs: "/docs/",
        openapi: "/openapi.json",
        limits: PublicLimits::of(&state),
        features: [
            ("publish", true),
            ("batch", true),
            ("idempotency-key", true),
            ("retained", switched.retain),
            ("conditional-write", switched.retain),
            ("topic-list", true),
            ("history", true),
            ("long-poll", true),
            ("stream", true),
            ("ndjson", true),
            ("mqtt-websocket", true),
            ("json-websocket", true),
            ("shared-subscriptions", switched.shared_subscriptions),
            ("wildcard-subscriptions", switched.wildcard_subscriptions),
            (
                "subscription-identifiers",
                switched.subscription_identifiers,
            ),
        ]
        .into_iter()
        .filter_map(|(name, on)| on.then_some(name))
        .collect(),
        idempotency: Idempotency {
            seconds: once::REMEMBERED,
            keys: once::MOST,
            bytes: once::BYTES,
        },
        auth: ways_in(&state.chain),
        mqtt: state.mqtt_ports,
        durability: state.durability.clone(),
        time: envelope::rfc3339(state.broker.now()),
    };
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(discovery)).into_response())
}

fn ways_in(chain: &Chain) -> Vec<&'static str> {
    let proves = chain.has_authenticators();
    [
        ("anonymous", chain.anonymous),
        ("basic", chain.passwords.is_some()),
        ("bearer", chain.tokens.is_some()),
        ("certificate", chain.certificate_user.is_some()),
        // whoever proves himself by one of these may log in, or have tickets made
        ("session", proves),
        ("ticket", proves),
    ]
    .into_iter()
    .filter_map(|(name, on)| on.then_some(name))
    .collect()
}
