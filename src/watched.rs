//! Files that may change while the gateway runs: they are looked at once a second, and are to be read again when they
//! have settled.
//!
//! A file that is written in place is empty for a moment, and files that belong together are written one after the
//! other. So a change counts when nothing has changed any more since the look before. Reads no file.

use std::{fs, os::unix::fs::MetadataExt, path::Path, path::PathBuf, time::Duration};
use tokio::{sync::Notify, time::timeout};

/// How often files are looked at.
const ROUND: Duration = Duration::from_secs(1);

/// Waits for the next look: a second, or less if somebody asks. Whether somebody did.
pub async fn next_round(asked: &Notify) -> bool {
    timeout(ROUND, asked.notified()).await.is_ok()
}

/// What tells that a file is another one, or was written to: where it is on the disk, its size, and when it changed.
/// Nothing for a file that is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp(Option<[i64; 6]>);

impl Stamp {
    fn of(path: &Path) -> Self {
        Stamp(fs::metadata(path).ok().map(|it| {
            let (inode, size) = (it.ino() as i64, it.size() as i64);
            let (written, changed) = ((it.mtime(), it.mtime_nsec()), (it.ctime(), it.ctime_nsec()));
            [inode, size, written.0, written.1, changed.0, changed.1]
        }))
    }
}

/// Files that are read together.
#[derive(Debug)]
pub struct Watched {
    paths: Vec<PathBuf>,
    /// As they were when they were to be read last.
    read: Vec<Stamp>,
    /// As they were at the last look.
    seen: Vec<Stamp>,
}

impl Watched {
    /// Files that are going to be read now.
    pub fn new<'a>(paths: impl IntoIterator<Item = &'a PathBuf>) -> Self {
        let paths: Vec<_> = paths.into_iter().cloned().collect();
        let seen = stamps(&paths);
        Watched {
            paths,
            read: seen.clone(),
            seen,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// Looks at them. True if they are to be read now: they have changed and settled, or it is asked for.
    pub fn look(&mut self, is_asked: bool) -> bool {
        let now = stamps(&self.paths);
        let has_settled = now == self.seen;
        self.seen = now;
        let is_due = is_asked || (has_settled && self.seen != self.read);
        if is_due {
            self.read = self.seen.clone();
        }
        is_due
    }
}

fn stamps(paths: &[PathBuf]) -> Vec<Stamp> {
    paths.iter().map(|path| Stamp::of(path)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two files, watched.
    fn two() -> (tempfile::TempDir, [PathBuf; 2], Watched) {
        let folder = tempfile::tempdir().unwrap();
        let paths = ["one", "other"].map(|name| folder.path().join(name));
        paths
            .iter()
            .for_each(|path| fs::write(path, "old").unwrap());
        let watched = Watched::new(&paths);
        (folder, paths, watched)
    }

    #[test]
    fn a_file_that_is_half_written_is_not_read_before_it_has_settled() {
        let (_folder, [one, other], mut watched) = two();
        assert!(!watched.look(false));
        fs::write(&one, "").unwrap();
        assert!(!watched.look(false), "emptied in place");
        fs::write(&one, "longer").unwrap();
        assert!(!watched.look(false), "written");
        fs::remove_file(&other).unwrap();
        assert!(!watched.look(false), "and the other is gone");
        assert!(watched.look(false), "it stays so");
        assert!(!watched.look(false), "once is enough");
    }

    #[test]
    fn another_file_of_the_same_length_and_time_is_a_change() {
        let (folder, [one, _], mut watched) = two();
        let beside = folder.path().join("beside");
        fs::write(&beside, "new").unwrap();
        let times = fs::metadata(&one).unwrap().modified().unwrap();
        let file = fs::File::options().write(true).open(&beside).unwrap();
        file.set_modified(times).unwrap();
        fs::rename(&beside, &one).unwrap();
        assert!(!watched.look(false));
        assert!(watched.look(false));
    }

    #[test]
    fn whoever_asks_has_them_read_at_once_and_again_if_they_were_not_whole() {
        let (_folder, [one, _], mut watched) = two();
        assert!(watched.look(true));
        fs::write(&one, "").unwrap();
        assert!(watched.look(true));
        fs::write(&one, "longer").unwrap();
        assert_eq!([0; 3].map(|_| watched.look(false)), [false, true, false]);
    }
}
