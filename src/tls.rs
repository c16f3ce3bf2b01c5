//! Files to a TLS client: whom it trusts, and who it is. What went wrong in words that help.

mod dates;

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{AlertDescription, CertificateError, ClientConfig, Error, RootCertStore};

pub use dates::validity;

/// From when to when the first certificate of a PEM file is valid, in seconds since 1970. Reads the file.
pub fn validity_of(path: &Path) -> Result<Option<(u64, u64)>, String> {
    Ok(certificates("certificate", path)?.first().and_then(|own| validity(own)))
}

/// A client's own certificate and key; the names are those of the configuration's keys.
#[derive(Debug, Clone, Copy)]
pub struct Identity<'a> {
    /// PEM: the certificate, then those between it and its authority.
    pub certificate: &'a Path,
    /// PEM: its private key.
    pub key: Key<'a>,
}

/// Where a private key comes from.
#[derive(Clone, Copy)]
pub enum Key<'a> {
    /// A file.
    File(&'a Path),
    /// Its text, and the words for where it was.
    Pem(&'a str, &'a str),
}

// By hand: a key is never to be printed.
impl std::fmt::Debug for Key<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Key::File(path) => write!(f, "{}", path.display()),
            Key::Pem(_, place) => f.write_str(place),
        }
    }
}

/// TLS 1.2 or 1.3. Reads files: not for the runtime's own threads. The error says what to do.
pub fn client_config(ca: Option<&Path>, identity: Option<Identity<'_>>) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(path) => {
            for certificate in certificates("ca", path)? {
                roots.add(certificate).map_err(|error| format!("`ca` {}: {error}", path.display()))?;
            }
        }
        None => {
            // Some of a system's certificates may be odd; the others serve.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err("the system has no certificates to trust; name the authority with `ca`".into());
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    let Some(Identity { certificate, key }) = identity else {
        return Ok(Arc::new(builder.with_no_client_auth()));
    };
    let chain = certificates("certificate", certificate)?;
    let secret = match key {
        Key::File(path) => PrivateKeyDer::from_pem_slice(&read("key", path)?),
        Key::Pem(text, _) => PrivateKeyDer::from_pem_slice(text.as_bytes()),
    };
    let secret = secret.map_err(|error| match error {
        pem::Error::NoItemsFound => format!("`key` {key:?} holds no private key in PEM form"),
        error => format!("`key` {key:?} is damaged: {error}"),
    })?;
    builder.with_client_auth_cert(chain, secret).map(Arc::new).map_err(|error| {
        let certificate = certificate.display();
        match error {
            Error::InconsistentKeys(_) => format!("`key` {key:?} is not that of `certificate` {certificate}"),
            error => format!("`certificate` {certificate} with `key` {key:?} cannot be used: {error}"),
        }
    })
}

fn read(what: &str, path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("cannot read `{what}` {}: {error}", path.display()))
}

fn certificates(what: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = read(what, path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let found = found.map_err(|error| format!("`{what}` {} is damaged: {error}", path.display()))?;
    match found.is_empty() {
        true => Err(format!("`{what}` {} holds no certificate in PEM form", path.display())),
        false => Ok(found),
    }
}

/// What went wrong on a connection with TLS; what to do, where that is known.
pub fn explain(error: &io::Error) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    let help = match inner {
        Some(Error::InvalidCertificate(why)) => match why {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "its certificate has expired; renew it, and look whether this clock is right"
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "its certificate is not valid yet; look whether this clock is right"
            }
            CertificateError::UnknownIssuer => {
                "its certificate is not from an authority that `ca` names; put that authority's into `ca`"
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "its certificate is made out to another name; write that one as `server-name`"
            }
            _ => "its certificate is not accepted",
        },
        Some(Error::AlertReceived(alert)) => match alert {
            AlertDescription::CertificateRequired => {
                "it demands a certificate of this gateway; add `certificate` and `key`"
            }
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateRevoked
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::AccessDenied => {
                "it does not accept the certificate of this gateway; let its authority sign one"
            }
            AlertDescription::CertificateExpired => "the certificate of this gateway has expired; renew it",
            // TLS 1.2 says this also where it misses a certificate.
            AlertDescription::HandshakeFailure => {
                "it refused; it may demand a `certificate` of this gateway, or know other ciphers only"
            }
            _ => "it refused",
        },
        Some(Error::InvalidMessage(_)) => "what it speaks is no TLS; check the port",
        _ => return error.to_string(),
    };
    format!("{help} ({error})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_certificate_or_key_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        assert!(client_config(Some(&path), None).unwrap_err().contains("cannot read `ca`"));
        std::fs::write(&path, "nothing").unwrap();
        assert!(client_config(Some(&path), None).unwrap_err().contains("no certificate"));
        let damaged = "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n";
        std::fs::write(&path, damaged).unwrap();
        assert!(client_config(Some(&path), None).unwrap_err().contains("damaged"));
    }

    #[test]
    fn a_key_that_is_none_or_another_one_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: String| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let signed = rcgen::generate_simple_self_signed(vec!["gateway".to_owned()]).unwrap();
        let certificate = file("own.pem", signed.cert.pem());
        let key = file("key.pem", signed.signing_key.serialize_pem());
        let other = file("other.pem", rcgen::KeyPair::generate().unwrap().serialize_pem());
        let with = |key: &Path| {
            let identity = Identity { certificate: &certificate, key: Key::File(key) };
            client_config(Some(&certificate), Some(identity))
        };
        assert!(with(&key).is_ok());
        let wrong = with(&other).unwrap_err();
        assert!(wrong.contains("is not that of `certificate`"), "{wrong}");
        assert!(with(&certificate).unwrap_err().contains("no private key"));
        assert!(with(&folder.path().join("none")).unwrap_err().contains("cannot read `key`"));
    }
}
