use super::*;
use crate::auth::{
    config::{Jwt, KeySource},
    password::{self, PasswordFile},
    secret::Secret,
};
use std::fs;
use tempfile::TempDir;

/// The password "secret", with few rounds, so that tests do not wait for it.
const SECRET: &str = "$7$101$AAECAwQFBgcICQoL$Xr99N9ym9ys8TWxis5ajETJq6EVYzmc6nb8t3pUYnPBbCAbICS4xejTltonXWCtJNBvA+By+TXUqU6qCblO00w==";

/// Knows "ann" and "bob"; its password file is in the folder.
fn chain() -> (Chain, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("passwd");
    fs::write(&path, format!("ann:{SECRET}\nbob:{SECRET}\n")).unwrap();
    let file = PasswordFile::load(&path).unwrap();
    let chain = Chain {
        passwords: Some(Passwords::new(path, file).unwrap()),
        ..Chain::default()
    };
    (chain, folder)
}

impl Chain {
    /// From now on whatever needs a hash finds that others are in front of it.
    fn hash_no_more(&self) {
        self.passwords.as_ref().unwrap().hash_no_more();
    }

    async fn said(&self, user: &str, password: &str) -> Result<(), Unproven> {
        let shown = Shown {
            credentials: Credentials::Password {
                user,
                password: password.as_bytes(),
            },
            certificate: None,
            ip: Some([192, 0, 2, 1].into()),
        };
        let proven = self.prove(shown, Subject::default()).await;
        proven.map(|identity| assert_eq!(identity.user().map(|it| &**it), Some(user)))
    }
}

#[tokio::test]
async fn what_was_wrong_a_moment_ago_is_wrong_without_a_hash() {
    let (chain, _folder) = chain();
    for user in ["ann", "nobody"] {
        let wrong = chain.said(user, "old").await;
        assert!(matches!(wrong, Err(Unproven::Wrong(_))), "{wrong:?}");
    }
    chain.hash_no_more();
    for user in ["ann", "nobody"] {
        let again = chain.said(user, "old").await;
        assert!(matches!(again, Err(Unproven::Wrong(_))), "{again:?}");
        assert_eq!(chain.said(user, "other").await, Err(Unproven::Busy));
    }
}

#[tokio::test]
async fn what_was_wrong_is_right_once_the_file_says_so() {
    let (chain, folder) = chain();
    assert!(chain.said("ann", "new").await.is_err());
    let line = format!("ann:{}\n", password::hash(b"new").unwrap());
    fs::write(folder.path().join("passwd"), line).unwrap();
    chain.passwords.as_ref().unwrap().reload().unwrap();
    assert_eq!(chain.said("ann", "new").await, Ok(()));
}

#[tokio::test]
async fn whoever_gets_in_clears_what_was_wrong_for_himself_and_for_nobody_else() {
    let (chain, _folder) = chain();
    for round in ["first", "second"] {
        for number in 0..5 {
            let own = chain.said("ann", &format!("{round} {number}")).await;
            assert!(matches!(own, Err(Unproven::Wrong(_))), "{own:?}");
        }
        assert_eq!(chain.said("ann", "secret").await, Ok(()));
    }
    for number in 0..6 {
        let guess = chain.said("bob", &format!("guess {number}")).await;
        assert!(matches!(guess, Err(Unproven::Wrong(_))), "{guess:?}");
        let own = chain.said("ann", "secret").await;
        let is_closed = matches!(own, Err(Unproven::TooManyFailed { .. }));
        assert_eq!(is_closed, number == 5, "{own:?}");
    }
}

#[tokio::test]
async fn what_looks_like_a_token_and_is_none_costs_a_hash_whoever_is_named() {
    let (mut chain, _folder) = chain();
    let secret = Secret::from("a secret of at least thirty-two bytes".to_owned());
    let jwt = Jwt {
        algorithms: vec![jsonwebtoken::Algorithm::HS256],
        keys: vec![KeySource::Secret(secret)],
        ..Jwt::default()
    };
    chain.tokens = Verifier::load(&[jwt]).ok();
    assert!(chain.tokens.is_some());
    chain.hash_no_more();
    for user in ["ann", "nobody"] {
        assert_eq!(chain.said(user, "a.b.c").await, Err(Unproven::Busy));
    }
}
