//! Keeps the runtime turning where a task holds its thread.
//!
//! Of the runtime's threads one waits for sockets and timers, the others for work. Where it is that one which a task
//! holds, nobody takes its place until there is work from outside: timers, sockets and signals would stand still.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

/// How long all may stand still.
const PAUSE: Duration = Duration::from_secs(1);

/// Brings work from outside as long as it lives: a task that does nothing, once a second.
#[derive(Debug)]
pub(super) struct Nudge {
    _alive: Arc<()>,
}

impl Nudge {
    /// For the runtime that this is called in.
    pub(super) fn start() -> Nudge {
        let alive = Arc::new(());
        let (runtime, watched) = (Handle::current(), Arc::downgrade(&alive));
        let nudges = move || {
            while watched.strong_count() > 0 {
                std::thread::sleep(PAUSE);
                drop(runtime.spawn(std::future::ready(())));
            }
        };
        let thread = std::thread::Builder::new().name("nudge".into()).stack_size(128 << 10);
        if let Err(error) = thread.spawn(nudges) {
            tracing::warn!(%error, "no thread for it: a task that holds its thread may hold up the others");
        }
        Nudge { _alive: alive }
    }
}
