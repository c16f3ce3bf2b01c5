//! Templates and DataSets (6.4.12 to 6.4.16): two meters of one profile, and a recipe of tags, from birth to data.

use std::sync::LazyLock;

use fieldgate::publishers::sparkplug::commands::{self, Asked};
use fieldgate::publishers::sparkplug::form::Form;
use fieldgate::publishers::sparkplug::payload::{self, Algorithm};
use fieldgate::publishers::sparkplug::session::{Message, Session};

use super::plant::*;
use super::proto::{self, DataSet, Field, Template};

const METER: DeviceId = DeviceId(1);
const OTHER: DeviceId = DeviceId(2);
/// Tags 0 to 3 are those of METER, 10 to 13 those of OTHER: three members, and one of the device's own.
const POWER: u32 = 0;
const RUN: u32 = 1;
const LABEL: u32 = 2;
const OWN: u32 = 3;
const MEMBERS: [(&str, DataType, u64); 3] =
    [("power", DataType::F32, 9), ("run", DataType::Bool, 11), ("motor/label", DataType::Text, 12)];
/// As `DataType::U8` and so on: one column of each field that a cell has.
const FIRST_CELL: u32 = 20;
const COLUMNS: [(&str, DataType, u64, u64); 6] = [
    ("step", DataType::U8, 5, 1),
    ("count", DataType::U32, 7, 2),
    ("temp", DataType::F32, 9, 3),
    ("hours", DataType::F64, 10, 4),
    ("on", DataType::Bool, 11, 5),
    ("text", DataType::Text, 12, 6),
];
const ROWS: u32 = 2;

fn tag(id: u32, device: DeviceId, owner: &str, name: &str, kind: DataType) -> Tag {
    Tag {
        access: Access::ReadWrite,
        unit: Some("kW".into()),
        ..Tag::plain(TagId(id), device, &format!("{owner}/{name}"), kind)
    }
}

fn directory() -> Arc<Directory> {
    let like = super::plant::directory().devices()[1].clone();
    let devices = [(METER, "meter-1"), (OTHER, "meter-2")].map(|(id, name)| Device {
        id,
        name: name.into(),
        ..like.clone()
    });
    let mut tags = Vec::new();
    for (first, id, name) in [(0, METER, "meter-1"), (10, OTHER, "meter-2")] {
        for (i, (member, kind, _)) in MEMBERS.iter().enumerate() {
            tags.push(tag(first + i as u32, id, name, member, *kind));
        }
        tags.push(tag(first + OWN, id, name, "own", DataType::U16));
    }
    let mut cells = Vec::new();
    for row in 0..ROWS {
        for (i, (column, kind, ..)) in COLUMNS.iter().enumerate() {
            let id = FIRST_CELL + row * 6 + i as u32;
            tags.push(tag(id, METER, "meter-1", &format!("{column}-{row}"), *kind));
            cells.push(TagId(id));
        }
    }
    let members = MEMBERS.iter().map(|(name, kind, _)| ((*name).into(), *kind)).collect();
    let template = Arc::new(fieldgate::model::Template { name: "acme-meter".into(), members });
    let columns = COLUMNS.iter().map(|(name, kind, ..)| ((*name).into(), *kind)).collect();
    let table = Table { device: METER, name: "recipe".into(), columns, cells };
    let plate = |unit| Plate {
        unit: Some(unit),
        manufacturer: Some("Acme".into()),
        model: Some("M1".into()),
        ..Plate::default()
    };
    Arc::new(
        Directory::new("g", "n", devices.to_vec(), tags)
            .with_plates([(METER, plate(7)), (OTHER, plate(8))].into())
            .with_shapes([(METER, template.clone()), (OTHER, template)].into(), vec![table]),
    )
}

fn value(kind: DataType, n: u8) -> Value {
    match kind {
        DataType::F32 => Value::F32(n.into()),
        DataType::F64 => Value::F64(n.into()),
        DataType::Bool => Value::Bool(n > 0),
        DataType::Text => Value::Text(format!("Füller {n}").into()),
        DataType::U8 => Value::U8(n),
        DataType::U16 => Value::U16(n.into()),
        DataType::U32 => Value::U32(u32::MAX - u32::from(n)),
        other => panic!("{other:?}"),
    }
}

