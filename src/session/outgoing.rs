//! The bytes of one PUBLISH to the client: laid out first, so that its size is known before anything is written.

use super::aliases::Choice;
use crate::{
    message::{Delivery, Millis},
    mqtt::{
        PacketId, Version,
        payload::Payload,
        publish::{Head, Sizes},
        write_queue::WriteQueue,
    },
};

/// The bytes of one PUBLISH.
pub struct Outgoing<'a> {
    head: Head<'a>,
    sizes: Sizes,
    payload: &'a Payload,
}

impl<'a> Outgoing<'a> {
    /// Lays out `delivery` for a receiver. `dup` says that it was sent before [MQTT-3.3.1-1].
    pub fn new(
        delivery: &'a Delivery,
        alias: Choice,
        version: Version,
        dup: bool,
        now: Millis,
    ) -> Self {
        let message = &*delivery.message;
        let (topic, alias) = match alias {
            Choice::None => (&*message.topic, None),
            Choice::Set(alias) => (&*message.topic, Some(alias)),
            Choice::Use(alias) => ("", Some(alias)),
        };
        let head = Head {
            version,
            dup,
            qos: delivery.qos,
            retain: delivery.retain,
            topic,
            alias,
            properties: message.properties.as_deref(),
            expiry: message.expiry_left(now),
            subscription_ids: delivery.subscription_ids.as_deref().unwrap_or_default(),
            payload_len: message.payload.len(),
        };
        Outgoing {
            sizes: head.sizes(),
            head,
            payload: &message.payload,
        }
    }

    /// Size of the whole packet in bytes.
    pub fn size(&self) -> usize {
        self.sizes.packet()
    }

    /// Appends the packet.
    pub fn write(&self, packet_id: Option<PacketId>, out: &mut WriteQueue) {
        self.head.put(&self.sizes, packet_id, out.tail());
        out.put_payload(self.payload);
    }
}
