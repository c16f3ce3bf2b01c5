//! Moves the places of a parsed file to where the file lies among all sources.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Moves a range.
pub(super) fn range(range: &mut Range<usize>, by: usize) {
    *range = range.start + by..range.end + by;
}

/// Moves every key and value.
pub(super) fn table(table: Spanned<DeTable<'_>>, by: usize) -> Spanned<DeTable<'_>> {
    moved(table, by, |table| entries(table, by))
}

fn entries(table: DeTable<'_>, by: usize) -> DeTable<'_> {
    table
        .into_iter()
        .map(|(key, value)| (moved(key, by, |key| key), moved(value, by, |v| self::value(v, by))))
        .collect()
}

fn value(value: DeValue<'_>, by: usize) -> DeValue<'_> {
    match value {
        DeValue::Table(table) => DeValue::Table(entries(table, by)),
        DeValue::Array(array) => {
            DeValue::Array(array.into_iter().map(|e| moved(e, by, |e| self::value(e, by))).collect())
        }
        other => other,
    }
}

fn moved<T, U>(spanned: Spanned<T>, by: usize, inner: impl FnOnce(T) -> U) -> Spanned<U> {
    let mut span = spanned.span();
    range(&mut span, by);
    Spanned::new(span, inner(spanned.into_inner()))
}
