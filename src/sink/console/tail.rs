//! Follows the log files of all units.
#![expect(clippy::disallowed_methods, reason = "looks for the log files there are")]

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};

use super::LINES_MAX;
use super::format::Style;
use crate::base::id::UnitId;
use crate::event::UnitStatus;
use crate::os::clock;
use crate::os::logfile::{Follow, LogReader};

/// How many blocks of one log are read in one tick; beyond them the rest is passed over.
const ROUNDS_MAX: usize = 16;

/// How many quiet logs are looked at in one tick: with more, each has its turn every few ticks. A log that grew is looked at in
/// every tick until it has been quiet for [`QUIET`] ticks.
const LOOKS: usize = 50;

/// See [`LOOKS`].
const QUIET: u32 = 25;

/// The ends of all logs.
#[derive(Debug, Default)]
pub(super) struct Tails {
    directory: PathBuf,
    /// Where logs that were there at the beginning ended then. All others are followed from their first byte.
    ends: BTreeMap<String, u64>,
    tails: Vec<Tail>,
    ticks: usize,
}

/// The end of one log.
#[derive(Debug)]
struct Tail {
    unit: UnitId,
    /// The log's name.
    log: UnitId,
    is_stderr: bool,
    follow: Follow,
    /// For how many looks it has not grown.
    quiet: u32,
}

impl Tails {
    /// Takes note of what is in `directory` already. Blocks.
    pub(super) fn new(directory: &Path) -> Self {
        let names = std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.file_name());
        let units = names.filter_map(|name| name.to_str().and_then(|name| name.strip_suffix(".log")).map(str::to_owned));
        let end = |unit: String| {
            let end = LogReader::open(directory, &unit).range().ok()?.end;
            Some((unit, end))
        };
        Self { directory: directory.to_owned(), ends: units.filter_map(end).collect(), ..Self::default() }
    }

    /// Follows the logs of `units`, and of no others.
    pub(super) fn set_units(&mut self, units: &[UnitStatus]) {
        if self.tails.iter().map(|tail| (&tail.unit, tail.is_stderr)).eq(logs(units)) {
            return;
        }
        let mut known: BTreeMap<_, _> = self.tails.drain(..).map(|tail| ((tail.unit.clone(), tail.is_stderr), tail)).collect();
        let tail = |(unit, is_stderr): (&UnitId, bool)| {
            known.remove(&(unit.clone(), is_stderr)).unwrap_or_else(|| Tail::open(&self.directory, unit, is_stderr, &self.ends))
        };
        self.tails = logs(units).map(tail).collect();
    }

    /// Writes what is new in the logs, or in those whose turn it is unless it is for the `last` time. Blocks.
    pub(super) fn print(&mut self, last: bool, style: &Style, out: &mut String) {
        let turns = self.tails.len().div_ceil(LOOKS).max(1);
        for (number, tail) in self.tails.iter_mut().enumerate() {
            if !last && tail.quiet >= QUIET && number % turns != self.ticks % turns {
                continue;
            }
            if tail.follow.grown() {
                tail.quiet = 0;
                print(&self.directory, tail, style, out);
            } else {
                tail.quiet = tail.quiet.saturating_add(1);
            }
        }
        self.ticks = self.ticks.wrapping_add(1);
    }
}

/// The logs of `units`: of each one, or two.
fn logs(units: &[UnitStatus]) -> impl Iterator<Item = (&UnitId, bool)> {
    let logs = units.iter().flat_map(|status| [(status, false), (status, true)]);
    logs.filter(|(status, is_stderr)| !is_stderr || status.separate_stderr).map(|(status, is_stderr)| (&status.unit, is_stderr))
}

impl Tail {
    fn open(directory: &Path, unit: &UnitId, is_stderr: bool, ends: &BTreeMap<String, u64>) -> Self {
        let log = if is_stderr { unit.stderr_log() } else { unit.clone() };
        let start = ends.get(log.as_str()).copied().unwrap_or(0);
        let follow = LogReader::open(directory, log.as_str()).follow(start);
        Self { unit: unit.clone(), log, is_stderr, follow, quiet: 0 }
    }
}

fn print(directory: &Path, tail: &mut Tail, style: &Style, out: &mut String) {
    let (unit, follow) = (tail.unit.as_str(), &mut tail.follow);
    let now = clock::wall();
    let (mut lines, mut skipped) = (VecDeque::new(), 0);
    for _ in 0..ROUNDS_MAX {
        // A log that cannot be read now may be readable at the next tick; whoever wants to know why asks `logs`.
        let Ok(new) = follow.poll() else { return };
        lines.extend(new);
        let surplus = lines.len().saturating_sub(LINES_MAX);
        lines.drain(..surplus);
        skipped += surplus;
        if !follow.grown() {
            break;
        }
    }
    if skipped > 0 {
        style.line(now, unit, &format!("… {skipped} lines skipped"), out);
    }
    for line in lines {
        style.line(now, unit, &line.text, out);
    }
    if follow.grown() {
        let mut reader = LogReader::open(directory, tail.log.as_str());
        if let Ok(end) = reader.tail(0) {
            *follow = reader.follow(end);
            style.line(now, unit, "… it writes faster than can be shown; `logs` has everything", out);
        }
    }
}
