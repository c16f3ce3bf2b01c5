//! The gate: the one way from the north to a device.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;

use crate::model::{Access, DataType, Fault, TagId, Value};

/// Who asks for a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The publisher's name.
    pub publisher: String,
    /// The user or client, where the protocol tells.
    pub who: String,
}

/// Why a write was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such tag.
    #[error("no such tag")]
    UnknownTag,
    /// The tag has no `access = "read-write"` or `"write-only"`.
    #[error("the tag is read-only")]
    ReadOnly,
    /// The value is not of the tag's type.
    #[error("the value does not fit the tag's type")]
    WrongType,
    /// Outside `low` … `high` or of what the registers can hold.
    #[error("the value is out of range")]
    OutOfRange,
    /// More writes than [`Gate::MOST_A_SECOND`] allows, a full mailbox, or a restart too soon after the last.
    #[error("too often")]
    TooOften,
    /// The origin may not write.
    #[error("not allowed")]
    NotAllowed,
    /// The link is stopped or restarting.
    #[error("the link is down")]
    LinkDown,
    /// The device did not take it.
    #[error("the device did not take it: {0}")]
    Fault(Fault),
}

/// What became of a write. `Ok`: the device answered that it took it.
pub type WriteOutcome = Result<(), Refusal>;

/// A write on its way to a link's task.
#[derive(Debug)]
pub struct Write {
    /// Which tag.
    pub tag: TagId,
    /// The value, already of the tag's type and within its limits.
    pub value: Value,
    /// Where the outcome goes.
    pub reply: oneshot::Sender<WriteOutcome>,
}

/// What the gate knows of one tag.
#[derive(Debug, Clone)]
pub struct WriteRule {
    /// `device/tag`, for the audit.
    pub path: Arc<str>,
    /// The type of the values as they go north.
    pub kind: DataType,
    /// Whether anybody may write.
    pub access: Access,
    /// Lower limit.
    pub low: Option<f64>,
    /// Upper limit.
    pub high: Option<f64>,
    /// The mailbox of the tag's link.
    pub mailbox: mpsc::Sender<Write>,
}

/// The gate. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Gate(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    rules: RwLock<HashMap<TagId, WriteRule>>,
    /// The tags that say whether an alarm is acknowledged.
    alarms: RwLock<HashMap<TagId, WriteRule>>,
    /// When the present second of a tag began, and how often it was written in it.
    recent: Mutex<HashMap<TagId, (Instant, u32)>>,
    started: Instant,
    restart: Notify,
}

impl Default for Inner {
    fn default() -> Inner {
        Inner {
            rules: RwLock::default(),
            alarms: RwLock::default(),
            recent: Mutex::default(),
            started: Instant::now(),
            restart: Notify::new(),
        }
    }
}

impl Gate {
    /// Writes of one tag in a second: a pulse or a hand on a slider passes, a runaway program does not wear out
    /// a device's memory.
    pub const MOST_A_SECOND: u32 = 20;

    /// A restart may be asked for so long after the start: a host that asks on and on does not keep the gateway down.
    pub const RESTART_AFTER: Duration = Duration::from_secs(10);

    /// Asks for an orderly restart of the gateway's program. One audit event a call.
    pub fn restart(&self, origin: &Origin) -> Result<(), Refusal> {
        let (publisher, who) = (&origin.publisher, &origin.who);
        if self.0.started.elapsed() < Self::RESTART_AFTER {
            let refusal = Refusal::TooOften;
            tracing::warn!(target: "audit", publisher, who, %refusal, "restart refused: just started");
            return Err(refusal);
        }
        tracing::warn!(target: "audit", publisher, who, "restart asked for");
        self.0.restart.notify_one();
        Ok(())
    }

    /// Waits until a restart is asked for; for the one that can do it.
    pub async fn restart_is_asked(&self) {
        self.0.restart.notified().await;
    }

