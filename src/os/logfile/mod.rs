//! A unit's log on disk: one stream of bytes, in a live file and its archives.
//!
//! ```text
//! mail.log                        the live file; in `direct` mode the unit itself appends to it
//! mail.log.00000000000000000000   archives, named after the stream offset of their first byte
//! mail.log.00000000000010485760
//! mail.log.00000000000000000000.10485760.zst   a compressed archive, and how many bytes it holds
//! mail.log.00000000000020971520.part   an archive being written
//! mail.log.idx                    when the log had grown how far ([`Index`])
//! mail.log.gaps                   what was dropped, when and why
//! ```
//!
//! A *stream offset* counts bytes since the log began. The first byte of the live file stands where the newest archive ends;
//! the newest archive is therefore never removed, and where bytes could not be kept an empty archive holds the place.
//! [`LogReader`] shows archives and live file as one stream, whatever is rotated meanwhile.

mod archive;
mod compress;
mod copy;
mod gaps;
mod index;
mod layout;
mod lines;
mod pattern;
mod query;
mod read;
mod rotate;
mod survey;
mod sweep;
mod write_out;

use std::io;
use std::path::{Path, PathBuf};

use crate::base::time::Wall;

pub use crate::event::spill_gap_line;
pub use compress::{CompressReport, clear_unfinished, compress};
pub use gaps::GAPS_MAX;
pub use index::{INDEX_MAX, Index, Stamps};
pub use lines::{LINE_MAX, Line};
pub use pattern::Pattern;
pub use query::{Feed, Found, Query};
pub use read::{Chunk, Follow, LogReader, TAIL_MAX};
pub use rotate::{
    RotateReport, drop_archive, live_base, oldest, recover, remove_archives, rotate_direct, rotate_pipe, supports_collapse, used,
};
pub use survey::{Stored, Survey, survey};
pub use sweep::{PERIOD, SweepMemory, SweepReport, SweepUnit, Swept, sweep};

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
    /// Somebody holds a lease on it, as its unit may (`F_SETLEASE` in fcntl(2)): opening it would wait until the kernel takes the lease away.
    #[error("cannot open {}: somebody holds a lease on it, and has until /proc/sys/fs/lease-break-time to give it back", path.display())]
    Leased {
        /// The file.
        path: PathBuf,
    },
    /// The unit shortened its live file while it was being rotated.
    #[error("cannot rotate {}: it became shorter meanwhile", path.display())]
    Shortened {
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

    /// Whether the unit itself can have caused it at any time. It passes, and says nothing about the disk.
    #[must_use]
    pub const fn is_by_unit(&self) -> bool {
        matches!(self, Self::Leased { .. } | Self::Shortened { .. })
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

/// How large the live file of `unit` is; nothing if there is none.
#[must_use]
pub fn live_size(dir: &Path, unit: &str) -> u64 {
    std::fs::metadata(live_path(dir, unit)).map_or(0, |metadata| metadata.len().saturating_add(layout::reserved(&metadata)))
}

/// When something last came into the directory or went out of it.
#[must_use]
pub fn changed(dir: &Path) -> Option<Wall> {
    std::fs::metadata(dir).ok().map(|metadata| layout::written(&metadata))
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
    /// From this stream offset on.
    Archive(u64),
    /// From this stream offset on, so many bytes.
    Packed(u64, u64),
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

    fn packed(&self, start: u64, len: u64) -> PathBuf {
        self.dir.join(format!("{}.log.{start:020}.{len}.zst", self.unit))
    }

    fn gaps(&self) -> PathBuf {
        self.dir.join(format!("{}.log.gaps", self.unit))
    }

    fn meaning(&self, name: &str) -> Option<Meaning> {
        Meaning::of(name.strip_prefix(self.unit.as_str())?.strip_prefix(".log.")?)
    }
}

impl Meaning {
    /// What the rest of a name behind `UNIT.log.` means.
    fn of(rest: &str) -> Option<Self> {
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u64>().ok()).flatten();
        let (start, rest) = rest.split_at_checked(20)?;
        let start = digits(start)?;
        match rest {
            "" => Some(Self::Archive(start)),
            ".part" => Some(Self::Part(start)),
            _ => digits(rest.strip_prefix('.')?.strip_suffix(".zst")?).map(|len| Self::Packed(start, len)),
        }
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
        assert_eq!(meaning(files.packed(7, 99)), Some(Meaning::Packed(7, 99)));
        for other in [
            "a.log",
            "a.log.idx",
            "b.log.00000000000000000007",
            "aa.log.00000000000000000007",
            "a.log.00000000000000000007.log",
            "a.log.gaps",
            "a.log.00000000000000000007..zst",
            "a.log.7",
        ] {
            assert_eq!(files.meaning(other), None, "{other}");
        }
    }
}
