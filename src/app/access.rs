//! Password and rule files: read at the start, and again when they change, whole or not at all.
//!
//! They are looked at once a second and taken when they have settled, or at once at SIGHUP. What is faulty is told and the
//! old stays in force.

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
    watched::{self, Watched},
};
use std::sync::Arc;
use tokio::{sync::Notify, task::spawn_blocking};

/// The files that say who may come in, as they were before they were read.
pub struct Files {
    keys: Watched,
    passwords: Watched,
    rules: Watched,
}

impl Files {
    /// To be called before [`open`]: what changes meanwhile is read again.
    pub fn of(config: &Config) -> Self {
        let keys = config.jwt.iter().flat_map(|entry| &entry.keys);
        let keys: Vec<_> = keys.filter_map(|key| key.file()).map(Into::into).collect();
        Files {
            keys: Watched::new(&keys),
            passwords: Watched::new(&config.passwd_file),
            rules: Watched::new(config.rules.paths()),
        }
    }
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
        failures: Arc::new(Failures::new(config.failed_logins)),
        quotas,
    })
}

/// Watches the files as long as the gateway runs; looks at once when `asked`.
pub async fn watch(files: Files, chain: Arc<Chain>, broker: Broker, asked: Arc<Notify>) {
    let Files {
        mut keys,
        mut passwords,
        mut rules,
    } = files;
    if passwords.is_empty() && rules.is_empty() && keys.is_empty() {
        return;
    }
    let mut is_new = false;
    loop {
        let is_asked = watched::next_round(&asked).await;
        // who was about to come in by the old file is in by now
        if std::mem::take(&mut is_new) {
            end_withdrawn(&chain, &broker);
        }
        if passwords.look(is_asked) {
            reload_passwords(&chain, &broker).await;
            is_new = true;
        }
        if keys.look(is_asked) {
            reload_keys(&chain).await;
        }
        if rules.look(is_asked) {
            reload_rules(&chain, &broker).await;
        }
    }
}

async fn reload_passwords(chain: &Arc<Chain>, broker: &Broker) {
    let reading = chain.clone();
    let reloaded = spawn_blocking(move || {
        let passwords = reading.passwords.as_ref()?;
        Some((passwords.reload(), passwords.path().to_owned()))
    });
    let Ok(Some((reloaded, file))) = reloaded.await else {
        return;
    };
    let file = file.display();
    match reloaded {
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

/// Ends whoever is in by a password or a certificate that is none any more.
pub fn end_withdrawn(chain: &Chain, broker: &Broker) {
    broker.end_where(|identity| !chain.still_holds(identity));
}

async fn reload_keys(chain: &Arc<Chain>) {
    let chain = chain.clone();
    let reloaded = spawn_blocking(move || {
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

async fn reload_rules(chain: &Arc<Chain>, broker: &Broker) {
    let reading = chain.clone();
    let Ok(loaded) = spawn_blocking(move || reading.rule_files.load()).await else {
        return;
    };
    let Some(access) = &chain.access else {
        return;
    };
    match loaded {
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
