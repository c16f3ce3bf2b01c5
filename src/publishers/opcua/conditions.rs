//! From the samples of alarm tags to conditions of OPC UA (OPC 10000-9): pure.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::status::{self, Status};
use crate::model::{Alarm, Directory, Level, Sample, TagId, Timestamp, Value};

/// A notification's number: no two events of a server have the same.
pub(super) type EventId = [u8; 16];

/// All conditions of a server.
#[derive(Debug)]
pub(super) struct Conditions {
    all: Vec<Condition>,
    /// Alarm tag → its condition.
    places: HashMap<TagId, usize>,
    /// Different in each run.
    run: u64,
    events: u64,
}

/// The alarm of one tag as OPC UA sees it.
#[derive(Debug, Clone)]
pub(super) struct Condition {
    pub(super) alarm: Arc<Alarm>,
    /// Name of the device, of the tag in it, and its unit.
    pub(super) device: Arc<str>,
    pub(super) name: Arc<str>,
    unit: Option<Arc<str>>,
    /// As the latest samples have it; an event is due where it differs from what was told.
    seen: State,
    told: Option<State>,
    /// What the latest event said.
    pub(super) event: EventId,
    pub(super) level: Level,
    pub(super) acked: bool,
    pub(super) status: Status,
    pub(super) message: String,
    pub(super) time: Timestamp,
    /// When it was raised or returned to normal last.
    pub(super) turned: Timestamp,
    pub(super) acked_at: Timestamp,
    pub(super) severity: (u16, Timestamp),
    pub(super) last_severity: (u16, Timestamp),
    pub(super) status_at: Timestamp,
    pub(super) comment: Comment,
    /// Events that may be acknowledged: what is worse since needs to be seen anew.
    open: VecDeque<EventId>,
}

/// What somebody said of it last.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Comment {
    pub(super) text: String,
    pub(super) locale: String,
    pub(super) by: String,
    pub(super) at: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct State {
    level: Option<Level>,
    acked: Option<bool>,
    is_kept: bool,
    at: Timestamp,
}

impl Condition {
    /// Nothing is known of it yet; `None` where its tag is not there.
    fn new(directory: &Directory, alarm: &Arc<Alarm>) -> Option<Condition> {
        let source = directory.tag(alarm.source)?;
        Some(Condition {
            device: directory.device(source.device)?.name.clone(),
            name: source.name.clone(),
            unit: source.unit.clone(),
            alarm: alarm.clone(),
            seen: State::default(),
            told: None,
            event: [0; 16],
            level: Level::Normal,
            acked: true,
            status: Status::BAD_WAITING_FOR_INITIAL_DATA,
            message: String::new(),
            time: Timestamp::default(),
            turned: Timestamp::default(),
            acked_at: Timestamp::default(),
            severity: (alarm.priority.severity(Level::Normal), Timestamp::default()),
            last_severity: (alarm.priority.severity(Level::Normal), Timestamp::default()),
            status_at: Timestamp::default(),
            comment: Comment::default(),
            open: VecDeque::new(),
        })
    }

    /// Whether a client that asks what is of interest now is to be told of it.
    pub(super) fn is_retained(&self) -> bool {
        self.level.is_active() || !self.acked
    }

    /// Whether this is an event that can be acknowledged, and has not been. OPC 10000-9 §5.7.3.
    pub(super) fn may_acknowledge(&self, event: &[u8]) -> Result<(), Status> {
        if !self.open.iter().any(|open| open == event) {
            return Err(Status::BAD_EVENT_ID_UNKNOWN);
        }
        if self.acked { Err(Status::BAD_CONDITION_BRANCH_ALREADY_ACKED) } else { Ok(()) }
    }

    /// Whether this is an event of it that somebody may still speak of.
    pub(super) fn knows(&self, event: &[u8]) -> bool {
        self.event == event || self.open.iter().any(|open| open == event)
    }

