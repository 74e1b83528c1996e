//! The regular round over all logs: time index and rotation.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::ops::RangeInclusive;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{AtFlags, statat};

use super::layout::Layout;
use super::{Files, Index, LogError, RotateReport, recover, rotate_direct};
use crate::base::id::UnitId;
use crate::base::time::{Mono, Wall};
use crate::os::clock;
use crate::plan::{LogMode, LogsPlan};

/// How long a log that could not be tended is left alone, in milliseconds.
const RETRY_MS: i64 = 30_000;

/// How often logs are looked at: when none grows, and when one grows as fast as it can.
pub const PERIOD: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(1);

/// Less than this stays in a live file that is rotated under its writer.
const BLOCK: u64 = 4096;

/// One log of the round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SweepUnit {
    /// Whose log it is.
    pub unit: UnitId,
    /// How it is written and when it is rotated; only `direct` logs are rotated here, others by the pump.
    pub logs: LogsPlan,
}

/// What a round has found.
#[derive(Debug)]
pub struct Swept {
    /// What was done, where anything was done that is worth telling.
    pub reports: Vec<SweepReport>,
    /// Logs the pump is to rotate, because they are too old.
    pub aged: Vec<UnitId>,
    /// When to look again.
    pub next: Duration,
}

/// What a round has done to a log.
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
    looked: Option<Mono>,
}

#[derive(Debug)]
struct Log {
    name: String,
    /// Inode and size at the last look.
    seen: Option<(u64, u64)>,
    /// Where the stream ended then.
    end: Option<u64>,
    /// Stream offset of the live file's first byte, for the inode seen.
    base: u64,
    oldest: u64,
    /// When the first byte of the live file was there, if that matters.
    begun: Option<Wall>,
    not_before: Option<Wall>,
}

/// What is due.
enum Due {
    Nothing,
    /// In how much time the log will be full, if it goes on growing as it does.
    FullIn(Duration),
    Rotated(RotateReport),
    Aged,
}

/// Looks at every log once: one system call for each that has not changed.
pub fn sweep(dir: &Path, units: &[SweepUnit], now: Wall, memory: &mut SweepMemory) -> Swept {
    let mut swept = Swept { reports: Vec::new(), aged: Vec::new(), next: *PERIOD.end() };
    // A directory that is missing holds no logs.
    let Ok(handle) = File::open(dir) else { return swept };
    if memory.logs.len() > units.len() {
        memory.logs.retain(|known, _| units.iter().any(|unit| unit.unit == *known));
    }
    let clock = clock::mono();
    let elapsed = memory.looked.replace(clock).map(|before| clock - before);
    let mut round = Round { archived: Archived { dir, units: None }, handle, now, elapsed };
    for unit in units.iter().filter(|unit| unit.logs.mode != LogMode::None) {
        if !memory.logs.contains_key(&unit.unit) {
            memory.logs.insert(unit.unit.clone(), Log::new(&unit.unit));
        }
        let Some(log) = memory.logs.get_mut(&unit.unit) else { continue };
        match log.tend(&mut round, unit) {
            Ok(Due::Nothing) => {}
            Ok(Due::FullIn(time)) => swept.next = swept.next.min(time),
            Ok(Due::Aged) => swept.aged.push(unit.unit.clone()),
            Ok(Due::Rotated(report)) => {
                // It may be as fast again.
                swept.next = *PERIOD.start();
                swept.reports.push(SweepReport { unit: unit.unit.clone(), outcome: Ok(report) });
            }
            // By its unit: it decides neither how long the log is left alone nor how often that is told.
            Err(error) if error.is_by_unit() => {
                log.seen = None;
                swept.next = *PERIOD.start();
            }
            Err(error) => {
                log.seen = None;
                log.not_before = Some(Wall(now.0.saturating_add(RETRY_MS)));
                swept.reports.push(SweepReport { unit: unit.unit.clone(), outcome: Err(error) });
            }
        }
    }
    swept.next = swept.next.clamp(*PERIOD.start(), *PERIOD.end());
    swept
}

/// What is the same for all logs of a round.
struct Round<'a> {
    archived: Archived<'a>,
    handle: File,
    now: Wall,
    /// Since the last round.
    elapsed: Option<Duration>,
}

impl Log {
    fn new(unit: &UnitId) -> Self {
        Self { name: format!("{unit}.log"), seen: None, end: None, base: 0, oldest: 0, begun: None, not_before: None }
    }

    fn tend(&mut self, round: &mut Round<'_>, unit: &SweepUnit) -> Result<Due, LogError> {
        let (dir, now) = (round.archived.dir, round.now);
        // A wait longer than it can be means that the clock was set back.
        if self.not_before.is_some_and(|then| now < then && then.0 - now.0 <= RETRY_MS) {
            return Ok(Due::Nothing);
        }
        self.not_before = None;
        let stat = match statat(&round.handle, self.name.as_str(), AtFlags::empty()) {
            Ok(stat) => stat,
            Err(rustix::io::Errno::NOENT) => return Ok(Due::Nothing),
            Err(errno) => return Err(LogError::io("inspect", &dir.join(&self.name), io::Error::from(errno))),
        };
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        if self.seen != Some((stat.st_ino, size)) {
            match self.seen {
                Some((inode, known)) if inode == stat.st_ino && size >= known => {}
                _ => {
                    if !self.place(&mut round.archived, unit, stat.st_ino)? {
                        // Rotated by the pump just now: the size belongs to another place of the stream.
                        return Ok(Due::Nothing);
                    }
                    self.begun = None;
                }
            }
            self.seen = Some((stat.st_ino, size));
            // Where each line has a stamp the pump writes the index.
            if !(unit.logs.timestamps && unit.logs.mode == LogMode::Pipe) {
                Index::observe(dir, unit.unit.as_str(), now, self.base + size, self.oldest)?;
            }
        }
        let end = self.base + size;
        let growth = self.end.replace(end).map_or(0, |before| end.saturating_sub(before));
        let aged = self.has_aged(dir, unit, now, size)?;
        if unit.logs.mode != LogMode::Direct {
            return Ok(if aged { Due::Aged } else { Due::Nothing });
        }
        let reserves = taken(&stat) > size.saturating_add(unit.logs.max_size);
        if !aged && !reserves && size <= unit.logs.max_size {
            return Ok(full_in(unit.logs.max_size - size, growth, round.elapsed));
        }
        let report = rotate_direct(dir, unit.unit.as_str(), &unit.logs, aged)?;
        // The size has changed, and nobody knows the new one: the next round looks again.
        self.seen = None;
        Ok(if report == RotateReport::default() { Due::Nothing } else { Due::Rotated(report) })
    }

