//! A client's session as the client knows it, and what `Session Present` must therefore be.

use crate::{
    line::Line,
    support::wire::{self, Opening, Properties, Value, Version, property},
    world::World,
};

/// How long sessions are kept, in seconds: longer than any test.
const EXPIRY: u32 = 86_400;

/// Whether the gateway has the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// It does not: never begun, or ended for certain.
    Absent,
    /// It does: a CONNACK said so.
    Present,
    /// It was ended in this life of the gateway, and nothing acknowledged later proves that this is kept.
    Ended(u64),
    /// The answer to a CONNECT never came.
    Unknown,
}

pub struct Session {
    pub id: &'static str,
    pub version: Version,
    standing: Standing,
}

/// A connection and what it continues.
pub struct Connected {
    pub line: Line,
    /// The gateway has the session's state.
    pub present: bool,
    /// The client has no state of an earlier connection, or gave it up.
    pub anew: bool,
}

impl Session {
    pub fn new(id: &'static str, version: Version) -> Self {
        Self {
            id,
            version,
            standing: Standing::Absent,
        }
    }

    /// Connects to a lasting session and judges `Session Present`; nothing if the gateway was killed meanwhile.
    pub async fn connect(
        &mut self,
        world: &World,
        clean: bool,
        receive_maximum: u16,
    ) -> Option<Connected> {
        let mut opening = Opening::new(self.version, self.id);
        opening.clean = clean;
        if self.version == Version::V5 {
            opening = opening
                .session_expiry(EXPIRY)
                .property(property::RECEIVE_MAXIMUM, Value::Two(receive_maximum));
        }
        let before = self.standing;
        if before != Standing::Present || clean {
            self.standing = Standing::Unknown;
        }
        let Some((line, present)) = Line::open(world.mqtt, &opening).await else {
            world.must_have_ended(self.id).await;
            return None;
        };
        self.standing = Standing::Present;
        let expected = match before {
            _ if clean => Some(false),
            Standing::Absent => Some(false),
            Standing::Present => Some(true),
            Standing::Ended(life) => (life == world.life).then_some(false),
            Standing::Unknown => None,
        };
        if expected.is_some_and(|expected| expected != present) {
            world.findings.note(format_args!(
                "Session Present is {} for {}, whose session is {before:?}{}",
                u8::from(present),
                self.id,
                if clean { ", on a clean start" } else { "" }
            ));
        }
        Some(Connected {
            line,
            present,
            anew: clean || before != Standing::Present,
        })
    }

    /// Ends the session with the connection, as a 5.0 client can: DISCONNECT with an expiry of 0.
    pub async fn end(&mut self, world: &World, line: Line) {
        assert_eq!(self.version, Version::V5, "3.1.1 knows no such DISCONNECT");
        let expiry = Properties::default().with(property::SESSION_EXPIRY, Value::Four(0));
        self.standing = Standing::Ended(world.life);
        line.say_goodbye(&wire::disconnect_with(0, &expiry)).await;
    }

    /// Something acknowledged later is durable, and so is what came before it.
    pub fn seal(&mut self, world: &World) {
        if self.standing == Standing::Ended(world.life) {
            self.standing = Standing::Absent;
        }
    }

    pub async fn say_goodbye(&self, line: Line) {
        line.say_goodbye(&wire::disconnect(self.version, 0)).await;
    }
}
