//! W18: whom a gateway serves is decided at its start, and never by accident.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

const LOOPBACK: &str = "127.0.0.1:0";
const EVERYWHERE: &str = "0.0.0.0:0";

/// Starts a gateway; its last words, if it does not say `ready`.
fn start(arguments: &[&str]) -> Result<(), String> {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("TIDEGATE_")) {
        command.env_remove(name);
    }
    let mut child = command
        .args(["run", "--data"])
        .arg(folder.path().join("data"))
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let ready = lines.map_while(Result::ok).any(|line| line == "ready");
    if ready {
        let _ = child.kill();
    }
    let output = child.wait_with_output().expect("it ends");
    match ready {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

/// W18: binds, users and the operator's word; TLS hides what is said and admits nobody.
#[test]
fn an_address_others_can_reach_is_served_to_users_or_by_the_operators_word_only() {
    let folder = tempfile::tempdir().expect("a folder");
    let passwords = folder.path().join("passwords");
    fs::write(&passwords, "").expect("a password file");
    let users = format!("auth.passwd_file={}", passwords.display());
    let certs = folder.path().join("certs");
    let made = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["dev-certs", "--out"])
        .arg(&certs)
        .output()
        .expect("it runs");
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    let file = |name: &str| certs.join(name).display().to_string();
    let tls = [
        format!("http.tls.cert={}", file("server.pem")),
        format!("http.tls.key={}", file("server-key.pem")),
    ];
    for mqtt in [LOOPBACK, EVERYWHERE] {
        for http in [LOOPBACK, EVERYWHERE, "[::]:0"] {
            for has_users in [false, true] {
                for anonymous in [None, Some("true"), Some("false")] {
                    for has_tls in [false, true] {
                        let mut arguments = vec!["--mqtt", mqtt, "--http", http];
                        let word = anonymous.map(|word| format!("auth.anonymous={word}"));
                        let settings = has_users.then_some(&users).into_iter().chain(&word);
                        let settings = settings.chain(tls.iter().filter(|_| has_tls));
                        for setting in settings {
                            arguments.extend(["--set", setting]);
                        }
                        let is_reached = mqtt == EVERYWHERE || http != LOOPBACK;
                        let fault = match (has_users, anonymous) {
                            (false, Some("false")) => {
                                Some(("auth.anonymous", "set auth.passwd_file"))
                            }
                            (false, None) if is_reached => Some((
                                if mqtt == EVERYWHERE {
                                    "mqtt.bind"
                                } else {
                                    "http.bind"
                                },
                                "set auth.passwd_file",
                            )),
                            _ => None,
                        };
                        match (start(&arguments), fault) {
                            (Ok(()), None) => {}
                            (Err(said), Some((key, fix))) => {
                                assert!(
                                    said.contains(key) && said.contains(fix),
                                    "{arguments:?}: {said}"
                                );
                            }
                            (done, fault) => panic!("{arguments:?}: {done:?}, not {fault:?}"),
                        }
                    }
                }
            }
        }
    }
}
