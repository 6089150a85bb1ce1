//! `tidegate dev-certs`: certificates to try TLS with, from a CA of one's own.
//!
//! Not for production: the CA's key lies beside everything else, and nothing is ever revoked or renewed.

use super::{FAILED, end};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use std::{
    fs,
    io::{self, Write},
    net::IpAddr,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::ExitCode,
};
use time::{Duration, OffsetDateTime};

/// How long they are valid. Longer, and some systems would not take a server's certificate.
const VALIDITY: Duration = Duration::days(365);
/// What every server's certificate is for.
const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];
/// All that is written.
const FILES: [&str; 6] = [
    "ca.pem",
    "ca-key.pem",
    "server.pem",
    "server-key.pem",
    "client.pem",
    "client-key.pem",
];

/// `tidegate dev-certs`
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where to write them; made if it is not there
    #[arg(long, value_name = "DIR", default_value = "./tidegate-certs")]
    out: PathBuf,
    /// A further name or address of the server; repeatable
    #[arg(long, value_name = "NAME")]
    name: Vec<String>,
}

/// Why there are none.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{} is there already; remove it, or choose another folder with --out", .0.display())]
    Exists(PathBuf),
    #[error("{path}: {1}", path = .0.display())]
    Io(PathBuf, io::Error),
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
}

/// Makes them, and says how they are used.
pub fn run(args: Args) -> ExitCode {
    match make(&args) {
        Ok(()) => {
            print!("{}", hint(&args.out));
            ExitCode::SUCCESS
        }
        Err(failure) => end(FAILED, failure),
    }
}

fn make(args: &Args) -> Result<(), Failure> {
    for path in FILES.map(|file| args.out.join(file)) {
        if path.symlink_metadata().is_ok() {
            return Err(Failure::Exists(path));
        }
    }
    let (mut ca_params, ca_key) = params("Tidegate development CA")?;
    ca_params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca_params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let ca = ca_params.self_signed(&ca_key)?;
    let issuer = Issuer::from_params(&ca_params, &ca_key);

    let (mut server_params, server_key) = params("localhost")?;
    server_params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let names = NAMES
        .into_iter()
        .chain(args.name.iter().map(String::as_str));
    server_params.subject_alt_names = names.map(alternative).collect::<Result<_, _>>()?;
    let server = server_params.signed_by(&server_key, &issuer)?;

    let (mut client_params, client_key) = params("dev-client")?;
    client_params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let client = client_params.signed_by(&client_key, &issuer)?;

    fs::create_dir_all(&args.out).map_err(|error| Failure::Io(args.out.clone(), error))?;
    let texts = [
        (ca.pem(), 0o644),
        (ca_key.serialize_pem(), 0o600),
        (server.pem(), 0o644),
        (server_key.serialize_pem(), 0o600),
        (client.pem(), 0o644),
        (client_key.serialize_pem(), 0o600),
    ];
    for (file, (text, mode)) in FILES.into_iter().zip(texts) {
        write(&args.out.join(file), &text, mode)?;
    }
    Ok(())
}

/// What certificates of ours have in common, for a subject, with a key of its own.
fn params(common_name: &str) -> Result<(CertificateParams, KeyPair), Failure> {
    let mut params = CertificateParams::new(Vec::new())?;
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    // clocks of other machines may be behind
    let now = OffsetDateTime::now_utc();
    params.not_before = now - Duration::hours(1);
    params.not_after = now + VALIDITY;
    Ok((params, KeyPair::generate()?))
}

fn alternative(name: &str) -> Result<SanType, Failure> {
    Ok(match name.parse::<IpAddr>() {
        Ok(ip) => SanType::IpAddress(ip),
        Err(_) => SanType::DnsName(name.try_into()?),
    })
}

/// Never over something that is there, and never readable for others before it is complete.
fn write(path: &Path, text: &str, mode: u32) -> Result<(), Failure> {
    let mut options = fs::OpenOptions::new();
    let file = options.write(true).create_new(true).mode(mode).open(path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => Failure::Exists(path.to_owned()),
        _ => Failure::Io(path.to_owned(), error),
    })
}

fn hint(out: &Path) -> String {
    let at = |file: &str| out.join(file).display().to_string();
    let (cert, key, ca) = (at("server.pem"), at("server-key.pem"), at("ca.pem"));
    let (client, client_key) = (at("client.pem"), at("client-key.pem"));
    format!(
        "Written to {out}, valid for a year. For trying only: whoever has ca-key.pem can make more of them.

Settings:

[mqtt.tls]
bind = \"127.0.0.1:8883\"
cert = \"{cert}\"
key = \"{key}\"

[http.tls]
bind = \"127.0.0.1:8443\"
cert = \"{cert}\"
key = \"{key}\"

Add client_ca = \"{ca}\" to let in only who has a certificate of this CA.

Then:

mosquitto_pub --cafile {ca} --cert {client} --key {client_key} -p 8883 -t hello -m hi
curl --cacert {ca} --cert {client} --key {client_key} -d hi https://localhost:8443/api/v1/topics/hello
",
        out = out.display(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn args(out: &Path, names: &[&str]) -> Args {
        Args {
            out: out.to_owned(),
            name: names.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    #[test]
    fn nothing_that_is_there_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        for file in FILES {
            let out = folder.path().join(file);
            fs::create_dir(&out).unwrap();
            fs::write(out.join(file), "mine").unwrap();
            let failure = make(&args(&out, &[])).unwrap_err().to_string();
            assert!(failure.contains("is there already"), "{failure}");
            assert_eq!(fs::read_dir(&out).unwrap().count(), 1);
            assert_eq!(fs::read(out.join(file)).unwrap(), b"mine");
        }
    }

    #[test]
    fn keys_are_for_their_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("new/folder");
        make(&args(&out, &["gateway.example", "192.0.2.7"])).unwrap();
        for file in FILES {
            let mode = fs::metadata(out.join(file)).unwrap().permissions().mode() & 0o777;
            match file.contains("key") {
                true => assert_eq!(mode, 0o600, "{file}"),
                false => assert_eq!(mode & 0o022, 0, "{file}"),
            }
        }
    }

    #[test]
    fn a_name_that_is_none_is_told_before_anything_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        assert!(make(&args(&out, &["grüße"])).is_err());
        assert!(!out.exists());
    }
}
