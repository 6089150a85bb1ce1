//! HTTP/2 from a client that means no good: raw frames (RFC 9113).

use crate::{
    certs::{Certs, borrowed},
    client::{Connector, Tls},
    support::{
        gateway::Gateway,
        http2::{
            CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, GOAWAY, HEADERS, Http2,
            PING, REFUSED_STREAM, RST_STREAM, SETTINGS, field, frame, get, head, request,
        },
        within,
    },
};

async fn open(certs: &Certs, gateway: &Gateway) -> Http2<Tls> {
    let connector = Connector {
        certs,
        certificate: None,
        alpn: &["h2"],
    };
    let connected = connector.connect(gateway.port("https"));
    Http2::begin(within("TLS", connected).await.expect("TLS"), &[]).await
}

fn started(certs: &Certs) -> Gateway {
    Gateway::start(&borrowed(&certs.beside("http.tls")))
}

/// A well-behaved client is served.
async fn is_well(certs: &Certs, gateway: &Gateway) {
    let mut client = open(certs, gateway).await;
    client
        .say(&frame(
            HEADERS,
            END_STREAM | END_HEADERS,
            1,
            &get("/healthz"),
        ))
        .await;
    let data = client.next_of(DATA).await.expect("an answer");
    assert_eq!(data.stream, 1);
}

#[tokio::test]
async fn a_stream_shares_its_connection_with_other_requests() {
    let certs = Certs::new();
    let gateway = started(&certs);
    let mut client = open(&certs, &gateway).await;
    let stream = get("/api/v1/stream?topic=many/%2B");
    let stream = frame(HEADERS, END_STREAM | END_HEADERS, 1, &stream);
    client.say(&stream).await;
    let mut heard = String::new();
    while !heard.contains("event: ready") {
        let data = client.next_of(DATA).await.expect("the stream");
        heard.push_str(&String::from_utf8_lossy(&data.payload));
    }
    for number in 0..40 {
        let post = request(0x83, &format!("/api/v1/topics/many/{number}"));
        let id = 3 + 2 * number;
        client.say(&frame(HEADERS, END_HEADERS, id, &post)).await;
        client.say(&frame(DATA, END_STREAM, id, b"x")).await;
    }
    let mut answered = 0;
    let all = |heard: &str| (0..40).all(|number| heard.contains(&format!("\"many/{number}\"")));
    while answered < 40 || !all(&heard) {
        let data = client.next_of(DATA).await.expect("the stream and answers");
        match data.stream {
            1 => heard.push_str(&String::from_utf8_lossy(&data.payload)),
            _ => answered += usize::from(!data.payload.is_empty()),
        }
    }
    // taken back, it is over, and the connection is not
    client
        .say(&frame(RST_STREAM, 0, 1, &8u32.to_be_bytes()))
        .await;
    let last = frame(HEADERS, END_STREAM | END_HEADERS, 99, &get("/healthz"));
    client.say(&last).await;
    let data = client.next_of(DATA).await.expect("an answer");
    assert_eq!(data.stream, 99);
}

#[tokio::test]
async fn a_flood_of_requests_that_are_taken_back_at_once_ends_its_connection() {
    let certs = Certs::new();
    let gateway = started(&certs);
    let mut attacker = open(&certs, &gateway).await;
    let mut flood = Vec::new();
    for stream in (1..20_000).step_by(2) {
        flood.extend(frame(
            HEADERS,
            END_STREAM | END_HEADERS,
            stream,
            &get("/healthz"),
        ));
        flood.extend(frame(RST_STREAM, 0, stream, &8u32.to_be_bytes()));
    }
    attacker.say(&flood).await;
    let goodbye = attacker.next_of(GOAWAY).await;
    assert!(goodbye.is_none_or(|frame| frame.code() == ENHANCE_YOUR_CALM));
    is_well(&certs, &gateway).await;
}

#[tokio::test]
async fn so_many_requests_are_open_at_a_time_and_no_more() {
    let certs = Certs::new();
    let gateway = started(&certs);
    let mut greedy = open(&certs, &gateway).await;
    let settings = greedy
        .next_of(SETTINGS)
        .await
        .expect("the gateway's settings");
    let told = settings
        .payload
        .chunks(6)
        .find(|entry| entry[..2] == [0, 3]);
    assert_eq!(
        told.expect("MAX_CONCURRENT_STREAMS")[2..],
        256u32.to_be_bytes()
    );
    let told = settings
        .payload
        .chunks(6)
        .find(|entry| entry[..2] == [0, 6]);
    assert_eq!(
        told.expect("MAX_HEADER_LIST_SIZE")[2..],
        (160 * 1024u32).to_be_bytes()
    );
    let mut requests = Vec::new();
    let streams = get("/api/v1/stream?topic=a");
    for stream in (1..=513).step_by(2) {
        requests.extend(frame(HEADERS, END_STREAM | END_HEADERS, stream, &streams));
    }
    greedy.say(&requests).await;
    let refused = greedy.next_of(RST_STREAM).await.expect("one is refused");
    assert_eq!((refused.stream, refused.code()), (513, REFUSED_STREAM));
    is_well(&certs, &gateway).await;
}

