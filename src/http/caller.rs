//! Who calls: the identity behind a request, proven once in front of the handlers.
//!
//! `Authorization` says it, `Basic` with the users of MQTT or `Bearer` with a token; else a ticket in the URL, else the
//! cookie of a session. A handler asks for the caller it was given, never for a header.

use crate::{
    auth::{
        chain::{self, Credentials, Unproven},
        identity::Identity,
        rules::{Subject, Via},
    },
    http::{
        State,
        login::session,
        problem::{Kind, Problem},
        serve::Connection,
    },
    metrics::Refusal,
};
use axum::{
    extract::Request,
    http::{Extensions, HeaderMap, HeaderValue, Method, Uri, header},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use std::{
    net::IpAddr,
    sync::{Arc, LazyLock},
};

/// What a ticket in a query begins with.
const TICKET: &str = "ticket=";

/// Whoever calls where nobody has to say who he is and nothing is ruled.
static ANYONE: LazyLock<Arc<Identity>> = LazyLock::new(Identity::anonymous);

/// An extension of every request whose caller is known.
#[derive(Clone)]
struct Caller(Arc<Identity>);

/// Notes the caller with the request. A request for what everybody may see goes on without.
pub async fn identify(state: &State, request: &mut Request) -> Result<(), Problem> {
    let path = request.uri().path();
    if !is_guarded(request.method(), path) {
        return Ok(());
    }
    if state.chain.is_open() && !names_ticket(request.uri()) {
        count_by_address(state, request.extensions_mut());
        return Ok(());
    }
    // whoever speaks JSON over WebSocket may say who he is in his first frame
    let may_come_later = path == "/api/v1/ws";
    let ticket = take_ticket(request)?;
    let shown = Shown::of(request.headers())?;
    let now = state.broker.now();
    let identity = match (ticket, shown, session::cookie(request.headers())) {
        (Some(_), Shown::Password(..) | Shown::Bearer(_), _) => {
            let detail = "either a ticket or an Authorization header, not both";
            return Err(Problem::new(Kind::RequestInvalid, detail));
        }
        (Some(ticket), Shown::Nothing, _) => {
            let given = state.logins.by_ticket(&ticket, now);
            given.ok_or_else(|| wrong("the ticket is unknown, used or over"))
        }
        (None, Shown::Nothing, Some(cookie)) => {
            let given = state.logins.by_cookie(cookie, now);
            given.ok_or_else(|| wrong("the session is over"))
        }
        (None, shown, _) => prove(state, &shown, request.extensions()).await,
    };
    let identity = identity.and_then(|identity| match state.chain.still_holds(&identity) {
        true => Ok(come_in(identity, listener_of(request.extensions()))),
        false => Err(wrong("what it was given for holds no longer")),
    });
    match identity {
        Ok(identity) => {
            request.extensions_mut().insert(Caller(identity));
            Ok(())
        }
        Err(Unproven::Needed) if may_come_later => Ok(()),
        Err(unproven) => Err(refused(&unproven)),
    }
}

/// What a ticket or a cookie stands for may have been given out at another listener than it comes in by now: rules ask for
/// this one.
fn come_in(identity: Arc<Identity>, listener: &'static str) -> Arc<Identity> {
    match identity.subject().listener == listener {
        true => identity,
        false => Arc::new(identity.at(listener)),
    }
}

/// Whoever need not say who he is has what his address may have.
fn count_by_address(state: &State, noted: &mut Extensions) {
    if let Some(quota) = state.chain.quota_of_nobody(ip_of(noted)) {
        let caller = Identity::default().with_quota(Some(quota));
        noted.insert(Caller(Arc::new(caller)));
    }
}

/// What is for somebody. The rest is for everybody: pages and documents, probes, logging in, and MQTT over WebSocket,
/// whose CONNECT says who it is.
fn is_guarded(method: &Method, path: &str) -> bool {
    path.starts_with("/api/v1/")
        || path == "/metrics"
        || path == "/auth/tickets"
        || path == "/auth/session" && matches!(*method, Method::GET | Method::HEAD)
}

async fn prove(
    state: &State,
    shown: &Shown,
    noted: &Extensions,
) -> Result<Arc<Identity>, Unproven> {
    let subject = Subject {
        listener: listener_of(noted),
        via: Via::Rest,
        ..Subject::default()
    };
    let proven = state.chain.prove(shown.with(noted), subject);
    Ok(Arc::new(proven.await?))
}

fn names_ticket(uri: &Uri) -> bool {
    uri.query().is_some_and(|query| query.contains(TICKET))
}

/// Takes the ticket out of the query, where no handler is to find it.
fn take_ticket(request: &mut Request) -> Result<Option<String>, Problem> {
    if !names_ticket(request.uri()) {
        return Ok(None);
    }
    let (mut tickets, mut others) = (Vec::new(), Vec::new());
    for pair in request.uri().query().unwrap_or_default().split('&') {
        match pair.strip_prefix(TICKET) {
            Some(ticket) => tickets.push(ticket.to_owned()),
            None => others.push(pair),
        }
    }
    if tickets.len() > 1 {
        return Err(Problem::parameter("ticket", "given more than once"));
    }
    let mut parts = request.uri().clone().into_parts();
    let path = request.uri().path();
    let rest = match others.is_empty() {
        true => path.to_owned(),
        false => format!("{path}?{}", others.join("&")),
    };
    parts.path_and_query = rest.parse().ok();
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
    Ok(tickets.pop())
}

fn wrong(why: &str) -> Unproven {
    Unproven::Wrong(why.to_owned())
}

/// Where the request came in.
pub fn listener_of(noted: &Extensions) -> &'static str {
    noted
        .get::<Connection>()
        .map_or("http", |connection| connection.arrival.listener.name())
}

