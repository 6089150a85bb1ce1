//! Client programs as children: their output line by line, never longer than they are wanted.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::Instant,
};

use crate::support::DEADLINE;

const HINT: &str = "tests/run.sh installs the clients that these tests need";

/// What a finished program left behind.
pub struct Finished {
    pub code: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Finished {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
    /// Asserts exit 0 and returns stdout.
    pub fn succeeded(self, what: &str) -> String {
        assert_eq!(
            self.code,
            Some(0),
            "{what} failed; stdout:\n{}\nstderr:\n{}",
            self.text(),
            self.stderr
        );
        self.text()
    }
}

/// Runs a program to its end (at most two minutes), with `input` on its stdin.
pub fn run(program: &str, arguments: &[&str], input: &[u8]) -> Finished {
    run_for(120, program, arguments, input)
}

/// As [`run`], for at most so many seconds.
pub fn run_for(seconds: u32, program: &str, arguments: &[&str], input: &[u8]) -> Finished {
    let mut child = Command::new("timeout")
        .args([&seconds.to_string(), program])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{program} does not start ({e}); {HINT}"));
    let mut stdin = child.stdin.take().expect("stdin is a pipe");
    let input = input.to_vec();
    let feeder = thread::spawn(move || {
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().expect("it was started");
    let _ = feeder.join();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_ne!(
        output.status.code(),
        Some(127),
        "{program} is not installed ({stderr}); {HINT}"
    );
    Finished {
        code: output.status.code(),
        stdout: output.stdout,
        stderr,
    }
}

/// A program that runs beside the test and is read line by line.
pub struct Running {
    name: String,
    child: Child,
    lines: Receiver<String>,
}

impl Running {
    /// Starts a program; its stdout is unbuffered, so that lines come when they are written.
    pub fn start(program: &str, arguments: &[&str]) -> Self {
        let mut child = Command::new("stdbuf")
            .args(["-oL", program])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|e| panic!("{program} does not start ({e}); {HINT}"));
        let stdout = child.stdout.take().expect("stdout is a pipe");
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
                let _ = sender.send(String::from_utf8_lossy(&line).into_owned());
            }
        });
        Self {
            name: format!("{program} {arguments:?}"),
            child,
            lines,
        }
    }

    /// The next line that `wanted` accepts; others are passed over.
    pub fn line(&self, wanted: impl Fn(&str) -> bool) -> String {
        let end = Instant::now() + DEADLINE;
        let mut passed = vec![];
        loop {
            match self
                .lines
                .recv_timeout(end.saturating_duration_since(Instant::now()))
            {
                Ok(line) if wanted(&line) => return line,
                Ok(line) => passed.push(line),
                Err(e) => panic!("{}: {e}; it said {passed:?}. {HINT}", self.name),
            }
        }
    }

    /// Ends the program as a crash would.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}
