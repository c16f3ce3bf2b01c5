//! From the device's answer to a subscriber of the broker: no timer lies in between.
//!
//! A slave on loopback answers a poll every 50 ms with a new value; a subscriber at a broker on loopback
//! stamps the DDATA that it makes. What is measured therefore holds more than the way to the broker: it
//! ends at the subscriber behind it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod rig;

use std::time::{Duration, Instant};

use fieldgate::model::Clock;
use fieldgate::simulate::broker::Broker;
use fieldgate::supervisor::Gateway;
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};

const SAMPLES: usize = 400;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let broker = Broker::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let (slave, last_answer) = rig::slave().await.unwrap();
    let mut options = MqttOptions::new("watcher", broker.address().ip().to_string(), broker.address().port());
    options.set_max_packet_size(1 << 20, 1 << 20);
    let (client, mut events) = AsyncClient::new(options, 10);
    client.subscribe("spBv1.0/bench/DDATA/#", QoS::AtMostOnce).await.unwrap();

    let text = rig::config(slave, broker.address(), 100, "50ms", "");
    let loaded = fieldgate::config::load(&text);
    let plan = fieldgate::plan::compile(&loaded.config.unwrap(), false, None).unwrap();
    let gateway = Gateway::start(plan, Clock::system()).await;

    let mut taken = Vec::with_capacity(SAMPLES);
    let mut warm = 20;
    while taken.len() < SAMPLES {
        let event = tokio::time::timeout(Duration::from_secs(20), events.poll()).await.expect("data");
        if let Ok(Event::Incoming(Packet::Publish(_))) = event {
            let now = Instant::now();
            if warm > 0 {
                warm -= 1;
                continue;
            }
            taken.push(now - *last_answer.lock().unwrap());
        }
    }
    gateway.stop().await;
    taken.sort();
    let at = |part: usize| taken[(taken.len() - 1) * part / 100].as_secs_f64() * 1e3;
    println!(
        "answer to subscriber, {SAMPLES} polls of 100 changing tags: median {:.2} ms, 90 % {:.2} ms, 99 % {:.2} ms, worst {:.2} ms",
        at(50),
        at(90),
        at(99),
        at(100)
    );
}
