//! What is born: the NBIRTH and each DBIRTH with all that is known of the node, a device and its tags.

use crate::model::{Bad, DeviceId, DeviceState, Identity, Quality, Sample, Timestamp};
use crate::publishers::sparkplug::commands::REBIRTH;
use crate::publishers::sparkplug::payload::{BOOLEAN, INT64, Metric, Raw, STRING};
use crate::store::Store;

use super::layout::Layout;
use super::{ENVELOPE, Kind, Message, Session, State, Status, alias, shapes};

impl Session {
    /// NBIRTH and a DBIRTH of each device that is alive, from the image; seq starts at 0 anew
    /// (tck-id-topics-nbirth-seq-num). What waits is forgotten: no data may come before
    /// (tck-id-operational-behavior-data-commands-rebirth-action-1), so it is to be taken again as history.
    pub fn births(&mut self, image: &Store, now: Timestamp, out: &mut Vec<Message>) {
        self.pending.clear();
        self.cells.forget();
        self.seq = 0;
        let directory = self.directory.clone();
        self.lay_out();
        let mut own = vec![
            self.bd_seq_metric(now),
            // tck-id-topics-nbirth-rebirth-metric; it has no alias.
            Metric::own(REBIRTH, BOOLEAN, Raw::Bool(false), now),
        ];
        own.extend(self.controls.iter().map(|c| Metric::own(c.metric(), BOOLEAN, Raw::Bool(false), now)));
        own.extend(self.definitions(now));
        let defined = own.iter().map(Metric::size).sum::<usize>();
        for device in directory.devices().iter().filter(|d| d.is_node) {
            let metrics: Vec<_> =
                self.birth_metrics(device.id, 1, image, now).into_iter().flatten().collect();
            let size = metrics.iter().map(Metric::size).sum::<usize>();
            let fits = size + defined + ENVELOPE * 2 <= self.limit;
            self.set(device.id, if fits { Status::Born } else { Status::TooLarge });
            if fits {
                own.extend(metrics);
            } else {
                tracing::error!(
                    bytes = size,
                    limit = self.limit,
                    "the NBIRTH is larger than `max-packet`; the gateway's own metrics are left out"
                );
            }
        }
        in_order_of_time(&mut own);
        let topic = self.topics.node("NBIRTH");
        let message = self.message(topic, own, Kind::Birth, now);
        out.push(message);
        for device in directory.devices().iter().filter(|d| !d.is_node) {
            self.set(device.id, Status::Unborn);
            if image.device_state(device.id) == DeviceState::Alive {
                self.bear(device.id, image, now, out);
            }
        }
    }

    /// DBIRTH; after it the device is born, unless it does not fit.
    pub(super) fn bear(&mut self, id: DeviceId, image: &Store, now: Timestamp, out: &mut Vec<Message>) {
        let directory = self.directory.clone();
        let Some(device) = directory.device(id) else { return };
        self.flush(now, out);
        let names = self.layout.names(device);
        let parts = self.birth_metrics(id, names.len(), image, now);
        let topics: Vec<_> = names.iter().map(|name| self.topics.device("DBIRTH", name)).collect();
        for (topic, metrics) in topics.iter().zip(&parts) {
            let size = metrics.iter().map(Metric::size).sum::<usize>() + ENVELOPE + topic.len();
            if size > self.limit {
                tracing::error!(
                    device = %device.name, bytes = size, limit = self.limit,
                    "a single metric is larger than a packet may be: the device is not published; raise `max-packet`"
                );
                self.set(id, Status::TooLarge);
                return;
            }
        }
        self.set(id, Status::Born);
        for (topic, metrics) in topics.into_iter().zip(parts) {
            let message = self.message(topic, metrics, Kind::Birth, now);
            out.push(message);
        }
    }

    /// Where each metric goes; said when it is not as before.
    pub(super) fn lay_out(&mut self) {
        let layout = Layout::of(&self.directory, self.limit, self.form);
        if layout != self.layout {
            for (device, names) in layout.splits(&self.directory) {
                tracing::warn!(
                    device = %device.name, published_as = names.join(", "), limit = self.limit,
                    "its DBIRTH may become larger than a packet may be, so it is published as several devices; raise \
                     `max-packet`, if the broker allows it, or split the device"
                );
            }
            let instances =
                self.directory.devices().iter().filter(|d| self.directory.template(d.id).is_some());
            for device in instances.filter(|d| self.form.templates && layout.template(d.id).is_none()) {
                tracing::warn!(
                    device = %device.name, limit = self.limit,
                    "as an instance of its template it has no room in a packet, so its tags are published one by one"
                );
            }
            self.layout = layout;
        }
    }

