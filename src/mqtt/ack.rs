//! PUBACK, PUBREC, PUBREL and PUBCOMP: one shape, four packet types.

use super::{PacketId, property::Explanation, reason::ReasonCode};

/// The acknowledgement of one step of a QoS 1 or QoS 2 exchange.
#[derive(Debug, Clone, PartialEq)]
pub struct Ack {
    /// The identifier of the PUBLISH whose exchange this belongs to [MQTT-2.2.1-5].
    pub packet_id: PacketId,
    /// Always `Success` on 3.x, which has no field for it.
    pub reason: ReasonCode,
    /// Reason string and user properties, 5.0 only.
    pub explanation: Option<Box<Explanation>>,
}

impl Ack {
    /// A plain acknowledgement: two bytes of body on the wire when `reason` is success.
    pub fn new(packet_id: PacketId, reason: ReasonCode) -> Self {
        Ack {
            packet_id,
            reason,
            explanation: None,
        }
    }
}
