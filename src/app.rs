//! The composition root: bind, build each room from its settings, run, and drain when told to stop.

mod banner;
mod reload;

use crate::{
    auth::{self, chain::Chain, exchange::Methods, passwords::Passwords, rules::access::Access},
    broker::{Broker, clock::Clock},
    config::Settings,
    http::{self, extract::TopicRules},
    listener::{door::Door, refused::Notes, tcp, websocket},
    message::Epoch,
    observe::{prometheus::render_openmetrics, sys},
    routing,
    store::{
        self, Store,
        config::Durability,
        disk::Folder,
        log::Options,
        memory::MemoryStore,
        recovery::{self, Header, OpenError, Recovered},
    },
};
use std::{
    io::{self, Write},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::Semaphore,
    task::JoinHandle,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How long connections may take to end once they were told to.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// Why the gateway did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener's address cannot be had.
    #[error("{key} = \"{address}\": cannot listen there: {error}")]
    Bind {
        /// The setting.
        key: &'static str,
        /// Its value.
        address: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
    /// The data folder cannot be used.
    #[error("store.path = \"{path}\": cannot use this folder: {error}")]
    DataFolder {
        /// The folder.
        path: String,
        /// What the system says.
        error: io::Error,
    },
    /// Another process has the data folder.
    #[error(
        "store.path = \"{path}\": another process uses this data folder; give each gateway a folder of its own"
    )]
    DataFolderInUse {
        /// The folder.
        path: String,
    },
    /// What is in the data folder cannot be used.
    #[error("store.path = \"{path}\": cannot use what is in this folder: {error}")]
    Data {
        /// The folder.
        path: String,
        /// Why.
        error: OpenError,
    },
    /// A file of `[auth]` cannot be used.
    #[error("{0}")]
    Auth(String),
    /// The system refused something else.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
}

/// Runs the gateway until SIGTERM or SIGINT.
pub fn run(settings: Settings) -> Result<(), StartError> {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if settings.workers > 0 {
        runtime.worker_threads(settings.workers);
    }
    runtime.enable_all().build()?.block_on(serve(settings))
}

async fn serve(settings: Settings) -> Result<(), StartError> {
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let (anonymous, log_format) = (settings.auth.anonymous, settings.log.format);
    let durability = settings.store.durability.to_string();
    let gateway = Gateway::start(settings, Methods::default()).await?;
    let listening = [("mqtt", gateway.mqtt()), ("http", gateway.http())];
    announce(&listening)?;
    banner::show(&listening, anonymous, log_format, &durability);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping");
    gateway.stop().await;
    tracing::info!("stopped");
    Ok(())
}

/// A running gateway, for whoever embeds it: it knows no signals, standard output or exit codes.
pub struct Gateway {
    mqtt: SocketAddr,
    http: SocketAddr,
    broker: Broker,
    stop: CancellationToken,
    connections: TaskTracker,
    web: JoinHandle<()>,
    background: [JoinHandle<()>; 4],
}

impl Gateway {
    /// Binds, then serves. Clients may authenticate by `methods`, beside what the settings allow.
    pub async fn start(settings: Settings, methods: Methods) -> Result<Self, StartError> {
        let durability = settings.store.durability.to_string();
        let rules = settings.broker.history.iter();
        let rules: Vec<_> = rules.map(|rule| rule.filter.clone()).collect();
        let rules = |topic: &str| routing::matching_bits(&rules, topic);
        let auth = settings.auth;
        let chain = open_chain(&auth)?;
        let (store, recovered) = open_store(&settings.store, &rules)?;
        let mqtt = bind("mqtt.bind", settings.mqtt.bind).await?;
        let web = bind("http.bind", settings.http.bind).await?;
        let (mqtt_address, http_address) = (mqtt.local_addr()?, web.local_addr()?);

        let chain = Arc::new(chain);
        let permits = Arc::new(Semaphore::new(settings.limits.connections));
        let access = chain.access.clone();
        let broker = Broker::guarded(settings.broker, settings.limits, store, access);
        broker.restore(recovered);
        let notes = Arc::new(Notes::default());
        let door = Door::new(
            broker.clone(),
            &settings.mqtt,
            methods,
            chain.clone(),
            notes.clone(),
        );
        let door = Arc::new(door);
        let (connections, stop) = (TaskTracker::new(), CancellationToken::new());
        let drain = settings.http.drain;
        let state = web_state(
            &broker,
            &door,
            &notes,
            settings.http,
            chain.clone(),
            durability,
            stop.clone(),
        );
        let web_app = Arc::new(http::App::new(state));

        let background = [
            tokio::spawn(keep_time(broker.clone())),
            tokio::spawn(sys::publish(broker.clone())),
            tokio::spawn(tell_hidden(notes.clone(), broker.clone())),
            tokio::spawn(reload::watch(auth, chain, broker.clone())),
        ];
        tokio::spawn(tcp::serve(
            mqtt,
            permits.clone(),
            door,
            connections.clone(),
            stop.clone(),
        ));
        let web = http::serve::serve(web, web_app, permits, drain, stop.clone());
        Ok(Gateway {
            mqtt: mqtt_address,
            http: http_address,
            broker,
            stop,
            connections,
            web: tokio::spawn(web),
            background,
        })
    }

