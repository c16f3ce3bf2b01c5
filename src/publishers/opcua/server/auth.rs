//! Who may log in, and who may write.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use opcua::server::ServerEndpoint;
use opcua::server::address_space::AccessLevel;
use opcua::server::authenticator::{AuthManager, Password, UserToken, user_pass_security_policy_id};
use opcua::types::{
    Error, MessageSecurityMode, NodeId, StatusCode, UAString, UserTokenPolicy, UserTokenType,
};

/// A user with the password, known since the start.
pub(super) struct Login {
    pub(super) name: String,
    pub(super) password: String,
    pub(super) write: bool,
}

/// All users, and how often each was named with a wrong password.
pub(super) struct Users {
    logins: Vec<Login>,
    anonymous: bool,
    /// Wrong passwords since the last right one, by position in `logins`; unknown names share the last place.
    wrong: Mutex<HashMap<usize, u32>>,
}

impl Users {
    /// The answer to a first wrong password comes so late; each further one twice as late.
    const DELAY: Duration = Duration::from_millis(250);
    /// The latest answer.
    const LONGEST_DELAY: Duration = Duration::from_secs(4);

    pub(super) fn new(logins: Vec<Login>, anonymous: bool) -> Users {
        Users { logins, anonymous, wrong: Mutex::default() }
    }

    /// Whether this user may write at all. Clients without a user name never may.
    pub(super) fn may_write(&self, token: &UserToken) -> bool {
        !token.is_anonymous() && self.logins.iter().any(|login| login.name == token.0 && login.write)
    }

    fn wrong(&self) -> MutexGuard<'_, HashMap<usize, u32>> {
        self.wrong.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn delay(&self, place: usize) -> Duration {
        let mut wrong = self.wrong();
        let count = wrong.entry(place).or_default();
        let delay = Self::DELAY.saturating_mul(1 << (*count).min(8)).min(Self::LONGEST_DELAY);
        *count = count.saturating_add(1);
        delay
    }
}

