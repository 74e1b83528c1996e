//! The regular round over all logs: time index and rotation.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{AtFlags, statat};

use super::layout::Layout;
use super::{Files, Index, LogError, RotateReport, recover, rotate_direct};
use crate::base::id::UnitId;
use crate::base::time::Wall;
use crate::plan::LogMode;

/// How long a log that could not be tended is left alone, in milliseconds.
const RETRY_MS: i64 = 30_000;

/// One log of the round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SweepUnit {
    /// Whose log it is.
    pub unit: UnitId,
    /// How it is written; only `direct` logs are rotated here, `pipe` logs by the pump.
    pub mode: LogMode,
    /// The live file is rotated beyond this size.
    pub max_size: u64,
    /// How many archives are kept.
    pub keep: u32,
}

/// What a round has done to a log, where it has done anything worth telling.
#[derive(Debug)]
pub struct SweepReport {
    /// Whose log it is.
    pub unit: UnitId,
    /// The rotation, or why the log could not be tended; it is tried again after half a minute.
    pub outcome: Result<RotateReport, LogError>,
}

/// What the rounds remember from one to the next.
#[derive(Debug, Default)]
pub struct SweepMemory {
    logs: BTreeMap<UnitId, Log>,
}

#[derive(Debug)]
struct Log {
    name: String,
    /// Inode and size at the last look.
    seen: Option<(u64, u64)>,
    /// Stream offset of the live file's first byte, for the inode seen.
    base: u64,
    oldest: u64,
    not_before: Option<Wall>,
}

/// Looks at every log once: one system call for each that has not changed.
pub fn sweep(dir: &Path, units: &[SweepUnit], now: Wall, memory: &mut SweepMemory) -> Vec<SweepReport> {
    // A directory that is missing holds no logs.
    let Ok(handle) = File::open(dir) else { return Vec::new() };
    if memory.logs.len() > units.len() {
        memory.logs.retain(|known, _| units.iter().any(|unit| unit.unit == *known));
    }
    let mut archived = Archived { dir, units: None };
    let mut reports = Vec::new();
    for unit in units.iter().filter(|unit| unit.mode != LogMode::None) {
        if !memory.logs.contains_key(&unit.unit) {
            memory.logs.insert(unit.unit.clone(), Log::new(&unit.unit));
        }
        let Some(log) = memory.logs.get_mut(&unit.unit) else { continue };
        match log.tend(&mut archived, &handle, unit, now) {
            Ok(None) => {}
            Ok(Some(report)) => reports.push(SweepReport { unit: unit.unit.clone(), outcome: Ok(report) }),
            Err(error) => {
                log.seen = None;
                log.not_before = Some(Wall(now.0.saturating_add(RETRY_MS)));
                reports.push(SweepReport { unit: unit.unit.clone(), outcome: Err(error) });
            }
        }
    }
    reports
}

impl Log {
    fn new(unit: &UnitId) -> Self {
        Self { name: format!("{unit}.log"), seen: None, base: 0, oldest: 0, not_before: None }
    }

    fn tend(&mut self, archived: &mut Archived<'_>, handle: &File, unit: &SweepUnit, now: Wall) -> Result<Option<RotateReport>, LogError> {
        let dir = archived.dir;
        // A wait longer than it can be means that the clock was set back.
        if self.not_before.is_some_and(|then| now < then && then.0 - now.0 <= RETRY_MS) {
            return Ok(None);
        }
        self.not_before = None;
        let stat = match statat(handle, self.name.as_str(), AtFlags::empty()) {
            Ok(stat) => stat,
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(LogError::io("inspect", &dir.join(&self.name), io::Error::from(errno))),
        };
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        if self.seen == Some((stat.st_ino, size)) {
            return Ok(None);
        }
        let name = unit.unit.as_str();
        if self.seen.is_none_or(|(inode, known)| inode != stat.st_ino || size < known) && !self.place(archived, unit, stat.st_ino)? {
            // Rotated by the pump just now: the size belongs to another place of the stream.
            return Ok(None);
        }
        self.seen = Some((stat.st_ino, size));
        Index::observe(dir, name, now, self.base + size, self.oldest)?;
        if unit.mode != LogMode::Direct || size <= unit.max_size {
            return Ok(None);
        }
        let report = rotate_direct(dir, name, unit.max_size, unit.keep)?;
        // The size has changed, and nobody knows the new one: the next round looks again.
        self.seen = None;
        Ok((report != RotateReport::default()).then_some(report))
    }

