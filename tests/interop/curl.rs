//! curl, as the README shows it.

use crate::{
    program::{Running, run},
    support::{gateway::Gateway, unique},
};

fn curl(arguments: &[&str]) -> String {
    let mut all = vec!["-sS", "--fail-with-body", "--max-time", "20"];
    all.extend(arguments);
    run("curl", &all, b"").succeeded(&format!("curl {arguments:?}"))
}

#[test]
fn curl_publishes_and_reads_state() {
    let gateway = Gateway::shared();
    let topic = unique("interop/curl");
    let address = format!("{}/api/v1/topics/{topic}", gateway.http);
    assert!(curl(&["-d", "hi", &address]).contains(&topic));
    curl(&["-X", "PUT", "-d", "on", &address]);
    assert_eq!(curl(&[&address]), "on");
    assert!(
        curl(&["-I", &address])
            .to_ascii_lowercase()
            .contains("etag:")
    );
    curl(&["-X", "DELETE", &address]);
    let gone = run(
        "curl",
        &[
            "-sS",
            "--max-time",
            "20",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            &address,
        ],
        b"",
    );
    assert_eq!(gone.text(), "404");
    // a large file, with the `Expect: 100-continue` that curl sends for it
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), vec![0xA5; 1 << 20]).expect("written");
    let data = format!("@{}", file.path().display());
    curl(&[
        "-X",
        "PUT",
        "--data-binary",
        &data,
        "-H",
        "Content-Type: image/png",
        &address,
    ]);
    let bytes = run("curl", &["-sS", "--max-time", "20", &address], b"");
    assert!(bytes.stdout == vec![0xA5; 1 << 20], "1 MiB there and back");
}

#[test]
fn curl_streams_events_as_they_come() {
    let gateway = Gateway::shared();
    let topic = unique("interop/curl-stream");
    let stream = format!("{}/api/v1/stream", gateway.http);
    let filter = format!("topic={topic}/#");
    let sse = Running::start("curl", &["-sNG", &stream, "--data-urlencode", &filter]);
    sse.line(|line| line == "event: ready");
    let ndjson = Running::start(
        "curl",
        &[
            "-sNG",
            &stream,
            "--data-urlencode",
            &filter,
            "-H",
            "Accept: application/x-ndjson",
        ],
    );
    ndjson.line(|line| line.contains(r#""event":"ready""#));
    curl(&[
        "-d",
        "hi",
        &format!("{}/api/v1/topics/{topic}/a", gateway.http),
    ]);
    let line = sse.line(|line| line.starts_with("data: ") && line.contains(r#""payload""#));
    assert!(line.contains(r#""payload":"hi""#), "{line}");
    let line = ndjson.line(|line| line.contains(r#""event":"message""#));
    assert!(line.contains(r#""payload":"hi""#), "{line}");
}
