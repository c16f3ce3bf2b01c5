//! A gateway that runs, and the configurations that are offered to it: by a signal, by the control socket, on trial.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::control::{Answer, Request};
use super::file::count;
use super::reload::{self, Offer};
use crate::model::{Directory, Period};
use crate::plan::GatewayPlan;
use crate::status::Status;
use crate::supervisor::Gateway;
use crate::telemetry::{Connection, Telemetry};

/// See the first line.
pub(super) struct Running {
    pub(super) gateway: Gateway,
    /// The file that it runs by.
    config: PathBuf,
    trial: Option<Trial>,
}

/// What comes of an offer.
pub(super) enum Outcome {
    /// The gateway goes on; in words, how.
    GoesOn(Answer),
    /// It must be started again.
    Restart(Answer),
}

/// A configuration that nobody has confirmed yet.
struct Trial {
    candidate: PathBuf,
    /// What ran before.
    before: GatewayPlan,
    until: Instant,
    /// Links and publishers that were up, and when they were last.
    good: Vec<(What, String, Instant)>,
    /// How long they may be away.
    patience: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum What {
    Link,
    Publisher,
}

impl What {
    fn is_up(self, name: &str, telemetry: &Telemetry) -> bool {
        match self {
            What::Link => telemetry.links().iter().any(|l| l.name == name && l.state.get() == Connection::Up),
            What::Publisher => {
                telemetry.publishers().iter().any(|p| p.name == name && p.state.get() == Connection::Up)
            }
        }
    }

    fn word(self) -> &'static str {
        match self {
            What::Link => "link",
            What::Publisher => "publisher",
        }
    }
}

impl Trial {
    /// The longest that what was good may be away.
    const PATIENCE: Duration = Duration::from_secs(60);
}

impl Running {
    pub(super) fn new(gateway: Gateway, config: &Path) -> Running {
        Running { gateway, config: config.to_owned(), trial: None }
    }

    /// Takes on the file as it is now.
    pub(super) async fn reload(&mut self) -> Outcome {
        if let Some(answer) = self.on_trial() {
            tracing::warn!("no reload: {}", answer.lines.join("; "));
            return Outcome::GoesOn(answer);
        }
        let path = self.config.clone();
        match reload::read(&self.gateway, &path).await {
            Err(mistakes) => {
                reload::refuse(self.gateway.telemetry(), &path, mistakes.clone());
                Outcome::GoesOn(Answer::not(mistakes))
            }
            Ok(offer) if offer.restart.is_empty() => Outcome::GoesOn(Answer::done(self.take_on(offer).await)),
            Ok(offer) => {
                let because = offer.restart.join(", ");
                tracing::warn!(because, "the configuration needs a restart of the gateway");
                Outcome::Restart(Answer::done(offer.lines))
            }
        }
    }

    /// Whether the file could be started with; what is wrong with it is told.
    pub(super) async fn may_restart(&self) -> bool {
        match reload::read(&self.gateway, &self.config).await {
            Ok(_) => true,
            Err(mistakes) => {
                tracing::error!("no restart: the configuration file cannot be used");
                reload::refuse(self.gateway.telemetry(), &self.config, mistakes);
                false
            }
        }
    }

    /// What is asked by the control socket.
    pub(super) async fn answer(&mut self, request: Request) -> Outcome {
        Outcome::GoesOn(match request {
            Request::Status {} => {
                Answer { ok: true, status: serde_json::to_value(self.status()).ok(), ..Answer::default() }
            }
            Request::Reload {} => return self.reload().await,
            Request::Compare { file } => match reload::read(&self.gateway, &file).await {
                Ok(offer) => Answer::done(offer.lines),
                Err(mistakes) => Answer::not(mistakes),
            },
            Request::Apply { file, confirm } => self.apply(file, Duration::from_secs(confirm)).await,
            Request::Trial {} => match &self.trial {
                None => Answer::not(vec!["nothing is on trial".to_owned()]),
                Some(trial) => {
                    let config = self.config.canonicalize().unwrap_or_else(|_| self.config.clone());
                    Answer { ok: true, trial: Some((trial.candidate.clone(), config)), ..Answer::default() }
                }
            },
            Request::Confirm {} => self.confirm().await,
            Request::Revert {} => match self.trial.take() {
                None => Answer::not(vec!["nothing is on trial".to_owned()]),
                Some(trial) => Answer::done(self.back(trial, "reverted by hand").await),
            },
        })
    }

    fn status(&self) -> Status {
        let gateway = &self.gateway;
        let mut status = Status::of(gateway.directory(), gateway.store(), gateway.telemetry(), gateway.now());
        let left = self.trial.as_ref().map(|trial| trial.until.saturating_duration_since(Instant::now()));
        status.config.trial = left.map(|left| left.as_secs());
        status
    }

    async fn take_on(&mut self, offer: Offer) -> Vec<String> {
        let lines = offer.lines.clone();
        reload::take_on(&mut self.gateway, offer).await;
        lines
    }

