//! Certificates that are replaced while the connection is open: a new connection with them, and nothing lost.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};

use super::plant::*;

/// Who signs, the own certificate, and the same as PEM.
struct Authority(Issuer<'static, KeyPair>, CertificateDer<'static>, String);

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let own = params.self_signed(&key).unwrap();
        let (der, pem) = (own.der().clone(), own.pem());
        Authority(Issuer::new(params, key), der, pem)
    }

    /// Certificate in DER and PEM, key in PEM.
    fn sign(&self, name: &str) -> (CertificateDer<'static>, String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let signed = params.signed_by(&key, &self.0).unwrap();
        (signed.der().clone(), signed.pem(), key.serialize_pem())
    }
}

/// What demands a certificate in front of a broker, and remembers those that it was shown.
struct Door {
    port: u16,
    shown: Arc<Mutex<Vec<CertificateDer<'static>>>>,
    open: Arc<AtomicUsize>,
}

impl Door {
    async fn before(broker: SocketAddr, authority: &Authority) -> Door {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(authority.1.clone()).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
        let (own, _, key) = authority.sign("localhost");
        let server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(vec![own], PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap())
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(server));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (shown, open) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)));
        let door = Door { port, shown: shown.clone(), open: open.clone() };
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (acceptor, shown, open) = (acceptor.clone(), shown.clone(), open.clone());
                tokio::spawn(async move {
                    let Ok(mut inside) = acceptor.accept(socket).await else { return };
                    let peer = inside.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned();
                    shown.lock().unwrap().push(peer);
                    open.fetch_add(1, SeqCst);
                    let mut outside = TcpStream::connect(broker).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut inside, &mut outside).await;
                    open.fetch_sub(1, SeqCst);
                });
            }
        });
        door
    }

    fn shown(&self) -> Vec<CertificateDer<'static>> {
        self.shown.lock().unwrap().clone()
    }
}

/// The keys of TLS, and the files for them.
fn own(folder: &Path, port: u16, authority: &Authority) -> (String, CertificateDer<'static>) {
    let path = |name: &str| folder.join(name);
    std::fs::write(path("ca.pem"), &authority.2).unwrap();
    let toml = format!(
        "name = \"cloud\"\nbroker = \"mqtts://localhost:{port}\"\nca = \"{}\"\ncertificate = \"{}\"\nkey = {{ file = \"{}\" }}\n",
        path("ca.pem").display(),
        path("own.pem").display(),
        path("own.key").display()
    );
    (toml, replace(folder, authority, &["own.pem", "own.key"]))
}

fn replace(folder: &Path, authority: &Authority, files: &[&str]) -> CertificateDer<'static> {
    let (der, certificate, key) = authority.sign("gateway");
    for file in files {
        std::fs::write(folder.join(file), if *file == "own.key" { &key } else { &certificate }).unwrap();
    }
    der
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_dies_properly_and_is_born_with_the_certificate_that_replaced_its_own_and_loses_nothing() {
    let broker = Broker::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    let door = Door::before(broker.address(), &authority).await;
    let host = Host::listen(broker.address()).await;
    let (toml, first) = own(folder.path(), door.port, &authority);
    let node = Node::start("127.0.0.1:1".parse().unwrap(), folder.path(), "");
    let stop = CancellationToken::new();
    let cx = Context { name: "own".into(), stop: stop.clone(), ..node.cx.clone() };
    let spec = config::compile(&toml::from_str(&toml).unwrap()).unwrap();
    let task = tokio::spawn(Sparkplug::new(spec).run(cx));
    node.all_devices_answer_but_late();
    host.sees("the birth", |h| h.of("DBIRTH", "plc").len() == 1).await;
    until("it is told when the certificate ends", || node.cx.stats.certificate.ends.get() > 0).await;

    // A certificate that is not that of the key changes nothing.
    replace(folder.path(), &authority, &["own.pem"]);
    let count = AtomicUsize::new(0);
    let field = |until: tokio::time::Instant| {
        let (node, count) = (&node, &count);
        async move {
            while tokio::time::Instant::now() < until {
                node.level(count.fetch_add(1, SeqCst) as f64 + 1.0);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    };
    field(tokio::time::Instant::now() + Duration::from_secs(13)).await;
    assert_eq!((door.shown(), host.of("NDEATH", "").len()), (vec![first.clone()], 0));

    let second = replace(folder.path(), &authority, &["own.pem", "own.key"]);
    let end = tokio::time::Instant::now() + Duration::from_secs(30);
    while host.of("NBIRTH", "").len() < 2 {
        assert!(tokio::time::Instant::now() < end, "not born anew: {:?}", host.kinds());
        field(tokio::time::Instant::now() + Duration::from_millis(100)).await;
    }
    assert_eq!(door.shown(), [first, second]);
    let deaths: Vec<_> = host.of("NDEATH", "").iter().map(Seen::bd_seq).collect();
    let births: Vec<_> = host.of("NBIRTH", "").iter().map(Seen::bd_seq).collect();
    assert_eq!(deaths, births[..1], "one death, and no will");
    let all = count.load(SeqCst);
    let told = |h: &Host| {
        let births = h.of("DBIRTH", "plc");
        let both = h.levels().into_iter().chain(births.iter().flat_map(Seen::levels));
        both.map(|(level, _)| level as usize)
            .filter(|level| *level > 0)
            .collect::<std::collections::HashSet<_>>()
            .len()
    };
    host.sees("all values", |h| told(h) == all).await;
    host.check();
    until("the old connection is closed", || door.open.load(SeqCst) == 1).await;
    stop.cancel();
    task.await.unwrap().unwrap();
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_mqtt_connects_anew_with_a_certificate_that_was_replaced() {
    let broker = Broker::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    let door = Door::before(broker.address(), &authority).await;
    let (toml, first) = own(folder.path(), door.port, &authority);
    let node = Node::start("127.0.0.1:1".parse().unwrap(), folder.path(), "");
    let stop = CancellationToken::new();
    let cx = Context { name: "own".into(), stop: stop.clone(), ..node.cx.clone() };
    let toml = format!("{toml}per = \"tag\"\ntopic = \"plant/{{tag}}\"\nstatus-topic = \"plant/status\"\n");
    let spec = fieldgate::publishers::mqtt::config::compile(&toml::from_str(&toml).unwrap()).unwrap();
    let task = tokio::spawn(fieldgate::publishers::mqtt::Mqtt::new(spec).run(cx));
    until("the connection", || door.shown().len() == 1).await;
    let second = replace(folder.path(), &authority, &["own.pem", "own.key"]);
    until("the new connection", || door.shown().len() == 2).await;
    assert_eq!(door.shown(), [first, second]);
    until("the old one's end", || door.open.load(SeqCst) == 1).await;
    assert_eq!(broker.counts().wills.get(), 0, "it parted properly");
    stop.cancel();
    task.await.unwrap().unwrap();
    node.kill().await;
}
