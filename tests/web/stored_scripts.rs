//! The guard against stored scripts: payload and content type are the publisher's choice, the origin is the dashboard's.

use crate::support::{
    gateway::Gateway,
    http::{Request, Response, encode},
    mqtt::Client,
    unique,
    wire::{Opening, Publish, property},
};

const OCTETS: &str = "application/octet-stream";

/// Content types, and as what the payload is given. Whatever a browser could take for a page, an image with scripts, or
/// a script is bytes to be saved.
const KINDS: &[(&str, &str)] = &[
    ("text/html", OCTETS),
    ("TEXT/HTML", OCTETS),
    ("text/html; charset=utf-8", OCTETS),
    ("text/html;charset=utf-7", OCTETS),
    (" text/html", OCTETS),
    ("text/html\t; a=b", OCTETS),
    ("application/xhtml+xml", OCTETS),
    ("Application/XHTML+XML; charset=utf-8", OCTETS),
    ("image/svg+xml", OCTETS),
    ("Image/SVG+xml", OCTETS),
    ("image/svg+xml; charset=utf-8", OCTETS),
    ("text/xml", OCTETS),
    ("application/xml", OCTETS),
    ("application/rss+xml", OCTETS),
    // any type that ends so is XML by the rules of browsers
    ("video/x+xml", OCTETS),
    ("AUDIO/x+XML", OCTETS),
    ("application/javascript", OCTETS),
    ("text/javascript; charset=utf-8", OCTETS),
    ("text/css", OCTETS),
    ("text/cache-manifest", OCTETS),
    ("text/event-stream", OCTETS),
    ("application/pdf", OCTETS),
    ("application/x-shockwave-flash", OCTETS),
    ("multipart/x-mixed-replace; boundary=x", OCTETS),
    ("message/rfc822", OCTETS),
    ("application/wasm", OCTETS),
    ("unknown/unknown", OCTETS),
    ("*/*", OCTETS),
    ("", OCTETS),
    ("text/plain, text/html", OCTETS),
    ("text/plain\u{1}", OCTETS),
    ("text/plain\r\nSet-Cookie: a=b", OCTETS),
    ("text/plain\r\nContent-Type: text/html", OCTETS),
    ("text/plain; a=b, text/html", "text/plain"),
    ("text/plain", "text/plain"),
    ("text/plain; charset=latin1", "text/plain; charset=latin1"),
    ("application/json", "application/json"),
    ("image/png", "image/png"),
    ("video/mp4", "video/mp4"),
];

/// What a browser that guesses takes for a page, an image, a feed, an archive.
const BODIES: &[&[u8]] = &[
    b"<script>alert(1)</script>",
    b"<!DOCTYPE html><html><script>alert(1)</script></html>",
    b"\xEF\xBB\xBF<html><script>alert(1)</script>",
    b"\xFE\xFF\0<\0s\0c\0r\0i\0p\0t\0>",
    b"<?xml version=\"1.0\"?><html xmlns=\"http://www.w3.org/1999/xhtml\"><script>alert(1)</script></html>",
    b"<svg xmlns=\"http://www.w3.org/2000/svg\" onload=\"alert(1)\"/>",
    b"GIF89a/*<svg onload=alert(1)>*/=alert(1)//;",
    b"%PDF-1.4 <script>alert(1)</script>",
    b"+ADw-script+AD4-alert(1)+ADw-/script+AD4-",
    b"PK\x03\x04<script>alert(1)</script>",
];

async fn retain(gateway: &Gateway, topic: &str, kind: &str, body: &[u8]) {
    let mut client = Client::tcp(gateway, &Opening::v5(&unique("in"))).await;
    let mut message = Publish::new(topic, body, 1).retained();
    message.properties = message.properties.text(property::CONTENT_TYPE, kind);
    assert_eq!(client.publish(&message).await, 0, "{kind:?}");
    client.disconnect().await;
}