    /// Replaces all rules.
    pub fn load(&self, rules: HashMap<TagId, WriteRule>) {
        *self.0.rules.write().unwrap_or_else(|e| e.into_inner()) = rules;
    }

    /// Replaces what can be acknowledged: the tags that say whether an alarm is, which need not be writable.
    pub fn load_alarms(&self, alarms: HashMap<TagId, WriteRule>) {
        *self.0.alarms.write().unwrap_or_else(|e| e.into_inner()) = alarms;
    }

    /// Acknowledges an alarm, by the tag that says whether it is. One audit event a call. Whether the origin may
    /// is for the publisher to know, as with writes.
    pub async fn acknowledge(&self, tag: TagId, origin: &Origin) -> WriteOutcome {
        let rule = self.0.alarms.read().unwrap_or_else(|e| e.into_inner()).get(&tag).cloned();
        let Some(rule) = rule else { return Err(Refusal::UnknownTag) };
        let outcome = match self.too_often(tag) {
            false => hand_over(&rule, tag, Value::Bool(true)).await,
            true => Err(Refusal::TooOften),
        };
        let (publisher, who) = (&origin.publisher, &origin.who);
        match outcome {
            Ok(()) => tracing::info!(target: "audit", tag = %rule.path, publisher, who, "alarm acknowledged"),
            Err(refusal) => {
                tracing::warn!(target: "audit", tag = %rule.path, publisher, who, %refusal, "acknowledging refused");
            }
        }
        outcome
    }

    /// Writes a tag and waits for the device's answer. One audit event a call.
    pub async fn write(&self, tag: TagId, value: Value, origin: &Origin) -> WriteOutcome {
        let (path, outcome) = self.try_write(tag, &value, origin).await;
        match outcome {
            Ok(()) => {
                tracing::info!(target: "audit", tag = %path, %value, publisher = origin.publisher, who = origin.who, "written");
            }
            Err(refusal) => {
                tracing::warn!(target: "audit", tag = %path, %value, publisher = origin.publisher, who = origin.who, %refusal, "write refused");
            }
        }
        outcome
    }

    async fn try_write(&self, tag: TagId, value: &Value, _origin: &Origin) -> (Arc<str>, WriteOutcome) {
        let rule = {
            let rules = self.0.rules.read().unwrap_or_else(|e| e.into_inner());
            match rules.get(&tag) {
                Some(rule) => rule.clone(),
                None => return (format!("#{}", tag.0).into(), Err(Refusal::UnknownTag)),
            }
        };
        let outcome = self.checked(tag, value, &rule);
        let value = match outcome {
            Ok(value) => value,
            Err(refusal) => return (rule.path, Err(refusal)),
        };
        let outcome = hand_over(&rule, tag, value).await;
        (rule.path, outcome)
    }

    fn checked(&self, tag: TagId, value: &Value, rule: &WriteRule) -> Result<Value, Refusal> {
        if !rule.access.is_writable() {
            return Err(Refusal::ReadOnly);
        }
        let kind = value.data_type();
        let same_family = match rule.kind.element() {
            element @ (DataType::Bool | DataType::Text) => kind.element() == element,
            _ => kind.is_number(),
        };
        // An array is written as a whole.
        if !same_family || kind.length() != rule.kind.length() {
            return Err(Refusal::WrongType);
        }
        let fits = |number: f64| {
            let below = rule.low.is_some_and(|low| number < low);
            let above = rule.high.is_some_and(|high| number > high);
            number.is_finite() && !below && !above
        };
        if !value.elements().filter_map(|element| element.as_f64()).all(fits) {
            return Err(Refusal::OutOfRange);
        }
        let value = value.coerce(rule.kind).ok_or(Refusal::OutOfRange)?;
        if self.too_often(tag) { Err(Refusal::TooOften) } else { Ok(value) }
    }

