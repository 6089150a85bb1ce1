//! What stands between an accepted connection and its first byte of MQTT or HTTP: a PROXY header, TLS, neither or both.
//!
//! All of it runs in the connection's own task and in limited time, so whoever dawdles holds up nobody else.

use super::{
    arrival::{Arrival, Listener},
    networks::Networks,
    newcomers::{Newcomers, Unwelcome},
    proxy_protocol,
    serve::Place,
    tls::{NoTls, Tls},
};
use crate::metrics::{METRICS, Refusal as Kind};
use std::{sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, timeout_at},
};
use tokio_rustls::server::TlsStream;

/// How long a proxy may take for its header, which it sends before anything else.
const HEADER_DEADLINE: Duration = Duration::from_secs(2);

/// What the connections of one listener pass.
#[derive(Debug, Clone)]
pub struct Entrance {
    /// Which listener.
    pub listener: Listener,
    /// Who begins with a PROXY header, and must.
    pub proxies: Networks,
    /// Who speaks for others, with a PROXY header or otherwise: all of them cannot be told from one.
    pub trusted: Networks,
    /// Who comes too often.
    pub newcomers: Arc<Newcomers>,
    /// TLS, if it is spoken there.
    pub tls: Option<Arc<Tls>>,
}

/// A connection that has passed.
#[derive(Debug)]
pub enum Entered<S> {
    /// As it was accepted.
    Plain(S),
    /// Under TLS, which takes more than a thousand bytes itself.
    Tls(Box<TlsStream<S>>),
}

/// Why a connection did not pass.
#[derive(Debug, thiserror::Error)]
pub enum NoEntry {
    /// What a trusted proxy must send first.
    #[error("{0}")]
    ProxyHeader(#[from] proxy_protocol::Fault),
    /// The handshake.
    #[error("{0}")]
    Tls(#[from] NoTls),
    /// There are too many of its address.
    #[error("{0}")]
    Unwelcome(#[from] Unwelcome),
    /// It took too long.
    #[error("no {0} in time")]
    Late(&'static str),
}

impl NoEntry {
    /// The kind of refusal it is; none if the peer merely looked in.
    pub fn kind(&self) -> Option<Kind> {
        match self {
            NoEntry::ProxyHeader(_) => Some(Kind::ProxyHeader),
            NoEntry::Tls(NoTls::Silent) => None,
            NoEntry::Tls(NoTls::PushedOut) => Some(Kind::Busy),
            NoEntry::Tls(_) => Some(Kind::Tls),
            NoEntry::Unwelcome(_) => Some(Kind::Address),
            NoEntry::Late(_) => Some(Kind::Timeout),
        }
    }
}

impl Entrance {
    /// A listener where nothing comes first.
    pub fn open(listener: Listener) -> Self {
        Entrance {
            listener,
            proxies: Networks::default(),
            trusted: Networks::default(),
            newcomers: Arc::default(),
            tls: None,
        }
    }

    /// Whether connections of `arrival`'s peer begin with the first byte of MQTT or HTTP.
    pub fn is_open_to(&self, arrival: &Arrival) -> bool {
        self.tls.is_none() && !self.proxies.contains(arrival.peer)
    }

    /// Reads what comes first and notes in `arrival` what it says. All of it has to be over at `deadline`.
    pub async fn enter<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        mut stream: S,
        arrival: &mut Arrival,
        deadline: Instant,
        place: &Place,
    ) -> Result<Entered<S>, NoEntry> {
        if self.proxies.contains(arrival.peer) {
            let within = deadline.min(Instant::now() + HEADER_DEADLINE);
            let header = timeout_at(within, proxy_protocol::read(&mut stream)).await;
            let header = header.map_err(|_| NoEntry::Late("PROXY header"))??;
            if let Some(proxied) = header {
                arrival.peer = proxied.peer.into();
                arrival.local = Some(proxied.local);
                place.take_seat(self.newcomers.admit(arrival.peer)?);
            }
        }
        let Some(tls) = &self.tls else {
            return Ok(Entered::Plain(stream));
        };
        let accepted = timeout_at(deadline, tls.accept(stream)).await;
        let (stream, certificate) = accepted.map_err(|_| NoEntry::Late("TLS handshake"))??;
        arrival.certificate = certificate;
        METRICS.tls_handshakes.inc();
        Ok(Entered::Tls(Box::new(stream)))
    }
}
