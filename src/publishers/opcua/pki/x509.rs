//! X.509 as far as the checks need it: read, verify, make. Only this file names the crates for it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rsa::pkcs1v15::{Signature, SigningKey, VerifyingKey};
use rsa::pkcs8::{DecodePrivateKey, EncodePrivateKey, EncodePublicKey, LineEnding};
use rsa::rand_core::{OsRng, RngCore};
use rsa::sha2::{Sha256, Sha384, Sha512};
use rsa::signature::Verifier;
use rsa::traits::PublicKeyParts;
use rsa::{RsaPrivateKey, RsaPublicKey};
use sha1::{Digest, Sha1};
use x509_cert::builder::{Builder, CertificateBuilder, Profile};
use x509_cert::crl::CertificateList;
use x509_cert::der::asn1::{Ia5String, ObjectIdentifier, OctetString, UtcTime};
use x509_cert::der::{Decode, DecodePem, Encode, EncodePem};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages, SubjectAltName,
    SubjectKeyIdentifier,
};
use x509_cert::name::{Name, RdnSequence};
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};
use x509_cert::time::{Time, Validity};

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
const SHA1_RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.5");
const SHA256_RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.11");
const SHA384_RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.12");
const SHA512_RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.13");
const CLIENT_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2");
const SERVER_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1");
const ANY_USE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37.0");

/// A certificate that could be read.
#[derive(Debug, Clone)]
pub(crate) struct Certificate {
    der: Vec<u8>,
    value: x509_cert::Certificate,
}

impl Certificate {
    /// Exactly one certificate in DER.
    pub(crate) fn from_der(der: &[u8]) -> Option<Certificate> {
        let value = x509_cert::Certificate::from_der(der).ok()?;
        Some(Certificate { der: der.to_vec(), value })
    }

    /// A file with one certificate, DER or PEM.
    pub(crate) fn from_file(bytes: &[u8]) -> Option<Certificate> {
        if let Some(read) = Certificate::from_der(bytes) {
            return Some(read);
        }
        let value = x509_cert::Certificate::from_pem(bytes).ok()?;
        Some(Certificate { der: value.to_der().ok()?, value })
    }

    pub(crate) fn der(&self) -> &[u8] {
        &self.der
    }

    /// As PEM text.
    pub(crate) fn pem(&self) -> Option<String> {
        self.value.to_pem(x509_cert::der::pem::LineEnding::LF).ok()
    }

    /// SHA-1 of the DER in hexadecimal, as OPC UA shows it (OPC 10000-6 §6.2.2).
    pub(crate) fn thumbprint(&self) -> String {
        Sha1::digest(&self.der).iter().map(|byte| format!("{byte:02X}")).collect()
    }

    pub(crate) fn subject(&self) -> String {
        self.value.tbs_certificate.subject.to_string()
    }

    pub(crate) fn common_name(&self) -> Option<String> {
        let parts = self.value.tbs_certificate.subject.0.iter().flat_map(|rdn| rdn.0.iter());
        let name = parts.filter(|part| part.oid == COMMON_NAME).map(|part| part.value.value()).next()?;
        Some(String::from_utf8_lossy(name).into_owned())
    }

    fn names(&self) -> Vec<GeneralName> {
        self.value.tbs_certificate.get::<SubjectAltName>().ok().flatten().map_or(Vec::new(), |(_, n)| n.0)
    }

    /// The application URIs in it; one that is right has one.
    pub(crate) fn uris(&self) -> Vec<String> {
        let uri = |name: &GeneralName| match name {
            GeneralName::UniformResourceIdentifier(uri) => Some(uri.to_string()),
            _ => None,
        };
        self.names().iter().filter_map(uri).collect()
    }

