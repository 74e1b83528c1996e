//! Where the bytes of a stream are right now.
//!
//! A rotation under the running writer has four steps, and a look may fall between any two of them:
//!
//! | step | `.part` | head of the live file | archive |
//! |---|---|---|---|
//! | 1. copy the head to `.part`, sync it | there, worthless so far | as written | – |
//! | 2. **commit**: overwrite the head with a [`Marker`], sync it | holds the bytes | dead | – |
//! | 3. rename `.part` to its archive name, sync the directory | – | dead | holds the bytes |
//! | 4. collapse the dead head | – | the next bytes | holds the bytes |
//!
//! The marker is what makes a crash decidable: comparing contents instead would take a log of equal lines for not yet collapsed.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::{Files, LogError, Meaning};
use crate::base::time::Wall;

/// How much a file system may reserve behind the end of any file, in bytes, without being noticed.
const RESERVED_MAX: u64 = 4 << 20;

/// How often a look is repeated when a rotation came in between. A rotation takes far longer than a look.
const LOOKS: usize = 10_000;

/// What the head of a live file is overwritten with once its bytes are safe in an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Marker {
    /// The stream offset of the live file's first byte.
    pub(super) base: u64,
    /// How many bytes at the head are dead.
    pub(super) len: u64,
}

impl Marker {
    pub(super) const SIZE: usize = 64;
    const MAGIC: &[u8; 32] = b"\0ms-supervisor rotates this log\0";

    pub(super) fn encode(self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        bytes[..32].copy_from_slice(Self::MAGIC);
        bytes[32..40].copy_from_slice(&self.base.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.len.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let number = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        (bytes.get(..32)? == Self::MAGIC).then_some(Self { base: number(32)?, len: number(40)? })
    }

    /// The marker at the head of `live`. What a rotation could not have written is text of the unit's, which may write what it likes: the dead
    /// bytes are whole blocks, and not all of the file.
    pub(super) fn read(live: &File) -> io::Result<Option<Self>> {
        let mut bytes = [0; Self::SIZE];
        let length = live.read_at(&mut bytes, 0)?;
        let Some(marker) = Self::decode(&bytes[..length]) else { return Ok(None) };
        let metadata = live.metadata()?;
        let is_whole = marker.len > 0 && marker.len.is_multiple_of(metadata.blksize().max(4096)) && marker.len < metadata.len();
        Ok(Some(marker).filter(|_| is_whole))
    }
}

/// A file that holds a piece of the stream and does not change any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) start: u64,
    pub(super) len: u64,
    pub(super) path: PathBuf,
    /// Bytes of the file.
    pub(super) stored: u64,
    /// When it was written last.
    pub(super) written: Wall,
    /// Whether the file is compressed.
    pub(super) packed: bool,
}

impl Segment {
    pub(super) const fn end(&self) -> u64 {
        self.start + self.len
    }
}

/// The archives of a unit, oldest first, and what was being written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Listing {
    pub(super) archives: Vec<Segment>,
    pub(super) parts: Vec<Segment>,
    /// Compressed archives beside plain ones that hold the same bytes: the plain ones count, and are about to go.
    pub(super) doubles: Vec<Segment>,
}

impl Listing {
    pub(super) fn read(files: &Files) -> Result<Self, LogError> {
        let mut listing = Self::scan(files)?;
        // While an archive is being replaced by its compressed form, a list in several pieces may miss both.
        while listing.has_hole() {
            let again = Self::scan(files)?;
            if again == listing {
                break;
            }
            listing = again;
        }
        Ok(listing)
    }

    fn scan(files: &Files) -> Result<Self, LogError> {
        let mut listing = Self::default();
        let entries = std::fs::read_dir(&files.dir).map_err(|source| LogError::io("list", &files.dir, source))?;
        for entry in entries {
            let entry = entry.map_err(|source| LogError::io("list", &files.dir, source))?;
            let name = entry.file_name();
            let Some(meaning) = name.to_str().and_then(|name| files.meaning(name)) else { continue };
            // What vanishes between the two calls was removed as too old, or renamed: the next look will tell.
            let Ok(metadata) = entry.metadata() else { continue };
            listing.add(meaning, entry.path(), &metadata);
        }
        listing.settle();
        Ok(listing)
    }

    /// Takes a file that is there. [`Listing::settle`] follows when all are.
    pub(super) fn add(&mut self, meaning: Meaning, path: PathBuf, metadata: &Metadata) {
        let stored = metadata.len();
        let (list, start, len, packed) = match meaning {
            Meaning::Archive(start) => (&mut self.archives, start, stored, false),
            Meaning::Packed(start, len) => (&mut self.archives, start, len, true),
            Meaning::Part(start) => (&mut self.parts, start, stored, false),
        };
        let written = written(metadata);
        list.push(Segment { start, len, path, stored, written, packed });
    }

    /// Sorts, and lets one file count for each piece of the stream.
    pub(super) fn settle(&mut self) {
        self.archives.sort_by_key(|segment| (segment.start, segment.packed));
        let mut last = None;
        let doubles = self.archives.extract_if(.., |segment| last.replace(segment.start) == Some(segment.start));
        self.doubles = doubles.collect();
    }

    /// Bytes of all files.
    pub(super) fn stored(&self) -> u64 {
        self.stored_from(0) + self.parts.iter().chain(&self.doubles).map(|segment| segment.stored).sum::<u64>()
    }

