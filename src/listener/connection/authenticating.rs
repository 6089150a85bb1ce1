//! The client proves itself anew behind CONNACK.

use super::Connection;
use crate::{
    auth::exchange::{Breach, Turn},
    listener::end::End,
    mqtt::{auth::Auth, reason::ReasonCode},
    session::violation::Violation,
};
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};

impl<T: AsyncRead + AsyncWrite + Unpin> Connection<T> {
    /// A step of an extended authentication behind CONNACK. Meanwhile all goes on under the old identity (4.12.1).
    pub(super) fn authenticate_again(&mut self, auth: Auth) -> Result<(), End> {
        // [MQTT-4.12.0-7]
        let dialogue = self.dialogue.as_mut().ok_or(Violation::AuthWithoutMethod)?;
        let turn = dialogue.hear(auth).map_err(|breach| match breach {
            Breach::OtherMethod => Violation::OtherMethod,
            Breach::OutOfTurn => Violation::AuthOutOfTurn,
        })?;
        self.take_turn(turn)
    }

    /// The gateway's turn in it.
    pub(super) fn take_turn(&mut self, turn: Turn) -> Result<(), End> {
        let dialogue = self.dialogue.as_mut().ok_or(Violation::AuthWithoutMethod)?;
        let answer = match turn {
            Turn::Say(auth) => auth,
            Turn::Later => return Ok(()),
            // the session belongs to the user it was opened by
            Turn::Done { identity, .. } if identity.user() != self.identity.user() => {
                return Err(End::NotAuthenticated);
            }
            Turn::Done { identity, data } => {
                let again = identity.come_in_as(self.identity.subject());
                let again = again.ok_or(End::NotAuthenticated)?;
                let identity = Arc::new(again.with_quota(self.identity.quota().cloned()));
                self.broker.flush(&mut self.publisher);
                self.publisher.act_as(identity.clone());
                if let Some(will) = &mut self.will {
                    will.identity = identity.clone();
                }
                let (session, outbox) = (&self.attached.session, &self.attached.outbox);
                self.broker
                    .read_as(session, outbox, &identity, self.will.is_some());
                self.identity = identity;
                dialogue.say(ReasonCode::Success, data)
            }
            Turn::Refused(why) | Turn::Expired(why) => {
                let client = self.attached.session.client_id();
                tracing::debug!(client = &**client, why, "not authenticated again");
                return Err(End::NotAuthenticated);
            }
        };
        let session = &mut self.attached.session;
        Ok(session.answer_auth(answer, &mut self.link.out)?)
    }
}
