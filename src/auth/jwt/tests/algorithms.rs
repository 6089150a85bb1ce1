//! Algorithms and signatures: the key decides, never the token.

use super::{PUBLIC_PEM, rs256, table, verifier, with_header, with_public_key, with_secret};
use crate::auth::jwt::{
    testing::{NOW, SECRET, claims, encode, good, header, jwk, signed, stranger},
    *,
};
use Algorithm::*;
use TokenFault as Fault;
use jsonwebtoken::{Algorithm, EncodingKey};
use rustls_pki_types::{SubjectPublicKeyInfoDer, pem::PemObject};
use serde_json::{Value, json};

#[test]
fn tokens_of_every_algorithm_are_accepted_with_its_key_alone() {
    let all = [
        (
            with_secret(SECRET, &[HS256, HS384, HS512]),
            vec![HS256, HS384, HS512],
        ),
        (
            with_public_key("rsa.pub.pem", &[RS256, RS384, RS512, PS256, PS384, PS512]),
            vec![RS256, RS384, RS512, PS256, PS384, PS512],
        ),
        (
            with_public_key("p256.pub.pem", &[ES256, ES384]),
            vec![ES256],
        ),
        (
            with_public_key("p384.pub.pem", &[ES256, ES384]),
            vec![ES384],
        ),
        (with_public_key("ed25519.pub.pem", &[EdDSA]), vec![EdDSA]),
    ];
    let every = [
        HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA,
    ];
    for (entry, fits) in &all {
        let verifier = verifier(std::slice::from_ref(entry));
        for algorithm in every {
            let found = verifier.verify(&good(algorithm, None), NOW);
            match fits.contains(&algorithm) {
                true => assert_eq!(found.unwrap().user, "ann"),
                false => assert_eq!(found, Err(Fault::UnknownKey), "{algorithm:?} {fits:?}"),
            }
        }
    }
    let entries: Vec<_> = all.into_iter().map(|(entry, _)| entry).collect();
    let verifier = verifier(&entries);
    assert!(
        every
            .iter()
            .all(|algorithm| verifier.verify(&good(*algorithm, None), NOW).is_ok())
    );
}

#[test]
fn the_algorithm_is_the_keys_and_never_the_tokens() {
    let hs256 = |secret: &[u8]| {
        signed(
            &header(HS256, None),
            &claims(json!({})),
            HS256,
            &EncodingKey::from_secret(secret),
        )
    };
    let none = |name: &str| {
        let header = json!({"alg": name, "typ": "JWT"}).to_string();
        format!("{}.{}.", encode(header), encode(claims(json!({}))))
    };
    let der = SubjectPublicKeyInfoDer::from_pem_slice(PUBLIC_PEM).unwrap();
    let good = good(RS256, None);
    let signature = good.rsplit('.').next().unwrap();
    table(
        &rs256(),
        vec![
            ("good", good.clone(), Ok(())),
            (
                "HS256 with the public key in PEM",
                hs256(PUBLIC_PEM),
                Err(Fault::UnknownKey),
            ),
            (
                "HS256 with the PEM trimmed",
                hs256(PUBLIC_PEM.trim_ascii()),
                Err(Fault::UnknownKey),
            ),
            (
                "HS256 with the public key in DER",
                hs256(&der),
                Err(Fault::UnknownKey),
            ),
            (
                "HS256 with an empty secret",
                hs256(b""),
                Err(Fault::UnknownKey),
            ),
            ("none", none("none"), Err(Fault::Algorithm)),
            ("None", none("None"), Err(Fault::Algorithm)),
            ("NONE", none("NONE"), Err(Fault::Algorithm)),
            ("nOnE", none("nOnE"), Err(Fault::Algorithm)),
            ("no name at all", none(""), Err(Fault::Algorithm)),
            (
                "none with a signature",
                none("none") + signature,
                Err(Fault::Algorithm),
            ),
            (
                "rs256 in small letters",
                with_header(json!({"alg": "rs256"})),
                Err(Fault::Algorithm),
            ),
            (
                "ES512",
                with_header(json!({"alg": "ES512"})),
                Err(Fault::Algorithm),
            ),
            (
                "no alg",
                with_header(json!({"typ": "JWT"})),
                Err(Fault::Algorithm),
            ),
            (
                "alg is a number",
                with_header(json!({"alg": 5})),
                Err(Fault::Algorithm),
            ),
            (
                "alg is a list",
                with_header(json!({"alg": ["RS256"]})),
                Err(Fault::Algorithm),
            ),
            (
                "RS384, not in algorithms",
                super::testing::good(RS384, None),
                Err(Fault::UnknownKey),
            ),
            (
                "PS256 with the same key",
                super::testing::good(PS256, None),
                Err(Fault::UnknownKey),
            ),
        ],
    );
    table(
        &verifier(&[with_secret(SECRET, &[HS256])]),
        vec![
            ("good", super::testing::good(HS256, None), Ok(())),
            (
                "RS256 for a secret",
                super::testing::good(RS256, None),
                Err(Fault::UnknownKey),
            ),
            (
                "HS512, not in algorithms",
                super::testing::good(HS512, None),
                Err(Fault::UnknownKey),
            ),
            ("another secret", hs256(b"another"), Err(Fault::Signature)),
        ],
    );
}

