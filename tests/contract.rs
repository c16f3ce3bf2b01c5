//! The contracts of drivers and publishers, run for each of them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

#[path = "contract/driver.rs"]
mod driver;
#[path = "contract/plc.rs"]
mod plc;
#[cfg(feature = "http")]
#[path = "contract/publisher.rs"]
mod publisher;

use driver::{Bench, request, requests};
use fieldgate::drivers::driver::Compiled;
use fieldgate::drivers::modbus::config::ModbusDevice;
use fieldgate::drivers::modbus::{ModbusRtu, ModbusTcp, RtuSpec, TcpSpec, compile_rtu, compile_tcp};
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
        *link.port.get_mut() ^= 1;
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
    type Driver = ModbusRtu;

    fn driver(&self) -> ModbusRtu {
        ModbusRtu::default()
    }
    fn compile(&self) -> Compiled<RtuSpec> {
        let requests = requests("holding");
        compile_rtu(&self.link("200ms"), &devices(), &requests.each_ref().map(request)).unwrap()
    }
    fn elsewhere(&self) -> Compiled<RtuSpec> {
        let link = plc::rtu_link(std::path::Path::new("/dev/no-such-port"), "200ms");
        let requests = requests("holding");
        compile_rtu(&link, &devices(), &requests.each_ref().map(request)).unwrap()
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
