//! Mistakes shown to people and to scripts.

use std::borrow::Cow;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use serde::Serialize;

use crate::config::{SECRET_IN_CLEAR, Source, Sources};
use crate::model::Mistake;

/// How serious a mistake is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The file cannot be used.
    Error,
    /// It can, but was probably not meant so.
    Warning,
}

/// A mistake with its place in words, for `--json`.
#[derive(Debug, Clone, Serialize)]
pub struct Placed<'a> {
    severity: Severity,
    code: &'a str,
    file: &'a str,
    line: usize,
    column: usize,
    message: &'a str,
    help: &'a str,
}

/// `water.toml:12:8: message; help`.
impl std::fmt::Display for Placed<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Placed { file, line, column, message, help, .. } = self;
        write!(f, "{file}:{line}:{column}: {message}; {help}")
    }
}

/// Line and column (both from 1, columns in characters) of a byte of the text.
pub fn line_and_column(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at.min(text.len())).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (line, before.get(start..).unwrap_or("").chars().count() + 1)
}

/// A mistake for scripts.
pub fn placed<'a>(mistake: &'a Mistake, severity: Severity, sources: &'a Sources) -> Placed<'a> {
    let Source { name: file, text, start } = sources.at(mistake.span.start);
    let (line, column) = line_and_column(text, mistake.span.start - start);
    let Mistake { code, message, help, .. } = mistake;
    Placed { severity, code, file, line, column, message, help }
}

/// The text without secrets: what is shown may end in a log.
fn masked<'a>(mistakes: &[Mistake], text: &'a str) -> Cow<'a, str> {
    let mut text = Cow::Borrowed(text);
    for mistake in mistakes.iter().filter(|m| m.code == SECRET_IN_CLEAR) {
        let (start, end) = (mistake.span.start, mistake.span.end);
        if let (Some(before), Some(secret), Some(after)) =
            (text.get(..start), text.get(start..end), text.get(end..))
        {
            // As many bytes, so that all places stay right.
            let stars: String = secret.bytes().map(|b| if b == b'\n' { '\n' } else { '*' }).collect();
            text = Cow::Owned(format!("{before}{stars}{after}"));
        }
    }
    text
}

/// Mistakes for people, in the order of their places, with the line of the file and what to do.
pub fn render(mistakes: &[Mistake], severity: Severity, sources: &Sources, colours: bool) -> String {
    let renderer = if colours { Renderer::styled() } else { Renderer::plain() };
    let mut sorted: Vec<&Mistake> = mistakes.iter().collect();
    sorted.sort_by_key(|m| (m.span.start, m.span.end));
    let shown = masked(mistakes, sources.text());
    let show = |mistake: &&Mistake| {
        let level = if severity == Severity::Error { Level::ERROR } else { Level::WARNING };
        // An annotation over several lines hides more than it shows: its first line tells the place.
        let Source { name: file, text, start: base } = sources.at(mistake.span.start);
        let text = shown.get(base..base + text.len()).unwrap_or(text);
        let start = mistake.span.start.saturating_sub(base).min(text.len());
        let line_end = text.get(start..).and_then(|rest| rest.find('\n')).map_or(text.len(), |n| start + n);
        let span = start..mistake.span.end.saturating_sub(base).clamp(start, line_end.max(start));
        let title = level.primary_title(mistake.message.as_str()).id(mistake.code);
        let snippet = Snippet::source(text).path(file).annotation(AnnotationKind::Primary.span(span));
        let report = [title.element(snippet).element(Level::HELP.message(mistake.help.as_str()))];
        renderer.render(&report).to_string()
    };
    sorted.iter().map(show).collect::<Vec<_>>().join("\n\n")
}
