//! The contracts of drivers and publishers, run for each of them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

#[path = "contract/broker.rs"]
mod broker;
#[path = "contract/driver.rs"]
mod driver;
#[path = "contract/plc.rs"]
mod plc;
#[path = "contract/publisher.rs"]
mod publisher;

use driver::{Bench, request, requests};
use fieldgate::drivers::driver::Compiled;
use fieldgate::drivers::modbus::config::{Framing, ModbusDevice};
use fieldgate::drivers::modbus::{LineSpec, ModbusLine, ModbusTcp, TcpSpec, compile_socket, compile_tcp};
use fieldgate::drivers::sim;
use fieldgate::model::Fault;
use plc::{OnCable, OnSocket, Plc};
use tokio_modbus::ExceptionCode;

impl Bench for sim::Bench {
    type Driver = sim::Sim;

    fn driver(&self) -> sim::Sim {
        sim::Sim::default()
    }
    fn compile(&self) -> Compiled<sim::Spec> {
        let requests = requests("word");
        sim::compile(self, &requests.each_ref().map(request)).unwrap()
    }
    fn elsewhere(&self) -> Compiled<sim::Spec> {
        let requests = requests("word");
        sim::compile(&sim::Bench::default(), &requests.each_ref().map(request)).unwrap()
    }
    fn set(&self, word: u16) {
        self.set_words(0, 10, &[word]);
    }
    fn word(&self) -> u16 {
        sim::Bench::word(self, 0, 10)
    }
    fn silence(&self, on: bool) {
        self.set_fault(0, on.then_some(Fault::Timeout));
    }
    fn refuse(&self, on: bool) {
        self.set_fault(0, on.then_some(Fault::Refused(2)));
    }
    fn unplug(&mut self) {
        sim::Bench::unplug(self, true);
    }
    fn plug(&mut self) {
        sim::Bench::unplug(self, false);
    }
}

fn devices() -> [ModbusDevice; 1] {
    [ModbusDevice { max_gap: 0, ..ModbusDevice::default() }]
}

fn refuse(plc: &Plc, on: bool) {
    plc.memory().refuse = on.then_some(ExceptionCode::IllegalDataAddress);
}

impl Bench for OnSocket {
    type Driver = ModbusTcp;

    fn driver(&self) -> ModbusTcp {
        ModbusTcp::default()
    }
    fn compile(&self) -> Compiled<TcpSpec> {
        let requests = requests("holding");
        compile_tcp(&self.link("200ms"), &devices(), &requests.each_ref().map(request)).unwrap()
    }
    fn elsewhere(&self) -> Compiled<TcpSpec> {
        let mut link = self.link("200ms");
        *link.port.as_mut().unwrap().get_mut() ^= 1;
        let requests = requests("holding");
        compile_tcp(&link, &devices(), &requests.each_ref().map(request)).unwrap()
    }
    fn set(&self, word: u16) {
        self.plc.memory().holding[10] = word;
    }
    fn word(&self) -> u16 {
        self.plc.memory().holding[10]
    }
    fn silence(&self, on: bool) {
        self.plc.memory().silent = on;
    }
    fn refuse(&self, on: bool) {
        refuse(&self.plc, on);
    }
    fn unplug(&mut self) {
        OnSocket::unplug(self);
    }
    fn plug(&mut self) {
        OnSocket::plug(self);
    }
}

impl Bench for OnCable {
    type Driver = ModbusLine;

    fn driver(&self) -> ModbusLine {
        ModbusLine::default()
    }
    fn compile(&self) -> Compiled<LineSpec> {
        let requests = requests("holding");
        self.compile(&self.link("200ms"), &devices(), &requests.each_ref().map(request)).unwrap()
    }
    fn elsewhere(&self) -> Compiled<LineSpec> {
        let link = plc::rtu_link(std::path::Path::new("/dev/no-such-port"), "200ms");
        let requests = requests("holding");
        self.compile(&link, &devices(), &requests.each_ref().map(request)).unwrap()
    }
    fn set(&self, word: u16) {
        self.plc.memory().holding[10] = word;
    }
    fn word(&self) -> u16 {
        self.plc.memory().holding[10]
    }
    fn silence(&self, on: bool) {
        self.plc.memory().silent = on;
    }
    fn refuse(&self, on: bool) {
        refuse(&self.plc, on);
    }
    fn unplug(&mut self) {
        OnCable::unplug(self);
    }
    fn plug(&mut self) {
        OnCable::plug(self);
    }
}

