//! The WebSocket that a conversation is held over: reads frames, writes frames, keeps time, closes.
//!
//! It never holds more for a client than one message in pieces and a buffer: the next message is asked for when the
//! socket has taken the last one. That nothing at all moves is noticed underneath, where writes have a deadline.

use super::{
    conversation::Conversation,
    frames,
    goodbye::Goodbye,
    pulse::{Beat, Pace, Pulse},
    subscription::Said,
};
use crate::{auth::jwt::MAX_TOKEN, listener::listened::Listened};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use serde_json::Map;
use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::{Instant, Sleep, sleep_until, timeout},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error, Message,
        error::ProtocolError,
        protocol::{
            CloseFrame, Role, WebSocketConfig,
            frame::{
                Frame,
                coding::{CloseCode, Data, OpCode},
            },
        },
    },
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// What is read at a time, in bytes.
const READ_BUFFER: usize = 4 * 1024;

/// Bytes that a client may send before it has said who it is: a token, and what is around it.
const MOST_UNKNOWN: u64 = 2 * MAX_TOKEN as u64;
/// Small frames are gathered up to this many bytes before they are written.
const WRITE_BUFFER: usize = 16 * 1024;
/// Largest piece of a message that is written as one frame, in bytes.
const PIECE: usize = 64 * 1024;
/// Frames read, and frames written, before the other direction has its turn.
const TURN: usize = 64;
/// Turns before other tasks have theirs.
const TURNS: usize = 8;
/// How long a client may take to hear the goodbye.
const LINGER: Duration = Duration::from_secs(2);

/// How a conversation ends.
enum End {
    /// The client said goodbye, and was answered.
    Closed,
    /// The connection is broken.
    Gone,
    /// The gateway says goodbye.
    Goodbye(Goodbye),
}

/// Holds a conversation over an upgraded connection, to its end. Once `stopping`, it ends at a moment within `drain`.
pub async fn serve<T>(
    stream: T,
    conversation: Conversation,
    pace: Pace,
    max_message: usize,
    stopping: CancellationToken,
    drain: Duration,
) where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER)
        .max_message_size(Some(max_message))
        .max_frame_size(Some(max_message));
    let stream = Listened::new(stream);
    let socket = WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await;
    let now = Instant::now();
    let pulse = Pulse::new(pace, now);
    let mut driver = Driver {
        socket,
        conversation,
        timer: Box::pin(sleep_until(pulse.next())),
        pulse,
        introduction: now + pace.auth,
        stopping: Some(Box::pin(stopping.cancelled_owned())),
        drain,
        leave_at: None,
        pieces: VecDeque::new(),
        unflushed: false,
        blocked: false,
    };
    match poll_fn(|cx| driver.poll_end(cx)).await {
        End::Gone => {}
        End::Closed => driver.hang_up().await,
        End::Goodbye(goodbye) => driver.say_goodbye(goodbye).await,
    }
}

