//! JSON Web Tokens (RFC 7519): who brings one that somebody has signed whom the operator trusts.
//!
//! The settings say which keys count, with which algorithms, for which audience; a token only chooses among them (RFC
//! 8725). Nothing in a token is an address or a name of a file to this room. Whatever is wrong with one, whoever brings
//! it gets the same answer: a [`TokenFault`] is for the log, and holds nothing of the token.
//!
//! Reads no clock. Files are read at the start and by [`Verifier::reload`], the web by [`Verifier::keep_fresh`] and, for a
//! key that is not known yet, by [`Verifier::verify_or_fetch`].

mod claims;
mod json;
mod jwk;
mod key;
mod keys;
mod token;

pub use claims::{Claims, TokenRights};
pub use key::KeyFault;
pub use keys::{Change, KeySet, MAX_KEY_BYTES, take_place};
pub use token::MAX_TOKEN;

use super::{config::Jwt, jwks::Jwks};
use keys::Keys;
use std::sync::Arc;
use token::Token;

/// Why a token is not accepted; of two, the one further down says more. For the log only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum TokenFault {
    /// More than anybody needs.
    #[error("it is longer than 16 KiB")]
    TooLarge,
    /// Not three parts in base64url, of which two are JSON objects without doubled names.
    #[error("it is not well formed")]
    Malformed,
    /// An extension that must be understood.
    #[error("it has a crit header, and no extension is known")]
    Critical,
    /// A token for something else.
    #[error("its typ is neither JWT nor at+jwt")]
    Type,
    /// `none`, or one that nobody knows.
    #[error("its algorithm is not known, or none")]
    Algorithm,
    /// No entry is for its issuer.
    #[error("its issuer is not in the settings")]
    Issuer,
    /// No key of that name and kind.
    #[error("there is no key for its kid and algorithm")]
    UnknownKey,
    /// The signature is not good.
    #[error("its signature is wrong")]
    Signature,
    /// No `exp`.
    #[error("it has no exp")]
    NoExpiry,
    /// A time that is none.
    #[error("its exp or nbf is no moment")]
    Time,
    /// Its time is over.
    #[error("it has expired")]
    Expired,
    /// Its time has not come.
    #[error("its nbf is in the future")]
    NotYet,
    /// No `aud`, or one that is neither a text nor a list of texts.
    #[error("it has no aud that could be read")]
    NoAudience,
    /// For somebody else.
    #[error("its aud does not name this gateway")]
    Audience,
    /// Rights that are not understood.
    #[error("its claim mqtt or its authorization_details are not understood")]
    Rights,
    /// Nobody that could be a user.
    #[error("the claim for the user is missing, or no name")]
    User,
    /// Groups that are none.
    #[error("the claim for groups is not a list of names")]
    Groups,
}

/// What is wrong with the keys of one entry.
#[derive(Debug, thiserror::Error)]
#[error("entry {entry}: {place}: {fault}")]
pub struct EntryFault {
    /// Which one; counts from 1.
    pub entry: usize,
    /// The setting and, if it is one, the file.
    pub place: String,
    /// Why.
    pub fault: KeyFault,
}

/// What became of the file of one entry that was read again.
#[derive(Debug)]
pub struct Reloaded {
    /// Which one; counts from 1.
    pub entry: usize,
    /// The setting and the file.
    pub place: String,
    /// How it went; if it failed, the keys from before are still in use.
    pub outcome: Result<Change, KeyFault>,
}

/// Everybody whose tokens are accepted.
pub struct Verifier(Vec<Trusted>);

struct Trusted {
    entry: Jwt,
    place: String,
    keys: Keys,
}

impl Verifier {
    /// Reads the keys in files; keys on the web are not asked for yet. The error tells what is wrong with every entry.
    /// Blocks.
    pub fn load(entries: &[Jwt]) -> Result<Self, Vec<EntryFault>> {
        let (mut trusted, mut faults) = (Vec::new(), Vec::new());
        for (entry, number) in entries.iter().zip(1..) {
            for source in &entry.keys {
                let place = match source.file() {
                    Some(file) => {
                        format!("{} = {:?}", source.setting(), file.display().to_string())
                    }
                    None => source.setting().to_owned(),
                };
                match Keys::load(source, &entry.algorithms) {
                    Ok(keys) => trusted.push(Trusted {
                        entry: entry.clone(),
                        place,
                        keys,
                    }),
                    Err(fault) => faults.push(EntryFault {
                        entry: number,
                        place,
                        fault,
                    }),
                }
            }
        }
        match faults.is_empty() {
            true => Ok(Verifier(trusted)),
            false => Err(faults),
        }
    }

