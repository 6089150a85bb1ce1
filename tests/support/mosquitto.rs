//! A Mosquitto of this machine on a free port.

use std::{
    io::Write,
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::DEADLINE;

/// The running broker.
pub struct Mosquitto {
    child: Child,
    pub mqtt: SocketAddr,
}

impl Mosquitto {
    /// Everybody may come in.
    pub fn start() -> Self {
        Self::with("")
    }

    /// As [`Mosquitto::start`], with further lines of its configuration.
    pub fn with(further: &str) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let mqtt = free.local_addr().expect("an address");
        drop(free);
        let mut config = tempfile::NamedTempFile::new().expect("a file");
        write!(
            config,
            "listener {} 127.0.0.1\nallow_anonymous true\npersistence false\nset_tcp_nodelay true\nuser root\n{further}\n",
            mqtt.port()
        )
        .expect("a config");
        let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin";
        let child = Command::new("mosquitto")
            .arg("-c")
            .arg(config.path())
            .env("PATH", path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let mut child = child.expect("tests/run.sh installs mosquitto");
        let end = Instant::now() + DEADLINE;
        while TcpStream::connect(mqtt).is_err() {
            let ended = child.try_wait().expect("the child can be waited for");
            assert!(
                ended.is_none() && Instant::now() < end,
                "mosquitto does not listen: {ended:?}"
            );
            thread::sleep(Duration::from_millis(10));
        }
        Self { child, mqtt }
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
