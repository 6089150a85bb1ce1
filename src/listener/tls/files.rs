//! From PEM files to what a handshake needs, with a sentence for everything that can be wrong with them.
//!
//! Reads files, and nothing else: what is read is put to use elsewhere.

use super::config::{ClientCert, Config};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    server::{NoServerSessionStorage, WebPkiClientVerifier, danger::ClientCertVerifier},
    sign::{CertifiedKey, SingleCertAndKey},
};
use rustls_pki_types::{
    CertificateDer, CertificateRevocationListDer, PrivateKeyDer,
    pem::{self, PemObject},
};
use sha2::{Digest, Sha256};
use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};
use x509_parser::prelude::{FromDer, X509Certificate};

/// What is wrong with a file, and how to put it right.
#[derive(Debug, thiserror::Error)]
#[error("{section}.{name} = \"{}\": {what}", path.display())]
pub struct Fault {
    section: &'static str,
    name: &'static str,
    path: PathBuf,
    what: String,
}

impl Fault {
    /// Path of the setting that names the file.
    pub fn key(&self) -> String {
        format!("{}.{}", self.section, self.name)
    }

    /// The file, what is wrong with it, and how to put it right.
    pub fn what(&self) -> String {
        format!("{}: {}", self.path.display(), self.what)
    }
}

/// Everything that is wrong with the files of one listener. Never empty.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct Faults(pub Vec<Fault>);

impl From<Fault> for Faults {
    fn from(fault: Fault) -> Self {
        Faults(vec![fault])
    }
}

/// What all files of one listener said together.
#[derive(Debug)]
pub struct Loaded {
    /// For handshakes, without protocols for ALPN.
    pub config: ServerConfig,
    /// What checks the certificates of clients.
    pub verifier: Arc<dyn ClientCertVerifier>,
    /// Equal if nothing in the files changed.
    pub digest: [u8; 32],
    /// What is not wrong, but should be looked at.
    pub warnings: Vec<String>,
}

/// One file of a listener.
struct File<'a> {
    section: &'static str,
    name: &'static str,
    path: &'a Path,
    bytes: Vec<u8>,
}

impl<'a> File<'a> {
    fn read(section: &'static str, name: &'static str, path: &'a Path) -> Result<Self, Fault> {
        let bytes = fs::read(path);
        let mut file = File {
            section,
            name,
            path,
            bytes: Vec::new(),
        };
        file.bytes = bytes.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => file.fault(
                "there is no such file; write where it is, or make certificates to try with by `tidegate dev-certs`",
            ),
            _ => file.fault(format!("cannot be read: {error}")),
        })?;
        Ok(file)
    }

    fn fault(&self, what: impl Into<String>) -> Fault {
        Fault {
            section: self.section,
            name: self.name,
            path: self.path.to_owned(),
            what: what.into(),
        }
    }

    /// Everything of one kind that the file holds; at least one.
    fn all<T: PemObject>(&self, kind: &str, label: &str) -> Result<Vec<T>, Fault> {
        let found: Result<Vec<T>, pem::Error> = T::pem_slice_iter(&self.bytes).collect();
        let found = found.map_err(|error| self.fault(format!("is not PEM: {error}")))?;
        match found.is_empty() {
            true => Err(self.fault(format!(
                "there is no {kind} in it; it must be PEM, with a line -----BEGIN {label}-----"
            ))),
            false => Ok(found),
        }
    }
}

/// Reads and checks all files of a listener, whose settings are in `section`. The error tells what is wrong with each.
pub fn load(section: &'static str, config: &Config) -> Result<Loaded, Faults> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let unset = PathBuf::new();
    let read = |name, path| File::read(section, name, path);
    let cert = read("cert", config.cert.as_deref().unwrap_or(&unset));
    let key = read("key", config.key.as_deref().unwrap_or(&unset));
    let client_ca = config.client_ca.as_deref();
    let client_ca = client_ca.map(|path| read("client_ca", path)).transpose();
    let crl = config.crl.as_deref();
    let crl = crl.map(|path| read("crl", path)).transpose();

    let mut warnings = Vec::new();
    // what can be read is looked at although another file cannot
    let pair = match (&cert, &key) {
        (Ok(cert), Ok(key)) => Some(pair(&provider, cert, key, &mut warnings)),
        _ => None,
    };
    let verifier = match (&client_ca, &crl) {
        (Ok(Some(file)), Ok(crl)) => {
            let crl = crl.as_ref();
            Some(client_verifier(&provider, file, crl, config.client_cert))
        }
        (Ok(None), _) => Some(Ok(WebPkiClientVerifier::no_client_auth())),
        _ => None,
    };
    match (cert, key, client_ca, crl, pair, verifier) {
        (Ok(cert), Ok(key), Ok(client_ca), Ok(crl), Some(Ok(pair)), Some(Ok(verifier))) => {
            let asks = client_ca.is_some();
            let config = server_config(provider, pair, verifier.clone(), asks)
                .map_err(|error| cert.fault(format!("TLS cannot be spoken: {error}")))?;
            let files = [Some(&cert), Some(&key), client_ca.as_ref(), crl.as_ref()];
            Ok(Loaded {
                config,
                verifier,
                digest: digest(files.into_iter().flatten()),
                warnings,
            })
        }
        (cert, key, client_ca, crl, pair, verifier) => {
            let files = [cert.err(), key.err(), client_ca.err(), crl.err()];
            let together = [pair.and_then(Result::err), verifier.and_then(Result::err)];
            let faults = files.into_iter().chain(together).flatten();
            Err(Faults(faults.collect()))
        }
    }
}

