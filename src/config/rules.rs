//! Rules across settings.

use super::{
    Settings,
    fault::{Fault, Place},
};
use crate::listener::tls;
use std::{collections::BTreeMap, net::SocketAddr};

/// What each setting that was written was last written by; the rest are defaults.
pub type Sources = BTreeMap<&'static str, Place>;

/// Faults that no setting has by itself.
pub fn check(settings: &Settings, sources: &Sources) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut fault = |path: &str, what: String| {
        faults.push(Fault {
            path: path.to_owned(),
            what,
            place: sources.get(path).cloned(),
        });
    };
    match settings.auth.anonymous {
        Some(true) => {}
        _ if settings.auth.has_users() => {}
        Some(false) => fault(
            "auth.anonymous",
            "false leaves nobody who could connect, as no users are configured; set auth.passwd_file, or remove \
             this to serve this machine"
                .to_owned(),
        ),
        None => {
            for (path, bind) in addresses(settings) {
                if !is_loopback(bind) {
                    fault(path, format!(
                        "{bind} can be reached from other machines and no users are configured; \
                         set auth.passwd_file, bind a loopback address such as 127.0.0.1:{}, or set auth.anonymous = true \
                         to let everybody do everything",
                        bind.port()
                    ));
                }
            }
        }
    }
    let (mqtt, http) = (&settings.mqtt, &settings.http);
    tls("mqtt.tls", &mqtt.tls, &mut fault);
    tls("http.tls", &http.tls, &mut fault);
    for (path, proxy_protocol, trusted) in [
        ("mqtt", mqtt.proxy_protocol, &mqtt.trusted_proxies),
        ("http", http.proxy_protocol, &http.trusted_proxies),
    ] {
        if proxy_protocol && trusted.is_empty() {
            fault(
                &format!("{path}.proxy_protocol"),
                format!(
                    "needs {path}.trusted_proxies, the networks of the proxies that send such headers"
                ),
            );
        }
    }
    if !mqtt.trusted_proxies.is_empty() && !mqtt.proxy_protocol {
        fault(
            "mqtt.trusted_proxies",
            "needs mqtt.proxy_protocol = true, which is how such a proxy names its clients"
                .to_owned(),
        );
    }
    if settings.mqtt.server_moved && settings.mqtt.server_reference.is_empty() {
        fault(
            "mqtt.server_moved",
            "needs mqtt.server_reference, the server that clients are to use".to_owned(),
        );
    }
    let asks_for_certificates = [&mqtt.tls, &http.tls]
        .iter()
        .any(|it| it.client_ca.is_some());
    if settings.auth.certificate_user.is_some() && !asks_for_certificates {
        fault(
            "auth.certificate_user",
            "needs mqtt.tls.client_ca or http.tls.client_ca, the CAs that vouch for clients: without one \
             nobody is asked for a certificate"
                .to_owned(),
        );
    }
    let addresses: Vec<_> = addresses(settings).collect();
    for (at, (path, bind)) in addresses.iter().enumerate() {
        let taken = addresses[..at].iter().find(|(_, other)| other == bind);
        if let Some((other, _)) = taken.filter(|_| bind.port() != 0) {
            fault(
                path,
                format!(
                    "{bind} is what {other} has already; each listener needs an address of its own"
                ),
            );
        }
    }
    for (entry, number) in settings.auth.jwt.iter().zip(1..) {
        for what in entry.faults() {
            fault("auth.jwt", format!("entry {number} {what}"));
        }
    }
    faults
}

/// Where the gateway can be reached over a network.
fn addresses(settings: &Settings) -> impl Iterator<Item = (&'static str, SocketAddr)> {
    [
        ("mqtt.bind", Some(settings.mqtt.bind)),
        ("mqtt.tls.bind", settings.mqtt.tls.bind),
        ("http.bind", Some(settings.http.bind)),
        ("http.tls.bind", settings.http.tls.bind),
    ]
    .into_iter()
    .filter_map(|(path, bind)| Some((path, bind?)))
}

/// What is written about TLS must not be for nothing: who asks for certificates would believe that they are checked.
fn tls(section: &str, tls: &tls::config::Config, fault: &mut impl FnMut(&str, String)) {
    let mut needs = |is_written: bool, name: &str, needed: &str, what: &str| {
        if is_written {
            fault(
                &format!("{section}.{name}"),
                format!("needs {section}.{needed}, {what}"),
            );
        }
    };
    let (cert, key) = ("the server's certificate", "the certificate's private key");
    let client_ca = "the CAs that vouch for clients";
    needs(tls.cert.is_some() && tls.key.is_none(), "cert", "key", key);
    let has_none = tls.cert.is_none();
    needs(has_none && tls.bind.is_some(), "bind", "cert", cert);
    needs(has_none && tls.key.is_some(), "key", "cert", cert);
    needs(
        has_none && tls.client_ca.is_some(),
        "client_ca",
        "cert",
        cert,
    );
    let has_none = tls.client_ca.is_none();
    needs(
        has_none && tls.client_cert.is_some(),
        "client_cert",
        "client_ca",
        client_ca,
    );
    needs(has_none && tls.crl.is_some(), "crl", "client_ca", client_ca);
}

fn is_loopback(bind: SocketAddr) -> bool {
    // also when an IPv4 address is written as an IPv6 one
    bind.ip().to_canonical().is_loopback()
}
