use super::{
    testing::{
        NOW, SECRET, claims, data, encode, good, header, jwk, jwks, signed, signer, stranger,
    },
    *,
};
use crate::auth::{config::KeySource, secret::Secret};
use Algorithm::*;
use TokenFault as Fault;
use jsonwebtoken::{Algorithm, EncodingKey};
use rustls_pki_types::{SubjectPublicKeyInfoDer, pem::PemObject};
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

#[test]
fn a_header_names_nothing_that_must_be_understood_and_is_of_an_access_token() {
    let with = |name: &str, value: Value| with_header(json!({"alg": "RS256", name: value}));
    table(
        &rs256(),
        vec![
            ("crit", with("crit", json!(["exp"])), Err(Fault::Critical)),
            (
                "crit, b64",
                with_header(json!({"alg": "RS256", "crit": ["b64"], "b64": false})),
                Err(Fault::Critical),
            ),
            ("crit, empty", with("crit", json!([])), Err(Fault::Critical)),
            (
                "crit, null",
                with("crit", json!(null)),
                Err(Fault::Critical),
            ),
            ("typ at+jwt", with("typ", json!("at+JWT")), Ok(())),
            (
                "typ logout+jwt",
                with("typ", json!("logout+jwt")),
                Err(Fault::Type),
            ),
            ("typ a number", with("typ", json!(1)), Err(Fault::Type)),
            ("kid a number", with("kid", json!(1)), Err(Fault::Malformed)),
            ("kid null", with("kid", json!(null)), Err(Fault::Malformed)),
            (
                "kid endless",
                with("kid", json!("k".repeat(2000))),
                Err(Fault::Malformed),
            ),
            (
                "kid for a key without a name",
                with("kid", json!("x")),
                Ok(()),
            ),
        ],
    );
}

