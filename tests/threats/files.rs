//! W15: paths that climb out of the embedded files.

use crate::support::{gateway::Gateway, http::read_head, within};
use tokio::{io::AsyncWriteExt, net::TcpStream};

/// Ways up, however they are written.
const UPS: [&str; 20] = [
    "../",
    "..%2f",
    "..%2F",
    "%2e%2e/",
    "%2e%2e%2f",
    "%252e%252e%252f",
    "..\\",
    "..%5c",
    "%2e%2e%5c",
    "..%255c",
    "..%c0%af",
    "..%c1%9c",
    "%c0%ae%c0%ae/",
    "..%e0%80%af",
    "..;/",
    ".../",
    "..././",
    "....//",
    "%00../",
    "..%00/",
];
const DEPTHS: [usize; 3] = [1, 3, 9];
const GOALS: [&str; 5] = [
    "etc/passwd",
    "Cargo.toml",
    "etc/passwd%00.html",
    "src/lib.rs",
    "proc/self/environ",
];

/// W15: 300 ways up, from the root and from below the folders that there are, lead to no file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_path_leads_out_of_the_embedded_files() {
    let gateway = Gateway::shared();
    let starts = ["/", "/dashboard/", "/docs/", "//"];
    let mut tried = 0;
    for up in UPS {
        for depth in DEPTHS {
            for goal in GOALS {
                let start = starts[tried % starts.len()];
                tried += 1;
                let target = format!("{start}{}{goal}", up.repeat(depth));
                let mut stream = TcpStream::connect(gateway.http).await.expect("it accepts");
                let text = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n");
                stream.write_all(text.as_bytes()).await.expect("it reads");
                let mut opened = within(&target, read_head(stream)).await;
                let mut body = Vec::new();
                while opened.body.chunk(&mut body).await {}
                let body = String::from_utf8_lossy(&body);
                assert!(
                    matches!(opened.head.status, 400 | 404),
                    "{target}: {} {body}",
                    opened.head.status
                );
                let kind = opened.head.header("content-type").unwrap_or_default();
                assert!(
                    kind.starts_with("application/problem+json"),
                    "{target}: {kind}"
                );
                for found in ["root:", "[package]", "pub mod", "PATH="] {
                    assert!(!body.contains(found), "{target}: {body}");
                }
            }
        }
    }
    assert_eq!(tried, 300);
}
