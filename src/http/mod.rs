//! Web ways in: REST, streams, WebSocket with JSON or MQTT, dashboard, and what operators ask.
//!
//! This room turns HTTP into calls of the broker and back. It keeps no message and knows no MQTT packet. Its wire
//! types are used nowhere below it.

pub mod auth_check;
pub mod batch;
pub mod body;
pub mod caller;
pub mod conditions;
pub mod config;
pub mod dashboard;
pub mod docs;
pub mod draft;
pub mod envelope;
pub mod extract;
pub mod forwarded;
pub mod front;
pub mod guards;
pub mod handover;
pub mod history;
pub mod idempotency;
pub mod listing;
pub mod login;
pub mod negotiate;
pub mod openapi;
pub mod percent;
pub mod probes;
pub mod problem;
pub mod query;
pub mod rendering;
pub mod retained;
pub mod rewording;
pub mod serve;
pub mod since;
pub mod stall;
pub mod stream;
pub mod topics;
pub mod upgrade;
pub mod ws;

use crate::{
    auth::chain::Chain,
    broker::Broker,
    http::{
        extract::TopicRules,
        login::{Logins, session, ticket},
        problem::Problem,
    },
    listener::{arrival::Peer, entrance::NoEntry, refused::Notes},
};
use axum::{
    Router,
    extract::Request,
    http::{HeaderMap, Method, StatusCode},
    response::{IntoResponse, Response},
    routing::{MethodRouter, get, post},
};
use bytes::Bytes;
use std::{convert::Infallible, sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;
use tower::{Layer, ServiceExt, service_fn};
use tower_http::catch_panic::CatchPanicLayer;

/// What handlers need.
pub struct State {
    /// Where everything goes.
    pub broker: Broker,
    /// As the operator wrote it.
    pub config: config::Config,
    /// What topics and filters are held to.
    pub rules: TopicRules,
    /// Who comes in.
    pub chain: Arc<Chain>,
    /// What was given out to those who logged in.
    pub logins: Logins,
    /// What an acknowledgement promises, in words, for `/api/v1`.
    pub durability: String,
    /// Where MQTT is served, for `/api/v1`.
    pub mqtt_ports: probes::MqttPorts,
    /// Takes connections that were upgraded to MQTT over WebSocket.
    pub mqtt_upgrade: upgrade::MqttUpgrade,
    /// Where refusals are noted, together with those of MQTT clients.
    pub notes: Arc<Notes>,
    /// Renders all metrics as OpenMetrics text.
    pub metrics: fn() -> String,
    /// Cancelled when the gateway begins to stop; the same token that [`serve::serve`] gets.
    pub shutdown: CancellationToken,
}

/// Everything that is answered, behind what every request passes.
///
/// The steps in front of the routes are plain calls: as layers of the router each would box the request's future and
/// copy the service behind it, for every request.
pub struct App {
    state: Arc<State>,
    guard: guards::Guard,
    routes: Router,
}

impl App {
    /// The routes of the gateway over `state`.
    pub fn new(state: State) -> Self {
        let state = Arc::new(state);
        App {
            guard: guards::Guard::new(&state.config),
            routes: routes(state.clone()),
            state,
        }
    }

    /// Answers one request.
    pub async fn answer(&self, request: Request) -> Response {
        front::receive(&self.state, request, |request| {
            guards::protect(&self.guard, request, |request| async {
                let handlers = service_fn(|request| self.hand_over(request));
                let guarded = CatchPanicLayer::custom(front::AfterPanic).layer(handlers);
                // neither the handlers nor what catches their panics has an error of its own
                let answered = guarded.oneshot(request).await;
                answered.map_or_else(|never| match never {}, IntoResponse::into_response)
            })
        })
        .await
    }

    /// Answers a request that was refused before anybody looked at what it asks.
    pub async fn refuse(&self, request: Request, problem: Problem) -> Response {
        front::receive(&self.state, request, |_| async { problem.into_response() }).await
    }

    /// Who a request comes from that `peer` brought.
    pub fn peer_of(&self, peer: Peer, headers: &HeaderMap) -> Peer {
        forwarded::peer(peer, headers, &self.state.config.trusted_proxies)
    }

    /// How long a TLS handshake may take, and a request's head.
    pub fn head_timeout(&self) -> Duration {
        self.state.config.head_timeout
    }

    /// Notes that a connection did not come as far as a request.
    pub fn note_no_entry(&self, no_entry: &NoEntry, peer: Peer) {
        if let Some(kind) = no_entry.kind() {
            let now = self.state.broker.uptime();
            self.state.notes.refused(kind, peer, no_entry, now);
        }
    }

    /// The answer to what `peer` sent instead of a request, for which there is but a status.
    pub fn answer_no_request(&self, peer: Peer, status: StatusCode) -> Bytes {
        front::no_request(&self.state, peer, status)
    }

    /// To publish is what programs do all day: it is found without the table of routes, which costs a request 3,400
    /// instructions. The table names its handler all the same: what is allowed on a topic is told from there.
    async fn hand_over(&self, mut request: Request) -> Result<Response, Infallible> {
        if let Err(problem) = caller::identify(&self.state, &mut request).await {
            return Ok(problem.into_response());
        }
        if is_publish(&request) {
            let state = axum::extract::State(self.state.clone());
            return Ok(topics::post(state, request).await.into_response());
        }
        self.routes.clone().oneshot(request).await
    }
}

fn is_publish(request: &Request) -> bool {
    let below = request.uri().path().strip_prefix(extract::TOPICS);
    request.method() == Method::POST
        && below.is_some_and(|below| below.is_empty() || below.starts_with('/'))
}

fn routes(state: Arc<State>) -> Router {
    Router::new()
        .route("/", get(upgrade::root))
        .route("/mqtt", get(upgrade::mqtt))
        .route("/ws", get(upgrade::mqtt))
        .route("/api/v1", get(probes::discovery))
        .route("/api/v1/auth/check", get(auth_check::get))
        .route(batch::MESSAGES, get(history::get).post(batch::post))
        .route("/api/v1/stream", get(stream::get))
        .route("/api/v1/ws", get(ws::get))
        .route(extract::TOPICS, topic())
        .route("/api/v1/topics/", topic())
        .route("/api/v1/topics/{*topic}", topic())
        .route(
            "/auth/session",
            get(session::get)
                .post(session::post)
                .delete(session::delete),
        )
        .route("/auth/tickets", post(ticket::post))
        .route("/healthz", get(probes::healthz))
        .route("/readyz", get(probes::readyz))
        .route("/metrics", get(probes::metrics))
        .route("/openapi.json", get(docs::openapi_json))
        .route("/docs", get(docs::redirect))
        .route("/docs/", get(docs::file))
        .route("/docs/{*file}", get(docs::file))
        .fallback(dashboard::fallback)
        .with_state(state)
}

fn topic() -> MethodRouter<Arc<State>> {
    get(retained::get)
        .post(topics::post)
        .put(topics::put)
        .delete(topics::delete)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        broker, message::Epoch, mqtt::Qos, session::limits::Limits, store::memory::MemoryStore,
    };

    /// What handlers need, over a broker of its own that keeps nothing on a disk.
    pub fn state(stop: &CancellationToken) -> State {
        let store = MemoryStore::new(Epoch(*b"testtest"), 1 << 20, 1 << 20);
        let config = broker::config::Config::default();
        State {
            broker: Broker::new(config, Limits::default(), Box::new(store)),
            config: config::Config {
                drain: Duration::ZERO,
                ..config::Config::default()
            },
            rules: TopicRules {
                levels: 128,
                bytes: 1024,
                filters: 64,
                user_properties: 64,
                maximum_qos: Qos::ExactlyOnce,
                allow_controls: false,
            },
            chain: Arc::new(Chain::open()),
            logins: Logins::default(),
            durability: String::new(),
            mqtt_ports: probes::MqttPorts::default(),
            mqtt_upgrade: Arc::new(|_, _| Box::pin(async {})),
            notes: Arc::new(Notes::default()),
            metrics: String::new,
            shutdown: stop.clone(),
        }
    }

    #[test]
    fn what_is_posted_to_a_topic_and_nothing_else_is_a_publish() {
        let is_publish = |method: &str, uri: &str| {
            let request = Request::builder().method(method).uri(uri);
            super::is_publish(&request.body(axum::body::Body::empty()).unwrap())
        };
        assert!(is_publish("POST", "/api/v1/topics/a/b?qos=0"));
        assert!(is_publish("POST", "/api/v1/topics?topic=a"));
        assert!(!is_publish("POST", "/api/v1/topicsecret"));
        assert!(!is_publish("POST", "/"));
        assert!(!is_publish("PUT", "/api/v1/topics/a"));
    }
}
