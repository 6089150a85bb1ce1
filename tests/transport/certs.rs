//! Certificates for a test: those that `tidegate dev-certs` makes, and others from the same CA.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use rcgen::{
    CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose, Issuer,
    KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};

/// A folder with certificates.
pub struct Certs {
    folder: tempfile::TempDir,
}

impl Certs {
    /// What `tidegate dev-certs` makes.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let made = Command::new(env!("CARGO_BIN_EXE_tidegate"))
            .args(["dev-certs", "--out"])
            .arg(folder.path())
            .output()
            .expect("tidegate runs");
        assert!(made.status.success(), "{made:?}");
        Certs { folder }
    }

    pub fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    pub fn text(&self, file: &str) -> String {
        self.path(file).display().to_string()
    }

    /// The arguments that switch TLS on beside the plain listener of `section`.
    pub fn beside(&self, section: &str) -> Vec<String> {
        let mut arguments = self.settings(section);
        arguments.extend(setting(section, "bind", "127.0.0.1:0"));
        arguments
    }

    /// The arguments that switch TLS on in place of the plain listener of `section`.
    pub fn settings(&self, section: &str) -> Vec<String> {
        let [cert, key] = ["server.pem", "server-key.pem"].map(|file| self.text(file));
        let cert = setting(section, "cert", &cert);
        cert.into_iter()
            .chain(setting(section, "key", &key))
            .collect()
    }

    /// The arguments that ask clients for certificates.
    pub fn client_ca(&self, section: &str, client_cert: &str) -> Vec<String> {
        let ca = setting(section, "client_ca", self.text("ca.pem"));
        ca.into_iter()
            .chain(setting(section, "client_cert", client_cert))
            .collect()
    }

    fn issuer(&self) -> Issuer<'static, KeyPair> {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params
            .distinguished_name
            .push(DnType::CommonName, "Tidegate development CA");
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = fs::read_to_string(self.path("ca-key.pem")).expect("dev-certs wrote it");
        Issuer::new(params, KeyPair::from_pem(&key).expect("a key"))
    }

    /// Another certificate of the CA, as `NAME.pem` and `NAME-key.pem`.
    pub fn issue(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        params.distinguished_name.push(DnType::CommonName, name);
        params.use_authority_key_identifier_extension = true;
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer()).expect("signed");
        self.write(&format!("{name}.pem"), &certificate.pem());
        self.write(&format!("{name}-key.pem"), &key.serialize_pem());
    }

    /// `crl.pem`, which revokes the certificates with these serial numbers.
    pub fn revoke(&self, serials: &[u64]) {
        let revoked = serials.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(2044, 1, 1),
            crl_number: SerialNumber::from(serials.len() as u64 + 1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = list.signed_by(&self.issuer()).expect("signed");
        self.write("crl.pem", &list.pem().expect("PEM"));
    }

    /// Writes as those do who renew certificates: beside, then over.
    pub fn write(&self, file: &str, text: &str) {
        let beside = self.path("beside");
        fs::write(&beside, text).expect("written");
        fs::rename(beside, self.path(file)).expect("renamed");
    }

    /// Puts one file in the place of another.
    pub fn replace(&self, file: &str, by: &str) {
        let text = fs::read_to_string(self.path(by)).expect("it is there");
        self.write(file, &text);
    }
}

pub fn setting(section: &str, name: &str, value: impl AsRef<Path>) -> Vec<String> {
    let value = value.as_ref().display();
    vec!["--set".to_owned(), format!("{section}.{name}={value}")]
}

/// As the starter of gateways takes them.
pub fn borrowed(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}
