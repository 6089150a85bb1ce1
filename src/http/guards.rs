//! Who may speak to the gateway from inside a browser: the Host check and the rule for foreign pages.
//!
//! A browser sends requests for any page a person visits, from inside that person's network. CORS does not stop it
//! from *sending*, and whoever is known only by what a browser adds by itself (anonymous, a cookie, Basic, a client
//! certificate) must not act for a foreign page. So unsafe requests, upgrades and streams that take their share of a group's
//! messages must come from the gateway's own pages or from a configured origin, and the name the browser used must be one of
//! ours, or a page could rebind its own name to this address.

use crate::http::{
    config::Config,
    login::session,
    percent::{self, Plus},
    problem::{Kind, Problem},
    serve::Connection,
};
use axum::{
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use std::net::IpAddr;

static SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// What a page of a configured origin may do; its browser asks before unsafe requests.
const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE";
const REQUEST_HEADERS: &str =
    "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, Last-Event-ID, Prefer";
const EXPOSED_HEADERS: &str = "ETag, Link, Location, Retry-After, RateLimit, RateLimit-Policy, Mqtt-Cursor, \
     Mqtt-Topic, Mqtt-QoS, Mqtt-Expiry, Mqtt-Content-Type, Mqtt-User-Property, Mqtt-Omitted, Idempotency-Replayed, Request-Id";

/// The names and origins that are accepted.
#[derive(Debug, Clone, Default)]
pub struct Guard {
    origins: Vec<String>,
    hosts: Vec<String>,
}

impl Guard {
    /// By what the operator wrote.
    pub fn new(config: &Config) -> Self {
        let lower = |names: &[String]| names.iter().map(|name| name.to_ascii_lowercase()).collect();
        Guard {
            origins: lower(&config.origins),
            hosts: lower(&config.hosts),
        }
    }

    /// Whether a request to `authority` (a Host, with or without port) is meant for this gateway, reached at `local`.
    fn answers_to(&self, authority: &str, local: Option<IpAddr>) -> bool {
        let name = without_port(authority);
        // a name may be written with the root's dot
        let name = name.strip_suffix('.').unwrap_or(name);
        let mut own = ["localhost", "127.0.0.1", "[::1]"]
            .into_iter()
            .chain(self.hosts.iter().map(String::as_str));
        if own.any(|host| host.eq_ignore_ascii_case(name)) {
            return true;
        }
        let address = name
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse::<IpAddr>();
        matches!((address, local), (Ok(named), Some(local)) if named == local.to_canonical())
    }

    /// Whether pages of `origin` are as good as the gateway's own: to the letter, as browsers write an origin in one way.
    fn trusts(&self, origin: &str) -> bool {
        self.origins.iter().any(|trusted| trusted == origin)
    }

    /// The rule for foreign pages: whoever carries `Origin` or `Sec-Fetch-Site` must be same-origin or trusted.
    /// Programs carry neither.
    fn accepts_page(&self, headers: &HeaderMap, authority: &str) -> bool {
        fn text(value: &HeaderValue) -> &str {
            value.to_str().unwrap_or("?")
        }
        let mut origins = headers.get_all(header::ORIGIN).iter();
        let origin = origins.next().map(text);
        if origins.next().is_some() {
            return false;
        }
        if origin.is_some_and(|origin| self.trusts(origin)) {
            return true;
        }
        let site = headers.get(&SEC_FETCH_SITE).map(text);
        // a program has no cookie: one without either header is a browser's that hides where it is
        if origin.is_none() && site.is_none() && session::cookie(headers).is_some() {
            return false;
        }
        let same_origin = origin.is_none_or(|origin| is_origin_of(origin, authority));
        // `none`: a person typed the address
        let same_site = site.is_none_or(|site| matches!(site, "same-origin" | "none"));
        same_origin && same_site
    }

    /// Both rules, for one request.
    fn check(&self, head: &Parts) -> Result<(), Problem> {
        let authority = authority(head)?;
        let local = head
            .extensions
            .get::<Connection>()
            .and_then(|connection| connection.arrival.local)
            .map(|local| local.ip());
        if !self.answers_to(authority, local) {
            return Err(Problem::new(
                Kind::HostRejected,
                "the Host header names somebody else; the names the gateway answers to are set by http.hosts",
            ));
        }
        let acts = !is_safe(&head.method)
            || head.headers.contains_key(header::UPGRADE)
            || joins_group(head.uri.query().unwrap_or_default());
        if acts && !is_explicit(head) && !self.accepts_page(&head.headers, authority) {
            return Err(Problem::new(
                Kind::OriginRejected,
                "the request comes from a foreign web page; origins that may act are set by http.origins",
            ));
        }
        Ok(())
    }
}

/// The layer of the rules above, and of what CORS needs for configured origins.
pub async fn protect<F: Future<Output = Response>>(
    guard: &Guard,
    request: Request,
    next: impl FnOnce(Request) -> F,
) -> Response {
    let (head, body) = request.into_parts();
    let trusted = match head.headers.get(header::ORIGIN) {
        Some(origin) if origin.to_str().is_ok_and(|origin| guard.trusts(origin)) => {
            Some(origin.clone())
        }
        _ => None,
    };
    let preflight = head.method == Method::OPTIONS
        && head
            .headers
            .contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = match guard.check(&head) {
        Err(problem) => problem.into_response(),
        Ok(()) if preflight && trusted.is_some() => preflight_answer(),
        Ok(()) => next(Request::from_parts(head, body)).await,
    };
    if !guard.origins.is_empty() {
        response
            .headers_mut()
            .append(header::VARY, HeaderValue::from_static("Origin"));
    }
    if let Some(origin) = trusted {
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(
            header::ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from_static(EXPOSED_HEADERS),
        );
    }
    response
}

fn preflight_answer() -> Response {
    let headers = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, METHODS),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS),
        (header::ACCESS_CONTROL_MAX_AGE, "7200"),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

