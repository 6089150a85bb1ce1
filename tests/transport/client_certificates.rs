//! Who gets in where clients are asked for certificates.

use std::time::Duration;

use rcgen::{SerialNumber, date_time_ymd};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    certs::{Certs, borrowed, setting},
    client::{Connector, Tls, ended, open_session, ping},
    program::run,
    support::{gateway::Gateway, within},
};

/// Whether a client with this certificate gets a session.
async fn gets_in(certs: &Certs, gateway: &Gateway, certificate: Option<&str>) -> bool {
    let connector = Connector {
        certs,
        certificate,
        alpn: &[],
    };
    let Ok(mut stream) = within("TLS", connector.connect(gateway.port("mqtts"))).await else {
        return false;
    };
    // in TLS 1.3 a client learns only now what became of its certificate
    open_session(&mut stream, "certified").await.is_ok()
}

#[tokio::test]
async fn where_certificates_are_required_only_valid_ones_of_the_ca_get_in() {
    let (certs, others) = (Certs::new(), Certs::new());
    certs.issue("expired", |params| {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
    });
    for file in ["client.pem", "client-key.pem"] {
        let text = std::fs::read_to_string(others.path(file)).expect("it is there");
        certs.write(&format!("foreign-{file}"), &text);
    }
    certs.replace("foreign.pem", "foreign-client.pem");
    certs.replace("foreign-key.pem", "foreign-client-key.pem");
    let arguments = [
        certs.beside("mqtt.tls"),
        certs.client_ca("mqtt.tls", "required"),
    ]
    .concat();
    let gateway = Gateway::start(&borrowed(&arguments));
    assert!(gets_in(&certs, &gateway, Some("client")).await);
    assert!(!gets_in(&certs, &gateway, None).await);
    assert!(!gets_in(&certs, &gateway, Some("foreign")).await);
    assert!(!gets_in(&certs, &gateway, Some("expired")).await);
    // a server's certificate is for servers
    assert!(!gets_in(&certs, &gateway, Some("server")).await);
    gateway.refused_at_least("tls", 4).await;
}

#[tokio::test]
async fn where_certificates_are_optional_none_is_fine_and_a_wrong_one_is_not() {
    let certs = Certs::new();
    certs.issue("expired", |params| {
        params.not_after = date_time_ymd(2021, 1, 1)
    });
    let arguments = [
        certs.beside("mqtt.tls"),
        certs.client_ca("mqtt.tls", "optional"),
    ]
    .concat();
    let gateway = Gateway::start(&borrowed(&arguments));
    assert!(gets_in(&certs, &gateway, None).await);
    assert!(gets_in(&certs, &gateway, Some("client")).await);
    assert!(!gets_in(&certs, &gateway, Some("expired")).await);
}

#[tokio::test]
async fn a_revoked_certificate_is_refused_also_when_it_is_revoked_later() {
    let certs = Certs::new();
    for (name, serial) in [("first", 1), ("second", 2)] {
        certs.issue(name, |params| {
            params.serial_number = Some(SerialNumber::from(serial))
        });
    }
    certs.revoke(&[1]);
    let arguments = [
        certs.beside("mqtt.tls"),
        certs.client_ca("mqtt.tls", "required"),
        setting("mqtt.tls", "crl", certs.path("crl.pem")),
    ];
    let gateway = Gateway::start(&borrowed(&arguments.concat()));
    assert!(!gets_in(&certs, &gateway, Some("first")).await);
    assert!(gets_in(&certs, &gateway, Some("second")).await);
    certs.revoke(&[1, 2]);
    gateway.logs("certificates reloaded").await;
    assert!(!gets_in(&certs, &gateway, Some("second")).await);
}

