//! Output pipes while there is no brain: their bytes go to where the last brain said, so that no unit has to wait.
//!
//! A pipe has one reader at a time. As long as there is a brain process it is the brain; the launcher begins when that is reaped, and is
//! done before the next one is introduced. Bytes go from the pipe to the file within the kernel: whoever is killed in between, each is in
//! the one or in the other. The next brain goes on at the end of the file.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::{SpliceFlags, fcntl_getpipe_size, splice};

use super::aside::Aside;
use super::complain;
use super::disk::DISK_WITHIN;
use super::hold::Slot;
use super::serve::Launcher;
use super::wire::SpillTo;
use crate::base::id::UnitId;
use crate::base::time::{Mono, Wall};
use crate::os::clock;
use crate::os::logfile::spill_gap_line;

/// A brain that is away for longer than this is not waited for. Most are back in a tenth of the time.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often the pipes are looked at meanwhile: one that is half full is not waited for either.
const LOOK: Duration = Duration::from_millis(20);

/// A brain that says nothing for this long, while a unit waits because of a full pipe, hangs.
const SILENT: Duration = Duration::from_secs(5);

/// The most bytes moved for one unit before the others, and everything else, have their turn.
const TURN: usize = 1 << 20;

/// When the pipes are looked at.
#[derive(Default)]
pub(super) struct Spilling {
    /// Since when there is no brain.
    away: Option<Mono>,
    again_at: Option<Mono>,
    /// The thread that writes: a log's disk may hang.
    writer: Aside,
}

impl Spilling {
    pub(super) const fn deadline(&self) -> Option<Mono> {
        self.again_at
    }
}

/// Where the output of a unit goes when there is no brain, and what came of it.
pub(super) struct Spill {
    to: SpillTo,
    file: Option<OwnedFd>,
    /// Bytes for which there was no room, since when.
    lost: Option<(u64, Wall)>,
}

impl Launcher {
    /// The brain says where output goes when it is away.
    pub(super) fn spill_to(&mut self, unit: &UnitId, to: SpillTo) {
        if let Some(slot) = self.slots.get_mut(unit) {
            slot.spill = Some(Spill { to, file: None, lost: None });
        }
    }

    /// Looks at the pipes, if nobody else does and it is time to.
    pub(super) fn spill(&mut self, now: Mono) {
        if self.brain.is_running() {
            self.spilling.away = None;
            self.spilling.again_at = self.brain.silent_since().map(|since| (since + SILENT).max(now + LOOK));
            return self.unblock(now);
        }
        let away = *self.spilling.away.get_or_insert(now);
        if self.spilling.again_at.is_some_and(|at| at > now) {
            return;
        }
        let (mut pipes, mut busy) = (0, false);
        for slot in self.slots.values_mut() {
            let (Some((pipe, _)), Some(_)) = (&slot.output, &slot.spill) else { continue };
            pipes += 1;
            let there = rustix::io::ioctl_fionread(pipe).unwrap_or(0);
            let room = fcntl_getpipe_size(pipe).unwrap_or(0) as u64;
            if there > 0 && (now.since(away) >= PATIENCE || there >= room / 2) {
                busy |= self.spilling.writer.spill(slot, self.executor.null()) as u64 >= room / 2;
            }
        }
        self.spilling.again_at = (pipes > 0).then_some(if busy { now } else { now + LOOK });
    }

    /// A brain that is silent while a pipe it should empty is full does not get the whole time others get to show that they live.
    fn unblock(&mut self, now: Mono) {
        if self.brain.silent_since().is_none_or(|since| now.since(since) < SILENT) {
            return;
        }
        let is_full = |pipe: &OwnedFd| {
            let there = rustix::io::ioctl_fionread(pipe).unwrap_or(0);
            fcntl_getpipe_size(pipe).is_ok_and(|room| there >= room as u64 / 8 * 7)
        };
        if self.slots.values().filter(|slot| slot.spill.is_some()).filter_map(|slot| slot.output.as_ref()).any(|(pipe, _)| is_full(pipe)) {
            complain(format_args!("the brain hangs: it is silent, and a unit waits to write"));
            self.brain.abort(now);
        }
    }

    /// Moves what is left, when no brain comes any more.
    pub(super) fn spill_rest(&mut self) {
        if self.brain.is_running() {
            return;
        }
        for slot in self.slots.values_mut() {
            self.spilling.writer.spill(slot, self.executor.null());
        }
        self.end_spill();
    }

