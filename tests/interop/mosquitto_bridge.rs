//! A Mosquitto broker that bridges into the gateway, in every version of the protocol its bridge speaks.

use std::{fmt::Write as _, net::TcpListener};

use crate::{
    program::{Running, run},
    support::{
        gateway::Gateway,
        mqtt::Client,
        wire::{Opening, Publish},
        within,
    },
};

const VERSIONS: [&str; 3] = ["mqttv31", "mqttv311", "mqttv50"];

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound").port()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_cross_the_bridge_both_ways_once() {
    let gateway = Gateway::start(&[]);
    let port = free_port();
    let mut text = format!("listener {port} 127.0.0.1\nallow_anonymous true\nlog_dest stdout\n");
    for version in VERSIONS {
        write!(
            text,
            "connection to-{version}\naddress {}\nbridge_protocol_version {version}\nremote_clientid bridge-{version}\n\
             topic # out 1 up/ up/{version}/\ntopic # in 2 down/{version}/ down/{version}/\ntopic both/{version}/# both 1\n\
             notifications false\nrestart_timeout 1\n",
            gateway.mqtt
        )
        .expect("a String");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("mosquitto.conf");
    std::fs::write(&file, text).expect("written");
    let path = file.to_str().expect("UTF-8");

    let mut watcher = Client::tcp(&gateway, &Opening::v5("watcher")).await;
    watcher.subscribe(&[("up/#", 1), ("both/#", 1)]).await;
    let _broker = Running::start(mosquitto(), &["-c", path]);
    let local = port.to_string();

    // up: wait until all three bridges have subscribed, which they do before they forward
    for version in VERSIONS {
        let echo = format!("down/{version}/probe");
        let mut publisher =
            Client::tcp(&gateway, &Opening::v311(&format!("probe-{version}"))).await;
        publisher
            .publish(&Publish::new(&echo, "down", 1).retained())
            .await;
        let arguments = [
            "-h",
            "127.0.0.1",
            "-p",
            &local,
            "-t",
            &echo,
            "-C",
            "1",
            "-W",
            "20",
        ];
        let (arguments, probed) = (arguments.map(str::to_owned), echo.clone());
        let heard = tokio::task::spawn_blocking(move || {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            // the listener may need a moment
            for _ in 0..40 {
                let finished = run("mosquitto_sub", &arguments, b"");
                if finished.code == Some(0) {
                    return finished.text();
                }
                std::thread::sleep(std::time::Duration::from_millis(250));
            }
            panic!("{probed} did not come down the bridge")
        });
        assert_eq!(
            within("a message down the bridge", heard)
                .await
                .expect("it ran")
                .trim(),
            "down",
            "{version}"
        );
    }
    let publish = |topic: String, payload: &'static str| {
        let local = local.clone();
        tokio::task::spawn_blocking(move || {
            let arguments = [
                "-h",
                "127.0.0.1",
                "-p",
                &local,
                "-t",
                &topic,
                "-q",
                "1",
                "-m",
                payload,
            ];
            run("mosquitto_pub", &arguments, b"").succeeded("mosquitto_pub");
        })
    };
    publish("up/room/temperature".into(), "21")
        .await
        .expect("it ran");
    let mut topics = vec![];
    for _ in VERSIONS {
        let got = watcher.receive().await;
        assert_eq!((got.text().as_str(), got.qos), ("21", 1));
        topics.push(got.topic);
    }
    topics.sort();
    assert_eq!(
        topics,
        VERSIONS.map(|version| format!("up/{version}/room/temperature"))
    );
    // both ways: what goes up must not come back down, or it would go round for ever
    for version in VERSIONS {
        publish(format!("both/{version}/a"), "once")
            .await
            .expect("it ran");
        assert_eq!(watcher.receive().await.text(), "once", "{version}");
    }
    publish("up/marker".into(), "end").await.expect("it ran");
    for _ in VERSIONS {
        let got = watcher.receive().await;
        assert_eq!(got.text(), "end", "nothing went round: {got:?}");
    }
}

/// The broker is not in every user's path.
fn mosquitto() -> &'static str {
    if std::path::Path::new("/usr/sbin/mosquitto").exists() {
        "/usr/sbin/mosquitto"
    } else {
        "mosquitto"
    }
}
