//! Whether a client's certificate is good: the steps of OPC 10000-4 §6.1.3, in the order of its table. Pure.

use std::fmt;

use super::x509::{Certificate, Crl};

/// What is wrong with a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Fault {
    /// No certificate, or its signature is wrong.
    Invalid,
    /// Whoever issued it is not known here.
    ChainIncomplete,
    /// No RSA key of 2048 to 4096 bits, or a weak signature.
    Policy,
    Untrusted,
    /// Expired or not yet valid.
    Time,
    IssuerTime,
    /// Its application URI is not that of the client.
    Uri,
    /// It is not for clients.
    Use,
    /// Whoever issued it may not issue any.
    IssuerUse,
    /// There is no list of its issuer that tells, or one that is out of date.
    RevocationUnknown,
    IssuerRevocationUnknown,
    Revoked,
    IssuerRevoked,
    /// Not the certificate of the channel.
    Changed,
}

impl Fault {
    /// The status code (OPC 10000-6 annex A.2).
    pub(crate) fn code(self) -> u32 {
        match self {
            Fault::Invalid => 0x8012_0000,
            Fault::ChainIncomplete => 0x810D_0000,
            Fault::Policy => 0x8114_0000,
            Fault::Untrusted => 0x801A_0000,
            Fault::Time => 0x8014_0000,
            Fault::IssuerTime => 0x8015_0000,
            Fault::Uri => 0x8017_0000,
            Fault::Use => 0x8018_0000,
            Fault::IssuerUse => 0x8019_0000,
            Fault::RevocationUnknown => 0x801B_0000,
            Fault::IssuerRevocationUnknown => 0x801C_0000,
            Fault::Revoked => 0x801D_0000,
            Fault::IssuerRevoked => 0x801E_0000,
            Fault::Changed => 0x8013_0000,
        }
    }

    /// What to do about it.
    pub(crate) fn help(self) -> &'static str {
        match self {
            Fault::Invalid => {
                "the client must bring one certificate of its own, without those of its issuers"
            }
            Fault::ChainIncomplete => {
                "put the certificate of its issuer into pki/issuers, or into pki/trusted to trust all that it issues"
            }
            Fault::Policy => "the client needs an RSA key of 2048 to 4096 bits and a signature with SHA-256",
            Fault::Untrusted => "if you know the client, trust it: fieldgate pki trust",
            Fault::Time | Fault::IssuerTime => "renew it, and compare the clocks of both sides",
            Fault::Uri => {
                "set the client's application URI to the one in its certificate, or make it a new one"
            }
            Fault::Use => "the client needs a certificate for digital signatures, encipherment and clients",
            Fault::IssuerUse => "the issuer needs a certificate of an authority",
            Fault::RevocationUnknown | Fault::IssuerRevocationUnknown => {
                "put the issuer's current revocation list into pki/crl"
            }
            Fault::Revoked | Fault::IssuerRevoked => "the client needs a new certificate",
            Fault::Changed => {
                "the client must keep the certificate and the policy with which it opened the channel"
            }
        }
    }

    /// What to do about it where it is the certificate of a user.
    pub(crate) fn user_help(self) -> &'static str {
        match self {
            Fault::Policy => "the user needs an RSA key of 2048 to 4096 bits and a signature with SHA-256",
            Fault::Time => "renew it, and look at this machine's clock",
            Fault::Use => "the user needs a certificate for digital signatures",
            _ => "the user needs a new one",
        }
    }

    /// The name of the status code.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Fault::Invalid => "BadCertificateInvalid",
            Fault::ChainIncomplete => "BadCertificateChainIncomplete",
            Fault::Policy => "BadCertificatePolicyCheckFailed",
            Fault::Untrusted => "BadCertificateUntrusted",
            Fault::Time => "BadCertificateTimeInvalid",
            Fault::IssuerTime => "BadCertificateIssuerTimeInvalid",
            Fault::Uri => "BadCertificateUriInvalid",
            Fault::Use => "BadCertificateUseNotAllowed",
            Fault::IssuerUse => "BadCertificateIssuerUseNotAllowed",
            Fault::RevocationUnknown => "BadCertificateRevocationUnknown",
            Fault::IssuerRevocationUnknown => "BadCertificateIssuerRevocationUnknown",
            Fault::Revoked => "BadCertificateRevoked",
            Fault::IssuerRevoked => "BadCertificateIssuerRevoked",
            Fault::Changed => "BadSecurityChecksFailed",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What is trusted, and by whom it may be issued.
