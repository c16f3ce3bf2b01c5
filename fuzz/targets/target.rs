//! Any text as the address line of a command.
#![no_main]

use fieldgate::cli::target::{Target, is_target};
use fieldgate::config::load;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match text.parse::<Target>() {
        Ok(target) => {
            assert!(is_target(text));
            // It becomes a file: one that can be read, whatever its keys are worth.
            let file = target.file(Default::default(), Default::default());
            let loaded = load(&file);
            assert!(loaded.mistakes.iter().all(|mistake| mistake.code != "syntax"), "{file}");
        }
        Err(error) => assert!(error.contains("modbus-rtu:///"), "{error} tells how to write it"),
    }
});