struct Driver<T> {
    socket: WebSocketStream<Listened<T>>,
    conversation: Conversation,
    pulse: Pulse,
    /// Until when the client must have said who it is.
    introduction: Instant,
    timer: Pin<Box<Sleep>>,
    /// `None` when it has been told.
    stopping: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    drain: Duration,
    leave_at: Option<Instant>,
    /// The rest of a large message.
    pieces: VecDeque<Frame>,
    /// Something was given to the socket that may not have been written.
    unflushed: bool,
    /// The client takes no more for now.
    blocked: bool,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Driver<T> {
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        for _ in 0..TURNS {
            if let Poll::Ready(end) = self.poll_time(cx) {
                return Poll::Ready(end);
            }
            self.conversation.go_on_authenticating(cx);
            match (self.poll_read(cx), self.poll_write(cx)) {
                (Poll::Ready(Err(end)), _) | (_, Poll::Ready(Err(end))) => return Poll::Ready(end),
                (Poll::Pending, Poll::Pending) => return Poll::Pending,
                _ => {}
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Ready when its time is over.
    fn poll_time(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        if let Some(stopping) = &mut self.stopping
            && stopping.as_mut().poll(cx).is_ready()
        {
            self.stopping = None;
            // at a moment of its own, so that not all clients return at once
            let share = f64::from(getrandom::u32().unwrap_or_default()) / f64::from(u32::MAX);
            self.leave_at = Some(Instant::now() + self.drain.mul_f64(share));
        }
        loop {
            let next = self.next_moment();
            if self.timer.deadline() != next {
                self.timer.as_mut().reset(next);
            }
            ready!(self.timer.as_mut().poll(cx));
            let now = Instant::now();
            if self.leave_at.is_some_and(|moment| moment <= now) {
                self.leave_at = None;
                self.conversation.leave(Goodbye::ShuttingDown);
            }
            if !self.conversation.is_known() && self.introduction <= now {
                return Poll::Ready(End::Goodbye(Goodbye::Unauthenticated));
            }
            self.conversation.go_on(now);
            self.conversation.end_if_over(now);
            let heeds = !self.blocked
                && self.pieces.is_empty()
                && self.conversation.has_room()
                && self.conversation.slowed_until().is_none();
            match self.pulse.beat(now, heeds) {
                None => {}
                Some(Beat::Dead) => return Poll::Ready(End::Goodbye(Goodbye::Silent)),
                Some(Beat::Ping) => {
                    self.conversation.idle();
                    if let Err(end) = self.send(Message::Ping(Bytes::new())) {
                        return Poll::Ready(end);
                    }
                }
            }
        }
    }

    fn next_moment(&self) -> Instant {
        let mut next = self.pulse.next();
        if !self.conversation.is_known() {
            next = next.min(self.introduction);
        }
        let others = [
            self.leave_at,
            self.conversation.slowed_until(),
            self.conversation.ends_at(),
        ];
        others.into_iter().flatten().fold(next, Instant::min)
    }

    /// Ready when something was heard.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        let before = self.socket.get_ref().bytes();
        let (mut heard, mut end) = (0, None);
        while heard < TURN && end.is_none() && self.conversation.takes_more(cx) {
            let Poll::Ready(message) = self.socket.poll_next_unpin(cx) else {
                break;
            };
            heard += 1;
            end = self.hear(message).err();
        }
        // a part of a message is a sign of life: no pong can come before the rest of it
        if heard > 0 || self.socket.get_ref().bytes() > before {
            self.pulse.heard(Instant::now());
        }
        if !self.conversation.is_known() && self.socket.get_ref().bytes() > MOST_UNKNOWN {
            return Poll::Ready(Err(End::Goodbye(Goodbye::TooLarge)));
        }
        if heard == 0 {
            return Poll::Pending;
        }
        // what came before the end was published
        self.conversation.pause();
        Poll::Ready(end.map_or(Ok(()), Err))
    }

    fn hear(&mut self, message: Option<Result<Message, Error>>) -> Result<(), End> {
        match message {
            Some(Ok(Message::Text(text))) => self.conversation.hear(&text),
            // the library answers pings with the next write
            Some(Ok(Message::Ping(_))) => self.unflushed = true,
            Some(Ok(Message::Pong(_))) => {}
            Some(Ok(Message::Close(_))) => return Err(End::Closed),
            Some(Ok(Message::Binary(_) | Message::Frame(_))) => {
                return Err(End::Goodbye(Goodbye::Binary));
            }
            Some(Err(Error::Capacity(_))) => return Err(End::Goodbye(Goodbye::TooLarge)),
            Some(Err(Error::Utf8(_))) => return Err(End::Goodbye(Goodbye::NotText)),
            None | Some(Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake))) => {
                return Err(End::Gone);
            }
            Some(Err(Error::Protocol(_))) => return Err(End::Goodbye(Goodbye::Protocol)),
            Some(Err(_)) => return Err(End::Gone),
        }
        Ok(())
    }