    /// Where MQTT over TCP is served.
    pub fn mqtt(&self) -> SocketAddr {
        self.mqtt
    }

    /// Where everything web is served.
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// Tells everybody to go, and returns when they have gone or their time is over.
    pub async fn stop(self) {
        self.broker.drain();
        self.stop.cancel();
        self.broker.shut_down();
        self.connections.close();
        let _ = tokio::time::timeout(LAST_WORDS, self.connections.wait()).await;
        let _ = self.web.await;
        self.background.iter().for_each(JoinHandle::abort);
        let broker = self.broker.clone();
        // it waits for the disk
        let _ = tokio::task::spawn_blocking(move || broker.close_store()).await;
    }
}

fn web_state(
    broker: &Broker,
    door: &Arc<Door>,
    notes: &Arc<Notes>,
    config: http::config::Config,
    chain: Arc<Chain>,
    durability: String,
    stop: CancellationToken,
) -> http::State {
    let limits = broker.limits();
    let rules = TopicRules {
        levels: limits.topic_levels,
        bytes: limits.topic_bytes,
        filters: limits.filters_per_request,
        user_properties: limits.user_properties,
        maximum_qos: limits.features.maximum_qos,
        allow_controls: broker.config().allow_controls,
    };
    let (door, max_packet) = (door.clone(), limits.packet());
    http::State {
        broker: broker.clone(),
        config,
        rules,
        chain,
        durability,
        mqtt_upgrade: Arc::new(move |io, peer| {
            let door = door.clone();
            Box::pin(websocket::serve(door, io, peer, max_packet))
        }),
        notes: notes.clone(),
        metrics: render_openmetrics,
        shutdown: stop,
    }
}

async fn keep_time(broker: Broker) {
    broker.keep_time().await;
}

async fn tell_hidden(notes: Arc<Notes>, broker: Broker) {
    let mut round = tokio::time::interval(Duration::from_secs(1));
    loop {
        round.tick().await;
        notes.tell_hidden(broker.uptime());
    }
}

async fn bind(key: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address)
        .await
        .map_err(|error| StartError::Bind {
            key,
            address,
            error,
        })
}

/// Everybody who may come in, and the rules; whatever is wrong with a file keeps the gateway from starting.
fn open_chain(config: &auth::config::Config) -> Result<Chain, StartError> {
    let unusable = |error: &dyn std::fmt::Display| StartError::Auth(error.to_string());
    let passwords = config.passwd_file.as_deref().map(|path| {
        Passwords::open(path).map_err(|error| {
            let path = path.display();
            unusable(&format_args!("auth.passwd_file = \"{path}\": {error}"))
        })
    });
    let rules = config.rules.load().map_err(|error| unusable(&error))?;
    Ok(Chain {
        anonymous: config.lets_anonymous_in(),
        passwords: passwords.transpose()?,
        access: rules.map(|rules| Arc::new(Access::new(rules))),
        rule_files: config.rules.clone(),
    })
}

/// The log, and what was in it.
fn open_store(
    config: &store::config::Config,
    rules: &dyn Fn(&str) -> u64,
) -> Result<(Box<dyn Store>, Recovered), StartError> {
    let path = || config.path.display().to_string();
    if config.durability == Durability::Memory {
        let store = MemoryStore::new(new_epoch()?, config.max_bytes, config.tail_bytes);
        return Ok((Box::new(store), Recovered::default()));
    }
    let folder = Folder::open(config.path.clone()).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => StartError::DataFolderInUse { path: path() },
        _ => StartError::DataFolder {
            path: path(),
            error,
        },
    })?;
    let mut secret = [0; 4];
    getrandom::fill(&mut secret).map_err(io::Error::other)?;
    let fresh = Header {
        epoch: new_epoch()?,
        secret: u32::from_le_bytes(secret),
        segment: 0,
    };
    let options = Options::new(config.durability, config.max_bytes, config.tail_bytes);
    let now = Clock::start().now();
    let opened = recovery::open(Arc::new(folder), options, fresh, now, rules);
    let (store, recovered) = opened.map_err(|error| StartError::Data {
        path: path(),
        error,
    })?;
    tracing::info!(
        messages = recovered.messages,
        retained = recovered.retained.len(),
        sessions = recovered.sessions.len(),
        clean = recovered.clean,
        damaged = recovered.damage.len(),
        "data folder opened"
    );
    Ok((Box::new(store), recovered))
}

/// What scripts wait for: one line per listener, then `ready`, on standard output.
fn announce(listeners: &[(&str, SocketAddr)]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for (name, address) in listeners {
        writeln!(out, "listening {name} {address}")?;
    }
    writeln!(out, "ready")?;
    out.flush()
}

/// Eight characters of base 32: a log in memory is a new one with every start, one on disk with a new folder.
fn new_epoch() -> io::Result<Epoch> {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    Ok(Epoch(
        random.map(|byte| ALPHABET[usize::from(byte) % ALPHABET.len()]),
    ))
}
