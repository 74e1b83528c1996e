//! When a log had grown how far: what `--since` looks up.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::{Files, LogError};
use crate::base::time::Wall;

/// How many records an index holds; beyond, the older ones are thinned out.
pub const INDEX_MAX: usize = 4096;

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
        note(&path, now, end, oldest).map_err(|source| LogError::io("write", &path, source))
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

fn note(path: &Path, now: Wall, end: u64, oldest: u64) -> io::Result<()> {
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
    if contradicts || whole >= (INDEX_MAX * RECORD) as u64 {
        file.seek(SeekFrom::Start(0))?;
        let mut records = load(&mut file)?;
        // The clock was set back, or the log cut short: what contradicts the present cannot be searched.
        records.retain(|&(at, reached)| at <= now && reached <= end);
        if records.len() >= INDEX_MAX {
            records = thin(&records, now, oldest);
        }
        records.push((now, end));
        return replace(path, &records);
    }
    file.write_all(&encode(now, end))
}

/// What is kept of too many records: nothing that only tells of bytes long gone, and the fewer the older: two neighbours lie at
/// least 1/[`PRECISION`] of their age apart.
fn thin(records: &[(Wall, u64)], now: Wall, oldest: u64) -> Vec<(Wall, u64)> {
    // The last record before `oldest` stays: it tells when the oldest byte came.
    let gone = records.partition_point(|&(_, end)| end <= oldest).saturating_sub(1);
    let rest = records.get(gone..).unwrap_or_default();
    let mut kept: Vec<(Wall, u64)> = Vec::with_capacity(INDEX_MAX);
    for &(at, end) in rest {
        let age = now.0.saturating_sub(at.0);
        if kept.last().is_none_or(|&(last, _)| at.0.saturating_sub(last.0) >= age / PRECISION) {
            kept.push((at, end));
        }
    }
    if kept.len() > INDEX_MAX * 3 / 4 { kept.iter().step_by(2).copied().collect() } else { kept }
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
