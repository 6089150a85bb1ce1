//! What an operator may choose about TLS on a listener.

use std::{net::SocketAddr, path::PathBuf};

/// `[mqtt.tls]` and `[http.tls]`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Config {
    /// Where TLS is spoken beside plain TCP; `None`: on the listener's own address, instead of plain TCP.
    pub bind: Option<SocketAddr>,
    /// PEM file with the server's certificate and those between it and its CA. `None`: no TLS.
    pub cert: Option<PathBuf>,
    /// PEM file with the certificate's private key.
    pub key: Option<PathBuf>,
    /// PEM file with the CAs that vouch for clients. `None`: clients are not asked for certificates.
    pub client_ca: Option<PathBuf>,
    /// Whether a client needs a certificate; not said: yes, if there is a `client_ca`.
    pub client_cert: Option<ClientCert>,
    /// PEM file with those CAs' revocation lists.
    pub crl: Option<PathBuf>,
}

/// What is asked of clients where there is a `client_ca`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientCert {
    /// Whoever shows a certificate must show a valid one.
    Optional,
    /// Nobody gets in without.
    Required,
}

impl Config {
    /// Whether TLS is spoken at all.
    pub fn is_on(&self) -> bool {
        self.cert.is_some()
    }
}
