//! A client, a server, a link and a clock: one step is one random choice of what happens next.

use tidegate::{message::Millis, mqtt::Version, session::NEVER};

use super::{client::Client, ledger::Ledger, link::Link, random::Random, server::Server};

/// Everything there is.
pub struct World<'a> {
    random: Random<'a>,
    versions: &'static [Version],
    client: Client,
    server: Server,
    link: Option<Link>,
    ledger: Ledger,
    now: Millis,
    aged: u32,
}

impl<'a> World<'a> {
    pub fn new(mut random: Random<'a>) -> Self {
        // 3.1 never says whether a session was found: there the server must not lose it
        let (versions, max_expiry) = random.of(&[
            (&[Version::V5][..], NEVER),
            (&[Version::V5], 500),
            (&[Version::V311], 500),
            (&[Version::V5, Version::V311], NEVER),
            (&[Version::V31], NEVER),
        ]);
        let receive_maximum = random.of(&[1, 2, 5, 20, 100]);
        World {
            random,
            versions,
            client: Client::new(),
            server: Server::new(receive_maximum, max_expiry),
            link: None,
            ledger: Ledger::default(),
            now: Millis(1_000_000),
            aged: 0,
        }
    }

    /// Takes so many steps, or as many as there are choices; then lets both parties come to rest.
    pub fn live(mut self, steps: u64) {
        for _ in 0..steps {
            if self.random.is_over() {
                break;
            }
            self.step();
        }
        self.settle();
    }

    /// One thing happens.
    fn step(&mut self) {
        if self.link.is_none() {
            return match self.random.below(4) {
                0 => self.pass_time(),
                1 => self
                    .server
                    .offer(self.now, &mut self.random, &mut self.ledger),
                _ => self.connect(false),
            };
        }
        if self.random.once_in(10_000) && self.aged < 2 {
            // which takes long: a fuzzer would do nothing else
            self.aged += 1;
            self.server.age();
        }
        match self.random.below(100) {
            0..20 => self.server_reads(),
            20..40 => self.client_reads(),
            40..52 => self.server_fills(),
            52..64 => self.client_does(|client, random, ledger, out| {
                client.publish(false, random, ledger, out);
            }),
            64..76 => self
                .server
                .offer(self.now, &mut self.random, &mut self.ledger),
            76..86 => self.client_does(|client, random, _, out| client.acknowledge(random, out)),
            86..92 => {
                let most = self.random.between(1, 9) as usize;
                self.server_answers(most);
            }
            92..94 => self.client_does(|client, random, _, out| client.ask(random, out)),
            94..96 => self.pass_time(),
            96 => self.client_does(|client, random, ledger, out| {
                // now and then more than the server allows
                for _ in 0..=random.below(30) {
                    client.publish(true, random, ledger, out);
                }
            }),
            97 => self.client_does(|client, random, _, out| {
                if random.once_in(4) {
                    client.say_goodbye(random, out);
                }
            }),
            _ => self.cut(),
        }
    }

    /// Lets both finish on a connection that stays, then checks what came of every message.
    fn settle(mut self) {
        self.cut();
        self.connect(true);
        for _ in 0..100_000 {
            if self.link.is_none() {
                self.connect(true);
            }
            let bytes = self.link.as_mut().map(|link| link.to_server.all());
            self.server_takes(&bytes.unwrap_or_default());
            self.server_answers(usize::MAX);
            self.server_fills();
            let bytes = self.link.as_mut().map(|link| link.to_client.all());
            self.client_takes(&bytes.unwrap_or_default());
            self.client_does(|client, random, _, out| client.acknowledge(random, out));
            let quiet = self
                .link
                .as_ref()
                .is_some_and(|link| link.to_server.is_empty() && link.to_client.is_empty());
            if quiet && self.client.is_idle() && self.server.is_idle() {
                return self.ledger.check_settled();
            }
        }
        panic!("the parties never come to rest");
    }

    fn connect(&mut self, calm: bool) {
        self.server.expire(self.now, &mut self.ledger);
        let version = self.random.of(self.versions);
        let (mut link, mut out) = (Link::default(), Vec::new());
        self.client
            .connect(version, calm, &mut self.random, &mut self.ledger, &mut out);
        link.to_server.write(&out);
        self.server.accept();
        self.link = Some(link);
    }

    /// The connection breaks; some of what was under way arrives before either side notices.
    fn cut(&mut self) {
        let Some(mut link) = self.link.take() else {
            return;
        };
        if !self.server.has_ended() {
            let bytes = link.to_server.last(&mut self.random);
            self.server.read(&bytes, &mut self.random, &mut self.ledger);
            self.server.flush(&mut self.ledger);
            link.to_client.write(&self.server.written());
        }
        let bytes = match self.server.began_anew() {
            // a client that is not told that its session is gone takes the new one for the old one at its next
            // attempt; against that the standard has no remedy
            true => link.to_client.all(),
            false => link.to_client.last(&mut self.random),
        };
        let mut unsent = Vec::new();
        self.client
            .read(&bytes, &mut self.random, &mut self.ledger, &mut unsent);
        self.server
            .cut(self.now, &mut self.random, &mut self.ledger);
        self.client.cut(&mut self.ledger);
    }

    fn pass_time(&mut self) {
        let most = self.random.of(&[10, 1_000, 60_000, 600_000]);
        self.now = Millis(self.now.0 + self.random.below(most));
    }

    fn server_reads(&mut self) {
        let Some(link) = &mut self.link else { return };
        let bytes = link.to_server.read(&mut self.random);
        self.server_takes(&bytes);
    }

    fn server_takes(&mut self, bytes: &[u8]) {
        let ends = self.server.read(bytes, &mut self.random, &mut self.ledger);
        self.server_writes();
        if ends {
            self.cut();
        }
    }

    fn server_fills(&mut self) {
        self.server.fill(self.now, &mut self.ledger);
        self.server_writes();
    }

    fn server_answers(&mut self, most: usize) {
        self.server.answer(most);
        self.server_writes();
    }

    fn server_writes(&mut self) {
        self.server.flush(&mut self.ledger);
        if let Some(link) = &mut self.link {
            link.to_client.write(&self.server.written());
        }
    }

    fn client_reads(&mut self) {
        let Some(link) = &mut self.link else { return };
        let bytes = link.to_client.read(&mut self.random);
        self.client_takes(&bytes);
    }

    fn client_takes(&mut self, bytes: &[u8]) {
        let Some(link) = &mut self.link else { return };
        let mut out = Vec::new();
        let ends = self
            .client
            .read(bytes, &mut self.random, &mut self.ledger, &mut out);
        self.client
            .resend(&mut self.random, &mut self.ledger, &mut out);
        link.to_server.write(&out);
        if ends {
            self.cut();
        }
    }

    fn client_does(
        &mut self,
        deed: impl FnOnce(&mut Client, &mut Random<'_>, &mut Ledger, &mut Vec<u8>),
    ) {
        let Some(link) = &mut self.link else { return };
        let mut out = Vec::new();
        deed(
            &mut self.client,
            &mut self.random,
            &mut self.ledger,
            &mut out,
        );
        link.to_server.write(&out);
    }
}
