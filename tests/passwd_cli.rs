//! `tidegate passwd` on files of its own and of Mosquitto's.
#![allow(clippy::unwrap_used, missing_docs)]

use std::{
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
};
use tempfile::{TempDir, tempdir};
use tidegate::auth::password::PasswordFile;

/// Exit code and standard error of `tidegate passwd FILE ARGUMENTS` with this on its standard input.
fn passwd(file: &Path, arguments: &[&str], input: &[u8]) -> (i32, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .arg("passwd")
        .arg(file)
        .args(arguments)
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the built tidegate starts");
    // it may end before it has read all
    let _ = child.stdin.take().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).expect("text");
    (output.status.code().expect("it ends by itself"), said)
}

fn folder_with(text: &str) -> (TempDir, std::path::PathBuf) {
    let folder = tempdir().unwrap();
    let file = folder.path().join("passwd");
    if !text.is_empty() {
        fs::write(&file, text).unwrap();
    }
    (folder, file)
}

#[test]
fn a_password_is_set_changed_checked_and_deleted() {
    let (_folder, file) = folder_with("");
    let done = (0, String::new());
    assert_eq!(passwd(&file, &["ann"], b"one\n"), done);
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert_eq!(passwd(&file, &["bob smith"], b"two"), done);
    assert_eq!(passwd(&file, &["ann"], b"three\r\nnot this\n"), done);
    let text = fs::read_to_string(&file).unwrap();
    assert!(
        text.starts_with("ann:$argon2id$v=19$m=19456,t=2,p=1$"),
        "{text}"
    );
    assert_eq!(text.lines().count(), 2);
    for (user, password, code) in [
        ("ann", "three", 0),
        ("ann", "one", 1),
        ("bob smith", "two", 0),
        ("nobody", "two", 1),
        ("ann", "", 1),
    ] {
        let (found, said) = passwd(&file, &[user, "--check"], password.as_bytes());
        assert_eq!(found, code, "{user} {password}: {said}");
    }
    assert_eq!(passwd(&file, &["ann", "--delete"], b""), done);
    assert_eq!(passwd(&file, &["ann", "--check"], b"three").0, 1);
    let (code, said) = passwd(&file, &["ann", "--delete"], b"");
    assert!(code == 1 && said.contains("has no such user"), "{said}");
    assert_eq!(passwd(&file, &["bob smith", "--check"], b"two").0, 0);
}

#[test]
fn what_another_process_changes_while_a_password_is_typed_is_kept() {
    let (_folder, file) = folder_with("");
    let mut slow = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .arg("passwd")
        .args([file.as_os_str(), "ann".as_ref()])
        .stdin(Stdio::piped())
        .spawn()
        .expect("the built tidegate starts");
    let done = (0, String::new());
    assert_eq!(passwd(&file, &["bob"], b"two"), done);
    slow.stdin.take().unwrap().write_all(b"one").unwrap();
    assert!(slow.wait().unwrap().success());
    assert_eq!(passwd(&file, &["bob", "--check"], b"two"), done);
    assert_eq!(passwd(&file, &["ann", "--check"], b"one"), done);
}

#[test]
fn names_and_passwords_that_cannot_be_are_refused_and_nothing_is_changed() {
    let (_folder, file) = folder_with("# untouched\n");
    let long = "n".repeat(65_536);
    for (user, why) in [
        ("", "the name is empty"),
        ("a:b", "colon"),
        ("a\nroot", "control character"),
        (" a", "space"),
        ("#a", "#"),
        (&long, "65535"),
    ] {
        let (code, said) = passwd(&file, &["--", user], b"secret\n");
        assert!(code == 2 && said.contains(why), "{said}");
    }
    for (password, why) in [
        (vec![], "empty"),
        (b"\n".to_vec(), "empty"),
        (vec![b'p'; 65_536], "65535"),
    ] {
        let (code, said) = passwd(&file, &["ann"], &password);
        assert!(code == 2 && said.contains(why), "{said}");
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "# untouched\n");
    assert_eq!(passwd(&file, &["ann"], &[b'p'; 65_535]).0, 0);
}

#[test]
fn a_file_with_faulty_lines_is_not_checked_against_and_is_mended_line_by_line() {
    let (_folder, file) = folder_with("# plant\nann:clear\nbob:text\n");
    let (code, said) = passwd(&file, &["ann", "--check"], b"clear");
    assert!(
        code == 2 && said.contains("line 2") && said.contains("line 3"),
        "{said}"
    );
    let (code, said) = passwd(&file, &["ann"], b"one");
    assert!(
        code == 0 && said.contains("line 3") && !said.contains("line 2"),
        "{said}"
    );
    assert_eq!(passwd(&file, &["bob"], b"two"), (0, String::new()));
    assert_eq!(passwd(&file, &["ann", "--check"], b"one").0, 0);
    let missing = passwd(&file.join("x/y"), &["ann"], b"one");
    assert!(missing.0 != 0 && !missing.1.is_empty());
}

