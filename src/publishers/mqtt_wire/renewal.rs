//! Certificates, keys and passwords that are replaced while a connection is open, and when the own certificate ends.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::sleep;

use crate::model::{Clock, Timestamp};
use crate::publishers::publisher::Context;
use crate::telemetry::{PublisherStats, days_left};

use super::address::Address;
use super::config::Spec;
use super::credentials::{self, Credentials};
use super::walk::up_to;

/// So often the files are looked at.
const EVERY: Duration = Duration::from_secs(10);
/// What has changed is looked at again after this: it may be half of a replacement.
const AGAIN: Duration = Duration::from_secs(2);
/// Longest wait before the new connection: a fleet may get its certificates at the same time.
const JITTER: Duration = Duration::from_secs(5);

/// Looks at the files of one connection.
pub(in crate::publishers) struct Renewal {
    due: Option<oneshot::Receiver<()>>,
    task: JoinHandle<()>,
}

/// Whose files, and what is known of them.
struct Watch {
    spec: Spec,
    encrypted: bool,
    /// Of what the connection was made with.
    used: u64,
    /// What was seen last, where it is another: its print, and why it cannot be used.
    seen: Option<(u64, Option<String>)>,
    told: Option<String>,
}

/// What a look found.
#[derive(Debug, PartialEq)]
enum Found {
    /// Nothing new.
    Same,
    /// Something new; the next look tells whether it stays.
    Changed,
    /// Something new that cannot be used, told already.
    Useless,
    /// The same, to be told.
    Wrong(String),
    /// Something new that can be used.
    Ready,
}

impl Watch {
    /// Reads files: not for the runtime's own threads.
    fn look(&mut self, now: Timestamp) -> Found {
        let print = credentials::print(&self.spec, self.encrypted);
        if print == self.used {
            (self.seen, self.told) = (None, None);
            return Found::Same;
        }
        let usable = Credentials::look(&self.spec, self.encrypted, String::new());
        let usable = usable.and_then(|new| match new.valid {
            Some((_, until)) if until <= seconds(now) => Err("the new `certificate` has expired".to_owned()),
            Some((from, _)) if from > seconds(now) => {
                Err("the new `certificate` is not valid yet; look whether this clock is right".to_owned())
            }
            _ if new.print != print => Err("the files are being written".to_owned()),
            _ => Ok(()),
        });
        let seen = Some((print, usable.err()));
        if self.seen != seen {
            self.seen = seen;
            return Found::Changed;
        }
        match seen.and_then(|(_, why)| why) {
            None => Found::Ready,
            Some(why) if self.told.as_ref() == Some(&why) => Found::Useless,
            Some(why) => {
                self.told = Some(why.clone());
                Found::Wrong(why)
            }
        }
    }
}

impl Renewal {
    /// Begins to look, while the connection that these made is open.
    pub(in crate::publishers) fn watch(spec: &Spec, address: &Address, used: &Used, cx: &Context) -> Renewal {
        let (told, due) = oneshot::channel();
        let watch =
            Watch { spec: spec.clone(), encrypted: address.tls, used: used.print, seen: None, told: None };
        let ends = used.ends;
        let (clock, stats, name) = (cx.clock.clone(), cx.stats.clone(), cx.name.clone());
        let task = tokio::spawn(async move {
            if run(watch, ends, &clock, &stats, &name).await.is_some() {
                let _ = told.send(());
            }
        });
        Renewal { due: Some(due), task }
    }

    /// When the connection is to be made anew; never where nothing is replaced.
    pub(in crate::publishers) async fn due(&mut self) {
        if let Some(due) = &mut self.due
            && due.await.is_ok()
        {
            self.due = None;
            return;
        }
        self.due = None;
        std::future::pending().await
    }
}

impl Drop for Renewal {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What a connection was made with.
pub(in crate::publishers) struct Used {
    print: u64,
    ends: Option<u64>,
}

impl Credentials {
    /// Takes note of what the connection is made with, and tells how soon the certificate ends.
    pub(in crate::publishers) fn used(&self, cx: &Context) -> Used {
        let ends = self.valid.map(|(_, until)| until);
        tell(ends, cx.clock.now(), &cx.stats, &cx.name);
        Used { print: self.print, ends }
    }
}

/// `Some` as soon as there is something new.
async fn run(
    mut watch: Watch,
    ends: Option<u64>,
    clock: &Clock,
    stats: &Arc<PublisherStats>,
    publisher: &str,
) -> Option<()> {
    if !credentials::has_files(&watch.spec, watch.encrypted) {
        return None;
    }
    let mut pause = EVERY;
    loop {
        sleep(pause).await;
        let now = clock.now();
        tell(ends, now, stats, publisher);
        let found;
        (watch, found) = spawn_blocking(move || {
            let found = watch.look(now);
            (watch, found)
        })
        .await
        .ok()?;
        pause = if found == Found::Changed { AGAIN } else { EVERY };
        match found {
            Found::Same | Found::Changed | Found::Useless => {}
            Found::Wrong(why) => tracing::warn!(
                publisher,
                "what replaced `ca`, `certificate`, `key` or `password` cannot be used; the connection stays as it is: {why}"
            ),
            Found::Ready => {
                sleep(up_to(JITTER)).await;
                tracing::info!(
                    publisher,
                    "`ca`, `certificate`, `key` or `password` was replaced; connecting anew"
                );
                return Some(());
            }
        }
    }
}

/// Once for each level.
fn tell(ends: Option<u64>, now: Timestamp, stats: &PublisherStats, publisher: &str) {
    let now = seconds(now);
    let (Some(level), Some(ends)) = (stats.certificate.set(ends, now), ends) else { return };
    let days = days_left(ends, now);
    match level {
        0 => {}
        _ if ends <= now => tracing::error!(publisher, "the gateway's `certificate` has expired: replace it"),
        _ => tracing::warn!(publisher, days, "the gateway's `certificate` ends soon: replace it"),
    }
}

fn seconds(at: Timestamp) -> u64 {
    u64::try_from(at.0 / 1_000_000).unwrap_or(0)
}

#[cfg(feature = "tls")]
#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::model::Secret;
    use crate::publishers::mqtt_wire::config::Version;