/// A device whose answers do not say which request they answer, over a socket.
struct Unnumbered(OnSocket);

impl Bench for Unnumbered {
    type Driver = ModbusLine;

    fn driver(&self) -> ModbusLine {
        ModbusLine::default()
    }
    fn compile(&self) -> Compiled<LineSpec> {
        let requests = requests("holding");
        compile_socket(&self.0.link("200ms"), &devices(), &requests.each_ref().map(request)).unwrap()
    }
    fn elsewhere(&self) -> Compiled<LineSpec> {
        let mut link = self.0.link("200ms");
        link.port =
            Some(fieldgate::model::Spanned::new(0..0, link.port.as_ref().map_or(502, |p| *p.get_ref()) ^ 1));
        let requests = requests("holding");
        compile_socket(&link, &devices(), &requests.each_ref().map(request)).unwrap()
    }
    fn set(&self, word: u16) {
        self.0.set(word);
    }
    fn word(&self) -> u16 {
        self.0.word()
    }
    fn silence(&self, on: bool) {
        self.0.silence(on);
    }
    fn refuse(&self, on: bool) {
        Bench::refuse(&self.0, on);
    }
    fn unplug(&mut self) {
        self.0.unplug();
    }
    fn plug(&mut self) {
        self.0.plug();
    }
}

#[tokio::test]
async fn modbus_rtu_over_tcp_keeps_the_contract_of_drivers() {
    driver::suite(Unnumbered(OnSocket::with(Framing::Rtu))).await;
}

#[tokio::test]
async fn modbus_ascii_over_tcp_keeps_the_contract_of_drivers() {
    driver::suite(Unnumbered(OnSocket::with(Framing::Ascii))).await;
}

#[tokio::test]
async fn modbus_tcp_without_transaction_identifiers_keeps_the_contract_of_drivers() {
    driver::suite(Unnumbered(OnSocket::with(Framing::Tcp))).await;
}

#[tokio::test]
async fn modbus_ascii_keeps_the_contract_of_drivers() {
    driver::suite(OnCable::ascii()).await;
}

#[tokio::test]
async fn sim_keeps_the_contract_of_drivers() {
    driver::suite(sim::Bench::default()).await;
}

#[tokio::test]
async fn modbus_tcp_keeps_the_contract_of_drivers() {
    driver::suite(OnSocket::new()).await;
}

#[tokio::test]
async fn modbus_rtu_keeps_the_contract_of_drivers() {
    driver::suite(OnCable::new()).await;
}

#[cfg(feature = "http")]
mod http {
    use std::net::SocketAddr;

    use fieldgate::publishers::http::Http;
    use fieldgate::publishers::http::config::Spec;
    use fieldgate::publishers::publisher::Context;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::publisher::{North, suite};

    struct Page {
        address: SocketAddr,
        squatter: Option<TcpListener>,
    }

    impl North for Page {
        type Publisher = Http;

        fn publisher(&self) -> Http {
            Http::new(Spec { listen: self.address })
        }
        async fn obstruct(&mut self) {
            self.squatter = Some(TcpListener::bind(self.address).await.unwrap());
        }
        async fn clear(&mut self) {
            self.squatter = None;
        }
        async fn level(&self, _: &Context) -> Option<f64> {
            let mut stream = TcpStream::connect(self.address).await.ok()?;
            let request =
                format!("GET /api/v1/tags HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.address);
            stream.write_all(request.as_bytes()).await.ok()?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.ok()?;
            let json: serde_json::Value = serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()?;
            json["tags"].as_array()?.iter().find(|t| t["path"] == "pump/level")?["value"].as_f64()
        }
    }

    #[tokio::test]
    async fn http_keeps_the_contract_of_publishers() {
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        suite(Page { address, squatter: None }).await;
    }
}

mod sparkplug {
    use std::net::SocketAddr;

    use fieldgate::publishers::sparkplug::payload::{Metric, Payload, Raw};
    use fieldgate::publishers::sparkplug::{Sparkplug, config};
    use rumqttc::{AsyncClient, Publish, QoS};

    use super::broker::{Listener, keeps_the_contract};

    fn publisher(broker: SocketAddr) -> Sparkplug {
        let text = format!("name = \"north\"\nbroker = \"mqtt://{broker}\"");
        Sparkplug::new(config::compile(&toml::from_str(&text).unwrap()).unwrap())
    }

