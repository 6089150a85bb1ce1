//! Sessions without a socket.

use super::*;
use crate::http;
use axum::body::Body;
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn a_session_too_many_ends_the_oldest_of_the_same_caller_and_what_goes_on_with_it() {
    let state = Arc::new(http::tests::state(&CancellationToken::new()));
    let log_in = || async {
        let request = Request::post("/auth/session").body(Body::empty()).unwrap();
        let answer = post(axum_extract::State(state.clone()), request)
            .await
            .unwrap();
        let set = answer.headers()[header::SET_COOKIE].to_str().unwrap();
        let (cookie, _) = set.split_once(';').unwrap();
        let (_, secret) = cookie.split_once('=').unwrap();
        secret.to_owned()
    };
    let now = state.broker.now();
    let (oldest, second) = (log_in().await, log_in().await);
    let caller = state.logins.by_cookie(&oldest, now).unwrap();
    for _ in 2..MOST_EACH {
        log_in().await;
    }
    assert!(!caller.is_expired(now));
    log_in().await;
    assert!(caller.is_expired(now));
    assert!(state.logins.by_cookie(&oldest, now).is_none());
    assert!(state.logins.by_cookie(&second, now).is_some());
}
