//! What is said over a JSON WebSocket: one object per text frame, `op` first in every answer.
//!
//! Members that are not known are passed over, so that clients may be newer than the gateway.

use crate::{
    http::{
        draft::Written,
        envelope::{PAYLOAD_FORMS, PayloadForm},
        problem::{Kind, Problem},
        since::{RETAINED, Retained},
    },
    message::Position,
};
use serde::Deserialize;
use serde_json::{Map, Value, value::RawValue};
use std::{borrow::Cow, fmt::Write};

/// Longest `ref`, in bytes of JSON: it is kept as long as its answer is owed.
const REF_BYTES: usize = 64;

/// What a client calls its question by, as it wrote it: a number or a string.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ref(Option<Box<str>>);

/// What a client asks for.
#[derive(Debug)]
pub enum Op<'a> {
    /// Says who it is.
    Auth {
        /// What proves it.
        token: String,
    },
    /// Wants to hear.
    Sub(Wish),
    /// No longer wants to hear.
    Unsub {
        /// What the answer to `sub` called it.
        sub: u64,
    },
    /// Has something to say.
    Pub(Written<'a>),
    /// Wants to know whether anybody is there.
    Ping,
}

/// What a client wants to hear.
#[derive(Debug, PartialEq, Eq)]
pub struct Wish {
    /// Filters, at least one.
    pub topics: Vec<String>,
    /// Where to begin.
    pub since: Option<String>,
    /// Or so many messages back.
    pub last: Option<usize>,
    /// Whether retained messages come first.
    pub retained: Retained,
    /// How payloads are written.
    pub payload: PayloadForm,
}

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    op: Cow<'a, str>,
    #[serde(borrow, rename = "ref")]
    reference: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Auth {
    token: String,
}

#[derive(Deserialize)]
struct Sub {
    topics: Vec<String>,
    since: Option<String>,
    last: Option<usize>,
    retained: Option<String>,
    payload: Option<String>,
}

#[derive(Deserialize)]
struct Unsub {
    sub: u64,
}

/// Reads a frame: how to call the answer, and what is asked for or what is wrong with it.
pub fn read(text: &str) -> (Ref, Result<Op<'_>, Problem>) {
    // serde takes an array for a struct, too
    if !text.trim_ascii_start().starts_with('{') {
        let problem = Problem::new(Kind::BodyInvalid, "a frame is one JSON object");
        return (Ref::default(), Err(problem));
    }
    let head = match json::<Head>(text) {
        Ok(head) => head,
        Err(problem) => return (Ref::default(), Err(problem)),
    };
    match Ref::read(head.reference) {
        Ok(reference) => (reference, op(&head.op, text)),
        Err(problem) => (Ref::default(), Err(problem)),
    }
}

fn op<'a>(name: &str, text: &'a str) -> Result<Op<'a>, Problem> {
    Ok(match name {
        "auth" => {
            let Auth { token } = json(text)?;
            Op::Auth { token }
        }
        "sub" => Op::Sub(wish(json(text)?)?),
        "unsub" => {
            let Unsub { sub } = json(text)?;
            Op::Unsub { sub }
        }
        "pub" => Op::Pub(json(text)?),
        "ping" => Op::Ping,
        _ => {
            return Err(Problem::parameter(
                "op",
                "one of auth, sub, unsub, pub, ping",
            ));
        }
    })
}

fn wish(sub: Sub) -> Result<Wish, Problem> {
    let retained = match sub.retained.as_deref() {
        None => Retained::default(),
        Some(word) => match RETAINED.iter().find(|(name, _)| *name == word) {
            Some((_, retained)) => *retained,
            None => return Err(Problem::parameter("retained", "one of auto, always, never")),
        },
    };
    let payload = match sub.payload.as_deref() {
        None => PayloadForm::default(),
        Some(word) => match PAYLOAD_FORMS.iter().find(|(form, _)| *form == word) {
            Some((_, form)) => *form,
            None => return Err(Problem::parameter("payload", "one of auto, base64, none")),
        },
    };
    Ok(Wish {
        topics: sub.topics,
        since: sub.since,
        last: sub.last,
        retained,
        payload,
    })
}

fn json<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Problem> {
    serde_json::from_str(text).map_err(|error| Problem::new(Kind::BodyInvalid, error.to_string()))
}

impl Ref {
    fn read(raw: Option<&RawValue>) -> Result<Self, Problem> {
        let Some(text) = raw.map(RawValue::get) else {
            return Ok(Ref(None));
        };
        let is_plain = text.starts_with(|c: char| c == '"' || c == '-' || c.is_ascii_digit());
        match is_plain && text.len() <= REF_BYTES {
            true => Ok(Ref(Some(text.into()))),
            false => Err(Problem::parameter(
                "ref",
                format!("a number or a string, at most {REF_BYTES} bytes of JSON"),
            )),
        }
    }

