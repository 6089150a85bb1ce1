//! Packets from the client: what each of them changes, what can be answered at once, and what it asks the broker for.

use super::{Session, receiving::Arrival, violation::Violation};
use crate::{
    metrics::{METRICS, Refusal},
    mqtt::{
        Packet, PacketId, Qos,
        ack::Ack,
        auth::Auth,
        disconnect::Disconnect,
        payload::Payload,
        property::MessageProperties,
        publish::Publish,
        reason::ReasonCode,
        subscribe::{Subscribe, Unsubscribe},
        topic::TopicName,
        write_queue::WriteQueue,
    },
};

/// What a packet asks the broker for.
#[derive(Debug, PartialEq)]
pub enum Request {
    /// Nothing: the packet was answered, or needs no answer.
    Nothing,
    /// Publish, then [`Session::answer_publish`].
    Publish(Incoming),
    /// Subscribe, then [`Session::answer_subscribe`].
    Subscribe(Box<Subscribe>),
    /// Unsubscribe, then [`Session::answer_unsubscribe`].
    Unsubscribe(Box<Unsubscribe>),
    /// Acknowledgements made room for deliveries.
    Room,
    /// The client sent a QoS 2 message again that was taken before: once that is durable, [`Session::answer_publish`].
    Repeated(PacketId),
    /// The client released a QoS 2 message, or one that is unknown: once that is durable, [`Session::complete`].
    Released {
        /// Its identifier.
        packet_id: PacketId,
        /// Whether it waited to be released.
        known: bool,
    },
    /// The client has a QoS 2 message: once that is durable, [`Session::release`].
    Received(PacketId),
    /// The client is done with a QoS 2 message, which makes room, too.
    Completed(PacketId),
    /// Go on with an extended authentication, or begin one anew; then [`Session::answer_auth`].
    Authenticate(Box<Auth>),
    /// The client says goodbye.
    Disconnect(Box<Disconnect>),
}

/// A message from the client that is new.
#[derive(Debug, PartialEq)]
pub struct Incoming {
    /// Its topic, alias resolved.
    pub topic: TopicName,
    /// Any bytes.
    pub payload: Payload,
    /// QoS of this hop.
    pub qos: Qos,
    /// RETAIN.
    pub retain: bool,
    /// What travels with it.
    pub properties: Option<Box<MessageProperties>>,
    /// To be acknowledged, at QoS 1 and 2.
    pub packet_id: Option<PacketId>,
}

impl Session {
    /// Takes one packet after CONNECT.
    pub fn handle(&mut self, packet: Packet, out: &mut WriteQueue) -> Result<Request, Violation> {
        match packet {
            Packet::Publish(publish) => self.handle_publish(publish, out),
            Packet::PubRel(ack) => {
                let known = self.receiving.released(ack.packet_id);
                let packet_id = ack.packet_id;
                if self.is_durable() {
                    return Ok(Request::Released { packet_id, known });
                }
                self.complete(packet_id, known, out);
                Ok(Request::Nothing)
            }
            Packet::PubAck(ack) => Ok(room_if(self.sending.acknowledged(ack.packet_id)?)),
            Packet::PubRec(ack) if ack.reason.is_failure() => {
                let known = self.sending.refused(ack.packet_id)?;
                Ok(self.completed(ack.packet_id, known))
            }
            Packet::PubRec(ack) => {
                let known = self.sending.received(ack.packet_id)?;
                if known && self.is_durable() {
                    return Ok(Request::Received(ack.packet_id));
                }
                self.release(ack.packet_id, known, out);
                Ok(Request::Nothing)
            }
            Packet::PubComp(ack) => {
                let known = self.sending.completed(ack.packet_id)?;
                Ok(self.completed(ack.packet_id, known))
            }
            Packet::Subscribe(subscribe) => {
                let features = self.terms.features;
                features.check_subscribe(&subscribe, self.terms.version)?;
                Ok(Request::Subscribe(subscribe))
            }
            Packet::Unsubscribe(unsubscribe) => Ok(Request::Unsubscribe(unsubscribe)),
            Packet::PingReq => {
                self.send(Packet::PingResp, out);
                Ok(Request::Nothing)
            }
            Packet::Disconnect(disconnect) => self.handle_disconnect(disconnect),
            // [MQTT-3.1.0-2]
            Packet::Connect(_) => Err(Violation::SecondConnect),
            Packet::Auth(auth) => Ok(Request::Authenticate(auth)),
            Packet::ConnAck(_) | Packet::SubAck(_) | Packet::UnsubAck(_) | Packet::PingResp => {
                Err(Violation::ServerPacket)
            }
        }
    }

