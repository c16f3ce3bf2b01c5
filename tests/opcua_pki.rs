//! Certificates of the OPC UA server over real sockets: who is let in, who is refused with which code, renewal.
#![cfg(feature = "opcua")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

#[path = "common/opcua.rs"]
mod ground;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use fieldgate::model::*;
use fieldgate::publishers::opcua::OpcUa;
use fieldgate::publishers::opcua::config::{Login, Security, Spec, Trust, User};
use fieldgate::publishers::publisher::{Context, PublishError, Publisher};
use fieldgate::store::Options;
use opcua::client::{ClientBuilder, EventCallback, IdentityToken, Session};
use opcua::crypto::SecurityPolicy;
use opcua::types::{
    AttributeId, ByteString, MessageSecurityMode, NodeId, NumericRange, ObjectId, ObjectTypeId,
    QualifiedName, SimpleAttributeOperand, StatusCode, TimestampsToReturn, UserTokenPolicy, VariableId,
    Variant,
};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber,
    date_time_ymd,
};
use rsa::pkcs8::{EncodePrivateKey, LineEnding};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use ground::{connect, connected, is_up, surroundings, until, url, watch_events};

const URI: &str = "urn:test:client";
const NONE: &str = "http://opcfoundation.org/UA/SecurityPolicy#None";
const BASIC: &str = "http://opcfoundation.org/UA/SecurityPolicy#Basic256Sha256";

/// RSA keys as PEM: of the client, of an authority, of another one.
fn key(which: usize) -> &'static str {
    static KEYS: [OnceLock<String>; 3] = [const { OnceLock::new() }; 3];
    KEYS[which].get_or_init(|| {
        let key = rsa::RsaPrivateKey::new(&mut rsa::rand_core::OsRng, 2048).unwrap();
        key.to_pkcs8_pem(LineEnding::LF).unwrap().to_string()
    })
}

fn pair(which: usize) -> KeyPair {
    KeyPair::from_pkcs8_pem_and_sign_algo(key(which), &rcgen::PKCS_RSA_SHA256).unwrap()
}

fn serial() -> SerialNumber {
    static NEXT: AtomicUsize = AtomicUsize::new(1000);
    SerialNumber::from(NEXT.fetch_add(1, Ordering::Relaxed) as u64)
}

/// A certificate of a client that nothing is wrong with.
fn client() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "test client");
    params.subject_alt_names = vec![SanType::URI(URI.try_into().unwrap())];
    params.serial_number = Some(serial());
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2090, 1, 1);
    params.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::ContentCommitment,
        KeyUsagePurpose::KeyEncipherment,
        KeyUsagePurpose::DataEncipherment,
    ];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

fn self_signed(params: &CertificateParams) -> Vec<u8> {
    params.self_signed(&pair(0)).unwrap().der().to_vec()
}

/// An authority with the key of this number.
fn authority(which: usize) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, format!("authority {which}"));
    params.serial_number = Some(serial());
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2090, 1, 1);
    params
}

