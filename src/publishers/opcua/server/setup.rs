//! Builds the server: endpoints, limits, certificate. Reads and writes files, so it runs on a thread of its own.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use opcua::crypto::{CertificateStore, SecurityPolicy, X509, X509Data};
use opcua::server::address_space::{AddressSpace, NodeType};
use opcua::server::diagnostics::DiagnosticsNodeManagerBuilder;
use opcua::server::node_manager::ServerContext;
use opcua::server::node_manager::memory::InMemoryNodeManagerBuilder;
use opcua::server::{Limits, Server, ServerBuilder, ServerEndpoint, ServerHandle};
use opcua::types::{BuildInfo, DataValue, DateTime, MessageSecurityMode, NodeId, VariableId};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::alarms::Alarms;
use super::audit::{Audit, Audited};
use super::auth::Users;
use super::capabilities::Capabilities;
use super::core::Methods;
use super::discovery::Names;
use super::history::{self, History};
use super::nodes::{Manager, Tags, Writing};
use super::peers::Peers;
use crate::model::Directory;
use crate::publishers::opcua::conditions::Conditions;
use crate::publishers::opcua::config::{Security, Spec};
use crate::publishers::opcua::space::{self, Space};
use crate::publishers::opcua::users::{Account, file, hash};
use crate::publishers::opcua::wire::Guard;
use crate::publishers::publisher::Context;

/// A server that waits for its port.
pub(super) struct Ready {
    pub(super) server: Server,
    pub(super) handle: ServerHandle,
    pub(super) manager: Arc<Manager>,
    /// Of whose devices and tags the nodes are.
    pub(super) directory: watch::Sender<Arc<Directory>>,
    pub(super) space: Space,
    /// As in the endpoints' addresses.
    pub(super) host: String,
    pub(super) pki: PathBuf,
    pub(super) users: Arc<Users>,
    pub(super) peers: Arc<Peers>,
    pub(super) names: Names,
    /// The application URI, as in the certificate.
    pub(super) uri: String,
}

/// Most client certificates kept in each folder.
const KEPT: usize = 100;
const OWN: &str = "own/cert.der";
const KEY: &str = "private/private.pem";

/// Makes the server. Blocking.
pub(super) fn build(spec: &Spec, cx: &Context, stop: CancellationToken) -> Result<Ready, String> {
    let peers = Arc::new(Peers::default());
    let users = users(spec, cx, peers.clone())?;
    let machine = X509Data::computer_hostnames().into_iter().next();
    let host = host(spec.host.as_deref(), spec.listen, machine.as_deref());
    let uri = format!(
        "urn:{}:fieldgate:{}:{}",
        space::escaped(machine.as_deref().unwrap_or("localhost")),
        space::escaped(&cx.directory.group),
        space::escaped(&cx.directory.node),
    );
    let pki = cx.folder.join("pki");
    let name = format!("Fieldgate {}", cx.directory.node);
    certificate(&pki, &uri, &name, &host)?;
    cap(&pki);
    let nodes = space::space(&cx.directory);
    let space = nodes.clone();
    let (directory, shown) = watch::channel(cx.directory.clone());
    let writing = Writing {
        publisher: cx.name.clone(),
        directory: shown.clone(),
        gate: cx.gate.clone(),
        users: users.clone(),
        stats: cx.stats.clone(),
    };
    let history = History::new(cx.store.clone(), shown);
    let kept = history.is_kept();
    let run = u64::try_from(cx.clock.now().0).unwrap_or(0);
    let audit = Arc::new(Audit::new(run));
    let alarms = Arc::new(Alarms {
        conditions: Mutex::new(Conditions::new(&cx.directory, run)),
        publisher: cx.name.clone(),
        gate: cx.gate.clone(),
        users: users.clone(),
        clock: cx.clock.clone(),
        audit: audit.clone(),
    });
    let (methods, told) = (Arc::new(Methods::default()), alarms.clone());
    let answering = methods.clone();
    let audited = Arc::new(Audited { inner: users.clone(), audit: audit.clone() });
    let tags = move |context: ServerContext, address_space: &mut AddressSpace| {
        Tags::build(&nodes, writing, told, history, &context, address_space)
    };
    let version = env!("CARGO_PKG_VERSION");
    let mut builder = ServerBuilder::new()
        .without_node_managers()
        .with_node_manager(move |context: ServerContext| Capabilities::new(context, kept, answering))
        .with_node_manager(DiagnosticsNodeManagerBuilder)
        .application_name(name)
        .application_uri(uri.clone())
        .product_uri("urn:fieldgate")
        .build_info(BuildInfo {
            product_uri: "urn:fieldgate".into(),
            manufacturer_name: "Fieldgate".into(),
            product_name: "Fieldgate".into(),
            software_version: version.into(),
            build_number: version.into(),
            build_date: DateTime::null(),
        })
        .pki_dir(&pki)
        .certificate_path(OWN)
        .private_key_path(KEY)
        // User name and password tell who comes; see docs/opcua.md.
        .trust_client_certs(true)
        .host(bracketed(&host))
        .port(spec.listen.port())
        .discovery_urls(vec![format!("opc.tcp://{}:{}/", bracketed(&host), spec.listen.port())])
        .limits(limits(spec.bounds.sessions))
        .hello_timeout(5)
        .max_session_timeout_ms(3_600_000)
        .diagnostics_enabled(true)
        .with_authenticator(audited)
        .with_node_manager(InMemoryNodeManagerBuilder::new(tags))
        .token(stop);
    for security in &spec.security {
        builder = builder.add_endpoint(security.name(), endpoint(*security));
    }
    let (server, handle) = builder.build()?;
    if server_has_no_certificate(&handle) && spec.security.iter().any(|s| *s != Security::None) {
        return Err(format!("cannot read the certificate in {}", pki.display()));
    }
    let manager = handle.node_managers().get_of_type::<Manager>().ok_or("the tags have no node manager")?;
    let core = handle.node_managers().get_of_type::<Capabilities>().ok_or("there is no core namespace")?;
    if let Some(core) = core.library() {
        let mut core = core.address_space().write();
        alarms.link_methods(manager.inner().index(), &mut core);
        if let Some(NodeType::Variable(auditing)) = core.find_mut(&NodeId::from(VariableId::Server_Auditing))
        {
            auditing.set_data_value(DataValue::new_now(true));
        }
    }
    // Weak: what it answers for owns it.
    let _ = methods.0.set((alarms, Arc::downgrade(&manager)));
    let _ = audit.subscriptions.set(handle.subscriptions().clone());
    let _ = audit.server.set(handle.info().application_uri.to_string());
    let names = Names::new(&host, X509Data::computer_hostnames());
    Ok(Ready { server, handle, manager, directory, space, host, pki, users, peers, names, uri })
}

