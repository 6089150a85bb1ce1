//! A TLS client that says what a test wants, and as much MQTT as it takes to be known.

use std::{io, sync::Arc};

use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{certs::Certs, support::within};

pub type Tls = TlsStream<TcpStream>;

/// A TLS client that trusts the CA of `certs`, shows the certificate of this name, and offers these protocols.
pub struct Connector<'a> {
    pub certs: &'a Certs,
    pub certificate: Option<&'a str>,
    pub alpn: &'a [&'a str],
}

impl Connector<'_> {
    pub async fn connect(&self, port: u16) -> io::Result<Tls> {
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_file(self.certs.path("ca.pem")).expect("PEM");
        roots.add(ca).expect("a CA");
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots);
        let mut config = match self.certificate {
            Some(name) => {
                let cert = self.certs.path(&format!("{name}.pem"));
                let key = self.certs.path(&format!("{name}-key.pem"));
                let cert = CertificateDer::from_pem_file(cert).expect("PEM");
                let key = PrivateKeyDer::from_pem_file(key).expect("PEM");
                config
                    .with_client_auth_cert(vec![cert], key)
                    .expect("a pair")
            }
            None => config.with_no_client_auth(),
        };
        let names = self.alpn.iter().map(|name| name.as_bytes().to_vec());
        config.alpn_protocols = names.collect();
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        let name = ServerName::try_from("localhost").expect("a name");
        TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
    }
}

/// Without a certificate and without ALPN.
pub async fn connect(certs: &Certs, port: u16) -> io::Result<Tls> {
    let connector = Connector {
        certs,
        certificate: None,
        alpn: &[],
    };
    within("a TLS connection", connector.connect(port)).await
}

/// The serial number of the certificate that the other end showed.
pub fn shown(stream: &Tls) -> Vec<u8> {
    let chain = stream.get_ref().1.peer_certificates().expect("shown");
    let (_, parsed) = x509_parser::parse_x509_certificate(&chain[0]).expect("X.509");
    parsed.raw_serial().to_vec()
}

/// CONNECT of 3.1.1 with a clean session.
pub fn connect_packet(client_id: &str) -> Vec<u8> {
    let rest = [
        &b"\0\x04MQTT\x04\x02\0\x3c"[..],
        &[0, client_id.len() as u8],
        client_id.as_bytes(),
    ];
    let rest = rest.concat();
    [&[0x10, rest.len() as u8][..], &rest].concat()
}

/// Opens a session; an error if the connection ends instead.
pub async fn open_session(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    client_id: &str,
) -> io::Result<()> {
    within("a CONNACK", async {
        stream.write_all(&connect_packet(client_id)).await?;
        let mut connack = [0; 4];
        stream.read_exact(&mut connack).await?;
        assert_eq!(connack, [0x20, 2, 0, 0], "accepted");
        Ok(())
    })
    .await
}

/// Shows that a session is alive.
pub async fn ping(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    within("a PINGRESP", async {
        stream.write_all(&[0xc0, 0]).await.expect("written");
        let mut pong = [0; 2];
        stream.read_exact(&mut pong).await.expect("an answer");
        assert_eq!(pong, [0xd0, 0]);
    })
    .await;
}

/// Waits until the other end has closed, whatever it says before.
pub async fn ended(stream: &mut (impl AsyncRead + Unpin)) {
    within("the end of the connection", async {
        let mut rest = [0; 1024];
        while let Ok(1..) = stream.read(&mut rest).await {}
    })
    .await;
}
