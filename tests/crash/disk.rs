//! A disk in memory that remembers every step, and from which the state after a crash can be made.

use crate::random::Random;
use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex},
};
use tidegate::store::disk::{Disk, DiskFile};

/// The sector a disk writes whole.
const SECTOR: usize = 512;

#[derive(Debug, Clone)]
pub enum Step {
    Create(String),
    Remove(String),
    Rename(String, String),
    SyncNames,
    Write(String, u64, Vec<u8>),
    SetLen(String, u64),
    Sync(String),
    /// Somebody was told that everything up to this record is durable.
    Told(u64),
}

/// Files by name.
pub type Files = BTreeMap<String, Vec<u8>>;

#[derive(Default)]
struct Inner {
    files: Files,
    steps: Vec<Step>,
    /// The step that fails, and how; every later one of the same kind succeeds again.
    fault: Option<(usize, io::ErrorKind)>,
    /// How the next sync of names fails.
    names_fault: Option<io::ErrorKind>,
    /// How the next sync of a file fails.
    sync_fault: Option<io::ErrorKind>,
    /// What is said to be free.
    free: Option<u64>,
    /// The process may open no more files.
    is_out_of_files: bool,
    /// What happens while the next part of a file is read.
    amid_read: Option<Box<dyn FnOnce() + Send>>,
}

#[derive(Clone, Default)]
pub struct MemoryDisk(Arc<Mutex<Inner>>);

struct MemoryFile {
    disk: MemoryDisk,
    name: String,
}

impl MemoryDisk {
    pub fn holding(files: Files) -> Self {
        let disk = MemoryDisk::default();
        disk.0.lock().expect("no test thread panicked").files = files;
        disk
    }

    pub fn failing_at(step: usize, kind: io::ErrorKind) -> Self {
        let disk = MemoryDisk::default();
        disk.0.lock().expect("no test thread panicked").fault = Some((step, kind));
        disk
    }

    pub fn files(&self) -> Files {
        self.0
            .lock()
            .expect("no test thread panicked")
            .files
            .clone()
    }

    /// Flips a bit of this file.
    pub fn damage(&self, name: &str, at: usize) {
        let mut inner = self.0.lock().expect("no test thread panicked");
        let file = inner.files.get_mut(name).expect("a file of this name");
        file[at] ^= 1;
    }

    pub fn steps(&self) -> Vec<Step> {
        self.0
            .lock()
            .expect("no test thread panicked")
            .steps
            .clone()
    }

    pub fn set_free(&self, free: Option<u64>) {
        self.0.lock().expect("no test thread panicked").free = free;
    }

    pub fn fail_next_names(&self, kind: io::ErrorKind) {
        self.0.lock().expect("no test thread panicked").names_fault = Some(kind);
    }

    pub fn open_no_more(&self) {
        let mut inner = self.0.lock().expect("no test thread panicked");
        inner.is_out_of_files = true;
    }

    pub fn amid_next_read(&self, happens: impl FnOnce() + Send + 'static) {
        let mut inner = self.0.lock().expect("no test thread panicked");
        inner.amid_read = Some(Box::new(happens));
    }

    pub fn fail_next_sync(&self, kind: io::ErrorKind) {
        self.0.lock().expect("no test thread panicked").sync_fault = Some(kind);
    }

    pub fn told(&self, lsn: u64) {
        self.0
            .lock()
            .expect("no test thread panicked")
            .steps
            .push(Step::Told(lsn));
    }

    fn step(&self, step: Step) -> io::Result<()> {
        let mut inner = self.0.lock().expect("no test thread panicked");
        let number = inner.steps.len();
        if let Some((at, kind)) = inner.fault
            && number == at
        {
            inner.fault = None;
            return Err(kind.into());
        }
        if let (Step::SyncNames, Some(kind)) = (&step, inner.names_fault) {
            inner.names_fault = None;
            return Err(kind.into());
        }
        if let (Step::Sync(_), Some(kind)) = (&step, inner.sync_fault) {
            inner.sync_fault = None;
            return Err(kind.into());
        }
        apply(&mut inner.files, &step);
        inner.steps.push(step);
        Ok(())
    }
}