/// A node without I/O.
struct Pure {
    store: Arc<Store>,
    session: Session,
    now: i64,
    out: Vec<Message>,
}

impl Pure {
    fn with(form: Form) -> Pure {
        let session = Session::new(directory(), 0, 1 << 20).in_form(form);
        Pure { store: Store::in_memory(), session, now: 1_700_000_000_000, out: Vec::new() }
    }

    fn sample(&self, id: u32, n: u8) -> Sample {
        let directory = directory();
        Sample::good(TagId(id), value(directory.tag(TagId(id)).unwrap().kind, n), Timestamp(self.now * 1000))
    }

    fn batch(&self, device: DeviceId, samples: Vec<Sample>) -> Batch {
        Batch { device, state: DeviceState::Alive, samples }
    }

    /// All tags of both devices.
    fn all(&self, n: u8) -> [Batch; 2] {
        [METER, OTHER].map(|id| {
            let directory = directory();
            let tags = directory.tags_of(id).map(|tag| self.sample(tag.id.0, n));
            self.batch(id, tags.collect())
        })
    }

    fn births(&mut self) -> Vec<Seen> {
        self.session.births(&self.store, Timestamp(self.now * 1000), &mut self.out);
        self.seen()
    }

    /// One second later; flushed.
    fn hear(&mut self, batches: Vec<Batch>, history: bool) -> Vec<Seen> {
        let now = Timestamp(self.now * 1000);
        for batch in batches {
            self.store.accept(batch.clone());
            self.session.take(&batch, history, &self.store, now, &mut self.out);
        }
        self.session.flush(now, &mut self.out);
        self.now += 1000;
        self.seen()
    }

    fn seen(&mut self) -> Vec<Seen> {
        let read = |m: Message| {
            let parts: Vec<_> = m.topic.split('/').map(str::to_owned).collect();
            let device = parts.get(4).cloned().unwrap_or_default();
            Seen { kind: parts[2].clone(), device, payload: proto::Payload::read(&m.payload) }
        };
        std::mem::take(&mut self.out).into_iter().map(read).collect()
    }
}

#[derive(Debug, Clone)]
struct Seen {
    kind: String,
    device: String,
    payload: proto::Payload,
}

impl Seen {
    fn templates(&self) -> Vec<(proto::Metric, Template)> {
        self.payload.metrics.iter().filter_map(|m| Some((m.clone(), m.template()?))).collect()
    }
}

const TEMPLATES: Form = Form { templates: true, properties: true, compression: None, max_bytes: usize::MAX };

/// Births, the change of one member, of two and of a cell, history, and births again.
fn seen() -> &'static [Seen] {
    static SEEN: LazyLock<Vec<Seen>> = LazyLock::new(|| {
        let mut node = Pure::with(TEMPLATES);
        for batch in node.all(1) {
            node.store.accept(batch);
        }
        let mut seen = node.births();
        node.now += 1000;
        let one = vec![node.sample(POWER, 2)];
        seen.extend(node.hear(vec![node.batch(METER, one)], false));
        let two = vec![node.sample(10 + POWER, 3), node.sample(10 + LABEL, 3), node.sample(10 + OWN, 3)];
        seen.extend(node.hear(vec![node.batch(OTHER, two)], false));
        let cell = vec![node.sample(FIRST_CELL + 6, 4)];
        seen.extend(node.hear(vec![node.batch(METER, cell)], false));
        let old = vec![Sample { at: Timestamp(1_600_000_000_000_000), ..node.sample(RUN, 0) }];
        seen.extend(node.hear(vec![node.batch(METER, old)], true));
        seen.extend(node.births());
        seen
    });
    &SEEN
}

