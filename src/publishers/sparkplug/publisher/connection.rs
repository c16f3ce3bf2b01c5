//! One connection to one broker, from CONNECT to its end.

use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::publishers::mqtt_wire::address::Address;
use crate::publishers::mqtt_wire::{Credentials, Down, Qos, Renewal, Watchdog, Wire};
use crate::publishers::publisher::Context;
use crate::publishers::sparkplug::config::Spec;
use crate::publishers::sparkplug::delivery::{Fence, Held};
use crate::publishers::sparkplug::session::Session;

use super::live::Live;
use super::primary::Primary;
use super::{End, Node, publish};

/// Connects, is born, serves, and says good-bye where it can.
pub(super) async fn run(
    spec: &Spec,
    broker: &Address,
    cx: &Context,
    node: &mut Node,
    was_born: &mut bool,
) -> End {
    // Before the bdSeq: a failure here burns none.
    let mut directories = cx.directory.clone();
    let directory = directories.news().unwrap_or_else(|| directories.now());
    let id = format!("{}-{}-{}", directory.group, directory.node, cx.name);
    let credentials = match Credentials::read(&spec.mqtt, broker, id).await {
        Ok(credentials) => credentials,
        Err(why) => return End::Lost(Down { why, connect_sent: false, closed: false }),
    };
    let used = credentials.used(cx);
    let session = Session::new(directory, node.bd_seq.next().await, spec.mqtt.max_packet);
    let mut session = session.allowing(&spec.allow).in_form(spec.form);
    let will = session.death(cx.clock.now());
    let will_bytes = will.bytes();
    // tck-id-payloads-ndeath-will-message-qos, -retain
    let will = Some(publish(will, Qos::AtLeastOnce));
    let vital = spec.primary_host.as_ref().map(|host| host.topic());
    let wire = tokio::select! {
        () = cx.stop.cancelled() => return End::Stopped,
        wire = Wire::open(&spec.mqtt, broker, credentials, will, vital, spec.ack_timeout, cx.stats.clone()) => match wire {
            Ok(wire) => wire,
            Err(down) => {
                if !down.connect_sent {
                    node.bd_seq.not_used();
                }
                return End::Lost(down);
            }
        },
    };
    cx.stats.connects.bump();
    session.limit_to(wire.limits.max_packet);
    let now = Instant::now();
    let primary = spec.primary_host.as_ref().zip(node.hosts.get_mut(node.walk.at()));
    let mut filters = vec![session.topics().node("NCMD"), session.topics().device("DCMD", "+")];
    filters.extend(spec.primary_host.as_ref().map(|host| host.topic()));
    let mut live = Live {
        spec,
        broker,
        cx,
        directories,
        reader: &mut node.reader,
        walk: &mut node.walk,
        window: &mut node.window,
        first_poll_until: node.first_poll_until,
        session,
        wire,
        filters,
        primary: primary.map(|(host, memory)| Primary::new(host, memory)),
        fence: Fence::default(),
        held: Held::default(),
        watchdog: Watchdog::new(spec.ack_timeout, spec.mqtt.keep_alive),
        out: Vec::new(),
        writes: JoinSet::new(),
        fences: 0,
        fence_raised: now,
        pings: 0,
        is_born: false,
        born_at: now,
        born_turns: cx.clock.turns(),
        rebirth: false,
        flush_at: None,
        // The CONNECT with its will.
        spent: will_bytes + 64,
        looked_at: now,
    };
    let mut renewal = Renewal::watch(&spec.mqtt, broker, &used, cx);
    let end = live.run(&mut renewal).await;
    *was_born = live.is_born;
    let waited = live.fence.is_under_way().then(|| live.fence_raised.elapsed());
    live.window.lost(waited.filter(|_| matches!(end, End::Lost(_))));
    match end {
        End::Lost(down) => End::Lost(live.wire.why(down).await),
        end => {
            live.farewell(&end).await;
            end
        }
    }
}
