//! Random dialogues: mostly legal, now and then not.

use crate::{
    random::Random,
    support::wire::{
        self, Opening, PUBACK, PUBCOMP, PUBREC, PUBREL, Properties, Publish, Value, Version, Will,
        property,
    },
};

/// Clients of a dialogue.
pub const CLIENTS: usize = 2;

/// The SUBSCRIBE with a filter that is none.
pub const NO_FILTER: &str = "subscribe to what is no filter";

/// What one client does.
#[derive(Clone, Debug)]
pub struct Step {
    pub who: usize,
    /// For the table of differences, and for whoever reads a failure.
    pub name: String,
    pub version: Version,
    pub deed: Deed,
    pub bytes: Vec<u8>,
    /// Whether it subscribes with No Local.
    pub no_local: bool,
}

#[derive(Clone, Debug)]
pub enum Deed {
    /// A new connection; another one of this client is forgotten, not closed.
    Connect {
        version: Version,
        acknowledges: bool,
    },
    /// Bytes on the present connection, if there is one.
    Send,
    /// The connection is closed without a word.
    Leave,
}

/// The steps of one dialogue; its number keeps its names apart from those of others.
pub fn dialogue(number: u64, random: &mut Random<'_>) -> Vec<Step> {
    let versions: Vec<Version> = (0..CLIENTS)
        .map(|_| random.of(&[Version::V31, Version::V311, Version::V5, Version::V5]))
        .collect();
    let mut writer = Writer {
        number,
        versions,
        next_id: 0,
    };
    let mut steps: Vec<Step> = (0..CLIENTS)
        .map(|who| writer.connect(who, random))
        .collect();
    for _ in 0..random.between(4, 14) {
        let who = random.below(CLIENTS as u64) as usize;
        steps.push(match random.below(20) {
            0..2 => writer.connect(who, random),
            2..7 => writer.subscribe(who, random),
            7 => writer.unsubscribe(who, random),
            8..15 => writer.publish(who, random),
            15 => writer.acknowledge(who, random),
            16 => writer.disconnect(who, random),
            17 => Step {
                who,
                name: "leave".to_owned(),
                version: writer.versions[who],
                deed: Deed::Leave,
                bytes: Vec::new(),
                no_local: false,
            },
            18 => writer.raw(who, random),
            _ => writer.odd_connect(who, random),
        });
        if steps.last().is_some_and(|step| step.name == NO_FILTER) {
            // Mosquitto may close and keep the filters in front of the wrong one
            break;
        }
    }
    steps
}

struct Writer {
    number: u64,
    versions: Vec<Version>,
    next_id: u16,
}

impl Writer {
    fn step(&self, who: usize, name: &str, bytes: Vec<u8>) -> Step {
        Step {
            who,
            name: name.to_owned(),
            version: self.versions[who],
            deed: Deed::Send,
            bytes,
            no_local: false,
        }
    }

    fn id(&mut self) -> u16 {
        self.next_id += 1;
        self.next_id
    }

    fn five(&self, who: usize, properties: Properties) -> Properties {
        match self.versions[who] {
            Version::V5 => properties,
            _ => Properties::default(),
        }
    }

    fn opening(&self, who: usize, random: &mut Random<'_>) -> Opening {
        let version = self.versions[who];
        let mut opening = Opening::new(version, &format!("d{}-{who}", self.number));
        opening.clean = random.once_in(2);
        if version == Version::V5 && random.once_in(2) {
            opening = opening.session_expiry(3600);
        }
        if random.once_in(3) {
            opening = opening.will(Will {
                topic: format!("d{}/will", self.number),
                payload: b"gone".to_vec(),
                qos: random.below(3) as u8,
                retain: random.once_in(3),
                properties: Properties::default(),
            });
        }
        opening
    }

    fn connect(&mut self, who: usize, random: &mut Random<'_>) -> Step {
        let mut step = self.step(who, "connect", self.opening(who, random).encode());
        step.deed = Deed::Connect {
            version: self.versions[who],
            acknowledges: !random.once_in(4),
        };
        step
    }

