//! Asking a password file that may be replaced while the gateway runs.
//!
//! A hash takes as long as a thousand messages, so it is computed off the runtime's threads, a few at a time, and what was
//! right a moment ago is remembered: a fleet that comes back at once must not have the gateway busy for minutes.

use super::{
    password::{LoadError, PasswordFile},
    recent::Recent,
};
use arc_swap::ArcSwap;
use std::{
    hash::{BuildHasher, RandomState},
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::Semaphore;

/// How long a password that was right needs no hash, and how many are remembered.
const REMEMBERED: (usize, Duration) = (100_000, Duration::from_secs(60));

/// Hashes that are computed at a time at most: each takes its core, and memory of its own.
const TURNS: usize = 4;

/// Logins that wait at most, per hash that is computed at a time. The last of them has its turn before it gives up;
/// whoever comes then is told to come back, and finds that many others are remembered by now.
const WAITING: usize = 64;

/// Nobody looked whether the password is right: too many others wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Busy;

/// A password file in use.
pub struct Passwords {
    path: PathBuf,
    file: ArcSwap<PasswordFile>,
    recent: Recent,
    hasher: RandomState,
    /// Hashes that may be computed at a time.
    turns: Arc<Semaphore>,
    waiting: Semaphore,
}

impl Passwords {
    /// What was read from the file at `path`. An error: the system has no random numbers.
    pub fn new(path: PathBuf, file: PasswordFile) -> io::Result<Self> {
        let (capacity, lifetime) = REMEMBERED;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        // one core is left to everybody who is in already
        let turns = (cores - 1).clamp(1, TURNS);
        Ok(Passwords {
            path,
            file: ArcSwap::from_pointee(file),
            recent: Recent::new(capacity, lifetime)?,
            hasher: RandomState::new(),
            turns: Arc::new(Semaphore::new(turns)),
            waiting: Semaphore::new(turns * WAITING),
        })
    }

    /// Where it stands.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the file again; the old one stays in use if the new one is faulty.
    pub fn reload(&self) -> Result<(), LoadError> {
        self.file.store(Arc::new(PasswordFile::load(&self.path)?));
        Ok(())
    }

    /// Tells a user's line from any other, in this run; `None` if there is no such user.
    pub fn line_of(&self, user: &str) -> Option<u64> {
        let file = self.file.load();
        file.stored(user).map(|line| self.hasher.hash_one(line))
    }

    /// The user's line, as [`Passwords::line_of`] tells it, if this is the password in it. When its turn has come,
    /// `in_turn` may say that it is not to be looked at. `if_wrong` is called even if this future is dropped meanwhile:
    /// whoever does not wait for the answer has cost as much.
    pub async fn verify<E: From<Busy>>(
        &self,
        user: &str,
        password: &[u8],
        in_turn: impl FnOnce() -> Result<(), E>,
        if_wrong: impl FnOnce() + Send + 'static,
    ) -> Result<Option<u64>, E> {
        let file = self.file.load_full();
        let line = file.stored(user).map(|line| self.hasher.hash_one(line));
        if let Some(stored) = file.stored(user)
            && self.recent.knows(user, password, stored, Instant::now())
        {
            return Ok(line);
        }
        let place = self.waiting.try_acquire().map_err(|_| Busy)?;
        let turn = self.turns.clone().acquire_owned().await.map_err(|_| Busy)?;
        drop(place);
        in_turn()?;
        let (name, secret) = (user.to_owned(), zeroize::Zeroizing::new(password.to_vec()));
        let asked = file.clone();
        let verified = tokio::task::spawn_blocking(move || {
            let verified = asked.verify(&name, &secret);
            if !verified {
                if_wrong();
            }
            drop(turn);
            verified
        });
        // the file may have been read again since: what was right then counts no more
        if !verified.await.unwrap_or(false) || self.line_of(user) != line {
            return Ok(None);
        }
        if let Some(stored) = file.stored(user) {
            self.recent.remember(user, password, stored, Instant::now());
        }
        Ok(line)
    }
}

#[cfg(test)]
impl Passwords {
    /// From now on nobody who needs a hash gets a turn.
    pub(super) fn hash_no_more(&self) {
        self.turns.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::password;
    use futures_util::FutureExt;

    #[tokio::test]
    async fn sixty_four_wait_for_each_turn_and_the_next_is_to_come_back() {
        let path = PathBuf::from("passwd");
        let passwords = Passwords::new(path, PasswordFile::parse("").unwrap()).unwrap();
        let turns = passwords.turns.available_permits();
        assert!((1..=4).contains(&turns), "{turns}");
        let all = passwords.turns.acquire_many(turns as u32).await.unwrap();
        let verify = || Box::pin(passwords.verify("ann", b"x", || Ok::<_, Busy>(()), || {}));
        let mut waiting: Vec<_> = (0..64 * turns).map(|_| verify()).collect();
        for waiting in &mut waiting {
            assert_eq!(waiting.now_or_never(), None);
        }
        assert_eq!(verify().now_or_never(), Some(Err(Busy)));
        drop(all);
        for waiting in waiting {
            assert_eq!(waiting.await, Ok(None));
        }
        assert_eq!(verify().await, Ok(None), "there is room again");
    }

    #[tokio::test]
    async fn a_password_that_is_withdrawn_while_it_is_looked_at_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("passwd");
        let line = format!("ann:{}\n", password::hash(b"right").unwrap());
        std::fs::write(&path, &line).unwrap();
        let passwords = Passwords::new(path.clone(), PasswordFile::load(&path).unwrap()).unwrap();
        let withdraw = || {
            std::fs::write(&path, "").unwrap();
            passwords.reload().map_err(|_| Busy)
        };
        let verified = passwords.verify("ann", b"right", withdraw, || {}).await;
        assert_eq!(verified, Ok(None));
        std::fs::write(&path, &line).unwrap();
        passwords.reload().unwrap();
        let verified = passwords
            .verify("ann", b"right", || Ok::<_, Busy>(()), || {})
            .await;
        assert_eq!(verified, Ok(passwords.line_of("ann")));
        assert!(passwords.line_of("ann").is_some());
    }
}
