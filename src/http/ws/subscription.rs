//! One subscription of a conversation: a stream of the broker, written as frames.
//!
//! It gives a frame only when it is asked for one: what its client does not take stays in the stream's own ring.

use super::{
    frames::{self, Wish},
    goodbye::Goodbye,
};
use crate::{
    auth::identity::Identity,
    broker::{
        Broker,
        outbox::CloseReason,
        resume::Gap,
        stream::{self, Stream, StreamItem},
    },
    http::{
        envelope::{self, PayloadForm},
        rendering::{Rendered, Sink},
        since::Retained,
    },
    message::Delivery,
};
use bytes::{BufMut, Bytes};
use futures_util::Stream as Frames;
use serde_json::{Map, Value};
use std::{
    ops::Range,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
};

/// How many retained messages are asked for at a time.
const SNAPSHOT_STEP: usize = 64;

/// A message whose shared part is at least so large is not copied but sent from where it is; in bytes.
const LARGE: usize = 16 * 1024;

/// What goes to a client.
#[derive(Debug)]
pub enum Said {
    /// A whole frame.
    Whole(Vec<u8>),
    /// A frame in three parts, of which the middle one is shared with other receivers.
    Large([Bytes; 3]),
    /// Nothing more: the conversation is to end.
    End(Goodbye),
}

/// A stream of the broker under the number its client knows it by.
pub struct Subscription {
    sub: u64,
    source: Stream,
    broker: Broker,
    payload: PayloadForm,
    retained: Retained,
    /// What is missing where it begins.
    gap: Option<Gap>,
    /// Retained messages fetched but not yet written.
    snapshot: std::vec::IntoIter<Delivery>,
    /// Whether there may be more of them.
    in_snapshot: bool,
}

impl Subscription {
    /// `source`, as `wish` wants it written.
    pub fn new(sub: u64, mut source: Stream, broker: Broker, wish: &Wish) -> Self {
        let gap = source.take_gap();
        let in_snapshot = gap.is_none() && wish.retained.opens(source.is_fresh());
        if in_snapshot {
            source.read_retained();
        }
        Subscription {
            gap,
            sub,
            source,
            broker,
            payload: wish.payload,
            retained: wish.retained,
            snapshot: Vec::new().into_iter(),
            in_snapshot,
        }
    }

    /// Its client has proved itself anew: false if it may no longer have this.
    pub fn read_as(&mut self, identity: &Arc<Identity>) -> bool {
        let may_read = |one: &Delivery| identity.may_read(&one.message.topic).is_ok();
        let rest: Vec<_> = self.snapshot.by_ref().filter(may_read).collect();
        self.snapshot = rest.into_iter();
        self.source.read_as(identity)
    }

    /// What its client calls it.
    pub fn sub(&self) -> u64 {
        self.sub
    }

    /// How many filters it has.
    pub fn filters(&self) -> usize {
        self.source.filters().len()
    }

    fn tell_gap(&mut self, gap: Gap) -> Said {
        // what the client knows of the state may be outdated
        if gap.to.is_some() && self.retained != Retained::Never {
            self.source.read_retained();
            self.in_snapshot = true;
        }
        let mut members = Map::new();
        members.insert("sub".to_owned(), self.sub.into());
        if let Value::Object(told) = envelope::gap(gap) {
            members.extend(told);
        }
        Said::Whole(frames::control("gap", members).into())
    }

    /// Nothing if it has expired meanwhile.
    fn message(&self, delivery: &Delivery, snapshot: bool) -> Option<Said> {
        let message = &delivery.message;
        // the clock is only read for those that it matters to
        let now = match message.expires {
            Some(_) => self.broker.now(),
            None => message.time,
        };
        if message.is_expired(now) {
            return None;
        }
        let matched = delivery.subscription_ids.as_deref().unwrap_or_default();
        let copy = envelope::Copy {
            snapshot,
            position: stream::place(delivery),
            matched: (self.filters() > 1).then_some(matched),
            now,
        };
        let mut frame = Frame::new(self.sub);
        let rendered = Rendered::new(message, self.payload, delivery.position, copy);
        rendered.write_members(&mut frame);
        Some(frame.end())
    }
}

/// A message on its way into a frame.
struct Frame {
    head: Vec<u8>,
    /// What is not copied, and what comes behind it.
    large: Option<(Bytes, Vec<u8>)>,
}

impl Subscription {
    /// As [`Stream::leave_queue`](crate::broker::stream::Stream::leave_queue).
    pub fn leave_queue(&mut self) -> bool {
        self.source.leave_queue()
    }
}

impl Frame {
    fn new(sub: u64) -> Self {
        Frame {
            head: frames::message_head(sub).into_bytes(),
            large: None,
        }
    }

    fn end(mut self) -> Said {
        self.buffer().put_u8(b'}');
        match self.large {
            None => Said::Whole(self.head),
            Some((large, rest)) => Said::Large([self.head.into(), large, rest.into()]),
        }
    }
}

impl Sink for Frame {
    fn buffer(&mut self) -> &mut Vec<u8> {
        match &mut self.large {
            Some((_, rest)) => rest,
            None => &mut self.head,
        }
    }

    fn append(&mut self, whole: &Bytes, part: Range<usize>) {
        if part.len() >= LARGE && self.large.is_none() {
            self.large = Some((whole.slice(part), Vec::new()));
        } else {
            let buffer = self.buffer();
            buffer.reserve(part.len() + 16);
            buffer.extend_from_slice(&whole[part]);
        }
    }
}

impl Frames for Subscription {
    type Item = Said;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Said>> {
        let this = self.get_mut();
        loop {
            let said = if let Some(gap) = this.gap.take() {
                Some(this.tell_gap(gap))
            } else if let Some(delivery) = this.snapshot.next() {
                this.message(&delivery, true)
            } else if this.in_snapshot {
                this.snapshot = this.source.snapshot(SNAPSHOT_STEP).into_iter();
                this.in_snapshot = this.snapshot.len() > 0;
                None
            } else {
                let next = pin!(this.source.next()).poll(cx);
                match ready!(next) {
                    StreamItem::Message(delivery) => this.message(&delivery, false),
                    StreamItem::Gap(gap) => Some(this.tell_gap(gap)),
                    // the conversation hears of it, too, and chooses its moment
                    StreamItem::Closed(CloseReason::ShuttingDown) => return Poll::Ready(None),
                    StreamItem::Closed(reason) => Some(Said::End(reason.into())),
                }
            };
            if said.is_some() {
                return Poll::Ready(said);
            }
        }
    }
}
