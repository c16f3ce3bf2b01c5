//! Who may log in, and who may write what.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, RwLock};
use std::time::{Instant, SystemTime};

use async_trait::async_trait;
use opcua::crypto::{SecurityPolicy, Thumbprint};
use opcua::server::ServerEndpoint;
use opcua::server::address_space::AccessLevel;
use opcua::server::authenticator::{AuthManager, Password, UserToken, user_pass_security_policy_id};
use opcua::types::{
    Error, Identifier, MessageSecurityMode, NodeId, StatusCode, UAString, UserTokenPolicy, UserTokenType,
};
use tokio::sync::Semaphore;

use super::peers::Peers;
use crate::publishers::opcua::config::{Role, covers};
use crate::publishers::opcua::pki;
use crate::publishers::opcua::users::lockout::Lockout;
use crate::publishers::opcua::users::{Account, Proof, file, hash};

/// Everybody by name, and the names by the thumbprints of their certificates.
#[derive(Default)]
struct Accounts {
    named: HashMap<String, Account>,
    certified: HashMap<String, String>,
}

/// All users, and who has to wait after wrong passwords.
pub(super) struct Users {
    /// Those of the configuration file.
    declared: Vec<Account>,
    /// Where the others are.
    file: PathBuf,
    accounts: RwLock<Arc<Accounts>>,
    /// Time and inode of the file when it was read: each change is a new file.
    seen: Mutex<Option<(SystemTime, u64)>>,
    anonymous: bool,
    engineer_only: Vec<String>,
    peers: Arc<Peers>,
    lockout: Mutex<Lockout>,
    /// A check of a password takes 19 MiB.
    checks: Semaphore,
}

impl Users {
    /// Passwords that are checked at a time.
    const CHECKS: usize = 2;

    pub(super) fn new(
        declared: Vec<Account>,
        file: PathBuf,
        anonymous: bool,
        engineer_only: Vec<String>,
        peers: Arc<Peers>,
    ) -> Users {
        Users {
            declared,
            file,
            accounts: RwLock::default(),
            seen: Mutex::default(),
            anonymous,
            engineer_only,
            peers,
            lockout: Mutex::new(Lockout::new()),
            checks: Semaphore::new(Self::CHECKS),
        }
    }

    fn accounts(&self) -> Arc<Accounts> {
        self.accounts.read().unwrap_or_else(|e| e.into_inner()).clone()
    }

    /// Reads the users file, where it is another than before, and the users of the configuration. Gives those who are
    /// gone or have another password: their sessions end. With an error all stays as it was. Blocking.
    pub(super) fn reload(&self) -> Result<Vec<String>, String> {
        let meta = std::fs::metadata(&self.file).ok();
        // A file that is not there reads as one without users; the time 0 tells it from one not looked at yet.
        let looks =
            meta.and_then(|m| Some((m.modified().ok()?, m.ino()))).unwrap_or((SystemTime::UNIX_EPOCH, 0));
        let mut seen = self.seen.lock().unwrap_or_else(|e| e.into_inner());
        if *seen == Some(looks) {
            return Ok(Vec::new());
        }
        // Told once: a damaged file is read again when it has changed.
        *seen = Some(looks);
        // Of two with one name or certificate that of the configuration holds: it was written by hand.
        let written = file::read(&self.file)?.into_iter().chain(self.declared.iter().cloned());
        let named: HashMap<_, _> = written.map(|account| (account.name.clone(), account)).collect();
        let declared = self.declared.iter().map(|account| &account.name);
        let certified = named
            .keys()
            .chain(declared)
            .filter_map(|name| Some((named.get(name)?.proof.thumbprint()?, name.clone())));
        let accounts = Accounts { certified: certified.collect(), named };
        let mut now = self.accounts.write().unwrap_or_else(|e| e.into_inner());
        let same = |old: &&Account| accounts.named.get(&old.name).is_some_and(|new| new.proof == old.proof);
        let ended = now.named.values().filter(|old| !same(old)).map(|old| old.name.clone()).collect();
        *now = Arc::new(accounts);
        Ok(ended)
    }

    /// Whether nobody can log in with a name.
    pub(super) fn is_empty(&self) -> bool {
        self.accounts().named.is_empty()
    }

