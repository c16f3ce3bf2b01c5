//! The vocabulary: values, qualities, faults, raw words, tags, samples, time. Imports nothing of ours.

pub mod array;
pub mod class;
pub mod clock;
pub mod data_type;
pub mod fault;
pub mod identity;
pub mod labels;
pub mod mistake;
pub mod quality;
pub mod raw;
pub mod rfc3339;
pub mod sample;
pub mod secret;
pub mod shape;
pub mod tag;
pub mod time;
pub mod units;
pub mod value;

pub use array::Array;
pub use class::Class;
pub use clock::{Boot, Clock, Era, Followed};
pub use data_type::DataType;
pub use fault::Fault;
pub use identity::{Identified, Identity};
pub use labels::Labels;
pub use mistake::Mistake;
pub use quality::{Bad, Quality, Uncertain};
pub use raw::{Missing, Order, Place, Raw};
pub use sample::{Batch, DeviceState, Sample};
pub use secret::Secret;
pub use shape::{Table, Template};
pub use tag::{Access, Device, DeviceId, Directory, Plate, Tag, TagId};
pub use time::{Stamp, Timestamp};
pub use units::{Period, Size};
pub use value::Value;
