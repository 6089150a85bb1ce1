//! Clients that are libraries of other languages: Paho for Python, MQTT.js in Node and in Chromium.

use std::path::Path;

use crate::{program::run, support::gateway::Gateway};

const HERE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop");

pub fn installed(path: String) -> String {
    assert!(
        Path::new(&path).exists(),
        "{path} is missing: run tests/run.sh once, it installs the clients"
    );
    path
}

#[test]
fn paho_for_python_speaks_every_version_over_tcp_and_websocket() {
    let gateway = Gateway::shared();
    let python =
        installed(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/.venv/bin/python").to_owned());
    let script = format!("{HERE}/paho_client.py");
    let (mqtt, http) = (
        gateway.mqtt.port().to_string(),
        gateway.http.port().to_string(),
    );
    let said = run(&python, &[&script, "127.0.0.1", &mqtt, &http], b"").succeeded("paho");
    assert_eq!(
        said.lines().filter(|line| line.starts_with("ok ")).count(),
        6,
        "{said}"
    );
}

#[test]
fn mqtt_js_speaks_every_version_over_tcp_and_websocket() {
    let gateway = Gateway::shared();
    installed(format!("{HERE}/node_modules/mqtt"));
    let script = format!("{HERE}/mqttjs.mjs");
    let (mqtt, http) = (
        gateway.mqtt.port().to_string(),
        gateway.http.port().to_string(),
    );
    let said = run("node", &[&script, "127.0.0.1", &mqtt, &http], b"").succeeded("MQTT.js");
    assert_eq!(
        said.lines().filter(|line| line.starts_with("ok ")).count(),
        12,
        "{said}"
    );
}

#[test]
fn a_page_in_chromium_hears_mqtt_through_event_source_and_speaks_it_through_websocket() {
    let gateway = Gateway::shared();
    installed(format!("{HERE}/node_modules/playwright-core"));
    let chromium = installed("/usr/bin/chromium".to_owned());
    let script = format!("{HERE}/browser.mjs");
    let said = run(
        "node",
        &[&script, &gateway.http.port().to_string(), &chromium],
        b"",
    )
    .succeeded("the browser");
    assert!(said.contains("ok browser"), "{said}");
}
