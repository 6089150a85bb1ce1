//! The commands that the dashboard offers to copy, in a shell.

use crate::{
    program::run,
    support::{gateway::Gateway, http::Request},
};

/// Its line as Mosquitto writes it.
const HASH: &str = "$7$101$AAECAwQFBgcICQoL$Xr99N9ym9ys8TWxis5ajETJq6EVYzmc6nb8t3pUYnPBbCAbICS4xejTltonXWCtJNBvA+By+TXUqU6qCblO00w==";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copied_command_publishes_once_a_user_has_put_his_name_in() {
    let folder = tempfile::tempdir().expect("a folder");
    let passwords = folder.path().join("passwords");
    std::fs::write(&passwords, format!("ann:{HASH}\n")).expect("a password file");
    let setting = format!("auth.passwd_file={}", passwords.display());
    for (arguments, credentials) in [(&[][..], false), (&["--set", &setting][..], true)] {
        let gateway = Gateway::start(arguments);
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop/commands.mjs");
        let port = gateway.http.port().to_string();
        let said = run("node", &[script, &port, "copied"], b"").succeeded("node");
        for (command, payload) in said.lines().zip(["by curl", "by mosquitto_pub"]) {
            assert_eq!(command.contains("PASSWORD"), credentials, "{command}");
            let command = command.replace("USER", "ann").replace("PASSWORD", "secret");
            run("bash", &["-ec", &command], b"").succeeded(&command);
            let state = Request::get("/api/v1/topics/copied")
                .header("Authorization", "Basic YW5uOnNlY3JldA==");
            assert_eq!(state.send(gateway.http).await.text(), payload);
        }
        assert_eq!(said.lines().count(), 2, "{said}");
    }
}
