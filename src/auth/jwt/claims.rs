//! What a token claims, once its signature is good: whether it is for us and now, for whom, and with which rights.

use super::{TokenFault, token::Token};
use crate::{auth::config::Jwt, mqtt::topic::TopicFilter};
use serde_json::{Map, Value};

/// Who brings a token, and what it lets them do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// Name of the user; never empty, without control characters.
    pub user: String,
    /// The user's groups.
    pub groups: Vec<String>,
    /// When it expires, in seconds since the Unix epoch: the moment the issuer named.
    pub expires: u64,
    /// What the token is limited to; `None` if it says nothing about it.
    pub rights: Option<TokenRights>,
    /// The only client identifier that it is good for; `None` if any is.
    pub client_id: Option<String>,
}

/// What a token is limited to, from its claim `mqtt` or its authorization details.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TokenRights {
    /// Topic filters it may publish to.
    pub publish: Vec<String>,
    /// Topic filters it may subscribe to.
    pub subscribe: Vec<String>,
    /// Topic filters where what it publishes may be retained.
    pub retain: Vec<String>,
}

/// Longest name of a user or client identifier, in bytes: what fits into a CONNECT.
const MAX_NAME: usize = 65_535;

impl Claims {
    /// Checks the claims of a token whose signature is good, for this entry, at `now` (seconds since the Unix epoch).
    pub fn check(token: &Token<'_>, entry: &Jwt, now: u64) -> Result<Self, TokenFault> {
        let claims = &token.claims;
        let expires = moment(claims, "exp")?.ok_or(TokenFault::NoExpiry)?;
        // no leeway here: what it opened would be over at once
        if now >= expires {
            return Err(TokenFault::Expired);
        }
        let leeway = entry.leeway.as_secs();
        if moment(claims, "nbf")?.is_some_and(|start| now.saturating_add(leeway) < start) {
            return Err(TokenFault::NotYet);
        }
        if !is_for(claims.get("aud"), &entry.audience)? {
            return Err(TokenFault::Audience);
        }
        let (rights, client_id) = match claims.get("mqtt") {
            None => (None, None),
            Some(claim) => limits(claim).ok_or(TokenFault::Rights)?,
        };
        let rights = match (rights, details(claims).ok_or(TokenFault::Rights)?) {
            // two lists of the same: which of them is meant is not ours to guess
            (Some(_), Some(_)) => return Err(TokenFault::Rights),
            (claim, details) => claim.or(details),
        };
        Ok(Claims {
            user: name(claims.get(&entry.user_claim)).ok_or(TokenFault::User)?,
            groups: groups(claims.get(&entry.groups_claim)).ok_or(TokenFault::Groups)?,
            expires,
            rights,
            client_id,
        })
    }
}

/// A number of seconds since the Unix epoch, perhaps with a fraction.
fn moment(claims: &Map<String, Value>, name: &str) -> Result<Option<u64>, TokenFault> {
    let Some(value) = claims.get(name) else {
        return Ok(None);
    };
    // up to where a fraction and a whole number say the same
    let seconds = value
        .as_f64()
        .filter(|seconds| (0.0..=9_007_199_254_740_991.0).contains(seconds));
    let seconds = seconds.ok_or(TokenFault::Time)?;
    Ok(Some(seconds as u64))
}

fn is_for(claim: Option<&Value>, audience: &[String]) -> Result<bool, TokenFault> {
    let named = match claim {
        Some(Value::String(one)) => vec![one.clone()],
        Some(Value::Array(several)) => strings(several).ok_or(TokenFault::NoAudience)?,
        _ => return Err(TokenFault::NoAudience),
    };
    Ok(named.iter().any(|name| audience.contains(name)))
}

fn strings(items: &[Value]) -> Option<Vec<String>> {
    let items = items.iter();
    items.map(|item| item.as_str().map(str::to_owned)).collect()
}

fn name(claim: Option<&Value>) -> Option<String> {
    let name = claim?.as_str()?;
    let fits = (1..=MAX_NAME).contains(&name.len()) && !name.chars().any(char::is_control);
    fits.then(|| name.to_owned())
}

/// None, one, or a list of them.
fn groups(claim: Option<&Value>) -> Option<Vec<String>> {
    match claim {
        None | Some(Value::Null) => Some(Vec::new()),
        Some(Value::Array(several)) => several.iter().map(|group| name(Some(group))).collect(),
        one => name(one).map(|group| vec![group]),
    }
}

/// The claim `mqtt`. A member that is not known might take rights away, so there must be none.
fn limits(claim: &Value) -> Option<(Option<TokenRights>, Option<String>)> {
    let (mut rights, mut client_id) = (None, None);
    let mut retain = false;
    for (member, value) in claim.as_object()? {
        if member == "client_id" {
            client_id = Some(name(Some(value))?);
            continue;
        }
        let rights: &mut TokenRights = rights.get_or_insert_default();
        match member.as_str() {
            "pub" => rights.publish = filters(value)?,
            "sub" => rights.subscribe = filters(value)?,
            "retain" => retain = value.as_bool()?,
            _ => return None,
        }
    }
    if let Some(rights) = rights.as_mut().filter(|_| retain) {
        rights.retain = rights.publish.clone();
    }
    // an empty object limits to nothing at all
    match client_id {
        None => Some((Some(rights.unwrap_or_default()), None)),
        client_id => Some((rights, client_id)),
    }
}

fn filters(value: &Value) -> Option<Vec<String>> {
    let filters = strings(value.as_array()?)?;
    let is_filter =
        |filter: &String| TopicFilter::parse(filter).is_ok_and(|filter| filter.share().is_none());
    filters.iter().all(is_filter).then_some(filters)
}

/// Authorization details (RFC 9396) of the type `mqtt`: each names `actions` and the `topics` it allows them on. Those of
/// other types are for others; `Some(None)` if there are no other ones.
fn details(claims: &Map<String, Value>) -> Option<Option<TokenRights>> {
    let Some(claim) = claims.get("authorization_details") else {
        return Some(None);
    };
    let mut rights = None;
    for detail in claim.as_array()? {
        if detail.get("type")?.as_str()? == "mqtt" {
            add(detail, rights.get_or_insert_default())?;
        }
    }
    Some(rights)
}

/// One detail, which must be understood in full: what is not known might take rights away.
fn add(detail: &Value, to: &mut TokenRights) -> Option<()> {
    let members = detail.as_object()?;
    let is_known = |name: &String| ["type", "actions", "topics"].contains(&name.as_str());
    if !members.keys().all(is_known) {
        return None;
    }
    let topics = filters(members.get("topics")?)?;
    for action in strings(members.get("actions")?.as_array()?)? {
        let allowed = match action.as_str() {
            "publish" => &mut to.publish,
            "subscribe" => &mut to.subscribe,
            "retain" => &mut to.retain,
            _ => return None,
        };
        allowed.extend(topics.iter().cloned());
    }
    Some(())
}
