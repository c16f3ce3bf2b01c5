//! The folder of certificates: what is trusted, rejected and revoked, as files that people can move, too.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use super::check::TrustList;
use super::x509::{Certificate, Crl};

/// A part of the folder that holds certificates of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// Clients, and authorities whose clients are trusted.
    Trusted,
    /// Authorities that complete chains.
    Issuers,
    /// Who was refused.
    Rejected,
}

impl Part {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Part::Trusted => "trusted",
            Part::Issuers => "issuers",
            Part::Rejected => "rejected",
        }
    }
}

/// A certificate and its file.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    pub(crate) file: PathBuf,
    pub(crate) certificate: Certificate,
}

/// `<store>/publishers/opcua/pki`.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    root: PathBuf,
}

/// Most certificates kept in `rejected`.
pub(crate) const KEPT: usize = 100;
/// Most bytes of a file that is read as a certificate or a revocation list.
const LARGEST: u64 = 1 << 20;

impl Folder {
    pub(crate) fn at(root: &Path) -> Folder {
        Folder { root: root.to_owned() }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn part(&self, part: Part) -> PathBuf {
        self.root.join(part.name())
    }

    pub(crate) fn crls(&self) -> PathBuf {
        self.root.join("crl")
    }

    /// Our own certificate.
    pub(crate) fn own(&self) -> PathBuf {
        self.root.join("own/cert.der")
    }

    /// Our own key.
    pub(crate) fn key(&self) -> PathBuf {
        self.root.join("private/private.pem")
    }

    /// Makes what is missing. An earlier version kept every client in `trusted`, unseen, and trusted all: these
    /// go to `rejected`, from where those that are known are trusted. Gives how many.
    pub(crate) fn prepare(&self) -> io::Result<usize> {
        for folder in [self.root.join("private"), self.root.join("own")] {
            private_folder(&folder)?;
        }
        let unseen = if self.crls().exists() { Vec::new() } else { files(&self.part(Part::Trusted)) };
        for part in [Part::Trusted, Part::Issuers, Part::Rejected] {
            fs::create_dir_all(self.part(part))?;
        }
        for file in &unseen {
            if let Some(name) = file.file_name() {
                fs::rename(file, self.part(Part::Rejected).join(name))?;
            }
        }
        // Last: a crash on the way here does it again.
        fs::create_dir_all(self.crls())?;
        Ok(unseen.len())
    }

    /// All certificates of a part, by name of the file; what is none is left out.
    pub(crate) fn kept(&self, part: Part) -> Vec<Kept> {
        let read = |file: PathBuf| Some(Kept { certificate: Certificate::from_file(&read(&file)?)?, file });
        files(&self.part(part)).into_iter().filter_map(read).collect()
    }

    fn trust_list(&self) -> TrustList {
        let certificates = |part| self.kept(part).into_iter().map(|kept| kept.certificate).collect();
        let crl = |file: PathBuf| {
            let read = Crl::from_file(&read(&file)?);
            if read.is_none() {
                tracing::warn!(file = %file.display(), "cannot use this as a revocation list; remove it, or put one in DER or PEM there");
            }
            read
        };
        TrustList {
            trusted: certificates(Part::Trusted),
            issuers: certificates(Part::Issuers),
            crls: files(&self.crls()).into_iter().filter_map(crl).collect(),
        }
    }

    /// Writes a certificate into a part; whole or not at all.
    pub(crate) fn put(&self, part: Part, certificate: &Certificate) -> io::Result<PathBuf> {
        let file = self.part(part).join(file_name(certificate));
        fs::create_dir_all(self.part(part))?;
        write(&file, certificate.der(), 0o644)?;
        Ok(file)
    }

    /// Takes a certificate out of a part, whatever its file's name; whether it was there.
    pub(crate) fn take(&self, part: Part, certificate: &Certificate) -> io::Result<bool> {
        let mut found = false;
        for kept in self.kept(part).iter().filter(|kept| kept.certificate == *certificate) {
            fs::remove_file(&kept.file)?;
            found = true;
        }
        Ok(found)
    }

    /// Keeps a certificate that was refused. Gives how many old ones went for it.
    pub(crate) fn reject(&self, certificate: &Certificate) -> io::Result<usize> {
        if self.part(Part::Rejected).join(file_name(certificate)).exists() {
            return Ok(0);
        }
        self.put(Part::Rejected, certificate)?;
        Ok(cap(&self.part(Part::Rejected), KEPT))
    }
}

/// The trust list, read anew when a file has changed.
#[derive(Debug)]
pub(crate) struct Trust {
    folder: Folder,
    known: Mutex<(Vec<Stamp>, Arc<TrustList>)>,
}

/// What tells whether a file is another.
type Stamp = (PathBuf, Option<SystemTime>, u64);

impl Trust {
    pub(crate) fn new(folder: Folder) -> Trust {
        Trust { folder, known: Mutex::default() }
    }

