//! Processes that are a unit's but not our children: nobody sends us a SIGCHLD for them, so they are watched by descriptor.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{Timespec, epoll};

use super::serve::{Launcher, Role};
use super::wire::Exit;
use crate::base::exit::{ExitCause, Signal, Usage};
use crate::base::id::UnitId;
use crate::base::time::Mono;
use crate::os::{clock, process, signal};

/// How long the parent of a dead process may take to reap it, before we stop waiting for its exit status.
const REAPED_WITHIN: Duration = Duration::from_secs(1);

/// So many ends are read at once.
const BATCH: usize = 64;

/// The processes, by process id. While one is here its descriptor keeps it apart from a later one of the same number.
pub(super) struct Foreign {
    watch: OwnedFd,
    processes: BTreeMap<u32, Watched>,
}

struct Watched {
    pidfd: OwnedFd,
    owner: UnitId,
    is_main: bool,
    /// When it was started: with its number, its identity.
    started: Option<u64>,
    /// It is dead, and waited for until then.
    give_up_at: Option<Mono>,
    /// How it has ended, when that is known.
    cause: Option<ExitCause>,
}

impl Foreign {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { watch: epoll::create(epoll::CreateFlags::CLOEXEC)?, processes: BTreeMap::new() })
    }

    /// Watches `pid`, a process of `owner`.
    pub(super) fn add(&mut self, pid: u32, pidfd: OwnedFd, owner: UnitId, is_main: bool) -> io::Result<()> {
        epoll::add(&self.watch, &pidfd, epoll::EventData::new_u64(pid.into()), epoll::EventFlags::IN)?;
        let started = process::stat(pid).map(|stat| stat.started);
        self.processes.insert(pid, Watched { pidfd, owner, is_main, started, give_up_at: None, cause: None });
        Ok(())
    }

    /// Whether `pid` is its unit's main process.
    pub(super) fn set_main(&mut self, pid: u32, is_main: bool) {
        if let Some(process) = self.processes.get_mut(&pid) {
            process.is_main = is_main;
        }
    }

    /// Watches `pid` no longer, as it has become our child: its unit, and whether it is the main process. `started` is when the child was, if
    /// that can be told.
    pub(super) fn release(&mut self, pid: u32, started: Option<u64>) -> Option<Role> {
        let process = self.processes.get(&pid)?;
        if started.is_some() && started != process.started {
            return None;
        }
        let process = self.processes.remove(&pid)?;
        // The main process's descriptor has another owner, and so would stay watched.
        let _not_watched = epoll::delete(&self.watch, &process.pidfd);
        Some(if process.is_main { Role::Main(process.owner) } else { Role::Stray(Some(process.owner)) })
    }

    pub(super) fn contains(&self, pid: u32) -> bool {
        self.processes.contains_key(&pid)
    }

    /// Readable when one has ended; `None` while there is nothing to wait for.
    pub(super) fn readable(&self) -> Option<BorrowedFd<'_>> {
        (!self.processes.is_empty()).then(|| self.watch.as_fd())
    }

    /// When one that is dead has been waited for long enough.
    pub(super) fn deadline(&self) -> Option<Mono> {
        self.processes.values().filter_map(|process| process.give_up_at).min()
    }

    pub(super) fn pids(&self) -> impl Iterator<Item = u32> {
        self.processes.keys().copied()
    }

    /// The processes of `unit`.
    pub(super) fn of(&self, unit: &UnitId) -> impl Iterator<Item = (u32, BorrowedFd<'_>)> {
        self.processes.iter().filter(move |(_, process)| process.owner == *unit).map(|(&pid, process)| (pid, process.pidfd.as_fd()))
    }

    /// Those that have ended, with what is known of how.
    fn take_ended(&mut self, now: Mono) -> Vec<(u32, Watched, ExitCause)> {
        let mut events = Vec::with_capacity(BATCH);
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        // It is asked again the next time.
        let _interrupted = epoll::wait(&self.watch, rustix::buffer::spare_capacity(&mut events), Some(&at_once));
        for event in events {
            let (data, flags) = (event.data, event.flags);
            let Some((&pid, process)) = u32::try_from(data.u64()).ok().and_then(|pid| self.processes.get_key_value(&pid)) else {
                continue;
            };
            // From its reaping on its descriptor tells; until then its number is its own, and /proc does.
            let cause = process::exit_of(process.pidfd.as_fd()).or_else(|| process::exit_of_zombie(pid));
            if cause.is_some() || flags.contains(epoll::EventFlags::HUP) {
                self.expire(pid, now, cause);
            } else if process.give_up_at.is_none() {
                // Dead, but not reaped: from now on only the hang-up that comes with the reaping wakes us.
                let token = epoll::EventData::new_u64(pid.into());
                let _cannot_fail = epoll::modify(&self.watch, &process.pidfd, token, epoll::EventFlags::empty());
                self.expire(pid, now + REAPED_WITHIN, None);
            }
        }
        let over = |process: &Watched| process.give_up_at.is_some_and(|at| at <= now);
        let over: Vec<u32> = self.processes.iter().filter(|(_, process)| over(process)).map(|(&pid, _)| pid).collect();
        let ended = over.into_iter().filter_map(|pid| {
            let process = self.processes.remove(&pid)?;
            let cause = process.cause.or_else(|| process::exit_of(process.pidfd.as_fd())).unwrap_or(ExitCause::Unknown);
            Some((pid, process, cause))
        });
        ended.collect()
    }

    fn expire(&mut self, pid: u32, at: Mono, cause: Option<ExitCause>) {
        if let Some(process) = self.processes.get_mut(&pid) {
            (process.give_up_at, process.cause) = (Some(at), cause);
        }
    }
}

impl Launcher {
    /// Takes note of foreign processes that have ended.
    pub(super) fn lose_foreign(&mut self) {
        if self.foreign.readable().is_none() {
            return;
        }
        let (at, at_wall) = (clock::mono(), clock::wall());
        let mut ended = self.foreign.take_ended(at);
        // Main processes last: what was below them may have ended with them, and is no leftover then.
        ended.sort_by_key(|(_, process, _)| process.is_main);
        for (pid, process, cause) in ended {
            let unit = process.owner;
            let Some(slot) = self.slots.get_mut(&unit) else { continue };
            if !process.is_main {
                slot.strays = slot.strays.saturating_sub(1);
                self.report_gone(&unit);
                continue;
            }
            if let Some(main) = slot.main.take_if(|main| main.process.pid == pid) {
                slot.end(Exit { process: main.process, cause, usage: Usage::default(), at, at_wall });
            }
            // What it leaves behind is not given to us, but to whoever reaps orphans above us.
            self.find_survivors(Some(&unit));
            self.enter(&unit);
            self.report_exit(&unit);
        }
    }

    /// Sends a signal to the foreign processes of `unit`; what is below them is the caller's.
    pub(super) fn signal_foreign(&self, unit: &UnitId, signal: Signal) -> Vec<u32> {
        let mut roots = Vec::new();
        for (pid, pidfd) in self.foreign.of(unit) {
            // It may end by itself at any time.
            let _gone = signal::kill_pidfd(pidfd, signal);
            roots.push(pid);
        }
        roots
    }
}
