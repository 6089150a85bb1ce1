//! Sets of keys on the web: asked for now and then, so that an issuer can change its keys without anybody's help.
//!
//! The address is from the settings alone. It is asked over HTTPS, follows no redirect, and may answer with 64 KiB within
//! five seconds. Whatever goes wrong, the keys from before stay in use: an issuer that is away locks nobody out.

use super::jwt::{Change, KeyFault, KeySet, MAX_KEY_BYTES, take_place};
use arc_swap::ArcSwap;
use jsonwebtoken::Algorithm;
use reqwest::{
    Client, Response, StatusCode, Url,
    header::{ETAG, HeaderValue, IF_NONE_MATCH},
    redirect::Policy,
};
use std::{
    io,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::Mutex;

/// How long an answer may take, from the connection to its last byte.
const TIMEOUT: Duration = Duration::from_secs(5);

/// How often a set is asked for.
const ROUND: Duration = Duration::from_secs(600);

/// How long nobody asks again because of a key that is not known: whoever sends tokens could otherwise have the issuer
/// asked as often as they like.
pub const PAUSE: Duration = Duration::from_secs(30);

/// Why a set is not to be had.
#[derive(Debug, thiserror::Error)]
pub enum FetchFault {
    /// No connection, no answer, or none in time.
    #[error("{0}")]
    Web(String),
    /// An answer that is none.
    #[error("the answer is {0}")]
    Status(StatusCode),
    /// More than any set of keys is.
    #[error("the answer is larger than 64 KiB")]
    TooLarge,
    /// The answer holds no keys.
    #[error("the answer {0}")]
    Keys(#[from] KeyFault),
}

impl From<reqwest::Error> for FetchFault {
    fn from(error: reqwest::Error) -> Self {
        // with its causes: the outermost says little more than that something failed
        let causes = std::iter::successors(Some(&error as &dyn std::error::Error), |e| e.source());
        let causes: Vec<_> = causes.map(ToString::to_string).collect();
        FetchFault::Web(causes.join(": "))
    }
}

/// A set of keys on the web.
pub struct Jwks {
    url: Url,
    client: Client,
    algorithms: Vec<Algorithm>,
    keys: ArcSwap<KeySet>,
    /// Held while somebody asks, so that others wait for that answer.
    asked: Mutex<Asked>,
}

#[derive(Default)]
struct Asked {
    last: Option<Instant>,
    /// Of the answer whose keys are in use.
    etag: Option<HeaderValue>,
}

/// Whether the address can be used; the error tells how it must be.
pub fn check_url(url: &str) -> Result<(), &'static str> {
    parse_url(url).map(|_| ())
}

fn parse_url(url: &str) -> Result<Url, &'static str> {
    const EXPECTED: &str =
        "has a jwks_url that is no address such as \"https://issuer.example/jwks.json\"";
    let url = Url::parse(url).map_err(|_| EXPECTED)?;
    if !url.has_host() {
        return Err(EXPECTED);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(
            "has a jwks_url with a user or a password in it; take them out, key sets are public",
        );
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_loopback(&url) => Ok(url),
        "http" => Err(
            "has a jwks_url without TLS, so that others on the way could give keys of their own; use https",
        ),
        _ => Err(EXPECTED),
    }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address: Result<IpAddr, _> = host.trim_matches(['[', ']']).parse();
    address.map_or(host == "localhost", |ip| ip.to_canonical().is_loopback())
}

impl Jwks {
    /// The set at `url`, which is not asked for yet; it has no keys until it is.
    pub fn new(url: &str, algorithms: &[Algorithm]) -> Result<Self, KeyFault> {
        let url = parse_url(url).map_err(io::Error::other)?;
        let mut client = Client::builder()
            .redirect(Policy::none())
            .timeout(TIMEOUT)
            .user_agent(concat!("tidegate/", env!("CARGO_PKG_VERSION")));
        if is_loopback(&url) {
            // what is on this machine is not behind a proxy
            client = client.no_proxy();
        }
        Ok(Jwks {
            url,
            client: client.build().map_err(io::Error::other)?,
            algorithms: algorithms.to_vec(),
            keys: ArcSwap::default(),
            asked: Mutex::default(),
        })
    }

    /// The keys there are now.
    pub fn keys(&self) -> Arc<KeySet> {
        self.keys.load_full()
    }

    /// Asks for the set.
    pub async fn refresh(&self) -> Result<Change, FetchFault> {
        self.fetch(&mut *self.asked.lock().await).await
    }

    /// Asks for the set, unless somebody has within the last [`PAUSE`]. Returns when there is nothing to wait for; what
    /// has begun is finished also if nobody waits any more, or whoever leaves early could keep new keys away.
    pub async fn fetch_if_due(self: &Arc<Self>) {
        let this = self.clone();
        let asking = tokio::spawn(async move {
            let mut asked = this.asked.lock().await;
            if is_due(asked.last, Instant::now()) {
                this.note(this.fetch(&mut asked).await);
            }
        });
        let _ = asking.await; // it ends early only with the process
    }

    /// Asks for the set every ten minutes; does not return.
    pub async fn keep_fresh(&self) {
        let mut round = tokio::time::interval(ROUND);
        loop {
            round.tick().await;
            self.note(self.refresh().await);
        }
    }

    fn note(&self, outcome: Result<Change, FetchFault>) {
        let url = self.url.as_str();
        match outcome {
            Ok(Change::Same) => {
                tracing::debug!(url, "the keys that tokens are verified with are the same")
            }
            Ok(Change::Replaced(keys)) => {
                tracing::info!(
                    url,
                    keys,
                    "the keys that tokens are verified with were replaced"
                );
            }
            Err(fault) => tracing::warn!(
                url, %fault,
                "the keys that tokens are verified with cannot be had; those from before stay in use"
            ),
        }
    }

    async fn fetch(&self, asked: &mut Asked) -> Result<Change, FetchFault> {
        asked.last = Some(Instant::now());
        let mut request = self.client.get(self.url.clone());
        if let Some(etag) = &asked.etag {
            request = request.header(IF_NONE_MATCH, etag);
        }
        let answer = request.send().await?;
        match answer.status() {
            StatusCode::NOT_MODIFIED if asked.etag.is_some() => return Ok(Change::Same),
            StatusCode::OK => {}
            status => return Err(FetchFault::Status(status)),
        }
        let etag = answer.headers().get(ETAG).cloned();
        let new = KeySet::from_jwks(&body(answer).await?, &self.algorithms)?;
        asked.etag = etag;
        Ok(take_place(&self.keys, new))
    }
}

fn is_due(last: Option<Instant>, now: Instant) -> bool {
    last.is_none_or(|last| now.duration_since(last) >= PAUSE)
}

async fn body(mut answer: Response) -> Result<Vec<u8>, FetchFault> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        body.extend_from_slice(&chunk);
        if body.len() as u64 > MAX_KEY_BYTES {
            return Err(FetchFault::TooLarge);
        }
    }
    Ok(body)
}

#[cfg(test)]
mod tests;