/// Whether it carries a proof of its own that no browser adds by itself: a token, or a ticket. Whatever it is worth is
/// looked at later; one that proves nothing is nobody's.
fn is_explicit(head: &Parts) -> bool {
    let authorization = head.headers.get(header::AUTHORIZATION);
    let is_bearer = authorization.is_some_and(|value| {
        let scheme = value.as_bytes().get(..7);
        scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"bearer "))
    });
    let query = head
        .uri
        .query()
        .filter(|_| head.uri.path().starts_with("/api/v1/"));
    let query = query.unwrap_or_default();
    is_bearer || query.split('&').any(|pair| pair.starts_with("ticket="))
}

/// Whether a filter of a share group is in the query: what such a stream is given, another member is not.
fn joins_group(query: &str) -> bool {
    let mut values = query.split('&').filter_map(|pair| pair.split_once('='));
    values.any(|(_, value)| {
        // what cannot be decoded is refused by whoever reads it
        percent::decode(value, Plus::Level).is_ok_and(|text| text.starts_with("$share/"))
    })
}

fn is_safe(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE
    )
}

/// Whom the request names: the target's authority if it is absolute, else the one Host header (RFC 9112, 3.2).
fn authority(head: &Parts) -> Result<&str, Problem> {
    let mut hosts = head.headers.get_all(header::HOST).iter();
    let (first, second) = (hosts.next(), hosts.next());
    let named = match (head.uri.authority(), first, second) {
        (_, _, Some(_)) => {
            return Err(Problem::new(
                Kind::RequestInvalid,
                "more than one Host header",
            ));
        }
        (Some(authority), _, None) => Some(authority.as_str()),
        (None, Some(host), None) => host.to_str().ok(),
        (None, None, None) => None,
    };
    match named.map(str::trim) {
        Some(name) if !name.is_empty() => Ok(name),
        _ => Err(Problem::new(
            Kind::RequestInvalid,
            "the Host header is missing",
        )),
    }
}

fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((name, port)) if is_port(port) => name,
        // the last colon of `[::1]` is inside its brackets, and `localhost:evil.example` is no name of ours
        _ => authority,
    }
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

