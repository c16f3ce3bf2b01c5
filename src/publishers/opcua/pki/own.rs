//! Our own key and certificate: what it says, whether it still fits, making it anew.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::time::{SystemTime, UNIX_EPOCH};

use super::folder::{self, Folder};
use super::x509::{self, Certificate, Key, Says};
use crate::model::Directory;
use crate::publishers::opcua::config::Spec;
use crate::publishers::opcua::space::escaped;

/// How long a certificate of ours is good.
const DAYS: u64 = 3650;

/// Who this server is, as clients see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    /// Application name.
    pub(crate) name: String,
    /// Application URI.
    pub(crate) uri: String,
    /// The host in the endpoints' addresses.
    pub(crate) host: String,
    /// All hosts that the certificate is for.
    hosts: Vec<String>,
}

impl Identity {
    pub(crate) fn new(spec: &Spec, directory: &Directory) -> Identity {
        let machine = machine();
        let host = host(spec.host.as_deref(), spec.listen, machine.as_deref());
        let uri = format!(
            "urn:{}:fieldgate:{}:{}",
            escaped(machine.as_deref().unwrap_or("localhost")),
            escaped(&directory.group),
            escaped(&directory.node),
        );
        let mut hosts = vec![host.clone()];
        hosts.extend(["localhost", "127.0.0.1", "::1"].map(str::to_owned));
        hosts.extend(machine);
        if !spec.listen.ip().is_unspecified() {
            hosts.push(spec.listen.ip().to_string());
        }
        hosts.sort_unstable();
        hosts.dedup();
        Identity { name: format!("Fieldgate {}", directory.node), uri, host, hosts }
    }

    fn says(&self) -> Says {
        Says { name: self.name.clone(), uri: self.uri.clone(), hosts: self.hosts.clone(), days: DAYS }
    }
}

/// The name of the machine, where it has one.
fn machine() -> Option<String> {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let usable = !name.is_empty() && name.is_ascii();
    usable.then_some(name)
}

/// The name in the endpoints' addresses: as configured, else where it listens, else that of the machine.
fn host(configured: Option<&str>, listen: SocketAddr, machine: Option<&str>) -> String {
    match configured {
        Some(host) => host.to_owned(),
        None if listen.ip().is_unspecified() => machine.unwrap_or("localhost").to_owned(),
        None => listen.ip().to_string(),
    }
}

/// As part of an address.
pub(crate) fn bracketed(host: &str) -> String {
    match host.parse() {
        Ok(IpAddr::V6(address)) => format!("[{address}]"),
        _ => host.to_owned(),
    }
}

/// Seconds since 1970 by the machine's clock.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The certificate and its key, where both can be read and belong together.
pub(crate) fn load(folder: &Folder) -> Option<(Certificate, Key)> {
    let certificate = Certificate::from_file(&folder::read(&folder.own())?)?;
    let key = Key::from_pem(&fs::read_to_string(folder.key()).ok()?)?;
    certificate.belongs_to(&key).then_some((certificate, key))
}

/// Makes key and certificate where there are none that fit.
pub(crate) fn ensure(folder: &Folder, identity: &Identity) -> Result<(), String> {
    if folder.own().exists() {
        let why = match load(folder) {
            Some((own, _)) => unfit(&own, identity, now()),
            None => Some("it cannot be read, or its key is another"),
        };
        let Some(why) = why else { return Ok(()) };
        tracing::warn!(file = %folder.own().display(), why, "a new certificate is made: clients must trust it anew");
    }
    renew(folder, identity, false).map(|_| ())
}

/// Why a certificate of ours cannot be used any more.
fn unfit(own: &Certificate, identity: &Identity, now: u64) -> Option<&'static str> {
    if own.uris() != [identity.uri.as_str()] {
        Some("group, node or machine have another name")
    } else if !own.hosts().iter().any(|host| host.eq_ignore_ascii_case(&identity.host)) {
        Some("the host has another name")
    } else if own.validity().1 < now {
        Some("its time is over")
    } else {
        None
    }
}

