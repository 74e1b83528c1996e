//! Log mode `pipe`: one thread that moves the output of many units from their pipes to their log files, within the kernel (splice(2)).
//!
//! The pump is the only writer of these files and rotates them by renaming. A unit never blocks because of its log: what cannot be
//! written is thrown away and counted, and a line in the log says how much is missing once writing works again.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};
use rustix::io::Errno;
use rustix::pipe::{SpliceFlags, splice};

use super::logfile::{live_path, recover, rotate_pipe};
use crate::base::id::UnitId;

/// The most bytes moved for one pipe before the others have their turn.
const TURN: usize = 1 << 20;

/// How often writing is tried again after it failed.
const RETRY: Duration = Duration::from_secs(1);

/// The most turns that empty a pipe when it is given up; its writers may still write.
const LAST_TURNS: usize = 64;

/// The event data of the descriptor that announces commands.
const WAKE: u64 = u64::MAX;

/// Why there is no pump.
#[derive(Debug, thiserror::Error)]
#[error("cannot start the log pump: {0}")]
pub struct PumpError(#[from] io::Error);

/// The log a unit's output goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PumpLog {
    /// The log directory.
    pub dir: PathBuf,
    /// The live file is rotated beyond this size.
    pub max_size: u64,
    /// How many archives are kept.
    pub keep: u32,
}

/// Output of a unit that could not be written. Sent when it begins, while it goes on (once a second at most) and when it is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PumpReport {
    /// Whose output.
    pub unit: UnitId,
    /// How many bytes are lost so far, since writing began to fail.
    pub lost_bytes: u64,
    /// Why.
    pub errno: i32,
    /// Whether writing works again.
    pub over: bool,
}

/// The running pump. Dropping it writes what is in the pipes and ends the thread.
#[derive(Debug)]
pub struct Pump {
    commands: mpsc::Sender<Command>,
    wake: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
enum Command {
    Add(UnitId, OwnedFd, PumpLog),
    Remove(UnitId),
    Stop,
}

impl Pump {
    /// Starts the thread. `report` is called on it and must not block.
    ///
    /// # Errors
    /// When the thread or its descriptors cannot be made.
    pub fn start(report: impl FnMut(PumpReport) + Send + 'static) -> Result<Self, PumpError> {
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(io::Error::from)?);
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(io::Error::from)?;
        epoll::add(&epoll, &wake, epoll::EventData::new_u64(WAKE), epoll::EventFlags::IN).map_err(io::Error::from)?;
        let null = File::options().write(true).open("/dev/null")?;
        let (commands, receiver) = mpsc::channel();
        let mut worker = Worker {
            epoll,
            wake: Arc::clone(&wake),
            null,
            commands: receiver,
            sinks: BTreeMap::new(),
            pipes: BTreeMap::new(),
            next: 0,
            report: Box::new(report),
        };
        let thread = std::thread::Builder::new().name("log-pump".into()).spawn(move || worker.run())?;
        Ok(Self { commands, wake, thread: Some(thread) })
    }

    /// Moves what comes out of `pipe` to the unit's log from now on. A unit may have several pipes: a new run has one of its own while
    /// something of the last one is left. The newest `log` counts for all of them.
    pub fn add(&self, unit: UnitId, pipe: OwnedFd, log: PumpLog) {
        self.send(Command::Add(unit, pipe, log));
    }

    /// Writes what is in the unit's pipes and lets go of them and of the log.
    pub fn remove(&self, unit: UnitId) {
        self.send(Command::Remove(unit));
    }

