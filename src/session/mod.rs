//! The conversation: one client's protocol state.
//!
//! Pure: no I/O and no clock; time is an argument. A [`Session`] has four kinds of methods:
//!
//! - **getters**, which change nothing;
//! - **`handle`**: one packet from the client goes in, at most one [`Request`] to the broker comes out, and whatever can
//!   be answered at once is written to the given [`WriteQueue`];
//! - **`answer_*`**: the broker's reply to a request goes in, the client's acknowledgement is written;
//! - **`deliver` and `resend`**: messages for the client go in, PUBLISH packets are written, as far as
//!   [`Session::quota`] allows.
//!
//! The state that outlives a connection and the terms of the present one are separate: [`Session::resume`] replaces the
//! terms. A session is owned by the task of its connection and moves by value when another connection takes it over.
//! It never learns who else is connected.

pub mod aliases;
pub mod features;
pub mod limits;
pub mod opening;
pub mod packet_ids;
pub mod receiving;
pub mod sending;
pub mod snapshot;
pub mod subscriptions;
pub mod violation;

use crate::{
    message::{Delivery, GroupId, Millis},
    metrics::{METRICS, Refusal},
    mqtt::{
        Packet, PacketId, Qos,
        ack::Ack,
        auth::Auth,
        disconnect::Disconnect,
        payload::Payload,
        property::{Explanation, MessageProperties},
        publish::Publish,
        reason::ReasonCode,
        subscribe::{SubAck, Subscribe, SubscriptionOptions, Unsubscribe},
        topic::{TopicFilter, TopicName},
        write_queue::WriteQueue,
    },
};
use aliases::{AliasesIn, AliasesOut};
use opening::Terms;
use receiving::{Arrival, Receiving};
use sending::Sending;
use snapshot::{Outgoing, Snapshot, Stage};
use std::{collections::BTreeSet, sync::Arc};
use subscriptions::{Subscription, Subscriptions};
use violation::Violation;

/// Session Expiry Interval that never ends.
pub const NEVER: u32 = u32::MAX;

/// One client's state: what it subscribed to, what is under way in both directions, and the present terms.
#[derive(Debug)]
pub struct Session {
    client_id: Arc<str>,
    terms: Terms,
    expiry: u32,
    subscriptions: Subscriptions,
    receiving: Receiving,
    sending: Sending,
    aliases_in: AliasesIn,
    aliases_out: AliasesOut,
    taken_through: u64,
    /// Records above `taken_through` that a former run of the gateway took up for it.
    #[expect(clippy::box_collection)]
    taken_before: Option<Box<BTreeSet<u64>>>,
}

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

/// What became of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivered {
    /// Written.
    Sent,
    /// Its expiry has passed [MQTT-3.3.2-5].
    Expired,
    /// Larger than the client takes: treated as delivered [MQTT-3.1.2-25].
    TooLarge,
}

impl Session {
    /// A session without state; records of the log up to `head` are not for it.
    pub fn new(client_id: Arc<str>, terms: Terms, head: u64) -> Self {
        Session {
            client_id,
            expiry: terms.session_expiry,
            subscriptions: Subscriptions::default(),
            receiving: Receiving::new(terms.receive_maximum_in),
            sending: Sending::new(terms.receive_maximum_out),
            aliases_in: AliasesIn::new(terms.alias_maximum_in),
            aliases_out: AliasesOut::new(terms.alias_maximum_out),
            taken_through: head,
            taken_before: None,
            terms,
        }
    }

    /// A session as a store kept it, without a connection. What it had under way is given back one by one, by
    /// [`Session::restore_outgoing`].
    pub fn restored(snapshot: Snapshot) -> Self {
        let mut session = Session::new(
            snapshot.client_id,
            Terms::of_nobody(snapshot.expiry),
            snapshot.through,
        );
        for subscription in snapshot.subscriptions {
            session.subscriptions.insert(subscription);
        }
        session.receiving.restore(snapshot.unreleased);
        let under_way = snapshot.outgoing.iter().filter(|one| one.group.is_none());
        let under_way = under_way.map(|one| one.offset);
        let mut before = snapshot.done;
        before.extend(under_way.filter(|offset| *offset > snapshot.through));
        session.taken_before = (!before.is_empty()).then(|| Box::new(before));
        session
    }

