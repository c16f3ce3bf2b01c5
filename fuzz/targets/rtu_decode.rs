//! Any bytes as an RTU frame, and any bytes within one.
#![no_main]

use fieldgate::drivers::modbus::rtu::{decode, encode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Some((unit, pdu)) = decode(data) {
        let mut again = Vec::new();
        encode(unit, &mut again, |out| out.extend_from_slice(pdu));
        assert_eq!(again, data, "a frame is what its parts make");
    }
    let [unit, flip, pdu @ ..] = data else { return };
    if pdu.is_empty() || pdu.len() > 253 {
        return;
    }
    let mut frame = Vec::new();
    encode(*unit, &mut frame, |out| out.extend_from_slice(pdu));
    assert_eq!(decode(&frame), Some((*unit, pdu)));
    // The CRC finds any burst of up to 16 bits: here one of 8.
    if *flip != 0 {
        let at = pdu.len() * usize::from(*flip) / 255;
        frame[at] ^= flip;
        assert_eq!(decode(&frame), None, "damage is found");
    }
});
