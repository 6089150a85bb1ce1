//! The dashboard of a gateway with users, in a browser.

use crate::{program::run_for, scripts::installed, support::gateway::Gateway};

/// Shown by the page, and so written by somebody who would like it to run.
const USER: &str = "u0<img src=x onerror=ran.push(0)>";
const PASSWORD: &str = "secret";
/// What tokens are signed with.
const KEY: &str = "a secret of at least thirty-two bytes";
/// Its line as Mosquitto writes it (PBKDF2 with few rounds, so that tests do not wait for it).
const HASH: &str = "$7$101$AAECAwQFBgcICQoL$Xr99N9ym9ys8TWxis5ajETJq6EVYzmc6nb8t3pUYnPBbCAbICS4xejTltonXWCtJNBvA+By+TXUqU6qCblO00w==";
const RULES: &str =
    "[[rule]]\nallow = [\"publish\", \"subscribe\"]\nusers = [\"*\"]\ntopics = [\"seen/#\"]\n";

#[test]
fn the_dashboard_logs_in_and_out_and_runs_nothing_that_others_wrote() {
    let here = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop");
    installed(format!("{here}/node_modules/playwright-core"));
    let chromium = installed("/usr/bin/chromium".to_owned());
    let folder = tempfile::tempdir().expect("a folder");
    let (passwords, rules) = (folder.path().join("passwords"), folder.path().join("rules"));
    std::fs::write(&passwords, format!("{USER}:{HASH}\n")).expect("a password file");
    std::fs::write(&rules, RULES).expect("a rule file");
    let gateway = Gateway::start(&[
        "--set",
        &format!("auth.passwd_file={}", passwords.display()),
        "--set",
        &format!("auth.rules_file={}", rules.display()),
        "--set",
        &format!("auth.jwt=[{{algorithms=[\"HS256\"],secret={KEY:?},audience=\"tidegate\"}}]"),
        "--set",
        "auth.failed_logins=0",
    ]);
    let (script, http) = (
        format!("{here}/dashboard.mjs"),
        gateway.http.port().to_string(),
    );
    // BROWSER_PICTURES names a folder for pictures of what the test sees
    let pictures = std::env::var("BROWSER_PICTURES").unwrap_or_default();
    let arguments = [&script, &http, &chromium, USER, PASSWORD, KEY, &pictures];
    let said = run_for(180, "node", &arguments, b"").succeeded("the dashboard");
    assert!(said.contains("ok dashboard"), "{said}");
}
