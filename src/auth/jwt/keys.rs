//! The keys of one entry of the settings, of which a new set can take the place at any time.

use super::{
    jwk,
    key::{self, Key, KeyFault},
    token::Token,
};
use crate::auth::{config::KeySource, jwks::Jwks};
use arc_swap::ArcSwap;
use jsonwebtoken::Algorithm;
use sha2::{Digest, Sha256};
use std::{
    fs::File,
    io::{self, Read},
    path::Path,
    sync::Arc,
};
use zeroize::Zeroizing;

/// Most that is read of a file or an answer with keys.
pub const MAX_KEY_BYTES: u64 = 64 * 1024;

/// Keys, and a sum of what they were read from.
#[derive(Default)]
pub struct KeySet {
    keys: Vec<Key>,
    sum: [u8; 32],
}

impl KeySet {
    /// A set of public keys in JSON.
    pub fn from_jwks(json: &[u8], allowed: &[Algorithm]) -> Result<Self, KeyFault> {
        Ok(KeySet {
            keys: jwk::keys(json, allowed)?,
            sum: Sha256::digest(json).into(),
        })
    }

    /// How many keys there are.
    pub fn count(&self) -> usize {
        self.keys.len()
    }

    /// The names of the keys that have one.
    pub fn kids(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().filter_map(|key| key.kid.as_deref())
    }

    /// Whether both were read from the same bytes.
    pub fn is_same(&self, other: &KeySet) -> bool {
        self.sum == other.sum
    }

    /// The keys that this token could be signed with. If it names one, those of that name and those that have none.
    /// Among several with names it must choose.
    pub fn for_token(&self, token: &Token<'_>) -> Vec<&Key> {
        let fits = self.keys.iter().filter(|key| key.is_for(token.algorithm));
        let is_named = |key: &&Key| match (&token.kid, &key.kid) {
            (Some(wanted), Some(kid)) => wanted == kid,
            _ => true,
        };
        let keys: Vec<_> = fits.filter(is_named).collect();
        match token.kid {
            None if keys.len() > 1 => Vec::new(),
            _ => keys,
        }
    }
}

/// Where the keys of an entry come from, and those there are now.
pub struct Keys {
    origin: Origin,
    algorithms: Vec<Algorithm>,
}

enum Origin {
    /// From the settings or a file.
    Local(KeySource, ArcSwap<KeySet>),
    /// From the web.
    Web(Arc<Jwks>),
}

/// What became of keys that were read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// They are the same.
    Same,
    /// There are others now: so many.
    Replaced(usize),
}

impl Keys {
    /// Reads what is local; what is on the web is not asked for yet. Blocks.
    pub fn load(source: &KeySource, algorithms: &[Algorithm]) -> Result<Self, KeyFault> {
        let origin = match source {
            KeySource::JwksUrl(url) => Origin::Web(Arc::new(Jwks::new(url, algorithms)?)),
            source => Origin::Local(
                source.clone(),
                ArcSwap::from_pointee(read(source, algorithms)?),
            ),
        };
        Ok(Keys {
            origin,
            algorithms: algorithms.to_vec(),
        })
    }

    /// The keys there are now.
    pub fn now(&self) -> Arc<KeySet> {
        match &self.origin {
            Origin::Local(_, keys) => keys.load_full(),
            Origin::Web(jwks) => jwks.keys(),
        }
    }

    /// Those on the web.
    pub fn on_the_web(&self) -> Option<&Arc<Jwks>> {
        match &self.origin {
            Origin::Local(..) => None,
            Origin::Web(jwks) => Some(jwks),
        }
    }

    /// Reads a file again; `None` if the keys are from none. If it cannot be used, the keys stay as they are. Blocks.
    pub fn reload(&self) -> Option<Result<Change, KeyFault>> {
        let Origin::Local(source, keys) = &self.origin else {
            return None;
        };
        source.file()?;
        Some(read(source, &self.algorithms).map(|new| take_place(keys, new)))
    }
}

/// Lets a set of keys take the place of another.
pub fn take_place(keys: &ArcSwap<KeySet>, new: KeySet) -> Change {
    if keys.load().is_same(&new) {
        return Change::Same;
    }
    let count = new.count();
    keys.store(Arc::new(new));
    Change::Replaced(count)
}

fn read(source: &KeySource, algorithms: &[Algorithm]) -> Result<KeySet, KeyFault> {
    let bytes = match source {
        KeySource::Secret(secret) => Zeroizing::new(secret.reveal().as_bytes().to_vec()),
        KeySource::SecretFile(file) => {
            let mut bytes = read_file(file)?;
            // what an editor or `echo` leaves at the end
            if bytes.pop_if(|byte| *byte == b'\n').is_some() {
                bytes.pop_if(|byte| *byte == b'\r');
            }
            bytes
        }
        KeySource::PublicKeyFile(file) | KeySource::JwksFile(file) => read_file(file)?,
        KeySource::JwksUrl(_) => return Err(io::Error::from(io::ErrorKind::Unsupported).into()),
    };
    let one = |key| KeySet {
        keys: vec![key],
        sum: Sha256::digest(&bytes).into(),
    };
    match source {
        KeySource::JwksFile(_) => KeySet::from_jwks(&bytes, algorithms),
        KeySource::PublicKeyFile(_) => Ok(one(key::public(&bytes, algorithms)?)),
        _ => Ok(one(key::secret(&bytes, algorithms)?)),
    }
}

fn read_file(file: &Path) -> Result<Zeroizing<Vec<u8>>, KeyFault> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(8 * 1024));
    let opened = File::open(file)?;
    opened.take(MAX_KEY_BYTES + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > MAX_KEY_BYTES {
        true => Err(KeyFault::TooLarge),
        false => Ok(bytes),
    }
}
