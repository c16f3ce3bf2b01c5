//! ASCII frames: a colon, unit, PDU and LRC as pairs of hexadecimal digits, CR LF (Modbus over Serial Line
//! V1.02, section 2.5.2).

use super::framing::Start;

/// The longest frame (section 2.5.2.1).
pub const MOST: usize = 513;

/// Length of the frame around a PDU of so many bytes: `:`, two digits a byte, also of unit and LRC, CR LF.
pub const fn length(pdu: usize) -> usize {
    1 + 2 * (1 + pdu + 1) + 2
}

/// Appends the frame around a PDU that `pdu` appends.
pub fn encode(unit: u8, out: &mut Vec<u8>, pdu: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = vec![unit];
    pdu(&mut bytes);
    bytes.push(lrc(&bytes));
    out.push(b':');
    for byte in bytes {
        out.extend([byte >> 4, byte & 15].map(|n| if n < 10 { b'0' + n } else { b'A' - 10 + n }));
    }
    out.extend_from_slice(b"\r\n");
}

/// What the buffer begins with. A colon begins a frame wherever it stands (section 2.5.2.1).
pub fn start(buffer: &[u8]) -> Start {
    let Some((first, rest)) = buffer.split_first() else { return Start::More(0) };
    let colon = rest.iter().take(MOST).position(|byte| *byte == b':').map(|at| at + 1);
    if *first != b':' {
        return Start::Noise(colon.unwrap_or(buffer.len().min(MOST)));
    }
    let end = buffer.iter().take(MOST).position(|byte| *byte == b'\n').map(|at| at + 1);
    match (end, colon) {
        (Some(end), Some(colon)) if colon < end => Start::Noise(colon),
        (Some(end), _) => Start::Frame(end),
        (None, Some(colon)) => Start::Noise(colon),
        (None, None) if buffer.len() >= MOST => Start::Noise(MOST),
        (None, None) => Start::More(length(1).saturating_sub(buffer.len()).max(1)),
    }
}

/// Unit and PDU of a whole frame, put into `bytes`; `None` where it is none, or its LRC is wrong. Digits may be
/// of either case.
pub fn decode<'a>(frame: &[u8], bytes: &'a mut Vec<u8>) -> Option<(u8, &'a [u8])> {
    let digits = frame.strip_prefix(b":")?.strip_suffix(b"\r\n")?;
    bytes.clear();
    for pair in digits.chunks(2) {
        let [high, low] = pair else { return None };
        let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|n| u8::try_from(n).ok());
        bytes.push(digit(*high)? << 4 | digit(*low)?);
    }
    let (sum, body) = bytes.split_last()?;
    let (unit, pdu) = body.split_first()?;
    (!pdu.is_empty() && *sum == lrc(body)).then_some((*unit, pdu))
}

/// The sum of all bytes is a multiple of 256 (section 6.2.1).
pub fn lrc(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum: u8, byte| sum.wrapping_sub(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_frame_has_its_known_digits_and_lrc() {
        // Read three holding registers from 0x6B of unit 17; the sum worked out by hand:
        // 0x11 + 3 + 0x6B + 3 = 0x82, and 0x100 - 0x82 = 0x7E.
        let mut frame = Vec::new();
        encode(0x11, &mut frame, |out| out.extend_from_slice(&[3, 0, 0x6B, 0, 3]));
        assert_eq!(frame, b":1103006B00037E\r\n");
        assert_eq!(frame.len(), length(5));
        let mut bytes = Vec::new();
        assert_eq!(decode(&frame, &mut bytes), Some((0x11, &[3, 0, 0x6B, 0, 3][..])));
        assert_eq!(decode(b":1103006b00037e\r\n", &mut bytes), Some((0x11, &[3, 0, 0x6B, 0, 3][..])));
        assert_eq!(length(253), 513);
    }

    #[test]
    fn what_is_no_frame_is_not_decoded() {
        let mut bytes = Vec::new();
        for wrong in [
            &b":1103006B00037F\r\n"[..],
            b":1103006B00037E\n",
            b":1103006B00037\r\n",
            b":1103006G00037E\r\n",
            b":11EF\r\n",
            b":00\r\n",
            b":\r\n",
            b"1103006B00037E\r\n",
            b"",
        ] {
            assert_eq!(decode(wrong, &mut bytes), None, "{:?}", String::from_utf8_lossy(wrong));
        }
    }

    #[test]
    fn a_frame_begins_at_the_last_colon_and_ends_at_the_line_feed() {
        assert_eq!(start(b""), Start::More(0));
        assert_eq!(start(b"\0\xFF:11"), Start::Noise(2));
        assert_eq!(start(b"\0\xFF"), Start::Noise(2));
        assert_eq!(start(b":1103:1103006B00037E\r\n"), Start::Noise(5));
        let frame = b":1103006B00037E\r\n";
        for end in 1..frame.len() {
            assert!(matches!(start(&frame[..end]), Start::More(1..)), "{end}");
        }
        assert_eq!(start(frame), Start::Frame(frame.len()));
        assert_eq!(start(&[&frame[..], b":11"].concat()), Start::Frame(frame.len()));
        let endless = [b':'].into_iter().chain([b'0'; 600]).collect::<Vec<_>>();
        assert_eq!(start(&endless), Start::Noise(MOST));
    }
}