/// Of these kinds: the metric, the template, whether it is in a birth; never none.
fn templates(kinds: &[&str], definitions: bool) -> Vec<(proto::Metric, Template, String)> {
    let of_kind = seen().iter().filter(|m| kinds.contains(&m.kind.as_str()));
    let all = of_kind.flat_map(|m| m.templates().into_iter().map(|(a, b)| (a, b, m.device.clone())));
    let found: Vec<_> = all.filter(|(_, t, _)| (t.is_definition == Some(true)) == definitions).collect();
    assert!(!found.is_empty());
    found
}

const BIRTHS: &[&str] = &["NBIRTH", "DBIRTH"];
const DATA: &[&str] = &["NDATA", "DDATA"];
const ALL: &[&str] = &["NBIRTH", "DBIRTH", "NDATA", "DDATA"];

fn definition() -> Template {
    templates(&["NBIRTH"], true).remove(0).1
}

fn names(template: &Template) -> Vec<String> {
    let mut names: Vec<_> = template.metrics.iter().map(|m| m.name.clone().expect("a name")).collect();
    names.sort();
    names
}

fn parameters(template: &Template) -> Vec<(String, u64, (u64, Field))> {
    let each = template.parameters.iter();
    each.map(|p| (p.name.clone().unwrap(), p.kind.unwrap(), p.value.clone().unwrap())).collect()
}

fn sets() -> Vec<(bool, DataSet)> {
    let metrics = seen().iter().flat_map(|m| m.payload.metrics.iter().map(|x| (m.kind == "DBIRTH", x)));
    let found: Vec<_> = metrics.filter_map(|(birth, m)| Some((birth, m.data_set()?))).collect();
    assert_eq!(found.iter().map(|(birth, _)| *birth).collect::<Vec<_>>(), [true, false, true]);
    found
}

/// A test for each of these ids.
macro_rules! shows {
    ($($($id:ident),+ => $proof:expr);+ $(;)?) => {
        $($(
            #[test]
            fn $id() {
                let proof: fn() = $proof;
                proof();
            }
        )+)+
    };
}

