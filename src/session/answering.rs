//! The broker's replies to requests, as acknowledgements to the client; and the last word.

use super::{
    Session,
    violation::Violation,
    writing::{explanation, send},
};
use crate::mqtt::{
    Packet, PacketId, Qos, ack::Ack, auth::Auth, disconnect::Disconnect, reason::ReasonCode,
    subscribe::SubAck, write_queue::WriteQueue,
};

impl Session {
    /// Acknowledges a message.
    pub fn answer_publish(
        &mut self,
        qos: Qos,
        packet_id: Option<PacketId>,
        reason: ReasonCode,
        out: &mut WriteQueue,
    ) {
        if let Some(packet_id) = packet_id {
            self.acknowledge(qos, Ack::new(packet_id, reason), out);
        }
    }

    /// Acknowledges a message that was refused, and says why; a QoS 2 message frees its identifier [MQTT-4.3.3-9].
    pub fn refuse_publish(
        &mut self,
        qos: Qos,
        packet_id: Option<PacketId>,
        reason: ReasonCode,
        why: &str,
        out: &mut WriteQueue,
    ) {
        if let Some(packet_id) = packet_id {
            let ack = Ack {
                explanation: explanation(why),
                ..Ack::new(packet_id, reason)
            };
            self.acknowledge(qos, ack, out);
        }
    }

    /// A message was not taken and its connection ends: its identifier does not wait in a session that goes on.
    pub fn forget_publish(&mut self, qos: Qos, packet_id: Option<PacketId>) {
        if let Some(packet_id) = packet_id {
            self.receiving
                .answered(packet_id, qos, ReasonCode::QuotaExceeded);
        }
    }

    fn acknowledge(&mut self, qos: Qos, mut ack: Ack, out: &mut WriteQueue) {
        self.receiving.answered(ack.packet_id, qos, ack.reason);
        if !self.terms.version.is_v5() {
            // 3.x acknowledges what it may not publish: the packet has no place for a reason
            ack = Ack::new(ack.packet_id, ReasonCode::Success);
        }
        self.send(
            if qos == Qos::AtLeastOnce {
                Packet::PubAck(ack)
            } else {
                Packet::PubRec(ack)
            },
            out,
        );
    }

    /// Answers PUBREL.
    pub fn complete(&self, packet_id: PacketId, known: bool, out: &mut WriteQueue) {
        let ack = Ack::new(packet_id, self.known_reason(known));
        self.send(Packet::PubComp(ack), out);
    }

    /// Answers PUBREC.
    pub fn release(&self, packet_id: PacketId, known: bool, out: &mut WriteQueue) {
        let ack = Ack::new(packet_id, self.known_reason(known));
        self.send(Packet::PubRel(ack), out);
    }

    fn known_reason(&self, known: bool) -> ReasonCode {
        match known || !self.terms.version.is_v5() {
            true => ReasonCode::Success,
            false => ReasonCode::PacketIdentifierNotFound,
        }
    }

    /// One code per filter, in the order asked [MQTT-3.9.3-1].
    pub fn answer_subscribe(
        &mut self,
        packet_id: PacketId,
        reasons: Vec<ReasonCode>,
        out: &mut WriteQueue,
    ) -> Result<(), Violation> {
        let suback = SubAck {
            packet_id,
            reasons,
            explanation: None,
        };
        self.must_send(Packet::SubAck(Box::new(suback)), out)
    }

    /// One code per filter, in the order asked [MQTT-3.11.3-1].
    pub fn answer_unsubscribe(
        &mut self,
        packet_id: PacketId,
        reasons: Vec<ReasonCode>,
        out: &mut WriteQueue,
    ) -> Result<(), Violation> {
        let unsuback = SubAck {
            packet_id,
            reasons,
            explanation: None,
        };
        self.must_send(Packet::UnsubAck(Box::new(unsuback)), out)
    }

    /// The gateway's part of an extended authentication.
    pub fn answer_auth(&mut self, auth: Auth, out: &mut WriteQueue) -> Result<(), Violation> {
        self.must_send(Packet::Auth(Box::new(auth)), out)
    }

    /// Writes the last word to a 5.0 client, and the server it is to use instead; 3.x has none.
    pub fn farewell(
        &self,
        reason: ReasonCode,
        why: &str,
        server_reference: Option<&str>,
        out: &mut WriteQueue,
    ) {
        if self.terms.version.is_v5() {
            let disconnect = Disconnect {
                reason,
                session_expiry: None,
                server_reference: server_reference.map(Into::into),
                explanation: explanation(why),
            };
            if !send(Packet::Disconnect(Box::new(disconnect)), &self.terms, out) {
                let bare = Disconnect::new(reason);
                self.send(Packet::Disconnect(Box::new(bare)), out);
            }
        }
    }
}
