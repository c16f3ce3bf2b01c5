//! Builds a server: endpoints, limits, certificate. Reads and writes files, so it runs on a thread of its own.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use opcua::crypto::SecurityPolicy;
use opcua::server::address_space::{AddressSpace, NodeType};
use opcua::server::diagnostics::DiagnosticsNodeManagerBuilder;
use opcua::server::node_manager::ServerContext;
use opcua::server::{Limits, Server, ServerBuilder, ServerEndpoint, ServerHandle};
use opcua::types::{BuildInfo, DataValue, DateTime, MessageSecurityMode, NodeId, VariableId};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::alarms::Alarms;
use super::approved;
use super::audit::{Audit, Audited};
use super::capabilities::Capabilities;
use super::core::Methods;
use super::history::{self, History};
use super::levels::Levels;
use super::nodes::{Manager, Tags, Writing};
use super::papers::Channels;
use super::shared::Shared;
use super::witness::Witness;
use crate::model::Directory;
use crate::publishers::opcua::conditions::Conditions;
use crate::publishers::opcua::config::{Security, Spec};
use crate::publishers::opcua::pki::{self, Identity, bracketed};
use crate::publishers::opcua::space::{self, Space};
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
    /// Of the server certificate.
    pub(super) thumbprint: String,
    pub(super) channels: Arc<Channels>,
    /// Where the library looks for certificates that may come in.
    pub(super) approved: PathBuf,
    pub(super) audit: Arc<Audit>,
}

/// Certificates that the library may let in, a folder a server.
pub(super) const APPROVED: &str = "approved";
/// Key and certificate of each server: the library reads them again for each connection, and those in `own` and
/// `private` may be renewed meanwhile.
pub(super) const SERVING: &str = "private/serving";

/// Makes the server number `number` of this run. Blocking.
pub(super) fn build(
    spec: &Spec,
    cx: &Context,
    shared: &Shared,
    number: u32,
    stop: CancellationToken,
) -> Result<Ready, String> {
    let users = shared.users.clone();
    let Identity { name, uri, host, .. } = shared.identity.clone();
    let root = shared.folder.root();
    let (approved, serving) =
        (root.join(format!("{APPROVED}/{number}")), root.join(format!("{SERVING}/{number}")));
    let (certificate, key) = pki::load(&shared.folder)
        .ok_or_else(|| format!("cannot read certificate and key in {}", root.display()))?;
    let failed = |why| format!("cannot write to {}: {why}", root.display());
    approved::prepare(&approved).and_then(|()| pki::private_folder(&serving)).map_err(failed)?;
    let (own, private) = (serving.join("cert.der"), serving.join("private.pem"));
    pki::write(&own, certificate.der(), 0o600).map_err(failed)?;
    pki::write(&private, key.pem()?.as_bytes(), 0o600).map_err(failed)?;
    let channels = Arc::new(Channels::default());
    let now = cx.directory.now();
    let nodes = space::space(&now);
    let space = nodes.clone();
    let (directory, shown) = watch::channel(now.clone());
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
        conditions: Mutex::new(Conditions::new(&now, run)),
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
        .pki_dir(&approved)
        .certificate_path(own)
        .private_key_path(private)
        // The door decides; what it has let in is in the folder.
        .trust_client_certs(false)
        .host(bracketed(&host))
        .port(spec.listen.port())
        .discovery_urls(vec![format!("opc.tcp://{}:{}/", bracketed(&host), spec.listen.port())])
        .limits(limits(spec.bounds.sessions))
        .hello_timeout(5)
        // The library cannot be told to end a session; one that nobody logs in to ends by this only.
        .max_session_timeout_ms(60_000)
        .diagnostics_enabled(true)
        .with_authenticator(audited)
        .with_node_manager(move |context: ServerContext| Levels::new(context, tags))
        .with_node_manager({
            let witness = Witness::new(&cx.name, channels.clone(), audit.clone());
            move |_: ServerContext| witness
        })
        .token(stop);
    for security in &spec.security {
        builder = builder.add_endpoint(security.name(), endpoint(*security));
    }
    let (server, handle) = builder.build()?;
    if server_has_no_certificate(&handle) && spec.security.iter().any(|s| *s != Security::None) {
        return Err(format!("cannot read the certificate in {}", serving.display()));
    }
    let levels = handle.node_managers().get_of_type::<Levels>();
    let manager = levels.and_then(|levels| levels.manager()).ok_or("the tags have no node manager")?;
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
    let thumbprint = certificate.thumbprint();
    Ok(Ready { server, handle, manager, directory, space, thumbprint, channels, approved, audit })
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
