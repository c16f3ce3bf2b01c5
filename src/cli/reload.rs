//! Another configuration for a gateway that runs: read, compared, and taken on or refused.

use std::path::Path;

use super::file::{compile_after, count};
use crate::model::Directory;
use crate::plan::GatewayPlan;
use crate::plan::diff::{describe, needs_restart};
use crate::supervisor::Gateway;
use crate::telemetry::Telemetry;

/// What a file asks of a running gateway.
#[derive(Debug)]
pub(super) struct Offer {
    pub(super) plan: GatewayPlan,
    /// The differences, a line each.
    pub(super) lines: Vec<String>,
    /// What of it needs a restart.
    pub(super) restart: Vec<&'static str>,
}

/// Mistakes that are put into the log one by one.
const TOLD: usize = 20;

/// Reads a file; an error is what is wrong with it, a line each. Nothing is changed.
pub(super) async fn read(gateway: &Gateway, path: &Path) -> Result<Offer, Vec<String>> {
    let (previous, path) = (gateway.directory().clone(), path.to_owned());
    let reading = tokio::task::spawn_blocking(move || compiled(&path, &previous));
    let plan = reading.await.unwrap_or_else(|error| Err(vec![error.to_string()]))?;
    Ok(Offer { lines: describe(gateway.plan(), &plan), restart: needs_restart(gateway.plan(), &plan), plan })
}

fn compiled(path: &Path, previous: &Directory) -> Result<GatewayPlan, Vec<String>> {
    let compiled = compile_after(path, Some(previous)).map_err(|error| vec![error])?;
    match &compiled.plan {
        Ok(_) => compiled.plan.map_err(|_| Vec::new()),
        Err(mistakes) => Err(compiled.lines(mistakes)),
    }
}

/// Takes it on. What needs a restart must have been looked at before.
pub(super) async fn take_on(gateway: &mut Gateway, offer: Offer) {
    let Offer { plan, lines, .. } = offer;
    if lines.is_empty() {
        tracing::info!("the configuration is the same");
    }
    for line in &lines {
        tracing::info!(target: "audit", change = %line, "configuration");
    }
    gateway.apply(plan).await;
    let telemetry = gateway.telemetry();
    let now = gateway.now();
    telemetry.config.loaded.set(now.0);
    telemetry.config.reloads.bump();
    telemetry.config.set_trouble(Vec::new());
    tracing::info!(changes = lines.len(), "the configuration was taken on");
}

/// The file cannot be used: the gateway goes on by what it has.
pub(super) fn refuse(telemetry: &Telemetry, path: &Path, mistakes: Vec<String>) {
    for mistake in mistakes.iter().take(TOLD) {
        tracing::error!(%mistake, "configuration");
    }
    if let Some(more @ 1..) = mistakes.len().checked_sub(TOLD) {
        tracing::error!(more, "see `fieldgate check` for the others");
    }
    tracing::error!(
        file = %path.display(),
        "the configuration has {} and changes nothing; what ran goes on",
        count(mistakes.len(), "mistake")
    );
    telemetry.config.refused.bump();
    telemetry.config.set_trouble(mistakes);
}
