//! A disk without room: what must be kept is refused before anything is done with it, everything else flows, and
//! nothing that was acknowledged is missing afterwards.

use std::{fs, io::Write, process::Command, sync::Arc, time::Duration};

use crate::{
    cycles::tell,
    image::Image,
    support::{
        gateway::Gateway,
        http::Request,
        mqtt::{Client, Link},
        unique,
        wire::{self, Opening, PUBACK, PUBREC, Packet, Publish, Version, Will},
        within,
    },
};

const MEGABYTES: u64 = 64;
const QUIET: &[&str] = &["--set", "log.level=warn"];
/// Reason code of PUBACK and PUBREC: quota exceeded.
const NO_ROOM: u8 = 0x97;

fn away() -> Opening {
    Opening::v5("away").resuming().session_expiry(300)
}

/// So large that it never fits into a block that the file has already.
fn large(text: &str) -> Publish {
    Publish::new("kept", format!("{text} {}", "x".repeat(20_000)), 1)
}

fn first_word(message: &Publish) -> String {
    let text = message.text();
    text.split(' ').next().unwrap_or_default().to_owned()
}

/// An image to fill; none where it cannot be mounted.
fn image() -> Option<Image> {
    let image = Image::mounted(MEGABYTES);
    let skipped = |why| {
        tell(&format!(
            "SKIPPED, no disk is full: an image cannot be mounted here: {why}"
        ))
    };
    image.map_err(skipped).ok()
}

/// Takes all the room there is but for so many bytes.
fn fill(image: &Image, but: u64) {
    let mut ballast = fs::File::create(image.root().join("ballast")).expect("a file in the image");
    while ballast.write_all(&[1; 64 * 1024]).is_ok() {}
    while ballast.write_all(&[1; 512]).is_ok() {}
    ballast.sync_all().expect("what was written has its place");
    let length = ballast.metadata().expect("it is open").len();
    ballast.set_len(length - but).expect("it is ours");
    ballast.sync_all().expect("what was written has its place");
}

fn make_room(image: &Image) {
    fs::remove_file(image.root().join("ballast")).expect("it is ours");
}

