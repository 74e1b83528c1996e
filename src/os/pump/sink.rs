//! Where the output of one unit goes: its log file or the journal, with its limits.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::pipe::{SpliceFlags, splice};

use super::bucket::Bucket;
use super::peek::Kit;
use super::stream::Stream;
use super::{PumpLog, PumpReport};
use crate::base::id::UnitId;
use crate::base::time::Wall;
use crate::event::{GapReason, gap_line};
use crate::os::clock;
use crate::os::logfile::{LogError, RotateReport, Stamps, drop_archive, live_base, live_path, oldest, recover, rotate_pipe, used};
use crate::plan::{LogMode, LogOverflow, LogsPlan};

/// The most bytes moved for one pipe before the others have their turn.
pub(super) const TURN: usize = 1 << 20;

/// How often writing is tried again after it failed, and for how long output is dropped that comes too fast.
const RETRY: Duration = Duration::from_secs(1);

/// What came of one turn.
pub(super) enum Turn {
    /// So many bytes were moved, or dropped.
    Moved(usize),
    Empty,
    /// The pipe is not to be read before [`Sink::due`].
    Wait,
    /// Nobody can write to the pipe any more.
    Over,
}

/// What was taken out of a pipe.
pub(super) enum Taken {
    Bytes(usize),
    /// Nothing is there.
    Nothing,
    /// There is no room for now, or only the beginning of a line.
    Wait(Duration),
    /// The pipe has no writer any more.
    End,
}

/// Why nothing can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What for.
    pub why: GapReason,
    /// What the system says.
    pub errno: Option<Errno>,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.why.text())?;
        self.errno.map_or(Ok(()), |errno| write!(f, " ({errno})"))
    }
}

impl From<Errno> for Fault {
    fn from(errno: Errno) -> Self {
        let why = if matches!(errno, Errno::NOSPC | Errno::DQUOT) { GapReason::DiskFull } else { GapReason::WriteFailed };
        Self { why, errno: Some(errno) }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Errno::from_io_error(&error).unwrap_or(Errno::IO).into()
    }
}

/// A log that is written.
pub(super) struct Sink {
    unit: UnitId,
    log: PumpLog,
    out: Out,
    bucket: Option<Bucket>,
    gap: Option<Loss>,
    wait: Option<Instant>,
    /// It has been told that the unit waits.
    told_waiting: bool,
}

enum Out {
    File(LiveFile),
    Journal(Box<Stream>),
}

/// Output that is being lost.
struct Loss {
    fault: Fault,
    from: Wall,
    lost: u64,
    /// How much of it was reported.
    told: u64,
    told_at: Option<Instant>,
    retry: Instant,
    /// What was dropped last is not the end of a line.
    torn: bool,
}

pub(super) type Report<'a> = &'a mut (dyn FnMut(PumpReport) + Send);

impl Sink {
    pub(super) fn new(unit: UnitId, log: PumpLog) -> Self {
        let out = Out::new(&unit, &log);
        let bucket = log.plan.rate_limit.map(|rate| Bucket::new(rate, Instant::now()));
        Self { unit, log, out, bucket, gap: None, wait: None, told_waiting: false }
    }

    /// A new run, or a new plan.
    pub(super) fn change(&mut self, log: PumpLog) {
        if log.plan.rate_limit != self.bucket.map(|bucket| bucket.rate()) {
            self.bucket = log.plan.rate_limit.map(|rate| Bucket::new(rate, Instant::now()));
        }
        match &mut self.out {
            Out::Journal(stream) if log.plan.mode == LogMode::Journald => stream.set_run(log.run),
            Out::File(_) if log.plan.mode != LogMode::Journald => {}
            _ => self.out = Out::new(&self.unit, &log),
        }
        self.log = log;
    }

    /// The same run with other bounds. How output travels is not changed under a running unit.
    pub(super) fn replan(&mut self, plan: LogsPlan) {
        let plan = LogsPlan { mode: self.log.plan.mode, ..plan };
        self.change(PumpLog { plan, ..self.log.clone() });
    }

