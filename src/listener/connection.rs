//! THE DRIVER: bytes to packets to the session to the broker, and back. One task per connection.
//!
//! Per wake: read once, handle every packet that came, drain the outbox as far as the window and the write mark allow,
//! write once. A connection whose peer does not read stops draining its outbox and, above the mark, stops being read.
//!
//! What it costs, beside what `broker/publish.rs` says of the switch:
//!
//! - *per wake*: one `recv`, one `send` (`writev` only if a payload is shared), two looks at the clock, two locks of the
//!   own outbox (take, and wait), one addition to each counter; no allocation, since packets, deliveries and bytes to
//!   write stand in buffers that the worker thread lends; no timer is touched;
//! - *per message in*: the decoder's pass over its bytes, no copy but of the payload into the message;
//! - *per message out*: its head is encoded into the write buffer, a small payload behind it; above QoS 0 an entry in
//!   the window;
//! - *per connection*: a task of a few hundred bytes, the session and its outbox. Buffers stay only with a connection
//!   whose socket did not take everything.

use super::{
    arrival::Peer,
    config::Referral,
    door::{Admitted, Door},
    end::End,
    link::{Link, ReadEnd},
    refused::Notes,
};
use crate::{
    auth::{
        exchange::{Breach, Dialogue, Turn},
        identity::Identity,
        quota::Held,
    },
    broker::{
        Broker, Draft, Refused,
        outbox::{CloseReason, Rest},
        publish::Publisher,
        registry::{Attached, Ending, StoredWill},
        rights::is_beyond_rights,
        subscribe::{Replay, Subscribed},
    },
    message::{Delivery, Millis, Origin},
    metrics::{METRICS, Tally},
    mqtt::{Packet, PacketId, Qos, auth::Auth, reason::ReasonCode},
    routing::Subscriber,
    session::{Delivered, Incoming, Request, violation::Violation},
    store::{frame::Lsn, watermark::StorageFailed},
};
use std::{
    cell::Cell,
    collections::VecDeque,
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Sleep,
};

/// Bytes waiting for the socket above which the outbox is not drained and the client is not read.
const WRITE_MARK: usize = 64 * 1024;

/// Messages drained at a time.
const BATCH: usize = 64;

// what a worker thread lends to the connection it fills
thread_local! {
    static DELIVERIES: Cell<Vec<Delivery>> = const { Cell::new(Vec::new()) };
}

/// Something to act on.
enum Event {
    Packets,
    Outbox,
    Room,
    Timer,
    End(End),
}

/// Something that leaves when the store has come so far, and in its turn.
struct Waiting {
    lsn: Lsn,
    answer: Answer,
}

