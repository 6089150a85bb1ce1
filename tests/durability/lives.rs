//! Many lives of the gateway on one folder: in each, what was acknowledged is looked for, then there is load until its
//! end comes.

use std::{sync::Arc, time::Duration};

use tempfile::TempDir;
use tokio::sync::watch;

use crate::{
    cast,
    everyone::{Everyone, ROOMY},
    findings::Findings,
    random::{Random, Repeat},
    record::Record,
    support::gateway::Gateway,
    world::{World, free_ports},
};

pub struct Lives {
    pub random: Random<'static>,
    pub record: Arc<Record>,
    data: Arc<TempDir>,
    ports: [u16; 2],
    findings: Arc<Findings>,
    everyone: Everyone,
}

impl Lives {
    pub fn of(data: TempDir, seed: u64) -> Self {
        let mut random = Random::seeded(seed);
        let ports = free_ports(&mut random);
        let record = Arc::new(Record::of(cast::streams()));
        let everyone = Everyone::of(&record, &mut random);
        Self {
            random,
            record,
            data: Arc::new(data),
            ports,
            findings: Arc::new(Findings::of_run(seed)),
            everyone,
        }
    }

    /// A gateway that is killed while it starts: a crash while it recovers from a crash.
    pub fn kill_at_the_start(&mut self) {
        let mut command = Gateway::command(self.data.path(), self.ports, &ROOMY);
        let mut child = command.spawn().expect("the built tidegate starts");
        std::thread::sleep(Duration::from_millis(self.random.between(1, 60)));
        child.kill().expect("SIGKILL");
        child.wait().expect("the killed child's status");
    }

    /// One life, which `end` ends.
    pub async fn live(self, life: u64, end: impl FnOnce(Gateway)) -> Self {
        let _life = told(life);
        let (mut lives, gateway, world, ended) = self.begin(life, life > 0).await;
        let moment = Duration::from_millis(lives.random.between(200, 2_000));
        let end = || end(gateway);
        lives.everyone = lives.everyone.load(&world, moment, end, ended).await;
        lives
    }

    /// The life in which nobody is away and nothing is lost any more.
    pub async fn end(self, life: u64) {
        let _life = told(life);
        let (_lives, gateway, ..) = self.begin(life, false).await;
        gateway.stop();
    }

    async fn begin(
        mut self,
        life: u64,
        some_are_away: bool,
    ) -> (Self, Gateway, World, watch::Sender<bool>) {
        let gateway = Gateway::start_at(self.data.clone(), self.ports, &ROOMY);
        let (world, ended) = World::around(&gateway, life, &self.record, &self.findings);
        self.everyone.wake_all();
        if some_are_away {
            self.everyone.send_some_away(&mut self.random);
        }
        self.everyone = self.everyone.verify(&world).await;
        self.everyone = self.everyone.end_some(&world, &mut self.random).await;
        self.findings.fail_if_any(life);
        (self, gateway, world, ended)
    }
}

fn told(life: u64) -> Repeat {
    Repeat(format!("it was cycle {life}"))
}
