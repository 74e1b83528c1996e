//! The event journal: CloudEvents as JSON lines, in `events.jsonl`, with one older generation in `events.jsonl.1`.
//!
//! What people have asked for is besides in `commands.jsonl`: a unit that fails hundreds of times a second makes whole generations of events in a minute,
//! and must not be able to make forgotten who did what.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::event::{Envelope, Event};

/// The journal starts a new generation beyond this size, in bytes.
pub const MAX_SIZE: u64 = 16 << 20;

/// So is that of commands, in bytes: some 5,000 of them in each generation.
pub const COMMANDS_MAX: u64 = 1 << 20;

/// They are for the daemon's user only.
const MODE: u32 = 0o600;

/// The journal, open for writing. Every call blocks: not for the runtime's threads.
#[derive(Debug)]
pub struct Journal {
    directory: PathBuf,
    file: Option<File>,
    size: u64,
    /// The last write may have left half a line.
    torn: bool,
    /// Up to this one, commands are written down for themselves.
    commands: u64,
}

impl Journal {
    /// The journal in `directory`. It is opened at the first write, and again after a failure.
    #[must_use]
    pub const fn new(directory: PathBuf) -> Self {
        // A brain that was killed may have left half a line: an empty line more does no harm.
        Self { directory, file: None, size: 0, torn: true, commands: 0 }
    }

    /// Appends events. So many of them, from the first one on, are in the journal then, whatever else there is to say.
    ///
    /// # Errors
    /// The others could not be written, or no new generation could be begun.
    pub fn append(&mut self, events: &[Envelope]) -> (usize, io::Result<()>) {
        let mut bytes = Vec::new();
        if self.torn {
            bytes.push(b'\n');
        }
        // Where each event ends.
        let mut ends = Vec::with_capacity(events.len());
        for event in events {
            if let Err(fault) = serde_json::to_writer(&mut bytes, event) {
                return (0, Err(fault.into()));
            }
            bytes.push(b'\n');
            ends.push(bytes.len());
        }
        // Before the others: what is told twice is told once more, what is not told here is lost with its generation.
        self.append_commands(events);
        let (written, result) = match self.file() {
            Ok(file) => write(file, &bytes),
            Err(fault) => (0, Err(fault)),
        };
        self.size += written as u64;
        self.torn = written.checked_sub(1).and_then(|last| bytes.get(last)).map_or(self.torn, |byte| *byte != b'\n');
        let result = result.and_then(|()| self.begin_generation());
        if result.is_err() {
            self.file = None;
        }
        (ends.partition_point(|end| *end <= written), result)
    }

    /// Writes down for themselves what people have asked for. If that fails, they are still among the others.
    fn append_commands(&mut self, events: &[Envelope]) {
        let new = events.iter().filter(|event| event.sequence > self.commands && is_command(&event.event));
        let mut bytes = Vec::new();
        let last = new.filter(|event| serde_json::to_writer(&mut bytes, event).is_ok_and(|()| writeln!(bytes).is_ok())).last();
        let Some(last) = last.map(|event| event.sequence) else { return };
        let path = commands(&self.directory);
        let write = || {
            let mut file = OpenOptions::new().append(true).create(true).mode(MODE).open(&path)?;
            file.write_all(&bytes)?;
            let size = file.metadata()?.len();
            if size > COMMANDS_MAX { std::fs::rename(&path, older_commands(&self.directory)) } else { Ok(()) }
        };
        if write().is_ok() {
            self.commands = last;
        }
    }

    /// Begins a new generation, if it is time for one.
    fn begin_generation(&mut self) -> io::Result<()> {
        if self.size > MAX_SIZE {
            std::fs::rename(path(&self.directory), older(&self.directory))?;
            self.file = None;
        }
        Ok(())
    }

    fn file(&mut self) -> io::Result<&File> {
        let file = match self.file.take() {
            Some(file) => file,
            None => {
                let file = OpenOptions::new().append(true).create(true).mode(MODE).open(path(&self.directory))?;
                self.size = file.metadata()?.len();
                file
            }
        };
        Ok(self.file.insert(file))
    }
}

/// Writes as much as there is room for: how much that was, and why it was not all.
fn write(mut file: &File, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
        match file.write(rest) {
            Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
            Ok(more) => written += more,
            Err(fault) if fault.kind() == io::ErrorKind::Interrupted => {}
            Err(fault) => return (written, Err(fault)),
        }
    }
    (written, Ok(()))
}

