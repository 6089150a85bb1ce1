//! A message as streams write it: made once, with its place in the log, and shared by all of them.
//!
//! For most readers that is the whole event, one copy of bytes and nothing to format. It is held once, as an event of
//! SSE: NDJSON and the WebSocket take the members out of it. Only what really differs is a reader's own: which of its
//! filters match, what is left of an expiry, and that a message is a retained one.

use super::envelope::{self, Copy, PayloadForm};
use crate::message::{Message, Position, Rendering};
use bytes::{BufMut, Bytes};
use std::{io::Write, ops::Range};

const DATA: &[u8] = b"data: {";
const END: &[u8] = b"}\n\n";

/// One reader's copy of a message.
#[derive(Debug)]
pub struct Rendered<'a> {
    message: &'a Message,
    copy: Copy<'a>,
    rendering: &'a Rendering,
    /// Whether it came as it comes to everyone, so that also its place is shared.
    is_usual: bool,
}

impl<'a> Rendered<'a> {
    /// `message` in the `form` that a reader asked for. `position` is the same for every reader, the place in `copy`
    /// need not be.
    pub fn new(
        message: &'a Message,
        form: PayloadForm,
        position: Option<Position>,
        copy: Copy<'a>,
    ) -> Self {
        let form = match form {
            // the usual rendering is base64 as well
            PayloadForm::Base64 if std::str::from_utf8(&message.payload).is_err() => {
                PayloadForm::Auto
            }
            form => form,
        };
        let rendering = message.web(form as u8, |message| render(message, form, position));
        Rendered {
            message,
            copy,
            rendering,
            is_usual: !copy.snapshot && copy.position == rendering.position,
        }
    }

    /// Whether nothing in it is the reader's own.
    fn is_whole(&self) -> bool {
        self.is_usual && self.copy.matched.is_none() && self.message.expires.is_none()
    }

    /// Writes an event of SSE. Only one with an id moves what a browser remembers: what is retained was written
    /// before the stream began.
    pub fn write_event(&self, out: &mut impl Sink) {
        let event = &self.rendering.event;
        if self.is_whole() {
            return out.append(event, 0..event.len());
        }
        if self.is_usual {
            out.append(event, 0..event.len() - END.len());
        } else {
            if !self.copy.snapshot {
                write_id(out.buffer(), self.copy.position);
            }
            out.buffer().put_slice(DATA);
            out.append(event, self.rendering.members.clone());
        }
        self.write_own(out.buffer());
        out.buffer().put_slice(END);
    }

    /// Writes the members, without braces.
    pub fn write_members(&self, out: &mut impl Sink) {
        out.append(&self.rendering.event, self.shared());
        self.write_own(out.buffer());
    }

    /// Which bytes of the event are members that this copy shares with others.
    fn shared(&self) -> Range<usize> {
        let Range { start, end } = self.rendering.members;
        match self.is_usual {
            true => start..self.rendering.event.len() - END.len(),
            false => start..end,
        }
    }

    fn write_own(&self, out: &mut Vec<u8>) {
        envelope::write_expiry(out, self.message, self.copy.now);
        if !self.is_usual {
            envelope::write_place(out, self.copy.snapshot, self.copy.position);
        }
        envelope::write_matched(out, self.copy.matched);
    }
}

/// Where bytes go, copied or shared.
pub trait Sink {
    /// Where a reader's own bytes are appended.
    fn buffer(&mut self) -> &mut Vec<u8>;
    /// Appends a `part` of bytes that others send, too.
    fn append(&mut self, whole: &Bytes, part: Range<usize>);
}

fn render(message: &Message, form: PayloadForm, position: Option<Position>) -> Rendering {
    let mut event = Vec::with_capacity(envelope::room(message));
    write_id(&mut event, position);
    event.put_slice(DATA);
    let start = event.len();
    envelope::write_shared(&mut event, message, form);
    let end = event.len();
    envelope::write_place(&mut event, false, position);
    event.put_slice(END);
    // kept as long as the message: no byte more than it takes
    let event = event.into_boxed_slice().into();
    Rendering::new(form as u8, position, event, start..end)
}

