//! What a token must be. Here is what its tests share, and what is asked of several entries.

mod algorithms;
mod claims;
mod form;
mod keys;

use super::{
    testing::{NOW, SECRET, claims, data, header, signed, signer},
    *,
};
use crate::auth::{config::KeySource, secret::Secret};
use Algorithm::*;
use TokenFault as Fault;
use jsonwebtoken::Algorithm;
use serde_json::{Value, json};
use std::{fs, path::PathBuf};
use tempfile::{TempDir, tempdir};

const PUBLIC_PEM: &[u8] = data!("rsa.pub.pem");

fn entry(keys: KeySource, algorithms: &[Algorithm]) -> Jwt {
    Jwt {
        algorithms: algorithms.to_vec(),
        keys: vec![keys],
        issuer: Some("https://issuer.example".to_owned()),
        audience: vec!["tidegate".to_owned(), "https://tidegate.example".to_owned()],
        ..Jwt::default()
    }
}

fn verifier(entries: &[Jwt]) -> Verifier {
    Verifier::load(entries).unwrap_or_else(|faults| panic!("{faults:?}"))
}

fn test_file(name: &str) -> PathBuf {
    PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/src/auth/jwt/testdata"
    ))
    .join(name)
}

fn with_public_key(name: &str, algorithms: &[Algorithm]) -> Jwt {
    entry(KeySource::PublicKeyFile(test_file(name)), algorithms)
}

fn with_secret(secret: &str, algorithms: &[Algorithm]) -> Jwt {
    entry(
        KeySource::Secret(Secret::from(secret.to_owned())),
        algorithms,
    )
}

fn with_set(set: &str, algorithms: &[Algorithm]) -> (TempDir, Jwt) {
    let folder = tempdir().unwrap();
    let file = folder.path().join("jwks.json");
    fs::write(&file, set).unwrap();
    (folder, entry(KeySource::JwksFile(file), algorithms))
}

/// An RSA key for RS256 only.
fn rs256() -> Verifier {
    verifier(&[with_public_key("rsa.pub.pem", &[RS256])])
}

/// A token for [`rs256`] with this header or these claims, signed as it must be.
fn with_header(header: Value) -> String {
    signed(
        &header.to_string(),
        &claims(json!({})),
        RS256,
        &signer(RS256),
    )
}

fn with_claims(changes: Value) -> String {
    with_raw_claims(&claims(changes))
}

fn with_raw_claims(claims: &str) -> String {
    signed(&header(RS256, None), claims, RS256, &signer(RS256))
}

/// Every token must end as it is said to; all that do not are told at once.
fn table(verifier: &Verifier, cases: Vec<(&str, String, Result<(), Fault>)>) {
    let wrong: Vec<_> = cases
        .into_iter()
        .filter_map(|(name, token, expected)| {
            let found = verifier.verify(&token, NOW).map(|_| ());
            (found != expected).then(|| format!("{name}: {found:?}, not {expected:?}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn entries_are_asked_in_turn_and_the_fault_that_says_most_is_told() {
    let mut any_issuer = with_secret(SECRET, &[HS256]);
    any_issuer.issuer = None;
    any_issuer.audience = vec!["other".to_owned()];
    let verifier = verifier(&[any_issuer, with_secret(SECRET, &[HS256])]);
    let token = |changes| {
        signed(
            &header(HS256, None),
            &claims(changes),
            HS256,
            &signer(HS256),
        )
    };
    table(
        &verifier,
        vec![
            ("for the second", token(json!({})), Ok(())),
            (
                "for the first",
                token(json!({"aud": "other", "iss": null})),
                Ok(()),
            ),
            (
                "from elsewhere, for the second",
                token(json!({"iss": "x"})),
                Err(Fault::Audience),
            ),
            (
                "late for the second",
                token(json!({"exp": 1})),
                Err(Fault::Expired),
            ),
        ],
    );
}

#[test]
fn no_fault_holds_anything_of_the_token() {
    let token = with_claims(json!({"sub": "", "note": "confidential"}));
    let told = format!("{0} {0:?}", rs256().verify(&token, NOW).unwrap_err());
    assert_eq!(told, "the claim for the user is missing, or no name User");
}
