//! The few things the store asks of a file system. A test stands another one in its place, to see what a crash leaves.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::PathBuf,
    sync::Arc,
};

/// A folder.
pub trait Disk: Send + Sync {
    /// The names of the files in it, in no order.
    fn names(&self) -> io::Result<Vec<String>>;
    /// Opens a file that is there, to be read and, unless the folder is only looked at, written.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;
    /// Makes an empty file, in the place of one that may be there.
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;
    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Gives a file another name.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Returns when all names are durable.
    fn sync_names(&self) -> io::Result<()>;
    /// Bytes of room left.
    fn free(&self) -> io::Result<u64>;
}

/// A file in it.
pub trait DiskFile: Send + Sync {
    /// Bytes in it.
    fn size(&self) -> io::Result<u64>;
    /// Fills `into` from `at` on; an error if there is less.
    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<()>;
    /// Writes all of `bytes` at `at`.
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()>;
    /// Makes it so long: longer with zeros.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Returns when its bytes and its length are durable.
    fn sync(&self) -> io::Result<()>;
}

/// A real folder, this process's own as long as it lives.
pub struct Folder {
    path: PathBuf,
    /// Else it is only looked at: nothing in it is changed.
    is_ours: bool,
    /// Held locked: a second process would write between our records. A folder that no process has ever used has none.
    _lock: Option<File>,
}

/// The name of the file that a process holds which uses the folder.
pub const LOCK: &str = "lock";

impl Folder {
    /// The folder at `path`, made if it is not there, for nobody else to look into. `WouldBlock` if another process
    /// uses it.
    pub fn open(path: PathBuf) -> io::Result<Self> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let lock = options.mode(0o600).open(path.join(LOCK))?;
        lock.try_lock().map_err(io::Error::from)?;
        Ok(Folder {
            path,
            is_ours: true,
            _lock: Some(lock),
        })
    }

    /// The folder at `path`, to be read and not to be changed, together with others who do the same. `WouldBlock` if a
    /// process uses it; none can begin to while this lives.
    pub fn look(path: PathBuf) -> io::Result<Self> {
        // a file or nothing in its place is told by what the system says about it
        fs::read_dir(&path)?;
        let lock = match File::open(path.join(LOCK)) {
            Ok(lock) => {
                lock.try_lock_shared().map_err(io::Error::from)?;
                Some(lock)
            }
            // a copy without it, perhaps on a disk that cannot be written to
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        Ok(Folder {
            path,
            is_ours: false,
            _lock: lock,
        })
    }

    /// An error if this folder is only looked at.
    fn change(&self) -> io::Result<()> {
        match self.is_ours {
            true => Ok(()),
            false => Err(io::ErrorKind::PermissionDenied.into()),
        }
    }
}

impl Disk for Folder {
    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            if entry.file_type()?.is_file()
                && let Ok(name) = entry.file_name().into_string()
            {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(self.is_ours);
        Ok(Arc::new(options.open(self.path.join(name))?))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.change()?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true);
        Ok(Arc::new(options.mode(0o600).open(self.path.join(name))?))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.change()?;
        fs::remove_file(self.path.join(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.change()?;
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn sync_names(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    fn free(&self) -> io::Result<u64> {
        let system = rustix::fs::statvfs(&self.path)?;
        Ok(system.f_bavail.saturating_mul(system.f_frsize))
    }
}

impl DiskFile for File {
    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<()> {
        self.read_exact_at(into, at)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.write_all_at(bytes, at)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        File::set_len(self, len)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}