    /// Bytes of the archives without the `count` oldest.
    pub(super) fn stored_from(&self, count: usize) -> u64 {
        self.archives.iter().skip(count).map(|segment| segment.stored).sum()
    }

    fn has_hole(&self) -> bool {
        self.archives.windows(2).any(|pair| pair[0].end() != pair[1].start)
    }

    fn archived(&self) -> u64 {
        self.archives.last().map_or(0, Segment::end)
    }

    /// What the live file's head means beside these files: (stream offset of its first byte, dead bytes at its head, the `.part` that counts).
    pub(super) fn place(&self, marker: Option<Marker>) -> (u64, u64, Option<&Segment>) {
        if let Some(marker) = marker {
            let end = marker.base.saturating_add(marker.len);
            // An empty one holds the place of what was given up.
            let fits = |segment: &Segment| segment.end() == end && (segment.start == marker.base || segment.len == 0);
            let part = self.parts.iter().find(|part| fits(part));
            if part.is_some() || self.archives.last().is_some_and(fits) {
                return (marker.base, marker.len, part);
            }
            // Bytes of a unit that happen to look like a marker.
        }
        (self.archived(), 0, None)
    }
}

/// A consistent look at one unit's files.
#[derive(Debug)]
pub(super) struct Layout {
    /// The finished pieces, oldest first, a committed `.part` included.
    pub(super) segments: Vec<Segment>,
    /// The stream offset of the live file's first byte.
    pub(super) base: u64,
    /// How many bytes at the live file's head are dead.
    pub(super) skip: u64,
    /// The live file, if there is one.
    pub(super) live: Option<File>,
}

impl Layout {
    /// Looks until no rotation comes in between.
    pub(super) fn resolve(files: &Files) -> Result<Self, LogError> {
        for _ in 0..LOOKS {
            let before = Listing::read(files)?;
            let live = open(&files.live(), false)?;
            let Some((marker, after)) = look(files, live.as_ref())? else { continue };
            let (base, skip, part) = after.place(marker);
            // Archives equal before and after the look at the head: the head belongs to them.
            if before.archived() != after.archived() {
                continue;
            }
            let part = part.cloned();
            let mut segments = after.archives;
            segments.extend(part);
            return Ok(Self { segments, base, skip, live });
        }
        Err(LogError::Restless { path: files.live() })
    }

    /// Whether what was read from `live` since this layout was taken lay where the layout says.
    ///
    /// The head is looked at before the archives: as long as the next archive is not there, nothing has been collapsed.
    pub(super) fn holds(&self, files: &Files) -> Result<bool, LogError> {
        let Some((marker, listing)) = look(files, self.live.as_ref())? else { return Ok(false) };
        let (base, skip, _) = listing.place(marker);
        Ok((base, skip) == (self.base, self.skip))
    }

    /// The stream offset of the oldest byte that is left.
    pub(super) fn oldest(&self) -> u64 {
        self.segments.iter().find(|segment| segment.len > 0).map_or(self.base + self.skip, |segment| segment.start)
    }

    /// The stream offset behind the newest byte.
    pub(super) fn end(&self, files: &Files) -> Result<u64, LogError> {
        let size = match &self.live {
            Some(live) => live.metadata().map_err(|source| LogError::io("inspect", &files.live(), source))?.len(),
            None => 0,
        };
        Ok(self.base + size.max(self.skip))
    }
}

/// What a live file takes on the disk beyond its length: a unit can reserve as much as it likes behind its end. File systems reserve a little themselves, up
/// to as much again as there is.
pub(super) fn reserved(metadata: &Metadata) -> u64 {
    let (taken, len) = (metadata.blocks().saturating_mul(512), metadata.len());
    if taken > len.saturating_mul(2).saturating_add(RESERVED_MAX) { taken - len } else { 0 }
}

/// When a file was written last.
pub(super) fn written(metadata: &Metadata) -> Wall {
    Wall(metadata.mtime().saturating_mul(1000).saturating_add(metadata.mtime_nsec() / 1_000_000))
}

/// Opens a log file, to be written as well if `writes`; `None` where there is none. A direct log is its unit's own: no lease on it is waited for.
pub(super) fn open(path: &Path, writes: bool) -> Result<Option<File>, LogError> {
    match OpenOptions::new().read(true).write(writes).custom_flags(libc::O_NONBLOCK).open(path) {
        Ok(file) => Ok(Some(file)),
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) if source.kind() == io::ErrorKind::WouldBlock => Err(LogError::Leased { path: path.to_owned() }),
        Err(source) => Err(LogError::io("open", path, source)),
    }
}

/// The head of `live`, then the archives; `None` when `live` is not the live file any more (rotated by renaming).
fn look(files: &Files, live: Option<&File>) -> Result<Option<(Option<Marker>, Listing)>, LogError> {
    let path = files.live();
    let fail = |source| LogError::io("read", &path, source);
    let marker = match live {
        Some(live) => Marker::read(live).map_err(fail)?,
        None => None,
    };
    let listing = Listing::read(files)?;
    let is_now = match std::fs::metadata(&path) {
        Ok(metadata) => Some(metadata.ino()),
        Err(source) if source.kind() == io::ErrorKind::NotFound => None,
        Err(source) => return Err(fail(source)),
    };
    let was = live.map(|live| live.metadata().map(|metadata| metadata.ino())).transpose().map_err(fail)?;
    Ok((was == is_now).then_some((marker, listing)))
}
