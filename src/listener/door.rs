//! The door: from an accepted byte stream to a connection with a session, or to a refusal.
//!
//! [`super::greeting`] hears the client out; afterwards the driver in [`super::connection`] takes over. This file sees
//! no packet of either.

use super::{
    arrival::{Arrival, Peer},
    config::{Config, Referral},
    connection::Connection,
    end::End,
    entrance::NoEntry,
    greeting::{Greeting, TurnedAway},
    link::Link,
    refused::{self, Notes},
};
use crate::{
    auth::{
        chain::Chain,
        exchange::{Dialogue, Methods},
        identity::Identity,
        quota::{Held, Thing},
    },
    broker::{
        Broker,
        registry::{Attached, Ending, StoredWill},
    },
    metrics::{METRICS, Refusal as Kind},
    mqtt::{
        Packet, Version,
        connack::{ConnAck, UNSUPPORTED_VERSION},
        connect::Connect,
        error::DecodeError,
        property::Explanation,
    },
    session::{
        self,
        opening::{Opening, Refusal},
    },
};
use std::{
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, timeout, timeout_at},
};

/// How long a closing connection may take to accept its last bytes.
const FAREWELL: Duration = Duration::from_secs(2);

/// A client with a session.
pub(super) struct Admitted {
    pub(super) connect: Box<Connect>,
    pub(super) identity: Arc<Identity>,
    pub(super) dialogue: Option<Box<Dialogue>>,
    pub(super) attached: Attached,
    pub(super) will: Option<StoredWill>,
    /// Its place among those that its identity may have.
    pub(super) held: Option<Held>,
}

/// What every MQTT connection starts from, whatever carries its bytes.
pub struct Door {
    pub(super) broker: Broker,
    connect_timeout: Duration,
    /// Bytes held by all connections that have no CONNACK yet.
    pub(super) unauthenticated: AtomicUsize,
    pub(super) methods: Methods,
    pub(super) chain: Arc<Chain>,
    pub(super) response_information: String,
    referral: Option<Referral>,
    pub(super) notes: Arc<Notes>,
}

impl Door {
    /// A door to this broker, for clients that authenticate by one of `methods` or by what `chain` takes.
    pub fn new(
        broker: Broker,
        config: &Config,
        methods: Methods,
        chain: Arc<Chain>,
        notes: Arc<Notes>,
    ) -> Self {
        Door {
            broker,
            connect_timeout: config.connect_timeout,
            unauthenticated: AtomicUsize::new(0),
            methods,
            chain,
            response_information: config.response_information.clone(),
            referral: config.referral(),
            notes,
        }
    }

    /// When a connection that is accepted now has to have finished its CONNECT.
    pub fn deadline(&self) -> Instant {
        Instant::now() + self.connect_timeout
    }

