//! The property table of 5.0: identifiers, types, where each is allowed and whether it may repeat.

use super::{
    error::{DecodeError, Malformed, ProtocolFault},
    primitive::{
        MAX_FIELD, Reader, put_binary, put_sized, put_text, put_u32, put_varint, text_len,
    },
    topic::TopicName,
};
use bytes::Bytes;

/// Most User Properties of one packet or will that are ever read, and the most that [`Decoder::limit_user_properties`]
/// can allow. The standard has no limit; every one costs two allocations, so a packet full of them would be a lever.
///
/// [`Decoder::limit_user_properties`]: super::frame::Decoder::limit_user_properties
pub const MAX_USER_PROPERTIES: usize = 1024;

/// Most bytes of the properties of one packet other than PUBLISH. Those of a PUBLISH and of a will are content and
/// limited with the whole packet.
pub const MAX_PROPERTY_BYTES: usize = 16 * 1024;

/// A property, by its identifier on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Property {
    /// Byte, 0 or 1.
    PayloadFormatIndicator = 0x01,
    /// Four Byte Integer, seconds.
    MessageExpiryInterval = 0x02,
    /// UTF-8 Encoded String.
    ContentType = 0x03,
    /// UTF-8 Encoded String, a topic name.
    ResponseTopic = 0x08,
    /// Binary Data.
    CorrelationData = 0x09,
    /// Variable Byte Integer, not 0; the one property but the user's that may repeat, in PUBLISH.
    SubscriptionIdentifier = 0x0B,
    /// Four Byte Integer, seconds.
    SessionExpiryInterval = 0x11,
    /// UTF-8 Encoded String.
    AssignedClientIdentifier = 0x12,
    /// Two Byte Integer, seconds.
    ServerKeepAlive = 0x13,
    /// UTF-8 Encoded String.
    AuthenticationMethod = 0x15,
    /// Binary Data.
    AuthenticationData = 0x16,
    /// Byte, 0 or 1.
    RequestProblemInformation = 0x17,
    /// Four Byte Integer, seconds.
    WillDelayInterval = 0x18,
    /// Byte, 0 or 1.
    RequestResponseInformation = 0x19,
    /// UTF-8 Encoded String.
    ResponseInformation = 0x1A,
    /// UTF-8 Encoded String.
    ServerReference = 0x1C,
    /// UTF-8 Encoded String.
    ReasonString = 0x1F,
    /// Two Byte Integer, not 0.
    ReceiveMaximum = 0x21,
    /// Two Byte Integer.
    TopicAliasMaximum = 0x22,
    /// Two Byte Integer, not 0.
    TopicAlias = 0x23,
    /// Byte, 0 or 1.
    MaximumQos = 0x24,
    /// Byte, 0 or 1.
    RetainAvailable = 0x25,
    /// UTF-8 String Pair, may repeat.
    UserProperty = 0x26,
    /// Four Byte Integer, not 0.
    MaximumPacketSize = 0x27,
    /// Byte, 0 or 1.
    WildcardSubscriptionAvailable = 0x28,
    /// Byte, 0 or 1.
    SubscriptionIdentifierAvailable = 0x29,
    /// Byte, 0 or 1.
    SharedSubscriptionAvailable = 0x2A,
}

/// What has properties: packets that share a row of the table are one carrier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // packet types, apart from the will
pub enum Carrier {
    Connect,
    /// The will inside CONNECT.
    Will,
    ConnAck,
    Publish,
    /// PUBACK, PUBREC, PUBREL and PUBCOMP.
    Ack,
    Subscribe,
    Unsubscribe,
    /// SUBACK and UNSUBACK.
    SubAck,
    Disconnect,
    Auth,
}