#[test]
fn curl_and_mosquitto_get_in_with_their_certificates() {
    let certs = Certs::new();
    let arguments = [
        certs.beside("mqtt.tls"),
        certs.client_ca("mqtt.tls", ""),
        certs.beside("http.tls"),
        certs.client_ca("http.tls", "required"),
    ];
    let gateway = Gateway::start(&borrowed(&arguments.concat()));
    let [ca, cert, key] = ["ca.pem", "client.pem", "client-key.pem"].map(|file| certs.text(file));
    let url = format!("https://localhost:{}/healthz", gateway.port("https"));
    for version in ["--http1.1", "--http2"] {
        let curl = ["-sf", version, "--cacert", &ca, &url];
        assert_ne!(run("curl", &curl, b"").code, Some(0));
        let curl = [&curl[..], &["--cert", &cert, "--key", &key]].concat();
        run("curl", &curl, b"").succeeded("curl");
    }
    let port = gateway.port("mqtts").to_string();
    let mosquitto = [
        "-h",
        "localhost",
        "-p",
        &port,
        "--cafile",
        &ca,
        "-t",
        "a",
        "-m",
        "b",
        "-q",
        "1",
    ];
    assert_ne!(run("mosquitto_pub", &mosquitto, b"").code, Some(0));
    let mosquitto = [&mosquitto[..], &["--cert", &cert, "--key", &key]].concat();
    run("mosquitto_pub", &mosquitto, b"").succeeded("mosquitto_pub");
}

#[test]
fn a_name_in_a_clients_certificate_is_its_user_over_mqtt_and_http() {
    let certs = Certs::new();
    certs.issue("pump-7", |_| {});
    certs.write(
        "rules",
        "[[rule]]\nallow = [\"publish\", \"subscribe\"]\nusers = [\"*\"]\ntopics = [\"of/%u/#\"]\n",
    );
    let arguments = [
        certs.beside("mqtt.tls"),
        certs.client_ca("mqtt.tls", "optional"),
        certs.beside("http.tls"),
        certs.client_ca("http.tls", "optional"),
        setting("auth", "certificate_user", "cn"),
        setting("auth", "rules_file", certs.path("rules")),
    ];
    let gateway = Gateway::start(&borrowed(&arguments.concat()));
    let [ca, cert, key] = ["ca.pem", "pump-7.pem", "pump-7-key.pem"].map(|file| certs.text(file));
    let with = ["--cert", &cert, "--key", &key];
    let web = format!("https://localhost:{}", gateway.port("https"));
    let who = format!("{web}/auth/session");
    let curl = ["-s", "--cacert", &ca];
    let told = run("curl", &[&curl[..], &with, &[&who]].concat(), b"");
    let told = told.succeeded("curl");
    assert!(told.contains("\"user\":\"pump-7\""), "{told}");
    for (topic, with, status) in [
        ("of/pump-7/x", &with[..], "200"),
        ("of/pump-8/x", &with[..], "403"),
        ("of/pump-7/x", &[], "401"),
    ] {
        let url = format!("{web}/api/v1/topics/{topic}");
        let post = ["-o", "/dev/null", "-w", "%{http_code}", "-d", "x", &url];
        let answered = run("curl", &[&curl[..], with, &post].concat(), b"");
        assert_eq!(answered.succeeded("curl"), status, "{topic}");
    }
    let port = gateway.port("mqtts").to_string();
    for (topic, with, is_in) in [
        ("of/pump-7/x", &with[..], true),
        ("of/pump-8/x", &with[..], false),
        ("of/pump-7/x", &[], false),
    ] {
        let publish = ["-V", "5", "-h", "localhost", "-p", &port, "--cafile", &ca];
        let message = ["-t", topic, "-m", "b", "-q", "1"];
        let ended = run(
            "mosquitto_pub",
            &[&publish[..], with, &message].concat(),
            b"",
        );
        let refused = ended.code != Some(0) || ended.stderr.contains("ot authorized");
        assert_eq!(refused, !is_in, "{topic}: {}", ended.stderr);
    }
}

/// Over MQTT and the web, users by their certificates alone.
fn by_certificate(certs: &Certs) -> Gateway {
    let arguments = [
        certs.beside("mqtt.tls"),
        certs.client_ca("mqtt.tls", "optional"),
        setting("mqtt.tls", "crl", certs.path("crl.pem")),
        certs.beside("http.tls"),
        certs.client_ca("http.tls", "optional"),
        setting("http.tls", "crl", certs.path("crl.pem")),
        setting("auth", "certificate_user", "cn"),
    ];
    Gateway::start(&borrowed(&arguments.concat()))
}

