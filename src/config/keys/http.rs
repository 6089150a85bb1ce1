//! The settings of the ways in for the web.

use super::{Key, SECOND, key};
use crate::config::form;
use std::time::Duration;

/// Section `http`.
pub(super) fn http() -> Vec<Key> {
    vec![
        key(
            "http.bind",
            "Where everything web is served: REST, streams, MQTT over WebSocket, dashboard.\n\
             An address other machines can reach needs users (see auth), or auth.anonymous = true.",
            form::address(),
            |s| &mut s.http.bind,
        ),
        key(
            "http.origins",
            "Origins of web pages, besides the gateway's own, that may use it from a visitor's browser,\n\
             such as [\"https://app.example\"].",
            form::origins(),
            |s| &mut s.http.origins,
        ),
        key(
            "http.hosts",
            "Names the gateway is reached by, besides localhost, 127.0.0.1 and [::1], such as [\"gateway.example\"].",
            form::hosts(),
            |s| &mut s.http.hosts,
        ),
        key(
            "http.head_timeout",
            "How long a TLS handshake may take, the head of a request, and (5 s at most) the first frame of a JSON WebSocket.",
            form::duration(SECOND..=300 * SECOND),
            |s| &mut s.http.head_timeout,
        ),
        key(
            "http.body_timeout",
            "How long nothing of a request's body may come. All of it may take a second more for each KiB.",
            form::duration(SECOND..=300 * SECOND),
            |s| &mut s.http.body_timeout,
        ),
        key(
            "http.drain",
            "Over how long the ends of open streams are spread when the gateway stops.",
            form::duration(Duration::ZERO..=8 * SECOND),
            |s| &mut s.http.drain,
        ),
        key(
            "http.unix",
            "A socket in the file system where everything web is served, too, to this user and group. Empty: none.",
            form::optional_path(),
            |s| &mut s.http.unix,
        ),
        key(
            "http.proxy_protocol",
            "Whether the proxies in http.trusted_proxies begin with a PROXY header (version 1 or 2) that names the client.\n\
             They must, then, and nobody else may.",
            form::flag(),
            |s| &mut s.http.proxy_protocol,
        ),
        key(
            "http.trusted_proxies",
            "Networks of the proxies whose X-Forwarded-For is believed, such as [\"10.0.0.0/8\", \"::1\"];\n\
             \"unix\" is who comes by http.unix.",
            form::networks(),
            |s| &mut s.http.trusted_proxies,
        ),
        key(
            "http.tls.bind",
            "Where HTTPS is served beside http.bind. Empty: TLS is spoken at http.bind, and nothing else is there.\n\
             An address other machines can reach needs users (see auth), or auth.anonymous = true.",
            form::optional_address(),
            |s| &mut s.http.tls.bind,
        ),
        key(
            "http.tls.cert",
            "The server's certificate and those between it and its CA, a PEM file. Empty: no TLS.\n\
             All files of this section are read again when they change, and at SIGHUP.",
            form::optional_path(),
            |s| &mut s.http.tls.cert,
        ),
        key(
            "http.tls.key",
            "The certificate's private key, a PEM file.",
            form::optional_path(),
            |s| &mut s.http.tls.key,
        ),
        key(
            "http.tls.client_ca",
            "CAs that vouch for clients, a PEM file. Empty: clients are not asked for certificates.",
            form::optional_path(),
            |s| &mut s.http.tls.client_ca,
        ),
        key(
            "http.tls.client_cert",
            "Whether clients need a certificate: \"required\" or \"optional\". Empty: required, if there is a client_ca.",
            form::client_cert(),
            |s| &mut s.http.tls.client_cert,
        ),
        key(
            "http.tls.crl",
            "Revocation lists of those CAs, a PEM file. Every CA between a client and client_ca needs one.",
            form::optional_path(),
            |s| &mut s.http.tls.crl,
        ),
    ]
}
