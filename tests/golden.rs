//! Configuration files with mistakes, and what `fieldgate check` says of each.
//!
//! `tests/golden/config/NAME.toml` belongs to `NAME.expected`. To write the expectations anew:
//! `UPDATE_GOLDEN=1 cargo test --test golden`, and read the difference before it is committed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/config")
}

fn fieldgate(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fieldgate")).current_dir(folder).args(arguments).output().unwrap()
}

fn names(extension: &str) -> BTreeSet<String> {
    let files = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let wanted = files.filter(|path| path.extension().is_some_and(|e| e == extension));
    wanted.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
}

/// The lines of both, those that differ with `-` (expected) and `+` (got).
fn difference(expected: &str, got: &str) -> String {
    let (old, new): (Vec<_>, Vec<_>) = (expected.lines().collect(), got.lines().collect());
    let same = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let tail = old[same..].iter().rev().zip(new[same..].iter().rev()).take_while(|(a, b)| a == b).count();
    let mut lines: Vec<String> = old[..same].iter().map(|l| format!("  {l}")).collect();
    lines.extend(old[same..old.len() - tail].iter().map(|l| format!("- {l}")));
    lines.extend(new[same..new.len() - tail].iter().map(|l| format!("+ {l}")));
    lines.extend(old[old.len() - tail..].iter().map(|l| format!("  {l}")));
    lines.join("\n")
}

#[test]
fn every_mistake_is_told_with_its_place_and_what_to_do() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut wrong = Vec::new();
    for name in names("toml") {
        let output = fieldgate(&folder(), &["check", &format!("{name}.toml")]);
        let good = name.starts_with("good-");
        assert_eq!(output.status.code(), Some(if good { 0 } else { 2 }), "{name}: {output:?}");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let got = text(output.stdout) + &text(output.stderr);
        // What is said ends in a line end, whatever the file's own ones are.
        let got = got.lines().map(str::trim_end).collect::<Vec<_>>().join("\n") + "\n";
        let path = folder().join(format!("{name}.expected"));
        if update {
            fs::write(&path, &got).unwrap();
            continue;
        }
        let expected = fs::read_to_string(&path).unwrap_or_default();
        if expected != got {
            wrong.push(format!("{name}.toml:\n{}", difference(&expected, &got)));
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n\n{}\n", wrong.len(), wrong.join("\n\n"));
}

#[test]
fn every_expectation_belongs_to_a_file() {
    assert_eq!(names("expected"), names("toml"));
    assert!(names("toml").len() >= 45, "{}", names("toml").len());
}

#[test]
fn every_mistake_has_words_for_what_is_wrong_and_for_what_to_do_also_in_json() {
    for name in names("toml") {
        let file = format!("{name}.toml");
        let output = fieldgate(&folder(), &["check", "--json", &file]);
        let good = name.starts_with("good-");
        assert_eq!(output.status.code(), Some(if good { 0 } else { 2 }), "{name}");
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&report["good"], report["file"].as_str()), (&good.into(), Some(file.as_str())));
        let diagnostics = report["diagnostics"].as_array().unwrap();
        assert!(good || !diagnostics.is_empty(), "{name}");
        let text = fs::read_to_string(folder().join(&file)).unwrap();
        let mut last = 0;
        for one in diagnostics {
            for key in ["severity", "code", "message", "help"] {
                assert!(!one[key].as_str().unwrap().is_empty(), "{name}: {key} of {one}");
            }
            let (line, column) = (one["line"].as_u64().unwrap(), one["column"].as_u64().unwrap());
            assert!(line >= last && column >= 1, "{name}: {one}");
            last = line;
            // One behind the end of the line is the place of what is missing there.
            let length = text.split('\n').nth(line as usize - 1).unwrap().chars().count() as u64;
            assert!(column <= length + 1, "{name}: {one}");
        }
    }
}

#[test]
fn a_password_in_clear_is_shown_to_nobody() {
    for arguments in [&["check"][..], &["check", "--json"], &["run"]] {
        for name in ["password-in-clear.toml", "password-is-a-number.toml"] {
            let output = fieldgate(&folder(), &[arguments, &[name]].concat());
            let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
            assert_eq!(output.status.code(), Some(2), "{said}");
            assert!(said.contains("secret"), "{said}");
            assert!(!said.contains("hunter2") && !said.contains("4711"), "{said}");
        }
    }
}

#[test]
fn a_file_that_is_not_there_and_a_wrong_command_line_end_with_2() {
    for arguments in
        [&["check", "no-such-file.toml"][..], &["check"], &["frobnicate"], &["test", "no-such-file.toml"]]
    {
        let output = fieldgate(&folder(), arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(!output.stderr.is_empty());
    }
}

#[test]
fn test_tables_pass_fail_and_are_told_apart_by_their_exit_code() {
    let file = |expected: &str| {
        format!(
            "[node]\ngroup = \"g\"\nname = \"n\"\n[[link.modbus-tcp]]\nname = \"l\"\nhost = \"h\"\n\
             [[device]]\nname = \"d\"\nlink = \"l\"\n[device.tag]\n\
             flow = {{ at = \"holding:4\", type = \"f32\", order = \"cdab\", low = 0, high = 100 }}\n\
             on = {{ at = \"coil:1\", type = \"bool\" }}\n\
             [[test]]\nname = \"flow\"\ndevice = \"d\"\n\
             given = {{ \"holding:4\" = [0x0000, 0x4248], \"coil:1\" = [true] }}\n\
             expect = {{ flow = {expected}, on = true }}\n"
        )
    };
    let folder = tempfile::tempdir().unwrap();
    for (expected, code, words) in [
        ("50.0", 0, "1 test passed, 0 failed"),
        ("50", 0, "ok   flow"),
        ("51.0", 1, "d/flow: expected 51, got 50 (good)"),
        ("\"bad\"", 1, "FAIL flow"),
        ("\"uncertain\"", 1, "0 tests passed, 1 failed"),
    ] {
        fs::write(folder.path().join("a.toml"), file(expected)).unwrap();
        let output = fieldgate(folder.path(), &["test", "a.toml"]);
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(code), "{expected}: {said}");
        assert!(said.contains(words), "{expected}: {said}");
        let output = fieldgate(folder.path(), &["test", "--json", "a.toml"]);
        assert_eq!(output.status.code(), Some(code));
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["failed"], code);
        assert_eq!(report["tests"][0]["passed"], code == 0);
    }
    fs::write(folder.path().join("a.toml"), file("50.0").replace("holding:4\", type", "holding:x\", type"))
        .unwrap();
    assert_eq!(fieldgate(folder.path(), &["test", "a.toml"]).status.code(), Some(2));
}

#[test]
fn two_that_listen_on_one_port_are_found_also_where_one_listens_everywhere() {
    use fieldgate::plan::Resource::ListenPort;
    let port = |text: &str| ListenPort(text.parse().unwrap());
    for (one, other, conflict) in [
        ("127.0.0.1:4840", "127.0.0.1:4840", true),
        ("0.0.0.0:4840", "127.0.0.1:4840", true),
        ("[::]:4840", "127.0.0.1:4840", true),
        ("127.0.0.1:4840", "127.0.0.1:8080", false),
        ("127.0.0.1:4840", "127.0.0.2:4840", false),
        // The system chooses.
        ("127.0.0.1:0", "127.0.0.1:0", false),
    ] {
        assert_eq!(port(one).conflicts(&port(other)), conflict, "{one} {other}");
        assert_eq!(port(other).conflicts(&port(one)), conflict, "{other} {one}");
    }
}
