//! docs/sparkplug-conformance.md lists every statement of Sparkplug 3.0, and what it calls tested has a test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const KEPT: &str = "kept and tested";
const STATUS: [&str; 3] = [KEPT, "not kept yet: ", "does not apply: "];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn document() -> String {
    fs::read_to_string(root().join("docs/sparkplug-conformance.md")).unwrap()
}

/// Id and status of each row.
fn rows(document: &str) -> Vec<(&str, &str)> {
    document
        .lines()
        .filter(|line| line.starts_with("| tck-id-"))
        .map(|line| {
            let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
            assert_eq!(cells.len(), 3, "{line}");
            (cells[0], cells[2])
        })
        .collect()
}

/// All Rust under a folder.
fn sources(folder: &str) -> String {
    let (mut all, mut folders) = (String::new(), vec![root().join(folder)]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                all += &fs::read_to_string(path).unwrap();
            }
        }
    }
    all
}

/// The names of the tests that have the name of an id.
fn tested(source: &str) -> BTreeSet<&str> {
    let words = source.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("tck_id_") && word.len() > "tck_id_".len()).collect()
}

fn name_of(id: &str) -> String {
    id.replace('-', "_").to_lowercase()
}

#[test]
fn every_statement_is_listed_once_and_in_order() {
    let document = document();
    let listed: Vec<_> = rows(&document).into_iter().map(|(id, _)| id).collect();
    let ids = fs::read_to_string(root().join("tests/golden/sparkplug/ids.txt")).unwrap();
    assert_eq!(listed, ids.lines().collect::<Vec<_>>());
    assert_eq!(listed.len(), listed.iter().collect::<BTreeSet<_>>().len());
}

#[test]
fn every_statement_that_is_called_tested_has_its_test_and_no_test_is_of_another() {
    let document = document();
    let tests = sources("tests/sparkplug");
    let everywhere = sources("src") + &sources("tests");
    let mut by_id = tested(&tests);
    for (id, status) in rows(&document) {
        assert!(STATUS.iter().any(|s| status.starts_with(s)), "{id}: {status}");
        let name = name_of(id);
        let Some(how) = status.strip_prefix(KEPT) else {
            assert!(!by_id.contains(name.as_str()), "{id} has a test, but it says: {status}");
            continue;
        };
        match how.strip_prefix(": `").and_then(|rest| rest.split('`').next()) {
            Some(other) => assert!(everywhere.contains(&format!("fn {other}(")), "{id}: no test `{other}`"),
            None => assert!(by_id.remove(name.as_str()), "{id}: no test `{name}` in tests/sparkplug"),
        }
    }
    assert!(by_id.is_empty(), "tests of what is no statement: {by_id:?}");
}

#[test]
fn the_sums_at_the_top_are_those_of_the_table() {
    let document = document();
    let mut sums: BTreeMap<&str, usize> = BTreeMap::new();
    for (_, status) in rows(&document) {
        let kind = STATUS.iter().find(|s| status.starts_with(**s)).unwrap();
        *sums.entry(kind.trim_end_matches(": ")).or_default() += 1;
    }
    for (kind, sum) in sums {
        assert!(document.contains(&format!("| {kind} | {sum} |")), "{kind}: {sum}");
    }
}
