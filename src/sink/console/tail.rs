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
const LOOKS: usize = 64;

/// See [`LOOKS`].
const QUIET: u32 = 25;

/// The ends of all logs.
#[derive(Debug, Default)]
pub(super) struct Tails {
    directory: PathBuf,
    /// Where logs that were there at the beginning ended then. All others are followed from their first byte.
    ends: BTreeMap<String, u64>,
    tails: BTreeMap<UnitId, Tail>,
    ticks: usize,
}

/// The end of one log.
#[derive(Debug)]
struct Tail {
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

    /// Writes what is new in the units' logs, or in those of them whose turn it is unless it is for the `last` time. Blocks.
    pub(super) fn print(&mut self, units: &[UnitStatus], last: bool, style: &Style, out: &mut String) {
        if self.tails.len() > units.len() {
            self.tails.retain(|unit, _| units.binary_search_by(|status| status.unit.cmp(unit)).is_ok());
        }
        let turns = units.len().div_ceil(LOOKS).max(1);
        for (number, status) in units.iter().enumerate() {
            let unit = status.unit.as_str();
            if !self.tails.contains_key(unit) {
                let start = self.ends.get(unit).copied().unwrap_or(0);
                let follow = LogReader::open(&self.directory, unit).follow(start);
                self.tails.insert(status.unit.clone(), Tail { follow, quiet: 0 });
            }
            let Some(tail) = self.tails.get_mut(unit) else { continue };
            if !last && tail.quiet >= QUIET && number % turns != self.ticks % turns {
                continue;
            }
            if tail.follow.grown() {
                tail.quiet = 0;
                print(&self.directory, unit, &mut tail.follow, style, out);
            } else {
                tail.quiet = tail.quiet.saturating_add(1);
            }
        }
        self.ticks = self.ticks.wrapping_add(1);
    }
}

fn print(directory: &Path, unit: &str, follow: &mut Follow, style: &Style, out: &mut String) {
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
        let mut reader = LogReader::open(directory, unit);
        if let Ok(end) = reader.tail(0) {
            *follow = reader.follow(end);
            style.line(now, unit, "… it writes faster than can be shown; `logs` has everything", out);
        }
    }
}
