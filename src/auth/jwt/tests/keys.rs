//! Keys: which of a set are taken, which are refused at the start, and what happens when their file changes.

use super::{entry, table, test_file, verifier, with_public_key, with_secret, with_set};
use crate::{
    auth::config::KeySource,
    auth::jwt::{
        testing::{NOW, SECRET, claims, encode, good, header, jwk, jwks, signed, stranger},
        *,
    },
};
use Algorithm::*;
use TokenFault as Fault;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};
use std::fs;
use tempfile::tempdir;

#[test]
fn a_kid_only_looks_up_keys_of_the_set() {
    let set = jwks(&[jwk(RS256, "r1"), jwk(ES256, "e1"), jwk(EdDSA, "d1")]);
    let (_folder, entry) = with_set(&set, &[RS256, PS256, ES256, EdDSA]);
    let named = |kid: &str| good(RS256, Some(kid));
    let modulus = jwk(RS256, "r1")["n"].as_str().unwrap().to_owned();
    let hs256 = |secret: &[u8]| {
        signed(
            &header(HS256, Some("r1")),
            &claims(json!({})),
            HS256,
            &EncodingKey::from_secret(secret),
        )
    };
    table(
        &verifier(&[entry]),
        vec![
            ("RS256", named("r1"), Ok(())),
            (
                "PS256, the key is for both",
                good(PS256, Some("r1")),
                Ok(()),
            ),
            ("ES256", good(ES256, Some("e1")), Ok(())),
            ("EdDSA", good(EdDSA, Some("d1")), Ok(())),
            ("no kid, one key fits", good(RS256, None), Ok(())),
            (
                "RS384, not in algorithms",
                good(RS384, Some("r1")),
                Err(Fault::UnknownKey),
            ),
            (
                "a key that is not there",
                named("r2"),
                Err(Fault::UnknownKey),
            ),
            ("a key of another kind", named("e1"), Err(Fault::UnknownKey)),
            ("an empty kid", named(""), Err(Fault::UnknownKey)),
            (
                "a path",
                named("../../../../dev/null"),
                Err(Fault::UnknownKey),
            ),
            (
                "an absolute path",
                named("/etc/passwd"),
                Err(Fault::UnknownKey),
            ),
            (
                "an address",
                named("http://127.0.0.1:1/r1"),
                Err(Fault::UnknownKey),
            ),
            (
                "a database's language",
                named("r1' OR '1'='1"),
                Err(Fault::UnknownKey),
            ),
            ("a pattern", named("r*"), Err(Fault::UnknownKey)),
            ("a NUL behind", named("r1\0"), Err(Fault::UnknownKey)),
            (
                "a stranger under a known kid",
                signed(
                    &header(RS256, Some("r1")),
                    &claims(json!({})),
                    RS256,
                    &stranger(),
                ),
                Err(Fault::Signature),
            ),
            (
                "HS256 with the set's text",
                hs256(set.as_bytes()),
                Err(Fault::UnknownKey),
            ),
            (
                "HS256 with the modulus",
                hs256(modulus.as_bytes()),
                Err(Fault::UnknownKey),
            ),
        ],
    );
    let several = jwks(&[jwk(RS256, "r1"), jwk(RS256, "r2")]);
    let (_folder, entry) = with_set(&several, &[RS256]);
    table(
        &verifier(&[entry]),
        vec![
            ("named", named("r2"), Ok(())),
            (
                "no kid among several",
                good(RS256, None),
                Err(Fault::UnknownKey),
            ),
        ],
    );
}

#[test]
fn keys_that_are_not_for_signatures_or_not_allowed_are_passed_over() {
    let with = |algorithm, name: &str, value: Value| {
        let mut key = jwk(algorithm, "k");
        key[name] = value;
        key
    };
    let oct = json!({"kty": "oct", "k": encode(SECRET), "kid": "k", "alg": "HS256"});
    let long = "A".repeat(1400);
    for (why, key) in [
        ("is not for signatures", with(RS256, "use", json!("enc"))),
        (
            "is not for signatures",
            with(RS256, "key_ops", json!(["encrypt"])),
        ),
        ("is a private key", with(RS256, "d", json!("AAAA"))),
        (
            "is for an algorithm that is not in algorithms",
            with(RS256, "alg", json!("RS512")),
        ),
        (
            "is for an algorithm that is not in algorithms",
            with(RS256, "alg", json!("RSA-OAEP")),
        ),
        (
            "none of which is in algorithms",
            with(RS256, "alg", json!("ES256")),
        ),
        ("no text", with(RS256, "alg", json!(5))),
        ("is a secret", {
            let mut key = oct.clone();
            key.as_object_mut().unwrap().remove("alg");
            key
        }),
        ("is for an algorithm", oct),
        ("is of a kind that is not known", json!({"kty": "AKP"})),
        (
            "is of a kind that is not known",
            with(EdDSA, "crv", json!("X25519")),
        ),
        (
            "is of a kind that is not known",
            with(ES256, "crv", json!("secp256k1")),
        ),
        (
            "coordinates of a wrong length",
            with(ES256, "crv", json!("P-384")),
        ),
        (
            "coordinates of a wrong length",
            with(ES256, "x", json!("AAAA")),
        ),
        ("a wrong length", with(EdDSA, "x", json!("AAAA"))),
        ("not base64url", with(RS256, "n", json!("+++"))),
        (
            "an RSA key of 1024 bits",
            with(RS256, "n", json!(encode([0xff; 128]))),
        ),
        (
            "an RSA key of 8400 bits",
            with(RS256, "n", json!(encode([0xff; 1050]))),
        ),
        ("an RSA key of 0 bits", with(RS256, "n", json!(long))),
        ("one is no object", json!("k")),
    ] {
        let (_folder, entry) = with_set(&jwks(&[key]), &[RS256, ES256, EdDSA]);
        let faults = Verifier::load(&[entry])
            .err()
            .unwrap_or_else(|| panic!("{why}"));
        assert!(faults[0].to_string().contains(why), "{why}: {}", faults[0]);
    }
    // beside one that can be used, they do no harm
    let set = jwks(&[
        json!({"kty": "AKP"}),
        with(RS256, "use", json!("enc")),
        jwk(RS256, "r1"),
    ]);
    let (_folder, entry) = with_set(&set, &[RS256]);
    assert!(
        verifier(&[entry])
            .verify(&good(RS256, Some("r1")), NOW)
            .is_ok()
    );
    for broken in ["", "{}", "[]", "{\"keys\":{}}", "{\"keys\":[],\"keys\":[]}"] {
        let (_folder, entry) = with_set(broken, &[RS256]);
        let told = Verifier::load(&[entry]).err().unwrap()[0].to_string();
        assert!(told.contains("is no JSON Web Key Set"), "{told}");
    }
}

