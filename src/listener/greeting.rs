//! Everything before CONNACK: CONNECT comes whole and in time, terms are agreed on, and the client proves who it is.
//!
//! All connections that are not past this share one budget of bytes, those of their CONNECT among them, and each has
//! one deadline for all of it. Nothing here opens a session.

use super::{
    arrival::{Arrival, Transport},
    door::Door,
    end::End,
    link::Link,
    link::ReadEnd,
};
use crate::{
    auth::{
        chain::{self, Credentials, Shown},
        exchange::{Breach, Dialogue, Turn},
        identity::Identity,
        rules::{Subject, Via},
    },
    mqtt::{Packet, auth::Auth, connect::Connect, topic::TopicName},
    session::{
        self,
        opening::{Opening, Refusal, negotiate},
    },
};
use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
};
use tokio::io::{AsyncRead, AsyncWrite};

/// A client that may have a session.
pub(super) struct Greeting {
    pub connect: Box<Connect>,
    pub opening: Opening,
    pub identity: Arc<Identity>,
    /// Its extended authentication, which it may repeat later.
    pub dialogue: Option<Box<Dialogue>>,
}

/// Why somebody gets no session.
pub(super) enum TurnedAway {
    /// What came was no CONNECT, or nothing came any more.
    By(End),
    /// The time was over.
    Late,
    /// A CONNECT that is answered with a refusal.
    Refused(Box<Connect>, Refusal),
}

impl From<End> for TurnedAway {
    fn from(end: End) -> Self {
        TurnedAway::By(end)
    }
}

/// One step before CONNACK that went wrong.
enum Unproven {
    By(End),
    Refused(Refusal),
}

impl From<End> for Unproven {
    fn from(end: End) -> Self {
        Unproven::By(end)
    }
}

impl From<Refusal> for Unproven {
    fn from(refusal: Refusal) -> Self {
        Unproven::Refused(refusal)
    }
}

impl Door {
    /// Hears a client out. To be given up when its time is over.
    pub(super) async fn greet<T: AsyncRead + AsyncWrite + Unpin>(
        &self,
        link: &mut Link<T>,
        arrival: &Arrival,
    ) -> Result<Box<Greeting>, TurnedAway> {
        let mut held = Held {
            total: &self.unauthenticated,
            bytes: 0,
        };
        let connect = loop {
            // a decoder that has not seen CONNECT yields nothing else before an error
            if let Packet::Connect(connect) = self.next_packet(link, &mut held, arrival).await? {
                break connect;
            }
        };
        let proven = match self.negotiate(&connect) {
            Ok(opening) => {
                self.prove(link, &mut held, &connect, opening, arrival)
                    .await
            }
            Err(refusal) => Err(refusal.into()),
        };
        match proven {
            Ok((opening, identity, dialogue)) => Ok(Box::new(Greeting {
                connect,
                opening,
                identity,
                dialogue,
            })),
            Err(Unproven::By(end)) => Err(TurnedAway::By(end)),
            Err(Unproven::Refused(refusal)) => Err(TurnedAway::Refused(connect, refusal)),
        }
    }

    fn negotiate(&self, connect: &Connect) -> Result<Opening, Refusal> {
        let (limits, config) = (self.broker.limits(), self.broker.config());
        let max_expiry = u32::try_from(config.max_expiry.as_secs()).unwrap_or(session::NEVER);
        let mut opening = negotiate(connect, limits, max_expiry, new_client_id)?;
        // [MQTT-3.1.2-28]
        if connect.properties.request_response_information {
            opening.connack.response_information =
                response_information(&self.response_information, &opening.client_id);
        }
        Ok(opening)
    }

