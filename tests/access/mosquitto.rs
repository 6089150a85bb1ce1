//! Mosquitto's own files, asked of Mosquitto and of the gateway: who gets in, who may publish, who is given what.

use crate::{
    oracle,
    random::Random,
    support::{
        gateway::Gateway,
        mosquitto::Mosquitto,
        mqtt::{Client, Link},
        wire::{Opening, Publish},
    },
};
use std::{
    collections::BTreeSet,
    fmt::Write,
    fs,
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
};

/// User, client identifier, password; without a user, anonymous.
const CLIENTS: [(Option<&str>, &str); 5] = [
    (None, "c0"),
    (Some("u0"), "c1"),
    (Some("u1"), "u0"),
    (Some("with space"), "c2"),
    (Some("u+1"), "c3"),
];

/// A Mosquitto of this machine that reads the files in a folder.
fn mosquitto(folder: &Path) -> Mosquitto {
    Mosquitto::with(&format!(
        "password_file {}\nacl_file {}",
        folder.join("passwords").display(),
        folder.join("acl").display()
    ))
}

/// Writes the users with Debian's own tool.
fn write_passwords(path: &Path) {
    fs::write(path, "# users\n").expect("a file");
    let users = CLIENTS
        .iter()
        .filter_map(|(user, _)| *user)
        .chain(["admin"]);
    for user in users {
        let status = Command::new("mosquitto_passwd")
            .args([
                "-b".as_ref(),
                path.as_os_str(),
                user.as_ref(),
                "secret".as_ref(),
            ])
            .stderr(Stdio::null())
            .status();
        assert!(status.expect("mosquitto_passwd runs").success());
    }
}

/// A filter whose first level is no wildcard, so that no rule is about the marker.
fn filter(random: &mut Random<'_>, placeholders: bool) -> String {
    let rest = oracle::pattern(random, false);
    let first = match random.below(5) {
        0 if placeholders => "%u",
        1 if placeholders => "%c",
        other => ["a", "b", "u0"][other as usize % 3],
    };
    match random.below(4) {
        0 => first.to_owned(),
        1 => format!("{first}/#"),
        2 => format!("{first}/+"),
        _ => format!("{first}/{rest}"),
    }
}

fn acl(random: &mut Random<'_>) -> String {
    let mut text = String::from("# generated\n");
    let mut line = |random: &mut Random<'_>, keyword: &str| {
        let access = ["", "read ", "write ", "readwrite ", "deny "][random.below(5) as usize];
        let filter = filter(random, keyword == "pattern");
        let _ = writeln!(text, "{keyword} {access}{filter}");
    };
    for _ in 0..random.between(0, 4) {
        line(random, "topic");
    }
    for _ in 0..random.between(0, 5) {
        line(random, "pattern");
    }
    let mut sections = String::new();
    for (user, _) in CLIENTS {
        let Some(user) = user else { continue };
        let _ = writeln!(sections, "user {user}");
        for _ in 0..random.between(0, 6) {
            let access = ["", "read ", "write ", "readwrite ", "deny "][random.below(5) as usize];
            let _ = writeln!(sections, "topic {access}{}", filter(random, false));
        }
        let _ = writeln!(sections, "topic read marker");
    }
    format!("{text}topic read marker\n{sections}user admin\ntopic readwrite #\n")
}

fn topic(random: &mut Random<'_>) -> String {
    let first = ["a", "b", "u0", "u1", "c0", "c1", "c3"][random.below(7) as usize];
    match random.below(4) {
        0 => first.to_owned(),
        1 | 2 => format!("{first}/{}", ["a", "b", "u0"][random.below(3) as usize]),
        _ => format!("{first}/{}", oracle::topic(random)),
    }
}

