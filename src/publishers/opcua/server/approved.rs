//! How the library is told which certificates may come in: by files, the only way that it knows.

use std::path::{Path, PathBuf};
use std::{fs, io};

use opcua::crypto::{CertificateStore, X509};

use crate::publishers::opcua::pki::{self, Certificate};

/// Most files in each of its folders.
const MOST: usize = 1000;

/// An empty folder for the library. Blocking.
pub(super) fn prepare(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    pki::private_folder(folder)?;
    fs::create_dir_all(folder.join("trusted"))?;
    fs::create_dir_all(folder.join("rejected"))
}

fn file(folder: &Path, part: &str, certificate: &Certificate) -> Option<PathBuf> {
    let read = X509::from_der(certificate.der()).ok()?;
    Some(folder.join(part).join(CertificateStore::cert_file_name(&read)))
}

/// Lets the certificate in. Blocking.
pub(super) fn add(folder: &Path, certificate: &Certificate) -> io::Result<()> {
    let unreadable = || io::Error::other("the library cannot read the certificate");
    let trusted = file(folder, "trusted", certificate).ok_or_else(unreadable)?;
    if let Some(rejected) = file(folder, "rejected", certificate) {
        // Brought in a session before it was trusted: to the library that would be for ever.
        let _ = fs::remove_file(rejected);
    }
    if fs::read(&trusted).is_ok_and(|bytes| bytes == certificate.der()) {
        return Ok(());
    }
    fs::write(&trusted, certificate.der())?;
    cap(folder);
    Ok(())
}

/// Lets it in no more. Blocking.
pub(super) fn remove(folder: &Path, certificate: &Certificate) {
    if let Some(trusted) = file(folder, "trusted", certificate) {
        let _ = fs::remove_file(trusted);
    }
}

/// Clients that come under ever new certificates of one authority fill no disk. Blocking.
pub(super) fn cap(folder: &Path) {
    for part in ["trusted", "rejected"] {
        pki::cap(&folder.join(part), MOST);
    }
}
