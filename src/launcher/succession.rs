//! A run whose main process becomes another one: a daemon that forks twice, or a program that replaces itself without a break.

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::book::Ticks;
use super::hold::Main;
use super::serve::{Launcher, Role};
use super::wire::{Process, ToBrain};
use crate::base::id::UnitId;
use crate::os::process;

/// So many ancestors of a process are looked at.
const ANCESTORS_MAX: usize = 64;

impl Launcher {
    /// Makes `pid` the main process of a run, if it is one of its processes, and answers.
    pub(super) fn set_main(&mut self, unit: &UnitId, run: u64, pid: u32) {
        let answer = match self.succeed(unit, run, pid) {
            Ok(process) => ToBrain::MainChanged { unit: unit.clone(), run, process },
            Err(why) => ToBrain::MainRefused { unit: unit.clone(), run, pid, why: why.into() },
        };
        self.enter(unit);
        self.brain.send(&answer, &[]);
    }

    fn succeed(&mut self, unit: &UnitId, run: u64, pid: u32) -> Result<Process, &'static str> {
        self.adopt_once();
        let slot = self.slots.get(unit).filter(|slot| slot.run == run && !slot.killing && !slot.is_over()).ok_or("the run is over")?;
        // With an exit that nobody has acknowledged there was one that began the run.
        let first =
            slot.main.as_ref().map(|main| main.process).or_else(|| slot.exit().map(|exit| exit.process)).ok_or("the run is over")?;
        if slot.main.as_ref().is_some_and(|main| main.process.pid == pid) {
            return Ok(first);
        }
        let (pidfd, session, ticks) = self.identify(unit, pid)?;
        self.take_place(unit, pid, &pidfd)?;
        let process = Process { pid, ..first };
        if !self.sessions.contains_key(&session) && session != self.own_session && session != 0 {
            self.sessions.insert(session, unit.clone());
        }
        if let Some(slot) = self.slots.get_mut(unit) {
            slot.exits.retain(|(ended, _)| *ended != run);
            slot.main = Some(Main { process, pidfd, ticks });
            slot.place.into_iter().for_each(|place| self.keeper.note(place, Some(unit.clone())));
            (slot.has_strayed, slot.has_successor, slot.lingers) = (true, true, false);
        }
        Ok(process)
    }

    /// A descriptor for `pid`, which lives and is the unit's, with its session and its start time.
    fn identify(&self, unit: &UnitId, pid: u32) -> Result<(OwnedFd, u32, Ticks), &'static str> {
        let no_such = "there is no such process";
        let pidfd = process::open(pid).map_err(|_| no_such)?;
        let stat = process::stat(pid).ok_or(no_such)?;
        if !self.is_of(unit, pid, stat.parent) {
            return Err("it is not a process of this unit");
        }
        // What lives now had the number all the time since the descriptor was opened.
        if has_ended(&pidfd) {
            return Err("it has ended");
        }
        Ok((pidfd, stat.session, Ticks::At(stat.started)))
    }

    /// Whether `pid` is the unit's: known as such, in its cgroup, or below one that is known.
    fn is_of(&self, unit: &UnitId, pid: u32, mut parent: u32) -> bool {
        let known = |pid: u32| match self.children.get(&pid) {
            Some(role) => Some(role.unit() == Some(unit)),
            None => self.foreign.of(unit).any(|(foreign, _)| foreign == pid).then_some(true),
        };
        if let Some(is_ours) = known(pid) {
            return is_ours;
        }
        if self.owner_by_cgroup(pid).as_ref() == Some(unit) {
            return true;
        }
        for _ in 0..ANCESTORS_MAX {
            if let Some(is_ours) = known(parent) {
                return is_ours;
            }
            match process::stat(parent) {
                Some(stat) if stat.parent > 1 => parent = stat.parent,
                _ => return false,
            }
        }
        false
    }

    /// Lets `pid` be watched as the main process, and the one before it as one among others.
    fn take_place(&mut self, unit: &UnitId, pid: u32, pidfd: &OwnedFd) -> Result<(), &'static str> {
        let was_known = self.children.contains_key(&pid) || self.foreign.contains(pid);
        if let Some(role) = self.children.get_mut(&pid) {
            *role = Role::Main(unit.clone());
        } else if was_known {
            self.foreign.set_main(pid, true);
        } else {
            let watch = pidfd.try_clone().and_then(|pidfd| self.foreign.add(pid, pidfd, unit.clone(), true));
            watch.map_err(|_| "it cannot be watched: too many open files?")?;
        }
        let Some(slot) = self.slots.get_mut(unit) else { return Ok(()) };
        slot.strays -= usize::from(was_known && slot.strays > 0);
        if let Some(before) = slot.main.take() {
            slot.strays += 1;
            match self.children.get_mut(&before.process.pid) {
                Some(role) => *role = Role::Stray(Some(unit.clone())),
                None => self.foreign.set_main(before.process.pid, false),
            }
        }
        Ok(())
    }
}

pub(super) fn has_ended(pidfd: &OwnedFd) -> bool {
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut fds = [PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)];
    // It would have to be interrupted without waiting; then it counts as alive, and its end is noticed all the same.
    poll(&mut fds, Some(&at_once)).is_ok_and(|ready| ready > 0)
}
