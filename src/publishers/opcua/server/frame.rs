//! What stands in clear at the start of an OPN (OPC 10000-6 §6.7.2). Pure.

use crate::publishers::opcua::wire::HEADER;

/// BadDecodingError.
const BAD_DECODING: u32 = 0x8007_0000;

/// What stands unencrypted at the start of an OPN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Opening {
    /// 0 in the first one of a client.
    pub(super) channel: u32,
    pub(super) policy: String,
    /// Of the sender, DER; none where it is null or empty.
    pub(super) certificate: Option<Vec<u8>>,
}

/// The security policy without security.
pub(super) const NONE: &str = "http://opcfoundation.org/UA/SecurityPolicy#None";

/// Reads the start of a whole OPN frame.
pub(super) fn opening(frame: &[u8]) -> Result<Opening, u32> {
    let read = || -> Option<Opening> {
        let rest = frame.get(HEADER..)?;
        let (channel, rest) = rest.split_first_chunk()?;
        let (policy, rest) = bytes(rest)?;
        let (certificate, _) = bytes(rest)?;
        Some(Opening {
            channel: u32::from_le_bytes(*channel),
            policy: String::from_utf8(policy?.to_vec()).ok()?,
            certificate: certificate.filter(|bytes| !bytes.is_empty()).map(<[u8]>::to_vec),
        })
    };
    read().ok_or(BAD_DECODING)
}

/// A ByteString or String, which may be null, and what follows.
fn bytes(from: &[u8]) -> Option<(Option<&[u8]>, &[u8])> {
    let (length, rest) = from.split_first_chunk()?;
    match i32::from_le_bytes(*length) {
        -1 => Some((None, rest)),
        length => {
            let (bytes, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
            Some((Some(bytes), rest))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(policy: &str, certificate: Option<&[u8]>) -> Vec<u8> {
        let mut frame = b"OPNF\0\0\0\0\x07\0\0\0".to_vec();
        for part in [Some(policy.as_bytes()), certificate, None] {
            frame.extend(part.map_or(-1, |part| part.len() as i32).to_le_bytes());
            frame.extend(part.unwrap_or_default());
        }
        frame
    }

    #[test]
    fn an_opening_tells_channel_policy_and_certificate() {
        let opened = opening(&frame("p", Some(b"cert"))).unwrap();
        assert_eq!(opened, Opening { channel: 7, policy: "p".into(), certificate: Some(b"cert".to_vec()) });
        assert_eq!(opening(&frame(NONE, None)).unwrap().certificate, None);
        assert_eq!(opening(&frame(NONE, Some(b""))).unwrap().certificate, None);
    }

    #[test]
    fn half_an_opening_is_refused_wherever_it_ends() {
        let whole = frame("p", Some(b"cert"));
        // The thumbprint at the end is not looked at.
        for end in 0..whole.len() - 4 {
            assert_eq!(opening(&whole[..end]), Err(BAD_DECODING), "{end}");
        }
        for length in [-2, i32::MIN, i32::MAX, 5] {
            let mut wrong = frame("p", Some(b"cert"));
            wrong[17..21].copy_from_slice(&i32::to_le_bytes(length));
            wrong.truncate(25);
            assert_eq!(opening(&wrong), Err(BAD_DECODING), "{length}");
        }
    }
}