    /// When the first certificate of a user ends, in seconds since 1970.
    pub(super) fn ends(&self) -> Option<u64> {
        self.accounts().named.values().filter_map(|account| account.proof.ends()).min()
    }

    /// Who logs in with this certificate; else why not.
    fn certified(&self, thumbprint: &str) -> Result<String, &'static str> {
        let accounts = self.accounts();
        let name = accounts.certified.get(thumbprint);
        let account = name.and_then(|name| accounts.named.get(name));
        let Some(Account { name, proof: Proof::Certificate(certificate), .. }) = account else {
            return Err("no user has this certificate: give it to one with fieldgate user");
        };
        pki::check_user(certificate, pki::now()).map_err(pki::Fault::user_help)?;
        Ok(name.clone())
    }

    /// What this client may do now; `None` is a user who is no more.
    fn role(&self, token: &UserToken) -> Option<Role> {
        match token.is_anonymous() {
            true => Some(Role::Observer),
            false => self.accounts().named.get(&token.0).map(|account| account.role),
        }
    }

    /// Whether this client may do what an operator may: acknowledge alarms.
    pub(super) fn is_operator(&self, token: &UserToken) -> bool {
        self.role(token) >= Some(Role::Operator)
    }

    /// Whether this client may write this tag, if it can be written at all.
    pub(super) fn may_write(&self, token: &UserToken, path: &str) -> bool {
        let least = if self.engineer_only.iter().any(|pattern| covers(pattern, path)) {
            Role::Engineer
        } else {
            Role::Operator
        };
        self.role(token) >= Some(least)
    }

    fn lockout(&self) -> MutexGuard<'_, Lockout> {
        self.lockout.lock().unwrap_or_else(|e| e.into_inner())
    }
}

#[async_trait]
impl AuthManager for Users {
    async fn authenticate_anonymous_token(&self, endpoint: &ServerEndpoint) -> Result<(), Error> {
        if self.supports_anonymous(endpoint) {
            self.peers.logged_in("");
            return Ok(());
        }
        Err(Error::new(StatusCode::BadIdentityTokenRejected, "a user name is needed here"))
    }

    async fn authenticate_username_identity_token(
        &self,
        endpoint: &ServerEndpoint,
        username: &str,
        password: &Password,
    ) -> Result<UserToken, Error> {
        // One answer for all: what it is that is wrong would be worth a guess.
        let refused = Err(Error::new(StatusCode::BadUserAccessDenied, "wrong user name or password"));
        if !self.supports_user_pass(endpoint) {
            return refused;
        }
        let from = self.peers.here().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let who: String = username.chars().take(64).collect();
        // Before the lock is looked at: of many guesses at a time no more than this go through.
        let Ok(_one) = self.checks.acquire().await else { return refused };
        if let Some(left) = self.lockout().locked(username, from, Instant::now()) {
            tracing::debug!(target: "audit", publisher = "opcua", ?who, %from, ?left, "log-in refused: locked");
            return refused;
        }
        // The same work for an unknown name, and for one that has no password.
        let known = self.accounts().named.get(username).and_then(|account| match &account.proof {
            Proof::Password(hash) => Some(hash.clone()),
            Proof::Certificate(_) => None,
        });
        let password = password.get().to_owned();
        let check = move || hash::check(&password, known.as_deref());
        if tokio::task::spawn_blocking(check).await.unwrap_or(false) {
            self.lockout().right(username, from);
            // Removed meanwhile?
            if !self.accounts().named.contains_key(username) {
                return refused;
            }
            self.peers.logged_in(username);
            tracing::info!(target: "audit", publisher = "opcua", ?who, %from, "logged in");
            return Ok(UserToken(username.to_owned()));
        }
        let lock = self.lockout().wrong(username, from, Instant::now());
        tracing::warn!(target: "audit", publisher = "opcua", ?who, %from, ?lock, "log-in refused: wrong user name or password");
        refused
    }