#[test]
fn files_of_mosquitto_passwd_verify_as_they_are_and_go_on_being_its_own() {
    let (_folder, file) = folder_with("");
    let mosquitto = |arguments: &[&str]| {
        let output = Command::new("mosquitto_passwd").args(arguments).output();
        let output = output.expect("mosquitto_passwd is there: tests/run.sh installs it");
        assert!(output.status.success(), "{output:?}");
    };
    let path = file.to_str().unwrap();
    mosquitto(&["-c", "-b", path, "ann", "päss word"]);
    mosquitto(&["-b", path, "bob", "two"]);
    mosquitto(&["-H", "sha512", "-b", path, "cy", "three"]);
    let text = fs::read_to_string(&file).unwrap();
    assert!(
        text.contains("ann:$7$101$") && text.contains("cy:$6$"),
        "{text}"
    );
    let users = PasswordFile::load(&file).unwrap();
    for (user, password) in [("ann", "päss word"), ("bob", "two"), ("cy", "three")] {
        assert!(users.verify(user, password.as_bytes()), "{user}");
        assert!(!users.verify(user, b"another"), "{user}");
    }
    // ours leaves its lines as they are, and its leaves ours
    assert_eq!(passwd(&file, &["dee"], b"four").0, 0);
    mosquitto(&["-b", path, "bob", "five"]);
    for (user, password) in [
        ("ann", "päss word"),
        ("bob", "five"),
        ("cy", "three"),
        ("dee", "four"),
    ] {
        assert_eq!(
            passwd(&file, &[user, "--check"], password.as_bytes()).0,
            0,
            "{user}"
        );
    }
}

#[test]
fn a_gateway_does_not_start_with_a_broken_file_and_check_config_says_why() {
    let (folder, file) = folder_with("ann:clear\n");
    let settings = folder.path().join("tidegate.toml");
    let entry = "[[auth.jwt]]\nalgorithm = 'HS256'\naudience = 'a'\nsecret = 'hunter2'\n";
    let text = format!(
        "auth.passwd_file = {:?}\n{entry}",
        file.display().to_string()
    );
    fs::write(&settings, text).unwrap();
    let tidegate = |arguments: &[&str]| {
        let output = Command::new("timeout")
            .args(["60", env!("CARGO_BIN_EXE_tidegate")])
            .args(arguments)
            .arg(&settings)
            .output()
            .unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    for arguments in [&["check-config"][..], &["run", "--config"]] {
        let (code, said) = tidegate(arguments);
        assert_eq!(code, Some(2), "{said}");
        assert!(
            said.contains("auth.passwd_file: ") && said.contains(" line 1: "),
            "{said}"
        );
        assert!(
            said.contains("auth.jwt: entry 1: secret: has 7 bytes"),
            "{said}"
        );
        assert!(!said.contains("hunter2"), "{said}");
    }
    fs::write(
        &settings,
        format!("auth.passwd_file = {:?}\n", file.display().to_string()),
    )
    .unwrap();
    assert_eq!(passwd(&file, &["ann"], b"one"), (0, String::new()));
    assert_eq!(tidegate(&["check-config"]).0, Some(0));
}

/// Types each answer when it is asked for, on a terminal of its own; what was on the screen, and the exit code.
fn on_a_terminal(file: &Path, arguments: &str, answers: &[&str]) -> (String, i32) {
    const DRIVER: &str = r#"
import os, pty, sys
command, answers = sys.argv[1:5], sys.argv[5:]
child, terminal = pty.fork()
if child == 0:
    os.execv(command[0], [word for word in command if word])
screen = b""
def more():
    global screen
    try: seen = os.read(terminal, 1000)
    except OSError: seen = b""
    screen += seen
    return seen
for number, answer in enumerate(answers, 1):
    while screen.count(b": ") < number and more(): pass
    os.write(terminal, answer.encode())
while more(): pass
sys.stdout.buffer.write(screen)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"#;
    let output = Command::new("timeout")
        .args([
            "60",
            "python3",
            "-c",
            DRIVER,
            env!("CARGO_BIN_EXE_tidegate"),
            "passwd",
        ])
        .arg(file)
        .arg(arguments)
        .args(answers)
        .output()
        .expect("python3 is there");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    (said, output.status.code().unwrap())
}

#[test]
fn on_a_terminal_a_password_is_asked_for_twice_and_never_shown() {
    let (_folder, file) = folder_with("");
    let (screen, code) = on_a_terminal(&file, "ann", &["sex\u{7f}crét\n", "secrét\n"]);
    assert_eq!(code, 0, "{screen}");
    assert_eq!(screen, "Password: \r\nThe same again: \r\n");
    assert_eq!(passwd(&file, &["ann", "--check"], "secrét".as_bytes()).0, 0);
    let (screen, code) = on_a_terminal(&file, "ann", &["one\n", "two\n"]);
    assert!(code == 2 && screen.contains("differ"), "{screen}");
    let (screen, code) = on_a_terminal(&file, "ann", &["one\u{3}"]);
    assert!(code == 1 && screen.contains("given up"), "{screen}");
    assert_eq!(passwd(&file, &["ann", "--check"], "secrét".as_bytes()).0, 0);
}
