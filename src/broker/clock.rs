//! The time of day by a clock that never jumps: the wall's at the start, the monotonic clock's from then on.

use crate::message::Millis;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Where all rooms that may not read a clock get the time from.
#[derive(Debug)]
pub struct Clock {
    started: Instant,
    started_at: u64,
}

impl Clock {
    /// A clock set by the wall's.
    pub fn start() -> Self {
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or(Duration::ZERO);
        Clock {
            started: Instant::now(),
            started_at: since_epoch.as_millis() as u64,
        }
    }

    /// Now.
    pub fn now(&self) -> Millis {
        Millis(self.started_at + self.started.elapsed().as_millis() as u64)
    }

    /// How long it has been running.
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }
}
