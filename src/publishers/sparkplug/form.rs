//! How payloads are made up: what the configuration says of it.

use super::payload::Algorithm;

/// The choices of one publisher.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Form {
    /// Devices of a profile are instances of its template.
    pub templates: bool,
    /// Births have all properties.
    pub properties: bool,
    /// Payloads are compressed where that makes them smaller.
    pub compression: Option<Algorithm>,
    /// Most bytes of a data payload before it is compressed; a metric is never cut.
    pub max_bytes: usize,
}

impl Default for Form {
    fn default() -> Form {
        Form { templates: false, properties: true, compression: None, max_bytes: usize::MAX }
    }
}
