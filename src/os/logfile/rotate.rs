//! Taking bytes off the head of a live file into an archive.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate};

use super::copy::copy_head;
use super::layout::{Listing, Marker, Segment, open, reserved};
use super::write_out::write_out;
use super::{Files, Index, LogError, gaps, live_size};
use crate::event::{Gap, GapReason};
use crate::os::clock;
use crate::plan::{LogOverflow, LogsPlan};

/// What a rotation has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RotateReport {
    /// Bytes that left the live file.
    pub rotated: u64,
    /// Archives removed, because there were more than are kept.
    pub removed: u32,
    /// What was dropped against the declaration: because of a quota, or for want of space on the disk.
    pub gaps: Vec<Gap>,
}

impl std::ops::AddAssign for RotateReport {
    fn add_assign(&mut self, other: Self) {
        self.rotated += other.rotated;
        self.removed += other.removed;
        self.gaps.extend(other.gaps);
    }
}

impl RotateReport {
    /// How many bytes were dropped against the declaration.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.gaps.iter().map(Gap::bytes).sum()
    }
}

/// Rotates the live file of `unit` when it is larger than `max_size`, or `force` is set, under the unit that writes it, and removes
/// archives beyond `keep` and `max_total`. No byte is lost or doubled, wherever this is cut short; the next call finishes what was left.
///
/// On a full disk the oldest archives make room, and at last the head itself is given up; so is what the live file has beyond
/// `max_total`. The report and `UNIT.log.gaps` say so. Nothing is given up of a log that declares another `overflow`.
///
/// # Errors
/// When a system call fails, or the file system cannot collapse; the log is whole then.
pub fn rotate_direct(dir: &Path, unit: &str, plan: &LogsPlan, force: bool) -> Result<RotateReport, LogError> {
    let files = Files::new(dir, unit);
    let mut report = RotateReport::default();
    let Some(live) = open(&files.live(), true)? else { return Ok(report) };
    give_back(&files, &live)?;
    report.rotated += finish(&files, &live)?;
    if plan.overflow == LogOverflow::DropOldest
        && let Some(surplus) = Rotation::plan(&files, &live, |size| size.saturating_sub(plan.max_total))?
    {
        give_up(&files, &surplus, GapReason::Quota, &mut report)?;
    }
    let wanted = |size: u64| if force || size > plan.max_size { size.saturating_sub(1) } else { 0 };
    if let Some(rotation) = Rotation::plan(&files, &live, wanted)? {
        match make_room(&files, &rotation, plan, &mut report)? {
            Some(part) => rotation.carry_out(&part)?,
            None => give_up(&files, &rotation, GapReason::DiskFull, &mut report)?,
        }
        report.rotated += rotation.len;
    }
    prune(&files, plan, &mut report)?;
    Ok(report)
}

/// Rotates by renaming, for a live file that only the caller writes: returns the new, empty live file.
///
/// # Errors
/// When a system call fails. The live file may have been renamed by then; the call can be repeated.
pub fn rotate_pipe(dir: &Path, unit: &str, plan: &LogsPlan) -> Result<(File, RotateReport), LogError> {
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
    prune(&files, plan, &mut report)?;
    Ok((file, report))
}

/// Removes the oldest archives of `unit` up to the stream offset `end`; `why`: they go against the declaration.
///
/// # Errors
/// When a system call fails.
pub fn remove_archives(dir: &Path, unit: &str, end: u64, why: Option<GapReason>) -> Result<RotateReport, LogError> {
    let files = Files::new(dir, unit);
    let mut report = RotateReport::default();
    let archives = Listing::read(&files)?;
    let count = archives.archives.iter().take_while(|archive| archive.end() <= end).count();
    drop_oldest(&files, &archives, count, why, &mut report)?;
    Ok(report)
}

/// Removes the oldest archive of `unit`, if there is more than the one that holds the place.
///
/// # Errors
/// When a system call fails.
pub fn drop_archive(dir: &Path, unit: &str, why: GapReason) -> Result<RotateReport, LogError> {
    let files = Files::new(dir, unit);
    let mut report = RotateReport::default();
    drop_oldest(&files, &Listing::read(&files)?, 1, Some(why), &mut report)?;
    Ok(report)
}

/// How many bytes all files of `unit` take; the time index and the list of gaps, which are small, are not counted.
///
/// # Errors
/// When a system call fails.
pub fn used(dir: &Path, unit: &str) -> Result<u64, LogError> {
    let files = Files::new(dir, unit);
    let listing = Listing::read(&files)?;
    Ok(live_size(dir, unit) + listing.stored())
}

