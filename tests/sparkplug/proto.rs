//! Protocol Buffers as they lie on the wire, read by hand: what is tested here must not read itself.
//! Field numbers: the schema in Sparkplug 3.0, 6.4.1.

/// A field's value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Field {
    Varint(u64),
    Double(f64),
    Float(f32),
    Bytes(Vec<u8>),
}

impl Field {
    pub(super) fn number(&self) -> u64 {
        let Field::Varint(value) = self else { panic!("{self:?} is no varint") };
        *value
    }
    pub(super) fn bytes(&self) -> &[u8] {
        let Field::Bytes(bytes) = self else { panic!("{self:?} is not length-delimited") };
        bytes
    }
    pub(super) fn text(&self) -> String {
        String::from_utf8(self.bytes().to_vec()).expect("UTF-8")
    }
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let (mut value, mut shift) = (0, 0);
    loop {
        let (&byte, rest) = bytes.split_first().expect("a whole varint");
        *bytes = rest;
        value |= u64::from(byte & 0x7F) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            return value;
        }
    }
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> &'a [u8] {
    let (taken, rest) = bytes.split_at_checked(length).expect("a whole field");
    *bytes = rest;
    taken
}

pub(super) fn fields(mut bytes: &[u8]) -> Vec<(u64, Field)> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let field = match key & 7 {
            0 => Field::Varint(varint(&mut bytes)),
            1 => Field::Double(f64::from_le_bytes(take(&mut bytes, 8).try_into().unwrap())),
            2 => {
                let length = varint(&mut bytes) as usize;
                Field::Bytes(take(&mut bytes, length).to_vec())
            }
            5 => Field::Float(f32::from_le_bytes(take(&mut bytes, 4).try_into().unwrap())),
            other => panic!("wire type {other}"),
        };
        found.push((key >> 3, field));
    }
    found
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Payload {
    pub(super) timestamp: Option<u64>,
    pub(super) metrics: Vec<Metric>,
    pub(super) seq: Option<u64>,
    pub(super) uuid: Option<String>,
    pub(super) body: Option<Vec<u8>>,
}

/// 6.4.15.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Template {
    pub(super) version: Option<String>,
    pub(super) metrics: Vec<Metric>,
    pub(super) parameters: Vec<Parameter>,
    pub(super) template_ref: Option<String>,
    pub(super) is_definition: Option<bool>,
}

/// 6.4.16; the value with the number of the field it lies in, 3 to 8.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Parameter {
    pub(super) name: Option<String>,
    pub(super) kind: Option<u64>,
    pub(super) value: Option<(u64, Field)>,
}

/// 6.4.12 to 6.4.14; the cells with the numbers of the fields they lie in, 1 to 6.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct DataSet {
    pub(super) num_of_columns: Option<u64>,
    pub(super) columns: Vec<String>,
    pub(super) types: Vec<u64>,
    pub(super) rows: Vec<Vec<(u64, Field)>>,
}

impl Template {
    pub(super) fn read(bytes: &[u8]) -> Template {
        let mut template = Template::default();
        for (number, field) in fields(bytes) {
            match number {
                1 => template.version = Some(field.text()),
                2 => template.metrics.push(Metric::read(field.bytes())),
                3 => template.parameters.push(Parameter::read(field.bytes())),
                4 => template.template_ref = Some(field.text()),
                5 => template.is_definition = Some(field.number() != 0),
                other => panic!("a template has no field {other}"),
            }
        }
        template
    }

    pub(super) fn member(&self, name: &str) -> Option<&Metric> {
        self.metrics.iter().find(|m| m.name.as_deref() == Some(name))
    }
}

impl Parameter {
    fn read(bytes: &[u8]) -> Parameter {
        let mut parameter = Parameter::default();
        for (number, field) in fields(bytes) {
            match number {
                1 => parameter.name = Some(field.text()),
                2 => parameter.kind = Some(field.number()),
                3..=8 => parameter.value = Some((number, field)),
                other => panic!("a parameter has no field {other} here"),
            }
        }
        parameter
    }
}

impl DataSet {
    pub(super) fn read(bytes: &[u8]) -> DataSet {
        let mut set = DataSet::default();
        for (number, field) in fields(bytes) {
            match number {
                1 => set.num_of_columns = Some(field.number()),
                2 => set.columns.push(field.text()),
                3 => set.types.push(field.number()),
                4 => set.rows.push(fields(field.bytes()).iter().map(DataSet::cell).collect()),
                other => panic!("a data set has no field {other}"),
            }
        }
        set
    }

