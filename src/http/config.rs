//! What an operator may choose about the web listener.

use crate::listener::{networks::Networks, tls};
use std::{net::SocketAddr, path::PathBuf, time::Duration};

/// `[http]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where everything web is served; port 0 takes any free port.
    pub bind: SocketAddr,
    /// A socket in the file system where everything web is served, too.
    pub unix: Option<PathBuf>,
    /// `[http.tls]`
    pub tls: tls::config::Config,
    /// Whether trusted proxies begin with a PROXY header.
    pub proxy_protocol: bool,
    /// Who may say for whom it speaks, by a PROXY header or by `X-Forwarded-For`.
    pub trusted_proxies: Networks,
    /// Origins of web pages, besides the gateway's own, that may act for their visitor and read answers. Exact
    /// matches, as browsers send them.
    pub origins: Vec<String>,
    /// Names, besides those of this machine's loopback, that a Host header may carry. Without port.
    pub hosts: Vec<String>,
    /// How long a TLS handshake may take, a request's head from its first byte, and, with 5 s at most, a JSON WebSocket's
    /// first frame where it has to say who speaks.
    pub head_timeout: Duration,
    /// How long nothing of a request's body may come. All of it may take as much longer as it is large.
    pub body_timeout: Duration,
    /// Over how long the ends of open streams are spread when the gateway stops.
    pub drain: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            bind: ([127, 0, 0, 1], 8080).into(),
            unix: None,
            tls: tls::config::Config::default(),
            proxy_protocol: false,
            trusted_proxies: Networks::default(),
            origins: Vec::new(),
            hosts: Vec::new(),
            head_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            drain: Duration::from_secs(5),
        }
    }
}
