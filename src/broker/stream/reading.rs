//! What a stream brings next: from its outbox while it is live, else from the log, in turns with the others.

use super::{Stream, StreamItem, place};
use crate::{
    broker::resume::{Gap, Reason},
    message::Delivery,
    metrics::METRICS,
    routing::Subscriber,
    store::{Floor, Page, Wanted},
};
use std::cell::Cell;
use tokio_util::sync::PollSemaphore;

/// Messages handed out at a time.
const BATCH: usize = 64;

/// Steps through the log before others get their turn.
const STEPS: usize = 8;

/// Records of the log looked at per step.
pub(super) const CHUNK: usize = 256;

thread_local! {
    static READY: Cell<Vec<Delivery>> = const { Cell::new(Vec::new()) };
}

impl Stream {
    /// What comes next. Cancel safe.
    pub async fn next(&mut self) -> StreamItem {
        loop {
            if let Some(item) = self.try_next() {
                return item;
            }
            if self.is_behind {
                self.turn().await;
                continue;
            }
            std::future::poll_fn(|cx| self.outbox.poll_wait(cx, false)).await;
        }
    }

    /// Waits until it can read the log further: others get their turn, and of those that read files only a few at a
    /// time do. Cancel safe.
    pub async fn turn(&mut self) {
        if !self.waits {
            return tokio::task::yield_now().await;
        }
        // the place in the queue outlives this future; the semaphore is never closed
        self.turn = std::future::poll_fn(|cx| self.queue.poll_acquire(cx)).await;
        self.waits = false;
    }

    /// Whether it may read the log above `after` now: at once where that is in memory.
    pub(super) fn may_read(&mut self, after: u64) -> bool {
        if self.broker.0.store.is_in_memory(after) || self.turn.is_some() {
            return true;
        }
        self.turn = self.broker.0.turns.clone().try_acquire_owned().ok();
        if self.turn.is_some() {
            self.leave_queue();
        }
        self.waits = self.turn.is_none();
        !self.waits
    }

    /// Gives up its place among those who wait to read files. To be called when it will not be asked for some time: its
    /// turn would come and nobody would take it. True if it had one, and is to be asked anew afterwards.
    pub fn leave_queue(&mut self) -> bool {
        if self.waits {
            self.queue = PollSemaphore::new(self.broker.0.turns.clone());
        }
        self.waits
    }

    /// Whether it has looked at so many records of the log, or more, and has given out what it found.
    pub fn has_looked_at(&self, most: usize) -> bool {
        self.scanned >= most && self.is_behind && self.ready.is_empty()
    }

    /// What is there already. If it [is behind](Stream::is_behind), there may be more although this says no.
    pub fn try_next(&mut self) -> Option<StreamItem> {
        let item = self.look_further();
        self.turn = None;
        item
    }

    fn look_further(&mut self) -> Option<StreamItem> {
        let mut steps = 0;
        let most = self.broker.0.limits.replay_scan.div_ceil(CHUNK).min(STEPS);
        loop {
            if let Some(gap) = self.gap.take() {
                return Some(StreamItem::Gap(gap));
            }
            if let Some(delivery) = self.ready.pop() {
                match place(&delivery) {
                    Some(position) => self.given = position.offset,
                    None => self.broker.settle_brought(&delivery),
                }
                return Some(StreamItem::Message(delivery));
            }
            self.given = self.given.max(self.taken);
            let lost = self.outbox.take_lost();
            if lost > 0 {
                return Some(StreamItem::Gap(Gap {
                    reason: Reason::Overflow,
                    from: None,
                    to: None,
                    lost_at_most: Some(lost),
                }));
            }
            if self.ready.capacity() == 0 {
                self.ready = READY.take();
            }
            let seen = self.outbox.take(&mut self.ready, usize::MAX, BATCH);
            self.ready.reverse();
            let newest = self.ready.iter().find_map(place);
            self.taken = newest.map_or(self.taken, |newest| newest.offset);
            if !self.ready.is_empty() {
                continue;
            }
            if seen.closing.is_none() && self.serve_groups() {
                continue;
            }
            self.is_behind = seen.behind;
            let goes_on = seen.behind && seen.closing.is_none() && steps < most;
            if !(goes_on && self.may_read(self.taken)) {
                READY.set(std::mem::take(&mut self.ready));
                return self.outbox.take_closing().map(StreamItem::Closed);
            }
            steps += 1;
            self.catch_up();
        }
    }

    /// Messages below a position that the log has, newest first, and the oldest position looked at; 0 at its beginning.
    pub async fn look_back(&mut self, before: u64) -> (Vec<Delivery>, u64) {
        while !self.may_read(before.saturating_sub(2)) {
            self.turn().await;
        }
        let found = self.look_below(before);
        self.turn = None;
        found
    }