async fn session(certs: &Certs, gateway: &Gateway, certificate: &str) -> Tls {
    let connector = Connector {
        certs,
        certificate: Some(certificate),
        alpn: &[],
    };
    let stream = within("TLS", connector.connect(gateway.port("mqtts"))).await;
    let mut stream = stream.expect("a valid certificate");
    let opened = open_session(&mut stream, certificate).await;
    opened.expect("a session");
    stream
}

/// What curl says to this request for the web session, with a certificate or without; status and head and body.
fn web_session(certs: &Certs, gateway: &Gateway, further: &[&str]) -> String {
    let (ca, origin) = (
        certs.text("ca.pem"),
        format!("https://localhost:{}", gateway.port("https")),
    );
    let url = format!("{origin}/auth/session");
    let origin = format!("Origin: {origin}");
    let curl = ["-si", "--cacert", &ca, "-H", &origin, &url];
    run("curl", &[&curl[..], further].concat(), b"").succeeded("curl")
}

/// Logs in with a certificate; the cookie's line as curl wants it.
fn log_in(certs: &Certs, gateway: &Gateway, name: &str) -> (String, String) {
    let [cert, key] = ["", "-key"].map(|end| certs.text(&format!("{name}{end}.pem")));
    let further = ["-X", "POST", "--cert", &cert, "--key", &key];
    let told = web_session(certs, gateway, &further);
    let cookie = told
        .lines()
        .find_map(|line| line.strip_prefix("set-cookie: "))
        .and_then(|cookie| cookie.split(';').next())
        .unwrap_or_else(|| panic!("a cookie in {told}"));
    (format!("Cookie: {cookie}"), told)
}

#[tokio::test]
async fn what_a_certificate_opened_ends_when_it_is_revoked() {
    let certs = Certs::new();
    for (name, serial) in [("lost", 1), ("kept", 2)] {
        certs.issue(name, |params| {
            params.serial_number = Some(SerialNumber::from(serial))
        });
    }
    certs.revoke(&[7]);
    let gateway = by_certificate(&certs);
    let mut lost = session(&certs, &gateway, "lost").await;
    let mut kept = session(&certs, &gateway, "kept").await;
    let [(lost_cookie, _), (kept_cookie, _)] =
        ["lost", "kept"].map(|name| log_in(&certs, &gateway, name));
    let who = web_session(&certs, &gateway, &["-H", &lost_cookie]);
    assert!(who.contains("\"user\":\"lost\""), "{who}");

    certs.revoke(&[1, 7]);
    ended(&mut lost).await;
    gateway
        .logs("certificates reloaded listener=\"https\"")
        .await;
    for request in ["GET", "POST"] {
        let refused = web_session(&certs, &gateway, &["-X", request, "-H", &lost_cookie]);
        assert!(refused.contains(" 401"), "{request}: {refused}");
    }
    let who = web_session(&certs, &gateway, &["-H", &kept_cookie]);
    assert!(who.contains("\"user\":\"kept\""), "{who}");
    ping(&mut kept).await;
}

#[tokio::test]
async fn what_a_certificate_opened_ends_with_it() {
    let certs = Certs::new();
    certs.revoke(&[7]);
    let in_seconds = |seconds| OffsetDateTime::now_utc() + Duration::from_secs(seconds);
    let in_an_hour = in_seconds(3600);
    certs.issue("hour", |params| params.not_after = in_an_hour);
    certs.issue("brief", |params| params.not_after = in_seconds(5));
    let gateway = by_certificate(&certs);
    let mut brief = session(&certs, &gateway, "brief").await;
    let (cookie, logged_in) = log_in(&certs, &gateway, "hour");
    // others have half a day
    for told in [
        logged_in,
        web_session(&certs, &gateway, &["-X", "POST", "-H", &cookie]),
    ] {
        let (_, expires) = told.split_once("\"expires\":\"").expect("an end");
        let (expires, _) = expires.split_once('"').expect("a moment");
        let expires = OffsetDateTime::parse(expires, &Rfc3339).expect("a moment");
        assert!(expires <= in_an_hour, "{told}");
    }
    ended(&mut brief).await;
}
