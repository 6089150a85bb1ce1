//! A token taken apart, before anything in it can be trusted.

use super::{TokenFault, json};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::Algorithm;
use serde_json::{Map, Value};

/// Longest token that is looked at, in bytes.
pub const MAX_TOKEN: usize = 16 * 1024;

/// Longest key identifier that is looked up, in bytes.
const MAX_KID: usize = 1024;

/// What an access token may say it is. Others, such as logout tokens, are signed with the same keys for something else.
const TYPES: [&str; 4] = ["jwt", "at+jwt", "application/jwt", "application/at+jwt"];

/// A token in its parts; nothing here is proven.
pub struct Token<'a> {
    /// What it says it is signed with.
    pub algorithm: Algorithm,
    /// Which key it says that is.
    pub kid: Option<String>,
    /// Its claims.
    pub claims: Map<String, Value>,
    /// What is signed.
    pub message: &'a str,
    /// The signature, in base64url.
    pub signature: &'a str,
}

impl<'a> Token<'a> {
    /// Takes a token apart. Addresses of keys and keys themselves (`jku`, `x5u`, `jwk`, `x5c`) are passed over: whose
    /// keys count is not for a token to say.
    pub fn parse(token: &'a str) -> Result<Self, TokenFault> {
        if token.len() > MAX_TOKEN {
            return Err(TokenFault::TooLarge);
        }
        let (message, signature) = token.rsplit_once('.').ok_or(TokenFault::Malformed)?;
        let (header, claims) = message.split_once('.').ok_or(TokenFault::Malformed)?;
        let header = part(header)?;
        if header.contains_key("crit") {
            return Err(TokenFault::Critical);
        }
        if !is_of_a_type(header.get("typ")) {
            return Err(TokenFault::Type);
        }
        let algorithm = header.get("alg").and_then(Value::as_str);
        let algorithm = algorithm.and_then(|name| name.parse().ok());
        let kid = match header.get("kid") {
            None => None,
            Some(Value::String(kid)) if kid.len() <= MAX_KID => Some(kid.clone()),
            Some(_) => return Err(TokenFault::Malformed),
        };
        // decoded here only to be sure that there is one way to write it
        decode(signature)?;
        Ok(Token {
            algorithm: algorithm.ok_or(TokenFault::Algorithm)?,
            kid,
            claims: part(claims)?,
            message,
            signature,
        })
    }

    /// Who says to have issued it.
    pub fn issuer(&self) -> Option<&str> {
        self.claims.get("iss").and_then(Value::as_str)
    }
}

fn is_of_a_type(typ: Option<&Value>) -> bool {
    match typ {
        None => true,
        Some(Value::String(typ)) => TYPES.iter().any(|known| typ.eq_ignore_ascii_case(known)),
        Some(_) => false,
    }
}

fn part(text: &str) -> Result<Map<String, Value>, TokenFault> {
    json::object(&decode(text)?).ok_or(TokenFault::Malformed)
}

/// base64url without padding, line breaks or spare bits.
fn decode(text: &str) -> Result<Vec<u8>, TokenFault> {
    URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_| TokenFault::Malformed)
}
