//! Every line of every unit, by its own record and in its log.

use std::collections::BTreeMap;
use std::path::Path;

use super::place::{Mode, Place};
use super::subject::Subject;
use crate::Fault;

/// Lines of all units together.
#[derive(Default)]
pub(super) struct Lines {
    /// By the units, those that were refused included.
    pub(super) written: u64,
    /// Written before the stop, and not in the log.
    pub(super) lost: u64,
    /// Written while all was being stopped, and not in the log.
    pub(super) lost_in_stop: u64,
    /// Could not be written.
    pub(super) refused: u64,
    /// In the log once more.
    pub(super) doubled: u64,
}

/// What each process had written at some time, by process id.
pub(super) type Written = BTreeMap<u32, u64>;

/// What each has written until now.
pub(super) fn written(place: &Place) -> Result<Written, Fault> {
    Ok(place.all_runs()?.into_iter().map(|run| (run.pid, run.written + run.refused)).collect())
}

/// Compares when everything has ended; the stop came after `before_stop`.
pub(super) fn count(subject: &dyn Subject, place: &Place, before_stop: &Written) -> Result<Lines, Fault> {
    let mut lines = Lines::default();
    for number in (0..place.units.len()).filter(|number| place.units[*number] == Mode::Log) {
        let mut found: BTreeMap<(u32, u64), u64> = BTreeMap::new();
        for line in read(&subject.log(place, number))?.lines() {
            let mut words = line.split(' ');
            // What was torn is not the line that was written.
            if let (Some(unit), Some(pid), Some(line), Some(_)) = (words.next(), words.next(), words.next(), words.next())
                && let (Ok(unit), Ok(pid), Ok(line)) = (unit.parse::<usize>(), pid.parse(), line.parse())
                && unit == number
            {
                *found.entry((pid, line)).or_default() += 1;
            }
        }
        for run in place.runs(number)? {
            // A line that was begun when the process ended may be there or not.
            let written = run.written + run.refused;
            lines.written += written;
            lines.refused += run.refused;
            let missing = |lines: std::ops::RangeInclusive<u64>| lines.filter(|line| !found.contains_key(&(run.pid, *line))).count() as u64;
            let until = before_stop.get(&run.pid).map_or(0, |until| *until.min(&written));
            let (lost, lost_in_stop) = (missing(1..=until), missing(until + 1..=written));
            // Which ones were refused is not recorded; they are the last ones.
            lines.lost_in_stop += lost_in_stop.saturating_sub(run.refused);
            lines.lost += lost.saturating_sub(run.refused.saturating_sub(lost_in_stop));
        }
        lines.doubled += found.values().map(|times| times - 1).sum::<u64>();
    }
    Ok(lines)
}

/// A file, or all files of a directory.
fn read(path: &Path) -> Result<String, Fault> {
    let text = |path: &Path| -> Result<String, Fault> { Ok(String::from_utf8_lossy(&std::fs::read(path)?).into_owned()) };
    if !path.is_dir() {
        return text(path);
    }
    let mut all = String::new();
    for entry in std::fs::read_dir(path)? {
        all += &text(&entry?.path())?;
    }
    Ok(all)
}