shows! {
    tck_id_topics_nbirth_templates,
    tck_id_payloads_template_definition_nbirth => || {
        for (_, instance, _) in templates(ALL, false) {
            let named = instance.template_ref.as_deref();
            assert!(templates(&["NBIRTH"], true).iter().any(|(m, ..)| m.name.as_deref() == named));
        }
    };
    tck_id_payloads_template_definition_nbirth_only => || {
        assert!(seen().iter().filter(|m| m.kind != "NBIRTH").flat_map(Seen::templates)
            .all(|(_, t)| t.is_definition == Some(false)));
        // One in each of the two NBIRTHs, however many devices there are of the kind.
        assert_eq!(templates(ALL, true).len(), 2);
    };
    tck_id_payloads_template_definition_is_definition,
    tck_id_payloads_template_is_definition_definition => || {
        assert!(templates(&["NBIRTH"], true).iter().all(|(m, t, _)| {
            m.name.as_deref() == Some("acme-meter") && t.is_definition == Some(true) && m.datatype == Some(19)
        }));
    };
    tck_id_payloads_template_definition_ref,
    tck_id_payloads_template_ref_definition => || {
        assert!(templates(ALL, true).iter().all(|(_, t, _)| t.template_ref.is_none()));
    };
    tck_id_payloads_template_definition_members,
    tck_id_payloads_template_instance_members => || {
        let defined = names(&definition());
        for (_, instance, _) in templates(ALL, false) {
            assert!(names(&instance).iter().all(|name| defined.contains(name)), "{instance:?}");
        }
        for (name, _, datatype) in MEMBERS {
            let member = definition().member(name).cloned().unwrap();
            assert_eq!((member.datatype, member.is_null, member.value), (Some(datatype), Some(true), None));
        }
    };
    tck_id_payloads_template_definition_parameters => || {
        let defined: Vec<_> = parameters(&definition()).into_iter().map(|(name, kind, _)| (name, kind)).collect();
        for (_, instance, _) in templates(ALL, false) {
            assert!(parameters(&instance).into_iter().all(|(name, kind, _)| defined.contains(&(name, kind))));
        }
    };
    tck_id_payloads_template_definition_parameters_default => || {
        let unit = parameters(&definition()).into_iter().find(|(name, ..)| name == "Unit");
        assert_eq!(unit, Some(("Unit".into(), 7, (4, Field::Varint(1)))));
    };
    tck_id_payloads_template_instance_is_definition,
    tck_id_payloads_template_is_definition_instance => || {
        assert!(templates(ALL, false).iter().all(|(_, t, _)| t.is_definition == Some(false)));
    };
    tck_id_payloads_template_is_definition => || {
        assert!(seen().iter().flat_map(Seen::templates).all(|(_, t)| t.is_definition.is_some()));
    };
    tck_id_payloads_template_instance_ref,
    tck_id_payloads_template_ref_instance => || {
        assert!(templates(ALL, false).iter().all(|(_, t, _)| t.template_ref.as_deref() == Some("acme-meter")));
    };
    tck_id_payloads_template_instance_members_birth => || {
        for (metric, instance, device) in templates(BIRTHS, false) {
            assert_eq!(names(&instance), names(&definition()), "{device}");
            assert_eq!((metric.name.as_deref(), metric.datatype), (Some("acme-meter"), Some(19)));
            let power = instance.member("power").unwrap();
            assert_eq!((power.datatype, power.alias), (Some(9), None));
            assert!(power.properties.as_ref().unwrap().get("engUnit").is_some());
        }
    };
    tck_id_payloads_template_instance_members_data => || {
        let data = templates(DATA, false);
        let told: Vec<_> = data.iter().map(|(m, t, d)| (d.as_str(), names(t), m.is_historical)).collect();
        let own = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        assert_eq!(told, [
            ("meter-1", own(&["power"]), None),
            ("meter-2", own(&["motor/label", "power"]), None),
            ("meter-1", own(&["run"]), Some(true)),
        ]);
        assert_eq!(data[0].1.member("power").unwrap().value, Some((12, Field::Float(2.0))));
        assert!(data.iter().all(|(m, ..)| m.name.is_none() && m.alias.is_some() && m.datatype.is_none()));
    };
    tck_id_payloads_template_instance_parameters => || {
        let units: Vec<_> = templates(&["DBIRTH"], false).iter().map(|(_, t, _)| {
            parameters(t).into_iter().find(|(name, ..)| name == "Unit").unwrap().2
        }).collect();
        assert_eq!(units[..2], [(4, Field::Varint(7)), (4, Field::Varint(8))]);
    };
    tck_id_payloads_template_version => || {
        let versions: std::collections::BTreeSet<_> = templates(BIRTHS, false).into_iter()
            .chain(templates(BIRTHS, true)).map(|(_, t, _)| t.version.expect("UTF-8")).collect();
        assert!(versions.len() == 1 && versions.first().unwrap().len() == 8, "{versions:?}");
    };
    tck_id_payloads_template_parameter_name_required,
    tck_id_payloads_template_parameter_name_type => || {
        let named = parameters(&definition()).into_iter().map(|(name, ..)| name).collect::<Vec<_>>();
        assert_eq!(named, ["Manufacturer", "Model", "Unit"]);
    };
    tck_id_payloads_template_parameter_value_type,
    tck_id_payloads_template_parameter_type_value,
    tck_id_payloads_template_parameter_type_req,
    tck_id_payloads_template_parameter_value => || {
        for (_, template, _) in templates(BIRTHS, true).into_iter().chain(templates(BIRTHS, false)) {
            assert_eq!(template.parameters.len(), 3);
            for (name, kind, (field, _)) in parameters(&template) {
                assert!(matches!((kind, field), (12, 8) | (7, 4)), "{name}: {kind} in {field}");
            }
        }
    };

    tck_id_payloads_dataset_column_size => || {
        assert!(sets().iter().all(|(_, set)| set.num_of_columns == Some(6)));
    };
    tck_id_payloads_dataset_column_num_headers,
    tck_id_payloads_dataset_types_num => || {
        for (_, set) in sets() {
            assert_eq!((set.columns.len(), set.types.len()), (6, 6));
            assert!(set.rows.len() == 2 && set.rows.iter().all(|row| row.len() == 6));
        }
    };
    tck_id_payloads_dataset_types_def,
    tck_id_payloads_dataset_types_type,
    tck_id_payloads_dataset_types_value,
    tck_id_payloads_dataset_parameter_type_req => || {
        for (_, set) in sets() {
            assert_eq!(set.types, COLUMNS.map(|(_, _, datatype, _)| datatype));
            assert_eq!(set.columns, COLUMNS.map(|(name, ..)| name));
        }
    };
    tck_id_payloads_template_dataset_value => || {
        for (_, set) in sets() {
            for row in &set.rows {
                let lies_in: Vec<_> = row.iter().map(|(field, _)| *field).collect();
                assert_eq!(lies_in, COLUMNS.map(|(.., field)| field));
            }
        }
        let all = sets();
        // The birth has what the tags had, and data what the one cell has become.
        assert_eq!(all[0].1.rows[1][0].1, Field::Varint(1));
        assert_eq!(all[1].1.rows[1][0].1, Field::Varint(4));
        assert_eq!(all[1].1.rows[0], all[0].1.rows[0]);
        assert_eq!(all[0].1.rows[0][5].1.text(), "Füller 1");
    };
}

