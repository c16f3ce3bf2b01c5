//! Any bytes as a stream of ASCII frames, and any bytes within one.
#![no_main]

use fieldgate::drivers::modbus::ascii::{MOST, decode, encode, length, start};
use fieldgate::drivers::modbus::framing::Start;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let (mut rest, mut bytes) = (data, Vec::new());
    loop {
        match start(rest) {
            Start::Frame(end) => {
                let frame = &rest[..end];
                assert!(end <= MOST && frame.starts_with(b":") && frame.ends_with(b"\n"));
                assert!(!frame[1..].contains(&b':'), "a colon begins a frame wherever it stands");
                if let Some((unit, pdu)) = decode(frame, &mut bytes) {
                    let mut again = Vec::new();
                    encode(unit, &mut again, |out| out.extend_from_slice(pdu));
                    assert_eq!(again, frame.to_ascii_uppercase(), "a frame is what its parts make");
                }
                rest = &rest[end..];
            }
            Start::Noise(count) => {
                assert!((1..=rest.len()).contains(&count), "noise is taken away, and no more than there is");
                rest = &rest[count..];
            }
            Start::More(_) => break,
        }
    }
    let [unit, flip, pdu @ ..] = data else { return };
    if pdu.is_empty() || pdu.len() > 253 {
        return;
    }
    let mut frame = Vec::new();
    encode(*unit, &mut frame, |out| out.extend_from_slice(pdu));
    assert_eq!(frame.len(), length(pdu.len()));
    assert!(matches!(start(&frame), Start::Frame(end) if end == frame.len()));
    assert_eq!(decode(&frame, &mut bytes), Some((*unit, pdu)));
    // The LRC finds any one byte that is another.
    let at = frame.len() * usize::from(*flip) / 256;
    if *flip != 0 && frame[at] != *flip && !frame[at].eq_ignore_ascii_case(flip) {
        frame[at] = *flip;
        assert_eq!(decode(&frame, &mut bytes), None, "damage is found");
    }
});
