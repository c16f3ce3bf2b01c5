//! The primary host: what a STATE message says, and whether it is new enough. Pure, for any bytes that come.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which form of STATE the host speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[schemars(inline)]
pub enum Form {
    /// `spBv1.0/STATE/ID`, JSON with `online` and `timestamp` (Sparkplug 3.0,
    /// tck-id-payloads-state-birth-payload).
    #[default]
    #[serde(rename = "3.0")]
    V3,
    /// `STATE/ID`, the text ONLINE or OFFLINE (Sparkplug 2.2).
    #[serde(rename = "2.2")]
    V2,
}

/// The host that the node waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrimaryHost {
    /// Its id, as in its topic.
    pub id: String,
    /// How it tells its state.
    pub form: Form,
}

/// What a STATE message says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    /// Whether the host is there.
    pub online: bool,
    /// When it said so, milliseconds since 1970; 2.2 has none.
    pub at: Option<u64>,
}

/// What a STATE message means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// The host is there.
    Online,
    /// The host is away.
    Offline,
    /// Older than what was told before: it changes nothing.
    Older,
    /// No STATE message.
    Garbage,
}

/// Larger payloads are garbage unread: a STATE has some fifty bytes.
pub const MAX_BYTES: usize = 4096;

impl PrimaryHost {
    /// Where it tells its state. The id is the last part (tck-id-message-flow-edge-node-birth-publish-phid-wait-id).
    pub fn topic(&self) -> Arc<str> {
        match self.form {
            Form::V3 => format!("spBv1.0/STATE/{}", self.id).into(),
            Form::V2 => format!("STATE/{}", self.id).into(),
        }
    }
}

/// Reads a STATE payload; `None` where it is none.
pub fn read(form: Form, bytes: &[u8]) -> Option<State> {
    if bytes.len() > MAX_BYTES {
        return None;
    }
    match form {
        Form::V2 => match bytes {
            b"ONLINE" => Some(State { online: true, at: None }),
            b"OFFLINE" => Some(State { online: false, at: None }),
            _ => None,
        },
        Form::V3 => {
            // Other keys are for others: a later version may add some.
            #[derive(Deserialize)]
            struct Payload {
                online: bool,
                timestamp: serde_json::Number,
            }
            let payload: Payload = serde_json::from_slice(bytes).ok()?;
            Some(State { online: payload.online, at: Some(millis(&payload.timestamp)?) })
        }
    }
}

/// "A number": some hosts write it with a fraction or an exponent.
fn millis(number: &serde_json::Number) -> Option<u64> {
    let whole = |float: f64| (float >= 0.0 && float < u64::MAX as f64).then_some(float as u64);
    number.as_u64().or_else(|| number.as_f64().and_then(whole))
}

/// The newest time stamp told at one broker. It outlives the connection and is never compared with that of another
/// broker, whose host may have connected earlier: that would strand the node at a fail-over.
#[derive(Debug, Clone, Copy, Default)]
pub struct Memory {
    newest: Option<u64>,
}

impl Memory {
    /// Takes a STATE message. One of the same time stamp is new enough: the host's death, sent by the broker, has
    /// that of its birth (tck-id-message-flow-edge-node-birth-publish-phid-wait-timestamp,
    /// tck-id-operational-behavior-edge-node-termination-host-offline-timestamp).
    pub fn take(&mut self, form: Form, bytes: &[u8]) -> Told {
        let Some(state) = read(form, bytes) else { return Told::Garbage };
        if state.at < self.newest {
            return Told::Older;
        }
        self.newest = state.at;
        if state.online { Told::Online } else { Told::Offline }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn v3(text: &str) -> Option<State> {
        read(Form::V3, text.as_bytes())
    }

    #[test]
    fn a_state_is_json_with_a_boolean_and_a_number() {
        let online = State { online: true, at: Some(1_668_114_759_262) };
        assert_eq!(v3(r#"{"online":true,"timestamp":1668114759262}"#), Some(online));
        assert_eq!(v3(" {\"timestamp\" : 1668114759262, \"online\" : true, \"more\" : [1]}\n"), Some(online));
        assert_eq!(v3(r#"{"online":true,"timestamp":1668114759262.5}"#), Some(online));
        assert_eq!(v3(r#"{"online":false,"timestamp":0}"#), Some(State { online: false, at: Some(0) }));
    }

    #[test]
    fn what_is_no_state_is_none() {
        for garbage in [
            "",
            "ONLINE",
            "true",
            "{}",
            r#"{"online":true}"#,
            r#"{"timestamp":1}"#,
            r#"{"online":"true","timestamp":1}"#,
            r#"{"online":1,"timestamp":1}"#,
            r#"{"online":null,"timestamp":1}"#,
            r#"{"online":true,"timestamp":"1"}"#,
            r#"{"online":true,"timestamp":-1}"#,
            r#"{"online":true,"timestamp":1e300}"#,
            r#"{"online":true,"timestamp":1,"online":false}"#,
            r#"{"online":true,"timestamp":1}}"#,
            r#"[{"online":true,"timestamp":1}]"#,
        ] {
            assert_eq!(v3(garbage), None, "{garbage}");
        }
        let long = format!(r#"{{"online":true,"timestamp":1,"x":"{}"}}"#, "x".repeat(MAX_BYTES));
        assert_eq!(v3(&long), None);
    }

    #[test]
    fn the_form_of_2_2_is_a_word() {
        let read = |text: &str| read(Form::V2, text.as_bytes()).map(|s| s.online);
        assert_eq!((read("ONLINE"), read("OFFLINE")), (Some(true), Some(false)));
        for garbage in ["", "online", "ONLINE ", r#"{"online":true,"timestamp":1}"#] {
            assert_eq!(read(garbage), None, "{garbage}");
        }
        let host = |form| PrimaryHost { id: "scada".into(), form }.topic();
        assert_eq!((&*host(Form::V2), &*host(Form::V3)), ("STATE/scada", "spBv1.0/STATE/scada"));
    }

    #[test]
    fn what_is_older_changes_nothing_and_what_is_as_old_is_new_enough() {
        let mut memory = Memory::default();
        let mut take = |online: bool, at: u64| {
            memory.take(Form::V3, format!(r#"{{"online":{online},"timestamp":{at}}}"#).as_bytes())
        };
        assert_eq!(take(true, 10), Told::Online);
        assert_eq!(take(false, 9), Told::Older);
        assert_eq!(take(false, 10), Told::Offline);
        assert_eq!(take(true, 9), Told::Older);
        assert_eq!(take(true, 11), Told::Online);
        assert_eq!(memory.take(Form::V3, b"junk"), Told::Garbage);
        // 2.2 has no time: the last word counts.
        let mut memory = Memory::default();
        assert_eq!(memory.take(Form::V2, b"ONLINE"), Told::Online);
        assert_eq!(memory.take(Form::V2, b"OFFLINE"), Told::Offline);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = (read(Form::V2, &bytes), read(Form::V3, &bytes));
        }
    }
}
