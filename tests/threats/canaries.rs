//! W7, W19: secrets are in no output. Every secret here is a canary, looked for in all that the gateway says and keeps.

use crate::{
    canary::{assert_silent, of_private_key},
    certs::{Certs, borrowed},
    setup,
    support::{
        gateway::Gateway,
        http::Request,
        mqtt::{Client, Link},
        stream::{Encoding, Stream},
        wire::{Opening, Version},
        within,
    },
    ways::{
        WRONG_COOKIE, WRONG_PASSWORD, WRONG_TICKET, WRONG_TOKEN, by_commands, over_http2,
        over_json_websockets,
    },
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;
use std::{fs, net::SocketAddr, path::Path, process::Command};

/// Comes in by every way with right and with wrong credentials; gives all that was answered, and what was given out.
async fn drive(gateway: &Gateway) -> (Vec<u8>, Vec<String>) {
    let (http, mut said) = (gateway.http, vec![]);
    let cookie = setup::cookie(http, "u0").await;
    let (_, session) = cookie.split_once('=').expect("a pair");
    let wish = json!({"topics": ["u0/#"], "actions": ["subscribe", "publish"]}).to_string();
    let wish = Request::post("/auth/tickets", wish)
        .header("Content-Type", "application/json")
        .header("Authorization", &setup::basic("u0"));
    let issued = wish.send(http).await.json();
    let ticket = issued["ticket"].as_str().expect("a ticket").to_owned();
    let bearer = setup::bearer("u0");
    let (_, token) = bearer.split_once(' ').expect("a scheme");

    let login =
        |user: &str, password: &str| json!({"user": user, "password": password}).to_string();
    let as_json = |body: String| {
        Request::post("/auth/session", body).header("Content-Type", "application/json")
    };
    let wrong_basic = STANDARD.encode(format!("u0:{WRONG_PASSWORD}"));
    let topics = || Request::get("/api/v1/topics?topic=u0/a");
    for request in [
        topics().header("Authorization", &setup::basic("u0")),
        topics().header("Authorization", &bearer),
        topics().header("Cookie", &cookie),
        Request::get(&format!("/api/v1/topics?topic=u0/a&ticket={ticket}")),
        Request::post(&format!("/api/v1/topics/u0/a?ticket={ticket}"), "x"),
        Request::get(&format!("/api/v1/topics?topic=u1/a&ticket={ticket}")),
        Request::get(&format!("/api/v1/topics?ticket={ticket}&ticket={ticket}")),
        Request::get(&format!("/nothing?ticket={ticket}&token={token}")),
        Request::get(&format!("/api/v1/topics?access_token={token}")),
        topics().header("Authorization", &format!("Basic {wrong_basic}")),
        topics().header("Authorization", &format!("Basic {WRONG_PASSWORD}")),
        topics().header("Authorization", &format!("Digest {WRONG_PASSWORD}")),
        topics().header("Authorization", &format!("Bearer {WRONG_TOKEN}")),
        topics().header("Authorization", &format!("Bearer {}x", token)),
        topics().header("Cookie", &format!("__Host-tidegate={WRONG_COOKIE}")),
        Request::get(&format!("/api/v1/topics?topic=u0/a&ticket={WRONG_TICKET}")),
        as_json(login("u0", WRONG_PASSWORD)),
        as_json(login("nobody", WRONG_PASSWORD)),
        as_json(format!(
            "{{\"user\":\"u0\",\"password\":\"{WRONG_PASSWORD}\",}}"
        )),
        as_json(format!(
            "{{\"user\":\"u0\",\"pasword\":\"{WRONG_PASSWORD}\"}}"
        )),
        as_json(format!(
            "{{\"user\":\"u0\",\"password\":[\"{WRONG_PASSWORD}\"]}}"
        )),
        as_json(json!({"token": WRONG_TOKEN}).to_string()),
        Request::post("/auth/session", login("u0", WRONG_PASSWORD)),
        Request::get("/metrics").header("Authorization", &setup::basic("u0")),
        Request::get("/openapi.json"),
        Request::get("/api/v1"),
    ] {
        let answer = request.send(http).await;
        assert_eq!(answer.header("set-cookie"), None);
        said.extend_from_slice(format!("{answer:?}").as_bytes());
        said.extend_from_slice(&answer.body);
    }
    let stream = Request::get(&format!("/api/v1/stream?topic=u0/a&ticket={ticket}"));
    let mut stream = Stream::on(stream.open(http).await, Encoding::Sse);
    let ready = stream.next().await;
    said.extend_from_slice(format!("{ready:?}").as_bytes());

    said.extend(over_json_websockets(http, &cookie, &ticket, token).await);
    for version in [Version::V31, Version::V311, Version::V5] {
        for (user, password) in [
            ("u0", setup::PASSWORD),
            ("u0", WRONG_PASSWORD),
            ("u0", token),
            ("u0", WRONG_TOKEN),
        ] {
            let opening = Opening::new(version, "canary").login(user, password);
            Client::open(Link::tcp(gateway.mqtt).await, &opening).await;
            Client::open(Link::websocket(http, version).await, &opening).await;
        }
    }
    (said, vec![session.to_owned(), ticket, token.to_owned()])
}

fn files_below(folder: &Path, into: &mut Vec<u8>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => files_below(&path, into),
            false => into.extend(fs::read(&path).expect("a file")),
        }
    }
}

