//! When a log had grown how far: what `--since` looks up.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::{Files, LogError};
use crate::base::time::Wall;

/// How many records an index holds; beyond, the older ones are thinned out.
pub const INDEX_MAX: usize = 4096;

/// What part of a log's quota the stamps of its lines may take.
const STAMPS_PART: u64 = 8;

/// What part of its age a time may be off once records had to be thinned out.
const PRECISION: i64 = 256;

/// Bytes of a record: wall clock in milliseconds (i64), stream offset (u64), both little-endian.
const RECORD: usize = 16;

/// The time index of one unit's log. Only one process may write it.
#[derive(Debug)]
pub struct Index;

impl Index {
    /// Notes that at `now` the stream of `unit` ended at `end`, if it has grown since the last note.
    /// `oldest` is the first stream offset that is left: what lies before may be forgotten.
    ///
    /// # Errors
    /// When a system call fails.
    pub fn observe(dir: &Path, unit: &str, now: Wall, end: u64, oldest: u64) -> Result<(), LogError> {
        let path = Files::new(dir, unit).index();
        note(&path, (now, end), oldest, &COARSE).map_err(|source| LogError::io("write", &path, source))
    }

    /// The stream offset that was reached at `wall`: every byte written later lies behind it. `None`: nothing is known about that time.
    ///
    /// # Errors
    /// When the index cannot be read; a missing one is empty.
    pub fn lookup(dir: &Path, unit: &str, wall: Wall) -> Result<Option<u64>, LogError> {
        let records = Self::records(dir, unit)?;
        let later = records.partition_point(|&(at, _)| at <= wall);
        Ok(later.checked_sub(1).and_then(|at| records.get(at)).map(|&(_, end)| end))
    }

    /// The stream offset that had been reached when `wall` was over for sure: every byte written before lies before it. `None`: the
    /// index does not reach so far.
    ///
    /// # Errors
    /// When the index cannot be read; a missing one is empty.
    pub fn lookup_end(dir: &Path, unit: &str, wall: Wall) -> Result<Option<u64>, LogError> {
        let records = Self::records(dir, unit)?;
        Ok(records.get(records.partition_point(|&(at, _)| at < wall)).map(|&(_, end)| end))
    }

    /// When the stream had surely grown to `offset`, as exactly as is known; `None`: nobody has seen that.
    ///
    /// # Errors
    /// When the index cannot be read; a missing one is empty.
    pub fn reached(dir: &Path, unit: &str, offset: u64) -> Result<Option<Wall>, LogError> {
        let records = Self::records(dir, unit)?;
        Ok(records.get(records.partition_point(|&(_, end)| end < offset)).map(|&(at, _)| at))
    }

    fn records(dir: &Path, unit: &str) -> Result<Vec<(Wall, u64)>, LogError> {
        let path = Files::new(dir, unit).index();
        match File::open(&path).and_then(|mut file| load(&mut file)) {
            Ok(records) => Ok(records),
            Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(source) => Err(LogError::io("read", &path, source)),
        }
    }
}

/// When which part of a log was written.
#[derive(Debug)]
pub(super) struct Times {
    path: PathBuf,
    records: Vec<(Wall, u64)>,
    /// The inode they were read from, and how many bytes of it.
    read: (u64, u64),
}

impl Times {
    pub(super) fn open(dir: &Path, unit: &str) -> Self {
        let mut new = Self { path: Files::new(dir, unit).index(), records: Vec::new(), read: (0, 0) };
        new.refresh();
        new
    }

    /// When the stream had surely grown to `offset`; `None`: nobody has seen that yet.
    pub(super) fn reached(&self, offset: u64) -> Option<Wall> {
        self.records.get(self.records.partition_point(|&(_, end)| end < offset)).map(|&(at, _)| at)
    }

    /// Reads what has come since. An index that cannot be read knows nothing new.
    pub(super) fn refresh(&mut self) {
        let _stale = self.load_news();
    }

    fn load_news(&mut self) -> io::Result<()> {
        let mut file = File::open(&self.path)?;
        let metadata = file.metadata()?;
        let (inode, from) = self.read;
        if (inode, from) == (metadata.ino(), metadata.len()) {
            return Ok(());
        }
        let from = if inode == metadata.ino() && from <= metadata.len() { from } else { 0 };
        file.seek(SeekFrom::Start(from))?;
        let news = load(&mut file)?;
        if from == 0 {
            self.records.clear();
        }
        self.read = (metadata.ino(), from + (news.len() * RECORD) as u64);
        self.records.extend(news);
        Ok(())
    }
}

/// Notes the arrival of every piece of a log, so that each line has its time. The one who moves the pieces writes the index then.
///
/// What was moved just before its writer was killed gets the time at which the next one begins.
#[derive(Debug)]
pub struct Stamps {
    path: PathBuf,
    bounds: Bounds,
    file: File,
    records: u64,
    last: (Wall, u64),
}