/// Makes a new certificate, with a new key or with the one that there is.
pub(crate) fn renew(folder: &Folder, identity: &Identity, keep_key: bool) -> Result<Certificate, String> {
    let key = match load(folder).filter(|_| keep_key) {
        Some((_, key)) => key,
        None if keep_key => {
            return Err(format!("cannot read the key {}: renew without keeping it", folder.key().display()));
        }
        None => Key::make()?,
    };
    let certificate = x509::self_signed(&identity.says(), &key)?;
    let failed = |why| format!("cannot write to {}: {why}", folder.root().display());
    // A crash between the two leaves a pair that does not belong together, and the next start makes another.
    folder::write(&folder.key(), key.pem()?.as_bytes(), 0o600).map_err(failed)?;
    folder::write(&folder.own(), certificate.der(), 0o644).map_err(failed)?;
    Ok(certificate)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(uri: &str, host: &str) -> Identity {
        let hosts = vec!["127.0.0.1".into(), "::1".into(), host.into()];
        Identity { name: "Fieldgate gw, \"1\"".into(), uri: uri.into(), host: host.into(), hosts }
    }

    #[test]
    fn the_host_is_as_configured_or_as_listened_on_or_the_machine() {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        assert_eq!(host(Some("gw"), at("0.0.0.0:1"), Some("box")), "gw");
        assert_eq!(host(None, at("0.0.0.0:1"), Some("box")), "box");
        assert_eq!(host(None, at("127.0.0.1:1"), Some("box")), "127.0.0.1");
        assert_eq!(bracketed(&host(None, at("[::1]:1"), None)), "[::1]");
    }

    #[test]
    fn a_certificate_is_kept_while_it_fits_and_made_anew_when_not() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::at(root.path());
        folder.prepare().unwrap();
        let made = |uri: &str, host: &str| {
            ensure(&folder, &identity(uri, host)).unwrap();
            fs::read(folder.own()).unwrap()
        };
        let first = made("urn:box:fieldgate:g:n", "gw");
        assert_eq!(made("urn:box:fieldgate:g:n", "gw"), first);
        assert_eq!(made("urn:box:fieldgate:g:n", "127.0.0.1"), first);
        let second = made("urn:box:fieldgate:g:other", "gw");
        assert_ne!(second, first);
        assert_ne!(made("urn:box:fieldgate:g:other", "other-host"), second);
        fs::write(folder.own(), "no certificate").unwrap();
        let third = made("urn:box:fieldgate:g:other", "other-host");
        fs::write(folder.key(), Key::make().unwrap().pem().unwrap()).unwrap();
        assert_ne!(made("urn:box:fieldgate:g:other", "other-host"), third, "with the key of another");
    }

    #[test]
    fn a_renewed_certificate_says_the_same_and_keeps_its_key_only_where_told_to() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::at(root.path());
        folder.prepare().unwrap();
        let identity = identity("urn:box:fieldgate:g:n", "gw");
        let first = renew(&folder, &identity, false).unwrap();
        let key = fs::read(folder.key()).unwrap();
        let second = renew(&folder, &identity, true).unwrap();
        assert_ne!(first.thumbprint(), second.thumbprint());
        assert_eq!(fs::read(folder.key()).unwrap(), key);
        renew(&folder, &identity, false).unwrap();
        assert_ne!(fs::read(folder.key()).unwrap(), key);
        assert_eq!(second.uris(), ["urn:box:fieldgate:g:n"]);
        assert_eq!(second.hosts(), ["127.0.0.1", "::1", "gw"]);
        assert!(second.is_for_clients() && second.is_signed_by(&second) && !second.is_authority());
        assert_eq!(second.common_name().unwrap(), "Fieldgate gw, \"1\"");
        let (from, until) = second.validity();
        assert!(from < now() && until > now() + 3649 * 86_400);
    }
}
