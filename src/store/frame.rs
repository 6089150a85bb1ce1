//! One record in its frame: length, checksum, number, body. Pure: bytes in, bytes out.
//!
//! A frame begins at a multiple of eight. Its checksum covers length, number and body and begins with the store's own
//! secret, so that no payload can hold bytes that pass for a record: a reader who lost the thread looks for the next
//! frame byte by byte, and must not find one that a publisher wrote.

/// Bytes before the body: length, checksum, record number.
pub const HEAD: usize = 16;

/// Frames begin at multiples of this.
pub const ALIGN: usize = 8;

/// Bytes checked while looking for every frame behind a damaged one; beyond that only short ones are looked for.
const SEARCH: usize = 1 << 28;

/// A body so short that each place can be checked for one: notes of the writer, which follow each sync, are.
const SHORT: usize = 64;

/// No record is so far behind the one before.
const FAR: u64 = 1 << 48;

/// Numbers records in the order they were written, over all runs; 0 is before the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Lsn(pub u64);

/// Appends a record; `body` writes at least one byte.
pub fn put(out: &mut Vec<u8>, secret: u32, lsn: Lsn, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; HEAD]);
    out[start + 8..start + HEAD].copy_from_slice(&lsn.0.to_le_bytes());
    body(out);
    let len = (out.len() - start - HEAD) as u32; // a record is smaller than a segment
    out[start..start + 4].copy_from_slice(&len.to_le_bytes());
    let sum = checksum(secret, &out[start..start + HEAD], &out[start + HEAD..]);
    out[start + 4..start + 8].copy_from_slice(&sum.to_le_bytes());
    out.resize(out.len().next_multiple_of(ALIGN), 0);
}

/// Bytes that a record with a body of `len` bytes takes.
pub fn size(len: usize) -> usize {
    (HEAD + len).next_multiple_of(ALIGN)
}

fn checksum(secret: u32, head: &[u8], body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(secret);
    hasher.update(&head[..4]);
    hasher.update(&head[8..HEAD]);
    hasher.update(body);
    hasher.finalize()
}

/// A record where it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Where it begins.
    pub at: usize,
    /// Its number.
    pub lsn: Lsn,
    /// What it says.
    pub body: &'a [u8],
}

impl Frame<'_> {
    /// Where the next one begins.
    pub fn end(&self) -> usize {
        self.at + size(self.body.len())
    }
}

/// The frame at `at`, if it is whole.
pub fn read(bytes: &[u8], secret: u32, at: usize) -> Option<Frame<'_>> {
    let head = bytes.get(at..at + HEAD)?;
    let len = u32_at(head, 0) as usize;
    let body = bytes.get(at + HEAD..(at + HEAD).checked_add(len)?)?;
    let padding = bytes.get(at + HEAD + len..at + size(len))?;
    let whole = len > 0
        && padding.iter().all(|byte| *byte == 0)
        && checksum(secret, head, body) == u32_at(head, 4);
    whole.then(|| Frame {
        at,
        lsn: Lsn(u64_at(head, 8)),
        body,
    })
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4]
        .iter()
        .rev()
        .fold(0, |value, byte| value << 8 | u32::from(*byte))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

/// Something met on the way through a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Met<'a> {
    /// A record.
    Frame(Frame<'a>),
    /// Bytes that are no record, up to the next one or to the end.
    Damage {
        /// The first of them.
        at: usize,
        /// Behind the last of them.
        end: usize,
    },
}

/// A walk through the frames of a segment from `at` on, in the order of their numbers. It ends where only zeros follow.
pub struct Walk<'a> {
    bytes: &'a [u8],
    secret: u32,
    /// Where the next frame is expected.
    pub at: usize,
    /// The number of the last frame.
    pub last: Lsn,
}

impl<'a> Walk<'a> {
    /// Begins at `at`; frames numbered up to `last` are not expected here.
    pub fn new(bytes: &'a [u8], secret: u32, at: usize, last: Lsn) -> Self {
        Walk {
            bytes,
            secret,
            at,
            last,
        }
    }

    fn expected(&self, at: usize) -> Option<Frame<'a>> {
        read(self.bytes, self.secret, at).filter(|frame| frame.lsn > self.last)
    }

    /// The next frame behind a damaged one.
    fn search(&self) -> Option<Frame<'a>> {
        let mut budget = SEARCH;
        let found = self.look_for(|len| {
            budget = budget.saturating_sub(len);
            budget > 0
        });
        if budget > 0 {
            return found;
        }
        // a payload made of what looks like heads: the next short frame, or what the damaged one's length leads to
        let short = self.look_for(|len| len <= SHORT);
        let length = self.bytes.get(self.at..self.at + HEAD)?;
        let behind = self.expected(self.at + size(u32_at(length, 0) as usize));
        short.into_iter().chain(behind).min_by_key(|frame| frame.at)
    }

    /// The next frame, as far as `may_check` lets a body of such a length be checked.
    fn look_for(&self, mut may_check: impl FnMut(usize) -> bool) -> Option<Frame<'a>> {
        let mut places = (self.at + ALIGN..self.bytes.len().saturating_sub(HEAD)).step_by(ALIGN);
        places.find_map(|at| {
            let (len, lsn) = (u32_at(self.bytes, at) as usize, u64_at(self.bytes, at + 8));
            let is_like_a_head = (1..=self.bytes.len() - at - HEAD).contains(&len)
                && (self.last.0 + 1..self.last.0.saturating_add(FAR)).contains(&lsn);
            (is_like_a_head && may_check(len))
                .then(|| self.expected(at))
                .flatten()
        })
    }
}

