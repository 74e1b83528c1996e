//! Which processes belong to a unit, and signals to all of them.
//!
//! The launcher is child subreaper: when a process dies, its children become ours, unless an ancestor below us is subreaper itself.
//! So whatever is left of a unit hangs below its main process or below another direct child of ours, a *stray*. One look at the list of
//! our orphans finds new strays; /proc is walked only below processes that are to be signalled.

use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::time::Duration;

use super::complain;
use super::serve::{Launcher, Role};
use super::wire::Target;
use crate::base::exit::Signal;
use crate::base::id::UnitId;
use crate::base::time::Mono;
use crate::os::{process, signal};

/// How soon, and how seldom at most, a tree that does not die is killed again.
const KILL_AGAIN: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// Trees that are to be gone.
#[derive(Default)]
pub(super) struct Killing {
    /// The units, while anything of them is left.
    units: BTreeSet<UnitId>,
    pub(super) again_at: Option<Mono>,
    interval: Duration,
}

impl Launcher {
    /// Sends a signal to a run. A run that is over is left alone.
    pub(super) fn signal(&mut self, unit: &UnitId, run: u64, signal: Signal, target: Target, now: Mono) {
        if self.slots.get(unit).is_none_or(|slot| slot.run != run) {
            return;
        }
        match target {
            Target::Main => {
                if let Some(main) = self.slots.get(unit).and_then(|slot| slot.main.as_ref()) {
                    // It may end by itself at any time.
                    let _gone = signal::kill_pidfd(main.pidfd.as_fd(), signal);
                }
            }
            Target::Tree => {
                self.adopt_once();
                if signal == Signal::KILL {
                    self.kill_tree(unit, now);
                } else {
                    self.signal_tree(unit, signal);
                }
            }
        }
    }

    /// Kills what is there of a unit, what of it turns up later, and, should that not suffice, does so again.
    pub(super) fn kill_tree(&mut self, unit: &UnitId, now: Mono) {
        let Some(slot) = self.slots.get_mut(unit).filter(|slot| !slot.is_over()) else { return };
        slot.killing = true;
        self.killing.units.insert(unit.clone());
        self.killing.interval = KILL_AGAIN.0;
        self.killing.again_at = Some(now + KILL_AGAIN.0);
        self.signal_tree(unit, Signal::KILL);
    }

    /// Kills again what should be dead by now.
    pub(super) fn kill_again(&mut self, now: Mono) {
        if self.killing.again_at.is_none_or(|at| at > now) {
            return;
        }
        let slots = &self.slots;
        self.killing.units.retain(|unit| slots.get(unit).is_some_and(|slot| slot.killing && !slot.is_over()));
        if !self.killing.units.is_empty() {
            self.adopt_once();
        }
        for unit in self.killing.units.clone() {
            self.signal_tree(&unit, Signal::KILL);
        }
        self.killing.interval = (self.killing.interval * 2).min(KILL_AGAIN.1);
        self.killing.again_at = (!self.killing.units.is_empty()).then(|| now + self.killing.interval);
    }

    /// The main process first: it may want to end its children itself.
    pub(super) fn signal_tree(&mut self, unit: &UnitId, signal: Signal) {
        let Some(slot) = self.slots.get(unit) else { return };
        let is_child = |pid: &u32| self.children.contains_key(pid);
        let mut roots: Vec<u32> = slot.main.iter().map(|main| main.process.pid).filter(is_child).collect();
        let below_foreign = descendants(&self.signal_foreign(unit, signal));
        if slot.strays > 0 {
            roots.extend(self.children.iter().filter(|(_, role)| role.stray_of() == Some(unit)).map(|(&pid, _)| pid));
        }
        send_to_trees(&roots, signal);
        let sent: Vec<u32> = roots.iter().copied().chain(below_foreign.iter().map(|(pid, _)| *pid)).collect();
        send_to_all(below_foreign, signal);
        self.signal_cgroup(unit, signal, &sent);
    }

