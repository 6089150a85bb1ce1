//! The way out: messages from where they wait to the write queue, as far as the client's window and the socket allow.

use super::{
    Connection, WRITE_MARK,
    answers::{Answer, Waiting},
};
use crate::{
    auth::identity::Identity,
    broker::{
        Broker,
        outbox::{CloseReason, Rest},
        registry::Attached,
        rights::is_beyond_rights,
        subscribe::Replay,
    },
    listener::end::End,
    message::Delivery,
    metrics::{METRICS, Tally},
    mqtt::Qos,
    routing::Subscriber,
    session::Delivered,
};
use std::{cell::Cell, collections::VecDeque};
use tokio::io::{AsyncRead, AsyncWrite};

/// Messages drained at a time.
const BATCH: usize = 64;

// what a worker thread lends to the connection it fills
thread_local! {
    static DELIVERIES: Cell<Vec<Delivery>> = const { Cell::new(Vec::new()) };
}

impl<T: AsyncRead + AsyncWrite + Unpin> Connection<T> {
    /// Moves messages from where they wait to the write queue, as far as the client's window and the socket allow.
    pub(super) fn fill(&mut self) -> Result<(), End> {
        let Attached {
            session,
            outbox,
            replays,
            ..
        } = &mut self.attached;
        let out = &mut self.link.out;
        let now = self.broker.now();
        let may_read = |topic: &str| self.identity.may_read(topic).is_ok();
        let denied = session.resend(now, may_read, out).denied;
        self.broker.pass_on_denied(&denied, outbox);
        let mut batch = DELIVERIES.take();
        let mut sent = Tally::default();
        // what is retained comes behind the SUBACK
        let subscribing = self.waiting.iter().flat_map(|waiting| waiting.iter());
        let subscribing = subscribing
            .into_iter()
            .any(|one| matches!(one.answer, Answer::Subscribe(..)));
        let closing = loop {
            let quota = session.quota();
            let full = out.len() >= WRITE_MARK;
            let taken = outbox.take(&mut batch, quota, if full { 0 } else { BATCH });
            if full || taken.closing.is_some() {
                self.more = full;
                let lost = taken.asked && is_beyond_rights(session, &self.identity);
                break taken.closing.or(lost.then_some(CloseReason::RightsLost));
            }
            self.blocked = taken.rest == Rest::Blocked;
            let behind = taken.behind && quota > 0;
            if behind && batch.is_empty() {
                let missed = self.broker.catch_up(session, outbox, quota.min(BATCH));
                batch.extend(missed);
            }
            let reader = &*self.identity;
            let replayed = !subscribing && replay(&self.broker, replays, reader, quota, &mut batch);
            // what had expired or was too large left its room in the window to those behind it
            let room = taken.rest == Rest::Blocked && !batch.is_empty();
            for delivery in batch.drain(..) {
                let bytes = delivery.message.payload.len();
                if delivery.qos == Qos::ExactlyOnce && self.broker.keeps(session) {
                    let copy = delivery.clone();
                    if let Some(packet_id) = session.hold(delivery, now) {
                        let lsn = self.broker.pair(session, packet_id, &copy);
                        let waiting = self.waiting.get_or_insert_default();
                        let answer = Answer::Held(packet_id);
                        waiting.push_back(Waiting { lsn, answer });
                    }
                    continue;
                }
                if session.deliver(delivery, now, out) == Delivered::Sent {
                    sent.add(bytes);
                }
            }
            // not before what was taken is on its way
            if taken.asked && is_beyond_rights(session, &self.identity) {
                break Some(CloseReason::RightsLost);
            }
            if !(behind || replayed || room || taken.rest == Rest::More) {
                break None;
            }
        };
        sent.count(&METRICS.sent);
        DELIVERIES.set(batch);
        if outbox.is_durable() {
            self.broker.note_taken(session, outbox);
        }
        // the group may be kept although this member is not
        self.broker.settle_shared(session);
        closing.map_or(Ok(()), |reason| Err(reason.into()))
    }
}

/// The next retained messages, as far as the window has room beside `batch`. True if another step may bring more.
fn replay(
    broker: &Broker,
    replays: &mut VecDeque<Replay>,
    reader: &Identity,
    quota: usize,
    batch: &mut Vec<Delivery>,
) -> bool {
    let Some(replay) = replays.front_mut() else {
        return false;
    };
    let live = batch
        .iter()
        .filter(|delivery| delivery.qos > Qos::AtMostOnce)
        .count();
    let room = quota.saturating_sub(live).min(BATCH);
    if room > 0 {
        batch.extend(broker.replay(replay, reader, room));
    }
    if replay.is_done() {
        replays.pop_front();
        if replays.is_empty() {
            *replays = VecDeque::new();
        }
        return true;
    }
    room > 0 || !batch.is_empty()
}
