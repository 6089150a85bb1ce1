//! W4: a page rebinds its own name to this address.

use crate::support::{gateway::Gateway, http::read_head, within};
use tokio::{io::AsyncWriteExt, net::TcpStream};

async fn status(gateway: &Gateway, request_line: &str, headers: &[String]) -> u16 {
    let mut stream = TcpStream::connect(gateway.http).await.expect("it accepts");
    let text = format!("{request_line}\r\n{}\r\n\r\n", headers.join("\r\n"));
    stream.write_all(text.as_bytes()).await.expect("it reads");
    within(request_line, read_head(stream)).await.head.status
}

/// W4: names that only look like the gateway's own, in the Host header.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_only_looks_like_the_gateway_is_misdirected() {
    let gateway = Gateway::shared();
    let port = gateway.http.port();
    for host in [
        "evil.test",
        "localhost.evil.test",
        "localhostevil.test",
        "evil-localhost",
        "127.0.0.1.evil.test",
        "127.0.0.1.nip.io",
        "localhost..",
        "localhost:evil.test",
        "localhost:",
        "localhost:80:80",
        "localhost:80@evil.test",
        "localhost:99999999",
        "evil.test:localhost",
        "user@localhost",
        "evil.test@localhost",
        "localhost/evil.test",
        "localhost#evil.test",
        "localhost?evil.test",
        "localhost,evil.test",
        "localhost evil.test",
        "evil.test localhost",
        "localhost%00",
        "local%68ost",
        "127.1",
        "2130706433",
        "0x7f000001",
        "017700000001",
        "0.0.0.0",
        "0",
        "127.0.0.2",
        "169.254.169.254",
        "[::]",
        "[::1",
        "::1",
        "[[::1]]",
        "[::1]evil.test",
        "[::1%25lo]",
        "[::ffff:127.0.0.1]",
        "xn--localhost-",
        "*",
        ".",
        ":",
    ] {
        for named in [host.to_owned(), format!("{host}:{port}")] {
            let status = status(
                &gateway,
                "GET /api/v1 HTTP/1.1",
                &[format!("Host: {named}")],
            )
            .await;
            assert!(matches!(status, 400 | 421), "{named}: {status}");
        }
    }
}

/// W4: only the target and the Host header say whom a request is for, and they say it once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_beside_target_and_host_names_the_gateway() {
    let gateway = Gateway::shared();
    let get = "GET /api/v1 HTTP/1.1";
    let evil = "Host: evil.test";
    for (line, headers, expected) in [
        // what a proxy may say of a name is not believed
        (get, vec![evil, "X-Forwarded-Host: localhost"], 421),
        (get, vec![evil, "Forwarded: host=localhost"], 421),
        (
            get,
            vec![evil, "X-Host: localhost", "X-Original-Host: localhost"],
            421,
        ),
        (
            get,
            vec!["Host: localhost", "X-Forwarded-Host: evil.test"],
            200,
        ),
        // twice, in either order
        (get, vec![evil, "Host: localhost"], 400),
        (get, vec!["Host: localhost", evil], 400),
        (get, vec!["Host: localhost", "host: localhost"], 400),
        (get, vec!["Host:"], 400),
        (get, vec!["X: y"], 400),
        // an absolute target overrules the header (RFC 9112, 3.2.2)
        (
            "GET http://evil.test/api/v1 HTTP/1.1",
            vec!["Host: localhost"],
            421,
        ),
        (
            "GET http://evil@localhost/api/v1 HTTP/1.1",
            vec!["Host: localhost"],
            421,
        ),
        (
            "GET http://localhost@evil.test/api/v1 HTTP/1.1",
            vec!["Host: localhost"],
            421,
        ),
        (
            "GET http://localhost:80.evil.test/ HTTP/1.1",
            vec!["Host: localhost"],
            421,
        ),
        (
            "GET https://localhost/api/v1 HTTP/1.1",
            vec!["Host: localhost"],
            200,
        ),
        (
            "CONNECT evil.test:80 HTTP/1.1",
            vec!["Host: localhost"],
            421,
        ),
        ("GET /api/v1 HTTP/1.0", vec![], 400),
        ("GET /api/v1 HTTP/1.0", vec![evil], 421),
    ] {
        let headers: Vec<String> = headers.into_iter().map(str::to_owned).collect();
        assert_eq!(
            status(&gateway, line, &headers).await,
            expected,
            "{line} {headers:?}"
        );
    }
}
