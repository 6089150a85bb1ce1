//! A browser's own EventSource, with the connections that it loses.

use std::net::TcpListener;

use crate::{program::Running, scripts::installed, support::gateway::Gateway};

const SETTINGS: &[&str] = &[
    "--set",
    "history=[{ filter = \"kept/#\" }, { filter = \"other/kept\" }]",
    "--set",
    "history_defaults.tail_bytes=64 KiB",
    "--set",
    "http.drain=2s",
    "--set",
];

#[test]
fn an_event_source_in_chromium_comes_back_to_all_it_missed_and_hears_of_gaps_and_goodbyes() {
    let here = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop");
    installed(format!("{here}/node_modules/playwright-core"));
    let chromium = installed("/usr/bin/chromium".to_owned());
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let pages = free.local_addr().expect("an address").port();
    drop(free);
    let origins = format!("http.origins=http://127.0.0.1:{pages}");
    let settings = [SETTINGS, &[origins.as_str()]].concat();

    let data = std::sync::Arc::new(tempfile::tempdir().expect("a folder"));
    let gateway = Gateway::start_on(data.clone(), &settings);
    let ports = [gateway.mqtt.port(), gateway.http.port()];
    let script = format!("{here}/eventsource.mjs");
    let (http, pages) = (ports[1].to_string(), pages.to_string());
    let browser = Running::start("node", &[&script, &http, &pages, &chromium]);
    let sees = |what: &str| {
        let said = browser.line(|line| line == what || line.starts_with("failed"));
        assert_eq!(said, what);
    };
    for what in ["browser", "messages", "resuming", "heartbeat"] {
        sees(&format!("seen {what}"));
    }
    sees("restart");
    gateway.stop();
    let _gateway = Gateway::start_at(data, ports, &settings);
    for what in [
        "goodbye",
        "gap",
        "trusted page",
        "middle age",
        "rotation",
        "foreign page",
    ] {
        sees(&format!("seen {what}"));
    }
}
