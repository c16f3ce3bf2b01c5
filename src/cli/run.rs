//! `fieldgate run`: a gateway until it is told to stop.

use std::path::{Path, PathBuf};

use super::file::compile;
use super::{FAILED, GOOD, WRONG};
use crate::command::Gate;
use crate::model::Clock;
use crate::notify;
use crate::plan::GatewayPlan;
use crate::supervisor::Gateway;
use crate::telemetry;

/// The command line of `run`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The configuration file (TOML)
    config: PathBuf,
    /// Log level, as `info` or `warn,fieldgate::poll=debug`; the environment variable FIELDGATE_LOG overrides it
    #[arg(long, default_value = "info")]
    log: String,
    /// Log as JSON lines
    #[arg(long)]
    log_json: bool,
}

pub(super) fn main(arguments: &Arguments) -> u8 {
    let plan = match compile(&arguments.config) {
        Ok(compiled) => compiled.into_plan(),
        Err(error) => {
            eprintln!("{error}");
            None
        }
    };
    let Some(plan) = plan else { return WRONG };
    telemetry::start_log(&arguments.log, arguments.log_json);
    match block_on(gateway(plan, &arguments.config)) {
        Ok(Then::End) => GOOD,
        Ok(Then::StartAgain) => {
            let error = start_again();
            eprintln!("cannot start again: {error}");
            FAILED
        }
        Err(error) => {
            eprintln!("cannot start: {error}");
            FAILED
        }
    }
}

/// What comes after an orderly stop.
enum Then {
    End,
    StartAgain,
}

/// The same program with the same arguments in the place of this process. Its id stays, so whoever started it
/// notices nothing, and it needs nobody to start it. Files and sockets are closed, as all are that Rust opens.
fn start_again() -> std::io::Error {
    use std::os::unix::process::CommandExt;
    match program() {
        Ok(program) => std::process::Command::new(program).args(std::env::args_os().skip(1)).exec(),
        Err(error) => error,
    }
}

/// Where the program lies; also where another was put in its place meanwhile, which Linux tells in this way.
fn program() -> std::io::Result<PathBuf> {
    let path = std::env::current_exe()?;
    Ok(path.to_str().and_then(|path| path.strip_suffix(" (deleted)")).map_or(path.clone(), PathBuf::from))
}

/// Waits until a restart is asked for that can be done: with a file that has a mistake the gateway would stay away.
async fn restart(gate: &Gate, config: &Path) {
    loop {
        gate.restart_is_asked().await;
        let path = config.to_owned();
        let read = move || compile(&path).map(|compiled| compiled.into_plan().is_some());
        match tokio::task::spawn_blocking(read).await {
            Ok(Ok(true)) => return,
            Ok(Err(error)) => tracing::error!(%error, "no restart: the configuration file cannot be used"),
            _ => tracing::error!("no restart: the configuration file has mistakes; see `fieldgate check`"),
        }
    }
}

async fn gateway(plan: GatewayPlan, config: &Path) -> std::io::Result<Then> {
    // Before anything is started: a signal that comes early is not missed.
    let stop = Stop::new()?;
    let tags = plan.directory.tags().len();
    let (node, links, publishers) = (plan.directory.node.clone(), plan.links.len(), plan.publishers.len());
    let gateway = Gateway::start(plan, Clock::system()).await;
    tracing::info!(%node, links, tags, publishers, version = env!("CARGO_PKG_VERSION"), "gateway runs");
    notify::ready();
    let then = tokio::select! {
        () = stop.wait() => Then::End,
        () = restart(gateway.gate(), config) => Then::StartAgain,
    };
    match then {
        Then::End => notify::stopping(),
        // The process stays: for the service manager this is no stop.
        Then::StartAgain => notify::reloading(),
    }
    tracing::info!("stopping");
    gateway.stop().await;
    tracing::info!("stopped");
    Ok(then)
}

/// Ctrl-C or SIGTERM.
pub(super) struct Stop {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Stop {
    pub(super) fn new() -> std::io::Result<Stop> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Stop { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    pub(super) async fn wait(mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Runs on a runtime of two threads: one gateway is mostly waiting, and a Raspberry Pi has other work.
pub(super) fn block_on<T>(future: impl Future<Output = std::io::Result<T>>) -> std::io::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let result = runtime.block_on(future);
    // What still blocks (a name that is looked up) must not hold the end back.
    runtime.shutdown_timeout(std::time::Duration::from_millis(300));
    result
}