#[test]
fn keys_that_nobody_should_trust_are_refused_at_the_start_with_the_fix() {
    let public = |name| with_public_key(name, &[RS256, ES256, EdDSA]);
    let folder = tempdir().unwrap();
    let large = folder.path().join("large");
    fs::write(&large, vec![b'x'; 65_537]).unwrap();
    for (entry, why) in [
        (public("nowhere.pem"), "cannot be read"),
        (public("README.md"), "no PUBLIC KEY in PEM"),
        (public("rsa.pem"), "no PUBLIC KEY in PEM"),
        (public("certificate.pem"), "openssl pkey"),
        (public("p521.pub.pem"), "no PUBLIC KEY in PEM"),
        (public("x25519.pub.pem"), "no PUBLIC KEY in PEM"),
        (public("weak-rsa.pub.pem"), "an RSA key of 1024 bits"),
        (
            public("p384.pub.pem"),
            "a key for ES384, none of which is in algorithms",
        ),
        (
            entry(KeySource::SecretFile(large), &[HS256]),
            "larger than 64 KiB",
        ),
        (
            entry(KeySource::SecretFile(test_file("rsa.pub.pem")), &[HS256]),
            "give it as public_key_file",
        ),
        (
            with_secret(&SECRET[..31], &[HS256]),
            "has 31 bytes, but HS256 needs",
        ),
        (
            with_secret(&SECRET[..47], &[HS256, HS384]),
            "has 47 bytes, but HS384 needs",
        ),
        (
            with_secret(&SECRET[..63], &[HS512]),
            "has 63 bytes, but HS512 needs",
        ),
    ] {
        let good = with_secret(SECRET, &[HS256]);
        let faults = Verifier::load(&[good, entry])
            .err()
            .unwrap_or_else(|| panic!("{why}"));
        let told = faults[0].to_string();
        assert!(
            told.starts_with("entry 2: ") && told.contains(why),
            "{told}"
        );
        assert!(!told.contains(&SECRET[..16]), "{told}");
    }
}

#[test]
fn files_are_read_again_and_one_that_is_broken_changes_nothing() {
    let (folder, set) = with_set(&jwks(&[jwk(RS256, "r1")]), &[RS256, ES256]);
    let file = folder.path().join("jwks.json");
    let secret_file = folder.path().join("secret");
    fs::write(&secret_file, format!("{SECRET}\r\n")).unwrap();
    let secret = entry(KeySource::SecretFile(secret_file), &[HS256]);
    let verifier = verifier(&[with_secret(SECRET, &[HS512]), set, secret]);
    let outcomes = || {
        let all = verifier.reload().into_iter();
        let shown = |reloaded: Reloaded| {
            (
                reloaded.entry,
                reloaded.outcome.map_err(|fault| fault.to_string()),
            )
        };
        all.map(shown).collect::<Vec<_>>()
    };
    let accepts = |algorithm, kid| verifier.verify(&good(algorithm, kid), NOW).is_ok();
    assert!(accepts(RS256, Some("r1")) && accepts(HS256, None) && accepts(HS512, None));
    assert_eq!(outcomes(), [(2, Ok(Change::Same)), (3, Ok(Change::Same))]);
    fs::write(&file, "{").unwrap();
    assert_eq!(outcomes()[0], (2, Err("is no JSON Web Key Set".to_owned())));
    assert!(accepts(RS256, Some("r1")));
    fs::write(&file, jwks(&[jwk(ES256, "e1"), jwk(ES256, "e2")])).unwrap();
    assert_eq!(outcomes()[0], (2, Ok(Change::Replaced(2))));
    assert!(accepts(ES256, Some("e1")) && !accepts(RS256, Some("r1")));
    fs::remove_file(&file).unwrap();
    assert!(
        outcomes()[0]
            .1
            .as_ref()
            .unwrap_err()
            .starts_with("cannot be read")
    );
    assert!(accepts(ES256, Some("e1")));
}
