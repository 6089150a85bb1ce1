//! Password and rule files, read again when they change: whole, or not at all.
//!
//! They are looked at once a second, and at SIGHUP. What is faulty is told and the old stays in force.

use crate::{
    auth::{chain::Chain, config::Config},
    broker::Broker,
    metrics::METRICS,
};
use std::{
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::signal::unix::{SignalKind, signal};

/// How often files are looked at.
const ROUND: Duration = Duration::from_secs(1);

/// What tells that a file has changed.
type Look = Option<(SystemTime, u64)>;

fn look(path: &Path) -> Look {
    let found = std::fs::metadata(path).ok()?;
    Some((found.modified().ok()?, found.len()))
}

/// Watches the files of `config` as long as the gateway runs.
pub async fn watch(config: Config, chain: Arc<Chain>, broker: Broker) {
    let (passwords, rules): (Vec<_>, Vec<_>) = (
        config.passwd_file.iter().cloned().collect(),
        config.rules.paths().cloned().collect(),
    );
    if passwords.is_empty() && rules.is_empty() {
        return;
    }
    let Ok(mut hang_up) = signal(SignalKind::hangup()) else {
        tracing::warn!("SIGHUP cannot be heard; changed files are still noticed");
        return;
    };
    let look_at = |paths: &[std::path::PathBuf]| -> Vec<Look> {
        paths.iter().map(|path| look(path)).collect()
    };
    let (mut seen_passwords, mut seen_rules) = (look_at(&passwords), look_at(&rules));
    let mut round = tokio::time::interval(ROUND);
    loop {
        let asked = tokio::select! {
            _ = round.tick() => false,
            _ = hang_up.recv() => true,
        };
        let now = look_at(&passwords);
        if asked || now != seen_passwords {
            seen_passwords = now;
            reload_passwords(&chain);
        }
        let now = look_at(&rules);
        if asked || now != seen_rules {
            seen_rules = now;
            reload_rules(&config, &chain, &broker);
        }
    }
}

fn reload_passwords(chain: &Chain) {
    let Some(passwords) = &chain.passwords else {
        return;
    };
    let file = passwords.path().display();
    match passwords.reload() {
        Ok(()) => tracing::info!(%file, "password file read again"),
        Err(error) => {
            METRICS.reloads_failed.inc();
            tracing::error!(%file, %error, "the password file cannot be used; the old one stays in force");
        }
    }
}

fn reload_rules(config: &Config, chain: &Chain, broker: &Broker) {
    let Some(access) = &chain.access else {
        return;
    };
    match config.rules.load() {
        Ok(rules) => {
            let rules = rules.unwrap_or_default();
            let count = rules.rules.len();
            access.replace(rules);
            broker.rights_changed();
            tracing::info!(rules = count, "rules read again");
        }
        Err(error) => {
            METRICS.reloads_failed.inc();
            tracing::error!(%error, "the rules cannot be used; the old ones stay in force");
        }
    }
}
