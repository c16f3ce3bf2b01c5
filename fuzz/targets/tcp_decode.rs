//! Any bytes as a stream of Modbus TCP frames.
#![no_main]

use fieldgate::drivers::modbus::tcp::{HEADER, decode, encode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut rest = data;
    loop {
        match decode(rest) {
            Ok(Some(frame)) => {
                let mut again = Vec::new();
                encode(frame.transaction, frame.unit, &mut again, |out| out.extend_from_slice(frame.pdu));
                assert_eq!(again, rest[..frame.used], "a frame is what its parts make");
                assert!(!frame.pdu.is_empty());
                for end in 0..frame.used {
                    assert_eq!(decode(&rest[..end]), Ok(None), "a part of a frame is none yet");
                }
                rest = &rest[frame.used..];
            }
            // The longest frame has 260 bytes (Messaging on TCP/IP V1.0b, section 3.1.3): more is never asked for.
            Ok(None) => return assert!(rest.len() < 260),
            Err(wrong) => {
                return assert_eq!(decode(&rest[..HEADER]), Err(wrong), "the header tells that it is none");
            }
        }
    }
});
