use super::*;
use crate::auth::{
    config::{Jwt, KeySource},
    jwt::{
        TokenFault, Verifier,
        testing::{NOW, good, jwk, jwks},
    },
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex as Lock;
use std::{convert::Infallible, net::SocketAddr, slice};
use tokio::net::TcpListener;

/// What an issuer answers with.
#[derive(Clone)]
enum Answer {
    /// This, under this ETag.
    Set(String, &'static str),
    /// Nothing but a status and, for a redirect, where to.
    Status(u16),
    /// A body that never ends.
    Endless,
    /// Nothing at all.
    Silence,
}

/// An issuer's web server.
#[derive(Clone)]
struct Issuer {
    address: SocketAddr,
    answer: Arc<Lock<Answer>>,
    asked: Arc<Lock<Vec<Asking>>>,
}

/// Path and If-None-Match of a request.
type Asking = (String, Option<String>);

type Body = axum::body::Body;

impl Issuer {
    async fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = Issuer {
            address: listener.local_addr().unwrap(),
            answer: Arc::new(Lock::new(answer)),
            asked: Arc::default(),
        };
        let this = issuer.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let this = this.clone();
                let service = service_fn(move |request| {
                    let this = this.clone();
                    async move { Ok::<_, Infallible>(this.answer(request).await) }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        issuer
    }

    async fn answer(&self, request: hyper::Request<Incoming>) -> hyper::Response<Body> {
        let condition = request.headers().get(IF_NONE_MATCH);
        let condition = condition.map(|tag| tag.to_str().unwrap().to_owned());
        let path = request.uri().path().to_owned();
        self.asked.lock().push((path, condition.clone()));
        let answer = self.answer.lock().clone();
        let builder = hyper::Response::builder();
        let response = match answer {
            Answer::Set(_, tag) if condition.as_deref() == Some(tag) => {
                builder.status(304).body(Body::empty())
            }
            Answer::Set(set, tag) => builder.header("etag", tag).body(Body::from(set)),
            Answer::Status(status) => builder
                .status(status)
                .header("location", format!("http://{}/elsewhere", self.address))
                .body(Body::empty()),
            Answer::Endless => {
                let spaces =
                    futures_util::stream::repeat_with(|| Ok::<_, Infallible>("    ".repeat(1000)));
                builder.body(Body::from_stream(spaces))
            }
            Answer::Silence => std::future::pending().await,
        };
        response.unwrap()
    }

    fn becomes(&self, answer: Answer) {
        *self.answer.lock() = answer;
    }

    fn times_asked(&self) -> usize {
        self.asked.lock().len()
    }

    fn url(&self) -> String {
        format!("http://{}/jwks.json", self.address)
    }

    fn verifier(&self) -> Verifier {
        let entry = Jwt {
            algorithms: vec![Algorithm::RS256, Algorithm::ES256],
            keys: vec![KeySource::JwksUrl(self.url())],
            audience: vec!["tidegate".to_owned()],
            ..Jwt::default()
        };
        Verifier::load(slice::from_ref(&entry)).unwrap()
    }

    fn jwks(&self) -> Jwks {
        Jwks::new(&self.url(), &[Algorithm::RS256, Algorithm::ES256]).unwrap()
    }
}

fn set(algorithm: Algorithm, kid: &str, tag: &'static str) -> Answer {
    Answer::Set(jwks(&[jwk(algorithm, kid)]), tag)
}

fn kids(keys: &Jwks) -> Vec<String> {
    keys.keys().kids().map(str::to_owned).collect()
}

#[tokio::test]
async fn a_key_that_is_not_known_yet_is_fetched_once_for_all_who_wait() {
    let issuer = Issuer::start(set(Algorithm::RS256, "r1", "\"1\"")).await;
    let verifier = issuer.verifier();
    let token = good(Algorithm::RS256, Some("r1"));
    assert_eq!(verifier.verify(&token, NOW), Err(TokenFault::UnknownKey));
    let all = (0..10).map(|_| verifier.verify_or_fetch(&token, NOW));
    let found = futures_util::future::join_all(all).await;
    assert!(found.iter().all(Result::is_ok), "{found:?}");
    assert_eq!(issuer.times_asked(), 1);
    assert!(verifier.verify(&token, NOW).is_ok());
}

#[tokio::test]
async fn keys_that_do_not_exist_do_not_have_the_issuer_asked_again_and_again() {
    let issuer = Issuer::start(set(Algorithm::RS256, "r1", "\"1\"")).await;
    let verifier = issuer.verifier();
    for number in 0..20 {
        let token = good(Algorithm::RS256, Some(&format!("no-{number}")));
        assert_eq!(
            verifier.verify_or_fetch(&token, NOW).await,
            Err(TokenFault::UnknownKey)
        );
    }
    // nor does a token that is wrong in another way
    assert_eq!(
        verifier.verify_or_fetch("a.b.c", NOW).await,
        Err(TokenFault::Malformed)
    );
    assert_eq!(issuer.times_asked(), 1);
}

#[tokio::test]
async fn a_fetch_goes_on_when_nobody_waits_for_it_any_more() {
    let issuer = Issuer::start(set(Algorithm::RS256, "r1", "\"1\"")).await;
    let keys = Arc::new(issuer.jwks());
    {
        let mut asking = Box::pin(keys.fetch_if_due());
        // it begins, and is given up
        assert!(futures_util::poll!(&mut asking).is_pending());
    }
    // waits for the one that is under way
    while keys.keys().count() == 0 {
        let _ = keys.asked.lock().await;
        tokio::task::yield_now().await;
    }
    assert_eq!(issuer.times_asked(), 1);
}

#[tokio::test]
async fn keys_rotate_and_the_old_ones_end() {
    let issuer = Issuer::start(set(Algorithm::RS256, "r1", "\"1\"")).await;
    let keys = issuer.jwks();
    assert_eq!(keys.keys().count(), 0);
    assert_eq!(keys.refresh().await.unwrap(), Change::Replaced(1));
    assert_eq!(kids(&keys), ["r1"]);
    assert_eq!(keys.refresh().await.unwrap(), Change::Same);
    issuer.becomes(Answer::Set(
        jwks(&[jwk(Algorithm::RS256, "r1"), jwk(Algorithm::ES256, "e2")]),
        "\"2\"",
    ));
    assert_eq!(keys.refresh().await.unwrap(), Change::Replaced(2));
    issuer.becomes(set(Algorithm::ES256, "e2", "\"3\""));
    assert_eq!(keys.refresh().await.unwrap(), Change::Replaced(1));
    assert_eq!(kids(&keys), ["e2"]);
    let conditions: Vec<_> = issuer
        .asked
        .lock()
        .iter()
        .map(|(_, tag)| tag.clone())
        .collect();
    let tags = [None, Some("\"1\""), Some("\"1\""), Some("\"2\"")];
    assert_eq!(conditions, tags.map(|tag| tag.map(str::to_owned)));
}

#[tokio::test]
async fn whatever_goes_wrong_the_keys_from_before_stay() {
    let issuer = Issuer::start(set(Algorithm::RS256, "r1", "\"1\"")).await;
    let keys = issuer.jwks();
    keys.refresh().await.unwrap();
    let large = format!("{{\"keys\":[]{}}}", " ".repeat(65_536));
    for (answer, told) in [
        (Answer::Status(500), "the answer is 500"),
        (Answer::Status(404), "the answer is 404"),
        (Answer::Status(204), "the answer is 204"),
        (Answer::Status(302), "the answer is 302"),
        (Answer::Status(307), "the answer is 307"),
        (
            Answer::Set(String::new(), "\"x\""),
            "the answer is no JSON Web Key Set",
        ),
        (
            Answer::Set("<html>".to_owned(), "\"x\""),
            "the answer is no JSON Web Key Set",
        ),
        (
            Answer::Set(jwks(&[]), "\"x\""),
            "holds no key that could be used: it is empty",
        ),
        (Answer::Set(large, "\"x\""), "larger than 64 KiB"),
        (Answer::Endless, "larger than 64 KiB"),
    ] {
        issuer.becomes(answer);
        let fault = keys.refresh().await.unwrap_err().to_string();
        assert!(fault.contains(told), "{fault}");
        assert_eq!(kids(&keys), ["r1"]);
    }
    // no redirect was followed, and no condition is of an answer that was not used
    let asked = issuer.asked.lock().clone();
    assert!(asked.iter().all(|(path, _)| path == "/jwks.json"));
    assert!(
        asked[1..]
            .iter()
            .all(|(_, tag)| tag.as_deref() == Some("\"1\""))
    );
    issuer.becomes(set(Algorithm::ES256, "e1", "\"2\""));
    assert_eq!(keys.refresh().await.unwrap(), Change::Replaced(1));
}

#[tokio::test]
async fn an_issuer_that_is_away_or_silent_costs_at_most_some_seconds() {
    let silent = Issuer::start(Answer::Silence).await;
    let fault = silent.jwks().refresh().await.unwrap_err().to_string();
    assert!(fault.contains("timed out"), "{fault}");
    let nobody = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let keys = Jwks::new(&format!("http://{nobody}/"), &[Algorithm::RS256]).unwrap();
    let fault = keys.refresh().await.unwrap_err().to_string();
    assert!(fault.contains("refused"), "{fault}");
}

#[test]
fn a_set_is_due_when_it_was_not_asked_for_within_the_pause() {
    let now = Instant::now();
    assert!(is_due(None, now));
    assert!(!is_due(Some(now), now));
    assert!(!is_due(Some(now), now + PAUSE - Duration::from_millis(1)));
    assert!(is_due(Some(now), now + PAUSE));
}
