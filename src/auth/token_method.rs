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
        Box::new(Waiting(self.chain.clone()))
    }
}

/// For the token, which is all there is to say.
struct Waiting(Arc<Chain>);

impl Exchange for Waiting {
    fn step(&mut self, data: Option<Bytes>) -> Step {
        let token = data.as_deref().unwrap_or_default();
        let Ok(token) = std::str::from_utf8(token) else {
            return Step::Refused("a token that is no text".to_owned());
        };
        match self.0.prove_token(token, Subject::default()) {
            Ok(identity) => Step::Done {
                identity: Arc::new(identity),
                data: None,
            },
            Err(Unproven::Expired(why)) => Step::Expired(why),
            Err(unproven) => Step::Refused(unproven.to_string()),
        }
    }
}
