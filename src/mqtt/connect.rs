//! CONNECT: who the client is, what it wants kept, and what it can take.

use super::{
    Qos, Version,
    error::{DecodeError, Malformed, ProtocolFault},
    packet_type::PacketType,
    payload::Payload,
    primitive::{Reader, put_binary, put_packet, put_sized, put_text, put_u16},
    property::{
        Carrier, MessageProperties, Property, put_bool, put_data, put_long, put_short, put_string,
        put_user, read_bool, read_properties, read_user,
    },
    topic::TopicName,
};
use bytes::Bytes;

/// The first packet of every connection [MQTT-3.1.0-1].
#[derive(Debug, Clone, PartialEq)]
pub struct Connect {
    /// From protocol name and level.
    pub version: Version,
    /// Bit 7 of the level byte (0x83, 0x84): the peer says that it is a bridge. A convention of Mosquitto's.
    pub bridge: bool,
    /// Clean Session (3.x) or Clean Start (5.0).
    pub clean_start: bool,
    /// Seconds; 0 switches it off.
    pub keep_alive: u16,
    /// May be empty: the server then chooses one.
    pub client_id: Box<str>,
    /// The message to publish if the connection ends badly.
    pub will: Option<Box<Will>>,
    /// User Name.
    pub username: Option<Box<str>>,
    /// Password: any bytes.
    pub password: Option<Bytes>,
    /// The 5.0 properties; their defaults on 3.x.
    pub properties: ConnectProperties,
}

/// What a 5.0 client adds to its CONNECT. Defaults are those of the standard.
#[derive(Debug, Clone, PartialEq)]
pub struct ConnectProperties {
    /// Session Expiry Interval in seconds; 0xFFFF_FFFF is never. `None` is 0.
    pub session_expiry: Option<u32>,
    /// Unacknowledged QoS 1/2 messages the client accepts. `None` is 65,535.
    pub receive_maximum: Option<u16>,
    /// The largest packet, in bytes, the client accepts. `None` is no limit.
    pub maximum_packet_size: Option<u32>,
    /// Aliases the client accepts. 0 is none.
    pub topic_alias_maximum: u16,
    /// Whether CONNACK may carry response information.
    pub request_response_information: bool,
    /// Whether packets beside PUBLISH, CONNACK and DISCONNECT may carry reason strings [MQTT-3.1.2-29].
    pub request_problem_information: bool,
    /// User Properties in order.
    pub user: Vec<(Box<str>, Box<str>)>,
    /// Method of an extended authentication.
    pub authentication_method: Option<Box<str>>,
    /// First data of that method.
    pub authentication_data: Option<Bytes>,
}

impl Default for ConnectProperties {
    fn default() -> Self {
        ConnectProperties {
            session_expiry: None,
            receive_maximum: None,
            maximum_packet_size: None,
            topic_alias_maximum: 0,
            request_response_information: false,
            request_problem_information: true,
            user: Vec::new(),
            authentication_method: None,
            authentication_data: None,
        }
    }
}

/// The will: a message that the server keeps for the client.
#[derive(Debug, Clone, PartialEq)]
pub struct Will {
    /// Where it goes.
    pub topic: TopicName,
    /// What it says.
    pub payload: Payload,
    /// Will QoS.
    pub qos: Qos,
    /// Will Retain.
    pub retain: bool,
    /// Will Delay Interval in seconds.
    pub delay: u32,
    /// Properties that travel with the message.
    pub properties: Option<Box<MessageProperties>>,
}

const CLEAN_START: u8 = 0x02;
const WILL: u8 = 0x04;
/// Will QoS and Will Retain.
const WILL_DETAILS: u8 = 0x38;
const WILL_RETAIN: u8 = 0x20;
const PASSWORD: u8 = 0x40;
const USER_NAME: u8 = 0x80;
/// In the level byte.
const BRIDGE: u8 = 0x80;

impl Connect {
    /// Which version a CONNECT asks for, and whether a bridge does: what every version has at the same place.
    pub fn read_version(reader: &mut Reader<'_>) -> Result<(Version, bool), DecodeError> {
        let (name, level) = (reader.binary()?, reader.u8()?);
        let bridge = level & BRIDGE != 0;
        match (name, level & !BRIDGE) {
            (b"MQIsdp", 3) => Ok((Version::V31, bridge)),
            (b"MQTT", 4) => Ok((Version::V311, bridge)),
            (b"MQTT", 5) if !bridge => Ok((Version::V5, false)),
            (b"MQTT" | b"MQIsdp", _) => Err(DecodeError::UnsupportedVersion { level }),
            _ => Err(DecodeError::UnknownProtocol),
        }
    }

