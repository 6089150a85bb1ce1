//! The composition root: bind, build each room from its settings, run, and drain when told to stop.

mod access;
mod banner;

mod ways;

use crate::{
    auth::{chain::Chain, exchange::Methods, quota::Quotas, token_method::TokenMethod},
    broker::{Broker, clock::Clock},
    config::Settings,
    http::{self, extract::TopicRules},
    listener::{
        self,
        arrival::Listener,
        door::Door,
        newcomers::Newcomers,
        refused::Notes,
        serve,
        tls::{Tls, files::Faults},
        websocket,
    },
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
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::{
    io::{self, Write},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{Notify, Semaphore},
    task::JoinHandle,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use ways::{Place, Wanted, Ways};

/// How long connections may take to end once they were told to.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// Why the gateway did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener's address cannot be had.
    #[error(
        "{key} = \"{address}\": cannot listen there: {error}{}",
        elsewhere(key, error)
    )]
    Bind {
        /// The setting.
        key: &'static str,
        /// Its value.
        address: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
    /// A socket in the file system cannot be had.
    #[error("{key} = \"{path}\": cannot listen there: {error}")]
    Socket {
        /// The setting.
        key: &'static str,
        /// Its value.
        path: String,
        /// What is in the way.
        error: io::Error,
    },
    /// A certificate, or what belongs to it, cannot be used.
    #[error(transparent)]
    Tls(#[from] Faults),
    /// The data folder cannot be used.
    #[error("store.path = \"{path}\": cannot use this folder: {error}")]
    DataFolder {
        /// The folder.
        path: String,
        /// What the system says.
        error: io::Error,
    },
    /// A file is where the data folder should be.
    #[error(
        "store.path = \"{path}\": there is a file of this name; name a folder, or none that is there"
    )]
    DataFile {
        /// What should be a folder.
        path: String,
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

/// What to do about an address that somebody else has.
fn elsewhere(key: &str, error: &io::Error) -> String {
    if error.kind() != io::ErrorKind::AddrInUse {
        return String::new();
    }
    let how = match key {
        "mqtt.bind" => "--mqtt ADDR".to_owned(),
        "http.bind" => "--http ADDR".to_owned(),
        key => format!("--set {key}=ADDR"),
    };
    format!("; another program listens there: stop it, or choose another address with {how}")
}

/// Runs the gateway until SIGTERM or SIGINT.
pub fn run(settings: Settings) -> Result<(), StartError> {
    raise_file_limit();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if settings.workers > 0 {
        runtime.worker_threads(settings.workers);
    }
    runtime.enable_all().build()?.block_on(serve(settings))
}

/// A connection is a file, and many systems allow a process a thousand unless it asks for more.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let most = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if let Err(error) = setrlimit(Resource::Nofile, most) {
        tracing::warn!(%error, now = limit.current, "the limit of open files cannot be raised");
    }
}

async fn serve(settings: Settings) -> Result<(), StartError> {
    let (mut terminate, mut interrupt, mut hang_up) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
        signal(SignalKind::hangup())?,
    );
    let (auth, log_format) = (settings.auth.clone(), settings.log.format);
    let durability = settings.store.durability.to_string();
    let gateway = Gateway::start(settings, Methods::default()).await?;
    announce(gateway.listening())?;
    banner::show(gateway.listening(), &auth, log_format, &durability);
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hang_up.recv() => gateway.reload(),
        }
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
    listening: Vec<(Listener, Place)>,
    broker: Broker,
    stop: CancellationToken,
    connections: TaskTracker,
    web: JoinHandle<()>,
    /// Tells those who watch files to look at once; one each, so that nobody misses it.
    watchers: Vec<Arc<Notify>>,
    background: Vec<JoinHandle<()>>,
}

