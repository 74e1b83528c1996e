//! A unit's output as entries of the journal.
//!
//! Lines are looked at, handed over, and only then taken out of the pipe: a daemon that is killed in between loses nothing, but may
//! hand over the last [`BATCH`] lines once more. What the launcher wrote to a file while there was no daemon comes first.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::PumpLog;
use super::entry::{Origin, entry};
use super::peek::{Kit, PEEK};
use super::sink::{Fault, Taken};
use crate::base::id::UnitId;
use crate::os::journald::Journal;

/// The longest entry, in bytes, as with what systemd reads itself; longer lines come in pieces.
const LINE_MAX: usize = 48 * 1024;

/// How many lines are handed over before they are taken out of the pipe.
const BATCH: usize = 64;

/// How soon an unfinished line is looked at again: one that grows, and at last one that does not.
const UNFINISHED: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(200));

/// How soon a journal that takes no more is tried again.
const AGAIN: Duration = Duration::from_millis(20);

/// For how long it may take no more until that is a failure.
const PATIENCE: Duration = Duration::from_secs(1);

/// A unit's output on its way to the journal.
pub(super) struct Stream {
    origin: Origin,
    log: PumpLog,
    journal: Option<Journal>,
    /// Whether the file the launcher may have written is dealt with.
    unspilled: bool,
    /// That file, and how much of it is handed over.
    spilled: Option<(File, u64)>,
    /// How much of an unfinished line is in the pipe, and when it is looked at again.
    begun: (usize, Duration),
    /// Since when the journal takes no more.
    stuck: Option<Instant>,
}

impl Stream {
    pub(super) fn new(unit: UnitId, log: &PumpLog) -> Self {
        Self {
            origin: Origin { unit, run: log.run },
            log: log.clone(),
            journal: None,
            unspilled: false,
            spilled: None,
            begun: (0, UNFINISHED.0),
            stuck: None,
        }
    }

    pub(super) fn set_run(&mut self, run: u64) {
        self.origin.run = run;
    }

    /// Hands over the lines that are in the pipe, up to `max` bytes of them but one at least.
    pub(super) fn take(&mut self, pipe: &OwnedFd, kit: &mut Kit, max: usize, last: bool) -> Result<Taken, Fault> {
        if !self.unspilled
            && let Some(taken) = self.unspill()?
        {
            return Ok(taken);
        }
        let bytes = match kit.peek(pipe) {
            Ok([]) => return Ok(Taken::End),
            Ok(bytes) => bytes,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(Taken::Nothing),
            Err(errno) => return Err(errno.into()),
        };
        let more = rustix::io::ioctl_fionread(pipe).is_ok_and(|there| there > bytes.len() as u64);
        let whole = last || (more && !bytes.contains(&b'\n'));
        let lines = cut(bytes, max, whole);
        if lines.is_empty() {
            let there = bytes.len();
            return Ok(Taken::Wait(self.unfinished(there)));
        }
        let (handed, fault) = self.send(&lines);
        if handed > 0 {
            return Ok(Taken::Bytes(kit.consume(pipe, handed)));
        }
        fault.map_or(Ok(Taken::Nothing), |errno| self.stuck_at(errno))
    }

    pub(super) fn write_line(&mut self, line: &str) -> Result<(), Fault> {
        match self.send(&[(line.as_bytes(), 0)]).1 {
            None => Ok(()),
            Some(errno) => Err(errno.into()),
        }
    }

    /// How many bytes were handed over, and why not all.
    fn send(&mut self, lines: &[(&[u8], usize)]) -> (usize, Option<Errno>) {
        let journal = match self.journal.take().map_or_else(|| Journal::open(&self.log.journal), Ok) {
            Ok(journal) => journal,
            Err(error) => return (0, Some(Errno::from_io_error(&error).unwrap_or(Errno::IO))),
        };
        let mut handed = 0;
        for (line, length) in lines {
            // An empty line is no entry: the journal would not take it.
            if !line.is_empty()
                && let Err(errno) = journal.send(&entry(&self.origin, line))
            {
                if errno == Errno::AGAIN {
                    self.journal = Some(journal);
                }
                return (handed, Some(errno));
            }
            handed += length;
            self.stuck = None;
        }
        self.journal = Some(journal);
        (handed, None)
    }

