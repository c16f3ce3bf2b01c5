//! `fieldgate run`: a gateway until it is told to stop.

use std::path::PathBuf;

use super::file::compile;
use super::{FAILED, GOOD, WRONG};
use crate::model::Clock;
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
    match block_on(gateway(plan)) {
        Ok(()) => GOOD,
        Err(error) => {
            eprintln!("cannot start: {error}");
            FAILED
        }
    }
}

async fn gateway(plan: GatewayPlan) -> std::io::Result<()> {
    // Before anything is started: a signal that comes early is not missed.
    let stop = Stop::new()?;
    let tags = plan.directory.tags().len();
    let (node, links, publishers) = (plan.directory.node.clone(), plan.links.len(), plan.publishers.len());
    let gateway = Gateway::start(plan, Clock::system()).await;
    tracing::info!(%node, links, tags, publishers, version = env!("CARGO_PKG_VERSION"), "gateway runs");
    stop.wait().await;
    tracing::info!("stopping");
    gateway.stop().await;
    tracing::info!("stopped");
    Ok(())
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