fn server_config(
    provider: Arc<CryptoProvider>,
    pair: CertifiedKey,
    verifier: Arc<dyn ClientCertVerifier>,
    asks_for_certificates: bool,
) -> Result<ServerConfig, rustls::Error> {
    let builder =
        ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut tls = builder
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(pair)));
    if asks_for_certificates {
        // a resumed session would not look at the client's certificate again, which may be revoked by then
        tls.session_storage = Arc::new(NoServerSessionStorage {});
        tls.send_tls13_tickets = 0;
    } else if let Ok(ticketer) = aws_lc_rs::Ticketer::new() {
        tls.ticketer = ticketer;
    }
    Ok(tls)
}

/// The certificate and its key, which must fit each other.
fn pair(
    provider: &CryptoProvider,
    cert: &File<'_>,
    key: &File<'_>,
    warnings: &mut Vec<String>,
) -> Result<CertifiedKey, Fault> {
    let chain: Vec<CertificateDer<'static>> = cert.all("certificate", "CERTIFICATE")?;
    if let Some(warning) = chain.first().and_then(|leaf| outdated(leaf)) {
        warnings.push(cert.fault(warning).to_string());
    }
    let private = PrivateKeyDer::from_pem_slice(&key.bytes).map_err(|error| match error {
        pem::Error::NoItemsFound => key.fault(
            "there is no private key in it; it must be PEM, with a line -----BEGIN PRIVATE KEY-----, and not encrypted",
        ),
        error => key.fault(format!("is not PEM: {error}")),
    })?;
    if let Ok(metadata) = fs::metadata(key.path)
        && metadata.permissions().mode() & 0o007 != 0
    {
        let warning = "everybody on this machine may use this private key; give it mode 0600";
        warnings.push(key.fault(warning).to_string());
    }
    CertifiedKey::from_der(chain, private, provider).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => key.fault(format!(
            "does not fit the certificate in {}; both must come from one and the same request",
            cert.path.display()
        )),
        rustls::Error::InvalidCertificate(_) => cert.fault(format!("cannot be used: {error}")),
        error => key.fault(format!("cannot be used: {error}")),
    })
}

/// Why clients will refuse the certificate today, if its dates are the reason.
fn outdated(leaf: &[u8]) -> Option<&'static str> {
    let (_, leaf) = X509Certificate::from_der(leaf).ok()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    let now = i64::try_from(now.as_secs()).ok()?;
    let validity = leaf.validity();
    if now > validity.not_after.timestamp() {
        Some("the certificate has expired; clients will refuse it until it is renewed")
    } else if now < validity.not_before.timestamp() {
        Some("the certificate is not valid yet; clients will refuse it until then")
    } else {
        None
    }
}

/// What checks the certificates of clients.
fn client_verifier(
    provider: &Arc<CryptoProvider>,
    client_ca: &File<'_>,
    crl: Option<&File<'_>>,
    client_cert: Option<ClientCert>,
) -> Result<Arc<dyn ClientCertVerifier>, Fault> {
    let mut roots = RootCertStore::empty();
    for certificate in client_ca.all::<CertificateDer<'static>>("certificate", "CERTIFICATE")? {
        roots.add(certificate).map_err(|error| {
            client_ca.fault(format!("a certificate in it cannot be used: {error}"))
        })?;
    }
    let mut verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    if let Some(crl) = crl {
        let lists: Vec<CertificateRevocationListDer<'static>> =
            crl.all("revocation list", "X509 CRL")?;
        verifier = verifier.with_crls(lists);
    }
    if client_cert == Some(ClientCert::Optional) {
        verifier = verifier.allow_unauthenticated();
    }
    let to_blame = crl.unwrap_or(client_ca);
    verifier
        .build()
        .map_err(|error| to_blame.fault(format!("cannot be used: {error}")))
}

fn digest<'a>(files: impl Iterator<Item = &'a File<'a>>) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for file in files {
        hasher.update((file.bytes.len() as u64).to_be_bytes());
        hasher.update(&file.bytes);
    }
    hasher.finalize().into()
}
