//! A cgroup for each unit, where somebody has delegated a place for them: then nothing of a unit can get away.

use std::path::PathBuf;
use std::time::Duration;

use super::aside::Aside;
use super::complain;
use super::exec::Failure;
use super::hold::Slot;
use super::limit::Groups;
use super::serve::Launcher;
use super::wire::{Spawn, SpawnStep};
use crate::base::exit::Signal;
use crate::base::id::UnitId;
use crate::base::time::Mono;
use crate::os::cgroup::{Cgroup, LEAF, of_process};
use crate::os::controllers::{Absence, Controllers};
use crate::os::{clock, process, signal};
use std::os::fd::{AsFd, BorrowedFd};

/// How soon, and how seldom at most, a cgroup is looked at that something was left in.
const LOOK_AGAIN: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(200));

/// So many cgroups wait to be removed; more are left to the end.
const DISPOSED_MAX: usize = 1000;

/// How often the removal of a cgroup is tried at the end: it stays busy for some milliseconds after its last process.
const REMOVALS: u32 = 100;

/// Where units' cgroups are.
pub(super) struct Cgroups {
    base: Option<Cgroup>,
    /// What that is in.
    place: Option<Cgroup>,
    /// Where what has to live as long as the units is, if they are not in the cgroup of our own service.
    home: Option<Cgroup>,
    /// The thread that writes limits where there may be processes.
    pub(super) writer: Aside,
    /// What can be limited there.
    pub(super) controllers: Controllers,
    /// Those of supervisors, in which those of units are.
    pub(super) groups: Groups,
    /// Those of supervisors that could not be removed yet.
    disposed_groups: Vec<Cgroup>,
    /// Those that could not be removed yet.
    disposed: Vec<Cgroup>,
    /// When to look again at those that something was left in.
    pub(super) look_at: Option<Mono>,
    interval: Duration,
}

impl Cgroups {
    /// A place below our own cgroup, if we may have one. `instance` tells it from those of other daemons.
    /// `ours`: the processes of the daemon itself.
    pub(super) fn new(instance: u64, ours: &[u32]) -> Self {
        let elsewhere = std::env::var("MS_UNITS_CGROUP").ok().filter(|name| !name.is_empty());
        let found = || {
            let own = Cgroup::delegated()?;
            let place = match &elsewhere {
                Some(name) => own.beside(name)?,
                None => own,
            };
            let base = place.child(&format!("ms-supervisor-{instance:016x}"))?;
            Ok::<_, std::io::Error>((place, base))
        };
        // Tests see what happens without.
        let found = if std::env::var_os("MS_NO_CGROUPS").is_some() {
            Err(Absence::Unwanted)
        } else {
            found().map_err(|fault| Absence::NoPlace(fault.to_string()))
        };
        let (place, base, controllers) = match found {
            Ok((place, base)) => {
                let holders = elsewhere.is_some().then(|| place.members());
                let controllers = Controllers::take(&place, &base, holders.as_deref().unwrap_or(ours));
                (Some(place), Some(base), controllers)
            }
            Err(why) => (None, None, Controllers::none(&why)),
        };
        let (groups, look_at, interval) = (Groups::default(), None, LOOK_AGAIN.0);
        let home = elsewhere.and_then(|_| place.as_ref()?.child(LEAF).ok());
        let (writer, disposed_groups, disposed) = (Aside::default(), Vec::new(), Vec::new());
        Self { base, place, home, writer, controllers, groups, disposed_groups, disposed, look_at, interval }
    }

    /// Where that is.
    pub(super) fn path(&self) -> Option<PathBuf> {
        self.base.as_ref().map(|base| base.path().to_owned())
    }

    /// The cgroup of the keeper, if it has to be another than ours: systemd would end it with us.
    pub(super) fn home(&self) -> Option<BorrowedFd<'_>> {
        self.home.as_ref().map(Cgroup::fd)
    }

    /// The cgroup of a supervisor; the root has that in which all others are.
    pub(super) fn group(&mut self, names: &[String]) -> Option<Cgroup> {
        let found = self.groups.find(self.base.as_ref()?, names, &self.controllers.usable);
        found.inspect_err(|fault| complain(format_args!("cannot make the cgroup of {}: {fault}", names.join("/")))).ok()
    }

    /// Sees to it that the unit has a cgroup for a new run. Where something is counted in it, each run has its own.
    ///
    /// # Errors
    /// It cannot have one although there is a place for it: without, it would be outside of every limit, and something of it might stay for ever.
    pub(super) fn renew(&mut self, slot: &mut Slot, spawn: &Spawn) -> Result<(), Failure> {
        let cannot = |fault: std::io::Error| (SpawnStep::MakeCgroup, fault.raw_os_error().unwrap_or(libc::EIO));
        let group = match &self.base {
            Some(base) => Some(self.groups.find(base, &spawn.group, &self.controllers.usable).map_err(cannot)?),
            None => None,
        };
        let is_spent = std::mem::take(&mut slot.is_cgroup_spent) || !self.controllers.usable.is_empty();
        let fits = |cgroup: &Cgroup| group.as_ref().is_none_or(|group| cgroup.path().parent() == Some(group.path()));
        if let Some(spent) = slot.cgroup.take_if(|cgroup| is_spent || !fits(cgroup)) {
            self.dispose(spent, clock::mono());
        }
        if slot.cgroup.is_none()
            && let Some(group) = group
        {
            slot.cgroup = Some(group.child(&format!("{}:{}", spawn.unit, spawn.run)).map_err(cannot)?);
        }
        Ok(())
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

impl Cgroups {
    /// Removes that of a supervisor, once it is empty.
    pub(super) fn dispose_group(&mut self, cgroup: Cgroup, now: Mono) {
        if cgroup.remove_only().is_err() && self.disposed_groups.len() < DISPOSED_MAX {
            self.disposed_groups.push(cgroup);
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
        self.cgroups.disposed_groups.retain(|cgroup| cgroup.remove_only().is_err());
        left |= !self.cgroups.disposed.is_empty() || !self.cgroups.disposed_groups.is_empty();
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
        // Above a unit's own are those of supervisors, which end otherwise; what is below it is its own business.
        let is_run = |run: &str| run.bytes().all(|byte| byte.is_ascii_digit());
        let (unit, _run) = below.split('/').filter_map(|name| name.rsplit_once(':')).find(|(_, run)| is_run(run))?;
        let (unit, _) = self.slots.get_key_value(unit)?;
        Some(unit.clone())
    }

    /// Removes what there is of cgroups. Nothing runs any more, and nobody waits for us.
    pub(super) fn remove_cgroups(&mut self) {
        for slot in self.slots.values_mut() {
            // One of a launcher before us may be elsewhere.
            slot.cgroup.take().into_iter().for_each(|cgroup| drop(cgroup.remove()));
        }
        let Some((base, place)) = self.cgroups.base.take().zip(self.cgroups.place.take()) else { return };
        for attempt in 1..=REMOVALS {
            match base.remove() {
                Ok(()) => return self.cgroups.controllers.leave(&place),
                Err(_) if attempt < REMOVALS => std::thread::sleep(LOOK_AGAIN.0),
                Err(fault) => complain(format_args!("cannot remove the cgroup {}: {fault}", base.path().display())),
            }
        }
    }
}
