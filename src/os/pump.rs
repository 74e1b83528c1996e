//! Log modes `pipe` and `journald`: one thread that empties the pipes of many units, into their log files within the kernel (splice(2))
//! or line by line into the journal.
//!
//! The pump is the only writer of these files and rotates them by renaming. Unless it is declared otherwise a unit never blocks because
//! of its log: what cannot be written is thrown away and counted, and a line in the log says how much is missing once writing works
//! again. What was not written when the process is killed still is in the pipe, whose ends the launcher holds.

mod bucket;
mod entry;
mod peek;
mod sink;
mod stream;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};
use rustix::fs::fstat;

use self::peek::Kit;
use self::sink::{Sink, Turn};
use super::journald;
use super::logfile::{LogError, RotateReport, live_path, rotate_pipe};
use crate::base::id::UnitId;
use crate::base::time::Wall;
use crate::plan::{LogMode, LogsPlan};

/// After it has moved something the pump lets more come for so long: to be woken for each line costs more than to move it.
const GATHER: Duration = Duration::from_millis(1);

/// Who moves as much as this at once does not wait. Small beside a pipe, which must not become full meanwhile.
const GATHERED: usize = 128 << 10;

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
    /// The log's bounds.
    pub plan: LogsPlan,
    /// The number of the run, for the journal.
    pub run: u64,
    /// Where the launcher writes while there is no pump.
    pub spill: PathBuf,
    /// Where the journal listens.
    pub journal: PathBuf,
}

impl PumpLog {
    /// The log of `unit` in `dir`.
    #[must_use]
    pub fn new(dir: &Path, unit: &str, run: u64, plan: LogsPlan) -> Self {
        Self { dir: dir.to_owned(), run, spill: spill_path(dir, unit, plan.mode), journal: journald::socket_path(), plan }
    }
}

/// Where the launcher writes the output of `unit` while nobody else does: its log, or a file that is handed to the journal later.
#[must_use]
pub fn spill_path(dir: &Path, unit: &str, mode: LogMode) -> PathBuf {
    match mode {
        LogMode::Journald => dir.join(format!("{unit}.spill")),
        LogMode::Direct | LogMode::Pipe | LogMode::None => live_path(dir, unit),
    }
}

/// What the pump tells.
#[derive(Debug)]
pub enum PumpReport {
    /// Output could not be written. Sent when it begins, while it goes on (once a second at most) and when it is over.
    Lost {
        /// Whose output.
        unit: UnitId,
        /// How many bytes are lost so far, since this began.
        bytes: u64,
        /// How many of them since the last report.
        news: u64,
        /// When it began.
        from: Wall,
        /// Why.
        why: PumpFault,
        /// Whether writing works again.
        over: bool,
    },
    /// A unit's pipe is not read for now, because its log is full and it is declared so; or the log cannot be written.
    Waiting {
        /// Which unit waits.
        unit: UnitId,
        /// Why.
        why: PumpFault,
    },
    /// A log was rotated, or archives were removed.
    Rotated {
        /// Whose log.
        unit: UnitId,
        /// What was done.
        done: RotateReport,
    },
}

pub use self::sink::Fault as PumpFault;

/// The running pump. Dropping it writes what is in the pipes and ends the thread.
#[derive(Debug)]
pub struct Pump {
    commands: mpsc::Sender<Command>,
    wake: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

/// Hears what became of a rotation.
type Answer = Box<dyn FnOnce(Result<RotateReport, LogError>) + Send>;

enum Command {
    Add(UnitId, OwnedFd, PumpLog),
    Change(UnitId, LogsPlan),
    Rotate(UnitId, PathBuf, LogsPlan, Answer),
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
        let (commands, receiver) = mpsc::channel();
        let mut worker = Worker {
            epoll,
            wake: Arc::clone(&wake),
            kit: Kit::new()?,
            commands: receiver,
            sinks: BTreeMap::new(),
            pipes: BTreeMap::new(),
            timers: BTreeMap::new(),
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

    /// The log of `unit` has other bounds from now on.
    pub fn change(&self, unit: UnitId, plan: LogsPlan) {
        self.send(Command::Change(unit, plan));
    }

    /// Rotates the log of `unit` in `dir`. `answer` is called on the pump's thread and must not block.
    pub fn rotate(&self, unit: UnitId, dir: PathBuf, plan: LogsPlan, answer: impl FnOnce(Result<RotateReport, LogError>) + Send + 'static) {
        self.send(Command::Rotate(unit, dir, plan, Box::new(answer)));
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
    kit: Kit,
    commands: mpsc::Receiver<Command>,
    sinks: BTreeMap<UnitId, Sink>,
    pipes: BTreeMap<u64, Pipe>,
    /// Sinks that want to be woken.
    timers: BTreeMap<UnitId, Instant>,
    next: u64,
    report: Box<dyn FnMut(PumpReport) + Send>,
}

struct Pipe {
    unit: UnitId,
    fd: OwnedFd,
    /// What tells it from others, however often it is sent here.
    inode: u64,
    /// Its sink wants nothing of it for now.
    is_muted: bool,
}

impl Worker {
    fn run(&mut self) {
        let mut events = Vec::with_capacity(64);
        loop {
            events.clear();
            let timeout = self.timers.values().min().map(|due| {
                let rest = due.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
                Timespec { tv_sec: i64::try_from(rest.as_secs()).unwrap_or(1), tv_nsec: i64::from(rest.subsec_nanos()) }
            });
            // An interrupted wait is a wait without events.
            let _ = epoll::wait(&self.epoll, spare_capacity(&mut events), timeout.as_ref());
            let (mut told, mut moved) = (false, 0);
            for event in &events {
                match event.data.u64() {
                    WAKE => told = true,
                    token => moved += self.serve(token),
                }
            }
            self.wake_due();
            if told && self.obey() {
                return;
            }
            if (1..GATHERED).contains(&moved) {
                std::thread::sleep(GATHER);
            }
        }
    }

    /// Carries out the commands; true: the end.
    fn obey(&mut self) -> bool {
        let _ = rustix::io::read(&self.wake, &mut [0; 8]);
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Add(unit, pipe, log) => self.add(unit, pipe, log),
                Command::Change(unit, plan) => {
                    if let Some(sink) = self.sinks.get_mut(&unit) {
                        sink.replan(plan);
                    }
                }
                Command::Rotate(unit, dir, plan, answer) => answer(match self.sinks.get_mut(&unit) {
                    Some(sink) => sink.rotate(),
                    // Nobody writes it.
                    None => rotate_pipe(&dir, unit.as_str(), &plan).map(|(_, done)| done),
                }),
                Command::Stop => {
                    let tokens: Vec<u64> = self.pipes.keys().copied().collect();
                    tokens.into_iter().for_each(|token| self.empty(token));
                    for sink in self.sinks.values_mut() {
                        sink.close_gap(&mut *self.report);
                    }
                    return true;
                }
            }
        }
        false
    }