impl Property {
    /// The property with this identifier.
    pub fn from_wire(id: u32) -> Option<Self> {
        use Property::*;
        Some(match id {
            0x01 => PayloadFormatIndicator,
            0x02 => MessageExpiryInterval,
            0x03 => ContentType,
            0x08 => ResponseTopic,
            0x09 => CorrelationData,
            0x0B => SubscriptionIdentifier,
            0x11 => SessionExpiryInterval,
            0x12 => AssignedClientIdentifier,
            0x13 => ServerKeepAlive,
            0x15 => AuthenticationMethod,
            0x16 => AuthenticationData,
            0x17 => RequestProblemInformation,
            0x18 => WillDelayInterval,
            0x19 => RequestResponseInformation,
            0x1A => ResponseInformation,
            0x1C => ServerReference,
            0x1F => ReasonString,
            0x21 => ReceiveMaximum,
            0x22 => TopicAliasMaximum,
            0x23 => TopicAlias,
            0x24 => MaximumQos,
            0x25 => RetainAvailable,
            0x26 => UserProperty,
            0x27 => MaximumPacketSize,
            0x28 => WildcardSubscriptionAvailable,
            0x29 => SubscriptionIdentifierAvailable,
            0x2A => SharedSubscriptionAvailable,
            _ => return None,
        })
    }

    /// Whether `carrier` may have it (section 2.2.2.2).
    pub fn allowed_in(self, carrier: Carrier) -> bool {
        use Carrier::*;
        match self {
            Property::PayloadFormatIndicator
            | Property::MessageExpiryInterval
            | Property::ContentType
            | Property::ResponseTopic
            | Property::CorrelationData => matches!(carrier, Publish | Will),
            Property::SubscriptionIdentifier => matches!(carrier, Publish | Subscribe),
            Property::TopicAlias => carrier == Publish,
            Property::WillDelayInterval => carrier == Will,
            Property::RequestProblemInformation | Property::RequestResponseInformation => {
                carrier == Connect
            }
            Property::ReceiveMaximum
            | Property::TopicAliasMaximum
            | Property::MaximumPacketSize => {
                matches!(carrier, Connect | ConnAck)
            }
            Property::SessionExpiryInterval => matches!(carrier, Connect | ConnAck | Disconnect),
            Property::AuthenticationMethod | Property::AuthenticationData => {
                matches!(carrier, Connect | ConnAck | Auth)
            }
            Property::AssignedClientIdentifier
            | Property::ServerKeepAlive
            | Property::ResponseInformation
            | Property::MaximumQos
            | Property::RetainAvailable
            | Property::WildcardSubscriptionAvailable
            | Property::SubscriptionIdentifierAvailable
            | Property::SharedSubscriptionAvailable => carrier == ConnAck,
            Property::ServerReference => matches!(carrier, ConnAck | Disconnect),
            Property::ReasonString => matches!(carrier, ConnAck | Ack | SubAck | Disconnect | Auth),
            Property::UserProperty => true,
        }
    }

    /// Whether `carrier` may have it more than once.
    pub fn repeats_in(self, carrier: Carrier) -> bool {
        match self {
            Property::UserProperty => true,
            Property::SubscriptionIdentifier => carrier == Carrier::Publish,
            _ => false,
        }
    }
}

/// Reads a block of properties and hands each to `take`, which reads its value.
///
/// `take` sees only what the table allows; its last arm can answer [`Malformed::PropertyNotAllowed`].
pub fn read_properties<'a>(
    reader: &mut Reader<'a>,
    carrier: Carrier,
    mut take: impl FnMut(Property, &mut Reader<'a>) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    let length = reader.varint()? as usize;
    let mut block = reader.part(length)?;
    if length > MAX_PROPERTY_BYTES && !matches!(carrier, Carrier::Publish | Carrier::Will) {
        return Err(DecodeError::PropertiesTooLong);
    }
    let mut seen = 0u64;
    while !block.is_empty() {
        let property = Property::from_wire(block.varint()?).ok_or(Malformed::UnknownProperty)?;
        if !property.allowed_in(carrier) {
            return Err(Malformed::PropertyNotAllowed.into());
        }
        let bit = 1 << property as u8; // identifiers end at 0x2A
        if seen & bit != 0 && !property.repeats_in(carrier) {
            return Err(ProtocolFault::PropertyRepeated.into());
        }
        seen |= bit;
        take(property, &mut block)?;
    }
    Ok(())
}

