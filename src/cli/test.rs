//! `fieldgate test`: the `[[test]]` tables of a file, registers in, tags out.

use super::file::{compile, count};
use super::{FAILED, FileArguments, GOOD, WRONG};
use crate::config::leaf::Scalar;
use crate::model::{Quality, Value};
use crate::normalize::decode::decode;
use crate::normalize::quality;
use crate::plan::TestCase;

pub(super) fn main(arguments: &FileArguments) -> u8 {
    let compiled = match compile(&arguments.config) {
        Ok(compiled) => compiled,
        Err(error) => {
            eprintln!("{error}");
            return WRONG;
        }
    };
    let Some(plan) = compiled.into_plan() else { return WRONG };
    let mut report = Vec::new();
    let mut failed = 0;
    for test in &plan.tests {
        let wrong: Vec<String> = test.cases.iter().filter_map(|case| run(case).err()).collect();
        if !arguments.json {
            println!("{} {}", if wrong.is_empty() { "ok  " } else { "FAIL" }, test.name);
            wrong.iter().for_each(|line| println!("       {line}"));
        }
        failed += usize::from(!wrong.is_empty());
        report.push(serde_json::json!({ "name": test.name, "passed": wrong.is_empty(), "wrong": wrong }));
    }
    let passed = plan.tests.len() - failed;
    if arguments.json {
        println!("{}", serde_json::json!({ "passed": passed, "failed": failed, "tests": report }));
    } else {
        println!("{} passed, {failed} failed", count(passed, "test"));
    }
    if failed == 0 { GOOD } else { FAILED }
}

/// What the tag is, against what it must be.
fn run(case: &TestCase) -> Result<(), String> {
    let rule = &case.placed.rule;
    let (value, quality) = match decode(rule, case.placed.place, &case.raw, None) {
        Ok(value) => {
            let quality = quality::of_value(rule, &value);
            (Some(value), quality)
        }
        Err(error) => (None, Quality::Bad(quality::of_decode_error(error))),
    };
    let good = match (&case.expected, &value) {
        (Scalar::Text(word), None) => word == "bad",
        (Scalar::Text(word), Some(value)) if word == "uncertain" && value.data_type().is_number() => {
            matches!(quality, Quality::Uncertain(_))
        }
        (expected, Some(value)) => equal(expected, value),
        (_, None) => false,
    };
    if good {
        return Ok(());
    }
    let got = value.map_or(quality.to_string(), |value| format!("{value} ({quality})"));
    Err(format!("{}: expected {}, got {got}", case.path, case.expected))
}

/// Numbers are the same when they differ by less than a single-precision float can tell.
fn equal(expected: &Scalar, value: &Value) -> bool {
    let near =
        |wanted: f64| value.as_f64().is_some_and(|got| (got - wanted).abs() <= wanted.abs() * 1e-6 + 1e-9);
    match expected {
        Scalar::Bool(wanted) => *value == Value::Bool(*wanted),
        Scalar::Text(wanted) => matches!(value, Value::Text(text) if **text == **wanted),
        Scalar::Float(wanted) => near(*wanted),
        Scalar::Integer(wanted) => match value.as_integer() {
            Some(got) => got == i128::from(*wanted),
            None => near(*wanted as f64),
        },
        Scalar::List(wanted) => {
            let Value::Array(array) = value else { return false };
            wanted.len() == array.length()
                && wanted.iter().zip(array.iter()).all(|(one, got)| equal(one, &got))
        }
    }
}