/// What waits for the store.
enum Answer {
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

/// A connection with a session.
pub(super) struct Connection<T> {
    link: Link<T>,
    broker: Broker,
    identity: Arc<Identity>,
    dialogue: Option<Box<Dialogue>>,
    attached: Attached,
    will: Option<Box<StoredWill>>,
    publisher: Publisher,
    /// Messages from the client that are not in the metrics yet.
    published: Tally,
    /// What waits in the outbox cannot be sent before the client acknowledges something.
    blocked: bool,
    /// What waits for the store; most connections never have any.
    #[expect(clippy::box_collection)]
    waiting: Option<Box<VecDeque<Waiting>>>,
    /// More could be drained once the socket has taken what waits.
    more: bool,
    in_share_group: bool,
    peer: Peer,
    notes: Arc<Notes>,
    heard: Millis,
    timer: Option<Pin<Box<Sleep>>>,
    /// The client has published more than it may: until when it is not read.
    slowed: Option<Pin<Box<Sleep>>>,
    held: Option<Held>,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Connection<T> {
    pub(super) fn new(link: Link<T>, door: &Door, peer: Peer, admitted: Admitted) -> Self {
        let Admitted {
            identity,
            dialogue,
            attached,
            will,
            held,
            ..
        } = admitted;
        let broker = door.broker.clone();
        let session = &attached.session;
        let origin = Origin {
            client_id: Some(session.client_id().clone()),
            user: identity.user().cloned(),
        };
        let publisher = Publisher::new(
            identity.clone(),
            Arc::new(origin),
            Some(attached.outbox.key()),
        );
        let in_share_group = session.subscriptions().any(|s| s.filter.share().is_some());
        let heard = broker.now();
        Connection {
            link,
            broker,
            identity,
            dialogue,
            attached,
            will: will.map(Box::new),
            publisher,
            published: Tally::default(),
            blocked: false,
            waiting: None,
            more: false,
            in_share_group,
            peer,
            notes: door.notes.clone(),
            heard,
            timer: None,
            slowed: None,
            held,
        }
    }

    pub(super) fn client_id(&self) -> Arc<str> {
        self.attached.session.client_id().clone()
    }

    pub(super) fn peer(&self) -> Peer {
        self.peer
    }

    pub(super) async fn drive(&mut self) -> End {
        // packets that came with CONNECT
        if let Err(error) = self.link.decoder.feed(&[], &mut self.link.packets) {
            let handled = self.handle_packets();
            return handled.err().unwrap_or(End::Decode(error));
        }
        self.set_timer();
        loop {
            self.link.borrow_buffer();
            let handled = self.handle_packets();
            let handled = handled.and_then(|()| self.answer_what_is_durable());
            if let Err(end) = handled.and_then(|()| self.fill()) {
                return end;
            }
            if self.in_share_group {
                // what waited while no member had room: this one may have come online, or have sent what it had
                self.broker.serve_groups(&self.attached.session);
            }
            match poll_fn(|cx| self.poll_event(cx)).await {
                Event::Packets | Event::Outbox | Event::Room => {}
                Event::Timer if self.is_silent() => return Violation::KeepAlive.into(),
                Event::Timer => {
                    self.publisher.rest();
                    self.attached.outbox.rest();
                    self.set_timer();
                }
                Event::End(end) => {
                    // what was decoded before the end still counts
                    return self.handle_packets().err().unwrap_or(end);
                }
            }
        }
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        let waited = self.link.out.len();
        let written = self.link.poll_write(cx);
        if waited >= WRITE_MARK && self.link.out.len() < waited {
            // whoever is not read cannot be heard: that it takes its bytes is its sign of life
            self.heard = self.broker.now();
        }
        if let Poll::Ready(Err(error)) = written {
            return Poll::Ready(Event::End(End::Io(error)));
        }
        self.link.return_buffers();
        // reading and the timer come before the outbox, which a flood keeps ready all the time
        let has_room = self.link.out.len() < WRITE_MARK;
        if let Some(first) = self.waiting.as_ref().and_then(|waiting| waiting.front()) {
            let reached = self
                .broker
                .watermark()
                .poll_reached(first.lsn, self.waiter(), cx);
            if let Poll::Ready(reached) = reached {
                return Poll::Ready(match reached {
                    Ok(()) => Event::Room,
                    Err(StorageFailed) => Event::End(End::StorageFailed),
                });
            }
        }
        // whoever publishes waits with the others until the store has written what it has
        let takes_more = !self.broker.is_busy()
            || self.waits_for_store(cx).is_ready()
            // it may have written all it had in between, and then nothing would wake this
            || !self.broker.is_busy();
        if !takes_more {
            // as above: what it says to be kept alive stays unread
            self.heard = self.broker.now();
        }
        let slowed = self.slowed.as_mut();
        let is_slowed = slowed.is_some_and(|sleep| sleep.as_mut().poll(cx).is_pending());
        match is_slowed {
            // as above
            true => self.heard = self.broker.now(),
            false => self.slowed = None,
        }
        if has_room && takes_more && !is_slowed {
            match self.link.poll_read(cx) {
                Poll::Ready(Ok(())) => {
                    self.heard = self.broker.now();
                    return Poll::Ready(Event::Packets);
                }
                Poll::Ready(Err(ReadEnd::Closed)) => {
                    return Poll::Ready(Event::End(End::Closed));
                }
                Poll::Ready(Err(ReadEnd::Io(error))) => {
                    return Poll::Ready(Event::End(End::Io(error)));
                }
                Poll::Ready(Err(ReadEnd::Decode(error))) => {
                    return Poll::Ready(Event::End(End::Decode(error)));
                }
                Poll::Pending => {}
            }
        }
        if let Some(timer) = &mut self.timer
            && timer.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Event::Timer);
        }
        if has_room && std::mem::take(&mut self.more) {
            return Poll::Ready(Event::Room);
        }
        let waits = self.blocked || !has_room;
        self.attached
            .outbox
            .poll_wait(cx, waits)
            .map(|()| Event::Outbox)
    }

    /// Whoever waits for the store is known by a number that no other receiver has.
    fn waiter(&self) -> u64 {
        self.attached.outbox.key()
    }

    /// Ready when the store has written something more.
    fn waits_for_store(&self, cx: &mut Context<'_>) -> Poll<()> {
        let watermark = self.broker.watermark();
        let next = Lsn(watermark.durable().0 + 1);
        watermark.poll_reached(next, self.waiter(), cx).map(|_| ())
    }