    /// A message that was under way when the gateway last stopped: it is sent again, or, without its message, brought
    /// to its end. `offset` is where the message stands in the log, or 0 if it is of a share group.
    pub fn restore_outgoing(
        &mut self,
        packet_id: PacketId,
        delivery: Option<Delivery>,
        offset: u64,
    ) {
        self.sending.restore(packet_id, delivery, offset);
    }

    /// What a store keeps of it. `group` names the filter of a share group.
    pub fn snapshot(
        &self,
        user: Option<Arc<str>>,
        parked: Option<Millis>,
        group: impl Fn(GroupId) -> Option<Box<str>>,
    ) -> Snapshot {
        let outgoing = self
            .sending
            .under_way()
            .map(|(packet_id, delivery, offset)| Outgoing {
                packet_id,
                offset,
                stage: delivery.map_or(Stage::Release, |delivery| Stage::Sent(delivery.qos)),
                retain: delivery.is_some_and(|delivery| delivery.retain),
                group: delivery
                    .and_then(|delivery| delivery.share)
                    .and_then(&group),
            });
        let unanswered = self.sending.oldest_unanswered();
        Snapshot {
            client_id: self.client_id.clone(),
            user,
            expiry: self.expiry,
            parked,
            through: unanswered.map_or(self.taken_through, |oldest| oldest - 1),
            subscriptions: self.subscriptions.iter().cloned().collect(),
            unreleased: self.receiving.identifiers().clone(),
            outgoing: outgoing.collect(),
            done: BTreeSet::new(),
        }
    }

    /// Goes on under the terms of a new connection. Follow with [`Session::resend`] when CONNACK is written.
    pub fn resume(&mut self, terms: Terms) {
        self.expiry = terms.session_expiry;
        self.receiving.resume(terms.receive_maximum_in);
        self.sending.resume(terms.receive_maximum_out);
        // [MQTT-3.3.2-7]
        self.aliases_in = AliasesIn::new(terms.alias_maximum_in);
        self.aliases_out = AliasesOut::new(terms.alias_maximum_out);
        self.terms = terms;
    }

    /// The client identifier [MQTT-3.1.3-2].
    pub fn client_id(&self) -> &Arc<str> {
        &self.client_id
    }

    /// The present connection's terms.
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// Session Expiry Interval in seconds; [`NEVER`] is never.
    pub fn expiry(&self) -> u32 {
        self.expiry
    }

    /// Whether it outlives its connection.
    pub fn is_durable(&self) -> bool {
        self.expiry > 0
    }

    /// All subscriptions.
    pub fn subscriptions(&self) -> impl Iterator<Item = &Subscription> {
        self.subscriptions.iter()
    }

    /// How many subscriptions there are.
    pub fn subscription_count(&self) -> usize {
        self.subscriptions.len()
    }

    /// The subscription with exactly this filter [MQTT-3.10.4-1].
    pub fn subscription(&self, filter: &str) -> Option<&Subscription> {
        self.subscriptions.get(filter)
    }

    /// Adds or replaces a subscription; a replaced one keeps its `since`. True if it is new.
    pub fn subscribe(
        &mut self,
        filter: TopicFilter,
        options: SubscriptionOptions,
        id: Option<u32>,
        since: u64,
    ) -> bool {
        self.subscriptions.insert(Subscription {
            filter,
            options,
            id,
            since,
        })
    }

    /// Forgets a subscription.
    pub fn unsubscribe(&mut self, filter: &str) -> Option<Subscription> {
        self.subscriptions.remove(filter)
    }

    /// The offset up to which every record that was for this session has been taken up by it.
    pub fn taken_through(&self) -> u64 {
        self.taken_through
    }

    /// Notes that nothing up to `offset` waits in the log any more.
    pub fn take_through(&mut self, offset: u64) {
        self.taken_through = self.taken_through.max(offset);
    }

    /// Whether a former run of the gateway took up this record for it.
    pub fn has_taken(&self, offset: u64) -> bool {
        let before = self.taken_before.as_ref();
        before.is_some_and(|before| before.contains(&offset))
    }