    fn look_below(&mut self, before: u64) -> (Vec<Delivery>, u64) {
        let own = self.filters.iter().filter(|one| one.coverage.is_some());
        let wanted = Wanted::by(own.map(|watched| &watched.filter));
        let page = self.broker.0.store.look_back(before, CHUNK, &wanted);
        self.scanned += page.records.len().max(1);
        if let Some(damage) = page.damage {
            self.tell_damage(damage);
        }
        let found = page.records.into_iter().filter_map(|record| {
            let topic = &record.message.topic;
            let matching = self.matching(topic, 0);
            (!matching.is_empty() && self.outbox.may_receive(topic))
                .then(|| self.logged(record, matching))
        });
        (found.collect(), page.through)
    }

    /// Reads the log on; at its end the stream goes live.
    fn catch_up(&mut self) {
        let broker = self.broker.clone();
        let store = &broker.0.store;
        let own = self.filters.iter().filter(|one| one.coverage.is_some());
        let wanted = Wanted::by(own.map(|watched| &watched.filter));
        let (mut page, mut floor) = store.look(self.taken, CHUNK, Some(&wanted));
        if page.is_end(self.taken) {
            let _order = broker.0.order.lock();
            (page, floor) = store.look(self.taken, 1, Some(&wanted));
            if page.is_end(self.taken) {
                // one large message may have pushed everything out of the tail
                self.look_for_a_gap(floor);
                if let Some(end) = self.holes.drain(..).max() {
                    self.tell(Reason::Crash, self.taken, end);
                }
                self.taken = store.head();
                self.outbox.go_live();
                return;
            }
        }
        self.scanned += page.records.len().max(1);
        self.look_for_a_gap(floor);
        self.cross_holes(&mut page);
        if let Some(damage) = page.damage {
            self.tell_damage(damage);
        }
        for record in page.records {
            let matching = self.matching(&record.message.topic, record.offset);
            if !matching.is_empty() && self.outbox.may_receive(&record.message.topic) {
                let delivery = self.logged(record, matching);
                self.ready.push(delivery);
            }
        }
        self.ready.reverse();
        self.taken = page.through;
    }

    /// Something in between could not be read.
    fn tell_damage(&mut self, (from, to): (u64, u64)) {
        // what the start found was told when the stream began
        let known = self.broker.0.damaged.get();
        if known.is_some_and(|known| known.contains(&from)) {
            return;
        }
        // what the log has let go of is told already, and may reach as far
        let told = self.gap.and_then(|gap| gap.to).map(|to| to.offset);
        if to > from && told.is_none_or(|told| told < to) {
            self.tell(Reason::Damaged, from, to);
        }
    }

    /// Tells of the holes that crashes left in front of what the page begins with. One further on ends the page.
    fn cross_holes(&mut self, page: &mut Page) {
        let next = page.records.first();
        let next = next.map_or(page.through + 1, |first| first.offset);
        let mut crossed = None;
        while let Some(end) = self.holes.pop_if(|end| *end < next) {
            crossed = Some(end);
        }
        if let Some(end) = crossed {
            self.tell(Reason::Crash, self.taken, end);
        }
        if let Some(end) = self.holes.last().filter(|end| **end <= page.through) {
            page.records.retain(|record| record.offset <= *end);
            page.through = page.records.last().map_or(self.taken, |last| last.offset);
            page.damage = page.damage.filter(|(from, _)| *from < page.through);
        }
    }

    /// Tells of the holes that whoever reads backwards has come over, now that `at` is reached.
    pub fn cross_back(&mut self, at: u64) {
        let crossed = self.holes.extract_if(.., |end| *end >= at).max();
        if let Some(end) = crossed {
            self.tell(Reason::Crash, at, end);
        }
    }

    /// Whoever reads backwards begins here: what lies further on is none of his.
    pub fn begin_back(&mut self, at: u64) {
        self.holes.retain(|end| *end <= at);
    }

    /// Between two positions something may be missing. What else is to be told lies beside it.
    fn tell(&mut self, reason: Reason, from: u64, to: u64) {
        let gap = Gap {
            reason,
            from: Some(self.position(from)),
            to: Some(self.position(to)),
            lost_at_most: Some(to - from),
        };
        self.gap = Some(self.gap.map_or(gap, |told| told.and(gap)));
    }

    /// Whether the log has let go of what was still to be read.
    fn look_for_a_gap(&mut self, floor: Floor) {
        let from = self.taken;
        let mut to = from;
        for watched in &mut self.filters {
            let whole = watched.coverage.map_or(0, |one| one.whole_above(floor));
            if whole > from.max(watched.since) {
                watched.since = whole;
                to = to.max(whole);
            }
        }
        if to > from {
            METRICS.stream_drops.add(to - from);
            let own = self.filters.iter().filter(|one| one.coverage.is_some());
            let first = own.map(|watched| watched.since).min();
            // what comes next comes from above this
            self.given = first.map_or(from, |first| first.max(from));
            self.tell(Reason::Overflow, from, to);
        }
    }
}