impl Stamps {
    /// Goes on with the index of `unit`, whose log may take `max_total` bytes and has grown to `end`.
    ///
    /// # Errors
    /// When a system call fails.
    pub fn open(dir: &Path, unit: &str, max_total: u64, (now, end): (Wall, u64)) -> io::Result<Self> {
        let bounds = Bounds { max: (max_total / STAMPS_PART / RECORD as u64).max(INDEX_MAX as u64), thin: halve };
        Self::at(Files::new(dir, unit).index(), bounds, (now, end))
    }

    fn at(path: PathBuf, bounds: Bounds, last: (Wall, u64)) -> io::Result<Self> {
        note(&path, last, 0, &bounds)?;
        let file = OpenOptions::new().append(true).open(&path)?;
        let records = file.metadata()?.len() / RECORD as u64;
        Ok(Self { path, bounds, file, records, last })
    }

    /// At `now` the log has grown to `end`. `oldest` tells which stream offset is the first that is left.
    ///
    /// # Errors
    /// When a system call fails; the stamps are to be opened again then.
    pub fn note(&mut self, now: Wall, end: u64, oldest: impl FnOnce() -> u64) -> io::Result<()> {
        let (at, reached) = std::mem::replace(&mut self.last, (now, end));
        if at > now || reached > end || self.records >= self.bounds.max {
            note(&self.path, (now, end), oldest(), &self.bounds)?;
            let path = std::mem::take(&mut self.path);
            *self = Self::at(path, self.bounds, self.last)?;
            return Ok(());
        }
        self.records += 1;
        self.file.write_all(&encode(now, end))
    }
}

/// A time, and the stream offset that had been reached then.
type Record = (Wall, u64);

/// How many records there may be, and what stays of them when there are more.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    max: u64,
    thin: fn(Vec<Record>, Wall) -> Vec<Record>,
}

/// What `--since` needs.
const COARSE: Bounds = Bounds { max: INDEX_MAX as u64, thin };

fn note(path: &Path, (now, end): (Wall, u64), oldest: u64, bounds: &Bounds) -> io::Result<()> {
    let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o640).open(path)?;
    let length = file.metadata()?.len();
    let whole = length / RECORD as u64 * RECORD as u64;
    if whole < length {
        // A record torn by a crash.
        file.set_len(whole)?;
    }
    let mut contradicts = false;
    if let Some(at) = whole.checked_sub(RECORD as u64) {
        file.seek(SeekFrom::Start(at))?;
        let mut last = [0; RECORD];
        file.read_exact(&mut last)?;
        let (at, reached) = decode(&last);
        if reached == end {
            return Ok(());
        }
        contradicts = at > now || reached > end;
    }
    if contradicts || whole >= bounds.max * RECORD as u64 {
        file.seek(SeekFrom::Start(0))?;
        let mut records = load(&mut file)?;
        // The clock was set back, or the log cut short: what contradicts the present cannot be searched.
        records.retain(|&(at, reached)| at <= now && reached <= end);
        if records.len() as u64 >= bounds.max {
            // Nothing is kept that only tells of bytes long gone; the last record before `oldest` tells when the oldest byte came.
            records.drain(..records.partition_point(|&(_, end)| end <= oldest).saturating_sub(1));
            records = (bounds.thin)(records, now);
        }
        records.push((now, end));
        return replace(path, &records);
    }
    file.write_all(&encode(now, end))
}

/// What is kept of too many records: the fewer the older. Two neighbours lie at least 1/[`PRECISION`] of their age apart.
fn thin(records: Vec<Record>, now: Wall) -> Vec<Record> {
    let mut kept: Vec<(Wall, u64)> = Vec::with_capacity(INDEX_MAX);
    for (at, end) in records {
        let age = now.0.saturating_sub(at.0);
        if kept.last().is_none_or(|&(last, _)| at.0.saturating_sub(last.0) >= age / PRECISION) {
            kept.push((at, end));
        }
    }
    if kept.len() > INDEX_MAX * 3 / 4 { kept.iter().step_by(2).copied().collect() } else { kept }
}

/// What is kept of too many stamps: every second one of the older half.
fn halve(records: Vec<Record>, _now: Wall) -> Vec<Record> {
    let half = records.len() / 2;
    // The later of two neighbours: what came before it came before it.
    records.into_iter().enumerate().filter(|(number, _)| *number >= half || number % 2 == 1).map(|(_, record)| record).collect()
}

fn replace(path: &Path, records: &[(Wall, u64)]) -> io::Result<()> {
    let temporary = path.with_extension("idx.new");
    let bytes: Vec<u8> = records.iter().flat_map(|&(at, end)| encode(at, end)).collect();
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o640).open(&temporary)?;
    file.write_all(&bytes)?;
    std::fs::rename(&temporary, path)
}

fn load(file: &mut File) -> io::Result<Vec<(Wall, u64)>> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes.as_chunks::<RECORD>().0.iter().map(decode).collect())
}

fn encode(at: Wall, end: u64) -> [u8; RECORD] {
    (u128::from(end) << 64 | u128::from(at.0.cast_unsigned())).to_le_bytes()
}

