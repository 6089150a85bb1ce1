//! A `tidegate run` process on free ports with a data folder of its own, gone when the value is dropped.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError, Weak, mpsc},
    thread,
    time::{Duration, Instant},
};

use super::DEADLINE;

/// The running gateway of a test.
pub struct Gateway {
    child: Child,
    /// Where MQTT over TCP is spoken.
    pub mqtt: SocketAddr,
    /// Where everything web is spoken, MQTT over WebSocket included.
    pub http: SocketAddr,
    /// What it said it listens on, by name.
    listening: BTreeMap<String, String>,
    log: Arc<Mutex<String>>,
    data: Arc<tempfile::TempDir>,
}

impl Gateway {
    /// Starts a gateway with further command line arguments and waits until it says `ready`.
    pub fn start(arguments: &[&str]) -> Self {
        let data = tempfile::tempdir().expect("a folder for the gateway's data");
        Self::start_on(Arc::new(data), arguments)
    }

    /// Kills the gateway as nothing can be killed harder, and starts another one on its data folder.
    pub fn killed(self, arguments: &[&str]) -> Self {
        let data = self.data.clone();
        drop(self);
        Self::start_on(data, arguments)
    }

    /// Stops the gateway as an init system does, and starts another one on its data folder.
    pub fn restarted(self, arguments: &[&str]) -> Self {
        self.restarted_after(arguments, || {})
    }

    /// As [`Gateway::restarted`]; `meanwhile` happens while nobody uses the folder.
    pub fn restarted_after(self, arguments: &[&str], meanwhile: impl FnOnce()) -> Self {
        let data = self.data.clone();
        self.stop();
        meanwhile();
        Self::start_on(data, arguments)
    }

    /// The data folder.
    pub fn data(&self) -> &Path {
        self.data.path()
    }

    /// Starts a gateway on a data folder that may have been used before.
    pub fn start_on(data: Arc<tempfile::TempDir>, arguments: &[&str]) -> Self {
        Self::start_at(data, [0, 0], arguments)
    }