    fn odd_connect(&mut self, who: usize, random: &mut Random<'_>) -> Step {
        let version = self.versions[who];
        let mut opening = self.opening(who, random);
        let (name, bytes) = match random.below(9) {
            0 => {
                opening.client = String::new();
                ("connect without an identifier", opening.encode())
            }
            1 => {
                opening.level = Some(random.of(&[0, 1, 2, 6, 7, 0x7F, 0xFF]));
                ("connect with an unknown level", opening.encode())
            }
            2 => {
                let mut bytes = opening.encode();
                bytes[4] ^= 0x20; // m
                ("connect with another protocol name", bytes)
            }
            3 => {
                let mut bytes = opening.encode();
                let at = 2 + 2 + version.name().len() + 1;
                bytes[at] |= 1;
                ("connect with the reserved flag", bytes)
            }
            4 => {
                opening.will = Some(Will {
                    topic: random.of(&["a/#", "", "+"]).to_owned(),
                    ..Will::default()
                });
                ("connect with an impossible will topic", opening.encode())
            }
            5 => {
                opening.will = Some(Will {
                    topic: "a".to_owned(),
                    qos: 3,
                    ..Will::default()
                });
                ("connect with a will of QoS 3", opening.encode())
            }
            6 => {
                opening.will = None;
                let mut bytes = opening.encode();
                let at = 2 + 2 + version.name().len() + 1;
                bytes[at] |= random.of(&[0x20, 0x08, 0x10]);
                ("connect with will flags and no will", bytes)
            }
            7 => {
                let mut bytes = opening.encode();
                bytes[0] |= 1;
                ("connect with flags in its header", bytes)
            }
            _ => {
                opening.properties = self.five(
                    who,
                    random.of(&[
                        Properties::default().with(property::RECEIVE_MAXIMUM, Value::Two(0)),
                        Properties::default().with(property::MAXIMUM_PACKET_SIZE, Value::Four(0)),
                        Properties::default().with(0x17, Value::Byte(2)),
                        Properties::default().with(0x19, Value::Byte(2)),
                        Properties::default().text(0x15, "method"),
                        Properties::default().with(0x16, Value::Binary(vec![1])),
                        Properties::default().with(property::PAYLOAD_FORMAT, Value::Byte(1)),
                    ]),
                );
                ("connect with a wrong property", opening.encode())
            }
        };
        let mut step = self.step(who, name, bytes);
        step.deed = Deed::Connect {
            version,
            acknowledges: true,
        };
        step
    }

    fn filter(&self, random: &mut Random<'_>) -> String {
        let tail = random.of(&[
            "a", "a", "b", "a/b", "#", "+", "a/#", "+/b", "a/+", "will", "$x",
        ]);
        match random.below(12) {
            0 => random
                .of(&[
                    "",
                    "a#",
                    "a/#/b",
                    "+a",
                    "a\0b",
                    "$share/g",
                    "$share//a",
                    "$share/g/",
                ])
                .to_owned(),
            _ => format!("d{}/{tail}", self.number),
        }
    }

