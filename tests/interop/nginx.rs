//! An nginx of this machine in front of the gateway, with its own defaults and compression of everything: what stands
//! before most gateways must neither hold back what a stream says nor keep a stream open that nobody hears.

use std::{
    io::Write,
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    program::{Running, run},
    support::{DEADLINE, gateway::Gateway},
};

/// The running proxy: one door for each version of HTTP that it may speak to the gateway.
struct Nginx {
    child: Child,
    /// Where it speaks HTTP/1.0 to the gateway, as nginx does unless told otherwise.
    plain: SocketAddr,
    /// Where it speaks HTTP/1.1, over connections that it keeps.
    keeping: SocketAddr,
    folder: tempfile::TempDir,
}

fn free_address() -> SocketAddr {
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
    free.local_addr().expect("an address")
}

impl Nginx {
    fn before(gateway: &Gateway) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (plain, keeping) = (free_address(), free_address());
        let here = folder.path().display();
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .iter()
            .map(|kind| format!("{kind}_temp_path {here}/{kind};\n"))
            .collect();
        let config = format!(
            "daemon off;\nmaster_process off;\npid {here}/pid;\nerror_log {here}/error.log warn;\n\
             events {{ worker_connections 256; }}\n\
             http {{\n\
             access_log off;\n{temporary}\
             gzip on;\ngzip_types *;\ngzip_min_length 0;\ngzip_proxied any;\n\
             upstream gateway {{ server {}; keepalive 8; }}\n\
             server {{ listen {plain}; location / {{ proxy_pass http://{}; }} }}\n\
             server {{ listen {keeping}; location / {{\n\
             proxy_pass http://gateway; proxy_http_version 1.1;\n\
             proxy_set_header Connection \"\"; proxy_set_header Host $http_host; }} }}\n\
             }}\n",
            gateway.http, gateway.http
        );
        let path = folder.path().join("nginx.conf");
        let mut file = std::fs::File::create(&path).expect("a file");
        file.write_all(config.as_bytes()).expect("a config");
        let programs = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin";
        let child = Command::new("nginx")
            .arg("-c")
            .arg(&path)
            .arg("-e")
            .arg(folder.path().join("error.log"))
            .env("PATH", programs)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let child = child.expect("tests/run.sh installs nginx");
        let mut nginx = Self {
            child,
            plain,
            keeping,
            folder,
        };
        let end = Instant::now() + DEADLINE;
        while TcpStream::connect(plain).is_err() || TcpStream::connect(keeping).is_err() {
            let ended = nginx.child.try_wait().expect("the child can be waited for");
            assert!(
                ended.is_none() && Instant::now() < end,
                "nginx does not listen ({ended:?}): {}",
                nginx.complaints()
            );
            thread::sleep(Duration::from_millis(10));
        }
        nginx
    }

    fn complaints(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("error.log")).unwrap_or_default()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn publish(gateway: &Gateway, topic: &str, payload: &str) {
    let address = format!("{}/api/v1/topics/{topic}", gateway.http);
    let arguments = ["-sS", "--fail-with-body", "--max-time", "20", "-d"];
    run(
        "curl",
        &[&arguments[..], &[payload, &address]].concat(),
        b"",
    )
    .succeeded("publishing");
}

/// curl on a stream through the proxy: its head, then its lines, as they come out of the decompression.
fn listen(door: SocketAddr, topic: &str, accept: &str, more: &[&str]) -> Running {
    let address = format!("http://{door}/api/v1/stream?topic={topic}/%23");
    let accept = format!("Accept: {accept}");
    let mut arguments = vec!["-sN", "-i", &address, "-H", &accept];
    arguments.extend(more);
    Running::start("curl", &arguments)
}

/// The next message of a stream in either encoding.
fn message(stream: &Running) -> Value {
    let line = stream.line(|line| line.contains(r#""payload""#));
    let json = line.strip_prefix("data: ").unwrap_or(&line);
    serde_json::from_str(json).unwrap_or_else(|e| panic!("{e} in {line}"))
}

const SSE: &str = "text/event-stream";
const NDJSON: &str = "application/x-ndjson";

#[test]
fn through_nginx_every_event_arrives_while_the_stream_is_open() {
    let gateway = Gateway::start(&[]);
    let nginx = Nginx::before(&gateway);
    let doors = [("plain", nginx.plain), ("keeping", nginx.keeping)];
    for (nth, (name, door)) in doors.into_iter().enumerate() {
        for accept in [SSE, NDJSON] {
            for compressed in [false, true] {
                let topic = format!("nginx/{name}/{}/{compressed}", accept.len());
                let more: &[&str] = if compressed { &["--compressed"] } else { &[] };
                let stream = listen(door, &topic, accept, more);
                if compressed {
                    // or the question was not asked: this nginx compresses whatever it may
                    stream.line(|line| line.eq_ignore_ascii_case("content-encoding: gzip\r"));
                }
                // the first bytes come although nothing is published
                match accept {
                    SSE => stream.line(|line| line == ": tidegate v1"),
                    _ => stream.line(|line| line.contains(r#""event":"ready""#)),
                };
                // each event is published only when the one before it has arrived
                for number in 0..10 {
                    let text = format!("{nth} {number}");
                    publish(&gateway, &format!("{topic}/a"), &text);
                    assert_eq!(message(&stream)["payload"], text, "{topic}");
                }
            }
        }
    }
    assert_eq!(nginx.complaints(), "");
}

#[test]
fn through_nginx_a_stream_goes_on_where_its_last_event_id_says() {
    let gateway = Gateway::start(&[]);
    let nginx = Nginx::before(&gateway);
    for door in [nginx.plain, nginx.keeping] {
        let topic = format!("nginx/resumed/{}", door.port());
        let inner = format!("{topic}/a");
        let mut stream = listen(door, &topic, SSE, &["--compressed"]);
        stream.line(|line| line == "event: ready");
        publish(&gateway, &inner, "0");
        let id = stream.line(|line| line.starts_with("id: "));
        // the id of `ready`: the message behind it is not known yet
        stream.kill();
        for number in 1..5 {
            publish(&gateway, &inner, &number.to_string());
        }
        let header = format!("Last-Event-ID: {}", id.trim_start_matches("id: "));
        let back = listen(door, &topic, SSE, &["--compressed", "-H", &header]);
        for number in 0..5 {
            assert_eq!(message(&back)["payload"], number.to_string());
        }
        publish(&gateway, &inner, "5");
        assert_eq!(message(&back)["payload"], "5");
    }
    assert_eq!(nginx.complaints(), "");
}

#[test]
fn through_nginx_a_stream_that_nobody_hears_any_more_is_closed() {
    let gateway = Gateway::start(&[]);
    let nginx = Nginx::before(&gateway);
    let metrics = format!("{}/metrics", gateway.http);
    let open = || {
        let page = run("curl", &["-sS", "--max-time", "20", &metrics], b"").succeeded("metrics");
        let line = page
            .lines()
            .find_map(|line| line.strip_prefix("tidegate_streams_open "));
        line.unwrap_or_else(|| panic!("{page}")).to_owned()
    };
    for door in [nginx.plain, nginx.keeping] {
        let mut stream = listen(door, "nginx/left", SSE, &[]);
        stream.line(|line| line == "event: ready");
        assert_eq!(open(), "1");
        stream.kill();
        let end = Instant::now() + DEADLINE;
        while open() != "0" {
            assert!(Instant::now() < end, "the stream is still open");
            thread::sleep(Duration::from_millis(20));
        }
    }
}
