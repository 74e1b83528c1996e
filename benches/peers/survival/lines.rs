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
    /// Written, and not in the log.
    pub(super) lost: u64,
    /// Could not be written.
    pub(super) refused: u64,
    /// In the log once more.
    pub(super) doubled: u64,
}

/// Compares when everything has ended.
pub(super) fn count(subject: &dyn Subject, place: &Place) -> Result<Lines, Fault> {
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
            let missing = (1..=written).filter(|line| !found.contains_key(&(run.pid, *line))).count() as u64;
            lines.lost += missing.saturating_sub(run.refused);
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
