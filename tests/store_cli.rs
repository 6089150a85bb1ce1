//! `tidegate store` on data folders that a gateway has written, and on what became of them.
#![allow(clippy::unwrap_used)]

#[path = "support/mod.rs"]
mod support;

use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};
use support::{
    gateway::Gateway,
    mqtt::Client,
    wire::{Opening, Publish, Will},
};
use tempfile::TempDir;

/// What the program said, and its exit code.
struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Said {
    /// Standard output as lines of JSON.
    fn lines(&self) -> Vec<Value> {
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        self.out.lines().map(parse).collect()
    }
}

/// `tidegate store COMMAND DIR ARGUMENTS`
fn store(command: &str, dir: &Path, arguments: &[&str]) -> Said {
    let output = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["store", command])
        .arg(dir)
        .args(arguments)
        .output()
        .expect("the built tidegate starts");
    Said {
        code: output.status.code().expect("it ends by itself"),
        out: String::from_utf8(output.stdout).expect("text"),
        err: String::from_utf8(output.stderr).expect("text"),
    }
}

fn check(dir: &Path) -> (i32, Value) {
    let said = store("check", dir, &["--json"]);
    (said.code, said.lines().swap_remove(0))
}

/// Messages of a dump.
fn messages(dir: &Path, arguments: &[&str]) -> Vec<Value> {
    let said = store("dump", dir, arguments);
    assert_eq!(said.code, 0, "{}", said.err);
    let mut lines = said.lines();
    lines.retain(|line| line["kind"] == "message");
    lines
}

/// The number at the end of a message's position.
fn offset(line: &Value) -> u64 {
    let position = line["position"].as_str().unwrap();
    position.rsplit_once('-').unwrap().1.parse().unwrap()
}

/// A stopped gateway's folder: a session is away and three messages wait for it, a fourth is retained.
async fn used() -> Arc<TempDir> {
    let data = Arc::new(tempfile::tempdir().unwrap());
    let gateway = Gateway::start_on(data.clone(), &[]);
    fill(&gateway).await;
    gateway.stop();
    data
}

fn away() -> Opening {
    Opening::v5("away").session_expiry(3600)
}

async fn fill(gateway: &Gateway) {
    let mut away = Client::tcp(gateway, &away()).await;
    assert_eq!(away.subscribe(&[("news/#", 1)]).await, [1]);
    away.disconnect().await;
    let mut author = Client::tcp(gateway, &Opening::v5("author")).await;
    for (topic, payload) in [
        ("news/one", &b"first"[..]),
        ("news/two", b"\xff\xfe"),
        ("news/one", b"third"),
    ] {
        assert_eq!(author.publish(&Publish::new(topic, payload, 1)).await, 0);
    }
    let lamp = Publish::new("lamp", "on", 1).retained();
    assert_eq!(author.publish(&lamp).await, 0);
    author.disconnect().await;
}

/// Every file, and what is in it.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .map(|path| (path.file_name().unwrap().into(), fs::read(&path).unwrap()))
        .collect()
}

