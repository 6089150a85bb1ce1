//! A connection comes: it gets a new session, the parked one, or the one that another connection must give up.

use super::{Attached, Beginning, Heir, Left, Slot};
use crate::{
    auth::identity::Identity,
    broker::{
        Broker,
        outbox::{Bounds, CloseReason, Kind, Outbox},
    },
    metrics::METRICS,
    routing::Subscriber,
    session::{
        Session,
        opening::{Opening, Refusal, Terms},
    },
    store::frame::Lsn,
};
use hashbrown::HashMap;
use std::{collections::VecDeque, sync::Arc};
use tokio::sync::oneshot;

impl Broker {
    /// Opens the session of an accepted CONNECT: a new one, the parked one, or the one another connection must give up.
    /// CONNACK is due when the store has come as far as the answer says.
    pub async fn connect(
        &self,
        opening: &Opening,
        clean_start: bool,
        identity: &Arc<Identity>,
    ) -> Result<(Attached, Option<Lsn>), Refusal> {
        if self.is_draining() {
            return Err(Refusal::ShuttingDown);
        }
        let registry = &self.0.registry;
        let number = registry.next_key();
        let terms = opening.terms.clone();
        let (mut due, mut clean_start) = (None, clean_start);
        let waiting = {
            let mut slots = registry.slots.lock();
            let is_kept_anew = clean_start || !slots.contains_key(&opening.client_id);
            if terms.session_expiry > 0 && is_kept_anew && !self.has_room() {
                return Err(Refusal::NoRoom);
            }
            if let Some(slot) = slots.get(&opening.client_id) {
                clean_start |= slot.is_left_to(identity)?;
            }
            match slots.remove(&opening.client_id) {
                None if slots.len() >= self.0.limits.sessions => {
                    return Err(Refusal::TooManySessions);
                }
                None => {
                    METRICS.sessions.inc();
                    let client_id = opening.client_id.clone();
                    Ok(self.fresh(&mut slots, client_id, terms, number, identity))
                }
                Some(Slot::Parked(mut parked)) => {
                    METRICS.sessions_parked.dec();
                    // the session's end makes the will due; a new connection within the delay suppresses it
                    // [MQTT-3.1.3-9]
                    let will = parked.left.will.take();
                    if let Some(will) = &will
                        && !clean_start
                    {
                        self.forget_will(&opening.client_id, will.number);
                    }
                    due = will.filter(|_| clean_start);
                    let left = parked.left;
                    Ok(self.succeed(&mut slots, left, clean_start, terms, number, identity))
                }
                Some(Slot::Online {
                    number: old,
                    outbox,
                    ..
                }) => {
                    let (hand_over, waiting) = oneshot::channel();
                    outbox.close(CloseReason::TakenOver);
                    // an heir that waited already is itself taken over: dropping its sender tells it
                    let heir = Some(Box::new(Heir {
                        number,
                        clean_start,
                        terms,
                        identity: identity.clone(),
                        hand_over,
                    }));
                    slots.insert(
                        opening.client_id.clone(),
                        Slot::Online {
                            number: old,
                            outbox,
                            heir,
                        },
                    );
                    Err(waiting)
                }
            }
        };
        if let Some(will) = due {
            self.publish_will(&opening.client_id, None, will);
        }
        let owed = registry.owed.lock().remove(&opening.client_id);
        match owed {
            // whoever had no session has the name no longer, but did not come back either
            Some(will) if will.identity.user() != identity.user() => {
                self.publish_will(&opening.client_id, None, will);
            }
            Some(will) => self.forget_will(&opening.client_id, will.number),
            None => {}
        }
        let (mut attached, beginning) = match waiting {
            Ok(begun) => begun,
            Err(waiting) => waiting.await.map_err(|_| Refusal::TakenOver)?,
        };
        self.watch_expiry(&attached.outbox);
        if attached.present {
            // whoever comes back may have less rights than when it left
            self.drop_denied(&attached.outbox);
            // reading takes its time, so not while all others wait for the registry
            self.load_stored(&mut attached.session, beginning.stored);
            self.forget_surplus(&mut attached.session);
        }
        if self.is_draining() {
            // it may have come in, or inherited, behind the back of whoever told all connections to end
            attached.outbox.close(CloseReason::ShuttingDown);
        }
        Ok((attached, beginning.durable_at))
    }

