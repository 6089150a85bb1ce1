//! The door: from an accepted byte stream to a connection with a session, or to a refusal.
//!
//! A CONNECT must come whole and in time, and all that are not whole yet share one budget. Afterwards the driver in
//! [`super::connection`] takes over; this file never sees another packet.

use super::{
    connection::Connection,
    end::End,
    link::{Link, ReadEnd},
    refused::{self, Notes},
};
use crate::{
    auth::identity::Identity,
    broker::{
        Broker,
        registry::{Attached, StoredWill},
    },
    metrics::{METRICS, Refusal as Kind},
    mqtt::{
        Packet, Version,
        connack::{ConnAck, UNSUPPORTED_VERSION},
        connect::Connect,
        error::DecodeError,
        property::Explanation,
        reason::ReasonCode,
    },
    session::{
        self,
        opening::{Refusal, negotiate},
    },
};
use std::{
    future::poll_fn,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};

/// How long a closing connection may take to accept its last bytes.
const FAREWELL: Duration = Duration::from_secs(2);

/// What every MQTT connection starts from, whatever carries its bytes.
pub struct Door {
    pub(super) broker: Broker,
    connect_timeout: Duration,
    /// Bytes held by all connections that have not finished their CONNECT.
    unauthenticated: AtomicUsize,
    pub(super) notes: Arc<Notes>,
}

impl Door {
    /// A door to this broker; a client's CONNECT must be complete within `connect_timeout`.
    pub fn new(broker: Broker, connect_timeout: Duration, notes: Arc<Notes>) -> Self {
        Door {
            broker,
            connect_timeout,
            unauthenticated: AtomicUsize::new(0),
            notes,
        }
    }

    /// Serves one connection to its end. `transport` names what carries it, for the log.
    pub async fn serve<T>(&self, stream: T, peer: SocketAddr, transport: &'static str)
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let mut link = Link::new(stream, self.broker.limits().connect);
        let connect = match timeout(self.connect_timeout, self.first_packet(&mut link)).await {
            Ok(Ok(connect)) => connect,
            // the transport may have a word of its own to say: over WebSocket, why it closes
            Ok(Err(End::Closed | End::Io(_))) => {
                let _ = timeout(FAREWELL, link.finish()).await;
                return;
            }
            Ok(Err(end)) => return self.refuse_bytes(link, peer, end).await,
            Err(_) => return self.note(Kind::Timeout, peer, "no CONNECT in time"),
        };
        match self.open(&mut link, &connect).await {
            Ok((identity, attached, will)) => {
                self.run(link, connect, identity, attached, will, peer, transport)
                    .await
            }
            Err(refusal) => {
                self.note(refused::kind_of_opening(refusal), peer, refusal);
                let most = connect.properties.maximum_packet_size;
                refuse(
                    &mut link,
                    connect.version,
                    most,
                    refusal.reason(),
                    &refusal.to_string(),
                );
                let _ = timeout(FAREWELL, link.finish()).await;
            }
        }
    }

    fn note(&self, kind: Kind, peer: SocketAddr, why: impl std::fmt::Display) {
        self.notes.refused(kind, peer, why, self.broker.uptime());
    }

    async fn first_packet<T: AsyncRead + AsyncWrite + Unpin>(
        &self,
        link: &mut Link<T>,
    ) -> Result<Box<Connect>, End> {
        let mut held = Held {
            total: &self.unauthenticated,
            bytes: 0,
        };
        loop {
            match poll_fn(|cx| link.poll_read(cx)).await {
                Ok(()) => {}
                Err(ReadEnd::Closed) => return Err(End::Closed),
                Err(ReadEnd::Io(error)) => return Err(End::Io(error)),
                // a decoder that has not seen CONNECT yields nothing before an error
                Err(ReadEnd::Decode(error)) => return Err(End::Decode(error)),
            }
            if held.set(link.decoder.buffered()) > self.broker.limits().unauthenticated {
                return Err(End::NotStored);
            }
            if let Some(Packet::Connect(connect)) = link.packets.pop() {
                return Ok(connect);
            }
        }
    }

