//! The README's commands work as they are printed.
//!
//! Every block marked `sh` is run by `bash -euo pipefail` in a folder that has nothing but the data folder of a gateway
//! that was stopped, `tidegate-data`, in the order of the page, against one gateway that runs. The default ports in its text are replaced by the ports of that gateway, and `mosquitto_*` gets
//! the port through its configuration file. A block that subscribes and so never ends (`curl -N`,
//! `mosquitto_sub`, `tidegate sub`) stays in the background while the next ones run; it must have printed
//! something by the end. Blocks for the eye only are marked `console`, `toml`, `js`, and so on.

#[path = "support/mod.rs"]
mod support;

use std::{
    fs,
    io::Read,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use support::{DEADLINE, gateway::Gateway};

/// A block and the line of the README where it starts.
struct Block {
    line: usize,
    text: String,
}

fn blocks(page: &str) -> Vec<Block> {
    let mut found = vec![];
    let mut open: Option<Block> = None;
    for (number, line) in page.lines().enumerate() {
        match (&mut open, line.trim()) {
            (None, "```sh") => {
                open = Some(Block {
                    line: number + 1,
                    text: String::new(),
                })
            }
            (Some(_), "```") => found.extend(open.take()),
            (Some(block), _) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, _) => {}
        }
    }
    assert!(
        open.is_none(),
        "an `sh` block of the README is never closed"
    );
    found
}

/// Whether the block's last command waits for messages for ever.
fn subscribes(text: &str) -> bool {
    let mut commands = text
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'));
    let last = commands.next_back().unwrap_or_default();
    let bounded = last.contains(" -C ") || last.contains("--count") || last.contains("timeout ");
    let waits = ["curl -N", "curl -sN", "mosquitto_sub", "tidegate sub"]
        .iter()
        .any(|w| last.contains(w));
    waits && !bounded && !last.trim_end().ends_with('&')
}

/// A block that runs.
struct Shell {
    child: Child,
    output: Arc<Mutex<Vec<u8>>>,
}

impl Shell {
    fn start(script: &str, folder: &Path, settings: &Path) -> Self {
        let binary = Path::new(env!("CARGO_BIN_EXE_tidegate"))
            .parent()
            .expect("it is in a folder");
        let path = format!(
            "{}:{}",
            binary.display(),
            std::env::var("PATH").unwrap_or_default()
        );
        let mut child = Command::new("bash")
            .args(["-euo", "pipefail", "-c", &format!("exec 2>&1\n{script}")])
            .current_dir(folder)
            .env("PATH", path)
            .env("XDG_CONFIG_HOME", settings)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("bash starts");
        let mut stdout = child.stdout.take().expect("stdout is a pipe");
        let output = Arc::new(Mutex::new(vec![]));
        let sink = Arc::clone(&output);
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = stdout.read(&mut buffer) {
                sink.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .extend_from_slice(&buffer[..count]);
            }
        });
        Self { child, output }
    }

    fn said(&self) -> String {
        String::from_utf8_lossy(&self.output.lock().unwrap_or_else(PoisonError::into_inner))
            .into_owned()
    }

    /// Waits until `done` holds or `limit` has passed; tells which.
    fn until(&mut self, limit: Duration, mut done: impl FnMut(&mut Self) -> bool) -> bool {
        let end = Instant::now() + limit;
        while Instant::now() < end {
            if done(self) {
                return true;
            }
            thread::sleep(Duration::from_millis(20));
        }
        false
    }

    fn code(&mut self) -> Option<Option<i32>> {
        self.child
            .try_wait()
            .expect("it was started")
            .map(|status| status.code())
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // the whole group: the commands of a pipeline would outlive their shell
        let group = format!("-{}", self.child.id());
        let _ = Command::new("kill")
            .args(["-KILL", "--", &group])
            .stderr(Stdio::null())
            .status();
        let _ = self.child.wait();
    }
}

#[test]
fn every_sh_block_of_the_readme_does_what_it_says() {
    let page =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).expect("README.md");
    let blocks = blocks(&page);
    assert!(!blocks.is_empty(), "the README has blocks marked `sh`");

    let gateway = Gateway::start(&[]);
    let (mqtt, http) = (
        gateway.mqtt.port().to_string(),
        gateway.http.port().to_string(),
    );
    let (folder, settings) = (
        tempfile::tempdir().expect("a folder"),
        tempfile::tempdir().expect("a folder"),
    );
    let stopped = folder.path().join("tidegate-data");
    fs::create_dir(&stopped).expect("made");
    let log = "0000000001.log";
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/crash/golden/format-1");
    fs::copy(golden.join(log), stopped.join(log)).expect("copied");
    for client in ["mosquitto_pub", "mosquitto_sub", "mosquitto_rr"] {
        fs::write(settings.path().join(client), format!("-p {mqtt}\n")).expect("written");
    }

    let mut waiting: Vec<(usize, Shell)> = vec![];
    for block in &blocks {
        let script = block.text.replace("1883", &mqtt).replace("8080", &http);
        let mut shell = Shell::start(&script, folder.path(), settings.path());
        if subscribes(&block.text) {
            // a stream greets; mosquitto_sub is silent, and gets the time a person needs for a second terminal
            shell.until(Duration::from_secs(1), |shell| !shell.said().is_empty());
            waiting.push((block.line, shell));
        } else {
            let ended = shell.until(DEADLINE, |shell| shell.code().is_some());
            let (code, said) = (shell.code().flatten(), shell.said());
            assert!(
                ended,
                "README.md:{}: the block does not end; it said:\n{said}",
                block.line
            );
            assert_eq!(
                code,
                Some(0),
                "README.md:{}: the block failed:\n{}\nit said:\n{said}",
                block.line,
                block.text
            );
        }
    }
    for (line, mut shell) in waiting {
        let heard = shell.until(DEADLINE, |shell| !shell.said().is_empty());
        assert!(heard, "README.md:{line}: the subscriber heard nothing");
        assert!(
            matches!(shell.code(), None | Some(Some(0))),
            "README.md:{line}: it failed:\n{}",
            shell.said()
        );
    }
    gateway.stop();
}
