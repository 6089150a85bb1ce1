//! Wills: published on the rights they were accepted under.

use crate::{
    auth::identity::Identity,
    broker::{Broker, Draft, publish::Publisher},
    message::Origin,
    metrics::METRICS,
    mqtt::connect::Will,
};
use std::sync::Arc;

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

impl Broker {
    /// `receiver` is the key of the session's own outbox: No Local keeps a will from the client it is of
    /// [MQTT-3.8.3-3].
    pub(in crate::broker) fn publish_will(
        &self,
        client_id: &Arc<str>,
        receiver: Option<u64>,
        stored: StoredWill,
    ) {
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
        if let Err(refused) = published {
            METRICS.refused(refused.kind()).inc();
            tracing::warn!(client = ?client_id, %refused, "a will was not published");
        }
        self.forget_will(client_id, number);
    }
}
