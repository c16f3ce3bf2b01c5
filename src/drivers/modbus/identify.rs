//! Who a device is: requests and answers of functions 43/14 and 17, without their frame.
//!
//! Modbus Application Protocol V1.1b3: section 6.21 (Read Device Identification) and 6.13 (Report Server ID).

use std::collections::BTreeMap;

use super::pdu::{self, exception};
use crate::model::Fault;

/// Function 43, Encapsulated Interface Transport (section 6.19).
const TRANSPORT: u8 = 43;
/// MEI type 14, Read Device Identification (section 6.21).
const MEI: u8 = 14;
/// Function 17, Report Server ID (section 6.13).
const SERVER_ID: u8 = 17;

/// How much of the identification is asked for (section 6.21: Read Device ID code, stream access).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Category {
    /// Vendor, product code, revision: objects 0 to 2, which every device with this function has.
    Basic,
    /// And address, product, model and application name: objects 3 to 6.
    Regular,
}

/// What a master asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// Function 43/14, the objects from this one on.
    Device(Category, u8),
    /// Function 17.
    ServerId,
}

impl Question {
    /// The function code.
    pub fn function(self) -> u8 {
        match self {
            Question::Device(..) => TRANSPORT,
            Question::ServerId => SERVER_ID,
        }
    }

    /// Appends the PDU.
    pub fn encode(self, out: &mut Vec<u8>) {
        match self {
            Question::Device(category, from) => {
                let code = if category == Category::Basic { 1 } else { 2 };
                out.extend_from_slice(&[TRANSPORT, MEI, code, from]);
            }
            Question::ServerId => out.push(SERVER_ID),
        }
    }

    /// Length of the PDU of the answer, no exception, whose first bytes these are; `None` where more are needed
    /// to tell, and an error where it is longer than a PDU may be.
    pub fn answer_length(self, pdu: &[u8]) -> Result<Option<usize>, Fault> {
        let length = match (self, pdu) {
            (Question::ServerId, [_, count, ..]) => 2 + usize::from(*count),
            (Question::Device(..), [_, _, _, _, _, _, objects, ..]) => {
                let mut end = 7;
                for _ in 0..*objects {
                    let Some(length) = pdu.get(end + 1) else { return Ok(None) };
                    end += 2 + usize::from(*length);
                }
                end
            }
            _ => return Ok(None),
        };
        if length > pdu::MOST { Err(Fault::Garbled) } else { Ok(Some(length)) }
    }

    /// Reads the PDU of a request, as a device does; `None` where it is another one.
    pub fn decode(pdu: &[u8]) -> Option<Question> {
        match pdu {
            [SERVER_ID] => Some(Question::ServerId),
            [TRANSPORT, MEI, 1, from] => Some(Question::Device(Category::Basic, *from)),
            [TRANSPORT, MEI, 2, from] => Some(Question::Device(Category::Regular, *from)),
            _ => None,
        }
    }
}

/// One answer to function 43/14; a device with much to tell needs several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Conformity level without the bit for individual access: 1 basic, 2 regular, 3 extended.
    pub level: u8,
    /// More follows from this object on.
    pub next: Option<u8>,
    /// Object and its bytes.
    pub objects: Vec<(u8, Vec<u8>)>,
}

/// Reads the answer to function 43/14; every length must be right, to the last byte.
pub fn page(pdu: &[u8]) -> Result<Page, Fault> {
    let data = answer(pdu, TRANSPORT)?;
    let [MEI, _code, level, more, next, count, rest @ ..] = data else { return Err(Fault::Garbled) };
    let mut rest = rest;
    let mut objects = Vec::new();
    for _ in 0..*count {
        let [object, length, after @ ..] = rest else { return Err(Fault::Garbled) };
        let (bytes, after) = after.split_at_checked(usize::from(*length)).ok_or(Fault::Garbled)?;
        objects.push((*object, bytes.to_vec()));
        rest = after;
    }
    let next = match more {
        0 => None,
        0xFF => Some(*next),
        _ => return Err(Fault::Garbled),
    };
    if !rest.is_empty() {
        return Err(Fault::Garbled);
    }
    Ok(Page { level: level & 0x7F, next, objects })
}

