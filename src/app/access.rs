//! Password and rule files: read at the start, and again when they change, whole or not at all.
//!
//! They are looked at once a second, and at SIGHUP. What is faulty is told and the old stays in force.

use crate::{
    app::StartError,
    auth::{
        chain::Chain,
        config::Config,
        failures::Failures,
        jwt::{Reloaded, Verifier},
        loaded::Loaded,
        passwords::Passwords,
        quota::Quotas,
        rules::access::Access,
    },
    broker::Broker,
    metrics::METRICS,
};
use std::{
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::{sync::Notify, time::timeout};

/// How often files are looked at.
const ROUND: Duration = Duration::from_secs(1);

/// What tells that a file has changed.
type Look = Option<(SystemTime, u64)>;

fn look(path: &Path) -> Look {
    let found = std::fs::metadata(path).ok()?;
    Some((found.modified().ok()?, found.len()))
}

/// Everybody who may come in, and the rules; whatever is wrong with a file keeps the gateway from starting.
pub fn open(config: &Config, quotas: Arc<Quotas>) -> Result<Chain, StartError> {
    let Loaded {
        passwords,
        tokens,
        rules,
    } = Loaded::load(config).map_err(|faults| {
        let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
        StartError::Auth(faults.join("; "))
    })?;
    let passwords = passwords.zip(config.passwd_file.clone());
    let passwords = passwords.map(|(file, path)| Passwords::new(path, file));
    Ok(Chain {
        anonymous: config.lets_anonymous_in(),
        passwords: passwords.transpose()?,
        tokens,
        certificate_user: config.certificate_user,
        access: rules.map(|rules| Arc::new(Access::new(rules))),
        rule_files: config.rules.clone(),
        failures: Failures::new(config.failed_logins),
        quotas,
    })
}

/// Watches the files of `config` as long as the gateway runs; looks at once when `asked`.
pub async fn watch(config: Config, chain: Arc<Chain>, broker: Broker, asked: Arc<Notify>) {
    let (passwords, rules): (Vec<_>, Vec<_>) = (
        config.passwd_file.iter().cloned().collect(),
        config.rules.paths().cloned().collect(),
    );
    let keys: Vec<_> = config.jwt.iter().flat_map(|entry| &entry.keys).collect();
    let keys: Vec<_> = keys
        .iter()
        .filter_map(|key| key.file())
        .map(Path::to_owned)
        .collect();
    if passwords.is_empty() && rules.is_empty() && keys.is_empty() {
        return;
    }
    let look_at = |paths: &[std::path::PathBuf]| -> Vec<Look> {
        paths.iter().map(|path| look(path)).collect()
    };
    let (mut seen_passwords, mut seen_rules) = (look_at(&passwords), look_at(&rules));
    let mut seen_keys = look_at(&keys);
    let mut settling = false;
    loop {
        let asked = timeout(ROUND, asked.notified()).await.is_ok();
        // who was about to come in by the old file is in by now
        if std::mem::take(&mut settling) {
            end_withdrawn(&chain, &broker);
        }
        let now = look_at(&passwords);
        if asked || now != seen_passwords {
            seen_passwords = now;
            reload_passwords(&chain, &broker);
            settling = true;
        }
        let now = look_at(&keys);
        if asked || now != seen_keys {
            seen_keys = now;
            reload_keys(&chain).await;
        }
        let now = look_at(&rules);
        if asked || now != seen_rules {
            seen_rules = now;
            reload_rules(&config, &chain, &broker);
        }
    }
}

fn reload_passwords(chain: &Chain, broker: &Broker) {
    let Some(passwords) = &chain.passwords else {
        return;
    };
    let file = passwords.path().display();
    match passwords.reload() {
        Ok(()) => {
            end_withdrawn(chain, broker);
            tracing::info!(%file, "password file read again");
        }
        Err(error) => {
            METRICS.reloads_failed.inc();
            tracing::error!(%file, %error, "the password file cannot be used; the old one stays in force");
        }
    }
}

/// Ends whoever is in by a password that is none any more.
fn end_withdrawn(chain: &Chain, broker: &Broker) {
    broker.end_where(|identity| !chain.still_holds(identity));
}

async fn reload_keys(chain: &Arc<Chain>) {
    let chain = chain.clone();
    let reloaded = tokio::task::spawn_blocking(move || {
        let tokens = chain.tokens.as_ref();
        tokens.map(Verifier::reload).unwrap_or_default()
    });
    for Reloaded {
        entry,
        place,
        outcome,
    } in reloaded.await.unwrap_or_default()
    {
        match outcome {
            Ok(_) => tracing::info!(entry, place, "keys of tokens read again"),
            Err(error) => {
                METRICS.reloads_failed.inc();
                tracing::error!(entry, place, %error, "keys of tokens cannot be used; the old ones stay in force");
            }
        }
    }
}

/// Asks for keys on the web as long as the gateway runs.
pub async fn keep_keys_fresh(chain: Arc<Chain>) {
    if let Some(tokens) = &chain.tokens {
        tokens.keep_fresh().await;
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
