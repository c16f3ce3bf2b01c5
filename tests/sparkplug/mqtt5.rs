//! MQTT 5 and TLS, against small servers that share no code with the gateway.

use super::plant::*;

use std::io::{Read, Write as _};
use std::net::TcpListener;

/// Type and flags, and what follows the length.
pub(super) type Packet = (u8, Vec<u8>);

/// One packet; `None` at the end of the connection.
pub(super) fn packet(stream: &mut impl Read) -> Option<Packet> {
    let mut byte = [0];
    stream.read_exact(&mut byte).ok()?;
    let kind = byte[0];
    let (mut length, mut shift) = (0, 0);
    loop {
        stream.read_exact(&mut byte).ok()?;
        length |= usize::from(byte[0] & 0x7f) << shift;
        shift += 7;
        if byte[0] < 0x80 {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some((kind, body))
}

/// A broker of MQTT 5 for one connection, which takes packets up to `limit` bytes. Gives what came.
fn broker(limit: u32) -> (SocketAddr, std::thread::JoinHandle<Vec<Packet>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let task = std::thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        let mut came = Vec::new();
        while let Some((kind, body)) = packet(&mut stream) {
            let answer = match kind >> 4 {
                // CONNACK: no session, success, and the property 0x27, the maximum packet size.
                1 => [vec![0x20, 8, 0, 0, 5, 0x27], limit.to_be_bytes().to_vec()].concat(),
                // PUBACK and SUBACK; the topic comes before the packet identifier.
                3 if kind & 0b110 != 0 => {
                    let id = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
                    vec![0x40, 2, body[id], body[id + 1]]
                }
                8 => {
                    // One reason for each filter: the fence has one, the first SUBSCRIBE two.
                    let filters = body.windows(4).filter(|w| *w == b"NCMD" || *w == b"DCMD").count();
                    let mut ack = vec![0x90, 3 + filters as u8, body[0], body[1], 0];
                    ack.extend(vec![1; filters]);
                    ack
                }
                12 => vec![0xd0, 0],
                _ => vec![],
            };
            came.push((kind, body));
            let _ = stream.write_all(&answer);
        }
        came
    });
    (address, task)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_of_mqtt_5_starts_clean_without_a_session_that_stays_and_ends_so_that_the_will_comes() {
    let (address, server) = broker(1 << 20);
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start(address, folder.path(), "mqtt = \"5\"");
    node.all_devices_answer_but_late();
    node.is_up().await;
    node.stop().await;
    let came = server.join().unwrap();
    let connect = &came[0].1;
    assert_eq!(&connect[..7], b"\0\x04MQTT\x05");
    // Will of QoS 1 that is not retained, clean start.
    assert_eq!(connect[7] & 0b0011_1110, 0b0000_1110);
    let properties = &connect[11..11 + usize::from(connect[10])];
    assert!(properties.windows(5).any(|w| w == [0x11, 0, 0, 0, 0]), "session expiry 0: {properties:?}");
    // tck-id-payloads-ndeath-will-message-publisher-disconnect-mqtt50 speaks of a DISCONNECT: there is none.
    assert!(came.iter().all(|(kind, _)| kind >> 4 != 14));
    let (kind, death) = came.iter().rfind(|(kind, _)| kind >> 4 == 3).unwrap();
    assert!(kind & 0b111 == 0b010 && death.windows(6).any(|w| w == b"NDEATH"));
}

/// The size of each device's birth where the broker takes packets up to `limit` bytes.
async fn births(limit: u32) -> HashMap<String, usize> {
    let (address, server) = broker(limit);
    let folder = tempfile::tempdir().unwrap();
    let small = directory();
    let longer = |tag: &Tag| {
        let name = if tag.device == PLC { "n".repeat(200) + &tag.name } else { tag.name.to_string() };
        Tag { name: name.into(), ..tag.clone() }
    };
    let tags = small.tags().iter().map(longer).collect();
    let large = Arc::new(Directory::new("g", "n", small.devices().to_vec(), tags));
    let node = Node::of(large, address, folder.path(), "mqtt = \"5\"");
    node.all_devices_answer_but_late();
    node.is_up().await;
    node.stop().await;
    let came = server.join().unwrap();
    assert!(came.iter().all(|(_, body)| body.len() < limit as usize), "a packet is too large");
    let mut births = HashMap::new();
    for (kind, body) in came.into_iter().filter(|(kind, _)| kind >> 4 == 3) {
        let topic =
            String::from_utf8_lossy(&body[2..2 + usize::from(u16::from_be_bytes([body[0], body[1]]))]);
        assert!(kind & 1 == 0, "{topic} is retained");
        if topic.contains("BIRTH") {
            births.insert(topic.into_owned(), body.len());
        }
    }
    births
}

#[tokio::test(flavor = "multi_thread")]
async fn the_brokers_packet_limit_holds_for_births() {
    let all = births(1 << 20).await;
    let plc = all["spBv1.0/g/DBIRTH/n/plc"];
    assert!(!all.contains_key("spBv1.0/g/DBIRTH/n/plc-2"), "{all:?}");
    let split = births(u32::try_from(plc).unwrap()).await;
    assert!(split["spBv1.0/g/DBIRTH/n/plc"] < plc, "{all:?} {split:?}");
    assert!(split.contains_key("spBv1.0/g/DBIRTH/n/plc-2"), "{split:?}");
}

#[cfg(feature = "tls")]
mod tls {
    use super::*;

    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use rustls::server::WebPkiClientVerifier;
    use rustls::{RootCertStore, ServerConfig, ServerConnection, Stream};

    fn authority() -> (Issuer<'static, KeyPair>, String) {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        (Issuer::new(params, key), pem)
    }

    fn sign(issuer: &Issuer<'static, KeyPair>, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, issuer).unwrap().pem(), key.serialize_pem())
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_broker_that_demands_a_certificate_refuses_a_strangers_and_takes_the_one_that_replaced_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let (ours, ca) = authority();
        let (theirs, _) = authority();
        std::fs::write(path("ca.pem"), &ca).unwrap();
        let own = |issuer| {
            let (certificate, key) = sign(issuer, "gateway");
            std::fs::write(path("own.pem"), certificate).unwrap();
            std::fs::write(path("own.key"), key).unwrap();
        };
        own(&theirs);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap()).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
        let (certificate, key) = sign(&ours, "localhost");
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(
                vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
            )
            .unwrap();
        server.alpn_protocols = vec![b"mqtt".to_vec()];
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (told, mut connects) = mpsc::channel(100);
        std::thread::spawn(move || {
            let server = Arc::new(server);
            for stream in listener.incoming() {
                let mut socket = stream.unwrap();
                let mut connection = ServerConnection::new(server.clone()).unwrap();
                let first = packet(&mut Stream::new(&mut connection, &mut socket)).map(|(kind, _)| kind);
                let alpn = connection.alpn_protocol().map(<[u8]>::to_vec);
                if told.blocking_send((first, alpn)).is_err() {
                    return;
                }
            }
        });
        let toml = format!(
            "name = \"cloud\"\nbroker = \"mqtts://localhost:{port}\"\nalpn = [\"mqtt\"]\nca = \"{}\"\n\
             certificate = \"{}\"\nkey = {{ file = \"{}\" }}",
            path("ca.pem").display(),
            path("own.pem").display(),
            path("own.key").display()
        );
        let node = Node::start("127.0.0.1:1".parse().unwrap(), folder.path(), "");
        let cx = Context { stop: CancellationToken::new(), ..node.cx.clone() };
        let spec =
            fieldgate::publishers::sparkplug::config::compile(&toml::from_str(&toml).unwrap()).unwrap();
        let task = tokio::spawn(Sparkplug::new(spec).run(cx.clone()));
        let first = connects.recv().await.unwrap();
        assert_eq!(first.0, None, "the certificate of another authority was taken");
        own(&ours);
        let taken = async {
            loop {
                let next = connects.recv().await.unwrap();
                if next.0.is_some() {
                    return next;
                }
            }
        };
        let taken = tokio::time::timeout(Duration::from_secs(20), taken).await.unwrap();
        assert_eq!(taken, (Some(0x10), Some(b"mqtt".to_vec())), "a CONNECT, and ALPN");
        cx.stop.cancel();
        task.await.unwrap().unwrap();
        node.kill().await;
    }
}