    fn subscribe(&mut self, who: usize, random: &mut Random<'_>) -> Step {
        let v5 = self.versions[who] == Version::V5;
        let filters: Vec<(String, u8)> = (0..random.between(1, 3))
            .map(|_| {
                let mut options = random.below(3) as u8;
                if v5 {
                    options |= random.of(&[0, 0, 4, 8, 0x10, 0x20]);
                }
                (self.filter(random), options)
            })
            .collect();
        let mut borrowed: Vec<(&str, u8)> = filters
            .iter()
            .map(|(filter, options)| (filter.as_str(), *options))
            .collect();
        let properties = match v5 && random.once_in(3) {
            true => Properties::default().with(
                property::SUBSCRIPTION_ID,
                Value::Var(random.of(&[1, 7, 300, 0])),
            ),
            false => Properties::default(),
        };
        let id = self.id();
        let version = self.versions[who];
        let no_local = v5 && filters.iter().any(|(_, options)| options & 4 > 0);
        let wrong = filters.iter().any(|(filter, _)| !filter.starts_with('d'));
        let wrong_id = properties.number(property::SUBSCRIPTION_ID) == Some(0);
        let (name, bytes) = match random.below(25) {
            0 => {
                borrowed[0].1 = random.of(&[3, 0x40, 0x80, 0x30]);
                (
                    "subscribe with wrong options",
                    wire::subscribe(version, id, &borrowed, &properties),
                )
            }
            1 => (
                "subscribe to nothing",
                wire::subscribe(version, id, &[], &properties),
            ),
            2 => (
                "subscribe with identifier 0",
                wire::subscribe(version, 0, &borrowed, &properties),
            ),
            _ if wrong_id => (
                "subscribe with subscription identifier 0",
                wire::subscribe(version, id, &borrowed, &properties),
            ),
            _ if wrong => (
                NO_FILTER,
                wire::subscribe(version, id, &borrowed, &properties),
            ),
            _ => (
                "subscribe",
                wire::subscribe(version, id, &borrowed, &properties),
            ),
        };
        Step {
            no_local,
            ..self.step(who, name, bytes)
        }
    }

    fn unsubscribe(&mut self, who: usize, random: &mut Random<'_>) -> Step {
        let (id, version) = (self.id(), self.versions[who]);
        let filter = self.filter(random);
        match random.below(10) {
            0 => {
                let bytes = wire::unsubscribe(version, id, &[]);
                self.step(who, "unsubscribe from nothing", bytes)
            }
            _ => {
                let name = match filter.starts_with('d') {
                    true => "unsubscribe",
                    false => "unsubscribe from what is no filter",
                };
                self.step(who, name, wire::unsubscribe(version, id, &[&filter]))
            }
        }
    }

    fn publish(&mut self, who: usize, random: &mut Random<'_>) -> Step {
        let version = self.versions[who];
        let mut message = Publish::new(
            &format!("d{}/{}", self.number, random.of(&["a", "b", "a/b", "$x"])),
            random.of(&["one", "two", ""]),
            random.below(3) as u8,
        );
        message.retain = random.once_in(3);
        message.id = self.id();
        let mut name = "publish";
        match random.below(20) {
            0 => {
                message.topic = random.of(&["a/#", "+", "a\0b"]).to_owned();
                name = "publish to what is no topic";
            }
            1 => {
                message.topic = String::new();
                name = "publish without a topic";
            }
            2 => {
                message.id = 0;
                if message.qos > 0 {
                    name = "publish with identifier 0";
                }
            }
            3 => {
                message.dup = true;
                name = match message.qos {
                    0 => "publish with DUP at QoS 0",
                    _ => "publish with DUP",
                };
            }
            4 if version == Version::V5 => {
                message.properties = random.of(&[
                    Properties::default().with(property::TOPIC_ALIAS, Value::Two(0)),
                    Properties::default().with(property::TOPIC_ALIAS, Value::Two(60_000)),
                    Properties::default().with(property::SUBSCRIPTION_ID, Value::Var(1)),
                    Properties::default().with(property::PAYLOAD_FORMAT, Value::Byte(2)),
                    Properties::default().text(property::RESPONSE_TOPIC, "a/#"),
                    Properties::default().with(property::SESSION_EXPIRY, Value::Four(1)),
                    Properties::default()
                        .text(property::CONTENT_TYPE, "a")
                        .text(property::CONTENT_TYPE, "b"),
                ]);
                name = "publish with a wrong property";
            }
            5..12 if version == Version::V5 => {
                message.properties = random.of(&[
                    Properties::default().with(property::MESSAGE_EXPIRY, Value::Four(1000)),
                    Properties::default().user("k", "v").user("k", "w"),
                    Properties::default().text(property::CONTENT_TYPE, "text/plain"),
                    Properties::default().with(property::PAYLOAD_FORMAT, Value::Byte(1)),
                    Properties::default()
                        .text(property::RESPONSE_TOPIC, "re")
                        .with(property::CORRELATION, Value::Binary(vec![1, 2])),
                    Properties::default().with(property::TOPIC_ALIAS, Value::Two(1)),
                ]);
            }
            12 => {
                let mut bytes = wire::publish(version, &message);
                bytes[0] |= 6;
                return self.step(who, "publish at QoS 3", bytes);
            }
            _ => {}
        }
        self.step(who, name, wire::publish(version, &message))
    }