    /// The library has seen that the client has the private key, and tells of the certificate this only.
    async fn authenticate_x509_identity_token(
        &self,
        _endpoint: &ServerEndpoint,
        signing_thumbprint: &Thumbprint,
    ) -> Result<UserToken, Error> {
        let thumbprint = signing_thumbprint.as_hex_string().to_uppercase();
        let from = self.peers.here().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        match self.certified(&thumbprint) {
            Ok(who) => {
                self.peers.logged_in(&who);
                tracing::info!(target: "audit", publisher = "opcua", ?who, %from, thumbprint, "logged in with a certificate");
                Ok(UserToken(who))
            }
            Err(why) => {
                tracing::warn!(target: "audit", publisher = "opcua", %from, thumbprint, "log-in with a certificate refused: {why}");
                Err(Error::new(StatusCode::BadIdentityTokenRejected, "this certificate is of no user here"))
            }
        }
    }

    fn effective_user_access_level(
        &self,
        token: &UserToken,
        user_access_level: AccessLevel,
        node_id: &NodeId,
    ) -> AccessLevel {
        let path = match &node_id.identifier {
            Identifier::String(path) => path.as_ref(),
            _ => "",
        };
        match self.role(token) {
            None => AccessLevel::empty(),
            Some(_) if self.may_write(token, path) => user_access_level,
            Some(_) => user_access_level - AccessLevel::CURRENT_WRITE,
        }
    }

