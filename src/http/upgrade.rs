//! The WebSocket handshake (RFC 6455, 4.2), and where MQTT over WebSocket begins.
//!
//! What is said afterwards is the business of whoever takes the connection over.

use crate::{
    http::{
        State, dashboard,
        problem::{Kind, Problem, ProblemBody},
        serve::Connection,
    },
    listener::arrival::Arrival,
};
use axum::{
    extract::{self as axum_extract, Request},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header},
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use futures_util::future::BoxFuture;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use std::sync::Arc;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// Who takes an upgraded connection: the driver of MQTT over WebSocket.
pub type MqttUpgrade =
    Arc<dyn Fn(TokioIo<Upgraded>, Arrival) -> BoxFuture<'static, ()> + Send + Sync>;

/// What a route speaks after the handshake.
pub struct Speech {
    /// Subprotocols that are answered.
    pub names: &'static [&'static str],
    /// What whoever offers none of them is told.
    pub hint: &'static str,
}

/// The registered name, and that of MQTT 3.1.
const MQTT: Speech = Speech {
    names: &["mqtt", "mqttv3.1"],
    hint: "offer the WebSocket subprotocol mqtt (or mqttv3.1)",
};

/// Speak MQTT over WebSocket.
///
/// Also at `/ws` and `/`. The subprotocol is `mqtt` or `mqttv3.1`.
#[utoipa::path(
    get,
    path = "/mqtt",
    operation_id = "mqtt",
    tag = "mqtt",
    params(("Sec-WebSocket-Protocol" = String, Header, description = "`mqtt` or `mqttv3.1`, possibly among others.")),
    responses(
        (status = 101, description = "MQTT from here on."),
        (status = 400, description = "`upgrade-invalid`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 403, description = "`origin-rejected`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 426, description = "`upgrade-required`", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn mqtt(
    axum_extract::State(state): axum_extract::State<Arc<State>>,
    request: Request,
) -> Result<Response, Problem> {
    if !asks_for_websocket(request.headers()) {
        return Err(required(
            "this is MQTT over WebSocket; connect with a WebSocket client",
        ));
    }
    accept_mqtt(&state, request)
}

/// `/` is both: the dashboard for browsers, MQTT for clients that know no path.
pub async fn root(
    axum_extract::State(state): axum_extract::State<Arc<State>>,
    request: Request,
) -> Result<Response, Problem> {
    match asks_for_websocket(request.headers()) {
        true => accept_mqtt(&state, request),
        false => dashboard::file(request.method(), "index.html", request.headers()),
    }
}

fn accept_mqtt(state: &State, request: Request) -> Result<Response, Problem> {
    let take_over = state.mqtt_upgrade.clone();
    accept(request, &MQTT, move |io, arrival| take_over(io, arrival))
}

/// Answers a handshake and gives the connection to `take_over`, or tells what is wrong with it.
pub fn accept<F>(
    mut request: Request,
    speech: &Speech,
    take_over: impl FnOnce(TokioIo<Upgraded>, Arrival) -> F + Send + 'static,
) -> Result<Response, Problem>
where
    F: Future<Output = ()> + Send + 'static,
{
    let (method, version) = (request.method(), request.version());
    let accepted = handshake(method, version, request.headers(), speech)?;
    let connection = request.extensions().get::<Connection>().cloned();
    let Some(connection) = connection else {
        return Err(Problem::new(
            Kind::Internal,
            "the connection cannot be upgraded",
        ));
    };
    let upgrade = hyper::upgrade::on(&mut request);
    let arrival = connection.arrival.clone();
    connection.spawn(async move {
        match upgrade.await {
            Ok(upgraded) => take_over(TokioIo::new(upgraded), arrival).await,
            Err(error) => {
                let peer = arrival.peer;
                tracing::debug!(target: "tidegate::http", %peer, %error, "upgrade failed")
            }
        }
    });
    Ok((StatusCode::SWITCHING_PROTOCOLS, accepted).into_response())
}

/// Checks the client's half of the handshake and gives the headers of ours.
fn handshake(
    method: &Method,
    version: Version,
    headers: &HeaderMap,
    speech: &Speech,
) -> Result<HeaderMap, Problem> {
    let invalid = |detail: &'static str| Problem::new(Kind::UpgradeInvalid, detail);
    if *method != Method::GET || version != Version::HTTP_11 {
        return Err(invalid("a WebSocket begins with GET over HTTP/1.1"));
    }
    if !tokens(headers, &header::CONNECTION).any(|token| token.eq_ignore_ascii_case("upgrade")) {
        return Err(invalid("the Connection header must say Upgrade"));
    }
    if headers
        .get(header::SEC_WEBSOCKET_VERSION)
        .is_none_or(|version| version != "13")
    {
        let supported = HeaderValue::from_static("13");
        return Err(required("the Sec-WebSocket-Version must be 13")
            .with_header(header::SEC_WEBSOCKET_VERSION, supported));
    }
    let key = headers
        .get(header::SEC_WEBSOCKET_KEY)
        .filter(|key| {
            STANDARD
                .decode(key.as_bytes().trim_ascii())
                .is_ok_and(|nonce| nonce.len() == 16)
        })
        .ok_or_else(|| invalid("the Sec-WebSocket-Key must be 16 bytes in base64"))?;
    let protocol = tokens(headers, &header::SEC_WEBSOCKET_PROTOCOL)
        .find_map(|offered| speech.names.iter().find(|known| **known == offered))
        .ok_or_else(|| invalid(speech.hint))?;
    let mut accepted = HeaderMap::new();
    accepted.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    accepted.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(key) = HeaderValue::try_from(derive_accept_key(key.as_bytes().trim_ascii())) {
        accepted.insert(header::SEC_WEBSOCKET_ACCEPT, key);
    }
    accepted.insert(
        header::SEC_WEBSOCKET_PROTOCOL,
        HeaderValue::from_static(protocol),
    );
    Ok(accepted)
}

/// Whether a WebSocket is asked for at all.
pub fn asks_for_websocket(headers: &HeaderMap) -> bool {
    tokens(headers, &header::UPGRADE).any(|token| token.eq_ignore_ascii_case("websocket"))
}

/// What is said to whoever asks for no WebSocket.
pub fn required(detail: &'static str) -> Problem {
    Problem::new(Kind::UpgradeRequired, detail)
        .with_header(header::UPGRADE, HeaderValue::from_static("websocket"))
        .with_header(header::CONNECTION, HeaderValue::from_static("Upgrade"))
}

/// The elements of a list header, over all its lines.
fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 6455, 1.3, with our subprotocol.
    const OFFER: [(&str, &str); 5] = [
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-websocket-protocol", "chat, mqtt, mqttv3.1"),
    ];

    fn answer(change: &str, to: Option<&'static str>) -> Result<HeaderMap, Kind> {
        let mut headers = HeaderMap::new();
        for (name, value) in OFFER {
            let value = if name == change { to } else { Some(value) };
            if let Some(value) = value {
                headers.insert(
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                );
            }
        }
        handshake(&Method::GET, Version::HTTP_11, &headers, &MQTT).map_err(|problem| problem.kind())
    }

    #[test]
    fn the_key_of_the_standard_gets_the_answer_of_the_standard() {
        let accepted = answer("", None).unwrap();
        assert_eq!(
            accepted["sec-websocket-accept"],
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
        assert_eq!(accepted["sec-websocket-protocol"], "mqtt");
        assert_eq!(accepted["upgrade"], "websocket");
    }

    #[test]
    fn the_first_known_subprotocol_wins_and_one_is_needed() {
        let chosen = |offer| {
            answer("sec-websocket-protocol", Some(offer))
                .map(|accepted| accepted["sec-websocket-protocol"].clone())
        };
        assert_eq!(chosen("mqttv3.1").unwrap(), "mqttv3.1");
        assert_eq!(chosen("mqttv3.1, mqtt").unwrap(), "mqttv3.1");
        assert_eq!(chosen("mqttx,MQTT"), Err(Kind::UpgradeInvalid));
        assert_eq!(
            answer("sec-websocket-protocol", None),
            Err(Kind::UpgradeInvalid)
        );
    }

    #[test]
    fn what_is_no_handshake_is_refused() {
        assert_eq!(
            answer("connection", Some("keep-alive")),
            Err(Kind::UpgradeInvalid)
        );
        assert_eq!(
            answer("sec-websocket-version", Some("8")),
            Err(Kind::UpgradeRequired)
        );
        assert_eq!(
            answer("sec-websocket-key", Some("c2hvcnQ=")),
            Err(Kind::UpgradeInvalid)
        );
        assert_eq!(answer("sec-websocket-key", None), Err(Kind::UpgradeInvalid));
    }
}
