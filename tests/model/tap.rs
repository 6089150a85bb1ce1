//! What the server writes, seen at its source: the standard's rules for a sender, whatever the link loses later.

use std::collections::VecDeque;

use tidegate::{
    mqtt::{
        Packet, PacketId, Qos,
        frame::{Decoder, Peer},
        publish::Publish,
    },
    session::opening::Terms,
};

use super::ledger::{Fate, Ledger, number_in};

/// The server's exchanges as they must be.
#[derive(Default)]
pub struct Tap {
    decoder: Option<Decoder>,
    /// Bytes of an unfinished packet: payloads come apart from their heads.
    half: Vec<u8>,
    /// In the order first sent.
    window: VecDeque<InFlight>,
    /// PUBRELs to be repeated, in order, before anything else above QoS 0.
    to_repeat: VecDeque<PacketId>,
    /// PUBRELs that answer a PUBREC.
    owed: VecDeque<PacketId>,
}

struct InFlight {
    id: PacketId,
    number: u64,
    qos: Qos,
    released: bool,
    /// Whether this connection has sent it.
    sent: bool,
    size: usize,
}

impl Tap {
    /// A connection goes on with the session, or begins it.
    pub fn resume(&mut self, terms: &Terms) {
        self.decoder = Some(Decoder::with_version(
            Peer::Server,
            terms.version,
            usize::MAX,
        ));
        self.half.clear();
        self.owed.clear();
        for item in &mut self.window {
            item.sent = false;
        }
        let released = self.window.iter().filter(|item| item.released);
        self.to_repeat = released.map(|item| item.id).collect();
    }

    /// The session is gone; the numbers of its unacknowledged messages.
    pub fn end(&mut self) -> Vec<u64> {
        self.window.drain(..).map(|item| item.number).collect()
    }

    /// The server has given this message up.
    pub fn forget(&mut self, number: u64) {
        let at = self.window.iter().position(|item| item.number == number);
        let item = self.window.remove(at.expect("it was unacknowledged"));
        assert!(item.is_some_and(|item| !item.released));
    }

    pub fn in_flight(&self) -> usize {
        self.window.len()
    }

    /// The server has written these bytes.
    pub fn see(&mut self, bytes: &[u8], terms: &Terms, ledger: &mut Ledger) {
        self.half.extend(bytes);
        while let Some(size) = first_packet(&self.half) {
            let frame: Vec<u8> = self.half.drain(..size).collect();
            // [MQTT-3.1.2-24]
            assert!(size <= terms.max_packet_out, "a packet of {size} bytes");
            let mut packets = Vec::new();
            let decoder = self.decoder.as_mut().expect("a connection");
            let read = decoder.feed(&frame, &mut packets);
            read.expect("the server writes packets");
            for packet in packets {
                match packet {
                    Packet::Publish(publish) => self.published(&publish, size, terms, ledger),
                    Packet::PubRel(ack) => self.released(ack.packet_id, terms, ledger),
                    _ => {}
                }
            }
        }
    }

    fn published(&mut self, publish: &Publish, size: usize, terms: &Terms, ledger: &mut Ledger) {
        let number = number_in(&publish.payload);
        let entry = ledger.down.get_mut(&number).expect("entered");
        entry.written += 1;
        assert_eq!(publish.qos, entry.qos);
        let Some(id) = publish.packet_id else {
            // [MQTT-3.3.1-2]
            return assert!(!publish.dup && entry.written == 1);
        };
        // [MQTT-4.4.0-1]: what is older has been sent again
        assert_eq!(self.to_repeat.front(), None);
        if publish.dup {
            self.skip_too_large(Some(id), terms, ledger);
            let item = self
                .window
                .iter_mut()
                .find(|item| !item.sent && !item.released);
            let item = item.expect("DUP is for what was sent before");
            // [MQTT-4.6.0-1]
            assert_eq!((item.id, item.number), (id, number), "sent again in order");
            item.sent = true;
        } else {
            self.nothing_left_to_resend(terms, ledger);
            // [MQTT-2.2.1-4]
            let in_use = self.window.iter().any(|item| item.id == id);
            assert!(!in_use, "identifier {id} is in use");
            self.window.push_back(InFlight {
                id,
                number,
                qos: publish.qos,
                released: false,
                sent: true,
                size,
            });
        }
        // [MQTT-3.3.4-9]
        let open = self.window.iter().filter(|item| item.sent).count();
        assert!(open <= terms.receive_maximum_out.into());
    }

