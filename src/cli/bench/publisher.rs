//! A publisher: as many messages under way as its window allows, each batch with one write.

use super::{
    flow::Flow,
    frames,
    ring::{self, Ring},
    wire::Wire,
};
use crate::mqtt::packet_type::PacketType;
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

/// A connection that publishes.
#[derive(Debug)]
pub struct Publisher {
    /// Its connection.
    pub wire: Wire,
    /// Its messages.
    pub ring: Ring,
    /// Its counters, and those of its receivers.
    pub flow: Arc<Flow>,
    /// Messages that may be under way: neither everywhere received nor, above QoS 0, completely acknowledged.
    pub window: u64,
    /// Quality of service.
    pub qos: u8,
    /// Whether to publish now.
    pub open: Arc<AtomicBool>,
}

impl Publisher {
    /// Publishes while the gate is open, answers for as long as it is polled.
    pub async fn run(mut self) -> io::Result<()> {
        let window = self.window.min(self.wire.receive_maximum.into());
        let mut acknowledged = 0;
        loop {
            let sent = self.flow.sent();
            let unacknowledged = if self.qos == 0 {
                0
            } else {
                sent - acknowledged
            };
            let free = window.saturating_sub(self.flow.under_way().max(unacknowledged));
            if free > 0 && self.open.load(Relaxed) {
                self.flow.send(free);
                let batch = self.ring.slice(sent, free as usize);
                self.wire.write(batch).await?;
            }
            tokio::select! {
                biased;
                // at QoS 0 too: there it ends when the server closes the connection
                filled = self.wire.fill() => {
                    filled?;
                    acknowledged += self.acknowledge().await?;
                }
                () = self.flow.wake.notified() => {}
            }
        }
    }

    /// Takes the server's answers; returns how many messages are done by them.
    async fn acknowledge(&mut self) -> io::Result<u64> {
        let mut done = 0;
        let mut release = Vec::new();
        self.wire.take(|frame| match frame.kind() {
            frames::PUBACK | frames::PUBCOMP => done += 1,
            frames::PUBREC => ring::put_answer(&mut release, PacketType::PubRel, frame.id()),
            _ => {}
        })?;
        if !release.is_empty() {
            self.wire.answer(&release).await?;
        }
        Ok(done)
    }
}
