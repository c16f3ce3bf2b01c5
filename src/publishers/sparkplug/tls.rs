//! Whom TLS trusts: the file of the configuration, or the system's authorities.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// Reads files: not for the runtime's own threads. The error says what to do.
pub(super) fn client_config(ca: Option<&Path>) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(path) => {
            let pem = std::fs::read(path)
                .map_err(|error| format!("cannot read `ca` {}: {error}", path.display()))?;
            for certificate in CertificateDer::pem_slice_iter(&pem) {
                let certificate =
                    certificate.map_err(|error| format!("`ca` {} is damaged: {error}", path.display()))?;
                roots.add(certificate).map_err(|error| format!("`ca` {}: {error}", path.display()))?;
            }
            if roots.is_empty() {
                return Err(format!("`ca` {} holds no certificate in PEM form", path.display()));
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
        .map_err(|error| error.to_string())?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ca_file_without_a_certificate_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        assert!(client_config(Some(&path)).unwrap_err().contains("cannot read"));
        std::fs::write(&path, "nothing").unwrap();
        assert!(client_config(Some(&path)).unwrap_err().contains("no certificate"));
    }
}
