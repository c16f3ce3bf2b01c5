//! `fieldgate watch`: a live table of tags in the terminal, polled as the file says, without a gateway.

use std::collections::HashMap;
use std::io::{IsTerminal, Write, stdout};
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};

use super::run::{Stop, block_on};
use super::show::{self, say};
use super::{FAILED, GOOD, WRONG, field};
use crate::config::Config;
use crate::model::{Clock, Period, Sample, Tag, TagId, Timestamp};
use crate::plan::GatewayPlan;
use crate::store::{Next, ReaderOptions, Settled};
use crate::supervisor::Gateway;
use crate::telemetry::{self, Connection};

/// The command line of `watch`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The configuration file (TOML)
    config: PathBuf,
    /// Tags as `device/tag`, or patterns as `pump-1/*`; all without
    #[arg(value_name = "DEVICE/TAG")]
    tags: Vec<String>,
    /// Read every tag so often, whatever its scan class
    #[arg(long)]
    interval: Option<Period>,
    /// End after this time; without it, with Ctrl-C
    #[arg(long = "for", value_name = "TIME")]
    time: Option<Period>,
    /// Print each change as a line of JSON, for scripts
    #[arg(long)]
    json: bool,
}

pub(super) fn main(arguments: &Arguments) -> u8 {
    let allowed = Duration::from_millis(1)..=Duration::from_secs(86_400);
    if let Some(interval) = arguments.interval.filter(|i| !allowed.contains(&i.0)) {
        eprintln!("--interval cannot be {interval}; write 1ms to 1d");
        return WRONG;
    }
    let adapt = |config: &mut Config| {
        if let Some(interval) = arguments.interval {
            every(config, interval);
        }
    };
    let Some(plan) = field::open(&arguments.config, &arguments.tags, adapt) else { return WRONG };
    if plan.directory.tags().is_empty() {
        eprintln!("there is no tag to watch");
        return WRONG;
    }
    // Nothing on a terminal that shows a table, unless FIELDGATE_LOG asks for it.
    telemetry::start_log("off", false);
    match block_on(watch(plan, arguments)) {
        Ok(true) => GOOD,
        Ok(false) => FAILED,
        Err(error) => {
            eprintln!("cannot start: {error}");
            FAILED
        }
    }
}

/// One scan class for all.
fn every(config: &mut Config, interval: Period) {
    config.scan.clear();
    config.scan.insert(
        crate::model::Spanned::new(0..0, "default".into()),
        crate::model::Spanned::new(0..0, interval),
    );
    for device in config.device.iter_mut().map(crate::model::Spanned::get_mut) {
        device.scan = None;
        device.tag.values_mut().for_each(|tag| tag.get_mut().scan = None);
    }
}

