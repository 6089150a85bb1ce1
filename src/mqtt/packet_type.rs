//! Packet types: their numbers, the flags beside them, and who sends them.

use super::{Version, error::Malformed, frame::Peer};

/// The upper half of a packet's first byte (section 2.1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs)] // the names are the standard's own
pub enum PacketType {
    Connect = 1,
    ConnAck = 2,
    Publish = 3,
    PubAck = 4,
    PubRec = 5,
    PubRel = 6,
    PubComp = 7,
    Subscribe = 8,
    SubAck = 9,
    Unsubscribe = 10,
    UnsubAck = 11,
    PingReq = 12,
    PingResp = 13,
    Disconnect = 14,
    Auth = 15,
}

impl PacketType {
    /// The type for the upper half of a first byte; `None` for 0.
    pub fn from_wire(value: u8) -> Option<Self> {
        use PacketType::*;
        Some(match value {
            1 => Connect,
            2 => ConnAck,
            3 => Publish,
            4 => PubAck,
            5 => PubRec,
            6 => PubRel,
            7 => PubComp,
            8 => Subscribe,
            9 => SubAck,
            10 => Unsubscribe,
            11 => UnsubAck,
            12 => PingReq,
            13 => PingResp,
            14 => Disconnect,
            15 => Auth,
            _ => return None,
        })
    }

    /// The first byte of a packet of this type; a PUBLISH adds its flags [MQTT-2.1.3-1].
    pub fn first_byte(self) -> u8 {
        let flags = match self {
            PacketType::PubRel | PacketType::Subscribe | PacketType::Unsubscribe => 0b0010,
            _ => 0,
        };
        (self as u8) << 4 | flags
    }

    /// Whether `peer` may send it.
    pub fn is_sent_by(self, peer: Peer, version: Version) -> bool {
        use PacketType::*;
        match self {
            Connect | Subscribe | Unsubscribe | PingReq => peer == Peer::Client,
            ConnAck | SubAck | UnsubAck | PingResp => peer == Peer::Server,
            Disconnect => peer == Peer::Client || version.is_v5(),
            Publish | PubAck | PubRec | PubRel | PubComp | Auth => true,
        }
    }

    /// Refuses flags that are not those of this type [MQTT-2.1.3-1]; a PUBLISH reads its own.
    pub fn check_flags(self, first: u8, version: Version) -> Result<(), Malformed> {
        use PacketType::*;
        let exact = self == Publish || first == self.first_byte();
        // 3.1 repeats these three with DUP set; what it calls "not used" is reserved here as in 3.1.1
        let repeated = version == Version::V31
            && matches!(self, PubRel | Subscribe | Unsubscribe)
            && first == self.first_byte() | 0b1000;
        if exact || repeated {
            Ok(())
        } else {
            Err(Malformed::HeaderFlags)
        }
    }
}
