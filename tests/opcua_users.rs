//! Who may come in at the OPC UA server, as whom, from where and how many; over real sockets.
#![cfg(feature = "opcua")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

#[path = "common/opcua.rs"]
mod ground;

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fieldgate::command::Write;
use fieldgate::model::*;
use fieldgate::publishers::opcua::OpcUa;
use fieldgate::publishers::opcua::config::{Bounds, Role, Security, Spec};
use fieldgate::publishers::opcua::users::file;
use fieldgate::publishers::publisher::{Context, PublishError, Publisher};
use fieldgate::store::Options;
use opcua::client::{IdentityToken, Session};
use opcua::types::*;
use rsa::pkcs8::{EncodePrivateKey, LineEnding};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use ground::{client, connected, is_up, surroundings, url};

const PASSWORD: &str = "correct horse";
const TAGS: [&str; 3] = ["pump/speed", "pump/limit", "pump/setup/gain"];

struct Plant {
    cx: Context,
    _task: JoinHandle<Result<(), PublishError>>,
    folder: tempfile::TempDir,
}

fn spec() -> Spec {
    Spec {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        security: vec![Security::None, Security::Aes256],
        anonymous: true,
        users: Vec::new(),
        host: None,
        trust: fieldgate::publishers::opcua::config::Trust::Any,
        engineer_only: vec!["pump/limit".into(), "pump/setup/".into()],
        reverse_connect: Vec::new(),
        register_at: None,
        bounds: Bounds::default(),
    }
}

/// Answers every write with success.
async fn devices(mut writes: mpsc::Receiver<Write>) {
    while let Some(write) = writes.recv().await {
        let _ = write.reply.send(Ok(()));
    }
}

impl Plant {
    async fn start(spec: Spec) -> Plant {
        let folder = tempfile::tempdir().unwrap();
        let tag = |(id, path): (usize, &&str)| Tag {
            access: Access::ReadWrite,
            ..Tag::plain(TagId(id as u32), DeviceId(0), path, DataType::U16)
        };
        let device = Device::plain(DeviceId(0), "pump", "net");
        let tags = TAGS.iter().enumerate().map(tag).collect();
        let directory = Directory::new("water", "gw-1", vec![device], tags);
        let (cx, writes) = surroundings(&folder.path().join("opcua"), directory, Options::default());
        tokio::spawn(devices(writes));
        for (name, role) in
            [("observer", Role::Observer), ("operator", Role::Operator), ("engineer", Role::Engineer)]
        {
            file::add(&file::path(&cx.folder), name, role, PASSWORD).unwrap();
        }
        let task = tokio::spawn(OpcUa::new(spec).run(cx.clone()));
        is_up(&cx).await;
        Plant { cx, _task: task, folder }
    }

    fn url(&self) -> String {
        url(&self.cx)
    }

    fn address(&self) -> SocketAddr {
        self.url().strip_prefix("opc.tcp://").unwrap().parse().unwrap()
    }

    fn users(&self) -> PathBuf {
        file::path(&self.cx.folder)
    }

    async fn log_in(&self, name: &str, password: &str) -> Result<Arc<Session>, String> {
        self.log_in_at(&self.url(), name, password).await
    }

    async fn log_in_at(&self, url: &str, name: &str, password: &str) -> Result<Arc<Session>, String> {
        self.enter(url, IdentityToken::UserName(name.into(), password.into())).await
    }

    /// Logs in with the certificate of one and the private key of another.
    async fn show(&self, certificate: &Badge, key: &Badge) -> Result<Arc<Session>, String> {
        let certificate = opcua::crypto::X509::from_der(&certificate.der).unwrap();
        let key = opcua::crypto::PrivateKey::from_pem(key.pem.as_bytes()).unwrap();
        self.enter(&self.url(), IdentityToken::new_x509(certificate, key)).await
    }