fn apply(files: &mut Files, step: &Step) {
    match step {
        Step::Create(name) => {
            files.insert(name.clone(), Vec::new());
        }
        Step::Remove(name) => {
            files.remove(name);
        }
        Step::Rename(from, to) => {
            if let Some(file) = files.remove(from) {
                files.insert(to.clone(), file);
            }
        }
        Step::Write(name, at, bytes) => {
            if let Some(file) = files.get_mut(name) {
                let (at, end) = (*at as usize, *at as usize + bytes.len());
                file.resize(file.len().max(end), 0);
                file[at..end].copy_from_slice(bytes);
            }
        }
        Step::SetLen(name, len) => {
            if let Some(file) = files.get_mut(name) {
                file.resize(*len as usize, 0);
            }
        }
        Step::SyncNames | Step::Sync(_) | Step::Told(_) => {}
    }
}

/// What a crash after these steps leaves: everything synced, and of the rest whatever `random` says. A write that is
/// not synced may be there in part, sector by sector.
pub fn after_crash(steps: &[Step], random: &mut Random) -> Files {
    let (mut kept, mut names) = (Files::new(), Vec::new());
    let mut contents: BTreeMap<String, (Vec<u8>, Vec<Step>)> = BTreeMap::new();
    for step in steps {
        match step {
            Step::Create(name) => {
                contents.insert(name.clone(), Default::default());
                names.push(step.clone());
            }
            Step::Remove(_) | Step::Rename(..) => names.push(step.clone()),
            Step::SyncNames => names.drain(..).for_each(|step| apply(&mut kept, &step)),
            Step::Write(name, ..) | Step::SetLen(name, _) => {
                contents
                    .entry(name.clone())
                    .or_default()
                    .1
                    .push(step.clone());
            }
            Step::Sync(name) => {
                let (durable, waiting) = contents.entry(name.clone()).or_default();
                let mut one = Files::from([(name.clone(), std::mem::take(durable))]);
                waiting.drain(..).for_each(|step| apply(&mut one, &step));
                *durable = one.remove(name).unwrap_or_default();
            }
            Step::Told(_) => {}
        }
    }
    // names become durable in their order
    let survive = random.between(0, names.len() as u64) as usize;
    names
        .drain(..survive)
        .for_each(|step| apply(&mut kept, &step));
    for (name, file) in &mut kept {
        let Some((durable, waiting)) = contents.remove(name) else {
            continue;
        };
        let mut one = Files::from([(name.clone(), durable)]);
        for step in waiting {
            match step {
                _ if random.once_in(3) => {}
                Step::Write(name, at, bytes) if random.once_in(2) => {
                    for (nth, sector) in bytes.chunks(SECTOR).enumerate() {
                        if random.once_in(2) {
                            let at = at + (nth * SECTOR) as u64;
                            apply(&mut one, &Step::Write(name.clone(), at, sector.to_vec()));
                        }
                    }
                }
                step => apply(&mut one, &step),
            }
        }
        *file = one.remove(name).unwrap_or_default();
    }
    kept
}

impl Disk for MemoryDisk {
    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self
            .0
            .lock()
            .expect("no test thread panicked")
            .files
            .keys()
            .cloned()
            .collect())
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let inner = self.0.lock().expect("no test thread panicked");
        match inner.files.contains_key(name) {
            true if inner.is_out_of_files => Err(io::Error::other("too many open files")),
            true => Ok(Arc::new(MemoryFile {
                disk: self.clone(),
                name: name.to_owned(),
            })),
            false => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.step(Step::Create(name.to_owned()))?;
        self.open(name)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.step(Step::Remove(name.to_owned()))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.step(Step::Rename(from.to_owned(), to.to_owned()))
    }

    fn sync_names(&self) -> io::Result<()> {
        self.step(Step::SyncNames)
    }

    fn free(&self) -> io::Result<u64> {
        Ok(self
            .0
            .lock()
            .expect("no test thread panicked")
            .free
            .unwrap_or(u64::MAX))
    }
}

impl DiskFile for MemoryFile {
    fn size(&self) -> io::Result<u64> {
        let inner = self.disk.0.lock().expect("no test thread panicked");
        let file = inner.files.get(&self.name).ok_or(io::ErrorKind::NotFound)?;
        Ok(file.len() as u64)
    }

    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<()> {
        let inner = self.disk.0.lock().expect("no test thread panicked");
        let file = inner.files.get(&self.name).ok_or(io::ErrorKind::NotFound)?;
        let part = file.get(at as usize..at as usize + into.len());
        into.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
        drop(inner);
        let happens = self
            .disk
            .0
            .lock()
            .expect("no test thread panicked")
            .amid_read
            .take();
        if let Some(happens) = happens {
            happens();
        }
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        let step = Step::Write(self.name.clone(), at, bytes.to_vec());
        self.disk.step(step)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.step(Step::SetLen(self.name.clone(), len))
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.step(Step::Sync(self.name.clone()))
    }
}