    /// What starts a gateway on these ports for MQTT and HTTP, ready to be run.
    pub fn command(data: &Path, [mqtt, http]: [u16; 2], arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command
            .args(["run", "--mqtt", &format!("127.0.0.1:{mqtt}")])
            .args(["--http", &format!("127.0.0.1:{http}"), "--data"])
            .arg(data)
            .args(arguments)
            .current_dir(data)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("TIDEGATE_")) {
            command.env_remove(name);
        }
        command
    }

    /// As [`Gateway::start_on`], on these ports for MQTT and HTTP.
    pub fn start_at(data: Arc<tempfile::TempDir>, ports: [u16; 2], arguments: &[&str]) -> Self {
        let mut command = Self::command(data.path(), ports, arguments);
        let mut child = command.spawn().expect("the built tidegate starts");

        let log = Arc::new(Mutex::new(String::new()));
        let stderr = child.stderr.take().expect("stderr is a pipe");
        let sink = Arc::clone(&log);
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut log = sink.lock().unwrap_or_else(PoisonError::into_inner);
                log.push_str(&line);
                log.push('\n');
            }
        });
        let stdout = child.stdout.take().expect("stdout is a pipe");
        let (lines, said) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = lines.send(line);
            }
        });

        let mut listening = BTreeMap::new();
        let end = Instant::now() + DEADLINE;
        loop {
            match said.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) if line == "ready" => break,
                Ok(line) => {
                    let named = line.strip_prefix("listening ");
                    if let Some((name, place)) = named.and_then(|named| named.split_once(' ')) {
                        listening.insert(name.to_owned(), place.to_owned());
                    }
                }
                Err(_) => {
                    let _ = child.kill();
                    let status = child.wait();
                    let log = log.lock().unwrap_or_else(PoisonError::into_inner);
                    panic!("the gateway did not say `ready` ({status:?}); its log:\n{log}");
                }
            }
        }
        // a gateway that speaks nothing but TLS has the address of that
        let address = |plain: &str, tls: &str| -> SocketAddr {
            let place = listening.get(plain).or_else(|| listening.get(tls));
            let place = place.unwrap_or_else(|| panic!("`listening {plain}` before `ready`"));
            place.parse().expect("an address after `listening`")
        };
        Self {
            child,
            mqtt: address("mqtt", "mqtts"),
            http: address("http", "https"),
            listening,
            log,
            data,
        }
    }

    /// The gateway that all tests of this process share while any of them runs.
    pub fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Gateway>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let started = Arc::new(Self::start(&[]));
            *shared = Arc::downgrade(&started);
            started
        })
    }

    /// Where a listener is, by the name it has in `listening NAME PLACE`.
    pub fn listening(&self, name: &str) -> &str {
        match self.listening.get(name) {
            Some(place) => place,
            None => panic!("no {name} in {:?}", self.listening),
        }
    }

    /// The port of a listener.
    pub fn port(&self, name: &str) -> u16 {
        let address: SocketAddr = self.listening(name).parse().expect("an address");
        address.port()
    }

    /// Waits until the log has `text`.
    pub async fn logs(&self, text: &str) {
        super::within(&format!("{text:?} in the log"), async {
            while !self.log().contains(text) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What the gateway has written to stderr so far.
    pub fn log(&self) -> String {
        self.log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// How often something was refused for this reason, as `/metrics` says.
    pub async fn refused(&self, reason: &str) -> u64 {
        let page = super::http::Request::get("/metrics")
            .send(self.http)
            .await
            .text();
        let start = format!("tidegate_refused_total{{reason=\"{reason}\"}} ");
        let count = page.lines().find_map(|line| line.strip_prefix(&start));
        count
            .and_then(|count| count.parse().ok())
            .unwrap_or_else(|| panic!("no line {start:?} in\n{page}"))
    }

    /// As [`Gateway::refused`], as soon as it is at least `count`: a connection is closed a moment before it is counted.
    pub async fn refused_at_least(&self, reason: &str, count: u64) -> u64 {
        let counted = async {
            loop {
                let refused = self.refused(reason).await;
                if refused >= count {
                    return refused;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        super::within("refusals to be counted", counted).await
    }

    /// Resident memory in bytes, as the kernel counts it.
    pub fn resident(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// The most that was resident since [`Gateway::forget_peak`], in bytes.
    pub fn peak(&self) -> u64 {
        self.memory("VmHWM:")
    }

    /// The most that was resident is what is resident now.
    pub fn forget_peak(&self) {
        std::fs::write(format!("/proc/{}/clear_refs", self.pid()), "5").expect("a process of ours");
    }

    fn memory(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()))
            .expect("the gateway is alive");
        let line = status.lines().find(|line| line.starts_with(name));
        let kilobytes: u64 = line
            .and_then(|line| line.split_whitespace().nth(1))
            .and_then(|n| n.parse().ok())
            .expect("a number");
        kilobytes * 1024
    }

    /// Asks the gateway to end, as an init system does.
    pub fn terminate(&self) {
        let sent = Command::new("kill")
            .args(["-TERM", &self.pid().to_string()])
            .status()
            .expect("kill runs");
        assert!(
            sent.success(),
            "the gateway was gone before SIGTERM; its log:\n{}",
            self.log()
        );
    }

    /// Waits at most `limit` for the process to end by itself.
    pub fn exited_within(&mut self, limit: Duration) -> Option<ExitStatus> {
        let end = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait().expect("the child can be waited for") {
                return Some(status);
            }
            if Instant::now() > end {
                return None;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// SIGTERM; the gateway must exit 0 within 10 s. Returns how long it took.
    pub fn stop(mut self) -> Duration {
        let asked = Instant::now();
        self.terminate();
        let status = self.exited_within(Duration::from_secs(10));
        assert_eq!(
            status.and_then(|s| s.code()),
            Some(0),
            "exit 0 within 10 s of SIGTERM; its log:\n{}",
            self.log()
        );
        asked.elapsed()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            let log = self.log();
            let skip = log.lines().count().saturating_sub(40);
            let tail: Vec<&str> = log.lines().skip(skip).collect();
            eprintln!("--- end of the gateway's log ---\n{}", tail.join("\n"));
        }
    }
}
