//! The yardstick: a program that copies the same bytes between the same sockets without parsing them. What it reaches
//! is what the kernel and the runtime allow; a broker's share of it is the broker's own doing.
//!
//! It does with a message exactly this: one read from the publisher, one write to each receiver, and at QoS 1 one
//! write of prepared PUBACKs per read. It answers CONNECT and SUBSCRIBE so that the same generator works.
//!
//! It does not do anything else, and works only as the generator uses it: every filter is compared as text with the
//! topic of a publisher's *first* message, which decides where all its bytes go; all messages of a publisher have the
//! length of the first; PUBACKs carry no true identifier; what subscribers send is read and thrown away. A second
//! publisher to a topic, filters with wildcards and QoS 2 are refused by closing the connection.

use super::frames::{self, Frame};
use crate::cli::client::Failure;
use std::{
    collections::HashMap,
    io,
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

const READ: usize = 64 * 1024;
const FIRST_READ: usize = 4 * 1024;
const PUBACK: [u8; 4] = [0x40, 2, 0, 1];
const CONNECT: u8 = 1;
const SUBSCRIBE: u8 = 8;

/// `tidegate bench relay`
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where to listen
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:1893")]
    listen: String,
    /// Where to answer every HTTP request with the shortest axum handler, to compare http-post with
    #[arg(long, value_name = "ADDR")]
    http: Option<String>,
    /// Threads; 0 is one per CPU
    #[arg(long, default_value_t = 0)]
    workers: usize,
}

/// Who waits for the messages of a topic. The first publisher takes them, so that none is shared.
type Waiting = Arc<Mutex<Topics>>;
type Topics = HashMap<Vec<u8>, Vec<OwnedWriteHalf>>;

/// Relays until the process is ended.
pub fn run(args: Args) -> Result<ExitCode, Failure> {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if args.workers > 0 {
        runtime.worker_threads(args.workers);
    }
    runtime.enable_all().build()?.block_on(serve(args))
}

async fn serve(args: Args) -> Result<ExitCode, Failure> {
    if let Some(http) = &args.http {
        let listener = TcpListener::bind(http).await?;
        let handler = |body: axum::body::Bytes| async move { body.len().to_string() };
        let router = axum::Router::new().fallback(handler);
        tokio::spawn(async move { axum::serve(listener, router).await });
    }
    let listener = TcpListener::bind(&args.listen).await?;
    println!("relaying on {}", listener.local_addr()?);
    let waiting = Waiting::default();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        // an error ends this connection and is nobody else's concern
        tokio::spawn(relay(stream, waiting.clone()));
    }
}

/// What a connection turned out to be.
enum Role {
    Subscriber {
        filter: Vec<u8>,
    },
    Publisher {
        topic: Vec<u8>,
        qos: u8,
        length: usize,
    },
}

async fn relay(stream: TcpStream, waiting: Waiting) -> io::Result<()> {
    let (mut reader, mut writer) = stream.into_split();
    let mut bytes = Vec::new();
    match greet(&mut reader, &mut writer, &mut bytes).await? {
        Role::Subscriber { filter } => {
            let peer = writer.peer_addr()?;
            lock(&waiting)
                .entry(filter.clone())
                .or_default()
                .push(writer);
            let outcome = discard(reader).await;
            // one that no publisher has taken must not meet the publisher of a later run
            if let Some(writers) = lock(&waiting).get_mut(&filter) {
                writers.retain(|other| other.peer_addr().is_ok_and(|of| of != peer));
            }
            outcome
        }
        Role::Publisher { topic, qos, length } => {
            let receivers = lock(&waiting).remove(&topic);
            match (receivers, qos) {
                (Some(receivers), 0 | 1) => {
                    copy(reader, bytes, receivers, writer, qos, length).await
                }
                _ => Err(io::ErrorKind::Unsupported.into()),
            }
        }
    }
}

