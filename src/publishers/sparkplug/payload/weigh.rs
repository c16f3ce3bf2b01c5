//! How much a payload would become when it is decoded, found before it is: pure, for any bytes that come.
//!
//! An empty metric is two bytes on the wire and some hundred in memory, so a bound of bytes alone bounds no memory.

/// Fields that a payload may have, those of what is in it included: a command has a few for each metric.
pub const MOST: usize = 20_000;
/// The decoder refuses what is deeper.
const DEEPEST: u32 = 100;

/// Whether it has no more than so many fields. What is no payload at all is light: the decoder refuses it.
pub fn is_light(bytes: &[u8], most: usize) -> bool {
    let mut left = most;
    fields(bytes, Kind::Payload, DEEPEST, &mut left).is_some()
}

/// A message of `sparkplug_b.proto` that has others in it.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Payload,
    Metric,
    Template,
    DataSet,
    Row,
    PropertySet,
    /// One with nothing but values.
    Values,
}

impl Kind {
    /// What lies in a field of this number; `None`: a value.
    fn within(self, field: u64) -> Option<Kind> {
        Some(match (self, field) {
            (Kind::Payload | Kind::Template, 2) => Kind::Metric,
            (Kind::Template, 3) | (Kind::Row, 1) | (Kind::PropertySet, 2) => Kind::Values,
            (Kind::Metric, 9) => Kind::PropertySet,
            (Kind::Metric, 17) => Kind::DataSet,
            (Kind::Metric, 18) => Kind::Template,
            (Kind::DataSet, 4) => Kind::Row,
            _ => return None,
        })
    }
}

/// Takes the fields from those that are left; `None` where they are too many.
fn fields(mut bytes: &[u8], kind: Kind, deep: u32, left: &mut usize) -> Option<()> {
    while !bytes.is_empty() {
        let Some(key) = varint(&mut bytes) else { return Some(()) };
        *left = left.checked_sub(1)?;
        let length = match key & 7 {
            0 => {
                if varint(&mut bytes).is_none() {
                    return Some(());
                }
                continue;
            }
            1 => 8,
            5 => 4,
            2 => match varint(&mut bytes).and_then(|length| usize::try_from(length).ok()) {
                Some(length) => length,
                None => return Some(()),
            },
            _ => return Some(()),
        };
        let Some((inner, rest)) = bytes.split_at_checked(length) else { return Some(()) };
        bytes = rest;
        if let Some(kind) = kind.within(key >> 3).filter(|_| key & 7 == 2 && deep > 0) {
            fields(inner, kind, deep - 1, left)?;
        }
    }
    Some(())
}

/// Seven bits a byte, the lowest first.
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in 0..10 {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7F) << (7 * shift);
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::{Metric, Payload, Raw, Template};
    use super::*;

    fn metrics(count: usize) -> Vec<Metric> {
        vec![Metric::default(); count]
    }

    #[test]
    fn a_thousand_whole_metrics_are_light_and_a_megabyte_of_empty_ones_is_heavy() {
        let whole = Metric {
            name: Some("Folder/Name of a tag".into()),
            alias: Some(7),
            timestamp: Some(1_700_000_000_000),
            datatype: Some(10),
            value: Some(Raw::Double(0.5)),
            ..Metric::default()
        };
        let command = Payload { metrics: vec![whole; 1000], ..Payload::default() };
        assert!(is_light(&command.bytes(), MOST));
        let bomb = Payload { metrics: metrics(500_000), ..Payload::default() };
        assert!(!is_light(&bomb.bytes(), MOST));
    }

    #[test]
    fn what_is_hidden_in_a_template_counts_too() {
        let template = Template { metrics: metrics(MOST), ..Template::default() };
        let metric = Metric { value: Some(Raw::Template(template)), ..Metric::default() };
        let payload = Payload { metrics: vec![metric], ..Payload::default() };
        assert!(!is_light(&payload.bytes(), MOST));
    }

    #[test]
    fn what_is_deeper_than_any_stack_is_left_to_the_decoder_which_refuses_it() {
        // Metrics (2) in templates (18) in metrics, from the inside: by hand, since the encoder has a stack, too.
        let mut bytes: Vec<u8> = Vec::new();
        let mut prefixes = Vec::new();
        let mut length = 0_usize;
        while length < 200_000 {
            for key in [&[0x92, 0x01][..], &[0x12][..]] {
                let mut prefix = key.to_vec();
                let mut rest = length;
                while rest > 0x7F {
                    prefix.push(rest as u8 | 0x80);
                    rest >>= 7;
                }
                prefix.push(rest as u8);
                length += prefix.len();
                prefixes.push(prefix);
            }
        }
        prefixes.iter().rev().for_each(|prefix| bytes.extend(prefix));
        assert!(is_light(&bytes, MOST));
        assert_eq!(Payload::parse(&bytes), None);
    }

    #[test]
    fn a_long_text_is_one_field() {
        let text = Metric { value: Some(Raw::Text("x".repeat(900_000))), ..Metric::default() };
        assert!(is_light(&Payload { metrics: vec![text], ..Payload::default() }.bytes(), 10));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_weighed(bytes: Vec<u8>) {
            is_light(&bytes, MOST);
        }
    }
}
