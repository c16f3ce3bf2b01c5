//! What one reader has settled, as it is kept on the disk.

use super::ranges::Ranges;
use super::slots::ROOM;
use super::varint::{Cut, put};

/// The cursor file's content: all below the first number, and ranges above it.
pub(super) fn encode(settled: &Ranges) -> Vec<u8> {
    let mut bytes = vec![1];
    let cursor = settled.next_gap(0);
    put(&mut bytes, cursor);
    let mut before = cursor;
    // Ranges that have no room are forgotten: their batches are delivered twice, none is lost.
    for (from, to) in settled.iter().filter(|(from, _)| *from > cursor) {
        if bytes.len() + 20 > ROOM {
            break;
        }
        put(&mut bytes, from - before);
        put(&mut bytes, to - from);
        before = to;
    }
    bytes
}

/// The inverse; `None` for what this program never wrote.
pub(super) fn decode(bytes: &[u8]) -> Option<Ranges> {
    let mut cut = Cut(bytes);
    let [1] = cut.array()? else { return None };
    let mut settled = Ranges::default();
    let mut before = cut.number()?;
    settled.insert(0, before);
    while !cut.0.is_empty() {
        let from = before.checked_add(cut.number()?)?;
        before = from.checked_add(cut.number()?)?;
        settled.insert(from, before);
    }
    Some(settled)
}

/// A reader's name as a file name.
pub(super) fn file_name(reader: &str) -> String {
    escaped(reader) + ".cursor"
}

/// Any name with only what a file name may have.
pub(super) fn escaped(text: &str) -> String {
    let mut name = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => name.push(char::from(byte)),
            _ => name.push_str(&format!("%{byte:02x}")),
        }
    }
    name
}

/// The name of the reader whose file this is.
pub(super) fn reader_name(file: &str) -> Option<String> {
    unescaped(file.strip_suffix(".cursor")?)
}

/// The inverse of `escaped`.
pub(super) fn unescaped(name: &str) -> Option<String> {
    let mut rest = name.as_bytes();
    let mut name = Vec::new();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte == b'%' {
            let (hex, after) = rest.split_at_checked(2)?;
            name.push(u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()?);
            rest = after;
        } else {
            name.push(byte);
        }
    }
    String::from_utf8(name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_settled_comes_back() {
        let mut settled = Ranges::default();
        settled.insert(0, 1 << 40);
        settled.insert((1 << 40) + 3, (1 << 40) + 5);
        assert_eq!(decode(&encode(&settled)), Some(settled.clone()));
        for i in 0..10_000 {
            settled.insert((1 << 41) + 2 * i, (1 << 41) + 2 * i + 1);
        }
        let bytes = encode(&settled);
        assert!(bytes.len() <= ROOM);
        let back = decode(&bytes).unwrap();
        assert!(back.iter().all(|(from, to)| settled.covers(from, to)));
        assert_eq!(decode(&encode(&Ranges::default())), Some(Ranges::default()));
    }

    #[test]
    fn any_name_is_a_file_name() {
        for name in ["cloud", "..", "a/b", "Überwachung", "%41"] {
            let file = file_name(name);
            assert!(!file.contains('/') && !file.starts_with('.'));
            assert_eq!(reader_name(&file).as_deref(), Some(name));
        }
    }
}
