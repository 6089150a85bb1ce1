//! A publisher on the web: one message after the other over one connection, each sent until it is answered.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    support::{
        http::{Request, encode},
        within,
    },
    world::World,
};

/// Messages in one cycle at most.
const BUDGET: u32 = 500;

pub struct WebPublisher {
    stream: usize,
    /// Sent, and the answer never came.
    open: Option<u64>,
}

impl WebPublisher {
    pub fn new(stream: usize) -> Self {
        Self { stream, open: None }
    }

    /// Brings the message begun to its end.
    pub async fn settle(mut self, world: World) -> Self {
        if self.open.is_some() {
            let posted = self.post(&world, &mut None).await;
            posted.expect("no kill by now");
        }
        self
    }

    /// Publishes one more message, the marker.
    pub async fn mark(self, world: World) -> Self {
        let mut settled = self.settle(world.clone()).await;
        let posted = settled.post(&world, &mut None).await;
        posted.expect("no kill by now");
        settled
    }

    /// Publishes until the gateway is killed.
    pub async fn load(mut self, world: World) -> Self {
        let mut link = None;
        for _ in 0..BUDGET {
            if self.post(&world, &mut link).await.is_none() {
                return self;
            }
        }
        self
    }

    /// Posts the message that is open, or the next; nothing if the gateway was killed before it answered.
    async fn post(&mut self, world: &World, link: &mut Option<TcpStream>) -> Option<()> {
        let record = &world.record;
        let number = *self.open.get_or_insert_with(|| record.next(self.stream));
        let topic = encode(&record.streams[self.stream].topic);
        let request = Request::post(
            &format!("/api/v1/topics/{topic}?qos=1"),
            record.payload(self.stream, number),
        );
        let answer = exchange(world.http, link, &request);
        let Some((status, body)) = within("the answer to a POST", answer).await else {
            world.must_have_ended("the publisher on the web").await;
            return None;
        };
        assert_eq!(status, 200, "the publisher on the web is refused: {body}");
        record.acknowledge(self.stream, number);
        self.open = None;
        Some(())
    }
}

/// Status and body; nothing if the connection ends before the head of the answer is complete.
async fn exchange(
    address: SocketAddr,
    link: &mut Option<TcpStream>,
    request: &Request,
) -> Option<(u16, String)> {
    if link.is_none() {
        *link = Some(TcpStream::connect(address).await.ok()?);
    }
    let stream = link.as_mut().expect("connected above");
    stream.write_all(&request.encode(address)).await.ok()?;
    let mut received = Vec::with_capacity(1024);
    let mut more = async |received: &mut Vec<u8>| {
        let read = stream.read_buf(received).await;
        read.is_ok_and(|count| count > 0)
    };
    let end = loop {
        if let Some(at) = memchr::memmem::find(&received, b"\r\n\r\n") {
            break at + 4;
        }
        if !more(&mut received).await {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&received[..end]).to_ascii_lowercase();
    let status = head.split(' ').nth(1)?.parse().expect("a status");
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .unwrap_or_else(|| panic!("an answer without a length: {head}"));
    let length: usize = length.parse().expect("a length");
    // the status alone is the acknowledgement: a body cut off by the kill takes nothing back
    while received.len() < end + length && more(&mut received).await {}
    Some((
        status,
        String::from_utf8_lossy(&received[end..]).into_owned(),
    ))
}
