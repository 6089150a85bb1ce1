//! Rules across settings.

use super::{
    Settings,
    fault::{Fault, Place},
};
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
        Some(false) => fault(
            "auth.anonymous",
            "false leaves nobody who could connect, as this version knows no users; remove it to serve this \
             machine, or set it to true to serve everybody"
                .to_owned(),
        ),
        None => {
            for (path, bind) in [("mqtt.bind", settings.mqtt.bind), ("http.bind", settings.http.bind)] {
                if !is_loopback(bind) {
                    fault(path, format!(
                        "{bind} can be reached from other machines and no users are configured; \
                         bind a loopback address such as 127.0.0.1:{}, or set auth.anonymous = true to let everybody \
                         do everything",
                        bind.port()
                    ));
                }
            }
        }
    }
    if settings.mqtt.server_moved && settings.mqtt.server_reference.is_empty() {
        fault(
            "mqtt.server_moved",
            "needs mqtt.server_reference, the server that clients are to use".to_owned(),
        );
    }
    for (entry, number) in settings.auth.jwt.iter().zip(1..) {
        for what in entry.faults() {
            fault("auth.jwt", format!("entry {number} {what}"));
        }
    }
    faults
}

fn is_loopback(bind: SocketAddr) -> bool {
    // also when an IPv4 address is written as an IPv6 one
    bind.ip().to_canonical().is_loopback()
}
