//! Live, behind or offline: the steps between them.

use super::{Mode, Outbox, is_logged};
use crate::mqtt::Qos;

impl Outbox {
    /// The log has nothing more; from now on recorded messages are queued. Under the order lock only.
    pub(in crate::broker) fn go_live(&self) {
        let mut inner = self.inner.lock();
        if inner.mode == Mode::Behind {
            inner.mode = Mode::Live;
        }
    }

    /// A stream that begins in the past reads the log first. Under the order lock only.
    pub(in crate::broker) fn fall_behind(&self) {
        self.inner.lock().mode = Mode::Behind;
    }

    /// A connection reads again; what was missed is read from the log first.
    pub(in crate::broker) fn go_online(&self) {
        let mut inner = self.inner.lock();
        inner.close = None;
        inner.is_held_up = false;
        if inner.mode == Mode::Offline {
            inner.mode = Mode::Behind;
        }
    }

    /// Nobody reads. True if nothing recorded was waiting here or in the log.
    pub(in crate::broker) fn go_offline(&self) -> bool {
        let mut inner = self.inner.lock();
        let up_to_date = inner.mode == Mode::Live && !inner.queue.iter().any(is_logged);
        inner.mode = Mode::Offline;
        inner.waker = None;
        inner.retain(|queued| queued.share.is_some() && queued.qos > Qos::AtMostOnce);
        up_to_date
    }

    /// Whether everything that was offered has been taken. Under the order lock only.
    pub(in crate::broker) fn is_up_to_date(&self) -> bool {
        let inner = self.inner.lock();
        inner.mode == Mode::Live && inner.queue.is_empty()
    }
}