    /// As [`Session::handle`], for whoever keeps nothing: what would wait for a store is answered at once.
    pub fn handle_unkept(
        &mut self,
        packet: Packet,
        out: &mut WriteQueue,
    ) -> Result<Request, Violation> {
        match self.handle(packet, out)? {
            Request::Repeated(packet_id) => {
                let (qos, id) = (Qos::ExactlyOnce, Some(packet_id));
                self.answer_publish(qos, id, ReasonCode::Success, out);
            }
            Request::Released { packet_id, known } => self.complete(packet_id, known, out),
            Request::Received(packet_id) => self.release(packet_id, true, out),
            Request::Completed(_) => return Ok(Request::Room),
            other => return Ok(other),
        }
        Ok(Request::Nothing)
    }

    fn handle_publish(
        &mut self,
        publish: Publish,
        out: &mut WriteQueue,
    ) -> Result<Request, Violation> {
        self.terms.features.check_publish(&publish)?;
        let topic = self.aliases_in.resolve(publish.topic, publish.alias)?;
        if publish.payload.len() > self.terms.payload_limit {
            return Err(Violation::PayloadTooLarge);
        }
        match self.receiving.arrived(publish.packet_id, publish.qos)? {
            Arrival::New if self.receiving.unreleased() > self.terms.unreleased_limit.into() => {
                self.refuse_unreleased(publish.qos, publish.packet_id, out)
            }
            Arrival::New => Ok(Request::Publish(Incoming {
                topic,
                payload: publish.payload,
                qos: publish.qos,
                retain: publish.retain,
                properties: publish.properties,
                packet_id: publish.packet_id,
            })),
            // [MQTT-4.3.3-10]
            Arrival::Repeated(packet_id) if self.is_durable() => Ok(Request::Repeated(packet_id)),
            Arrival::Repeated(packet_id) => {
                self.send(
                    Packet::PubRec(Ack::new(packet_id, ReasonCode::Success)),
                    out,
                );
                Ok(Request::Nothing)
            }
        }
    }

    /// More QoS 2 messages than may wait for PUBREL: 3.x has no way to refuse one but to close.
    fn refuse_unreleased(
        &mut self,
        qos: Qos,
        packet_id: Option<PacketId>,
        out: &mut WriteQueue,
    ) -> Result<Request, Violation> {
        if !self.terms.version.is_v5() {
            self.forget_publish(qos, packet_id);
            return Err(Violation::TooManyUnreleased);
        }
        METRICS.refused(Refusal::InFlight).inc();
        self.answer_publish(qos, packet_id, ReasonCode::QuotaExceeded, out);
        Ok(Request::Nothing)
    }

    fn handle_disconnect(&mut self, disconnect: Box<Disconnect>) -> Result<Request, Violation> {
        if let Some(expiry) = disconnect.session_expiry {
            if self.expiry == 0 && expiry > 0 {
                return Err(Violation::ExpiryAfterNone);
            }
            self.expiry = expiry.min(self.terms.max_session_expiry);
        }
        Ok(Request::Disconnect(disconnect))
    }

    fn completed(&self, packet_id: PacketId, known: bool) -> Request {
        match known && self.is_durable() {
            true => Request::Completed(packet_id),
            false => room_if(known),
        }
    }
}

fn room_if(freed: bool) -> Request {
    if freed {
        Request::Room
    } else {
        Request::Nothing
    }
}
