//! A configuration file read, compiled and, where it is wrong, explained.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use crate::config::{self, Config, Sources};
use crate::model::{Directory, Mistake};
use crate::plan::diagnostic::{Severity, placed, render};
use crate::plan::{self, GatewayPlan};

/// A file and what came of it.
pub(super) struct Compiled {
    /// As named on the command line.
    pub(super) name: String,
    sources: Sources,
    /// The tables, as far as they could be read.
    pub(super) config: Option<Config>,
    /// The plan, or all mistakes.
    pub(super) plan: Result<GatewayPlan, Vec<Mistake>>,
}

/// Reads and compiles; an error is a file that cannot be read.
pub(super) fn compile(path: &Path) -> Result<Compiled, String> {
    compile_after(path, None)
}

/// The same after another configuration: what is in both keeps its numbers.
pub(super) fn compile_after(path: &Path, previous: Option<&Directory>) -> Result<Compiled, String> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| format!("cannot read {name}: {error}"))?;
    Ok(compile_tables(name, text, previous, |_| {}))
}

/// Compiles a text; `adapt` may change the tables before.
pub(super) fn compile_text(name: String, text: String, adapt: impl FnOnce(&mut Config)) -> Compiled {
    compile_tables(name, text, None, adapt)
}

fn compile_tables(
    name: String,
    text: String,
    previous: Option<&Directory>,
    adapt: impl FnOnce(&mut Config),
) -> Compiled {
    let loaded = config::load(&text);
    let mut mistakes = loaded.mistakes;
    let mut incomplete = loaded.incomplete;
    let mut config = loaded.config;
    let mut sources = Sources::new(&name, &text);
    let folder = Path::new(&name).parent().unwrap_or(Path::new(""));
    let plan = config.as_mut().map(|config| {
        incomplete |= config::include(config, folder, &mut sources, &mut mistakes);
        adapt(config);
        plan::compile(config, incomplete, previous)
    });
    let plan = match plan {
        Some(Ok(plan)) if mistakes.is_empty() => Ok(plan),
        Some(Err(more)) => {
            mistakes.extend(more);
            Err(mistakes)
        }
        _ => Err(mistakes),
    };
    Compiled { name, sources, config, plan }
}

impl Compiled {
    /// The file and those that it names, as far as they could be read.
    pub(super) fn files(&self) -> impl Iterator<Item = PathBuf> {
        self.sources.names().map(PathBuf::from)
    }

    /// Mistakes for people, on standard error.
    pub(super) fn complain(&self, mistakes: &[Mistake], severity: Severity) {
        if !mistakes.is_empty() {
            let colours = std::io::stderr().is_terminal();
            eprintln!("{}\n", render(mistakes, severity, &self.sources, colours));
        }
    }

    /// Mistakes a line each, for the log.
    pub(super) fn lines(&self, mistakes: &[Mistake]) -> Vec<String> {
        let mut sorted: Vec<_> = mistakes.iter().collect();
        sorted.sort_by_key(|m| m.span.start);
        sorted.into_iter().map(|m| placed(m, Severity::Error, &self.sources).to_string()).collect()
    }

    /// Mistakes for scripts.
    pub(super) fn json(&self, mistakes: &[Mistake], severity: Severity) -> Vec<serde_json::Value> {
        let mut sorted: Vec<_> = mistakes.iter().collect();
        sorted.sort_by_key(|m| m.span.start);
        let value = |m| serde_json::to_value(placed(m, severity, &self.sources)).unwrap_or_default();
        sorted.into_iter().map(value).collect()
    }

    /// The plan; otherwise all mistakes are said on standard error.
    pub(super) fn into_plan(self) -> Option<GatewayPlan> {
        match &self.plan {
            Ok(plan) => self.complain(&plan.warnings, Severity::Warning),
            Err(mistakes) => {
                self.complain(mistakes, Severity::Error);
                eprintln!("{}: {}", self.name, count(mistakes.len(), "mistake"));
            }
        }
        self.plan.ok()
    }
}

/// `1 mistake`, `2 mistakes`.
pub(super) fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}
