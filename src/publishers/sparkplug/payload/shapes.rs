//! DataSets and Templates on the wire (Sparkplug 3.0, 6.4.13 to 6.4.17).

use prost::{Message, Oneof};

use super::{Metric, Property, Raw};

/// A table: columns of one type each.
#[derive(Clone, PartialEq, Message)]
pub struct DataSet {
    /// How many columns.
    #[prost(uint64, optional, tag = "1")]
    pub num_of_columns: Option<u64>,
    /// Their heads.
    #[prost(string, repeated, tag = "2")]
    pub columns: Vec<String>,
    /// Their types, basic ones.
    #[prost(uint32, repeated, packed = "false", tag = "3")]
    pub types: Vec<u32>,
    /// The rows.
    #[prost(message, repeated, tag = "4")]
    pub rows: Vec<Row>,
}

/// A row of a table.
#[derive(Clone, PartialEq, Message)]
pub struct Row {
    /// As many as columns.
    #[prost(message, repeated, tag = "1")]
    pub elements: Vec<Cell>,
}

/// A cell; it always has a value.
#[derive(Clone, PartialEq, Message)]
pub struct Cell {
    /// The value.
    #[prost(oneof = "CellValue", tags = "1, 2, 3, 4, 5, 6")]
    pub value: Option<CellValue>,
}

/// As `Raw`, under other numbers.
#[derive(Clone, PartialEq, Oneof)]
pub enum CellValue {
    /// Int8 to Int32 (sign-extended), UInt8, UInt16.
    #[prost(uint32, tag = "1")]
    Int(u32),
    /// Int64, UInt32, UInt64.
    #[prost(uint64, tag = "2")]
    Long(u64),
    /// Float.
    #[prost(float, tag = "3")]
    Float(f32),
    /// Double.
    #[prost(double, tag = "4")]
    Double(f64),
    /// Boolean.
    #[prost(bool, tag = "5")]
    Bool(bool),
    /// String.
    #[prost(string, tag = "6")]
    Text(String),
}

impl Cell {
    /// A value of a basic type as a cell; other types have no place in one.
    pub fn of(value: Raw) -> Option<Cell> {
        let value = match value {
            Raw::Int(v) => CellValue::Int(v),
            Raw::Long(v) => CellValue::Long(v),
            Raw::Float(v) => CellValue::Float(v),
            Raw::Double(v) => CellValue::Double(v),
            Raw::Bool(v) => CellValue::Bool(v),
            Raw::Text(v) => CellValue::Text(v),
            _ => return None,
        };
        Some(Cell { value: Some(value) })
    }
}

/// A definition of a type, or an instance of one.
#[derive(Clone, PartialEq, Message)]
pub struct Template {
    /// The definition's version.
    #[prost(string, optional, tag = "1")]
    pub version: Option<String>,
    /// The members, by name.
    #[prost(message, repeated, tag = "2")]
    pub metrics: Vec<Metric>,
    /// What is told once of each instance.
    #[prost(message, repeated, tag = "3")]
    pub parameters: Vec<Parameter>,
    /// Of an instance: the definition's name.
    #[prost(string, optional, tag = "4")]
    pub template_ref: Option<String>,
    /// Always said.
    #[prost(bool, optional, tag = "5")]
    pub is_definition: Option<bool>,
}

/// A parameter; its values lie in the same fields as those of a property.
#[derive(Clone, PartialEq, Message)]
pub struct Parameter {
    /// The name.
    #[prost(string, optional, tag = "1")]
    pub name: Option<String>,
    /// The type, a basic one.
    #[prost(uint32, optional, tag = "2")]
    pub kind: Option<u32>,
    /// The value; in a definition the default one.
    #[prost(oneof = "Property", tags = "3, 4, 6, 7, 8")]
    pub value: Option<Property>,
}
