//! Extended authentication (section 4.12 of MQTT 5): methods that need more than what fits into CONNECT.
//!
//! A method is a pure state machine per exchange: data of the client in, a [`Step`] out. It reads no clock and waits
//! for nothing: what it has to have first it names, and is asked again when that is there. What it is asked when, and what
//! a client may say in between, is decided here and once for all methods.

use super::identity::Identity;
use crate::mqtt::{auth::Auth, reason::ReasonCode};
use bytes::Bytes;
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

/// A way to prove who one is, under the name that clients give as Authentication Method.
pub trait Method: Send + Sync {
    /// The name, compared byte by byte.
    fn name(&self) -> &str;

    /// A new exchange; its first step gets the data of the CONNECT, or of the AUTH that asks to authenticate again.
    fn begin(&self) -> Box<dyn Exchange>;
}

/// One run of a method.
pub trait Exchange: Send {
    /// Takes what the client said last; the same once more when [`Step::Later`] has come.
    fn step(&mut self, data: Option<Bytes>) -> Step;
}

/// What comes next in an exchange.
pub enum Step {
    /// The client is to answer this.
    Continue(Option<Bytes>),
    /// The client is who it says it is.
    Done {
        /// Who that is.
        identity: Arc<Identity>,
        /// The method's last word to it.
        data: Option<Bytes>,
    },
    /// It is not. The reason is for the log; the client is only told that it is not authorized.
    Refused(String),
    /// It was, until a moment that is over: as above, but no guess.
    Expired(String),
    /// It cannot be told before this.
    Later(Awaited),
}

/// What a step has to have first.
pub type Awaited = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The methods that clients may name; none, unless some are offered.
#[derive(Clone, Default)]
pub struct Methods(Vec<Arc<dyn Method>>);

impl Methods {
    /// Offers one more; of two with the same name the first one is asked.
    pub fn offer(&mut self, method: Arc<dyn Method>) {
        self.0.push(method);
    }

    /// The method of this name.
    pub fn find(&self, name: &str) -> Option<Arc<dyn Method>> {
        self.0.iter().find(|method| method.name() == name).cloned()
    }
}

/// One connection's extended authentication, from its CONNECT to its end.
pub struct Dialogue {
    method: Arc<dyn Method>,
    /// Under way, and the client's turn.
    exchange: Option<Box<dyn Exchange>>,
    /// Under way, and nobody's turn.
    later: Option<Box<Later>>,
}

/// A step that is to be taken again.
struct Later {
    awaited: Awaited,
    exchange: Box<dyn Exchange>,
    data: Option<Bytes>,
}

/// What the gateway does in its turn.
pub enum Turn {
    /// It sends this and goes on listening [MQTT-4.12.0-2].
    Say(Auth),
    /// The exchange is over; see [`Step::Done`].
    Done {
        /// Who the client is.
        identity: Arc<Identity>,
        /// The method's last word.
        data: Option<Bytes>,
    },
    /// As [`Step::Refused`].
    Refused(String),
    /// As [`Step::Expired`].
    Expired(String),
    /// It has no turn before [`Dialogue::poll_later`] brings one.
    Later,
}

/// What a client may not say in an exchange, although it is well formed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Breach {
    /// [MQTT-4.12.0-5], [MQTT-4.12.1-1]
    OtherMethod,
    /// An answer that nobody asked for, or a new beginning in the middle [MQTT-4.12.0-3].
    OutOfTurn,
}

impl Dialogue {
    /// Begins with the data of a CONNECT that names `method`.
    pub fn open(method: Arc<dyn Method>, data: Option<Bytes>) -> (Self, Turn) {
        let mut dialogue = Dialogue {
            method,
            exchange: None,
            later: None,
        };
        let exchange = dialogue.method.begin();
        let turn = dialogue.step(exchange, data);
        (dialogue, turn)
    }

    /// Takes an AUTH of the client: a part of the exchange that is under way, or the wish for a new one.
    pub fn hear(&mut self, auth: Auth) -> Result<Turn, Breach> {
        if auth.method.as_deref() != Some(self.method.name()) {
            return Err(Breach::OtherMethod);
        }
        if self.later.is_some() {
            return Err(Breach::OutOfTurn);
        }
        let exchange = match (auth.reason, self.exchange.take()) {
            (ReasonCode::ContinueAuthentication, Some(exchange)) => exchange,
            (ReasonCode::ReAuthenticate, None) => self.method.begin(),
            _ => return Err(Breach::OutOfTurn),
        };
        Ok(self.step(exchange, auth.data))
    }

    /// The turn that [`Turn::Later`] told of; never ready without that.
    pub fn poll_later(&mut self, cx: &mut Context<'_>) -> Poll<Turn> {
        let Some(later) = &mut self.later else {
            return Poll::Pending;
        };
        ready!(later.awaited.as_mut().poll(cx));
        match self.later.take() {
            Some(later) => Poll::Ready(self.step(later.exchange, later.data)),
            None => Poll::Pending,
        }
    }

    /// The method's name, as every AUTH and a successful CONNACK repeat it [MQTT-4.12.0-5].
    pub fn method(&self) -> &str {
        self.method.name()
    }

