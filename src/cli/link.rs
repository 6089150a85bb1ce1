//! One face for the two clients of rumqttc, which has one per version of MQTT.
//!
//! Never reconnects: what was sent before may be lost then, and a script should hear of it.

use super::client::{ConnectArgs, Failure, Version};
use bytes::Bytes;
use rumqttc::{Outgoing, v5, v5::mqttbytes::v5 as packet};
use std::time::Duration;

/// The largest packet MQTT can express. rumqttc stops at 10 KiB unless told otherwise.
const LARGEST_PACKET: u32 = 268_435_455;

/// Publishes that may wait for their acknowledgement.
const IN_FLIGHT: u16 = 100;

/// Requests that may wait to be sent.
const WAITING: usize = 16;

/// Sends; may be used while [`Link::next`] runs elsewhere.
#[derive(Clone)]
pub enum Sender {
    /// Speaks MQTT 3.1.1.
    V311(rumqttc::AsyncClient),
    /// Speaks MQTT 5.0.
    V5(v5::AsyncClient),
}

/// A connection's events.
pub struct Link {
    events: Events,
    /// Whom it connects to, for whoever hears that nobody is there.
    peer: String,
}

enum Events {
    V311(Box<rumqttc::EventLoop>),
    V5(Box<v5::EventLoop>),
}

/// What happened on a connection.
#[derive(Debug)]
pub enum Event {
    /// CONNACK, and it says yes.
    Connected,
    /// A QoS 0 message left.
    Sent,
    /// The exchange of a QoS 1 or 2 message ended; the reason if it was refused.
    Acknowledged(Result<(), String>),
    /// SUBACK: per filter, the reason if it was refused.
    Subscribed(Vec<Result<(), String>>),
    /// A message.
    Message(Received),
    /// DISCONNECT left.
    Closed,
    /// Nothing a client needs to know.
    Other,
}

/// A message that was received.
#[derive(Debug, Default)]
pub struct Received {
    /// Topic name.
    pub topic: String,
    /// Payload.
    pub payload: Bytes,
    /// Quality of service it came with.
    pub qos: u8,
    /// Its RETAIN flag.
    pub retain: bool,
    /// Its properties (5.0).
    pub properties: Option<packet::PublishProperties>,
}

/// A connection that is made as soon as its events are asked for.
pub fn open(args: &ConnectArgs) -> (Sender, Link) {
    // an IPv6 address needs brackets before a port
    let host = match args.host.contains(':') && !args.host.starts_with('[') {
        true => format!("[{}]", args.host),
        false => args.host.clone(),
    };
    let peer = format!("{host}:{}", args.port);
    let link = |events| Link { events, peer };
    let keep_alive = Duration::from_secs(args.keepalive.into());
    let password = args.password.as_deref().unwrap_or_default();
    match args.version {
        Version::V311 => {
            let mut options = rumqttc::MqttOptions::new(&args.id, host, args.port);
            options
                .set_keep_alive(keep_alive)
                .set_inflight(IN_FLIGHT)
                .set_max_packet_size(LARGEST_PACKET as usize, LARGEST_PACKET as usize);
            if let Some(name) = &args.username {
                options.set_credentials(name, password);
            }
            let (client, events) = rumqttc::AsyncClient::new(options, WAITING);
            (Sender::V311(client), link(Events::V311(Box::new(events))))
        }
        Version::V5 => {
            let mut options = v5::MqttOptions::new(&args.id, host, args.port);
            // Topic Alias Maximum stays unset: rumqttc would show aliased messages without their topic.
            options
                .set_keep_alive(keep_alive)
                .set_outgoing_inflight_upper_limit(IN_FLIGHT)
                .set_max_packet_size(Some(LARGEST_PACKET));
            if let Some(name) = &args.username {
                options.set_credentials(name, password);
            }
            let (client, events) = v5::AsyncClient::new(options, WAITING);
            (Sender::V5(client), link(Events::V5(Box::new(events))))
        }
    }
}

impl Sender {
    /// Queues a message; waits while many are queued.
    pub async fn publish(
        &self,
        topic: &str,
        qos: u8,
        retain: bool,
        payload: Bytes,
    ) -> Result<(), Failure> {
        match self {
            Sender::V311(client) => {
                let qos = rumqttc::qos(qos).unwrap_or(rumqttc::QoS::ExactlyOnce);
                client.publish_bytes(topic, qos, retain, payload).await?;
            }
            Sender::V5(client) => {
                client
                    .publish_bytes(topic, qos_of(qos), retain, payload)
                    .await?
            }
        }
        Ok(())
    }

    /// Queues one SUBSCRIBE for all filters.
    pub async fn subscribe(&self, filters: &[String], qos: u8) -> Result<(), Failure> {
        match self {
            Sender::V311(client) => {
                let qos = rumqttc::qos(qos).unwrap_or(rumqttc::QoS::ExactlyOnce);
                let filters = filters
                    .iter()
                    .map(|f| rumqttc::SubscribeFilter::new(f.clone(), qos));
                client.subscribe_many(filters).await?;
            }
            Sender::V5(client) => {
                let filters = filters.iter().map(|f| packet::Filter::new(f, qos_of(qos)));
                client.subscribe_many(filters).await?;
            }
        }
        Ok(())
    }

    /// Queues DISCONNECT.
    pub async fn disconnect(&self) -> Result<(), Failure> {
        match self {
            Sender::V311(client) => client.disconnect().await?,
            Sender::V5(client) => client.disconnect().await?,
        }
        Ok(())
    }
}

