//! The primary host, and the way from broker to broker.

use super::plant::*;

const HOST: &str = "primary-host = \"scada\"";

impl Host {
    /// The host's STATE, retained.
    async fn state(&self, id: &str, payload: &str) {
        let topic = format!("spBv1.0/STATE/{id}");
        self.client.publish(topic, rumqttc::QoS::AtLeastOnce, true, payload).await.unwrap();
    }

    async fn is(&self, online: bool, at: u64) {
        self.state("scada", &format!(r#"{{"online":{online},"timestamp":{at}}}"#)).await;
    }

    fn births(&self) -> usize {
        self.of("NBIRTH", "").len()
    }
}

async fn waiting(folder: &Path) -> (Broker, Host, Node) {
    let broker = broker().await;
    let host = Host::listen(broker.address()).await;
    let node = Node::start(broker.address(), folder, HOST);
    node.all_devices_answer_but_late();
    until("it waits", || node.cx.stats.state.trouble().contains("waiting to be born")).await;
    assert_eq!((broker.clients(), host.births()), (2, 0));
    (broker, host, node)
}

#[tokio::test]
async fn tck_id_message_flow_edge_node_birth_publish_phid_wait() {
    let folder = tempfile::tempdir().unwrap();
    let (_broker, host, node) = waiting(folder.path()).await;
    node.level(1.0);
    assert_eq!(host.kinds(), Vec::<String>::new());
    host.is(true, 10).await;
    host.sees("births, then history", |h| h.levels().contains(&(0.0, true)) || h.births() == 1).await;
    node.is_up().await;
    assert_eq!((host.kinds()[0].as_str(), host.births()), ("NBIRTH", 1));
    host.check();
    node.stop().await;
}

#[tokio::test]
async fn tck_id_message_flow_edge_node_birth_publish_phid_wait_id() {
    let folder = tempfile::tempdir().unwrap();
    let (_broker, host, node) = waiting(folder.path()).await;
    host.state("other", r#"{"online":true,"timestamp":10}"#).await;
    host.state("scada/x", r#"{"online":true,"timestamp":10}"#).await;
    // What comes after it was met, so it was, too.
    host.state("scada", "junk").await;
    until("junk is counted", || node.cx.stats.refused.get() == 1).await;
    assert_eq!(host.births(), 0);
    host.is(true, 10).await;
    node.is_up().await;
    node.stop().await;
}

#[tokio::test]
async fn tck_id_message_flow_edge_node_birth_publish_phid_wait_online() {
    let folder = tempfile::tempdir().unwrap();
    let (broker, host, node) = waiting(folder.path()).await;
    host.is(false, 10).await;
    host.state("scada", r#"{"online":"true","timestamp":11}"#).await;
    until("a boolean in quotes is counted", || node.cx.stats.refused.get() == 1).await;
    // With one broker it waits where it is: no bdSeq is burnt.
    assert_eq!((host.births(), broker.counts().connects.get()), (0, 2));
    host.is(true, 11).await;
    host.sees("a birth", |h| h.births() == 1).await;
    assert_eq!(host.of("NBIRTH", "")[0].bd_seq(), Some(0));
    node.stop().await;
}

#[tokio::test]
async fn tck_id_message_flow_edge_node_birth_publish_phid_wait_timestamp() {
    let folder = tempfile::tempdir().unwrap();
    let (_broker, host, node) = waiting(folder.path()).await;
    host.is(true, 10).await;
    node.is_up().await;
    host.is(false, 10).await;
    until("it waits again", || node.cx.stats.state.trouble().contains("waiting to be born")).await;
    until("connected again", || node.cx.stats.connects.get() == 2).await;
    // Older than what was told before the reconnect.
    host.is(true, 9).await;
    until("it is counted", || node.cx.stats.refused.get() == 1).await;
    assert_eq!(host.births(), 1);
    host.is(true, 10).await;
    host.sees("a second birth", |h| h.births() == 2).await;
    node.stop().await;
}

/// Offline: NDEATH and DISCONNECT; what comes meanwhile is history of the next session.
async fn offline_ends_the_session() {
    let folder = tempfile::tempdir().unwrap();
    let (broker, host, node) = waiting(folder.path()).await;
    host.is(true, 10).await;
    node.is_up().await;
    host.is(false, 11).await;
    host.sees("NDEATH", |h| h.of("NDEATH", "").iter().any(|m| m.bd_seq() == Some(0))).await;
    until("connected again", || node.cx.stats.connects.get() == 2).await;
    assert_eq!(broker.counts().wills.get(), 0, "it said DISCONNECT");
    node.level(7.0);
    assert_eq!(host.births(), 1);
    node.level(8.0);
    host.is(true, 12).await;
    host.sees("history", |h| h.levels().contains(&(7.0, true))).await;
    assert_eq!(host.of("NBIRTH", "")[1].bd_seq(), Some(1));
    host.check();
    node.stop().await;
}

#[tokio::test]
async fn tck_id_message_flow_edge_node_birth_publish_phid_offline() {
    offline_ends_the_session().await;
}

#[tokio::test]
async fn tck_id_operational_behavior_edge_node_termination_host_offline() {
    offline_ends_the_session().await;
}

#[tokio::test]
async fn tck_id_operational_behavior_edge_node_termination_host_offline_timestamp() {
    let folder = tempfile::tempdir().unwrap();
    let (_broker, host, node) = waiting(folder.path()).await;
    host.is(true, 10).await;
    node.is_up().await;
    host.is(false, 9).await;
    until("it is counted", || node.cx.stats.refused.get() == 1).await;
    node.level(1.0);
    host.sees("data go on", |h| h.levels().contains(&(1.0, false))).await;
    assert!(host.of("NDEATH", "").is_empty());
    node.stop().await;
}

/// The host is away from the first broker, there at the second, then the other way round.
async fn walks_to_where_the_host_is() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (broker().await, broker().await);
    let (a, b) = (Host::listen(first.address()).await, Host::listen(second.address()).await);
    a.is(false, 100).await;
    // Of another broker, so it is not compared.
    b.is(true, 5).await;
    let brokers = [first.address(), second.address()];
    let node = Node::at(directory(), &brokers, folder.path(), HOST, Store::in_memory(), Clock::system());
    node.all_devices_answer_but_late();
    b.sees("a birth there", |h| h.births() == 1).await;
    node.is_up().await;
    assert_eq!((a.births(), first.clients(), second.clients()), (0, 1, 2), "one broker at a time");
    assert_eq!(b.of("NBIRTH", "")[0].bd_seq(), Some(1), "counted over all brokers");
    a.is(true, 101).await;
    b.is(false, 6).await;
    b.sees("NDEATH", |h| h.of("NDEATH", "").iter().any(|m| m.bd_seq() == Some(1))).await;
    a.sees("a birth here", |h| h.births() == 1).await;
    assert_eq!(a.of("NBIRTH", "")[0].bd_seq(), Some(2));
    a.check();
    b.check();
    node.stop().await;
}

#[tokio::test]
async fn tck_id_operational_behavior_edge_node_termination_host_offline_reconnect() {
    walks_to_where_the_host_is().await;
}

#[tokio::test]
async fn tck_id_operational_behavior_primary_application_state_with_multiple_servers_walk() {
    walks_to_where_the_host_is().await;
}

#[tokio::test]
async fn tck_id_operational_behavior_primary_application_state_with_multiple_servers_state_subs() {
    let folder = tempfile::tempdir().unwrap();
    let recorder = super::wire::Recorder::start();
    let node = Node::start(recorder.address(), folder.path(), HOST);
    node.all_devices_answer_but_late();
    until("it waits", || node.cx.stats.state.trouble().contains("waiting to be born")).await;
    let wanted = ("spBv1.0/STATE/scada".to_owned(), 1);
    let subscribed =
        |e: &super::wire::Entry| matches!(&e.1, super::wire::Event::Subscribe(f) if f.contains(&wanted));
    assert!(recorder.log().iter().any(subscribed) && recorder.published() == 0);
    node.kill().await;
}

#[tokio::test]
async fn tck_id_operational_behavior_edge_node_birth_sequence_wait() {
    walks_to_where_the_host_is().await;
}

#[tokio::test]
async fn a_dead_broker_and_next_server_lead_to_the_next_one() {
    let folder = tempfile::tempdir().unwrap();
    let (gone, second, third) = (broker().await, broker().await, broker().await);
    let brokers = [gone.address(), second.address(), third.address()];
    gone.stop().await;
    let (b, c) = (Host::listen(second.address()).await, Host::listen(third.address()).await);
    let allow = "allow = [\"next-server\"]";
    let node = Node::at(directory(), &brokers, folder.path(), allow, Store::in_memory(), Clock::system());
    node.all_devices_answer_but_late();
    b.sees("a birth", |h| h.births() == 1).await;
    let birth = b.of("NBIRTH", "")[0].payload.clone();
    let control = |name: &str| birth.metrics.iter().find(|m| m.name.as_deref() == Some(name)).cloned();
    assert_eq!(control("Node Control/Next Server").unwrap().value, Some(Raw::Bool(false)));
    assert_eq!(control("Node Control/Reboot"), None);
    let ask =
        |name: &str| Metric { name: Some(name.into()), value: Some(Raw::Bool(true)), ..Metric::default() };
    b.command("spBv1.0/g/NCMD/n", ask("Node Control/Reboot")).await;
    until("what is not allowed is refused", || node.cx.stats.refused.get() == 1).await;
    b.command("spBv1.0/g/NCMD/n", ask("Node Control/Next Server")).await;
    c.sees("a birth at the next", |h| h.births() == 1).await;
    assert_eq!((b.of("NDEATH", "").len(), second.counts().wills.get()), (1, 0));
    assert_eq!(c.of("NBIRTH", "")[0].bd_seq(), Some(1), "no CONNECT was written to the dead one");
    node.stop().await;
}
