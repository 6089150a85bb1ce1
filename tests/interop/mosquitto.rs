//! `mosquitto_pub`, `mosquitto_sub`, `mosquitto_rr`.

use crate::{
    program::{Running, run},
    support::{
        gateway::Gateway,
        mqtt::Client,
        unique,
        wire::{Opening, Publish, Value, property},
    },
};

const VERSIONS: [&str; 3] = ["mqttv31", "mqttv311", "mqttv5"];

/// A subscriber that prints `MSG|topic|qos|retain|payload in hex` and is known to be subscribed.
fn subscriber(port: &str, version: &str, topic: &str, qos: &str, further: &[&str]) -> Running {
    let mut arguments = vec![
        "-d",
        "-h",
        "127.0.0.1",
        "-p",
        port,
        "-V",
        version,
        "-t",
        topic,
        "-q",
        qos,
    ];
    arguments.extend(["-F", "MSG|%t|%q|%r|%x"]);
    arguments.extend(further);
    let running = Running::start("mosquitto_sub", &arguments);
    running.line(|line| line.starts_with("Subscribed"));
    running
}

fn publish(port: &str, version: &str, topic: &str, further: &[&str], input: &[u8]) {
    let mut arguments = vec!["-h", "127.0.0.1", "-p", port, "-V", version, "-t", topic];
    arguments.extend(further);
    run("mosquitto_pub", &arguments, input).succeeded("mosquitto_pub");
}

#[test]
fn every_version_hears_every_version_at_every_qos() {
    let gateway = Gateway::shared();
    let port = gateway.mqtt.port().to_string();
    let topic = unique("interop/mosquitto");
    let subscribers: Vec<Running> = VERSIONS
        .map(|version| subscriber(&port, version, &topic, "2", &[]))
        .into();
    for version in VERSIONS {
        for qos in ["0", "1", "2"] {
            publish(
                &port,
                version,
                &topic,
                &["-q", qos, "-s"],
                b"\x00\xFFdata\n",
            );
            for subscriber in &subscribers {
                let line = subscriber.line(|line| line.starts_with("MSG|"));
                assert_eq!(
                    line,
                    format!("MSG|{topic}|{qos}|0|00ff646174610a"),
                    "from {version}"
                );
            }
        }
    }
}

#[test]
fn retained_messages_are_kept_and_cleared() {
    let gateway = Gateway::shared();
    let port = gateway.mqtt.port().to_string();
    let topic = unique("interop/retained");
    publish(
        &port,
        "mqttv311",
        &topic,
        &["-q", "1", "-r", "-m", "kept"],
        b"",
    );
    for version in VERSIONS {
        let late = subscriber(&port, version, &topic, "1", &[]);
        assert_eq!(
            late.line(|line| line.starts_with("MSG|")),
            format!("MSG|{topic}|1|1|6b657074")
        );
    }
    publish(&port, "mqttv5", &topic, &["-q", "1", "-r", "-n"], b"");
    let late = subscriber(&port, "mqttv5", &topic, "1", &[]);
    publish(&port, "mqttv5", &topic, &["-q", "1", "-m", "live"], b"");
    assert_eq!(
        late.line(|line| line.starts_with("MSG|")),
        format!("MSG|{topic}|1|0|6c697665")
    );
}

#[test]
fn properties_of_mqtt_5_go_through() {
    let gateway = Gateway::shared();
    let port = gateway.mqtt.port().to_string();
    let topic = unique("interop/properties");
    let arguments = [
        "-d",
        "-h",
        "127.0.0.1",
        "-p",
        &port,
        "-V",
        "mqttv5",
        "-t",
        &topic,
        "-F",
        "MSG|%C|%R|%D|%F|%P|%p",
    ];
    let listening = Running::start("mosquitto_sub", &arguments);
    listening.line(|line| line.starts_with("Subscribed"));
    let properties = [
        "-m",
        "x",
        "-D",
        "publish",
        "content-type",
        "text/plain",
        "-D",
        "publish",
        "response-topic",
        "answers",
        "-D",
        "publish",
        "correlation-data",
        "c1",
        "-D",
        "publish",
        "payload-format-indicator",
        "1",
        "-D",
        "publish",
        "user-property",
        "a",
        "1",
        "-D",
        "publish",
        "user-property",
        "a",
        "2",
    ];
    publish(&port, "mqttv5", &topic, &properties, b"");
    let line = listening.line(|line| line.starts_with("MSG|"));
    assert_eq!(line, "MSG|text/plain|answers|c1|1|a:1 a:2|x");
}

#[test]
fn a_killed_subscriber_leaves_its_will() {
    let gateway = Gateway::shared();
    let port = gateway.mqtt.port().to_string();
    let topic = unique("interop/will");
    let watcher = subscriber(&port, "mqttv311", &topic, "1", &[]);
    let will = [
        "--will-topic",
        &topic,
        "--will-payload",
        "gone",
        "--will-qos",
        "1",
    ];
    let mut owner = subscriber(&port, "mqttv5", "interop/nothing", "0", &will);
    owner.kill();
    assert_eq!(
        watcher.line(|line| line.starts_with("MSG|")),
        format!("MSG|{topic}|1|0|676f6e65")
    );
}

#[test]
fn a_persistent_session_is_waited_for() {
    let gateway = Gateway::shared();
    let port = gateway.mqtt.port().to_string();
    let (topic, id) = (unique("interop/session"), unique("interop-sleeper"));
    let lasting = ["-c", "-i", id.as_str()];
    subscriber(&port, "mqttv311", &topic, "1", &lasting).kill();
    for n in ["1", "2", "3"] {
        publish(&port, "mqttv311", &topic, &["-q", "1", "-m", n], b"");
    }
    let back = Running::start(
        "mosquitto_sub",
        &[
            "-h",
            "127.0.0.1",
            "-p",
            &port,
            "-V",
            "mqttv311",
            "-t",
            &topic,
            "-q",
            "1",
            "-F",
            "MSG|%p",
            "-c",
            "-i",
            &id,
        ],
    );
    for n in ["1", "2", "3"] {
        assert_eq!(
            back.line(|line| line.starts_with("MSG|")),
            format!("MSG|{n}")
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mosquitto_rr_gets_its_answer() {
    let gateway = Gateway::shared();
    let (ask, answer) = (unique("interop/ask"), unique("interop/answer"));
    let mut responder = Client::tcp(&gateway, &Opening::v5(&unique("responder"))).await;
    responder.subscribe(&[(&ask, 1)]).await;
    let port = gateway.mqtt.port().to_string();
    let asking = tokio::task::spawn_blocking({
        let (ask, answer) = (ask.clone(), answer.clone());
        move || {
            let arguments = [
                "-h",
                "127.0.0.1",
                "-p",
                &port,
                "-V",
                "mqttv5",
                "-t",
                &ask,
                "-e",
                &answer,
                "-m",
                "ping",
                "-W",
                "20",
            ];
            run("mosquitto_rr", &arguments, b"").succeeded("mosquitto_rr")
        }
    });
    let question = responder.receive().await;
    assert_eq!(question.text(), "ping");
    let reply_to = question
        .properties
        .string(property::RESPONSE_TOPIC)
        .expect("a response topic")
        .to_owned();
    assert_eq!(reply_to, answer);
    let mut reply = Publish::new(&reply_to, "pong", 1);
    if let Some(Value::Binary(correlation)) = question.properties.get(property::CORRELATION) {
        reply = reply.property(property::CORRELATION, Value::Binary(correlation.clone()));
    }
    responder.publish(&reply).await;
    assert_eq!(asking.await.expect("mosquitto_rr ran").trim(), "pong");
}