    fn add(&mut self, unit: UnitId, fd: OwnedFd, log: PumpLog) {
        match self.sinks.get_mut(&unit) {
            Some(sink) => sink.change(log),
            None => {
                self.sinks.insert(unit.clone(), Sink::new(unit.clone(), log));
            }
        }
        let inode = fstat(&fd).map_or(0, |stat| stat.st_ino);
        if self.pipes.values().any(|pipe| pipe.unit == unit && pipe.inode == inode) {
            // A new run writes to the pipe of the last one.
            return;
        }
        let token = self.next;
        self.next += 1;
        match epoll::add(&self.epoll, &fd, epoll::EventData::new_u64(token), epoll::EventFlags::IN) {
            Ok(()) => drop(self.pipes.insert(token, Pipe { unit, fd, inode, is_muted: false })),
            Err(errno) => (self.report)(PumpReport::Waiting { unit, why: errno.into() }),
        }
    }

    fn empty(&mut self, token: u64) {
        for _ in 0..LAST_TURNS {
            if !matches!(self.turn(token, true), Turn::Moved(_)) {
                break;
            }
        }
    }

    /// Serves a pipe that has something; how many bytes were moved.
    fn serve(&mut self, token: u64) -> usize {
        match self.turn(token, false) {
            Turn::Over => self.let_go(token),
            Turn::Wait => self.mute(token, true),
            Turn::Moved(bytes) => return bytes,
            Turn::Empty => {}
        }
        0
    }

    fn turn(&mut self, token: u64, last: bool) -> Turn {
        // An event of a pipe that was let go of in this very round.
        let Some(pipe) = self.pipes.get(&token) else { return Turn::Empty };
        let Some(sink) = self.sinks.get_mut(&pipe.unit) else { return Turn::Over };
        let turn = sink.turn(&pipe.fd, &mut self.kit, last, &mut *self.report);
        match sink.due() {
            Some(due) => drop(self.timers.insert(pipe.unit.clone(), due)),
            None => drop(self.timers.remove(&pipe.unit)),
        }
        turn
    }

    /// Does not wait for the pipe any more, or does again.
    fn mute(&mut self, token: u64, is_muted: bool) {
        let Some(pipe) = self.pipes.get(&token).filter(|pipe| pipe.is_muted != is_muted) else { return };
        // That all writers are gone is told in any case: once is enough.
        let flags = if is_muted { epoll::EventFlags::ET } else { epoll::EventFlags::IN };
        let changed = epoll::modify(&self.epoll, &pipe.fd, epoll::EventData::new_u64(token), flags);
        if let Some(pipe) = self.pipes.get_mut(&token).filter(|_| changed.is_ok()) {
            pipe.is_muted = is_muted;
        }
    }

    fn let_go(&mut self, token: u64) {
        if let Some(pipe) = self.pipes.remove(&token) {
            // The launcher holds the same pipe: closing our descriptor does not end the interest.
            let _ = epoll::delete(&self.epoll, &pipe.fd);
            self.forget_if_over(&pipe.unit);
        }
    }

    /// A sink nothing comes to any more goes, once it has told of what it has lost.
    fn forget_if_over(&mut self, unit: &UnitId) {
        if self.sinks.get(unit).is_some_and(|sink| !sink.has_gap()) && self.pipes.values().all(|pipe| pipe.unit != *unit) {
            self.sinks.remove(unit);
            self.timers.remove(unit);
        }
    }

    /// Tries again where it is time to.
    fn wake_due(&mut self) {
        let now = Instant::now();
        let due: Vec<UnitId> = self.timers.iter().filter(|(_, at)| **at <= now).map(|(unit, _)| unit.clone()).collect();
        for unit in due {
            self.timers.remove(&unit);
            let Some(sink) = self.sinks.get_mut(&unit) else { continue };
            sink.wake(&mut *self.report);
            if let Some(due) = sink.due() {
                self.timers.insert(unit.clone(), due);
            }
            let muted: Vec<u64> =
                self.pipes.iter().filter(|(_, pipe)| pipe.is_muted && pipe.unit == unit).map(|(&token, _)| token).collect();
            muted.into_iter().for_each(|token| self.mute(token, false));
            self.forget_if_over(&unit);
        }
    }
}

#[cfg(test)]
mod tests;