    fn send(&self, command: Command) {
        // The thread ends only when it is told to.
        let _ = self.commands.send(command);
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.send(Command::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Worker {
    epoll: OwnedFd,
    wake: Arc<OwnedFd>,
    null: File,
    commands: mpsc::Receiver<Command>,
    sinks: BTreeMap<UnitId, Sink>,
    pipes: BTreeMap<u64, (UnitId, OwnedFd)>,
    next: u64,
    report: Box<dyn FnMut(PumpReport) + Send>,
}

impl Worker {
    fn run(&mut self) {
        let mut events = Vec::with_capacity(64);
        loop {
            events.clear();
            let timeout = self.sinks.values().filter_map(|sink| sink.gap.as_ref()).map(|gap| gap.retry).min().map(|retry| {
                let rest = retry.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
                Timespec { tv_sec: i64::try_from(rest.as_secs()).unwrap_or(1), tv_nsec: i64::from(rest.subsec_nanos()) }
            });
            // An interrupted wait is a wait without events.
            let _ = epoll::wait(&self.epoll, spare_capacity(&mut events), timeout.as_ref());
            let mut told = false;
            for event in &events {
                match event.data.u64() {
                    WAKE => told = true,
                    token => {
                        if matches!(self.turn(token), Turn::Over) {
                            self.let_go(token);
                        }
                    }
                }
            }
            self.retry_due();
            if told && self.obey() {
                return;
            }
        }
    }

    /// Carries out the commands; true: the end.
    fn obey(&mut self) -> bool {
        let _ = rustix::io::read(&self.wake, &mut [0; 8]);
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Add(unit, pipe, log) => self.add(unit, pipe, log),
                Command::Remove(unit) => self.remove(&unit),
                Command::Stop => {
                    let tokens: Vec<u64> = self.pipes.keys().copied().collect();
                    tokens.into_iter().for_each(|token| self.empty(token));
                    return true;
                }
            }
        }
        false
    }

    fn add(&mut self, unit: UnitId, pipe: OwnedFd, log: PumpLog) {
        match self.sinks.get_mut(&unit) {
            Some(sink) => sink.log = log,
            None => {
                self.sinks.insert(unit.clone(), Sink::new(unit.clone(), log));
            }
        }
        let token = self.next;
        self.next += 1;
        match epoll::add(&self.epoll, &pipe, epoll::EventData::new_u64(token), epoll::EventFlags::IN) {
            Ok(()) => {
                self.pipes.insert(token, (unit, pipe));
            }
            Err(errno) => (self.report)(PumpReport { unit, lost_bytes: 0, errno: errno.raw_os_error(), over: false }),
        }
    }

    fn remove(&mut self, unit: &UnitId) {
        let tokens: Vec<u64> = self.pipes.iter().filter(|(_, (of, _))| of == unit).map(|(&token, _)| token).collect();
        for token in tokens {
            self.empty(token);
            self.let_go(token);
        }
        self.sinks.remove(unit);
    }

    fn empty(&mut self, token: u64) {
        for _ in 0..LAST_TURNS {
            if !matches!(self.turn(token), Turn::Moved) {
                break;
            }
        }
    }

    fn turn(&mut self, token: u64) -> Turn {
        // An event of a pipe that was let go of in this very round.
        let Some((unit, pipe)) = self.pipes.get(&token) else { return Turn::Empty };
        let Some(sink) = self.sinks.get_mut(unit) else { return Turn::Over };
        sink.turn(pipe, &self.null, &mut self.report)
    }

    fn let_go(&mut self, token: u64) {
        if let Some((_, pipe)) = self.pipes.remove(&token) {
            // The launcher holds the same pipe: closing our descriptor does not end the interest.
            let _ = epoll::delete(&self.epoll, &pipe);
        }
    }

    /// Tries again where output was lost and no more of it comes.
    fn retry_due(&mut self) {
        let now = Instant::now();
        for sink in self.sinks.values_mut().filter(|sink| sink.gap.as_ref().is_some_and(|gap| gap.retry <= now)) {
            sink.close_gap(&mut self.report);
        }
    }
}

/// What came of one turn.
enum Turn {
    Moved,
    Empty,
    /// Nobody can write to the pipe any more.
    Over,
}

/// A log that is written.
struct Sink {
    unit: UnitId,
    log: PumpLog,
    file: Option<File>,
    offset: u64,
    /// Beyond this size the file is rotated: `max_size`, or more after a rotation that failed.
    rotate_at: u64,
    gap: Option<Gap>,
}

/// Output that is being lost.
struct Gap {
    lost: u64,
    errno: i32,
    retry: Instant,
    told: Option<Instant>,
}

impl Sink {
    fn new(unit: UnitId, log: PumpLog) -> Self {
        Self { unit, log, file: None, offset: 0, rotate_at: 0, gap: None }
    }