/// All users: those of the configuration, with their passwords as hashes from now on, and those of the users file.
fn users(spec: &Spec, cx: &Context, peers: Arc<Peers>) -> Result<Arc<Users>, String> {
    let declared = spec.users.iter().map(|user| {
        let password =
            user.password.reveal().map_err(|why| format!("the password of {}: {why}", user.name))?;
        if password.is_empty() {
            return Err(format!("the password of {} is empty: write one", user.name));
        }
        Ok(Account { name: user.name.clone(), role: user.role, hash: hash::make(&password)? })
    });
    let declared = declared.collect::<Result<_, String>>()?;
    let only = spec.engineer_only.clone();
    for pattern in &only {
        let meant =
            |path: &str| if pattern.ends_with('/') { path.starts_with(pattern) } else { path == pattern };
        if !cx.directory.tags().iter().any(|tag| tag.access.is_writable() && meant(&tag.path)) {
            tracing::warn!(
                publisher = cx.name,
                pattern,
                "engineer-only names no tag that can be written: correct it"
            );
        }
    }
    let users = Users::new(declared, file::path(&cx.folder), spec.anonymous, only, peers);
    users.reload()?;
    hash::warm();
    if users.is_empty() && spec.security.iter().any(|one| *one != Security::None) {
        tracing::warn!(
            publisher = cx.name,
            "nobody can log in with a name: add somebody with `fieldgate user add`"
        );
    }
    Ok(Arc::new(users))
}

fn server_has_no_certificate(handle: &ServerHandle) -> bool {
    handle.info().server_certificate.is_none() || handle.info().server_pkey.is_none()
}

fn endpoint(security: Security) -> ServerEndpoint {
    let (policy, mode) = match security {
        Security::None => (SecurityPolicy::None, MessageSecurityMode::None),
        Security::Basic256Sha256 => (SecurityPolicy::Basic256Sha256, MessageSecurityMode::SignAndEncrypt),
        Security::Aes256 => (SecurityPolicy::Aes256Sha256RsaPss, MessageSecurityMode::SignAndEncrypt),
    };
    ServerEndpoint::new("/", policy, mode, &[])
}

