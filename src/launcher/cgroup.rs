//! A cgroup for each unit, where somebody has delegated a place for them: then nothing of a unit can get away.

use std::path::PathBuf;
use std::time::Duration;

use super::complain;
use super::hold::Slot;
use super::serve::Launcher;
use crate::base::exit::Signal;
use crate::base::id::UnitId;
use crate::base::time::Mono;
use crate::os::cgroup::{Cgroup, of_process};
use crate::os::{process, signal};
use std::os::fd::AsFd;

/// How soon, and how seldom at most, a cgroup is looked at that something was left in.
const LOOK_AGAIN: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(200));

/// So many cgroups wait to be removed; more are left to the end.
const DISPOSED_MAX: usize = 1000;

/// How often the removal of a cgroup is tried at the end: it stays busy for some milliseconds after its last process.
const REMOVALS: u32 = 100;

/// Where units' cgroups are.
pub(super) struct Cgroups {
    base: Option<Cgroup>,
    /// Those that could not be removed yet.
    disposed: Vec<Cgroup>,
    /// When to look again at those that something was left in.
    pub(super) look_at: Option<Mono>,
    interval: Duration,
}

impl Cgroups {
    /// A place below our own cgroup, if we may have one. `instance` tells it from those of other daemons.
    pub(super) fn new(instance: u64) -> Self {
        // Tests see what happens without.
        let wanted = std::env::var_os("MS_NO_CGROUPS").is_none();
        let own = || Cgroup::own()?.child(&format!("ms-supervisor-{instance:016x}"));
        Self { base: wanted.then(own).and_then(Result::ok), disposed: Vec::new(), look_at: None, interval: LOOK_AGAIN.0 }
    }

    /// Where that is.
    pub(super) fn path(&self) -> Option<PathBuf> {
        self.base.as_ref().map(|base| base.path().to_owned())
    }

    /// A cgroup for `unit` that it has from this run on.
    pub(super) fn make(&self, unit: &UnitId, run: u64) -> Option<Cgroup> {
        let made = self.base.as_ref()?.child(&format!("{unit}:{run}"));
        made.inspect_err(|fault| complain(format_args!("cannot make a cgroup for {unit}: {fault}"))).ok()
    }

    /// Something is about to change.
    pub(super) fn look_soon(&mut self, now: Mono) {
        self.interval = LOOK_AGAIN.0;
        self.look_at = Some(now + LOOK_AGAIN.0);
    }

    /// Removes one that is not needed any more; if that cannot be done yet, later.
    pub(super) fn dispose(&mut self, cgroup: Cgroup, now: Mono) {
        if cgroup.remove().is_err() && self.disposed.len() < DISPOSED_MAX {
            self.disposed.push(cgroup);
            self.look_at = Some(self.look_at.unwrap_or(now + LOOK_AGAIN.0));
        }
    }
}

impl Slot {
    /// Whether its cgroup has processes. One that cannot be read is gone, with all that was in it.
    pub(super) fn is_populated(&self) -> bool {
        self.cgroup.as_ref().is_some_and(|cgroup| cgroup.is_populated().unwrap_or(false))
    }
}

impl Launcher {
    /// The main process of `unit` has ended: whether its cgroup still has others. They are watched until they are gone.
    pub(super) fn lingers(&mut self, unit: &UnitId, now: Mono) -> bool {
        let Some(slot) = self.slots.get_mut(unit) else { return false };
        slot.lingers = slot.main.is_none() && slot.is_populated();
        if slot.lingers {
            self.cgroups.look_soon(now);
        }
        slot.lingers
    }

    /// Looks whether cgroups that something was left in are empty by now.
    pub(super) fn look_at_cgroups(&mut self, now: Mono) {
        if self.cgroups.look_at.is_none_or(|at| at > now) {
            return;
        }
        let lingering: Vec<UnitId> = self.slots.iter().filter(|(_, slot)| slot.lingers).map(|(unit, _)| unit.clone()).collect();
        let mut left = self.look_at_freezing(now);
        for unit in lingering {
            let Some(slot) = self.slots.get_mut(&unit) else { continue };
            slot.lingers = slot.is_populated();
            left |= slot.lingers;
            if slot.is_over() {
                self.report_gone(&unit);
            }
        }
        self.cgroups.disposed.retain(|cgroup| cgroup.remove().is_err());
        left |= !self.cgroups.disposed.is_empty();
        self.cgroups.interval = (self.cgroups.interval * 2).min(LOOK_AGAIN.1);
        self.cgroups.look_at = left.then(|| now + self.cgroups.interval);
    }

    /// Sends a signal to everything in the cgroup of `unit` but `sent`, which have it already.
    pub(super) fn signal_cgroup(&mut self, unit: &UnitId, signal: Signal, sent: &[u32]) {
        let Some(slot) = self.slots.get_mut(unit) else { return };
        let Some(cgroup) = &slot.cgroup else { return };
        if signal == Signal::KILL && cgroup.kill().is_ok() {
            slot.is_cgroup_spent = true;
            return;
        }
        for pid in cgroup.processes().into_iter().filter(|pid| !sent.contains(pid)) {
            // The number may be another process's by now; the descriptor stays with the one it was opened for.
            if let Ok(pidfd) = process::open(pid)
                && self.owner_by_cgroup(pid).as_ref() == Some(unit)
            {
                // It may end by itself at any time.
                let _gone = signal::kill_pidfd(pidfd.as_fd(), signal);
            }
        }
    }

    /// Whose cgroup `pid` is in. Names of units hold no slash.
    pub(super) fn owner_by_cgroup(&self, pid: u32) -> Option<UnitId> {
        let base = self.cgroups.base.as_ref()?.path().file_name()?.to_str()?;
        let place = of_process(pid)?;
        let (_, below) = place.split_once(&format!("/{base}/"))?;
        let (unit, _run) = below.split('/').next()?.rsplit_once(':')?;
        let (unit, _) = self.slots.get_key_value(unit)?;
        Some(unit.clone())
    }

    /// Removes what there is of cgroups. Nothing runs any more, and nobody waits for us.
    pub(super) fn remove_cgroups(&mut self) {
        for slot in self.slots.values_mut() {
            // One of a launcher before us may be elsewhere.
            slot.cgroup.take().into_iter().for_each(|cgroup| drop(cgroup.remove()));
        }
        let Some(base) = self.cgroups.base.take() else { return };
        for attempt in 1..=REMOVALS {
            match base.remove() {
                Ok(()) => return,
                Err(_) if attempt < REMOVALS => std::thread::sleep(LOOK_AGAIN.0),
                Err(fault) => complain(format_args!("cannot remove the cgroup {}: {fault}", base.path().display())),
            }
        }
    }
}
