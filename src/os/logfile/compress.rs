//! Compressing archives, beside everything else.
//!
//! | step | plain archive | compressed archive | which counts |
//! |---|---|---|---|
//! | 1. written under a name that means nothing, synced | there | – | the plain one |
//! | 2. renamed | there | there | the plain one |
//! | 3. next round: the plain one is removed | – | there | the compressed one |
//!
//! At every instant exactly one counts. Between the steps 2 and 3 lies a round, so that who lists the directory in several pieces finds
//! one of the two. The newest archive stays plain: it tells without being opened where the live file stands, and who follows the file
//! under its old name may still be reading it.

use std::fs::File;
use std::path::Path;

use super::archive;
use super::layout::{Listing, Segment, open};
use super::rotate::{create, remove, rename, sync_directory};
use super::{Files, LogError};

/// What a round of compression has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CompressReport {
    /// Archives compressed.
    pub archives: u32,
    /// Bytes they hold.
    pub bytes: u64,
    /// Bytes they take now.
    pub stored: u64,
    /// Whether something is left for the next round.
    pub more: bool,
}

/// Compresses the archives of `unit` in `dir`, but for the newest, and removes the plain ones that were compressed in the last round.
/// Calls `pause` again and again while it works. Only one thread may do this for a unit.
///
/// # Errors
/// When a system call fails; every archive is whole then, in one form or the other.
pub fn compress(dir: &Path, unit: &str, mut pause: impl FnMut()) -> Result<CompressReport, LogError> {
    let files = Files::new(dir, unit);
    let mut report = CompressReport::default();
    let listing = Listing::read(&files)?;
    let is_done = |archive: &Segment| listing.doubles.iter().any(|double| double.start == archive.start && double.len == archive.len);
    let (done, todo): (Vec<_>, Vec<_>) = listing.archives.iter().filter(|archive| !archive.packed).partition(|archive| is_done(archive));
    for archive in done {
        remove(archive)?;
    }
    let newest = listing.archives.last().map_or(0, |newest| newest.start);
    for archive in todo.into_iter().filter(|archive| archive.len > 0 && archive.start < newest) {
        if let Some(stored) = pack(&files, archive, &mut pause)? {
            report.archives += 1;
            report.bytes += archive.len;
            report.stored += stored;
            report.more = true;
        }
    }
    Ok(report)
}

/// Steps 1 and 2; the size of the compressed archive, unless the plain one was removed meanwhile.
fn pack(files: &Files, archive: &Segment, pause: &mut impl FnMut()) -> Result<Option<u64>, LogError> {
    let path = files.packed(archive.start, archive.len);
    let new = path.with_extension("zst.new");
    let Some(from) = open(&archive.path, false)? else { return Ok(None) };
    let mut fill = |to: &File| {
        let metadata = from.metadata()?;
        archive::compress(&from, to, archive.len, &mut *pause)?;
        to.set_permissions(metadata.permissions())?;
        // Its age is that of its bytes.
        to.set_modified(metadata.modified()?)?;
        to.sync_all()?;
        to.metadata().map(|metadata| metadata.len())
    };
    let written = create(&new, 0o640, true).and_then(|to| fill(&to).map_err(|source| LogError::io("compress to", &new, source)));
    let stored = match written {
        Ok(stored) => stored,
        Err(error) => {
            let _ = std::fs::remove_file(&new);
            return Err(error);
        }
    };
    rename(&new, &path)?;
    sync_directory(&files.dir)?;
    if archive.path.symlink_metadata().is_err() {
        // It was too old meanwhile: then so is this one.
        let _ = std::fs::remove_file(&path);
        return Ok(None);
    }
    Ok(Some(stored))
}