    /// The position of the oldest recorded message that the client has not answered, but for those of share groups.
    pub fn oldest_unanswered(&self) -> Option<u64> {
        self.sending.oldest_unanswered()
    }

    /// Whether a message is on its way to the client at QoS 2.
    pub fn is_sending_qos_2(&self) -> bool {
        self.sending.has_qos_2()
    }

    /// Messages of share groups that were done with since this was last asked.
    pub fn take_settled(&mut self) -> Vec<(GroupId, u64)> {
        self.sending.take_settled()
    }

    /// The session is over: nothing is under way any more.
    pub fn abandon(&mut self) {
        self.sending.abandon();
    }

    /// Messages sent and not yet acknowledged.
    pub fn in_flight(&self) -> usize {
        self.sending.in_flight()
    }

    /// How many messages above QoS 0 could be sent now [MQTT-3.3.4-9].
    pub fn quota(&self) -> usize {
        self.sending.quota()
    }

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

    fn completed(&self, packet_id: PacketId, known: bool) -> Request {
        match known && self.is_durable() {
            true => Request::Completed(packet_id),
            false => room_if(known),
        }
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
            // it was not taken, so its identifier does not wait in a session that goes on
            if let Some(packet_id) = packet_id {
                self.receiving
                    .answered(packet_id, qos, ReasonCode::QuotaExceeded);
            }
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

    /// Writes a message. Above QoS 0 only within [`Session::quota`].
    pub fn deliver(&mut self, delivery: Delivery, now: Millis, out: &mut WriteQueue) -> Delivered {
        self.note_taken(&delivery);
        if delivery.message.is_expired(now) {
            return Delivered::Expired;
        }
        self.write_new(None, delivery, now, out)
    }

    /// Gives a QoS 2 message its identifier and its room in the window; [`Session::deliver_held`] writes it, once that
    /// the two belong together is durable. `None` if its expiry has passed.
    pub fn hold(&mut self, delivery: Delivery, now: Millis) -> Option<PacketId> {
        self.note_taken(&delivery);
        (!delivery.message.is_expired(now)).then(|| self.sending.hold(delivery))
    }

    /// Writes a message that was held.
    pub fn deliver_held(
        &mut self,
        packet_id: PacketId,
        now: Millis,
        out: &mut WriteQueue,
    ) -> Delivered {
        match self.sending.let_go(packet_id).cloned() {
            Some(delivery) => self.write_new(Some(packet_id), delivery, now, out),
            // it was given up meanwhile
            None => Delivered::Expired,
        }
    }

    fn note_taken(&mut self, delivery: &Delivery) {
        if let Some(position) = delivery.position
            && delivery.qos > Qos::AtMostOnce
            && delivery.share.is_none()
        {
            self.taken_through = self.taken_through.max(position.offset);
        }
    }

    /// Writes a message for the first time; one without an identifier gets one if it needs it.
    fn write_new(
        &mut self,
        held: Option<PacketId>,
        delivery: Delivery,
        now: Millis,
        out: &mut WriteQueue,
    ) -> Delivered {
        let alias = match self.terms.version.is_v5() {
            true => self.aliases_out.choose(&delivery.message.topic),
            false => aliases::Choice::None,
        };
        let version = self.terms.version;
        let mut packet = sending::Outgoing::new(&delivery, alias, version, false, now);
        if packet.size() > self.terms.max_packet_out && alias != aliases::Choice::None {
            // an alias may cost more bytes than it saves
            self.aliases_out.take_back(alias);
            packet = sending::Outgoing::new(&delivery, aliases::Choice::None, version, false, now);
        }
        if packet.size() > self.terms.max_packet_out {
            held.inspect(|packet_id| self.sending.give_up(*packet_id));
            return Delivered::TooLarge;
        }
        let new =
            (held.is_none() && delivery.qos > Qos::AtMostOnce).then(|| self.sending.next_id());
        packet.write(held.or(new), out);
        out.count_packet();
        if let Some(packet_id) = new {
            self.sending.sent(packet_id, delivery);
        }
        Delivered::Sent
    }

    /// Writes again what a former connection left unacknowledged, in the order it was first sent [MQTT-4.4.0-1], as
    /// far as the window allows. True if all of it is out.
    pub fn resend(&mut self, now: Millis, out: &mut WriteQueue) -> bool {
        for packet_id in self.sending.releases_to_repeat() {
            self.send(
                Packet::PubRel(Ack::new(packet_id, ReasonCode::Success)),
                out,
            );
        }
        while let Some((packet_id, delivery)) = self.sending.next_to_resend() {
            // not expired: expiry no longer applies once a message was sent [MQTT-4.3.3-7]
            let packet = sending::Outgoing::new(
                delivery,
                aliases::Choice::None,
                self.terms.version,
                true,
                now,
            );
            if packet.size() <= self.terms.max_packet_out {
                packet.write(Some(packet_id), out);
                self.sending.resent(packet_id);
            } else if delivery.qos == Qos::ExactlyOnce {
                // as good as delivered [MQTT-3.1.2-25]; but the client may have it from the former connection and
                // would take the next message with this identifier for a repetition
                if self.sending.received(packet_id) == Ok(true) {
                    let release = Ack::new(packet_id, ReasonCode::Success);
                    self.send(Packet::PubRel(release), out);
                }
            } else {
                self.sending.give_up(packet_id);
            }
        }
        self.sending.all_resent()
    }

    /// Gives up unacknowledged QoS 1 messages of share groups in which `others` can take them.
    pub fn release_shared(&mut self, others: impl Fn(GroupId) -> bool) -> Vec<Delivery> {
        self.sending.release_shared(others)
    }

    fn known_reason(&self, known: bool) -> ReasonCode {
        match known || !self.terms.version.is_v5() {
            true => ReasonCode::Success,
            false => ReasonCode::PacketIdentifierNotFound,
        }
    }

    /// Writes a packet, without its explanation where the client does not want or cannot take one.
    fn send(&self, packet: Packet, out: &mut WriteQueue) {
        send(packet, &self.terms, out);
    }

    /// As `send`, for an answer whose length nobody but the client decides.
    fn must_send(&self, packet: Packet, out: &mut WriteQueue) -> Result<(), Violation> {
        match send(packet, &self.terms, out) {
            true => Ok(()),
            false => Err(Violation::AnswerTooLarge),
        }
    }
}

fn explanation(why: &str) -> Option<Box<Explanation>> {
    Some(Box::new(Explanation {
        reason_string: Some(why.into()),
        user: Vec::new(),
    }))
}

fn room_if(freed: bool) -> Request {
    if freed {
        Request::Room
    } else {
        Request::Nothing
    }
}

/// Writes a packet under these terms; leaves out an explanation that the client does not want [MQTT-3.1.2-29], or that
/// would exceed its maximum [MQTT-3.2.2-19]. What exceeds it all the same is not sent [MQTT-3.1.2-24]: false.
pub fn send(mut packet: Packet, terms: &Terms, out: &mut WriteQueue) -> bool {
    if !terms.problem_information
        && !matches!(packet, Packet::ConnAck(_) | Packet::Disconnect(_))
        && let Some(explanation) = explanation_of(&mut packet)
    {
        *explanation = None;
    }
    let tail = out.tail();
    let start = tail.len();
    packet.encode(terms.version, tail);
    if tail.len() - start > terms.max_packet_out
        && let Some(explanation) = explanation_of(&mut packet)
        && explanation.take().is_some()
    {
        tail.truncate(start);
        packet.encode(terms.version, tail);
    }
    if tail.len() - start > terms.max_packet_out {
        tail.truncate(start);
        return false;
    }
    out.count_packet();
    true
}

fn explanation_of(packet: &mut Packet) -> Option<&mut Option<Box<Explanation>>> {
    match packet {
        Packet::ConnAck(packet) => Some(&mut packet.explanation),
        Packet::Disconnect(packet) => Some(&mut packet.explanation),
        Packet::SubAck(packet) | Packet::UnsubAck(packet) => Some(&mut packet.explanation),
        Packet::Auth(packet) => Some(&mut packet.explanation),
        Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => {
            Some(&mut ack.explanation)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
