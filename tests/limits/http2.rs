//! Whoever takes his time, or floods, over HTTP/2: many streams on one connection, so that one connection is not enough to
//! count.

use crate::{
    dawdling::drip,
    doors::{Doors, ROOM, all, crowd},
    support::{
        http2::{
            CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, GOAWAY, HEADERS, Http2,
            PING, PREFACE, RST_STREAM, SETTINGS, frame, get, request,
        },
        within,
    },
};
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Semaphore,
    time::{Instant, sleep, timeout},
};
use tokio_rustls::client::TlsStream;

const CANCEL: u32 = 8;
/// SETTINGS_INITIAL_WINDOW_SIZE
const INITIAL_WINDOW: [u8; 2] = [0, 4];
/// How many shake hands at a time: they are to be in, each with its whole second.
static HANDS: Semaphore = Semaphore::const_new(32);

/// A connection that has agreed on HTTP/2 and said nothing yet.
async fn agreed(doors: &Doors) -> TlsStream<TcpStream> {
    let _turn = HANDS.acquire().await;
    doors.over_tls("https", &["h2"]).await
}

async fn begun(doors: &Doors, settings: &[u8]) -> Http2<TlsStream<TcpStream>> {
    Http2::begin(agreed(doors).await, settings).await
}

/// Reads until the other end closes.
async fn ended(client: &mut Http2<TlsStream<TcpStream>>) {
    while client.next().await.is_some() {}
}

fn question(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &get(path))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_drips_his_preface_is_dropped() {
    let doors = Doors::open();
    let dripping = all(|| async { drip(agreed(&doors).await, &[], PREFACE).await });
    doors.withstand("preface", dripping).await;
    let silent = all(|| async { ended(&mut begun(&doors, &[]).await).await });
    doors.withstand("no request", silent).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_drips_headers_without_end_is_dropped() {
    let doors = Doors::open();
    let begin = [
        PREFACE,
        &frame(SETTINGS, 0, 0, &[]),
        &frame(HEADERS, END_STREAM, 1, &get("/healthz")),
    ];
    let begin = begin.concat();
    // by bytes of one frame, and by frames
    let one = frame(CONTINUATION, 0, 1, &[0; 4096]);
    let dripping = all(|| async { drip(agreed(&doors).await, &begin, &one).await });
    doors.withstand("a continuation", dripping).await;
    let dripping = all(|| async {
        let mut client = begun(&doors, &[]).await;
        client
            .say(&begin[begin.len() - get("/healthz").len() - 9..])
            .await;
        let (mut reader, mut writer) = tokio::io::split(client.stream);
        let read = async { while matches!(reader.read(&mut [0; 256]).await, Ok(1..)) {} };
        let write = async {
            while writer
                .write_all(&frame(CONTINUATION, 0, 1, &[]))
                .await
                .is_ok()
            {
                sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::select! {
            () = read => {}
            () = write => {}
        }
    });
    doors.withstand("continuations", dripping).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_drips_bodies_is_answered_without_them() {
    let doors = Doors::open();
    const EACH: u32 = 8;
    let lines = request(0x83, "/api/v1/topics/a");
    let dripping = all(|| async {
        let mut client = begun(&doors, &[]).await;
        let streams = (0..EACH).map(|nth| 2 * nth + 1);
        for stream in streams.clone() {
            client
                .say(&frame(HEADERS, END_HEADERS, stream, &lines))
                .await;
        }
        let (reader, mut writer) = tokio::io::split(client.stream);
        let mut reader = Http2 {
            stream: tokio::io::join(reader, tokio::io::sink()),
        };
        let write = async {
            loop {
                for stream in streams.clone() {
                    // it may be closed by now
                    let _ = writer.write_all(&frame(DATA, 0, stream, b"x")).await;
                }
                sleep(Duration::from_millis(100)).await;
            }
        };
        let read = async {
            for _ in streams.clone() {
                reader.next_of(HEADERS).await.expect("an answer");
            }
        };
        tokio::select! {
            () = read => {}
            () = write => {}
        }
    });
    let all = u64::from(EACH) * crowd() as u64;
    // a request that waits for its body, as it is compiled for tests
    let room = ROOM + all * 16 * 1024;
    doors.withstand_within(room, "bodies", dripping).await;
    doors.gateway.refused_at_least("timeout", all).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_takes_back_what_he_asks_is_dropped() {
    let doors = Doors::open();
    let requests = (1..2000).step_by(2).flat_map(|stream| {
        let taken_back = frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes());
        [question(stream, "/healthz"), taken_back].concat()
    });
    let flood: Vec<u8> = requests.collect();
    let flooding = all(|| async {
        let mut client = begun(&doors, &[]).await;
        client.say(&flood).await;
        let goodbye = client.next_of(GOAWAY).await;
        assert!(goodbye.is_none_or(|frame| frame.code() == ENHANCE_YOUR_CALM));
        ended(&mut client).await;
    });
    doors.withstand("resets", flooding).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_settings_and_pings_keep_nobody_out() {
    let doors = Doors::open();
    for (name, one) in [
        ("settings", frame(SETTINGS, 0, 0, &[])),
        ("pings", frame(PING, 0, 0, &[0; 8])),
    ] {
        let flood = one.repeat(200);
        // nobody reads what they are answered with
        let flooding = all(|| async {
            let mut client = begun(&doors, &[]).await;
            let until = Instant::now() + Duration::from_secs(3);
            while Instant::now() < until {
                let _ = timeout(Duration::from_secs(1), client.say(&flood)).await;
            }
        });
        doors.withstand(name, flooding).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_without_a_window_are_bounded_and_at_last_taken_back() {
    let doors = Doors::open();
    const EACH: u32 = 2;
    let is_long = std::env::var_os("TIDEGATE_TEST_LONG").is_some();
    let waiting = all(|| async {
        let no_window = [&INITIAL_WINDOW[..], &[0; 4]].concat();
        let mut client = begun(&doors, &no_window).await;
        for nth in 0..EACH {
            // streams, and answers that are there at once
            let path = ["/api/v1/stream?topic=a", "/openapi.json"][nth as usize % 2];
            client.say(&question(2 * nth + 1, path)).await;
        }
        for _ in 0..EACH {
            client.next_of(HEADERS).await.expect("an answer");
        }
        if !is_long {
            return;
        }
        for _ in 0..EACH {
            let taken_back = client.next_of(RST_STREAM).await.expect("it is taken back");
            assert_eq!(taken_back.code(), CANCEL);
        }
        // the connection goes on
        client.say(&frame(PING, 0, 0, &[0; 8])).await;
        client.next_of(PING).await.expect("an answer");
    });
    within("all answers", doors.withstand("no window", waiting)).await;
}