    fn user_token_policies(&self, endpoint: &ServerEndpoint) -> Vec<UserTokenPolicy> {
        // The library asks this first when it answers a Hello; it tells nobody whose that is.
        self.peers.greeted();
        let policy = |policy_id, token_type| UserTokenPolicy {
            policy_id,
            token_type,
            issued_token_type: UAString::null(),
            issuer_endpoint_url: UAString::null(),
            security_policy_uri: UAString::null(),
        };
        // A password never goes over an endpoint that is not encrypted.
        if endpoint.message_security_mode() == MessageSecurityMode::SignAndEncrypt {
            // How the certificate's key signs; without it the library knows no policy.
            let signed = SecurityPolicy::to_uri(&endpoint.security_policy()).into();
            return vec![
                policy(user_pass_security_policy_id(endpoint), UserTokenType::UserName),
                UserTokenPolicy {
                    security_policy_uri: signed,
                    ..policy("x509".into(), UserTokenType::Certificate)
                },
            ];
        }
        // The library accepts no other policy id for these.
        self.anonymous.then(|| policy("anonymous".into(), UserTokenType::Anonymous)).into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(name: &str, role: Role) -> Account {
        Account {
            name: name.into(),
            role,
            proof: Proof::Password(hash::make(&format!("{name}-pw")).unwrap()),
        }
    }

    fn users(folder: &std::path::Path) -> Users {
        let declared = vec![account("op", Role::Operator), account("viewer", Role::Observer)];
        let only = vec!["pump/limit".to_owned(), "pump/setup/".to_owned()];
        let users = Users::new(declared, folder.join("users.toml"), true, only, Arc::default());
        assert_eq!(users.reload(), Ok(vec![]));
        users
    }

    fn encrypted() -> ServerEndpoint {
        ServerEndpoint::new_aes256_sha256_rsapss_sign_encrypt("/", &[])
    }

    async fn ask(users: &Users, name: &str, password: &str) -> Result<UserToken, StatusCode> {
        let password = Password::new(password.into());
        let answer = users.authenticate_username_identity_token(&encrypted(), name, &password).await;
        answer.map_err(|e| e.status())
    }

    #[tokio::test]
    async fn five_wrong_passwords_lock_the_user_at_this_address_also_for_the_right_one() {
        let folder = tempfile::tempdir().unwrap();
        let users = users(folder.path());
        let denied = Err(StatusCode::BadUserAccessDenied);
        for _ in 0..5 {
            assert_eq!(ask(&users, "op", "viewer-pw").await, denied);
        }
        // At once: a lock is looked at before any work is done.
        assert_eq!(ask(&users, "op", "op-pw").await, denied, "locked");
        assert_eq!(ask(&users, "viewer", "viewer-pw").await, Ok(UserToken("viewer".into())));
        tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
        assert_eq!(ask(&users, "op", "op-pw").await, Ok(UserToken("op".into())));
    }

    #[tokio::test]
    async fn an_unknown_user_takes_as_long_as_a_wrong_password() {
        let folder = tempfile::tempdir().unwrap();
        let users = users(folder.path());
        hash::warm();
        let mut took = HashMap::<&str, Vec<std::time::Duration>>::new();
        for _ in 0..4 {
            for name in ["op", "nobody"] {
                let began = Instant::now();
                assert!(ask(&users, name, "wrong").await.is_err());
                took.entry(name).or_default().push(began.elapsed());
            }
        }
        // The quickest of each: other work on the machine makes single ones longer.
        let least = |name: &str| took[name].iter().min().unwrap().as_secs_f64();
        let ratio = least("op") / least("nobody");
        assert!((0.5..2.0).contains(&ratio), "{took:?}");
    }

    #[tokio::test]
    async fn passwords_go_over_encrypted_endpoints_only_and_anonymous_over_none_only() {
        let folder = tempfile::tempdir().unwrap();
        let users = users(folder.path());
        let none = ServerEndpoint::new_none("/", &[]);
        let kinds = |endpoint: &ServerEndpoint| -> Vec<UserTokenType> {
            users.user_token_policies(endpoint).iter().map(|p| p.token_type).collect()
        };
        assert_eq!(kinds(&none), [UserTokenType::Anonymous]);
        assert_eq!(kinds(&encrypted()), [UserTokenType::UserName, UserTokenType::Certificate]);
        assert!(users.authenticate_anonymous_token(&none).await.is_ok());
        assert!(users.authenticate_anonymous_token(&encrypted()).await.is_err());
        let password = Password::new("op-pw".into());
        assert!(users.authenticate_username_identity_token(&none, "op", &password).await.is_err());
    }

    #[test]
    fn what_a_user_sees_as_writable_is_what_the_role_may_write() {
        let folder = tempfile::tempdir().unwrap();
        let users = users(folder.path());
        file::add(&folder.path().join("users.toml"), "eve", Role::Engineer, "correct horse").unwrap();
        assert_eq!(users.reload(), Ok(vec![]));
        let both = AccessLevel::CURRENT_READ | AccessLevel::CURRENT_WRITE;
        let level = |who: &str, path: &str| {
            users.effective_user_access_level(&UserToken(who.into()), both, &NodeId::new(2, path)).bits()
        };
        let (write, read) = (both.bits(), AccessLevel::CURRENT_READ.bits());
        for (path, op, eve) in [
            ("pump/speed", write, write),
            ("pump/limit", read, write),
            ("pump/limit2", write, write),
            ("pump/setup/a", read, write),
            ("pump/setup", write, write),
        ] {
            assert_eq!((level("op", path), level("eve", path)), (op, eve), "{path}");
            assert_eq!(
                (level("viewer", path), level("ANONYMOUS", path), level("nobody", path)),
                (read, read, 0)
            );
        }
    }

    #[tokio::test]
    async fn the_users_file_is_read_again_when_it_changes_and_tells_whose_sessions_end() {
        let folder = tempfile::tempdir().unwrap();
        let users = users(folder.path());
        let at = folder.path().join("users.toml");
        file::add(&at, "eve", Role::Engineer, "correct horse").unwrap();
        file::add(&at, "adam", Role::Operator, "correct horse").unwrap();
        assert_eq!(users.reload(), Ok(vec![]));
        assert_eq!(ask(&users, "eve", "correct horse").await, Ok(UserToken("eve".into())));
        file::set(&at, "eve", Some(Role::Observer), "battery staple").unwrap();
        assert_eq!(users.reload(), Ok(vec!["eve".to_owned()]));
        assert!(ask(&users, "eve", "correct horse").await.is_err());
        std::fs::write(&at, "damaged").unwrap();
        assert!(users.reload().is_err());
        assert!(ask(&users, "adam", "correct horse").await.is_ok(), "stays as it was");
        assert_eq!(users.reload(), Ok(vec![]), "told once");
        std::fs::remove_file(&at).unwrap();
        let mut ended = users.reload().unwrap();
        ended.sort();
        assert_eq!(ended, ["adam", "eve"]);
        assert!(ask(&users, "op", "op-pw").await.is_ok(), "those of the configuration stay");
    }
}