    /// Counts one more; whether it is too many.
    fn too_often(&self, tag: TagId) -> bool {
        let mut recent = self.0.recent.lock().unwrap_or_else(|e| e.into_inner());
        let now = Instant::now();
        let (since, count) = recent.entry(tag).or_insert((now, 0));
        if now - *since >= Duration::from_secs(1) {
            (*since, *count) = (now, 0);
        }
        if *count >= Self::MOST_A_SECOND {
            return true;
        }
        *count += 1;
        false
    }
}

/// To the tag's link, and waits for what became of it.
async fn hand_over(rule: &WriteRule, tag: TagId, value: Value) -> WriteOutcome {
    let (reply, answer) = oneshot::channel();
    match rule.mailbox.try_send(Write { tag, value, reply }) {
        Err(mpsc::error::TrySendError::Full(_)) => Err(Refusal::TooOften),
        Err(mpsc::error::TrySendError::Closed(_)) => Err(Refusal::LinkDown),
        Ok(()) => answer.await.unwrap_or(Err(Refusal::LinkDown)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(access: Access) -> (Gate, mpsc::Receiver<Write>) {
        let (mailbox, inbox) = mpsc::channel(4);
        let rule = WriteRule {
            path: "pump-1/speed".into(),
            kind: DataType::U16,
            access,
            low: Some(0.0),
            high: Some(50.0),
            mailbox,
        };
        let gate = Gate::default();
        gate.load(HashMap::from([(TagId(1), rule)]));
        (gate, inbox)
    }

    fn origin() -> Origin {
        Origin { publisher: "test".into(), who: String::new() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_is_refused_before_it_reaches_the_link() {
        let (gate, mut inbox) = gate(Access::ReadWrite);
        let ask = async |tag, value| gate.write(TagId(tag), value, &origin()).await;
        assert_eq!(ask(2, Value::U16(1)).await, Err(Refusal::UnknownTag));
        assert_eq!(ask(1, Value::Bool(true)).await, Err(Refusal::WrongType));
        assert_eq!(ask(1, Value::U16(51)).await, Err(Refusal::OutOfRange));
        assert_eq!(ask(1, Value::F64(f64::NAN)).await, Err(Refusal::OutOfRange));
        assert_eq!(ask(1, Value::F64(1.5)).await, Err(Refusal::OutOfRange));
        assert!(inbox.try_recv().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_tag_without_read_write_is_never_written() {
        let (gate, mut inbox) = gate(Access::Read);
        assert_eq!(gate.write(TagId(1), Value::U16(1), &origin()).await, Err(Refusal::ReadOnly));
        assert!(inbox.try_recv().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_tag_that_is_never_read_is_written_within_its_limits() {
        let (gate, mut inbox) = gate(Access::WriteOnly);
        assert_eq!(gate.write(TagId(1), Value::U16(51), &origin()).await, Err(Refusal::OutOfRange));
        let device = tokio::spawn(async move { inbox.recv().await.unwrap().reply.send(Ok(())).unwrap() });
        assert_eq!(gate.write(TagId(1), Value::U16(50), &origin()).await, Ok(()));
        device.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_waits_for_the_device_and_a_flood_of_them_is_refused() {
        let (gate, mut inbox) = gate(Access::ReadWrite);
        let device = tokio::spawn(async move {
            let write = inbox.recv().await.unwrap();
            assert_eq!(write.value, Value::U16(7));
            write.reply.send(Err(Refusal::Fault(Fault::Refused(2)))).unwrap();
            inbox
        });
        let outcome = gate.write(TagId(1), Value::I64(7), &origin()).await;
        assert_eq!(outcome, Err(Refusal::Fault(Fault::Refused(2))));
        drop(device.await.unwrap());
        for _ in 1..Gate::MOST_A_SECOND {
            assert_eq!(gate.write(TagId(1), Value::U16(8), &origin()).await, Err(Refusal::LinkDown));
        }
        assert_eq!(gate.write(TagId(1), Value::U16(8), &origin()).await, Err(Refusal::TooOften));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(gate.write(TagId(1), Value::U16(8), &origin()).await, Err(Refusal::LinkDown));
    }
}