/// Waits until `/readyz` says this of the store, and returns its status.
async fn says(gateway: &Gateway, wanted: &str) -> u16 {
    within(&format!("/readyz to say {wanted:?}"), async {
        loop {
            let ready = Request::get("/readyz").send(gateway.http).await;
            if ready.json()["checks"]["store"] == wanted {
                return ready.status;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
}

async fn publish(gateway: &Gateway, message: &Publish) -> u8 {
    let mut publisher = Client::tcp(gateway, &Opening::v5(&unique("in"))).await;
    publisher.publish(message).await
}

/// What waits for `away`, by its first words.
async fn received(gateway: &Gateway) -> Vec<String> {
    let (mut away, welcome) = Client::tcp_with_welcome(gateway, &away()).await;
    assert!(welcome.session_present);
    assert_eq!(publish(gateway, &Publish::new("marker", "", 1)).await, 0);
    let got = away.receive_until("marker").await;
    got.iter().map(first_word).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_full_disk_only_what_must_be_kept_is_refused_and_all_goes_on_when_there_is_room() {
    let Some(image) = image() else { return };
    let data = tempfile::tempdir_in(image.root()).expect("a folder for the gateway's data");
    let data = Arc::new(data);
    let gateway = Gateway::start_on(data.clone(), QUIET);
    let mut client = Client::tcp(&gateway, &away()).await;
    client.subscribe(&[("kept", 1), ("marker", 1)]).await;
    client.disconnect().await;
    let will = Will {
        topic: "kept".into(),
        payload: "will".into(),
        qos: 1,
        ..Will::default()
    };
    let mourned = Client::tcp(&gateway, &Opening::v5("mourned").will(will)).await;
    // what is written of these is written with it: nobody looks for room again before the next message comes
    assert_eq!(publish(&gateway, &large("before")).await, 0);

    fill(&image, 0);
    // accepted when nobody knew: it is not refused any more, and not acknowledged either
    let mut caught = Client::tcp(&gateway, &Opening::v5("caught")).await;
    let mut message = large("caught");
    message.id = caught.packet_id();
    caught.send(&wire::publish(Version::V5, &message)).await;
    assert_eq!(says(&gateway, "full").await, 503);
    caught.send(&wire::pingreq()).await;
    assert_eq!(caught.next().await, Some(Packet::Pingresp));

    let post = Request::post("/api/v1/topics/kept?qos=1", "refused");
    let refused = post.send(gateway.http).await;
    refused.assert_problem(503, "storage-unavailable");
    for qos in [1, 2] {
        let code = publish(&gateway, &Publish::new("kept", "refused", qos)).await;
        assert_eq!(code, NO_ROOM, "at QoS {qos}");
        let retained = Publish::new("nobody", "refused", qos).retained();
        assert_eq!(publish(&gateway, &retained).await, NO_ROOM, "at QoS {qos}");
        let mut old = Client::tcp(&gateway, &Opening::new(Version::V311, "old")).await;
        let mut message = Publish::new("kept", "refused", qos);
        message.id = old.packet_id();
        old.send(&wire::publish(Version::V311, &message)).await;
        old.ends().await;
    }
    let nothing = Request::get("/api/v1/topics/nobody")
        .send(gateway.http)
        .await;
    assert_eq!(nothing.status, 404);

    let mut live = Client::tcp(&gateway, &Opening::v5("live")).await;
    live.subscribe(&[("kept", 1), ("passing", 2)]).await;
    for (topic, qos) in [("kept", 0), ("passing", 1), ("passing", 2)] {
        let text = format!("{topic} at QoS {qos}");
        let code = publish(&gateway, &Publish::new(topic, text.as_str(), qos)).await;
        assert_eq!(code, 0, "{text}");
        // and nothing of what was refused
        assert_eq!(live.receive().await.text(), text);
    }
    let post = Request::post("/api/v1/topics/kept?qos=0", "web");
    assert_eq!(post.send(gateway.http).await.status, 200);
    assert_eq!(live.receive().await.text(), "web");

    // nobody is left who could try that again
    drop(mourned);

    make_room(&image);
    assert_eq!(caught.acknowledgement(PUBACK, message.id).await, 0);
    assert_eq!(says(&gateway, "ok").await, 200);
    assert_eq!(live.receive().await.text(), "will");
    assert_eq!(publish(&gateway, &large("after")).await, 0);
    let gateway = gateway.killed(QUIET);
    assert_eq!(
        received(&gateway).await,
        ["before", "caught", "will", "after"]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_finds_no_room_at_all_says_so_and_ends() {
    let Some(image) = image() else { return };
    let data = tempfile::tempdir_in(image.root()).expect("a folder for the gateway's data");
    let data = Arc::new(data);
    let gateway = Gateway::start_on(data.clone(), QUIET);
    assert_eq!(publish(&gateway, &large("kept").retained()).await, 0);
    drop(gateway);
    fill(&image, 0);
    let mut started = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    let started = started.args(["--mqtt", "127.0.0.1:0", "--http", "127.0.0.1:0", "--data"]);
    let ended = started.arg(data.path()).output().expect("it is ours");
    let told = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(
        !ended.status.success() && told.contains("the disk is full: make room"),
        "{told}"
    );
    make_room(&image);
    let gateway = Gateway::start_on(data, QUIET);
    let state = Request::get("/api/v1/topics/kept").send(gateway.http).await;
    assert_eq!(state.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_is_started_on_a_nearly_full_disk_gives_out_what_it_acknowledged() {
    let Some(image) = image() else { return };
    let data = tempfile::tempdir_in(image.root()).expect("a folder for the gateway's data");
    let data = Arc::new(data);
    let gateway = Gateway::start_on(data.clone(), QUIET);
    let mut client = Client::tcp(&gateway, &away()).await;
    client.subscribe(&[("kept", 1), ("marker", 1)]).await;
    client.disconnect().await;

    // of what is published behind this nothing may be taken: when the gateway looks for room is its own business
    let mut accepted = vec!["first".to_owned()];
    assert_eq!(publish(&gateway, &large("first")).await, 0);
    // less than may be accepted at once, and more than was
    fill(&image, 6 << 20);
    loop {
        let text = accepted.len().to_string();
        match publish(&gateway, &large(&text)).await {
            0 => accepted.push(text),
            code => break assert_eq!(code, NO_ROOM),
        }
        assert!(accepted.len() < 1000, "it is never full");
    }
    let gateway = gateway.killed(QUIET);
    assert_eq!(says(&gateway, "full").await, 503);
    let mut old = Client::tcp(&gateway, &Opening::v5("old")).await;
    let refused = Publish::new("kept", "refused", 2);
    let id = old.packet_id();
    let again = Publish { id, ..refused };
    old.send(&wire::publish(Version::V5, &again)).await;
    assert_eq!(old.acknowledgement(PUBREC, id).await, NO_ROOM);
    let (mut client, welcome) = Client::tcp_with_welcome(&gateway, &away()).await;
    assert!(welcome.session_present);
    for text in &accepted {
        assert_eq!(&first_word(&client.receive().await), text);
    }
    // what is kept of sessions takes room, too
    let new = Opening::v5("new").resuming().session_expiry(300);
    let (_, refused) = Client::open(Link::tcp(gateway.mqtt).await, &new).await;
    assert_eq!(refused.code, NO_ROOM);
    let more = client.subscribe(&[("kept", 1), ("more", 1)]).await;
    assert_eq!(more, [1, NO_ROOM]);
    let unwanted = Publish::new("nobody", "refused", 2);
    assert_eq!(client.publish(&unwanted).await, NO_ROOM);
    make_room(&image);
    assert_eq!(says(&gateway, "ok").await, 200);
    assert_eq!(publish(&gateway, &large("after")).await, 0);
    assert_eq!(first_word(&client.receive().await), "after");
}