    /// When it wants to be woken, whether anything comes or not.
    pub(super) fn due(&self) -> Option<Instant> {
        self.wait.into_iter().chain(self.gap.as_ref().map(|gap| gap.retry)).min()
    }

    /// Whether output is being lost, or was and nobody has been told.
    pub(super) const fn has_gap(&self) -> bool {
        self.gap.is_some()
    }

    /// Moves what is in the pipe. `last`: there is no other time for what is unfinished.
    pub(super) fn turn(&mut self, pipe: &OwnedFd, kit: &mut Kit, last: bool, report: Report<'_>) -> Turn {
        let now = Instant::now();
        if !last && self.wait.is_some_and(|until| now < until) {
            return Turn::Wait;
        }
        self.wait = None;
        if self.gap.as_ref().is_some_and(|gap| gap.retry <= now) && self.mend(pipe, kit) {
            self.close_gap(report);
        }
        if self.gap.is_none() {
            match self.take(pipe, kit, now, last, report) {
                Ok(Taken::Bytes(bytes)) => {
                    self.told_waiting = false;
                    if let Some(bucket) = &mut self.bucket {
                        bucket.take(bytes);
                    }
                    return Turn::Moved(bytes);
                }
                Ok(Taken::Nothing) => return Turn::Empty,
                Ok(Taken::End) => return Turn::Over,
                Ok(Taken::Wait(time)) => return self.wait_for(time, now),
                Err(fault) if self.may_drop() => self.gap = Some(Loss::new(fault, now)),
                Err(fault) => {
                    if !std::mem::replace(&mut self.told_waiting, true) {
                        report(PumpReport::Waiting { unit: self.unit.clone(), why: fault });
                    }
                    return self.wait_for(RETRY, now);
                }
            }
        }
        self.discard(pipe, kit, report)
    }

    /// What is due without anything having come.
    pub(super) fn wake(&mut self, report: Report<'_>) {
        let now = Instant::now();
        if self.wait.is_some_and(|until| until <= now) {
            self.wait = None;
        }
        if self.gap.as_ref().is_some_and(|gap| gap.retry <= now) {
            self.close_gap(report);
        }
    }

    /// Rotates the file, whatever its size.
    pub(super) fn rotate(&mut self) -> Result<RotateReport, LogError> {
        match &mut self.out {
            Out::File(file) => file.rotate(&self.unit, &self.log),
            Out::Journal(_) => Ok(RotateReport::default()),
        }
    }

    fn may_drop(&self) -> bool {
        self.log.plan.overflow == LogOverflow::DropOldest
    }

    fn wait_for(&mut self, time: Duration, now: Instant) -> Turn {
        self.wait = Some(now + time);
        Turn::Wait
    }

    fn take(&mut self, pipe: &OwnedFd, kit: &mut Kit, now: Instant, last: bool, report: Report<'_>) -> Result<Taken, Fault> {
        let allowed = self.bucket.as_mut().map_or(TURN, |bucket| bucket.allowance(now));
        if allowed == 0 && !last {
            let Some(bucket) = self.bucket.filter(|_| !self.may_drop()) else {
                return Err(Fault { why: GapReason::RateLimit, errno: None });
            };
            return Ok(Taken::Wait(bucket.pause()));
        }
        let max = allowed.clamp(1, TURN);
        match &mut self.out {
            Out::Journal(stream) => stream.take(pipe, kit, max, last),
            Out::File(file) => match file.take(pipe, &self.unit, &self.log, max, report) {
                Err(Fault { why: GapReason::DiskFull, .. }) if self.log.plan.overflow == LogOverflow::DropOldest => {
                    // The oldest make room, if there are any.
                    let freed = drop_archive(&self.log.dir, self.unit.as_str(), GapReason::DiskFull);
                    match freed {
                        Ok(freed) if !freed.gaps.is_empty() => {
                            report(PumpReport::Rotated { unit: self.unit.clone(), done: freed });
                            Ok(Taken::Bytes(0))
                        }
                        _ => Err(Errno::NOSPC.into()),
                    }
                }
                taken => taken,
            },
        }
    }

