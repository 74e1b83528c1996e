//! What all logs of a directory take.

use std::collections::BTreeMap;
use std::path::Path;

use super::layout::{Listing, reserved};
use super::{LogError, Meaning};
use crate::base::id::UnitId;
use crate::base::time::Wall;

/// What the logs of a directory take.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Every unit with files, whether it is declared or not.
    pub units: BTreeMap<UnitId, Vec<Stored>>,
    /// Bytes of live files, by unit.
    pub live: BTreeMap<UnitId, u64>,
}

/// A rotated file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The stream offset behind its last byte.
    pub end: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// When its newest byte was written.
    pub written: Wall,
    /// Whether it is not compressed, and may be.
    pub plain: bool,
}

/// Lists the directory once.
///
/// # Errors
/// When a system call fails.
pub fn survey(dir: &Path) -> Result<Survey, LogError> {
    let fail = |source| LogError::io("list", dir, source);
    let mut survey = Survey::default();
    let mut listings: BTreeMap<String, Listing> = BTreeMap::new();
    for entry in std::fs::read_dir(dir).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        // What vanishes meanwhile takes nothing.
        if let Some(unit) = name.strip_suffix(".log")
            && let Ok(metadata) = entry.metadata()
        {
            survey.live.insert(unit.into(), metadata.len().saturating_add(reserved(&metadata)));
        } else if let Some((unit, rest)) = name.rsplit_once(".log.")
            && let Some(meaning) = Meaning::of(rest)
            && let Ok(metadata) = entry.metadata()
        {
            listings.entry(unit.to_owned()).or_default().add(meaning, entry.path(), &metadata);
        }
    }
    for (unit, mut listing) in listings {
        listing.settle();
        let newest = listing.archives.last().map_or(0, |newest| newest.start);
        let stored = listing.archives.iter().filter(|archive| archive.len > 0).map(|archive| Stored {
            end: archive.end(),
            bytes: archive.stored,
            written: archive.written,
            plain: !archive.packed && archive.start < newest,
        });
        survey.units.insert(unit.as_str().into(), stored.collect());
    }
    Ok(survey)
}

impl Survey {
    /// Bytes of all files of `unit`.
    #[must_use]
    pub fn used(&self, unit: &str) -> u64 {
        let archives = self.units.get(unit).into_iter().flatten().map(|stored| stored.bytes).sum::<u64>();
        archives + self.live.get(unit).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_is_a_log_counts_once() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, size: usize| std::fs::write(dir.path().join(name), vec![b'x'; size]).unwrap();
        write("a.log", 5);
        write("a.log.00000000000000000000", 100);
        write("a.log.00000000000000000000.100.zst", 10);
        write("a.log.00000000000000000100", 50);
        write("a.log.idx", 16);
        write("b.log.00000000000000000000.1000.zst", 70);
        write("notes.txt", 1000);
        let survey = survey(dir.path()).unwrap();
        assert_eq!((survey.used("a"), survey.used("b"), survey.used("c")), (155, 70, 0));
        let a: Vec<_> = survey.units["a"].iter().map(|stored| (stored.end, stored.plain)).collect();
        assert_eq!(a, [(100, true), (150, false)]);
        assert_eq!(survey.units["b"][0].end, 1000);
    }
}