    async fn open<T: AsyncRead + AsyncWrite + Unpin>(
        &self,
        link: &mut Link<T>,
        connect: &Connect,
    ) -> Result<(Arc<Identity>, Attached, Option<StoredWill>), Refusal> {
        let config = self.broker.config();
        let max_expiry = u32::try_from(config.max_expiry.as_secs()).unwrap_or(session::NEVER);
        let mut opening = negotiate(connect, self.broker.limits(), max_expiry, new_client_id)?;
        let identity = match connect.bridge {
            true => Identity::anonymous().as_bridge(),
            false => Identity::anonymous(),
        };
        let will = match &connect.will {
            Some(will) if identity.may_publish(&will.topic).is_err() => {
                return Err(Refusal::WillNotAuthorized);
            }
            will => will.as_ref().map(|will| StoredWill {
                will: (**will).clone(),
                identity: identity.clone(),
            }),
        };
        let attached = self.broker.connect(&opening, connect.clean_start).await?;
        // [MQTT-3.2.2-3]; on 3.1 the byte is reserved
        opening.connack.session_present = attached.present && connect.version != Version::V31;
        session::send(
            Packet::ConnAck(Box::new(opening.connack)),
            &opening.terms,
            &mut link.out,
        );
        link.decoder.accept(self.broker.limits().packet());
        Ok((identity, attached, will))
    }

    #[allow(clippy::too_many_arguments)] // everything the opening produced, once
    async fn run<T: AsyncRead + AsyncWrite + Unpin>(
        &self,
        link: Link<T>,
        connect: Box<Connect>,
        identity: Arc<Identity>,
        attached: Attached,
        will: Option<StoredWill>,
        peer: SocketAddr,
        transport: &'static str,
    ) {
        METRICS.client_connected();
        let client_id = attached.session.client_id().clone();
        tracing::info!(
            client = ?client_id, %peer, transport, version = connect.version.name(), user = ?connect.username,
            keep_alive = attached.session.terms().keep_alive, session_present = attached.present, "connected"
        );
        drop(connect);
        let mut connection = Connection::new(link, self, peer, identity, attached);
        let end = connection.drive().await;
        METRICS.client_disconnected();
        if let Some(kind) = end.kind() {
            METRICS.refused(kind).inc();
        }
        tracing::info!(client = ?client_id, %peer, reason = %end, "disconnected");
        let link = connection.close(&end, will);
        let _ = timeout(FAREWELL, link.finish()).await;
    }

    /// The last word to something that did not manage a CONNECT.
    async fn refuse_bytes<T: AsyncRead + AsyncWrite + Unpin>(
        &self,
        mut link: Link<T>,
        peer: SocketAddr,
        end: End,
    ) {
        self.note(end.kind().unwrap_or(Kind::Busy), peer, &end);
        match end {
            // in the layout of 3.1.1, which every client can read [MQTT-3.1.2-2]
            End::Decode(DecodeError::UnsupportedVersion { .. }) => {
                link.out.put(&UNSUPPORTED_VERSION)
            }
            End::Decode(error) if link.decoder.version() == Some(Version::V5) => {
                refuse(
                    &mut link,
                    Version::V5,
                    None, // nobody could read what it takes
                    error.reason(),
                    &error.to_string(),
                );
            }
            _ => {}
        }
        let _ = timeout(FAREWELL, link.finish()).await;
    }
}

/// Writes a refusing CONNACK, if the version has one for this reason and the client takes packets of its size.
fn refuse<T>(
    link: &mut Link<T>,
    version: Version,
    most: Option<u32>,
    reason: ReasonCode,
    why: &str,
) {
    if !version.is_v5() && reason.v3_return_code().is_none() {
        return;
    }
    let mut connack = ConnAck::new(reason);
    if version.is_v5() {
        connack.explanation = Some(Box::new(Explanation {
            reason_string: Some(why.into()),
            user: Vec::new(),
        }));
    }
    let most = most.map_or(usize::MAX, |most| most as usize);
    if connack.size(version) > most {
        connack.explanation = None; // [MQTT-3.2.2-19]
    }
    if connack.size(version) <= most {
        connack.encode(version, link.out.tail()); // [MQTT-3.1.2-24]
    }
}

fn new_client_id() -> String {
    let mut random = [0; 10];
    // without randomness no identifier would be unguessable, but it must still be unique
    if getrandom::fill(&mut random).is_err() {
        static FALLBACK: AtomicUsize = AtomicUsize::new(0);
        random[..8].copy_from_slice(&FALLBACK.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    }
    random
        .iter()
        .fold("auto-".to_owned(), |id, byte| id + &format!("{byte:02x}"))
}

/// One connection's part of what all unfinished CONNECTs hold.
struct Held<'a> {
    total: &'a AtomicUsize,
    bytes: usize,
}

impl Held<'_> {
    fn set(&mut self, bytes: usize) -> usize {
        let before = self.total.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.total.fetch_sub(self.bytes, Ordering::Relaxed);
        before - std::mem::replace(&mut self.bytes, bytes)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.total.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
