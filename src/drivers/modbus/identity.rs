//! The first bytes by which a modem that dials in is known: text, or hexadecimal behind `0x`.

/// Most bytes of an identity.
pub const MOST: usize = 64;
/// A shorter identity is not looked for again once it was said: an answer could begin like it.
const SHORTEST_HEARTBEAT: usize = 4;

/// Reads the value of the key `identity`. The error says what is wrong with it.
pub fn parse(text: &str) -> Result<Vec<u8>, String> {
    let bytes = match text.strip_prefix("0x") {
        None => text.as_bytes().to_vec(),
        Some(digits) => {
            let digit = |c: u8| char::from(c).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
            let pairs = digits.as_bytes().chunks(2).map(|pair| match pair {
                [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
                _ => None,
            });
            let bytes: Option<Vec<u8>> = pairs.collect();
            bytes.ok_or("behind `0x` stand two hexadecimal digits a byte")?
        }
    };
    match bytes.len() {
        0 => Err("it is empty".into()),
        length if length > MOST => Err(format!("it is {length} bytes long, and {MOST} are the most")),
        _ => Ok(bytes),
    }
}

/// Who dialled in, as far as the first bytes tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialler {
    /// The one of this number in the list.
    Known(usize),
    /// More bytes are needed.
    NotYet,
    /// Nobody of the list.
    Stranger,
}

/// No identity of the list is the beginning of another: the configuration forbids it.
pub(super) fn recognise<'a>(said: &[u8], known: impl Iterator<Item = &'a [u8]>) -> Dialler {
    let mut verdict = Dialler::Stranger;
    for (at, identity) in known.enumerate() {
        if said.starts_with(identity) {
            return Dialler::Known(at);
        }
        if identity.starts_with(said) {
            verdict = Dialler::NotYet;
        }
    }
    verdict
}

/// How many bytes at the start of what was read are the identity said again, with the line end behind it:
/// some modems send theirs again and again, so that the way through the mobile network stays open.
pub(super) fn heartbeat(read: &[u8], identity: &[u8]) -> usize {
    let mut used = 0;
    while identity.len() >= SHORTEST_HEARTBEAT
        && let Some(rest) = read.get(used..).and_then(|read| read.strip_prefix(identity))
    {
        used += identity.len() + rest.iter().take_while(|byte| b"\r\n".contains(byte)).count();
    }
    used
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_text_or_hexadecimal() {
        assert_eq!(parse("PUMP-07").unwrap(), b"PUMP-07");
        assert_eq!(parse("0x0102aB").unwrap(), [1, 2, 0xAB]);
        assert_eq!(parse(&"x".repeat(64)).unwrap().len(), 64);
        for wrong in ["", "0x", "0x1", "0x12g4", "0x+1", &"x".repeat(65)] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_dialler_is_known_as_soon_as_its_identity_is_whole() {
        let known = || [&b"PUMP-1"[..], b"PUMP-2", b"\x01\x02"].into_iter();
        assert_eq!(recognise(b"", known()), Dialler::NotYet);
        assert_eq!(recognise(b"PUMP-", known()), Dialler::NotYet);
        assert_eq!(recognise(b"PUMP-2", known()), Dialler::Known(1));
        assert_eq!(recognise(b"PUMP-1\r\n", known()), Dialler::Known(0));
        assert_eq!(recognise(b"\x01\x02\x03", known()), Dialler::Known(2));
        assert_eq!(recognise(b"PUMP-3", known()), Dialler::Stranger);
        assert_eq!(recognise(b"GET / HTTP/1.1", known()), Dialler::Stranger);
    }

    #[test]
    fn an_identity_said_again_is_no_part_of_an_answer() {
        assert_eq!(heartbeat(b"PUMP-07", b"PUMP-07"), 7);
        assert_eq!(heartbeat(b"PUMP-07\r\nPUMP-07\n\x00\x01", b"PUMP-07"), 17);
        assert_eq!(heartbeat(b"PUMP-0", b"PUMP-07"), 0);
        assert_eq!(heartbeat(b"\x00\x01PUMP-07", b"PUMP-07"), 0);
        // Unit 1, function 3, two bytes: an answer begins like this, too.
        assert_eq!(heartbeat(b"\x01\x03\x02", b"\x01\x03\x02"), 0);
    }
}