fn assert_is_guarded(got: &Response, what: &str) {
    assert_eq!(got.status, 200, "{what}");
    assert_eq!(
        got.all("x-content-type-options"),
        ["nosniff"],
        "{what}: {got:?}"
    );
    assert_eq!(got.all("content-type").len(), 1, "{what}");
    assert_eq!(got.header("set-cookie"), None, "{what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stored_payload_cannot_become_a_page_of_this_origin() {
    let gateway = Gateway::shared();
    let stem = unique("scripts/state");
    for (nth, (kind, shown)) in KINDS.iter().enumerate() {
        let topic = format!("{stem}/{nth}");
        let body = BODIES[nth % BODIES.len()];
        retain(&gateway, &topic, kind, body).await;
        let what = format!("{kind:?} with {:?}", String::from_utf8_lossy(body));
        for method in ["GET", "HEAD"] {
            for target in [
                format!("/api/v1/topics/{topic}"),
                format!("/api/v1/topics?topic={}", encode(&topic)),
            ] {
                let request = Request::new(method, &target);
                // what a browser says when it opens the address
                let request = request.header("Accept", "text/html,application/xhtml+xml,*/*;q=0.8");
                let got = request.send(gateway.http).await;
                assert_is_guarded(&got, &what);
                assert_eq!(got.header("content-type"), Some(*shown), "{what}");
                let saved = got.header("content-disposition") == Some("attachment");
                assert_eq!(saved, *shown == OCTETS, "{what}");
                assert_eq!(
                    got.all("content-security-policy"),
                    ["default-src 'none'; sandbox"],
                    "{what}"
                );
                assert_eq!(
                    got.header("cross-origin-resource-policy"),
                    Some("same-origin")
                );
                let original = got.header("mqtt-content-type").unwrap_or_default();
                assert!(!original.contains(['\u{1}', '\r', '\n']), "{original:?}");
                if method == "GET" {
                    assert!(got.body == body, "{what}");
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_content_type_no_body_makes_a_browser_guess() {
    let gateway = Gateway::shared();
    let stem = unique("scripts/none");
    for (nth, body) in BODIES.iter().enumerate() {
        let target = format!("/api/v1/topics/{stem}/{nth}");
        let put = Request::put(&target, *body);
        assert_eq!(put.send(gateway.http).await.status, 200);
        let got = Request::get(&target).send(gateway.http).await;
        assert_is_guarded(&got, &target);
        let shown = match std::str::from_utf8(body) {
            Ok(_) => "text/plain; charset=utf-8",
            Err(_) => OCTETS,
        };
        assert_eq!(got.header("content-type"), Some(shown), "{nth}");
        assert_eq!(
            got.header("content-security-policy"),
            Some("default-src 'none'; sandbox")
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_history_and_envelopes_are_json_whatever_a_publisher_chose() {
    let gateway = Gateway::start(&["--set", "history=[{ filter = \"scripts/#\" }]"]);
    for (nth, (kind, _)) in KINDS.iter().enumerate() {
        let topic = format!("scripts/{nth}");
        retain(&gateway, &topic, kind, BODIES[nth % BODIES.len()]).await;
    }
    let accept = "text/html,application/xhtml+xml,*/*;q=0.8";
    for (target, shown) in [
        (
            "/api/v1/topics?filter=scripts/%23&payload=true&limit=100",
            "application/json",
        ),
        (
            "/api/v1/topics?prefix=scripts/&delimiter=/",
            "application/json",
        ),
        ("/api/v1/messages?topic=scripts/%23", "application/json"),
        (
            "/api/v1/topics/scripts/0?envelope=1",
            "application/vnd.tidegate.message+json",
        ),
    ] {
        let request = Request::get(target).header("Accept", accept);
        let got = request.send(gateway.http).await;
        assert_is_guarded(&got, target);
        assert_eq!(got.header("content-type"), Some(shown), "{target}");
        assert!(got.json().is_object(), "{target}");
    }
    let page = Request::get("/api/v1/messages?topic=scripts/%23");
    let page = page.send(gateway.http).await.json();
    let messages = page["messages"].as_array().expect("messages");
    assert_eq!(messages.len(), KINDS.len());
}
