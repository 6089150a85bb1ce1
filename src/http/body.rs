//! A request's body as it came: counted while it arrives, whatever its headers promise.

use crate::{
    http::problem::{Kind, Problem},
    metrics::Refusal,
    mqtt::payload::Payload,
};
use axum::{
    body::{Body, BodyDataStream},
    http::{HeaderMap, HeaderValue, header},
};
use bytes::Bytes;
use futures_util::StreamExt;
use hyper::body::Body as _;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Bytes per second of a body that whoever sends it must reach, once its patience is used up.
const SLOWEST: f64 = 1024.0;
/// How much of a body that is too large is read and forgotten before the answer. A client that is still sending
/// when the connection closes would lose the answer.
const FORGIVEN: usize = 8 * 1024 * 1024;
/// How long that may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// What there is room for once a body comes in more than one piece.
const LEAST_ROOM: usize = 4096;

/// How much of a body is read.
#[derive(Debug, Clone, Copy)]
pub struct Bound {
    /// At most so many bytes.
    pub bytes: usize,
    /// What they are, for whoever sends more.
    pub what: &'static str,
}

/// Until when a body, or a part of it, must have come: it may stall only for so long, and not trickle for ever.
#[derive(Debug)]
pub struct Pace {
    patience: Duration,
    /// Each byte puts it off a little.
    ends: Instant,
}

impl Pace {
    /// From now on.
    pub fn new(patience: Duration) -> Self {
        let ends = Instant::now() + patience;
        Pace { patience, ends }
    }

    fn came(&mut self, bytes: usize) {
        self.ends += Duration::from_secs_f64(bytes as f64 / SLOWEST);
    }

    /// Whatever comes next.
    fn next(&self) -> Instant {
        self.ends.min(Instant::now() + self.patience)
    }
}

/// Reads the whole body, a payload of at most `limit` bytes.
pub async fn read(
    body: Body,
    headers: &HeaderMap,
    limit: usize,
    patience: Duration,
) -> Result<Payload, Problem> {
    let what = "by limits.payload, a payload";
    read_within(body, headers, Bound { bytes: limit, what }, patience).await
}

/// Reads the whole body within `bound`.
pub async fn read_within(
    body: Body,
    headers: &HeaderMap,
    bound: Bound,
    patience: Duration,
) -> Result<Payload, Problem> {
    is_identity(headers)?;
    let limit = bound.bytes;
    let announced = announced(headers);
    let mut frames = body.into_data_stream();
    if announced.is_some_and(|length| length > limit as u64) {
        return Err(too_large(frames, headers, bound).await);
    }
    let mut pace = Pace::new(patience);
    let mut first = Bytes::new();
    let mut rest = Vec::new();
    while !frames.is_end_stream()
        && let Some(frame) = next(&mut frames, &mut pace).await?
    {
        if first.len() + rest.len() + frame.len() > limit {
            return Err(too_large(frames, headers, bound).await);
        }
        if first.is_empty() && rest.is_empty() {
            first = frame;
            continue;
        }
        if rest.is_empty() {
            rest.extend_from_slice(&first);
            first = Bytes::new();
        }
        make_room(&mut rest, frame.len(), announced);
        rest.extend_from_slice(&frame);
    }
    // a single frame is a slice of the connection's read buffer, which a kept message must not pin
    Ok(if rest.is_empty() {
        Payload::copy_from_slice(&first)
    } else {
        Bytes::from(rest).into()
    })
}

/// The next bytes of a body, if they come in time; `None` at its end.
pub async fn next(frames: &mut BodyDataStream, pace: &mut Pace) -> Result<Option<Bytes>, Problem> {
    match timeout_at(pace.next(), frames.next()).await {
        Ok(None) => Ok(None),
        Ok(Some(Ok(frame))) => {
            pace.came(frame.len());
            Ok(Some(frame))
        }
        Ok(Some(Err(_))) => Err(Problem::new(
            Kind::BodyInvalid,
            "the body ended early or is not framed as it says",
        )),
        Err(_) => Err(
            Problem::new(Kind::BodyInvalid, "the body does not arrive, or too slowly")
                .count_as(Refusal::Timeout),
        ),
    }
}

/// Makes room for so many bytes more. A length that is only announced must not cost its memory: the room grows with what has
/// come, and never beyond what was announced.
fn make_room(rest: &mut Vec<u8>, more: usize, announced: Option<u64>) {
    if rest.capacity() - rest.len() < more {
        let to_come = announced.map_or(usize::MAX, |length| length as usize);
        let to_come = to_come.saturating_sub(rest.len());
        let doubled = rest.len().max(LEAST_ROOM);
        rest.reserve_exact(doubled.min(to_come).max(more));
    }
}

/// A payload is kept as it came; nothing is decompressed on the way.
pub fn is_identity(headers: &HeaderMap) -> Result<(), Problem> {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let first = codings.next().map(HeaderValue::as_bytes);
    let is_chunked = first.is_none_or(|coding| coding.eq_ignore_ascii_case(b"chunked"));
    // RFC 9112, 6.1: what comes beside `chunked`, which is there once, would have to be decoded
    if !is_chunked || codings.next().is_some() {
        return Err(Problem::new(
            Kind::MediaTypeUnsupported,
            "of all transfer codings only chunked is understood: its bytes are the payload",
        ));
    }
    let identity = |value: &HeaderValue| {
        value
            .as_bytes()
            .trim_ascii()
            .eq_ignore_ascii_case(b"identity")
    };
    match headers
        .get_all(header::CONTENT_ENCODING)
        .iter()
        .all(identity)
    {
        true => Ok(()),
        false => Err(Problem::new(
            Kind::MediaTypeUnsupported,
            "send the body without Content-Encoding: its bytes are the payload",
        )
        .with_header(
            header::ACCEPT_ENCODING,
            HeaderValue::from_static("identity"),
        )),
    }
}