/// Room for 10,000 tags in one request, and an end to everything that a client can ask for.
fn limits(sessions: usize) -> Limits {
    let mut limits = Limits {
        max_array_length: 100_000,
        max_string_length: 65_536,
        max_byte_string_length: 1 << 20,
        max_message_size: Guard::MESSAGE,
        max_chunk_count: Guard::CHUNKS,
        max_sessions: sessions,
        max_browse_continuation_points: 100,
        max_history_continuation_points: history::MOST_NODES,
        max_query_continuation_points: 10,
        ..Limits::default()
    };
    let subscriptions = &mut limits.subscriptions;
    subscriptions.max_subscriptions_per_session = 50;
    subscriptions.max_pending_publish_requests = 100;
    subscriptions.max_publish_requests_per_subscription = 20;
    // Nothing is sampled: who asks for 0 gets every change with its own source time.
    subscriptions.min_sampling_interval_ms = 0.0;
    subscriptions.max_monitored_items_per_sub = 50_000;
    // Of events; fewer of values, see `nodes.rs`.
    subscriptions.max_monitored_item_queue_size = 1000;
    subscriptions.max_notifications_per_publish = 5_000;
    subscriptions.max_queued_notifications = 100;
    let calls = &mut limits.operational;
    calls.max_nodes_per_translate_browse_paths_to_node_ids = 10_000;
    calls.max_nodes_per_read = 10_000;
    calls.max_nodes_per_write = 1_000;
    calls.max_nodes_per_history_read_data = history::MOST_NODES;
    calls.max_nodes_per_browse = 10_000;
    calls.max_nodes_per_register_nodes = 10_000;
    calls.max_monitored_items_per_call = 10_000;
    calls.max_references_per_browse_node = 10_000;
    limits
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
pub(super) fn bracketed(host: &str) -> String {
    match host.parse() {
        Ok(IpAddr::V6(address)) => format!("[{address}]"),
        _ => host.to_owned(),
    }
}

/// Makes key and certificate where there are none that fit.
fn certificate(pki: &Path, uri: &str, name: &str, host: &str) -> Result<(), String> {
    private_folder(&pki.join("private")).map_err(|why| format!("cannot make {}: {why}", pki.display()))?;
    let (own, key) = (pki.join(OWN), pki.join(KEY));
    if own.exists() {
        let why = match (CertificateStore::read_cert(&own), CertificateStore::read_pkey(&key)) {
            (Ok(own), Ok(_)) => unfit(&own, uri, host),
            _ => Some("it cannot be read"),
        };
        let Some(why) = why else { return Ok(()) };
        tracing::warn!(file = %own.display(), why, "a new certificate is made: clients must trust it anew");
    }
    let mut hosts = vec![host.to_owned()];
    hosts.extend(["localhost", "127.0.0.1", "::1"].map(str::to_owned));
    hosts.extend(X509Data::computer_hostnames());
    hosts.sort_unstable();
    hosts.dedup();
    let data = X509Data {
        key_size: 2048,
        common_name: name.to_owned(),
        organization: "Fieldgate".to_owned(),
        organizational_unit: String::new(),
        country: String::new(),
        state: String::new(),
        alt_host_names: X509Data::alt_host_names(uri, Some(hosts), false, false, false),
        certificate_duration_days: 3650,
    };
    CertificateStore::create_certificate_and_key(&data, true, &own, &key)
        .map(|_| ())
        .map_err(|why| format!("cannot make a certificate in {}: {why}", pki.display()))
}

/// Why a certificate of ours cannot be used any more.
fn unfit(own: &X509, uri: &str, host: &str) -> Option<&'static str> {
    let now = DateTime::now().as_chrono();
    if own.is_application_uri_valid(uri).is_err() {
        Some("group, node or machine have another name")
    } else if own.is_hostname_valid(host).is_err() {
        Some("the host has another name")
    } else if own.is_time_valid(&now).is_err() {
        Some("its time is over")
    } else {
        None
    }
}

/// A folder that only its owner can look into.
fn private_folder(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::create_dir_all(folder)?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))
}

/// Forgets the oldest of too many client certificates; anybody can bring any number. Blocking.
pub(super) fn cap(pki: &Path) {
    for folder in ["trusted", "rejected"] {
        let Ok(entries) = fs::read_dir(pki.join(folder)) else { continue };
        let mut files: Vec<(SystemTime, PathBuf)> = entries
            .flatten()
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .collect();
        files.sort_unstable();
        let surplus = files.len().saturating_sub(KEPT);
        for (_, file) in files.iter().take(surplus) {
            if let Err(error) = fs::remove_file(file) {
                tracing::debug!(file = %file.display(), %error, "cannot remove a client certificate");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let folder = tempfile::tempdir().unwrap();
        let made = |uri: &str, host: &str| {
            certificate(folder.path(), uri, "Fieldgate gw", host).unwrap();
            fs::read(folder.path().join(OWN)).unwrap()
        };
        let first = made("urn:box:fieldgate:g:n", "gw");
        assert_eq!(made("urn:box:fieldgate:g:n", "gw"), first);
        assert_eq!(made("urn:box:fieldgate:g:n", "127.0.0.1"), first);
        let second = made("urn:box:fieldgate:g:other", "gw");
        assert_ne!(second, first);
        assert_ne!(made("urn:box:fieldgate:g:other", "other-host"), second);
        fs::write(folder.path().join(OWN), "no certificate").unwrap();
        made("urn:box:fieldgate:g:other", "other-host");
    }

    #[test]
    fn the_folders_of_certificates_have_an_end() {
        let folder = tempfile::tempdir().unwrap();
        let trusted = folder.path().join("trusted");
        fs::create_dir_all(&trusted).unwrap();
        for n in 0..KEPT + 7 {
            fs::write(trusted.join(format!("{n}.der")), "x").unwrap();
        }
        cap(folder.path());
        assert_eq!(fs::read_dir(&trusted).unwrap().count(), KEPT);
    }
}
