//! `fieldgate run`: a gateway until it is told to stop.

use std::path::{Path, PathBuf};

use super::file::compile;
use super::{FAILED, GOOD, WRONG, reload};
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

async fn gateway(plan: GatewayPlan, config: &Path) -> std::io::Result<Then> {
    // Before anything is started: a signal that comes early is not missed.
    let mut stop = Stop::new()?;
    let mut hangup = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup())?;
    let tags = plan.directory.tags().len();
    let (node, links, publishers) = (plan.directory.node.clone(), plan.links.len(), plan.publishers.len());
    let mut gateway = Gateway::start(plan, Clock::system()).await;
    tracing::info!(%node, links, tags, publishers, version = env!("CARGO_PKG_VERSION"), "gateway runs");
    notify::ready();
    let then = loop {
        tokio::select! {
            () = stop.wait() => break Then::End,
            () = gateway.gate().restart_is_asked() => match reload::read(&gateway, config).await {
                Ok(_) => break Then::StartAgain,
                // With a file that has a mistake the gateway would stay away.
                Err(mistakes) => {
                    tracing::error!("no restart: the configuration file cannot be used");
                    reload::refuse(gateway.telemetry(), config, mistakes);
                }
            },
            Some(()) = hangup.recv() => {
                notify::reloading();
                match reload(&mut gateway, config).await {
                    Ok(status) => notify::reloaded(status),
                    Err(then) => break then,
                }
            }
        }
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

/// Takes on the configuration file as it is now, and says how that went; `Err`: it needs a restart.
async fn reload(gateway: &mut Gateway, config: &Path) -> Result<&'static str, Then> {
    match reload::read(gateway, config).await {
        Err(mistakes) => {
            reload::refuse(gateway.telemetry(), config, mistakes);
            Ok("the new configuration has mistakes and changes nothing")
        }
        Ok(offer) if offer.restart.is_empty() => {
            reload::take_on(gateway, offer).await;
            Ok("the new configuration was taken on")
        }
        Ok(offer) => {
            let because = offer.restart.join(", ");
            tracing::warn!(because, "the configuration needs a restart of the gateway");
            Err(Then::StartAgain)
        }
    }
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

    pub(super) async fn wait(&mut self) {
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