fn announced(headers: &HeaderMap) -> Option<u64> {
    headers
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

async fn too_large(mut frames: BodyDataStream, headers: &HeaderMap, bound: Bound) -> Problem {
    let waits_for_leave = headers.contains_key(header::EXPECT);
    if !waits_for_leave {
        let forget = async {
            let mut forgotten = 0;
            while let Some(Ok(frame)) = frames.next().await {
                forgotten += frame.len();
                if forgotten > FORGIVEN {
                    break;
                }
            }
        };
        // late or not, the answer is the same
        let _ = tokio::time::timeout(PATIENCE, forget).await;
    }
    Problem::new(
        Kind::PayloadTooLarge,
        format!("{} may have {} bytes", bound.what, bound.bytes),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;

    const LONG: Duration = Duration::from_secs(30);

    fn chunks(sizes: &[usize]) -> Body {
        let frames: Vec<_> = sizes
            .iter()
            .map(|size| Ok::<_, std::io::Error>(vec![7u8; *size]))
            .collect();
        Body::from_stream(stream::iter(frames))
    }

    #[tokio::test]
    async fn a_body_is_counted_as_it_arrives() {
        let none = HeaderMap::new();
        assert_eq!(
            &*read(chunks(&[3, 0, 4]), &none, 7, LONG).await.unwrap(),
            [7u8; 7]
        );
        assert!(
            read(Body::empty(), &none, 7, LONG)
                .await
                .unwrap()
                .is_empty()
        );
        let problem = read(chunks(&[4, 4]), &none, 7, LONG).await.unwrap_err();
        assert_eq!(problem.kind(), Kind::PayloadTooLarge);
    }

    #[tokio::test]
    async fn an_announced_length_is_refused_before_it_arrives() {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_LENGTH, 8.into());
        headers.insert(header::EXPECT, HeaderValue::from_static("100-continue"));
        let endless = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
        assert_eq!(
            read(endless, &headers, 7, LONG).await.unwrap_err().kind(),
            Kind::PayloadTooLarge
        );
    }

    #[tokio::test]
    async fn a_compressed_body_is_refused() {
        let mut headers = HeaderMap::new();
        headers.insert(
            header::CONTENT_ENCODING,
            HeaderValue::from_static("identity"),
        );
        assert!(read(chunks(&[1]), &headers, 7, LONG).await.is_ok());
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        assert_eq!(
            read(chunks(&[1]), &headers, 7, LONG)
                .await
                .unwrap_err()
                .kind(),
            Kind::MediaTypeUnsupported
        );
    }

    #[test]
    fn a_transfer_coding_that_would_have_to_be_undone_is_refused() {
        for (codings, is_taken) in [
            (&["chunked"][..], true),
            (&["Chunked"], true),
            (&["gzip, chunked"], false),
            (&["gzip", "chunked"], false),
            (&["chunked", "chunked"], false),
            (&["chunked, chunked"], false),
            (&["identity, chunked"], false),
        ] {
            let mut headers = HeaderMap::new();
            for coding in codings {
                headers.append(header::TRANSFER_ENCODING, HeaderValue::from_static(coding));
            }
            assert_eq!(is_identity(&headers).is_ok(), is_taken, "{codings:?}");
        }
    }

    #[test]
    fn room_grows_with_what_has_come_and_not_with_what_is_announced() {
        let mut rest = vec![7; 2];
        make_room(&mut rest, 1, Some(1 << 30));
        assert!(rest.capacity() <= 2 * LEAST_ROOM);
        for announced in [Some(100_000), None] {
            let mut rest = Vec::new();
            let mut moved = 0;
            for _ in 0..100 {
                let before = rest.capacity();
                make_room(&mut rest, 1000, announced);
                moved += usize::from(rest.capacity() != before);
                rest.extend_from_slice(&[7; 1000]);
            }
            assert!(moved < 8, "{moved}");
            assert!(announced.is_none() || rest.capacity() == 100_000);
        }
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_no_payload() {
        let broken = stream::iter([Ok(Bytes::from("a")), Err(std::io::Error::other("gone"))]);
        let problem = read(Body::from_stream(broken), &HeaderMap::new(), 7, LONG)
            .await
            .unwrap_err();
        assert_eq!(problem.kind(), Kind::BodyInvalid);
    }

    #[tokio::test]
    async fn a_body_may_neither_stall_nor_trickle() {
        let trickle = |bytes: usize| {
            Body::from_stream(stream::unfold((), move |()| async move {
                tokio::time::sleep(Duration::from_millis(20)).await;
                Some((Ok::<_, std::io::Error>(vec![7u8; bytes]), ()))
            }))
        };
        let none = HeaderMap::new();
        let patience = Duration::from_millis(200);
        // the first never ends by itself, the second takes longer than the patience
        for (bytes, kind) in [(1, Kind::BodyInvalid), (4096, Kind::PayloadTooLarge)] {
            let problem = read(trickle(bytes), &none, 60_000, patience).await;
            assert_eq!(problem.unwrap_err().kind(), kind, "{bytes}");
        }
        let silent = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
        let problem = read(silent, &none, 7, patience).await.unwrap_err();
        assert_eq!(problem.kind(), Kind::BodyInvalid);
    }
}