    /// Drops what is in the pipe, and counts it.
    fn discard(&mut self, pipe: &OwnedFd, kit: &mut Kit, report: Report<'_>) -> Turn {
        let Some(gap) = &mut self.gap else { return Turn::Empty };
        match kit.read(pipe, usize::MAX) {
            Ok([]) => Turn::Over,
            Ok(bytes) => {
                let length = bytes.len();
                gap.lost += length as u64;
                gap.torn = bytes.last() != Some(&b'\n');
                let now = Instant::now();
                if gap.told_at.is_none_or(|told| now >= told + RETRY) {
                    gap.told_at = Some(now);
                    report(gap.report(&self.unit, false));
                }
                Turn::Moved(length)
            }
            Err(Errno::AGAIN | Errno::INTR) => Turn::Empty,
            // Not a pipe.
            Err(_) => Turn::Over,
        }
    }

    /// Before writing goes on: drops the rest of the line whose beginning was dropped, if it is there. Whether writing may go on.
    fn mend(&mut self, pipe: &OwnedFd, kit: &mut Kit) -> bool {
        let Some(gap) = self.gap.as_mut().filter(|gap| gap.torn) else { return true };
        let Ok(bytes) = kit.peek(pipe) else { return true };
        let (rest, ends) = match bytes.iter().position(|byte| *byte == b'\n') {
            Some(at) => (at + 1, true),
            None => (bytes.len(), false),
        };
        let dropped = kit.consume(pipe, rest);
        gap.lost += dropped as u64;
        gap.torn = !ends;
        ends || dropped == 0
    }

    /// Writes the line that tells of the gap; if that fails, the gap goes on.
    pub(super) fn close_gap(&mut self, report: Report<'_>) {
        let Some(mut gap) = self.gap.take() else { return };
        let line = gap_line(gap.lost, gap.from, clock::wall(), gap.fault.why);
        let written = match &mut self.out {
            _ if gap.lost == 0 => Ok(()),
            Out::File(file) => file.write_line(&self.unit, &self.log, &line),
            Out::Journal(stream) => stream.write_line(&line),
        };
        match written {
            Ok(()) if gap.lost == 0 => {}
            Ok(()) => report(gap.report(&self.unit, true)),
            Err(fault) => {
                gap.fault = fault;
                gap.retry = Instant::now() + RETRY;
                self.gap = Some(gap);
            }
        }
    }
}

impl Loss {
    fn new(fault: Fault, now: Instant) -> Self {
        Self { fault, from: clock::wall(), lost: 0, told: 0, told_at: None, retry: now + RETRY, torn: false }
    }

    fn report(&mut self, unit: &UnitId, over: bool) -> PumpReport {
        let news = self.lost - std::mem::replace(&mut self.told, self.lost);
        PumpReport::Lost { unit: unit.clone(), bytes: self.lost, news, from: self.from, why: self.fault, over }
    }
}

impl Out {
    fn new(unit: &UnitId, log: &PumpLog) -> Self {
        match log.plan.mode {
            LogMode::Journald => Self::Journal(Box::new(Stream::new(unit.clone(), log))),
            LogMode::Direct | LogMode::Pipe | LogMode::None => Self::File(LiveFile::default()),
        }
    }
}

/// The live file. Nobody else writes it.
#[derive(Default)]
struct LiveFile {
    file: Option<File>,
    offset: u64,
    /// Beyond this size the file is rotated: `max_size`, or more after a rotation that failed.
    rotate_at: u64,
    /// Whether what is kept is as much as may be, for a unit that is to wait then.
    is_full: bool,
    stamps: Option<Stamps>,
    /// The stream offset of the live file's first byte, where there are stamps.
    base: u64,
}