    pub(crate) fn folder(&self) -> &Folder {
        &self.folder
    }

    /// When the first certificate or list ends, in seconds since 1970. Blocking.
    pub(crate) fn ends(&self) -> Option<u64> {
        let list = self.now();
        let certificates = list.trusted.iter().chain(&list.issuers).map(|one| one.validity().1);
        // One that is newer stands in for an old list of the same authority.
        let authorities = list.trusted.iter().chain(&list.issuers);
        let lists = authorities.filter_map(|authority| {
            list.crls.iter().filter(|crl| crl.is_by(authority)).map(|crl| crl.validity().1).max()
        });
        certificates.chain(lists).min()
    }

    /// As the files are now. Blocking.
    pub(crate) fn now(&self) -> Arc<TrustList> {
        let folders = [self.folder.part(Part::Trusted), self.folder.part(Part::Issuers), self.folder.crls()];
        let stamp = |file: PathBuf| {
            let data = fs::metadata(&file).ok()?;
            Some((file, data.modified().ok(), data.len()))
        };
        let stamps: Vec<Stamp> = folders.iter().flat_map(|f| files(f)).filter_map(stamp).collect();
        let mut known = self.known.lock().unwrap_or_else(|e| e.into_inner());
        if known.0 != stamps {
            *known = (stamps, Arc::new(self.folder.trust_list()));
        }
        known.1.clone()
    }
}

/// The files of a folder that may be certificates or lists, by name.
fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let wanted = |path: &PathBuf| {
        let end = path.extension().and_then(|end| end.to_str()).unwrap_or_default().to_ascii_lowercase();
        path.is_file() && ["der", "crt", "cer", "pem", "crl"].contains(&end.as_str())
    };
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(wanted).collect();
    files.sort_unstable();
    files
}

/// A file that is not too large.
pub(crate) fn read(file: &Path) -> Option<Vec<u8>> {
    let small = fs::metadata(file).is_ok_and(|data| data.len() <= LARGEST);
    if small { fs::read(file).ok() } else { None }
}

/// `<common name> [<thumbprint>].der`; of the name only what is harmless in the name of a file.
pub(crate) fn file_name(certificate: &Certificate) -> String {
    let harmless = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | ' ' | '@');
    let name: String =
        certificate.common_name().unwrap_or_default().chars().filter(harmless).take(48).collect();
    match name.trim() {
        "" => format!("{}.der", certificate.thumbprint()),
        name => format!("{name} [{}].der", certificate.thumbprint()),
    }
}

/// Writes a file whole or not at all.
pub(crate) fn write(file: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut name = file.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    // Left over from a crash: it may have other rights.
    let _ = fs::remove_file(&new);
    let mut open = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&new)?;
    open.write_all(bytes)?;
    open.sync_all()?;
    fs::rename(&new, file)
}

/// A folder that only its owner can look into.
pub(crate) fn private_folder(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))
}

/// Removes the oldest of too many files; gives how many. Blocking.
pub(crate) fn cap(folder: &Path, most: usize) -> usize {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let mut files: Vec<(SystemTime, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    files.sort_unstable();
    let surplus = files.len().saturating_sub(most);
    files.iter().take(surplus).filter(|(_, file)| fs::remove_file(file).is_ok()).count()
}