    /// Reads the body of a CONNECT.
    pub fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let (version, bridge) = Self::read_version(&mut reader)?;
        let flags = reader.u8()?;
        check_flags(flags, version)?;
        let keep_alive = reader.u16()?;
        let mut properties = ConnectProperties::default();
        if version.is_v5() {
            read_properties(&mut reader, Carrier::Connect, |property, value| {
                properties.read(property, value)
            })?;
            if properties.authentication_data.is_some()
                && properties.authentication_method.is_none()
            {
                return Err(ProtocolFault::AuthenticationDataWithoutMethod.into());
            }
        }
        // in this order [MQTT-3.1.3-1]
        let client_id = reader.text()?.into();
        let will = if flags & WILL != 0 {
            Some(Box::new(Will::read(&mut reader, flags, version)?))
        } else {
            None
        };
        let username = if has_field(&reader, flags & USER_NAME, version) {
            Some(reader.text()?.into())
        } else {
            None
        };
        let password = if has_field(&reader, flags & PASSWORD, version) {
            Some(Bytes::copy_from_slice(reader.binary()?))
        } else {
            None
        };
        reader.finish()?;
        let clean_start = flags & CLEAN_START != 0;
        Ok(Connect {
            version,
            bridge,
            clean_start,
            keep_alive,
            client_id,
            will,
            username,
            password,
            properties,
        })
    }

    /// Appends the packet, in the version that the packet itself names.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let (name, level) = match self.version {
            Version::V31 => ("MQIsdp", 3),
            Version::V311 => ("MQTT", 4),
            Version::V5 => ("MQTT", 5),
        };
        let bridge = if self.bridge { BRIDGE } else { 0 };
        put_packet(out, PacketType::Connect.first_byte(), |out| {
            put_text(out, name);
            out.extend_from_slice(&[level | bridge, self.flags()]);
            put_u16(out, self.keep_alive);
            if self.version.is_v5() {
                put_sized(out, |out| self.properties.put(out));
            }
            put_text(out, &self.client_id);
            if let Some(will) = &self.will {
                will.put(out, self.version);
            }
            if let Some(name) = &self.username {
                put_text(out, name);
            }
            if let Some(password) = &self.password {
                put_binary(out, password);
            }
        });
    }

    fn flags(&self) -> u8 {
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        let will = self.will.as_ref().map_or(0, |will| {
            WILL | (will.qos as u8) << 3 | flag(will.retain, WILL_RETAIN)
        });
        will | flag(self.clean_start, CLEAN_START)
            | flag(self.password.is_some(), PASSWORD)
            | flag(self.username.is_some(), USER_NAME)
    }
}

fn check_flags(flags: u8, version: Version) -> Result<(), DecodeError> {
    // 3.1 leaves bit 0 unused, and disregards what it says about a will that is not there
    if version != Version::V31 {
        if flags & 1 != 0 {
            return Err(Malformed::ReservedConnectFlag.into()); // [MQTT-3.1.2-3]
        }
        if flags & WILL == 0 && flags & WILL_DETAILS != 0 {
            return Err(Malformed::WillFlagsWithoutWill.into()); // [MQTT-3.1.2-11], [MQTT-3.1.2-13]
        }
    }
    if !version.is_v5() && flags & (USER_NAME | PASSWORD) == PASSWORD {
        return Err(ProtocolFault::PasswordWithoutUserName.into()); // 3.1.1: [MQTT-3.1.2-22]
    }
    Ok(())
}

/// Whether a field that a flag announces is to be read. On 3.1 the end of the packet wins over the flag.
fn has_field(reader: &Reader<'_>, flag: u8, version: Version) -> bool {
    flag != 0 && !(version == Version::V31 && reader.is_empty())
}

impl Will {
    fn read(reader: &mut Reader<'_>, flags: u8, version: Version) -> Result<Self, DecodeError> {
        let qos = Qos::from_wire(flags >> 3 & 3).ok_or(Malformed::WillQos)?; // [MQTT-3.1.2-12]
        let (mut delay, mut properties) = (0, None);
        if version.is_v5() {
            read_properties(reader, Carrier::Will, |property, value| match property {
                Property::WillDelayInterval => {
                    delay = value.u32()?;
                    Ok(())
                }
                _ => MessageProperties::read(&mut properties, property, value),
            })?;
        }
        let topic = TopicName::parse(reader.text()?)?;
        let payload = Payload::copy_from_slice(reader.binary()?);
        Ok(Will {
            topic,
            payload,
            qos,
            retain: flags & WILL_RETAIN != 0,
            delay,
            properties,
        })
    }

    fn put(&self, out: &mut Vec<u8>, version: Version) {
        if version.is_v5() {
            put_sized(out, |out| {
                if self.delay > 0 {
                    put_long(out, Property::WillDelayInterval, self.delay);
                }
                if let Some(properties) = &self.properties {
                    properties.put(out, None);
                }
            });
        }
        put_text(out, &self.topic);
        put_binary(out, &self.payload);
    }
}

