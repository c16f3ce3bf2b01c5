//! Profiles and tag lists: the shipped ones, what can be wrong with a file, and the way out and in again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use fieldgate::config::leaf::Deadband;
use fieldgate::config::tag_list::{header, line, read, row};
use fieldgate::config::{self, Config, Report, Sources, Tag};
use fieldgate::model::{Access, Class, DataType, Order, Period, Spanned};
use fieldgate::normalize::Rule;
use fieldgate::plan::{self, GatewayPlan};
use proptest::prelude::*;

const NODE: &str = "[node]\ngroup = \"g\"\nname = \"n\"\n[scan]\nslow = \"60s\"\n";
const TCP: &str = "[[link.modbus-tcp]]\nname = \"l\"\nhost = \"h\"\n";
const RTU: &str = "[[link.modbus-rtu]]\nname = \"l\"\nport = \"/dev/ttyS0\"\nbaud = 9600\n";
const DEVICE: &str = "[[device]]\nname = \"d\"\nlink = \"l\"\n";

fn shipped() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/profiles");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn name(path: &Path) -> String {
    path.file_stem().unwrap().to_str().unwrap().to_owned()
}

fn fieldgate(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fieldgate")).current_dir(folder).args(arguments).output().unwrap()
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

/// A folder with these files.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

/// The diagnostics of `a.toml`: code, file, line, column.
fn diagnostics(folder: &Path) -> Vec<(String, String, u64, u64)> {
    let output = fieldgate(folder, &["check", "--json", "a.toml"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let string = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let list = report["diagnostics"].as_array().unwrap().iter();
    list.map(|d| {
        assert!(!string(&d["message"]).is_empty() && !string(&d["help"]).is_empty(), "{d}");
        (string(&d["code"]), string(&d["file"]), d["line"].as_u64().unwrap(), d["column"].as_u64().unwrap())
    })
    .collect()
}

fn found(code: &str, file: &str, line: u64, column: u64) -> (String, String, u64, u64) {
    (code.into(), file.into(), line, column)
}

#[test]
fn every_shipped_profile_compiles_without_a_warning_over_both_links_and_passes_its_tests() {
    assert!(shipped().len() >= 10, "{:?}", shipped());
    for path in shipped() {
        let profile = name(&path);
        for link in [TCP, RTU] {
            let config = format!(
                "profiles = [{path:?}]\n{NODE}{link}{DEVICE}scan = \"slow\"\nprofile = \"{profile}\"\n"
            );
            let folder = folder(&[("a.toml", &config)]);
            assert_eq!(diagnostics(folder.path()), [], "{profile}");
            let output = fieldgate(folder.path(), &["test", "--json", "a.toml"]);
            let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
            assert_eq!(report["failed"], 0, "{profile}: {report}");
            assert!(report["passed"].as_u64().unwrap() >= 1, "{profile} has no test");
            let output = fieldgate(folder.path(), &["plan", "--json", "a.toml"]);
            let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
            assert!(!report["links"][0]["blocks"].as_array().unwrap().is_empty(), "{profile}");
        }
    }
}

#[test]
fn every_shipped_profile_says_what_it_is_and_where_it_is_from_and_writes_nothing() {
    for path in shipped() {
        let text = fs::read_to_string(&path).unwrap();
        let table: toml::Table = text.parse().unwrap();
        for key in ["description", "manufacturer", "model", "source"] {
            assert!(table.get(key).and_then(|v| v.as_str()).is_some_and(|v| v.len() > 3), "{path:?}: {key}");
        }
        assert!(text.starts_with('#') && text.contains("# Source: "), "{path:?}");
        assert!(text.contains("from 0"), "{path:?} does not say what its manual counts from");
        for (name, tag) in table["tag"].as_table().unwrap() {
            assert!(tag.get("access").is_none(), "{path:?}: {name}");
            // A scan class is the plant's, not the device's.
            assert!(tag.get("scan").is_none(), "{path:?}: {name}");
        }
    }
}

#[test]
fn all_shipped_profiles_together_are_one_library() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/profiles/*.toml");
    let config =
        format!("profiles = [{folder:?}, {folder:?}]\n{NODE}{TCP}{DEVICE}profile = \"eastron-sdm630\"\n");
    let here = self::folder(&[("a.toml", &config)]);
    assert_eq!(diagnostics(here.path()), []);
    let output = fieldgate(here.path(), &["test", "a.toml"]);
    let said = text(output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}");
    // Also those that no device uses.
    assert!(said.contains("ok   siemens-mag6000: "), "{said}");
}

#[test]
fn mistakes_of_a_profile_are_told_in_its_own_file() {
    let config = format!(
        "profiles = [\"p/*.toml\"]\n{NODE}{TCP}{DEVICE}profile = \"one\"\n[device.tag]\nx = {{ at = \"holding:a\", type = \"u16\" }}\n"
    );
    let one = "# ü\n[tag]\ny = { at = \"holding:b\", type = \"u16\" }\nz = { at = \"holding:1\", type = \"u16\", scal = 1 }\n";
    let two = "[tag]\nw = { at = \"holding:70000\", type = \"u16\" }\n[[test]]\nname = \"t\"\ngiven = { \"holding:0\" = [1] }\nexpect = { v = 1 }\n";
    let folder =
        folder(&[("a.toml", &config), ("p/one.toml", one), ("p/two.toml", two), ("p/three.toml", "= 1")]);
    let all = diagnostics(folder.path());
    assert!(all.contains(&found("bad-address", "a.toml", 15, 12)), "{all:#?}");
    assert!(all.contains(&found("bad-address", "p/one.toml", 3, 12)), "{all:#?}");
    assert!(all.contains(&found("unknown-key", "p/one.toml", 4, 39)), "{all:#?}");
    assert!(all.contains(&found("syntax", "p/three.toml", 1, 1)), "{all:#?}");
    // No device uses it, and still.
    assert!(all.contains(&found("bad-address", "p/two.toml", 2, 12)), "{all:#?}");
    let said = text(fieldgate(folder.path(), &["check", "a.toml"]).stderr);
    assert!(said.contains("--> p/one.toml:3:12") && said.contains("--> a.toml:15:12"), "{said}");
}

#[test]
fn a_test_of_a_profile_that_names_no_tag_of_it_is_a_mistake() {
    let config = format!("profiles = [\"two.toml\"]\n{NODE}{TCP}{DEVICE}profile = \"two\"\n");
    let two = "[tag]\nw = { at = \"holding:7\", type = \"u16\" }\n[[test]]\nname = \"t\"\ngiven = { \"holding:0\" = [1] }\nexpect = { v = 1, w = 1 }\n";
    let folder = folder(&[("a.toml", &config), ("two.toml", two)]);
    let wanted = [found("unknown-tag", "two.toml", 6, 12), found("test-incomplete", "two.toml", 6, 19)];
    assert_eq!(diagnostics(folder.path()), wanted);
}

#[test]
fn a_failing_test_of_a_profile_fails_the_file() {
    let config = format!("profiles = [\"two.toml\"]\n{NODE}{TCP}{DEVICE}profile = \"two\"\n");
    let two = "order = \"cdab\"\n[tag]\nw = { at = \"holding:0\", type = \"u32\" }\n[[test]]\nname = \"t\"\ngiven = { \"holding:0\" = [1, 2] }\nexpect = { w = 65538 }\n";
    let folder = folder(&[("a.toml", &config), ("two.toml", two)]);
    let output = fieldgate(folder.path(), &["test", "a.toml"]);
    let said = text(output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("FAIL two: t") && said.contains("two/w: expected 65538, got 131073"), "{said}");
}

#[test]
fn files_that_are_not_there_or_there_twice_are_told_where_they_are_named() {
    let tag = "[tag]\nw = { at = \"holding:7\", type = \"u16\" }\n";
    let config = |profiles: &str| {
        format!(
            "profiles = [{profiles}]\n{NODE}{TCP}{DEVICE}profile = \"one\"\n[profile.one.tag]\nx = {{ at = \"holding:0\", type = \"u16\" }}\n"
        )
    };
    for (profiles, code, column) in [
        ("\"no-such.toml\"", "no-such-file", 13),
        ("\"two.toml\", \"no-such/*.toml\"", "no-such-file", 25),
        ("\"x*.toml\"", "no-such-file", 13),
        ("\"p\"", "no-such-file", 13),
        ("\"latin.toml\"", "no-such-file", 13),
        ("\"two.toml\", \"p/two.toml\"", "duplicate-profile", 25),
        ("\"one.toml\"", "duplicate-profile", 13),
    ] {
        let folder = folder(&[
            ("a.toml", &config(profiles)),
            ("one.toml", tag),
            ("two.toml", tag),
            ("p/two.toml", tag),
        ]);
        fs::write(folder.path().join("latin.toml"), b"# \xfc").unwrap();
        assert_eq!(diagnostics(folder.path()), [found(code, "a.toml", 1, column)], "{profiles}");
    }
}

#[test]
fn limits_of_a_profile_hold_where_the_device_says_none() {
    let profile = "max-registers = 2\n[tag]\na = { at = \"holding:0\", type = \"u16\" }\nb = { at = \"holding:1\", type = \"u16\" }\nc = { at = \"holding:2\", type = \"u16\" }\n";
    for (own, blocks) in [("", 2), ("max-registers = 3\n", 1)] {
        let config = format!("profiles = [\"p.toml\"]\n{NODE}{TCP}{DEVICE}profile = \"p\"\n{own}");
        let folder = folder(&[("a.toml", &config), ("p.toml", profile)]);
        let output = fieldgate(folder.path(), &["plan", "--json", "a.toml"]);
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["links"][0]["blocks"].as_array().unwrap().len(), blocks, "{report}");
    }
}

#[test]
fn a_device_takes_its_tags_from_a_list_and_its_own_ones_go_first() {
    let list = "\u{feff}device;tag;address;type;unit;description\r\nd;a;holding:0;u16;m;\"of the; list\"\r\n;b;40002;u16;;\r\ne;c;coil:1;bool;;\r\n";
    let config = format!(
        "{NODE}{TCP}{DEVICE}tags = \"list.csv\"\n[device.tag]\nb = {{ at = \"holding:9\", type = \"u16\" }}\n\
         [[device]]\nname = \"e\"\nlink = \"l\"\nunit = 2\ntags = \"list.csv\"\n"
    );
    let folder = folder(&[("a.toml", &config), ("list.csv", list)]);
    assert_eq!(diagnostics(folder.path()), []);
    let output = fieldgate(folder.path(), &["tags", "export", "a.toml"]);
    let wanted = format!(
        "{}\nd,b,holding:9,u16,,,,,,,,,,,,,,,\nd,a,holding:0,u16,,,,,m,,,,,,,,,,\"of the; list\"\n\
         e,b,40002,u16,,,,,,,,,,,,,,,\ne,c,coil:1,bool,,,,,,,,,,,,,,,\n",
        header()
    );
    assert_eq!(text(output.stdout), wanted);
}

#[test]
fn mistakes_of_a_list_are_told_with_line_and_column() {
    let config = format!("{NODE}{TCP}{DEVICE}tags = \"list.csv\"\n");
    for (list, code, line, column) in [
        ("tag,address,typ\na,holding:0,u16\n", "unknown-key", 1, 13),
        ("tag,address,type,type\na,holding:0,u16,u16\n", "duplicate-key", 1, 18),
        ("tag,address\na,holding:0\n", "missing-key", 1, 1),
        ("", "missing-key", 1, 1),
        ("tag,address,type\na,holding:0,u17\n", "unknown-word", 2, 13),
        ("tag,address,type\na,,u16\n", "missing-key", 2, 1),
        ("tag,address,type,labels\na,holding:0,u16,Idle\n", "wrong-value", 2, 17),
        ("tag,address,type,labels\na,holding:0,u16,0=a;0=b\n", "label-twice", 2, 17),
        ("tag,address,type,labels\na,holding:0,f32,0=a\n", "labels-without-states", 2, 17),
        ("tag,address,type\na,holding:x,u16\n", "bad-address", 2, 3),
        ("tag,address,type\nü,holding:x,u16\n", "bad-address", 2, 3),
        ("tag;address;type;scale\na;holding:0;u16;0,1\n", "wrong-value", 2, 17),
        ("tag,address,type,scale\na,holding:0,u16,nan\n", "wrong-value", 2, 17),
        ("tag,address,type,high\na,holding:0,u16,-inf\n", "wrong-value", 2, 17),
        ("tag,address,type,scale\na,holding:0,u16,0\n", "scale-zero", 2, 17),
        ("tag,address,type,max-silence\na,holding:0,u16,5\n", "wrong-value", 2, 17),
        ("tag,address,type,deadband\na,holding:0,u16,2 percent\n", "wrong-value", 2, 17),
        ("tag,address,type,scan\na,holding:0,u16,fast\n", "unknown-scan-class", 2, 17),
        ("tag,address,type\na,holding:0,u16\na,holding:1,u16\n", "duplicate-tag", 3, 1),
        ("tag,address,type\n\"a,holding:0,u16\n", "syntax", 2, 1),
        ("tag,address,type\na,holding:0,u16,extra\n", "syntax", 2, 17),
        ("device,tag,address,type\nd,a,holding:0,u16\nx,a,holding:0,u16\n", "unknown-device", 3, 1),
    ] {
        let folder = folder(&[("a.toml", &config), ("list.csv", list)]);
        assert_eq!(diagnostics(folder.path()), [found(code, "list.csv", line, column)], "{list}");
    }
    let folder = folder(&[("a.toml", &config)]);
    assert_eq!(diagnostics(folder.path()), [found("no-such-file", "a.toml", 12, 8)]);
}

#[test]
fn an_import_prints_what_can_be_pasted_and_says_what_is_wrong() {
    let list = "device,tag,address,type,order,length,scale,unit,deadband,report,max-silence,class,access\n\
                d,motor/current,holding:0,f32,cdab,,0.1,A,2%,always,1500ms,critical,write-only\n\
                \"e \"\"x\"\"\",id,holding:9,string,,8,,,,,,,\n";
    let folder = folder(&[("list.csv", list)]);
    let output = fieldgate(folder.path(), &["tags", "import", "list.csv"]);
    let wanted = "# below the [[device]] d\n[device.tag]\n\"motor/current\" = { at = \"holding:0\", type = \"f32\", order = \"cdab\", scale = 0.1, unit = \"A\", deadband = \"2%\", report = \"always\", max-silence = \"1500ms\", class = \"critical\", access = \"write-only\" }\n\n\
                  # below the [[device]] \"e \\\"x\\\"\"\n[device.tag]\nid = { at = \"holding:9\", type = \"string\", length = 8 }\n";
    assert_eq!(text(output.stdout), wanted);
    let output =
        fieldgate(folder.path(), &["tags", "import", "list.csv", "--device", "d", "--profile", "a b"]);
    assert!(text(output.stdout).starts_with("[profile.\"a b\".tag]\n\"motor/current\" = {"));
    let output = fieldgate(folder.path(), &["tags", "import", "list.csv", "--device", "f"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(output.stderr).contains("there is no device `f`"));
    fs::write(folder.path().join("list.csv"), "tag,address,type\na,holding:0,u17\n").unwrap();
    let output = fieldgate(folder.path(), &["tags", "import", "list.csv"]);
    assert_eq!(output.status.code(), Some(2));
    let said = text(output.stderr);
    assert!(said.contains("--> list.csv:2:13") && said.contains("1 mistake"), "{said}");
}

#[test]
fn a_shipped_profile_goes_out_as_a_list_and_comes_in_again_as_it_was() {
    for path in shipped() {
        let profile = name(&path);
        let config = format!("profiles = [{path:?}]\n{NODE}{TCP}{DEVICE}profile = \"{profile}\"\n");
        let folder =
            folder(&[("a.toml", &config), ("b.toml", &format!("{NODE}{TCP}{DEVICE}tags = \"b.csv\"\n"))]);
        let exported = text(fieldgate(folder.path(), &["tags", "export", "a.toml", "--device", "d"]).stdout);
        fs::write(folder.path().join("b.csv"), &exported).unwrap();
        assert_eq!(text(fieldgate(folder.path(), &["tags", "export", "b.toml"]).stdout), exported);
        let imported = text(fieldgate(folder.path(), &["tags", "import", "b.csv"]).stdout);
        fs::write(folder.path().join("c.toml"), format!("{NODE}{TCP}{DEVICE}{imported}")).unwrap();
        assert_eq!(text(fieldgate(folder.path(), &["tags", "export", "c.toml"]).stdout), exported);
        assert!(exported.lines().count() > 3);
        let [a, b, c] = ["a.toml", "b.toml", "c.toml"].map(|file| from_file(&folder.path().join(file)));
        assert_eq!((a.directory.tags(), rules(&a)), (b.directory.tags(), rules(&b)), "{profile}");
        assert_eq!((a.directory.tags(), rules(&a)), (c.directory.tags(), rules(&c)), "{profile}");
    }
}

fn from_file(path: &Path) -> GatewayPlan {
    let main = fs::read_to_string(path).unwrap();
    let mut sources = Sources::new("main", &main);
    let mut config = config::load(&main).config.unwrap();
    let mut mistakes = Vec::new();
    config::include(&mut config, path.parent().unwrap(), &mut sources, &mut mistakes);
    assert_eq!(mistakes, []);
    compiled(&config)
}

/// How the values of all tags are made; the limits of a profile may cut its blocks in another way.
fn rules(plan: &GatewayPlan) -> Vec<&Rule> {
    let blocks = plan.links.iter().flat_map(|link| &link.blocks);
    let mut rules: Vec<&Rule> = blocks.flat_map(|block| &block.rules).map(|placed| &placed.rule).collect();
    rules.sort_by_key(|rule| rule.tag);
    rules
}

fn at_nothing<T>(value: T) -> Spanned<T> {
    Spanned::new(0..0, value)
}

/// A tag that compiles, at the place that it is given.
fn any_tag(place: usize) -> impl Strategy<Value = Tag> {
    let words = "[ -~äöü°³\n\t]{1,12}";
    let number = prop_oneof![-1e6..1e6, (-1000_i32..1000).prop_map(f64::from), Just(1e-9)];
    let scaling = (proptest::option::of(number.clone()), proptest::option::of(number), 0.5..1e9_f64);
    let kinds = proptest::sample::select(DataType::ALL.to_vec());
    let order = proptest::option::of(proptest::sample::select(vec![
        Order::Abcd,
        Order::Badc,
        Order::Cdab,
        Order::Dcba,
    ]));
    let label = proptest::option::of("[a-z\"=,][ -:<-~ü]{0,8}[a-z\"]");
    let texts = (proptest::option::of(words), proptest::option::of(words), label);
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    let silence = proptest::option::of(1_000_u64..86_400_000_000);
    (kinds, order, scaling, texts, flags, silence, 1_u16..20).prop_map(
        move |(
            kind,
            order,
            (scale, offset, range),
            (unit, description, label),
            (limits, percent, always, write),
            silence,
            length,
        )| {
            let number = kind.is_number();
            let at = match kind {
                DataType::Bool => format!("coil:{place}"),
                DataType::I8 | DataType::U8 => format!("holding:{}.hi", place * 10),
                _ => format!("holding:{}", place * 10),
            };
            let limits = limits && number;
            let whole = number
                && !matches!(kind, DataType::F32 | DataType::F64)
                && offset.is_none()
                && scale.is_none_or(|scale| scale == 0.0);
            let label = label.filter(|_| whole || kind == DataType::Bool).map(|label| {
                let values = if whole { ["0", "7"] } else { ["off", "on"] };
                let labels =
                    values.into_iter().map(|value| (at_nothing(value.into()), at_nothing(label.clone())));
                at_nothing(labels.collect())
            });
            Tag {
                at: at_nothing(at),
                kind: at_nothing(kind),
                scan: write.then(|| at_nothing("fast".to_owned())),
                order,
                length: (kind == DataType::Text).then(|| at_nothing(length)),
                scale: scale.filter(|scale| number && *scale != 0.0).map(at_nothing),
                offset: offset.filter(|_| number).map(at_nothing),
                unit,
                low: limits.then(|| at_nothing(-range)),
                high: limits.then(|| at_nothing(range)),
                deadband: number.then(|| {
                    at_nothing(if limits && percent {
                        Deadband::Percent(12.5)
                    } else {
                        Deadband::Absolute(range / 7.0)
                    })
                }),
                report: if always { Report::Always } else { Report::Change },
                max_silence: silence
                    .map(|micros| at_nothing(Period(std::time::Duration::from_micros(micros)))),
                alarm: None,
                class: percent.then_some(if always { Class::Critical } else { Class::Diagnostic }),
                access: match kind {
                    DataType::I8 | DataType::U8 => Access::Read,
                    _ if write => Access::ReadWrite,
                    _ => Access::Read,
                },
                labels: label,
                description,
            }
        },
    )
}

fn any_tags() -> impl Strategy<Value = Vec<(String, Tag)>> {
    let names = "[a-z][a-zA-Z0-9 .\"=ß-]{0,8}[a-z](/[a-z\"']{1,3})?";
    let one = move |place: usize| {
        (names, any_tag(place)).prop_map(move |(name, tag)| (format!("{name}{place}"), tag))
    };
    (1_usize..12).prop_flat_map(move |n| (0..n).map(one).collect::<Vec<_>>())
}

fn compiled(config: &Config) -> GatewayPlan {
    plan::compile(config, false, None).unwrap_or_else(|mistakes| panic!("{mistakes:#?}"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn tags_go_out_as_a_list_and_come_in_as_the_same_plan(tags in any_tags(), crlf: bool, other: bool) {
        let head = format!("{NODE}fast = \"1s\"\n{TCP}{DEVICE}");
        let lines: Vec<String> = tags.iter().map(|(name, tag)| line(name, tag)).collect();
        let written = config::load(&format!("{head}[device.tag]\n{}\n", lines.join("\n")));
        prop_assert!(written.mistakes.is_empty(), "{:?}\n{}", written.mistakes, lines.join("\n"));
        let written = written.config.unwrap();

        let rows = tags.iter().map(|(name, tag)| row("d", name, tag, None));
        let list: Vec<String> = std::iter::once(header()).chain(rows).collect();
        let list = list.join(if crlf { "\r\n" } else { "\n" }) + if other { "\n" } else { "" };
        let (rows, mistakes) = read(&list, 17);
        prop_assert!(mistakes.is_empty(), "{:?}\n{}", mistakes, list);
        let again: Vec<String> = rows.iter().map(|row| line(row.name.get_ref(), row.tag.get_ref())).collect();
        prop_assert_eq!(&again, &lines);

        let mut listed = config::load(&head).config.unwrap();
        let device = listed.device[0].get_mut();
        device.listed = rows.into_iter().map(|row| (row.name, row.tag)).collect();
        let (a, b) = (compiled(&written), compiled(&listed));
        prop_assert_eq!(&a.directory, &b.directory);
        prop_assert_eq!(&a.links, &b.links);
    }

    #[test]
    fn no_list_is_so_wrong_that_it_panics(text in "(tag|address|type|device|scale)?[a-z0-9,;\t\"\r\n\u{feff}ü]{0,80}", at in 0_usize..9) {
        let (_, mistakes) = read(&text, at);
        for mistake in mistakes {
            prop_assert!(mistake.span.start >= at && mistake.span.end <= at + text.len());
            prop_assert!(text.is_char_boundary(mistake.span.start - at) && text.is_char_boundary(mistake.span.end - at));
        }
    }
}

#[test]
fn the_documentation_lists_every_shipped_profile_and_every_column() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/profiles.md");
    let documentation = fs::read_to_string(path).unwrap();
    for path in shipped() {
        let row = format!("\n| `{}` | ", name(&path));
        assert!(documentation.contains(&row), "{row}");
    }
    for column in fieldgate::config::tag_list::COLUMNS {
        assert!(documentation.contains(&format!("`{column}`")), "{column}");
    }
}