    fn handle_packets(&mut self) -> Result<(), End> {
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
                return Err(End::NotStored);
            }
            Err(refused) => {
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

    /// Answers when the store has come to `durable_at`, and not before what waits already [MQTT-4.6.0-2].
    fn answer(&mut self, durable_at: Option<Lsn>, answer: Answer) -> Result<(), End> {
        let lsn = durable_at.unwrap_or_default();
        if self.waiting.is_none() && self.broker.watermark().durable() >= lsn {
            return self.give(answer);
        }
        let waiting = self.waiting.get_or_insert_default();
        waiting.push_back(Waiting { lsn, answer });
        Ok(())
    }

    /// Gives the answers that waited for no more than the store has now.
    fn answer_what_is_durable(&mut self) -> Result<(), End> {
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

    /// A step of an extended authentication behind CONNACK. Meanwhile all goes on under the old identity (4.12.1).
    fn authenticate_again(&mut self, auth: Auth) -> Result<(), End> {
        // [MQTT-4.12.0-7]
        let dialogue = self.dialogue.as_mut().ok_or(Violation::AuthWithoutMethod)?;
        let turn = dialogue.hear(auth).map_err(|breach| match breach {
            Breach::OtherMethod => Violation::OtherMethod,
            Breach::OutOfTurn => Violation::AuthOutOfTurn,
        })?;
        let answer = match turn {
            Turn::Say(auth) => auth,
            // the session belongs to the user it was opened by
            Turn::Done { identity, .. } if identity.user() != self.identity.user() => {
                return Err(End::NotAuthenticated);
            }
            Turn::Done { identity, data } => {
                let again = identity.come_in_as(self.identity.subject());
                let again = again.ok_or(End::NotAuthenticated)?;
                let identity = Arc::new(again.with_quota(self.identity.quota().cloned()));
                self.broker.flush(&mut self.publisher);
                self.publisher.act_as(identity.clone());
                let attached = &self.attached;
                self.broker
                    .read_as(&attached.session, &attached.outbox, &identity);
                self.identity = identity;
                dialogue.say(ReasonCode::Success, data)
            }
            Turn::Refused(why) => {
                let client = self.attached.session.client_id();
                tracing::debug!(?client, why, "not authenticated again");
                return Err(End::NotAuthenticated);
            }
        };
        let session = &mut self.attached.session;
        Ok(session.answer_auth(answer, &mut self.link.out)?)
    }

    /// Moves messages from where they wait to the write queue, as far as the client's window and the socket allow.
    fn fill(&mut self) -> Result<(), End> {
        let Attached {
            session,
            outbox,
            replays,
            ..
        } = &mut self.attached;
        let out = &mut self.link.out;
        let now = self.broker.now();
        session.resend(now, out);
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
            self.broker.settle_shared(session);
        }
        closing.map_or(Ok(()), |reason| Err(reason.into()))
    }

    fn is_silent(&self) -> bool {
        self.silent_at().is_some_and(|at| at <= self.broker.now())
    }

    /// One and a half times the keep-alive after the last sign of life [MQTT-3.1.2-22].
    fn silent_at(&self) -> Option<Millis> {
        let keep_alive = u64::from(self.attached.session.terms().keep_alive);
        (keep_alive > 0).then(|| Millis(self.heard.0 + keep_alive * 1500))
    }

    fn set_timer(&mut self) {
        let Some(at) = self.silent_at() else { return };
        let wait = Duration::from_millis(at.0.saturating_sub(self.broker.now().0));
        let deadline = tokio::time::Instant::now() + wait;
        match &mut self.timer {
            Some(timer) => timer.as_mut().reset(deadline),
            None => self.timer = Some(Box::pin(tokio::time::sleep_until(deadline))),
        }
    }

    /// Writes the last word, gives the session back; what is left is the link to finish.
    pub(super) fn close(mut self, end: &End, referral: Option<&Referral>) -> Link<T> {
        if let Some(reason) = end.farewell() {
            let referral = referral.filter(|_| matches!(end, End::ShuttingDown));
            let (reason, server) = match referral {
                Some(referral) => (referral.reason, Some(&*referral.server)),
                None => (reason, None),
            };
            let out = &mut self.link.out;
            let session = &self.attached.session;
            session.farewell(reason, &end.to_string(), server, out);
        }
        let ending = match end {
            End::Goodbye => Ending::Goodbye,
            End::ShuttingDown => Ending::Stopped,
            _ => Ending::Broken,
        };
        // before somebody else gets the session, who may be counted in its place
        self.held = None;
        let will = self.will.map(|will| *will);
        self.broker.detach(self.attached, will, ending);
        self.link
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
