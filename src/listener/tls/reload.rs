//! Certificates that are renewed while the gateway runs.
//!
//! The files are watched. What changed is read and checked as at the start; if anything is wrong with it, it is told and
//! what was good goes on. Clients whose certificates are not good any more are told to whoever can end them.

use super::{
    Tls, Versed,
    files::{self, Faults},
};
use crate::{metrics::METRICS, watched};
use std::sync::Arc;
use tokio::sync::Notify;

impl Tls {
    /// Takes changed files over until it is dropped; at once when `asked`. After each change certificates of clients may be
    /// withdrawn, which `end_withdrawn` is for.
    pub async fn keep_current(self: Arc<Self>, asked: Arc<Notify>, end_withdrawn: impl Fn()) {
        let Some(mut files) = self.files.lock().take() else {
            return;
        };
        let mut outdated = Outdated(false);
        let mut is_recent = false;
        loop {
            let is_asked = watched::next_round(&asked).await;
            // who was about to come in by what was good before is in by now
            if std::mem::take(&mut is_recent) {
                end_withdrawn();
            }
            if files.look(is_asked) {
                let tls = self.clone();
                // it waits for the disk
                let renewed = tokio::task::spawn_blocking(move || tls.renew()).await;
                match renewed {
                    Ok(Ok(is_new)) => {
                        if outdated.0 && !is_new {
                            tracing::info!(
                                listener = self.listener.name(),
                                "certificates can be used again, and are those in use"
                            );
                        }
                        outdated.set(false);
                        if is_new {
                            end_withdrawn();
                            is_recent = true;
                            METRICS.tls_reloads.inc();
                            tracing::info!(
                                listener = self.listener.name(),
                                "certificates reloaded"
                            );
                        }
                    }
                    Ok(Err(faults)) => {
                        outdated.set(true);
                        METRICS.tls_reload_failures.inc();
                        tracing::warn!(
                            listener = self.listener.name(),
                            "certificates not reloaded, those from before stay in use: {faults}"
                        );
                    }
                    Err(error) => tracing::error!(%error, "certificates not reloaded"),
                }
            }
        }
    }

    /// Reads the files again. True if they say something new.
    fn renew(&self) -> Result<bool, Faults> {
        let loaded = files::load(self.section, &self.config)?;
        let mut digest = self.digest.lock();
        if *digest == loaded.digest {
            return Ok(false);
        }
        loaded
            .warnings
            .iter()
            .for_each(|warning| tracing::warn!("{warning}"));
        *digest = loaded.digest;
        let verifier = loaded.verifier.clone();
        let versed = Versed::new(self.listener, loaded.config, loaded.verifier);
        self.current.store(Arc::new(versed));
        self.vouched.ask_again(&*verifier);
        Ok(true)
    }
}

/// Counts as a listener with old certificates while it is so.
struct Outdated(bool);

impl Outdated {
    fn set(&mut self, is_outdated: bool) {
        match (self.0, is_outdated) {
            (false, true) => {
                METRICS.tls_outdated.inc();
            }
            (true, false) => METRICS.tls_outdated.dec(),
            _ => {}
        }
        self.0 = is_outdated;
    }
}

impl Drop for Outdated {
    fn drop(&mut self) {
        self.set(false);
    }
}
