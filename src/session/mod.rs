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
mod answering;
mod delivering;
pub mod features;
mod handling;
pub mod limits;
pub mod opening;
mod outgoing;
pub mod packet_ids;
pub mod receiving;
pub mod sending;
pub mod snapshot;
pub mod subscriptions;
pub mod violation;
mod writing;

pub use delivering::Delivered;
pub use handling::{Incoming, Request};
pub use writing::send;

use crate::{
    message::GroupId,
    mqtt::{subscribe::SubscriptionOptions, topic::TopicFilter},
};
use aliases::{AliasesIn, AliasesOut};
use opening::Terms;
use receiving::Receiving;
use sending::Sending;
use std::{collections::BTreeSet, sync::Arc};
use subscriptions::{Subscription, Subscriptions};

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
}

#[cfg(test)]
mod tests;
