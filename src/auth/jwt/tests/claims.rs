//! Claims: for whom, from whom, how long, and which rights.

use super::{rs256, table, verifier, with_claims, with_public_key, with_raw_claims};
use crate::auth::jwt::{
    testing::{NOW, claims},
    *,
};
use Algorithm::*;
use TokenFault as Fault;
use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

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
            ("expired just now", exp(json!(NOW)), Err(Fault::Expired)),
            ("the last second", exp(json!(NOW + 1)), Ok(())),
            ("expires at 0", exp(json!(0)), Err(Fault::Expired)),
            ("a fraction", exp(json!(NOW as f64 + 1.5)), Ok(())),
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
    let cases: Vec<_> = refused
        .map(|(name, claim)| (name, mqtt(claim), Err(Fault::Rights)))
        .into();
    table(&rs256(), cases);
    let found = |claim: Value| {
        let claims = rs256().verify(&mqtt(claim), NOW).unwrap();
        (claims.rights, claims.client_id)
    };
    let all = json!({"pub": ["a/#", "%u/x"], "sub": ["b/+"], "retain": true, "client_id": "c1"});
    assert_eq!(
        found(all),
        (
            rights(&["a/#", "%u/x"], &["b/+"], &["a/#", "%u/x"]),
            Some("c1".to_owned())
        )
    );
    assert_eq!(
        found(json!({"sub": ["b"]})),
        (rights(&[], &["b"], &[]), None)
    );
    assert_eq!(found(json!({})), (rights(&[], &[], &[]), None));
    assert_eq!(
        found(json!({"client_id": "c1"})),
        (None, Some("c1".to_owned()))
    );
}

fn rights(publish: &[&str], subscribe: &[&str], retain: &[&str]) -> Option<TokenRights> {
    let owned = |list: &[&str]| list.iter().map(|filter| (*filter).to_owned()).collect();
    Some(TokenRights {
        publish: owned(publish),
        subscribe: owned(subscribe),
        retain: owned(retain),
    })
}

#[test]
fn authorization_details_for_mqtt_limit_as_the_claim_does_and_each_action_to_its_own_topics() {
    let token = |details: Value| with_claims(json!({"authorization_details": details}));
    let mqtt = |actions: Value, topics: Value| json!({"type": "mqtt", "actions": actions, "topics": topics});
    let found = |details: Value| rs256().verify(&token(details), NOW).unwrap().rights;
    assert_eq!(
        found(json!([
            mqtt(json!(["publish", "retain"]), json!(["a/#"])),
            {"type": "payment", "amount": 7},
            mqtt(json!(["publish", "subscribe"]), json!(["b/+", "c"])),
        ])),
        rights(&["a/#", "b/+", "c"], &["b/+", "c"], &["a/#"])
    );
    assert_eq!(
        found(json!([mqtt(json!([]), json!(["a"]))])),
        rights(&[], &[], &[])
    );
    assert_eq!(found(json!([{"type": "payment"}])), None);

    let refused = [
        ("no list", mqtt(json!(["publish"]), json!(["a"]))),
        ("no type", json!([{}])),
        (
            "an action that is not known",
            json!([mqtt(json!(["read"]), json!(["a"]))]),
        ),
        (
            "actions that are no list",
            json!([mqtt(json!("publish"), json!(["a"]))]),
        ),
        (
            "a filter that is none",
            json!([mqtt(json!(["publish"]), json!(["#/a"]))]),
        ),
        (
            "no topics",
            json!([{"type": "mqtt", "actions": ["publish"]}]),
        ),
        ("no actions", json!([{"type": "mqtt", "topics": ["a"]}])),
        (
            "a member that is not known",
            json!([{
                "type": "mqtt", "actions": ["publish"], "topics": ["a"], "locations": ["https://x"]
            }]),
        ),
    ];
    let mut cases: Vec<_> = refused
        .map(|(name, details)| (name, token(details), Err(Fault::Rights)))
        .into();
    let both = |claim: Value| {
        with_claims(json!({
            "mqtt": claim, "authorization_details": [mqtt(json!(["publish"]), json!(["a"]))]
        }))
    };
    cases.push((
        "rights said twice",
        both(json!({"pub": ["b"]})),
        Err(Fault::Rights),
    ));
    cases.push((
        "beside a client identifier",
        both(json!({"client_id": "c1"})),
        Ok(()),
    ));
    table(&rs256(), cases);
}