    fn says(&self, value: Option<&Value>) -> String {
        let what = self.alarm.message.as_ref().unwrap_or(&self.alarm.path);
        let value = value.map(|value| match &self.unit {
            Some(unit) => format!(" ({value} {unit})"),
            None => format!(" ({value})"),
        });
        format!("{what}: {}{}", self.level.name(), value.unwrap_or_default())
    }
}

impl Conditions {
    /// Events of one alarm that can be acknowledged; a client that is further behind asks for a refresh.
    const OPEN: usize = 16;

    /// `run`: different in each run.
    pub(super) fn new(directory: &Directory, run: u64) -> Conditions {
        let mut conditions = Conditions { all: Vec::new(), places: HashMap::new(), run, events: 0 };
        conditions.follow(directory);
        conditions
    }

    /// Those of another configuration: one whose alarm is the same stays as it stands. Gives those of before, and of
    /// them those that are gone while they are of interest, as they are told last.
    pub(super) fn follow(&mut self, directory: &Directory) -> (Vec<Condition>, Vec<Condition>) {
        let before = std::mem::take(&mut self.all);
        let of_now = |alarm: &Arc<Alarm>| {
            let fresh = Condition::new(directory, alarm)?;
            let same = |one: &&Condition| {
                (&one.alarm, &one.device, &one.name, &one.unit)
                    == (&fresh.alarm, &fresh.device, &fresh.name, &fresh.unit)
            };
            Some(before.iter().find(same).cloned().unwrap_or(fresh))
        };
        self.all = directory.alarms().iter().filter_map(of_now).collect();
        let tags = |(at, one): (usize, &Condition)| {
            [one.alarm.state, one.alarm.active, one.alarm.acked].map(|tag| (tag, at))
        };
        self.places = self.all.iter().enumerate().flat_map(tags).collect();
        let is_gone = |one: &&Condition| !self.all.iter().any(|now| now.alarm == one.alarm);
        let gone: Vec<_> = before.iter().filter(is_gone).filter(|one| one.is_retained()).cloned().collect();
        let last = |one: Condition| Condition {
            event: self.next_event(),
            level: Level::Normal,
            acked: true,
            message: format!("{}: the alarm is no longer configured", one.alarm.path),
            ..one
        };
        let gone = gone.into_iter().map(last).collect();
        (before, gone)
    }

    pub(super) fn all(&self) -> &[Condition] {
        &self.all
    }

    pub(super) fn get(&self, at: usize) -> Option<&Condition> {
        self.all.get(at)
    }

    /// Takes a sample. The condition that [`Conditions::turn`] is to look at, once all samples of the batch are
    /// taken; `None` where it is no alarm's.
    pub(super) fn take(&mut self, sample: &Sample) -> Option<usize> {
        let at = *self.places.get(&sample.tag)?;
        let one = self.all.get_mut(at)?;
        match &sample.value {
            Some(Value::Text(word)) if sample.tag == one.alarm.state => {
                one.seen.level = Level::from_name(word);
            }
            Some(Value::Bool(acked)) if sample.tag == one.alarm.acked => one.seen.acked = Some(*acked),
            _ => {}
        }
        // Bad is an alarm of which nothing is known, or whose link is stopped.
        one.seen.is_kept = !sample.quality.is_good();
        one.seen.at = sample.at;
        Some(at)
    }

