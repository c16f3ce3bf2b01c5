//! The north of publishers that speak MQTT: the broker is the peer that goes away, and somebody listens at it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fieldgate::publishers::publisher::{Context, Publisher};
use fieldgate::simulate::broker::Broker;
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, Publish, QoS};
use tokio::task::JoinHandle;

use super::publisher::{North, suite};

/// What is listened for, and how.
pub(crate) struct Listener {
    pub(crate) filter: &'static str,
    /// Once subscribed: what a client that comes late asks for.
    pub(crate) late: fn(&AsyncClient),
    /// What is known of `pump/level` after a message.
    pub(crate) level: fn(&Publish, &mut Option<f64>),
}

struct AtBroker<P> {
    address: SocketAddr,
    broker: Option<Broker>,
    level: Arc<Mutex<Option<f64>>>,
    listening: JoinHandle<()>,
    publisher: fn(SocketAddr) -> P,
}

impl<P> Drop for AtBroker<P> {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// Listens for ever.
async fn listen(address: SocketAddr, listener: Listener, level: Arc<Mutex<Option<f64>>>) {
    let options = MqttOptions::new("listener", address.ip().to_string(), address.port());
    let (client, mut events) = AsyncClient::new(options, 100);
    loop {
        match events.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(_))) => {
                client.try_subscribe(listener.filter, QoS::AtLeastOnce).unwrap();
            }
            Ok(Event::Incoming(Packet::SubAck(_))) => (listener.late)(&client),
            Ok(Event::Incoming(Packet::Publish(message))) => {
                (listener.level)(&message, &mut level.lock().unwrap());
            }
            Ok(_) => {}
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

impl<P: Publisher> North for AtBroker<P> {
    type Publisher = P;

    fn publisher(&self) -> P {
        (self.publisher)(self.address)
    }
    async fn obstruct(&mut self) {
        self.broker.take().unwrap().stop().await;
    }
    async fn clear(&mut self) {
        self.broker = Some(Broker::bind(self.address).await.unwrap());
    }
    async fn level(&self, _: &Context) -> Option<f64> {
        *self.level.lock().unwrap()
    }
}

/// Runs the suite.
pub(crate) async fn keeps_the_contract<P: Publisher>(publisher: fn(SocketAddr) -> P, listener: Listener) {
    let broker = Broker::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let (address, level) = (broker.address(), Arc::default());
    let listening = tokio::spawn(listen(address, listener, Arc::clone(&level)));
    suite(AtBroker { address, broker: Some(broker), level, listening, publisher }).await;
}
