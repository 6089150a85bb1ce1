//! Logging in on the web: a session in a cookie for pages of the gateway, tickets for URLs that cannot carry a header.
//!
//! Neither outlives the process, and neither can do more than whoever it was given to.

pub mod session;
pub mod table;
pub mod ticket;

use crate::{
    auth::identity::Identity,
    http::{
        login::{session::Session, table::Table, ticket::Ticket},
        problem::{Kind, Problem},
    },
    message::Millis,
};
use axum::http::{HeaderMap, header};
use std::sync::Arc;

/// The name of the session's cookie. Browsers take one with this prefix from this very host only, and over TLS (or from
/// this machine).
pub const COOKIE: &str = "__Host-tidegate";

/// What was given out.
pub struct Logins {
    sessions: Table<Session>,
    tickets: Table<Ticket>,
}

impl Default for Logins {
    fn default() -> Self {
        Logins {
            sessions: Table::new(session::MOST_EACH),
            tickets: Table::new(ticket::MOST_EACH),
        }
    }
}

impl Logins {
    /// Whose session it is.
    pub fn by_cookie(&self, secret: &str, now: Millis) -> Option<Arc<Identity>> {
        let session = self.sessions.redeem(secret, now)?;
        Some(session.identity)
    }

    /// On whose rights, and on which of them.
    pub fn by_ticket(&self, secret: &str, now: Millis) -> Option<Arc<Identity>> {
        let ticket = self.tickets.redeem(secret, now)?;
        Some(ticket.identity)
    }
}

/// What is asked for here is said in JSON: a form of a foreign page can send neither this type nor a header.
fn must_be_json(headers: &HeaderMap) -> Result<(), Problem> {
    let named = headers.get(header::CONTENT_TYPE);
    let named = named.and_then(|value| value.to_str().ok());
    let essence = named.and_then(|value| value.split(';').next());
    match essence.map(str::trim) {
        Some("application/json") => Ok(()),
        _ => Err(Problem::new(
            Kind::MediaTypeUnsupported,
            "send Content-Type: application/json",
        )),
    }
}
