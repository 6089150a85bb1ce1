//! A file system of its own in an image file: what it has not written to the image by the moment of a power cut is gone.
//!
//! The image is what a disk without a cache of its own would hold. That a synchronisation reaches through the cache of a
//! disk cannot be seen here; that nothing is promised before it can.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    thread,
    time::Duration,
};

/// `EXT4_IOC_SHUTDOWN` with `EXT4_GOING_FLAGS_NOLOGFLUSH`: the file system writes nothing any more, not even what it
/// has begun to.
const SHUT_DOWN: &str = "import fcntl, os, struct, sys; \
    fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587D, struct.pack('I', 2))";

pub struct Image {
    /// Holds the images and the place they are mounted at.
    folder: tempfile::TempDir,
    /// The present image is that of this number.
    number: u32,
    is_mounted: bool,
}

impl Image {
    /// A new ext4, mounted; else why that is not possible here.
    pub fn mounted(megabytes: u64) -> Result<Self, String> {
        let folder = tempfile::tempdir().expect("a folder for the images");
        fs::create_dir(folder.path().join("mounted")).expect("the folder is ours");
        let mut image = Self {
            folder,
            number: 0,
            is_mounted: false,
        };
        let file = fs::File::create(image.path()).expect("the folder is ours");
        file.set_len(megabytes << 20).expect("a sparse file");
        run(Command::new("mkfs.ext4")
            .args(["-q", "-F", "-m", "0"])
            .arg(image.path()))?;
        image.mount()?;
        Ok(image)
    }

    /// Where it is mounted.
    pub fn root(&self) -> PathBuf {
        self.folder.path().join("mounted")
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join(format!("{}.ext4", self.number))
    }

    fn mount(&mut self) -> Result<(), String> {
        let mut mount = Command::new("mount");
        run(mount.args(["-o", "loop"]).arg(self.path()).arg(self.root()))?;
        self.is_mounted = true;
        Ok(())
    }

    fn unmount(&mut self) -> Result<(), String> {
        run(Command::new("umount").arg(self.root()))?;
        self.is_mounted = false;
        Ok(())
    }

    /// Whoever writes waits until the answer is dropped.
    pub fn freeze(&self) -> Frozen {
        run(Command::new("fsfreeze").arg("-f").arg(self.root())).expect("ext4 can be frozen");
        Frozen(self.root())
    }

    /// The power is cut now. From here on nothing reaches the image, whose state is put aside.
    pub fn cut_power(&self) {
        let mut python = Command::new("python3");
        run(python.args(["-c", SHUT_DOWN]).arg(self.root())).expect("ext4 can be shut down");
        // what was on its way to the image when the power was cut may still arrive, but nothing follows it
        let device = self.device();
        let writes = || {
            let stat = fs::read_to_string(&device).expect("what the loop device has done");
            writes_if_at_rest(&stat)
        };
        loop {
            let before = writes();
            let mut copy = Command::new("cp");
            let copied = run(copy.arg("--sparse=always").args([self.path(), self.next()]));
            copied.expect("there is room for a copy");
            if before.is_some() && before == writes() {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// The power is back: the state at the cut is mounted. Nobody may use the file system before.
    pub fn restore_power(&mut self) {
        self.unmount().expect("nobody uses it");
        fs::remove_file(self.path()).expect("the folder is ours");
        self.number += 1;
        self.mount().expect("the journal brings it in order");
    }

    fn next(&self) -> PathBuf {
        let number = self.number + 1;
        self.folder.path().join(format!("{number}.ext4"))
    }

    /// What the kernel counts of the loop device under the mount.
    fn device(&self) -> PathBuf {
        let mut findmnt = Command::new("findmnt");
        let found = run(findmnt.args(["-n", "-o", "SOURCE"]).arg(self.root()));
        let found = found.expect("it is mounted");
        let device = String::from_utf8_lossy(&found.stdout);
        let name = device.trim().trim_start_matches("/dev/").to_owned();
        Path::new("/sys/block").join(name).join("stat")
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        if self.is_mounted {
            let _ = self.unmount();
        }
    }
}

/// A file system that stands still.
pub struct Frozen(PathBuf);

impl Drop for Frozen {
    fn drop(&mut self) {
        let _ = run(Command::new("fsfreeze").arg("-u").arg(&self.0));
    }
}

/// How many writes a block device has completed, if none is on its way.
fn writes_if_at_rest(stat: &str) -> Option<u64> {
    let fields: Vec<u64> = stat.split_whitespace().flat_map(str::parse).collect();
    (fields[8] == 0).then_some(fields[4])
}

fn run(command: &mut Command) -> Result<Output, String> {
    let output = command.output();
    let output = output.map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(output);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{command:?}: {}", said.trim()))
}
