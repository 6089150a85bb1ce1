//! From bytes to packets, strictly: a gateway that writes a malformed packet has failed the test, whatever the test was
//! about.

use super::{Packet, Properties, Publish, Value, Version, property};

/// Takes one whole packet from the front of `buffer`, if it holds one.
pub fn take_packet(version: Version, buffer: &mut Vec<u8>) -> Option<Packet> {
    let (mut length, mut at) = (0usize, 1);
    loop {
        let byte = *buffer.get(at)?;
        assert!(at <= 4, "a remaining length of at most four bytes");
        length |= usize::from(byte & 0x7F) << (7 * (at - 1));
        at += 1;
        if byte & 0x80 == 0 {
            assert!(
                byte != 0 || at == 2,
                "a remaining length longer than needed"
            );
            break;
        }
    }
    if buffer.len() < at + length {
        return None;
    }
    let rest = buffer.split_off(at + length);
    let whole = std::mem::replace(buffer, rest);
    let mut body = Body {
        bytes: &whole[at..],
    };
    let packet = decode(version, whole[0], &mut body);
    assert!(
        body.bytes.is_empty(),
        "{} bytes too many in {packet:?}",
        body.bytes.len()
    );
    Some(packet)
}

fn decode(version: Version, first: u8, body: &mut Body<'_>) -> Packet {
    let v5 = version == Version::V5;
    let (kind, flags) = (first >> 4, first & 0x0F);
    match kind {
        3 => assert!(flags & 6 != 6, "QoS 3 in {first:#04x}"),
        6 => assert_eq!(flags, 2, "flags of PUBREL"),
        _ => assert_eq!(flags, 0, "flags of packet type {kind}"),
    }
    match kind {
        2 => {
            let present = body.byte();
            assert!(
                present <= 1,
                "reserved bits of the CONNACK flags: {present:#04x}"
            );
            let code = body.byte();
            listed(&[v5_codes::CONNACK, &[1, 2, 3, 4, 5]], "CONNACK", code);
            assert!(
                present == 0 || code == 0,
                "a refusal says that a session is present"
            );
            assert!(
                !v5 || !body.bytes.is_empty() || code == 1,
                "CONNACK without a property length"
            );
            let properties = if v5 && !body.bytes.is_empty() {
                body.properties()
            } else {
                Properties::default()
            };
            Packet::Connack {
                session_present: present == 1,
                code,
                properties,
            }
        }
        3 => {
            let qos = flags >> 1 & 3;
            let topic = body.text();
            let id = if qos > 0 { body.two() } else { 0 };
            assert!(qos == 0 || id != 0, "packet identifier 0");
            let properties = if v5 {
                body.properties()
            } else {
                Properties::default()
            };
            let payload = std::mem::take(&mut body.bytes).to_vec();
            Packet::Publish(Publish {
                topic,
                payload,
                qos,
                retain: flags & 1 == 1,
                dup: flags & 8 == 8,
                id,
                properties,
            })
        }
        4..=7 => {
            let id = body.two();
            assert!(
                v5 || body.bytes.is_empty(),
                "an acknowledgement of MQTT 3 has two bytes"
            );
            let (code, properties) = body.code_and_properties();
            let codes = if kind < 6 {
                v5_codes::PUBACK
            } else {
                v5_codes::PUBREL
            };
            listed(&[codes], "an acknowledgement", code);
            Packet::Ack {
                kind,
                id,
                code,
                properties,
            }
        }
        9 | 11 => {
            let id = body.two();
            let properties = if v5 {
                body.properties()
            } else {
                Properties::default()
            };
            let codes = std::mem::take(&mut body.bytes).to_vec();
            for code in &codes {
                match (kind, v5) {
                    (9, true) => listed(&[v5_codes::SUBACK], "SUBACK", *code),
                    (9, false) => listed(&[&[0, 1, 2, 0x80]], "SUBACK", *code),
                    _ => listed(&[v5_codes::UNSUBACK], "UNSUBACK", *code),
                }
            }
            if kind == 9 {
                Packet::Suback {
                    id,
                    codes,
                    properties,
                }
            } else {
                assert!(v5 || codes.is_empty(), "UNSUBACK of MQTT 3 has no payload");
                Packet::Unsuback {
                    id,
                    codes,
                    properties,
                }
            }
        }
        13 => Packet::Pingresp,
        14 => {
            assert!(v5, "a server of MQTT 3 sends no DISCONNECT");
            let (code, properties) = body.code_and_properties();
            listed(&[v5_codes::DISCONNECT], "DISCONNECT", code);
            assert!(
                properties.get(property::SESSION_EXPIRY).is_none(),
                "a server's DISCONNECT has a session expiry"
            );
            Packet::Disconnect { code, properties }
        }
        15 => {
            assert!(v5, "MQTT 3 has no AUTH");
            let (code, properties) = body.code_and_properties();
            Packet::Auth { code, properties }
        }
        _ => panic!("packet type {kind} from a server"),
    }
}

