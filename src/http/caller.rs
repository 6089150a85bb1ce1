//! Who calls: the identity behind a request, proven once in front of the handlers.
//!
//! `Authorization` says it, `Basic` with the users of MQTT or `Bearer` with a token. A handler asks for the caller it was
//! given, never for a header.

use crate::{
    auth::{
        chain::{Chain, Credentials, Unproven},
        identity::Identity,
        rules::{Subject, Via},
    },
    http::{
        State,
        problem::{Kind, Problem},
        serve::Connection,
    },
};
use axum::{
    extract::Request,
    http::{Extensions, HeaderMap, HeaderValue, header},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use std::sync::{Arc, LazyLock};

/// Whoever calls where nobody has to say who he is and nothing is ruled.
static ANYONE: LazyLock<Arc<Identity>> = LazyLock::new(Identity::anonymous);

/// An extension of every request whose caller is known.
#[derive(Clone)]
struct Caller(Arc<Identity>);

/// Notes the caller with the request. A request for what everybody may see goes on without.
pub async fn identify(chain: &Chain, request: &mut Request) -> Result<(), Problem> {
    let path = request.uri().path();
    if !path.starts_with("/api/") && path != "/metrics" {
        return Ok(());
    }
    if chain.is_open() {
        return Ok(());
    }
    // whoever speaks JSON over WebSocket may say who he is in his first frame
    let may_come_later = path == "/api/v1/ws";
    let shown = Shown::of(request.headers())?;
    let subject = Subject {
        listener: listener_of(request.extensions()),
        via: Via::Rest,
        ..Subject::default()
    };
    let connection = request.extensions().get::<Connection>().cloned();
    let certificate = connection
        .as_ref()
        .and_then(|it| it.arrival.certificate.as_deref());
    let proven = chain
        .prove(shown.as_credentials(), certificate, subject)
        .await;
    match proven {
        Ok(identity) => {
            request.extensions_mut().insert(Caller(Arc::new(identity)));
            Ok(())
        }
        Err(Unproven::Needed) if may_come_later => Ok(()),
        Err(unproven) => Err(refused(&unproven)),
    }
}

/// Where the request came in.
pub fn listener_of(noted: &Extensions) -> &'static str {
    noted
        .get::<Connection>()
        .map_or("http", |connection| connection.arrival.listener.name())
}

/// Who calls, by requests over HTTP.
pub fn of(state: &State, noted: &Extensions) -> Result<Arc<Identity>, Problem> {
    if state.chain.is_open() {
        return Ok(ANYONE.clone());
    }
    let caller = noted.get::<Caller>().map(|caller| caller.0.clone());
    caller.ok_or_else(|| refused(&Unproven::Needed))
}

/// Who calls, by another way than a request over HTTP.
pub fn by(state: &State, noted: &Extensions, via: Via) -> Result<Arc<Identity>, Problem> {
    let caller = of(state, noted)?;
    Ok(match caller.is_free() {
        true => caller,
        false => Arc::new(caller.by(via)),
    })
}

/// What a header shows.
enum Shown {
    Nothing,
    Basic(String),
    Bearer(String),
}

impl Shown {
    fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let mut all = headers.get_all(header::AUTHORIZATION).iter();
        let Some(value) = all.next() else {
            return Ok(Shown::Nothing);
        };
        if all.next().is_some() {
            return Err(Problem::new(
                Kind::RequestInvalid,
                "more than one Authorization header",
            ));
        }
        let unknown = || {
            let why = "the Authorization header is neither Basic nor Bearer";
            refused(&Unproven::Wrong(why.to_owned()))
        };
        let value = value.to_str().map_err(|_| unknown())?;
        let (scheme, rest) = value.split_once(' ').ok_or_else(unknown)?;
        let rest = rest.trim();
        if scheme.eq_ignore_ascii_case("bearer") {
            return Ok(Shown::Bearer(rest.to_owned()));
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return Err(unknown());
        }
        let decoded = STANDARD.decode(rest).ok();
        let decoded = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
        match decoded.filter(|pair| pair.contains(':')) {
            Some(pair) => Ok(Shown::Basic(pair)),
            None => Err(unknown()),
        }
    }

    fn as_credentials(&self) -> Credentials<'_> {
        match self {
            Shown::Nothing => Credentials::Nothing,
            Shown::Bearer(token) => Credentials::Token(token),
            Shown::Basic(pair) => {
                let (user, password) = pair.split_once(':').unwrap_or((pair, ""));
                Credentials::Password {
                    user,
                    password: password.as_bytes(),
                }
            }
        }
    }
}

/// The answer to whoever is nobody: what was wrong is for the log.
pub fn refused(unproven: &Unproven) -> Problem {
    let challenge = |text| Problem::new(Kind::NotAuthenticated, text);
    match unproven {
        Unproven::Needed => challenge("send Authorization: Basic or Bearer").with_header(
            header::WWW_AUTHENTICATE,
            HeaderValue::from_static("Bearer realm=\"tidegate\""),
        ),
        Unproven::Wrong(why) => {
            tracing::debug!(target: "tidegate::http", why, "not authenticated");
            challenge("what was sent proves nothing").with_header(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"tidegate\", error=\"invalid_token\""),
            )
        }
        Unproven::Busy => Problem::new(Kind::Overloaded, "too many logins wait to be looked at"),
    }
}