    /// Lets go of the files, before the next brain has the pipes.
    pub(super) fn end_spill(&mut self) {
        for slot in self.slots.values_mut() {
            let Some(mut spill) = slot.spill.take_if(|spill| spill.file.is_some() || spill.lost.is_some()) else { continue };
            slot.spill = self.spilling.writer.within(DISK_WITHIN, move || {
                // What cannot be written down now never will be.
                let _untold = spill.close_gap();
                spill.file = None;
                spill
            });
        }
    }
}

impl Aside {
    /// Moves what is in the pipe of a unit; how many bytes. Should the disk hang, the unit has no place to spill to until a brain names one again, and
    /// what it writes waits in the pipe.
    fn spill(&mut self, slot: &mut Slot, null: BorrowedFd<'_>) -> usize {
        let Some((pipe, _)) = slot.output.as_ref().filter(|_| slot.spill.is_some()) else { return 0 };
        let (Ok(pipe), Ok(null)) = (pipe.try_clone(), null.try_clone_to_owned()) else { return 0 };
        let Some(mut spill) = slot.spill.take() else { return 0 };
        let moved = self.within(DISK_WITHIN, move || {
            let moved = spill.take(&pipe, null);
            (moved, spill)
        });
        let Some((moved, spill)) = moved else { return 0 };
        slot.spill = Some(spill);
        moved
    }
}

impl Spill {
    /// Moves what is in the pipe; how many bytes.
    fn take(&mut self, pipe: &OwnedFd, null: impl AsFd) -> usize {
        let mut moved = 0;
        while moved < TURN {
            match self.write(pipe, TURN - moved) {
                Ok(0) | Err(Errno::AGAIN) => break,
                Ok(bytes) => moved += bytes,
                Err(Errno::INTR) => {}
                // Left in the pipe, the unit waits: so it is declared.
                Err(_) if !self.to.may_drop => break,
                Err(_) => match splice(pipe, None, &null, None, TURN, SpliceFlags::NONBLOCK) {
                    Ok(bytes @ 1..) => {
                        let (lost, _) = self.lost.get_or_insert((0, clock::wall()));
                        *lost += bytes as u64;
                        moved += bytes;
                    }
                    _ => break,
                },
            }
        }
        moved
    }

    fn write(&mut self, pipe: &OwnedFd, max: usize) -> Result<usize, Errno> {
        let (limit, (_, end)) = (self.to.limit, self.open()?);
        let room = usize::try_from(limit.saturating_sub(end)).unwrap_or(usize::MAX).min(max);
        if room == 0 {
            return Err(Errno::NOSPC);
        }
        self.close_gap()?;
        let (file, end) = self.open()?;
        let mut at = end;
        splice(pipe, None, file, Some(&mut at), room, SpliceFlags::NONBLOCK)
    }

    /// The file, and where it ends. It is opened without waiting: the path may be that of a named pipe nobody reads.
    fn open(&mut self) -> Result<(&OwnedFd, u64), Errno> {
        if self.file.is_none() {
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NOCTTY | OFlags::NONBLOCK;
            self.file = Some(rustix::fs::openat(CWD, &self.to.path, flags, Mode::RUSR | Mode::WUSR | Mode::RGRP)?);
        }
        let file = self.file.as_ref().ok_or(Errno::BADF)?;
        Ok((file, u64::try_from(rustix::fs::fstat(file)?.st_size).unwrap_or(0)))
    }

    /// Writes the line that tells what is missing, if anything is.
    fn close_gap(&mut self) -> Result<(), Errno> {
        let Some((lost, from)) = self.lost else { return Ok(()) };
        let (limit, (file, end)) = (self.to.limit, self.open()?);
        let mut last = [b'\n'];
        if let Some(at) = end.checked_sub(1) {
            rustix::io::pread(file, &mut last, at)?;
        }
        let newline = if last == [b'\n'] { "" } else { "\n" };
        let line = format!("{newline}{}\n", spill_gap_line(lost, from, clock::wall(), end >= limit));
        let written = rustix::io::pwrite(file, line.as_bytes(), end)?;
        if written < line.len() {
            rustix::fs::ftruncate(file, end)?;
            return Err(Errno::NOSPC);
        }
        self.lost = None;
        Ok(())
    }
}
