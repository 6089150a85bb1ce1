//! MQTT, HTTP/1.1, HTTP/2, streams and WebSocket over TLS.

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::{
    client_async,
    tungstenite::{Message, client::IntoClientRequest, http::HeaderValue},
};

use crate::{
    certs::{Certs, borrowed},
    client::{Connector, connect, connect_packet, open_session},
    program::{Running, run},
    support::{self, gateway::Gateway, within},
};

fn started(certs: &Certs) -> Gateway {
    let arguments = [certs.beside("mqtt.tls"), certs.beside("http.tls")].concat();
    Gateway::start(&borrowed(&arguments))
}

#[test]
fn mosquitto_publishes_and_subscribes_over_tls() {
    let certs = Certs::new();
    let gateway = started(&certs);
    let (ca, port) = (certs.text("ca.pem"), gateway.port("mqtts").to_string());
    let at = [
        "-h",
        "localhost",
        "-p",
        &port,
        "--cafile",
        &ca,
        "-t",
        "over/tls",
    ];
    let subscriber = Running::start(
        "mosquitto_sub",
        &[&["-d", "-v", "-q", "1"], &at[..]].concat(),
    );
    subscriber.line(|line| line.starts_with("Subscribed"));
    // with the protocol's name, without, and with what other servers want to hear
    for further in [
        &["-m", "1", "--tls-version", "tlsv1.3"][..],
        &["-m", "2", "--tls-version", "tlsv1.2"],
        &["-m", "3", "--tls-alpn", "mqtt"],
        &["-m", "4", "--tls-alpn", "x-amzn-mqtt-ca"],
    ] {
        let arguments = [&at[..], &["-q", "1"], further].concat();
        run("mosquitto_pub", &arguments, b"").succeeded("mosquitto_pub");
        let heard = subscriber.line(|line| line.starts_with("over/tls"));
        assert_eq!(heard, format!("over/tls {}", further[1]));
    }
    assert!(
        gateway.log().contains("listener=\"mqtts\""),
        "{}",
        gateway.log()
    );
}

#[test]
fn a_client_that_does_not_know_the_ca_refuses_the_gateway() {
    let (certs, others) = (Certs::new(), Certs::new());
    let gateway = started(&certs);
    let url = format!("https://localhost:{}/healthz", gateway.port("https"));
    let refused = run(
        "curl",
        &["-s", "--cacert", &others.text("ca.pem"), &url],
        b"",
    );
    assert_eq!(refused.code, Some(60), "{}", refused.stderr);
    run(
        "curl",
        &["-sf", "--cacert", &certs.text("ca.pem"), &url],
        b"",
    )
    .succeeded("curl");
}

#[test]
fn requests_and_streams_are_served_in_both_versions_of_http() {
    let certs = Certs::new();
    let gateway = started(&certs);
    let (ca, port) = (certs.text("ca.pem"), gateway.port("https"));
    for (version, name) in [("--http1.0", "1"), ("--http1.1", "1.1"), ("--http2", "2")] {
        let curl = ["-s", "--cacert", &ca, version];
        let topic = format!("in/{name}");
        let stream = format!("https://localhost:{port}/api/v1/stream?topic={topic}&retained=never");
        let stream = Running::start("curl", &[&curl[..], &["-N", &stream]].concat());
        stream.line(|line| line == "event: ready");
        let url = format!("https://localhost:{port}/api/v1/topics/{topic}");
        for (method, body, code) in [
            ("POST", "a", "200"),
            ("PUT", "b", "200"),
            ("GET", "", "200"),
        ] {
            let request = ["-X", method, "-w", "\n%{http_code} %{http_version}", &url];
            let with_body = ["--data-binary", body];
            let request = match body {
                "" => [&curl[..], &request].concat(),
                _ => [&curl[..], &request, &with_body].concat(),
            };
            let said = run("curl", &request, b"").succeeded("curl");
            let wanted = format!("{code} {}", name.replace("1.0", "1"));
            let last = said.lines().last().unwrap_or_default();
            assert!(
                last == wanted || (version == "--http1.0" && last.starts_with(code)),
                "{method} {version}: {said}"
            );
        }
        for payload in ["a", "b"] {
            let data = stream.line(|line| line.starts_with("data: {\"topic\""));
            assert!(
                data.contains(&format!("\"payload\":\"{payload}\"")),
                "{data}"
            );
        }
    }
}

