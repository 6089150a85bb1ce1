//! `/auth/session`: log in, stay in, log out.

use super::{
    COOKIE, must_be_json,
    table::{Held, Owner},
};
use crate::{
    auth::{
        identity::{Deadline, Identity},
        rules::{Subject, Via},
        secret::Secret,
    },
    http::{
        State, body, caller, envelope,
        problem::{Kind, Problem, ProblemBody},
    },
    message::Millis,
};
use axum::{
    Json,
    extract::{self as axum_extract, Request},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use std::{sync::Arc, time::Duration};
use utoipa::ToSchema;

/// How long a session lasts unless it is renewed, in seconds.
const LASTS: u64 = 12 * 60 * 60;

/// How many one user has at most, or those at an address who are nobody.
pub(super) const MOST_EACH: usize = 100;

/// Credentials in a body are no longer than this.
const BOUND: body::Bound = body::Bound {
    bytes: 64 * 1024,
    what: "a login",
};

/// A web session.
#[derive(Clone)]
pub struct Session {
    /// Whose.
    pub(super) identity: Arc<Identity>,
    /// What its streams end with, too.
    ends: Deadline,
}

impl Held for Session {
    fn ends(&self) -> Millis {
        self.ends.time()
    }

    fn is_once(&self) -> bool {
        false
    }
}

/// What one logs in with, unless an Authorization header says it: a user and a password, or a token.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// The user.
    user: Option<String>,
    /// The user's password.
    #[schema(value_type = Option<String>, format = "password")]
    password: Option<Secret>,
    /// A token, alone.
    #[schema(value_type = Option<String>, format = "password")]
    token: Option<Secret>,
}

/// Who one is.
#[derive(Debug, Serialize, ToSchema)]
pub struct Who {
    /// The user; `null` is anonymous.
    user: Option<String>,
    /// When the session ends unless it is renewed; `null` without one.
    #[schema(format = "date-time")]
    expires: Option<String>,
}