/// The stream offset of the first byte of a live file that only the caller writes.
///
/// # Errors
/// When the directory cannot be listed.
pub fn live_base(dir: &Path, unit: &str) -> io::Result<u64> {
    Listing::read(&Files::new(dir, unit)).map(|listing| listing.place(None).0).map_err(io::Error::other)
}

/// The stream offset of the oldest byte that is left in archives; that of the live file where there are none.
#[must_use]
pub fn oldest(dir: &Path, unit: &str) -> u64 {
    let listing = Listing::read(&Files::new(dir, unit));
    listing
        .map_or(0, |listing| listing.archives.iter().find(|archive| archive.len > 0).map_or(listing.place(None).0, |archive| archive.start))
}

/// Finishes or discards what a rotation that was cut short has left. Cheap when there is nothing to do.
///
/// # Errors
/// When a system call fails.
pub fn recover(dir: &Path, unit: &str) -> Result<(), LogError> {
    let files = Files::new(dir, unit);
    if let Some(live) = open(&files.live(), true)? {
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
    /// What is to be done, if anything: `wanted` says how much of the live file's size. The live file carries no marker.
    fn plan(files: &'a Files, live: &'a File, wanted: impl Fn(u64) -> u64) -> Result<Option<Self>, LogError> {
        let path = files.live();
        let metadata = live.metadata().map_err(|source| LogError::io("inspect", &path, source))?;
        let (size, block) = (metadata.len(), metadata.blksize().max(4096));
        // Whole blocks, and never up to the end: the kernel refuses that.
        let len = wanted(size).min(size.saturating_sub(1)) / block * block;
        if len == 0 {
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
            if source.kind() == io::ErrorKind::UnexpectedEof {
                return LogError::Shortened { path: self.path.clone() };
            }
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

    /// Steps 2 to 4.
    fn carry_out(&self, part: &Path) -> Result<(), LogError> {
        self.commit()?;
        self.publish(part)?;
        self.collapse()
    }

    /// Step 2: from here on the head is dead and the `.part` counts.
    fn commit(&self) -> Result<(), LogError> {
        let marker = Marker { base: self.base, len: self.len }.encode();
        // In one page and one disk sector: it is there as a whole or not at all.
        // What is appended meanwhile is none of our business, and may be much.
        self.live
            .write_all_at(&marker, 0)
            .and_then(|()| write_out(self.live, 0, Some(self.block)))
            .map_err(|source| LogError::io("mark the head of", &self.path, source))
    }

    /// Step 3: the archive gets its name.
    fn publish(&self, part: &Path) -> Result<(), LogError> {
        rename(part, &part.with_extension(""))?;
        sync_directory(&self.files.dir)
    }

    /// Step 4: the head goes away, atomically, while the unit goes on appending.
    fn collapse(&self) -> Result<(), LogError> {
        // The kernel writes out what stays while the unit has to wait; what is written before that is done beside it.
        let _only_slower = write_out(self.live, self.len, None);
        collapse_head(self.live, self.len, &self.path)
    }
}

/// Gives back what the unit has reserved behind the end of its log. Bytes it writes in this instant go with it: who does such things has no claim.
fn give_back(files: &Files, live: &File) -> Result<(), LogError> {
    let fail = |source| LogError::io("give back what is reserved behind the end of", &files.live(), source);
    let metadata = live.metadata().map_err(fail)?;
    if reserved(&metadata) > 0 { live.set_len(metadata.len()).map_err(fail) } else { Ok(()) }
}

/// Drops the head.
fn give_up(files: &Files, rotation: &Rotation<'_>, why: GapReason, report: &mut RotateReport) -> Result<(), LogError> {
    let part = rotation.bookmark()?;
    note_gap(files, rotation.base, rotation.base + rotation.len, why, report);
    rotation.carry_out(&part)
}

/// Copies the head, removing the oldest archives as long as the disk is too full for it. `None` when only the newest archive is left
/// and it still is.
fn make_room(files: &Files, rotation: &Rotation<'_>, plan: &LogsPlan, report: &mut RotateReport) -> Result<Option<PathBuf>, LogError> {
    loop {
        match rotation.copy() {
            Ok(part) => return Ok(Some(part)),
            Err(error) if error.is_no_space() && plan.overflow == LogOverflow::DropOldest => {}
            Err(error) => return Err(error),
        }
        let listing = Listing::read(files)?;
        if listing.archives.len() < 2 {
            return Ok(None);
        }
        drop_oldest(files, &listing, 1, Some(GapReason::DiskFull), report)?;
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
        collapse_head(live, dead, &path)?;
    }
    Ok(dead)
}

/// Removes the oldest archives: beyond `keep`, and beyond `max_total` if the log is one whose oldest bytes go.
fn prune(files: &Files, plan: &LogsPlan, report: &mut RotateReport) -> Result<(), LogError> {
    let listing = Listing::read(files)?;
    let archives = &listing.archives;
    let bookmark = archives.last().is_some_and(|newest| newest.len == 0);
    let keep = usize::try_from(plan.keep).unwrap_or(usize::MAX).saturating_add(usize::from(bookmark)).max(1);
    let surplus = archives.len().saturating_sub(keep);
    drop_oldest(files, &listing, surplus, None, report)?;
    if plan.overflow != LogOverflow::DropOldest {
        return Ok(());
    }
    let live = std::fs::metadata(files.live()).map_or(0, |metadata| metadata.len());
    let (mut left, mut used) = (surplus, live + listing.stored_from(surplus));
    while used > plan.max_total && left < archives.len() {
        left += 1;
        used = live + listing.stored_from(left);
    }
    let rest = Listing { archives: archives[surplus..].to_vec(), ..listing };
    drop_oldest(files, &rest, left - surplus, Some(GapReason::Quota), report)
}

/// Removes the `count` oldest archives. When none would be left, an empty one holds the place: it tells where the live file stands.
fn drop_oldest(files: &Files, listing: &Listing, count: usize, why: Option<GapReason>, report: &mut RotateReport) -> Result<(), LogError> {
    let (gone, left) = listing.archives.split_at(count.min(listing.archives.len()));
    let Some(last) = gone.last() else { return Ok(()) };
    if left.is_empty() {
        if last.len == 0 {
            return drop_oldest(files, listing, gone.len() - 1, why, report);
        }
        create(&files.archive(last.end()), 0o640, false)?;
        sync_directory(&files.dir)?;
    }
    // What holds the place of something that was given up holds no bytes.
    if let Some((first, why)) = gone.iter().find(|archive| archive.len > 0).zip(why) {
        note_gap(files, first.start, last.end(), why, report);
    }
    for archive in gone {
        remove(archive)?;
        for double in listing.doubles.iter().filter(|double| double.start == archive.start) {
            remove(double)?;
        }
        report.removed += u32::from(archive.len > 0 && why.is_none());
    }
    Ok(())
}

fn note_gap(files: &Files, start: u64, end: u64, why: GapReason, report: &mut RotateReport) {
    let now = clock::wall();
    let when = |offset| Index::reached(&files.dir, &files.unit, offset).ok().flatten().unwrap_or(now);
    let gap = Gap { start, end, from: when(start + 1), to: when(end), why };
    if let Err(error) = gaps::note(files, gap) {
        // A full disk takes no note either; the event and the counter still tell.
        tracing::debug!("{error}");
    }
    report.gaps.push(gap);
}

pub(super) fn create(path: &Path, mode: u32, truncate: bool) -> Result<File, LogError> {
    let mut options = std::fs::OpenOptions::new();
    options.read(true).write(true).create(true).truncate(truncate).mode(mode);
    options.open(path).map_err(|source| LogError::io("create", path, source))
}

/// Takes `len` bytes off the head of a live file, which its unit may shorten at any time.
fn collapse_head(live: &File, len: u64, path: &Path) -> Result<(), LogError> {
    let became_shorter = || live.metadata().is_ok_and(|metadata| metadata.len() <= len);
    collapse(live, len).map_err(|errno| match errno {
        rustix::io::Errno::INVAL if became_shorter() => LogError::Shortened { path: path.to_owned() },
        errno => LogError::io("collapse the head of", path, errno),
    })
}

fn collapse(file: &File, len: u64) -> rustix::io::Result<()> {
    rustix::io::retry_on_intr(|| fallocate(file, FallocateFlags::COLLAPSE_RANGE, 0, len))
}

/// Tries it on `file`, which is empty before and after.
fn can_collapse(file: &File, block: u64) -> bool {
    file.set_len(2 * block).is_ok() && collapse(file, block).is_ok() && file.set_len(0).is_ok()
}

pub(super) fn rename(from: &Path, to: &Path) -> Result<(), LogError> {
    std::fs::rename(from, to).map_err(|source| LogError::io("rename", from, source))
}

pub(super) fn remove(segment: &Segment) -> Result<(), LogError> {
    match std::fs::remove_file(&segment.path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(LogError::io("remove", &segment.path, source)),
        _ => Ok(()),
    }
}

pub(super) fn sync_directory(dir: &Path) -> Result<(), LogError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|source| LogError::io("sync", dir, source))
}

#[cfg(test)]
mod tests;