    /// Looks for new strays, unless that was done since the launcher last slept.
    pub(super) fn adopt_once(&mut self) {
        if !self.has_looked {
            self.adopt(None);
        }
    }

    /// Looks for new strays; whether there are any. `sole` is the only unit that has lost a process just now, if there is only one.
    pub(super) fn adopt(&mut self, sole: Option<&UnitId>) -> bool {
        self.has_looked = true;
        let mut pids = std::mem::take(&mut self.pids);
        pids.clear();
        if let Err(fault) = self.orphans.read(&mut pids) {
            complain(format_args!("cannot read the list of orphans: {fault}"));
        }
        let known = self.children.len();
        for &pid in &pids {
            if !self.children.contains_key(&pid) {
                let started = process::stat(pid).map(|stat| stat.started);
                let role = self.foreign.release(pid, started).unwrap_or_else(|| Role::Stray(self.claim(pid, sole)));
                if self.closing.is_some() || role.unit().and_then(|unit| self.slots.get(unit)).is_some_and(|slot| slot.killing) {
                    // At once: it may be forking. What is below it becomes ours with its death.
                    send_to_child(pid, Signal::KILL);
                }
                self.children.insert(pid, role);
            }
        }
        self.pids = pids;
        self.children.len() > known
    }

    /// Whose the new stray is: by its session, by its environment, else the one that has just lost a process.
    fn claim(&mut self, pid: u32, sole: Option<&UnitId>) -> Option<UnitId> {
        let stat = process::stat(pid)?;
        let by_environment = || {
            let (unit, run) = self.owner_by_environment(pid)?;
            self.slots.get(&unit).is_some_and(|slot| slot.run == run).then_some(unit)
        };
        let by_session = self.sessions.get(&stat.session).or_else(|| self.sessions.get(&stat.group)).cloned();
        let owner = self.owner_by_cgroup(pid).or(by_session).or_else(by_environment).or_else(|| sole.cloned())?;
        let slot = self.slots.get_mut(&owner)?;
        slot.strays += 1;
        // 0 is a session that began outside of our process id name space.
        if !self.sessions.contains_key(&stat.session) && stat.session != self.own_session && stat.session != 0 {
            slot.has_strayed = true;
            self.sessions.insert(stat.session, owner.clone());
        }
        Some(owner)
    }
}

/// Sends a signal to `roots`, which are children of ours, and to everything below them.
pub(super) fn send_to_trees(roots: &[u32], signal: Signal) {
    // Before the first signal, because a dead process has no children.
    let below = descendants(roots);
    for &pid in roots {
        send_to_child(pid, signal);
    }
    send_to_all(below, signal);
}

/// Sends a signal to processes that are known by their start times.
fn send_to_all(processes: Vec<(u32, u64)>, signal: Signal) {
    for (pid, started) in processes {
        // The number may be another process's by now; the descriptor stays with the one it was opened for.
        if let Ok(pidfd) = process::open(pid)
            && process::stat(pid).is_some_and(|stat| stat.started == started)
        {
            // It may end by itself at any time.
            let _gone = signal::kill_pidfd(pidfd.as_fd(), signal);
        }
    }
}

fn send_to_child(pid: u32, signal: Signal) {
    if let Err(fault) = signal::kill_child(pid, signal) {
        complain(format_args!("cannot send {signal} to process {pid}: {fault}"));
    }
}

/// What is below `roots`: process ids and start times.
fn descendants(roots: &[u32]) -> Vec<(u32, u64)> {
    let mut seen: BTreeSet<u32> = roots.iter().copied().collect();
    let mut next: Vec<u32> = roots.to_vec();
    let mut found = Vec::new();
    let mut children = Vec::new();
    while let Some(parent) = next.pop() {
        process::children(parent, &mut children);
        for child in children.drain(..) {
            // A number from a list that has been overtaken by events may be anybody's: what counts is the parent it has now.
            if let Some(stat) = process::stat(child).filter(|stat| seen.contains(&stat.parent))
                && seen.insert(child)
            {
                found.push((child, stat.started));
                next.push(child);
            }
        }
    }
    found
}
