//! What must be written anew before a segment goes: first only what it is, and its state when its turn comes. There may
//! be very many sessions, and others wait for the log while one looks.

use super::{Kept, Run};
use crate::store::{once::Once, record::Change};
use std::sync::Arc;

/// A thing that is written whole.
#[derive(Debug)]
pub enum Whole {
    Run(Run),
    Reserved,
    Trimmed,
    History,
    /// The session of a client.
    Session(Arc<str>),
    /// The will of a client.
    Will(Arc<str>),
    /// How a client with a session or a will came in.
    CameIn(Arc<str>),
    /// A share group, by its whole filter.
    Group(Box<str>),
    Once(Arc<Once>),
}

impl Kept {
    /// What stands whole in no later segment than this one, to be written [anew](Self::anew).
    pub fn held_by(&self, segment: u64) -> Vec<Whole> {
        let sessions = self.sessions.iter();
        let sessions = sessions.filter(|(_, placed)| placed.segment <= segment);
        let sessions = sessions.map(|(client, _)| Whole::Session(client.clone()));
        let wills = self.wills.iter();
        let wills = wills.filter(|(_, placed)| placed.segment <= segment);
        let wills = wills.map(|(client, _)| Whole::Will(client.clone()));
        let ways = self.ways.iter();
        let ways =
            ways.filter(|(client, placed)| placed.segment <= segment && self.is_anybodys(client));
        let ways = ways.map(|(client, _)| Whole::CameIn(client.clone()));
        let groups = self.groups.iter();
        let groups = groups.filter(|(_, placed)| placed.segment <= segment);
        let groups = groups.map(|(filter, _)| Whole::Group(filter.clone()));
        let keys = self.keys.held_by(segment);
        let keys = keys.map(|once| Whole::Once(once.clone()));
        let runs = self.runs.iter().map(|run| Whole::Run(*run));
        runs.chain([Whole::Reserved, Whole::Trimmed, Whole::History])
            .chain(sessions)
            .chain(wills)
            .chain(ways)
            .chain(groups)
            .chain(keys)
            .collect()
    }

    /// A thing as it is now; `None` if it is gone.
    pub fn anew(&self, whole: &Whole) -> Option<Change> {
        Some(match whole {
            Whole::Run(run) => Change::Run {
                at: run.at,
                first: run.first,
                clean: run.clean,
            },
            Whole::Reserved => Change::Reserved {
                through: self.reserved,
            },
            Whole::Trimmed => Change::Trimmed {
                through: self.trimmed,
            },
            Whole::History => Change::History {
                filters: self.history.clone(),
            },
            Whole::Session(client) => {
                let now = self.sessions.get(client)?;
                Change::Session(Box::new(now.kept.clone()))
            }
            Whole::Will(client) => {
                let now = self.wills.get(client)?;
                Change::Will {
                    client: client.clone(),
                    user: now.kept.user.clone(),
                    will: now.kept.will.clone(),
                }
            }
            Whole::CameIn(client) => Change::CameIn {
                client: client.clone(),
                way: self.ways.get(client)?.kept.clone(),
            },
            Whole::Group(filter) => {
                let now = self.groups.get(filter)?;
                Change::Group {
                    filter: filter.clone(),
                    through: now.kept.through,
                    done: now.kept.done.iter().copied().collect(),
                    open: now.kept.open.iter().copied().collect(),
                }
            }
            Whole::Once(old) => Change::Once(self.keys.get(&old.user, &old.key)?.clone()),
        })
    }
}
