//! Taking bytes off the head of a live file into an archive.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, copy_file_range, fallocate};
use rustix::io::Errno;

use super::layout::{Listing, Marker, Segment};
use super::{Files, LogError};

/// What a rotation has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RotateReport {
    /// Bytes that left the live file.
    pub rotated: u64,
    /// How many of them are in no archive: none are kept, or the disk was full.
    pub dropped: u64,
    /// Archives removed, because there were more than are kept.
    pub removed: u32,
    /// Archives removed to make room on a full disk.
    pub removed_for_space: u32,
}

/// Rotates the live file of `unit` when it is larger than `max_size`, under the unit that writes it, and removes the oldest archives
/// beyond `keep`. No byte is lost or doubled, wherever this is cut short; the next call finishes what was left.
///
/// On a full disk the oldest archives make room, and at last the head itself is given up: the report says so.
///
/// # Errors
/// When a system call fails, or the file system cannot collapse; the log is whole then.
pub fn rotate_direct(dir: &Path, unit: &str, max_size: u64, keep: u32) -> Result<RotateReport, LogError> {
    let files = Files::new(dir, unit);
    let mut report = RotateReport::default();
    let Some(live) = open_for_rotation(&files)? else { return Ok(report) };
    report.rotated += finish(&files, &live)?;
    let Some(rotation) = Rotation::plan(&files, &live, max_size)? else { return Ok(report) };
    let copied = if keep == 0 { None } else { make_room(&files, &rotation, &mut report)? };
    let part = match copied {
        Some(part) => part,
        None => {
            report.dropped = rotation.len;
            rotation.bookmark()?
        }
    };
    rotation.commit()?;
    rotation.publish(&part)?;
    rotation.collapse()?;
    report.rotated += rotation.len;
    report.removed += prune(&files, keep)?;
    Ok(report)
}

/// Rotates by renaming, for a live file that only the caller writes: returns the new, empty live file.
///
/// # Errors
/// When a system call fails. The live file may have been renamed by then; the call can be repeated.
pub fn rotate_pipe(dir: &Path, unit: &str, keep: u32) -> Result<(File, RotateReport), LogError> {
    let files = Files::new(dir, unit);
    let live = files.live();
    let mut report = RotateReport::default();
    match std::fs::metadata(&live) {
        Ok(metadata) if metadata.len() > 0 => {
            let (base, ..) = Listing::read(&files)?.place(None);
            rename(&live, &files.archive(base))?;
            report.rotated = metadata.len();
        }
        Ok(_) => {}
        Err(source) if source.kind() == io::ErrorKind::NotFound => {}
        Err(source) => return Err(LogError::io("inspect", &live, source)),
    }
    let file = create(&live, 0o640, false)?;
    // The newest archive holds the place of the stream, so at least one stays.
    report.removed = prune(&files, keep)?;
    Ok((file, report))
}

/// Finishes or discards what a rotation that was cut short has left. Cheap when there is nothing to do.
///
/// # Errors
/// When a system call fails.
pub fn recover(dir: &Path, unit: &str) -> Result<(), LogError> {
    let files = Files::new(dir, unit);
    if let Some(live) = open_for_rotation(&files)? {
        finish(&files, &live)?;
    }
    Ok(())
}

/// Whether files in `dir` can be rotated under their writer; found out by trying.
#[must_use]
pub fn supports_collapse(dir: &Path) -> bool {
    // Unnamed: nothing is left whatever happens. File systems without O_TMPFILE that can collapse are not known.
    let file = std::fs::OpenOptions::new().read(true).write(true).custom_flags(libc::O_TMPFILE).mode(0o600).open(dir);
    file.is_ok_and(|file| file.metadata().is_ok_and(|metadata| can_collapse(&file, metadata.blksize())))
}

/// One rotation under the writer; its steps in order. See the table in `layout`.
struct Rotation<'a> {
    files: &'a Files,
    live: &'a File,
    path: PathBuf,
    base: u64,
    len: u64,
    block: u64,
    mode: u32,
}

impl<'a> Rotation<'a> {
    /// What is to be done, if anything. The live file carries no marker.
    fn plan(files: &'a Files, live: &'a File, max_size: u64) -> Result<Option<Self>, LogError> {
        let path = files.live();
        let metadata = live.metadata().map_err(|source| LogError::io("inspect", &path, source))?;
        let (size, block) = (metadata.len(), metadata.blksize().max(4096));
        // Whole blocks, and never up to the end: the kernel refuses that.
        let len = size.saturating_sub(1) / block * block;
        if size <= max_size || len == 0 {
            return Ok(None);
        }
        let (base, ..) = Listing::read(files)?.place(None);
        Ok(Some(Self { files, live, path, base, len, block, mode: metadata.permissions().mode() & 0o777 }))
    }

    /// Step 1: the head is copied and safe on disk, but does not count yet.
    fn copy(&self) -> Result<PathBuf, LogError> {
        let (path, part) = self.create_part(self.base)?;
        let copied = copy_head(self.live, &part, self.len).and_then(|()| part.sync_all());
        copied.map_err(|source| {
            let _ = std::fs::remove_file(&path);
            LogError::io("copy to", &path, source)
        })?;
        Ok(path)
    }

    fn create_part(&self, start: u64) -> Result<(PathBuf, File), LogError> {
        let path = self.files.part(start);
        let part = create(&path, self.mode, true)?;
        // Tried on this file first: a marked head that cannot be collapsed would stay for ever.
        if can_collapse(&part, self.block) {
            return Ok((path, part));
        }
        let _ = std::fs::remove_file(&path);
        Err(LogError::NoCollapse { path: self.path.clone() })
    }