#[test]
fn a_signature_is_good_or_the_token_is_not() {
    let good = good(RS256, None);
    let (message, signature) = good.rsplit_once('.').unwrap();
    let with = |signature: &str| format!("{message}.{signature}");
    let (first, rest) = signature.split_at(1);
    let flipped = format!("{}{rest}", if first == "A" { "B" } else { "A" });
    let payload = encode(claims(json!({"sub": "root"})));
    let (head, _) = message.split_once('.').unwrap();
    let theirs =
        |header: Value| signed(&header.to_string(), &claims(json!({})), RS256, &stranger());
    let own = jwk(RS256, "x");
    table(
        &rs256(),
        vec![
            (
                "other claims",
                format!("{head}.{payload}.{signature}"),
                Err(Fault::Signature),
            ),
            (
                "another header",
                format!(
                    "{}.{}.{signature}",
                    encode(header(RS256, Some("x"))),
                    encode(claims(json!({})))
                ),
                Err(Fault::Signature),
            ),
            ("one bit", with(&flipped), Err(Fault::Signature)),
            (
                "cut short",
                with(&signature[..signature.len() - 2]),
                Err(Fault::Signature),
            ),
            ("none", with(""), Err(Fault::Signature)),
            ("zeros", with(&encode([0; 256])), Err(Fault::Signature)),
            ("too long", with(&encode([1; 257])), Err(Fault::Signature)),
            (
                "a stranger's",
                theirs(json!({"alg": "RS256"})),
                Err(Fault::Signature),
            ),
            (
                "a stranger's with its key",
                theirs(json!({"alg": "RS256", "jwk": own})),
                Err(Fault::Signature),
            ),
            (
                "a stranger's with its address",
                theirs(json!({"alg": "RS256", "jku": "http://127.0.0.1:1/k"})),
                Err(Fault::Signature),
            ),
            (
                "a stranger's with its certificate",
                theirs(json!({"alg": "RS256", "x5u": "http://127.0.0.1:1/c", "x5c": ["AAAA"]})),
                Err(Fault::Signature),
            ),
            (
                "an address is passed over",
                with_header(
                    json!({"alg": "RS256", "jku": "http://127.0.0.1:1/k", "jwk": {}, "x5u": 1}),
                ),
                Ok(()),
            ),
        ],
    );
    let zeros = |algorithm, length: usize| {
        let head = header(algorithm, None);
        format!(
            "{}.{}.{}",
            encode(head),
            encode(claims(json!({}))),
            encode(vec![0; length])
        )
    };
    let curves = verifier(&[
        with_public_key("p256.pub.pem", &[ES256]),
        with_public_key("p384.pub.pem", &[ES384]),
        with_public_key("ed25519.pub.pem", &[EdDSA]),
    ]);
    let ecdsa = super::testing::good(ES256, None);
    let (message, signature) = ecdsa.rsplit_once('.').unwrap();
    table(
        &curves,
        vec![
            ("ES256, zeros", zeros(ES256, 64), Err(Fault::Signature)),
            ("ES384, zeros", zeros(ES384, 96), Err(Fault::Signature)),
            ("ES256, nothing", zeros(ES256, 0), Err(Fault::Signature)),
            (
                "ES256, zeros in DER",
                {
                    let (message, _) = ecdsa.rsplit_once('.').unwrap();
                    format!("{message}.{}", encode([0x30, 6, 2, 1, 0, 2, 1, 0]))
                },
                Err(Fault::Signature),
            ),
            (
                "ES256, swapped halves",
                {
                    use base64::Engine;
                    let mut bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD
                        .decode(signature)
                        .unwrap();
                    bytes.rotate_left(32);
                    format!("{message}.{}", encode(bytes))
                },
                Err(Fault::Signature),
            ),
            ("EdDSA, zeros", zeros(EdDSA, 64), Err(Fault::Signature)),
            ("EdDSA, nothing", zeros(EdDSA, 0), Err(Fault::Signature)),
        ],
    );
}
