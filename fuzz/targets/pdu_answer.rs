//! Any bytes as the answer to any request.
#![no_main]

use fieldgate::drivers::modbus::pdu::Request;
use fieldgate::model::Raw;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    // The first byte is the length of the request, whose PDU follows; the rest is what came for it.
    let Some((length, rest)) = data.split_first() else { return };
    let Some((asked, answer)) = rest.split_at_checked(usize::from(*length)) else { return };
    let Ok(request) = Request::decode(asked) else { return };
    if [17, 43].contains(&request.function()) {
        return; // who a device is: see `identify`
    }
    let mut raw = Raw::default();
    let read = request.answer(answer, &mut raw);
    if read.is_err() {
        assert_eq!(raw, Raw::default(), "what is no right answer gives no value");
    }
    // An exception is a whole answer, too: its length is known as well.
    let whole = match read {
        Ok(()) => true,
        Err(fault) => fault != fieldgate::model::Fault::Garbled,
    };
    if whole {
        for end in 0..answer.len() {
            let told = request.answer_length(&answer[..end]);
            assert!(matches!(told, Ok(None)) || told == Ok(Some(answer.len())), "{told:?} at {end}");
            assert!(request.answer(&answer[..end], &mut Raw::default()).is_err(), "a part is no answer");
        }
        assert_eq!(request.answer_length(answer), Ok(Some(answer.len())));
    }
    if let (Ok(()), Request::Read { area, count, .. }) = (read, &request) {
        let (bits, words) = if area.is_bits() { (*count, 0) } else { (0, *count) };
        assert_eq!((raw.bits.len(), raw.words.len()), (usize::from(bits), usize::from(words)));
        for (at, word) in raw.words.iter().enumerate() {
            assert_eq!(word.to_be_bytes(), answer[2 + 2 * at..4 + 2 * at]);
        }
        for (at, bit) in raw.bits.iter().enumerate() {
            assert_eq!(*bit, answer[2 + at / 8] >> (at % 8) & 1 == 1);
        }
    }
});