/// The value of a property that is 0 or 1.
pub fn read_bool(reader: &mut Reader<'_>) -> Result<bool, DecodeError> {
    match reader.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(ProtocolFault::NotABoolean.into()),
    }
}

/// The value of a User Property [MQTT-1.5.7-1], added to those before it.
pub fn read_user(
    reader: &mut Reader<'_>,
    user: &mut Vec<(Box<str>, Box<str>)>,
) -> Result<(), DecodeError> {
    if user.len() == MAX_USER_PROPERTIES {
        return Err(DecodeError::TooManyUserProperties);
    }
    user.push((reader.text()?.into(), reader.text()?.into()));
    Ok(())
}

/// Reads a block that holds nothing but Reason String and User Properties.
pub fn read_explanation(
    reader: &mut Reader<'_>,
    carrier: Carrier,
) -> Result<Option<Box<Explanation>>, DecodeError> {
    let mut explanation = None;
    read_properties(reader, carrier, |property, value| {
        Explanation::read(&mut explanation, property, value)
    })?;
    Ok(explanation)
}

/// Appends a Byte property that is 0 or 1.
pub fn put_bool(out: &mut Vec<u8>, property: Property, value: bool) {
    out.extend_from_slice(&[property as u8, value.into()]);
}

/// Appends a Two Byte Integer property.
pub fn put_short(out: &mut Vec<u8>, property: Property, value: u16) {
    let [high, low] = value.to_be_bytes();
    out.extend_from_slice(&[property as u8, high, low]);
}

/// Appends a Four Byte Integer property.
pub fn put_long(out: &mut Vec<u8>, property: Property, value: u32) {
    out.push(property as u8);
    put_u32(out, value);
}

/// Appends a UTF-8 Encoded String property.
pub fn put_string(out: &mut Vec<u8>, property: Property, value: &str) {
    out.push(property as u8);
    put_text(out, value);
}

/// Appends a Binary Data property.
pub fn put_data(out: &mut Vec<u8>, property: Property, value: &[u8]) {
    out.push(property as u8);
    put_binary(out, value);
}

/// Appends User Properties in order.
pub fn put_user(out: &mut Vec<u8>, user: &[(Box<str>, Box<str>)]) {
    for (name, value) in user {
        put_string(out, Property::UserProperty, name);
        put_text(out, value);
    }
}

/// Appends a block of nothing but an explanation; an empty block is its length byte 0 [MQTT-2.2.2-1].
pub fn put_explanation(out: &mut Vec<u8>, explanation: Option<&Explanation>) {
    put_sized(out, |out| {
        if let Some(explanation) = explanation {
            explanation.put(out);
        }
    });
}

/// The properties of a PUBLISH or a will that are part of the message and reach every receiver unchanged.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MessageProperties {
    /// Payload Format Indicator: `Some(true)` says the payload is UTF-8 [MQTT-3.3.2-4].
    pub payload_is_utf8: Option<bool>,
    /// Message Expiry Interval, in seconds, as the publisher sent it.
    pub message_expiry: Option<u32>,
    /// Content Type [MQTT-3.3.2-20].
    pub content_type: Option<Box<str>>,
    /// Response Topic: a topic name without wildcards [MQTT-3.3.2-14].
    pub response_topic: Option<Box<str>>,
    /// Correlation Data [MQTT-3.3.2-16].
    pub correlation_data: Option<Bytes>,
    /// User Properties: order and duplicates are kept [MQTT-3.3.2-18].
    pub user: Vec<(Box<str>, Box<str>)>,
}