/// What function 17 gives; of its bytes the specification leaves the meaning to the device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerId {
    /// All bytes behind the byte count.
    pub bytes: Vec<u8>,
}

impl ServerId {
    /// The longest run of printable characters, where it is long enough to be a name.
    pub fn text(&self) -> Option<String> {
        let printable = |b: &u8| (0x20..0x7F).contains(b);
        let runs = self.bytes.split(|b| !printable(b)).map(|run| String::from_utf8_lossy(run));
        let longest = runs.max_by_key(|run| run.len())?;
        (longest.trim().len() >= 3).then(|| longest.trim().to_owned())
    }

    /// Running or not, where the second byte is that status: identifier of one byte, then 0x00 or 0xFF.
    pub fn running(&self) -> Option<bool> {
        match self.bytes.as_slice() {
            [_, 0xFF, ..] => Some(true),
            [_, 0, ..] => Some(false),
            _ => None,
        }
    }
}

/// Reads the answer to function 17.
pub fn server_id(pdu: &[u8]) -> Result<ServerId, Fault> {
    match answer(pdu, SERVER_ID)? {
        [count, bytes @ ..] if usize::from(*count) == bytes.len() => Ok(ServerId { bytes: bytes.to_vec() }),
        _ => Err(Fault::Garbled),
    }
}

/// What follows the function code of an answer that is no exception.
fn answer(pdu: &[u8], function: u8) -> Result<&[u8], Fault> {
    match pdu {
        [f, data @ ..] if *f == function && pdu.len() <= pdu::MOST => Ok(data),
        [f, exception::ACKNOWLEDGE | exception::BUSY] if *f == function | 0x80 => Err(Fault::Busy),
        [f, code] if *f == function | 0x80 => Err(Fault::Refused(*code)),
        _ => Err(Fault::Garbled),
    }
}

/// Appends the answer to function 43/14 of a device that has these objects, in their order: as many from `from`
/// on as fit. One that does not know that object begins with its first (section 6.21).
pub fn encode_page(category: Category, from: u8, objects: &[(u8, String)], out: &mut Vec<u8>) {
    let last = if category == Category::Basic { 2 } else { 6 };
    let code = if category == Category::Basic { 1 } else { 2 };
    let of_category = objects.iter().filter(|(object, _)| *object <= last);
    let from = of_category.clone().find(|(object, _)| *object == from).map_or(0, |(object, _)| *object);
    let start = out.len();
    // Conformity level 2: basic and regular, as a stream.
    out.extend_from_slice(&[TRANSPORT, MEI, code, 2, 0, 0, 0]);
    let (mut count, mut next) = (0, None);
    for (object, text) in of_category.filter(|(object, _)| *object >= from) {
        let text = text.as_bytes();
        let text = text.get(..text.len().min(pdu::MOST - 9)).unwrap_or_default();
        if out.len() - start + 2 + text.len() > pdu::MOST {
            next = Some(*object);
            break;
        }
        out.extend_from_slice(&[*object, text.len() as u8]);
        out.extend_from_slice(text);
        count += 1;
    }
    if let Some([more, following, number]) = out.get_mut(start + 4..start + 7) {
        (*more, *following, *number) = next.map_or((0, 0, count), |next| (0xFF, next, count));
    }
}

/// Appends the answer to function 17 of a device that runs and calls itself so.
pub fn encode_server_id(name: &str, out: &mut Vec<u8>) {
    let name = name.as_bytes();
    let name = name.get(..name.len().min(pdu::MOST - 4)).unwrap_or_default();
    out.extend_from_slice(&[SERVER_ID, name.len() as u8 + 2, 1, 0xFF]);
    out.extend_from_slice(name);
}

