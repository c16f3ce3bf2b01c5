//! The bytes of an answer, right or wrong as the device's manner has it: pure but for the registers.

use std::time::Duration;

use super::heard::{Asked, is_line};
use super::manner::{How, Reply, Wrong};
use super::{Slave, Slaves};
use crate::drivers::modbus::framing::Framing;
use crate::drivers::modbus::pdu;

/// Exception 11: the unit behind this address does not answer (Application Protocol V1.1b3, section 7).
const NO_SUCH_UNIT: u8 = 11;

/// How an answer goes over the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sending {
    /// Time from the request to it, without that of the wire.
    pub(super) after: Duration,
    /// It listens meanwhile.
    pub(super) late: bool,
    pub(super) way: Way,
}

/// How its bytes follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// All at once.
    Whole,
    /// One at a time, with pauses.
    Bytewise,
    /// They end in the middle.
    Cut,
}

/// Puts the answer of the unit that was asked into `out`; `None` where nobody answers.
pub(super) fn answer(
    framing: Framing,
    slaves: &Slaves,
    asked: &Asked<'_>,
    out: &mut Vec<u8>,
) -> Option<Sending> {
    // Unit 0 is the broadcast: done by all, answered by none (Serial Line V1.02, section 2.1).
    if is_line(framing) && asked.unit == 0 {
        for slave in slaves.values().filter(|s| s.reply() != Reply::Never) {
            slave.bank().answer(asked.pdu, out);
        }
        out.clear();
        return None;
    }
    let at_once = Sending { after: Duration::ZERO, late: false, way: Way::Whole };
    let Some(slave) = slaves.get(&asked.unit) else {
        if is_line(framing) {
            return None;
        }
        let mut pdu = Vec::new();
        pdu::encode_exception(asked.pdu.first().copied().unwrap_or(0), NO_SUCH_UNIT, &mut pdu);
        framing.encode(asked.transaction, asked.unit, out, |out| out.extend_from_slice(&pdu));
        return Some(at_once);
    };
    match slave.reply() {
        Reply::Never => None,
        Reply::Late(after) => {
            frame(framing, slave, asked, How::Right, out);
            Some(Sending { after, late: true, ..at_once })
        }
        Reply::After(after, how) => {
            let way = frame(framing, slave, asked, how, out);
            Some(Sending { after, way, ..at_once })
        }
    }
}

/// The frame of one device's answer.
fn frame(framing: Framing, slave: &Slave, asked: &Asked<'_>, how: How, out: &mut Vec<u8>) -> Way {
    let mut pdu = Vec::with_capacity(pdu::MOST);
    if let How::Exception(code) = how {
        pdu::encode_exception(asked.pdu.first().copied().unwrap_or(0), code, &mut pdu);
    } else {
        slave.bank().answer(asked.pdu, &mut pdu);
    }
    let (mut transaction, mut unit) = (asked.transaction, asked.unit);
    let How::Wrong(wrong) = how else {
        framing.encode(transaction, unit, out, |out| out.extend_from_slice(&pdu));
        if how == How::Cut {
            out.truncate(out.len() / 2);
            return Way::Cut;
        }
        return Way::Whole;
    };
    match wrong {
        // Not the next one, which would be that of a request to come.
        Wrong::Transaction => transaction = transaction.wrapping_sub(1),
        Wrong::Unit => unit = unit.wrapping_add(1),
        Wrong::Function | Wrong::CountTooGreat | Wrong::CountTooSmall | Wrong::Less | Wrong::More => {
            spoil(&mut pdu, wrong);
        }
        _ => {}
    }
    framing.encode(transaction, unit, out, |out| out.extend_from_slice(&pdu));
    let mut length = |bytes: [u8; 2]| {
        if framing == Framing::Tcp
            && let Some(place) = out.get_mut(4..6)
        {
            place.copy_from_slice(&bytes);
        }
    };
    match wrong {
        Wrong::Short => out.truncate(out.len().saturating_sub(3)),
        Wrong::Long => out.extend_from_slice(&[0xFF, 0x5A, 0xC3]),
        Wrong::Double => out.extend_from_within(..),
        Wrong::LengthNull => length([0, 0]),
        Wrong::LengthHuge => length([0xFF, 0xFF]),
        Wrong::Bytewise => return Way::Bytewise,
        _ => {}
    }
    Way::Whole
}

