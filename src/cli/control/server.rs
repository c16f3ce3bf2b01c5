//! The gateway's side: takes requests one after the other, hands them on, and sends the answers.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;

use super::{Answer, LONGEST, Request};

/// Connections at a time; more wait.
const PLACES: usize = 4;
/// How long a request may take to come in.
const PATIENCE: Duration = Duration::from_secs(5);

/// A request, and where its answer goes.
pub(in crate::cli) type Asked = (Request, oneshot::Sender<Answer>);

/// What comes in; the socket is gone when this is dropped.
#[derive(Debug)]
pub(in crate::cli) struct Requests {
    incoming: mpsc::Receiver<Asked>,
    /// Without one nothing ever comes in.
    socket: Option<(PathBuf, JoinHandle<()>)>,
}

impl Requests {
    /// The next one; never returns where there is no socket.
    pub(in crate::cli) async fn next(&mut self) -> Asked {
        match self.incoming.recv().await {
            Some(asked) => asked,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Requests {
    fn drop(&mut self) {
        if let Some((path, task)) = self.socket.take() {
            task.abort();
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Listens; where that fails the gateway runs without, and says so.
pub(in crate::cli) fn listen(path: Option<&Path>) -> Requests {
    let (asked, incoming) = mpsc::channel(PLACES);
    let socket = path.and_then(|path| match bind(path) {
        Ok(listener) => Some((path.to_owned(), tokio::spawn(serve(listener, asked)))),
        Err(error) => {
            tracing::error!(
                path = %path.display(), %error,
                "no control socket: `fieldgate status`, `reload` and `apply` cannot reach this gateway"
            );
            None
        }
    });
    Requests { incoming, socket }
}

fn bind(path: &Path) -> std::io::Result<UnixListener> {
    // One that nobody listens on is from a run that ended hard; one that somebody does is another gateway's.
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(std::io::Error::new(std::io::ErrorKind::AddrInUse, "another gateway listens there"));
    }
    // Nothing else is removed, whatever path is given.
    if std::fs::symlink_metadata(path).is_ok_and(|known| known.file_type().is_socket()) {
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}

async fn serve(listener: UnixListener, asked: mpsc::Sender<Asked>) {
    let places = Arc::new(Semaphore::new(PLACES));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let asked = asked.clone();
                tokio::spawn(async move {
                    answer(stream, asked).await;
                    drop(place);
                });
            }
            // No descriptor is free: so is none at once.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn answer(mut stream: UnixStream, asked: mpsc::Sender<Asked>) {
    let (read, mut write) = stream.split();
    let mut line = Vec::new();
    let mut lines = BufReader::new(read.take(LONGEST));
    let Ok(Ok(_)) = tokio::time::timeout(PATIENCE, lines.read_until(b'\n', &mut line)).await else { return };
    let answer = match serde_json::from_slice(&line) {
        Err(error) => Answer::not(vec![format!("no request: {error}")]),
        Ok(request) => {
            let (reply, answer) = oneshot::channel();
            // Who stops takes no more.
            let _ = asked.send((request, reply)).await;
            answer.await.unwrap_or_else(|_| Answer::not(vec!["the gateway is stopping".to_owned()]))
        }
    };
    let mut line = serde_json::to_vec(&answer).unwrap_or_default();
    line.push(b'\n');
    let _ = tokio::time::timeout(PATIENCE, write.write_all(&line)).await;
}