    /// Host names and addresses in it.
    pub(crate) fn hosts(&self) -> Vec<String> {
        let host = |name: &GeneralName| match name {
            GeneralName::DnsName(name) => Some(name.to_string()),
            GeneralName::IpAddress(bytes) => match bytes.as_bytes().len() {
                4 => <[u8; 4]>::try_from(bytes.as_bytes())
                    .ok()
                    .map(|b| std::net::Ipv4Addr::from(b).to_string()),
                _ => <[u8; 16]>::try_from(bytes.as_bytes())
                    .ok()
                    .map(|b| std::net::Ipv6Addr::from(b).to_string()),
            },
            _ => None,
        };
        self.names().iter().filter_map(host).collect()
    }

    /// From when to when it is good, in seconds since 1970.
    pub(crate) fn validity(&self) -> (u64, u64) {
        let validity = &self.value.tbs_certificate.validity;
        (seconds(validity.not_before), seconds(validity.not_after))
    }

    fn key(&self) -> Option<RsaPublicKey> {
        use x509_cert::der::referenced::OwnedToRef;
        RsaPublicKey::try_from(self.value.tbs_certificate.subject_public_key_info.owned_to_ref()).ok()
    }

    /// Length of its RSA key in bits; none for other keys and for those beyond 4096.
    pub(crate) fn key_bits(&self) -> Option<usize> {
        Some(self.key()?.n().bits())
    }

    /// Signed with RSA and SHA-256 or better.
    pub(crate) fn strong_signature(&self) -> bool {
        [SHA256_RSA, SHA384_RSA, SHA512_RSA].contains(&self.value.signature_algorithm.oid)
    }

    pub(crate) fn is_self_issued(&self) -> bool {
        let inner = &self.value.tbs_certificate;
        inner.issuer == inner.subject
    }

    /// Whether `issuer` has signed it.
    pub(crate) fn is_signed_by(&self, issuer: &Certificate) -> bool {
        let inner = &self.value.tbs_certificate;
        let Ok(signed) = inner.to_der() else { return false };
        inner.issuer == issuer.value.tbs_certificate.subject
            && inner.signature == self.value.signature_algorithm
            && issuer.verifies(&self.value.signature_algorithm, &signed, self.value.signature.raw_bytes())
    }

    fn verifies(&self, algorithm: &AlgorithmIdentifierOwned, signed: &[u8], signature: &[u8]) -> bool {
        let (Some(key), Ok(signature)) = (self.key(), Signature::try_from(signature)) else { return false };
        match algorithm.oid {
            SHA1_RSA => VerifyingKey::<Sha1>::new(key).verify(signed, &signature).is_ok(),
            SHA256_RSA => VerifyingKey::<Sha256>::new(key).verify(signed, &signature).is_ok(),
            SHA384_RSA => VerifyingKey::<Sha384>::new(key).verify(signed, &signature).is_ok(),
            SHA512_RSA => VerifyingKey::<Sha512>::new(key).verify(signed, &signature).is_ok(),
            _ => false,
        }
    }

    /// Whether it says that it may sign others.
    pub(crate) fn is_authority(&self) -> bool {
        let inner = &self.value.tbs_certificate;
        let basic = inner.get::<BasicConstraints>().ok().flatten().is_some_and(|(_, basic)| basic.ca);
        let usage = inner.get::<KeyUsage>().ok().flatten();
        basic && usage.is_none_or(|(_, usage)| usage.key_cert_sign())
    }

    /// How many authorities may stand between it and an application.
    pub(crate) fn path_length(&self) -> Option<u8> {
        let basic = self.value.tbs_certificate.get::<BasicConstraints>().ok().flatten()?;
        basic.1.path_len_constraint
    }

    /// Whether it may be the certificate of a client (OPC 10000-6 §6.2.2): what it says of its use must allow it.
    pub(crate) fn is_for_clients(&self) -> bool {
        let inner = &self.value.tbs_certificate;
        let usage = match inner.get::<KeyUsage>() {
            Ok(usage) => usage.is_none_or(|(_, usage)| {
                usage.digital_signature() && (usage.key_encipherment() || usage.data_encipherment())
            }),
            Err(_) => false,
        };
        let extended = match inner.get::<ExtendedKeyUsage>() {
            Ok(usage) => {
                usage.is_none_or(|(_, list)| list.0.iter().any(|u| [CLIENT_AUTH, ANY_USE].contains(u)))
            }
            Err(_) => false,
        };
        usage && extended
    }

