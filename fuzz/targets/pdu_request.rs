//! Any bytes as a request, and what a simulated device makes of it.
#![no_main]

use fieldgate::drivers::modbus::pdu::{MOST, Request, request_length};
use fieldgate::model::{Fault, Raw};
use fieldgate::simulate::modbus::bank::{Bank, Sizes};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut bank = Bank::new(Sizes { coils: 3000, discretes: 3000, inputs: 300, holdings: 300 });
    let before = bank.clone();
    let mut answer = Vec::new();
    bank.answer(data, &mut answer);
    assert!((2..=MOST).contains(&answer.len()), "{} bytes", answer.len());
    let refused = answer[0] & 0x80 != 0 && answer.len() == 2;
    if refused {
        assert!(bank == before, "what is refused changes nothing");
    }
    match Request::decode(data) {
        Ok(request) => {
            let mut again = Vec::new();
            request.encode(&mut again);
            // The unused bits of the last byte are no part of a request, so only its meaning comes back.
            assert_eq!(again.len(), data.len());
            assert_eq!(Request::decode(&again).as_ref(), Ok(&request));
            for end in 0..data.len() {
                let told = request_length(&data[..end]);
                assert!(matches!(told, Ok(None)) || told == Ok(Some(data.len())), "{told:?} at {end}");
                assert!(Request::decode(&data[..end]).is_err(), "a part is no request");
            }
            assert_eq!(request_length(data), Ok(Some(data.len())));
            assert_eq!(request.answer_length(&answer), Ok(Some(answer.len())));
            let mut raw = Raw::default();
            match request.answer(&answer, &mut raw) {
                Ok(()) => assert!(!refused),
                Err(Fault::Refused(_)) => assert!(refused),
                other => panic!("a simulated device answers {other:?}"),
            }
        }
        Err(code) => {
            assert_eq!(answer[1..], [code]);
        }
    }
});
