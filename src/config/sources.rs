//! All files of one configuration, laid end to end, so that a byte range names its file, too.

use std::ops::Range;

/// The main file first, then what it includes. A span of a [`crate::model::Mistake`] counts from the
/// start of the first.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    text: String,
    files: Vec<(String, Range<usize>)>,
}

/// One file of [`Sources`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source<'a> {
    /// Its name, as the user wrote or would write it.
    pub name: &'a str,
    /// Its text.
    pub text: &'a str,
    /// Where it starts in the whole.
    pub start: usize,
}

impl Sources {
    /// The main file alone.
    pub fn new(name: impl Into<String>, text: &str) -> Sources {
        let mut sources = Sources::default();
        sources.add(name, text);
        sources
    }

    /// Adds a file; the number is where its spans start.
    pub fn add(&mut self, name: impl Into<String>, text: &str) -> usize {
        // A place just behind the last byte belongs to its own file still.
        if !self.files.is_empty() {
            self.text.push('\n');
        }
        let start = self.text.len();
        self.text.push_str(text);
        self.files.push((name.into(), start..self.text.len()));
        start
    }

    /// The names of all files, the main one first.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|(name, _)| name.as_str())
    }

    /// All texts, end to end.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The file that holds this place.
    pub fn at(&self, place: usize) -> Source<'_> {
        let file = self.files.iter().rev().find(|(_, range)| range.start <= place);
        let (name, range) = file.map_or(("", 0..0), |(name, range)| (name.as_str(), range.clone()));
        Source { name, text: self.text.get(range.clone()).unwrap_or(""), start: range.start }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_belongs_to_one_file_also_the_one_behind_its_end() {
        let mut sources = Sources::new("a", "one");
        assert_eq!(sources.add("empty", ""), 4);
        assert_eq!(sources.add("b", "two\n"), 5);
        let name = |place| sources.at(place).name;
        assert_eq!([0, 2, 3].map(name), ["a"; 3]);
        assert_eq!(name(4), "empty");
        assert_eq!([5, 8, 9, 99].map(name), ["b"; 4]);
        assert_eq!(sources.at(6), Source { name: "b", text: "two\n", start: 5 });
    }
}