    /// Whether its key may sign, by what it says of its use.
    pub(crate) fn is_for_signatures(&self) -> bool {
        let usage = self.value.tbs_certificate.get::<KeyUsage>();
        usage.is_ok_and(|usage| usage.is_none_or(|(_, usage)| usage.digital_signature()))
    }

    /// Whether the private key belongs to it.
    pub(crate) fn belongs_to(&self, key: &Key) -> bool {
        self.key().is_some_and(|public| public == key.0.to_public_key())
    }
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Certificate) -> bool {
        self.der == other.der
    }
}

/// A revocation list that could be read.
#[derive(Debug, Clone)]
pub(crate) struct Crl(CertificateList);

impl Crl {
    /// A file with one list, DER or PEM; none where it says something critical that is not understood here.
    pub(crate) fn from_file(bytes: &[u8]) -> Option<Crl> {
        let list = match CertificateList::from_der(bytes) {
            Ok(list) => list,
            Err(_) => {
                let (label, der) = x509_cert::der::pem::decode_vec(bytes).ok()?;
                CertificateList::from_der(&der).ok().filter(|_| label == "X509 CRL")?
            }
        };
        let mut extensions = list.tbs_cert_list.crl_extensions.iter().flatten();
        (!extensions.any(|extension| extension.critical)).then_some(Crl(list))
    }

    /// Whether `issuer` has made it.
    pub(crate) fn is_by(&self, issuer: &Certificate) -> bool {
        let Ok(signed) = self.0.tbs_cert_list.to_der() else { return false };
        self.0.tbs_cert_list.issuer == issuer.value.tbs_certificate.subject
            && issuer.verifies(&self.0.signature_algorithm, &signed, self.0.signature.raw_bytes())
    }

    pub(crate) fn revokes(&self, certificate: &Certificate) -> bool {
        let serial = &certificate.value.tbs_certificate.serial_number;
        let mut revoked = self.0.tbs_cert_list.revoked_certificates.iter().flatten();
        revoked.any(|entry| entry.serial_number == *serial)
    }

    /// From when to when it is good, in seconds since 1970.
    pub(crate) fn validity(&self) -> (u64, u64) {
        let list = &self.0.tbs_cert_list;
        (seconds(list.this_update), list.next_update.map_or(u64::MAX, seconds))
    }
}

fn seconds(time: Time) -> u64 {
    time.to_unix_duration().as_secs()
}

/// A private key of ours.
pub(crate) struct Key(RsaPrivateKey);

impl Key {
    const BITS: usize = 2048;

    /// A new one.
    pub(crate) fn make() -> Result<Key, String> {
        RsaPrivateKey::new(&mut OsRng, Self::BITS).map(Key).map_err(|why| why.to_string())
    }

    pub(crate) fn from_pem(text: &str) -> Option<Key> {
        // Carriage returns alone were written by earlier versions.
        RsaPrivateKey::from_pkcs8_pem(&text.replace('\r', "\n")).ok().map(Key)
    }

    pub(crate) fn pem(&self) -> Result<String, String> {
        self.0.to_pkcs8_pem(LineEnding::LF).map(|text| text.to_string()).map_err(|why| why.to_string())
    }
}

/// What a new certificate of ours says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Says {
    pub(crate) name: String,
    /// The application URI.
    pub(crate) uri: String,
    /// Host names and addresses.
    pub(crate) hosts: Vec<String>,
    pub(crate) days: u64,
}

/// A self-signed certificate of an application that is server and client (OPC 10000-6 §6.2.2).
pub(crate) fn self_signed(says: &Says, key: &Key) -> Result<Certificate, String> {
    make(says, key).map_err(|why| format!("cannot make a certificate: {why}"))
}