/// What is known of a device, gathered page by page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// The texts by their object; the names are those of [`object_name`].
    pub objects: BTreeMap<u8, String>,
    /// The highest conformity level that a page claimed.
    pub level: u8,
}

impl Identity {
    /// Takes the page that was asked from this object on; gives the object to go on from, which is always
    /// behind all before it, so that a device that never comes to an end is left.
    pub fn add(&mut self, asked: u8, page: Page) -> Option<u8> {
        self.level = self.level.max(page.level);
        let last = page.objects.iter().map(|(object, _)| *object).max();
        for (object, bytes) in page.objects {
            // Section 6.21: ASCII. What is none is shown as replacement characters.
            let text = String::from_utf8_lossy(&bytes).trim_end_matches(['\0', ' ']).to_owned();
            self.objects.insert(object, text);
        }
        page.next.filter(|next| *next > asked && last.is_some_and(|last| *next > last))
    }
}

/// The name of an object (section 6.21, table of object identifiers), for scripts and people.
pub fn object_name(object: u8) -> Option<&'static str> {
    Some(match object {
        0 => "vendor",
        1 => "product-code",
        2 => "revision",
        3 => "vendor-url",
        4 => "product",
        5 => "model",
        6 => "application",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(question: Question) -> Vec<u8> {
        let mut out = Vec::new();
        question.encode(&mut out);
        out
    }

    /// The example of section 6.21: "Company identification", "Product code XX", "V2.11".
    fn example() -> Vec<u8> {
        let mut pdu = vec![43, 14, 1, 1, 0, 0, 3];
        for (object, text) in [(0, "Company identification"), (1, "Product code XX"), (2, "V2.11")] {
            pdu.extend_from_slice(&[object, text.len() as u8]);
            pdu.extend_from_slice(text.as_bytes());
        }
        pdu
    }

    #[test]
    fn the_questions_are_those_of_the_specification() {
        assert_eq!(encoded(Question::Device(Category::Basic, 0)), [0x2B, 0x0E, 1, 0]);
        assert_eq!(encoded(Question::Device(Category::Regular, 4)), [0x2B, 0x0E, 2, 4]);
        assert_eq!(encoded(Question::ServerId), [0x11]);
    }

    #[test]
    fn the_example_of_the_specification_is_read() {
        let mut identity = Identity::default();
        assert_eq!(identity.add(0, page(&example()).unwrap()), None);
        let texts: Vec<_> = identity.objects.values().map(String::as_str).collect();
        assert_eq!(texts, ["Company identification", "Product code XX", "V2.11"]);
        assert_eq!(identity.level, 1);
    }

    #[test]
    fn what_follows_is_asked_from_the_next_object_and_never_in_a_circle() {
        let first = page(&[43, 14, 2, 0x82, 0xFF, 2, 2, 0, 1, b'a', 1, 1, b'b']).unwrap();
        let mut identity = Identity::default();
        assert_eq!(identity.add(0, first.clone()), Some(2));
        assert_eq!(identity.level, 2);
        let second = page(&[43, 14, 2, 0x82, 0, 0, 1, 2, 2, b'c', 0]).unwrap();
        assert_eq!(identity.add(2, second), None);
        assert_eq!(identity.objects.get(&2).map(String::as_str), Some("c"));
        // A device that sends its first page for ever.
        assert_eq!(Identity::default().add(2, first), None);
    }

    #[test]
    fn the_length_of_an_answer_is_known_by_its_bytes() {
        let (whole, question) = (example(), Question::Device(Category::Basic, 0));
        for end in 0..whole.len() {
            let told = question.answer_length(&whole[..end]).unwrap();
            assert!(told.is_none_or(|length| length == whole.len()), "{end}");
        }
        assert_eq!(question.answer_length(&whole), Ok(Some(whole.len())));
        assert_eq!(question.answer_length(&[43, 14, 1, 1, 0, 0, 9, 0, 255]), Ok(None));
        assert_eq!(question.answer_length(&[43, 14, 1, 1, 0, 0, 1, 0, 255]), Err(Fault::Garbled));
        assert_eq!(Question::ServerId.answer_length(&[17]), Ok(None));
        assert_eq!(Question::ServerId.answer_length(&[17, 3]), Ok(Some(5)));
        for question in [question, Question::Device(Category::Regular, 4), Question::ServerId] {
            assert_eq!(Question::decode(&encoded(question)), Some(question));
        }
    }

    #[test]
    fn a_truncated_or_overlong_page_is_garbled_at_every_byte() {
        let whole = example();
        for end in 0..whole.len() {
            assert_eq!(page(&whole[..end]), Err(Fault::Garbled), "{end}");
        }
        let mut longer = whole.clone();
        longer.push(0);
        assert_eq!(page(&longer), Err(Fault::Garbled));
        let mut beyond = whole;
        beyond[8] = 255;
        assert_eq!(page(&beyond), Err(Fault::Garbled));
    }

    #[test]
    fn an_exception_is_told_as_such() {
        assert_eq!(page(&[0xAB, 1]), Err(Fault::Refused(1)));
        assert_eq!(server_id(&[0x91, 6]), Err(Fault::Busy));
        assert_eq!(server_id(&[0x91]), Err(Fault::Garbled));
    }

    #[test]
    fn a_server_id_shows_its_text_and_whether_it_runs() {
        let id = server_id(&[17, 8, 9, 0xFF, b'P', b'M', b'5', b'0', b'0', 1]).unwrap();
        assert_eq!(id.text().as_deref(), Some("PM500"));
        assert_eq!(id.running(), Some(true));
        assert_eq!(server_id(&[17, 3, 1, 0]), Err(Fault::Garbled));
        assert_eq!(server_id(&[17, 0]).unwrap().text(), None);
    }

    proptest! {
        #[test]
        fn no_bytes_at_all_make_it_fall(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = server_id(&bytes).map(|id| (id.text(), id.running()));
            if let Ok(page) = page(&bytes) {
                let length: usize = 7 + page.objects.iter().map(|(_, b)| b.len() + 2).sum::<usize>();
                prop_assert_eq!(length, bytes.len());
                Identity::default().add(0, page);
            }
        }
    }

    #[test]
    fn what_a_device_says_of_itself_comes_back_page_by_page() {
        let objects: Vec<_> = (0..7).map(|object| (object, format!("{object}").repeat(100))).collect();
        let mut said = Identity::default();
        let (mut next, mut pages) = (Some(0), 0);
        while let Some(from) = next.take() {
            let mut pdu = Vec::new();
            encode_page(Category::Regular, from, &objects, &mut pdu);
            let asked = Question::Device(Category::Regular, from);
            assert_eq!(asked.answer_length(&pdu), Ok(Some(pdu.len())));
            next = said.add(from, page(&pdu).unwrap());
            pages += 1;
        }
        assert_eq!((said.level, pages), (2, 4));
        assert_eq!(said.objects, objects.into_iter().collect());
        let mut pdu = Vec::new();
        encode_server_id("pump-1", &mut pdu);
        let id = server_id(&pdu).unwrap();
        assert_eq!((id.text(), id.running()), (Some("pump-1".into()), Some(true)));
    }

    #[test]
    fn a_basic_question_is_answered_by_basic_objects_and_an_unknown_object_by_the_first() {
        let objects = [(0, "v".to_owned()), (1, "c".to_owned()), (4, "p".to_owned())];
        let mut pdu = Vec::new();
        encode_page(Category::Basic, 2, &objects, &mut pdu);
        assert_eq!(page(&pdu).unwrap().objects, [(0, b"v".to_vec()), (1, b"c".to_vec())]);
    }
}
