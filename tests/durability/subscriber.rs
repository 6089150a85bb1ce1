//! A correct subscriber with a lasting session: it subscribes again on each reconnect, acknowledges, and knows QoS 2
//! identifiers until they are released. It leaves in every way there is, and comes back.

use std::{collections::HashMap, sync::Arc};

use tokio::sync::{Semaphore, watch};

use crate::{
    book::Book,
    line::Line,
    random::Random,
    record::Stream,
    session::Session,
    support::{
        DEADLINE,
        wire::{self, PUBACK, PUBCOMP, PUBREC, PUBREL, Packet, Properties, Publish},
    },
    world::World,
};

/// Connections in one cycle at most.
const VISITS: u32 = 40;

/// The last numbers of the streams once all publishers are done, and nothing before.
pub type Marks = watch::Receiver<Option<Vec<Option<u64>>>>;

pub struct Subscriber {
    pub session: Session,
    filters: &'static [(&'static str, u8)],
    /// Its session ends now and then, and another one begins.
    pub comes_and_goes: bool,
    /// It sleeps over this life of the gateway, with messages waiting for it.
    pub away: bool,
    book: Book,
    /// QoS 2 identifiers received and not released, with what came under them.
    unreleased: HashMap<u16, Publish>,
    random: Random<'static>,
}

impl Subscriber {
    pub fn new(
        session: Session,
        filters: &'static [(&'static str, u8)],
        comes_and_goes: bool,
        streams: &[Stream],
        random: Random<'static>,
    ) -> Self {
        Self {
            book: Book::new(session.id, filters, streams),
            session,
            filters,
            comes_and_goes,
            away: false,
            unreleased: HashMap::new(),
            random,
        }
    }

    /// Receives until all markers are there, and checks that nothing is missing before them.
    /// It is counted among those listening as soon as its SUBACK is there.
    pub async fn drain(
        mut self,
        world: World,
        listening: Arc<Semaphore>,
        mut marks: Marks,
    ) -> Self {
        let (line, known) = tokio::time::timeout(DEADLINE, async {
            let mut line = self.connect(&world, false).await.expect("no kill by now");
            loop {
                let known = marks.borrow_and_update().clone();
                if let Some(known) = known
                    && self.book.waits_for(&world.record, &known).is_empty()
                {
                    return (line, known);
                }
                tokio::select! {
                    packet = line.next() => match packet {
                        Some(packet) => {
                            if matches!(packet, Packet::Suback { .. }) {
                                listening.add_permits(1);
                            }
                            self.handle(&world, &mut line, packet);
                        }
                        None => world.must_have_ended(self.session.id).await,
                    },
                    changed = marks.changed() => changed.expect("the driver waits for everybody"),
                }
            }
        })
        .await
        .unwrap_or_else(|_| {
            let marks = marks.borrow().clone().unwrap_or_default();
            let missing = self.book.waits_for(&world.record, &marks);
            self.book.check(&world, &marks);
            let text = format!("{} waits in vain for {missing:?}", self.session.id);
            world.findings.note(text);
            world.findings.fail_if_any(world.life);
            unreachable!("something was found")
        });
        self.book.check(&world, &known);
        if self.random.once_in(2) {
            self.session.say_goodbye(line).await;
        }
        self
    }

    /// Comes and leaves until the gateway is killed, or stays away before it is.
    pub async fn load(mut self, world: World) -> Self {
        for _ in 0..VISITS {
            if self.random.once_in(8) {
                return self;
            }
            let clean = self.comes_and_goes && self.random.once_in(5);
            let Some(mut line) = self.connect(&world, clean).await else {
                return self;
            };
            let longest = if self.comes_and_goes { 150 } else { 3_000 };
            for _ in 0..self.random.between(1, longest) {
                let Some(packet) = line.next().await else {
                    world.must_have_ended(self.session.id).await;
                    return self;
                };
                self.handle(&world, &mut line, packet);
            }
            match self.random.below(4) {
                0 => self.session.say_goodbye(line).await,
                1 if self.comes_and_goes => self.session.end(&world, line).await,
                // the acknowledgements of the last messages are sent, or are not
                2 => drop(line),
                _ => line.flush().await,
            }
        }
        self
    }

    /// Ends the session.
    pub async fn end(mut self, world: World) -> Self {
        let line = self.connect(&world, false).await.expect("no kill by now");
        self.session.end(&world, line).await;
        self
    }

    async fn connect(&mut self, world: &World, clean: bool) -> Option<Line> {
        // with a window of one, a backlog at QoS 2 takes two syncs a message: minutes
        let window = self.random.between(10, 200) as u16;
        let connected = self.session.connect(world, clean, window).await?;
        let mut line = connected.line;
        if connected.anew {
            self.book.begin_anew();
        }
        if connected.anew || !connected.present {
            self.unreleased.clear();
        }
        let (version, none) = (self.session.version, Properties::default());
        line.queue(&wire::subscribe(version, 1, self.filters, &none));
        Some(line)
    }

    fn handle(&mut self, world: &World, line: &mut Line, packet: Packet) {
        match packet {
            Packet::Suback { codes, .. } => {
                let wanted: Vec<u8> = self.filters.iter().map(|(_, qos)| *qos).collect();
                assert_eq!(codes, wanted, "what {} is granted", self.session.id);
                self.book.subscribed(&world.record);
            }
            Packet::Publish(publish) if publish.qos == 2 => {
                line.queue(&wire::ack(PUBREC, publish.id));
                match self.unreleased.get(&publish.id) {
                    None => {
                        self.book.note(world, &publish);
                        self.unreleased.insert(publish.id, publish);
                    }
                    // the same message again is what QoS 2 is about
                    Some(known) if known.payload == publish.payload => {}
                    Some(known) => world.findings.note(format_args!(
                        "{} got packet {} with {:.40}, and has not released it with {:.40}",
                        self.session.id,
                        publish.id,
                        publish.text(),
                        known.text()
                    )),
                }
            }
            Packet::Publish(publish) => {
                if publish.qos == 1 {
                    line.queue(&wire::ack(PUBACK, publish.id));
                }
                self.book.note(world, &publish);
            }
            Packet::Ack {
                kind: PUBREL, id, ..
            } => {
                self.unreleased.remove(&id);
                line.queue(&wire::ack(PUBCOMP, id));
            }
            other => panic!("{}, who only subscribes, got {other:?}", self.session.id),
        }
    }
}
