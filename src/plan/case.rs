//! Names that differ in case only: Sparkplug hosts may take them for one
//! (3.0, tck-id-case-sensitivity-sparkplug-ids, tck-id-case-sensitivity-metric-names).

use std::collections::HashMap;

use crate::config::Config;
use crate::model::{Mistake, Spanned};

/// A warning for each device, and each tag of a device, that has another one's name but for the case.
pub(super) fn alike(config: &Config, warnings: &mut Vec<Mistake>) {
    let devices = || config.device.iter().map(|d| d.get_ref());
    among("device", devices().map(|d| &d.name), warnings);
    for device in devices() {
        among("tag", config.tags_of(device).into_iter().map(|(name, _)| name), warnings);
    }
}

fn among<'a>(what: &str, names: impl Iterator<Item = &'a Spanned<String>>, warnings: &mut Vec<Mistake>) {
    let mut seen: HashMap<String, &str> = HashMap::new();
    for name in names {
        let text = name.get_ref().as_str();
        let first = *seen.entry(text.to_lowercase()).or_insert(text);
        if first != text {
            warnings.push(Mistake::new(
                "differs-in-case-only",
                name.span(),
                format!(
                    "the {what}s `{first}` and `{text}` differ in case only; hosts may take them for one"
                ),
                "give one of them another name",
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    fn warned(names: [&str; 2], tags: [&str; 2]) -> Vec<String> {
        let mut text = "node = { group = \"g\", name = \"n\" }\n".to_owned();
        text += "[[link.modbus-tcp]]\nname = \"net\"\nhost = \"192.0.2.1\"\n";
        for name in names {
            text += &format!("[[device]]\nname = \"{name}\"\nlink = \"net\"\n[device.tag]\n");
            for (i, tag) in tags.iter().enumerate() {
                text += &format!("{tag} = {{ at = \"holding:{i}\", type = \"u16\" }}\n");
            }
        }
        let config = crate::config::load(&text).config.unwrap();
        let plan = crate::plan::compile(&config, false, None).unwrap();
        plan.warnings.into_iter().filter(|w| w.code == "differs-in-case-only").map(|w| w.message).collect()
    }

    #[test]
    fn devices_whose_names_differ_in_case_only_are_a_warning() {
        assert!(warned(["pump", "fan"], ["a", "b"]).is_empty());
        let warned = warned(["pump", "Pump"], ["a", "b"]);
        assert_eq!(warned.len(), 1, "{warned:?}");
        assert!(warned[0].starts_with("the devices `pump` and `Pump`"), "{warned:?}");
    }

    #[test]
    fn tags_of_a_device_whose_names_differ_in_case_only_are_a_warning() {
        let warned = warned(["pump", "fan"], ["Flow", "flow"]);
        assert_eq!(warned.len(), 2, "once a device: {warned:?}");
        assert!(warned[0].starts_with("the tags `Flow` and `flow`"), "{warned:?}");
    }
}
