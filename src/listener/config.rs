//! What an operator may choose about the MQTT listener.

use std::{net::SocketAddr, time::Duration};

/// `[mqtt]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where MQTT over TCP is served; port 0 takes any free port.
    pub bind: SocketAddr,
    /// How long a client may take from opening the connection to the end of its CONNECT.
    pub connect_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            bind: ([127, 0, 0, 1], 1883).into(),
            connect_timeout: Duration::from_secs(10),
        }
    }
}