    /// Step 1 where nothing is to be kept: an empty archive at the end of what is given up.
    fn bookmark(&self) -> Result<PathBuf, LogError> {
        let (path, part) = self.create_part(self.base + self.len)?;
        part.sync_all().map_err(|source| LogError::io("write", &path, source))?;
        Ok(path)
    }

    /// Step 2: from here on the head is dead and the `.part` counts.
    fn commit(&self) -> Result<(), LogError> {
        let marker = Marker { base: self.base, len: self.len }.encode();
        // In one page and one disk sector: it is there as a whole or not at all.
        self.live
            .write_all_at(&marker, 0)
            .and_then(|()| self.live.sync_data())
            .map_err(|source| LogError::io("mark the head of", &self.path, source))
    }

    /// Step 3: the archive gets its name.
    fn publish(&self, part: &Path) -> Result<(), LogError> {
        rename(part, &part.with_extension(""))?;
        sync_directory(&self.files.dir)
    }

    /// Step 4: the head goes away, atomically, while the unit goes on appending.
    fn collapse(&self) -> Result<(), LogError> {
        collapse(self.live, self.len).map_err(|errno| LogError::io("collapse the head of", &self.path, errno))
    }
}

/// Copies the head, removing the oldest archives as long as the disk is too full for it. `None` when only the newest archive is left
/// and it still is.
fn make_room(files: &Files, rotation: &Rotation<'_>, report: &mut RotateReport) -> Result<Option<PathBuf>, LogError> {
    loop {
        match rotation.copy() {
            Ok(part) => return Ok(Some(part)),
            Err(error) if error.is_no_space() => {}
            Err(error) => return Err(error),
        }
        let archives = Listing::read(files)?.archives;
        let [oldest, _, ..] = archives.as_slice() else { return Ok(None) };
        remove(oldest)?;
        report.removed_for_space += 1;
    }
}

/// Brings a rotation that was cut short to its end: forward from the commit on, back before. Returns the bytes taken off.
fn finish(files: &Files, live: &File) -> Result<u64, LogError> {
    let path = files.live();
    let marker = Marker::read(live).map_err(|source| LogError::io("read", &path, source))?;
    let listing = Listing::read(files)?;
    let (_, dead, committed) = listing.place(marker);
    for part in listing.parts.iter().filter(|part| Some(*part) != committed) {
        remove(part)?;
    }
    if let Some(part) = committed {
        rename(&part.path, &part.path.with_extension(""))?;
    }
    if dead > 0 {
        sync_directory(&files.dir)?;
        collapse(live, dead).map_err(|errno| LogError::io("collapse the head of", &path, errno))?;
    }
    Ok(dead)
}

/// Removes the oldest archives beyond `keep`. The newest one stays in any case: it tells where the live file stands in the stream.
fn prune(files: &Files, keep: u32) -> Result<u32, LogError> {
    let archives = Listing::read(files)?.archives;
    let bookmark = archives.last().is_some_and(|newest| newest.len == 0);
    let keep = usize::try_from(keep).unwrap_or(usize::MAX).saturating_add(usize::from(bookmark)).max(1);
    let mut removed = 0;
    for archive in archives.iter().take(archives.len().saturating_sub(keep)) {
        remove(archive)?;
        removed += u32::from(archive.len > 0);
    }
    Ok(removed)
}

fn open_for_rotation(files: &Files) -> Result<Option<File>, LogError> {
    let path = files.live();
    match std::fs::OpenOptions::new().read(true).write(true).open(&path) {
        Ok(file) => Ok(Some(file)),
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(LogError::io("open", &path, source)),
    }
}

fn create(path: &Path, mode: u32, truncate: bool) -> Result<File, LogError> {
    let mut options = std::fs::OpenOptions::new();
    options.read(true).write(true).create(true).truncate(truncate).mode(mode);
    options.open(path).map_err(|source| LogError::io("create", path, source))
}

fn copy_head(from: &File, to: &File, len: u64) -> io::Result<()> {
    let (mut read, mut written) = (0, 0);
    while written < len {
        let rest = usize::try_from(len - written).unwrap_or(usize::MAX);
        match copy_file_range(from.as_fd(), Some(&mut read), to.as_fd(), Some(&mut written), rest) {
            Ok(0) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it became shorter meanwhile")),
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

fn collapse(file: &File, len: u64) -> rustix::io::Result<()> {
    rustix::io::retry_on_intr(|| fallocate(file, FallocateFlags::COLLAPSE_RANGE, 0, len))
}

/// Tries it on `file`, which is empty before and after.
fn can_collapse(file: &File, block: u64) -> bool {
    file.set_len(2 * block).is_ok() && collapse(file, block).is_ok() && file.set_len(0).is_ok()
}

fn rename(from: &Path, to: &Path) -> Result<(), LogError> {
    std::fs::rename(from, to).map_err(|source| LogError::io("rename", from, source))
}

fn remove(segment: &Segment) -> Result<(), LogError> {
    match std::fs::remove_file(&segment.path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(LogError::io("remove", &segment.path, source)),
        _ => Ok(()),
    }
}

fn sync_directory(dir: &Path) -> Result<(), LogError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|source| LogError::io("sync", dir, source))
}

#[cfg(test)]
mod tests;