#[test]
fn aliases_of_definitions_instances_and_tables_are_unique_and_the_same_in_every_birth() {
    let births = seen().iter().filter(|m| BIRTHS.contains(&m.kind.as_str()));
    let mut owners = std::collections::BTreeMap::new();
    let mut metrics = 0;
    for (message, metric) in births.flat_map(|m| m.payload.metrics.iter().map(move |x| (m, x))) {
        let Some(alias) = metric.alias else { continue };
        let owner = (message.device.clone(), metric.name.clone());
        assert_eq!(owners.entry(alias).or_insert(owner.clone()), &owner);
        metrics += 1;
    }
    assert_eq!(metrics, owners.len() * 2, "two births of each");
}

#[test]
fn a_table_with_a_cell_without_a_value_is_null_and_bad_and_one_with_an_uncertain_cell_is_stale() {
    let mut node = Pure::with(TEMPLATES);
    let recipe = |seen: &[Seen]| {
        let set = seen
            .iter()
            .flat_map(|m| m.payload.metrics.clone())
            .rfind(|m| m.alias.is_some_and(|alias| alias == 1 << 42));
        let set = set.expect("the recipe");
        let quality = set.properties.as_ref().and_then(|p| p.get("Quality").cloned()).unwrap().1.unwrap().1;
        (set.is_null, set.data_set().is_some(), quality.number())
    };
    let some = vec![node.sample(FIRST_CELL, 1)];
    node.store.accept(node.batch(METER, some));
    // Not all cells were read yet.
    assert_eq!(recipe(&node.births()), (Some(true), false, 0));
    node.now += 1000;
    let [all, _] = node.all(2);
    assert_eq!(recipe(&node.hear(vec![all], false)), (None, true, 192));
    let at = Timestamp(node.now * 1000);
    let care = Sample::uncertain(TagId(FIRST_CELL), Value::U8(9), Uncertain::OutOfLimits, at);
    assert_eq!(recipe(&node.hear(vec![node.batch(METER, vec![care])], false)), (None, true, 500));
    let bad = Sample::bad(TagId(FIRST_CELL), Bad::Garbled, Timestamp(node.now * 1000));
    assert_eq!(recipe(&node.hear(vec![node.batch(METER, vec![bad])], false)), (Some(true), false, 0));
}

