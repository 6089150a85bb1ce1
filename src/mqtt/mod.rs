//! The wire: bytes to packets and packets to bytes, for MQTT 3.1, 3.1.1 and 5.0 in one model.
//!
//! This room knows formats and nothing else. It does no I/O, reads no clock, keeps no session and decides no
//! policy: whether a packet is *well formed* is answered here, whether it is *allowed now* in `session`.
//!
//! One file per packet family holds the struct, its decoder, its encoder and their tests side by side.

pub mod ack;
pub mod auth;
pub mod connack;
pub mod connect;
pub mod disconnect;
pub mod error;
pub mod frame;
pub mod packet_type;
pub mod payload;
pub mod primitive;
pub mod property;
#[cfg(test)]
mod proptests;
pub mod publish;
pub mod reason;
pub mod subscribe;
pub mod topic;
pub mod write_queue;

use packet_type::PacketType;
use property::{Explanation, MessageProperties};
use std::num::NonZeroU16;

/// A Packet Identifier. Zero is not one [MQTT-2.2.1-3].
pub type PacketId = NonZeroU16;

/// Which edition of the protocol a connection speaks; settled by its CONNECT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Version {
    /// MQTT 3.1 (`MQIsdp`, level 3).
    V31,
    /// MQTT 3.1.1 (`MQTT`, level 4).
    V311,
    /// MQTT 5.0 (`MQTT`, level 5).
    V5,
}

impl Version {
    /// Whether packets carry properties and reason codes.
    pub fn is_v5(self) -> bool {
        self == Version::V5
    }

    /// The name people use: `3.1`, `3.1.1` or `5.0`.
    pub fn name(self) -> &'static str {
        match self {
            Version::V31 => "3.1",
            Version::V311 => "3.1.1",
            Version::V5 => "5.0",
        }
    }
}

/// Quality of service, as published, requested or granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
#[repr(u8)]
pub enum Qos {
    /// QoS 0.
    #[default]
    AtMostOnce = 0,
    /// QoS 1.
    AtLeastOnce = 1,
    /// QoS 2.
    ExactlyOnce = 2,
}

impl Qos {
    /// The level for a wire value; `None` for 3 and above [MQTT-3.3.1-4].
    pub fn from_wire(value: u8) -> Option<Self> {
        match value {
            0 => Some(Qos::AtMostOnce),
            1 => Some(Qos::AtLeastOnce),
            2 => Some(Qos::ExactlyOnce),
            _ => None,
        }
    }
}

/// One control packet, whichever version it came in.
#[derive(Debug, Clone, PartialEq)]
pub enum Packet {
    /// Client to server: open a session.
    Connect(Box<connect::Connect>),
    /// Server to client: the answer to CONNECT.
    ConnAck(Box<connack::ConnAck>),
    /// An application message.
    Publish(publish::Publish),
    /// QoS 1 acknowledgement.
    PubAck(ack::Ack),
    /// QoS 2, part 1.
    PubRec(ack::Ack),
    /// QoS 2, part 2.
    PubRel(ack::Ack),
    /// QoS 2, part 3.
    PubComp(ack::Ack),
    /// Client to server: ask for topics.
    Subscribe(Box<subscribe::Subscribe>),
    /// Server to client: one reason code per filter.
    SubAck(Box<subscribe::SubAck>),
    /// Client to server: drop topics.
    Unsubscribe(Box<subscribe::Unsubscribe>),
    /// Server to client: one reason code per filter (5.0), nothing (3.x).
    UnsubAck(Box<subscribe::SubAck>),
    /// Keep-alive question.
    PingReq,
    /// Keep-alive answer.
    PingResp,
    /// The end of a connection.
    Disconnect(Box<disconnect::Disconnect>),
    /// 5.0 only: extended authentication.
    Auth(Box<auth::Auth>),
}

impl Packet {
    /// How many User Properties it has; of a CONNECT with a will, those of the block that has more.
    pub fn user_properties(&self) -> usize {
        let of_message = |properties: &Option<Box<MessageProperties>>| {
            properties
                .as_ref()
                .map_or(0, |properties| properties.user.len())
        };
        let of_answer = |explanation: &Option<Box<Explanation>>| {
            explanation
                .as_ref()
                .map_or(0, |explanation| explanation.user.len())
        };
        match self {
            Packet::Publish(publish) => of_message(&publish.properties),
            Packet::Connect(connect) => {
                let will = connect.will.as_ref();
                let of_will = will.map_or(0, |will| of_message(&will.properties));
                connect.properties.user.len().max(of_will)
            }
            Packet::PubAck(ack)
            | Packet::PubRec(ack)
            | Packet::PubRel(ack)
            | Packet::PubComp(ack) => of_answer(&ack.explanation),
            Packet::Subscribe(subscribe) => subscribe.user.len(),
            Packet::Unsubscribe(unsubscribe) => unsubscribe.user.len(),
            Packet::ConnAck(connack) => of_answer(&connack.explanation),
            Packet::SubAck(suback) | Packet::UnsubAck(suback) => of_answer(&suback.explanation),
            Packet::Disconnect(disconnect) => of_answer(&disconnect.explanation),
            Packet::Auth(auth) => of_answer(&auth.explanation),
            Packet::PingReq | Packet::PingResp => 0,
        }
    }

    /// Appends the packet as `version` writes it. A CONNECT is written in the version it names itself; on 3.x an AUTH
    /// is nothing at all, and so is a CONNACK for which there is no return code.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        match self {
            Packet::Connect(connect) => connect.encode(out),
            Packet::ConnAck(connack) => connack.encode(version, out),
            Packet::Publish(publish) => publish.encode(version, out),
            Packet::PubAck(ack) => ack.encode(PacketType::PubAck, version, out),
            Packet::PubRec(ack) => ack.encode(PacketType::PubRec, version, out),
            Packet::PubRel(ack) => ack.encode(PacketType::PubRel, version, out),
            Packet::PubComp(ack) => ack.encode(PacketType::PubComp, version, out),
            Packet::Subscribe(subscribe) => subscribe.encode(version, out),
            Packet::SubAck(suback) => suback.encode(PacketType::SubAck, version, out),
            Packet::Unsubscribe(unsubscribe) => unsubscribe.encode(version, out),
            Packet::UnsubAck(suback) => suback.encode(PacketType::UnsubAck, version, out),
            Packet::PingReq => out.extend_from_slice(&[PacketType::PingReq.first_byte(), 0]),
            Packet::PingResp => out.extend_from_slice(&[PacketType::PingResp.first_byte(), 0]),
            Packet::Disconnect(disconnect) => disconnect.encode(version, out),
            Packet::Auth(auth) if version.is_v5() => auth.encode(out),
            Packet::Auth(_) => {}
        }
    }
}
