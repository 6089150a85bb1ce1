//! The bytes of an application message: small ones stand where the message stands, large ones are shared.
//!
//! Most messages of sensors and switches are small: without an allocation of their own they cost less to take, to pass
//! on, and to keep. A payload never changes.

use bytes::Bytes;
use std::{fmt, ops::Deref};

/// Most bytes that are kept in place.
const SMALL: usize = 70;

/// Any bytes, immutable.
#[derive(Clone)]
pub struct Payload(Kept);

#[derive(Clone)]
enum Kept {
    Small { len: u8, bytes: [u8; SMALL] },
    Large(Bytes),
}

impl Payload {
    /// No bytes.
    pub const EMPTY: Payload = Payload(Kept::Small {
        len: 0,
        bytes: [0; SMALL],
    });

    /// A copy of these bytes.
    #[inline]
    pub fn copy_from_slice(from: &[u8]) -> Self {
        if from.len() > SMALL {
            return Payload(Kept::Large(Bytes::copy_from_slice(from)));
        }
        let mut bytes = [0; SMALL];
        bytes[..from.len()].copy_from_slice(from);
        Payload(Kept::Small {
            len: from.len() as u8, // at most SMALL
            bytes,
        })
    }

    /// The bytes for whoever wants to share them: a copy of small ones.
    pub fn to_bytes(&self) -> Bytes {
        match &self.0 {
            Kept::Small { .. } => Bytes::copy_from_slice(self),
            Kept::Large(bytes) => bytes.clone(),
        }
    }
}

impl Deref for Payload {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Kept::Small { len, bytes } => &bytes[..usize::from(*len)],
            Kept::Large(bytes) => bytes,
        }
    }
}

impl From<Bytes> for Payload {
    fn from(bytes: Bytes) -> Self {
        match bytes.len() {
            0..=SMALL => Payload::copy_from_slice(&bytes),
            _ => Payload(Kept::Large(bytes)),
        }
    }
}

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl<const N: usize> From<&[u8; N]> for Payload {
    fn from(bytes: &[u8; N]) -> Self {
        Payload::copy_from_slice(bytes)
    }
}

impl From<&str> for Payload {
    fn from(text: &str) -> Self {
        Payload::copy_from_slice(text.as_bytes())
    }
}

impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Payload {}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_of_every_size_hold_the_bytes_they_were_made_of() {
        for len in [0, 1, SMALL - 1, SMALL, SMALL + 1, 5000] {
            let bytes: Vec<u8> = (0..len).map(|at| at as u8).collect();
            for payload in [
                Payload::copy_from_slice(&bytes),
                Payload::from(bytes.clone()),
            ] {
                assert_eq!((&*payload, &*payload.to_bytes()), (&*bytes, &*bytes));
                assert_eq!(payload, payload.clone());
            }
        }
        assert!(Payload::EMPTY.is_empty());
    }

    #[test]
    fn only_large_payloads_own_memory_and_share_it() {
        let (small, large) = (
            Payload::from(vec![1; SMALL]),
            Payload::from(vec![1; SMALL + 1]),
        );
        assert!(matches!(small.0, Kept::Small { .. }));
        assert!(matches!(&large.0, Kept::Large(bytes) if bytes.len() == SMALL + 1));
        assert_eq!(large.to_bytes().as_ptr(), large.as_ptr());
        assert_eq!(size_of::<Payload>(), 72);
    }
}