/// Whether `origin` is a page of this very gateway, as the browser named it. Either scheme: TLS may end before us.
fn is_origin_of(origin: &str, authority: &str) -> bool {
    let (page, default_port) = match origin.split_once("://") {
        Some(("http", page)) => (page, ":80"),
        Some(("https", page)) => (page, ":443"),
        // `null` and everything that is not a web page
        _ => return false,
    };
    let bare = |authority: &str| {
        let lower = authority.to_ascii_lowercase();
        lower
            .strip_suffix(default_port)
            .map(str::to_owned)
            .unwrap_or(lower)
    };
    bare(page) == bare(authority)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard() -> Guard {
        Guard::new(&Config {
            origins: vec!["https://app.example".to_owned()],
            hosts: vec!["Gate.example".to_owned()],
            ..Config::default()
        })
    }

    #[test]
    fn the_gateway_answers_to_its_own_names_only() {
        let local = Some("192.0.2.7".parse().unwrap());
        for host in [
            "localhost",
            "LOCALHOST:8080",
            "localhost.",
            "127.0.0.1",
            "127.0.0.1:1",
            "[::1]",
            "[::1]:8080",
            "192.0.2.7:80",
            "gate.example",
            "GATE.example:443",
        ] {
            assert!(guard().answers_to(host, local), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "192.0.2.8",
            "[::2]",
            "",
            ":8080",
            "localhost:evil.example",
            "localhost:",
            "localhost:99999",
            "localhost:+80",
            "app.example",
            "127.0.0.2",
            "user@localhost",
        ] {
            assert!(!guard().answers_to(host, local), "{host}");
        }
    }

    #[test]
    fn an_ipv4_address_behind_a_dual_socket_is_the_same_address() {
        assert!(guard().answers_to("192.0.2.7", Some("::ffff:192.0.2.7".parse().unwrap())));
    }

    fn accepts(headers: &[(&'static str, &'static str)]) -> bool {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect();
        guard().accepts_page(&headers, "localhost:8080")
    }

    #[test]
    fn programs_and_own_pages_may_act() {
        assert!(accepts(&[]));
        assert!(accepts(&[("origin", "http://localhost:8080")]));
        assert!(accepts(&[("origin", "https://localhost:8080")]));
        assert!(accepts(&[("sec-fetch-site", "same-origin")]));
        assert!(accepts(&[("sec-fetch-site", "none")]));
        assert!(accepts(&[
            ("origin", "https://app.example"),
            ("sec-fetch-site", "cross-site")
        ]));
    }

    #[test]
    fn foreign_pages_may_not() {
        assert!(!accepts(&[("origin", "http://evil.example")]));
        assert!(!accepts(&[("origin", "null")]));
        assert!(!accepts(&[("origin", "http://localhost:3000")]));
        assert!(!accepts(&[(
            "origin",
            "http://localhost:8080.evil.example"
        )]));
        assert!(!accepts(&[("origin", "http://app.example")]));
        assert!(!accepts(&[("origin", "HTTPS://app.example")]));
        assert!(!accepts(&[("origin", "")]));
        assert!(!accepts(&[("sec-fetch-site", "cross-site")]));
        assert!(!accepts(&[("sec-fetch-site", "same-site")]));
        assert!(!accepts(&[
            ("origin", "http://localhost:8080"),
            ("sec-fetch-site", "cross-site")
        ]));
    }

    #[test]
    fn default_ports_may_be_left_out() {
        assert!(is_origin_of("http://localhost", "localhost:80"));
        assert!(is_origin_of("https://localhost:443", "localhost"));
        assert!(!is_origin_of("http://localhost", "localhost:443"));
    }

    fn check(build: axum::http::request::Builder) -> Result<(), Kind> {
        guard()
            .check(&build.body(()).unwrap().into_parts().0)
            .map_err(|problem| problem.kind())
    }

    #[test]
    fn reading_across_origins_is_the_browsers_to_refuse_but_upgrades_are_ours() {
        let get = || {
            Request::get("/mqtt")
                .header("host", "localhost")
                .header("origin", "http://evil.example")
        };
        assert_eq!(check(get()), Ok(()));
        assert_eq!(
            check(get().header("upgrade", "websocket")),
            Err(Kind::OriginRejected)
        );
    }

    #[test]
    fn the_host_is_given_exactly_once() {
        assert_eq!(check(Request::get("/")), Err(Kind::RequestInvalid));
        assert_eq!(
            check(Request::get("/").header("host", "")),
            Err(Kind::RequestInvalid)
        );
        let twice = Request::get("/")
            .header("host", "localhost")
            .header("host", "localhost");
        assert_eq!(check(twice), Err(Kind::RequestInvalid));
        assert_eq!(
            check(Request::get("/").header("host", "evil.example")),
            Err(Kind::HostRejected)
        );
        let absolute = Request::get("http://evil.example/").header("host", "localhost");
        assert_eq!(check(absolute), Err(Kind::HostRejected));
    }
}
