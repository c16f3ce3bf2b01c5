//! Who the devices are: asked once each time that they answer anew, and no harm done to those that stumble.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use fieldgate::drivers::modbus::tcp;
use fieldgate::model::{Clock, DeviceState, Identity, Value};
use fieldgate::supervisor::Gateway;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What a device does with a question that is no read.
type Manner = fn(&[u8]) -> Option<Vec<u8>>;

/// A device whose holding registers count up with each read.
#[derive(Debug, Clone, Default)]
struct Device {
    reads: Arc<Mutex<u16>>,
    /// Function codes that are no reads.
    asked: Arc<Mutex<Vec<u8>>>,
}

impl Device {
    async fn serve(manner: Manner) -> (Device, u16) {
        let device = Device::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let served = device.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(served.clone().talk(socket, manner));
            }
        });
        (device, port)
    }

    async fn talk(self, mut socket: TcpStream, manner: Manner) {
        let (mut input, mut out) = (Vec::new(), Vec::new());
        loop {
            while let Ok(Some(frame)) = tcp::decode(&input) {
                let answer = match frame.pdu {
                    [3, ..] => {
                        let mut reads = self.reads.lock().unwrap();
                        *reads = reads.wrapping_add(1);
                        Some([&[3, 2][..], &reads.to_be_bytes()].concat())
                    }
                    other => {
                        self.asked.lock().unwrap().push(other[0]);
                        manner(other)
                    }
                };
                out.clear();
                if let Some(answer) = answer {
                    tcp::encode(frame.transaction, frame.unit, &mut out, |out| {
                        out.extend_from_slice(&answer)
                    });
                }
                let used = frame.used;
                input.drain(..used);
                if socket.write_all(&out).await.is_err() {
                    return;
                }
            }
            if !matches!(socket.read_buf(&mut input).await, Ok(1..)) {
                return;
            }
        }
    }

    fn reads(&self) -> u16 {
        *self.reads.lock().unwrap()
    }

    fn asked(&self) -> Vec<u8> {
        self.asked.lock().unwrap().clone()
    }
}

async fn gateway(port: u16, more: &str) -> Gateway {
    let text = format!(
        r#"
[node]
group = "plant"
name = "gw"
[scan]
default = "20ms"
[system]
enabled = false
[[link.modbus-tcp]]
name = "net"
host = "127.0.0.1"
port = {port}
timeout = "200ms"
[[device]]
name = "pump"
link = "net"
{more}
tag.count = {{ at = "holding:0", type = "u16" }}
"#
    );
    let loaded = fieldgate::config::load(&text);
    assert!(loaded.mistakes.is_empty(), "{:?}", loaded.mistakes);
    let plan = fieldgate::plan::compile(&loaded.config.unwrap(), false, None).unwrap();
    Gateway::start(plan, Clock::system()).await
}