    /// Ready when something was said.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        let mut said = Poll::Pending;
        for _ in 0..TURN {
            match self.socket.poll_ready_unpin(cx) {
                Poll::Ready(Ok(())) => self.blocked = false,
                Poll::Ready(Err(_)) => return Poll::Ready(Err(End::Gone)),
                Poll::Pending => {
                    self.block();
                    return said;
                }
            }
            let Poll::Ready(frame) = self.poll_frame(cx) else {
                break;
            };
            match frame.and_then(|frame| self.send(Message::Frame(frame))) {
                Ok(()) => said = Poll::Ready(Ok(())),
                Err(end) => return Poll::Ready(Err(end)),
            }
        }
        if self.unflushed {
            match self.socket.poll_flush_unpin(cx) {
                Poll::Ready(Ok(())) => (self.unflushed, self.blocked) = (false, false),
                Poll::Ready(Err(_)) => return Poll::Ready(Err(End::Gone)),
                Poll::Pending => self.block(),
            }
        }
        said
    }

    /// The next frame to be written.
    fn block(&mut self) {
        if !self.blocked {
            self.blocked = true;
            self.conversation.leave_queue();
        }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame, End>> {
        if let Some(piece) = self.pieces.pop_front() {
            return Poll::Ready(Ok(piece));
        }
        Poll::Ready(match ready!(self.conversation.poll_say(cx)) {
            Said::End(goodbye) => Err(End::Goodbye(goodbye)),
            Said::Whole(text) => Ok(Frame::message(text, OpCode::Data(Data::Text), true)),
            Said::Large(parts) => {
                self.pieces = pieces(parts);
                return self.poll_frame(cx);
            }
        })
    }

    fn send(&mut self, message: Message) -> Result<(), End> {
        self.unflushed = true;
        self.socket.start_send_unpin(message).map_err(|_| End::Gone)
    }

    /// Says why, closes, and waits a moment for the client to have heard it.
    async fn say_goodbye(mut self, goodbye: Goodbye) {
        self.conversation.note(goodbye);
        if let Some((reason, reconnect)) = goodbye.bye()
            && self.pieces.is_empty()
        {
            let mut members = Map::new();
            members.insert("reason".to_owned(), reason.into());
            members.insert("reconnect".to_owned(), reconnect.into());
            let bye = frames::control("bye", members);
            // a client that is gone need not be told
            let _ = self.socket.start_send_unpin(Message::text(bye));
        }
        let close = CloseFrame {
            code: CloseCode::from(goodbye.code()),
            reason: goodbye.reason().into(),
        };
        let _ = self.socket.start_send_unpin(Message::Close(Some(close)));
        self.hang_up().await;
    }

    /// Writes the rest, then waits for the other end to close: what is closed while the client still writes is reset,
    /// and the close frame would be lost with it.
    async fn hang_up(self) {
        let Driver {
            mut socket,
            conversation,
            ..
        } = self;
        // its subscriptions end now
        drop(conversation);
        let _ = timeout(LINGER, async {
            socket.flush().await.ok();
            let stream = socket.get_mut();
            stream.shutdown().await?;
            let mut ignored = [0; 1024];
            while stream.read(&mut ignored).await? > 0 {}
            Ok::<_, std::io::Error>(())
        })
        .await;
    }
}

/// A message in pieces that the socket takes one by one.
fn pieces(parts: [Bytes; 3]) -> VecDeque<Frame> {
    let mut cut = VecDeque::new();
    for mut part in parts {
        while part.len() > PIECE {
            cut.push_back(part.split_to(PIECE));
        }
        cut.push_back(part);
    }
    let last = cut.len() - 1;
    let frames = cut.into_iter().enumerate().map(|(nth, piece)| {
        let data = if nth == 0 { Data::Text } else { Data::Continue };
        Frame::message(piece, OpCode::Data(data), nth == last)
    });
    frames.collect()
}

#[cfg(test)]
mod tests;
