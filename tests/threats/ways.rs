//! Credentials, right and wrong, at the ways in and in the commands; and what is said about them.

use crate::{
    certs::Certs,
    setup,
    support::{
        gateway::Gateway,
        json_ws::{JsonSocket, PROTOCOL},
        mqtt::Link,
    },
};
use serde_json::json;
use std::{
    io::Write,
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
};
use tokio_tungstenite::tungstenite::Error;

pub const WRONG_PASSWORD: &str = "canary/wrong+password?";
pub const WRONG_TOKEN: &str = "Y2FuYXJ5.d3JvbmctdG9rZW4.c2lnbmF0dXJl";
pub const WRONG_TICKET: &str = "canary-wrong-ticket";
pub const WRONG_COOKIE: &str = "canary-wrong-cookie";

/// What the JSON WebSocket answers to credentials at all the places where they can stand, and where they should not.
pub async fn over_json_websockets(
    http: SocketAddr,
    cookie: &str,
    ticket: &str,
    token: &str,
) -> Vec<u8> {
    let mut said = vec![];
    for first in [token, WRONG_TOKEN, ticket, WRONG_PASSWORD] {
        for frame in [
            json!({"op": "auth", "token": first}),
            json!({"op": "auth", "token": [first]}),
            json!({"op": "auth", "pasword": first}),
            json!({"op": first}),
            json!({"op": "ping", "ref": {"a": first}}),
            json!({"op": "sub", "topics": ["u0/#"], "retained": first}),
        ] {
            let mut socket = JsonSocket::unwelcomed(http).await;
            socket.say(frame.to_string()).await;
            let answer = format!("{:?}", socket.next_or_close().await);
            said.extend(answer.into_bytes());
        }
    }
    for (query, headers) in [
        (format!("?ticket={ticket}"), vec![]),
        (format!("?ticket={WRONG_TICKET}"), vec![]),
        (format!("?access_token={token}"), vec![]),
        (
            String::new(),
            vec![("cookie", cookie.to_owned()), ("origin", own(http))],
        ),
        (String::new(), vec![("authorization", setup::basic("u0"))]),
        (
            format!("?ticket={ticket}"),
            vec![("authorization", format!("Bearer {token}"))],
        ),
        (
            String::new(),
            vec![("authorization", format!("Bearer {WRONG_TOKEN}"))],
        ),
    ] {
        let headers: Vec<(&'static str, &str)> = headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let path = format!("/api/v1/ws{query}");
        let answer = match Link::upgrade(http, &path, Some(PROTOCOL), &headers).await {
            Ok((_, head)) => format!("{head:?}"),
            Err(Error::Http(answer)) => {
                let body = answer.body().clone().unwrap_or_default();
                format!("{answer:?} {}", String::from_utf8_lossy(&body))
            }
            Err(other) => panic!("{path}: {other}"),
        };
        said.extend(answer.into_bytes());
    }
    said
}

fn own(http: SocketAddr) -> String {
    format!("http://{http}")
}

/// What is answered over HTTP/2 and TLS, to a client with a certificate of its own.
pub fn over_http2(gateway: &Gateway, certs: &Certs, given: &[String]) -> Vec<u8> {
    let [session, ticket, token] = given else {
        panic!("three were given out")
    };
    let place = format!("https://localhost:{}", gateway.port("https"));
    let topics = format!("{place}/api/v1/messages?topic=u0/a");
    let mut said = vec![];
    for (url, header, status) in [
        (
            &topics,
            format!("Authorization: {}", setup::basic("u0")),
            "200",
        ),
        (&topics, format!("Authorization: Bearer {token}"), "200"),
        (
            &topics,
            format!("Authorization: Bearer {WRONG_TOKEN}"),
            "401",
        ),
        (&topics, format!("Cookie: __Host-tidegate={session}"), "200"),
        (
            &topics,
            format!("Cookie: __Host-tidegate={WRONG_COOKIE}"),
            "401",
        ),
        (
            &format!("{topics}&ticket={ticket}"),
            "Accept: */*".to_owned(),
            "200",
        ),
        (
            &format!("{topics}&ticket={WRONG_TICKET}"),
            "Accept: */*".to_owned(),
            "401",
        ),
        (
            &format!("{place}/nothing?ticket={ticket}&token={token}"),
            "Accept: */*".to_owned(),
            "404",
        ),
        (
            &format!("{place}/auth/session"),
            format!("Authorization: Bearer {token}"),
            "200",
        ),
    ] {
        let files = ["ca.pem", "client.pem", "client-key.pem"].map(|file| certs.text(file));
        let output = Command::new("curl")
            .args([
                "-si",
                "--http2",
                "--max-time",
                "20",
                "-w",
                "\n%{http_version} %{http_code}",
            ])
            .args([
                "--cacert", &files[0], "--cert", &files[1], "--key", &files[2],
            ])
            .args(["-H", &header, url])
            .output()
            .expect("curl is installed by tests/run.sh");
        let answer = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            answer.ends_with(&format!("\n2 {status}")),
            "{header}: {answer}"
        );
        said.extend(output.stdout);
    }
    said
}

/// What the commands say that look at the files of a gateway, also where they are given the wrong ones.
pub fn by_commands(data: &Path, files: &Path) -> Vec<u8> {
    let file = |name: &str| files.join(name).display().to_string();
    let (data, passwords) = (data.display().to_string(), file("passwords"));
    let (rules, config) = (file("rules"), file("tidegate.toml"));
    let asked = ["--user", "u0", "publish", "u0/a"];
    let mut said = vec![];
    for (words, code) in [
        (vec!["explain", "--rules", &rules], 0),
        (vec!["explain", "--rules", &passwords], 2),
        (vec!["explain", "--acl", &passwords], 2),
        (vec!["explain", "--rules", &config], 2),
        (vec!["explain", "--acl", &config], 2),
        (vec!["store", "check", &data], 0),
        (vec!["store", "dump", &data], 0),
        (vec!["store", "dump", &passwords], 2),
        (vec!["check-config", &config], 0),
        (vec!["check-config", &passwords], 2),
        (vec!["check-config", "--example"], 0),
        (vec!["passwd", "--check", &passwords, "u0"], 1),
        (vec!["passwd", "--check", &config, "u0"], 2),
        (vec!["openapi"], 0),
    ] {
        let more: &[&str] = if words[0] == "explain" { &asked } else { &[] };
        let mut child = Command::new(env!("CARGO_BIN_EXE_tidegate"))
            .args(&words)
            .args(more)
            // which is for the tests, and no setting
            .env_remove("TIDEGATE_TEST_LONG")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it runs");
        let stdin = child.stdin.take().expect("a pipe");
        // one that asks for no password may be gone
        let _ = { stdin }.write_all(format!("{WRONG_PASSWORD}\n").as_bytes());
        let output = child.wait_with_output().expect("it ends");
        let text = [output.stdout, output.stderr].concat();
        let shown = String::from_utf8_lossy(&text);
        assert_eq!(output.status.code(), Some(code), "{words:?}: {shown}");
        assert!(!text.is_empty() || words[0] == "check-config", "{words:?}");
        said.extend(text);
    }
    said
}
