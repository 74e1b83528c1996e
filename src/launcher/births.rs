//! Processes between their birth and their program: the launcher waits for none of them, but for none longer than [`EXEC_WITHIN`] either.
//!
//! ```text
//!            clone                      executed its program
//!   Spawn ──────────► on its way ─────────────────────────────► Spawned
//!                        │ │ a step failed; it ends, is reaped
//!                        │ └──────────────────────────────────► SpawnFailed (step, errno)
//!                        │ EXEC_WITHIN: killed        reaped
//!                        └────────────► condemned ────────────► SpawnFailed (step, ETIMEDOUT)
//!                                           │ DIES_WITHIN
//!                                           └─────────────────► the same, and a leftover until it ends
//! ```

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use super::exec::{Birth, Failure};
use super::namespaces::Namespaces;
use super::serve::{Launcher, Role};
use super::wire::{DIES_WITHIN, EXEC_WITHIN, Exit, Output, Process, SpawnStep, ToBrain};
use crate::base::exit::{ExitCause, Signal, Usage};
use crate::base::id::UnitId;
use crate::base::time::Mono;
use crate::os::{clock, signal};

/// A main process on its way to its program.
pub(super) struct Starting {
    process: Process,
    birth: Birth,
    output: Output,
    namespaces: Namespaces,
    /// Until when it may take; once it is condemned, until when it may take to die.
    until: Mono,
    /// The step it stood at when it was killed for taking too long.
    condemned: Option<SpawnStep>,
    /// It has come to its program, or is about to be reaped: there is nothing more to hear.
    has_told: bool,
    /// A brain that came meanwhile was told that it runs.
    is_introduced: bool,
}

impl Starting {
    pub(super) fn new(process: Process, birth: Birth, output: Output) -> Self {
        let (namespaces, until) = (Namespaces::default(), process.started + EXEC_WITHIN);
        Self { process, birth, output, namespaces, until, condemned: None, has_told: false, is_introduced: false }
    }

    /// Takes note of what it has said; whether it has come to its end.
    fn hear(&mut self) -> bool {
        if !self.has_told {
            let told = &self.birth.told;
            self.has_told = if self.birth.makes_namespaces {
                !self.namespaces.hear(told)
            } else {
                // Nothing is ever written into the pipe. What else may come of it but its end is as good as one.
                !matches!(rustix::io::read(told, &mut [0; 1]), Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR))
            };
        }
        self.has_told
    }

    /// Why it has failed; `None`: it has not.
    fn failure(&self) -> Option<Failure> {
        self.birth.report.failure().or_else(|| self.condemned.map(|step| (step, libc::ETIMEDOUT)))
    }
}

impl Launcher {
    /// The descriptors of those that may have something to say, with their units.
    pub(super) fn births(&self) -> impl Iterator<Item = (&UnitId, BorrowedFd<'_>)> {
        self.starting.iter().filter_map(|unit| {
            let starting = self.slots.get(unit)?.starting.as_ref().filter(|starting| !starting.has_told)?;
            Some((unit, starting.birth.told.as_fd()))
        })
    }

    /// When the first of them has taken too long.
    pub(super) fn births_deadline(&self) -> Option<Mono> {
        self.starting.iter().filter_map(|unit| Some(self.slots.get(unit)?.starting.as_ref()?.until)).min()
    }

    /// Hears what `units` have to say.
    pub(super) fn attend_births(&mut self, units: Vec<UnitId>) {
        for unit in units {
            let starting = self.slots.get_mut(&unit).and_then(|slot| slot.starting.as_mut());
            // One that has failed is told of when it is reaped: nothing of it is left then.
            if starting.is_some_and(|starting| starting.hear() && starting.failure().is_none()) {
                self.conclude(&unit);
            }
        }
    }