    /// All that is known of a device, for each of its parts.
    fn birth_metrics(
        &mut self,
        device: DeviceId,
        parts: usize,
        image: &Store,
        now: Timestamp,
    ) -> Vec<Vec<Metric>> {
        let directory = self.directory.clone();
        let mut parts = vec![Vec::new(); parts];
        let mut put = |part: u16, metric| {
            if let Some(metrics) = parts.get_mut(usize::from(part)) {
                metrics.push(metric);
            }
        };
        let mut members = Vec::new();
        for tag in directory.tags_of(device) {
            let known = image.latest(tag.id);
            let born = known.as_ref().map_or(Timestamp(i64::MIN), |s| s.at);
            let sample = known.unwrap_or_else(|| Sample::bad(tag.id, Bad::Waiting, now));
            let (good, timed) = (sample.quality == Quality::Good, sample.stamp.is_synchronised());
            self.metrics.insert(tag.id, State { born, live: born, good, timed, told_in: 0 });
            let metric = Metric::birth(tag, alias(tag.id), &sample, self.form.properties)
                .labelled(directory.labels(tag.id).map(|labels| &**labels), self.form.properties);
            if self.layout.is_member(tag.id) {
                members.push(Metric { alias: None, ..metric });
            } else {
                put(self.layout.part(tag.id), metric);
            }
            self.cells.heard(&sample);
        }
        if let Some(template) = self.layout.template(device) {
            let plate = directory.plate(device).cloned().unwrap_or_default();
            put(0, shapes::birth_of_instance(template, &plate, device, members, now));
        }
        for (place, table) in directory.tables().iter().enumerate().filter(|(_, t)| t.device == device) {
            put(self.layout.table_part(place), self.table_metric(place, table, true));
        }
        for metric in self.identity(device, image, now) {
            put(self.layout.identity_part(device), metric);
        }
        for metrics in &mut parts {
            in_order_of_time(metrics);
        }
        parts
    }

    /// Data with who the device is, where that is not what was said of it.
    pub(super) fn tell_identity(&mut self, device: DeviceId, image: &Store, now: Timestamp) {
        let known = image.identity(device).map(|known| known.identity);
        if known.is_some() && self.devices.get(&device).is_some_and(|d| d.identity != known) {
            let metrics = self.identity(device, image, now);
            // As with tags: data have the alias only (tck-id-payloads-alias-data-cmd-requirement).
            self.queue(
                device,
                self.layout.identity_part(device),
                false,
                metrics.into_iter().map(|m| Metric { name: None, datatype: None, ..m }),
            );
        }
    }

    /// The metrics of who a device is, from now on said: null what is not known. None where it is not asked.
    fn identity(&mut self, id: DeviceId, image: &Store, now: Timestamp) -> Vec<Metric> {
        let known = image.identity(id);
        let at = known.as_ref().map_or(now, |known| known.at);
        let identity = known.map(|known| known.identity);
        if let Some(device) = self.devices.get_mut(&id) {
            device.identity = identity.clone();
        }
        if !self.directory.plate(id).is_some_and(|plate| plate.is_asked) {
            return Vec::new();
        }
        // A tag of that name is what the file wants.
        let is_free = |name: &str| !self.directory.tags_of(id).any(|tag| &*tag.name == name);
        identity_texts(&identity.unwrap_or_default())
            .into_iter()
            .enumerate()
            .map(|(i, (name, value))| (identity_alias(id, i), format!("Properties/{name}"), value))
            .filter(|(_, name, _)| is_free(name))
            .map(|(alias, name, value)| {
                let told = Metric::own(&name, STRING, value.clone().map(Raw::Text), at);
                Metric { alias: Some(alias), ..told }
            })
            .collect()
    }

    pub(super) fn bd_seq_metric(&self, now: Timestamp) -> Metric {
        Metric::own("bdSeq", INT64, Raw::Long(u64::from(self.bd_seq)), now)
    }
}

/// tck-id-operational-behavior-data-publish-nbirth-order, -dbirth-order.
fn in_order_of_time(metrics: &mut [Metric]) {
    metrics.sort_by_key(|m| m.timestamp);
}

/// What a device says of itself, by the names of the metrics.
fn identity_texts(identity: &Identity) -> [(&'static str, &Option<String>); 8] {
    let Identity {
        vendor,
        product_code,
        revision,
        vendor_url,
        product_name,
        model,
        application,
        server_id,
        running: _,
    } = identity;
    [
        ("Manufacturer", vendor),
        ("Product Code", product_code),
        ("Revision", revision),
        ("Manufacturer URL", vendor_url),
        ("Product Name", product_name),
        ("Model", model),
        ("Application", application),
        ("Server ID", server_id),
    ]
}

/// What the eight texts take at most, of 200 characters each (`Identity::text`).
pub(super) const IDENTITY_BYTES: usize = 8 * (200 * 4 + 64);

/// Above those of all tags; there are eight texts of each device.
pub(super) fn identity_alias(device: DeviceId, text: usize) -> u64 {
    (1 << 32) + u64::from(device.0) * 8 + 1 + text as u64
}
