//! `POST /api/v1/messages`: many messages in one request, and what became of each.
//!
//! A batch is read whole ([`whole`]), or, if it is NDJSON and the client reads NDJSON, line by line while the answers go
//! out ([`lines`]). One sync serves all its messages.

mod answer;
mod item;
mod lines;
pub mod whole;

pub use answer::{ItemProblem, ItemResult, Results, Summary};
pub use item::{NewMessage, NewProperties};

use crate::{
    auth::identity::Identity,
    broker::{Draft, Refused, publish::Publisher},
    http::{
        State,
        body::{self, Bound},
        caller, front,
        idempotency::{self, Answer, First},
        negotiate,
        problem::{Fault, Kind, Problem, ProblemBody},
        query::Query,
        serve::Connection,
    },
    listener::arrival::Peer,
    message::Position,
    metrics::Tally,
    mqtt::Qos,
    store::frame::Lsn,
};
use answer::Outcome;
use axum::{
    extract::{self as axum_extract, Request},
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use std::{sync::Arc, time::Instant};
use utoipa::ToSchema;

/// The collection of messages.
pub const MESSAGES: &str = "/api/v1/messages";

const JSON: &str = "application/json";
const ENVELOPE: &str = "application/vnd.tidegate.message+json";
const NDJSON: &str = "application/x-ndjson";

/// What a batch that is read whole may always have, in bytes.
const WHOLE: usize = 8 * 1024 * 1024;
/// What a message may have as JSON beside its payload: topic, properties, names.
const BESIDE_PAYLOAD: usize = 64 * 1024;

/// One message or many.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "names the two forms of a body")]
enum Batch {
    One(#[serde(skip)] Box<NewMessage>),
    Many(#[serde(skip)] Vec<NewMessage>),
}

/// Publish messages.
///
/// One message, an array of up to 1000, or NDJSON with one per line; published in order. `200` if all were, `207` if any
/// was not, and what became of each. With `atomic=true` all are published or none. Malformed JSON: nothing is published.
/// The answer comes when all that must survive is durable.
///
/// NDJSON may have any number of lines if `Accept` names `application/x-ndjson`: then a line of results follows each as it
/// is published, and a last line with `accepted` and `rejected` says that they are all. Read the answer while you write.
#[utoipa::path(
    post,
    path = "/api/v1/messages",
    operation_id = "publishMessages",
    tag = "messages",
    params(
        ("atomic" = Option<bool>, Query, description = "Publish all or none."),
        ("Idempotency-Key" = Option<String>, Header, description = "As at `/api/v1/topics/{topic}`; the answer is not streamed then."),
    ),
    request_body(description = "Messages.", content((Batch = "application/json"), (NewMessage = "application/x-ndjson"))),
    responses(
        (status = 200, description = "All were published; streamed: see the lines.", content((Results = "application/json"), (ItemResult = "application/x-ndjson"))),
        (status = 207, description = "Some were published.", body = Results),
        (status = 400, description = "`body-invalid`, `parameter-invalid`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "`idempotency-in-flight`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 413, description = "`payload-too-large`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 415, description = "`media-type-unsupported`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "`batch-rejected`, `idempotency-mismatch`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 429, description = "`quota-exceeded`: nothing was published", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "`storage-unavailable`", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn post(
    axum_extract::State(state): axum_extract::State<Arc<State>>,
    request: Request,
) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let mut query = Query::parse(head.uri.query())?;
    let atomic = query.flag("atomic")?.unwrap_or(false);
    query.finish()?;
    let key = idempotency::key(&head.headers)?;
    let is_lines = is_lines(&head.headers)?;
    let caller = caller::of(&state, &head.extensions)?;
    let peer = head
        .extensions
        .get::<Connection>()
        .map(|it| it.arrival.peer);
    let publishing = Publishing::new(state.clone(), peer, caller);
    let most = largest_item(&state);
    let streams = is_lines && !atomic && key.is_none() && negotiate::names(&head.headers, NDJSON);
    if streams {
        body::is_identity(&head.headers)?;
        return Ok(lines::answer(publishing, body, most));
    }
    let bound = Bound {
        bytes: most.max(WHOLE),
        what: "a batch",
    };
    let body = body::read_within(body, &head.headers, bound, state.config.body_timeout).await?;
    caller::still_counts(&state, &publishing.identity)?;
    let (drafts, member) = whole::read(&state, &body, is_lines);
    let Some(key) = idempotency::key_of_message(key, member.as_deref())? else {
        return match atomic {
            true => publishing.all_or_none(drafts?).await,
            false => publishing.each(drafts?).await,
        };
    };
    let kinds: [&[u8]; 3] = [b"POST messages", &[atomic.into()], &[is_lines.into()]];
    let fingerprint = idempotency::fingerprint(kinds.into_iter().chain([&*body]));
    match idempotency::begin(&state, &publishing.identity, key, fingerprint).await? {
        First::Again(answer) => Ok(answer),
        First::Fresh(running) => match publishing.once(drafts, atomic, &running).await {
            Ok(answer) => Ok(answer.into_response()),
            Err(problem) => Ok(idempotency::refused(running, problem)),
        },
    }
}

/// Bytes of the JSON of one message: a payload of the limit, in base64, and what comes with it.
fn largest_item(state: &State) -> usize {
    let payload = state.broker.limits().payload;
    payload.saturating_add(payload / 3 + BESIDE_PAYLOAD)
}

/// Whether a body is NDJSON, or else JSON.
fn is_lines(headers: &HeaderMap) -> Result<bool, Problem> {
    let text = headers.get(header::CONTENT_TYPE);
    let text = text
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let essence = text.split(';').next().unwrap_or_default().trim();
    match essence.to_ascii_lowercase().as_str() {
        JSON | ENVELOPE => Ok(false),
        NDJSON => Ok(true),
        _ => Err(Problem::new(
            Kind::MediaTypeUnsupported,
            "send Content-Type: application/json, or application/x-ndjson for one message per line",
        )),
    }
}

/// Somebody who publishes the messages of one request.
struct Publishing {
    state: Arc<State>,
    peer: Option<Peer>,
    identity: Arc<Identity>,
    publisher: Publisher,
    /// When what was published so far is durable, as far as somebody waits for it.
    durable_at: Option<Lsn>,
    /// What was published and is not counted yet, where that is not asked before.
    published: Tally,
}

impl Publishing {
    fn new(state: Arc<State>, peer: Option<Peer>, identity: Arc<Identity>) -> Self {
        Publishing {
            publisher: state.broker.publisher(identity.clone(), None),
            identity,
            state,
            peer,
            durable_at: None,
            published: Tally::default(),
        }
    }

    /// Publishes one message, unless it could not be read. It is offered when this settles.
    fn publish(&mut self, draft: Result<Draft, Problem>) -> Outcome {
        let outcome = draft.and_then(|draft| {
            let waits = draft.qos != Qos::AtMostOnce;
            self.published.add(draft.payload.len());
            let broker = &self.state.broker;
            let publisher = &mut self.publisher;
            let receipt = broker.publish_in_batch(publisher, draft, None, broker.now())?;
            let durable_at = receipt.durable_at.filter(|_| waits);
            self.durable_at = self.durable_at.max(durable_at);
            Ok(receipt.position)
        });
        outcome.inspect_err(|problem| self.count(problem))
    }

    fn count(&self, problem: &Problem) {
        front::count(&self.state, self.peer, problem, "in a batch");
    }

    /// Offers what was published, and returns when all that must survive of it is durable.
    async fn settle(&mut self) -> Result<(), Refused> {
        self.state.broker.flush(&mut self.publisher);
        let broker = &self.state.broker;
        if let Some(durable_at) = self.durable_at.take() {
            broker.durable(durable_at).await?;
        }
        // a request may hold more than may wait to be written, also of what nobody waits for
        if broker.is_busy() {
            broker.durable(broker.everything_durable()).await?;
        }
        Ok(())
    }

    /// Waits as long as whoever publishes was faster than it may be.
    async fn slow_down(&mut self) {
        let (messages, bytes) = std::mem::take(&mut self.published).so_far();
        let quota = self.identity.quota();
        if let Some(quota) = quota.filter(|quota| quota.limits_publishing())
            && let Some(wait) = quota.charge(messages, bytes, Instant::now())
        {
            tokio::time::sleep(wait).await;
        }
    }

    /// Publishes what can be.
    async fn each(mut self, drafts: Vec<Result<Draft, Problem>>) -> Result<Response, Problem> {
        let readable = drafts.iter().flatten();
        let bytes = readable.clone().map(|draft| draft.payload.len()).sum();
        self.publisher.take_rate(readable.count(), bytes)?;
        let mut outcomes = Vec::with_capacity(drafts.len());
        for draft in drafts {
            if self.state.broker.is_busy() {
                self.settle().await?;
            }
            outcomes.push(self.publish(draft));
        }
        self.settle().await?;
        let (status, body) = answer::of(&outcomes);
        let cursor = None;
        Ok(Answer {
            status,
            cursor,
            body,
        }
        .into_response())
    }

    /// Publishes all, or else none.
    async fn all_or_none(
        mut self,
        drafts: Vec<Result<Draft, Problem>>,
    ) -> Result<Response, Problem> {
        let drafts = all_of(drafts)?;
        let broker = &self.state.broker;
        let done = broker.publish_together(&mut self.publisher, drafts, true, None)?;
        if done.has_refused() {
            return Err(rejected(done.each.into_iter().map(outcome)));
        }
        if let Some(durable_at) = done.durable_at {
            broker.durable(durable_at).await?;
        }
        Ok(answer_of(done.each.into_iter().map(outcome).collect()).into_response())
    }

    /// Publishes all that can be, or with `atomic` all or none, as the request that happens once.
    async fn once(
        mut self,
        drafts: Result<Vec<Result<Draft, Problem>>, Problem>,
        atomic: bool,
        running: &crate::broker::idempotency::Running,
    ) -> Result<Answer, Problem> {
        let read = match atomic {
            true => all_of(drafts?)?.into_iter().map(Ok).collect(),
            false => drafts?,
        };
        let (mut drafts, mut unread) = (Vec::with_capacity(read.len()), Vec::new());
        for draft in read {
            let problem = draft.map(|draft| drafts.push(draft)).err();
            problem.iter().for_each(|problem| self.count(problem));
            unread.push(problem);
        }
        // those that could not be read keep their places among the others
        let merged = |each: &[Result<Option<Position>, Refused>]| {
            let mut each = each.iter();
            let place = |problem: &Option<Problem>| match problem {
                Some(problem) => Err(problem.clone()),
                None => each.next().map_or(Ok(None), |one| outcome(*one)),
            };
            answer_of(unread.iter().map(place).collect())
        };
        let kept = |each: &[Result<Option<Position>, Refused>]| merged(each).kept();
        let broker = &self.state.broker;
        let answering = Some((running, &kept as _));
        let done = broker.publish_together(&mut self.publisher, drafts, atomic, answering)?;
        if atomic && done.has_refused() {
            return Err(rejected(done.each.into_iter().map(outcome)));
        }
        match done.durable_at {
            Some(durable_at) => broker.durable(durable_at).await?,
            // nothing was published, and as far as it is for good it is known here
            None => {
                let refusals = done
                    .each
                    .iter()
                    .filter_map(|one| one.err().map(Problem::from));
                let all = unread.iter().flatten().cloned().chain(refusals);
                if all.into_iter().all(|problem| problem.is_final()) {
                    running.refused(merged(&done.each).kept());
                }
            }
        }
        for refused in done.each.iter().filter_map(|one| one.err()) {
            self.count(&Problem::from(refused));
        }
        Ok(merged(&done.each))
    }
}

fn outcome(of: Result<Option<Position>, Refused>) -> Outcome {
    of.map_err(Problem::from)
}

fn answer_of(outcomes: Vec<Outcome>) -> Answer {
    let (status, body) = answer::of(&outcomes);
    Answer {
        status,
        cursor: None,
        body,
    }
}

/// All messages of a batch that is published all or none.
fn all_of(drafts: Vec<Result<Draft, Problem>>) -> Result<Vec<Draft>, Problem> {
    if drafts.iter().any(Result::is_err) {
        return Err(rejected(drafts.into_iter().map(|one| one.map(|_| None))));
    }
    Ok(drafts.into_iter().flatten().collect())
}

/// Why none of a batch was published.
fn rejected(outcomes: impl Iterator<Item = Outcome>) -> Problem {
    let (mut errors, mut all, mut is_final) = (Vec::new(), 0, true);
    for (index, outcome) in outcomes.enumerate() {
        all += 1;
        if let Err(problem) = outcome {
            is_final &= problem.is_final();
            errors.push(Fault::item(index, &problem));
        }
    }
    let bad = errors.len();
    let detail = format!("nothing was published: {bad} of {all} messages cannot be");
    Problem::new(Kind::BatchRejected, detail)
        .with_errors(errors)
        .for_now_unless(is_final)
}
