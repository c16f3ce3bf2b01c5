//! The unencrypted frame of OPC UA connection messages, OPC 10000-6 section 7.1.2: what can be judged before a channel.

use super::status::Status;

/// Bytes of a message header.
pub(super) const HEADER: usize = 8;
/// Longest endpoint address in a Hello (section 7.1.2.3).
const LONGEST_URL: usize = 4096;
/// A Hello: header, five numbers, the address with its length.
pub(super) const LONGEST_HELLO: usize = HEADER + 20 + 4 + LONGEST_URL;

/// What ends a connection, as the client is told.
pub(super) type Refusal = (Status, &'static str);

/// What a header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// `HEL`, `OPN`, `MSG`, …
    pub(super) kind: [u8; 3],
    /// `F` final, `C` more follow, `A` aborted.
    pub(super) last: u8,
    /// Bytes of the whole chunk, header included.
    pub(super) size: usize,
}

/// Reads a header.
pub(super) fn header(bytes: [u8; HEADER]) -> Header {
    let [a, b, c, last, s0, s1, s2, s3] = bytes;
    let size = usize::try_from(u32::from_le_bytes([s0, s1, s2, s3])).unwrap_or(usize::MAX);
    Header { kind: [a, b, c], last, size }
}

/// An error message; the connection ends after it.
pub(super) fn error(status: Status, why: &str) -> Vec<u8> {
    framed(*b"ERR", |body| {
        body.extend(status.0.to_le_bytes());
        string(body, why);
    })
}

/// A ReverseHello (section 7.1.2.6): who calls, and the address that the Hello shall have.
pub(super) fn reverse_hello(server: &str, endpoint: &str) -> Vec<u8> {
    framed(*b"RHE", |body| {
        string(body, server);
        string(body, endpoint);
    })
}

fn framed(kind: [u8; 3], fill: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut message = kind.to_vec();
    message.extend(b"F\0\0\0\0");
    fill(&mut message);
    let size = u32::try_from(message.len()).unwrap_or(u32::MAX).to_le_bytes();
    for (to, from) in message.iter_mut().skip(4).zip(size) {
        *to = from;
    }
    message
}

fn string(to: &mut Vec<u8>, text: &str) {
    to.extend(u32::try_from(text.len()).unwrap_or(0).to_le_bytes());
    to.extend(text.as_bytes());
}

/// A ByteString or String, which may be null, and what follows it.
fn read_bytes(bytes: &[u8]) -> Option<(Option<&[u8]>, &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    match i32::from_le_bytes(*length) {
        -1 => Some((None, rest)),
        length => {
            let (bytes, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
            Some((Some(bytes), rest))
        }
    }
}

/// A string that is not null, and what follows it.
fn read_string(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (text, rest) = read_bytes(bytes)?;
    Some((std::str::from_utf8(text?).ok()?, rest))
}

/// The endpoint's address in a Hello.
pub(super) fn hello_url(message: &[u8]) -> Option<&str> {
    Some(read_string(message.get(HEADER + 20..)?)?.0)
}

/// The endpoint's address in a ReverseHello.
pub(super) fn reverse_hello_url(message: &[u8]) -> Option<&str> {
    let (_, rest) = read_string(message.get(HEADER..)?)?;
    Some(read_string(rest)?.0)
}

/// The security policy without security.
pub(super) const NONE: &str = "http://opcfoundation.org/UA/SecurityPolicy#None";

/// What stands unencrypted at the start of an OPN (section 6.7.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Opening {
    /// 0 in the first one of a client.
    pub(super) channel: u32,
    pub(super) policy: String,
    /// Of the sender, DER; none where it is null or empty.
    pub(super) certificate: Option<Vec<u8>>,
}

/// Reads the start of a whole OPN.
pub(super) fn opening(message: &[u8]) -> Result<Opening, Refusal> {
    let read = || -> Option<Opening> {
        let (channel, rest) = message.get(HEADER..)?.split_first_chunk()?;
        let (policy, rest) = read_string(rest)?;
        let (certificate, _) = read_bytes(rest)?;
        Some(Opening {
            channel: u32::from_le_bytes(*channel),
            policy: policy.to_owned(),
            certificate: certificate.filter(|bytes| !bytes.is_empty()).map(<[u8]>::to_vec),
        })
    };
    read().ok_or((Status::BAD_DECODING_ERROR, "no OPN"))
}

/// Counts the chunks and bytes of the message that is coming in.
#[derive(Debug, Default)]
pub(super) struct Guard {
    chunks: usize,
    bytes: usize,
}

impl Guard {
    /// Largest chunk: the receive buffer that the Acknowledge grants.
    pub(super) const CHUNK: usize = 65_535;
    /// Most chunks of a message.
    pub(super) const CHUNKS: usize = 512;
    /// Most bytes of a message, over all its chunks.
    pub(super) const MESSAGE: usize = 16 << 20;