/// Makes the answer to a read wrong within its frame; other answers have another function.
fn spoil(pdu: &mut Vec<u8>, wrong: Wrong) {
    let bits = matches!(pdu.first(), Some(1 | 2));
    let step = if bits { 1 } else { 2 };
    let longer = pdu.len() + usize::from(step);
    let [function, count, ..] = pdu.as_mut_slice() else { return };
    match (wrong, *function) {
        (Wrong::Function, _) | (_, 0 | 5..) => {
            // Coils for discrete inputs, input for holding registers: the lengths stay right.
            *function = if *function % 2 == 1 { *function + 1 } else { *function - 1 };
        }
        (Wrong::CountTooGreat, _) => *count = count.wrapping_add(2),
        (Wrong::CountTooSmall, _) => *count = count.wrapping_sub(2),
        (Wrong::Less, _) => {
            *count = count.saturating_sub(step);
            pdu.truncate(pdu.len() - usize::from(step));
        }
        (Wrong::More, _) if longer <= pdu::MOST => {
            *count += step;
            pdu.extend((0..step).map(|_| 0xAB));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::bank::{Bank, Sizes};
    use super::super::manner::{Manner, Often, Wrongs};
    use super::*;
    use crate::drivers::modbus::address::Area;

    const READ_TWO: Asked<'_> = Asked { transaction: 7, unit: 3, pdu: &[3, 0, 0, 0, 2], used: 0 };

    fn spoilt(framing: Framing, kinds: &'static [Wrong]) -> Vec<u8> {
        let mut bank = Bank::new(Sizes { holdings: 4, ..Sizes::default() });
        bank.put(Area::Holding, 0, &[0x1234, 0x5678]);
        let wrong = Some(Wrongs { often: Often::Every(1), kinds });
        let slaves = [(3, Slave::new(bank, Manner { wrong, ..Manner::default() }))].into_iter().collect();
        let mut out = Vec::new();
        let sending = answer(framing, &slaves, &READ_TWO, &mut out).unwrap();
        assert_eq!(sending.way == Way::Bytewise, kinds == [Wrong::Bytewise]);
        out
    }

    #[test]
    fn each_wrong_answer_is_wrong_in_its_own_way() {
        let right = [0, 7, 0, 0, 0, 7, 3, 3, 4, 0x12, 0x34, 0x56, 0x78];
        let tcp = |kinds| spoilt(Framing::Tcp, kinds);
        assert_eq!(tcp(&[Wrong::Bytewise]), right);
        assert_eq!(tcp(&[Wrong::Transaction])[..2], [0, 6]);
        assert_eq!(tcp(&[Wrong::Unit])[6], 4);
        assert_eq!(tcp(&[Wrong::Function])[7], 4);
        assert_eq!(tcp(&[Wrong::CountTooGreat])[4..9], [0, 7, 3, 3, 6]);
        assert_eq!(tcp(&[Wrong::CountTooSmall])[4..9], [0, 7, 3, 3, 2]);
        assert_eq!(tcp(&[Wrong::Less])[4..], [0, 5, 3, 3, 2, 0x12, 0x34]);
        assert_eq!(tcp(&[Wrong::More])[4..9], [0, 9, 3, 3, 6]);
        assert_eq!(tcp(&[Wrong::Short]), right[..10]);
        assert_eq!(tcp(&[Wrong::Long])[..13], right);
        assert_eq!(tcp(&[Wrong::Double]), [right, right].concat());
        assert_eq!(tcp(&[Wrong::LengthNull])[4..6], [0, 0]);
        assert_eq!(tcp(&[Wrong::LengthHuge])[4..6], [0xFF, 0xFF]);
    }

    #[test]
    fn on_a_line_what_is_wrong_has_a_right_check_sum() {
        for kinds in [&[Wrong::Unit][..], &[Wrong::Function], &[Wrong::CountTooGreat], &[Wrong::Less]] {
            let frame = spoilt(Framing::Rtu, kinds);
            assert!(crate::drivers::modbus::rtu::decode(&frame).is_some(), "{kinds:?}");
        }
    }
}
