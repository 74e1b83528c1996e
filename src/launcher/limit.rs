//! Limits: what the brain wants written into control files is written and read back. The launcher judges nothing of it.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::aside::Aside;
use super::serve::Launcher;
use super::wire::ToBrain;
use crate::base::id::UnitId;
use crate::base::limit::{Controller, Setting};
use crate::os::cgroup::Cgroup;
use crate::os::clock;

/// So often the processes of a unit are looked for that goes into another cgroup: one that forks faster stays where it is.
const ROUNDS: usize = 16;

/// How long the launcher waits until limits are written. The kernel goes on by itself after that, and the brain looks again what stands there.
const WRITTEN_WITHIN: Duration = Duration::from_millis(250);

/// Whose limits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum LimitTarget {
    /// A unit's. It goes into the cgroup of these supervisors, if it is not there.
    Unit {
        /// The unit.
        unit: UnitId,
        /// The names from below the root down.
        group: Vec<String>,
    },
    /// A supervisor's: the names from below the root down to it.
    Supervisor(Vec<String>),
}

/// What became of a setting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// What was to be written.
    pub setting: Setting,
    /// What stands in the file, or why nothing could be written: an errno.
    pub found: Result<String, i32>,
}

/// The cgroups of supervisors, made when they are needed first.
#[derive(Default)]
pub(super) struct Groups(BTreeMap<Vec<String>, Group>);

#[derive(Default)]
struct Group {
    cgroup: Option<Cgroup>,
    /// What was written last into each of its files, should it have to be made again.
    settings: Vec<Setting>,
}

impl Groups {
    /// The cgroup of a supervisor below `base`, with those between them.
    pub(super) fn find(&mut self, base: &Cgroup, names: &[String], controllers: &[Controller]) -> io::Result<Cgroup> {
        let mut above = base.try_clone()?;
        for depth in 1..=names.len() {
            let path = names.get(..depth).unwrap_or(names);
            let group = self.0.entry(path.to_vec()).or_default();
            let cgroup = match &group.cgroup {
                Some(cgroup) => cgroup.try_clone()?,
                None => {
                    let made = above.child(&group_directory(names.get(depth - 1).map_or("", String::as_str)))?;
                    for controller in controllers {
                        // What cannot be had is seen when something is written.
                        let _missing = made.enable(*controller);
                    }
                    drop(write(&made, &group.settings));
                    group.cgroup = Some(made.try_clone()?);
                    made
                }
            };
            above = cgroup;
        }
        Ok(above)
    }

    /// What is to be written again, should the cgroup have to be made again.
    fn remember(&mut self, names: &[String], settings: &[Setting]) {
        let group = self.0.entry(names.to_vec()).or_default();
        let target =
            |setting: &Setting| (setting.file, setting.part_of(&setting.value).and_then(|part| part.split(' ').next().map(str::to_owned)));
        for setting in settings {
            group.settings.retain(|known| known.file != setting.file || target(known) != target(setting));
            group.settings.push(setting.clone());
        }
    }

    fn remove(&mut self, names: &[String]) -> Option<Cgroup> {
        self.0.remove(names).and_then(|group| group.cgroup)
    }
}

/// The name of the directory of a supervisor's cgroup. No file of the kernel has a colon in its name, and no unit's directory ends like this.
#[must_use]
pub fn group_directory(name: &str) -> String {
    format!("{name}:supervisor")
}

/// Writes each setting into files of a cgroup that has no processes yet: nothing waits then.
pub(super) fn write(cgroup: &Cgroup, settings: &[Setting]) -> Vec<Applied> {
    let errno = |fault: io::Error| fault.raw_os_error().unwrap_or(libc::EIO);
    settings.iter().map(|setting| Applied { setting: setting.clone(), found: cgroup.set(setting).map_err(errno) }).collect()
}

/// The same where there may be processes. A limit on memory that is lower than what they use makes the kernel take it from them, and whoever writes it
/// wait meanwhile.
fn write_aside(aside: &mut Aside, cgroup: &Cgroup, settings: &[Setting]) -> Vec<Applied> {
    let written = cgroup.try_clone().ok().and_then(|cgroup| {
        let settings = settings.to_vec();
        aside.within(WRITTEN_WITHIN, move || write(&cgroup, &settings))
    });
    let late = |setting: &Setting| Applied { setting: setting.clone(), found: Err(libc::ETIMEDOUT) };
    written.unwrap_or_else(|| settings.iter().map(late).collect())
}

impl Launcher {
    /// Writes limits and answers.
    pub(super) fn limit(&mut self, target: LimitTarget, settings: &[Setting]) {
        let (cgroup, applied) = match &target {
            LimitTarget::Unit { unit, group } => {
                self.regroup(unit, group);
                let cgroup = self.slots.get(unit).and_then(|slot| slot.cgroup.as_ref());
                (cgroup.map(path), cgroup.map(|cgroup| write_aside(&mut self.cgroups.writer, cgroup, settings)).unwrap_or_default())
            }
            LimitTarget::Supervisor(names) => {
                self.cgroups.groups.remember(names, settings);
                let cgroup = self.cgroups.group(names);
                let writer = &mut self.cgroups.writer;
                (cgroup.as_ref().map(path), cgroup.map(|cgroup| write_aside(writer, &cgroup, settings)).unwrap_or_default())
            }
        };
        self.brain.send(&ToBrain::Limited { target, cgroup, applied }, &[]);
    }

    /// A unit that has another supervisor now goes into its cgroup. If some of it cannot, it is found where it was.
    fn regroup(&mut self, unit: &UnitId, names: &[String]) {
        let Some(group) = self.cgroups.group(names) else { return };
        let Some(slot) = self.slots.get_mut(unit) else { return };
        let Some(old) = slot.cgroup.as_ref().filter(|cgroup| cgroup.path().parent() != Some(group.path())) else { return };
        let Ok(new) = group.child(&format!("{unit}:{}", slot.run)) else { return };
        for _ in 0..ROUNDS {
            let there = old.processes();
            if there.is_empty() {
                break;
            }
            for pid in there {
                // It may end at any time; one that cannot be moved is still there at the end.
                let _gone = new.put(pid);
            }
        }
        if old.is_populated().unwrap_or(false) {
            super::complain(format_args!("cannot move {unit} to the cgroup {}: it has too many processes", new.path().display()));
            return;
        }
        if slot.pauses.any() {
            let _goes_on = new.freeze(true);
        }
        let old = slot.cgroup.replace(new);
        old.into_iter().for_each(|old| self.cgroups.dispose(old, clock::mono()));
        self.enter(unit);
    }

    /// A supervisor is gone. What is still in its cgroup has its own slot, and takes the directory with it.
    pub(super) fn prune(&mut self, names: &[String]) {
        if let Some(cgroup) = self.cgroups.groups.remove(names) {
            self.cgroups.dispose_group(cgroup, clock::mono());
        }
    }
}

fn path(cgroup: &Cgroup) -> PathBuf {
    cgroup.path().to_path_buf()
}