/// Log in
///
/// Sets the cookie `__Host-tidegate`. With the cookie of a session that goes on and without credentials the session is
/// renewed: streams that were opened with it go on. A user has at most 100 sessions, and so have all at an address who are
/// nobody: one more ends the oldest.
#[utoipa::path(
    post,
    path = "/auth/session",
    operation_id = "logIn",
    tag = "auth",
    request_body(content = Option<Login>, content_type = "application/json"),
    responses(
        (status = 200, description = "Logged in.", body = Who, headers(("Set-Cookie" = String, description = "The session."))),
        (status = 400, description = "`body-invalid`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 401, description = "`not-authenticated`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 413, description = "`payload-too-large`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 415, description = "`media-type-unsupported`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 429, description = "`quota-exceeded`: too many failed logins", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "`overloaded`", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn post(
    axum_extract::State(state): axum_extract::State<Arc<State>>,
    request: Request,
) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let now = state.broker.now();
    let ends = now.plus_seconds(LASTS);
    let written = read(body, &head.headers, state.config.body_timeout).await?;
    if written.is_none()
        && !head.headers.contains_key(header::AUTHORIZATION)
        && let Some(secret) = cookie(&head.headers)
    {
        let session = state.logins.sessions.redeem(secret, now);
        let session = session.filter(|session| {
            // a token's own end is not put off
            let ends = ends.min(session.identity.proven_until(ends));
            // and nothing if somebody has logged out meanwhile
            state.chain.still_holds(&session.identity) && session.ends.move_to(ends)
        });
        let session = session.ok_or_else(|| {
            Problem::new(Kind::NotAuthenticated, "the session is over: log in again")
        })?;
        return Ok(answer(&session, secret));
    }
    let shown = match &written {
        Some(login) => login.as_credentials()?,
        None => caller::Shown::of(&head.headers)?,
    };
    let subject = Subject {
        listener: caller::listener_of(&head.extensions),
        via: Via::Rest,
        ..Subject::default()
    };
    let proven = state
        .chain
        .prove(shown.with(&head.extensions), subject)
        .await;
    let identity = proven.map_err(|unproven| caller::refused(&unproven))?;
    let ends = Deadline::at(ends.min(identity.proven_until(ends)));
    let identity = Arc::new(identity.until(ends.clone()));
    let session = Session { identity, ends };
    let owner = Owner::of(&session.identity, caller::ip_of(&head.extensions));
    let given_out = state.logins.sessions.give_out(session.clone(), owner, now);
    let given_out = given_out.ok_or_else(|| Problem::new(Kind::Overloaded, "too many sessions"))?;
    if let Some(oldest) = given_out.gave_way {
        // nobody could log it out any more
        end(&state, &oldest);
    }
    Ok(answer(&session, &given_out.secret))
}

/// Who am I?
#[utoipa::path(
    get,
    path = "/auth/session",
    operation_id = "whoAmI",
    tag = "auth",
    responses(
        (status = 200, description = "Whoever the request's credentials stand for.", body = Who),
        (status = 401, description = "`not-authenticated`", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn get(
    axum_extract::State(state): axum_extract::State<Arc<State>>,
    request: Request,
) -> Result<Json<Who>, Problem> {
    let caller = caller::of(&state, request.extensions())?;
    Ok(Json(who(&caller)))
}

/// Log out
///
/// Ends the session, and with it its tickets and every stream that was opened with its cookie or with one of them.
#[utoipa::path(
    delete,
    path = "/auth/session",
    operation_id = "logOut",
    tag = "auth",
    responses((status = 204, description = "Logged out, if one was in."))
)]
pub async fn delete(
    axum_extract::State(state): axum_extract::State<Arc<State>>,
    request: Request,
) -> Response {
    if let Some(secret) = cookie(request.headers())
        && let Some(session) = state.logins.sessions.take_back(secret)
    {
        end(&state, &session);
    }
    let gone = format!("{COOKIE}=; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=0");
    let mut response = StatusCode::NO_CONTENT.into_response();
    if let Ok(value) = HeaderValue::try_from(gone) {
        response.headers_mut().insert(header::SET_COOKIE, value);
    }
    response
}

/// A session that was taken out of the table is over, and so is what was opened with it.
fn end(state: &State, session: &Session) {
    session.ends.end();
    let now = state.broker.now();
    state.broker.end_where(|identity| identity.is_expired(now));
}

/// The secret in the session's cookie.
pub fn cookie(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(header::COOKIE).iter();
    let cookies = cookies.filter_map(|line| line.to_str().ok());
    let mut pairs = cookies.flat_map(|line| line.split(';'));
    pairs.find_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        (name == COOKIE).then_some(value)
    })
}

async fn read(
    body: axum::body::Body,
    headers: &HeaderMap,
    patience: Duration,
) -> Result<Option<Login>, Problem> {
    let bytes = body::read_within(body, headers, BOUND, patience).await?;
    if bytes.is_empty() {
        return Ok(None);
    }
    must_be_json(headers)?;
    // what is wrong is not told with the text around it, which is a secret
    let login = serde_json::from_slice(&bytes);
    login.map(Some).map_err(|_| {
        Problem::new(
            Kind::BodyInvalid,
            "send {\"user\": ..., \"password\": ...} or {\"token\": ...}",
        )
    })
}

impl Login {
    fn as_credentials(&self) -> Result<caller::Shown, Problem> {
        match (&self.user, &self.password, &self.token) {
            (Some(user), Some(password), None) => Ok(caller::Shown::Password(
                user.clone(),
                password.reveal().to_owned(),
            )),
            (None, None, Some(token)) => Ok(caller::Shown::Bearer(token.reveal().to_owned())),
            _ => Err(Problem::new(
                Kind::BodyInvalid,
                "either user and password, or token",
            )),
        }
    }
}

fn who(identity: &Identity) -> Who {
    Who {
        user: identity.user().map(|user| user.to_string()),
        expires: identity.expires().map(envelope::rfc3339),
    }
}

fn answer(session: &Session, secret: &str) -> Response {
    let mut response = Json(who(&session.identity)).into_response();
    let cookie =
        format!("{COOKIE}={secret}; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age={LASTS}");
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::try_from(cookie) {
        headers.insert(header::SET_COOKIE, value);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests;