    /// Whether the live file's first byte is older than it may get.
    fn has_aged(&mut self, dir: &Path, unit: &SweepUnit, now: Wall, size: u64) -> Result<bool, LogError> {
        let stays = if unit.logs.mode == LogMode::Direct { BLOCK } else { 0 };
        let Some(max_age) = unit.logs.max_age.filter(|_| size > stays) else { return Ok(false) };
        if self.begun.is_none() {
            self.begun = Index::reached(dir, unit.unit.as_str(), self.base + 1)?;
        }
        let age = self.begun.map_or(0, |begun| now.0.saturating_sub(begun.0));
        Ok(u128::try_from(age).is_ok_and(|age| age >= max_age.as_millis()))
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
        if unit.logs.mode == LogMode::Direct {
            recover(dir, name)?;
        }
        let layout = Layout::resolve(&Files::new(dir, name))?;
        (self.base, self.oldest) = (layout.base, layout.oldest());
        Ok(layout.live.as_ref().and_then(|live| live.metadata().ok()).map(|metadata| metadata.ino()) == Some(inode))
    }
}

/// What a file takes on the disk.
fn taken(stat: &rustix::fs::Stat) -> u64 {
    u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512)
}

/// When a log that grew by `growth` since the last look will have filled `room`.
fn full_in(room: u64, growth: u64, elapsed: Option<Duration>) -> Due {
    let Some(elapsed) = elapsed.filter(|_| growth > 0) else { return Due::Nothing };
    let nanos = elapsed.as_nanos() * u128::from(room) / u128::from(growth);
    Due::FullIn(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
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
        SweepUnit { unit: name.into(), logs: LogsPlan { max_size, keep: 3, ..LogsPlan::default() } }
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
            for report in sweep(dir.path(), &units, Wall(round * 2000), &mut memory).reports {
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
        let failed = |now, memory: &mut _| sweep(dir.path(), &units, Wall(now), memory).reports;
        let failures = |now, memory: &mut _| failed(now, memory).iter().filter(|report| report.outcome.is_err()).count();
        assert_eq!(failures(0, &mut memory), 1);
        assert_eq!(failures(2000, &mut memory), 0);
        assert_eq!(failures(RETRY_MS, &mut memory), 1);
        assert_eq!(std::fs::read(live_path(dir.path(), "a")).unwrap(), vec![b'x'; 20_000]);
    }

    #[test]
    fn an_old_log_is_rotated_by_whoever_writes_it() {
        let dir = tempfile::tempdir().unwrap();
        if !supports_collapse(dir.path()) {
            println!("SKIPPED: the temporary directory's file system cannot collapse");
            return;
        }
        let aging = |mode| LogsPlan { mode, max_age: Some(Duration::from_secs(60)), ..LogsPlan::default() };
        let units = [
            SweepUnit { unit: "direct".into(), logs: aging(LogMode::Direct) },
            SweepUnit { unit: "pipe".into(), logs: aging(LogMode::Pipe) },
            SweepUnit { unit: "small".into(), logs: aging(LogMode::Direct) },
        ];
        for (unit, size) in [("direct", 10_000), ("pipe", 10), ("small", 100)] {
            std::fs::write(live_path(dir.path(), unit), vec![b'x'; size]).unwrap();
        }
        let mut memory = SweepMemory::default();
        let mut look = |at| {
            let swept = sweep(dir.path(), &units, Wall(at), &mut memory);
            let reports = swept.reports.into_iter().map(|report| (report.unit.to_string(), report.outcome.unwrap().rotated));
            (reports.collect::<Vec<_>>(), swept.aged.into_iter().map(|unit| unit.to_string()).collect::<Vec<_>>())
        };
        assert_eq!(look(1_000_000), (vec![], vec![]));
        assert_eq!(look(1_059_999), (vec![], vec![]));
        assert_eq!(look(1_060_000), (vec![("direct".to_owned(), 8192)], vec!["pipe".to_owned()]));
        assert_eq!(look(1_060_001).0, vec![], "what is left is less than a block");
    }

    #[test]
    fn what_grows_fast_is_looked_at_soon() {
        let second = Some(Duration::from_secs(1));
        let time = |room, growth| match full_in(room, growth, second) {
            Due::FullIn(time) => Some(time),
            _ => None,
        };
        assert_eq!(time(1000, 0), None);
        assert_eq!(time(1000, 500), Some(Duration::from_secs(2)));
        assert_eq!(time(0, 500), Some(Duration::ZERO));
    }
}
