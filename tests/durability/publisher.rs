//! A correct publisher with a lasting session: after each reconnect it sends again what was not acknowledged, with the
//! same identifiers, and releases what was received.

use std::collections::VecDeque;

use crate::{
    line::Line,
    random::Random,
    session::Session,
    support::{
        wire::{self, PUBACK, PUBCOMP, PUBREC, PUBREL, Packet},
        within,
    },
    world::World,
};

/// Messages in one cycle at most, so that no queue of a subscriber that is away comes near its limit.
const BUDGET: u32 = 2_000;

pub struct Publisher {
    pub session: Session,
    /// What it publishes, as places in the record.
    streams: Vec<usize>,
    /// In the order they were first sent.
    unfinished: VecDeque<Unfinished>,
    random: Random<'static>,
}

struct Unfinished {
    id: u16,
    stream: usize,
    number: u64,
    qos: u8,
    /// PUBREC has come, PUBCOMP is awaited.
    received: bool,
}

impl Publisher {
    pub fn new(session: Session, streams: Vec<usize>, random: Random<'static>) -> Self {
        Self {
            session,
            streams,
            unfinished: VecDeque::new(),
            random,
        }
    }

    /// Brings everything begun to its end.
    pub async fn settle(self, world: World) -> Self {
        self.complete(world, vec![]).await
    }

    /// Publishes one more message of each stream, the markers, and brings everything to its end.
    pub async fn mark(self, world: World) -> Self {
        let markers = self.streams.clone();
        self.complete(world, markers).await
    }

    async fn complete(mut self, world: World, further: Vec<usize>) -> Self {
        let mut line = self.connect(&world).await.expect("no kill by now");
        for stream in further {
            self.publish(&world, &mut line, stream);
        }
        let what = format!("{} to get everything acknowledged", self.session.id);
        within(&what, async {
            while !self.unfinished.is_empty() {
                match line.next().await {
                    Some(packet) => self.handle(&world, &mut line, packet),
                    None => world.must_have_ended(self.session.id).await,
                }
            }
        })
        .await;
        self.session.say_goodbye(line).await;
        self
    }

    /// Publishes until the gateway is killed, with a break of the connection now and then.
    pub async fn load(mut self, world: World) -> Self {
        let mut budget = BUDGET;
        'connections: loop {
            let Some(mut line) = self.connect(&world).await else {
                return self;
            };
            let window = self.random.between(1, 40) as usize;
            loop {
                while self.unfinished.len() < window && budget > 0 {
                    let stream = self.random.of(&self.streams);
                    self.publish(&world, &mut line, stream);
                    budget -= 1;
                }
                match line.next().await {
                    Some(packet) => self.handle(&world, &mut line, packet),
                    None => {
                        world.must_have_ended(self.session.id).await;
                        return self;
                    }
                }
                if self.random.once_in(400) {
                    if self.random.once_in(2) {
                        self.session.say_goodbye(line).await;
                    }
                    continue 'connections;
                }
            }
        }
    }

    async fn connect(&mut self, world: &World) -> Option<Line> {
        let connected = self.session.connect(world, false, u16::MAX).await?;
        let mut line = connected.line;
        if !connected.present {
            // nothing to release in a session that is not there
            self.unfinished.retain(|message| !message.received);
        }
        for message in &self.unfinished {
            if message.received {
                line.queue(&wire::ack(PUBREL, message.id));
            } else {
                let mut again = world.record.message(message.stream, message.number);
                (again.id, again.dup) = (message.id, connected.present);
                line.queue(&wire::publish(self.session.version, &again));
            }
        }
        Some(line)
    }

    fn publish(&mut self, world: &World, line: &mut Line, stream: usize) {
        let number = world.record.next(stream);
        let mut message = world.record.message(stream, number);
        // identifiers are used again as soon as they are free: a forgotten release would swallow a message
        let in_use = |id| self.unfinished.iter().any(|message| message.id == id);
        message.id = (1..).find(|id| !in_use(*id)).expect("a free identifier");
        line.queue(&wire::publish(self.session.version, &message));
        self.unfinished.push_back(Unfinished {
            id: message.id,
            stream,
            number,
            qos: message.qos,
            received: false,
        });
    }

    fn handle(&mut self, world: &World, line: &mut Line, packet: Packet) {
        let who = self.session.id;
        let Packet::Ack { kind, id, code, .. } = packet else {
            panic!("{who}, who only publishes, got {packet:?}");
        };
        // a release may have been completed before the kill already: 0x92 says so
        let fine = code < 0x80 || (kind == PUBCOMP && code == 0x92);
        assert!(fine, "{who} is refused: {packet:?}");
        let qos = if kind == PUBACK { 1 } else { 2 };
        let awaits =
            |message: &&mut Unfinished| message.qos == qos && message.received == (kind == PUBCOMP);
        // acknowledgements of a kind come in the order of what they acknowledge
        match self.unfinished.iter_mut().find(awaits) {
            Some(message) if message.id == id => {
                world.record.acknowledge(message.stream, message.number);
                if kind == PUBREC {
                    message.received = true;
                    line.queue(&wire::ack(PUBREL, id));
                }
            }
            next => {
                let next = next.map(|message| message.id);
                let text = format!("{who} got {packet:?} when {next:?} was next");
                return world.findings.note(text);
            }
        }
        if kind != PUBREC {
            self.unfinished.retain(|message| message.id != id);
        }
    }
}