    /// Who the client is; for a method of extended authentication after as many AUTH packets as that takes.
    async fn prove<T: AsyncRead + AsyncWrite + Unpin>(
        &self,
        link: &mut Link<T>,
        held: &mut Held<'_>,
        connect: &Connect,
        mut opening: Opening,
        arrival: &Arrival,
    ) -> Result<(Opening, Arc<Identity>, Option<Box<Dialogue>>), Unproven> {
        let Some(method) = &connect.properties.authentication_method else {
            let identity = self.identify(connect, &opening, arrival).await?;
            return Ok((opening, Arc::new(identity), None));
        };
        // [MQTT-4.12.0-1]
        let method = self
            .methods
            .find(method)
            .ok_or(Refusal::AuthenticationMethod)?;
        let ip = arrival.peer.ip();
        let admitted = self.chain.admit_exchange(ip);
        admitted.map_err(|_| Refusal::TooManyFailed)?;
        let mut shown = connect.properties.authentication_data.clone();
        let (mut dialogue, mut turn) = Dialogue::open(method, shown.clone());
        let (identity, data) = loop {
            match turn {
                Turn::Done { identity, data } => break (identity, data),
                Turn::Say(auth) => {
                    let answer = self.ask(link, held, &opening, arrival, auth).await?;
                    shown = answer.data.clone();
                    turn = dialogue.hear(answer).map_err(refusal_of)?;
                }
                Turn::Later => turn = poll_fn(|cx| dialogue.poll_later(cx)).await,
                // [MQTT-4.12.0-4]
                Turn::Refused(why) => {
                    self.chain.note_exchange(ip, shown.as_deref(), false);
                    return Err(not_authenticated(&opening, arrival, &dialogue, &why));
                }
                Turn::Expired(why) => {
                    return Err(not_authenticated(&opening, arrival, &dialogue, &why));
                }
            }
        };
        self.chain.note_exchange(ip, None, true);
        let subject = subject_of(&opening, arrival);
        let identity = identity
            .come_in_as(&subject)
            .ok_or(Refusal::NotAuthenticated)?;
        let identity = self.chain.with_quota(identity, arrival.peer.ip());
        let identity = Arc::new(match connect.bridge {
            true => identity.as_bridge(),
            false => identity,
        });
        // [MQTT-4.12.0-5]
        opening.connack.authentication_method = Some(dialogue.method().into());
        opening.connack.authentication_data = data;
        Ok((opening, identity, Some(Box::new(dialogue))))
    }

    /// By what stands in CONNECT itself.
    async fn identify(
        &self,
        connect: &Connect,
        opening: &Opening,
        arrival: &Arrival,
    ) -> Result<Identity, Refusal> {
        let credentials = match (&connect.username, &connect.password) {
            (None, None) => Credentials::Nothing,
            (Some(user), password) => Credentials::Password {
                user,
                password: password.as_deref().unwrap_or_default(),
            },
            // 5.0 only: a password alone is a token
            (None, Some(token)) => match std::str::from_utf8(token) {
                Ok(token) => Credentials::Token(token),
                Err(_) => return Err(Refusal::BadCredentials),
            },
        };
        let subject = subject_of(opening, arrival);
        let shown = Shown {
            credentials,
            certificate: arrival.certificate.as_ref(),
            ip: arrival.peer.ip(),
        };
        let proven = self.chain.prove(shown, subject).await;
        let identity = proven.map_err(|unproven| {
            tracing::debug!(client = &*opening.client_id, why = %unproven, "not authenticated");
            match unproven {
                chain::Unproven::Needed => Refusal::CredentialsNeeded,
                chain::Unproven::Wrong(_) | chain::Unproven::Expired(_) => Refusal::BadCredentials,
                chain::Unproven::Busy => Refusal::Busy,
                chain::Unproven::TooManyFailed { .. } => Refusal::TooManyFailed,
            }
        })?;
        Ok(match connect.bridge {
            true => identity.as_bridge(),
            false => identity,
        })
    }

