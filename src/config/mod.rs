//! The whole TOML as data: files, secrets, places; no meaning.

pub mod alarm;
pub mod csv;
mod include;
pub mod leaf;
mod load;
mod merge;
pub mod schema;
mod shift;
mod sources;
mod tables;
pub mod tag_list;

pub use include::include;
pub use load::{Loaded, SECRET_IN_CLEAR, load};
pub use sources::{Source, Sources};
pub use tables::*;

/// The known name that was probably meant: at most two letters off, and not more than a third of it.
pub fn closest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let most = (word.chars().count() / 3).clamp(1, 2);
    let word = &word.to_lowercase();
    let rated = known.into_iter().map(|name| (distance(word, name), name));
    rated.filter(|(off, _)| *off <= most).min_by_key(|(off, _)| *off).map(|(_, name)| name)
}

/// Letters to insert, remove, replace or exchange to get from one word to the other (optimal string
/// alignment).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    let mut before: Vec<usize> = Vec::new();
    let mut last = None;
    for (i, x) in a.chars().enumerate() {
        let mut left = i + 1;
        let mut next = vec![left];
        for (j, (y, pair)) in b.iter().zip(row.windows(2)).enumerate() {
            let [diagonal, above] = pair else { continue };
            left = (left + 1).min(above + 1).min(diagonal + usize::from(x != *y));
            let previous = j.checked_sub(1).and_then(|at| b.get(at));
            if previous == Some(&x) && last == Some(*y) {
                left = j.checked_sub(1).and_then(|at| before.get(at)).map_or(left, |two| left.min(two + 1));
            }
            next.push(left);
        }
        before = std::mem::replace(&mut row, next);
        last = Some(x);
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_word_finds_its_neighbour_and_a_strange_one_none() {
        let known = ["holding", "input", "deadband"];
        assert_eq!(closest("dedband", known), Some("deadband"));
        assert_eq!(closest("hodling", known), Some("holding"));
        assert_eq!(closest("INPUT", known), Some("input"));
        assert_eq!(closest("bsu", ["plc", "bus"]), Some("bus"));
        assert_eq!(closest("scael", ["at", "scale", "scan"]), Some("scale"));
        assert_eq!(closest("velocity", known), None);
    }
}