    /// Who brings this token at `now`, in seconds since the Unix epoch. Each entry that is for the token's issuer is
    /// asked, until one accepts it.
    pub fn verify(&self, token: &str, now: u64) -> Result<Claims, TokenFault> {
        self.ask(&Token::parse(token)?, now)
    }

    /// As [`Verifier::verify`]; if its key is not known, sets on the web are asked for again before, each at most once
    /// in [`super::jwks::PAUSE`]. Takes up to some seconds then.
    pub async fn verify_or_fetch(&self, token: &str, now: u64) -> Result<Claims, TokenFault> {
        let token = Token::parse(token)?;
        let first = self.ask(&token, now);
        if first.is_ok() {
            return first;
        }
        for jwks in self.without_key(&token) {
            jwks.fetch_if_due().await;
        }
        self.ask(&token, now)
    }

    /// What to await before a token that [`Verifier::verify`] did not accept is verified again, as
    /// [`Verifier::verify_or_fetch`] does. `None` if no set on the web could have its key.
    pub fn fetch_for(&self, token: &str) -> Option<impl Future<Output = ()> + Send + use<>> {
        let token = Token::parse(token).ok()?;
        let sets: Vec<Arc<Jwks>> = self.without_key(&token).cloned().collect();
        (!sets.is_empty()).then_some(async move {
            for jwks in sets {
                jwks.fetch_if_due().await;
            }
        })
    }

    /// The sets on the web that could have a key for this token, and have none.
    fn without_key(&self, token: &Token<'_>) -> impl Iterator<Item = &Arc<Jwks>> {
        self.for_issuer(token).filter_map(|trusted| {
            let jwks = trusted.keys.on_the_web()?;
            jwks.keys().for_token(token).is_empty().then_some(jwks)
        })
    }

    fn ask(&self, token: &Token<'_>, now: u64) -> Result<Claims, TokenFault> {
        let mut fault = TokenFault::Issuer;
        for trusted in self.for_issuer(token) {
            match trusted.verify(token, now) {
                Ok(claims) => return Ok(claims),
                Err(found) => fault = fault.max(found),
            }
        }
        Err(fault)
    }

    fn for_issuer(&self, token: &Token<'_>) -> impl Iterator<Item = &Trusted> {
        self.0.iter().filter(|trusted| match &trusted.entry.issuer {
            None => true,
            issuer => issuer.as_deref() == token.issuer(),
        })
    }

    /// Reads all files with keys again. Blocks.
    pub fn reload(&self) -> Vec<Reloaded> {
        let reloaded = self.0.iter().zip(1..).map(|(trusted, entry)| {
            Some(Reloaded {
                entry,
                place: trusted.place.clone(),
                outcome: trusted.keys.reload()?,
            })
        });
        reloaded.flatten().collect()
    }

    /// Asks for all sets on the web now and then again and again, as long as this is awaited; it does not return. What
    /// goes wrong is logged, and the keys from before stay in use.
    pub async fn keep_fresh(&self) {
        let sets = self
            .0
            .iter()
            .filter_map(|trusted| trusted.keys.on_the_web());
        futures_util::future::join_all(sets.map(|jwks| jwks.keep_fresh())).await;
        std::future::pending().await
    }
}

impl Trusted {
    fn verify(&self, token: &Token<'_>, now: u64) -> Result<Claims, TokenFault> {
        let set = self.keys.now();
        let keys = set.for_token(token);
        if keys.is_empty() {
            return Err(TokenFault::UnknownKey);
        }
        match keys.iter().any(|key| key.has_signed(token)) {
            true => Claims::check(token, &self.entry, now),
            false => Err(TokenFault::Signature),
        }
    }
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