    /// An AUTH of the gateway.
    pub fn say(&self, reason: ReasonCode, data: Option<Bytes>) -> Auth {
        Auth {
            reason,
            method: Some(self.method().into()),
            data,
            explanation: None,
        }
    }

    fn step(&mut self, mut exchange: Box<dyn Exchange>, data: Option<Bytes>) -> Turn {
        match exchange.step(data.clone()) {
            Step::Continue(data) => {
                self.exchange = Some(exchange);
                Turn::Say(self.say(ReasonCode::ContinueAuthentication, data))
            }
            Step::Done { identity, data } => Turn::Done { identity, data },
            Step::Refused(why) => Turn::Refused(why),
            Step::Expired(why) => Turn::Expired(why),
            Step::Later(awaited) => {
                self.later = Some(Box::new(Later {
                    awaited,
                    exchange,
                    data,
                }));
                Turn::Later
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Wants to hear "1", then "2".
    struct Counting;

    struct Heard(u8);

    impl Method for Counting {
        fn name(&self) -> &str {
            "counting"
        }

        fn begin(&self) -> Box<dyn Exchange> {
            Box::new(Heard(b'0'))
        }
    }

    impl Exchange for Heard {
        fn step(&mut self, data: Option<Bytes>) -> Step {
            self.0 += 1;
            match data.as_deref() {
                Some([digit]) if *digit != self.0 => Step::Refused("it cannot count".to_owned()),
                Some(b"2") => Step::Done {
                    identity: Identity::anonymous(),
                    data: None,
                },
                _ => Step::Continue(Some(vec![self.0].into())),
            }
        }
    }

    fn auth(reason: ReasonCode, method: &str, data: &'static str) -> Auth {
        Auth {
            reason,
            method: Some(method.into()),
            data: Some(data.into()),
            explanation: None,
        }
    }

    fn dialogue() -> Dialogue {
        let mut methods = Methods::default();
        methods.offer(Arc::new(Counting));
        let method = methods.find("counting").unwrap();
        let (dialogue, turn) = Dialogue::open(method, Some("1".into()));
        let Turn::Say(first) = turn else {
            panic!("one digit is not all")
        };
        assert_eq!(
            first,
            auth(ReasonCode::ContinueAuthentication, "counting", "1")
        );
        dialogue
    }

    #[test]
    fn mqtt_4_12_0_5_another_method_is_a_breach_at_any_time() {
        use ReasonCode::*;
        let mut dialogue = dialogue();
        for reason in [ContinueAuthentication, ReAuthenticate] {
            let heard = dialogue.hear(auth(reason, "Counting", "2"));
            assert_eq!(heard.err(), Some(Breach::OtherMethod));
        }
    }

    #[test]
    fn mqtt_4_12_1_1_only_what_is_finished_begins_again() {
        use ReasonCode::*;
        let mut early = dialogue();
        let heard = early.hear(auth(ReAuthenticate, "counting", "1"));
        assert_eq!(heard.err(), Some(Breach::OutOfTurn));
        let mut dialogue = dialogue();
        let done = dialogue.hear(auth(ContinueAuthentication, "counting", "2"));
        assert!(matches!(done, Ok(Turn::Done { .. })));
        let again = dialogue.hear(auth(ReAuthenticate, "counting", "1"));
        assert!(matches!(again, Ok(Turn::Say(_))));
        let wrong = dialogue.hear(auth(ContinueAuthentication, "counting", "3"));
        assert!(matches!(wrong, Ok(Turn::Refused(_))));
        let late = dialogue.hear(auth(ContinueAuthentication, "counting", "2"));
        assert_eq!(late.err(), Some(Breach::OutOfTurn));
    }

    /// Knows at its second look.
    struct Slow;

    struct Looked(bool);

    impl Method for Slow {
        fn name(&self) -> &str {
            "slow"
        }

        fn begin(&self) -> Box<dyn Exchange> {
            Box::new(Looked(false))
        }
    }

    impl Exchange for Looked {
        fn step(&mut self, data: Option<Bytes>) -> Step {
            assert_eq!(data.as_deref(), Some(&b"1"[..]), "the same again");
            match std::mem::replace(&mut self.0, true) {
                false => Step::Later(Box::pin(async {})),
                true => Step::Done {
                    identity: Identity::anonymous(),
                    data: None,
                },
            }
        }
    }

    #[test]
    fn a_step_that_needs_something_first_is_taken_again_and_the_client_has_no_turn_meanwhile() {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let (mut dialogue, turn) = Dialogue::open(Arc::new(Slow), Some("1".into()));
        assert!(matches!(turn, Turn::Later));
        for reason in [
            ReasonCode::ContinueAuthentication,
            ReasonCode::ReAuthenticate,
        ] {
            let heard = dialogue.hear(auth(reason, "slow", "2"));
            assert_eq!(heard.err(), Some(Breach::OutOfTurn));
        }
        let turn = dialogue.poll_later(&mut cx);
        assert!(matches!(turn, Poll::Ready(Turn::Done { .. })));
        assert!(dialogue.poll_later(&mut cx).is_pending(), "it is done");
    }

    #[test]
    fn mqtt_4_12_0_1_no_method_is_offered_unless_somebody_does() {
        assert!(Methods::default().find("counting").is_none());
        assert!(Methods::default().find("").is_none());
    }
}
