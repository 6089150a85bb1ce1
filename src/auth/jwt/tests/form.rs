//! The form of a token: three parts, and a header that asks for nothing unknown.

use super::{rs256, table, with_claims, with_header, with_raw_claims};
use crate::auth::jwt::{
    testing::{NOW, encode, good, header},
    *,
};
use Algorithm::*;
use TokenFault as Fault;
use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

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