    /// Hands over a piece of what the launcher has written to a file; `None`: there is nothing of that any more.
    fn unspill(&mut self) -> Result<Option<Taken>, Fault> {
        if self.spilled.is_none() {
            self.spilled = match File::open(&self.log.spill) {
                Ok(file) => Some((file, 0)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    self.unspilled = true;
                    return Ok(None);
                }
                Err(error) => return Err(error.into()),
            };
        }
        let Some((file, at)) = self.spilled.take() else { return Ok(None) };
        let mut buffer = vec![0; PEEK];
        let length = file.read_at(&mut buffer, at)?;
        let lines = cut(&buffer[..length], usize::MAX, length < PEEK);
        if lines.is_empty() {
            std::fs::remove_file(&self.log.spill)?;
            self.unspilled = true;
            return Ok(None);
        }
        let (handed, fault) = self.send(&lines);
        // What is handed over already must not come twice.
        self.spilled = Some((file, at + handed as u64));
        match fault {
            Some(errno) if handed == 0 => self.stuck_at(errno).map(Some),
            _ => Ok(Some(Taken::Wait(Duration::ZERO))),
        }
    }

    /// Only the beginning of a line is there, and stays in the pipe. It is looked at again and again: in a pipe that is not empty the
    /// kernel announces nothing of a write that goes on.
    fn unfinished(&mut self, there: usize) -> Duration {
        let grown = std::mem::replace(&mut self.begun.0, there) != there;
        self.begun.1 = if grown { UNFINISHED.0 } else { (self.begun.1 * 2).min(UNFINISHED.1) };
        self.begun.1
    }

    /// Nothing was handed over: whether to wait.
    fn stuck_at(&mut self, errno: Errno) -> Result<Taken, Fault> {
        if errno != Errno::AGAIN {
            return Err(errno.into());
        }
        let since = *self.stuck.get_or_insert_with(Instant::now);
        if since.elapsed() < PATIENCE { Ok(Taken::Wait(AGAIN)) } else { Err(errno.into()) }
    }
}

/// Lines with the bytes each takes in the pipe, its newline included: at most `max` bytes or one line, and [`BATCH`] lines. `whole`:
/// what is unfinished counts as a line.
fn cut(bytes: &[u8], max: usize, whole: bool) -> Vec<(&[u8], usize)> {
    let (mut lines, mut taken) = (Vec::new(), 0);
    while lines.len() < BATCH && (taken < max || lines.is_empty()) && taken < bytes.len() {
        let rest = &bytes[taken..];
        let window = &rest[..rest.len().min(LINE_MAX + 1)];
        let (line, length) = match window.iter().position(|byte| *byte == b'\n') {
            Some(at) => (&rest[..at], at + 1),
            None if rest.len() > LINE_MAX => (&rest[..LINE_MAX], LINE_MAX),
            None if whole => (rest, rest.len()),
            None => break,
        };
        lines.push((line, length));
        taken += length;
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_and_what_is_unfinished_stays() {
        let text = |lines: Vec<(&[u8], usize)>| lines.iter().map(|(line, length)| (line.len(), *length)).collect::<Vec<_>>();
        assert_eq!(text(cut(b"ab\n\ncd", usize::MAX, false)), [(2, 3), (0, 1)]);
        assert_eq!(text(cut(b"ab\n\ncd", usize::MAX, true)), [(2, 3), (0, 1), (2, 2)]);
        assert_eq!(text(cut(b"ab\ncd\n", 1, false)), [(2, 3)]);
        assert_eq!(text(cut(&vec![b'x'; LINE_MAX + 5], usize::MAX, false)), [(LINE_MAX, LINE_MAX)]);
        assert_eq!(cut(&b"\n".repeat(1000), usize::MAX, false).len(), BATCH);
        assert_eq!(cut(b"", usize::MAX, true).len(), 0);
    }
}