impl<'a> Iterator for Walk<'a> {
    type Item = Met<'a>;

    fn next(&mut self) -> Option<Met<'a>> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        if rest.is_empty() {
            return None;
        }
        if let Some(frame) = self.expected(self.at) {
            self.at = frame.end();
            self.last = frame.lsn;
            return Some(Met::Frame(frame));
        }
        let is_zero = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
        // looked at in large steps first: mostly a whole tail of zeros
        if rest.chunks(4096).all(is_zero) {
            return None;
        }
        let at = self.at;
        self.at = self.search().map_or(self.bytes.len(), |frame| frame.at);
        Some(Met::Damage { at, end: self.at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: u32 = 0x5eed;

    fn written(bodies: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        for (nth, body) in (1..).zip(bodies) {
            put(&mut out, SECRET, Lsn(nth), |out| {
                out.extend_from_slice(body)
            });
        }
        out
    }

    fn bodies(bytes: &[u8]) -> Vec<Option<Vec<u8>>> {
        Walk::new(bytes, SECRET, 0, Lsn(0))
            .map(|met| match met {
                Met::Frame(frame) => Some(frame.body.to_vec()),
                Met::Damage { .. } => None,
            })
            .collect()
    }

    #[test]
    fn what_is_put_is_read_and_zeros_behind_it_are_the_end() {
        let mut bytes = written(&[b"one", b"two two", &[0; 100]]);
        let all = vec![
            Some(b"one".to_vec()),
            Some(b"two two".to_vec()),
            Some(vec![0; 100]),
        ];
        assert_eq!(bodies(&bytes), all);
        bytes.resize(bytes.len() + 10_000, 0);
        assert_eq!(bodies(&bytes), all);
    }

    #[test]
    fn every_flipped_bit_costs_the_record_it_stands_in_and_no_other() {
        let texts: [&[u8]; 3] = [b"first", b"second, which is longer", b"third"];
        let bytes = written(&texts);
        let ends: Vec<usize> = Walk::new(&bytes, SECRET, 0, Lsn(0))
            .filter_map(|met| match met {
                Met::Frame(frame) => Some(frame.end()),
                Met::Damage { .. } => None,
            })
            .collect();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let hit = ends.iter().position(|end| bit / 8 < *end).unwrap();
            let left: Vec<_> = bodies(&flipped).into_iter().flatten().collect();
            let others = texts.iter().enumerate().filter(|(nth, _)| *nth != hit);
            let expected: Vec<_> = others.map(|(_, text)| text.to_vec()).collect();
            assert_eq!(left, expected, "bit {bit}");
        }
    }

    #[test]
    fn whatever_stood_in_a_damaged_record_what_follows_is_found() {
        // bytes without any order; the lengths of many megabytes; heads as a log has them, but for the secret
        let mut state = 1_u64;
        let mut random = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let noise: Vec<u8> = (0..25_000).flat_map(|_| random().to_le_bytes()).collect();
        let lengths = 5_000_000_u32.to_le_bytes().repeat(50_000);
        let heads: Vec<u8> = (0..12_500_u64)
            .flat_map(|_| [5_000_000_u64.to_le_bytes(), 2_u64.to_le_bytes()].concat())
            .collect();
        let large = vec![7; 500_000];
        for body in [noise, lengths, heads] {
            let mut all: Vec<&[u8]> = vec![&body, b"short"];
            all.extend(vec![&large[..]; 20]);
            let mut bytes = written(&all);
            bytes[100] ^= 1;
            let left = bodies(&bytes);
            assert_eq!(left.len(), all.len());
            assert_eq!(left[1], Some(b"short".to_vec()));
        }
    }

    #[test]
    fn a_record_inside_a_payload_is_not_found_behind_damage_without_the_secret() {
        let forged = {
            let mut out = Vec::new();
            put(&mut out, 0, Lsn(1), |out| out.extend_from_slice(b"forged"));
            out
        };
        let mut bytes = written(&[&forged, b"real"]);
        bytes[0] ^= 0xff;
        assert_eq!(bodies(&bytes), [None, Some(b"real".to_vec())]);
    }

    #[test]
    fn an_old_page_in_the_place_of_a_new_one_is_damage() {
        let bytes = written(&[b"aaaaaaaa", b"bbbbbbbb", b"cccccccc"]);
        let one = size(8);
        let mut stale = bytes.clone();
        stale.copy_within(0..one, one);
        assert_eq!(
            bodies(&stale),
            [Some(b"aaaaaaaa".to_vec()), None, Some(b"cccccccc".to_vec())]
        );
    }
}