impl Gateway {
    /// Binds, then serves. Clients may authenticate by `methods`, beside what the settings allow.
    pub async fn start(settings: Settings, methods: Methods) -> Result<Self, StartError> {
        let durability = settings.store.durability.to_string();
        let rules = settings.broker.history.iter();
        let rules: Vec<_> = rules.map(|rule| rule.filter.clone()).collect();
        let rules = |topic: &str| routing::matching_bits(&rules, topic);
        let auth = settings.auth;
        let quotas = Arc::new(Quotas::new(settings.quota.clone()));
        let newcomers = Arc::new(Newcomers::new(&settings.quota));
        let files = access::Files::of(&auth);
        let chain = access::open(&auth, quotas.clone())?;
        let (store, recovered) = open_store(&settings.store, &rules)?;
        let mqtt = Ways::open(wanted_for_mqtt(&settings.mqtt), &newcomers).await?;
        let web = Ways::open(wanted_for_web(&settings.http), &newcomers).await?;
        let anywhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let mqtt_address = mqtt.address().unwrap_or(anywhere);
        let http_address = web.address().unwrap_or(anywhere);
        let listening = [mqtt.places, web.places].concat();

        let chain = Arc::new(chain);
        let permits = Arc::new(Semaphore::new(settings.limits.connections));
        let access = chain.access.clone();
        let broker = Broker::guarded(settings.broker, settings.limits, store, access, quotas);
        broker.restore(recovered);
        let notes = Arc::new(Notes::default());
        let mut methods = methods;
        if chain.tokens.is_some() {
            methods.offer(Arc::new(TokenMethod::new(chain.clone())));
        }
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
        let port = |listener| port_of(&listening, listener);
        let mqtt_ports = http::probes::MqttPorts {
            plain: port(Listener::Mqtt),
            tls: port(Listener::Mqtts),
        };
        let state = web_state(
            &broker,
            &door,
            &notes,
            settings.http,
            chain.clone(),
            durability,
            mqtt_ports,
            stop.clone(),
        );
        let web_app = Arc::new(http::App::new(state));

        let mut background = vec![
            tokio::spawn(keep_time(broker.clone())),
            tokio::spawn(sys::publish(broker.clone())),
            tokio::spawn(tell_hidden(notes.clone(), broker.clone())),
        ];
        let asked = Arc::new(Notify::new());
        let mut watchers = vec![asked.clone()];
        background.push(tokio::spawn(access::keep_keys_fresh(chain.clone())));
        background.push(tokio::spawn(access::watch(
            files,
            chain.clone(),
            broker.clone(),
            asked,
        )));
        for tls in [mqtt.tls, web.tls].into_iter().flatten() {
            let asked = Arc::new(Notify::new());
            let (chain, broker) = (chain.clone(), broker.clone());
            let end_withdrawn = move || access::end_withdrawn(&chain, &broker);
            let keeping = Tls::keep_current(tls, asked.clone(), end_withdrawn);
            background.push(tokio::spawn(keeping));
            watchers.push(asked);
        }
        for way in mqtt.ways {
            tokio::spawn(serve::serve(
                way,
                permits.clone(),
                door.clone(),
                connections.clone(),
                stop.clone(),
            ));
        }
        let web = http::serve::serve(web.ways, web_app, permits, drain, stop.clone());
        Ok(Gateway {
            mqtt: mqtt_address,
            http: http_address,
            listening,
            broker,
            stop,
            connections,
            web: tokio::spawn(web),
            watchers,
            background,
        })
    }

    /// Where MQTT is served over TCP; over TLS, if it is not served without.
    pub fn mqtt(&self) -> SocketAddr {
        self.mqtt
    }

    /// Where everything web is served; over TLS, if it is not served without.
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// Everything it listens on.
    pub fn listening(&self) -> &[(Listener, Place)] {
        &self.listening
    }

    /// Looks now whether files changed that it watches.
    pub fn reload(&self) {
        self.watchers
            .iter()
            .for_each(|watcher| watcher.notify_one());
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

fn wanted_for_mqtt(config: &listener::config::Config) -> Wanted<'_> {
    Wanted {
        bind: ("mqtt.bind", config.bind),
        tls_bind: "mqtt.tls.bind",
        tls: &config.tls,
        unix: ("mqtt.unix", config.unix.as_ref()),
        proxy_protocol: config.proxy_protocol,
        trusted_proxies: &config.trusted_proxies,
        listeners: [Listener::Mqtt, Listener::Mqtts, Listener::MqttUnix],
    }
}

fn wanted_for_web(config: &http::config::Config) -> Wanted<'_> {
    Wanted {
        bind: ("http.bind", config.bind),
        tls_bind: "http.tls.bind",
        tls: &config.tls,
        unix: ("http.unix", config.unix.as_ref()),
        proxy_protocol: config.proxy_protocol,
        trusted_proxies: &config.trusted_proxies,
        listeners: [Listener::Http, Listener::Https, Listener::HttpUnix],
    }
}

fn port_of(places: &[(Listener, Place)], listener: Listener) -> Option<u16> {
    places.iter().find_map(|(found, place)| match place {
        Place::Address(address) if *found == listener => Some(address.port()),
        _ => None,
    })
}

#[expect(clippy::too_many_arguments)]
fn web_state(
    broker: &Broker,
    door: &Arc<Door>,
    notes: &Arc<Notes>,
    config: http::config::Config,
    chain: Arc<Chain>,
    durability: String,
    mqtt_ports: http::probes::MqttPorts,
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
        logins: http::login::Logins::default(),
        durability,
        mqtt_ports,
        mqtt_upgrade: Arc::new(move |io, arrival| {
            let door = door.clone();
            Box::pin(websocket::serve(door, io, arrival, max_packet))
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
        _ if config.path.is_file() => StartError::DataFile { path: path() },
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
fn announce(listeners: &[(Listener, Place)]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for (listener, place) in listeners {
        writeln!(out, "listening {} {place}", listener.name())?;
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
