//! What is wrong with certificates is told at the start, with the setting and what to do.

use std::process::Output;

use rcgen::date_time_ymd;

use crate::{
    certs::{Certs, borrowed, setting},
    support::gateway::Gateway,
};

fn started(arguments: &[String]) -> Output {
    let data = tempfile::tempdir().expect("a folder");
    let mut command = Gateway::command(data.path(), [0, 0], &borrowed(arguments));
    command.output().expect("it ends")
}

#[test]
fn files_that_cannot_be_used_are_told_with_their_setting_and_the_remedy() {
    let certs = Certs::new();
    certs.issue("other", |_| {});
    certs.write("garbage.pem", "garbage");
    certs.write(
        "broken.pem",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    );
    let with_ca = [
        certs.settings("mqtt.tls"),
        certs.client_ca("mqtt.tls", "required"),
    ]
    .concat();
    for (arguments, name, file, told) in [
        (
            certs.settings("mqtt.tls"),
            "cert",
            "nowhere.pem",
            "there is no such file",
        ),
        (
            certs.settings("http.tls"),
            "key",
            "nowhere.pem",
            "tidegate dev-certs",
        ),
        (
            certs.settings("mqtt.tls"),
            "cert",
            "garbage.pem",
            "there is no certificate in it",
        ),
        (
            certs.settings("mqtt.tls"),
            "key",
            "garbage.pem",
            "there is no private key in it",
        ),
        (
            certs.settings("mqtt.tls"),
            "key",
            "server.pem",
            "there is no private key in it",
        ),
        (
            certs.settings("mqtt.tls"),
            "cert",
            "broken.pem",
            "cannot be used",
        ),
        (
            certs.settings("http.tls"),
            "key",
            "other-key.pem",
            "does not fit the certificate in",
        ),
        (
            with_ca.clone(),
            "client_ca",
            "garbage.pem",
            "there is no certificate in it",
        ),
        (with_ca.clone(), "client_ca", "broken.pem", "cannot be used"),
        (
            with_ca,
            "crl",
            "server.pem",
            "there is no revocation list in it",
        ),
    ] {
        let section = arguments[1]
            .split_once(".cert=")
            .expect("the first setting")
            .0
            .to_owned();
        let arguments = [arguments, setting(&section, name, certs.path(file))].concat();
        let output = started(&arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        let begin = format!("{section}.{name}: {}: ", certs.text(file));
        assert!(
            said.contains(&begin) && said.contains(told),
            "{begin}{told}: {said}"
        );
    }
}

#[test]
fn all_files_that_cannot_be_used_are_told_at_once_also_by_who_only_checks() {
    let certs = Certs::new();
    certs.write("garbage.pem", "garbage");
    let [missing, garbage] = ["nowhere.pem", "garbage.pem"].map(|file| certs.text(file));
    let [cert, key] = ["server.pem", "server-key.pem"].map(|file| certs.text(file));
    let text = format!(
        "[mqtt.tls]\ncert = {missing:?}\nkey = {garbage:?}\nclient_ca = {garbage:?}\n\
         [http.tls]\ncert = {cert:?}\nkey = {key:?}\nclient_ca = {missing:?}\n\
         [auth]\npasswd_file = {missing:?}\n"
    );
    certs.write("settings.toml", &text);
    let settings = certs.text("settings.toml");
    let checked = crate::program::run(
        env!("CARGO_BIN_EXE_tidegate"),
        &["check-config", &settings],
        b"",
    );
    let started = started(&["--config".to_owned(), settings]);
    let started = (
        started.status.code(),
        String::from_utf8_lossy(&started.stderr).into_owned(),
    );
    for (code, said) in [(checked.code, checked.stderr), started] {
        assert_eq!(code, Some(2), "{said}");
        let told = [
            format!("auth.passwd_file: {missing} "),
            format!("mqtt.tls.cert: {missing}: there is no such file"),
            format!("mqtt.tls.client_ca: {garbage}: there is no certificate in it"),
            format!("http.tls.client_ca: {missing}: there is no such file"),
        ];
        let lines: Vec<&str> = said.lines().collect();
        for told in told {
            assert!(
                lines.iter().any(|line| line.contains(&told)),
                "{told}: {said}"
            );
        }
    }
}

#[tokio::test]
async fn an_expired_certificate_and_a_key_for_everybody_are_served_with_a_warning() {
    let certs = Certs::new();
    certs.issue("expired", |params| {
        params.not_after = date_time_ymd(2021, 1, 1)
    });
    certs.replace("server.pem", "expired.pem");
    certs.replace("server-key.pem", "expired-key.pem");
    let gateway = Gateway::start(&borrowed(&certs.beside("mqtt.tls")));
    gateway.logs("the certificate has expired").await;
    gateway.logs("give it mode 0600").await;
}

#[test]
fn what_keeps_a_gateway_from_starting_is_told_with_the_remedy() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("a-file"), "").expect("a file");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = taken.local_addr().expect("its address").to_string();
    for (arguments, told) in [
        (
            ["--set", &format!("store.path={}", path("a-file"))],
            "a-file\": there is a file of this name",
        ),
        (
            ["--set", &format!("mqtt.bind={taken}")],
            "another program listens there: stop it, or choose another address with --mqtt ADDR",
        ),
        (
            ["--set", &format!("http.bind={taken}")],
            "choose another address with --http ADDR",
        ),
        (
            ["--set", &format!("auth.rules_file={}", path("none"))],
            "none is not there; write a rule into it, such as [[rule]] allow =",
        ),
        (
            ["--set", &format!("auth.acl_file={}", path("none"))],
            "none is not there; copy Mosquitto's ACL file there",
        ),
        (
            ["--set", "mqtt.port=1883"],
            "mqtt.port: unknown setting; [mqtt] has bind",
        ),
        (
            ["--set", "http.bind.port=80"],
            "http.bind.port: http.bind has no parts; expected an IP address",
        ),
        (
            [
                "--set",
                "history=[{ filter = \"a\", max_age = \"7 days\" }]",
            ],
            "history: entry 1: max_age: expected a number with a unit",
        ),
    ] {
        let output = started(&arguments.map(str::to_owned));
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && text.contains(told), "{text}");
    }
}

#[test]
fn a_client_that_finds_nobody_says_where_it_looked() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = nobody.local_addr().expect("its address").port().to_string();
    drop(nobody);
    for version in ["5", "311"] {
        let tidegate = std::process::Command::new(env!("CARGO_BIN_EXE_tidegate"))
            .args(["pub", "-h", "127.0.0.1", "-p", &port, "-V", version])
            .args(["-t", "a", "-m", "x"])
            .output()
            .expect("it ends");
        let text = String::from_utf8_lossy(&tidegate.stderr);
        let told = format!("127.0.0.1:{port}: ");
        assert!(text.contains(&told) && text.contains("refused"), "{text}");
    }
}
