//! Any bytes as what a primary host says of itself, one after the other.
#![no_main]

use fieldgate::publishers::sparkplug::host::{Form, Memory, Told, read};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    for form in [Form::V2, Form::V3] {
        let mut memory = Memory::default();
        // Each line is a message; what is older than what was told never counts.
        let mut newest = None;
        for message in data.split(|byte| *byte == b'\n') {
            let state = read(form, message);
            let told = memory.take(form, message);
            match state {
                None => assert!(matches!(told, Told::Garbage)),
                Some(state) if state.at < newest => assert!(matches!(told, Told::Older)),
                Some(state) => {
                    assert!(matches!(told, Told::Online) == state.online);
                    newest = state.at;
                }
            }
        }
    }
});