/// Removes what a compression that was cut short has left of `unit`.
///
/// # Errors
/// When a system call fails.
pub fn clear_unfinished(dir: &Path) -> Result<(), LogError> {
    let fail = |source| LogError::io("list", dir, source);
    for entry in std::fs::read_dir(dir).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let is_unfinished = entry.file_name().to_str().is_some_and(|name| {
            let rest = name.strip_suffix(".new").and_then(|name| name.rsplit_once(".log."));
            matches!(rest.and_then(|(_, rest)| super::Meaning::of(rest)), Some(super::Meaning::Packed(..)))
        });
        if is_unfinished {
            std::fs::remove_file(entry.path()).map_err(|source| LogError::io("remove", &entry.path(), source))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::os::logfile::{LogReader, live_path, rotate_pipe};
    use crate::plan::LogsPlan;

    fn rotated(dir: &Path, archives: u64) -> Vec<u8> {
        let mut all = Vec::new();
        for number in 0..archives {
            let text: Vec<u8> = (0..40_000).flat_map(|line| format!("archive {number} line {line}\n").into_bytes()).collect();
            File::options().create(true).append(true).open(live_path(dir, "a")).unwrap().write_all(&text).unwrap();
            rotate_pipe(dir, "a", &LogsPlan { keep: 100, ..LogsPlan::default() }).unwrap();
            all.extend(text);
        }
        all
    }

    fn stream(dir: &Path) -> Vec<u8> {
        let mut follow = LogReader::open(dir, "a").follow(0);
        let mut all = Vec::new();
        while follow.grown() {
            let chunk = follow.poll_bytes().unwrap();
            assert!(chunk.bytes.is_empty() || chunk.offset == all.len() as u64, "a gap");
            all.extend(chunk.bytes);
        }
        all
    }

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn the_stream_stays_the_same_at_every_step() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let expected = rotated(dir, 3);
        let report = compress(dir, "a", || {}).unwrap();
        assert_eq!((report.archives, report.more), (2, true));
        assert!(report.stored < report.bytes / 4, "{report:?}");
        assert!(stream(dir) == expected, "both forms are there");
        let twice = names(dir).iter().filter(|name| name.ends_with(".zst")).count();
        assert_eq!((twice, names(dir).len()), (2, 6), "{:?}", names(dir));
        assert_eq!(compress(dir, "a", || {}).unwrap(), CompressReport::default());
        assert_eq!(names(dir).len(), 4, "{:?}", names(dir));
        assert!(stream(dir) == expected, "compressed");
        let mut reader = LogReader::open(dir, "a");
        for at in [0, 1, 300_000, 700_000, expected.len() - 5] {
            let chunk = reader.read_at(at as u64, 100).unwrap();
            assert!(chunk.offset == at as u64 && !chunk.bytes.is_empty() && expected[at..].starts_with(&chunk.bytes), "{at}");
        }
        assert_eq!(reader.tail_lines(60_000).unwrap().0[0].text, "archive 1 line 20000");
    }

    #[test]
    fn a_cut_at_any_step_is_made_good() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let expected = rotated(dir, 2);
        let files = Files::new(dir, "a");
        let first = files.archive(0);
        let len = std::fs::metadata(&first).unwrap().len();
        // Cut while it was written.
        let unfinished = files.packed(0, len).with_extension("zst.new");
        std::fs::write(&unfinished, b"half an arch").unwrap();
        assert!(stream(dir) == expected);
        clear_unfinished(dir).unwrap();
        assert!(!unfinished.exists());
        // Cut between the two names: the plain one counts, and is removed by whoever comes next.
        compress(dir, "a", || {}).unwrap();
        assert!(first.exists() && stream(dir) == expected);
        compress(dir, "a", || {}).unwrap();
        assert!(!first.exists() && stream(dir) == expected);
    }

    #[test]
    fn what_is_removed_meanwhile_does_not_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let expected = rotated(dir, 2);
        let first = Files::new(dir, "a").archive(0);
        let removed = std::fs::metadata(&first).unwrap().len();
        let report = compress(dir, "a", || drop(std::fs::remove_file(&first))).unwrap();
        assert_eq!(report, CompressReport::default());
        assert_eq!(names(dir).len(), 2, "{:?}", names(dir));
        assert_eq!(LogReader::open(dir, "a").range().unwrap(), removed..expected.len() as u64);
    }

    #[test]
    fn what_cannot_be_written_leaves_the_plain_archive() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let expected = rotated(dir, 2);
        // A directory where the file should be: it cannot be written.
        let len = std::fs::metadata(Files::new(dir, "a").archive(0)).unwrap().len();
        std::fs::create_dir(Files::new(dir, "a").packed(0, len).with_extension("zst.new")).unwrap();
        assert!(compress(dir, "a", || {}).is_err());
        assert!(stream(dir) == expected);
    }
}
