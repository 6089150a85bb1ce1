//! TLS on a listener: the handshake, and certificates that can change while it goes on.
//!
//! What is read from files stands in one place that every handshake looks at, so a change is for the connections that
//! come after it; open ones keep what they began with, but the certificates of their clients are looked at again.
//! The cryptography is named here and is never the process's default, which any dependency could change.

pub mod config;
mod crowd;
pub mod files;
pub mod reload;
mod vouched;

use super::arrival::Listener;
use crate::{
    auth::certificate::{Certificate, Unreadable},
    watched::Watched,
};
use arc_swap::ArcSwap;
use config::Config;
use crowd::Crowd;
use files::{Faults, Loaded};
use parking_lot::Mutex;
use rustls::{
    ServerConfig,
    server::{Acceptor, ClientHello, danger::ClientCertVerifier},
};
use std::{io, sync::Arc};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};
use vouched::Vouched;

/// Handshakes under way at a time.
const HANDSHAKES: usize = 1024;

/// The protocol's name in ALPN, when HTTP/2 is meant.
pub const H2: &[u8] = b"h2";

/// One listener's TLS.
#[derive(Debug)]
pub struct Tls {
    listener: Listener,
    section: &'static str,
    config: Config,
    current: ArcSwap<Versed>,
    /// Of the files that `current` was made from.
    digest: Mutex<[u8; 32]>,
    /// Those files, as they were before they were read; until somebody watches them.
    files: Mutex<Option<Watched>>,
    under_way: Crowd,
    /// The clients that showed certificates.
    vouched: Vouched,
}

/// The same certificates and rules, twice: rustls refuses a client that offers no protocol of a list, but has no
/// objection if there is no list.
#[derive(Debug)]
struct Versed {
    choosing: Arc<ServerConfig>,
    silent: Arc<ServerConfig>,
    verifier: Arc<dyn ClientCertVerifier>,
}

/// Why there was no TLS.
#[derive(Debug, thiserror::Error)]
pub enum NoTls {
    /// The client went away without a word, as those do that only look whether a port is open.
    #[error("the client said nothing")]
    Silent,
    /// What was said made no handshake.
    #[error("no TLS: {0}")]
    Failed(io::Error),
    /// Its certificate is good for the handshake, but cannot be read.
    #[error(transparent)]
    Certificate(#[from] Unreadable),
    /// More came than can be served at a time.
    #[error("too many handshakes at a time")]
    PushedOut,
}

impl Tls {
    /// For a listener, from the files that its settings name.
    pub fn load(listener: Listener, config: Config) -> Result<Self, Faults> {
        let section = match listener {
            Listener::Mqtt | Listener::Mqtts | Listener::MqttUnix => "mqtt.tls",
            Listener::Http | Listener::Https | Listener::HttpUnix => "http.tls",
        };
        let files = [&config.cert, &config.key, &config.client_ca, &config.crl];
        let files = Watched::new(files.into_iter().flatten());
        let Loaded {
            config: tls,
            verifier,
            digest,
            warnings,
        } = files::load(section, &config)?;
        warnings
            .iter()
            .for_each(|warning| tracing::warn!("{warning}"));
        Ok(Tls {
            listener,
            section,
            config,
            current: ArcSwap::from_pointee(Versed::new(listener, tls, verifier)),
            digest: Mutex::new(digest),
            files: Mutex::new(Some(files)),
            under_way: Crowd::new(HANDSHAKES),
            vouched: Vouched::default(),
        })
    }

    /// The handshake, and what the client's certificate says. To be given up when its time is over.
    pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
    ) -> Result<(TlsStream<S>, Option<Arc<Certificate>>), NoTls> {
        let mut member = self.under_way.join();
        tokio::select! {
            accepted = self.shake_hands(stream) => accepted,
            () = member.pushed_out() => Err(NoTls::PushedOut),
        }
    }

    async fn shake_hands<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
    ) -> Result<(TlsStream<S>, Option<Arc<Certificate>>), NoTls> {
        let hello = LazyConfigAcceptor::new(Acceptor::default(), stream).await;
        let hello = hello.map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => NoTls::Silent,
            _ => NoTls::Failed(error),
        })?;
        let current = self.current.load_full();
        let config = self.config_for(&current, &hello.client_hello());
        let stream = hello.into_stream(config).await.map_err(NoTls::Failed)?;
        let shown = stream.get_ref().1.peer_certificates();
        let Some([leaf, rest @ ..]) = shown else {
            return Ok((stream, None));
        };
        let certificate = Arc::new(Certificate::from_der(leaf)?);
        self.vouched.add(&certificate, leaf, rest);
        let by_now = self.current.load_full();
        if !Arc::ptr_eq(&current, &by_now) {
            // whoever looked through them all may have done so before this one was there
            vouched::ask(&*by_now.verifier, &certificate, leaf, rest);
        }
        Ok((stream, Some(certificate)))
    }

    /// MQTT has clients that offer no protocol, or one that other servers want to hear; on the web a client that offers
    /// none of ours means something else.
    fn config_for(&self, current: &Versed, hello: &ClientHello<'_>) -> Arc<ServerConfig> {
        let names = &current.choosing.alpn_protocols;
        let is_silent = self.listener == Listener::Mqtts
            && !hello
                .alpn()
                .is_some_and(|mut offered| offered.any(|one| names.iter().any(|name| name == one)));
        match is_silent {
            true => current.silent.clone(),
            false => current.choosing.clone(),
        }
    }
}

impl Versed {
    fn new(listener: Listener, tls: ServerConfig, verifier: Arc<dyn ClientCertVerifier>) -> Self {
        let names: &[&[u8]] = match listener {
            Listener::Mqtts => &[b"mqtt"],
            _ => &[H2, b"http/1.1", b"http/1.0"],
        };
        let mut choosing = tls.clone();
        choosing.alpn_protocols = names.iter().map(|name| name.to_vec()).collect();
        Versed {
            choosing: Arc::new(choosing),
            silent: Arc::new(tls),
            verifier,
        }
    }
}