#[derive(Debug, Default)]
pub(crate) struct TrustList {
    /// Clients, and authorities whose clients are trusted.
    pub(crate) trusted: Vec<Certificate>,
    /// Authorities that complete a chain without being trusted themselves.
    pub(crate) issuers: Vec<Certificate>,
    pub(crate) crls: Vec<Crl>,
}

/// Longest chain, the client's own certificate included.
const LONGEST: usize = 8;

/// Whether a client with this certificate may open a channel at `now`, in seconds since 1970. Without a list
/// nobody need be trusted: then neither issuers nor revocation are looked at.
pub(crate) fn check(own: &Certificate, list: Option<&TrustList>, now: u64) -> Result<(), Fault> {
    let nobody = TrustList::default();
    let chain = match list {
        Some(list) => chain(own, list)?,
        None => Vec::new(),
    };
    if own.is_self_issued() && !own.is_signed_by(own) {
        return Err(Fault::Invalid);
    }
    for certificate in std::iter::once(own).chain(chain.iter().copied()) {
        if !is_strong(certificate) {
            return Err(Fault::Policy);
        }
    }
    if let Some(list) = list
        && !list.trusted.contains(own)
        && !chain.iter().any(|issuer| list.trusted.contains(issuer))
    {
        return Err(Fault::Untrusted);
    }
    let in_time = |(from, until): (u64, u64)| from <= now && now <= until;
    if !in_time(own.validity()) {
        return Err(Fault::Time);
    }
    if !chain.iter().all(|issuer| in_time(issuer.validity())) {
        return Err(Fault::IssuerTime);
    }
    if !own.is_for_clients() {
        return Err(Fault::Use);
    }
    for (between, issuer) in chain.iter().enumerate() {
        if !issuer.is_authority() || issuer.path_length().is_some_and(|most| usize::from(most) < between) {
            return Err(Fault::IssuerUse);
        }
    }
    let crls = &list.unwrap_or(&nobody).crls;
    let issued = std::iter::once(own).chain(chain.iter().copied());
    for (place, (issued, issuer)) in issued.zip(chain.iter()).enumerate() {
        let (unknown, revoked) = match place {
            0 => (Fault::RevocationUnknown, Fault::Revoked),
            _ => (Fault::IssuerRevocationUnknown, Fault::IssuerRevoked),
        };
        let lists: Vec<&Crl> = crls.iter().filter(|crl| crl.is_by(issuer)).collect();
        // An old list still tells whom it names.
        if lists.iter().any(|crl| crl.revokes(issued)) {
            return Err(revoked);
        }
        if !lists.iter().any(|crl| in_time(crl.validity())) {
            return Err(unknown);
        }
    }
    Ok(())
}

fn is_strong(certificate: &Certificate) -> bool {
    certificate.key_bits().is_some_and(|bits| (2048..=4096).contains(&bits)) && certificate.strong_signature()
}

/// Whether a user can log in with this certificate at `now`: it is known by itself, so its issuers are not looked at.
pub(crate) fn check_user(own: &Certificate, now: u64) -> Result<(), Fault> {
    // First: of other kinds of keys and signatures nothing can be said here.
    if !is_strong(own) {
        return Err(Fault::Policy);
    }
    if own.is_self_issued() && !own.is_signed_by(own) {
        return Err(Fault::Invalid);
    }
    let (from, until) = own.validity();
    if !(from..=until).contains(&now) {
        return Err(Fault::Time);
    }
    if own.is_for_signatures() { Ok(()) } else { Err(Fault::Use) }
}

/// Who issued it, who issued that, … up to one that issued itself.
fn chain<'a>(own: &Certificate, list: &'a TrustList) -> Result<Vec<&'a Certificate>, Fault> {
    let mut chain: Vec<&Certificate> = Vec::new();
    loop {
        let last = chain.last().copied().unwrap_or(own);
        if last.is_self_issued() {
            return Ok(chain);
        }
        let mut known = list.issuers.iter().chain(&list.trusted);
        match known.find(|issuer| last.is_signed_by(issuer)) {
            Some(issuer) if chain.len() + 1 < LONGEST => chain.push(issuer),
            _ => return Err(Fault::ChainIncomplete),
        }
    }
}

/// Whether the application URI that a client says is the one in its certificate.
pub(crate) fn check_uri(certificate: &Certificate, uri: &str) -> Result<(), Fault> {
    if certificate.uris().iter().any(|one| one == uri) { Ok(()) } else { Err(Fault::Uri) }
}
