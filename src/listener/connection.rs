//! THE DRIVER: bytes to packets to the session to the broker, and back. One task per connection.
//!
//! Per wake: read once, handle every packet that came, drain the outbox as far as the window and the write mark allow,
//! write once. A connection whose peer does not read stops draining its outbox and, above the mark, stops being read.
//!
//! Here are its state, its loop and its clock; `packets` is the way in, `filling` the way out, `answers` what waits for
//! the store in between.
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
        exchange::{Dialogue, Turn},
        identity::Identity,
        quota::Held,
    },
    broker::{
        Broker,
        publish::Publisher,
        registry::{Attached, Ending, StoredWill},
    },
    message::{Millis, Origin},
    metrics::Tally,
    routing::Subscriber,
    session::violation::Violation,
    store::{frame::Lsn, watermark::StorageFailed},
};
use std::{
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

mod answers;
mod authenticating;
mod filling;
mod packets;

use answers::Waiting;

/// Bytes waiting for the socket above which the outbox is not drained and the client is not read.
const WRITE_MARK: usize = 64 * 1024;

/// Something to act on.
enum Event {
    Packets,
    Outbox,
    Room,
    Authentication(Turn),
    Timer,
    End(End),
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
                Event::Authentication(turn) => {
                    self.link.borrow_buffer();
                    if let Err(end) = self.take_turn(turn) {
                        return end;
                    }
                }
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
        if let Some(dialogue) = &mut self.dialogue
            && let Poll::Ready(turn) = dialogue.poll_later(cx)
        {
            return Poll::Ready(Event::Authentication(turn));
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