/// The sequence number of the last event in the journal of `directory`; 0 if there is none.
///
/// # Errors
/// The journal is there and cannot be read.
pub fn last_sequence(directory: &Path) -> io::Result<u64> {
    for path in [path(directory), older(directory)] {
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        // An event is far shorter than this, so the last whole line is in there.
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(256 << 10)))?;
        let last = events(BufReader::new(file)).last();
        if let Some(event) = last {
            return Ok(event.sequence);
        }
    }
    Ok(0)
}

/// The newest events, about `bytes` of them.
///
/// # Errors
/// The journal is there and cannot be read.
pub fn tail(directory: &Path, bytes: u64) -> io::Result<Vec<Envelope>> {
    let mut found = Vec::new();
    let mut wanted = bytes;
    for path in [path(directory), older(directory)] {
        let Some(mut file) = open(&path)?.filter(|_| wanted > 0) else { continue };
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(wanted)))?;
        wanted = wanted.saturating_sub(length);
        found.splice(0..0, events(BufReader::new(file)));
    }
    Ok(found)
}

/// The events of `directory`'s journal from `sequence` on, read as they are asked for.
///
/// # Errors
/// The journal is there and cannot be read.
pub fn read_from(directory: &Path, sequence: u64) -> io::Result<impl Iterator<Item = Envelope> + Send + use<>> {
    // The newer generation first: if it becomes the older one meanwhile it is there twice, the other way round it would be missed.
    let newer = open(&path(directory))?;
    let older = open(&older(directory))?;
    let commands = older_commands_than(directory, sequence)?;
    let mut next = sequence;
    let all = [older, newer].into_iter().flatten().flat_map(|file| events(BufReader::new(file)));
    Ok(commands.into_iter().chain(all).filter(move |event| {
        let fits = event.sequence >= next;
        if fits {
            next = event.sequence + 1;
        }
        fits
    }))
}

/// What people have asked for from `sequence` on, before the first of all events that are still there.
fn older_commands_than(directory: &Path, sequence: u64) -> io::Result<Vec<Envelope>> {
    let mut first = None;
    for path in [older(directory), path(directory)] {
        first = first.or(open(&path)?.and_then(|file| events(BufReader::new(file)).next()));
    }
    let end = first.map_or(u64::MAX, |event| event.sequence);
    let mut found = Vec::new();
    for path in [older_commands(directory), commands(directory)] {
        let Some(file) = open(&path)?.filter(|_| sequence < end) else { continue };
        found.extend(events(BufReader::new(file)).filter(|event| (sequence..end).contains(&event.sequence)));
    }
    Ok(found)
}

/// Whether it tells what people have asked for.
const fn is_command(event: &Event) -> bool {
    matches!(event, Event::CommandReceived { .. } | Event::OverrideSet(_) | Event::OverrideEnded(_) | Event::DaemonUpgraded { .. })
}

fn commands(directory: &Path) -> PathBuf {
    directory.join("commands.jsonl")
}

fn older_commands(directory: &Path) -> PathBuf {
    directory.join("commands.jsonl.1")
}

