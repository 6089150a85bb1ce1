//! A subscriber: counts, credits the publisher, acknowledges each batch with one write.

use super::{flow::Flow, frames, ring, wire::Wire};
use crate::mqtt::packet_type::PacketType;
use std::{io, sync::Arc};

/// A connection that receives.
#[derive(Debug)]
pub struct Subscriber {
    /// Its connection, subscribed already.
    pub wire: Wire,
    /// The flows of its publishers. With more than one, the first four bytes of a payload say whose message it is.
    pub flows: Vec<Arc<Flow>>,
    /// Bytes of a payload.
    pub payload: usize,
}

impl Subscriber {
    /// Receives for as long as it is polled.
    pub async fn run(mut self) -> io::Result<()> {
        let mut counts = vec![0; self.flows.len()];
        let mut answers = Vec::new();
        loop {
            self.wire.fill().await?;
            self.wire.take(|frame| match frame.kind() {
                frames::PUBLISH => {
                    let index = match frame.payload(self.payload) {
                        [a, b, c, d, ..] if counts.len() > 1 => {
                            u32::from_be_bytes([*a, *b, *c, *d]) as usize
                        }
                        _ => 0,
                    };
                    if let Some(count) = counts.get_mut(index) {
                        *count += 1;
                    }
                    match frame.qos() {
                        0 => {}
                        1 => ring::put_answer(&mut answers, PacketType::PubAck, frame.id()),
                        _ => ring::put_answer(&mut answers, PacketType::PubRec, frame.id()),
                    }
                }
                frames::PUBREL => ring::put_answer(&mut answers, PacketType::PubComp, frame.id()),
                _ => {}
            })?;
            for (flow, count) in self.flows.iter().zip(&mut counts) {
                if *count > 0 {
                    flow.receive(std::mem::take(count));
                }
            }
            if !answers.is_empty() {
                self.wire.answer(&answers).await?;
                answers.clear();
            }
        }
    }
}