#[async_trait]
impl AuthManager for Users {
    async fn authenticate_anonymous_token(&self, endpoint: &ServerEndpoint) -> Result<(), Error> {
        if self.supports_anonymous(endpoint) {
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
        let refused = |why| Err(Error::new(StatusCode::BadUserAccessDenied, why));
        if !self.supports_user_pass(endpoint) {
            return refused("user names are not accepted here");
        }
        // An unknown name takes as long as a known one.
        let mut place = self.logins.len();
        let mut right = false;
        for (at, login) in self.logins.iter().enumerate() {
            let same = same(login.password.as_bytes(), password.get().as_bytes());
            if login.name == username {
                (place, right) = (at, same);
            }
        }
        if right {
            self.wrong().remove(&place);
            return Ok(UserToken(username.to_owned()));
        }
        let delay = self.delay(place);
        let user: String = username.chars().take(64).collect();
        tracing::warn!(target: "audit", publisher = "opcua", who = ?user, ?delay, "log-in refused: wrong user name or password");
        // Later, so that guessing takes long; the right password is never late.
        tokio::time::sleep(delay).await;
        refused("wrong user name or password")
    }

    fn effective_user_access_level(
        &self,
        token: &UserToken,
        user_access_level: AccessLevel,
        _node_id: &NodeId,
    ) -> AccessLevel {
        if self.may_write(token) { user_access_level } else { user_access_level - AccessLevel::CURRENT_WRITE }
    }

    fn user_token_policies(&self, endpoint: &ServerEndpoint) -> Vec<UserTokenPolicy> {
        let policy = |policy_id, token_type| UserTokenPolicy {
            policy_id,
            token_type,
            issued_token_type: UAString::null(),
            issuer_endpoint_url: UAString::null(),
            security_policy_uri: UAString::null(),
        };
        // A password never goes over an endpoint that is not encrypted.
        if endpoint.message_security_mode() == MessageSecurityMode::SignAndEncrypt {
            let some = !self.logins.is_empty();
            let policy = policy(user_pass_security_policy_id(endpoint), UserTokenType::UserName);
            return some.then_some(policy).into_iter().collect();
        }
        // The library accepts no other policy id for these.
        self.anonymous.then(|| policy("anonymous".into(), UserTokenType::Anonymous)).into_iter().collect()
    }
}

/// Compares in a time that tells nothing of the content.
fn same(ours: &[u8], theirs: &[u8]) -> bool {
    let mut differ = ours.len() ^ theirs.len();
    for (at, byte) in theirs.iter().enumerate() {
        differ |= usize::from(byte ^ ours.get(at).copied().unwrap_or(0));
    }
    std::hint::black_box(differ) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users() -> Users {
        let login = |name: &str, write| Login { name: name.into(), password: format!("{name}-pw"), write };
        Users::new(vec![login("op", true), login("viewer", false)], true)
    }

    fn encrypted() -> ServerEndpoint {
        ServerEndpoint::new_aes256_sha256_rsapss_sign_encrypt("/", &[])
    }

    #[test]
    fn only_equal_bytes_are_the_same() {
        assert!(same(b"abc", b"abc") && same(b"", b""));
        for (a, b) in [("abc", "abd"), ("abc", "ab"), ("ab", "abc"), ("", "a"), ("a\0", "a"), ("a", "a\0")] {
            assert!(!same(a.as_bytes(), b.as_bytes()), "{a:?} {b:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_wrong_password_is_answered_later_each_time_and_a_right_one_at_once() {
        let users = users();
        let ask = async |name: &str, password: &str| {
            let began = tokio::time::Instant::now();
            let password = Password::new(password.into());
            let answer = users.authenticate_username_identity_token(&encrypted(), name, &password).await;
            (answer.map_err(|e| e.status()), began.elapsed().as_millis())
        };
        let denied = |ms| (Err(StatusCode::BadUserAccessDenied), ms);
        assert_eq!(ask("op", "wrong").await, denied(250));
        assert_eq!(ask("op", "viewer-pw").await, denied(500));
        assert_eq!(ask("nobody", "op-pw").await, denied(250));
        assert_eq!(ask("op", "op-pw").await, (Ok(UserToken("op".into())), 0));
        assert_eq!(ask("op", "").await, denied(250));
        for _ in 0..40 {
            assert!(ask("op", "wrong").await.0.is_err());
        }
        assert_eq!(ask("op", "wrong").await, denied(4000));
    }

    #[tokio::test]
    async fn passwords_go_over_encrypted_endpoints_only_and_anonymous_over_none_only() {
        let users = users();
        let none = ServerEndpoint::new_none("/", &[]);
        let kinds = |endpoint: &ServerEndpoint| -> Vec<UserTokenType> {
            users.user_token_policies(endpoint).iter().map(|p| p.token_type).collect()
        };
        assert_eq!(kinds(&none), [UserTokenType::Anonymous]);
        assert_eq!(kinds(&encrypted()), [UserTokenType::UserName]);
        assert!(users.authenticate_anonymous_token(&none).await.is_ok());
        assert!(users.authenticate_anonymous_token(&encrypted()).await.is_err());
        let password = Password::new("op-pw".into());
        assert!(users.authenticate_username_identity_token(&none, "op", &password).await.is_err());
    }

    #[test]
    fn only_a_user_with_write_sees_a_tag_as_writable() {
        let users = users();
        let both = AccessLevel::CURRENT_READ | AccessLevel::CURRENT_WRITE;
        let level = |who: &str| {
            users.effective_user_access_level(&UserToken(who.into()), both, &NodeId::null()).bits()
        };
        assert_eq!(level("op"), (AccessLevel::CURRENT_READ | AccessLevel::CURRENT_WRITE).bits());
        for who in ["viewer", "nobody", "ANONYMOUS"] {
            assert_eq!(level(who), AccessLevel::CURRENT_READ.bits(), "{who}");
        }
    }
}