    fn on_trial(&self) -> Option<Answer> {
        let trial = self.trial.as_ref()?;
        let file = trial.candidate.display();
        Some(Answer::not(vec![format!(
            "{file} is on trial: `fieldgate confirm` or `fieldgate revert` first"
        )]))
    }

    async fn apply(&mut self, file: PathBuf, confirm: Duration) -> Answer {
        if let Some(answer) = self.on_trial() {
            return answer;
        }
        if is_same(&file, &self.config) {
            return Answer::not(vec![
                "this is the file that the gateway runs by: to try changes put them into a copy, which takes its place \
                 when it is confirmed; or use `fieldgate reload`"
                    .to_owned(),
            ]);
        }
        let offer = match reload::read(&self.gateway, &file).await {
            Ok(offer) => offer,
            Err(mistakes) => {
                reload::refuse(self.gateway.telemetry(), &file, mistakes.clone());
                return Answer::not(mistakes);
            }
        };
        if !offer.restart.is_empty() {
            let because = offer.restart.join(", ");
            return Answer::not(vec![format!(
                "{because} cannot be tried: it needs a restart; write it into {} and use `fieldgate reload`",
                self.config.display()
            )]);
        }
        let now = Instant::now();
        let telemetry = self.gateway.telemetry().clone();
        let links = telemetry.links().into_iter().map(|link| (What::Link, link.name.clone()));
        let publishers = telemetry.publishers().into_iter().map(|p| (What::Publisher, p.name.clone()));
        let good = links.chain(publishers).filter(|(what, name)| what.is_up(name, &telemetry));
        let stays = |(what, name): &(What, String)| match what {
            What::Link => offer.plan.links.iter().any(|link| link.name == *name),
            What::Publisher => offer.plan.publishers.iter().any(|p| p.name == *name),
        };
        let good: Vec<_> = good.filter(stays).map(|(what, name)| (what, name, now)).collect();
        let before = self.gateway.plan().clone();
        tracing::warn!(target: "audit", file = %file.display(), ?confirm, "a configuration is tried");
        let lines = self.take_on(offer).await;
        let patience = Trial::PATIENCE.min(confirm / 2);
        self.trial = Some(Trial { candidate: file, before, until: now + confirm, good, patience });
        Answer::done(lines)
    }

    /// Goes back where the time is over, or what was good does not come back. Called once a second.
    pub(super) async fn tick(&mut self) {
        let Some(trial) = &mut self.trial else { return };
        let now = Instant::now();
        let telemetry = self.gateway.telemetry();
        for (what, name, last) in &mut trial.good {
            if what.is_up(name, telemetry) {
                *last = now;
            }
        }
        let away = trial.good.iter().find(|(.., last)| now.saturating_duration_since(*last) > trial.patience);
        let why = match away {
            Some((what, name, _)) => {
                format!("the {} {name} was good before and did not come back", what.word())
            }
            None if now >= trial.until => "nobody confirmed it in time".to_owned(),
            None => return,
        };
        if let Some(trial) = self.trial.take() {
            self.back(trial, &why).await;
        }
    }

    async fn back(&mut self, trial: Trial, why: &str) -> Vec<String> {
        let candidate = trial.candidate.display();
        tracing::error!(target: "audit", file = %candidate, why, "the configuration on trial goes, the one before is back");
        let mut plan = trial.before;
        // What was given out meanwhile stays given.
        let given = self.gateway.directory().given();
        plan.directory = Arc::new(Directory::clone(&plan.directory).with_given(given));
        let lines = crate::plan::diff::describe(self.gateway.plan(), &plan);
        let trouble = vec![format!("{candidate}: {why}")];
        self.take_on(Offer { plan, lines: lines.clone(), restart: Vec::new() }).await;
        self.gateway.telemetry().config.set_trouble(trouble);
        lines
    }

    /// The gateway does not write its own configuration: who confirms has put it there.
    async fn confirm(&mut self) -> Answer {
        if self.trial.is_none() {
            return Answer::not(vec!["nothing is on trial".to_owned()]);
        }
        let file = self.config.display();
        let differs = match reload::read(&self.gateway, &self.config).await {
            Ok(offer) => offer.lines,
            Err(mistakes) => mistakes,
        };
        if !differs.is_empty() {
            let why = format!("{file} does not mean the same as what is on trial, which still is:");
            return Answer::not(std::iter::once(why).chain(differs).collect());
        }
        self.trial = None;
        tracing::warn!(target: "audit", file = %file, "the configuration on trial is confirmed");
        Answer::done(vec![format!("{file} has the new configuration")])
    }
}

fn is_same(a: &Path, b: &Path) -> bool {
    match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    }
}

/// `9 min 30 s` for people.
pub(super) fn in_words(left: Duration) -> String {
    Period(Duration::from_secs(left.as_secs())).to_string()
}

/// For the log of the service manager.
pub(super) fn summary(answer: &Answer) -> String {
    match answer.ok {
        true => format!("the new configuration was taken on: {}", count(answer.lines.len(), "change")),
        false => "the new configuration changes nothing: it has mistakes, see the log".to_owned(),
    }
}
