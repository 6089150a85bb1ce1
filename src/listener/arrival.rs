//! How a connection came in: who is at the other end, by which listener, over what, and what its certificate says.
//!
//! Made once, where the connection is accepted, and carried along. It is what is known before the first byte of MQTT or
//! HTTP; who a client *is* is for [`crate::auth`] to decide.

use crate::auth::certificate::Certificate;
use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::{Arc, atomic::AtomicUsize},
};

/// The other end of a connection. Behind a trusted proxy it is whom the proxy speaks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// Over a network. Port 0: it is not known.
    Address(SocketAddr),
    /// A program on this machine, through a socket in the file system.
    Local,
}

impl Peer {
    /// Its address, an IPv4 one never in the clothes of IPv6.
    pub fn ip(self) -> Option<IpAddr> {
        match self {
            Peer::Address(address) => Some(address.ip().to_canonical()),
            Peer::Local => None,
        }
    }
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Self {
        Peer::Address(address)
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Address(address) if address.port() == 0 => address.ip().fmt(f),
            Peer::Address(address) => address.fmt(f),
            Peer::Local => f.write_str("unix"),
        }
    }
}

/// Where connections are accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Listener {
    /// MQTT over TCP.
    Mqtt,
    /// MQTT over TLS.
    Mqtts,
    /// MQTT over a socket in the file system.
    MqttUnix,
    /// Everything web over TCP.
    Http,
    /// Everything web over TLS.
    Https,
    /// Everything web over a socket in the file system.
    HttpUnix,
}

impl Listener {
    /// Its name in log lines and in what is said at the start.
    pub fn name(self) -> &'static str {
        match self {
            Listener::Mqtt => "mqtt",
            Listener::Mqtts => "mqtts",
            Listener::MqttUnix => "mqtt-unix",
            Listener::Http => "http",
            Listener::Https => "https",
            Listener::HttpUnix => "http-unix",
        }
    }

    /// Whether TLS is spoken there.
    pub fn is_tls(self) -> bool {
        matches!(self, Listener::Mqtts | Listener::Https)
    }

    fn transport(self) -> Transport {
        match self {
            Listener::MqttUnix | Listener::HttpUnix => Transport::Unix,
            _ => Transport::Tcp,
        }
    }
}

/// What carries the bytes of MQTT or HTTP, TLS left aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// A socket in the file system.
    Unix,
    /// WebSocket, over whatever the listener accepts.
    WebSocket,
}

impl Transport {
    /// Its name in log lines.
    pub fn name(self) -> &'static str {
        match self {
            Transport::Tcp => "tcp",
            Transport::Unix => "unix",
            Transport::WebSocket => "websocket",
        }
    }
}

/// What is known of a connection before its first byte of MQTT or HTTP.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// The other end; what is logged and counted.
    pub peer: Peer,
    /// Our end, as the peer reached it.
    pub local: Option<SocketAddr>,
    /// Where it was accepted.
    pub listener: Listener,
    /// What carries it.
    pub transport: Transport,
    /// The client's certificate, if it showed one that `client_ca` vouches for.
    pub certificate: Option<Arc<Certificate>>,
    /// Bytes of it that came and wait in front of the decoder, where something stands there.
    pub waiting: Arc<AtomicUsize>,
}

impl Arrival {
    /// Just accepted, nothing read yet.
    pub fn new(listener: Listener, peer: Peer, local: Option<SocketAddr>) -> Self {
        Arrival {
            peer,
            local,
            listener,
            transport: listener.transport(),
            certificate: None,
            waiting: Arc::default(),
        }
    }

    /// The same connection after its upgrade to WebSocket.
    pub fn over_websocket(mut self) -> Self {
        self.transport = Transport::WebSocket;
        self
    }

    /// Whether its bytes are encrypted up to the gateway.
    pub fn is_tls(&self) -> bool {
        self.listener.is_tls()
    }
}
