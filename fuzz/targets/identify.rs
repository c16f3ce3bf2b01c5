//! Any bytes as answers to functions 43/14 and 17.
#![no_main]

use fieldgate::drivers::modbus::identify::{Category, Identity, Question, page, server_id};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(id) = server_id(data) {
        assert_eq!(id.bytes.len() + 2, data.len());
        // What is shown to people is printable.
        assert!(id.text().is_none_or(|text| text.chars().all(|c| !c.is_control())));
        let _ = id.running();
        length_is_known(Question::ServerId, data);
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
        length_is_known(Question::Device(Category::Basic, 0), pdu);
        match identity.add(asked, page) {
            Some(next) => {
                assert!(next > asked, "a device that never comes to an end is left");
                asked = next;
            }
            None => return,
        }
    }
});

/// A line without a length in its frames has the length from the first bytes.
fn length_is_known(question: Question, pdu: &[u8]) {
    for end in 0..pdu.len() {
        let told = question.answer_length(&pdu[..end]);
        assert!(matches!(told, Ok(None)) || told == Ok(Some(pdu.len())), "{told:?} at {end}");
    }
    assert_eq!(question.answer_length(pdu), Ok(Some(pdu.len())));
}
