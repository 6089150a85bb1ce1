//! What became of the messages of a batch, as JSON.

use crate::{http::problem::Problem, message::Position};
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

/// What became of one message: where it was recorded, if it was.
pub type Outcome = Result<Option<Position>, Problem>;

/// What became of a batch.
#[derive(Debug, Serialize, ToSchema)]
pub struct Results {
    /// One for each message, in order.
    results: Vec<ItemResult>,
    /// How many were published.
    accepted: usize,
    /// How many were not.
    rejected: usize,
}

/// What became of one message of a batch.
#[derive(Debug, Serialize, ToSchema)]
pub struct ItemResult {
    /// Which one, from 0.
    index: u64,
    /// What it would have been answered alone.
    #[schema(example = 200)]
    status: u16,
    /// The message's place in the log; `null` if it was not recorded. Absent if it was not published.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "k7q2m9xa-10482")]
    cursor: Option<Option<String>>,
    /// Why it was not published.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<ItemProblem>,
}

/// Why one message of a batch was not published: as a problem, without `instance`.
#[derive(Debug, Serialize, ToSchema)]
pub struct ItemProblem {
    /// Names the kind; stable.
    #[schema(format = "uri")]
    r#type: String,
    /// The kind for people.
    title: &'static str,
    /// What it was this time.
    detail: String,
    /// The MQTT reason code that says the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason_code: Option<u8>,
    /// `unknown`: it may have been published all the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'static str>,
}

/// The last line of results that come line by line: that they are all.
#[derive(Debug, Serialize, ToSchema)]
pub struct Summary {
    /// How many were published.
    pub accepted: u64,
    /// How many were not.
    pub rejected: u64,
}

impl ItemResult {
    /// Of message `index`.
    pub fn new(index: u64, outcome: &Outcome) -> Self {
        match outcome {
            Ok(position) => ItemResult {
                index,
                status: StatusCode::OK.as_u16(),
                cursor: Some(position.map(|position| position.to_string())),
                problem: None,
            },
            Err(problem) => ItemResult {
                index,
                status: problem.kind().status().as_u16(),
                cursor: None,
                problem: Some(ItemProblem {
                    r#type: problem.kind().type_uri(),
                    title: problem.kind().title(),
                    detail: problem.detail().to_owned(),
                    reason_code: problem.reason().map(|reason| reason as u8),
                    outcome: problem.is_outcome_unknown().then_some("unknown"),
                }),
            },
        }
    }
}

/// The status and the body that tell of all messages: 207 as soon as one was not published.
pub fn of(outcomes: &[Outcome]) -> (StatusCode, Vec<u8>) {
    let accepted = outcomes.iter().filter(|one| one.is_ok()).count();
    let results = (0..).zip(outcomes);
    let results = Results {
        results: results
            .map(|(index, one)| ItemResult::new(index, one))
            .collect(),
        accepted,
        rejected: outcomes.len() - accepted,
    };
    let status = match results.rejected {
        0 => StatusCode::OK,
        _ => StatusCode::MULTI_STATUS,
    };
    // strings and numbers always have a JSON form
    (status, serde_json::to_vec(&results).unwrap_or_default())
}