/// Flips a bit `further` bytes behind the beginning of the record in this line of a dump.
fn flip(dir: &Path, line: &Value, further: usize) {
    let path = dir.join(line["file"].as_str().unwrap());
    let mut bytes = fs::read(&path).unwrap();
    bytes[line["at"].as_u64().unwrap() as usize + further] ^= 4;
    fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn a_folder_after_a_clean_stop_is_read_whole_and_left_as_it_is() {
    let data = used().await;
    let dir = data.path();
    let before = files(dir);

    let (code, found) = check(dir);
    assert_eq!(code, 0, "{found}");
    assert_eq!(found["ok"], true);
    assert_eq!(found["format"], 1);
    assert_eq!(found["clean"], true);
    assert_eq!(found["torn"], Value::Null);
    assert_eq!(found["messages"]["kept"], 4);
    assert_eq!(found["messages"]["trimmed"], 0);
    assert_eq!(found["retained"], 1);
    assert_eq!(found["sessions"], 1);
    assert_eq!(found["wills"], 0);
    let bytes: u64 = before.values().map(|bytes| bytes.len() as u64).sum();
    let segments = found["segments"].as_array().unwrap();
    let sizes: u64 = segments
        .iter()
        .map(|one| one["bytes"].as_u64().unwrap())
        .sum();
    assert_eq!(sizes, bytes);

    let said = store("check", dir, &[]);
    assert_eq!(said.code, 0);
    for part in [
        "ended cleanly",
        found["epoch"].as_str().unwrap(),
        "damage         none",
    ] {
        assert!(said.out.contains(part), "{part:?} in\n{}", said.out);
    }
    store("dump", dir, &[]);
    assert_eq!(files(dir), before, "nothing was changed");
}

#[tokio::test]
async fn a_dump_has_every_record_and_its_options_choose_among_the_messages() {
    let data = used().await;
    let dir = data.path();
    let all = messages(dir, &[]);
    let payloads: Vec<_> = all
        .iter()
        .map(|line| {
            (
                line["payload"].as_str().unwrap(),
                line["encoding"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        payloads,
        [
            ("first", "utf8"),
            ("//4=", "base64"),
            ("third", "utf8"),
            ("on", "utf8")
        ]
    );
    let (_, found) = check(dir);
    let epoch = found["epoch"].as_str().unwrap();
    let offsets: Vec<u64> = all.iter().map(offset).collect();
    assert!(offsets.is_sorted_by(|a, b| a < b), "{offsets:?}");
    for (line, topic) in all.iter().zip(["news/one", "news/two", "news/one", "lamp"]) {
        assert_eq!(line["topic"], topic);
        assert!(line["position"].as_str().unwrap().starts_with(epoch));
        assert_eq!(line["publisher"], "author");
        assert_eq!(line["qos"], 1);
        assert_eq!(line["retain"], topic == "lamp");
        assert!(line["time"].as_str().unwrap().starts_with("20"), "{line}");
    }

    let kinds: Vec<_> = store("dump", dir, &[])
        .lines()
        .iter()
        .map(|line| line["kind"].as_str().unwrap().to_owned())
        .collect();
    for kind in ["run", "reserved", "subscribed", "presence", "stopped"] {
        assert!(
            kinds.iter().any(|one| one == kind),
            "{kind} among {kinds:?}"
        );
    }

    let topics = |arguments: &[&str]| {
        let said = store("dump", dir, arguments);
        let topic = |line: &Value| line["topic"].as_str().unwrap_or("none").to_owned();
        said.lines().iter().map(topic).collect::<Vec<_>>()
    };
    assert_eq!(topics(&["--topic", "+/one"]), ["news/one", "news/one"]);
    let [first, second] = [offsets[0], offsets[1]].map(|offset| offset.to_string());
    assert_eq!(topics(&["--since", &second]), ["news/one", "lamp"]);
    assert_eq!(
        topics(&["--since", &first, "--topic", "#", "--limit", "1"]),
        ["news/two"]
    );
    assert_eq!(topics(&["--limit", "0"]).len(), 0);
    let wrong = store("dump", dir, &["--topic", "a/#/b"]);
    assert_eq!(wrong.code, 2);
}

#[tokio::test]
async fn a_flipped_bit_in_the_middle_is_found_where_it_is_and_costs_that_record_alone() {
    let data = used().await;
    let dir = data.path();
    let all = messages(dir, &[]);
    let two = &all[1];
    flip(dir, two, 20);
    let before = files(dir);

    let (code, found) = check(dir);
    assert_eq!(code, 1, "{found}");
    assert_eq!(found["ok"], false);
    assert_eq!(found["messages"]["kept"], 3);
    let damage = found["damage"].as_array().unwrap();
    assert_eq!(damage.len(), 1, "{found}");
    assert_eq!(damage[0]["file"], two["file"]);
    assert_eq!(damage[0]["at"], two["at"]);
    assert_eq!(damage[0]["after"], offset(&all[0]));
    let bytes = damage[0]["bytes"].as_u64().unwrap();
    assert!((32..128).contains(&bytes), "{found}");

    let said = store("check", dir, &[]);
    assert_eq!(said.code, 1);
    let place = format!("{}  at byte {}", two["file"].as_str().unwrap(), two["at"]);
    assert!(said.out.contains(&place), "{place:?} in\n{}", said.out);

    let said = store("dump", dir, &[]);
    assert_eq!(said.code, 0);
    assert!(said.err.contains("tidegate store check"), "{}", said.err);
    let lines = said.lines();
    let damage: Vec<_> = lines
        .iter()
        .filter(|line| line["kind"] == "damage")
        .collect();
    assert_eq!(damage.len(), 1);
    assert_eq!(damage[0]["at"], two["at"]);
    assert_eq!(messages(dir, &[]).len(), 3);
    assert_eq!(files(dir), before, "nothing was changed");
}

#[tokio::test]
async fn an_end_that_a_crash_tore_is_told_and_is_well() {
    let data = used().await;
    let dir = data.path();
    let last = store("dump", dir, &[]).lines().pop().unwrap();
    flip(dir, &last, 4);
    let (code, found) = check(dir);
    assert_eq!(code, 0, "{found}");
    assert_eq!(found["torn"]["file"], last["file"]);
    assert_eq!(found["torn"]["at"], last["at"]);
    let said = store("check", dir, &[]);
    assert!(said.out.contains("a crash cut off the log"), "{}", said.out);
}

#[tokio::test]
async fn files_without_their_beginning_are_damage_from_end_to_end() {
    let data = used().await;
    let dir = data.path();
    let name = "0000000001.log";
    let mut bytes = fs::read(dir.join(name)).unwrap();
    bytes[3] ^= 1;
    fs::write(dir.join(name), &bytes).unwrap();
    let (code, found) = check(dir);
    assert_eq!(code, 1);
    assert_eq!(found["epoch"], Value::Null);
    assert_eq!(found["damage"][0]["bytes"], bytes.len());
    let said = store("dump", dir, &[]);
    assert_eq!(said.code, 1);
    assert!(
        said.err.contains(&dir.display().to_string()),
        "{}",
        said.err
    );
}

#[test]
fn a_first_start_that_crashed_at_once_is_well_and_has_nothing_to_dump() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("0000000001.log"), [0; 20]).unwrap();
    let (code, found) = check(folder.path());
    assert_eq!((code, &found["ok"]), (0, &Value::Bool(true)), "{found}");
    let said = store("dump", folder.path(), &[]);
    assert_eq!((said.code, said.out.as_str()), (0, ""), "{}", said.err);
}

#[tokio::test]
async fn a_folder_in_use_is_refused_by_name_until_its_gateway_is_gone() {
    let data = Arc::new(tempfile::tempdir().unwrap());
    let (dir, elsewhere) = (data.path(), tempfile::tempdir().unwrap());
    let dest = elsewhere.path().join("copy");
    let gateway = Gateway::start_on(data.clone(), &[]);
    fill(&gateway).await;
    let will = Will {
        topic: "gone".to_owned(),
        qos: 1,
        ..Will::default()
    };
    let opening = Opening::v5("owing").session_expiry(60).will(will);
    let _owing = Client::tcp(&gateway, &opening).await;

    for (command, arguments) in [
        ("check", vec![]),
        ("check", vec!["--json"]),
        ("dump", vec![]),
        ("snapshot", vec![dest.to_str().unwrap()]),
    ] {
        let said = store(command, dir, &arguments);
        assert_eq!(said.code, 2, "{command}: {}", said.err);
        let folder = dir.display().to_string();
        for part in [&folder, "another process uses this data folder"] {
            assert!(said.err.contains(part), "{part:?} in {:?}", said.err);
        }
        assert_eq!(said.out, "");
    }
    assert!(!dest.exists(), "nothing was begun");

    // as nothing can be killed harder
    drop(gateway);
    let (code, found) = check(dir);
    assert_eq!(code, 0, "{found}");
    assert_eq!(found["clean"], false);
    assert_eq!(found["messages"]["kept"], 4);
    assert_eq!(found["sessions"], 2);
    assert_eq!(found["wills"], 1);
}

#[tokio::test]
async fn a_snapshot_is_the_same_log_and_a_gateway_goes_on_from_it() {
    let data = used().await;
    let (dir, copy) = (data.path(), Arc::new(tempfile::tempdir().unwrap()));
    let said = store("snapshot", dir, &[copy.path().to_str().unwrap()]);
    assert_eq!(said.code, 0, "{}", said.err);
    let log = |dir: &Path| {
        let mut all = files(dir);
        all.retain(|name, _| name != Path::new("lock"));
        all
    };
    assert_eq!(log(dir), log(copy.path()));
    assert_eq!(check(dir).1["epoch"], check(copy.path()).1["epoch"]);

    let before = files(copy.path());
    let again = store("snapshot", dir, &[copy.path().to_str().unwrap()]);
    assert_eq!(again.code, 2);
    assert!(again.err.contains("not empty"), "{}", again.err);
    assert_eq!(files(copy.path()), before, "nothing was changed");

    let gateway = Gateway::start_on(copy, &[]);
    let (mut client, welcome) = Client::tcp_with_welcome(&gateway, &away().resuming()).await;
    assert!(welcome.session_present);
    for payload in [&b"first"[..], b"\xff\xfe", b"third"] {
        assert_eq!(client.receive().await.payload, payload);
    }
    client.disconnect().await;
    gateway.stop();
}

#[test]
fn a_snapshot_makes_the_folders_it_needs_and_needs_no_lock_in_the_one_it_copies() {
    let golden = Path::new("tests/crash/golden/format-1");
    let elsewhere = tempfile::tempdir().unwrap();
    let dest = elsewhere.path().join("a/b");
    let said = store("snapshot", golden, &[dest.to_str().unwrap()]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert_eq!(check(golden).1["messages"], check(&dest).1["messages"]);
    assert!(!golden.join("lock").exists(), "nothing was changed");
}

#[test]
fn what_is_no_data_folder_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let none = dir.join("none");
    fs::write(dir.join("file"), "x").unwrap();
    for (path, fix) in [
        (none.as_path(), "check the name"),
        (dir, "store.path"),
        (&dir.join("file"), "not a file in it"),
    ] {
        for command in ["check", "dump"] {
            let said = store(command, path, &[]);
            assert_eq!(said.code, 2, "{}", said.err);
            for part in [&path.display().to_string(), fix] {
                assert!(said.err.contains(part), "{part:?} in {:?}", said.err);
            }
        }
    }
    assert!(!none.exists(), "nothing was made");
}

#[tokio::test]
async fn a_later_format_is_left_to_the_version_that_wrote_it() {
    let data = used().await;
    let path = data.path().join("0000000001.log");
    let mut bytes = fs::read(&path).unwrap();
    bytes[8] = 9;
    let sum = crc32fast::hash(&bytes[..60]);
    bytes[60..64].copy_from_slice(&sum.to_le_bytes());
    fs::write(path, bytes).unwrap();
    let said = store("check", data.path(), &[]);
    assert_eq!(said.code, 2);
    assert!(
        said.err.contains("0000000001.log is of format 9"),
        "{}",
        said.err
    );
}
