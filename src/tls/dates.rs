//! From when to when a certificate is valid, read from its DER (RFC 5280, 4.1.2.5). Pure.

/// Not before and not after, in seconds since 1970; `None` where that is not there to be read.
pub fn validity(certificate: &[u8]) -> Option<(u64, u64)> {
    // Certificate, then its TBSCertificate.
    let (_, certificate, _) = element(certificate)?;
    let (_, mut fields, _) = element(certificate)?;
    // The version has a tag of its own and may be left out; serial number, signature and issuer follow.
    let (first, _, rest) = element(fields)?;
    if first == 0xA0 {
        fields = rest;
    }
    for _ in 0..3 {
        fields = element(fields)?.2;
    }
    let (SEQUENCE, validity, _) = element(fields)? else { return None };
    let (kind, from, rest) = element(validity)?;
    let from = time(kind, from)?;
    let (kind, until, _) = element(rest)?;
    Some((from, time(kind, until)?))
}

const SEQUENCE: u8 = 0x30;

/// Tag, content, and what comes behind.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let [tag, first, rest @ ..] = der else { return None };
    let (length, rest) = match first {
        0..=0x7F => (usize::from(*first), rest),
        0x81..=0x83 => {
            let (length, rest) = rest.split_at_checked(usize::from(first & 3))?;
            (length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*tag, content, rest))
}

/// UTCTime to 2049, GeneralizedTime from then on; both to the second and in UTC.
fn time(kind: u8, text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let two = |at: usize| text.get(at..at + 2)?.parse::<u64>().ok();
    let (year, at) = match (kind, text.len()) {
        (0x17, 12) => (if two(0)? < 50 { 2000 + two(0)? } else { 1900 + two(0)? }, 2),
        (0x18, 14) => (two(0)? * 100 + two(2)?, 4),
        _ => return None,
    };
    let (month, day) = (two(at)?, two(at + 2)?);
    if !(1..=12).contains(&month) || day == 0 {
        return None;
    }
    // Days since the first of March of the year 0, as years that begin in March end with the odd day.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year.checked_sub(1)?, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1;
    // Before 1970 is 1970.
    let days = days.saturating_sub(719_468);
    Some(days * 86_400 + two(at + 4)? * 3600 + two(at + 6)? * 60 + two(at + 8)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_both_forms() {
        assert_eq!(time(0x17, b"700101000000Z"), Some(0));
        assert_eq!(time(0x17, b"240229235959Z"), Some(1_709_251_199));
        assert_eq!(time(0x18, b"20500101000000Z"), Some(2_524_608_000));
        assert_eq!(time(0x18, b"99991231235959Z"), Some(253_402_300_799));
        assert_eq!(time(0x17, b"491231235959Z"), Some(2_524_607_999));
        let none: [&[u8]; 5] = [b"", b"240229235959", b"2402292359Z", b"241329235959Z", b"2402\xFF9235959Z"];
        assert_eq!(none.map(|text| time(0x17, text)), [None; 5]);
    }

    #[test]
    fn a_certificate_tells_its_dates_and_a_cut_one_does_not() {
        let mut wanted = rcgen::CertificateParams::new(vec!["gateway".to_owned()]).unwrap();
        wanted.not_before = rcgen::date_time_ymd(2024, 2, 29);
        wanted.not_after = rcgen::date_time_ymd(2060, 1, 1);
        let made = wanted.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        let der = made.der().as_ref();
        assert_eq!(validity(der), Some((1_709_164_800, 2_840_140_800)));
        assert!((0..der.len()).all(|end| validity(&der[..end]).is_none()));
    }
}