    /// The beginning of an answer, up to where its own members begin.
    fn begin(&self, op: &str) -> String {
        let mut frame = format!(r#"{{"op":"{op}""#);
        if let Some(reference) = &self.0 {
            // writing to a String cannot fail
            let _ = write!(frame, r#","ref":{reference}"#);
        }
        frame
    }
}

/// It is done.
pub fn ok(to: &Ref) -> String {
    to.begin("ok") + "}"
}

/// From now on there is a subscription of this name.
pub fn subscribed(to: &Ref, sub: u64, cursor: Option<Position>) -> String {
    let mut frame = to.begin("ok");
    // writing to memory cannot fail
    let _ = match cursor {
        Some(cursor) => write!(frame, r#","sub":{sub},"cursor":"{cursor}"}}"#),
        None => write!(frame, r#","sub":{sub}}}"#),
    };
    frame
}

/// It is published: what a PUBACK means.
pub fn published(to: &Ref, cursor: Option<Position>) -> String {
    let mut frame = to.begin("ok");
    let _ = match cursor {
        Some(cursor) => write!(frame, r#","cursor":"{cursor}"}}"#),
        None => write!(frame, r#","cursor":null}}"#),
    };
    frame
}

/// It is not done. `client` leads to the log.
pub fn err(to: &Ref, problem: &Problem, client: &str) -> String {
    let body = problem.body(format!("/clients/{client}"));
    let mut frame = to.begin("err");
    // strings and numbers always have a JSON form
    let body = serde_json::to_string(&body).unwrap_or_default();
    let _ = write!(frame, r#","problem":{body}}}"#);
    frame
}

/// Somebody is there.
pub fn pong(to: &Ref) -> String {
    to.begin("pong") + "}"
}

/// The beginning of a message; behind it come the members of its envelope, and a brace.
pub fn message_head(sub: u64) -> String {
    format!(r#"{{"op":"msg","sub":{sub},"#)
}

/// `ready`, `gap` or `bye`.
pub fn control(op: &str, members: Map<String, Value>) -> String {
    let mut frame = Ref::default().begin(op);
    for (name, value) in members {
        let _ = write!(frame, ",{}:{value}", Value::String(name));
    }
    frame + "}"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Epoch;
    use serde_json::json;

    fn fault(text: &str) -> (String, String) {
        let (reference, op) = read(text);
        let problem = op.map(|op| panic!("{op:?}")).unwrap_err();
        let err = err(&reference, &problem, "ws-1");
        let frame: Value = serde_json::from_str(&err).unwrap();
        let reference = frame["ref"].to_string();
        (problem.kind().slug().to_owned(), reference)
    }

    #[test]
    fn every_operation_is_read() {
        let op = |text| read(text).1.unwrap();
        assert!(matches!(op(r#"{"op":"auth","token":"t"}"#), Op::Auth { token } if token == "t"));
        assert!(matches!(
            op(r#"{"op":"unsub","ref":2,"sub":7}"#),
            Op::Unsub { sub: 7 }
        ));
        assert!(matches!(
            op(r#" {"ref":5,"op":"ping","more":[{}]}"#),
            Op::Ping
        ));
        assert!(matches!(op(r#"{"op":"p\u0075b","topic":"a"}"#), Op::Pub(_)));
        let Op::Sub(wish) = op(
            r#"{"op":"sub","topics":["a/#","b"],"retained":"never","payload":"none","since":"now"}"#,
        ) else {
            panic!("not a subscription")
        };
        let wanted = Wish {
            topics: vec!["a/#".to_owned(), "b".to_owned()],
            since: Some("now".to_owned()),
            last: None,
            retained: Retained::Never,
            payload: PayloadForm::None,
        };
        assert_eq!(wish, wanted);
    }

    #[test]
    fn what_is_wrong_is_told_with_the_ref_where_there_is_one() {
        for (text, slug, reference) in [
            ("", "body-invalid", "null"),
            ("[\"ping\",1]", "body-invalid", "null"),
            ("{", "body-invalid", "null"),
            (r#"{"ref":1}"#, "body-invalid", "null"),
            (r#"{"op":"ping"} {}"#, "body-invalid", "null"),
            (r#"{"op":"ping","ref":{}}"#, "parameter-invalid", "null"),
            (r#"{"op":"dance","ref":"x"}"#, "parameter-invalid", "\"x\""),
            (r#"{"op":"sub","ref":-1.5}"#, "body-invalid", "-1.5"),
            (r#"{"op":"sub","ref":1,"topics":"a"}"#, "body-invalid", "1"),
            (
                r#"{"op":"sub","ref":1,"topics":["a"],"retained":"x"}"#,
                "parameter-invalid",
                "1",
            ),
            (
                r#"{"op":"sub","ref":1,"topics":["a"],"payload":"x"}"#,
                "parameter-invalid",
                "1",
            ),
            (r#"{"op":"unsub","ref":1}"#, "body-invalid", "1"),
            (r#"{"op":"auth","ref":1}"#, "body-invalid", "1"),
            (r#"{"op":"pub","ref":1}"#, "body-invalid", "1"),
        ] {
            assert_eq!(
                fault(text),
                (slug.to_owned(), reference.to_owned()),
                "{text}"
            );
        }
        let long = format!(r#"{{"op":"ping","ref":"{}"}}"#, "x".repeat(REF_BYTES));
        assert_eq!(fault(&long).0, "parameter-invalid");
    }

    #[test]
    fn answers_are_json_and_carry_the_ref_as_it_was_written() {
        let (reference, _) = read(r#"{"op":"ping","ref":"\u0041\""}"#);
        let position = Position {
            epoch: Epoch(*b"k7q2m9xa"),
            offset: 7,
        };
        let mut gap = Map::new();
        gap.insert("reason".to_owned(), "overflow".into());
        for (frame, wanted) in [
            (ok(&reference), json!({"op": "ok", "ref": "A\""})),
            (pong(&Ref::default()), json!({"op": "pong"})),
            (
                subscribed(&reference, 3, None),
                json!({"op": "ok", "ref": "A\"", "sub": 3}),
            ),
            (
                published(&Ref::default(), None),
                json!({"op": "ok", "cursor": null}),
            ),
            (
                published(&Ref::default(), Some(position)),
                json!({"op": "ok", "cursor": "k7q2m9xa-7"}),
            ),
            (
                control("gap", gap),
                json!({"op": "gap", "reason": "overflow"}),
            ),
        ] {
            assert_eq!(serde_json::from_str::<Value>(&frame).unwrap(), wanted);
        }
    }
}
