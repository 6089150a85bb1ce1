//! The rules in force, for everybody who is asked to obey them; replaced as a whole or not at all.

use super::RuleSet;
use arc_swap::ArcSwap;
use std::sync::atomic::{AtomicU64, Ordering};

/// The rules in force.
#[derive(Debug)]
pub struct Access {
    rules: ArcSwap<RuleSet>,
    /// Moves with every replacement: what was compiled from older rules holds no longer.
    generation: AtomicU64,
}

impl Default for Access {
    /// No rules: nothing is allowed but what a token grants.
    fn default() -> Self {
        Access::new(RuleSet::default())
    }
}

impl Access {
    /// These rules, from now on.
    pub fn new(rules: RuleSet) -> Self {
        Access {
            rules: ArcSwap::from_pointee(rules),
            generation: AtomicU64::new(1),
        }
    }

    /// Replaces them. Whoever asks from now on is answered by `rules`.
    pub fn replace(&self, rules: RuleSet) {
        self.rules.store(rules.into());
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// The rules in force, and which they are. Read in this order a change in between makes the answer look older than it
    /// is, never newer.
    pub fn current(&self) -> (u64, arc_swap::Guard<std::sync::Arc<RuleSet>>) {
        (self.generation(), self.rules.load())
    }

    /// Which rules are in force.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }
}
