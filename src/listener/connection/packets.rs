//! The way in: each packet to the session, and what the session asks for to the broker.

use super::{Connection, answers::Answer};
use crate::{
    broker::{Draft, subscribe::Subscribed},
    listener::end::End,
    metrics::METRICS,
    mqtt::{Packet, Qos, reason::ReasonCode},
    session::{Incoming, Request},
};
use tokio::io::{AsyncRead, AsyncWrite};

impl<T: AsyncRead + AsyncWrite + Unpin> Connection<T> {
    pub(super) fn handle_packets(&mut self) -> Result<(), End> {
        let mut packets = std::mem::take(&mut self.link.packets);
        METRICS.received.packets.add(packets.len() as u64);
        // an error ends the connection, but what came before it was published
        let handled = packets.drain(..).try_for_each(|packet| self.handle(packet));
        self.link.packets = packets;
        self.broker.flush(&mut self.publisher);
        self.slow_down();
        self.published.count(&METRICS.received);
        handled
    }

    /// Whoever publishes faster than he may is not read for a while.
    fn slow_down(&mut self) {
        let Some(quota) = self.identity.quota() else {
            return;
        };
        let (messages, bytes) = self.published.so_far();
        if messages > 0
            && quota.limits_publishing()
            && let Some(wait) = quota.charge(messages, bytes, std::time::Instant::now())
        {
            self.slowed = Some(Box::pin(tokio::time::sleep(wait)));
        }
    }

    fn handle(&mut self, packet: Packet) -> Result<(), End> {
        let (session, out) = (&mut self.attached.session, &mut self.link.out);
        match session.handle(packet, out)? {
            // what acknowledgements made room for is delivered when all packets are handled
            Request::Nothing | Request::Room => {}
            Request::Publish(incoming) => return self.publish(incoming),
            Request::Subscribe(request) => {
                self.broker.flush(&mut self.publisher);
                let outbox = &self.attached.outbox;
                let Subscribed {
                    reasons,
                    replays,
                    durable_at,
                } = self
                    .broker
                    .subscribe(&self.identity, session, outbox, &request)?;
                // the newer replay of a filter brings all that the older one still had to
                let pending = &mut self.attached.replays;
                pending.retain(|old| !replays.iter().any(|new| new.filter() == old.filter()));
                pending.extend(replays);
                self.in_share_group = session.subscriptions().any(|s| s.filter.share().is_some());
                self.answer(durable_at, Answer::Subscribe(request.packet_id, reasons))?;
            }
            Request::Unsubscribe(request) => {
                self.broker.flush(&mut self.publisher);
                let (reasons, durable_at) =
                    self.broker
                        .unsubscribe(session, &self.attached.outbox, &request);
                // [MQTT-3.10.4-2]
                self.attached
                    .replays
                    .retain(|pending| session.subscription(pending.filter()).is_some());
                self.answer(durable_at, Answer::Unsubscribe(request.packet_id, reasons))?;
            }
            Request::Repeated(packet_id) => {
                // a former connection may have sent it a moment ago
                let durable_at = self.broker.everything_durable();
                let answer = Answer::Publish {
                    qos: Qos::ExactlyOnce,
                    packet_id,
                    reason: ReasonCode::Success,
                };
                self.answer(Some(durable_at), answer)?;
            }
            Request::Released { packet_id, known } => {
                let durable_at = match known {
                    true => self.broker.released(session, packet_id),
                    false => self.broker.everything_durable(),
                };
                self.answer(Some(durable_at), Answer::Complete(packet_id, known))?;
            }
            Request::Received(packet_id) => {
                let durable_at = self.broker.answered(session, packet_id);
                self.answer(Some(durable_at), Answer::Release(packet_id))?;
            }
            Request::Completed(packet_id) => {
                self.broker.completed(session, packet_id);
            }
            Request::Authenticate(auth) => return self.authenticate_again(*auth),
            Request::Disconnect(disconnect) => {
                return Err(match disconnect.reason {
                    ReasonCode::Success => End::Goodbye,
                    // [MQTT-3.1.2-8]: any other reason leaves the will due
                    _ => End::GoodbyeWithWill,
                });
            }
        }
        Ok(())
    }

    fn publish(&mut self, incoming: Incoming) -> Result<(), End> {
        self.published.add(incoming.payload.len());
        let Incoming {
            topic,
            payload,
            qos,
            retain,
            properties,
            packet_id,
        } = incoming;
        let inbound = packet_id
            .filter(|_| qos == Qos::ExactlyOnce && self.broker.keeps(&self.attached.session));
        let published = self.broker.publish_in_batch(
            &mut self.publisher,
            Draft {
                topic,
                payload,
                qos,
                retain,
                properties,
            },
            inbound,
            self.heard,
        );
        let session = &mut self.attached.session;
        let out = &mut self.link.out;
        match published {
            Ok(receipt) => match packet_id {
                Some(packet_id) if receipt.durable_at.is_some() || self.waiting.is_some() => {
                    let reason = ReasonCode::Success;
                    let answer = Answer::Publish {
                        qos,
                        packet_id,
                        reason,
                    };
                    return self.answer(receipt.durable_at, answer);
                }
                packet_id => session.answer_publish(qos, packet_id, ReasonCode::Success, out),
            },
            // 3.x could not tell a refusal from an acceptance: it must not take the message for stored
            Err(refused)
                if refused.is_want_of_room()
                    && qos > Qos::AtMostOnce
                    && !session.terms().version.is_v5() =>
            {
                METRICS.refused(refused.kind()).inc();
                session.not_taken(qos, packet_id);
                return Err(End::NotStored);
            }
            Err(refused) => {
                session.not_taken(qos, packet_id);
                let why = format_args!("a message of {:?}: {refused}", session.client_id());
                self.notes
                    .refused(refused.kind(), self.peer, why, self.broker.uptime());
                if let Some(packet_id) = packet_id {
                    let answer = Answer::Refuse {
                        qos,
                        packet_id,
                        refused,
                    };
                    return self.answer(None, answer);
                }
            }
        }
        Ok(())
    }
}
