//! Which unit each process of the machine belongs to.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::base::id::UnitId;
use crate::os::cgroup::{self, Cgroup};
use crate::os::process::{self, INVOCATION};
use crate::os::systemd::Place;

/// So far up it is looked whose a process is.
const ANCESTORS_MAX: usize = 4096;

/// Where looking begins.
#[derive(Clone, Debug, Default)]
pub struct Roots {
    /// The launcher: what has lost its parent hangs below it.
    pub launcher: u32,
    /// The units that have processes.
    pub units: Vec<UnitProcesses>,
}

/// How the processes of a unit are found.
#[derive(Clone, Debug)]
pub struct UnitProcesses {
    /// The unit.
    pub unit: UnitId,
    /// Its main process; of one that is only watched all that were found.
    pub pids: Vec<u32>,
    /// The directory of its cgroup, if it has one.
    pub cgroup: Option<PathBuf>,
}

/// Whose a process is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Owned {
    /// The declared unit.
    pub(super) unit: Option<UnitId>,
    /// The unit of systemd.
    pub(super) systemd: Option<String>,
}

impl Roots {
    /// Whose each process is: by its cgroup, else by those above it.
    pub(super) fn owners(&self, place: Option<Place>) -> BTreeMap<u32, Owned> {
        let mut by_root: BTreeMap<u32, &UnitId> = BTreeMap::new();
        for unit in &self.units {
            let cgroup = unit.cgroup.as_ref().and_then(|path| Cgroup::at(path.clone()).ok());
            let within = cgroup.map(|cgroup| cgroup.processes()).unwrap_or_default();
            by_root.extend(within.into_iter().chain(unit.pids.iter().copied()).map(|pid| (pid, &unit.unit)));
        }
        let parents: BTreeMap<u32, u32> = process::all().filter_map(|pid| Some((pid, process::stat(pid)?.parent))).collect();
        let owned = |pid: u32| {
            let cgroup = cgroup::of_process(pid);
            Owned {
                unit: self.unit_of(pid, &by_root, &parents),
                systemd: place.zip(cgroup).and_then(|(place, cgroup)| place.unit(&cgroup)),
            }
        };
        parents.keys().map(|&pid| (pid, owned(pid))).collect()
    }

    fn unit_of(&self, pid: u32, by_root: &BTreeMap<u32, &UnitId>, parents: &BTreeMap<u32, u32>) -> Option<UnitId> {
        let mut above = pid;
        // Parents that end meanwhile cannot make a circle; a bound costs nothing.
        for _ in 0..ANCESTORS_MAX {
            if let Some(unit) = by_root.get(&above) {
                return Some((*unit).clone());
            }
            match parents.get(&above) {
                // An orphan: it tells itself whose it is.
                Some(&parent) if parent == self.launcher => return self.orphan(above),
                Some(&parent) if parent != 0 => above = parent,
                _ => return None,
            }
        }
        None
    }

    fn orphan(&self, pid: u32) -> Option<UnitId> {
        let invocation = process::variable(pid, INVOCATION)?;
        let name = invocation.split(':').next()?;
        self.units.iter().map(|unit| &unit.unit).find(|unit| unit.as_str() == name).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "some processes")]
    fn a_process_belongs_to_whoever_is_above_it() {
        let mut child = std::process::Command::new("sh").args(["-c", "sleep 1000 & wait"]).spawn().unwrap();
        let mut below = Vec::new();
        let end = crate::os::clock::mono() + std::time::Duration::from_secs(10);
        while below.is_empty() {
            assert!(crate::os::clock::mono() < end);
            process::children(child.id(), &mut below);
        }
        let unit = UnitProcesses { unit: "a".into(), pids: vec![child.id()], cgroup: None };
        let owners = Roots { launcher: 1, units: vec![unit] }.owners(None);
        assert_eq!(owners[&below[0]].unit, Some("a".into()));
        assert_eq!(owners[&std::process::id()].unit, None);
        let kill = |pid: u32| {
            rustix::process::kill_process(rustix::process::Pid::from_raw(pid.cast_signed()).unwrap(), rustix::process::Signal::KILL)
        };
        kill(below[0]).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
