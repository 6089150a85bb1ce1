//! The certificates that clients showed in their handshakes, to be looked at again when CAs or revocation lists change: a
//! connection, and what was got with it, may last for longer than a client is trusted.

use crate::auth::certificate::Certificate;
use parking_lot::Mutex;
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::{CertificateDer, UnixTime};
use std::sync::{Arc, Weak};

/// So few that it is not worth looking which of them are gone.
const FEW: usize = 64;

/// Those that somebody still goes by.
#[derive(Debug, Default)]
pub struct Vouched(Mutex<Shown>);

#[derive(Debug, Default)]
struct Shown {
    all: Vec<Arc<One>>,
    /// How many were left when last those were dropped that are gone.
    left: usize,
}

#[derive(Debug)]
struct One {
    certificate: Weak<Certificate>,
    leaf: CertificateDer<'static>,
    /// Between it and its CA.
    rest: Vec<CertificateDer<'static>>,
}

impl Vouched {
    /// A client has shown this.
    pub fn add(
        &self,
        certificate: &Arc<Certificate>,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
    ) {
        let rest = rest.iter().map(|one| one.clone().into_owned());
        let one = One {
            certificate: Arc::downgrade(certificate),
            leaf: leaf.clone().into_owned(),
            rest: rest.collect(),
        };
        let mut shown = self.0.lock();
        if shown.all.len() >= 2 * shown.left.max(FEW) {
            shown.drop_gone();
        }
        shown.all.push(Arc::new(one));
    }

    /// Notes of each whether it would be taken now. Blocks for some microseconds each.
    pub fn ask_again(&self, verifier: &dyn ClientCertVerifier) {
        let all = {
            let mut shown = self.0.lock();
            shown.drop_gone();
            shown.all.clone()
        };
        for one in all {
            if let Some(certificate) = one.certificate.upgrade() {
                ask(verifier, &certificate, &one.leaf, &one.rest);
            }
        }
    }
}

/// Notes whether this one would be taken now.
pub fn ask(
    verifier: &dyn ClientCertVerifier,
    certificate: &Certificate,
    leaf: &CertificateDer<'_>,
    rest: &[CertificateDer<'_>],
) {
    let taken = verifier.verify_client_cert(leaf, rest, UnixTime::now());
    certificate.set_withdrawn(taken.is_err());
}

impl Shown {
    fn drop_gone(&mut self) {
        self.all.retain(|one| one.certificate.strong_count() > 0);
        self.left = self.all.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair};

    #[test]
    fn certificates_that_nobody_goes_by_are_not_kept() {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(Vec::new()).unwrap();
        let der = params.self_signed(&key).unwrap().der().clone();
        let vouched = Vouched::default();
        let shown = || Arc::new(Certificate::from_der(&der).unwrap());
        let kept = shown();
        vouched.add(&kept, &der, &[]);
        for _ in 0..10 * FEW {
            vouched.add(&shown(), &der, &[]);
        }
        let shown = vouched.0.lock();
        assert!(shown.all.len() <= 2 * FEW, "{}", shown.all.len());
        let kept_still = shown.all.iter().filter_map(|one| one.certificate.upgrade());
        assert!(kept_still.into_iter().any(|one| Arc::ptr_eq(&one, &kept)));
    }
}
