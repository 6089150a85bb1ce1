//! Answers leave when the store has come so far, in the order of what they answer.

use super::Connection;
use crate::{
    broker::Refused,
    listener::end::End,
    metrics::METRICS,
    mqtt::{PacketId, Qos, reason::ReasonCode},
    session::Delivered,
    store::frame::Lsn,
};
use tokio::io::{AsyncRead, AsyncWrite};

/// Something that leaves when the store has come so far, and in its turn.
pub(super) struct Waiting {
    pub lsn: Lsn,
    pub answer: Answer,
}

/// What waits for the store.
pub(super) enum Answer {
    /// PUBACK or PUBREC.
    Publish {
        qos: Qos,
        packet_id: PacketId,
        reason: ReasonCode,
    },
    /// PUBACK or PUBREC that says no.
    Refuse {
        qos: Qos,
        packet_id: PacketId,
        refused: Refused,
    },
    /// PUBCOMP.
    Complete(PacketId, bool),
    /// PUBREL.
    Release(PacketId),
    /// A QoS 2 message.
    Held(PacketId),
    /// SUBACK.
    Subscribe(PacketId, Vec<ReasonCode>),
    /// UNSUBACK.
    Unsubscribe(PacketId, Vec<ReasonCode>),
}

impl<T: AsyncRead + AsyncWrite + Unpin> Connection<T> {
    /// Answers when the store has come to `durable_at`, and not before what waits already [MQTT-4.6.0-2].
    pub(super) fn answer(&mut self, durable_at: Option<Lsn>, answer: Answer) -> Result<(), End> {
        let lsn = durable_at.unwrap_or_default();
        if self.waiting.is_none() && self.broker.watermark().durable() >= lsn {
            return self.give(answer);
        }
        let waiting = self.waiting.get_or_insert_default();
        waiting.push_back(Waiting { lsn, answer });
        Ok(())
    }

    /// Gives the answers that waited for no more than the store has now.
    pub(super) fn answer_what_is_durable(&mut self) -> Result<(), End> {
        let Some(waiting) = &mut self.waiting else {
            return Ok(());
        };
        let durable = self.broker.watermark().durable();
        let ready = waiting.iter().take_while(|one| one.lsn <= durable).count();
        let ready: Vec<Waiting> = waiting.drain(..ready).collect();
        if waiting.is_empty() {
            self.waiting = None;
        }
        ready.into_iter().try_for_each(|one| self.give(one.answer))
    }

    fn give(&mut self, answer: Answer) -> Result<(), End> {
        let (session, out) = (&mut self.attached.session, &mut self.link.out);
        match answer {
            Answer::Publish {
                qos,
                packet_id,
                reason,
            } => session.answer_publish(qos, Some(packet_id), reason, out),
            Answer::Refuse {
                qos,
                packet_id,
                refused,
            } => {
                let (reason, why) = (refused.reason(), refused.to_string());
                session.refuse_publish(qos, Some(packet_id), reason, &why, out);
            }
            Answer::Complete(packet_id, known) => session.complete(packet_id, known, out),
            Answer::Release(packet_id) => session.release(packet_id, true, out),
            Answer::Held(packet_id) => {
                let now = self.broker.now();
                match session.deliver_held(packet_id, now, out) {
                    Delivered::Sent => METRICS.sent.publishes.inc(),
                    Delivered::TooLarge => {
                        self.broker.completed(session, packet_id);
                    }
                    Delivered::Expired => {}
                }
            }
            Answer::Subscribe(packet_id, reasons) => {
                session.answer_subscribe(packet_id, reasons, out)?;
            }
            Answer::Unsubscribe(packet_id, reasons) => {
                session.answer_unsubscribe(packet_id, reasons, out)?;
            }
        }
        Ok(())
    }
}