#[test]
fn a_stream_over_http2_ends_with_bye_when_the_gateway_stops() {
    let certs = Certs::new();
    let mut gateway = started(&certs);
    let url = format!(
        "https://localhost:{}/api/v1/stream?topic=a",
        gateway.port("https")
    );
    let stream = Running::start(
        "curl",
        &["-sN", "--http2", "--cacert", &certs.text("ca.pem"), &url],
    );
    stream.line(|line| line == "event: ready");
    gateway.terminate();
    stream.line(|line| line == "event: bye");
    let status = gateway.exited_within(support::DEADLINE);
    assert_eq!(status.and_then(|status| status.code()), Some(0));
}

#[tokio::test]
async fn mqtt_over_websocket_over_tls_is_mqtt() {
    let certs = Certs::new();
    let gateway = started(&certs);
    let stream = connect(&certs, gateway.port("https")).await.expect("TLS");
    let mut request = "wss://localhost/mqtt"
        .into_client_request()
        .expect("a request");
    let protocol = HeaderValue::from_static("mqtt");
    request
        .headers_mut()
        .insert("sec-websocket-protocol", protocol);
    let (mut socket, _) = within("the upgrade", client_async(request, stream))
        .await
        .expect("upgraded");
    let connect = connect_packet("over-wss");
    socket
        .send(Message::Binary(connect.into()))
        .await
        .expect("sent");
    let answer = within("CONNACK", socket.next())
        .await
        .expect("an answer")
        .expect("a frame");
    assert_eq!(answer.into_data().as_ref(), [0x20, 2, 0, 0]);
    gateway
        .logs("listener=\"https\" transport=\"websocket\"")
        .await;
}

#[tokio::test]
async fn the_gateway_chooses_mqtt_where_it_is_offered_and_minds_nothing_else() {
    let certs = Certs::new();
    let gateway = started(&certs);
    let chosen = async |alpn: &[&str], name: &str| {
        let connector = Connector {
            certs: &certs,
            certificate: None,
            alpn,
        };
        let stream = within("TLS", connector.connect(gateway.port(name)))
            .await
            .ok()?;
        Some(stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec))
    };
    assert_eq!(
        chosen(&["mqtt"], "mqtts").await,
        Some(Some(b"mqtt".to_vec()))
    );
    assert_eq!(
        chosen(&["x", "mqtt"], "mqtts").await,
        Some(Some(b"mqtt".to_vec()))
    );
    assert_eq!(chosen(&["x-amzn-mqtt-ca"], "mqtts").await, Some(None));
    assert_eq!(chosen(&[], "mqtts").await, Some(None));
    assert_eq!(
        chosen(&["http/1.1", "h2"], "https").await,
        Some(Some(b"h2".to_vec()))
    );
    assert_eq!(chosen(&[], "https").await, Some(None));
    assert_eq!(chosen(&["mqtt"], "https").await, None);
}

#[tokio::test]
async fn without_an_address_of_its_own_tls_is_all_that_a_listener_speaks() {
    let certs = Certs::new();
    let arguments = [certs.settings("mqtt.tls"), certs.settings("http.tls")].concat();
    let gateway = Gateway::start(&borrowed(&arguments));
    let mut stream = connect(&certs, gateway.port("mqtts")).await.expect("TLS");
    open_session(&mut stream, "encrypted")
        .await
        .expect("a session");
    assert_eq!(gateway.mqtt.port(), gateway.port("mqtts"));
    let plain = tokio::net::TcpStream::connect(gateway.mqtt).await;
    let mut plain = plain.expect("connected");
    let packet = connect_packet("plain");
    plain.write_all(&packet).await.expect("written");
    let mut heard = Vec::new();
    let end = within("the end", plain.read_to_end(&mut heard)).await;
    // nothing but the alert of TLS
    assert!(end.is_err() || heard.first() == Some(&21), "{heard:?}");
    gateway.logs("no TLS").await;
}