    fn acknowledge(&mut self, who: usize, random: &mut Random<'_>) -> Step {
        let kind = random.of(&[PUBACK, PUBREC, PUBREL, PUBCOMP]);
        let id = random.of(&[0, 1, 2, 60_000]);
        let name = match (kind, id) {
            (_, 0) => "acknowledge identifier 0",
            (PUBREL, _) => "release what may be unknown",
            _ => "acknowledge what may be unknown",
        };
        self.step(who, name, wire::ack(kind, id))
    }

    fn disconnect(&mut self, who: usize, random: &mut Random<'_>) -> Step {
        let version = self.versions[who];
        match version {
            Version::V5 => match random.below(4) {
                0 => self.step(who, "disconnect with will", wire::disconnect(version, 4)),
                1 => {
                    let expiry = random.of(&[0, 100]);
                    let properties =
                        Properties::default().with(property::SESSION_EXPIRY, Value::Four(expiry));
                    let bytes = wire::disconnect_with(0, &properties);
                    self.step(who, "disconnect with an expiry", bytes)
                }
                _ => self.step(who, "disconnect", wire::disconnect(version, 0)),
            },
            _ => self.step(who, "disconnect", wire::disconnect(version, 0)),
        }
    }

    fn raw(&mut self, who: usize, random: &mut Random<'_>) -> Step {
        let version = self.versions[who];
        let connect = self.opening(who, random).encode();
        let (name, bytes) = random.of(&[
            ("packet type 0", vec![0x00, 0x00]),
            ("packet type 15", vec![0xF0, 0x00]),
            ("CONNACK from a client", vec![0x20, 0x02, 0x00, 0x00]),
            ("SUBACK from a client", vec![0x90, 0x03, 0x00, 0x01, 0x00]),
            ("UNSUBACK from a client", vec![0xB0, 0x02, 0x00, 0x01]),
            ("PINGRESP from a client", vec![0xD0, 0x00]),
            ("PINGREQ with flags", vec![0xC1, 0x00]),
            ("PINGREQ with a body", vec![0xC0, 0x01, 0x00]),
            ("PUBACK with flags", vec![0x42, 0x02, 0x00, 0x01]),
            ("PUBREL without its flags", vec![0x60, 0x02, 0x00, 0x01]),
            ("SUBSCRIBE without its flags", {
                let mut bytes = wire::subscribe(version, 1, &[("a", 0)], &Properties::default());
                bytes[0] = 0x80;
                bytes
            }),
            ("UNSUBSCRIBE without its flags", {
                let mut bytes = wire::unsubscribe(version, 1, &["a"]);
                bytes[0] = 0xA0;
                bytes
            }),
            ("DISCONNECT with flags", vec![0xE1, 0x00]),
            ("a second CONNECT", connect),
            ("PUBACK of one byte", vec![0x40, 0x01, 0x00]),
            (
                "PUBLISH with half a topic",
                wire::packet(0x30, &[0, 9, b'a']),
            ),
            (
                "ill-formed UTF-8 in a topic",
                wire::packet(0x30, &[0, 2, b'a', 0xFF, 0]),
            ),
        ]);
        self.step(who, name, bytes)
    }
}
