//! Certificates that change while the gateway runs.

use std::process::Command;

use rcgen::SerialNumber;

use crate::{
    certs::{Certs, borrowed},
    client::{connect, open_session, ping, shown},
    support::{gateway::Gateway, http::Request},
};

/// A number of `/metrics`.
async fn number(gateway: &Gateway, name: &str) -> u64 {
    let page = Request::get("/metrics").send(gateway.http).await.text();
    let line = page
        .lines()
        .find_map(|line| line.strip_prefix(&format!("{name} ")));
    line.and_then(|value| value.parse().ok())
        .unwrap_or_else(|| panic!("no {name} in {page}"))
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_to_newcomers_and_open_connections_stay() {
    let certs = Certs::new();
    let gateway = Gateway::start(&borrowed(&certs.beside("mqtt.tls")));
    let port = gateway.port("mqtts");
    let mut before = connect(&certs, port).await.expect("TLS");
    open_session(&mut before, "before")
        .await
        .expect("a session");
    certs.issue("renewed", |params| {
        params.serial_number = Some(SerialNumber::from(77))
    });
    // one after the other: in between they do not fit
    certs.replace("server.pem", "renewed.pem");
    certs.replace("server-key.pem", "renewed-key.pem");
    gateway.logs("certificates reloaded").await;
    let after = connect(&certs, port).await.expect("TLS");
    assert_eq!(shown(&after), [77]);
    assert_ne!(shown(&before), [77]);
    ping(&mut before).await;
    assert_eq!(number(&gateway, "tidegate_tls_reloads_total").await, 1);
    assert_eq!(number(&gateway, "tidegate_tls_outdated").await, 0);
}

#[tokio::test]
async fn what_is_wrong_with_new_files_is_told_and_the_old_ones_stay_in_use() {
    let certs = Certs::new();
    let gateway = Gateway::start(&borrowed(&certs.beside("mqtt.tls")));
    let port = gateway.port("mqtts");
    let first = shown(&connect(&certs, port).await.expect("TLS"));
    certs.issue("renewed", |params| {
        params.serial_number = Some(SerialNumber::from(77))
    });
    let fine = std::fs::read_to_string(certs.path("server.pem")).expect("it is there");
    let renewed = std::fs::read_to_string(certs.path("renewed.pem")).expect("it is there");
    for (text, told) in [
        ("garbage", "there is no certificate in it"),
        (&renewed, "does not fit the certificate"),
        (
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "cannot be used",
        ),
    ] {
        certs.write("server.pem", text);
        gateway.logs(told).await;
        assert_eq!(shown(&connect(&certs, port).await.expect("TLS")), first);
        assert_eq!(number(&gateway, "tidegate_tls_outdated").await, 1);
    }
    assert!(
        gateway
            .log()
            .contains("certificates not reloaded, those from before stay in use: mqtt.tls.")
    );
    certs.write("server.pem", &fine);
    gateway.logs("certificates can be used again").await;
    loop {
        if number(&gateway, "tidegate_tls_outdated").await == 0 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(number(&gateway, "tidegate_tls_reload_failures_total").await >= 3);
}

#[tokio::test]
async fn sighup_has_the_files_read_again_and_ends_nothing() {
    let certs = Certs::new();
    let gateway = Gateway::start(&borrowed(&certs.beside("mqtt.tls")));
    let mut open = connect(&certs, gateway.port("mqtts")).await.expect("TLS");
    open_session(&mut open, "open").await.expect("a session");
    certs.issue("renewed", |params| {
        params.serial_number = Some(SerialNumber::from(77))
    });
    certs.replace("server.pem", "renewed.pem");
    certs.replace("server-key.pem", "renewed-key.pem");
    let pid = gateway.pid().to_string();
    let sent = Command::new("kill")
        .args(["-HUP", &pid])
        .status()
        .expect("kill runs");
    assert!(sent.success());
    gateway.logs("certificates reloaded").await;
    ping(&mut open).await;
}
