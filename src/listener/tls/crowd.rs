//! Those in the middle of a handshake: so many at a time, and never the newest is sent away.
//!
//! A limit that lets newcomers wait would be a way to keep everybody out: some connections that say nothing would hold
//! all places until their time is over. Here whoever has been at it longest goes when there are too many. An honest
//! client needs some milliseconds, so it is gone from here long before.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use tokio::sync::oneshot;

/// Everybody who has begun and not finished.
#[derive(Debug)]
pub struct Crowd {
    most: usize,
    members: Mutex<Members>,
}

#[derive(Debug, Default)]
struct Members {
    next: u64,
    /// By the order in which they came; whoever is taken out is told so by the end of its channel.
    present: BTreeMap<u64, oneshot::Sender<()>>,
}

/// One that has begun. Leaves when dropped.
#[derive(Debug)]
pub struct Member<'a> {
    crowd: &'a Crowd,
    number: u64,
    pushed_out: oneshot::Receiver<()>,
}

impl Crowd {
    /// Nobody yet, and never more than `most`.
    pub fn new(most: usize) -> Self {
        Crowd {
            most,
            members: Mutex::default(),
        }
    }

    /// One more, for whom the oldest may have to go.
    pub fn join(&self) -> Member<'_> {
        let (stay, pushed_out) = oneshot::channel();
        let mut members = self.members.lock();
        let number = members.next;
        members.next += 1;
        members.present.insert(number, stay);
        if members.present.len() > self.most {
            members.present.pop_first();
        }
        Member {
            crowd: self,
            number,
            pushed_out,
        }
    }
}

impl Member<'_> {
    /// Ready when others came for whom there was no room.
    pub async fn pushed_out(&mut self) {
        // nothing is ever sent
        let _ = (&mut self.pushed_out).await;
    }
}

impl Drop for Member<'_> {
    fn drop(&mut self) {
        self.crowd.members.lock().present.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    fn is_out(member: &mut Member<'_>) -> bool {
        member.pushed_out().now_or_never().is_some()
    }

    #[test]
    fn whoever_has_been_there_longest_makes_room() {
        let crowd = Crowd::new(2);
        let (mut first, mut second) = (crowd.join(), crowd.join());
        assert!(!is_out(&mut first) && !is_out(&mut second));
        let mut third = crowd.join();
        assert!(is_out(&mut first) && !is_out(&mut second) && !is_out(&mut third));
    }

    #[test]
    fn whoever_finishes_makes_room_for_another() {
        let crowd = Crowd::new(2);
        let mut first = crowd.join();
        for _ in 0..10 {
            drop(crowd.join());
        }
        let mut second = crowd.join();
        assert!(!is_out(&mut first) && !is_out(&mut second));
        assert_eq!(crowd.members.lock().present.len(), 2);
        drop((first, second));
        assert!(crowd.members.lock().present.is_empty());
    }
}
