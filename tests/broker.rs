//! The small broker, spoken to in bytes of the MQTT 3.1.1 specification.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

use std::time::Duration;

use fieldgate::simulate::broker::Broker;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A client that says and hears bytes.
struct Raw(TcpStream);

impl Raw {
    async fn open(broker: &Broker, connect: &[u8]) -> Raw {
        let mut raw = Raw(TcpStream::connect(broker.address()).await.unwrap());
        raw.say(connect).await;
        raw
    }

    async fn connected(broker: &Broker, client_id: &str) -> Raw {
        let mut raw = Raw::open(broker, &connect(client_id, 0, None)).await;
        raw.hear(b"\x20\x02\0\0").await;
        raw
    }

    async fn say(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    async fn hear(&mut self, expected: &[u8]) {
        let mut heard = vec![0; expected.len()];
        tokio::time::timeout(Duration::from_secs(10), self.0.read_exact(&mut heard)).await.unwrap().unwrap();
        assert_eq!(heard, expected);
    }

    async fn is_closed(&mut self) {
        let mut rest = Vec::new();
        // A reset closes as well as a FIN does.
        let _ = tokio::time::timeout(Duration::from_secs(10), self.0.read_to_end(&mut rest)).await.unwrap();
        assert_eq!(rest, b"");
    }
}

fn connect(client_id: &str, keep_alive: u8, will: Option<&str>) -> Vec<u8> {
    let mut body = b"\0\x04MQTT\x04".to_vec();
    body.extend([if will.is_some() { 0x06 } else { 0x02 }, 0, keep_alive]);
    let text = |body: &mut Vec<u8>, text: &str| {
        body.extend([0, text.len() as u8]);
        body.extend(text.as_bytes());
    };
    text(&mut body, client_id);
    if let Some(topic) = will {
        text(&mut body, topic);
        text(&mut body, "gone");
    }
    [vec![0x10, body.len() as u8], body].concat()
}

async fn broker() -> Broker {
    Broker::bind("127.0.0.1:0".parse().unwrap()).await.unwrap()
}

#[tokio::test]
async fn it_refuses_to_be_reached_from_outside() {
    let error = Broker::bind("0.0.0.0:0".parse().unwrap()).await.unwrap_err();
    assert!(error.to_string().contains("not a loopback address"), "{error}");
}

#[tokio::test]
async fn a_message_reaches_those_whose_filter_matches_at_the_lower_qos() {
    let broker = broker().await;
    let mut plus = Raw::connected(&broker, "plus").await;
    plus.say(b"\x82\x08\0\x01\0\x03a/+\x00").await;
    plus.hear(b"\x90\x03\0\x01\x00").await;
    let mut hash = Raw::connected(&broker, "hash").await;
    hash.say(b"\x82\x06\0\x02\0\x01#\x02").await;
    hash.hear(b"\x90\x03\0\x02\x01").await;
    let mut other = Raw::connected(&broker, "other").await;
    other.say(b"\x82\x06\0\x03\0\x01b\x01").await;
    other.hear(b"\x90\x03\0\x03\x01").await;

    let mut sender = Raw::connected(&broker, "sender").await;
    sender.say(b"\x32\x09\0\x03a/b\0\x07hi").await;
    sender.hear(b"\x40\x02\0\x07").await;
    plus.hear(b"\x30\x07\0\x03a/bhi").await;
    hash.hear(b"\x32\x09\0\x03a/b\0\x01hi").await;
    other.say(b"\xC0\0").await;
    other.hear(b"\xD0\0").await;
}

#[tokio::test]
async fn a_qos_2_message_is_routed_once_however_often_it_is_sent() {
    let broker = broker().await;
    let mut sender = Raw::connected(&broker, "sender").await;
    sender.say(b"\x34\x05\0\x01t\0\x07\x3C\x05\0\x01t\0\x07\x62\x02\0\x07").await;
    sender.hear(b"\x50\x02\0\x07\x50\x02\0\x07\x70\x02\0\x07").await;
    assert_eq!(broker.counts().published.get(), 1);
}

#[tokio::test]
async fn what_is_retained_reaches_a_later_subscriber_until_it_is_deleted() {
    let broker = broker().await;
    let mut client = Raw::connected(&broker, "client").await;
    client.say(b"\x31\x04\0\x01tx").await;
    client.say(b"\x82\x06\0\x01\0\x01t\x00").await;
    client.hear(b"\x90\x03\0\x01\x00\x31\x04\0\x01tx").await;
    client.say(b"\x31\x03\0\x01t").await;
    client.hear(b"\x30\x03\0\x01t").await;
    client.say(b"\x82\x06\0\x02\0\x01t\x00\xC0\0").await;
    client.hear(b"\x90\x03\0\x02\x00\xD0\0").await;
}

#[tokio::test]
async fn a_will_is_published_after_a_lost_connection_and_not_after_a_disconnect() {
    let broker = broker().await;
    let mut watcher = Raw::connected(&broker, "watcher").await;
    watcher.say(b"\x82\x06\0\x01\0\x01w\x00").await;
    watcher.hear(b"\x90\x03\0\x01\x00").await;

    let mut polite = Raw::open(&broker, &connect("polite", 0, Some("w"))).await;
    polite.hear(b"\x20\x02\0\0").await;
    polite.say(b"\xE0\0").await;
    polite.is_closed().await;
    let mut rude = Raw::open(&broker, &connect("rude", 0, Some("w"))).await;
    rude.hear(b"\x20\x02\0\0").await;
    drop(rude);
    watcher.hear(b"\x30\x07\0\x01wgone").await;
    assert_eq!(broker.counts().wills.get(), 1);
}

#[tokio::test]
async fn a_client_that_is_silent_for_one_and_a_half_keep_alives_is_dropped() {
    let broker = broker().await;
    let mut client = Raw::open(&broker, &connect("sleepy", 1, Some("w"))).await;
    client.hear(b"\x20\x02\0\0").await;
    client.is_closed().await;
    assert_eq!((broker.counts().silent.get(), broker.counts().wills.get()), (1, 1));
}

#[tokio::test]
async fn a_second_client_of_one_id_takes_the_place_of_the_first() {
    let broker = broker().await;
    let mut first = Raw::connected(&broker, "twin").await;
    let mut second = Raw::connected(&broker, "twin").await;
    first.is_closed().await;
    second.say(b"\xC0\0").await;
    second.hear(b"\xD0\0").await;
    assert_eq!((broker.counts().takeovers.get(), broker.clients()), (1, 1));
}

#[tokio::test]
async fn what_is_no_mqtt_or_another_version_is_turned_away() {
    let broker = broker().await;
    let mut version_5 = Raw::open(&broker, b"\x10\x0D\0\x04MQTT\x05\x02\0\x3C\0\0\0").await;
    version_5.hear(b"\x20\x02\0\x01").await;
    version_5.is_closed().await;
    let mut no_mqtt = Raw::open(&broker, b"GET / HTTP/1.1\r\n\r\n").await;
    no_mqtt.is_closed().await;
    let mut garbage = Raw::connected(&broker, "garbage").await;
    garbage.say(b"\xFF\xFF\xFF\xFF\xFF\xFF").await;
    garbage.is_closed().await;
    assert_eq!(broker.counts().refused.get(), 3);
}

#[tokio::test]
async fn a_client_that_does_not_read_is_dropped_and_the_others_are_served() {
    let broker = broker().await;
    let mut lazy = Raw::connected(&broker, "lazy").await;
    lazy.say(b"\x82\x06\0\x01\0\x01t\x00").await;
    lazy.hear(b"\x90\x03\0\x01\x00").await;
    let mut sender = Raw::connected(&broker, "sender").await;
    // 1 MiB a message: remaining length 0x100003.
    let message = [&b"\x30\x83\x80\x40\0\x01t"[..], &vec![b'x'; 1 << 20]].concat();
    for _ in 0..100 {
        sender.say(&message).await;
        sender.say(b"\xC0\0").await;
        sender.hear(b"\xD0\0").await;
        if broker.counts().slow.get() > 0 {
            break;
        }
    }
    assert_eq!(broker.counts().slow.get(), 1);
}

#[tokio::test]
async fn faults_can_be_switched_on_and_connections_cut() {
    let broker = broker().await;
    let mut client = Raw::connected(&broker, "client").await;
    broker.faults().withhold_pingresp.set(true);
    broker.faults().withhold_suback.set(true);
    broker.faults().withhold_puback.set(true);
    client.say(b"\xC0\0\x82\x06\0\x01\0\x01t\x00\x32\x05\0\x01t\0\x07").await;
    client.hear(b"\x30\x03\0\x01t").await;
    broker.faults().withhold_pingresp.set(false);
    client.say(b"\xC0\0").await;
    client.hear(b"\xD0\0").await;
    broker.cut();
    client.is_closed().await;
}

#[tokio::test]
async fn its_address_is_free_again_when_it_has_stopped() {
    let first = broker().await;
    let address = first.address();
    let mut client = Raw::connected(&first, "client").await;
    first.stop().await;
    client.is_closed().await;
    let again = Broker::bind(address).await.unwrap();
    Raw::connected(&again, "client").await;
}
