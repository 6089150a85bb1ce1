//! The ways in, as the operator wants them: bound before anything starts, so that what cannot be had is told at once.

use super::StartError;
use crate::listener::{
    arrival::Listener,
    entrance::Entrance,
    networks::Networks,
    newcomers::Newcomers,
    serve::WayIn,
    socket::{self, Bound, SocketFile},
    tls::{self, Tls},
};
use std::{fmt, io, net::SocketAddr, path::PathBuf, sync::Arc};

/// Where a listener ended up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// With the port that the system chose, if it was to.
    Address(SocketAddr),
    /// A socket in the file system.
    Path(PathBuf),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Address(address) => address.fmt(f),
            Place::Path(path) => path.display().fmt(f),
        }
    }
}

/// What the settings of MQTT and of the web have in common.
pub struct Wanted<'a> {
    pub bind: (&'static str, SocketAddr),
    pub tls_bind: &'static str,
    pub tls: &'a tls::config::Config,
    pub unix: (&'static str, Option<&'a PathBuf>),
    pub proxy_protocol: bool,
    pub trusted_proxies: &'a Networks,
    /// Plain, with TLS, in the file system.
    pub listeners: [Listener; 3],
}

/// The ways in to one protocol.
#[derive(Default)]
pub struct Ways {
    pub ways: Vec<WayIn>,
    pub places: Vec<(Listener, Place)>,
    pub tls: Option<Arc<Tls>>,
}

impl Ways {
    /// Binds all that is wanted.
    pub async fn open(wanted: Wanted<'_>, newcomers: &Arc<Newcomers>) -> Result<Self, StartError> {
        let [plain, encrypted, file] = wanted.listeners;
        let proxies = match wanted.proxy_protocol {
            true => wanted.trusted_proxies.clone(),
            false => Networks::default(),
        };
        let mut ways = Ways::default();
        if wanted.tls.is_on() {
            let tls = Tls::load(encrypted, wanted.tls.clone())?;
            ways.tls = Some(Arc::new(tls));
        }
        let entrance = |listener: Listener, tls: &Option<Arc<Tls>>| Entrance {
            listener,
            proxies: proxies.clone(),
            trusted: wanted.trusted_proxies.clone(),
            newcomers: newcomers.clone(),
            tls: tls.clone().filter(|_| listener.is_tls()),
        };
        let (key, address) = wanted.bind;
        let first = match (&ways.tls, wanted.tls.bind) {
            (Some(_), None) => encrypted,
            _ => plain,
        };
        let first = entrance(first, &ways.tls);
        ways.listen(first, key, address).await?;
        if let (Some(_), Some(address)) = (&ways.tls, wanted.tls.bind) {
            let second = entrance(encrypted, &ways.tls);
            ways.listen(second, wanted.tls_bind, address).await?;
        }
        if let (key, Some(path)) = wanted.unix {
            let bound = SocketFile::bind(path.clone()).map_err(|error| StartError::Socket {
                key,
                path: path.display().to_string(),
                error,
            })?;
            ways.places.push((file, Place::Path(path.clone())));
            let (bound, entrance) = (Bound::Unix(bound), entrance(file, &None));
            ways.ways.push(WayIn { bound, entrance });
        }
        Ok(ways)
    }

    async fn listen(
        &mut self,
        entrance: Entrance,
        key: &'static str,
        address: SocketAddr,
    ) -> Result<(), StartError> {
        let in_vain = |error: io::Error| StartError::Bind {
            key,
            address,
            error,
        };
        let listener = socket::listen(address).await.map_err(in_vain)?;
        let address = listener.local_addr()?;
        self.places
            .push((entrance.listener, Place::Address(address)));
        let bound = Bound::Tcp(listener);
        self.ways.push(WayIn { bound, entrance });
        Ok(())
    }

    /// The first address: what a client without TLS uses, if there is such a listener.
    pub fn address(&self) -> Option<SocketAddr> {
        self.places.iter().find_map(|(_, place)| match place {
            Place::Address(address) => Some(*address),
            Place::Path(_) => None,
        })
    }
}
