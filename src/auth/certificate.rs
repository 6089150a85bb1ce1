//! What a client's certificate says of its holder.
//!
//! Only reads. Whether anything of it is true has been settled before: the handshake has checked the chain up to a CA
//! that the operator trusts, the dates, and that the client has the key. Whoever can tell that it is no longer so, since it
//! was revoked, says so here.

use crate::message::Millis;
use sha2::{Digest, Sha256};
use std::{
    fmt::Write,
    sync::atomic::{AtomicBool, Ordering},
};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// The names in a certificate, and what identifies the certificate itself.
#[derive(Debug)]
pub struct Certificate {
    /// Common name of the subject, if there is exactly one and it is plain text.
    pub common_name: Option<String>,
    /// DNS names among the alternative names.
    pub dns_names: Vec<String>,
    /// URIs among the alternative names.
    pub uris: Vec<String>,
    /// Mail addresses among the alternative names.
    pub emails: Vec<String>,
    /// SHA-256 of the certificate, 64 lower-case hexadecimal digits.
    pub fingerprint: String,
    /// Its `notAfter`.
    pub ends: Millis,
    /// It has been revoked, or nobody vouches for it any more.
    withdrawn: AtomicBool,
}

/// The bytes are no certificate of X.509.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the client's certificate cannot be read")]
pub struct Unreadable;

/// Which name in a certificate is the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateUser {
    /// The subject's common name.
    CommonName,
    /// The first DNS name of the subject alternative name.
    Dns,
    /// Its first URI.
    Uri,
    /// Its first email address.
    Email,
    /// The SHA-256 of the whole, in hexadecimal digits.
    Fingerprint,
}

impl CertificateUser {
    /// That name, if the certificate has one.
    pub fn name_in(self, certificate: &Certificate) -> Option<String> {
        let name = match self {
            CertificateUser::CommonName => certificate.common_name.clone(),
            CertificateUser::Dns => certificate.dns_names.first().cloned(),
            CertificateUser::Uri => certificate.uris.first().cloned(),
            CertificateUser::Email => certificate.emails.first().cloned(),
            CertificateUser::Fingerprint => Some(certificate.fingerprint.clone()),
        };
        name.filter(|name| !name.is_empty())
    }
}

impl Certificate {
    /// Reads a certificate in DER.
    pub fn from_der(der: &[u8]) -> Result<Self, Unreadable> {
        let (rest, parsed) = X509Certificate::from_der(der).map_err(|_| Unreadable)?;
        if !rest.is_empty() {
            return Err(Unreadable);
        }
        let mut certificate = Certificate {
            common_name: common_name(&parsed),
            dns_names: Vec::new(),
            uris: Vec::new(),
            emails: Vec::new(),
            fingerprint: hexadecimal(&Sha256::digest(der)),
            ends: ends(&parsed),
            withdrawn: AtomicBool::new(false),
        };
        let alternatives = parsed.subject_alternative_name().map_err(|_| Unreadable)?;
        for name in alternatives.iter().flat_map(|it| &it.value.general_names) {
            let (kind, name) = match name {
                GeneralName::DNSName(name) => (&mut certificate.dns_names, name),
                GeneralName::URI(name) => (&mut certificate.uris, name),
                GeneralName::RFC822Name(name) => (&mut certificate.emails, name),
                _ => continue,
            };
            if is_plain(name) {
                kind.push((*name).to_owned());
            }
        }
        Ok(certificate)
    }

    /// Whether it is no longer what it was at the handshake.
    pub fn is_withdrawn(&self) -> bool {
        self.withdrawn.load(Ordering::Relaxed)
    }

    /// Somebody has asked again whether it is good.
    pub fn set_withdrawn(&self, is_withdrawn: bool) {
        self.withdrawn.store(is_withdrawn, Ordering::Relaxed);
    }
}

fn ends(parsed: &X509Certificate<'_>) -> Millis {
    let seconds = u64::try_from(parsed.validity().not_after.timestamp());
    Millis(seconds.unwrap_or_default().saturating_mul(1000))
}

/// Of two common names either could be meant, so neither is taken.
fn common_name(parsed: &X509Certificate<'_>) -> Option<String> {
    let mut names = parsed.subject().iter_common_name();
    let (first, second) = (names.next()?, names.next());
    let name = first.as_str().ok().filter(|_| second.is_none())?;
    is_plain(name).then(|| name.to_owned())
}

/// A name is compared, logged and put into topics: nothing invisible may be in it.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && !name.chars().any(char::is_control)
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // writing to a String cannot fail
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, DnValue, KeyPair, SanType};

    fn made(change: impl FnOnce(&mut CertificateParams)) -> Certificate {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        Certificate::from_der(params.self_signed(&key).unwrap().der()).unwrap()
    }

    #[test]
    fn the_names_of_a_certificate_are_told_by_kind() {
        let certificate = made(|params| {
            params
                .distinguished_name
                .push(DnType::CommonName, "device-7");
            params.subject_alt_names = vec![
                SanType::DnsName("device-7.example".try_into().unwrap()),
                SanType::URI("urn:device:7".try_into().unwrap()),
                SanType::Rfc822Name("7@example.org".try_into().unwrap()),
                SanType::IpAddress([127, 0, 0, 1].into()),
            ];
        });
        assert_eq!(certificate.common_name.as_deref(), Some("device-7"));
        assert_eq!(certificate.dns_names, ["device-7.example"]);
        assert_eq!(certificate.uris, ["urn:device:7"]);
        assert_eq!(certificate.emails, ["7@example.org"]);
    }

    #[test]
    fn the_fingerprint_is_the_sha_256_of_the_der() {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(Vec::new()).unwrap();
        let der = params.self_signed(&key).unwrap().der().to_vec();
        let fingerprint = Certificate::from_der(&der).unwrap().fingerprint;
        assert_eq!(fingerprint.len(), 64);
        assert_eq!(fingerprint, hexadecimal(&Sha256::digest(&der)));
        assert_eq!(hexadecimal(&[0, 0x0a, 0xff]), "000aff");
    }

    #[test]
    fn a_common_name_that_could_deceive_is_none() {
        let named = |names: &[DnValue]| {
            made(|params| {
                for name in names {
                    params
                        .distinguished_name
                        .push(DnType::CommonName, name.clone());
                }
            })
            .common_name
        };
        let text = |name: &str| DnValue::Utf8String(name.to_owned());
        assert_eq!(named(&[text("fleet/ä")]).as_deref(), Some("fleet/ä"));
        assert_eq!(named(&[text("a\0b")]), None);
        assert_eq!(named(&[text("a\nb")]), None);
        assert_eq!(named(&[text("")]), None);
    }

    #[test]
    fn what_is_no_certificate_is_unreadable() {
        for bytes in [&b""[..], b"MQTT", &[0x30, 0x80], &[0x30; 64]] {
            assert_eq!(Certificate::from_der(bytes).err(), Some(Unreadable));
        }
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(Vec::new()).unwrap();
        let mut der = params.self_signed(&key).unwrap().der().to_vec();
        for cut in 0..der.len() {
            let cut = Certificate::from_der(&der[..cut]);
            assert_eq!(cut.err(), Some(Unreadable));
        }
        der.push(0);
        assert_eq!(Certificate::from_der(&der).err(), Some(Unreadable));
    }
}
