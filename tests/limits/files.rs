//! The limit that the system sets: open files.

use crate::support::gateway::Gateway;
use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

#[test]
fn the_gateway_takes_as_many_files_as_the_system_gives() {
    let data = tempfile::tempdir().expect("a folder");
    let gateway = Gateway::command(data.path(), [0, 0], &[]);
    let mut limited = Command::new("prlimit");
    for (name, value) in gateway.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    let mut gateway = limited
        .arg("--nofile=100:600")
        .arg(gateway.get_program())
        .args(gateway.get_args())
        .current_dir(data.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("prlimit is part of every Debian");
    let stdout = BufReader::new(gateway.stdout.take().expect("it is a pipe"));
    let mut lines = stdout.lines().map_while(Result::ok);
    assert!(lines.any(|line| line == "ready"));
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", gateway.id()));
    let _ = gateway.kill();
    let _ = gateway.wait();
    let limits = limits.expect("it ran");
    let files = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let files: Vec<&str> = files.expect("a line").split_whitespace().collect();
    assert_eq!(files[3..5], ["600", "600"]);
}
