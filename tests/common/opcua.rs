//! What the tests of the OPC UA server share: its surroundings, users, and clients of the same library.
#![allow(dead_code)]

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fieldgate::command::{Gate, Write, WriteRule};
use fieldgate::model::{Clock, Directory, Secret, TagId, Timestamp};
use fieldgate::publishers::opcua::config::{Login, Role, User};
use fieldgate::publishers::publisher::Context;
use fieldgate::store::{Options, Store};
use fieldgate::telemetry::{Connection, Telemetry};
use opcua::client::{Client, ClientBuilder, IdentityToken, Session};
use opcua::crypto::SecurityPolicy;
use opcua::types::{
    AttributeId, DataValue, EventFilter, ExtensionObject, MessageSecurityMode, MonitoredItemCreateRequest,
    MonitoringMode, MonitoringParameters, NodeId, ReadValueId, SimpleAttributeOperand, StatusCode,
    TimestampsToReturn, UserTokenPolicy,
};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The time at which the gateway's clock starts.
pub(crate) const AT: Timestamp = Timestamp(1_760_000_000_123_457);

/// What the server is given, with `folder` as its own; and the writes that come through the gate.
pub(crate) fn surroundings(
    folder: &Path,
    directory: Directory,
    options: Options,
) -> (Context, mpsc::Receiver<Write>) {
    let directory = Arc::new(directory);
    let clock = Clock::starting_at(AT);
    let telemetry = Telemetry::new(clock.now());
    let (mailbox, writes) = mpsc::channel(64);
    let gate = Gate::default();
    gate.load(rules(&directory, &mailbox));
    let store = Store::open(options, directory.clone(), clock.clone(), telemetry.store.clone());
    let cx = Context {
        outbox: Options::default().reader_rules(),
        name: "opcua".into(),
        directory: directory.into(),
        store,
        gate,
        stats: telemetry.publisher("opcua", "opcua"),
        telemetry,
        clock,
        folder: folder.to_owned(),
        stop: CancellationToken::new(),
    };
    (cx, writes)
}

/// The gate's rules for these tags, all of one link.
pub(crate) fn rules(directory: &Directory, mailbox: &mpsc::Sender<Write>) -> HashMap<TagId, WriteRule> {
    let rule = |tag: &fieldgate::model::Tag| WriteRule {
        path: tag.path.clone(),
        kind: tag.kind,
        access: tag.access,
        low: tag.low,
        high: tag.high,
        mailbox: mailbox.clone(),
    };
    directory.tags().iter().map(|tag| (tag.id, rule(tag))).collect()
}

/// A user of the configuration; the password is `NAME secret`.
pub(crate) fn user(folder: &Path, name: &str, role: Role) -> User {
    let file = folder.join(name);
    std::fs::write(&file, format!("{name} secret\n")).unwrap();
    User { name: name.into(), login: Login::Password(Secret::File(file)), role }
}

/// The log-in of such a user.
pub(crate) fn token(name: &str) -> IdentityToken {
    IdentityToken::UserName(name.into(), format!("{name} secret").as_str().into())
}

pub(crate) async fn is_up(cx: &Context) {
    until("the server is up", || cx.stats.state.get() == Connection::Up).await;
}

pub(crate) fn url(cx: &Context) -> String {
    cx.stats.address.lock().unwrap().clone()
}

/// A client with a certificate of its own.
pub(crate) fn client(folder: &Path) -> Client {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    ClientBuilder::new()
        .application_name("test client")
        .application_uri("urn:test:client")
        .product_uri("urn:test")
        .pki_dir(folder.join(format!("client-{}", NEXT.fetch_add(1, Ordering::Relaxed))))
        .create_sample_keypair(true)
        .trust_server_certs(true)
        .max_array_length(100_000)
        .session_retry_limit(0)
        .client()
        .unwrap()
}

/// A session of a client with a certificate of its own.
pub(crate) async fn connect(
    folder: &Path,
    url: &str,
    policy: SecurityPolicy,
    token: IdentityToken,
) -> Result<Arc<Session>, String> {
    let mode = match policy {
        SecurityPolicy::None => MessageSecurityMode::None,
        _ => MessageSecurityMode::SignAndEncrypt,
    };
    let endpoint = (url, policy.to_str(), mode, UserTokenPolicy::anonymous());
    let (session, events) =
        client(folder).connect_to_matching_endpoint(endpoint, token).await.map_err(|e| e.to_string())?;
    connected(session, events.spawn()).await.map_err(|status| status.to_string())
}

/// Waits until a session stands, or what it ended by.
pub(crate) async fn connected(
    session: Arc<Session>,
    mut polling: JoinHandle<StatusCode>,
) -> Result<Arc<Session>, StatusCode> {
    tokio::select! {
        connected = session.wait_for_connection() => assert!(connected),
        ended = &mut polling => return Err(ended.unwrap()),
        () = tokio::time::sleep(Duration::from_secs(30)) => panic!("no connection within 30 s"),
    }
    Ok(session)
}

pub(crate) async fn until(what: &str, mut met: impl FnMut() -> bool) {
    for _ in 0..1200 {
        if met() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("not within 30 s: {what}");
}

/// Reads until it is as wished; `read` gives it.
pub(crate) async fn until_value(
    what: &str,
    mut read: impl AsyncFnMut() -> DataValue,
    wished: impl Fn(&DataValue) -> bool,
) -> DataValue {
    for _ in 0..400 {
        let value = read().await;
        if wished(&value) {
            return value;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("{what} is {:?}", read().await);
}

/// Has the events of a node told to a subscription, with these fields; what the server says of the filter.
pub(crate) async fn watch_events(
    session: &Session,
    subscription: u32,
    node: NodeId,
    fields: Vec<SimpleAttributeOperand>,
) -> ExtensionObject {
    let filter = EventFilter { select_clauses: Some(fields), ..EventFilter::default() };
    let item = MonitoredItemCreateRequest {
        item_to_monitor: ReadValueId::new(node, AttributeId::EventNotifier),
        monitoring_mode: MonitoringMode::Reporting,
        requested_parameters: MonitoringParameters {
            client_handle: 1,
            sampling_interval: 0.0,
            filter: ExtensionObject::from_message(filter),
            queue_size: 100,
            discard_oldest: true,
        },
    };
    let both = TimestampsToReturn::Both;
    let mut made = session.create_monitored_items(subscription, both, vec![item]).await.unwrap();
    let made = made.remove(0).result;
    assert_eq!(made.status_code, StatusCode::Good);
    made.filter_result
}