/// The reason codes of MQTT 5 that a server may use, packet by packet.
mod v5_codes {
    pub const CONNACK: &[u8] = &[
        0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C, 0x90, 0x95,
        0x97, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9F,
    ];
    /// PUBREC too.
    pub const PUBACK: &[u8] = &[0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99];
    /// PUBCOMP too.
    pub const PUBREL: &[u8] = &[0x00, 0x92];
    pub const SUBACK: &[u8] = &[
        0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2,
    ];
    pub const UNSUBACK: &[u8] = &[0x00, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91];
    pub const DISCONNECT: &[u8] = &[
        0x00, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8C, 0x8D, 0x8E, 0x8F, 0x90, 0x93, 0x94,
        0x95, 0x96, 0x97, 0x98, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0, 0xA1, 0xA2,
    ];
}

fn listed(lists: &[&[u8]], packet: &str, code: u8) {
    assert!(
        lists.iter().any(|codes| codes.contains(&code)),
        "{code:#04x} is not among the codes of {packet}"
    );
}

struct Body<'a> {
    bytes: &'a [u8],
}

impl Body<'_> {
    fn take(&mut self, count: usize) -> &[u8] {
        assert!(
            self.bytes.len() >= count,
            "a field of {count} bytes in the {} left",
            self.bytes.len()
        );
        let (taken, rest) = self.bytes.split_at(count);
        self.bytes = rest;
        taken
    }
    fn byte(&mut self) -> u8 {
        self.take(1)[0]
    }
    fn two(&mut self) -> u16 {
        u16::from(self.byte()) << 8 | u16::from(self.byte())
    }
    fn four(&mut self) -> u32 {
        u32::from(self.two()) << 16 | u32::from(self.two())
    }
    fn var(&mut self) -> u32 {
        let mut number = 0;
        for shift in [0, 7, 14, 21] {
            let byte = self.byte();
            number |= u32::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                assert!(byte != 0 || shift == 0, "a number longer than needed");
                return number;
            }
        }
        panic!("a variable byte integer of more than four bytes");
    }
    fn binary(&mut self) -> Vec<u8> {
        let length = self.two();
        self.take(usize::from(length)).to_vec()
    }
    fn text(&mut self) -> String {
        String::from_utf8(self.binary()).expect("strings are UTF-8")
    }
    fn code_and_properties(&mut self) -> (u8, Properties) {
        let code = if self.bytes.is_empty() {
            0
        } else {
            self.byte()
        };
        let properties = if self.bytes.is_empty() {
            Properties::default()
        } else {
            self.properties()
        };
        (code, properties)
    }
    fn properties(&mut self) -> Properties {
        let length = self.var() as usize;
        let mut block = Body {
            bytes: self.take(length),
        };
        let mut found = Properties::default();
        while !block.bytes.is_empty() {
            let id = block.byte();
            let value = match id {
                0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28 | 0x29 | 0x2A => Value::Byte(block.byte()),
                0x13 | 0x21 | 0x22 | 0x23 => Value::Two(block.two()),
                0x02 | 0x11 | 0x18 | 0x27 => Value::Four(block.four()),
                0x0B => Value::Var(block.var()),
                0x03 | 0x08 | 0x12 | 0x15 | 0x1A | 0x1C | 0x1F => Value::Text(block.text()),
                0x09 | 0x16 => Value::Binary(block.binary()),
                0x26 => Value::Pair(block.text(), block.text()),
                unknown => panic!("property {unknown:#04x} is in no standard"),
            };
            let repeatable = matches!(id, property::USER | property::SUBSCRIPTION_ID);
            assert!(
                repeatable || found.get(id).is_none(),
                "property {id:#04x} twice"
            );
            found.0.push((id, value));
        }
        found
    }
}