/// From which address the request came; `None` is a program on this machine, through a socket in the file system.
pub fn ip_of(noted: &Extensions) -> Option<IpAddr> {
    noted
        .get::<Connection>()
        .and_then(|connection| connection.arrival.peer.ip())
}

/// Who calls, by requests over HTTP.
pub fn of(state: &State, noted: &Extensions) -> Result<Arc<Identity>, Problem> {
    match noted.get::<Caller>() {
        Some(caller) => Ok(caller.0.clone()),
        None if state.chain.is_open() => Ok(ANYONE.clone()),
        None => Err(refused(&Unproven::Needed)),
    }
}

/// Who calls, by another way than a request over HTTP.
pub fn by(state: &State, noted: &Extensions, via: Via) -> Result<Arc<Identity>, Problem> {
    let caller = of(state, noted)?;
    Ok(match caller.is_free() {
        true => caller,
        false => Arc::new(caller.by(via)),
    })
}

/// What is shown in so many words.
pub enum Shown {
    /// Nothing.
    Nothing,
    /// A user and a password.
    Password(String, String),
    /// A token.
    Bearer(String),
}

impl Shown {
    /// What the Authorization header shows.
    pub fn of(headers: &HeaderMap) -> Result<Self, Problem> {
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
        let pair = decoded.as_ref().and_then(|pair| pair.split_once(':'));
        let (user, password) = pair.ok_or_else(unknown)?;
        Ok(Shown::Password(user.to_owned(), password.to_owned()))
    }

    /// For the chain, with what is known of the connection.
    pub fn with<'a>(&'a self, noted: &'a Extensions) -> chain::Shown<'a> {
        let arrival = noted.get::<Connection>().map(|it| &it.arrival);
        chain::Shown {
            credentials: self.as_credentials(),
            certificate: arrival.and_then(|it| it.certificate.as_ref()),
            ip: arrival.and_then(|it| it.peer.ip()),
        }
    }

    fn as_credentials(&self) -> Credentials<'_> {
        match self {
            Shown::Nothing => Credentials::Nothing,
            Shown::Bearer(token) => Credentials::Token(token),
            Shown::Password(user, password) => Credentials::Password {
                user,
                password: password.as_bytes(),
            },
        }
    }
}

/// An error once what the client showed counts no more: a request may take as long as its body.
pub fn still_counts(state: &State, identity: &Identity) -> Result<(), Problem> {
    match state.chain.is_over(identity, state.broker.now()) {
        true => Err(Problem::new(
            Kind::NotAuthenticated,
            "what was shown counts no more: it has expired or was withdrawn",
        )),
        false => Ok(()),
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
        Unproven::Wrong(why) | Unproven::Expired(why) => {
            tracing::debug!(target: "tidegate::http", why, "not authenticated");
            challenge("what was sent proves nothing").with_header(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"tidegate\", error=\"invalid_token\""),
            )
        }
        Unproven::Busy => {
            Problem::new(Kind::Overloaded, "too many logins wait to be looked at").retry_later()
        }
        Unproven::TooManyFailed { wait } => {
            let detail = "too many failed logins from this address: nothing was looked at";
            Problem::new(Kind::QuotaExceeded, detail)
                .count_as(Refusal::FailedLogins)
                .retry_after(*wait)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::problem;
    use axum::response::IntoResponse;

    #[test]
    fn whoever_is_not_looked_at_is_told_when_to_come_back() {
        let wait = std::time::Duration::from_secs(7);
        for (unproven, status, seconds) in [
            (Unproven::Busy, 503, "1"),
            (Unproven::TooManyFailed { wait }, 429, "7"),
        ] {
            let answer = problem::finish(refused(&unproven).into_response(), "r");
            assert_eq!(answer.status(), status);
            assert_eq!(answer.headers()[header::RETRY_AFTER], seconds);
        }
    }
}
