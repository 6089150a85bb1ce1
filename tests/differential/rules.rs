//! Which differences are explained: one rule per heading of `tests/conformance/differences.md`.

use std::fmt;

use crate::{
    dialogue::{Deed, Step},
    support::wire::Version,
};

/// Where the two parted.
pub struct Difference<'a> {
    pub step: &'a Step,
    pub before: &'a [Step],
    pub ours: Vec<String>,
    pub theirs: Vec<String>,
}

impl fmt::Display for Difference<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in self.before {
            let (who, version, name) = (step.who, step.version, &step.name);
            writeln!(f, "  {who} {version:?} {name} {:?}", text(&step.bytes))?;
        }
        let step = self.step;
        write!(
            f,
            "{} {:?} {} {:?}\n  gateway:   {:#?}\n  Mosquitto: {:#?}",
            step.who,
            step.version,
            step.name,
            text(&step.bytes),
            self.ours,
            self.theirs
        )
    }
}

/// Bytes, readable where they are text.
fn text(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// Whether a difference is explained.
pub enum Verdict {
    /// Not.
    Unexplained,
    /// By this heading; both are in the same state, and the dialogue goes on.
    Harmless(&'static str),
    /// By this heading; what follows cannot be compared.
    Final(&'static str),
}

const LAST_WORDS: &str = "Last words";
const NOBODY: &str = "Nobody is subscribed";
const UNKNOWN: &str = "Unknown packet identifiers";
const LENIENT: &str = "What Mosquitto lets pass";
const UNSUBSCRIBE: &str = "What is no filter in UNSUBSCRIBE";
const TAKEN_OVER: &str = "The will of a connection that is taken over";
const SECOND_CONNECT: &str = "The session behind a second CONNECT";
const NO_LOCAL: &str = "No Local of a subscription that is replaced";
const NO_FILTER: &str = "What is no filter in SUBSCRIBE";
const OVERLAP: &str = "Overlapping subscriptions";
const QOS_2: &str = "When a QoS 2 message is passed on";

/// Every rule is a heading of the page, and every heading a rule.
pub const HEADINGS: [&str; 11] = [
    NO_LOCAL,
    SECOND_CONNECT,
    LAST_WORDS,
    NOBODY,
    UNKNOWN,
    LENIENT,
    UNSUBSCRIBE,
    TAKEN_OVER,
    NO_FILTER,
    OVERLAP,
    QOS_2,
];

/// Steps after which Mosquitto carries on.
const PASSED: [&str; 20] = [
    "PINGREQ with a body",
    "PINGREQ with flags",
    "DISCONNECT with flags",
    "PUBACK with flags",
    "PUBREL without its flags",
    "SUBSCRIBE without its flags",
    "UNSUBSCRIBE without its flags",
    "SUBACK from a client",
    "UNSUBACK from a client",
    "PINGRESP from a client",
    "CONNACK from a client",
    "connect with flags in its header",
    "connect with a wrong property",
    "publish with DUP at QoS 0",
    "publish with a wrong property",
    "subscribe to nothing",
    "subscribe to what is no filter",
    "unsubscribe from nothing",
    "acknowledge identifier 0",
    "acknowledge what may be unknown",
];

/// The heading that explains a difference.
pub fn verdict(difference: &Difference<'_>) -> Verdict {
    let Difference {
        step, ours, theirs, ..
    } = difference;
    let closed = |notes: &[String], who: usize| notes.contains(&format!("{who} closed"));
    let without = |notes: &[String], words: &[&str]| {
        let keep = |note: &&String| !words.iter().any(|word| note.contains(word));
        notes.iter().filter(keep).cloned().collect::<Vec<_>>()
    };
    let words = ["DISCONNECT 0x", "CONNACK 0x"];
    if closed(ours, step.who)
        && closed(theirs, step.who)
        && without(ours, &words) == without(theirs, &words)
    {
        return Verdict::Harmless(LAST_WORDS);
    }
    let mended = |notes: &[String], from: &str, to: &str| {
        let mut mended: Vec<String> = notes.iter().map(|note| note.replace(from, to)).collect();
        mended.sort();
        mended
    };
    if mended(ours, " 0x10", " 0x00") == mended(theirs, " 0x10", " 0x00") {
        return Verdict::Harmless(NOBODY);
    }
    if mended(ours, " 0x92", " 0x00") == mended(theirs, " 0x92", " 0x00") {
        return Verdict::Harmless(UNKNOWN);
    }
    if closed(ours, step.who) && !closed(theirs, step.who) && PASSED.contains(&&*step.name) {
        return Verdict::Final(LENIENT);
    }
    if step.name == "unsubscribe from what is no filter" && closed(theirs, step.who) {
        return Verdict::Final(UNSUBSCRIBE);
    }
    if step.name == "subscribe to what is no filter" {
        return Verdict::Final(NO_FILTER);
    }
    let will = ["/will ", "PUBREL 0"];
    if has_takeover(difference) && without(ours, &will) == without(theirs, &will) {
        return Verdict::Final(TAKEN_OVER);
    }
    if has_flagged_goodbye(difference) && without(ours, &will) == without(theirs, &will) {
        return Verdict::Final(LENIENT);
    }
    let beside = beside_the_sessions_behind_a_second_connect(difference);
    if has_second_connect(difference) && beside(ours) == beside(theirs) {
        return Verdict::Final(SECOND_CONNECT);
    }
    let received = ["PUBLISH", "PUBREL 0"];
    if step.name == "acknowledge what may be unknown" && closed(theirs, step.who) {
        return Verdict::Final(UNKNOWN);
    }
    if has_no_local(difference) && without(ours, &received) == without(theirs, &received) {
        return Verdict::Final(NO_LOCAL);
    }
    if has_unreleased(difference) && without(ours, &received) == without(theirs, &received) {
        return Verdict::Final(QOS_2);
    }
    let spoken = |notes: &[String]| match closed(notes, step.who) {
        true => merged(&without(notes, &words)),
        false => merged(notes),
    };
    if filters_before(difference) > 1 && spoken(ours) == spoken(theirs) {
        return Verdict::Final(OVERLAP);
    }
    Verdict::Unexplained
}

/// Whether a client that acknowledges nothing published at QoS 2.
fn has_unreleased(difference: &Difference<'_>) -> bool {
    let steps = || difference.before.iter().chain([difference.step]);
    let is_silent = |who: usize| {
        steps().any(|step| {
            let silent = matches!(
                step.deed,
                Deed::Connect {
                    acknowledges: false,
                    ..
                }
            );
            silent && step.who == who
        })
    };
    steps().any(|step| {
        let qos_2 = step.bytes.first().is_some_and(|first| first & 0xF6 == 0x34);
        qos_2 && is_silent(step.who)
    })
}

/// Whether a 3.1 client said goodbye with flags, which is none to the gateway: Mosquitto checks these flags from 3.1.1 on.
/// Both close, so only the will tells, at once or when it is found retained.
fn has_flagged_goodbye(difference: &Difference<'_>) -> bool {
    let mut steps = difference.before.iter().chain([difference.step]);
    steps.any(|step| step.version == Version::V31 && step.name == "DISCONNECT with flags")
}

/// Whether a connection ended by a second CONNECT.
fn has_second_connect(difference: &Difference<'_>) -> bool {
    let mut steps = difference.before.iter().chain([difference.step]);
    steps.any(|step| step.name == "a second CONNECT")
}

/// Leaves out of what is heard the wills, the last words, and what a session brings that only one of the two has kept.
/// That it was kept stands in the CONNACK of its client's next connection, from which on no more is compared; but not on
/// 3.1, where it shows first in a message.
fn beside_the_sessions_behind_a_second_connect(
    difference: &Difference<'_>,
) -> impl Fn(&[String]) -> Vec<String> {
    let Difference { step, before, .. } = difference;
    let is_back = |who: usize| who == step.who && matches!(step.deed, Deed::Connect { .. });
    let second = before.iter().filter(|step| step.name == "a second CONNECT");
    let mut left_out = vec![
        "/will ".to_owned(),
        "PUBREL 0".to_owned(),
        "DISCONNECT 0x".to_owned(),
    ];
    left_out.extend(
        second
            .filter(|step| step.version == Version::V31 || is_back(step.who))
            .map(|step| format!("{} PUBLISH", step.who)),
    );
    move |notes| {
        let kept = notes
            .iter()
            .filter(|note| !left_out.iter().any(|word| note.contains(word)));
        let mut kept: Vec<String> = kept
            .map(|note| {
                note.replace("present=true", "present=false")
                    .replace(" 0x10", " 0x00")
            })
            .collect();
        kept.sort();
        kept
    }
}

/// Whether who publishes has subscribed with No Local, and at least one filter more.
fn has_no_local(difference: &Difference<'_>) -> bool {
    let who = difference.step.who;
    let mut steps = difference.before.iter().filter(|step| step.who == who);
    steps.any(|step| step.no_local)
}

/// Whether a client opened a second connection.
fn has_takeover(difference: &Difference<'_>) -> bool {
    let connects = |step: &&Step| matches!(step.deed, Deed::Connect { .. });
    let steps = difference.before.iter().chain([difference.step]);
    steps.filter(connects).count() > crate::CLIENTS
}

/// About how many subscriptions there are: at least the SUBSCRIBEs, at most three of each.
fn filters_before(difference: &Difference<'_>) -> usize {
    let subscribes = |step: &&Step| step.name.starts_with("subscribe");
    3 * difference.before.iter().filter(subscribes).count()
}

/// What is heard, each message of a step once and whatever its subscriptions make of it.
fn merged(notes: &[String]) -> Vec<String> {
    let plain = |note: &String| match note.find(" qos=") {
        Some(end) => note[..end].to_owned(),
        None => note.clone(),
    };
    let mut merged: Vec<String> = notes.iter().map(plain).collect();
    merged.retain(|note| !note.contains("PUBREL 0"));
    merged.sort();
    merged.dedup();
    merged
}
