//! `fieldgate run`: a gateway until it is told to stop.

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::mpsc;

use super::changed::Changed;
use super::file::compile;
use super::running::{Outcome, Running, summary};
use super::{FAILED, GOOD, WRONG, control};
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
    /// Where `fieldgate status`, `reload` and `apply` reach this gateway; without it `control.sock` in the folder that
    /// systemd gives to the service, else nowhere
    #[arg(long, env = "FIELDGATE_SOCKET", value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Take the file on whenever it or a file that it names has changed, as `fieldgate reload` does
    #[arg(long)]
    reload_on_change: bool,
}

impl Arguments {
    fn socket(&self) -> Option<PathBuf> {
        let of_service = || Some(PathBuf::from(std::env::var_os("RUNTIME_DIRECTORY")?).join("control.sock"));
        self.socket.clone().or_else(of_service)
    }
}

pub(super) fn main(arguments: &Arguments) -> u8 {
    // Before it is read: a change that comes in between is seen.
    let changed = arguments.reload_on_change.then(|| Changed::new(&arguments.config));
    let plan = match compile(&arguments.config) {
        Ok(compiled) => compiled.into_plan(),
        Err(error) => {
            eprintln!("{error}");
            None
        }
    };
    let Some(plan) = plan else { return WRONG };
    telemetry::start_log(&arguments.log, arguments.log_json);
    match block_on(gateway(plan, arguments, changed)) {
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

async fn gateway(
    plan: GatewayPlan,
    arguments: &Arguments,
    changed: Option<Changed>,
) -> std::io::Result<Then> {
    let (config, socket) = (arguments.config.as_path(), arguments.socket());
    // Before anything is started: a signal that comes early is not missed.
    let mut stop = Stop::new()?;
    let mut hangup = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup())?;
    let tags = plan.directory.tags().len();
    let (node, links, publishers) = (plan.directory.node.clone(), plan.links.len(), plan.publishers.len());
    let mut running = Running::new(Gateway::start(plan, Clock::system()).await, config);
    tracing::info!(%node, links, tags, publishers, version = env!("CARGO_PKG_VERSION"), "gateway runs");
    let mut requests = control::listen(socket.as_deref());
    let mut changes = changed.map(changes);
    notify::ready();
    let mut second = tokio::time::interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let then = loop {
        tokio::select! {
            () = stop.wait() => break Then::End,
            () = running.gateway.gate().restart_is_asked() => {
                if running.may_restart().await {
                    break Then::StartAgain;
                }
            }
            Some(()) = asked_to_reload(&mut hangup, &mut changes) => {
                notify::reloading();
                match running.reload().await {
                    Outcome::GoesOn(answer) => notify::reloaded(&summary(&answer)),
                    Outcome::Restart(_) => break Then::StartAgain,
                }
            }
            (request, reply) = requests.next() => {
                let outcome = running.answer(request).await;
                let restarts = matches!(outcome, Outcome::Restart(_));
                let (Outcome::GoesOn(answer) | Outcome::Restart(answer)) = outcome;
                // Who asked may have gone.
                let _ = reply.send(answer);
                if restarts {
                    break Then::StartAgain;
                }
            }
            _ = second.tick() => running.tick().await,
        }
    };
    match then {
        Then::End => notify::stopping(),
        // The process stays: for the service manager this is no stop.
        Then::StartAgain => notify::reloading(),
    }
    tracing::info!("stopping");
    running.gateway.stop().await;
    tracing::info!("stopped");
    Ok(then)
}

/// By SIGHUP, or by a change of the files where that is wanted.
async fn asked_to_reload(
    hangup: &mut tokio::signal::unix::Signal,
    changes: &mut Option<mpsc::Receiver<()>>,
) -> Option<()> {
    let changed = async {
        match changes {
            Some(changes) => changes.recv().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        signal = hangup.recv() => signal,
        change = changed => change,
    }
}

/// Tells when the files have changed; they are looked at on a thread of their own.
fn changes(mut changed: Changed) -> mpsc::Receiver<()> {
    let (tell, told) = mpsc::channel(1);
    let look = move || {
        while !tell.is_closed() {
            std::thread::sleep(Duration::from_secs(1));
            // One that waits to be taken on says the same.
            if changed.look() && tell.try_send(()).is_ok() {
                tracing::info!("the configuration's files have changed");
            }
        }
    };
    if let Err(error) = std::thread::Builder::new().name("config".into()).spawn(look) {
        tracing::error!(%error, "changes of the configuration are not seen; use `fieldgate reload`");
    }
    told
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
