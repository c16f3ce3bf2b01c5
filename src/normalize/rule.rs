//! What to make of the raw words of one tag: plain data, compiled from the configuration.

use std::sync::Arc;
use std::time::Duration;

use crate::model::{Alarm, DataType, Order, Place, TagId};

/// How one tag is made from its raw words and back.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// Whose rule.
    pub tag: TagId,
    /// The type on the wire.
    pub kind: DataType,
    /// How words and bytes lie.
    pub order: Order,
    /// Engineering value = raw × scale + offset; `None` keeps the wire's own type.
    pub scaling: Option<Scaling>,
    /// Below it the value is uncertain, and a write refused.
    pub low: Option<f64>,
    /// Above it the value is uncertain, and a write refused.
    pub high: Option<f64>,
    /// A change smaller than or equal to this (engineering units), of every element of an array, is not reported;
    /// 0 reports every change.
    pub deadband: f64,
    /// Reports every poll, changed or not.
    pub always: bool,
    /// An unchanged value is reported again after this time.
    pub max_silence: Option<Duration>,
    /// What of its values is an alarm.
    pub alarm: Option<Arc<Alarm>>,
}

/// Linear scaling, of each element of an array. A scaled tag's values are doubles.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scaling {
    /// Factor, not 0.
    pub scale: f64,
    /// Added after the factor.
    pub offset: f64,
}

impl Rule {
    /// A rule that passes the wire's value on as it is.
    pub fn plain(tag: TagId, kind: DataType) -> Rule {
        Rule {
            tag,
            kind,
            order: Order::default(),
            scaling: None,
            low: None,
            high: None,
            deadband: 0.0,
            always: false,
            max_silence: None,
            alarm: None,
        }
    }

    /// The type of the values that go north.
    pub fn value_type(&self) -> DataType {
        if self.scaling.is_some() { self.kind.of(DataType::F64) } else { self.kind }
    }
}

/// A rule and where its raw lies in the block.
#[derive(Debug, Clone, PartialEq)]
pub struct PlacedRule {
    /// Where.
    pub place: Place,
    /// What.
    pub rule: Rule,
    /// Of so many reads of its block one is taken for it: a tag of a slow scan class in a fast block.
    pub every: u32,
}

impl PlacedRule {
    /// A rule that takes every read of its block.
    pub fn new(place: Place, rule: Rule) -> PlacedRule {
        PlacedRule { place, rule, every: 1 }
    }
}