#[test]
fn a_table_is_told_once_a_payload_however_many_cells_changed_and_never_as_history() {
    let mut node = Pure::with(TEMPLATES);
    for batch in node.all(1) {
        node.store.accept(batch);
    }
    node.births();
    node.now += 1000;
    let first = node.batch(METER, vec![node.sample(FIRST_CELL, 2), node.sample(FIRST_CELL + 1, 2)]);
    let old = Sample { at: Timestamp(1), ..node.sample(FIRST_CELL, 0) };
    let seen = node.hear(vec![first, node.batch(METER, vec![node.sample(FIRST_CELL + 7, 3)])], false);
    let sets = |seen: &[Seen]| {
        seen.iter().flat_map(|m| &m.payload.metrics).filter_map(proto::Metric::data_set).count()
    };
    assert_eq!((seen.len(), sets(&seen)), (1, 1));
    assert!(seen[0].payload.metrics.last().unwrap().data_set().is_some(), "behind its cells");
    let seen = node.hear(vec![node.batch(METER, vec![old])], true);
    assert_eq!((seen.len(), sets(&seen)), (1, 0));
}

#[test]
fn samples_of_one_time_are_one_instance_and_a_member_that_changes_again_begins_the_next() {
    let mut node = Pure::with(TEMPLATES);
    for batch in node.all(1) {
        node.store.accept(batch);
    }
    node.births();
    node.now += 1000;
    let at = node.now;
    let first = node.batch(METER, vec![node.sample(POWER, 2), node.sample(RUN, 0)]);
    node.now += 1;
    let second = node.batch(METER, vec![node.sample(POWER, 3)]);
    let again = node.batch(METER, vec![Sample { value: Some(Value::F32(4.0)), ..node.sample(POWER, 0) }]);
    let seen = node.hear(vec![first, second, again], false);
    assert_eq!(seen.len(), 1);
    let told: Vec<_> =
        seen[0].templates().into_iter().map(|(m, t)| (m.timestamp.unwrap(), names(&t))).collect();
    let own = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
    let at = at as u64;
    assert_eq!(told, [(at, own(&["power", "run"])), (at + 1, own(&["power"])), (at + 1, own(&["power"]))]);
}

#[test]
fn without_templates_the_same_devices_have_their_tags_one_by_one() {
    let mut node = Pure::with(Form::default());
    for batch in node.all(1) {
        node.store.accept(batch);
    }
    let births = node.births();
    assert!(births.iter().all(|m| m.templates().is_empty()));
    assert!(births[1].payload.metric("power").is_some_and(|m| m.alias == Some(1)));
}

#[test]
fn births_without_properties_say_only_that_a_value_is_to_be_used_with_care() {
    let mut node = Pure::with(Form { properties: false, ..Form::default() });
    for batch in node.all(1) {
        node.store.accept(batch);
    }
    let at = Timestamp(node.now * 1000);
    let care = Sample::uncertain(TagId(POWER), Value::F32(9.0), Uncertain::OutOfLimits, at);
    node.store.accept(node.batch(METER, vec![care, Sample::bad(TagId(RUN), Bad::Garbled, at)]));
    let births = node.births();
    let with: Vec<_> =
        births.iter().flat_map(|m| &m.payload.metrics).filter(|m| m.properties.is_some()).collect();
    assert_eq!(with.len(), 1, "{with:?}");
    let properties = with[0].properties.as_ref().unwrap();
    assert_eq!((with[0].name.as_deref(), &properties.keys[..]), (Some("power"), &["Quality".to_owned()][..]));
    assert_eq!(births[1].payload.metric("run").unwrap().is_null, Some(true));
}

