//! The settings of the ways in for MQTT.

use super::{Key, SECOND, key};
use crate::config::form;

/// Section `mqtt`.
pub(super) fn mqtt() -> Vec<Key> {
    vec![
        key(
            "mqtt.bind",
            "Where MQTT over TCP is served. Port 0 takes any free port.\n\
             An address other machines can reach needs users (see auth), or auth.anonymous = true.",
            form::address(),
            |s| &mut s.mqtt.bind,
        ),
        key(
            "mqtt.connect_timeout",
            "How long a client may take from opening the connection to the end of its CONNECT and its authentication.",
            form::duration(SECOND..=300 * SECOND),
            |s| &mut s.mqtt.connect_timeout,
        ),
        key(
            "mqtt.response_information",
            "What MQTT 5 clients that ask for it are told to begin their response topics with;\n\
             %c stands for the client's identifier, as in \"replies/%c/\". Empty: they are told nothing.",
            form::line(),
            |s| &mut s.mqtt.response_information,
        ),
        key(
            "mqtt.server_reference",
            "Where MQTT 5 clients are sent when the gateway stops, such as \"other.example:1883\". Empty: nowhere.",
            form::line(),
            |s| &mut s.mqtt.server_reference,
        ),
        key(
            "mqtt.server_moved",
            "Whether they are to use that server from then on, and not only for now.",
            form::flag(),
            |s| &mut s.mqtt.server_moved,
        ),
        key(
            "mqtt.unix",
            "A socket in the file system where MQTT is served, too, to this user and group. Empty: none.",
            form::optional_path(),
            |s| &mut s.mqtt.unix,
        ),
        key(
            "mqtt.proxy_protocol",
            "Whether the proxies in mqtt.trusted_proxies begin with a PROXY header (version 1 or 2) that names the client.\n\
             They must, then, and nobody else may.",
            form::flag(),
            |s| &mut s.mqtt.proxy_protocol,
        ),
        key(
            "mqtt.trusted_proxies",
            "Networks of the proxies that are believed, such as [\"10.0.0.0/8\", \"::1\"]; \"unix\" is who comes by mqtt.unix.",
            form::networks(),
            |s| &mut s.mqtt.trusted_proxies,
        ),
        key(
            "mqtt.tls.bind",
            "Where MQTT over TLS is served beside mqtt.bind. Empty: TLS is spoken at mqtt.bind, and nothing else is there.\n\
             An address other machines can reach needs users (see auth), or auth.anonymous = true.",
            form::optional_address(),
            |s| &mut s.mqtt.tls.bind,
        ),
        key(
            "mqtt.tls.cert",
            "The server's certificate and those between it and its CA, a PEM file. Empty: no TLS.\n\
             All files of this section are read again when they change, and at SIGHUP.",
            form::optional_path(),
            |s| &mut s.mqtt.tls.cert,
        ),
        key(
            "mqtt.tls.key",
            "The certificate's private key, a PEM file.",
            form::optional_path(),
            |s| &mut s.mqtt.tls.key,
        ),
        key(
            "mqtt.tls.client_ca",
            "CAs that vouch for clients, a PEM file. Empty: clients are not asked for certificates.",
            form::optional_path(),
            |s| &mut s.mqtt.tls.client_ca,
        ),
        key(
            "mqtt.tls.client_cert",
            "Whether clients need a certificate: \"required\" or \"optional\". Empty: required, if there is a client_ca.",
            form::client_cert(),
            |s| &mut s.mqtt.tls.client_cert,
        ),
        key(
            "mqtt.tls.crl",
            "Revocation lists of those CAs, a PEM file. Every CA between a client and client_ca needs one.",
            form::optional_path(),
            |s| &mut s.mqtt.tls.crl,
        ),
    ]
}