fn lock(waiting: &Waiting) -> std::sync::MutexGuard<'_, Topics> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers CONNECT, then reads until it is known what the connection is. A publisher's bytes stay in `bytes`.
async fn greet(
    reader: &mut OwnedReadHalf,
    writer: &mut OwnedWriteHalf,
    bytes: &mut Vec<u8>,
) -> io::Result<Role> {
    let mut v5 = false;
    loop {
        if reader.read_buf(bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let (mut answer, mut role, mut read) = (vec![], None, 0);
        frames::walk(bytes, |frame| match frame.kind() {
            CONNECT if role.is_none() => {
                v5 = frame.body().get(6) == Some(&5);
                answer.extend_from_slice(if v5 {
                    &[0x20, 3, 0, 0, 0]
                } else {
                    &[0x20, 2, 0, 0]
                });
                read += 2 + frame.body().len();
            }
            SUBSCRIBE if role.is_none() => {
                let [high, low] = frame.id();
                match v5 {
                    true => answer.extend_from_slice(&[0x90, 4, high, low, 0, 0]),
                    false => answer.extend_from_slice(&[0x90, 3, high, low, 0]),
                }
                role = Some(first_filter(frame, v5).map(|filter| Role::Subscriber { filter }));
            }
            frames::PUBLISH if role.is_none() => role = Some(Some(publisher(frame))),
            _ => {}
        })
        .ok_or(io::ErrorKind::InvalidData)?;
        bytes.drain(..read);
        writer.write_all(&answer).await?;
        if let Some(role) = role {
            return role.ok_or_else(|| io::ErrorKind::Unsupported.into());
        }
    }
}

fn first_filter(frame: Frame<'_>, v5: bool) -> Option<Vec<u8>> {
    // no properties, as the generator subscribes
    let filter = frame.body().get(2 + usize::from(v5)..)?;
    let length = usize::from(u16::from_be_bytes([*filter.first()?, *filter.get(1)?]));
    let filter = filter.get(2..2 + length)?;
    Some(filter.to_vec()).filter(|filter| !filter.contains(&b'+') && !filter.contains(&b'#'))
}

fn publisher(frame: Frame<'_>) -> Role {
    let body = frame.body().len();
    Role::Publisher {
        topic: frame.topic().to_vec(),
        qos: frame.qos(),
        length: 1 + crate::mqtt::primitive::varint_len(body) + body,
    }
}

async fn discard(mut reader: OwnedReadHalf) -> io::Result<()> {
    // acknowledgements are short, and many wait here
    let mut buffer = [0; 512];
    while reader.read(&mut buffer).await? > 0 {}
    Ok(())
}

async fn copy(
    mut reader: OwnedReadHalf,
    mut bytes: Vec<u8>,
    mut receivers: Vec<OwnedWriteHalf>,
    mut publisher: OwnedWriteHalf,
    qos: u8,
    length: usize,
) -> io::Result<()> {
    let acknowledgements = PUBACK.repeat(READ / length + 2);
    let mut partial = 0;
    bytes.reserve(FIRST_READ);
    loop {
        for receiver in &mut receivers {
            receiver.write_all(&bytes).await?;
        }
        if qos == 1 {
            let complete = (partial + bytes.len()) / length;
            partial = (partial + bytes.len()) % length;
            for _ in 0..complete / (acknowledgements.len() / 4) {
                publisher.write_all(&acknowledgements).await?;
            }
            let rest = complete % (acknowledgements.len() / 4);
            publisher.write_all(&acknowledgements[..rest * 4]).await?;
        }
        // a buffer of the full size for each of ten thousand publishers would be the costliest part of the yardstick
        if bytes.len() == bytes.capacity() && bytes.len() < READ {
            bytes.reserve(2 * bytes.len());
        }
        bytes.clear();
        if reader.read_buf(&mut bytes).await? == 0 {
            return Ok(());
        }
    }
}