/// What a host writes to an instance is written member by member; the gate decides of each.
#[test]
fn a_command_with_an_instance_writes_its_members() {
    let mut node = Pure::with(TEMPLATES);
    node.births();
    let ask = |topic: &str, metric: Metric| {
        let bytes = Payload { metrics: vec![metric], ..Payload::default() }.bytes();
        let now = Timestamp(1_700_000_000_000_000);
        commands::read(node.session.topics(), topic, &bytes, false, now, &node.session)
    };
    let member =
        |name: &str, value| Metric { name: Some(name.into()), value: Some(value), ..Metric::default() };
    let members = vec![member("power", Raw::Float(5.0)), member("motor/label", Raw::Text("x".into()))];
    let template = |reference: &str| {
        Raw::Template(payload::Template {
            metrics: members.clone(),
            template_ref: Some(reference.into()),
            is_definition: Some(false),
            ..payload::Template::default()
        })
    };
    let wanted = [Asked::Write(TagId(10), Value::F32(5.0)), Asked::Write(TagId(12), Value::Text("x".into()))];
    let by_name = member("acme-meter", template("acme-meter"));
    assert_eq!(ask("spBv1.0/g/DCMD/n/meter-2", by_name.clone()), wanted);
    let alias = Metric { name: None, alias: Some((1 << 40) + 2), ..by_name.clone() };
    assert_eq!(ask("spBv1.0/g/DCMD/n/meter-2", alias.clone()), wanted);
    assert_eq!(ask("spBv1.0/g/NCMD/n", alias.clone()), wanted);
    for (topic, metric) in [
        ("spBv1.0/g/DCMD/n/meter-1", alias),
        ("spBv1.0/g/NCMD/n", by_name.clone()),
        ("spBv1.0/g/DCMD/n/meter-2", member("acme-meter", template("other"))),
        ("spBv1.0/g/DCMD/n/meter-2", member("power", template("acme-meter"))),
        ("spBv1.0/g/DCMD/n/meter-2", Metric { is_historical: Some(true), ..by_name.clone() }),
        ("spBv1.0/g/DCMD/n/meter-2", member("acme-meter", Raw::Set(payload::DataSet::default()))),
    ] {
        assert!(matches!(ask(topic, metric.clone())[..], [Asked::Refused(_)]), "{topic} {metric:?}");
    }
    let strange = payload::Template { metrics: vec![member("own2", Raw::Int(1))], ..Default::default() };
    let asked = ask("spBv1.0/g/DCMD/n/meter-2", member("acme-meter", Raw::Template(strange)));
    assert!(matches!(asked[..], [Asked::Refused(_)]), "{asked:?}");
}

#[test]
fn a_compressed_command_is_obeyed_and_a_bomb_refused() {
    let mut node = Pure::with(TEMPLATES);
    node.births();
    let write = Metric { name: Some("own".into()), value: Some(Raw::Int(5)), ..Metric::default() };
    let noise = Metric { name: Some("x".repeat(2000)), ..Metric::default() };
    let ask = |payload: Payload| {
        let bytes = payload.compressed(Some(Algorithm::Gzip));
        assert!(bytes.len() < 20_000);
        let now = Timestamp(1_700_000_000_000_000);
        commands::read(node.session.topics(), "spBv1.0/g/DCMD/n/meter-1", &bytes, false, now, &node.session)
    };
    let asked = ask(Payload { metrics: vec![write.clone(), noise], ..Payload::default() });
    assert_eq!(asked[0], Asked::Write(TagId(OWN), Value::U16(5)));
    let bomb = Metric { name: Some("x".repeat(2 << 20)), ..Metric::default() };
    assert_eq!(
        ask(Payload { metrics: vec![write, bomb], ..Payload::default() }),
        [Asked::Refused("too large when inflated")]
    );
}

#[test]
fn large_births_are_compressed_and_the_will_is_not() {
    let mut node = Pure::with(Form { compression: Some(Algorithm::Deflate), ..TEMPLATES });
    for batch in node.all(1) {
        node.store.accept(batch);
    }
    let births = node.births();
    let birth = births.iter().find(|m| m.device == "meter-1").unwrap();
    assert_eq!(birth.payload.uuid.as_deref(), Some("SPBV1.0_COMPRESSED"));
    assert_eq!(birth.payload.seq, Some(1), "the envelope has it too");
    let algorithm = birth.payload.metric("algorithm").unwrap();
    assert_eq!(algorithm.value.as_ref().unwrap().1.text(), "DEFLATE");
    let death = proto::Payload::read(&node.session.death(Timestamp(1)).payload);
    assert_eq!((death.bd_seq(), death.uuid), (0, None));
}
