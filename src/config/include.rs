//! Reads the files that a configuration names: profiles and tag lists.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use super::load::load_at;
use super::tag_list::{self, Row};
use super::{Config, Loaded, Profile, Sources, closest};
use crate::model::{Mistake, Spanned};

/// A file larger than this was not meant: a tag needs some hundred bytes.
const LARGEST: u64 = 64 << 20;

/// Adds all profiles and tag lists to the tables; `folder` is that of the main file. Returns whether
/// something is missing because it could not be read.
pub fn include(
    config: &mut Config,
    folder: &Path,
    sources: &mut Sources,
    mistakes: &mut Vec<Mistake>,
) -> bool {
    let mut includer = Includer { folder, sources, mistakes, incomplete: false };
    includer.profiles(config);
    includer.tag_lists(config);
    includer.incomplete
}

struct Includer<'a> {
    folder: &'a Path,
    sources: &'a mut Sources,
    mistakes: &'a mut Vec<Mistake>,
    incomplete: bool,
}

impl Includer<'_> {
    fn profiles(&mut self, config: &mut Config) {
        let mut read = BTreeMap::new();
        for pattern in std::mem::take(&mut config.profiles) {
            for path in self.matching(&pattern) {
                // Two patterns may match one file.
                let Some(name) = path.file_stem().and_then(|s| s.to_str()).map(str::to_owned) else {
                    continue;
                };
                match read.insert(name.clone(), path.clone()) {
                    Some(other) if other == path => continue,
                    Some(other) => self.twice(&pattern, &name, &path, &other.display().to_string()),
                    None if config.profile.keys().any(|key| *key.get_ref() == name) => {
                        self.twice(&pattern, &name, &path, &format!("[profile.{name}]"));
                    }
                    None => {
                        let Some((text, start)) = self.read(&path, pattern.span()) else { continue };
                        let Some(profile) = self.parse::<Profile>(&text, start) else { continue };
                        config.profile.insert(Spanned::new(start..start, name), profile);
                    }
                }
            }
        }
    }

    fn parse<T: DeserializeOwned>(&mut self, text: &str, start: usize) -> Option<T> {
        let Loaded { config, mistakes, incomplete } = load_at(text, start);
        self.incomplete |= incomplete;
        self.mistakes.extend(mistakes);
        config
    }

    fn twice(&mut self, pattern: &Spanned<String>, name: &str, path: &Path, other: &str) {
        let message =
            format!("there is another profile of the name `{name}`: {} and {other}", path.display());
        let help = "a profile is named after its file: rename one of them, or take out one";
        self.mistakes.push(Mistake::new("duplicate-profile", pattern.span(), message, help));
    }

    /// The files that a pattern means, in the order of their names.
    fn matching(&mut self, pattern: &Spanned<String>) -> Vec<PathBuf> {
        let path = self.folder.join(pattern.get_ref());
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("").to_owned();
        if !name.contains('*') {
            return vec![path];
        }
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut wrong = |message: String, help: &str| {
            self.mistakes.push(Mistake::new("no-such-file", pattern.span(), message, help));
            self.incomplete = true;
            Vec::new()
        };
        let entries = match std::fs::read_dir(if folder == Path::new("") { Path::new(".") } else { folder }) {
            Ok(entries) => entries,
            Err(error) => {
                let message = format!("cannot read the folder {}: {error}", folder.display());
                return wrong(message, RELATIVE);
            }
        };
        let names: BTreeSet<_> = entries.flatten().map(|entry| entry.file_name()).collect();
        let fits = |candidate: &std::ffi::OsString| candidate.to_str().is_some_and(|c| matches(&name, c));
        let files: Vec<_> = names.iter().filter(|name| fits(name)).map(|name| folder.join(name)).collect();
        if files.is_empty() {
            return wrong(format!("no file matches {}", path.display()), RELATIVE);
        }
        files
    }

    /// A file's text, and where it starts among the sources.
    fn read(&mut self, path: &Path, named_at: Range<usize>) -> Option<(String, usize)> {
        let name = path.display();
        let text = match std::fs::metadata(path) {
            Err(error) => Err((format!("cannot read {name}: {error}"), RELATIVE)),
            Ok(meta) if !meta.is_file() => Err((format!("{name} is no file"), "name a file")),
            Ok(meta) if meta.len() > LARGEST => {
                Err((format!("{name} is larger than 64 MiB"), "name a file of tags"))
            }
            Ok(_) => match std::fs::read(path) {
                Err(error) => Err((format!("cannot read {name}: {error}"), RELATIVE)),
                Ok(bytes) => String::from_utf8(bytes).map_err(|error| {
                    let at = error.utf8_error().valid_up_to();
                    let line = error.as_bytes().iter().take(at).filter(|b| **b == b'\n').count() + 1;
                    (format!("{name} is no UTF-8 text (line {line})"), "save it as UTF-8")
                }),
            },
        };
        match text {
            Ok(text) => {
                let start = self.sources.add(name.to_string(), &text);
                Some((text, start))
            }
            Err((message, help)) => {
                self.mistakes.push(Mistake::new("no-such-file", named_at, message, help));
                self.incomplete = true;
                None
            }
        }
    }

    fn tag_lists(&mut self, config: &mut Config) {
        // Every file once, for all devices that name it.
        let mut lists: BTreeMap<PathBuf, Vec<usize>> = BTreeMap::new();
        for (at, device) in config.device.iter().enumerate() {
            if let Some(file) = &device.get_ref().tags {
                lists.entry(self.folder.join(file.get_ref())).or_default().push(at);
            }
        }
        for (path, users) in lists {
            let named_at = users.iter().find_map(|at| config.device.get(*at)?.get_ref().tags.as_ref());
            let Some((text, start)) = self.read(&path, named_at.map_or(0..0, Spanned::span)) else {
                continue;
            };
            let (rows, mistakes) = tag_list::read(&text, start);
            self.incomplete |= !mistakes.is_empty();
            self.mistakes.extend(mistakes);
            self.strangers(config, &users, &rows, &path);
            for at in users {
                let Some(device) = config.device.get_mut(at).map(Spanned::get_mut) else { continue };
                for row in rows.iter().filter(|row| row.is_for(device.name.get_ref())) {
                    device.listed.insert(row.name.clone(), row.tag.clone());
                }
                if let (Some(file), true) = (&device.tags, device.listed.is_empty() && !self.incomplete) {
                    let message =
                        format!("{} has no tag for the device `{}`", path.display(), device.name.get_ref());
                    let help = "write the device's name into the column `device`, or leave that column empty";
                    self.mistakes.push(Mistake::new("no-tags", file.span(), message, help));
                }
            }
        }
    }

    /// Rows that no device takes would be lost without a word; each name is told once.
    fn strangers(&mut self, config: &Config, users: &[usize], rows: &[Row], path: &Path) {
        let known: Vec<&str> = users
            .iter()
            .filter_map(|at| Some(config.device.get(*at)?.get_ref().name.get_ref().as_str()))
            .collect();
        let mut told = BTreeSet::new();
        for device in rows.iter().filter_map(|row| row.device.as_ref()) {
            if known.contains(&device.get_ref().as_str()) || !told.insert(device.get_ref()) {
                continue;
            }
            let help = match closest(device.get_ref(), known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => {
                    format!("these devices take their tags from {}: {}", path.display(), known.join(", "))
                }
            };
            let message = format!("no device `{}` takes its tags from this list", device.get_ref());
            self.mistakes.push(Mistake::new("unknown-device", device.span(), message, help));
        }
    }
}

const RELATIVE: &str = "a path starts in the folder of the configuration file";

/// Whether a name fits a pattern in which `*` stands for any text.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else { return false };
    let mut parts = parts.peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some(found) = rest.find(part) else { return false };
        rest = rest.get(found + part.len()..).unwrap_or("");
    }
    rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_part_of_a_name() {
        for (pattern, name, fits) in [
            ("*.toml", "a.toml", true),
            ("*.toml", "a.toml.bak", false),
            ("a*b*.toml", "axxby.toml", true),
            ("a*b*.toml", "axx.toml", false),
            ("ab*ba", "aba", false),
            ("a.toml", "a.toml", true),
            ("a.toml", "a.tomlx", false),
            ("*", "anything", true),
        ] {
            assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
        }
    }
}
