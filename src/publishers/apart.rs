//! A runtime of its own for a publisher whose work may take long: what its clients cost is never taken from the field.
//!
//! An OPC UA handshake is arithmetic with large numbers: some milliseconds on a server, some tens on a small board, in
//! which a thread does nothing else. On threads of its own, behind the others in line, it delays no poll.

use std::future::Future;

use tokio::sync::oneshot;

use super::publisher::{Context, PublishError};

/// A handshake and all the others; more threads would only take more from the field.
const THREADS: usize = 2;
/// How far behind the other threads these stand, where the processor is not enough for all (`nice`).
const BEHIND: i32 = 5;

/// Runs a publisher on threads of its own. Where this future is dropped it is told to stop.
pub(super) async fn run<F>(
    cx: Context,
    publisher: impl FnOnce(Context) -> F + Send + 'static,
) -> Result<(), PublishError>
where
    F: Future<Output = Result<(), PublishError>>,
{
    let stop = cx.stop.child_token();
    let _stops = stop.clone().drop_guard();
    let name = cx.name.clone();
    let ended = threads(&name, move || publisher(Context { stop, ..cx }));
    ended.await.unwrap_or_else(|why| Err(PublishError(format!("{name}: {why}"))))
}

/// What the work ends in; an error where it has no threads, or fell.
async fn threads<F: Future<Output: Send + 'static>>(
    name: &str,
    work: impl FnOnce() -> F + Send + 'static,
) -> Result<F::Output, String> {
    let failed = |why: std::io::Error| format!("no threads for it: {why}");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .thread_name(name)
        .on_thread_start(stand_behind)
        .enable_all()
        .build()
        .map_err(failed)?;
    let (told, ended) = oneshot::channel();
    let thread = move || {
        stand_behind();
        let outcome = runtime.block_on(work());
        // What it left running (a client that is not done) is not waited for.
        runtime.shutdown_background();
        let _ = told.send(outcome);
    };
    std::thread::Builder::new().name(name.to_owned()).spawn(thread).map_err(failed)?;
    // Where it fell, the supervisor starts it again.
    ended.await.map_err(|_| "it fell; its last words are in the log".to_owned())
}

/// Without the right to do so nothing is lost: the threads stay in line with the others.
fn stand_behind() {
    let _ = rustix::process::setpriority_process(None, BEHIND);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_thread_that_is_held_holds_up_nobody_else() {
        let (free, held) = std::sync::mpsc::channel();
        let work = tokio::spawn(threads("held", move || async move { held.recv() }));
        // This runtime has one thread: had the work been on it, nobody would be left to free it.
        tokio::task::yield_now().await;
        free.send(7).unwrap();
        assert_eq!(work.await.unwrap(), Ok(Ok(7)));
    }

    #[tokio::test]
    async fn work_that_falls_is_an_error_and_takes_nobody_along() {
        let fallen = threads("falls", || async { panic!("on purpose") }).await;
        assert!(fallen.unwrap_err().contains("it fell"));
    }
}
