//! A disk that takes its time to read.

use super::*;
use crate::{broker::registry::Ending, store::disk::DiskFile};
use std::{
    io,
    sync::mpsc::{self, Receiver, Sender},
    time::Duration,
};

/// A folder whose files are read only when a test lets them be.
struct Slow {
    folder: Folder,
    gate: Gate,
}

/// Nothing waits before the test has taken it.
type Gate = Arc<Mutex<Option<(Sender<()>, Receiver<()>)>>>;

struct SlowFile {
    file: Arc<dyn DiskFile>,
    gate: Gate,
}

impl Slow {
    fn slow(&self, file: io::Result<Arc<dyn DiskFile>>) -> io::Result<Arc<dyn DiskFile>> {
        let gate = self.gate.clone();
        file.map(|file| Arc::new(SlowFile { file, gate }) as Arc<dyn DiskFile>)
    }
}

impl Disk for Slow {
    fn names(&self) -> io::Result<Vec<String>> {
        self.folder.names()
    }
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.slow(self.folder.open(name))
    }
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.slow(self.folder.create(name))
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.folder.remove(name)
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.folder.rename(from, to)
    }
    fn sync_names(&self) -> io::Result<()> {
        self.folder.sync_names()
    }
    fn free(&self) -> io::Result<u64> {
        self.folder.free()
    }
}

impl DiskFile for SlowFile {
    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }
    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<()> {
        if let Some((begun, ends)) = self.gate.lock().take() {
            begun.send(()).unwrap();
            ends.recv().unwrap();
        }
        self.file.read_at(into, at)
    }
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.file.write_at(bytes, at)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }
    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
}

#[test]
fn while_the_disk_is_read_for_one_session_the_same_thread_serves_others() {
    let data = tempfile::tempdir().unwrap();
    let gate = Gate::default();
    let disk = Slow {
        folder: Folder::open(data.path().to_owned()).unwrap(),
        gate: gate.clone(),
    };
    // next to nothing is in memory
    let broker = on(Arc::new(disk), 1);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .build()
        .unwrap();
    let mut back = runtime.block_on(async {
        let mut away = connect(&broker, "away", 100).await;
        subscribe(&broker, &mut away, "t", Qos::AtLeastOnce);
        broker.detach(away, None, Ending::Broken);
        publish_numbers(&broker, "t", 0..3);
        let all = broker.everything_durable();
        broker.watermark().reached(all).await.unwrap();
        connect(&broker, "away", 100).await
    });
    let (begun, begins) = mpsc::channel();
    let (end, ends) = mpsc::channel();
    *gate.lock() = Some((begun, ends));
    let reading = runtime.spawn(async move { receive(&broker, &mut back) });
    begins.recv().unwrap();
    let (other, others) = mpsc::channel();
    runtime.spawn(async move { other.send(()) });
    let served = others.recv_timeout(Duration::from_secs(10));
    end.send(()).unwrap();
    assert_eq!(served, Ok(()));
    assert_eq!(runtime.block_on(reading).unwrap(), numbers(0..3));
}
