//! How fast a child writes its log, and what that costs beside it: into a plain file, through s6-log, and under us in both modes.
//! All but the plain file are rotated at ten million bytes and keep five old files.

use std::fmt::Write as _;
use std::process::Command;
use std::time::Duration;

use crate::Fault;
use crate::measure::processor_time;
use crate::options::Options;
use crate::ours;
use crate::peer::{Peer, lacks};
use crate::site::{Ground, Site, now, pause};
use crate::table::median;

/// How long the child writes, in seconds.
const SECONDS: u64 = 2;

/// Bytes of a line.
const LINE: f64 = 64.0;

/// The child without anybody above it.
struct Plain;

impl Peer for Plain {
    fn name(&self) -> &'static str {
        "plain"
    }

    fn missing(&self) -> Option<&'static str> {
        None
    }

    fn prepare(&self, site: &Site) -> Result<Command, Fault> {
        let mut command = Command::new("sh");
        command.current_dir(site.path()).args(["-c", "exec \"$0\" \"$@\" >>log"]).arg(&site.child).arg("0").arg(site.page.path());
        command.args(["write", &SECONDS.to_string()]);
        Ok(command)
    }
}

/// The child with s6-log behind a pipe.
struct S6Log;

impl Peer for S6Log {
    fn name(&self) -> &'static str {
        "s6-log"
    }

    fn missing(&self) -> Option<&'static str> {
        lacks("s6-log")
    }

    fn prepare(&self, site: &Site) -> Result<Command, Fault> {
        let mut command = Command::new("sh");
        // The child is the one that is signalled; s6-log ends with its input.
        let script = "mkfifo pipe; s6-log n5 s10000000 ./logs < pipe & exec \"$0\" \"$@\" > pipe";
        command.current_dir(site.path()).args(["-c", script]).arg(&site.child).arg("0").arg(site.page.path());
        command.args(["write", &SECONDS.to_string()]);
        Ok(command)
    }
}

/// The child under us.
struct Logged(&'static str);

impl Peer for Logged {
    fn name(&self) -> &'static str {
        self.0
    }

    fn missing(&self) -> Option<&'static str> {
        None
    }

    fn prepare(&self, site: &Site) -> Result<Command, Fault> {
        let (child, page) = (site.child.display(), site.page.path().display());
        ours::declare(site, 0, &format!("[{child}, \"0\", {page}, write, \"{SECONDS}\"]"), self.0)?;
        ours::supervise(site, "u0")?;
        Ok(ours::run(site))
    }
}

/// One line for each way.
pub(crate) fn measure(ground: &Ground, options: &Options) -> Result<String, Fault> {
    let mut ways: Vec<Box<dyn Peer>> = vec![Box::new(Plain), Box::new(S6Log), Box::new(Logged("direct")), Box::new(Logged("pipe"))];
    ways.retain(|way| way.missing().is_none());
    let mut results: Vec<Vec<(f64, f64)>> = ways.iter().map(|_| Vec::new()).collect();
    for _ in 0..options.rounds {
        for (way, results) in ways.iter().zip(&mut results) {
            results.push(rate(way.as_ref(), ground)?);
        }
    }
    let mut text = format!(
        "lines of {LINE} bytes a child writes, in millions a second; in brackets the ratio to a plain file; and the processor time of \
         everything but the child, for each million bytes\n"
    );
    let of = |results: &[(f64, f64)], which: fn(&(f64, f64)) -> f64| median(&results.iter().map(which).collect::<Vec<_>>());
    let plain = of(&results[0], |result| result.0);
    for (way, results) in ways.iter().zip(&results) {
        let (rate, cost) = (of(results, |result| result.0), of(results, |result| result.1));
        writeln!(
            text,
            "log, {:10} {:.2} M lines/s, {:.0} MB/s ({:.2}), {:.3} ms/MB",
            way.name(),
            rate / 1e6,
            rate * LINE / 1e6,
            rate / plain,
            cost / 1e6
        )?;
    }
    Ok(text)
}

/// Lines a second, and nanoseconds of processor time for a million bytes.
fn rate(way: &dyn Peer, ground: &Ground) -> Result<(f64, f64), Fault> {
    let site = ground.site(1)?;
    let (running, _) = site.start(way)?;
    let used = || -> Result<u64, Fault> { running.own_processes()?.into_iter().map(processor_time).sum() };
    let (start, before) = (now(), used()?);
    pause(Duration::from_secs(SECONDS));
    // The record behind the one of the start.
    running.wait_for_one(1, start)?;
    let cost = used()?.saturating_sub(before);
    let (lines, _) = site.page.record(1)?;
    running.stop(way.stop_signal())?;
    Ok((lines as f64 / SECONDS as f64, cost as f64 * 1e6 / (lines as f64 * LINE)))
}
