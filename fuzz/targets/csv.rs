//! Any text as a tag list.
#![no_main]

use fieldgate::config::{csv, tag_list};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match csv::read(text) {
        Ok(rows) => {
            for field in rows.iter().flatten() {
                let written = text.get(field.span.clone()).expect("a field lies in the text");
                assert!(written == field.text || written.starts_with('"'), "{written:?}");
            }
            // Written again with commas it says the same. Rows of empty fields alone would be left out.
            let line = |row: &Vec<csv::Field>| {
                row.iter().map(|f| csv::quoted(&f.text)).collect::<Vec<_>>().join(",")
            };
            let texts = |rows: &[Vec<csv::Field>]| {
                let texts = |row: &Vec<csv::Field>| row.iter().map(|f| f.text.clone()).collect::<Vec<_>>();
                rows.iter()
                    .map(texts)
                    .filter(|row| row.iter().any(|text| !text.is_empty()))
                    .collect::<Vec<_>>()
            };
            // A header decides on the separator.
            let again =
                format!(",,,,,,,,,,,,,,,,,,,,,x\n{}\n", rows.iter().map(line).collect::<Vec<_>>().join("\n"));
            let again = csv::read(&again).expect("what was written by us is read");
            assert_eq!(texts(&again[1..]), texts(&rows));
        }
        Err(mistake) => assert!(text.get(mistake.span).is_some(), "a mistake lies in the text"),
    }
    let (rows, mistakes) = tag_list::read(text, 0);
    for mistake in mistakes {
        assert!(text.get(mistake.span.clone()).is_some(), "a mistake lies in the text: {mistake:?}");
        assert!(!mistake.message.is_empty() && !mistake.help.is_empty());
    }
    for row in rows {
        assert!(text.get(row.name.span()).is_some() && text.get(row.tag.span()).is_some());
    }
});
