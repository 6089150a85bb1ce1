//! Sockets in the file system.

use std::os::unix::fs::PermissionsExt;

use crate::{
    certs::setting,
    program::{Running, run},
    support::gateway::Gateway,
};

fn arguments(folder: &std::path::Path) -> Vec<String> {
    let mqtt = setting("mqtt", "unix", folder.join("mqtt.sock"));
    let http = setting("http", "unix", folder.join("http.sock"));
    [mqtt, http].concat()
}

fn started(folder: &std::path::Path) -> Gateway {
    let arguments = arguments(folder);
    Gateway::start(&crate::certs::borrowed(&arguments))
}

#[tokio::test]
async fn mosquitto_and_curl_meet_over_sockets_in_the_file_system() {
    let folder = tempfile::tempdir().expect("a folder");
    let gateway = started(folder.path());
    let (mqtt, http) = (
        gateway.listening("mqtt-unix"),
        gateway.listening("http-unix"),
    );
    let subscriber = Running::start(
        "mosquitto_sub",
        &["-d", "-v", "--unix", mqtt, "-t", "over/+"],
    );
    subscriber.line(|line| line.starts_with("Subscribed"));
    let publish = ["--unix", mqtt, "-t", "over/mqtt", "-m", "1", "-q", "1"];
    run("mosquitto_pub", &publish, b"").succeeded("mosquitto_pub");
    assert_eq!(
        subscriber.line(|line| line.starts_with("over/")),
        "over/mqtt 1"
    );
    let curl = [
        "-sf",
        "--unix-socket",
        http,
        "-d",
        "2",
        "http://localhost/api/v1/topics/over/http",
    ];
    run("curl", &curl, b"").succeeded("curl");
    assert_eq!(
        subscriber.line(|line| line.starts_with("over/")),
        "over/http 2"
    );
    let stream = "http://localhost/api/v1/stream?topic=over/mqtt";
    let stream = Running::start("curl", &["-sN", "--unix-socket", http, stream]);
    stream.line(|line| line == "event: ready");
    run("mosquitto_pub", &publish, b"").succeeded("mosquitto_pub");
    stream.line(|line| line.contains("\"payload\":\"1\""));
    gateway
        .logs("peer=unix listener=\"mqtt-unix\" transport=\"unix\"")
        .await;
}

#[test]
fn only_owner_and_group_may_connect_and_the_files_go_with_the_gateway() {
    let folder = tempfile::tempdir().expect("a folder");
    let gateway = started(folder.path());
    for name in ["mqtt-unix", "http-unix"] {
        let metadata = std::fs::metadata(gateway.listening(name)).expect("it is there");
        assert_eq!(metadata.permissions().mode() & 0o777, 0o660);
    }
    gateway.stop();
    assert_eq!(
        std::fs::read_dir(folder.path()).expect("a folder").count(),
        0
    );
}

#[test]
fn what_a_killed_gateway_left_behind_is_replaced_and_a_live_socket_is_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let gateway = started(folder.path());
    let arguments = arguments(folder.path());
    let arguments = crate::certs::borrowed(&arguments);
    let mut second = Gateway::command(folder.path(), [0, 0], &arguments);
    let second = second.output().expect("it ends");
    let said = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(1), "{said}");
    assert!(
        said.contains("mqtt.unix = ") && said.contains("another process serves this socket"),
        "{said}"
    );
    let gateway = gateway.killed(&arguments);
    let curl = [
        "-sf",
        "--unix-socket",
        gateway.listening("http-unix"),
        "http://localhost/healthz",
    ];
    run("curl", &curl, b"").succeeded("curl");
}
