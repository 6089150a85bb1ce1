//! What an operator may choose about the MQTT listener.

use super::{networks::Networks, tls};
use crate::mqtt::reason::ReasonCode;
use std::{net::SocketAddr, path::PathBuf, time::Duration};

/// `[mqtt]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where MQTT over TCP is served; port 0 takes any free port.
    pub bind: SocketAddr,
    /// A socket in the file system where MQTT is served, too.
    pub unix: Option<PathBuf>,
    /// `[mqtt.tls]`
    pub tls: tls::config::Config,
    /// Whether trusted proxies begin with a PROXY header.
    pub proxy_protocol: bool,
    /// Who may say for whom it speaks.
    pub trusted_proxies: Networks,
    /// How long a client may take from opening the connection to the end of its CONNECT, and of its authentication.
    pub connect_timeout: Duration,
    /// Response Information for clients that ask for it; `%c` is the client identifier. Empty: none.
    pub response_information: String,
    /// Where 5.0 clients are sent when the gateway stops. Empty: nowhere.
    pub server_reference: String,
    /// Whether they are to stay there.
    pub server_moved: bool,
}

/// The server to use instead of this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Referral {
    /// For now, or for good.
    pub reason: ReasonCode,
    /// Server Reference, as the standard's section 4.11 writes it.
    pub server: Box<str>,
}

impl Config {
    /// Where clients are sent when the gateway stops, if the operator says so.
    pub fn referral(&self) -> Option<Referral> {
        let reason = match self.server_moved {
            true => ReasonCode::ServerMoved,
            false => ReasonCode::UseAnotherServer,
        };
        let server = self.server_reference.as_str();
        (!server.is_empty()).then(|| Referral {
            reason,
            server: server.into(),
        })
    }
}

impl Default for Config {
    fn default() -> Self {
        Config {
            bind: ([127, 0, 0, 1], 1883).into(),
            unix: None,
            tls: tls::config::Config::default(),
            proxy_protocol: false,
            trusted_proxies: Networks::default(),
            connect_timeout: Duration::from_secs(10),
            response_information: String::new(),
            server_reference: String::new(),
            server_moved: false,
        }
    }
}
