//! Sets of public keys in JSON (RFC 7517).

use super::{
    json,
    key::{Key, KeyFault, Material, trimmed},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::Algorithm;
use serde_json::{Map, Value};

/// Keys of a set that are looked at.
const MAX_KEYS: usize = 100;

/// The keys of a set, each for those of `allowed` that its kind is for and, if it names one, for that alone. Keys for
/// something else, secrets, and kinds that are not known are passed over, as the RFC has it; but one at least must be
/// left.
pub fn keys(json: &[u8], allowed: &[Algorithm]) -> Result<Vec<Key>, KeyFault> {
    let set = json::object(json).ok_or(KeyFault::NoSet)?;
    let members = set.get("keys").and_then(Value::as_array);
    let (mut keys, mut passed_over) = (Vec::new(), Vec::new());
    for member in members.ok_or(KeyFault::NoSet)?.iter().take(MAX_KEYS) {
        match key(member.as_object(), allowed) {
            Ok(key) => keys.push(key),
            Err(why) => passed_over.push(why),
        }
    }
    if keys.is_empty() {
        passed_over.dedup();
        let why = match passed_over.is_empty() {
            true => "it is empty".to_owned(),
            false => passed_over.join(", "),
        };
        return Err(KeyFault::NoUsableKey(why));
    }
    Ok(keys)
}

fn key(member: Option<&Map<String, Value>>, allowed: &[Algorithm]) -> Result<Key, String> {
    let member = member.ok_or("one is no object")?;
    let text = |name: &str| match member.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str())),
        Some(_) => Err(format!("one has a member {name} that is no text")),
    };
    if text("use")?.is_some_and(|purpose| purpose != "sig") {
        return Err("one is not for signatures".to_owned());
    }
    if let Some(operations) = member.get("key_ops") {
        let operations = operations.as_array().map(Vec::as_slice).unwrap_or_default();
        if !operations.iter().any(|operation| operation == "verify") {
            return Err("one is not for signatures".to_owned());
        }
    }
    if member.contains_key("d") {
        return Err("one is a private key, which nobody should hand out".to_owned());
    }
    let allowed: Vec<_> = match text("alg")? {
        None => allowed.to_vec(),
        Some(name) => allowed
            .iter()
            .filter(|algorithm| format!("{algorithm:?}") == name)
            .copied()
            .collect(),
    };
    if allowed.is_empty() {
        return Err("one is for an algorithm that is not in algorithms".to_owned());
    }
    let number = |name| {
        let bytes = URL_SAFE_NO_PAD.decode(text(name)?.unwrap_or_default());
        bytes.map_err(|_| format!("one has a member {name} that is not base64url"))
    };
    let material = match (text("kty")?, text("crv")?) {
        (Some("RSA"), _) => Material::Rsa(trimmed(&number("n")?), trimmed(&number("e")?)),
        (Some("EC"), Some("P-256")) => Material::P256(point(number("x")?, number("y")?, 32)?),
        (Some("EC"), Some("P-384")) => Material::P384(point(number("x")?, number("y")?, 48)?),
        (Some("OKP"), Some("Ed25519")) => {
            let key = number("x")?;
            match key.len() {
                32 => Material::Ed25519(key),
                _ => return Err("one has a wrong length".to_owned()),
            }
        }
        (Some("oct"), _) => {
            return Err("one is a secret, which belongs into secret_file".to_owned());
        }
        _ => return Err("one is of a kind that is not known".to_owned()),
    };
    let kid = text("kid")?.map(str::to_owned);
    Key::new(kid, material, &allowed).map_err(|fault| format!("one {fault}"))
}

/// An uncompressed point, as X9.62 has it.
fn point(x: Vec<u8>, y: Vec<u8>, length: usize) -> Result<Vec<u8>, String> {
    match x.len() == length && y.len() == length {
        true => Ok([&[4][..], &x, &y].concat()),
        false => Err("one has coordinates of a wrong length".to_owned()),
    }
}