/// The state below `$SYS`, as one reads it who may.
async fn numbers(http: SocketAddr) -> Vec<u8> {
    let numbers = Request::get("/api/v1/messages?topic=$SYS/%23&limit=1000")
        .header("Authorization", &setup::basic("u0"));
    within("numbers", async {
        loop {
            let answer = numbers.send(http).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            let messages = answer.json()["messages"].as_array().map_or(0, Vec::len);
            if messages > 20 {
                return answer.body;
            }
        }
    })
    .await
}

/// W7, W19: at the level that says most, in both formats, by all ways in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_in_logs_answers_numbers_or_the_data_folder() {
    for format in ["text", "json"] {
        let certs = Certs::new();
        let log = format!("log.format={format}");
        let mut settings: Vec<String> = ["log.level=trace", &log, "sys.interval=1s"]
            .into_iter()
            .flat_map(|setting| ["--set".to_owned(), setting.to_owned()])
            .collect();
        settings.extend(certs.beside("http.tls"));
        settings.extend(certs.client_ca("http.tls", "optional"));
        let (gateway, folder) = setup::guarded(&borrowed(&settings));
        let (mut said, given) = drive(&gateway).await;
        said.extend(over_http2(&gateway, &certs, &given));
        let mut secrets = given;
        for key in ["ca-key.pem", "server-key.pem", "client-key.pem"] {
            let key = fs::read_to_string(certs.path(key)).expect("dev-certs wrote it");
            secrets.extend(of_private_key(&key));
        }
        secrets.extend(
            [
                setup::PASSWORD,
                setup::HASH,
                setup::KEY,
                WRONG_PASSWORD,
                WRONG_TOKEN,
                WRONG_TICKET,
                WRONG_COOKIE,
            ]
            .map(str::to_owned),
        );

        said.extend(numbers(gateway.http).await);
        files_below(gateway.data(), &mut said);
        // what was said until now is in the log when this is
        let last = Request::get("/the-end").send(gateway.http).await;
        gateway
            .logs(last.header("request-id").expect("an id"))
            .await;
        said.extend_from_slice(gateway.log().as_bytes());
        let data = gateway.data().to_owned();
        let config = folder.path().join("tidegate.toml").display().to_string();
        let again = gateway.restarted_after(&["--config", &config], || {
            said.extend(by_commands(&data, folder.path()));
        });
        said.extend_from_slice(again.log().as_bytes());
        assert_silent(format, &said, &secrets);
    }
}

/// W19: a configuration with faults is told without what it keeps secret.
#[test]
fn no_secret_is_told_with_the_faults_of_a_configuration() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("t.toml");
    let secret = "canary of a secret for tokens that nobody may see";
    let entry = |more: &str| {
        format!(
            "[[auth.jwt]]\nalgorithms = [\"HS256\"]\nsecret = {secret:?}\naudience = \"a\"\n{more}"
        )
    };
    for text in [
        entry(""),
        entry("nonsense = 1\n"),
        entry("leeway = \"soon\"\n"),
        entry("file = \"/nowhere\"\n"),
        entry(&format!("secret = {secret:?}\n")),
        entry("[mqtt]\nbind = 7\n"),
        format!("[[auth.jwt]]\nsecret = [{secret:?}]\n"),
        format!("[[auth.jwt]]\nsecret = {secret:?} x\n"),
        format!("[[auth.jwt]]\nsecret = \"{secret}\n"),
        format!("[[auth.jwt]]\nalgorithms = [\"RS256\"]\nsecret = {secret:?}\naudience = \"a\"\n"),
        format!("auth.jwt = {secret:?}\n"),
        format!("[auth]\njwt = [{secret:?}]\n"),
    ] {
        fs::write(&path, &text).expect("a file");
        let mut said = vec![];
        for arguments in [
            vec!["check-config"],
            vec!["run", "--mqtt", "127.0.0.1:0", "--http", "nowhere"],
        ] {
            let arguments = match arguments[0] {
                "check-config" => [arguments, vec![path.to_str().expect("UTF-8")]].concat(),
                _ => [arguments, vec!["--config", path.to_str().expect("UTF-8")]].concat(),
            };
            let output = Command::new(env!("CARGO_BIN_EXE_tidegate"))
                .args(&arguments)
                .output()
                .expect("it runs");
            said.extend(output.stdout);
            said.extend(output.stderr);
        }
        assert!(!said.is_empty(), "{text}");
        assert_silent(&text, &said, &[secret.to_owned()]);
    }
    let value =
        format!("auth.jwt=[{{ algorithms = [\"HS256\"], secret = {secret:?}, nonsense = 1 }}]");
    let output = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["run", "--set", &value])
        .output()
        .expect("it runs");
    assert!(!output.status.success());
    assert_silent(
        "--set",
        &[output.stdout, output.stderr].concat(),
        &[secret.to_owned()],
    );
}
