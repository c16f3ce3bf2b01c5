//! Any text as an address, for a tag of any type.
#![no_main]

use fieldgate::drivers::modbus::address::Address;
use fieldgate::model::DataType;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let [kind, high, low, text @ ..] = data else { return };
    let kind = DataType::ALL[usize::from(*kind) % DataType::ALL.len()];
    let length = u16::from_be_bytes([*high, *low]);
    let Ok(text) = std::str::from_utf8(text) else { return };
    match Address::parse(text, kind, length) {
        Ok(address) => {
            let last = u32::from(address.start) + u32::from(address.count()) - 1;
            assert!(address.count() >= 1 && last <= 65_535);
            let written = address.to_string();
            assert_eq!(Address::parse(&written, kind, length).as_ref(), Ok(&address), "{written}");
            let _ = address.check_writable(text);
        }
        Err(error) => assert!(!error.message.is_empty() && !error.help.is_empty()),
    }
});
