//! The measurements of one supervisor.

use std::process::Stdio;
use std::time::Duration;

use crate::Fault;
use crate::options::Options;
use crate::peer::Peer;
use crate::site::{Ground, Running, Site, now, pause};
use crate::table::{Table, median};

/// How long a supervisor gets to come to rest.
pub(crate) const REST: Duration = Duration::from_millis(1200);

/// How long it gets until nothing is left to be done after the start.
const SETTLE: Duration = Duration::from_secs(4);

/// How many single restarts are measured where each takes a second or more.
const SLOW_RESTARTS: usize = 5;

/// One unit, and nothing around it.
pub(crate) fn alone(peer: &dyn Peer, ground: &Ground, options: &Options, table: &mut Table) -> Result<(), Fault> {
    if !options.wants_row("alone") {
        return Ok(());
    }
    let site = ground.site(1)?;
    let (running, _) = site.start(peer)?;
    pause(REST);
    table.add("alone", peer.name(), restarts(peer, &running, options.restarts)?);
    running.stop(peer.stop_signal())?;
    Ok(())
}

/// All units.
pub(crate) fn many(peer: &dyn Peer, ground: &Ground, options: &Options, first: bool, table: &mut Table) -> Result<(), Fault> {
    let rows = ["up", "among", "killed", "stop", "status", "memory", "idle"];
    if !rows.into_iter().any(|row| options.wants_row(row)) {
        return Ok(());
    }
    let site = ground.site(options.units)?;
    let (mut running, up) = site.start(peer)?;
    table.add("up", peer.name(), up as f64);
    pause(REST);
    if options.wants_row("memory") {
        table.add("memory", peer.name(), memory(&running)?);
    }
    if first && options.wants_row("idle") {
        table.add("idle", peer.name(), idle(&running, options.idle)?);
    }
    if options.wants_row("status")
        && let Some(took) = status(peer, &site)?
    {
        table.add("status", peer.name(), took);
    }
    if options.wants_row("among") {
        table.add("among", peer.name(), restarts(peer, &running, options.restarts)?);
    }
    if options.wants_row("killed") {
        pause(peer.least_age().max(REST));
        let start = now();
        for number in 0..options.units {
            running.kill_one(number)?;
        }
        table.add("killed", peer.name(), running.wait_for_all(start)? as f64);
    }
    pause(peer.least_age().max(REST));
    table.add("stop", peer.name(), running.stop(peer.stop_signal())? as f64);
    Ok(())
}

/// The median of single restarts, in nanoseconds.
fn restarts(peer: &dyn Peer, running: &Running<'_>, count: usize) -> Result<f64, Fault> {
    let units = running.site.units;
    let mut took = Vec::new();
    for round in 0..count {
        // Each time another one, so that most have lived long enough.
        let number = round * 7919 % units;
        pause(if units > count { Duration::from_millis(5) } else { peer.least_age().max(Duration::from_millis(5)) });
        let start = now();
        running.kill_one(number)?;
        took.push(running.wait_for_one(number, start)? as f64);
        if round + 1 >= SLOW_RESTARTS && (median(&took) > 5e8 || !peer.least_age().is_zero() && units <= count) {
            break;
        }
    }
    Ok(median(&took))
}

/// The median of `count` restarts of unit `number`, in nanoseconds.
pub(crate) fn restarts_of(running: &Running<'_>, number: usize, count: usize) -> Result<f64, Fault> {
    let mut took = Vec::new();
    for _ in 0..count {
        pause(Duration::from_millis(20));
        let start = now();
        running.kill_one(number)?;
        took.push(running.wait_for_one(number, start)? as f64);
    }
    Ok(median(&took))
}

/// The status command, in nanoseconds.
fn status(peer: &dyn Peer, site: &Site) -> Result<Option<f64>, Fault> {
    let mut took = Vec::new();
    for _ in 0..5 {
        let Some(mut command) = peer.status(site) else { return Ok(None) };
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let start = now();
        command.status()?;
        took.push((now() - start) as f64);
    }
    Ok(Some(median(&took)))
}

/// PSS in bytes.
fn memory(running: &Running<'_>) -> Result<f64, Fault> {
    let mut sum = 0;
    for pid in running.own_processes()? {
        let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).ok_or("the kernel tells no PSS")?;
        sum += line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024;
    }
    Ok(sum as f64)
}

/// The part of one processor that is used once everything has come to rest, in percent.
fn idle(running: &Running<'_>, seconds: u64) -> Result<f64, Fault> {
    pause(SETTLE);
    let used = || -> Result<u64, Fault> { running.own_processes()?.into_iter().map(processor_time).sum() };
    let (start, before) = (now(), used()?);
    pause(Duration::from_secs(seconds));
    let (end, after) = (now(), used()?);
    Ok((after.saturating_sub(before)) as f64 * 100.0 / (end - start) as f64)
}

/// What a process has used, in nanoseconds, with its threads that have ended.
pub(crate) fn processor_time(pid: u32) -> Result<u64, Fault> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // Behind the name, which may hold anything, come the fields from the third on.
    let fields = stat.rsplit_once(')').ok_or("the kernel tells no times")?.1.split_whitespace();
    let mut ticks = 0;
    for field in fields.skip(14 - 3).take(2) {
        ticks += field.parse::<u64>()?;
    }
    Ok(ticks * 1_000_000_000 / rustix::param::clock_ticks_per_second())
}
