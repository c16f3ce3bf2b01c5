//! Which names are legal: they become MQTT topics, OPC UA nodes and file names.

use crate::model::{Mistake, Spanned};

/// The longest name; a file name may have 255 bytes.
const LONGEST: usize = 128;

/// A name of a node, link, device or publisher. Sparkplug 3.0 section 4.1 forbids `/`, `+` and `#`
/// in ids; the rest keeps paths and file names unambiguous.
pub(super) fn check(what: &str, name: &Spanned<String>, mistakes: &mut Vec<Mistake>) -> bool {
    let ok = is_legal(name.get_ref());
    if !ok {
        mistakes.push(Mistake::new(
            "bad-name",
            name.span(),
            format!("`{}` is no name for a {what}", name.get_ref()),
            format!("use 1 to {LONGEST} characters without `/`, `\\`, `+`, `#`, control characters or a space at an end, and not `.` or `..`"),
        ));
    }
    ok
}

/// A tag's name may have folders: `motor/current`.
pub(super) fn check_tag(name: &Spanned<String>, mistakes: &mut Vec<Mistake>) -> bool {
    let ok = name.get_ref().split('/').all(is_legal) && name.get_ref().len() <= LONGEST;
    if !ok {
        mistakes.push(Mistake::new(
            "bad-name",
            name.span(),
            format!("`{}` is no name for a tag", name.get_ref()),
            "use folders and names as `motor/current`: no empty part, no `\\`, `+`, `#` or control characters",
        ));
    }
    ok
}

fn is_legal(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= LONGEST
        && name.trim() == name
        && name != "."
        && name != ".."
        && !name.contains(|c: char| matches!(c, '/' | '\\' | '+' | '#') || c.is_control())
}
