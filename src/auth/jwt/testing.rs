//! Tokens for tests: signed with keys that are in this repository, or not at all.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, crypto, jwk::Jwk};
use serde_json::{Value, json};

/// The moment at which tests verify.
pub const NOW: u64 = 1_800_000_000;

/// The secret of the tests, of 64 bytes.
pub const SECRET: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

macro_rules! data {
    ($name:literal) => {
        include_bytes!(concat!("testdata/", $name))
    };
}
pub(crate) use data;

/// The key that the tests sign with this.
pub fn signer(algorithm: Algorithm) -> EncodingKey {
    use Algorithm::*;
    match algorithm {
        HS256 | HS384 | HS512 => EncodingKey::from_secret(SECRET.as_bytes()),
        ES256 => EncodingKey::from_ec_pem(data!("p256.pem")).unwrap(),
        ES384 => EncodingKey::from_ec_pem(data!("p384.pem")).unwrap(),
        EdDSA => EncodingKey::from_ed_pem(data!("ed25519.pem")).unwrap(),
        _ => EncodingKey::from_rsa_pem(data!("rsa.pem")).unwrap(),
    }
}

/// An RSA key that nobody trusts.
pub fn stranger() -> EncodingKey {
    EncodingKey::from_rsa_pem(data!("other-rsa.pem")).unwrap()
}

/// base64url
pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Header and claims as they are, signed with this.
pub fn signed(header: &str, claims: &str, algorithm: Algorithm, key: &EncodingKey) -> String {
    let message = format!("{}.{}", encode(header), encode(claims));
    let signature = crypto::sign(message.as_bytes(), key, algorithm).unwrap();
    format!("{message}.{signature}")
}

/// A header of this algorithm and key identifier.
pub fn header(algorithm: Algorithm, kid: Option<&str>) -> String {
    match kid {
        None => json!({"alg": algorithm, "typ": "JWT"}).to_string(),
        Some(kid) => json!({"alg": algorithm, "kid": kid}).to_string(),
    }
}

/// Claims that are accepted, with these in the place of theirs; `null` takes one away.
pub fn claims(changes: Value) -> String {
    let mut claims = json!({
        "iss": "https://issuer.example", "aud": "tidegate", "sub": "ann", "exp": NOW + 60,
    });
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    let members = claims.as_object_mut().unwrap();
    members.retain(|_, value| !value.is_null());
    claims.to_string()
}

/// A token that is accepted by whoever trusts the tests' keys.
pub fn good(algorithm: Algorithm, kid: Option<&str>) -> String {
    let header = header(algorithm, kid);
    signed(&header, &claims(json!({})), algorithm, &signer(algorithm))
}

/// The tests' public key for this, as a member of a key set without `alg`.
pub fn jwk(algorithm: Algorithm, kid: &str) -> Value {
    let mut key =
        serde_json::to_value(Jwk::from_encoding_key(&signer(algorithm), algorithm).unwrap())
            .unwrap();
    key.as_object_mut().unwrap().remove("alg");
    key["kid"] = kid.into();
    key
}

/// A key set.
pub fn jwks(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}