impl MessageProperties {
    /// Takes a property that belongs to a message; `holder` stays `None` until there is one.
    pub(super) fn read(
        holder: &mut Option<Box<Self>>,
        property: Property,
        value: &mut Reader<'_>,
    ) -> Result<(), DecodeError> {
        let this = holder.get_or_insert_default();
        match property {
            Property::PayloadFormatIndicator => this.payload_is_utf8 = Some(read_bool(value)?),
            Property::MessageExpiryInterval => this.message_expiry = Some(value.u32()?),
            Property::ContentType => this.content_type = Some(value.text()?.into()),
            Property::ResponseTopic => {
                let topic = value.text()?;
                TopicName::check(topic)?; // [MQTT-3.3.2-14]
                this.response_topic = Some(topic.into());
            }
            Property::CorrelationData => {
                this.correlation_data = Some(Bytes::copy_from_slice(value.binary()?))
            }
            Property::UserProperty => read_user(value, &mut this.user)?,
            _ => return Err(Malformed::PropertyNotAllowed.into()),
        }
        Ok(())
    }

    /// Reads a block that [`put_block`](Self::put_block) wrote; `None` if it is empty.
    pub fn read_block(reader: &mut Reader<'_>) -> Result<Option<Box<Self>>, DecodeError> {
        let mut properties = None;
        read_properties(reader, Carrier::Publish, |property, value| {
            Self::read(&mut properties, property, value)
        })?;
        Ok(properties)
    }

    /// Appends them as they stand in a PUBLISH, their length first.
    pub fn put_block(&self, out: &mut Vec<u8>) {
        put_varint(out, self.wire_len(None));
        self.put(out, None);
    }

    /// How many bytes [`put`](Self::put) appends.
    pub(super) fn wire_len(&self, expiry: Option<u32>) -> usize {
        let text = |text: &str| 3 + text_len(text);
        let mut length = 0;
        length += if self.payload_is_utf8.is_some() { 2 } else { 0 };
        length += if expiry.or(self.message_expiry).is_some() {
            5
        } else {
            0
        };
        length += self.content_type.as_deref().map_or(0, text);
        length += self.response_topic.as_deref().map_or(0, text);
        length += self
            .correlation_data
            .as_ref()
            .map_or(0, |data| 3 + data.len().min(MAX_FIELD));
        for (name, value) in &self.user {
            length += 5 + text_len(name) + text_len(value);
        }
        length
    }

    /// Appends them, with `expiry` instead of the publisher's if it is given.
    pub(super) fn put(&self, out: &mut Vec<u8>, expiry: Option<u32>) {
        if let Some(utf8) = self.payload_is_utf8 {
            put_bool(out, Property::PayloadFormatIndicator, utf8);
        }
        if let Some(seconds) = expiry.or(self.message_expiry) {
            put_long(out, Property::MessageExpiryInterval, seconds);
        }
        if let Some(content_type) = &self.content_type {
            put_string(out, Property::ContentType, content_type);
        }
        if let Some(topic) = &self.response_topic {
            put_string(out, Property::ResponseTopic, topic);
        }
        if let Some(data) = &self.correlation_data {
            put_data(out, Property::CorrelationData, data);
        }
        put_user(out, &self.user);
    }
}

/// Reason String and User Properties, which nearly every answer may carry. For people, never for programs.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Explanation {
    /// Reason String.
    pub reason_string: Option<Box<str>>,
    /// User Properties in order.
    pub user: Vec<(Box<str>, Box<str>)>,
}

impl Explanation {
    /// The explanation if it explains anything: an empty one is not sent.
    pub(super) fn worth_sending(this: &Option<Box<Self>>) -> Option<&Self> {
        this.as_deref()
            .filter(|this| this.reason_string.is_some() || !this.user.is_empty())
    }

    /// Takes one of the two properties it consists of; `holder` stays `None` until there is one.
    pub(super) fn read(
        holder: &mut Option<Box<Self>>,
        property: Property,
        value: &mut Reader<'_>,
    ) -> Result<(), DecodeError> {
        let this = holder.get_or_insert_default();
        match property {
            Property::ReasonString => this.reason_string = Some(value.text()?.into()),
            Property::UserProperty => read_user(value, &mut this.user)?,
            _ => return Err(Malformed::PropertyNotAllowed.into()),
        }
        Ok(())
    }

    /// Appends its properties.
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        if let Some(text) = &self.reason_string {
            put_string(out, Property::ReasonString, text);
        }
        put_user(out, &self.user);
    }
}