impl ConnectProperties {
    fn read(&mut self, property: Property, value: &mut Reader<'_>) -> Result<(), DecodeError> {
        match property {
            Property::SessionExpiryInterval => self.session_expiry = Some(value.u32()?),
            Property::ReceiveMaximum => match value.u16()? {
                0 => return Err(ProtocolFault::ReceiveMaximumZero.into()),
                maximum => self.receive_maximum = Some(maximum),
            },
            Property::MaximumPacketSize => match value.u32()? {
                0 => return Err(ProtocolFault::PacketSizeZero.into()),
                size => self.maximum_packet_size = Some(size),
            },
            Property::TopicAliasMaximum => self.topic_alias_maximum = value.u16()?,
            Property::RequestResponseInformation => {
                self.request_response_information = read_bool(value)?
            }
            Property::RequestProblemInformation => {
                self.request_problem_information = read_bool(value)?
            }
            Property::AuthenticationMethod => {
                self.authentication_method = Some(value.text()?.into())
            }
            Property::AuthenticationData => {
                self.authentication_data = Some(Bytes::copy_from_slice(value.binary()?))
            }
            Property::UserProperty => read_user(value, &mut self.user)?,
            _ => return Err(Malformed::PropertyNotAllowed.into()),
        }
        Ok(())
    }