    fn turn(&mut self, pipe: &OwnedFd, null: &File, report: &mut dyn FnMut(PumpReport)) -> Turn {
        if self.gap.as_ref().is_some_and(|gap| gap.retry <= Instant::now()) {
            self.close_gap(report);
        }
        if self.gap.is_none() {
            match self.write(pipe) {
                Ok(0) => return Turn::Over,
                Ok(_) => return Turn::Moved,
                Err(Errno::AGAIN | Errno::INTR) => return Turn::Empty,
                Err(errno) => {
                    let retry = Instant::now() + RETRY;
                    self.gap = Some(Gap { lost: 0, errno: errno.raw_os_error(), retry, told: None });
                }
            }
        }
        match splice(pipe, None, null, None, TURN, SpliceFlags::NONBLOCK) {
            Ok(0) => Turn::Over,
            Ok(bytes) => {
                self.lost(bytes as u64, report);
                Turn::Moved
            }
            Err(Errno::AGAIN | Errno::INTR) => Turn::Empty,
            // Not a pipe.
            Err(_) => Turn::Over,
        }
    }

    /// Moves bytes to the file; `Ok(0)`: the pipe has no writer any more.
    fn write(&mut self, pipe: &OwnedFd) -> Result<usize, Errno> {
        self.open().map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        let Some(file) = &self.file else { return Err(Errno::IO) };
        let bytes = splice(pipe, None, file, Some(&mut self.offset), TURN, SpliceFlags::NONBLOCK | SpliceFlags::MOVE)?;
        if self.offset > self.rotate_at.max(self.log.max_size) {
            self.rotate();
        }
        Ok(bytes)
    }

    fn open(&mut self) -> io::Result<()> {
        if self.file.is_some() {
            return Ok(());
        }
        // What a unit that wrote the file itself has left. If that fails the file is whole all the same.
        let _ = recover(&self.log.dir, self.unit.as_str());
        let path = live_path(&self.log.dir, self.unit.as_str());
        let file = File::options().read(true).write(true).create(true).truncate(false).mode(0o640).open(path)?;
        self.offset = file.metadata()?.len();
        self.file = Some(file);
        Ok(())
    }

    fn rotate(&mut self) {
        match rotate_pipe(&self.log.dir, self.unit.as_str(), self.log.keep) {
            Ok((file, _)) => (self.file, self.offset, self.rotate_at) = (Some(file), 0, 0),
            Err(_) => {
                // Perhaps it is renamed already: open whatever bears the name, and try again after as many bytes more.
                self.file = None;
                self.rotate_at = self.offset.saturating_add(self.log.max_size);
            }
        }
    }

    fn lost(&mut self, bytes: u64, report: &mut dyn FnMut(PumpReport)) {
        let Some(gap) = &mut self.gap else { return };
        gap.lost += bytes;
        let now = Instant::now();
        if gap.told.is_none_or(|told| now >= told + RETRY) {
            gap.told = Some(now);
            report(PumpReport { unit: self.unit.clone(), lost_bytes: gap.lost, errno: gap.errno, over: false });
        }
    }

    /// Writes the line that tells of the gap; if that fails, the gap goes on.
    fn close_gap(&mut self, report: &mut dyn FnMut(PumpReport)) {
        let Some(mut gap) = self.gap.take() else { return };
        match self.write_gap(&gap) {
            Ok(()) => report(PumpReport { unit: self.unit.clone(), lost_bytes: gap.lost, errno: gap.errno, over: true }),
            Err(error) => {
                gap.errno = error.raw_os_error().unwrap_or(gap.errno);
                gap.retry = Instant::now() + RETRY;
                self.gap = Some(gap);
            }
        }
    }

    fn write_gap(&mut self, gap: &Gap) -> io::Result<()> {
        self.open()?;
        let Some(file) = &self.file else { return Ok(()) };
        if gap.lost == 0 {
            return Ok(());
        }
        let mut last = [b'\n'];
        if let Some(at) = self.offset.checked_sub(1) {
            file.read_exact_at(&mut last, at)?;
        }
        let newline = if last == [b'\n'] { "" } else { "\n" };
        let line = format!("{newline}[ms-supervisor: {} bytes lost: {}]\n", gap.lost, reason(gap.errno));
        file.write_all_at(line.as_bytes(), self.offset)?;
        self.offset += line.len() as u64;
        Ok(())
    }
}

fn reason(errno: i32) -> String {
    match Errno::from_raw_os_error(errno) {
        Errno::NOSPC => "no space left on device".into(),
        Errno::DQUOT => "disk quota exceeded".into(),
        Errno::IO => "input/output error".into(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests;