async fn until(what: &str, mut met: impl FnMut() -> bool) {
    for _ in 0..6000 {
        if met() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("waited in vain: {what}");
}

/// Waits for this many values more.
async fn values_flow(gateway: &Gateway, device: &Device) {
    let tag = gateway.directory().find("pump/count").unwrap().id;
    let before = device.reads();
    until("values flow", || {
        device.reads() >= before.saturating_add(20)
            && matches!(gateway.store().latest(tag).and_then(|s| s.value), Some(Value::U16(v)) if v > before)
    })
    .await;
}

fn identity(gateway: &Gateway) -> Option<Identity> {
    let device = gateway.directory().devices()[0].id;
    gateway.store().identity(device).map(|known| (*known.identity).clone())
}

fn page(level: u8, next: Option<u8>, objects: &[(u8, &[u8])]) -> Option<Vec<u8>> {
    let (more, next) = next.map_or((0, 0), |next| (0xFF, next));
    let mut pdu = vec![43, 14, 1, level, more, next, objects.len() as u8];
    for (object, text) in objects {
        pdu.extend_from_slice(&[*object, text.len() as u8]);
        pdu.extend_from_slice(text);
    }
    Some(pdu)
}

fn refusal(pdu: &[u8]) -> Option<Vec<u8>> {
    Some(vec![pdu[0] | 0x80, 1])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_tells_all_in_several_pages_is_known_with_all_of_it() {
    let (device, port) = Device::serve(|pdu| match pdu {
        [43, 14, 1, 0] => page(0x82, Some(1), &[(0, b"Acme")]),
        [43, 14, 1, 1] => page(0x82, Some(2), &[(1, b"P-100")]),
        [43, 14, 1, 2] => page(0x82, None, &[(2, b"V2.11")]),
        [43, 14, 2, 0] => page(0x82, Some(5), &[(3, b"http://acme.example"), (4, b"Pump")]),
        [43, 14, 2, 5] => page(0x82, None, &[(5, b"P-100/7"), (6, b"well 3")]),
        [17] => Some(b"\x11\x07\x01\xFFPMP-1".to_vec()),
        other => refusal(other),
    })
    .await;
    let gateway = gateway(port, "").await;
    until("it is known", || identity(&gateway).is_some()).await;
    let text = |text: &str| Some(text.to_owned());
    let wanted = Identity {
        vendor: text("Acme"),
        product_code: text("P-100"),
        revision: text("V2.11"),
        vendor_url: text("http://acme.example"),
        product_name: text("Pump"),
        model: text("P-100/7"),
        application: text("well 3"),
        server_id: text("PMP-1"),
        running: Some(true),
    };
    assert_eq!(identity(&gateway), Some(wanted));
    values_flow(&gateway, &device).await;
    assert_eq!(device.asked(), [43, 43, 43, 43, 43, 17], "asked once");
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_with_a_server_id_only_is_known_by_that() {
    let (_, port) = Device::serve(|pdu| match pdu {
        [17] => Some(b"\x11\x06\x01\x00Old1".to_vec()),
        other => refusal(other),
    })
    .await;
    let gateway = gateway(port, "").await;
    until("it is known", || identity(&gateway).is_some()).await;
    let wanted = Identity { server_id: Some("Old1".into()), running: Some(false), ..Identity::default() };
    assert_eq!(identity(&gateway), Some(wanted));
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_knows_neither_function_is_asked_once_and_stays_unknown() {
    let (device, port) = Device::serve(refusal).await;
    let gateway = gateway(port, "").await;
    until("it is asked", || device.asked().len() == 2).await;
    values_flow(&gateway, &device).await;
    assert_eq!((device.asked(), identity(&gateway)), (vec![43, 17], None));
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_is_silent_to_it_stays_alive_and_is_not_asked_again() {
    let (device, port) = Device::serve(|_| None).await;
    let gateway = gateway(port, "").await;
    until("it is asked", || !device.asked().is_empty()).await;
    values_flow(&gateway, &device).await;
    let stats = gateway.telemetry().device("pump", "net");
    assert_eq!((stats.deaths.get(), stats.faults.get()), (0, 0));
    let id = gateway.directory().devices()[0].id;
    assert_eq!(gateway.store().device_state(id), DeviceState::Alive);
    // Not even the other function: who stumbled once is left alone.
    assert_eq!((device.asked(), identity(&gateway)), (vec![43], None));
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rubbish_is_cleaned_or_left_out_and_values_flow_on() {
    let (device, port) = Device::serve(|pdu| match pdu {
        [43, 14, 1, 0] => page(1, None, &[(0, b"Ac\xFFme\x1b[2J"), (1, b" \0"), (200, b"?")]),
        [17] => Some(vec![17, 200, 1]),
        other => refusal(other),
    })
    .await;
    let gateway = gateway(port, "").await;
    until("it is known", || identity(&gateway).is_some()).await;
    let wanted = Identity { vendor: Some("Ac\u{FFFD}me\u{FFFD}[2J".into()), ..Identity::default() };
    assert_eq!(identity(&gateway), Some(wanted));
    values_flow(&gateway, &device).await;
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_is_not_to_be_asked_is_not() {
    let (device, port) = Device::serve(refusal).await;
    let gateway = gateway(port, "identify = false").await;
    values_flow(&gateway, &device).await;
    assert!(device.asked().is_empty());
    gateway.stop().await;
}