fn make(says: &Says, key: &Key) -> Result<Certificate, Box<dyn std::error::Error>> {
    let public = SubjectPublicKeyInfoOwned::from_der(key.0.to_public_key().to_public_key_der()?.as_bytes())?;
    // An hour back, for peers whose clocks are behind.
    let from = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs().saturating_sub(3600);
    let until = from + 3600 + says.days * 86_400;
    let validity = Validity { not_before: time(from)?, not_after: time(until)? };
    let mut serial = [0; 16];
    OsRng.fill_bytes(&mut serial);
    // Positive and of 16 bytes.
    serial[0] = serial[0] & 0x7f | 0x40;
    let serial = SerialNumber::new(&serial)?;
    let subject = subject(&says.name)?;
    let id = OctetString::new(Sha1::digest(public.subject_public_key.raw_bytes()).as_slice())?;
    let signer = SigningKey::<Sha256>::new(key.0.clone());
    let profile = Profile::Manual { issuer: Some(subject.clone()) };
    let mut builder =
        CertificateBuilder::new(profile, serial.clone(), validity, subject.clone(), public, &signer)?;
    builder.add_extension(&SubjectKeyIdentifier(id.clone()))?;
    builder.add_extension(&AuthorityKeyIdentifier {
        key_identifier: Some(id),
        authority_cert_issuer: Some(vec![GeneralName::DirectoryName(subject)]),
        authority_cert_serial_number: Some(serial),
    })?;
    builder.add_extension(&BasicConstraints { ca: false, path_len_constraint: None })?;
    builder.add_extension(&KeyUsage(
        KeyUsages::DigitalSignature
            | KeyUsages::NonRepudiation
            | KeyUsages::KeyEncipherment
            | KeyUsages::DataEncipherment
            | KeyUsages::KeyCertSign,
    ))?;
    builder.add_extension(&ExtendedKeyUsage(vec![SERVER_AUTH, CLIENT_AUTH]))?;
    let mut names = vec![GeneralName::UniformResourceIdentifier(Ia5String::new(&says.uri)?)];
    for host in &says.hosts {
        names.push(match host.parse() {
            Ok(std::net::IpAddr::V4(ip)) => GeneralName::IpAddress(OctetString::new(ip.octets())?),
            Ok(std::net::IpAddr::V6(ip)) => GeneralName::IpAddress(OctetString::new(ip.octets())?),
            Err(_) => GeneralName::DnsName(Ia5String::new(host)?),
        });
    }
    builder.add_extension(&SubjectAltName(names))?;
    let value = builder.build::<Signature>()?;
    Ok(Certificate { der: value.to_der()?, value })
}

/// `CN` and `O`, whatever characters the name has.
fn subject(name: &str) -> Result<Name, Box<dyn std::error::Error>> {
    use x509_cert::attr::AttributeTypeAndValue;
    use x509_cert::der::Any;
    use x509_cert::der::asn1::{SetOfVec, Utf8StringRef};
    use x509_cert::name::RelativeDistinguishedName;
    // 64 characters are the most (RFC 5280 appendix A.1, ub-common-name).
    let name: String = name.chars().take(64).collect();
    let part = |oid, text: &str| -> Result<_, Box<dyn std::error::Error>> {
        let value = Any::from(Utf8StringRef::new(text)?);
        let one = SetOfVec::try_from(vec![AttributeTypeAndValue { oid, value }])?;
        Ok(RelativeDistinguishedName(one))
    };
    let organization = ObjectIdentifier::new_unwrap("2.5.4.10");
    Ok(RdnSequence(vec![part(organization, "Fieldgate")?, part(COMMON_NAME, &name)?]))
}

/// UTCTime until 2049, GeneralizedTime from then on (RFC 5280 §4.1.2.5).
fn time(seconds: u64) -> Result<Time, Box<dyn std::error::Error>> {
    let since = Duration::from_secs(seconds);
    Ok(match UtcTime::from_unix_duration(since) {
        Ok(time) => Time::UtcTime(time),
        Err(_) => Time::GeneralTime(x509_cert::der::asn1::GeneralizedTime::from_unix_duration(since)?),
    })
}