    /// What the samples made of a condition; `source` is the latest sample of its tag. Whether an event is due.
    pub(super) fn turn(&mut self, at: usize, source: Option<&Sample>) -> bool {
        let event = self.next_event();
        let Some(one) = self.all.get_mut(at) else { return false };
        let (Some(level), Some(acked)) = (one.seen.level, one.seen.acked) else { return false };
        let now = one.seen;
        let status = match (now.is_kept, source.map(|source| source.quality)) {
            (false, _) => Status::GOOD,
            (true, Some(quality)) if !quality.is_good() => status::of_quality(quality),
            (true, _) => Status::UNCERTAIN_LAST_USABLE_VALUE,
        };
        let turned = one.told.is_none() || one.level != level;
        let same = !turned && one.acked == acked && one.status == status;
        if same {
            return false;
        }
        let first = one.told.replace(now).is_none();
        let was_retained = one.is_retained();
        if one.acked != acked || first {
            one.acked_at = now.at;
        }
        if one.status != status {
            (one.status, one.status_at) = (status, now.at);
        }
        if turned {
            if level.is_active() != one.level.is_active() || first {
                one.turned = now.at;
            }
            if level.is_worse_than(one.level) {
                one.open.clear();
            }
            // What is over stays as urgent as it was.
            let severity =
                if level.is_active() { one.alarm.priority.severity(level) } else { one.severity.0 };
            if severity != one.severity.0 {
                one.last_severity = (one.severity.0, now.at);
                one.severity = (severity, now.at);
            }
        }
        (one.level, one.acked, one.time) = (level, acked, now.at);
        let value = source.filter(|source| !source.quality.is_bad()).and_then(|source| source.value.as_ref());
        one.message = one.says(value);
        self.told(at, event);
        // That nothing is wrong at the start is no event.
        self.all.get(at).is_some_and(|one| one.is_retained() || (was_retained && !first))
    }

    /// Somebody says something of it. OPC 10000-9 §5.5.6: an event is due.
    pub(super) fn comment(&mut self, at: usize, comment: Comment, tell: bool) {
        let event = self.next_event();
        let Some(one) = self.all.get_mut(at) else { return };
        // An empty text leaves the comment as it is.
        if !comment.text.is_empty() {
            one.comment = comment;
        } else {
            one.comment.by = comment.by;
        }
        if tell {
            one.time = one.comment.at.max(one.time);
            self.told(at, event);
        }
    }

    /// Puts the comment back that was there before.
    pub(super) fn take_back(&mut self, at: usize, before: Comment) {
        if let Some(one) = self.all.get_mut(at) {
            one.comment = before;
        }
    }

    /// A number for an event that is no condition's.
    pub(super) fn next_event(&mut self) -> EventId {
        self.events += 1;
        let mut id = [0; 16];
        let (run, number) = id.split_at_mut(8);
        run.copy_from_slice(&self.run.to_be_bytes());
        number.copy_from_slice(&self.events.to_be_bytes());
        id
    }

    fn told(&mut self, at: usize, event: EventId) {
        let Some(one) = self.all.get_mut(at) else { return };
        one.event = event;
        if one.acked {
            // Late clients are told that it is done already, not that there is no such event.
            return;
        }
        one.open.push_back(event);
        if one.open.len() > Self::OPEN {
            one.open.pop_front();
        }
    }
}