    /// Finds out where in the stream the live file begins; whether that is so of the file `inode` still.
    fn place(&mut self, archived: &mut Archived<'_>, unit: &SweepUnit, inode: u64) -> Result<bool, LogError> {
        let (dir, name) = (archived.dir, unit.unit.as_str());
        if !archived.has(name)? {
            // Nothing but the live file, unless its first archive has come since.
            let first = Files::new(dir, name).archive(0);
            (self.base, self.oldest) = (0, 0);
            return Ok(first.symlink_metadata().is_err());
        }
        if unit.mode == LogMode::Direct {
            recover(dir, name)?;
        }
        let layout = Layout::resolve(&Files::new(dir, name))?;
        (self.base, self.oldest) = (layout.base, layout.oldest());
        Ok(layout.live.as_ref().and_then(|live| live.metadata().ok()).map(|metadata| metadata.ino()) == Some(inode))
    }
}

/// Which units have more than a live file. The directory is listed once a round, and only when somebody asks: a list for each of
/// many new units would take seconds.
struct Archived<'a> {
    dir: &'a Path,
    units: Option<BTreeSet<String>>,
}

impl Archived<'_> {
    fn has(&mut self, unit: &str) -> Result<bool, LogError> {
        if self.units.is_none() {
            let entries = std::fs::read_dir(self.dir).map_err(|source| LogError::io("list", self.dir, source))?;
            let mut units = BTreeSet::new();
            for entry in entries {
                let name = entry.map_err(|source| LogError::io("list", self.dir, source))?.file_name();
                // Archives and parts; an index has no digits.
                let unit = name.to_str().and_then(|name| name.rsplit_once(".log."));
                units.extend(unit.filter(|(_, rest)| rest.starts_with(|c: char| c.is_ascii_digit())).map(|(unit, _)| unit.to_owned()));
            }
            self.units = Some(units);
        }
        Ok(self.units.as_ref().is_some_and(|units| units.contains(unit)))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::os::logfile::{LogReader, live_path, supports_collapse};

    fn unit(name: &str, max_size: u64) -> SweepUnit {
        SweepUnit { unit: name.into(), mode: LogMode::Direct, max_size, keep: 3 }
    }

    #[test]
    fn a_round_notes_growth_and_rotates() {
        let dir = tempfile::tempdir().unwrap();
        if !supports_collapse(dir.path()) {
            println!("SKIPPED: the temporary directory's file system cannot collapse");
            return;
        }
        let mut live = File::options().append(true).create(true).open(live_path(dir.path(), "a")).unwrap();
        let (units, mut memory) = ([unit("a", 10_000), unit("missing", 1)], SweepMemory::default());
        let mut written = 0;
        let mut rotated = 0;
        for round in 1..=20_i64 {
            for _ in 0..100 {
                live.write_all(format!("{:>29}\n", written).as_bytes()).unwrap();
                written += 30;
            }
            for report in sweep(dir.path(), &units, Wall(round * 2000), &mut memory) {
                rotated += report.outcome.unwrap().rotated;
            }
        }
        assert!(rotated > 40_000, "{rotated}");
        let mut reader = LogReader::open(dir.path(), "a");
        assert_eq!(reader.range().unwrap().end, written);
        assert_eq!(reader.since(Wall(19 * 2000)).unwrap(), written - 3000);
        let (lines, next) = reader.tail_lines(1).unwrap();
        assert_eq!((lines[0].offset, lines[0].text.trim(), next), (written - 30, (written - 30).to_string().as_str(), written));
    }

    #[test]
    fn an_unrotatable_log_is_left_alone_for_a_while() {
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        std::fs::write(live_path(dir.path(), "a"), vec![b'x'; 20_000]).unwrap();
        let (units, mut memory) = ([unit("a", 10_000)], SweepMemory::default());
        let failures = |now, memory: &mut _| sweep(dir.path(), &units, Wall(now), memory).iter().filter(|r| r.outcome.is_err()).count();
        assert_eq!(failures(0, &mut memory), 1);
        assert_eq!(failures(2000, &mut memory), 0);
        assert_eq!(failures(RETRY_MS, &mut memory), 1);
        assert_eq!(std::fs::read(live_path(dir.path(), "a")).unwrap(), vec![b'x'; 20_000]);
    }
}