    fn put(&self, out: &mut Vec<u8>) {
        if let Some(seconds) = self.session_expiry {
            put_long(out, Property::SessionExpiryInterval, seconds);
        }
        if let Some(maximum) = self.receive_maximum {
            put_short(out, Property::ReceiveMaximum, maximum);
        }
        if let Some(size) = self.maximum_packet_size {
            put_long(out, Property::MaximumPacketSize, size);
        }
        if self.topic_alias_maximum > 0 {
            put_short(out, Property::TopicAliasMaximum, self.topic_alias_maximum);
        }
        if self.request_response_information {
            put_bool(out, Property::RequestResponseInformation, true);
        }
        if !self.request_problem_information {
            put_bool(out, Property::RequestProblemInformation, false);
        }
        put_user(out, &self.user);
        if let Some(method) = &self.authentication_method {
            put_string(out, Property::AuthenticationMethod, method);
        }
        if let Some(data) = &self.authentication_data {
            put_data(out, Property::AuthenticationData, data);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::topic::TopicError;

    /// A CONNECT's body: name, level, flags, keep alive 10, then `rest`.
    fn body(name: &str, level: u8, flags: u8, rest: &[u8]) -> Vec<u8> {
        [
            &[0, name.len() as u8],
            name.as_bytes(),
            &[level, flags, 0, 10],
            rest,
        ]
        .concat()
    }

    const ID: [u8; 3] = [0, 1, b'c'];

    #[test]
    fn mqtt_3_1_2_2_name_and_level_say_the_version() {
        let table = [
            ("MQIsdp", 3, Ok((Version::V31, false))),
            ("MQIsdp", 0x83, Ok((Version::V31, true))),
            ("MQTT", 4, Ok((Version::V311, false))),
            ("MQTT", 0x84, Ok((Version::V311, true))),
            ("MQTT", 5, Ok((Version::V5, false))),
            (
                "MQTT",
                0x85,
                Err(DecodeError::UnsupportedVersion { level: 0x85 }),
            ),
            ("MQTT", 3, Err(DecodeError::UnsupportedVersion { level: 3 })),
            ("MQTT", 6, Err(DecodeError::UnsupportedVersion { level: 6 })),
            (
                "MQIsdp",
                4,
                Err(DecodeError::UnsupportedVersion { level: 4 }),
            ),
            // [MQTT-3.1.2-1]
            ("mqtt", 4, Err(DecodeError::UnknownProtocol)),
            ("MQTX", 4, Err(DecodeError::UnknownProtocol)),
        ];
        for (name, level, expected) in table {
            let read = Connect::read_version(&mut Reader::new(&body(name, level, 2, &ID)));
            assert_eq!(read, expected, "{name} {level}");
        }
    }

    #[test]
    fn a_full_connect_of_3_1_1_is_read() {
        let rest = [
            &ID[..],
            &[0, 1, b't', 0, 2, 0, 0xFF, 0, 1, b'u', 0, 1, 0xFE],
        ]
        .concat();
        let connect = Connect::decode(&body("MQTT", 4, 0xEE, &rest)).unwrap();
        assert_eq!(
            (connect.clean_start, connect.keep_alive, &*connect.client_id),
            (true, 10, "c")
        );
        let will = connect.will.as_deref().unwrap();
        assert_eq!((&*will.topic, &will.payload[..]), ("t", &[0, 0xFF][..]));
        assert_eq!((will.qos, will.retain), (Qos::AtLeastOnce, true));
        assert_eq!(
            (connect.username.as_deref(), connect.password.as_deref()),
            (Some("u"), Some(&[0xFE][..]))
        );
    }

    #[test]
    fn connects_that_break_the_rules_are_refused() {
        let table: Vec<(u8, u8, Vec<u8>, DecodeError)> = vec![
            (4, 0x01, ID.to_vec(), Malformed::ReservedConnectFlag.into()),
            (5, 0x01, ID.to_vec(), Malformed::ReservedConnectFlag.into()),
            (4, 0x0A, ID.to_vec(), Malformed::WillFlagsWithoutWill.into()),
            (4, 0x22, ID.to_vec(), Malformed::WillFlagsWithoutWill.into()),
            (4, 0x1E, ID.to_vec(), Malformed::WillQos.into()),
            (4, 0x06, ID.to_vec(), Malformed::Truncated.into()), // [MQTT-3.1.2-9]
            (4, 0x82, ID.to_vec(), Malformed::Truncated.into()), // [MQTT-3.1.2-17]
            (
                4,
                0x42,
                ID.to_vec(),
                ProtocolFault::PasswordWithoutUserName.into(),
            ),
            (4, 0x02, vec![], Malformed::Truncated.into()), // [MQTT-3.1.3-3]
            (
                4,
                0x02,
                vec![0, 1, b'c', 0],
                Malformed::TrailingBytes.into(),
            ),
            (4, 0x02, vec![0, 1, 0xFF], Malformed::IllFormedUtf8.into()), // [MQTT-3.1.3-4]
            (4, 0x02, vec![0, 1, 0], Malformed::NulInText.into()),
            (
                4,
                0x06,
                vec![0, 0, 0, 1, b'#', 0, 0],
                TopicError::WildcardInName.into(),
            ),
            (
                5,
                0x02,
                vec![3, 0x21, 0, 0, 0, 0],
                ProtocolFault::ReceiveMaximumZero.into(),
            ),
            (
                5,
                0x02,
                vec![5, 0x27, 0, 0, 0, 0, 0, 0],
                ProtocolFault::PacketSizeZero.into(),
            ),
            (
                5,
                0x02,
                vec![2, 0x17, 2, 0, 0],
                ProtocolFault::NotABoolean.into(),
            ),
            (
                5,
                0x02,
                vec![4, 0x17, 1, 0x17, 1, 0, 0],
                ProtocolFault::PropertyRepeated.into(),
            ),
            (
                5,
                0x02,
                vec![3, 0x16, 0, 0, 0, 0],
                ProtocolFault::AuthenticationDataWithoutMethod.into(),
            ),
            (
                5,
                0x02,
                vec![2, 0x01, 1, 0, 0],
                Malformed::PropertyNotAllowed.into(),
            ),
            (
                5,
                0x02,
                vec![2, 0x7E, 1, 0, 0],
                Malformed::UnknownProperty.into(),
            ),
        ];
        for (level, flags, rest, error) in table {
            assert_eq!(
                Connect::decode(&body("MQTT", level, flags, &rest)),
                Err(error),
                "{level} {flags:#x} {rest:?}"
            );
        }
    }

    #[test]
    fn mqtt_3_1_2_19_5_0_takes_a_password_alone() {
        let connect = Connect::decode(&body("MQTT", 5, 0x42, &[0, 0, 0, 0, 1, b'p'])).unwrap();
        assert_eq!(
            (connect.username, connect.password.as_deref()),
            (None, Some(&b"p"[..]))
        );
    }

    #[test]
    fn mqtt_3_1_tolerates_missing_fields_and_unused_flags() {
        let connect = Connect::decode(&body("MQIsdp", 3, 0xC3, &ID)).unwrap();
        assert_eq!((connect.username, connect.password), (None, None));
        assert!(Connect::decode(&body("MQIsdp", 3, 0x38, &ID)).is_ok());
    }

    #[test]
    fn user_properties_and_their_bytes_are_limited() {
        let with = |count: usize, size: usize| {
            let pair = ("".into(), "x".repeat(size).into());
            let mut rest = Vec::new();
            put_sized(&mut rest, |out| put_user(out, &vec![pair; count]));
            rest.extend([0, 0]);
            Connect::decode(&body("MQTT", 5, 2, &rest)).map(|connect| connect.properties.user.len())
        };
        assert_eq!(with(1024, 1), Ok(1024));
        assert_eq!(with(1025, 1), Err(DecodeError::TooManyUserProperties));
        assert_eq!(with(60, 300), Err(DecodeError::PropertiesTooLong));
    }
}
