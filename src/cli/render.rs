//! Tables, trees and times for people.

use std::path::PathBuf;

use super::limits;
use super::output::Look;
use crate::api::dto::{DaemonStatus, Kind, Status, TreeRow, UnitDetails};
use crate::base::breaker::BreakerState;
use crate::base::choice::HealthLevel;
use crate::base::quantity::format_size;
use crate::base::time::{Wall, approx_duration};
use crate::event::{DegradationStatus, HealthStatus, HostStatus, ProbeStatus, StoreStatus, UnitStatus, WatchStatus, Wish};

/// What is said of a unit that is only watched.
const NOT_OURS: &str = "not started by us";

/// The widest column of names; longer ones are cut on a terminal.
const NAME_MAX: usize = 24;

/// The line about the daemon as a whole, and its trouble.
pub(super) fn headline(look: Look, daemon: &DaemonStatus, units: &[UnitStatus]) -> String {
    let active = units.iter().filter(|unit| unit.ready).count();
    let state = look.state(&daemon.state, &daemon.state);
    let up = approx_duration(daemon.now.since(daemon.started));
    let trouble = daemon.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
    let tier = daemon.tier.map(|tier| format!(" {tier}")).unwrap_or_default();
    format!("ms-supervisor {}{tier} {state}{trouble}, up {up}; {active} of {} units active", daemon.version, units.len())
}

/// How well the whole node is, if it is not as it should be.
pub(super) fn health_trouble(look: Look, health: Option<&HealthStatus>) -> String {
    let Some(health) = health.filter(|health| health.level != HealthLevel::Healthy) else { return String::new() };
    format!("health: {}{}", look.state(health.level.as_str(), health.level.as_str()), health.because())
}

/// How units stand, one line each.
pub(super) fn status_table(look: Look, status: &Status) -> String {
    let names = status.units.iter().map(|unit| unit.unit.as_str().chars().count());
    let longest = names.max().unwrap_or(0).max("UNIT".len());
    let width = if look.width.is_some() { longest.min(NAME_MAX) } else { longest };
    let head = format!("{:width$} {:10} {:>7} {:>7} {:>8} REASON", "UNIT", "STATE", "PID", "UPTIME", "RESTARTS");
    let mut out = look.bold(&head);
    for unit in &status.units {
        let name = cut(unit.unit.as_str(), width);
        let state = look.state(&unit.state, &format!("{:10}", unit.state));
        let pid = unit.pid.map_or_else(|| "-".into(), |pid| pid.to_string());
        let uptime = unit.started.map_or_else(|| "-".into(), |started| approx_duration(status.daemon.now.since(started)));
        let before = width + 37;
        let reason = reason(unit);
        let reason = look.width.map_or_else(|| reason.clone(), |columns| cut(&reason, columns.saturating_sub(before).max(8)));
        let line = format!("\n{name:width$} {state} {pid:>7} {uptime:>7} {:>8} {reason}", unit.restarts);
        out.push_str(line.trim_end_matches(' '));
    }
    out
}

/// Why a unit stands where it stands; else what it says of itself.
fn reason(unit: &UnitStatus) -> String {
    let held = unit.held.then(|| stopped_by(unit.wish.as_ref(), false));
    let paused = unit.paused.then_some("paused by an operator");
    let rests = rests(unit.rests, unit.paused);
    let watched = unit.watch.is_some().then_some(NOT_OURS);
    let said = rests.or(paused).or(unit.reason.as_deref()).or(held.as_deref()).or(unit.status.as_deref()).or(watched);
    said.unwrap_or_default().replace(['\n', '\t'], " ")
}

/// Why a unit rests that may be done without.
const fn rests(rests: bool, paused: bool) -> Option<&'static str> {
    match (rests, paused) {
        (false, _) => None,
        (true, true) => Some("paused under pressure: it may be done without"),
        (true, false) => Some("stopped under pressure: it may be done without"),
    }
}

/// What an operator's stop looks like: with who, when and why where there is room.
fn stopped_by(wish: Option<&Wish>, in_full: bool) -> String {
    let why = wish.and_then(|wish| wish.why.as_ref()).map(|why| format!(": {why}")).unwrap_or_default();
    let who = wish.filter(|_| in_full).map(|wish| format!(" (user {}) on {}", wish.uid, local_time(wish.at))).unwrap_or_default();
    format!("stopped by an operator{who}{why}")
}

