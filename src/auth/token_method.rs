//! Tokens by extended authentication: the method `jwt`, whose data is the token.
//!
//! A client that authenticates by it can send a fresh token before the old one expires, and stays connected.

use super::{
    chain::{Chain, Unproven},
    exchange::{Exchange, Method, Step},
    rules::Subject,
};
use bytes::Bytes;
use std::sync::Arc;

/// The method `jwt`.
pub struct TokenMethod {
    chain: Arc<Chain>,
}

impl TokenMethod {
    /// Takes the tokens that `chain` takes.
    pub fn new(chain: Arc<Chain>) -> Self {
        TokenMethod { chain }
    }
}

impl Method for TokenMethod {
    fn name(&self) -> &str {
        "jwt"
    }

    fn begin(&self) -> Box<dyn Exchange> {
        Box::new(Waiting {
            chain: self.chain.clone(),
            has_asked: false,
        })
    }
}

/// For the token, which is all there is to say.
struct Waiting {
    chain: Arc<Chain>,
    /// Keys on the web were asked for because of it.
    has_asked: bool,
}

impl Exchange for Waiting {
    fn step(&mut self, data: Option<Bytes>) -> Step {
        let token = data.as_deref().unwrap_or_default();
        let Ok(token) = std::str::from_utf8(token) else {
            return Step::Refused("a token that is no text".to_owned());
        };
        let unproven = match self.chain.prove_token(token, Subject::default()) {
            Ok(identity) => {
                return Step::Done {
                    identity: Arc::new(identity),
                    data: None,
                };
            }
            Err(unproven) => unproven,
        };
        if !self.has_asked
            && let Some(fetch) = self.chain.fetch_for(token)
        {
            self.has_asked = true;
            return Step::Later(Box::pin(fetch));
        }
        match unproven {
            Unproven::Expired(why) => Step::Expired(why),
            unproven => Step::Refused(unproven.to_string()),
        }
    }
}