impl Comment {
    /// As a client gives it; a text without end is cut.
    pub(super) fn new(text: &str, locale: &str, by: &str, at: Timestamp) -> Comment {
        let cut = |text: &str, most: usize| text.chars().take(most).collect::<String>();
        Comment { text: cut(text, 1000), locale: cut(locale, 32), by: by.to_owned(), at }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::{Bad, DataType, Device, DeviceId, Limits, Priority, Quality, Tag, Trigger, Uncertain};

    fn kept() -> Quality {
        Quality::Uncertain(Uncertain::LastKnown)
    }

    fn conditions() -> Conditions {
        let device = Device::plain(DeviceId(0), "pump", "net");
        let tag = Tag {
            unit: Some("bar".into()),
            ..Tag::plain(TagId(0), DeviceId(0), "pump/pressure", DataType::F64)
        };
        let alarm = Alarm {
            source: TagId(0),
            path: "pump/pressure".into(),
            state: TagId(1),
            active: TagId(2),
            acked: TagId(3),
            trigger: Trigger::Limits(Limits { hi: Some(8.0), hihi: Some(9.0), ..Limits::default() }),
            on_delay: Duration::ZERO,
            off_delay: Duration::ZERO,
            priority: Priority::High,
            message: None,
        };
        let directory = Directory::new("g", "n", vec![device], vec![tag]).with_alarms(vec![Arc::new(alarm)]);
        Conditions::new(&directory, 7)
    }

    fn told(all: &mut Conditions, second: i64, level: &str, acked: bool, quality: Quality) -> bool {
        let at = Timestamp(second * 1_000_000);
        let sample = |tag, value| Sample { quality, ..Sample::good(TagId(tag), value, at) };
        all.take(&sample(1, Value::Text(level.into())));
        let place = all.take(&sample(3, Value::Bool(acked))).unwrap();
        let source = match quality {
            Quality::Good => Sample::good(TagId(0), Value::F64(8.5), at),
            _ => Sample::bad(TagId(0), Bad::NoAnswer, at),
        };
        all.turn(place, Some(&source))
    }

    #[test]
    fn an_event_is_due_when_it_is_raised_acknowledged_or_over_and_not_for_a_plant_that_is_well() {
        let mut all = conditions();
        assert!(!told(&mut all, 0, "normal", true, Quality::Good));
        assert!(told(&mut all, 1, "hi", false, Quality::Good));
        let first = all.all()[0].clone();
        assert_eq!(first.message, "pump/pressure: hi (8.5 bar)");
        assert_eq!((first.severity.0, first.is_retained()), (700, true));
        assert!(!told(&mut all, 1, "hi", false, Quality::Good), "the same again");
        assert!(told(&mut all, 2, "hi", true, Quality::Good));
        assert!(told(&mut all, 3, "normal", true, Quality::Good), "the last one says that it is over");
        let last = &all.all()[0];
        assert!(!last.is_retained() && last.event != first.event);
        assert_eq!((last.turned.0, last.acked_at.0), (3_000_000, 2_000_000));
    }

    #[test]
    fn a_device_that_dies_is_told_by_the_quality_and_the_state_is_kept() {
        let mut all = conditions();
        told(&mut all, 0, "hi", true, Quality::Good);
        assert!(told(&mut all, 1, "hi", true, kept()));
        let one = &all.all()[0];
        assert_eq!((one.level, one.status, one.status_at.0), (Level::Hi, Status::BAD_TIMEOUT, 1_000_000));
    }

    #[test]
    fn only_what_was_told_since_it_got_worse_can_be_acknowledged() {
        let mut all = conditions();
        told(&mut all, 0, "hi", false, Quality::Good);
        let hi = all.all()[0].event;
        assert_eq!(all.all()[0].may_acknowledge(&hi), Ok(()));
        assert_eq!(all.all()[0].may_acknowledge(&[1; 16]), Err(Status::BAD_EVENT_ID_UNKNOWN));
        told(&mut all, 1, "hihi", false, Quality::Good);
        let one = &all.all()[0];
        assert_eq!(one.may_acknowledge(&hi), Err(Status::BAD_EVENT_ID_UNKNOWN));
        assert_eq!((one.severity.0, one.last_severity.0), (800, 700));
        let hihi = one.event;
        told(&mut all, 2, "hi", false, Quality::Good);
        assert_eq!(all.all()[0].may_acknowledge(&hihi), Ok(()), "it came down only");
        told(&mut all, 3, "hi", true, Quality::Good);
        let done = all.all()[0].may_acknowledge(&hihi);
        assert_eq!(done, Err(Status::BAD_CONDITION_BRANCH_ALREADY_ACKED));
    }

    #[test]
    fn the_events_that_can_be_acknowledged_have_an_end() {
        let mut all = conditions();
        told(&mut all, 0, "hi", false, Quality::Good);
        for _ in 0..100 {
            all.comment(0, Comment::new("again", "en", "op", Timestamp(1)), true);
        }
        let one = &all.all()[0];
        assert_eq!((one.open.len(), one.comment.text.as_str()), (Conditions::OPEN, "again"));
        all.comment(0, Comment::new("", "", "other", Timestamp(2)), true);
        assert_eq!(all.all()[0].comment.text, "again", "an empty comment leaves it");
        assert_eq!(Comment::new(&"x".repeat(5000), "", "op", Timestamp(0)).text.len(), 1000);
    }
}
