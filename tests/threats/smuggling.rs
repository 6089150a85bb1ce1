//! W10: one message to a proxy, two to the gateway, or the other way around.

use crate::support::{gateway::Gateway, http::Request, mqtt::Client, wire::Opening, within};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// What would be smuggled: it publishes.
const SMUGGLED: &str =
    "POST /api/v1/topics/smuggled HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx";

/// A request to a topic of its own, with these lines of the head and this body behind it.
fn post(lines: &str, body: &str) -> String {
    format!("POST /api/v1/topics/carrier HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n\r\n{body}")
}

fn get(lines: &str) -> String {
    format!("GET /api/v1 HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n\r\n")
}

/// Heads that two readers could read in two ways.
fn ambiguous() -> Vec<(&'static str, String)> {
    let chunked = "0\r\n\r\n";
    let both = |lines: &str| post(lines, chunked);
    let length = |lines: &str| post(lines, "hello");
    vec![
        ("two lengths", length("Content-Length: 5\r\nContent-Length: 6")),
        ("two lengths, longer first", length("Content-Length: 6\r\nContent-Length: 5")),
        ("lengths in a list", length("Content-Length: 5, 6")),
        ("equal lengths in a list", length("Content-Length: 5, 5")),
        ("length with a sign", length("Content-Length: +5")),
        ("negative length", length("Content-Length: -5")),
        ("length in hexadecimal", length("Content-Length: 0x5")),
        ("length with a fraction", length("Content-Length: 5.0")),
        ("length with an exponent", length("Content-Length: 5e0")),
        ("length with a blank inside", length("Content-Length: 5 0")),
        ("length with an underscore", length("Content-Length: 5_0")),
        ("no length in the header", length("Content-Length:")),
        ("length that overflows", length("Content-Length: 18446744073709551621")),
        ("length in other digits", length("Content-Length: \u{665}")),
        ("blank before the colon", both("Transfer-Encoding : chunked")),
        ("tab before the colon", both("Transfer-Encoding\t: chunked")),
        ("blank before the colon of the length", length("Content-Length : 5")),
        ("vertical tab before the value", both("Transfer-Encoding:\u{b}chunked")),
        ("form feed before the value", both("Transfer-Encoding:\u{c}chunked")),
        ("unknown coding", both("Transfer-Encoding: xchunked")),
        ("coding with an addition", both("Transfer-Encoding: chunkedx")),
        ("coding that is not last", both("Transfer-Encoding: chunked, identity")),
        ("codings in two lines, last unknown", both("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity")),
        ("identity", both("Transfer-Encoding: identity")),
        ("coding in quotes", both("Transfer-Encoding: \"chunked\"")),
        ("coding with a parameter", both("Transfer-Encoding: chunked;q=1")),
        ("no coding in the header", both("Transfer-Encoding:")),
        ("comma alone", both("Transfer-Encoding: ,")),
        ("coding with NUL", both("Transfer-Encoding: chunked\0")),
        ("coding with a control character", both("Transfer-Encoding: chunked\u{1}")),
        ("folded coding", both("Transfer-Encoding:\r\n chunked")),
        ("folded coding by tab", both("Transfer-Encoding:\r\n\tchunked")),
        ("folded header", both("X: y\r\n Transfer-Encoding: chunked")),
        ("folded first header", "POST /api/v1/topics/carrier HTTP/1.1\r\n X: y\r\nHost: localhost\r\n\r\n".to_owned()),
        ("bare CR in the head", get("X: y\rTransfer-Encoding: chunked")),
        ("bare CR as an end of lines", "GET /api/v1 HTTP/1.1\rHost: localhost\r\r".to_owned()),
        ("NUL in a name", get("X\0: y")),
        ("NUL in a value", get("X: a\0b")),
        ("no name", get(": y")),
        ("no colon", get("Transfer-Encoding chunked")),
        ("letters beyond ASCII in a name", get("Tr\u{e4}nsfer: chunked")),
        ("coding in HTTP/1.0", "POST /api/v1/topics/carrier HTTP/1.0\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned()),
        ("two blanks in the first line", "GET  /api/v1 HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned()),
        ("tab in the first line", "GET\t/api/v1\tHTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned()),
        ("blank in the target", "GET /api /v1 HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned()),
        ("no version", "GET /api/v1\r\n".to_owned()),
        ("version 1.2", "GET /api/v1 HTTP/1.2\r\nHost: localhost\r\n\r\n".to_owned()),
        ("version 2 in text", "GET /api/v1 HTTP/2.0\r\nHost: localhost\r\n\r\n".to_owned()),
        ("version in lower case", "GET /api/v1 http/1.1\r\nHost: localhost\r\n\r\n".to_owned()),
        ("preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned()),
        // bodies in chunks that are none
        ("chunk size with a sign", post("Transfer-Encoding: chunked", "+5\r\nhello\r\n0\r\n\r\n")),
        ("chunk size with 0x", post("Transfer-Encoding: chunked", "0x5\r\nhello\r\n0\r\n\r\n")),
        ("chunk size that overflows", post("Transfer-Encoding: chunked", "10000000000000005\r\nhello\r\n0\r\n\r\n")),
        ("negative chunk size", post("Transfer-Encoding: chunked", "-1\r\nhello\r\n0\r\n\r\n")),
        ("no chunk size", post("Transfer-Encoding: chunked", "\r\nhello\r\n0\r\n\r\n")),
        ("chunk longer than told", post("Transfer-Encoding: chunked", "3\r\nhello\r\n0\r\n\r\n")),
        ("chunk without its end", post("Transfer-Encoding: chunked", "5\r\nhello0\r\n\r\n")),
        ("chunk size ended by LF", post("Transfer-Encoding: chunked", "5\nhello\r\n0\r\n\r\n")),
        ("chunk ended by LF", post("Transfer-Encoding: chunked", "5\r\nhello\n0\r\n\r\n")),
        ("last chunk ended by LF", post("Transfer-Encoding: chunked", "5\r\nhello\r\n0\n\n")),
        ("chunk extension with LF", post("Transfer-Encoding: chunked", "5;a\nb\r\nhello\r\n0\r\n\r\n")),
        ("chunk extension with bare CR", post("Transfer-Encoding: chunked", "5;a\rb\r\nhello\r\n0\r\n\r\n")),
        ("chunk extension of 64 KiB", post("Transfer-Encoding: chunked", &format!("5;{}\r\nhello\r\n0\r\n\r\n", "a".repeat(1 << 16)))),
    ]
}

/// A request behind which the gateway closes.
const LAST: &str = "GET /api/v1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// Everything that comes back until the gateway closes, at the latest behind [`LAST`].
async fn exchange(gateway: &Gateway, bytes: &str) -> String {
    within("an answer", async {
        let mut stream = TcpStream::connect(gateway.http).await.expect("it accepts");
        // an early refusal may close before all of it is read
        let _ = stream.write_all(format!("{bytes}{LAST}").as_bytes()).await;
        let mut answers = vec![];
        let _ = stream.read_to_end(&mut answers).await;
        String::from_utf8_lossy(&answers).into_owned()
    })
    .await
}

fn statuses(answers: &str) -> Vec<&str> {
    let heads = answers.split("HTTP/1.1 ").skip(1);
    heads
        .map(|head| head.get(..3).unwrap_or_default())
        .collect()
}

async fn watcher(gateway: &Gateway, client: &str) -> Client {
    let mut watcher = Client::tcp(gateway, &Opening::v5(client)).await;
    watcher.subscribe(&[("smuggled", 1), ("carrier", 1)]).await;
    watcher
}

/// W10: what could be read in two ways is refused and the connection closed, and what came behind it is not read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_can_be_read_in_two_ways_is_refused_with_all_that_follows() {
    let gateway = Gateway::start(&[]);
    let mut watcher = watcher(&gateway, "ambiguous").await;
    let mut faults = vec![];
    let probes = ambiguous();
    assert!(probes.len() >= 60, "{}", probes.len());
    for (what, probe) in &probes {
        let answers = exchange(&gateway, &format!("{probe}{SMUGGLED}")).await;
        let statuses = statuses(&answers);
        if !(statuses.is_empty() || matches!(statuses[..], ["400" | "413" | "421" | "431" | "505"]))
        {
            faults.push(format!("{what}: {statuses:?}"));
        }
        let topic = format!("marker {}", what.len());
        let marker = Request::post("/api/v1/topics/smuggled", topic.as_str());
        marker.send(gateway.http).await;
        loop {
            let heard = watcher.receive().await;
            if heard.text() == topic {
                break;
            }
            faults.push(format!("{what}: {} heard {:?}", heard.topic, heard.text()));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Lengths beside codings.
fn doubly_framed() -> Vec<(&'static str, String)> {
    let both = |lines: &str| post(lines, "0\r\n\r\n");
    vec![
        (
            "length before coding",
            both("Content-Length: 5\r\nTransfer-Encoding: chunked"),
        ),
        (
            "coding before length",
            both("Transfer-Encoding: chunked\r\nContent-Length: 5"),
        ),
        (
            "length 0 and coding",
            both("Content-Length: 0\r\nTransfer-Encoding: chunked"),
        ),
        (
            "coding and a huge length",
            both("Transfer-Encoding: chunked\r\nContent-Length: 4096"),
        ),
        (
            "coding, length, other case",
            both("tRANSFER-eNCODING: CHUNKED\r\ncONTENT-lENGTH: 5"),
        ),
    ]
}

/// W10: a length beside a coding is passed over, as RFC 9112 (6.1) has it, and nothing is read behind such a request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_request_with_length_and_coding_nothing_is_read() {
    let gateway = Gateway::start(&[]);
    let mut watcher = watcher(&gateway, "double").await;
    for (what, probe) in doubly_framed() {
        let answers = exchange(&gateway, &format!("{probe}{SMUGGLED}")).await;
        assert_eq!(statuses(&answers), ["200"], "{what}: {answers}");
        let heard = watcher.receive().await;
        assert_eq!((&*heard.topic, &*heard.text()), ("carrier", ""), "{what}");
        let marker = Request::post("/api/v1/topics/carrier", "marker")
            .send(gateway.http)
            .await;
        assert_eq!(marker.status, 200);
        assert_eq!(watcher.receive().await.text(), "marker", "{what}");
    }
}

/// W10: what looks strange and can be read in one way only is one request, and the one behind it is the next.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_is_never_read_as_a_request() {
    let gateway = Gateway::start(&[]);
    let mut watcher = watcher(&gateway, "plain").await;
    let long = SMUGGLED.len();
    let size = format!("{long:x}");
    let chunked = |body: String| post("Transfer-Encoding: chunked", &body);
    for (what, probe) in [
        (
            "a body by length",
            post(&format!("Content-Length: {long}"), SMUGGLED),
        ),
        (
            "a length with zeros in front",
            post(&format!("Content-Length: 000{long}"), SMUGGLED),
        ),
        (
            "equal lengths twice",
            post(
                &format!("Content-Length: {long}\r\nContent-Length: {long}"),
                SMUGGLED,
            ),
        ),
        (
            "a chunk",
            chunked(format!("{size}\r\n{SMUGGLED}\r\n0\r\n\r\n")),
        ),
        (
            "a size with zeros in front",
            chunked(format!("000{size}\r\n{SMUGGLED}\r\n0\r\n\r\n")),
        ),
        (
            "a chunk with an extension",
            chunked(format!("{size};a=\"b\"\r\n{SMUGGLED}\r\n0\r\n\r\n")),
        ),
        (
            "trailers",
            chunked(format!(
                "{size}\r\n{SMUGGLED}\r\n0\r\nHost: evil.test\r\nContent-Length: 9\r\n\r\n"
            )),
        ),
        (
            "an upgrade to HTTP/2",
            post(
                &format!(
                    "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\nContent-Length: {long}"
                ),
                SMUGGLED,
            ),
        ),
        (
            "a body announced with Expect",
            post(
                &format!("Expect: 100-continue\r\nContent-Length: {long}"),
                SMUGGLED,
            ),
        ),
    ] {
        let answers = exchange(&gateway, &probe).await;
        let statuses: Vec<&str> = statuses(&answers)
            .into_iter()
            .filter(|status| *status != "100")
            .collect();
        assert!(
            matches!(statuses[..], [first, "200"] if first != "101"),
            "{what}: {answers}"
        );
        if statuses[0] == "200" {
            let heard = watcher.receive().await;
            assert_eq!(
                (&*heard.topic, &*heard.text()),
                ("carrier", SMUGGLED),
                "{what}"
            );
        }
        let marker = Request::post("/api/v1/topics/carrier", "marker")
            .send(gateway.http)
            .await;
        assert_eq!(marker.status, 200);
        assert_eq!(watcher.receive().await.text(), "marker", "{what}");
    }
}
