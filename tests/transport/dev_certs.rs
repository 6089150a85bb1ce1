//! `tidegate dev-certs` prints settings and commands that work as they are.

use std::process::Command;

use crate::{certs::Certs, program::run, support::gateway::Gateway};

#[test]
fn the_settings_and_commands_that_are_printed_work() {
    let folder = tempfile::tempdir().expect("a folder");
    let made = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["dev-certs", "--out", "made", "--name", "gateway.example"])
        .current_dir(folder.path())
        .output()
        .expect("tidegate runs");
    let said = String::from_utf8_lossy(&made.stdout);
    assert!(made.status.success(), "{said}");
    let (settings, commands) = said.split_once("Then:").expect("two parts");
    let (settings, add) = settings.split_once("Add ").expect("a hint");
    let settings = settings.split_once("Settings:").expect("a title").1;
    let client_ca = add.split_once(" to let in").expect("an offer").0;
    // for both, on ports that are free
    let settings = settings.replace("\n\n[http.tls]", &format!("\n{client_ca}\n\n[http.tls]"));
    let settings = settings
        .replace(":8883", ":0")
        .replace(":8443", ":0")
        .replace("made/", &format!("{}/made/", folder.path().display()));
    let settings = format!(
        "{settings}{}\n",
        client_ca.replace("made/", &format!("{}/made/", folder.path().display()))
    );
    let file = folder.path().join("tidegate.toml");
    std::fs::write(&file, settings).expect("written");
    let gateway = Gateway::start(&["--config", &file.display().to_string()]);
    let commands: Vec<&str> = commands.trim().lines().collect();
    let [publish, curl] = commands[..] else {
        panic!("two commands in {said}");
    };
    for (command, port, from) in [
        (publish, gateway.port("mqtts"), "8883"),
        (curl, gateway.port("https"), "8443"),
    ] {
        let command = command.replace(from, &port.to_string());
        let command = format!("cd {} && {command}", folder.path().display());
        run("bash", &["-c", &command], b"").succeeded(&command);
    }
}

#[test]
fn a_further_name_is_one_the_certificate_is_good_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().display().to_string();
    let dev_certs = [
        "dev-certs",
        "--out",
        &out,
        "--name",
        "gateway.example",
        "--name",
        "192.0.2.7",
    ];
    let program = env!("CARGO_BIN_EXE_tidegate");
    run(program, &dev_certs, b"").succeeded("dev-certs");
    let [ca, server] =
        ["ca.pem", "server.pem"].map(|file| folder.path().join(file).display().to_string());
    for name in [
        ["-verify_hostname", "gateway.example"],
        ["-verify_hostname", "localhost"],
        ["-verify_ip", "192.0.2.7"],
        ["-verify_ip", "::1"],
    ] {
        let verify = [
            &[
                "verify",
                "-x509_strict",
                "-purpose",
                "sslserver",
                "-CAfile",
                &ca,
            ][..],
            &name,
            &[&server],
        ]
        .concat();
        run("openssl", &verify, b"").succeeded("openssl verify");
    }
    let again = run(program, &dev_certs, b"");
    assert_eq!(again.code, Some(1));
    assert!(
        again.stderr.contains("is there already"),
        "{}",
        again.stderr
    );
}

#[test]
fn two_folders_have_nothing_in_common() {
    let (one, other) = (Certs::new(), Certs::new());
    let serial = |certs: &Certs| std::fs::read(certs.path("ca.pem")).expect("it is there");
    assert_ne!(serial(&one), serial(&other));
}