fn decode(record: &[u8; RECORD]) -> (Wall, u64) {
    let both = u128::from_le_bytes(*record);
    #[expect(clippy::cast_possible_truncation, reason = "the lower half is what is wanted")]
    let (at, end) = (both as u64, (both >> 64) as u64);
    (Wall(at.cast_signed()), end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_finds_the_offset_reached_then() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Index::lookup(dir.path(), "a", Wall(5)).unwrap(), None);
        for (at, end) in [(1000, 10), (2000, 10), (3000, 30), (4000, 40)] {
            Index::observe(dir.path(), "a", Wall(at), end, 0).unwrap();
        }
        for (at, end) in [(999, None), (1000, Some(10)), (2500, Some(10)), (3000, Some(30)), (9000, Some(40))] {
            assert_eq!(Index::lookup(dir.path(), "a", Wall(at)).unwrap(), end, "{at}");
        }
        for (at, end) in [(0, Some(10)), (1000, Some(10)), (1001, Some(30)), (4000, Some(40)), (4001, None)] {
            assert_eq!(Index::lookup_end(dir.path(), "a", Wall(at)).unwrap(), end, "{at}");
        }
        for (offset, at) in [(1, Some(1000)), (10, Some(1000)), (11, Some(3000)), (40, Some(4000)), (41, None)] {
            assert_eq!(Index::reached(dir.path(), "a", offset).unwrap(), at.map(Wall), "{offset}");
        }
        assert_eq!(std::fs::metadata(dir.path().join("a.log.idx")).unwrap().len(), 3 * 16, "without growth nothing is noted");
    }

    #[test]
    fn a_torn_record_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        Index::observe(dir.path(), "a", Wall(1000), 10, 0).unwrap();
        let mut file = OpenOptions::new().append(true).open(dir.path().join("a.log.idx")).unwrap();
        file.write_all(b"torn").unwrap();
        assert_eq!(Index::lookup(dir.path(), "a", Wall(2000)).unwrap(), Some(10));
        Index::observe(dir.path(), "a", Wall(3000), 30, 0).unwrap();
        assert_eq!(Index::lookup(dir.path(), "a", Wall(3000)).unwrap(), Some(30));
    }

    #[test]
    fn an_index_stays_small() {
        let dir = tempfile::tempdir().unwrap();
        for tick in 1..20_000_u32 {
            Index::observe(dir.path(), "a", Wall(i64::from(tick)), u64::from(tick) * 10, 500).unwrap();
        }
        assert!(std::fs::metadata(dir.path().join("a.log.idx")).unwrap().len() <= (INDEX_MAX * RECORD) as u64);
        assert_eq!(Index::lookup(dir.path(), "a", Wall(19_900)).unwrap(), Some(199_000));
        assert_eq!(Index::lookup(dir.path(), "a", Wall(50)).unwrap(), Some(500));
        let old = Index::lookup(dir.path(), "a", Wall(5000)).unwrap().unwrap();
        assert!((49_000..=50_000).contains(&old), "coarser, never late: {old}");
    }

    #[test]
    fn stamps_keep_the_time_of_every_line_while_there_is_room() {
        let dir = tempfile::tempdir().unwrap();
        let mut stamps = Stamps::open(dir.path(), "a", 1 << 20, (Wall(0), 0)).unwrap();
        for tick in 1..10_000_u32 {
            stamps.note(Wall(i64::from(tick)), u64::from(tick) * 10, || 5000).unwrap();
        }
        let times = Times::open(dir.path(), "a");
        assert_eq!((times.reached(99_990), times.reached(99_981), times.reached(99_991)), (Some(Wall(9999)), Some(Wall(9999)), None));
        assert_eq!(times.reached(1000), Some(Wall(501)), "of what is gone nothing is kept");
        let old = times.reached(20_000).unwrap().0;
        assert!((2000..2050).contains(&old), "shared with later lines: {old}");
        assert!(std::fs::metadata(dir.path().join("a.log.idx")).unwrap().len() <= 1 << 17);
        // The clock goes back: what contradicts the present is forgotten, and it goes on.
        stamps.note(Wall(9000), 100_000, || 5000).unwrap();
        stamps.note(Wall(9001), 100_010, || 5000).unwrap();
        let times = Times::open(dir.path(), "a");
        assert_eq!((times.reached(95_000), times.reached(100_010)), (Some(Wall(9000)), Some(Wall(9001))));
    }

    #[test]
    fn a_clock_set_back_leaves_the_index_in_order() {
        let dir = tempfile::tempdir().unwrap();
        for (at, end) in [(1000, 10), (900_000, 20), (2000, 30), (3000, 40)] {
            Index::observe(dir.path(), "a", Wall(at), end, 0).unwrap();
        }
        assert_eq!(Index::lookup(dir.path(), "a", Wall(1500)).unwrap(), Some(10));
        assert_eq!(Index::lookup(dir.path(), "a", Wall(2500)).unwrap(), Some(30));
    }

    #[test]
    fn records_survive_encoding() {
        for record in [(Wall(-5), u64::MAX), (Wall(i64::MAX), 0)] {
            assert_eq!(decode(&encode(record.0, record.1)), record);
        }
    }
}
