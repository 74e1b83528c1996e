//! What was dropped of a log against its declaration, so that readers are told: `UNIT.log.gaps`.

use std::io;
use std::path::Path;

use super::{Files, LogError};
use crate::base::time::Wall;
use crate::event::{Gap, GapReason};

/// How many gaps of one log are remembered; beyond, the oldest are forgotten. Gaps that touch each other are one.
pub const GAPS_MAX: usize = 64;

/// The gaps of one log that are remembered, oldest first. What cannot be read is none.
pub(super) fn load(files: &Files) -> Vec<Gap> {
    let text = std::fs::read_to_string(files.gaps()).unwrap_or_default();
    text.lines().filter_map(parse).collect()
}

fn parse(line: &str) -> Option<Gap> {
    let mut words = line.split(' ');
    let mut number = || words.next()?.parse::<i64>().ok();
    let (start, end, from, to) = (number()?, number()?, number()?, number()?);
    let word = words.next()?;
    let why = GapReason::from_word(word)?;
    Some(Gap { start: u64::try_from(start).ok()?, end: u64::try_from(end).ok()?, from: Wall(from), to: Wall(to), why })
}

/// Notes a gap, before the bytes go: readers show only the part of it that really is gone.
pub(super) fn note(files: &Files, gap: Gap) -> Result<(), LogError> {
    let mut gaps = load(files);
    match gaps.last_mut() {
        Some(last) if last.end >= gap.start && last.why == gap.why => {
            last.end = last.end.max(gap.end);
            last.to = gap.to;
        }
        _ => gaps.push(gap),
    }
    gaps.drain(..gaps.len().saturating_sub(GAPS_MAX));
    let line = |gap: &Gap| format!("{} {} {} {} {}\n", gap.start, gap.end, gap.from.0, gap.to.0, gap.why.as_str());
    let text: String = gaps.iter().map(line).collect();
    let path = files.gaps();
    replace(&path, &text).map_err(|source| LogError::io("write", &path, source))
}

fn replace(path: &Path, text: &str) -> io::Result<()> {
    let temporary = path.with_extension("gaps.new");
    std::fs::write(&temporary, text)?;
    std::fs::rename(&temporary, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gap(start: u64, end: u64, why: GapReason) -> Gap {
        Gap { start, end, from: Wall(1_700_000_000_000), to: Wall(1_700_000_060_000), why }
    }

    #[test]
    fn gaps_that_touch_are_one_and_their_number_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::new(dir.path(), "a");
        assert_eq!(load(&files), []);
        for (start, end) in [(0, 100), (100, 250), (250, 300)] {
            note(&files, gap(start, end, GapReason::Quota)).unwrap();
        }
        note(&files, gap(300, 400, GapReason::DiskFull)).unwrap();
        assert_eq!(load(&files), [gap(0, 300, GapReason::Quota), gap(300, 400, GapReason::DiskFull)]);
        for number in 0..200 {
            note(&files, gap(1000 + 20 * number, 1010 + 20 * number, GapReason::Quota)).unwrap();
        }
        assert_eq!(load(&files).len(), GAPS_MAX);
        std::fs::write(files.gaps(), "0 5 nonsense\n\n1 2 3 4 quota\n-1 2 3 4 quota\n").unwrap();
        assert_eq!(load(&files).len(), 1);
    }
}