    fn cell((number, field): &(u64, Field)) -> (u64, Field) {
        assert_eq!(*number, 1, "a row has elements");
        let mut values = fields(field.bytes());
        assert_eq!(values.len(), 1, "a cell has one value");
        values.remove(0)
    }
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Metric {
    pub(super) name: Option<String>,
    pub(super) alias: Option<u64>,
    pub(super) timestamp: Option<u64>,
    pub(super) datatype: Option<u64>,
    pub(super) is_historical: Option<bool>,
    pub(super) is_null: Option<bool>,
    pub(super) properties: Option<Properties>,
    /// With the number of the field it lies in, 10 to 19.
    pub(super) value: Option<(u64, Field)>,
}

/// Type, and value with the number of the field it lies in.
pub(super) type Property = (Option<u64>, Option<(u64, Field)>);

#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Properties {
    pub(super) keys: Vec<String>,
    pub(super) values: Vec<Property>,
}

impl Properties {
    pub(super) fn get(&self, key: &str) -> Option<&Property> {
        self.values.get(self.keys.iter().position(|k| k == key)?)
    }
}

impl Payload {
    pub(super) fn read(bytes: &[u8]) -> Payload {
        let mut payload = Payload::default();
        for (number, field) in fields(bytes) {
            match number {
                1 => payload.timestamp = Some(field.number()),
                2 => payload.metrics.push(Metric::read(field.bytes())),
                3 => payload.seq = Some(field.number()),
                4 => payload.uuid = Some(field.text()),
                5 => payload.body = Some(field.bytes().to_vec()),
                other => panic!("a payload has no field {other} here"),
            }
        }
        payload
    }

    pub(super) fn metric(&self, name: &str) -> Option<&Metric> {
        self.metrics.iter().find(|m| m.name.as_deref() == Some(name))
    }

    /// The bdSeq of a birth or death: one metric, Int64 in `long_value`.
    pub(super) fn bd_seq(&self) -> u64 {
        let found: Vec<_> = self.metrics.iter().filter(|m| m.name.as_deref() == Some("bdSeq")).collect();
        assert_eq!(found.len(), 1, "{self:?}");
        assert_eq!(found[0].datatype, Some(4));
        let Some((11, value)) = &found[0].value else { panic!("{found:?}") };
        value.number()
    }
}

impl Metric {
    pub(super) fn template(&self) -> Option<Template> {
        let (18, value) = self.value.as_ref()? else { return None };
        Some(Template::read(value.bytes()))
    }

    pub(super) fn data_set(&self) -> Option<DataSet> {
        let (17, value) = self.value.as_ref()? else { return None };
        Some(DataSet::read(value.bytes()))
    }

    fn read(bytes: &[u8]) -> Metric {
        let mut metric = Metric::default();
        for (number, field) in fields(bytes) {
            match number {
                1 => metric.name = Some(field.text()),
                2 => metric.alias = Some(field.number()),
                3 => metric.timestamp = Some(field.number()),
                4 => metric.datatype = Some(field.number()),
                5 => metric.is_historical = Some(field.number() != 0),
                7 => metric.is_null = Some(field.number() != 0),
                9 => metric.properties = Some(Properties::read(field.bytes())),
                10..=19 => assert_eq!(metric.value.replace((number, field)), None, "two values"),
                other => panic!("a metric has no field {other} here"),
            }
        }
        metric
    }
}

impl Properties {
    fn read(bytes: &[u8]) -> Properties {
        let mut set = Properties::default();
        for (number, field) in fields(bytes) {
            match number {
                1 => set.keys.push(field.text()),
                2 => {
                    let mut value = (None, None);
                    for (number, field) in fields(field.bytes()) {
                        match number {
                            1 => value.0 = Some(field.number()),
                            3..=11 => value.1 = Some((number, field)),
                            other => panic!("a property has no field {other} here"),
                        }
                    }
                    set.values.push(value);
                }
                other => panic!("a property set has no field {other} here"),
            }
        }
        set
    }
}

/// A command with one metric, by name, without a time stamp: `value` as its field lies on the wire.
pub(super) fn command(name: &str, value: &[u8]) -> Vec<u8> {
    let mut metric = vec![1 << 3 | 2, name.len() as u8];
    metric.extend(name.as_bytes());
    metric.extend(value);
    let mut payload = vec![2 << 3 | 2, metric.len() as u8];
    payload.extend(metric);
    payload
}

/// `boolean_value` true.
pub(super) const TRUE: &[u8] = &[14 << 3, 1];