/// A list of an authority that revokes these.
fn crl(which: usize, revoked: &[SerialNumber], until: i32) -> Vec<u8> {
    let params = CertificateRevocationListParams {
        this_update: date_time_ymd(2020, 1, 1),
        next_update: date_time_ymd(until, 1, 1),
        crl_number: serial(),
        issuing_distribution_point: None,
        revoked_certs: revoked
            .iter()
            .map(|serial_number| RevokedCertParams {
                serial_number: serial_number.clone(),
                revocation_time: date_time_ymd(2021, 1, 1),
                reason_code: None,
                invalidity_date: None,
            })
            .collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    params.signed_by(&Issuer::new(authority(which), pair(which))).unwrap().der().to_vec()
}

/// A running server.
struct Plant {
    cx: Context,
    task: JoinHandle<Result<(), PublishError>>,
    folder: tempfile::TempDir,
}

impl Plant {
    async fn start(trust: Trust) -> Plant {
        Plant::start_in(tempfile::tempdir().unwrap(), trust).await
    }

    async fn start_in(folder: tempfile::TempDir, trust: Trust) -> Plant {
        Plant::start_at(folder, trust, None).await
    }

    /// One that registers at a discovery server.
    async fn start_at(folder: tempfile::TempDir, trust: Trust, register_at: Option<String>) -> Plant {
        let directory = Directory::new("water", "gw-1", vec![], vec![]);
        let own = folder.path().join("store/publishers/opcua");
        let (cx, _) = surroundings(&own, directory, Options::default());
        fs::write(folder.path().join("password"), "secret\n").unwrap();
        fs::write(folder.path().join("gateway.toml"), config(folder.path())).unwrap();
        let spec = Spec {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            security: vec![Security::None, Security::Basic256Sha256, Security::Aes256],
            anonymous: true,
            users: vec![User {
                name: "operator".into(),
                login: Login::Password(Secret::File(folder.path().join("password"))),
                role: Default::default(),
            }],
            trust,
            register_at,
            ..Spec::default()
        };
        let task = tokio::spawn(OpcUa::new(spec).run(cx.clone()));
        let plant = Plant { cx, task, folder };
        is_up(&plant.cx).await;
        plant
    }

    fn pki(&self, path: &str) -> PathBuf {
        self.cx.folder.join("pki").join(path)
    }

    fn put(&self, path: &str, bytes: &[u8]) {
        fs::write(self.pki(path), bytes).unwrap();
    }

    fn count(&self, part: &str) -> usize {
        fs::read_dir(self.pki(part)).unwrap().count()
    }

    fn url(&self) -> String {
        url(&self.cx)
    }

    /// Connects with the certificate and logs in; the error is the status.
    async fn connect(&self, der: &[u8], policy: SecurityPolicy) -> Result<Arc<Session>, StatusCode> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let folder = self.folder.path().join(format!("client-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("own.der"), der).unwrap();
        fs::write(folder.join("own.pem"), key(0)).unwrap();
        let mut client = ClientBuilder::new()
            .application_name("test client")
            .application_uri(URI)
            .product_uri("urn:test")
            .pki_dir(&folder)
            .certificate_path("own.der")
            .private_key_path("own.pem")
            .trust_server_certs(true)
            .session_retry_limit(0)
            .client()
            .unwrap();
        let url = self.url();
        let mode = MessageSecurityMode::SignAndEncrypt;
        let endpoint = (url.as_str(), policy.to_str(), mode, UserTokenPolicy::anonymous());
        let token = IdentityToken::UserName("operator".into(), "secret".into());
        let (session, event_loop) =
            client.connect_to_matching_endpoint(endpoint, token).await.map_err(|e| e.status())?;
        connected(session, event_loop.spawn()).await
    }

    /// The status of trying to connect.
    async fn try_with(&self, der: &[u8]) -> StatusCode {
        match self.connect(der, SecurityPolicy::Basic256Sha256).await {
            Ok(session) => {
                session.disconnect().await.ok();
                StatusCode::Good
            }
            Err(status) => status,
        }
    }

    /// `fieldgate pki` with these arguments: whether it worked, and what it said.
    fn command(&self, what: &str, more: &[&str]) -> (bool, String) {
        let config = self.folder.path().join("gateway.toml");
        let mut command = Command::new(env!("CARGO_BIN_EXE_fieldgate"));
        let output = command.args(["pki", what]).arg(config).args(more).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(text).unwrap())
    }

    fn listed(&self) -> serde_json::Value {
        let (worked, text) = self.command("list", &["--json"]);
        assert!(worked, "{text}");
        serde_json::from_str(&text).unwrap()
    }

    /// Thumbprints of a part, as the command shows them.
    fn thumbprints(&self, part: &str) -> Vec<String> {
        let listed = self.listed();
        let all = listed["certificates"].as_array().unwrap().iter();
        all.filter(|c| c["is"] == part).map(|c| c["thumbprint"].as_str().unwrap().to_owned()).collect()
    }

    /// A raw connection after its HEL and ACK.
    async fn raw(&self) -> TcpStream {
        let url = self.url();
        let mut socket = TcpStream::connect(url.strip_prefix("opc.tcp://").unwrap()).await.unwrap();
        let mut hello = Vec::new();
        for number in [0u32, 65_535, 65_535, 0, 0, url.len() as u32] {
            hello.extend(number.to_le_bytes());
        }
        hello.extend(url.as_bytes());
        send(&mut socket, b"HELF", &hello).await;
        assert_eq!(&receive(&mut socket).await.unwrap()[..4], b"ACKF");
        socket
    }

    async fn stop(self) {
        self.cx.stop.cancel();
        tokio::time::timeout(Duration::from_secs(3), self.task)
            .await
            .expect("ends in time")
            .unwrap()
            .unwrap();
    }
}

fn config(folder: &Path) -> String {
    let (store, password) = (folder.join("store"), folder.join("password"));
    format!(
        "[node]\ngroup = \"water\"\nname = \"gw-1\"\n[store]\npath = {store:?}\n[publish.opcua]\n\
         [[publish.opcua.user]]\nname = \"operator\"\npassword = {{ file = {password:?} }}\n"
    )
}

async fn send(socket: &mut TcpStream, kind: &[u8; 4], body: &[u8]) {
    let mut frame = kind.to_vec();
    frame.extend((body.len() as u32 + 8).to_le_bytes());
    frame.extend(body);
    socket.write_all(&frame).await.unwrap();
}

/// A whole frame; none at the end.
async fn receive(socket: &mut TcpStream) -> Option<Vec<u8>> {
    let read = async {
        let mut frame = vec![0; 8];
        socket.read_exact(&mut frame).await.ok()?;
        let size = u32::from_le_bytes(frame[4..8].try_into().unwrap()) as usize;
        frame.resize(size, 0);
        socket.read_exact(&mut frame[8..]).await.ok()?;
        Some(frame)
    };
    tokio::time::timeout(Duration::from_secs(20), read).await.expect("an answer within 20 s")
}

/// The start of an OPN, which nothing that follows could make good.
fn opening(policy: &str, certificate: &[u8]) -> Vec<u8> {
    let mut body = vec![0; 4];
    for part in [policy.as_bytes(), certificate, &[0; 20]] {
        body.extend((part.len() as u32).to_le_bytes());
        body.extend(part);
    }
    body.extend([0; 256]);
    body
}

fn code(frame: &[u8]) -> StatusCode {
    assert_eq!(&frame[..4], b"ERRF", "{frame:?}");
    StatusCode::from(u32::from_le_bytes(frame[8..12].try_into().unwrap()))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_client_is_refused_and_kept_until_the_running_gateway_is_told_to_trust_it() {
    let plant = Plant::start(Trust::Required).await;
    let der = self_signed(&client());
    assert_eq!(plant.try_with(&der).await, StatusCode::BadCertificateUntrusted);
    let refused = plant.thumbprints("rejected");
    assert_eq!(refused.len(), 1);

    let (worked, said) = plant.command("trust", &[&refused[0][..8]]);
    assert!(worked, "{said}");
    assert_eq!((plant.thumbprints("rejected").len(), plant.thumbprints("trusted")), (0, refused.clone()));
    assert_eq!(plant.try_with(&der).await, StatusCode::Good);
    let session = plant.connect(&der, SecurityPolicy::Aes256Sha256RsaPss).await.unwrap();

    let (worked, said) = plant.command("reject", &[&refused[0]]);
    assert!(worked, "{said}");
    assert_eq!(plant.try_with(&der).await, StatusCode::BadCertificateUntrusted);
    assert_eq!(plant.thumbprints("rejected"), refused);
    session.disconnect().await.ok();
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_certificate_is_an_audit_event_with_its_code_and_its_bytes() {
    let plant = Plant::start(Trust::Required).await;
    let folder = plant.folder.path();
    let session =
        connect(folder, &plant.url(), SecurityPolicy::None, IdentityToken::Anonymous).await.unwrap();
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let callback = EventCallback::new(move |fields, _| drop(tell.send(fields.unwrap())));
    let every = Duration::from_millis(100);
    let subscription = session.create_subscription(every, 100, 20, 0, 0, true, callback).await.unwrap();
    let select = [
        (ObjectTypeId::BaseEventType, "EventType"),
        (ObjectTypeId::BaseEventType, "SourceName"),
        (ObjectTypeId::AuditSecurityEventType, "StatusCodeId"),
        (ObjectTypeId::AuditCertificateEventType, "Certificate"),
    ];
    let select = select.map(|(kind, name)| SimpleAttributeOperand {
        type_definition_id: NodeId::from(kind),
        browse_path: Some(vec![QualifiedName::from(name)]),
        attribute_id: AttributeId::Value as u32,
        index_range: NumericRange::None,
    });
    watch_events(&session, subscription, ObjectId::Server.into(), select.into()).await;

    let mut expired = client();
    expired.not_after = date_time_ymd(2021, 1, 1);
    for (der, trusted, code, kind) in [
        (
            self_signed(&client()),
            false,
            StatusCode::BadCertificateUntrusted,
            ObjectTypeId::AuditCertificateUntrustedEventType,
        ),
        (
            self_signed(&expired),
            true,
            StatusCode::BadCertificateTimeInvalid,
            ObjectTypeId::AuditCertificateExpiredEventType,
        ),
    ] {
        if trusted {
            plant.put("trusted/expired.der", &der);
        }
        assert_eq!(plant.try_with(&der).await, code);
        let within = Duration::from_secs(30);
        let event = tokio::time::timeout(within, told.recv()).await.unwrap().unwrap();
        let want = [
            Variant::from(NodeId::from(kind)),
            Variant::from("Security/Certificate"),
            Variant::from(code),
            Variant::from(ByteString::from(der)),
        ];
        assert_eq!(event, want);
    }
    session.disconnect().await.ok();
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_discovery_server_that_is_not_trusted_is_told_nothing_and_kept_to_be_trusted() {
    let other = Plant::start(Trust::Required).await;
    let at = Some(other.url());
    let plant = Plant::start_at(tempfile::tempdir().unwrap(), Trust::Required, at).await;
    until("its certificate is kept", || plant.count("rejected") == 1).await;
    let theirs = fs::read(other.pki("own/cert.der")).unwrap();
    let kept = fs::read_dir(plant.pki("rejected")).unwrap().next().unwrap().unwrap().path();
    assert_eq!(fs::read(kept).unwrap(), theirs);
    // A channel would have shown this server's certificate to it, and it would have refused and kept that.
    assert_eq!(other.count("rejected"), 0);
    plant.stop().await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_fault_of_a_trusted_certificate_has_its_own_code() {
    let plant = Plant::start(Trust::Required).await;
    let with = |change: &dyn Fn(&mut CertificateParams)| {
        let mut params = client();
        change(&mut params);
        self_signed(&params)
    };
    let cases = [
        ("good", with(&|_| {}), StatusCode::Good),
        (
            "expired",
            with(&|p| p.not_after = date_time_ymd(2021, 1, 1)),
            StatusCode::BadCertificateTimeInvalid,
        ),
        (
            "not yet",
            with(&|p| p.not_before = date_time_ymd(2089, 1, 1)),
            StatusCode::BadCertificateTimeInvalid,
        ),
        (
            "other URI",
            with(&|p| p.subject_alt_names = vec![SanType::URI("urn:other".try_into().unwrap())]),
            StatusCode::BadCertificateUriInvalid,
        ),
        ("no URI", with(&|p| p.subject_alt_names.clear()), StatusCode::BadCertificateUriInvalid),
        (
            "use",
            with(&|p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]),
            StatusCode::BadCertificateUseNotAllowed,
        ),
    ];
    for (name, der, _) in &cases {
        plant.put(&format!("trusted/{name}.der"), der);
    }
    for (name, der, wanted) in &cases {
        assert_eq!(plant.try_with(der).await, *wanted, "{name}");
    }
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_authority_brings_its_clients_while_its_list_says_that_they_are_not_revoked() {
    let plant = Plant::start(Trust::Required).await;
    let params = client();
    let serial = params.serial_number.clone().unwrap();
    let issuer = Issuer::new(authority(1), pair(1));
    let der = params.signed_by(&pair(0), &issuer).unwrap().der().to_vec();
    assert_eq!(plant.try_with(&der).await, StatusCode::BadCertificateChainIncomplete);

    let root = authority(1).self_signed(&pair(1)).unwrap().der().to_vec();
    plant.put("issuers/root.der", &root);
    assert_eq!(plant.try_with(&der).await, StatusCode::BadCertificateUntrusted);
    let file = plant.folder.path().join("root.der");
    fs::write(&file, &root).unwrap();
    let (worked, said) = plant.command("trust", &[file.to_str().unwrap()]);
    assert!(worked, "{said}");
    assert_eq!(plant.count("issuers"), 0, "it is in one place only");
    assert_eq!(plant.try_with(&der).await, StatusCode::BadCertificateRevocationUnknown);

    plant.put("crl/forged.crl", &{
        // By the name of the authority, with the key of another.
        let mut named = authority(1);
        named.serial_number = None;
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(2090, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: vec![],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&Issuer::new(named, pair(2))).unwrap().der().to_vec()
    });
    assert_eq!(plant.try_with(&der).await, StatusCode::BadCertificateRevocationUnknown, "a forged list");
    plant.put("crl/old.crl", &crl(1, &[], 2021));
    assert_eq!(plant.try_with(&der).await, StatusCode::BadCertificateRevocationUnknown, "an old list");
    plant.put("crl/now.crl", &crl(1, &[], 2090));
    assert_eq!(plant.try_with(&der).await, StatusCode::Good);
    plant.put("crl/now.crl", &crl(1, &[serial], 2090));
    assert_eq!(plant.try_with(&der).await, StatusCode::BadCertificateRevoked);
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_trust_any_nobody_is_unknown_but_a_certificate_must_be_in_its_time() {
    let plant = Plant::start(Trust::Any).await;
    assert_eq!(plant.try_with(&self_signed(&client())).await, StatusCode::Good);
    let mut params = client();
    params.not_after = date_time_ymd(2021, 1, 1);
    assert_eq!(plant.try_with(&self_signed(&params)).await, StatusCode::BadCertificateTimeInvalid);
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_earlier_version_trusted_unseen_is_rejected_once() {
    let folder = tempfile::tempdir().unwrap();
    let trusted = folder.path().join("store/publishers/opcua/pki/trusted");
    fs::create_dir_all(&trusted).unwrap();
    let der = self_signed(&client());
    fs::write(trusted.join("somebody.der"), &der).unwrap();
    let plant = Plant::start_in(folder, Trust::Required).await;
    assert_eq!((plant.thumbprints("trusted").len(), plant.thumbprints("rejected").len()), (0, 1));
    assert_eq!(plant.try_with(&der).await, StatusCode::BadCertificateUntrusted);
    let thumbprint = plant.thumbprints("rejected").remove(0);
    assert!(plant.command("trust", &[&thumbprint]).0);
    plant.cx.stop.cancel();
    let Plant { task, folder, .. } = plant;
    task.await.unwrap().unwrap();
    let plant = Plant::start_in(folder, Trust::Required).await;
    assert_eq!(plant.thumbprints("trusted"), [thumbprint]);
    assert_eq!(plant.try_with(&der).await, StatusCode::Good);
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_is_shown_to_new_clients_while_old_sessions_go_on() {
    let plant = Plant::start(Trust::Any).await;
    let der = self_signed(&client());
    let old = plant.connect(&der, SecurityPolicy::Basic256Sha256).await.unwrap();
    let shown = async || {
        let client = ClientBuilder::new()
            .application_name("asks")
            .application_uri("urn:asks")
            .pki_dir(plant.folder.path().join("asks"))
            .client()
            .unwrap();
        let endpoints = client.get_server_endpoints_from_url(plant.url()).await.unwrap();
        let port = plant.url().rsplit(':').next().unwrap().to_owned();
        assert!(endpoints.iter().all(|e| e.endpoint_url.as_ref().trim_end_matches('/').ends_with(&port)));
        endpoints[0].server_certificate.as_ref().to_vec()
    };
    let before = shown().await;
    assert_eq!(before, fs::read(plant.pki("own/cert.der")).unwrap());
    let (worked, said) = plant.command("renew", &[]);
    assert!(worked, "{said}");
    let renewed = fs::read(plant.pki("own/cert.der")).unwrap();
    assert_ne!(renewed, before);
    for round in 0.. {
        if shown().await == renewed {
            break;
        }
        assert!(round < 300, "still the old certificate");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let alive = async |session: &Session| {
        let time = VariableId::Server_ServerStatus_CurrentTime;
        session.read(&[opcua::types::NodeId::from(time).into()], TimestampsToReturn::Both, 0.0).await.unwrap()
            [0]
        .status
    };
    let new = plant.connect(&der, SecurityPolicy::Basic256Sha256).await.unwrap();
    assert!(alive(&new).await.is_none_or(|s| s.is_good()), "the new session");
    assert!(alive(&old).await.is_none_or(|s| s.is_good()), "the old session");
    until("both are counted", || plant.cx.stats.clients.get() == 2).await;
    old.disconnect().await.unwrap();
    until("the old server has ended", || plant.cx.stats.clients.get() == 1).await;
    assert!(alive(&new).await.is_none_or(|s| s.is_good()), "the new session alone");

    let exported = plant.folder.path().join("server.der");
    assert!(plant.command("export", &[exported.to_str().unwrap()]).0);
    assert_eq!(fs::read(exported).unwrap(), renewed);
    new.disconnect().await.ok();
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_certificates_is_told_before_it_comes() {
    let plant = Plant::start(Trust::Required).await;
    let stats = plant.cx.stats.clone();
    until("the own certificate is known", || stats.certificate.ends.get() > 0).await;
    assert_eq!(
        (stats.certificate.warning.get(), stats.trusted.warning.get()),
        (0, 0),
        "ten years, and nobody"
    );
    plant.cx.stop.cancel();
    let Plant { task, folder, .. } = plant;
    task.await.unwrap().unwrap();
    let mut params = client();
    params.not_after = date_time_ymd(2021, 1, 1);
    let trusted = folder.path().join("store/publishers/opcua/pki/trusted/over.der");
    fs::write(trusted, self_signed(&params)).unwrap();
    let plant = Plant::start_in(folder, Trust::Required).await;
    until("it is said that one is over", || plant.cx.stats.trusted.warning.get() == 3).await;
    assert_eq!(plant.cx.stats.trusted.ends.get(), 1_609_459_200);
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_certificates_without_end_fill_no_folder() {
    let plant = Plant::start(Trust::Required).await;
    let mut params = client();
    for n in 0..130 {
        params.serial_number = Some(SerialNumber::from(n));
        let der = params.self_signed(&pair(0)).unwrap().der().to_vec();
        let mut socket = plant.raw().await;
        send(&mut socket, b"OPNF", &opening(BASIC, &der)).await;
        assert_eq!(code(&receive(&mut socket).await.unwrap()), StatusCode::BadCertificateUntrusted);
        assert_eq!(receive(&mut socket).await, None, "closed");
    }
    assert_eq!((plant.count("rejected"), plant.count("trusted")), (100, 0));
    assert_eq!(plant.cx.stats.certificates_refused.get(), 130);
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_certificate_or_no_frame_is_refused() {
    let plant = Plant::start(Trust::Required).await;
    let twice = [self_signed(&client()), self_signed(&client())].concat();
    for bad in [&b""[..], b"no certificate", &twice] {
        let mut socket = plant.raw().await;
        send(&mut socket, b"OPNF", &opening(BASIC, bad)).await;
        assert_eq!(code(&receive(&mut socket).await.unwrap()), StatusCode::BadCertificateInvalid);
    }
    assert_eq!(plant.count("rejected"), 0);
    let mut socket = plant.raw().await;
    socket.write_all(b"MSGF\xff\xff\xff\xff").await.unwrap();
    assert_eq!(code(&receive(&mut socket).await.unwrap()), StatusCode::BadTcpMessageTooLarge);
    let mut socket = plant.raw().await;
    socket.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    assert_eq!(code(&receive(&mut socket).await.unwrap()), StatusCode::BadTcpMessageTypeInvalid);
    plant.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_goes_on_with_the_certificate_and_policy_with_which_it_began() {
    let plant = Plant::start(Trust::Required).await;
    let der = self_signed(&client());
    plant.put("trusted/client.der", &der);
    let mut socket = plant.raw().await;
    send(&mut socket, b"OPNF", &plain_opening()).await;
    let answer = receive(&mut socket).await.unwrap();
    assert_eq!(&answer[..4], b"OPNF");
    assert_ne!(answer[8..12], [0; 4], "the channel has a number");
    send(&mut socket, b"OPNF", &opening(BASIC, &der)).await;
    assert_eq!(code(&receive(&mut socket).await.unwrap()), StatusCode::BadSecurityChecksFailed);
    plant.stop().await;
}

/// A whole OpenSecureChannelRequest without security.
fn plain_opening() -> Vec<u8> {
    let mut body = vec![0; 4];
    body.extend((NONE.len() as u32).to_le_bytes());
    body.extend(NONE.as_bytes());
    // No certificate, no thumbprint; sequence number and request.
    body.extend([[0xff; 4], [0xff; 4], [1, 0, 0, 0], [1, 0, 0, 0]].concat());
    // i=446; no token, no time, handle, diagnostics, no audit entry, no time-out, no additional header.
    body.extend([1, 0, 0xbe, 1, 0, 0]);
    body.extend([0; 16]);
    body.extend([0xff; 4]);
    body.extend([0; 7]);
    // Version, Issue, None, no nonce, a minute.
    body.extend([[0; 4], [0; 4], [1, 0, 0, 0], [0xff; 4], 60_000u32.to_le_bytes()].concat());
    body
}
