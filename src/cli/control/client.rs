//! The side of the command that asks.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use super::{Answer, Request};

/// Where the gateway listens.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Socket {
    /// The control socket of the gateway that is meant
    #[arg(
        long,
        env = "FIELDGATE_SOCKET",
        default_value = "/run/fieldgate/control.sock",
        value_name = "PATH"
    )]
    socket: PathBuf,
}

/// A reload waits for links and publishers that end.
const PATIENCE: Duration = Duration::from_secs(60);

/// Asks, and waits for the answer. `Err`: nobody answers, and what to do.
pub(in crate::cli) fn ask(socket: &Socket, request: &Request) -> Result<Answer, String> {
    let path = socket.socket.display();
    let failed = |error: std::io::Error| {
        let hint = match error.kind() {
            std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused => {
                "is the gateway running? name its socket with --socket, as given to `fieldgate run --socket`"
            }
            std::io::ErrorKind::PermissionDenied => "be a member of the gateway's group, or root",
            _ => "look at the gateway's log",
        };
        format!("cannot ask the gateway at {path}: {error}; {hint}")
    };
    let line = serde_json::to_string(request).map_err(|error| error.to_string())?;
    let answer = UnixStream::connect(&socket.socket).and_then(|mut stream| {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(format!("{line}\n").as_bytes())?;
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer)?;
        Ok(answer)
    });
    let answer = answer.map_err(failed)?;
    serde_json::from_str(&answer)
        .map_err(|_| format!("the gateway at {path} gives no answer; look at its log"))
}