    /// Asks for a birth, as a host that comes late does.
    fn late(client: &AsyncClient) {
        let rebirth = Metric {
            name: Some("Node Control/Rebirth".into()),
            value: Some(Raw::Bool(true)),
            ..Metric::default()
        };
        let payload = Payload { metrics: vec![rebirth], ..Payload::default() };
        let _ = client.try_publish("spBv1.0/water/NCMD/station", QoS::AtMostOnce, false, payload.bytes());
    }

    fn level(message: &Publish, level: &mut Option<f64>) {
        if !message.topic.ends_with("/station/pump") {
            return;
        }
        for metric in Payload::parse(&message.payload).unwrap().metrics {
            if let Some(Raw::Double(value)) = metric.value {
                *level = Some(value);
            }
        }
    }

    #[tokio::test]
    async fn sparkplug_keeps_the_contract_of_publishers() {
        keeps_the_contract(publisher, Listener { filter: "spBv1.0/water/#", late, level }).await;
    }
}

mod plain_mqtt {
    use std::net::SocketAddr;

    use fieldgate::publishers::mqtt::{Mqtt, config};
    use rumqttc::Publish;

    use super::broker::{Listener, keeps_the_contract};

    fn publisher(broker: SocketAddr) -> Mqtt {
        let text = format!(
            "name = \"north\"\nbroker = \"mqtt://{broker}\"\nper = \"tag\"\nretain = true\npayload = \"{{value}}\""
        );
        Mqtt::new(config::compile(&toml::from_str(&text).unwrap()).unwrap())
    }

    fn level(message: &Publish, level: &mut Option<f64>) {
        *level = std::str::from_utf8(&message.payload).unwrap().parse().ok();
    }

    #[tokio::test]
    async fn plain_mqtt_keeps_the_contract_of_publishers() {
        // What is retained comes with the subscription.
        let listener = Listener { filter: "water/station/pump/level", late: |_| {}, level };
        keeps_the_contract(publisher, listener).await;
    }
}

#[cfg(feature = "opcua")]
mod opcua_server {
    use std::net::SocketAddr;
    use std::time::Duration;

    use fieldgate::publishers::opcua::OpcUa;
    use fieldgate::publishers::opcua::config::{Security, Spec};
    use fieldgate::publishers::publisher::Context;
    use opcua::client::{ClientBuilder, IdentityToken};
    use opcua::types::{
        AttributeId, MessageSecurityMode, NodeId, ReadValueId, TimestampsToReturn, UserTokenPolicy, Variant,
    };
    use tokio::net::TcpListener;

    use super::publisher::{North, suite};

    struct Server {
        address: SocketAddr,
        squatter: Option<TcpListener>,
        folder: tempfile::TempDir,
    }

    impl North for Server {
        type Publisher = OpcUa;

        fn publisher(&self) -> OpcUa {
            OpcUa::new(Spec {
                listen: self.address,
                security: vec![Security::None],
                anonymous: true,
                users: vec![],
                ..Spec::default()
            })
        }
        async fn obstruct(&mut self) {
            self.squatter = Some(TcpListener::bind(self.address).await.unwrap());
        }
        async fn clear(&mut self) {
            self.squatter = None;
        }
        async fn level(&self, _: &Context) -> Option<f64> {
            let mut client = ClientBuilder::new()
                .application_name("contract")
                .application_uri("urn:contract")
                .pki_dir(self.folder.path())
                .session_retry_limit(0)
                .client()
                .ok()?;
            let url = format!("opc.tcp://{}/", self.address);
            let endpoint = (url.as_str(), "None", MessageSecurityMode::None, UserTokenPolicy::anonymous());
            let connecting = client.connect_to_matching_endpoint(endpoint, IdentityToken::Anonymous);
            let (session, polling) = connecting.await.ok()?;
            let polling = polling.spawn();
            tokio::time::timeout(Duration::from_secs(10), session.wait_for_connection()).await.ok()?;
            let space = session.get_namespace_index("urn:fieldgate:water:station").await.ok()?;
            let wanted = ReadValueId::new(NodeId::new(space, "pump/level"), AttributeId::Value);
            let read = session.read(&[wanted], TimestampsToReturn::Both, 0.0).await.ok()?.remove(0);
            let _ = session.disconnect().await;
            polling.abort();
            match read.value? {
                Variant::Double(value) => Some(value),
                _ => None,
            }
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn opcua_keeps_the_contract_of_publishers() {
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        suite(Server { address, squatter: None, folder: tempfile::tempdir().unwrap() }).await;
    }
}