    /// Whether a chunk with this header may come in; before its body is read.
    pub(super) fn take(&mut self, header: Header) -> Result<(), Status> {
        if !matches!(&header.kind, b"OPN" | b"MSG" | b"CLO") || !matches!(header.last, b'F' | b'C' | b'A') {
            return Err(Status::BAD_TCP_MESSAGE_TYPE_INVALID);
        }
        if header.size > Self::CHUNK {
            return Err(Status::BAD_TCP_MESSAGE_TOO_LARGE);
        }
        // The shortest has its header, a channel, a token, a sequence number and a request.
        if header.size < HEADER + 12 {
            return Err(Status::BAD_DECODING_ERROR);
        }
        self.chunks += 1;
        self.bytes += header.size;
        if self.chunks > Self::CHUNKS || self.bytes > Self::MESSAGE {
            return Err(Status::BAD_TCP_MESSAGE_TOO_LARGE);
        }
        if header.last != b'C' {
            *self = Guard::default();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(kind: &[u8; 3], last: u8, size: usize) -> Header {
        Header { kind: *kind, last, size }
    }

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
        let refused = Err((Status::BAD_DECODING_ERROR, "no OPN"));
        let whole = frame("p", Some(b"cert"));
        // The thumbprint at the end is not looked at.
        for end in 0..whole.len() - 4 {
            assert_eq!(opening(&whole[..end]), refused, "{end}");
        }
        for length in [-2, i32::MIN, i32::MAX, 5] {
            let mut wrong = frame("p", Some(b"cert"));
            wrong[17..21].copy_from_slice(&i32::to_le_bytes(length));
            wrong.truncate(25);
            assert_eq!(opening(&wrong), refused, "{length}");
        }
    }

    #[test]
    fn messages_have_their_length_and_give_their_address_back() {
        let rhe = reverse_hello("urn:box:fieldgate", "opc.tcp://gw:4840/");
        let (head, _) = rhe.split_first_chunk().unwrap();
        assert_eq!(header(*head), chunk(b"RHE", b'F', rhe.len()));
        assert_eq!(reverse_hello_url(&rhe), Some("opc.tcp://gw:4840/"));
        let mut hello = b"HELF\x39\0\0\0".to_vec();
        hello.extend([0; 20]);
        string(&mut hello, "opc.tcp://127.0.0.1:1234/");
        assert_eq!(hello.len(), 57, "as in the example of the specification's sizes");
        assert_eq!(hello_url(&hello), Some("opc.tcp://127.0.0.1:1234/"));
        let error = error(Status::BAD_TIMEOUT, "late");
        assert_eq!(error, b"ERRF\x14\0\0\0\0\0\x0a\x80\x04\0\0\0late");
    }

    #[test]
    fn what_is_cut_off_has_no_address_and_breaks_nothing() {
        let mut hello = b"HELF\0\0\0\0".to_vec();
        hello.extend([0; 20]);
        string(&mut hello, "opc.tcp://x/");
        let rhe = reverse_hello("a", "b");
        for cut in 0..hello.len() {
            assert_eq!(hello_url(&hello[..cut]), None);
        }
        for cut in 0..rhe.len() {
            assert_eq!(reverse_hello_url(&rhe[..cut]), None);
        }
        // The null string of length -1.
        assert_eq!(hello_url(&[[0; 28].as_slice(), &[255; 4]].concat()), None);
    }

    #[test]
    fn a_chunk_that_is_no_chunk_or_too_large_is_refused_before_its_body() {
        let mut guard = Guard::default();
        assert_eq!(guard.take(chunk(b"MSG", b'F', 100)), Ok(()));
        for (wrong, status) in [
            (chunk(b"GET", b' ', 100), Status::BAD_TCP_MESSAGE_TYPE_INVALID),
            (chunk(b"HEL", b'F', 100), Status::BAD_TCP_MESSAGE_TYPE_INVALID),
            (chunk(b"MSG", b'X', 100), Status::BAD_TCP_MESSAGE_TYPE_INVALID),
            (chunk(b"MSG", b'F', 0), Status::BAD_DECODING_ERROR),
            (chunk(b"MSG", b'F', 65_536), Status::BAD_TCP_MESSAGE_TOO_LARGE),
            (chunk(b"MSG", b'F', usize::MAX), Status::BAD_TCP_MESSAGE_TOO_LARGE),
        ] {
            assert_eq!(Guard::default().take(wrong), Err(status), "{wrong:?}");
        }
    }

    #[test]
    fn a_message_has_an_end_in_chunks_and_in_bytes() {
        let mut small = Guard::default();
        for _ in 0..Guard::CHUNKS {
            assert_eq!(small.take(chunk(b"MSG", b'C', 100)), Ok(()));
        }
        assert_eq!(small.take(chunk(b"MSG", b'C', 100)), Err(Status::BAD_TCP_MESSAGE_TOO_LARGE));
        let mut large = Guard::default();
        let taken = (0..).take_while(|_| large.take(chunk(b"MSG", b'C', Guard::CHUNK)).is_ok()).count();
        assert_eq!(taken, Guard::MESSAGE / Guard::CHUNK);
        let mut aborted = Guard::default();
        for last in [b'C', b'A', b'F'].into_iter().cycle().take(2000) {
            assert_eq!(aborted.take(chunk(b"MSG", last, 60_000)), Ok(()));
        }
    }
}
