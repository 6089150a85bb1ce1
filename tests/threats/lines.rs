//! W17: what others write makes no lines of its own in the log.

use crate::support::{
    gateway::Gateway,
    http::{Request, encode},
    mqtt::{Client, Link},
    wire::{Opening, Version},
};
use serde_json::Value;

/// A line that somebody would like to see in the log.
const FORGED: &str = "FORGED-LINE";

fn texts() -> Vec<String> {
    let breaks = [
        "\n",
        "\r",
        "\r\n",
        "\u{b}",
        "\u{c}",
        "\u{85}",
        "\u{2028}",
        "\u{2029}",
        "\u{1b}[2K\r",
        "\u{1b}]0;",
        "\u{202e}",
        "\u{7f}",
        "\"}\n{\"message\":\"",
        "\\n",
    ];
    breaks.map(|text| format!("a{text}{FORGED}{text}b")).into()
}

async fn drive(gateway: &Gateway) {
    for text in texts() {
        for version in [Version::V311, Version::V5] {
            let opening = Opening::new(version, &text).login(&text, &text);
            let (mut client, welcome) = Client::open(Link::tcp(gateway.mqtt).await, &opening).await;
            if welcome.code == 0 {
                client.subscribe(&[(&text, 1)]).await;
                client.disconnect().await;
            }
        }
        let value = encode(&text);
        let header: String = text.chars().filter(|c| !c.is_control()).collect();
        for request in [
            Request::get(&format!("/{value}")),
            Request::get(&format!("/api/v1/topics/{value}")),
            Request::post(&format!("/api/v1/topics?topic={value}"), text.as_str()),
            Request::post(
                &format!("/api/v1/topics?topic=a&user={value}"),
                text.as_str(),
            ),
            Request::get(&format!("/api/v1/stream?topic=%23/{value}")),
            Request::get("/api/v1/stream?topic=a")
                .header("Last-Event-ID", &header)
                .header("Accept", "nothing/else"),
            Request::get("/api/v1")
                .header("User-Agent", &header)
                .header("Origin", &header),
            Request::post("/api/v1/topics/a", "x").header("Origin", &header),
            Request::get("/api/v1").host(&header.replace(char::is_whitespace, "")),
            Request::new(
                &format!(
                    "X{}",
                    header.replace(|c: char| !c.is_ascii_alphanumeric(), "")
                ),
                "/api/v1",
            ),
        ] {
            request.send(gateway.http).await;
        }
    }
    // what has been said is in the log when the last request is
    let answer = Request::get("/the-end").send(gateway.http).await;
    let id = answer.header("request-id").expect("an id").to_owned();
    gateway.logs(&id).await;
}

/// W17: each line of JSON is one object, in which what others wrote is a value.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_line_of_the_json_log_is_one_object_whatever_others_write() {
    let gateway = Gateway::start(&["--set", "log.level=trace", "--set", "log.format=json"]);
    drive(&gateway).await;
    let log = gateway.log();
    let lines: Vec<&str> = log
        .lines()
        .filter(|line| line.starts_with('{') || line.contains(FORGED))
        .collect();
    assert!(lines.len() > 100, "{}", lines.len());
    for line in lines {
        let object: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        let message = object["message"].as_str().unwrap_or_default();
        assert!(!message.contains(FORGED), "{line}");
        assert!(!line.chars().any(char::is_control), "{line:?}");
    }
}

/// W17: each line of text begins with its time and level, and has nothing that moves a cursor.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_line_of_the_text_log_is_one_event_whatever_others_write() {
    let gateway = Gateway::start(&["--set", "log.level=trace"]);
    drive(&gateway).await;
    let log = gateway.log();
    for line in log.split(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']) {
        assert!(
            !line.chars().any(|c| c.is_control() || c == '\u{202e}'),
            "{line:?}"
        );
        if line.contains(FORGED) {
            assert!(line.starts_with("20") && line.contains('Z'), "{line:?}");
        }
    }
}