    async fn enter(&self, url: &str, token: IdentityToken) -> Result<Arc<Session>, String> {
        let mut client = client(self.folder.path());
        let endpoints = client.get_server_endpoints_from_url(url).await.map_err(|e| e.to_string())?;
        let encrypted =
            endpoints.into_iter().find(|e| e.security_mode == MessageSecurityMode::SignAndEncrypt);
        // As it was dialled, also where that is a relay's port.
        let endpoint = EndpointDescription { endpoint_url: format!("{url}/").into(), ..encrypted.unwrap() };
        let (session, event_loop) =
            client.connect_to_endpoint_directly(endpoint, token).map_err(|e| e.to_string())?;
        connected(session, event_loop.spawn()).await.map_err(|status| status.to_string())
    }
}

fn id(path: &str) -> NodeId {
    NodeId::new(2, path)
}

async fn write(session: &Session, path: &str) -> StatusCode {
    let wanted = WriteValue {
        node_id: id(path),
        attribute_id: AttributeId::Value as u32,
        index_range: NumericRange::None,
        value: DataValue::value_only(7_u16),
    };
    session.write(&[wanted]).await.unwrap()[0]
}

async fn may_write(session: &Session, path: &str) -> bool {
    let wanted = ReadValueId::new(id(path), AttributeId::UserAccessLevel);
    let values = session.read(&[wanted], TimestampsToReturn::Neither, 0.0).await.unwrap();
    let Some(Variant::Byte(level)) = values[0].value else { panic!("{values:?}") };
    level & 2 != 0
}

/// Whether the server answers on this session.
async fn alive(session: &Session) -> bool {
    let wanted = ReadValueId::new(VariableId::Server_ServerStatus_State.into(), AttributeId::Value);
    session.read(&[wanted], TimestampsToReturn::Neither, 0.0).await.is_ok()
}

/// Joins each connection to a listener of its own with one to `target` that comes from `from`; gives its address.
async fn relay(from: [u8; 4], target: SocketAddr) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("opc.tcp://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind(SocketAddr::from((from, 0))).unwrap();
            let mut far = socket.connect(target).await.unwrap();
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut near, &mut far).await });
        }
    });
    url
}

fn hello(url: &str) -> Vec<u8> {
    let mut message = b"HELF".to_vec();
    message.extend((32 + url.len() as u32).to_le_bytes());
    for number in [0_u32, 65_535, 65_535, 0, 0, url.len() as u32] {
        message.extend(number.to_le_bytes());
    }
    message.extend(url.as_bytes());
    message
}

