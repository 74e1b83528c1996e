//! How the tree stands, in the line that `systemctl status` shows, and what else systemd is told of it (`sd_notify(3)`).

use std::time::Duration;

use crate::base::time::Mono;
use crate::event::{UnitStatus, View};

/// While the tree starts or stops, systemd is told with every heartbeat that it will take no longer than this: the limits are the units' own, and
/// systemd's (`TimeoutStartSec=`, `TimeoutStopSec=`) is for when nobody says anything any more.
const EXTENSION: Duration = Duration::from_secs(30);

/// So many units are named; the rest is counted.
const NAMED_MAX: usize = 3;

/// Where the tree is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Not every unit was ready yet.
    Starting,
    /// It is up.
    Up,
    /// It is going down.
    Stopping,
}

/// How many units stand how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    all: usize,
    ready: usize,
    held: usize,
    failed: usize,
    /// Who is not ready, though nobody has stopped it.
    awaited: Vec<String>,
    /// Who has a process.
    running: Vec<String>,
}

impl Tally {
    pub(super) fn of(view: &View) -> Self {
        let mut tally = Self::default();
        view.each_unit(|unit| tally.count(unit));
        tally
    }

    fn count(&mut self, unit: &UnitStatus) {
        self.all += 1;
        self.ready += usize::from(unit.ready);
        self.held += usize::from(unit.held);
        let failed = unit.state == "failed";
        self.failed += usize::from(failed);
        if !unit.ready && !unit.held && !failed && !unit.rests {
            self.awaited.push(unit.unit.to_string());
        }
        if unit.pid.is_some() {
            self.running.push(unit.unit.to_string());
        }
    }

    /// The line. `faults` are what the whole has to complain of.
    pub(super) fn line(&self, phase: Phase, faults: &[String]) -> String {
        let Self { all, ready, held, failed, awaited, running } = self;
        let mut line = match phase {
            Phase::Starting if awaited.is_empty() => format!("starting: {ready} of {all} units active"),
            Phase::Starting => format!("starting: {ready} of {all} units active, waiting for {}", named(awaited)),
            Phase::Up => format!("{ready} of {all} units active"),
            Phase::Stopping if running.is_empty() => return "stopping: no unit is left".into(),
            Phase::Stopping => return format!("stopping: waiting for {}", named(running)),
        };
        for fault in faults {
            line.push_str(&format!(", {fault}"));
        }
        for (count, what) in [(*failed, "failed"), (*held, "stopped by an operator")] {
            if count > 0 {
                line.push_str(&format!(", {count} {what}"));
            }
        }
        line
    }
}

fn named(units: &[String]) -> String {
    let (named, more) = units.split_at(units.len().min(NAMED_MAX));
    match more.len() {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

/// What systemd is told with a heartbeat, if it has to be: the line, if it is another than before, and how much longer to wait.
pub(super) fn notice(phase: Phase, line: Option<&str>) -> Option<String> {
    let status = line.map(|line| format!("STATUS={line}"));
    let extension = (phase != Phase::Up).then(|| format!("EXTEND_TIMEOUT_USEC={}", EXTENSION.as_micros()));
    let notice: Vec<_> = status.into_iter().chain(extension).collect();
    (!notice.is_empty()).then(|| notice.join("\n"))
}

/// What systemd is told when a reload begins. It takes only what is newer than its request: `now` is on `CLOCK_MONOTONIC`.
pub(super) fn reloading(now: Mono) -> String {
    format!("RELOADING=1\nMONOTONIC_USEC={}\nSTATUS=reloading", now.0 / 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_what_is_waited_for() {
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let mut tally = Tally { all: 6, ready: 1, held: 1, awaited: names(&["a", "b", "c", "d"]), ..Tally::default() };
        let check = |tally: &Tally, phase, faults: &[&str], line: &str| assert_eq!(tally.line(phase, &names(faults)), line);
        check(&tally, Phase::Starting, &[], "starting: 1 of 6 units active, waiting for a, b, c and 1 more, 1 stopped by an operator");
        tally.failed = 2;
        check(&tally, Phase::Up, &["degraded: x"], "1 of 6 units active, degraded: x, 2 failed, 1 stopped by an operator");
        check(&tally, Phase::Stopping, &[], "stopping: no unit is left");
        tally.running = names(&["a", "b"]);
        check(&tally, Phase::Stopping, &["degraded: x"], "stopping: waiting for a, b");
    }

    #[test]
    fn systemd_hears_what_is_new_and_that_it_goes_on() {
        assert_eq!(notice(Phase::Up, None), None);
        assert_eq!(notice(Phase::Up, Some("x")).as_deref(), Some("STATUS=x"));
        assert_eq!(notice(Phase::Starting, None).as_deref(), Some("EXTEND_TIMEOUT_USEC=30000000"));
        assert_eq!(notice(Phase::Stopping, Some("x")).as_deref(), Some("STATUS=x\nEXTEND_TIMEOUT_USEC=30000000"));
        assert_eq!(reloading(Mono(2_500)), "RELOADING=1\nMONOTONIC_USEC=2\nSTATUS=reloading");
    }
}
