//! What to measure and how much of it: the cases and their arguments.

use super::{ring::Shape, wire::Door};
use crate::cli::client;
use crate::mqtt;
use std::{fmt, time::Duration};

/// How long traffic runs before it is measured.
pub const WARM_UP: Duration = Duration::from_millis(500);

/// A kind of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Case {
    /// Each publisher has one subscriber.
    Pairs,
    /// One publisher, many subscribers.
    FanOut,
    /// Many publishers, one subscriber.
    FanIn,
    /// Pairs, while many other filters are subscribed to that match nothing.
    Filters,
    /// Connections that do nothing.
    Idle,
    /// Retained messages.
    Retained,
    /// Pairs at a fixed rate.
    Latency,
    /// Pairs at half of the rate that they reach.
    HalfLoad,
    /// One publisher, many subscribers, beside others that never read.
    Neighbours,
    /// Pairs over WebSocket.
    WsPairs,
    /// One MQTT publisher, many SSE streams.
    Sse,
    /// HTTP clients that publish.
    HttpPost,
    /// Publishers whose messages are kept for sessions that are away.
    Durable,
}

impl fmt::Display for Case {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Case::Pairs => "pairs",
            Case::FanOut => "fan-out",
            Case::FanIn => "fan-in",
            Case::Filters => "filters",
            Case::Idle => "idle",
            Case::Retained => "retained",
            Case::Latency => "latency",
            Case::HalfLoad => "half-load",
            Case::Neighbours => "neighbours",
            Case::WsPairs => "ws-pairs",
            Case::Sse => "sse",
            Case::HttpPost => "http-post",
            Case::Durable => "durable",
        })
    }
}

/// How idle connections are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Via {
    /// MQTT over TCP.
    Tcp,
    /// MQTT over WebSocket.
    Ws,
    /// Server-Sent Events.
    Sse,
}

/// How much of a case, and against whom.
#[derive(Debug, Clone, clap::Args)]
pub struct Load {
    /// Host of the server
    #[arg(long, default_value = "127.0.0.1")]
    pub host: String,
    /// Port of MQTT over TCP
    #[arg(long, default_value_t = 1883)]
    pub port: u16,
    /// Port of everything web
    #[arg(long, default_value_t = 8080)]
    pub http_port: u16,
    /// Process of the server, for its CPU time and memory; on this machine only
    #[arg(long)]
    pub pid: Option<u32>,
    /// Quality of service of publishers and subscribers; in durable always 1
    #[arg(long, default_value_t = 0, value_parser = client::qos())]
    pub qos: u8,
    /// Publishers, or HTTP clients [default: 50, in fan-in 100, in durable 16, in fan-out, neighbours and sse 1]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub publishers: Option<u32>,
    /// Subscribers or streams of fan-out, neighbours and sse [default: 500, in neighbours 400]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub subscribers: Option<u32>,
    /// Subscribers of neighbours that never read
    #[arg(long, default_value_t = 100)]
    pub stalled: u32,
    /// Sessions of durable that are away
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub sessions: u32,
    /// Bytes of a payload
    #[arg(long, default_value_t = 64)]
    pub payload: usize,
    /// Messages each publisher may have under way [default: 20, in durable 1]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub window: Option<u16>,
    /// How long to measure
    #[arg(long, default_value_t = 5.0)]
    pub seconds: f64,
    /// Version of MQTT
    #[arg(long, default_value = "311")]
    pub version: client::Version,
    /// Messages per second of all publishers, in latency
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub rate: u32,
    /// Connections of idle [default: 5000], filters of filters and messages of retained [default: 100000]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=50_000_000))]
    pub count: Option<u32>,
    /// How the connections of idle are made
    #[arg(long, default_value = "tcp")]
    pub via: Via,
    /// Each idle connection subscribes to a topic of its own
    #[arg(long)]
    pub subscribed: bool,
    /// Print the result as one JSON object
    #[arg(long)]
    pub json: bool,
}

impl Load {
    /// How many publishers there are.
    pub fn publishers(&self, case: Case) -> usize {
        match case {
            Case::FanOut | Case::Neighbours | Case::Sse => 1,
            Case::Idle | Case::Retained => 0,
            Case::FanIn => self.publishers.unwrap_or(100) as usize,
            Case::Durable => self.publishers.unwrap_or(16) as usize,
            _ => self.publishers.unwrap_or(50) as usize,
        }
    }

    /// How many subscribers there are.
    pub fn subscribers(&self, case: Case) -> usize {
        match case {
            Case::FanOut | Case::Sse => self.subscribers.unwrap_or(500) as usize,
            Case::Neighbours => self.subscribers.unwrap_or(400) as usize,
            Case::FanIn => 1,
            Case::HttpPost => 0,
            Case::Durable => self.sessions as usize,
            _ => self.publishers(case),
        }
    }

    /// How many messages a publisher may have under way.
    pub fn window(&self, case: Case) -> u16 {
        match case {
            Case::HttpPost => 1,
            Case::Durable => self.window.unwrap_or(1),
            _ => self.window.unwrap_or(20),
        }
    }

    /// How many things memory is measured of.
    pub fn count(&self, case: Case) -> u32 {
        let default = if case == Case::Idle { 5000 } else { 100_000 };
        self.count.unwrap_or(default)
    }

    /// The time that is measured.
    pub fn time(&self) -> Duration {
        Duration::try_from_secs_f64(self.seconds).unwrap_or(Duration::from_secs(5))
    }

    /// The MQTT version as the codec names it.
    pub fn mqtt_version(&self) -> mqtt::Version {
        match self.version {
            client::Version::V311 => mqtt::Version::V311,
            client::Version::V5 => mqtt::Version::V5,
        }
    }

    /// Where MQTT is spoken.
    pub fn door(&self, websocket: bool) -> Door {
        Door {
            host: self.host.clone(),
            port: if websocket { self.http_port } else { self.port },
            version: self.mqtt_version(),
            websocket,
        }
    }

    /// What messages look like.
    pub fn shape(&self, websocket: bool) -> Shape {
        Shape {
            version: self.mqtt_version(),
            qos: self.qos,
            retain: false,
            payload: self.payload,
            websocket,
        }
    }
}

/// A client identifier that no other connection of this machine has.
pub fn client_id(role: &str, number: usize) -> String {
    format!("bench-{}-{role}-{number}", std::process::id())
}
