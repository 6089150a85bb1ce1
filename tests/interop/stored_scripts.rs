//! What somebody has stored in topics to run in a browser, opened in one.

use std::net::TcpListener;

use crate::{program::run, scripts::installed, support::gateway::Gateway};

#[test]
fn no_page_image_or_script_that_a_topic_holds_runs_in_chromium() {
    let here = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop");
    installed(format!("{here}/node_modules/playwright-core"));
    let chromium = installed("/usr/bin/chromium".to_owned());
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let pages = free.local_addr().expect("an address").port();
    drop(free);
    let origins = format!("http.origins=http://127.0.0.1:{pages}");
    let gateway = Gateway::start(&["--set", &origins]);
    let script = format!("{here}/stored_script.mjs");
    let (http, pages) = (gateway.http.port().to_string(), pages.to_string());
    let said = run("node", &[&script, &http, &pages, &chromium], b"").succeeded("the browser");
    assert!(said.contains("ok stored scripts"), "{said}");
}
