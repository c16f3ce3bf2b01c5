//! Tags chosen on a command line, and the smallest plan that serves them and nothing else.

use std::collections::HashSet;
use std::path::Path;

use super::file::compile_text;
use crate::config::{self, Config, closest};
use crate::model::{Directory, Mistake};
use crate::plan::GatewayPlan;
use crate::plan::diagnostic::Severity;

/// The plan with only the chosen tags (all, without a pattern): no publisher, no store on disk, no counters of
/// the gateway's own. Everything wrong is said on standard error.
pub(super) fn open(path: &Path, patterns: &[String], adapt: impl FnOnce(&mut Config)) -> Option<GatewayPlan> {
    let name = path.display().to_string();
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            eprintln!("cannot read {name}: {error}");
            return None;
        }
    };
    let whole = compile_text(name.clone(), text.clone(), |_| {});
    let wanted = match &whole.plan {
        Ok(plan) => choose(&plan.directory, patterns),
        Err(mistakes) => {
            whole.complain(mistakes, Severity::Error);
            eprintln!("{name}: correct it first; `fieldgate check {name}` tells the same");
            return None;
        }
    };
    let wanted = match wanted {
        Ok(wanted) => wanted,
        Err(error) => {
            eprintln!("{error}");
            return None;
        }
    };
    let narrowed = compile_text(name, text, |config| {
        narrow(config, &wanted);
        // Whoever asks for tags gets these and causes nothing else on the line.
        config.device.iter_mut().for_each(|device| device.get_mut().identify = Some(false));
        adapt(config);
    });
    match narrowed.plan {
        Ok(plan) => Some(without_idle(plan)),
        Err(ref mistakes) => {
            narrowed.complain(mistakes, Severity::Error);
            None
        }
    }
}

/// The plan of a file that a command wrote itself; a mistake in it is one in the command line.
pub(super) fn compile_own(text: &str) -> Result<GatewayPlan, String> {
    let loaded = config::load(text);
    let mistakes = match loaded.config {
        Some(config) if loaded.mistakes.is_empty() => match crate::plan::compile(&config, false, None) {
            Ok(plan) => return Ok(without_idle(plan)),
            Err(mistakes) => mistakes,
        },
        _ => loaded.mistakes,
    };
    let line = |m: &Mistake| format!("{}; {}", m.message, m.help);
    Err(mistakes.iter().map(line).collect::<Vec<_>>().join("\n"))
}

/// Links that nothing is asked of are not opened.
fn without_idle(mut plan: GatewayPlan) -> GatewayPlan {
    plan.links.retain(|link| !link.blocks.is_empty() || !link.writes.is_empty());
    plan
}

/// The paths that the patterns name, each pattern at least one.
fn choose(directory: &Directory, patterns: &[String]) -> Result<HashSet<String>, String> {
    let is_own = |id| directory.device(id).is_some_and(|d| d.is_node);
    let paths: Vec<&str> = directory.tags().iter().filter(|t| !is_own(t.device)).map(|t| &*t.path).collect();
    if patterns.is_empty() {
        return Ok(paths.into_iter().map(str::to_owned).collect());
    }
    let mut wanted = HashSet::new();
    for pattern in patterns {
        let before = wanted.len();
        let mut known = false;
        for path in paths.iter().filter(|path| matches(pattern, path)) {
            known = true;
            wanted.insert((*path).to_owned());
        }
        if !known && wanted.len() == before {
            let help = match closest(pattern, paths.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None if directory.tags().iter().any(|t| matches(pattern, &t.path)) => {
                    "the gateway's own counters exist only while it runs: see its page or /metrics".into()
                }
                None => "write `device/tag`, or a pattern as `pump-1/*`".into(),
            };
            return Err(format!("there is no tag `{pattern}`; {help}"));
        }
    }
    Ok(wanted)
}

/// Whether the pattern fits the whole text: `*` is any run of characters, `?` one.
fn matches(pattern: &str, text: &str) -> bool {
    let (mut pattern, mut text) = (pattern.chars(), text.chars());
    // Where to go on from when what followed the last star did not fit.
    let mut last_star = None;
    loop {
        let (p, t) = (pattern.clone().next(), text.clone().next());
        match (p, t) {
            (Some('*'), _) => {
                pattern.next();
                last_star = Some((pattern.clone(), text.clone()));
            }
            (Some(p), Some(t)) if p == t || p == '?' => {
                pattern.next();
                text.next();
            }
            (None, None) => return true,
            _ => match &mut last_star {
                Some((after, from)) => {
                    if from.next().is_none() {
                        return false;
                    }
                    (pattern, text) = (after.clone(), from.clone());
                }
                None => return false,
            },
        }
    }
}

/// Leaves only these tags, and nothing that is not needed for them.
fn narrow(config: &mut Config, wanted: &HashSet<String>) {
    config.publish = Default::default();
    config.store = Default::default();
    config.system.enabled = false;
    config.test.clear();
    let profiles = std::mem::take(&mut config.profile);
    for device in config.device.iter_mut().map(crate::model::Spanned::get_mut) {
        let profile = device.profile.take().and_then(|name| {
            profiles.iter().find(|(n, _)| n.get_ref() == name.get_ref()).map(|(_, profile)| profile)
        });
        if let Some(profile) = profile {
            device.order = device.order.or(profile.order);
            device.max_registers = device.max_registers.take().or(profile.max_registers.clone());
            device.max_bits = device.max_bits.take().or(profile.max_bits.clone());
            device.single_register = device.single_register.or(profile.single_register);
            device.max_gap = device.max_gap.take().or(profile.max_gap.clone());
            device.write = device.write.or(profile.write);
            device.bit_write = device.bit_write.or(profile.bit_write);
            for (name, tag) in &profile.tag {
                // A device's own tag takes the place of its profile's.
                if !device.tag.keys().any(|own| own.get_ref() == name.get_ref()) {
                    device.tag.insert(name.clone(), tag.clone());
                }
            }
        }
        let own = device.name.get_ref();
        device.tag.retain(|name, _| wanted.contains(&format!("{own}/{}", name.get_ref())));
    }
    config.device.retain(|device| !device.get_ref().tag.is_empty());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_fits_any_run_of_characters_and_a_question_mark_one() {
        for (pattern, text, fits) in [
            ("pump-1/speed", "pump-1/speed", true),
            ("pump-1/speed", "pump-1/speeds", false),
            ("pump-1/*", "pump-1/motor/current", true),
            ("pump-?/speed", "pump-2/speed", true),
            ("pump-?/speed", "pump-12/speed", false),
            ("*/speed", "pump-1/speed", true),
            ("*p*d", "pump-1/speed", true),
            ("*a*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false),
            ("*", "", true),
            ("", "x", false),
        ] {
            assert_eq!(matches(pattern, text), fits, "{pattern} {text}");
        }
    }
}
