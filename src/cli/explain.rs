//! `tidegate explain`: which rule decides, as the rule files stand.

use super::end;
use crate::{
    auth::{
        identity::Identity,
        rules::{Actions, RuleId, Subject, Via, access::Access, files::RuleFiles},
    },
    mqtt::topic::{TopicFilter, TopicName},
};
use std::{path::PathBuf, process::ExitCode, sync::Arc};

/// Which rule decides about an action.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The rule file, as auth.rules_file names it
    #[arg(long, value_name = "FILE")]
    rules: Option<PathBuf>,
    /// Mosquitto's ACL file, as auth.acl_file names it
    #[arg(long, value_name = "FILE")]
    acl: Option<PathBuf>,
    /// The user; without one an anonymous client
    #[arg(long)]
    user: Option<String>,
    /// A group that the user's token names
    #[arg(long = "group")]
    groups: Vec<String>,
    /// The MQTT client identifier
    #[arg(long)]
    client: Option<String>,
    /// The listener: mqtt, mqtts, http, https, mqtt-unix or http-unix
    #[arg(long, default_value = "mqtt")]
    listener: String,
    /// The way in: mqtt, websocket, rest, sse or ws-json
    #[arg(long, default_value = "mqtt")]
    via: String,
    /// What is to be done: publish, subscribe, receive or retain
    action: String,
    /// The topic; for subscribe a topic filter
    topic: String,
}

/// Says what decides. Ends with 0 if it is allowed, 1 if it is denied, 2 if the question cannot be answered.
pub fn run(args: Args) -> ExitCode {
    match explain(args) {
        Ok((text, true)) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Ok((text, false)) => {
            println!("{text}");
            ExitCode::FAILURE
        }
        Err(why) => end(2, why),
    }
}

fn explain(args: Args) -> Result<(String, bool), String> {
    let files = RuleFiles {
        own: args.rules,
        mosquitto: args.acl,
    };
    let rules = files.load().map_err(|error| error.to_string())?;
    let rules = rules.ok_or("name the rules: --rules FILE, --acl FILE, or both")?;
    let action = Actions::named(&args.action)
        .ok_or("the action is publish, subscribe, receive or retain")?;
    let via = Via::named(&args.via).ok_or("--via is mqtt, websocket, rest, sse or ws-json")?;
    let subject = Subject {
        user: args.user.map(Into::into),
        groups: args.groups.into_iter().map(Into::into).collect(),
        client_id: args.client.map(Into::into),
        // a listener's name lives as long as the process
        listener: args.listener.leak(),
        via,
    };
    let identity = Identity::new(subject, Some(Arc::new(Access::new(rules))));
    let decision = match action {
        Actions::SUBSCRIBE => {
            let filter = TopicFilter::parse(&args.topic);
            identity.decide_filter(&filter.map_err(|error| format!("the filter: {error}"))?)
        }
        _ => {
            let topic = TopicName::parse(&args.topic);
            identity.decide(
                action,
                &topic.map_err(|error| format!("the topic: {error}"))?,
            )
        }
    };
    let verdict = if decision.allowed {
        "allowed"
    } else {
        "denied"
    };
    let by = match files.place_of(decision.by) {
        Some((path, line)) => format!("{}, line {line}", path.display()),
        None => match decision.by {
            RuleId::Reserved => "topics that begin with $ are the gateway's".to_owned(),
            RuleId::Name => {
                "a name with + or # in it is given nothing by rules with names".to_owned()
            }
            _ => "no rule matches".to_owned(),
        },
    };
    Ok((
        format!("{verdict} by {} ({by})", decision.by),
        decision.allowed,
    ))
}
