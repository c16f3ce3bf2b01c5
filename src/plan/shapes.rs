//! What tags form together: profiles as templates, and tables; and what hosts will see of them.

use std::collections::HashMap;
use std::sync::Arc;

use super::compile::Compiler;
use super::draft::{DeviceDraft, TagDraft};
use super::tags::{Inherited, rule};
use super::{PublisherPlan, names};
use crate::config::{self, closest};
use crate::model::{DataType, DeviceId, Directory, Mistake, Spanned, Table, TagId, Template};
use crate::publishers::PublisherSpec;
use crate::publishers::sparkplug::session::published_as;

impl Compiler<'_> {
    /// The template of each device that has a profile and all its tags as the profile has them.
    pub(super) fn templates(&mut self, devices: &[DeviceDraft<'_>]) -> HashMap<DeviceId, Arc<Template>> {
        let wanted = self.config.publish.sparkplug.iter().any(|table| table.get_ref().templates);
        let mut known: HashMap<&str, Arc<Template>> = HashMap::new();
        let mut found = HashMap::new();
        for draft in devices {
            let (Some(name), Some(profile)) = (&draft.table.profile, draft.profile) else { continue };
            let template =
                known.entry(name.get_ref()).or_insert_with(|| Arc::new(template(name.get_ref(), profile)));
            match misfit(template, draft) {
                None => drop(found.insert(draft.id, template.clone())),
                Some((why, help)) if wanted => self.warnings.push(Mistake::new(
                    "not-a-template",
                    name.span(),
                    format!(
                        "{why}, so `{}` is published tag by tag, not as a template",
                        draft.table.name.get_ref()
                    ),
                    help,
                )),
                Some(_) => {}
            }
        }
        found
    }

    /// The tables of all devices, in the order of the file.
    pub(super) fn tables(&mut self, devices: &[DeviceDraft<'_>]) -> Vec<Table> {
        let mut found = Vec::new();
        for draft in devices {
            let mut tables: Vec<_> = draft.table.table.iter().collect();
            tables.sort_by_key(|(name, _)| name.span().start);
            for (name, table) in tables {
                found.extend(self.table(draft, name, table.get_ref()));
            }
        }
        found
    }

    fn table(
        &mut self,
        draft: &DeviceDraft<'_>,
        name: &Spanned<String>,
        table: &config::Table,
    ) -> Option<Table> {
        let before = self.mistakes.len();
        let mut wrong = |span, message: String, help: &str| {
            self.mistakes.push(Mistake::new("bad-table", span, message, help));
        };
        let whole = name.span();
        if draft.tags.iter().any(|tag| tag.name == name.get_ref()) {
            let message = format!("there is a tag of the name `{}`", name.get_ref());
            wrong(whole.clone(), message, "give the table a name of its own");
        }
        for (at, column) in table.columns.iter().enumerate() {
            let head = column.get_ref();
            if head.trim().is_empty() || table.columns.iter().take(at).any(|other| other.get_ref() == head) {
                let message = format!("`{head}` is no name for a column, or there is another one");
                wrong(column.span(), message, "give each column a name of its own");
            }
        }
        if table.columns.is_empty() || table.rows.is_empty() {
            wrong(whole, "the table has no columns or no rows".into(), "add them, or remove the table");
        }
        let mut kinds: Vec<Option<DataType>> = vec![None; table.columns.len()];
        let mut cells = Vec::new();
        for row in &table.rows {
            if row.get_ref().len() != table.columns.len() {
                let message = format!("{} cells for {} columns", row.get_ref().len(), table.columns.len());
                wrong(row.span(), message, "name a tag for each column");
            }
            for (cell, kind) in row.get_ref().iter().zip(&mut kinds) {
                match cell_tag(draft, cell, kind) {
                    Ok(tag) => cells.push(tag),
                    Err((message, help)) => wrong(cell.span(), message, &help),
                }
            }
        }
        names::check_tag(name, &mut self.mistakes);
        let kinds: Option<Vec<_>> = kinds.into_iter().collect();
        let heads = table.columns.iter().map(|column| column.get_ref().as_str().into());
        (self.mistakes.len() == before).then_some(Table {
            device: draft.id,
            name: name.get_ref().as_str().into(),
            columns: heads.zip(kinds?).collect(),
            cells,
        })
    }

    /// A device that is too large for a packet has more names than its own.
    pub(super) fn splits(&mut self, directory: &Arc<Directory>, publishers: &[PublisherPlan]) {
        for plan in publishers {
            let PublisherSpec::Sparkplug(spec) = &plan.spec else { continue };
            for (device, names) in published_as(directory, spec.mqtt.max_packet, spec.form) {
                let tables = self.config.device.iter().map(|table| &table.get_ref().name);
                let place = tables.filter(|name| *name.get_ref() == *device).map(Spanned::span).next();
                self.warnings.push(Mistake::new(
                    "split-device",
                    place.unwrap_or_default(),
                    format!(
                        "the birth of `{device}` may become larger than `max-packet` of `{}`: it is published as {}",
                        plan.name,
                        names.join(", ")
                    ),
                    "raise `max-packet`, if the broker allows it, or make several devices of it",
                ));
            }
        }
    }
}

/// What a profile has, whatever device uses it.
fn template(name: &str, profile: &config::Profile) -> Template {
    let inherited = Inherited { order: profile.order, max_silence: None };
    let mut tags: Vec<_> = profile.tag.iter().collect();
    tags.sort_by_key(|(name, _)| name.span().start);
    // Mistakes of its tags are told where a device uses them.
    let kind = |tag: &config::Tag| rule(TagId(0), tag, inherited, &mut Vec::new()).value_type();
    let members = tags.into_iter().map(|(name, tag)| (name.get_ref().as_str().into(), kind(tag.get_ref())));
    Template { name: name.into(), members: members.collect() }
}

/// Why a device cannot be an instance, and what to do.
fn misfit(template: &Template, draft: &DeviceDraft<'_>) -> Option<(String, &'static str)> {
    let name = &*template.name;
    if draft.tags.iter().any(|t| t.name == name) || draft.table.table.keys().any(|t| t.get_ref() == name) {
        return Some((format!("it has a tag or a table of the name `{name}`"), "give it another name"));
    }
    let tags: HashMap<&str, &TagDraft<'_>> = draft.tags.iter().map(|tag| (tag.name, tag)).collect();
    let other = template
        .members
        .iter()
        .find(|(member, kind)| tags.get(&**member).is_none_or(|tag| tag.rule.value_type() != *kind));
    other.map(|(member, _)| {
        let why = format!("its tag `{member}` is of another type than that of the profile");
        (why, "give its own tag another name, or the type of the profile")
    })
}

/// The tag of a cell; the first of a column decides its type.
fn cell_tag(
    draft: &DeviceDraft<'_>,
    cell: &Spanned<String>,
    column: &mut Option<DataType>,
) -> Result<TagId, (String, String)> {
    let name = cell.get_ref().as_str();
    let Some(tag) = draft.tags.iter().find(|tag| tag.name == name) else {
        let near = closest(name, draft.tags.iter().map(|tag| tag.name));
        let help = near.map_or("name a tag of the device".into(), |near| format!("did you mean `{near}`?"));
        return Err((format!("the device has no tag `{name}`"), help));
    };
    if !tag.table.access.is_readable() {
        return Err((
            format!("`{name}` is never read, so the table would never have a value"),
            "leave it out".into(),
        ));
    }
    let kind = tag.rule.value_type();
    // The values of a DataSet are of the basic types (Sparkplug 3.0, 6.4.16).
    if kind.length().is_some() {
        return Err((format!("`{name}` is an array, and a cell has one value"), "leave it out".into()));
    }
    let first = *column.get_or_insert(kind);
    if first != kind {
        let message = format!("`{name}` is a `{kind}`, and the cells above it are `{first}`");
        return Err((message, "all cells of a column have one type".into()));
    }
    Ok(tag.id)
}