/// What one broker decides: per client which topics it may publish to, and which it was given.
async fn decisions(broker: SocketAddr, topics: &[String]) -> Vec<[BTreeSet<String>; 2]> {
    let opening = |user: Option<&str>, client: &str| {
        let opening = Opening::v5(client);
        match user {
            Some(user) => opening.login(user, "secret"),
            None => opening,
        }
    };
    let admin = opening(Some("admin"), "admin");
    let mut admin = Client::welcomed(Link::tcp(broker).await, &admin).await.0;
    let mut all = Vec::new();
    for (user, name) in CLIENTS {
        let mut client = Client::welcomed(Link::tcp(broker).await, &opening(user, name))
            .await
            .0;
        let mut may_publish = BTreeSet::new();
        for topic in topics {
            if client.publish(&Publish::new(topic, "x", 1)).await < 0x80 {
                may_publish.insert(topic.clone());
            }
        }
        let codes = client.subscribe(&[("#", 0)]).await;
        assert!(
            codes[0] < 0x80,
            "any filter may be subscribed to: {codes:?}"
        );
        for topic in topics.iter().map(String::as_str).chain(["marker"]) {
            admin.publish(&Publish::new(topic, "x", 0)).await;
        }
        // a name that would be a wildcard may read nothing at all, not even the marker
        let given = match user {
            Some("u+1") => {
                admin.ping().await;
                client.ping().await;
                Vec::new()
            }
            _ => client.receive_until("marker").await,
        };
        let given = given.into_iter().map(|message| message.topic).collect();
        client.disconnect().await;
        all.push([may_publish, given]);
    }
    all
}

#[tokio::test]
async fn mosquittos_own_files_decide_as_in_mosquitto() {
    let wanted = match std::env::var_os("TIDEGATE_TEST_LONG") {
        Some(_) => 10_000,
        None => 1_000,
    };
    let seed = getrandom::u64().unwrap_or(1);
    println!("seed {seed}");
    let mut random = Random::seeded(seed);
    let folder = tempfile::tempdir().expect("a folder");
    write_passwords(&folder.path().join("passwords"));
    let (mut checks, mut allowed) = (0, 0);
    while checks < wanted {
        let acl = acl(&mut random);
        fs::write(folder.path().join("acl"), &acl).expect("an ACL file");
        let mosquitto = mosquitto(folder.path());
        let settings = [
            format!(
                "auth.passwd_file={}",
                folder.path().join("passwords").display()
            ),
            format!("auth.acl_file={}", folder.path().join("acl").display()),
        ];
        let further = [
            "--set",
            &*settings[0],
            "--set",
            &*settings[1],
            "--set",
            "auth.anonymous=true",
        ];
        let gateway = Gateway::start(&further);
        let topics: BTreeSet<String> = (0..30).map(|_| topic(&mut random)).collect();
        let topics: Vec<String> = topics.into_iter().collect();
        let theirs = decisions(mosquitto.mqtt, &topics).await;
        let ours = decisions(gateway.mqtt, &topics).await;
        for ((theirs, ours), client) in theirs.iter().zip(&ours).zip(CLIENTS) {
            assert_eq!(
                theirs, ours,
                "Mosquitto, and the gateway, for {client:?}\n{acl}"
            );
            checks += 2 * topics.len();
            allowed += theirs[0].len() + theirs[1].len();
        }
    }
    println!("{checks} checks, {allowed} allowed");
    assert!(allowed > checks / 20 && allowed < checks);
}

#[tokio::test]
async fn mosquittos_users_get_in_with_their_passwords_and_nobody_else() {
    let folder = tempfile::tempdir().expect("a folder");
    write_passwords(&folder.path().join("passwords"));
    fs::write(folder.path().join("acl"), "topic readwrite #\n").expect("an ACL file");
    let mosquitto = mosquitto(folder.path());
    let setting = format!(
        "auth.passwd_file={}",
        folder.path().join("passwords").display()
    );
    let gateway = Gateway::start(&["--set", &setting]);
    for (user, password) in [
        ("u0", "secret"),
        ("with space", "secret"),
        ("u0", "Secret"),
        ("u0", ""),
        ("u0", "secret "),
        ("U0", "secret"),
        ("nobody", "secret"),
    ] {
        let mut codes = [0; 2];
        for (code, broker) in codes.iter_mut().zip([mosquitto.mqtt, gateway.mqtt]) {
            let opening = Opening::v5("c").login(user, password);
            *code = Client::open(Link::tcp(broker).await, &opening).await.1.code;
        }
        assert_eq!(
            codes[0] == 0,
            codes[1] == 0,
            "{user:?} {password:?}: {codes:x?}"
        );
    }
}
