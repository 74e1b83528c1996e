//! A unit's log on disk: one stream of bytes, in a live file and its archives.
//!
//! ```text
//! mail.log                        the live file; in `direct` mode the unit itself appends to it
//! mail.log.00000000000000000000   archives, named after the stream offset of their first byte
//! mail.log.00000000000010485760
//! mail.log.00000000000020971520.part   an archive being written
//! mail.log.idx                    when the log had grown how far ([`Index`])
//! ```
//!
//! A *stream offset* counts bytes since the log began. The first byte of the live file stands where the newest archive ends;
//! the newest archive is therefore never removed, and where bytes could not be kept an empty archive holds the place.
//! [`LogReader`] shows archives and live file as one stream, whatever is rotated meanwhile.

mod index;
mod layout;
mod lines;
mod read;
mod rotate;
mod sweep;

use std::io;
use std::path::{Path, PathBuf};

pub use index::{INDEX_MAX, Index};
pub use lines::{LINE_MAX, Line};
pub use read::{Chunk, Follow, LogReader, TAIL_MAX};
pub use rotate::{RotateReport, recover, rotate_direct, rotate_pipe, supports_collapse};
pub use sweep::{SweepMemory, SweepReport, SweepUnit, sweep};

/// What can go wrong with a log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// A system call failed.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was to be done.
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The file system cannot take bytes off the head of a file.
    #[error("cannot rotate {} under its writer: the file system lacks FALLOC_FL_COLLAPSE_RANGE; use log mode `pipe`", path.display())]
    NoCollapse {
        /// The live file.
        path: PathBuf,
    },
    /// Every attempt at a consistent look met another rotation.
    #[error("cannot read {}: it is being rotated all the time", path.display())]
    Restless {
        /// The live file.
        path: PathBuf,
    },
}

impl LogError {
    fn io(action: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self::Io { action, path: path.to_owned(), source: source.into() }
    }

    /// Whether the disk, or the user's share of it, is full.
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        matches!(self, Self::Io { source, .. } if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
    }
}

/// The live file of `unit` in `dir`.
#[must_use]
pub fn live_path(dir: &Path, unit: &str) -> PathBuf {
    dir.join(format!("{unit}.log"))
}

/// The names of one unit's files.
#[derive(Clone, Debug)]
struct Files {
    dir: PathBuf,
    unit: String,
}

/// What a file name in the log directory means to one unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    Archive(u64),
    Part(u64),
}

impl Files {
    fn new(dir: &Path, unit: &str) -> Self {
        Self { dir: dir.to_owned(), unit: unit.to_owned() }
    }

    fn live(&self) -> PathBuf {
        live_path(&self.dir, &self.unit)
    }

    fn archive(&self, start: u64) -> PathBuf {
        self.dir.join(format!("{}.log.{start:020}", self.unit))
    }

    fn part(&self, start: u64) -> PathBuf {
        self.dir.join(format!("{}.log.{start:020}.part", self.unit))
    }

    fn index(&self) -> PathBuf {
        self.dir.join(format!("{}.log.idx", self.unit))
    }

    fn meaning(&self, name: &str) -> Option<Meaning> {
        let digits = name.strip_prefix(self.unit.as_str())?.strip_prefix(".log.")?;
        let (digits, part) = digits.strip_suffix(".part").map_or((digits, false), |digits| (digits, true));
        if digits.len() != 20 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let start = digits.parse().ok()?;
        Some(if part { Meaning::Part(start) } else { Meaning::Archive(start) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_own_files_mean_something() {
        let files = Files::new(Path::new("/logs"), "a");
        let meaning = |path: PathBuf| files.meaning(path.file_name().and_then(|name| name.to_str()).unwrap());
        assert_eq!(meaning(files.archive(7)), Some(Meaning::Archive(7)));
        assert_eq!(meaning(files.archive(u64::MAX)), Some(Meaning::Archive(u64::MAX)));
        assert_eq!(meaning(files.part(7)), Some(Meaning::Part(7)));
        for other in ["a.log", "a.log.idx", "b.log.00000000000000000007", "aa.log.00000000000000000007", "a.log.00000000000000000007.log"] {
            assert_eq!(files.meaning(other), None, "{other}");
        }
    }
}
