//! Pages of other origins in a browser, whose visitor is logged in to the gateway; and names that are rebound to it.

use std::net::TcpListener;

use crate::{program::run_for, scripts::installed, support::gateway::Gateway};

const USER: &str = "u0";
const PASSWORD: &str = "secret";
/// Its line as Mosquitto writes it (PBKDF2 with few rounds, so that tests do not wait for it).
const HASH: &str = "$7$101$AAECAwQFBgcICQoL$Xr99N9ym9ys8TWxis5ajETJq6EVYzmc6nb8t3pUYnPBbCAbICS4xejTltonXWCtJNBvA+By+TXUqU6qCblO00w==";
const RULES: &str = "[[rule]]\nallow = [\"publish\", \"subscribe\", \"retain\"]\nusers = [\"*\"]\n\
                     topics = [\"done/#\", \"kept/#\", \"$SYS/#\"]\n";

fn script(name: &str) -> (String, String) {
    let here = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop");
    installed(format!("{here}/node_modules/playwright-core"));
    let chromium = installed("/usr/bin/chromium".to_owned());
    (format!("{here}/{name}"), chromium)
}

/// Attacks a gateway that trusts the origin at `trusted`, if it is not 0.
fn attacked_by_foreign_pages(trusted: u16) {
    let (script, chromium) = script("foreign.mjs");
    let folder = tempfile::tempdir().expect("a folder");
    let (passwords, rules) = (folder.path().join("passwords"), folder.path().join("rules"));
    // a second user, whom a page could log its visitor in as
    let users = [USER.to_owned(), format!("{USER}2")].map(|user| format!("{user}:{HASH}\n"));
    std::fs::write(&passwords, users.concat()).expect("a password file");
    std::fs::write(&rules, RULES).expect("a rule file");
    let mut settings = vec![
        format!("auth.passwd_file={}", passwords.display()),
        format!("auth.rules_file={}", rules.display()),
    ];
    if trusted != 0 {
        settings.push(format!("http.origins=http://localhost:{trusted}"));
    }
    let arguments: Vec<&str> = settings.iter().flat_map(|it| ["--set", it]).collect();
    let gateway = Gateway::start(&arguments);
    let (http, trusted) = (gateway.http.port().to_string(), trusted.to_string());
    let arguments = [&script, &http, &trusted, &chromium, USER, PASSWORD];
    let said = run_for(180, "node", &arguments, b"").succeeded("the browser");
    assert!(said.contains("ok foreign"), "{said}");
}

/// W1, W3
#[test]
fn a_foreign_page_in_chromium_does_and_reads_nothing_where_no_origin_is_trusted() {
    attacked_by_foreign_pages(0);
}

/// W1, W2, W3
#[test]
fn a_foreign_page_in_chromium_does_and_reads_nothing_where_another_origin_is_trusted() {
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let trusted = free.local_addr().expect("an address").port();
    drop(free);
    attacked_by_foreign_pages(trusted);
}

/// W4
#[test]
fn a_name_that_is_rebound_to_the_gateway_gives_its_page_in_chromium_nothing() {
    let (script, chromium) = script("rebinding.mjs");
    let name = "gate.test";
    let gateway = Gateway::start(&["--set", &format!("http.hosts={name}")]);
    let http = gateway.http.port().to_string();
    let said =
        run_for(120, "node", &[&script, &http, name, &chromium], b"").succeeded("the browser");
    assert!(said.contains("ok rebinding"), "{said}");
}