fn open(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The events in `lines`; what is no event (a torn line) is passed over.
fn events(lines: impl io::BufRead) -> impl Iterator<Item = Envelope> {
    lines.split(b'\n').map_while(Result::ok).filter_map(|line| serde_json::from_slice(&line).ok())
}

fn path(directory: &Path) -> PathBuf {
    directory.join("events.jsonl")
}

fn older(directory: &Path) -> PathBuf {
    directory.join("events.jsonl.1")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::Wall;

    fn event(sequence: u64) -> Envelope {
        Envelope { sequence, time: Wall(0), event: Event::UnitStopping { unit: "redis".into() } }
    }

    #[test]
    fn what_was_written_is_read() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(last_sequence(directory.path()).unwrap(), 0);
        let mut journal = Journal::new(directory.path().to_owned());
        journal.append(&[event(1), event(2)]).1.unwrap();
        Journal::new(directory.path().to_owned()).append(&[event(3)]).1.unwrap();
        assert_eq!(last_sequence(directory.path()).unwrap(), 3);
        let read = |from, limit| -> Vec<_> { read_from(directory.path(), from).unwrap().take(limit).map(|event| event.sequence).collect() };
        assert_eq!((read(2, 10), read(0, 2)), (vec![2, 3], vec![1, 2]));
        let tail = |bytes| tail(directory.path(), bytes).unwrap().len();
        assert_eq!((tail(1 << 20), tail(300), tail(0)), (3, 1, 0));
    }

    #[test]
    fn a_torn_line_costs_no_other() {
        let directory = tempfile::tempdir().unwrap();
        Journal::new(directory.path().to_owned()).append(&[event(1)]).1.unwrap();
        OpenOptions::new().append(true).open(path(directory.path())).unwrap().write_all(b"{\"specv").unwrap();
        Journal::new(directory.path().to_owned()).append(&[event(2)]).1.unwrap();
        assert_eq!(last_sequence(directory.path()).unwrap(), 2);
        assert_eq!(read_from(directory.path(), 0).unwrap().count(), 2);
    }

    #[test]
    fn what_there_was_room_for_is_not_written_twice() {
        let directory = tempfile::tempdir().unwrap();
        let mut journal = Journal::new(directory.path().to_owned());
        // A pipe nobody reads is full as a disk is.
        let (mut reader, full) = std::io::pipe().unwrap();
        rustix::io::ioctl_fionbio(&full, true).unwrap();
        journal.file = Some(File::from(std::os::fd::OwnedFd::from(full)));
        let batch: Vec<_> = (1..=2000).map(event).collect();
        let (first, result) = journal.append(&batch);
        assert!(result.is_err() && first > 0 && first < batch.len(), "{first} {result:?}");
        assert!(journal.file.is_none(), "it is opened anew, as it may have been removed");
        let (second, result) = journal.append(&batch[first..]);
        assert!(result.is_ok() && first + second == batch.len());
        let mut text = String::new();
        std::io::Read::read_to_string(&mut reader, &mut text).unwrap();
        text += &std::fs::read_to_string(path(directory.path())).unwrap();
        let numbers: Vec<_> = events(text.as_bytes()).map(|event| event.sequence).collect();
        assert_eq!(numbers, (1..=2000).collect::<Vec<_>>());
    }

    #[test]
    fn a_crash_loop_makes_no_command_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let asked = |sequence| Envelope {
            event: Event::CommandReceived { command: "stop".into(), target: "web".into(), uid: 7, by: None },
            ..event(sequence)
        };
        let mut journal = Journal::new(directory.path().to_owned());
        journal.append(&[event(1), asked(2), event(3)]).1.unwrap();
        // Two generations of nothing but crashes.
        for from in [10, 20, 30] {
            journal.append(&[event(from), event(from + 1)]).1.unwrap();
            journal.size = MAX_SIZE;
            journal.append(&[event(from + 2)]).1.unwrap();
        }
        journal.append(&[asked(40), event(41)]).1.unwrap();
        let read = |from| read_from(directory.path(), from).unwrap().map(|event| event.sequence).collect::<Vec<_>>();
        assert_eq!(read(0), [2, 30, 31, 32, 40, 41]);
        assert_eq!((read(3), read(41)), (vec![30, 31, 32, 40, 41], vec![41]));
        // They are bounded, too, and what is tried again is there once.
        let many: Vec<_> = (50..20_000).map(asked).collect();
        journal.append(&many).1.unwrap();
        journal.append(&many).1.unwrap();
        let sizes =
            [commands(directory.path()), older_commands(directory.path())].map(|path| std::fs::metadata(path).map_or(0, |of| of.len()));
        let whole = serde_json::to_vec(&many).unwrap().len() as u64;
        assert!(sizes.iter().sum::<u64>() <= COMMANDS_MAX + whole + 1000, "{sizes:?} {whole}");
    }

    #[test]
    fn a_long_journal_starts_a_new_generation() {
        let directory = tempfile::tempdir().unwrap();
        let mut journal = Journal::new(directory.path().to_owned());
        let batch: Vec<_> = (1..=100).map(event).collect();
        journal.append(&batch).1.unwrap();
        journal.size = MAX_SIZE;
        journal.append(&[event(101)]).1.unwrap();
        journal.append(&[event(102)]).1.unwrap();
        assert!(older(directory.path()).exists());
        assert_eq!(last_sequence(directory.path()).unwrap(), 102);
        assert_eq!(read_from(directory.path(), 100).unwrap().count(), 3);
    }
}