    /// A new session in an empty slot.
    fn fresh(
        &self,
        slots: &mut HashMap<Arc<str>, Slot>,
        client_id: Arc<str>,
        terms: Terms,
        number: u64,
        identity: &Arc<Identity>,
    ) -> (Attached, Beginning) {
        let head = self.0.store.head();
        let bounds = Bounds {
            messages: self.0.config.max_queued_messages,
            bytes: self.0.config.max_queued_bytes,
        };
        let durable = terms.session_expiry > 0;
        let durable_at =
            durable.then(|| self.keep_new(&client_id, identity, terms.session_expiry, head));
        let outbox = Arc::new(Outbox::new(
            self.0.registry.next_key(),
            Kind::Session,
            bounds,
            durable,
            head,
            identity.clone(),
        ));
        slots.insert(
            client_id.clone(),
            Slot::Online {
                number,
                outbox: outbox.clone(),
                heir: None,
            },
        );
        let attached = Attached {
            session: Session::new(client_id, terms, head),
            outbox,
            present: false,
            replays: VecDeque::new(),
            number,
        };
        let beginning = Beginning {
            durable_at,
            ..Beginning::default()
        };
        (attached, beginning)
    }

    /// What becomes of existing state when a connection comes: resumed [MQTT-3.1.2-5] or thrown away [MQTT-3.1.2-4].
    pub(super) fn succeed(
        &self,
        slots: &mut HashMap<Arc<str>, Slot>,
        left: Left,
        clean_start: bool,
        terms: Terms,
        number: u64,
        identity: &Arc<Identity>,
    ) -> (Attached, Beginning) {
        let Left {
            mut session,
            outbox,
            mut replays,
            stored,
            ..
        } = left;
        let client_id = session.client_id().clone();
        if clean_start {
            // its groups first: what they are written to hold behind the end is given again after a restart
            self.end_stored(&stored);
            let ended_at = self.end(&mut session, &outbox);
            METRICS.sessions.inc();
            let (fresh, mut beginning) = self.fresh(slots, client_id, terms, number, identity);
            beginning.durable_at = beginning.durable_at.or(ended_at);
            return (fresh, beginning);
        }
        let before = session.expiry();
        session.resume(terms);
        outbox.read_as(identity.clone());
        outbox.go_online();
        self.presence_changed(&session);
        // the session, and what it confirmed, may have been written a moment ago
        let written = self.everything_durable();
        let noted = outbox.is_durable().then(|| {
            self.keep_way(session.client_id(), identity);
            self.keep_presence(&session, None)
        });
        let durable_at = match session.is_sending_qos_2() {
            // what is repeated behind CONNACK, a PUBLISH or a PUBREL, may have been noted a moment ago
            true => noted.map(|_| self.everything_durable()),
            false => noted.map(|noted| match session.expiry() == before {
                true => written,
                false => noted,
            }),
        };
        let head = self.head();
        replays.iter_mut().for_each(|replay| replay.resume(head));
        slots.insert(
            client_id,
            Slot::Online {
                number,
                outbox: outbox.clone(),
                heir: None,
            },
        );
        let attached = Attached {
            session,
            outbox,
            present: true,
            replays,
            number,
        };
        (attached, Beginning { durable_at, stored })
    }
}

impl Slot {
    /// A client identifier belongs to the user who opened its session. What was opened anonymously, and has no
    /// connection, stands in nobody's way, but nobody inherits it either: true then.
    fn is_left_to(&self, identity: &Identity) -> Result<bool, Refusal> {
        let (owner, is_parked) = match self {
            Slot::Online { outbox, .. } => (outbox.reader(), false),
            Slot::Parked(parked) => (parked.left.outbox.reader(), true),
        };
        match (owner.user(), identity.user()) {
            (owner, user) if owner == user => Ok(false),
            (None, Some(_)) if is_parked => Ok(true),
            _ => Err(Refusal::ClientIdOfAnother),
        }
    }
}