#[test]
fn a_token_is_three_parts_of_base64url_written_in_the_one_way() {
    let good = good(RS256, None);
    let (message, signature) = good.rsplit_once('.').unwrap();
    let (head, payload) = message.split_once('.').unwrap();
    let raw =
        |header: &[u8], claims: &[u8]| format!("{}.{}.{signature}", encode(header), encode(claims));
    let head_bytes = header(RS256, None);
    let last = signature.as_bytes()[signature.len() - 1] as char;
    // of the last character only some bits count
    let spare = if last == 'A' {
        'B'
    } else {
        char::from(last as u8 + 1)
    };
    let spare = format!("{}{spare}", &good[..good.len() - 1]);
    let twice = |claims: &str| with_raw_claims(claims);
    table(
        &rs256(),
        vec![
            ("nothing", String::new(), Err(Fault::Malformed)),
            ("dots", "..".to_owned(), Err(Fault::Malformed)),
            ("one part", head.to_owned(), Err(Fault::Malformed)),
            ("two parts", message.to_owned(), Err(Fault::Malformed)),
            (
                "four parts",
                format!("{good}.{signature}"),
                Err(Fault::Malformed),
            ),
            ("five parts", format!("{good}.a.b"), Err(Fault::Malformed)),
            ("a space before", format!(" {good}"), Err(Fault::Malformed)),
            (
                "a line break behind",
                format!("{good}\n"),
                Err(Fault::Malformed),
            ),
            (
                "a line break within",
                format!("{head}.\n{payload}.{signature}"),
                Err(Fault::Malformed),
            ),
            ("padding", format!("{good}=="), Err(Fault::Malformed)),
            ("spare bits", spare, Err(Fault::Malformed)),
            (
                "plus and slash",
                format!("{message}.+/{}", &signature[2..]),
                Err(Fault::Malformed),
            ),
            ("Bearer", format!("Bearer {good}"), Err(Fault::Malformed)),
            (
                "letters beyond ASCII",
                format!("{good}é"),
                Err(Fault::Malformed),
            ),
            ("a NUL", format!("{good}\0"), Err(Fault::Malformed)),
            (
                "claims that are a list",
                raw(head_bytes.as_bytes(), b"[]"),
                Err(Fault::Malformed),
            ),
            (
                "claims that are no JSON",
                raw(head_bytes.as_bytes(), b"{"),
                Err(Fault::Malformed),
            ),
            (
                "claims that are no text",
                raw(head_bytes.as_bytes(), b"{\"sub\":\"\xff\"}"),
                Err(Fault::Malformed),
            ),
            (
                "no claims",
                format!("{head}..{signature}"),
                Err(Fault::Malformed),
            ),
            (
                "a header that is no object",
                raw(b"\"RS256\"", b"{}"),
                Err(Fault::Malformed),
            ),
            (
                "two algorithms",
                raw(br#"{"alg":"none","alg":"RS256"}"#, b"{}"),
                Err(Fault::Malformed),
            ),
            (
                "two exp",
                twice(&format!(
                    r#"{{"aud":"tidegate","sub":"ann","exp":1,"exp":{}}}"#,
                    NOW + 9
                )),
                Err(Fault::Malformed),
            ),
            (
                "two sub",
                twice(r#"{"sub":"ann","sub":"root"}"#),
                Err(Fault::Malformed),
            ),
            (
                "two sub, one in escapes",
                twice(r#"{"sub":"ann","s\u0075b":"root"}"#),
                Err(Fault::Malformed),
            ),
            (
                "two rights",
                twice(r##"{"mqtt":{"pub":[],"pub":["#"]}}"##),
                Err(Fault::Malformed),
            ),
            (
                "longer than 16 KiB",
                with_claims(json!({"x": "x".repeat(16_000)})),
                Err(Fault::TooLarge),
            ),
            ("megabytes", "a".repeat(5 << 20), Err(Fault::TooLarge)),
            (
                "long, but not too long",
                with_claims(json!({"x": "x".repeat(10_000)})),
                Ok(()),
            ),
        ],
    );
}

#[test]
fn a_token_is_for_this_gateway_from_that_issuer_and_for_now() {
    let exp = |exp: Value| with_claims(json!({"exp": exp}));
    let nbf = |nbf: Value| with_claims(json!({"nbf": nbf}));
    let aud = |aud: Value| with_claims(json!({"aud": aud}));
    let without = |name: &str| {
        let mut changes = json!({});
        changes[name] = Value::Null;
        with_claims(changes)
    };
    let null = |name: &str| {
        with_raw_claims(&claims(json!({})).replacen('{', &format!("{{\"{name}\":null,"), 1))
    };
    table(
        &rs256(),
        vec![
            ("expired", exp(json!(NOW - 3600)), Err(Fault::Expired)),
            (
                "expired 30 s ago",
                exp(json!(NOW - 30)),
                Err(Fault::Expired),
            ),
            ("expired within the leeway", exp(json!(NOW - 29)), Ok(())),
            ("expires at 0", exp(json!(0)), Err(Fault::Expired)),
            ("a fraction", exp(json!(NOW as f64 + 0.5)), Ok(())),
            ("no exp", without("exp"), Err(Fault::NoExpiry)),
            ("exp as text", exp(json!("1900000000")), Err(Fault::Time)),
            ("exp before 1970", exp(json!(-1)), Err(Fault::Time)),
            ("exp beyond all time", exp(json!(1e300)), Err(Fault::Time)),
            (
                "exp the largest number",
                exp(json!(u64::MAX)),
                Err(Fault::Time),
            ),
            ("exp a list", exp(json!([NOW + 60])), Err(Fault::Time)),
            ("not yet", nbf(json!(NOW + 3600)), Err(Fault::NotYet)),
            ("not yet for 31 s", nbf(json!(NOW + 31)), Err(Fault::NotYet)),
            ("not yet, within the leeway", nbf(json!(NOW + 30)), Ok(())),
            ("nbf as text", nbf(json!("now")), Err(Fault::Time)),
            ("nbf null", null("nbf"), Err(Fault::Time)),
            ("no aud", without("aud"), Err(Fault::NoAudience)),
            ("another aud", aud(json!("mail")), Err(Fault::Audience)),
            (
                "aud in capitals",
                aud(json!("Tidegate")),
                Err(Fault::Audience),
            ),
            (
                "aud with more behind",
                aud(json!("tidegate.example")),
                Err(Fault::Audience),
            ),
            (
                "one of several aud",
                aud(json!(["mail", "https://tidegate.example"])),
                Ok(()),
            ),
            (
                "none of several aud",
                aud(json!(["mail", "web"])),
                Err(Fault::Audience),
            ),
            ("no aud in the list", aud(json!([])), Err(Fault::Audience)),
            (
                "aud of several kinds",
                aud(json!(["tidegate", 5])),
                Err(Fault::NoAudience),
            ),
            ("aud a number", aud(json!(5)), Err(Fault::NoAudience)),
            (
                "aud an object",
                aud(json!({"tidegate": true})),
                Err(Fault::NoAudience),
            ),
            (
                "another iss",
                with_claims(json!({"iss": "https://other.example"})),
                Err(Fault::Issuer),
            ),
            (
                "iss with a slash more",
                with_claims(json!({"iss": "https://issuer.example/"})),
                Err(Fault::Issuer),
            ),
            ("no iss", without("iss"), Err(Fault::Issuer)),
            (
                "iss a list",
                with_claims(json!({"iss": ["https://issuer.example"]})),
                Err(Fault::Issuer),
            ),
        ],
    );
}

#[test]
fn a_user_has_a_name_and_groups_are_names() {
    let sub = |sub: Value| with_claims(json!({"sub": sub}));
    let groups = |groups: Value| with_claims(json!({"groups": groups}));
    table(
        &rs256(),
        vec![
            ("a name beyond ASCII", sub(json!("Ånn 李 🦀")), Ok(())),
            (
                "no name",
                with_claims(json!({"sub": null})),
                Err(Fault::User),
            ),
            ("an empty name", sub(json!("")), Err(Fault::User)),
            ("a number", sub(json!(7)), Err(Fault::User)),
            ("a list", sub(json!(["ann"])), Err(Fault::User)),
            (
                "a line break in it",
                sub(json!("ann\nroot")),
                Err(Fault::User),
            ),
            ("a NUL in it", sub(json!("ann\0")), Err(Fault::User)),
            ("groups", groups(json!(["a", "b"])), Ok(())),
            (
                "groups with a number",
                groups(json!(["a", 1])),
                Err(Fault::Groups),
            ),
            (
                "groups with an empty one",
                groups(json!([""])),
                Err(Fault::Groups),
            ),
            (
                "groups an object",
                groups(json!({"a": true})),
                Err(Fault::Groups),
            ),
        ],
    );
    let mut entry = with_public_key("rsa.pub.pem", &[RS256]);
    entry.user_claim = "email".to_owned();
    entry.groups_claim = "roles".to_owned();
    let token =
        with_claims(json!({"email": "ann@example.com", "roles": ["ops"], "groups": ["no"]}));
    assert_eq!(
        verifier(&[entry]).verify(&token, NOW),
        Ok(Claims {
            user: "ann@example.com".to_owned(),
            groups: vec!["ops".to_owned()],
            expires: NOW + 60,
            rights: None,
            client_id: None,
        })
    );
    let found = rs256().verify(&groups(json!("one")), NOW).unwrap();
    assert_eq!(
        (found.user.as_str(), found.groups),
        ("ann", vec!["one".to_owned()])
    );
}

#[test]
fn rights_are_understood_in_full_or_not_at_all() {
    let mqtt = |claim: Value| with_claims(json!({"mqtt": claim}));
    let refused = [
        (
            "a member that is not known",
            json!({"pub": ["a"], "deny": ["b"]}),
        ),
        ("no object", json!(["a"])),
        ("a text", json!("pub:a")),
        ("filters that are no list", json!({"pub": "a/#"})),
        ("a filter that is none", json!({"sub": ["a/#/b"]})),
        ("an empty filter", json!({"sub": [""]})),
        ("a shared one", json!({"sub": ["$share/g/a"]})),
        ("a number among filters", json!({"pub": ["a", 1]})),
        ("retain as text", json!({"retain": "true"})),
        ("an empty client identifier", json!({"client_id": ""})),
        ("a client identifier that is none", json!({"client_id": 5})),
    ];
    let mut cases: Vec<_> = refused
        .map(|(name, claim)| (name, mqtt(claim), Err(Fault::Rights)))
        .into();
    let details =
        |kind: &str| with_claims(json!({"authorization_details": [{"type": "x"}, {"type": kind}]}));
    cases.push(("details for MQTT", details("mqtt"), Err(Fault::Rights)));
    cases.push(("details for others", details("payment"), Ok(())));
    table(&rs256(), cases);
    let found = |claim: Value| {
        let claims = rs256().verify(&mqtt(claim), NOW).unwrap();
        (claims.rights, claims.client_id)
    };
    let rights = |publish: &[&str], subscribe: &[&str], retain| {
        let owned = |list: &[&str]| list.iter().map(|filter| (*filter).to_owned()).collect();
        Some(TokenRights {
            publish: owned(publish),
            subscribe: owned(subscribe),
            retain,
        })
    };
    let all = json!({"pub": ["a/#", "%u/x"], "sub": ["b/+"], "retain": true, "client_id": "c1"});
    assert_eq!(
        found(all),
        (
            rights(&["a/#", "%u/x"], &["b/+"], true),
            Some("c1".to_owned())
        )
    );
    assert_eq!(
        found(json!({"sub": ["b"]})),
        (rights(&[], &["b"], false), None)
    );
    assert_eq!(found(json!({})), (rights(&[], &[], false), None));
    assert_eq!(
        found(json!({"client_id": "c1"})),
        (None, Some("c1".to_owned()))
    );
}

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