    const NOW: Timestamp = Timestamp(1_750_000_000_000_000);

    fn pair(folder: &Path, until: i32, files: &[&str]) {
        let mut wanted = rcgen::CertificateParams::new(vec!["gateway".to_owned()]).unwrap();
        wanted.not_before = rcgen::date_time_ymd(2024, 1, 1);
        wanted.not_after = rcgen::date_time_ymd(until, 1, 1);
        let key = rcgen::KeyPair::generate().unwrap();
        let pem = wanted.self_signed(&key).unwrap().pem();
        for file in files {
            let text = if *file == "own.key" { key.serialize_pem() } else { pem.clone() };
            std::fs::write(folder.join(file), text).unwrap();
        }
    }

    fn watch(folder: &Path) -> Watch {
        let spec = Spec {
            brokers: vec![Address::parse("mqtts://localhost:8883").unwrap()],
            version: Version::V311,
            ca: Some(folder.join("ca.pem")),
            identity: Some((folder.join("own.pem"), Secret::File(folder.join("own.key")))),
            alpn: vec![],
            client_id: None,
            username: Some("gateway".into()),
            password: Some(Secret::File(folder.join("password"))),
            keep_alive: EVERY,
            max_packet: 1024,
        };
        let used = credentials::print(&spec, true);
        Watch { spec, encrypted: true, used, seen: None, told: None }
    }

    #[test]
    fn what_is_new_is_used_once_it_is_whole_and_stays_and_what_is_wrong_is_told_once() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        std::fs::write(at.join("password"), "old").unwrap();
        pair(at, 2030, &["ca.pem"]);
        pair(at, 2030, &["own.pem", "own.key"]);
        let mut watch = watch(at);
        assert_eq!(watch.look(NOW), Found::Same);
        // The same again, only younger.
        std::fs::write(at.join("password"), "old").unwrap();
        assert_eq!(watch.look(NOW), Found::Same);

        // The certificate is there and its key is not.
        pair(at, 2031, &["own.pem"]);
        assert_eq!(watch.look(NOW), Found::Changed);
        let Found::Wrong(why) = watch.look(NOW) else { panic!("it does not belong to the key") };
        assert!(why.contains("is not that of `certificate`"), "{why}");
        assert_eq!([watch.look(NOW), watch.look(NOW)], [Found::Useless, Found::Useless]);
        // Half a certificate.
        let whole = std::fs::read_to_string(at.join("own.pem")).unwrap();
        std::fs::write(at.join("own.pem"), &whole[..whole.len() / 2]).unwrap();
        assert_eq!(watch.look(NOW), Found::Changed);
        assert!(matches!(watch.look(NOW), Found::Wrong(_)));
        std::fs::remove_file(at.join("own.key")).unwrap();
        assert_eq!(watch.look(NOW), Found::Changed);
        assert!(matches!(watch.look(NOW), Found::Wrong(_) | Found::Useless));
        // Whole and over.
        pair(at, 2025, &["own.pem", "own.key"]);
        assert_eq!(watch.look(NOW), Found::Changed);
        assert!(matches!(watch.look(NOW), Found::Wrong(why) if why.contains("has expired")));

        pair(at, 2032, &["own.pem", "own.key"]);
        assert_eq!([watch.look(NOW), watch.look(NOW)], [Found::Changed, Found::Ready]);
    }

    #[test]
    fn a_password_and_an_authority_are_watched_too() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        std::fs::write(at.join("password"), "old").unwrap();
        pair(at, 2030, &["ca.pem"]);
        pair(at, 2030, &["own.pem", "own.key"]);
        for change in ["password", "ca.pem"] {
            let mut watch = watch(at);
            match change {
                "password" => std::fs::write(at.join(change), "new").unwrap(),
                _ => pair(at, 2031, &[change]),
            }
            assert_eq!([watch.look(NOW), watch.look(NOW)], [Found::Changed, Found::Ready], "{change}");
        }
    }
}