fn write_id(out: &mut Vec<u8>, id: Option<Position>) {
    if let Some(id) = id {
        // writing to memory cannot fail
        let _ = writeln!(out, "id: {id}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        http::stream::Outgoing,
        message::{Epoch, Millis},
        mqtt::{Qos, property::MessageProperties, topic::TopicName},
    };

    const NOW: Millis = Millis(1_795_363_500_123);

    fn message(payload: &[u8], expiry: Option<u32>) -> Message {
        let properties = MessageProperties {
            message_expiry: expiry,
            ..Default::default()
        };
        Message::new(
            TopicName::parse("a").unwrap(),
            payload.to_vec().into(),
            Qos::AtLeastOnce,
            false,
            Some(Box::new(properties)),
            None,
            NOW,
        )
    }

    fn at(offset: u64) -> Option<Position> {
        let epoch = Epoch(*b"k7q2m9xa");
        Some(Position { epoch, offset })
    }

    fn usual() -> Copy<'static> {
        Copy {
            snapshot: false,
            position: at(7),
            matched: None,
            now: NOW,
        }
    }

    fn event(message: &Message, form: PayloadForm, copy: Copy<'_>) -> String {
        let mut out = Outgoing::default();
        Rendered::new(message, form, at(7), copy).write_event(&mut out);
        String::from_utf8(out.take().to_vec()).unwrap()
    }

    fn members(message: &Message, copy: Copy<'_>) -> String {
        let mut out = Outgoing::default();
        Rendered::new(message, PayloadForm::Auto, at(7), copy).write_members(&mut out);
        String::from_utf8(out.take().to_vec()).unwrap()
    }

    #[test]
    fn the_usual_event_is_made_once_for_all() {
        let message = message(b"x", None);
        let rendering = |form| Rendered::new(&message, form, at(7), usual()).rendering;
        let first = rendering(PayloadForm::Auto);
        for form in [PayloadForm::Base64, PayloadForm::None, PayloadForm::Auto] {
            let once = rendering(form);
            assert_eq!(once.event.as_ptr(), rendering(form).event.as_ptr());
        }
        assert_eq!(
            first.event.as_ptr(),
            rendering(PayloadForm::Auto).event.as_ptr()
        );
        let binary = self::message(b"\xff", None);
        let of = |form| Rendered::new(&binary, form, at(7), usual()).rendering;
        let [auto, base64] = [PayloadForm::Auto, PayloadForm::Base64].map(of);
        assert_eq!(auto.event.as_ptr(), base64.event.as_ptr());
    }

    #[test]
    fn a_copy_that_differs_says_the_same_as_one_of_its_own() {
        let copies = [
            usual(),
            Copy {
                matched: Some(&[1, 3]),
                ..usual()
            },
            Copy {
                snapshot: true,
                ..usual()
            },
            // assigned by a share group: it has no place of the reader's own
            Copy {
                position: None,
                ..usual()
            },
        ];
        for expiry in [None, Some(60)] {
            let message = message(b"x", expiry);
            for copy in copies {
                let json =
                    |text: &str| -> serde_json::Value { serde_json::from_str(text).unwrap() };
                let alone = envelope::object(&message, PayloadForm::Auto, copy);
                let alone = json(std::str::from_utf8(&alone).unwrap());
                let event = event(&message, PayloadForm::Auto, copy);
                let has_id = copy.position.is_some() && !copy.snapshot;
                let data = match has_id {
                    true => event.strip_prefix("id: k7q2m9xa-7\n").unwrap(),
                    false => &event,
                };
                let data = data.strip_prefix("data: ").unwrap();
                assert_eq!(json(data.strip_suffix("\n\n").unwrap()), alone, "{copy:?}");
                let members = members(&message, copy);
                assert_eq!(json(&format!("{{{members}}}")), alone, "{copy:?}");
            }
        }
    }

    #[test]
    fn an_event_is_an_id_one_line_of_data_and_an_empty_line() {
        let none = event(&message(b"x", None), PayloadForm::None, usual());
        assert_eq!(
            none,
            concat!(
                "id: k7q2m9xa-7\n",
                r#"data: {"topic":"a","encoding":"none","size":1,"qos":1,"retain":false,"#,
                r#""time":"2026-11-22T16:05:00.123Z","properties":{},"snapshot":false,"cursor":"k7q2m9xa-7"}"#,
                "\n\n"
            )
        );
    }
}
