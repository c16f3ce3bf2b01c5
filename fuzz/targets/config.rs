//! Any text as a whole configuration file.
#![no_main]

use fieldgate::config::{Sources, load};
use fieldgate::model::Mistake;
use fieldgate::plan::compile;
use fieldgate::plan::diagnostic::{Severity, placed, render};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let loaded = load(text);
    look(&loaded.mistakes, text, Severity::Error);
    let Some(config) = loaded.config else {
        return assert!(!loaded.mistakes.is_empty(), "what cannot be used is told");
    };
    // Included files are left out: nothing of this touches the disk.
    match compile(&config, loaded.incomplete, None) {
        Ok(plan) => {
            look(&plan.warnings, text, Severity::Warning);
            let again = compile(&config, loaded.incomplete, Some(&plan.directory));
            assert!(again.as_ref() == Ok(&plan), "the same file is the same plan");
        }
        Err(mistakes) => {
            assert!(!mistakes.is_empty() || !loaded.mistakes.is_empty() || loaded.incomplete);
            look(&mistakes, text, Severity::Error);
        }
    }
});

/// Every mistake has its place in the text, and can be shown.
fn look(mistakes: &[Mistake], text: &str, severity: Severity) {
    let sources = Sources::new("fuzz.toml", text);
    for mistake in mistakes {
        assert!(text.get(mistake.span.clone()).is_some(), "{mistake:?} lies in the text");
        assert!(!mistake.message.is_empty() && !mistake.help.is_empty(), "{mistake:?}");
        let _ = placed(mistake, severity, &sources);
    }
    if !mistakes.is_empty() {
        assert!(!render(mistakes, severity, &sources, false).is_empty());
    }
}
