//! Passwords as argon2id hashes (RFC 9106), in the PHC string format.

use std::sync::LazyLock;

use argon2::password_hash::rand_core::OsRng;
use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};

/// 19 MiB, two passes, one lane: what OWASP and the crate hold for the least.
const PARAMS: (u32, u32, u32) = (19_456, 2, 1);

fn argon() -> Option<Argon2<'static>> {
    let (memory, passes, lanes) = PARAMS;
    Some(Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(memory, passes, lanes, None).ok()?))
}

/// The hash of a password, with a salt of its own. Takes its time and 19 MiB.
pub(in crate::publishers::opcua) fn make(password: &str) -> Result<String, String> {
    let salt = SaltString::generate(&mut OsRng);
    let argon = argon().ok_or("argon2 cannot be set up")?;
    let hash = argon.hash_password(password.as_bytes(), &salt);
    hash.map(|hash| hash.to_string()).map_err(|error| format!("cannot make a hash: {error}"))
}

/// Whether this is a hash that [`check`] takes: argon2id, and no more work than our own.
pub(in crate::publishers::opcua) fn is_one(hash: &str) -> bool {
    let Ok(hash) = PasswordHash::new(hash) else { return false };
    let params = Params::try_from(&hash);
    let fits = params.is_ok_and(|p| (p.m_cost(), p.t_cost(), p.p_cost()) == PARAMS);
    hash.algorithm == Algorithm::Argon2id.ident() && hash.hash.is_some() && fits
}

/// Whether the password is that of the hash. Without one (an unknown user) the same work is done for nothing.
pub(in crate::publishers::opcua) fn check(password: &str, hash: Option<&str>) -> bool {
    static NOBODY: LazyLock<Option<String>> = LazyLock::new(|| make("nobody has this password").ok());
    let Some(against) = hash.or(NOBODY.as_deref()) else { return false };
    let Ok(parsed) = PasswordHash::new(against) else { return false };
    let same = argon().is_some_and(|argon| argon.verify_password(password.as_bytes(), &parsed).is_ok());
    same && hash.is_some()
}

/// Makes the hash of nobody, so that the first unknown name does not take longer than others.
pub(in crate::publishers::opcua) fn warm() {
    check("", None);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_knows_its_password_and_no_other_and_has_a_salt_of_its_own() {
        let hash = make("correct horse").unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert_ne!(hash, make("correct horse").unwrap());
        assert!(check("correct horse", Some(&hash)));
        assert!(!check("correct horse ", Some(&hash)) && !check("", Some(&hash)));
        assert!(!check("nobody has this password", None), "the hash of nobody lets nobody in");
        assert!(is_one(&hash));
        for bad in [
            "",
            "secret",
            "$argon2i$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNo",
            &hash.replace("19456", "999999"),
        ] {
            assert!(!is_one(bad), "{bad}");
        }
    }
}