/// What is wrong, or was, with the store of what operators asked for. Empty if all is well.
pub(super) fn store_trouble(store: &StoreStatus) -> String {
    let restored = store.restored.as_ref().map(|restored| format!("store: {restored}"));
    let failing = store.failing.as_ref().map(|failing| {
        let waiting = if store.pending == 1 { "1 change waits".to_owned() } else { format!("{} changes wait", store.pending) };
        format!("store: cannot be used since {}: {}; {waiting}", local_time(failing.since), failing.why)
    });
    restored.into_iter().chain(failing).collect::<Vec<_>>().join("\n")
}

/// That the machine or the brain stands still, if so.
pub(super) fn host_trouble(host: &HostStatus) -> String {
    host.stall.map(|stall| format!("probes: since {}, on and off, {}", local_time(stall.since), stall.text())).unwrap_or_default()
}

/// What is done without, if anything is.
pub(super) fn degradation_trouble(degradation: &DegradationStatus) -> String {
    degradation.sentence().filter(|_| degradation.step > 0).map(|text| format!("degradation: {text}")).unwrap_or_default()
}

/// Everything about one unit.
pub(super) fn unit_details(look: Look, unit: &UnitDetails) -> String {
    let status = &unit.status;
    let description = status.description.as_ref().map(|text| format!(" - {text}")).unwrap_or_default();
    let mut out = format!("{}{description}", look.bold(status.unit.as_str()));
    let mut row = |name: &str, value: String| {
        if !value.is_empty() {
            out.push_str(&format!("\n{name:>11}: {value}"));
        }
    };
    let since = approx_duration(unit.now.since(status.since));
    row("State", format!("{} for {since}, since {}", look.state(&status.state, &status.state), local_time(status.since)));
    row("Reason", status.reason.clone().unwrap_or_default());
    row("Held", if status.held { stopped_by(status.wish.as_ref(), true) } else { String::new() });
    row("Paused", if status.paused && !status.rests { "an operator lets it stand still".into() } else { String::new() });
    row("Rests", rests(status.rests, status.paused).unwrap_or_default().into());
    row("Says", status.status.clone().unwrap_or_default());
    let started = status.started.map(|started| format!(", up {}", approx_duration(unit.now.since(started)))).unwrap_or_default();
    row("PID", status.pid.map(|pid| format!("{pid}{started}")).unwrap_or_default());
    for (name, value) in watch_rows(status.watch.as_ref()) {
        row(name, value);
    }
    row("Restarts", restarts(unit));
    row("Last exit", last_exit(unit));
    for (name, value) in limits::rows(unit.used.as_ref(), &status.limits) {
        row(name, value);
    }
    if let Some(remedy) = &status.remedy {
        row("Remedy", remedy.clone());
    }
    if let Some(breaker) = status.breaker.filter(|breaker| *breaker != BreakerState::Closed) {
        row("Breaker", breaker.as_str().replace('_', " "));
    }
    for probe in &status.probes {
        row("Probe", probe_row(look, unit.now, probe));
    }
    if let Some(isolation) = &status.isolation {
        let missing = if isolation.missing.is_empty() { String::new() } else { format!("; missing: {}", isolation.missing.join("; ")) };
        row("Isolation", format!("{}{missing}", isolation.keys.join(", ")));
    }
    row("Supervisor", unit.supervisors.join(" < "));
    row("Requires", unit.requires.join(", "));
    row("Binds to", unit.binds.join(", "));
    row("Needed by", unit.dependents.join(", "));
    row("Runs", unit.exec.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" "));
    row("In", if status.watch.is_some() { String::new() } else { unit.working_directory.display().to_string() });
    let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
    row("Log", path(&unit.log));
    row("Stderr log", path(&unit.stderr_log));
    out
}

/// How often it was started again, and by what rule; what is only watched has none.
fn restarts(unit: &UnitDetails) -> String {
    match (unit.status.restarts, unit.restart.as_str()) {
        (restarts, "") => format!("{restarts}, by somebody else"),
        (restarts, rule) => format!("{restarts} ({rule})"),
    }
}

/// What a unit that is only watched stands for.
fn watch_rows(watch: Option<&WatchStatus>) -> Vec<(&'static str, String)> {
    let Some(watch) = watch else { return Vec::new() };
    let gone = watch.gone_since.map(|since| format!(", too few since {}", local_time(since))).unwrap_or_default();
    vec![
        ("Watched", format!("{NOT_OURS}: {}", watch.wanted)),
        ("Found", format!("{}, at least {} needed{gone}", watch.matches, watch.needed)),
        ("Command", watch.command.clone().unwrap_or_default()),
        ("Uses", watch.sample.map(|sample| sample.text()).unwrap_or_default()),
    ]
}

