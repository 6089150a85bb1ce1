//! Who comes in, and whose a client identifier is.

use crate::{
    setup::{Guarded, PASSWORD},
    support::{
        gateway::Gateway,
        mqtt::{Client, Link},
        wire::{Opening, Version},
    },
};
use std::process::Command;

const ALL: &str = "[[rule]]\nallow = [\"publish\", \"subscribe\", \"retain\"]\ntopics = [\"#\"]\n";

async fn connack(gateway: &Gateway, opening: &Opening) -> u8 {
    let link = Link::tcp(gateway.mqtt).await;
    Client::open(link, opening).await.1.code
}

#[tokio::test]
async fn whoever_proves_nothing_is_told_so_in_the_words_of_his_version() {
    let guarded = Guarded::start(&["u0"], ALL);
    for (version, none, wrong) in [
        (Version::V5, 0x87, 0x86),
        (Version::V311, 5, 4),
        (Version::V31, 5, 4),
    ] {
        let opening = || Opening::new(version, "c");
        let gateway = &guarded.gateway;
        assert_eq!(connack(gateway, &opening()).await, none);
        assert_eq!(
            connack(gateway, &opening().login("u0", "wrong")).await,
            wrong
        );
        assert_eq!(
            connack(gateway, &opening().login("nobody", PASSWORD)).await,
            wrong
        );
        assert_eq!(connack(gateway, &opening().login("u0", PASSWORD)).await, 0);
    }
}

#[tokio::test]
async fn anonymous_is_let_in_beside_users_only_by_the_setting_and_a_wrong_password_never_becomes_it()
 {
    let further = ["--set", "auth.anonymous=true"];
    let guarded = Guarded::with("rules_file", &["u0"], ALL, &further);
    assert_eq!(connack(&guarded.gateway, &Opening::v5("a")).await, 0);
    assert_eq!(
        connack(&guarded.gateway, &Opening::v5("b").login("u0", "wrong")).await,
        0x86
    );
}

#[tokio::test]
async fn a_client_identifier_belongs_to_the_user_who_opened_its_session() {
    let further = ["--set", "auth.anonymous=true"];
    let guarded = Guarded::with("rules_file", &["u0", "u1"], ALL, &further);
    let opening = |user: &str| {
        Opening::v5("mine")
            .session_expiry(600)
            .login(user, PASSWORD)
    };
    let mut owner = Client::tcp(&guarded.gateway, &opening("u0")).await;
    for stranger in [opening("u1"), Opening::v5("mine")] {
        assert_eq!(
            connack(&guarded.gateway, &stranger).await,
            0x85,
            "while it is online"
        );
    }
    owner.ping().await;
    owner.disconnect().await;
    assert_eq!(
        connack(&guarded.gateway, &opening("u1")).await,
        0x85,
        "while it waits"
    );
    let (back, welcome) =
        Client::tcp_with_welcome(&guarded.gateway, &opening("u0").resuming()).await;
    assert!(welcome.session_present);
    drop(back);
}

#[tokio::test]
async fn a_session_still_belongs_to_its_user_after_the_gateway_was_started_anew() {
    let folder = tempfile::tempdir().expect("a folder");
    let guarded = Guarded::start(&["u0", "u1"], ALL);
    for (from, to) in [
        (guarded.passwords_path(), "passwords"),
        (guarded.rules_path(), "rules"),
    ] {
        std::fs::copy(from, folder.path().join(to)).expect("a copy");
    }
    let settings = [
        format!(
            "auth.passwd_file={}",
            folder.path().join("passwords").display()
        ),
        format!("auth.rules_file={}", folder.path().join("rules").display()),
    ];
    let arguments = ["--set", &*settings[0], "--set", &*settings[1]];
    let mut gateway = Gateway::start(&arguments);
    let opening = |user: &str| {
        Opening::v5("mine")
            .session_expiry(600)
            .login(user, PASSWORD)
    };
    Client::tcp(&gateway, &opening("u0"))
        .await
        .disconnect()
        .await;
    for round in 0..2 {
        gateway = match round {
            0 => gateway.restarted(&arguments),
            _ => gateway.killed(&arguments),
        };
        assert_eq!(connack(&gateway, &opening("u1")).await, 0x85);
        let resuming = opening("u0").resuming();
        let (back, welcome) = Client::tcp_with_welcome(&gateway, &resuming).await;
        assert!(welcome.session_present);
        back.disconnect().await;
    }
}

#[test]
fn files_that_cannot_be_used_keep_the_gateway_from_starting() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path.display().to_string()
    };
    let missing = folder.path().join("missing").display().to_string();
    for (setting, path, words) in [
        ("auth.rules_file", write("empty", ""), "no [[rule]]"),
        (
            "auth.rules_file",
            write("broken", "[[rule]]\nallow = [\"x\"]\ntopics = [\"a\"]\n"),
            "line 1",
        ),
        (
            "auth.acl_file",
            write("acl", "topic a\nnonsense\n"),
            "line 2",
        ),
        (
            "auth.passwd_file",
            write("passwd", "alice:plain\n"),
            "passwd",
        ),
        ("auth.rules_file", missing.clone(), "is not there"),
        ("auth.passwd_file", missing, "missing"),
    ] {
        let assignment = format!("{setting}={path}");
        let data = folder.path().join("data");
        let mut command: Command = Gateway::command(&data, [0, 0], &["--set", &assignment]);
        std::fs::create_dir_all(&data).expect("a folder");
        let output = command.output().expect("it runs");
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{assignment}");
        assert!(
            told.contains(setting) && told.contains(words),
            "{assignment}: {told}"
        );
    }
}
