//! The container files say what the code says. No container engine is needed: both files are read, and the health
//! check is run as the engine would run it.

use serde_norway::Value;
use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    net::{Ipv4Addr, TcpListener},
    path::Path,
    process::Command,
    thread,
};
use tidegate::config::{self, Settings};

const DOCKERFILE: &str = include_str!("../Dockerfile");
const COMPOSE: &str = include_str!("../docker-compose.yml");

/// The instructions of the stage that is shipped, as (keyword, rest), lines joined.
fn instructions() -> Vec<(String, String)> {
    let joined = DOCKERFILE
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .collect::<Vec<_>>()
        .join("\n")
        .replace("\\\n", " ");
    let all: Vec<_> = joined
        .lines()
        .filter_map(|line| line.trim().split_once(char::is_whitespace))
        .map(|(keyword, rest)| (keyword.to_owned(), rest.trim().to_owned()))
        .collect();
    let last = all.iter().rposition(|(keyword, _)| keyword == "FROM");
    all[last.expect("there is a FROM")..].to_vec()
}

fn the(keyword: &str) -> String {
    let mut found = instructions()
        .into_iter()
        .filter(|(found, _)| found == keyword);
    let (_, rest) = found
        .next()
        .unwrap_or_else(|| panic!("the Dockerfile has no {keyword}"));
    assert!(found.next().is_none(), "{keyword} stands there once");
    rest
}

fn image_environment() -> BTreeMap<String, String> {
    let pair = |word: &str| {
        let (name, value) = word.split_once('=').expect("NAME=VALUE");
        (name.to_owned(), value.to_owned())
    };
    the("ENV").split_whitespace().map(pair).collect()
}

fn service() -> Value {
    let compose: Value = serde_norway::from_str(COMPOSE).expect("docker-compose.yml is YAML");
    compose["services"]["tidegate"].clone()
}

fn texts(list: &Value) -> Vec<String> {
    let list = list.as_sequence().expect("a list");
    let text = |item: &Value| item.as_str().expect("a text").to_owned();
    list.iter().map(text).collect()
}

fn compose_environment() -> BTreeMap<String, String> {
    let service = service();
    let pairs = service["environment"].as_mapping().expect("a mapping");
    let text = |value: &Value| {
        value
            .as_str()
            .expect("quoted, so that YAML leaves it alone")
            .to_owned()
    };
    pairs
        .iter()
        .map(|(name, value)| (text(name), text(value)))
        .collect()
}

fn default_ports() -> [u16; 2] {
    let defaults = Settings::default();
    [defaults.mqtt.bind.port(), defaults.http.bind.port()]
}

#[test]
fn the_service_starts_with_settings_that_the_gateway_accepts() {
    let mut environment = image_environment();
    environment.extend(compose_environment());
    let settings = config::load(None, environment.into_iter(), vec![]).expect("no faults");
    assert_eq!(settings.auth.anonymous, Some(true));
    assert_eq!(
        [settings.mqtt.bind.port(), settings.http.bind.port()],
        default_ports()
    );
    for bind in [settings.mqtt.bind, settings.http.bind] {
        assert_eq!(bind.ip(), Ipv4Addr::UNSPECIFIED);
    }
    assert_eq!(settings.store.path, Path::new("/data"));
}

#[test]
fn the_image_alone_opens_itself_to_nobody_until_told() {
    let faults = config::load(None, image_environment().into_iter(), vec![]).unwrap_err();
    let faults = faults.to_string();
    assert_eq!(
        faults.matches("set auth.anonymous = true").count(),
        2,
        "{faults}"
    );
}

#[test]
fn the_image_exposes_the_default_ports_and_runs_as_nobody_special() {
    let exposed: Vec<u16> = the("EXPOSE")
        .split_whitespace()
        .map(|port| port.parse().expect("a port"))
        .collect();
    assert_eq!(exposed, default_ports());
    let user = the("USER");
    let user = user.split(':').next().expect("a user");
    assert!(
        user.parse::<u32>().is_ok_and(|id| id > 0),
        "a number, so that orchestrators see that it is not root"
    );
    assert_eq!(the("VOLUME"), "/data");
    assert_eq!(the("ENTRYPOINT"), r#"["tidegate"]"#);
}

#[test]
fn the_image_is_built_with_the_toolchain_and_profile_of_the_manifest() {
    let manifest = include_str!("../Cargo.toml");
    let version = manifest
        .lines()
        .find_map(|line| line.strip_prefix("rust-version = "))
        .expect("rust-version")
        .trim_matches('"');
    assert!(DOCKERFILE.contains(&format!("FROM rust:{version}-bookworm AS build")));
    assert!(DOCKERFILE.contains("cargo build --profile dist --locked"));
    assert!(manifest.contains("[profile.dist]"));
    assert!(instructions()[0].1.starts_with("debian:bookworm-slim"));
}

#[test]
fn only_this_machine_reaches_the_published_ports() {
    let published = texts(&service()["ports"]);
    let expected = default_ports().map(|port| format!("127.0.0.1:{port}:{port}"));
    assert_eq!(published, expected);
}

#[test]
fn the_service_can_write_to_its_data_and_to_nothing_else() {
    let service = service();
    assert_eq!(service["read_only"], Value::Bool(true));
    assert_eq!(texts(&service["cap_drop"]), ["ALL"]);
    assert_eq!(texts(&service["security_opt"]), ["no-new-privileges:true"]);
    assert_eq!(texts(&service["tmpfs"]), ["/tmp"]);
    assert_eq!(texts(&service["volumes"]), ["data:/data"]);
    assert!(service["user"].is_null(), "the image's user stays");
    assert!(service["privileged"].is_null());
}

/// Whether the image's health check is content with a gateway that answers `answer`.
fn is_healthy(answer: Option<&'static str>) -> bool {
    let check = the("HEALTHCHECK");
    let (_, command) = check.split_once("CMD ").expect("HEALTHCHECK … CMD");
    let command: Vec<String> = serde_json::from_str(command).expect("the exec form");
    let gateway = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = gateway.local_addr().expect("an address").port();
    let default = format!("/127.0.0.1/{}", default_ports()[1]);
    assert!(command[2].contains(&default), "it asks at the default port");
    let script = command[2].replace(&default, &format!("/127.0.0.1/{port}"));
    match answer {
        // nobody listens there any more
        None => drop(gateway),
        Some(answer) => {
            thread::spawn(move || {
                let (mut stream, _) = gateway.accept().expect("the check connects");
                let request: Vec<String> = BufReader::new(&stream)
                    .lines()
                    .map_while(Result::ok)
                    .take_while(|line| !line.is_empty())
                    .collect();
                // names that the Host check accepts, and a path that drains tell
                let is_right = request[0] == "GET /readyz HTTP/1.1"
                    && request.contains(&"Host: localhost".to_owned());
                let answer = if is_right { answer } else { "400 Bad Request" };
                let _ = write!(stream, "HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n");
            });
        }
    }
    let status = Command::new(&command[0])
        .arg(&command[1])
        .arg(script)
        .output()
        .expect("bash starts")
        .status;
    status.success()
}

#[test]
fn the_health_check_tells_a_ready_gateway_from_one_that_is_not() {
    assert!(is_healthy(Some("200 OK")));
    assert!(!is_healthy(Some("503 Service Unavailable")));
    assert!(!is_healthy(None));
    assert!(service()["healthcheck"]["disable"].is_null());
}
