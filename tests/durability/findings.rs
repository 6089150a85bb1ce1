//! What was found wrong. It is collected, as one crash may show in several ways, and each of them helps.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
};

/// More than this many are only counted.
const SHOWN: usize = 60;

pub struct Findings {
    seed: u64,
    all: Mutex<Vec<String>>,
}

impl Findings {
    pub fn of_run(seed: u64) -> Self {
        let all = Mutex::default();
        Self { seed, all }
    }

    pub fn note(&self, finding: impl fmt::Display) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(finding.to_string());
    }

    /// Fails the test if something was found.
    pub fn fail_if_any(&self, cycle: u64) {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let shown: Vec<&str> = all.iter().take(SHOWN).map(String::as_str).collect();
        assert!(
            all.is_empty(),
            "seed {}, cycle {cycle}: {} findings\n  {}\n",
            self.seed,
            all.len(),
            shown.join("\n  ")
        );
    }
}