impl LiveFile {
    fn take(&mut self, pipe: &OwnedFd, unit: &UnitId, log: &PumpLog, max: usize, report: Report<'_>) -> Result<Taken, Fault> {
        if self.is_full && self.check_room(unit, log) {
            return Err(Fault { why: GapReason::Quota, errno: None });
        }
        let file = self.open(unit, log)?;
        let mut offset = file.1;
        let moved = splice(pipe, None, file.0, Some(&mut offset), max, SpliceFlags::NONBLOCK | SpliceFlags::MOVE);
        self.offset = offset;
        let bytes = match moved {
            Ok(0) => return Ok(Taken::End),
            Ok(bytes) => bytes,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(Taken::Nothing),
            Err(errno) => return Err(errno.into()),
        };
        if log.plan.timestamps {
            self.stamp(unit, log);
        }
        if self.offset > self.rotate_at.max(log.plan.max_size) {
            if let Ok(done) = self.rotate(unit, log) {
                report(PumpReport::Rotated { unit: unit.clone(), done });
            } else {
                // Tried again after as many bytes more.
                self.rotate_at = self.offset.saturating_add(log.plan.max_size);
            }
            self.check_room(unit, log);
        }
        Ok(Taken::Bytes(bytes))
    }

    /// Notes when what is there now has come. Without room for that the log goes on without.
    fn stamp(&mut self, unit: &UnitId, log: &PumpLog) {
        let (dir, name, now) = (&log.dir, unit.as_str(), clock::wall());
        let stamped = match &mut self.stamps {
            Some(stamps) => stamps.note(now, self.base + self.offset, || oldest(dir, name)),
            None => live_base(dir, name).and_then(|base| {
                self.base = base;
                self.stamps = Some(Stamps::open(dir, name, log.plan.max_total, (now, base + self.offset))?);
                Ok(())
            }),
        };
        if stamped.is_err() {
            self.stamps = None;
        }
    }

    /// Whether a unit that is to wait rather than to lose anything has no room for another file of full size.
    fn check_room(&mut self, unit: &UnitId, log: &PumpLog) -> bool {
        let waits = log.plan.overflow != LogOverflow::DropOldest;
        let is_full = || used(&log.dir, unit.as_str()).is_ok_and(|used| used.saturating_add(log.plan.max_size) > log.plan.max_total);
        self.is_full = waits && is_full();
        self.is_full
    }

    fn open(&mut self, unit: &UnitId, log: &PumpLog) -> io::Result<(&File, u64)> {
        if self.file.is_none() {
            // What a unit that wrote the file itself has left. If that fails the file is whole all the same.
            let _ = recover(&log.dir, unit.as_str());
            let path = live_path(&log.dir, unit.as_str());
            let mut options = File::options();
            // Such a unit may hold a lease on it, which is not waited for.
            options.read(true).write(true).create(true).truncate(false).mode(0o640).custom_flags(libc::O_NONBLOCK);
            let file = options.open(path)?;
            self.offset = file.metadata()?.len();
            self.file = Some(file);
        }
        self.file.as_ref().map(|file| (file, self.offset)).ok_or_else(|| Errno::IO.into())
    }

    fn rotate(&mut self, unit: &UnitId, log: &PumpLog) -> Result<RotateReport, LogError> {
        // Perhaps it is renamed already when this fails: whatever bears the name then is opened.
        (self.file, self.stamps) = (None, None);
        let (file, done) = rotate_pipe(&log.dir, unit.as_str(), &log.plan)?;
        (self.offset, self.rotate_at) = (file.metadata().map_or(0, |metadata| metadata.len()), 0);
        self.file = Some(file);
        Ok(done)
    }

    fn write_line(&mut self, unit: &UnitId, log: &PumpLog, line: &str) -> Result<(), Fault> {
        let (file, offset) = self.open(unit, log)?;
        let mut last = [b'\n'];
        if let Some(at) = offset.checked_sub(1) {
            file.read_exact_at(&mut last, at)?;
        }
        let newline = if last == [b'\n'] { "" } else { "\n" };
        let line = format!("{newline}{line}\n");
        file.write_all_at(line.as_bytes(), offset)?;
        self.offset += line.len() as u64;
        Ok(())
    }
}