    /// Ends those that take too long, and waits no more for those that do not die of it.
    pub(super) fn judge_births(&mut self, now: Mono) {
        let late = |unit: &&UnitId| {
            let starting = self.slots.get(*unit).and_then(|slot| slot.starting.as_ref());
            starting.is_none_or(|starting| starting.until <= now)
        };
        for unit in self.starting.iter().filter(late).cloned().collect::<Vec<_>>() {
            let Some(starting) = self.slots.get_mut(&unit).and_then(|slot| slot.starting.as_mut()) else {
                self.starting.remove(&unit);
                continue;
            };
            if starting.condemned.is_some() {
                self.conclude(&unit);
                continue;
            }
            starting.condemned = Some(starting.birth.report.step());
            starting.until = now + DIES_WITHIN;
            // A process that somebody has stopped dies of it as well.
            let _about_to_end = signal::kill_pidfd(starting.birth.pidfd.as_fd(), Signal::KILL);
        }
    }

    /// A process has come to its program, has been reaped before it did, or is not waited for any longer: tells the brain.
    pub(super) fn conclude(&mut self, unit: &UnitId) {
        self.starting.remove(unit);
        let Some(slot) = self.slots.get_mut(unit) else { return };
        let Some(mut starting) = slot.starting.take() else { return };
        starting.hear();
        match starting.failure() {
            None => self.tell_spawned(unit, starting),
            Some(failure) => self.tell_failed(unit, starting, failure),
        }
    }

    fn tell_spawned(&mut self, unit: &UnitId, starting: Starting) {
        let Some(slot) = self.slots.get_mut(unit) else { return };
        let Starting { process, birth, output, namespaces, is_introduced, .. } = starting;
        slot.namespaces = birth.makes_namespaces.then(|| Arc::new(namespaces));
        let (output_lost, missing) = (birth.report.output_lost(), birth.report.missing());
        self.executor.give_back(birth.report);
        // A brain that came meanwhile knows it as one that runs.
        if is_introduced {
            return;
        }
        let (mut fds, mut descriptors) = slot.fds();
        if output != Output::Pipe && std::mem::take(&mut fds.output) {
            // The pipe of an earlier run: the brain has it, and this run does not write to it.
            descriptors.pop();
        }
        let cgroup = slot.cgroup.as_ref().map(|cgroup| cgroup.path().to_path_buf());
        let spawned = ToBrain::Spawned { unit: unit.clone(), run: slot.run, process, output_lost, cgroup, missing, fds };
        self.brain.send(&spawned, &descriptors);
    }

    fn tell_failed(&mut self, unit: &UnitId, starting: Starting, (step, errno): Failure) {
        let Some(slot) = self.slots.get_mut(unit) else { return };
        let (run, process) = (slot.run, starting.process);
        self.sessions.remove(&process.pid);
        match slot.main.take() {
            // It does not die: what it waits for has to end first. Its page stays its own.
            Some(main) => {
                slot.strays += 1;
                self.children.insert(main.process.pid, Role::Stray(Some(unit.clone())));
            }
            None => {
                slot.close_run(&mut self.book.disk);
                self.executor.give_back(starting.birth.report);
            }
        }
        if starting.is_introduced {
            // A brain that came meanwhile was told that it runs, and now hears that it has ended.
            let (at, at_wall) = (clock::mono(), clock::wall());
            slot.end(Exit { process, cause: ExitCause::Code(127), usage: Usage::default(), at, at_wall });
            self.enter(unit);
            return self.report_exit(unit);
        }
        self.enter(unit);
        self.brain.send(&ToBrain::SpawnFailed { unit: unit.clone(), run, step, errno }, &[]);
        self.forget_if_unwanted(unit);
    }

    /// The main process of `unit` was reaped on its way: whether that was the end of a run, rather than of a start.
    pub(super) fn is_end_of_run(&mut self, unit: &UnitId) -> bool {
        let Some(slot) = self.slots.get_mut(unit) else { return false };
        let Some(starting) = &slot.starting else { return true };
        let has_failed = starting.failure().is_some();
        if has_failed {
            slot.main = None;
        }
        self.conclude(unit);
        !has_failed
    }

    /// A brain hears of what is on its way as of what runs.
    pub(super) fn introduce_births(&mut self) {
        for unit in &self.starting {
            if let Some(starting) = self.slots.get_mut(unit).and_then(|slot| slot.starting.as_mut()) {
                starting.is_introduced = true;
            }
        }
    }
}