fn qos_of(level: u8) -> v5::mqttbytes::QoS {
    match level {
        0 => v5::mqttbytes::QoS::AtMostOnce,
        1 => v5::mqttbytes::QoS::AtLeastOnce,
        _ => v5::mqttbytes::QoS::ExactlyOnce,
    }
}

impl Link {
    /// The next event. To give up waiting in the middle is to give up the connection.
    pub async fn next(&mut self) -> Result<Event, Failure> {
        let event = match &mut self.events {
            Events::V311(events) => events.poll().await.map(of_v311).map_err(Failure::from),
            Events::V5(events) => events.poll().await.map(of_v5).map_err(Failure::from),
        };
        event.map_err(|error| format!("{}: {error}", self.peer).into())
    }
}

fn of_v311(event: rumqttc::Event) -> Event {
    use rumqttc::{Packet, SubscribeReasonCode};
    match event {
        rumqttc::Event::Outgoing(outgoing) => of_outgoing(outgoing),
        rumqttc::Event::Incoming(packet) => match packet {
            Packet::ConnAck(_) => Event::Connected,
            Packet::PubAck(_) | Packet::PubComp(_) => Event::Acknowledged(Ok(())),
            Packet::SubAck(ack) => Event::Subscribed(
                ack.return_codes
                    .iter()
                    .map(|code| match code {
                        SubscribeReasonCode::Success(_) => Ok(()),
                        SubscribeReasonCode::Failure => Err("Failure".to_owned()),
                    })
                    .collect(),
            ),
            Packet::Publish(message) => Event::Message(Received {
                topic: message.topic,
                payload: message.payload,
                qos: message.qos as u8,
                retain: message.retain,
                properties: None,
            }),
            _ => Event::Other,
        },
    }
}

fn of_v5(event: v5::Event) -> Event {
    use packet::{Packet, PubAckReason, PubCompReason, PubRecReason, SubscribeReasonCode};
    match event {
        v5::Event::Outgoing(outgoing) => of_outgoing(outgoing),
        v5::Event::Incoming(packet) => match packet {
            Packet::ConnAck(_) => Event::Connected,
            Packet::PubAck(ack) => Event::Acknowledged(match ack.reason {
                PubAckReason::Success | PubAckReason::NoMatchingSubscribers => Ok(()),
                reason => Err(why(reason, ack.properties.and_then(|p| p.reason_string))),
            }),
            Packet::PubRec(ack) => match ack.reason {
                PubRecReason::Success | PubRecReason::NoMatchingSubscribers => Event::Other,
                // the exchange ends here [MQTT-4.3.3-4]
                reason => Event::Acknowledged(Err(why(
                    reason,
                    ack.properties.and_then(|p| p.reason_string),
                ))),
            },
            Packet::PubComp(ack) => Event::Acknowledged(match ack.reason {
                PubCompReason::Success => Ok(()),
                reason => Err(why(reason, ack.properties.and_then(|p| p.reason_string))),
            }),
            Packet::SubAck(ack) => {
                let text = ack.properties.and_then(|p| p.reason_string);
                Event::Subscribed(
                    ack.return_codes
                        .iter()
                        .map(|code| match code {
                            SubscribeReasonCode::Success(_) => Ok(()),
                            reason => Err(why(reason, text.clone())),
                        })
                        .collect(),
                )
            }
            Packet::Publish(message) => Event::Message(Received {
                topic: String::from_utf8_lossy(&message.topic).into_owned(),
                payload: message.payload,
                qos: message.qos as u8,
                retain: message.retain,
                properties: message.properties,
            }),
            _ => Event::Other,
        },
    }
}

fn of_outgoing(outgoing: Outgoing) -> Event {
    match outgoing {
        // rumqttc tells of it once it is flushed; 0 stands for QoS 0, which has no identifier
        Outgoing::Publish(0) => Event::Sent,
        Outgoing::Disconnect => Event::Closed,
        _ => Event::Other,
    }
}

fn why(reason: impl std::fmt::Debug, text: Option<String>) -> String {
    match text {
        Some(text) => format!("{reason:?}: {text:?}"),
        None => format!("{reason:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_pubrec_ends_the_exchange_and_an_accepted_one_does_not() {
        let event = |reason| {
            let ack = packet::PubRec {
                pkid: 1,
                reason,
                properties: None,
            };
            of_v5(v5::Event::Incoming(packet::Packet::PubRec(ack)))
        };
        assert!(matches!(event(packet::PubRecReason::Success), Event::Other));
        assert!(matches!(
            event(packet::PubRecReason::NoMatchingSubscribers),
            Event::Other
        ));
        assert!(matches!(event(packet::PubRecReason::QuotaExceeded),
            Event::Acknowledged(Err(why)) if why == "QuotaExceeded"));
    }

    #[test]
    fn nobody_listening_is_no_failure_and_a_refusal_carries_its_text() {
        let event = |reason, properties| {
            let ack = packet::PubAck {
                pkid: 1,
                reason,
                properties,
            };
            of_v5(v5::Event::Incoming(packet::Packet::PubAck(ack)))
        };
        assert!(matches!(
            event(packet::PubAckReason::NoMatchingSubscribers, None),
            Event::Acknowledged(Ok(()))
        ));
        let text = packet::PubAckProperties {
            reason_string: Some("no".into()),
            user_properties: vec![],
        };
        assert!(
            matches!(event(packet::PubAckReason::NotAuthorized, Some(text)),
            Event::Acknowledged(Err(why)) if why == "NotAuthorized: \"no\"")
        );
    }
}
