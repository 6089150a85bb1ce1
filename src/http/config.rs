//! What an operator may choose about the web listener.

use std::{net::SocketAddr, time::Duration};

/// `[http]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where everything web is served; port 0 takes any free port.
    pub bind: SocketAddr,
    /// Origins of web pages, besides the gateway's own, that may act for their visitor and read answers. Exact
    /// matches, as browsers send them.
    pub origins: Vec<String>,
    /// Names, besides those of this machine's loopback, that a Host header may carry. Without port.
    pub hosts: Vec<String>,
    /// Over how long the ends of open streams are spread when the gateway stops.
    pub drain: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            bind: ([127, 0, 0, 1], 8080).into(),
            origins: Vec::new(),
            hosts: Vec::new(),
            drain: Duration::from_secs(5),
        }
    }
}