    /// Sends an AUTH and waits for the client's.
    async fn ask<T: AsyncRead + AsyncWrite + Unpin>(
        &self,
        link: &mut Link<T>,
        held: &mut Held<'_>,
        opening: &Opening,
        arrival: &Arrival,
        auth: Auth,
    ) -> Result<Auth, Unproven> {
        if !session::send(Packet::Auth(Box::new(auth)), &opening.terms, &mut link.out) {
            return Err(Refusal::AnswerTooLarge.into());
        }
        link.decoder.admit_one();
        match self.next_packet(link, held, arrival).await? {
            Packet::Auth(auth) => Ok(*auth),
            // [MQTT-3.1.2-30]
            Packet::Disconnect(_) => Err(End::Goodbye.into()),
            _ => Err(Refusal::BeforeAnswer.into()),
        }
    }

    /// The next packet that the decoder lets through; meanwhile what waits is written.
    async fn next_packet<T: AsyncRead + AsyncWrite + Unpin>(
        &self,
        link: &mut Link<T>,
        held: &mut Held<'_>,
        arrival: &Arrival,
    ) -> Result<Packet, End> {
        link.decoder.feed(&[], &mut link.packets)?;
        let most = self.broker.limits().unauthenticated;
        let mut has_room = |link: &Link<T>| {
            let waiting = arrival.waiting.load(Ordering::Relaxed);
            held.set(link.decoder.unaccepted() + waiting) <= most
        };
        loop {
            if !has_room(link) {
                return Err(End::NoRoom);
            }
            if let Some(packet) = link.packets.pop() {
                return Ok(packet);
            }
            let read = poll_fn(|cx| {
                let read = match link.poll_write(cx) {
                    Poll::Ready(Err(error)) => Poll::Ready(Err(ReadEnd::Io(error))),
                    _ => link.poll_read(cx),
                };
                match read {
                    // a WebSocket's frame that is not whole yet takes room, too
                    Poll::Pending if !has_room(link) => Poll::Ready(None),
                    read => read.map(Some),
                }
            });
            match read.await {
                Some(Ok(())) => {}
                None => return Err(End::NoRoom),
                Some(Err(ReadEnd::Closed)) => return Err(End::Closed),
                Some(Err(ReadEnd::Io(error))) => return Err(End::Io(error)),
                Some(Err(ReadEnd::Decode(error))) => return Err(End::Decode(error)),
            }
        }
    }
}

/// Who it is before it has shown anything.
fn subject_of(opening: &Opening, arrival: &Arrival) -> Subject {
    Subject {
        client_id: Some(opening.client_id.clone()),
        listener: arrival.listener.name(),
        via: match arrival.transport {
            Transport::WebSocket => Via::WebSocket,
            Transport::Tcp | Transport::Unix => Via::Mqtt,
        },
        ..Subject::default()
    }
}

fn not_authenticated(
    opening: &Opening,
    arrival: &Arrival,
    dialogue: &Dialogue,
    why: &str,
) -> Unproven {
    let peer = arrival.peer;
    tracing::debug!(client = &*opening.client_id, %peer, method = dialogue.method(), why, "not authenticated");
    Refusal::NotAuthenticated.into()
}

fn refusal_of(breach: Breach) -> Refusal {
    match breach {
        Breach::OtherMethod => Refusal::OtherMethod,
        Breach::OutOfTurn => Refusal::OutOfTurn,
    }
}

/// What a client is told to begin its response topics with: `%c` in the setting stands for its identifier. Nothing, if
/// the identifier cannot be a part of a topic.
fn response_information(setting: &str, client_id: &str) -> Option<Box<str>> {
    let text = setting.replace("%c", client_id);
    TopicName::check(&text).is_ok().then(|| text.into())
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

/// One connection's part of what all hold that have no CONNACK yet.
struct Held<'a> {
    total: &'a AtomicUsize,
    bytes: usize,
}

impl Held<'_> {
    /// It holds so many bytes now. All bytes held.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn response_information_is_for_one_client_and_a_topic() {
        let told = |setting, id| response_information(setting, id);
        assert_eq!(told("replies/%c/", "c1").as_deref(), Some("replies/c1/"));
        assert_eq!(told("replies", "c1").as_deref(), Some("replies"));
        assert_eq!(told("replies/%c/", "c/#"), None);
        assert_eq!(told("", "c1"), None);
    }
}