    /// Serves one connection to its end. Its CONNECT has to be finished at `deadline`.
    ///
    /// The future holds little but its connection: beginning and end are boxed, since a future is as large as its largest
    /// part, for as long as it lives.
    pub fn serve<T>(
        self: Arc<Self>,
        stream: T,
        arrival: Arrival,
        deadline: Instant,
    ) -> impl Future<Output = ()>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let door = self.clone();
        let opening = Box::pin(async move { door.begin(stream, arrival, deadline).await });
        async move {
            if let Some(mut connection) = opening.await {
                let end = connection.drive().await;
                Box::pin(self.end(connection, end)).await;
            }
        }
    }

    async fn begin<T: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: T,
        arrival: Arrival,
        deadline: Instant,
    ) -> Option<Box<Connection<T>>> {
        let limits = self.broker.limits();
        let mut link = Link::new(stream, limits.connect);
        link.decoder.limit_user_properties(limits.user_properties);
        let peer = arrival.peer;
        match self.admit(&mut link, &arrival, deadline).await {
            Ok(admitted) => return Some(self.connection(link, *admitted, &arrival)),
            Err(TurnedAway::Refused(connect, refusal)) => {
                self.refuse(link, peer, &connect, refusal).await
            }
            // the transport may have a word of its own to say: over WebSocket, why it closes
            Err(TurnedAway::By(End::Goodbye | End::Closed | End::Io(_))) => {
                let _ = timeout(FAREWELL, link.finish()).await;
            }
            Err(TurnedAway::By(end)) => self.refuse_bytes(link, peer, end).await,
            Err(TurnedAway::Late) => self.note(Kind::Timeout, peer, "no CONNECT in time"),
        }
        None
    }

    fn connection<T: AsyncRead + AsyncWrite + Unpin>(
        &self,
        link: Link<T>,
        admitted: Admitted,
        arrival: &Arrival,
    ) -> Box<Connection<T>> {
        METRICS.client_connected();
        let (session, connect) = (&admitted.attached.session, &admitted.connect);
        let user = admitted.identity.user().map(|user| &**user);
        let peer = arrival.peer;
        tracing::info!(
            client = &**session.client_id(), %peer, listener = arrival.listener.name(),
            transport = arrival.transport.name(), version = connect.version.name(), user,
            keep_alive = session.terms().keep_alive, session_present = admitted.attached.present, "connected"
        );
        Box::new(Connection::new(link, self, peer, admitted))
    }

    async fn end<T: AsyncRead + AsyncWrite + Unpin>(
        &self,
        connection: Box<Connection<T>>,
        end: End,
    ) {
        METRICS.client_disconnected();
        if let Some(kind) = end.kind() {
            METRICS.refused(kind).inc();
        }
        let (client_id, peer) = (connection.client_id(), connection.peer());
        tracing::info!(client = &*client_id, %peer, reason = %end, "disconnected");
        let link = connection.close(&end, self.referral.as_ref());
        let _ = timeout(FAREWELL, link.finish()).await;
    }

    async fn admit<T: AsyncRead + AsyncWrite + Unpin>(
        &self,
        link: &mut Link<T>,
        arrival: &Arrival,
        deadline: Instant,
    ) -> Result<Box<Admitted>, TurnedAway> {
        let greeting = timeout_at(deadline, self.greet(link, arrival)).await;
        let Greeting {
            connect,
            opening,
            identity,
            dialogue,
        } = *greeting.map_err(|_| TurnedAway::Late)??;
        match self.open(link, &connect, opening, &identity).await {
            Ok((attached, will, held)) => Ok(Box::new(Admitted {
                connect,
                identity,
                dialogue,
                attached,
                will,
                held,
            })),
            Err(refusal) => Err(TurnedAway::Refused(connect, refusal)),
        }
    }

    /// Notes that a connection did not come as far as here.
    pub(super) fn note_no_entry(&self, no_entry: &NoEntry, peer: Peer) {
        if let Some(kind) = no_entry.kind() {
            self.note(kind, peer, no_entry);
        }
    }

    fn note(&self, kind: Kind, peer: Peer, why: impl std::fmt::Display) {
        self.notes.refused(kind, peer, why, self.broker.uptime());
    }

    async fn open<T: AsyncRead + AsyncWrite + Unpin>(
        &self,
        link: &mut Link<T>,
        connect: &Connect,
        mut opening: Opening,
        identity: &Arc<Identity>,
    ) -> Result<(Attached, Option<StoredWill>, Option<Held>), Refusal> {
        let mut will = match &connect.will {
            Some(will) if identity.may_publish(&will.topic, will.retain).is_err() => {
                return Err(Refusal::WillNotAuthorized);
            }
            will => will.as_ref().map(|will| StoredWill {
                will: (**will).clone(),
                identity: identity.clone(),
                number: 0,
            }),
        };
        if opening.connack.size(connect.version) > opening.terms.max_packet_out {
            return Err(Refusal::AnswerTooLarge);
        }
        let quota = identity.quota();
        let mut held = quota.and_then(|quota| quota.hold(Thing::Connection));
        if let Some(quota) = quota
            && held.is_none()
            && !self.broker.is_held_by(&opening.client_id, quota)
        {
            return Err(Refusal::TooManyConnections);
        }
        let (attached, mut durable_at) = self
            .broker
            .connect(&opening, connect.clean_start, identity)
            .await?;
        // the one that it took over has gone
        if let Some(quota) = quota {
            held.get_or_insert_with(|| quota.hold_instead(Thing::Connection));
        }
        if let Some(will) = &mut will {
            let client_id = attached.session.client_id();
            let owed_at = self.broker.owe_will(client_id, will);
            if attached.session.is_durable() {
                durable_at = durable_at.max(Some(owed_at));
            }
        }
        if let Some(durable_at) = durable_at
            && self.broker.durable(durable_at).await.is_err()
        {
            self.broker.detach(attached, None, Ending::Stopped);
            return Err(Refusal::StorageFailed);
        }
        // [MQTT-3.2.2-3]; on 3.1 the byte is reserved
        opening.connack.session_present = attached.present && connect.version != Version::V31;
        session::send(
            Packet::ConnAck(Box::new(opening.connack)),
            &opening.terms,
            &mut link.out,
        );
        link.decoder.accept(self.broker.limits().packet());
        Ok((attached, will, held))
    }

    /// Answers a CONNECT with a refusal.
    async fn refuse<T: AsyncRead + AsyncWrite + Unpin>(
        &self,
        mut link: Link<T>,
        peer: Peer,
        connect: &Connect,
        refusal: Refusal,
    ) {
        self.note(refused::kind_of_opening(refusal), peer, refusal);
        let mut connack = ConnAck::new(refusal.reason());
        if let Some(referral) = &self.referral
            && refusal == Refusal::ShuttingDown
        {
            connack.reason = referral.reason;
            connack.server_reference = Some(referral.server.clone());
        }
        let limit = connect.properties.maximum_packet_size;
        let limit = limit.map_or(usize::MAX, |limit| limit as usize);
        turn_away(&mut link, connect.version, limit, connack, &refusal);
        let _ = timeout(FAREWELL, link.finish()).await;
    }

    /// The last word to something that did not manage a CONNECT.
    async fn refuse_bytes<T: AsyncRead + AsyncWrite + Unpin>(
        &self,
        mut link: Link<T>,
        peer: Peer,
        end: End,
    ) {
        self.note(end.kind().unwrap_or(Kind::Busy), peer, &end);
        match end {
            // in the layout of 3.1.1, which every client can read [MQTT-3.1.2-2]
            End::Decode(DecodeError::UnsupportedVersion { .. }) => {
                link.out.put(&UNSUPPORTED_VERSION)
            }
            End::Decode(error) if link.decoder.version() == Some(Version::V5) => {
                let connack = ConnAck::new(error.reason());
                turn_away(&mut link, Version::V5, usize::MAX, connack, &error);
            }
            _ => {}
        }
        let _ = timeout(FAREWELL, link.finish()).await;
    }
}

/// Writes a refusing CONNACK, if the version has one for its reason: never a DISCONNECT [MQTT-3.14.0-1].
fn turn_away<T>(
    link: &mut Link<T>,
    version: Version,
    limit: usize,
    mut connack: ConnAck,
    why: &impl std::fmt::Display,
) {
    if !version.is_v5() && connack.reason.v3_return_code().is_none() {
        return;
    }
    connack.explanation = Some(Box::new(Explanation {
        reason_string: Some(why.to_string().into()),
        user: Vec::new(),
    }));
    if connack.size(version) > limit {
        connack.explanation = None; // [MQTT-3.2.2-19]
    }
    if connack.size(version) <= limit {
        connack.encode(version, link.out.tail());
    }
}