    fn released(&mut self, id: PacketId, terms: &Terms, ledger: &mut Ledger) {
        if let Some(first) = self.to_repeat.pop_front() {
            assert_eq!(first, id, "releases are repeated in order");
        } else if self.owed.front() == Some(&id) {
            // [MQTT-4.6.0-4]
            self.owed.pop_front();
        } else {
            // instead of a message that has become too large
            self.skip_too_large(Some(id), terms, ledger);
            let item = self.window.iter_mut().find(|item| item.id == id);
            let item = item.expect("PUBREL belongs to a PUBLISH");
            assert!(item.qos == Qos::ExactlyOnce && !item.sent && !item.released);
            assert!(item.size + SLACK > terms.max_packet_out);
            item.released = true;
            dropped(ledger, item.number);
        }
    }

    /// Everything older has been sent again, or never will be.
    pub fn nothing_left_to_resend(&mut self, terms: &Terms, ledger: &mut Ledger) {
        self.skip_too_large(None, terms, ledger);
        assert!(self.window.iter().all(|item| item.sent || item.released));
    }

    /// Forgets QoS 1 messages in front of `id` that the client does not take any more.
    fn skip_too_large(&mut self, id: Option<PacketId>, terms: &Terms, ledger: &mut Ledger) {
        let end = self.window.iter().position(|item| Some(item.id) == id);
        let mut at = 0;
        self.window.retain(|item| {
            let before = end.is_none_or(|end| at < end);
            at += 1;
            let waits = !item.sent && !item.released;
            let goes = before
                && waits
                && item.qos == Qos::AtLeastOnce
                && item.size + SLACK > terms.max_packet_out;
            if goes {
                dropped(ledger, item.number);
            }
            !goes
        });
    }

    /// The server has taken this packet from the client.
    pub fn heard(&mut self, packet: &Packet, ledger: &mut Ledger) {
        let (id, fate) = match packet {
            Packet::PubRec(ack) if !ack.reason.is_failure() => {
                let item = self.window.iter_mut().find(|item| item.id == ack.packet_id);
                let item = item.expect("the client acknowledges what it got");
                assert!(item.sent && !item.released);
                item.released = true;
                return self.owed.push_back(ack.packet_id);
            }
            Packet::PubAck(ack) | Packet::PubRec(ack) if ack.reason.is_failure() => {
                (ack.packet_id, Fate::Refused)
            }
            // 0x92 answers a repeated PUBREL
            Packet::PubAck(ack) | Packet::PubComp(ack) => (ack.packet_id, Fate::Settled),
            _ => return,
        };
        let at = self.window.iter().position(|item| item.id == id);
        let item = at.and_then(|at| self.window.remove(at));
        let item = item.expect("the client acknowledges what it got");
        assert_eq!(item.released, matches!(packet, Packet::PubComp(_)));
        let entry = ledger.down.get_mut(&item.number).expect("entered");
        if entry.fate == Fate::Open {
            entry.fate = fate;
        }
        ledger.check(item.number);
    }
}

/// Sizes differ by an alias, or by the version of the connection.
const SLACK: usize = 12;

fn dropped(ledger: &mut Ledger, number: u64) {
    ledger.down.get_mut(&number).expect("entered").fate = Fate::Dropped("it is too large");
}

/// The size of the first packet, if it is whole.
fn first_packet(bytes: &[u8]) -> Option<usize> {
    let mut length = 0;
    for (at, byte) in bytes.iter().enumerate().skip(1) {
        length |= usize::from(byte & 0x7F) << (7 * (at - 1));
        if byte & 0x80 == 0 {
            return Some(at + 1 + length).filter(|size| *size <= bytes.len());
        }
    }
    None
}
