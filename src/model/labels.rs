//! What the values of a tag are called: two words for a switch, a word for each number of a list.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Value;

/// Names of values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Labels {
    /// Those of a `bool`.
    Switch {
        /// Of false.
        off: Arc<str>,
        /// Of true.
        on: Arc<str>,
    },
    /// Those of a whole number.
    Numbers(BTreeMap<i64, Arc<str>>),
}

impl Labels {
    /// What a value is called; `None` where it has no name.
    pub fn of(&self, value: &Value) -> Option<&Arc<str>> {
        let number = match (self, value) {
            (Labels::Switch { on, .. }, Value::Bool(true)) => return Some(on),
            (Labels::Switch { off, .. }, Value::Bool(false)) => return Some(off),
            (_, Value::I8(v)) => i64::from(*v),
            (_, Value::U8(v)) => i64::from(*v),
            (_, Value::I16(v)) => i64::from(*v),
            (_, Value::U16(v)) => i64::from(*v),
            (_, Value::I32(v)) => i64::from(*v),
            (_, Value::U32(v)) => i64::from(*v),
            (_, Value::I64(v)) => *v,
            (_, Value::U64(v)) => i64::try_from(*v).ok()?,
            _ => return None,
        };
        match self {
            Labels::Switch { .. } => None,
            Labels::Numbers(names) => names.get(&number),
        }
    }

    /// Value, as written in a file, and name.
    pub fn iter(&self) -> impl Iterator<Item = (String, &Arc<str>)> {
        let (switch, numbers) = match self {
            Labels::Switch { off, on } => (Some([("off".to_owned(), off), ("on".to_owned(), on)]), None),
            Labels::Numbers(names) => {
                (None, Some(names.iter().map(|(value, name)| (value.to_string(), name))))
            }
        };
        switch.into_iter().flatten().chain(numbers.into_iter().flatten())
    }

    /// The names alone, where they are those of 0, 1, 2 and so on without a gap.
    pub fn from_zero(&self) -> Option<Vec<&Arc<str>>> {
        let Labels::Numbers(names) = self else { return None };
        let gapless = names.keys().zip(0..).all(|(value, expected)| *value == expected);
        gapless.then(|| names.values().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(names: &[(i64, &str)]) -> Labels {
        Labels::Numbers(names.iter().map(|(value, name)| (*value, Arc::from(*name))).collect())
    }

    #[test]
    fn a_value_has_the_name_of_its_number_and_no_other() {
        let labels = numbers(&[(-1, "fault"), (0, "idle"), (7, "running")]);
        assert_eq!(labels.of(&Value::U64(7)).map(|n| &**n), Some("running"));
        assert_eq!(labels.of(&Value::I16(-1)).map(|n| &**n), Some("fault"));
        assert_eq!(labels.of(&Value::U8(1)), None);
        assert_eq!(labels.of(&Value::U64(u64::MAX)), None);
        assert_eq!(labels.of(&Value::Bool(true)), None);
        let switch = Labels::Switch { off: "stopped".into(), on: "running".into() };
        assert_eq!(switch.of(&Value::Bool(true)).map(|n| &**n), Some("running"));
        assert_eq!(switch.of(&Value::U8(1)), None);
    }

    #[test]
    fn only_names_from_zero_on_without_a_gap_are_a_list() {
        assert_eq!(numbers(&[(0, "a"), (1, "b")]).from_zero().map(|names| names.len()), Some(2));
        assert_eq!(numbers(&[(0, "a"), (2, "b")]).from_zero(), None);
        assert_eq!(numbers(&[(1, "a"), (2, "b")]).from_zero(), None);
    }
}