fn probe_row(look: Look, now: Wall, probe: &ProbeStatus) -> String {
    let Some(since) = Some(probe.since).filter(|since| since.0 > 0) else { return format!("{} ({}) pending", probe.name, probe.role) };
    let standing = look.state(if probe.standing == "passing" { "active" } else { "failed" }, &probe.standing);
    let text = if probe.text.is_empty() { String::new() } else { format!(": {}", probe.text) };
    let breaker = probe.breaker.filter(|breaker| *breaker != BreakerState::Closed);
    let breaker = breaker.map_or_else(String::new, |breaker| format!(", breaker {}", breaker.as_str().replace('_', " ")));
    format!("{} ({}) {standing} for {}{breaker}{text}", probe.name, probe.role, approx_duration(now.since(since)))
}

fn last_exit(unit: &UnitDetails) -> String {
    let Some(exit) = &unit.status.last_exit else { return String::new() };
    let cpu = (exit.usage.user + exit.usage.system).as_secs_f64();
    let ago = approx_duration(unit.now.since(exit.at));
    let peak = match exit.usage.max_rss {
        0 => String::new(),
        peak => format!("{} at most, ", format_size(peak)),
    };
    format!("{}, {ago} ago, {peak}{cpu:.1}s CPU", exit.text)
}

/// A word as a shell would want it.
fn quoted(word: &str) -> String {
    shlex::try_quote(word).map_or_else(|_| word.to_owned(), std::borrow::Cow::into_owned)
}

/// The tree with its branches, and how everything in it stands.
pub(super) fn tree(look: Look, rows: &[TreeRow]) -> String {
    let lines: Vec<_> = rows.iter().map(|row| (row.depth, tree_text(look, row))).collect();
    branches(&lines)
}

fn tree_text(look: Look, row: &TreeRow) -> String {
    let state = look.state(&row.state, &row.state);
    let strategy = row.strategy.as_ref().map(|strategy| look.dim(&format!(" {strategy}"))).unwrap_or_default();
    let name = if row.kind == Kind::Supervisor { look.bold(&row.name) } else { row.name.clone() };
    let mut text = format!("{name}{strategy} {state}");
    if let Some(pid) = row.pid {
        text.push_str(&format!(", pid {pid}"));
    }
    if row.restarts > 0 {
        text.push_str(&format!(", {} {}", row.restarts, if row.restarts == 1 { "restart" } else { "restarts" }));
    }
    if row.held {
        text.push_str(", stopped by an operator");
    }
    if let Some(rests) = rests(row.rests, row.paused) {
        text.push_str(&format!(", {rests}"));
    } else if row.paused {
        text.push_str(", paused by an operator");
    }
    if row.watched {
        text.push_str(&format!(", {NOT_OURS}"));
    }
    if let Some(health) = row.health.as_ref().filter(|health| health.level != HealthLevel::Healthy) {
        text.push_str(&format!(", {}", health.level));
    }
    if let Some(reason) = &row.reason {
        text.push_str(&format!(": {}", reason.replace('\n', " ")));
    }
    text
}

/// Draws the branches before lines that are so deep.
pub(super) fn branches(lines: &[(usize, String)]) -> String {
    // From the end: a line is the last of its siblings if none of its depth came since its parent.
    let mut open: Vec<bool> = Vec::new();
    let mut drawn = Vec::with_capacity(lines.len());
    for (depth, text) in lines.iter().rev() {
        open.resize(depth + 1, false);
        let above: String = open.iter().take(*depth).skip(1).map(|more| if *more { "│   " } else { "    " }).collect();
        let own = match (depth, open[*depth]) {
            (0, _) => "",
            (_, true) => "├── ",
            (_, false) => "└── ",
        };
        open[*depth] = true;
        drawn.push(format!("{above}{own}{text}"));
    }
    drawn.reverse();
    drawn.join("\n")
}

/// `text` in at most `width` columns.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    format!("{kept}…")
}

/// `2026-11-22 02:32:09.123`, local.
pub(super) fn local_time(time: Wall) -> String {
    jiff::Timestamp::from_millisecond(time.0).map_or_else(
        |_| time.to_string(),
        |stamp| stamp.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S.%3f").to_string(),
    )
}

#[cfg(test)]
pub(super) mod tests;