/// True where at least one tag had a value.
async fn watch(plan: GatewayPlan, arguments: &Arguments) -> std::io::Result<bool> {
    let mut stop = Stop::new()?;
    let stop = stop.wait();
    tokio::pin!(stop);
    let until = arguments.time.map(|time| Instant::now() + time.0);
    let clock = Clock::system();
    let gateway = Gateway::start(plan, clock.clone()).await;
    let mut reader = gateway.store().reader("watch", ReaderOptions { durable: false, rules: None });
    let live = stdout().is_terminal() && !arguments.json;
    let screen = live.then(Screen::enter);
    let mut latest: HashMap<TagId, Sample> = HashMap::new();
    let mut ever = false;
    let mut news: Vec<Sample> =
        gateway.directory().tags().iter().filter_map(|tag| gateway.store().latest(tag.id)).collect();
    let mut redraw = tokio::time::interval(Duration::from_millis(200));
    redraw.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut going = true;
    while going {
        for sample in news.drain(..) {
            // The image and the outbox tell the first samples both.
            if latest.get(&sample.tag) == Some(&sample) {
                continue;
            }
            ever |= sample.value.is_some();
            if !live && let Some(tag) = gateway.directory().tag(sample.tag) {
                going &= writeln!(stdout(), "{}", line(tag, &sample, arguments.json)).is_ok();
            }
            latest.insert(sample.tag, sample);
        }
        let ended = async {
            match until {
                Some(until) => tokio::time::sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = &mut stop => break,
            () = ended => break,
            next = reader.next() => {
                let (Next::Live(seq, batch) | Next::History(seq, batch)) = next;
                reader.settle(seq, Settled::Sent);
                news.extend(batch.samples.iter().cloned());
            }
            _ = redraw.tick(), if live => draw(&gateway, &latest, clock.now()),
        }
    }
    drop(screen);
    let troubles: Vec<_> = troubles(&gateway);
    gateway.stop().await;
    if live {
        // The table is gone with the screen that it was on.
        let tags: Vec<_> = latest.values().filter(|s| s.value.is_none()).map(|s| s.quality).collect();
        say(&format!("{} tags watched, {} without a value at the end", latest.len(), tags.len()));
    }
    troubles.iter().for_each(|trouble| eprintln!("{trouble}"));
    Ok(ever)
}

/// One change, where standard output is no terminal.
fn line(tag: &Tag, sample: &Sample, json: bool) -> String {
    if json {
        return serde_json::json!({
            "tag": tag.path,
            "value": sample.value,
            "unit": tag.unit,
            "quality": sample.quality.to_string(),
            "time": sample.at.millis(),
        })
        .to_string();
    }
    let value = show::value(sample.value.as_ref());
    let unit = tag.unit.as_deref().map_or(String::new(), |unit| format!(" {unit}"));
    format!("{}  {}  {value}{unit}  {}", show::utc(sample.at), tag.path, sample.quality)
}

/// Links that are down, and why.
fn troubles(gateway: &Gateway) -> Vec<String> {
    let down = gateway.telemetry().links().into_iter().filter(|link| link.state.get() == Connection::Down);
    down.map(|link| format!("link {}: {}", link.name, show::clean(&link.state.trouble()))).collect()
}

/// The terminal's other screen, left again however this ends.
struct Screen;

impl Screen {
    fn enter() -> Screen {
        let _ = write!(stdout(), "\x1b[?1049h\x1b[?25l\x1b[2J");
        Screen
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = write!(stdout(), "\x1b[?25h\x1b[?1049l");
        let _ = stdout().flush();
    }
}

fn draw(gateway: &Gateway, latest: &HashMap<TagId, Sample>, now: Timestamp) {
    let size = rustix::termios::tcgetwinsize(stdout()).ok();
    let of = |cells: Option<u16>, usual: usize| cells.map(usize::from).filter(|n| *n > 0).unwrap_or(usual);
    let (height, width) = (of(size.map(|s| s.ws_row), 24), of(size.map(|s| s.ws_col), 80));
    let mut rows = vec![["tag", "value", "unit", "quality", "age"].map(str::to_owned).to_vec()];
    rows.extend(gateway.directory().tags().iter().map(|tag| row(tag, latest.get(&tag.id), now)));
    let mut lines: Vec<String> = show::columns(&rows).lines().map(str::to_owned).collect();
    let troubles = troubles(gateway);
    let room = height.saturating_sub(troubles.len() + 2).max(2);
    if lines.len() > room {
        let more = lines.len() - room + 1;
        lines.truncate(room - 1);
        lines.push(format!("… {more} more tags: choose some with a pattern, or enlarge the window"));
    }
    lines.push(format!("{}  Ctrl-C ends", show::utc(now)));
    lines.extend(troubles);
    let mut out = String::from("\x1b[H");
    for line in lines.iter().take(height) {
        out.extend(line.chars().take(width));
        out.push_str("\x1b[K\r\n");
    }
    // The last line break would scroll a full screen.
    out.truncate(out.len().saturating_sub(2));
    out.push_str("\x1b[J");
    let mut stdout = stdout().lock();
    let _ = stdout.write_all(out.as_bytes());
    let _ = stdout.flush();
}

fn row(tag: &Tag, sample: Option<&Sample>, now: Timestamp) -> Vec<String> {
    let unit = tag.unit.as_deref().unwrap_or_default().to_owned();
    let path = tag.path.to_string();
    match sample {
        Some(sample) => {
            let age = (now.0 - sample.at.0).max(0) / 1_000_000;
            let value = show::value(sample.value.as_ref());
            vec![path, value, unit, sample.quality.to_string(), format!("{age} s")]
        }
        None => vec![path, "-".into(), unit, "not read yet".into(), String::new()],
    }
}
