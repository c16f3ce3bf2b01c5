//! Tasks by name: each is started again when it falls, and stopped when it is told to.

use std::collections::HashMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::progress::Watched;
use crate::telemetry::Counter;

/// Tasks of one kind.
#[derive(Debug, Default)]
pub(super) struct Children(HashMap<String, Child>);

#[derive(Debug)]
struct Child {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Drop for Child {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Children {
    /// Starts one; a task of the same name must have ended.
    pub(super) fn start<F: Future<Output = ()> + Send + 'static>(
        &mut self,
        name: &str,
        run: impl FnOnce(CancellationToken) -> F,
    ) {
        let stop = CancellationToken::new();
        let task = tokio::spawn(run(stop.clone()));
        self.0.insert(name.to_owned(), Child { stop, task });
    }

    /// Asks these to end and waits; who does not end in time is ended.
    pub(super) async fn end(&mut self, wanted: impl Fn(&str) -> bool, within: Duration, what: &'static str) {
        let leaving: Vec<_> = self.0.extract_if(|name, _| wanted(name)).collect();
        leaving.iter().for_each(|(_, child)| child.stop.cancel());
        let end = Instant::now() + within;
        let one = async |(name, mut child): (String, Child)| {
            if tokio::time::timeout_at(end, &mut child.task).await.is_err() {
                tracing::warn!(name, "{what} did not end in time");
                child.task.abort();
                // One that holds its thread never ends, and holds up nobody else's end.
                let _ = tokio::time::timeout(Duration::from_millis(100), &mut child.task).await;
            }
        };
        join_all(leaving.into_iter().map(one)).await;
    }

    /// All of them.
    pub(super) async fn end_all(&mut self, within: Duration, what: &'static str) {
        self.end(|_| true, within, what).await;
    }
}

/// Runs a child until it is told to stop; when it falls (by a panic) or gives up, it is started again
/// after a pause that grows from half a second to a minute, and is short again after five good minutes.
pub(super) async fn keep_running<F: Future<Output = ()>>(
    name: &str,
    stop: &CancellationToken,
    restarts: &Counter,
    watched: Option<&Watched>,
    start: impl Fn() -> F,
    fallen: impl Fn(&str),
) {
    let shortest = Duration::from_millis(500);
    let mut pause = shortest;
    loop {
        let started = Instant::now();
        let run = AssertUnwindSafe(start()).catch_unwind();
        let end = match watched {
            // Where it hangs it is dropped here, with its port or socket.
            Some(watched) => watched.run(run).await,
            None => Some(run.await),
        };
        if stop.is_cancelled() {
            return;
        }
        if started.elapsed() > Duration::from_secs(300) {
            pause = shortest;
        }
        let why = match end {
            Some(Ok(())) => "ended by itself",
            Some(Err(_)) => "fell by a panic",
            None => "made no progress and was ended",
        };
        tracing::error!(child = name, next_try = ?pause, "{why}; started again");
        fallen(why);
        restarts.bump();
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        pause = (pause * 2).min(Duration::from_secs(60));
    }
}
