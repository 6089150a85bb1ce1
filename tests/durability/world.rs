//! What everyone who takes part can see: one life of the gateway, the record, and where to note what is wrong.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::Arc,
};

use tokio::sync::watch;

use crate::{
    findings::Findings,
    random::Random,
    record::Record,
    support::{gateway::Gateway, within},
};

#[derive(Clone)]
pub struct World {
    pub record: Arc<Record>,
    pub findings: Arc<Findings>,
    pub mqtt: SocketAddr,
    pub http: SocketAddr,
    /// Which life of the gateway this is; each kill ends one.
    pub life: u64,
    killed: watch::Receiver<bool>,
}

impl World {
    /// The world of this life of the gateway, and how to tell everyone that it has ended.
    pub fn around(
        gateway: &Gateway,
        life: u64,
        record: &Arc<Record>,
        findings: &Arc<Findings>,
    ) -> (Self, watch::Sender<bool>) {
        let (kill, killed) = watch::channel(false);
        let world = Self {
            record: Arc::clone(record),
            findings: Arc::clone(findings),
            mqtt: gateway.mqtt,
            http: gateway.http,
            life,
            killed,
        };
        (world, kill)
    }

    /// The gateway was not there for `who`, so it must have been killed: it never turns a correct client away.
    pub async fn must_have_ended(&self, who: &str) {
        let mut killed = self.killed.clone();
        let what =
            format!("the kill after which {who} lost its connection: the gateway closed it itself");
        let _ = within(&what, killed.wait_for(|killed| *killed)).await;
    }
}

/// Two ports that nobody listens on, below those that the system gives to clients.
pub fn free_ports(random: &mut Random<'_>) -> [u16; 2] {
    let mut one = || {
        loop {
            let port = random.between(12_000, 21_999) as u16;
            if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
                return port;
            }
        }
    };
    let first = one();
    loop {
        let second = one();
        if second != first {
            return [first, second];
        }
    }
}
