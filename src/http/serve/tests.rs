use super::*;
use crate::{broker::Broker, http, listener::arrival::Listener};
use memchr::memmem;
use std::net::SocketAddr;
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
};

/// A gateway's web side, and the broker behind it.
async fn running(stop: &CancellationToken) -> (SocketAddr, Broker) {
    let state = http::tests::state(stop);
    let broker = state.broker.clone();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (app, permits) = (Arc::new(App::new(state)), Arc::new(Semaphore::new(8)));
    let way = WayIn {
        bound: Bound::Tcp(listener),
        entrance: Entrance::open(Listener::Http),
    };
    let ways = vec![way];
    tokio::spawn(serve(ways, app, permits, Duration::ZERO, stop.clone()));
    (address, broker)
}

async fn read_until(client: &mut TcpStream, heard: &mut Vec<u8>, text: &str) {
    while memmem::find(heard, text.as_bytes()).is_none() {
        assert!(
            client.read_buf(heard).await.unwrap() > 0,
            "{}",
            String::from_utf8_lossy(heard)
        );
    }
}

#[tokio::test]
async fn what_was_asked_behind_a_stream_is_answered_when_the_stream_is_over() {
    let stream = "GET /api/v1/stream?topic=a HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let other = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    // at once with the request for the stream, and while the stream is on
    for (before, after) in [(other, ""), ("", other)] {
        let (address, broker) = running(&CancellationToken::new()).await;
        let mut client = TcpStream::connect(address).await.unwrap();
        let request = format!("{stream}{before}");
        client.write_all(request.as_bytes()).await.unwrap();
        let mut heard = Vec::new();
        read_until(&mut client, &mut heard, "event: ready").await;
        client.write_all(after.as_bytes()).await.unwrap();
        // streams end, the web side goes on
        broker.shut_down();
        read_until(&mut client, &mut heard, "\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n").await;
        client.write_all(other.as_bytes()).await.unwrap();
        heard.clear();
        read_until(&mut client, &mut heard, "HTTP/1.1 200 OK\r\n").await;
    }
}
