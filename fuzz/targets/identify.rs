//! Any bytes as answers to functions 43/14 and 17.
#![no_main]

use fieldgate::drivers::modbus::identify::{Identity, page, server_id};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(id) = server_id(data) {
        assert_eq!(id.bytes.len() + 2, data.len());
        // What is shown to people is printable.
        assert!(id.text().is_none_or(|text| text.chars().all(|c| !c.is_control())));
        let _ = id.running();
        assert!(server_id(&data[..data.len() - 1]).is_err(), "a part is no answer");
    }
    // Pages as a device may send them one after another: the first byte of each is its length.
    let (mut rest, mut asked, mut identity) = (data, 0, Identity::default());
    while let Some((length, behind)) = rest.split_first() {
        let Some((pdu, after)) = behind.split_at_checked(usize::from(*length)) else { return };
        rest = after;
        let Ok(page) = page(pdu) else { continue };
        let length: usize = page.objects.iter().map(|(_, bytes)| bytes.len() + 2).sum();
        assert_eq!(length + 7, pdu.len(), "every byte is accounted for");
        match identity.add(asked, page) {
            Some(next) => {
                assert!(next > asked, "a device that never comes to an end is left");
                asked = next;
            }
            None => return,
        }
    }
});