/// What the server says until it closes, and the status where that is an error.
async fn last_words(stream: &mut TcpStream) -> Option<u32> {
    let mut said = Vec::new();
    let end = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut said)).await;
    end.expect("the server closes within 20 s").ok();
    let error = said.windows(4).position(|four| four == b"ERRF")?;
    Some(u32::from_le_bytes(said[error + 8..error + 12].try_into().unwrap()))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_observer_reads_an_operator_writes_and_an_engineer_writes_what_only_engineers_may() {
    let plant = Plant::start(spec()).await;
    for (name, may) in [
        ("observer", [false, false, false]),
        ("operator", [true, false, false]),
        ("engineer", [true, true, true]),
    ] {
        let session = plant.log_in(name, PASSWORD).await.unwrap();
        for (path, may) in TAGS.into_iter().zip(may) {
            assert_eq!(may_write(&session, path).await, may, "{name} {path}");
            let expected = if may { StatusCode::Good } else { StatusCode::BadUserAccessDenied };
            assert_eq!(write(&session, path).await, expected, "{name} {path}");
        }
        session.disconnect().await.ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_the_users_file_needs_no_restart_and_ends_the_sessions_of_who_is_gone() {
    let plant = Plant::start(spec()).await;
    let operator = plant.log_in("operator", PASSWORD).await.unwrap();
    let engineer = plant.log_in("engineer", PASSWORD).await.unwrap();
    assert!(plant.log_in("new", PASSWORD).await.is_err());
    file::add(&plant.users(), "new", Role::Observer, PASSWORD).unwrap();
    file::remove(&plant.users(), "operator").unwrap();
    let began = Instant::now();
    while alive(&operator).await {
        assert!(began.elapsed() < Duration::from_secs(30), "still alive");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(alive(&engineer).await, "others stay");
    assert!(plant.log_in("operator", PASSWORD).await.is_err());
    plant.log_in("new", PASSWORD).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_passwords_lock_at_their_address_and_not_at_another() {
    let plant = Plant::start(spec()).await;
    let intruder = relay([127, 0, 0, 66], plant.address()).await;
    // Each of the last ones after the lock of the one before; the lock at the end is long enough for a slow machine.
    for wait in [0, 0, 0, 0, 0, 1, 2, 4, 8] {
        tokio::time::sleep(Duration::from_millis(wait * 1100)).await;
        let why = plant.log_in_at(&intruder, "operator", "a wrong password").await.err().unwrap();
        assert!(why.contains("BadUserAccessDenied"), "{why}");
    }
    let why = plant.log_in_at(&intruder, "operator", PASSWORD).await.err().unwrap();
    assert!(why.contains("BadUserAccessDenied"), "locked, also with the right one: {why}");
    plant.log_in("operator", PASSWORD).await.unwrap();
    plant.log_in_at(&intruder, "engineer", PASSWORD).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_make_room_oldest_first_and_a_session_stays() {
    let bounds = Bounds { connections: 4, per_address: 4, sessions: 10 };
    let plant = Plant::start(Spec { bounds, ..spec() }).await;
    let session = plant.log_in("operator", PASSWORD).await.unwrap();
    let mut idle = Vec::new();
    for _ in 0..3 {
        let mut stream = TcpStream::connect(plant.address()).await.unwrap();
        stream.write_all(&hello(&plant.url())).await.unwrap();
        let mut ack = [0; 28];
        stream.read_exact(&mut ack).await.unwrap();
        assert!(ack.starts_with(b"ACKF"));
        idle.push(stream);
    }
    for _ in 0..20 {
        idle.push(TcpStream::connect(plant.address()).await.unwrap());
    }
    assert_eq!(last_words(&mut idle[0]).await, Some(0x807D_0000), "too busy");
    assert!(alive(&session).await);
    drop(idle);
    plant.log_in("engineer", PASSWORD).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn when_all_places_have_sessions_the_next_is_told_so() {
    let bounds = Bounds { connections: 1, per_address: 1, sessions: 10 };
    let plant = Plant::start(Spec { bounds, ..spec() }).await;
    let session = plant.log_in("operator", PASSWORD).await.unwrap();
    let mut next = TcpStream::connect(plant.address()).await.unwrap();
    assert_eq!(last_words(&mut next).await, Some(0x8081_0000), "not enough resources");
    assert!(alive(&session).await);
    session.disconnect().await.ok();
    let began = Instant::now();
    while plant.log_in("engineer", PASSWORD).await.is_err() {
        assert!(began.elapsed() < Duration::from_secs(30));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn half_openings_and_frames_that_are_none_are_ended_and_cost_nothing() {
    let plant = Plant::start(spec()).await;
    let open = async |bytes: Vec<u8>| {
        let mut stream = TcpStream::connect(plant.address()).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        last_words(&mut stream).await
    };
    let greeted = |more: &[u8]| [hello(&plant.url()).as_slice(), more].concat();
    let (kind, large, late) = (Some(0x807E_0000), Some(0x8080_0000), Some(0x800A_0000));
    let (nothing, half, web, huge_hello, silence, half_open, huge, no_channel, other) = tokio::join!(
        open(Vec::new()),
        open(b"HELF\x40\0\0\0\0\0".to_vec()),
        open(b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        open(b"HELF\xff\xff\xff\xff".to_vec()),
        open(greeted(b"")),
        open(greeted(b"OPN")),
        open(greeted(b"OPNF\xff\xff\xff\x7f")),
        open(greeted(b"MSGF\x20\0\0\0")),
        open(greeted(b"XXXF\x20\0\0\0")),
    );
    assert_eq!((nothing, half, web, huge_hello), (late, late, kind, kind));
    assert_eq!((silence, half_open, huge, no_channel, other), (late, late, large, kind, kind));
    let mut slow = TcpStream::connect(plant.address()).await.unwrap();
    let began = Instant::now();
    // A byte a second would keep a time-out for single reads from ever coming.
    for byte in hello(&plant.url()) {
        if slow.write_all(&[byte]).await.is_err() || began.elapsed() > Duration::from_secs(15) {
            break;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    plant.log_in("operator", PASSWORD).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_dials_its_client_again_and_again_and_serves_over_what_it_dialled() {
    let scada = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = scada.local_addr().unwrap().port();
    let plant = Plant::start(Spec { reverse_connect: vec![("127.0.0.1".into(), port)], ..spec() }).await;
    // Before a client of ours: what comes is the ReverseHello of OPC 10000-6 section 7.1.2.6.
    let (mut first, _) = scada.accept().await.unwrap();
    let uri = read_reverse_hello(&mut first, &format!("{}/", plant.url())).await;
    assert!(uri.ends_with(":fieldgate:water:gw-1"), "{uri}");
    drop(first);
    // The client dials near; its connection is joined with the one that the server dials.
    let near = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("opc.tcp://{}", near.local_addr().unwrap());
    let expected = format!("{}/", plant.url());
    tokio::spawn(async move {
        loop {
            let (mut client, _) = near.accept().await.unwrap();
            let (mut server, _) = scada.accept().await.unwrap();
            read_reverse_hello(&mut server, &expected).await;
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut client, &mut server).await });
        }
    });
    let session = plant.log_in_at(&url, "operator", PASSWORD).await.unwrap();
    assert_eq!(write(&session, "pump/speed").await, StatusCode::Good);
}

/// Reads a ReverseHello with this endpoint; gives the server's URI.
async fn read_reverse_hello(stream: &mut TcpStream, endpoint: &str) -> String {
    let mut head = [0; 8];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(&head[..4], b"RHEF");
    let mut body = vec![0; u32::from_le_bytes(head[4..].try_into().unwrap()) as usize - 8];
    stream.read_exact(&mut body).await.unwrap();
    let length = u32::from_le_bytes(body[..4].try_into().unwrap()) as usize;
    let (uri, rest) = body[4..].split_at(length);
    assert_eq!(&rest[4..], endpoint.as_bytes());
    String::from_utf8(uri.to_vec()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_and_servers_have_the_host_that_the_client_dialled() {
    let plant = Plant::start(Spec { host: Some("gateway.plant.example".into()), ..spec() }).await;
    let port = plant.url().rsplit(':').next().unwrap().to_owned();
    for host in ["127.0.0.1", "localhost"] {
        let dialled = format!("opc.tcp://{host}:{port}");
        let told = format!("opc.tcp://{host}:{port}/");
        let client = client(plant.folder.path());
        let endpoints = client.get_server_endpoints_from_url(dialled.as_str()).await.unwrap();
        assert_eq!(endpoints.len(), 2);
        for endpoint in &endpoints {
            assert_eq!(endpoint.endpoint_url.as_ref(), told);
        }
        let servers = client.find_servers(dialled, None, None).await.unwrap();
        // Its port is the configured one: 0 here.
        let urls = servers[0].discovery_urls.as_deref().unwrap();
        assert_eq!(urls, [UAString::from(format!("opc.tcp://{host}:0/"))]);
    }
    // A name that is not ours is not repeated.
    let mut stream = TcpStream::connect(("127.0.0.1", port.parse().unwrap())).await.unwrap();
    stream.write_all(&hello("opc.tcp://evil.example:4840/")).await.unwrap();
    let mut ack = [0; 4];
    stream.read_exact(&mut ack).await.unwrap();
    assert_eq!(&ack, b"ACKF");
}

/// A user's certificate and private key.
struct Badge {
    der: Vec<u8>,
    pem: String,
}

impl Badge {
    fn new(years: (i32, i32), usage: rcgen::KeyUsagePurpose) -> Badge {
        let key = rsa::RsaPrivateKey::new(&mut rsa::rand_core::OsRng, 2048).unwrap();
        let pem = key.to_pkcs8_pem(LineEnding::LF).unwrap().to_string();
        let pair = rcgen::KeyPair::from_pkcs8_pem_and_sign_algo(&pem, &rcgen::PKCS_RSA_SHA256).unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, "ann");
        params.not_before = rcgen::date_time_ymd(years.0, 1, 1);
        params.not_after = rcgen::date_time_ymd(years.1, 1, 1);
        params.key_usages = vec![usage];
        Badge { der: params.self_signed(&pair).unwrap().der().to_vec(), pem }
    }

    fn good() -> Badge {
        Badge::new((2020, 2090), rcgen::KeyUsagePurpose::DigitalSignature)
    }

    fn file(&self, folder: &Path, name: &str) -> String {
        let file = folder.join(name);
        std::fs::write(&file, &self.der).unwrap();
        file.to_str().unwrap().to_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_logs_in_with_a_certificate_and_its_key_and_with_nothing_else() {
    let plant = Plant::start(spec()).await;
    let (folder, store) = (plant.folder.path(), plant.folder.path().join("store"));
    std::fs::create_dir_all(store.join("publishers")).unwrap();
    std::os::unix::fs::symlink(&plant.cx.folder, store.join("publishers/opcua")).unwrap();
    let config = format!("[node]\ngroup = \"g\"\nname = \"n\"\n[store]\npath = {store:?}\n[publish.opcua]\n");
    std::fs::write(folder.join("gw.toml"), config).unwrap();
    let (first, second) = (Badge::good(), Badge::good());
    let run = |arguments: &[&str]| {
        let (code, said) = user(folder, arguments, "");
        assert_eq!(code, 0, "{said}");
    };

    let refused = |answer: Result<Arc<Session>, String>| {
        answer.err().is_some_and(|why| why.contains("BadIdentityTokenRejected"))
    };
    assert!(refused(plant.show(&first, &first).await), "of no user");
    run(&["add", "ann", "--role", "operator", "--certificate", &first.file(folder, "first.der")]);
    let session = comes_in(&plant, &first).await;
    assert_eq!(write(&session, "pump/speed").await, StatusCode::Good);
    assert_eq!(write(&session, "pump/limit").await, StatusCode::BadUserAccessDenied, "for engineers only");
    assert!(plant.show(&first, &second).await.is_err(), "the key is another");
    assert!(
        plant.log_in("ann", PASSWORD).await.err().unwrap().contains("BadUserAccessDenied"),
        "no password"
    );

    run(&["certificate", "ann", &second.file(folder, "second.der"), "--role", "engineer"]);
    let next = comes_in(&plant, &second).await;
    assert_eq!(write(&next, "pump/limit").await, StatusCode::Good);
    assert!(refused(plant.show(&first, &first).await), "no longer");
    until_gone(&session).await;
    run(&["remove", "ann"]);
    until_gone(&next).await;
    assert!(refused(plant.show(&second, &second).await), "removed");
}

/// Once the running server has seen the change.
async fn comes_in(plant: &Plant, badge: &Badge) -> Arc<Session> {
    let limit = Instant::now() + Duration::from_secs(30);
    loop {
        match plant.show(badge, badge).await {
            Ok(session) => return session,
            Err(why) => assert!(Instant::now() < limit, "{why}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn until_gone(session: &Session) {
    let limit = Instant::now() + Duration::from_secs(30);
    while alive(session).await {
        assert!(Instant::now() < limit, "the session goes on");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[test]
fn certificates_that_are_good_for_no_log_in_are_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    let badge = Badge::good();
    let declared = badge.file(folder.path(), "declared.der");
    let config = format!(
        "[node]\ngroup = \"g\"\nname = \"n\"\n[store]\npath = {store:?}\n[publish.opcua]\n\
         [[publish.opcua.user]]\nname = \"declared\"\ncertificate = {declared:?}\n"
    );
    std::fs::write(folder.path().join("gw.toml"), config).unwrap();
    let elliptic = rcgen::generate_simple_self_signed(["ann".to_owned()]).unwrap();
    let signs = rcgen::KeyUsagePurpose::DigitalSignature;
    for (badge, what) in [
        (Badge { der: elliptic.cert.der().to_vec(), pem: String::new() }, "RSA key"),
        (Badge::new((2020, 2021), signs), "renew"),
        (Badge::new((2080, 2090), signs), "clock"),
        (Badge::new((2020, 2090), rcgen::KeyUsagePurpose::KeyEncipherment), "signatures"),
        (Badge { der: b"no".to_vec(), pem: String::new() }, "DER or PEM"),
    ] {
        let file = badge.file(folder.path(), "badge.der");
        let (code, said) =
            user(folder.path(), &["add", "ann", "--role", "operator", "--certificate", &file], "");
        assert!(code == 2 && said.contains(what), "{code} {said}");
    }
    assert!(!store.exists());
    let (code, said) = user(folder.path(), &["certificate", "ann", &declared], "");
    assert!(code == 1 && said.contains("no user"), "{said}");
    let (_, said) = user(folder.path(), &["list"], "");
    assert!(
        said.starts_with("declared  observer  (configuration)  certificate ") && said.contains("days left"),
        "{said}"
    );
    let (_, said) = user(folder.path(), &["list", "--json"], "");
    let listed: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(listed[0]["certificate"].as_str().unwrap().len(), 40);
}

fn user(folder: &Path, arguments: &[&str], stdin: &str) -> (i32, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_fieldgate"))
        .arg("user")
        .args(&arguments[..1])
        .arg(folder.join("gw.toml"))
        .args(&arguments[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(said).unwrap())
}

#[test]
fn users_are_kept_by_commands_that_never_repeat_a_password() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    let config = format!(
        "[node]\ngroup = \"g\"\nname = \"n\"\n[store]\npath = {store:?}\n[publish.opcua]\n\
         [[publish.opcua.user]]\nname = \"declared\"\npassword = {{ env = \"P\" }}\nrole = \"engineer\"\n"
    );
    std::fs::write(folder.path().join("gw.toml"), config).unwrap();
    let run = |arguments: &[&str], stdin: &str| {
        let (code, said) = user(folder.path(), arguments, stdin);
        assert!(!said.contains(PASSWORD), "{said}");
        (code, said)
    };
    let (code, said) = run(&["add", "ann", "--role", "operator"], "short\n");
    assert!(code == 1 && said.contains("10 characters at least"), "{said}");
    assert_eq!(run(&["add", "ann", "--role", "operator"], "correct horse\n").0, 0);
    let (code, said) = run(&["add", "ann", "--role", "operator"], "correct horse\n");
    assert!(code == 1 && said.contains("passwd"), "{said}");
    let (code, said) = run(&["add", "declared", "--role", "operator"], "correct horse\n");
    assert!(code == 1 && said.contains("configuration"), "{said}");
    assert_eq!(run(&["passwd", "ann", "--role", "observer"], "battery staple").0, 0);
    let (_, said) = run(&["list"], "");
    assert_eq!(said, "declared  engineer  (configuration)\nann  observer  (users file)\n2 users\n");
    let (_, said) = run(&["list", "--json"], "");
    assert!(said.contains("\"role\":\"observer\"") && !said.contains("argon2"), "{said}");
    assert_eq!(run(&["remove", "ann"], "").0, 0);
    let (code, said) = run(&["remove", "ann"], "");
    assert!(code == 1 && said.contains("no user"), "{said}");
}
