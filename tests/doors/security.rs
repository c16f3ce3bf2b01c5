//! Modbus/TCP Security, against a TLS server that asks for a certificate.

use super::*;

use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

/// An authority, and what it signed, as files.
struct Authority {
    folder: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new(name: &str) -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        let authority =
            Authority { folder: tempfile::tempdir().unwrap(), issuer: Issuer::new(params, key), pem };
        std::fs::write(authority.path("ca.pem"), &authority.pem).unwrap();
        authority
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A certificate and its key.
    fn sign(&self, name: &str, expired: bool) -> (String, String) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        if expired {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2021, 1, 1);
        }
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    /// A device that demands a certificate of this authority.
    async fn device(&self, name: &str, expired: bool, newest: bool) -> u16 {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap()).unwrap();
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().unwrap();
        let (certificate, key) = self.sign(name, expired);
        let version = if newest { &rustls::version::TLS13 } else { &rustls::version::TLS12 };
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(
                vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
            )
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let (listener, port) = listener().await;
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if let Ok(stream) = acceptor.accept(stream).await {
                    device(stream, 5, b"").await;
                }
            }
        });
        port
    }

    /// The keys of a link that trusts this authority; `own`: and has a certificate of it.
    fn link(&self, port: u16, own: bool) -> String {
        let mut tls = format!("ca = \"{}\", server-name = \"plc.example\"", self.path("ca.pem").display());
        if own {
            let (certificate, key) = self.sign("gateway.example", false);
            std::fs::write(self.path("own.pem"), certificate).unwrap();
            std::fs::write(self.path("own.key"), key).unwrap();
            let (certificate, key) = (self.path("own.pem"), self.path("own.key"));
            tls += &format!(", certificate = \"{}\", key = \"{}\"", certificate.display(), key.display());
        }
        format!("host = \"127.0.0.1\"\nport = {port}\ntls = {{ {tls} }}\nconnect-timeout = \"5s\"")
    }
}

/// What the link says when it cannot be opened or read. A refusal may come when the handshake is over.
async fn refused(keys: &str) -> String {
    let mut link = link(keys);
    for _ in 0..20 {
        assert!(value(&mut link).await.is_err());
        if link.trouble().contains("certificate") {
            break;
        }
    }
    link.trouble().to_owned()
}

#[tokio::test]
async fn a_device_that_demands_a_certificate_gets_it_and_answers() {
    let authority = Authority::new("plant");
    for newest in [true, false] {
        let port = authority.device("plc.example", false, newest).await;
        let mut link = link(&authority.link(port, true));
        for _ in 0..3 {
            assert_eq!(value(&mut link).await, Ok(5), "{}", link.trouble());
        }
    }
}

#[tokio::test]
async fn without_a_certificate_the_device_refuses_and_that_is_told() {
    let authority = Authority::new("plant");
    for newest in [true, false] {
        let port = authority.device("plc.example", false, newest).await;
        let trouble = refused(&authority.link(port, false)).await;
        assert!(trouble.contains("certificate"), "{trouble}");
        assert!(trouble.contains("of this gateway"), "{trouble}");
    }
}

#[tokio::test]
async fn a_certificate_of_another_name_or_time_or_authority_is_refused() {
    let (authority, other) = (Authority::new("plant"), Authority::new("another"));
    let port = authority.device("other.example", false, true).await;
    let trouble = refused(&authority.link(port, true)).await;
    assert!(trouble.contains("made out to another name"), "{trouble}");
    let port = authority.device("plc.example", true, true).await;
    let trouble = refused(&authority.link(port, true)).await;
    assert!(trouble.contains("expired"), "{trouble}");
    let port = other.device("plc.example", false, true).await;
    let trouble = refused(&authority.link(port, true)).await;
    assert!(trouble.contains("not from an authority that `ca` names"), "{trouble}");
}

#[tokio::test]
async fn a_renewed_certificate_is_taken_at_the_next_connection() {
    let authority = Authority::new("plant");
    let port = authority.device("plc.example", false, true).await;
    let keys = authority.link(port, true);
    let (expired, key) = authority.sign("gateway.example", true);
    let (valid, valid_key) = (authority.path("own.pem"), authority.path("own.key"));
    let (good, good_key) = (std::fs::read(&valid).unwrap(), std::fs::read(&valid_key).unwrap());
    std::fs::write(&valid, expired).unwrap();
    std::fs::write(&valid_key, key).unwrap();
    let mut link = link(&keys);
    assert!(value(&mut link).await.is_err());
    std::fs::write(&valid, good).unwrap();
    std::fs::write(&valid_key, good_key).unwrap();
    assert_eq!(value_at_last(&mut link).await, 5);
}

#[tokio::test]
async fn a_peer_that_is_silent_in_the_handshake_or_speaks_no_tls_does_not_hold_the_link() {
    let authority = Authority::new("plant");
    let (silent, port) = listener().await;
    let keys = authority.link(port, true).replace("\"5s\"", "\"200ms\"");
    let mut driver = link(&keys);
    let opened = tokio::time::timeout(Duration::from_secs(20), driver.connect()).await;
    assert_eq!(opened, Ok(Err(Fault::NotConnected)));
    assert!(driver.trouble().contains("did not finish the TLS handshake"), "{}", driver.trouble());
    drop(silent);
    let (listener, port) = listener().await;
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"login: ").await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    });
    let mut driver = link(&authority.link(port, true));
    assert_eq!(driver.connect().await, Err(Fault::NotConnected));
    assert!(driver.trouble().contains("no TLS"), "{}", driver.trouble());
}
