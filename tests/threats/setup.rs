//! A gateway with users, rules and tokens, and what its clients show.

use crate::support::{gateway::Gateway, http::Request};
use base64::{Engine, engine::general_purpose::STANDARD};
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::json;
use std::{
    fs,
    net::SocketAddr,
    time::{SystemTime, UNIX_EPOCH},
};

/// Everybody's password, and its line as Mosquitto writes it (PBKDF2 with few rounds, so that tests do not wait for it).
pub const PASSWORD: &str = "canary of a password";
pub const HASH: &str = "$7$101$AAECAwQFBgcICQoL$iGDodqzUwn3GM/tmlVHF0Q70dJxNApOA9hoKFwFp/OajDfDM8/4BjvaWzL2K77FkzbFr3q1mss+YlBjabb2niQ==";

pub const KEY: &str = "a secret of at least thirty-two bytes";

/// A user's own branch is his name: `u0` may do everything below `u0/`, and read the gateway's numbers.
const RULES: &str = "[[rule]]\nallow = [\"publish\", \"subscribe\", \"retain\"]\nusers = [\"*\"]\ntopics = [\"%u/#\"]\n\
    [[rule]]\nallow = [\"subscribe\"]\nusers = [\"u0\"]\ntopics = [\"$SYS/#\"]\n";

/// A gateway with the users `u0` and `u1`, and the folder of its files.
pub fn guarded(arguments: &[&str]) -> (Gateway, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let users = ["u0", "u1"].map(|user| format!("{user}:{HASH}\n"));
    fs::write(path("passwords"), users.concat()).expect("a password file");
    fs::write(path("rules"), RULES).expect("a rule file");
    let text = format!(
        "[auth]\nfailed_logins = 0\npasswd_file = {:?}\nrules_file = {:?}\n\
         [[auth.jwt]]\nalgorithms = [\"HS256\"]\nsecret = {KEY:?}\naudience = \"tidegate\"\n",
        path("passwords").display().to_string(),
        path("rules").display().to_string(),
    );
    fs::write(path("tidegate.toml"), text).expect("a config");
    let config = path("tidegate.toml").display().to_string();
    let gateway = Gateway::start(&[&["--config", &config], arguments].concat());
    (gateway, folder)
}

/// The value of an Authorization header.
pub fn basic(user: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{PASSWORD}")))
}

/// The value of an Authorization header with a token for an hour.
pub fn bearer(user: &str) -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let until = since.expect("a time after 1970").as_secs() + 3600;
    let claims = json!({"sub": user, "aud": "tidegate", "exp": until});
    let token = encode(
        &Header::default(),
        &claims,
        &EncodingKey::from_secret(KEY.as_bytes()),
    );
    format!("Bearer {}", token.expect("a token"))
}

/// The value of a Cookie header, from logging in.
pub async fn cookie(http: SocketAddr, user: &str) -> String {
    let body = json!({"user": user, "password": PASSWORD}).to_string();
    let login = Request::post("/auth/session", body).header("Content-Type", "application/json");
    let answer = login.send(http).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let cookie = answer.header("set-cookie").expect("a cookie");
    cookie.split(';').next().unwrap_or_default().to_owned()
}
