//! Looks for secrets in what was said, however they are written.

use crate::support::http::encode;
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};

/// What a private key in PEM would be known by: its lines, and the number in it, as bytes are printed.
pub fn of_private_key(pem: &str) -> Vec<String> {
    let lines = pem.lines().filter(|line| !line.starts_with("-----"));
    let mut secrets: Vec<String> = lines.map(str::to_owned).collect();
    let der = STANDARD.decode(secrets.concat()).expect("base64");
    // PKCS#8 of a P-256 key: an OCTET STRING of 32 bytes behind the names
    assert_eq!(der[34..36], [4, 32], "a key of another kind");
    let number = &der[36..68];
    let hex: String = number.iter().map(|byte| format!("{byte:02x}")).collect();
    secrets.extend([hex.to_uppercase(), hex, format!("{number:?}")]);
    secrets.extend([STANDARD.encode(number), URL_SAFE_NO_PAD.encode(number)]);
    secrets
}

/// Every way a secret may be written.
fn forms(secret: &str) -> Vec<String> {
    let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    let quoted = serde_json::to_string(secret).expect("text");
    vec![
        secret.to_owned(),
        STANDARD.encode(secret),
        STANDARD_NO_PAD.encode(secret),
        URL_SAFE_NO_PAD.encode(secret),
        encode(secret),
        encode(secret).to_lowercase(),
        hex.to_uppercase(),
        hex,
        format!("{:?}", secret.as_bytes()),
        quoted.trim_matches('"').to_owned(),
    ]
}

/// Fails if a secret is in what was said, however it is written.
pub fn assert_silent(what: &str, said: &[u8], secrets: &[String]) {
    for secret in secrets {
        for form in forms(secret) {
            let found = memchr::memmem::find(said, form.as_bytes());
            if let Some(at) = found {
                let around = &said[at.saturating_sub(200)..(at + 100).min(said.len())];
                panic!(
                    "{what} shows {form:?} of {secret:?}: {}",
                    String::from_utf8_lossy(around)
                );
            }
        }
    }
}