/// What is answered in a stream, to the end of the first piece.
async fn answer(client: &mut Http2<Tls>, stream: u32) -> String {
    let data = client.next_of(DATA).await.expect("an answer");
    assert_eq!(data.stream, stream);
    String::from_utf8_lossy(&data.payload).into_owned()
}

#[tokio::test]
async fn heads_may_be_as_long_as_over_http1_and_longer_ones_are_told_so() {
    let certs = Certs::new();
    let gateway = started(&certs);
    let mut client = open(&certs, &gateway).await;
    let target = format!("/api/v1/topics/{}", "a".repeat(60_000));
    client.say(&head(END_STREAM, 1, &get(&target))).await;
    let told = answer(&mut client, 1).await;
    assert!(told.contains("not-retained"), "{told:.300}");
    let with = |bytes| [get("/healthz"), field("x", &"a".repeat(bytes))].concat();
    client.say(&head(END_STREAM, 3, &with(80_000))).await;
    let told = answer(&mut client, 3).await;
    assert!(told.contains(r#""status":"ok""#), "{told:.300}");
    for (stream, bytes) in [(5, 82_000), (7, 150_000)] {
        client.say(&head(END_STREAM, stream, &with(bytes))).await;
        let told = answer(&mut client, stream).await;
        assert!(told.contains("head-too-large"), "{bytes}: {told:.300}");
    }
    // and the connection goes on
    client.say(&head(END_STREAM, 9, &get("/healthz"))).await;
    answer(&mut client, 9).await;
}

#[tokio::test]
async fn long_heads_of_one_connection_have_a_bound_together() {
    let certs = Certs::new();
    let gateway = started(&certs);
    let mut client = open(&certs, &gateway).await;
    let resident = gateway.resident();
    // none of them ever has its body
    let long = field("x", &"a".repeat(60_000));
    let block = [request(0x83, "/api/v1/topics/a"), long].concat();
    for nth in 0..200 {
        client.say(&head(0, 2 * nth + 1, &block)).await;
    }
    let told = client.next_of(DATA).await.expect("an answer");
    let told = String::from_utf8_lossy(&told.payload).into_owned();
    assert!(told.contains("quota-exceeded"), "{told}");
    // what is ordinary has room
    client.say(&head(END_STREAM, 999, &get("/healthz"))).await;
    let mut data = client.next_of(DATA).await.expect("an answer");
    while data.stream != 999 {
        data = client.next_of(DATA).await.expect("an answer");
    }
    let grown = gateway.resident().saturating_sub(resident);
    assert!(grown < 16 << 20, "{grown} bytes");
}

#[tokio::test]
async fn while_the_gateway_stops_requests_are_answered_and_then_the_client_is_told_to_go() {
    let certs = Certs::new();
    let mut gateway = started(&certs);
    let mut client = open(&certs, &gateway).await;
    client.say(&head(END_STREAM, 1, &get("/healthz"))).await;
    answer(&mut client, 1).await;
    let address = gateway.http;
    gateway.terminate();
    within("the end of listening", async {
        while tokio::net::TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    client.say(&head(END_STREAM, 3, &get("/readyz"))).await;
    let told = answer(&mut client, 3).await;
    assert!(told.contains("draining"), "{told}");
    client.next_of(GOAWAY).await.expect("a word of farewell");
    let status = gateway.exited_within(std::time::Duration::from_secs(10));
    assert_eq!(status.and_then(|status| status.code()), Some(0));
}

#[tokio::test]
async fn headers_without_an_end_and_pings_without_a_reader_are_bounded() {
    let certs = Certs::new();
    let gateway = started(&certs);
    let resident = gateway.resident();
    // one request whose header never ends
    let mut endless = open(&certs, &gateway).await;
    let field = [&[0x00, 3][..], b"x-y", &[100], &[b'z'; 100]].concat();
    let block: Vec<u8> = field
        .iter()
        .copied()
        .cycle()
        .take(field.len() * 150)
        .collect();
    endless.say(&frame(HEADERS, END_STREAM, 1, &get("/"))).await;
    for _ in 0..2000 {
        endless.say(&frame(CONTINUATION, 0, 1, &block)).await;
    }
    // whatever is said, the connection ends or the request does
    while let Some(frame) = endless.next().await {
        if matches!(frame.kind, GOAWAY | RST_STREAM) {
            break;
        }
    }
    // pings whose answers nobody reads
    let mut deaf = open(&certs, &gateway).await;
    let pings: Vec<u8> = (0..1000).flat_map(|_| frame(PING, 0, 0, &[0; 8])).collect();
    let flooding = async {
        for _ in 0..300 {
            deaf.say(&pings).await;
        }
    };
    let _ = tokio::time::timeout(std::time::Duration::from_secs(5), flooding).await;
    is_well(&certs, &gateway).await;
    let grown = gateway.resident().saturating_sub(resident);
    assert!(grown < 64 << 20, "{grown} bytes");
}

#[tokio::test]
async fn a_websocket_over_http2_is_told_where_websockets_are() {
    let certs = Certs::new();
    let gateway = started(&certs);
    let mut client = open(&certs, &gateway).await;
    client
        .say(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &get("/mqtt")))
        .await;
    let answer = client.next_of(DATA).await.expect("an answer");
    let text = String::from_utf8_lossy(&answer.payload).into_owned();
    assert!(text.contains("upgrade-required"), "{text}");
}
