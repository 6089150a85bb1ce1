//! `X-Forwarded-For`, from proxies and from others.

use crate::support::{gateway::Gateway, http::Request};

/// Has a request refused that carries this header; refusals are logged with their peer.
async fn refused_with(gateway: &Gateway, header: &str, topic: &str) {
    let answer = Request::post(&format!("/api/v1/topics/{topic}%2B"), "")
        .header("X-Forwarded-For", header)
        .send(gateway.http)
        .await;
    answer.assert_problem(400, "topic-invalid");
}

#[tokio::test]
async fn a_trusted_proxy_names_the_client_and_what_the_client_wrote_before_is_ignored() {
    let gateway = Gateway::start(&["--set", "http.trusted_proxies=127.0.0.0/8"]);
    refused_with(&gateway, "198.51.100.1, 203.0.113.9", "a").await;
    gateway.logs("peer=203.0.113.9 kind=\"topic\"").await;
    assert!(!gateway.log().contains("198.51.100.1"), "{}", gateway.log());
}

#[tokio::test]
async fn a_strangers_header_is_ignored() {
    for settings in [&[][..], &["--set", "http.trusted_proxies=10.0.0.0/8"]] {
        let gateway = Gateway::start(settings);
        refused_with(&gateway, "203.0.113.9", "a").await;
        gateway.logs("peer=127.0.0.1:").await;
        assert!(!gateway.log().contains("203.0.113.9"), "{}", gateway.log());
    }
}
