//! Wills: published on the rights they were accepted under.

use crate::{
    auth::identity::Identity,
    broker::{Broker, Draft, Refused, publish::Publisher},
    message::Origin,
    metrics::METRICS,
    mqtt::connect::Will,
};
use parking_lot::Mutex;
use std::{collections::VecDeque, sync::Arc};

/// A will with the rights it was accepted under.
#[derive(Debug, Clone)]
pub struct StoredWill {
    /// What to publish.
    pub will: Will,
    /// On whose rights.
    pub identity: Arc<Identity>,
    /// Tells it from the will of any other connection of its client; 0 as long as it is not owed.
    pub number: u64,
}

/// Wills that were due while the store took nothing, oldest first: nobody is left who could try again.
#[derive(Default)]
pub struct LateWills(Mutex<Late>);

#[derive(Default)]
struct Late {
    wills: VecDeque<LateWill>,
    bytes: usize,
}

struct LateWill {
    client_id: Arc<str>,
    receiver: Option<u64>,
    stored: StoredWill,
}

/// Bytes, about, of wills that may be late.
const MOST_LATE: usize = 64 << 20;

impl LateWills {
    /// False if there are too many.
    fn add(&self, will: LateWill) -> bool {
        let mut late = self.0.lock();
        late.bytes += 256 + will.stored.will.payload.len();
        let has_room = late.bytes <= MOST_LATE;
        if has_room {
            late.wills.push_back(will);
        }
        has_room
    }
}

impl Broker {
    /// Publishes what was late, as far as the store takes it now.
    pub(in crate::broker) fn publish_late_wills(&self) {
        let late = std::mem::take(&mut *self.0.registry.late.0.lock()).wills;
        for LateWill {
            client_id,
            receiver,
            stored,
        } in late
        {
            self.publish_will(&client_id, receiver, stored);
        }
    }

    /// `receiver` is the key of the session's own outbox: No Local keeps a will from the client it is of
    /// [MQTT-3.8.3-3].
    pub(in crate::broker) fn publish_will(
        &self,
        client_id: &Arc<str>,
        receiver: Option<u64>,
        stored: StoredWill,
    ) {
        let again = stored.clone();
        let StoredWill {
            will,
            identity,
            number,
        } = stored;
        let origin = Origin {
            client_id: Some(client_id.clone()),
            user: identity.user().cloned(),
        };
        let mut publisher = Publisher::new(identity, Arc::new(origin), receiver);
        let draft = Draft {
            topic: will.topic,
            payload: will.payload,
            qos: will.qos,
            retain: will.retain,
            properties: will.properties,
        };
        // a will is not refused for what its client published before
        let published = self.publish_in_batch(&mut publisher, draft, None, self.now());
        self.flush(&mut publisher);
        if let Err(Refused::Storage(_)) = published {
            let late = LateWill {
                client_id: client_id.clone(),
                receiver,
                stored: again,
            };
            if self.0.registry.late.add(late) {
                return;
            }
        }
        if let Err(refused) = published {
            METRICS.refused(refused.kind()).inc();
            tracing::warn!(client = ?client_id, %refused, "a will was not published");
        }
        self.forget_will(client_id, number);
    }
}
