//! Which controllers of cgroup v2 can be used for units, and why others cannot.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::cgroup::{Cgroup, LEAF};
use crate::base::limit::Controller;

/// Which controllers can be used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Controllers {
    /// Those that work in the cgroups of units.
    pub usable: Vec<Controller>,
    /// Those that do not.
    pub missing: Vec<Missing>,
}

/// A controller that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// Which.
    pub controller: Controller,
    /// Why.
    pub why: Absence,
}

/// Why a controller cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Absence {
    /// No cgroups are wanted (`MS_NO_CGROUPS`).
    Unwanted,
    /// No cgroup can be made: a sentence.
    NoPlace(String),
    /// The old hierarchies, version 1, have it.
    Legacy,
    /// It is not offered in this cgroup, because it is not switched on above it, or not in the kernel.
    NotOffered(PathBuf),
    /// There are processes of others in this cgroup: then the kernel shares out nothing below it.
    Shared(PathBuf),
    /// The kernel refuses to switch it on in this cgroup: an errno.
    Refused(PathBuf, i32),
}

impl Absence {
    /// What can be done about it.
    #[must_use]
    pub const fn cure(&self) -> &'static str {
        match self {
            Self::Unwanted => "start without MS_NO_CGROUPS",
            Self::NoPlace(_) | Self::Shared(_) | Self::Refused(..) => {
                "run as a service with `Delegate=yes` (deploy/ms-supervisor.service), or by `systemd-run -p Delegate=yes`; as a user with `--user`"
            }
            Self::Legacy => "boot with `systemd.unified_cgroup_hierarchy=1` on the kernel's command line",
            Self::NotOffered(_) => "run as a service with `Delegate=yes`; in a container give it a cgroup namespace with all controllers",
        }
    }
}

impl fmt::Display for Absence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unwanted => f.write_str("no cgroups are wanted (MS_NO_CGROUPS)"),
            Self::NoPlace(why) => write!(f, "no cgroups can be made: {why}"),
            Self::Legacy => f.write_str("it belongs to cgroup v1 on this machine"),
            Self::NotOffered(path) => write!(f, "it is not offered in the cgroup {}", path.display()),
            Self::Shared(path) => write!(f, "other processes are in the cgroup {}", path.display()),
            Self::Refused(path, errno) => {
                write!(f, "it cannot be switched on in the cgroup {}: {}", path.display(), io::Error::from_raw_os_error(*errno))
            }
        }
    }
}

impl Controllers {
    /// None, for this reason.
    #[must_use]
    pub fn none(why: &Absence) -> Self {
        let missing = Controller::ALL.map(|controller| Missing { controller, why: why.clone() });
        Self { usable: Vec::new(), missing: missing.into() }
    }

    /// Why this one cannot be used; `None`: it can.
    #[must_use]
    pub fn why_not(&self, controller: Controller) -> Option<&Absence> {
        self.missing.iter().find(|missing| missing.controller == controller).map(|missing| &missing.why)
    }

    /// What could be had where this process is, without touching anything.
    #[must_use]
    pub fn survey() -> Self {
        let place = match Cgroup::delegated() {
            Ok(place) => place,
            Err(fault) => return Self::none(&Absence::NoPlace(fault.to_string())),
        };
        if let Err(fault) = rustix::fs::access(place.path(), rustix::fs::Access::WRITE_OK) {
            return Self::none(&Absence::NoPlace(format!("{}: {}", place.path().display(), io::Error::from(fault))));
        }
        let own = std::process::id();
        let ours = |pid: u32| pid == own || super::process::stat(pid).is_some_and(|stat| stat.parent == own);
        let is_shared = !is_root(&place) && place.enabled().is_empty() && place.members().iter().any(|&pid| !ours(pid));
        Self::each(&place, |controller| match controller {
            _ if is_shared => Err(Absence::Shared(place.path().into())),
            _ => Ok(()),
        })
    }

    /// Switches on what there is, in `place` and in `base` below it. A cgroup that shares out has no processes of its own: `ours`, as far as they are
    /// there, go into a leaf beside `base`.
    #[must_use]
    pub fn take(place: &Cgroup, base: &Cgroup, ours: &[u32]) -> Self {
        if !is_root(place) && Controller::ALL.iter().any(|controller| offered(place, *controller)) {
            if place.members().iter().any(|pid| !ours.contains(pid)) {
                return Self::each(place, |_| Err(Absence::Shared(place.path().into())));
            }
            if let Err(fault) = move_out(place) {
                return Self::none(&Absence::Refused(place.path().join(LEAF), fault.raw_os_error().unwrap_or(libc::EINVAL)));
            }
        }
        Self::each(place, |controller| {
            for cgroup in [place, base] {
                cgroup
                    .enable(controller)
                    .map_err(|fault| Absence::Refused(cgroup.path().into(), fault.raw_os_error().unwrap_or(libc::EINVAL)))?;
            }
            Ok(())
        })
    }

    /// Undoes that, when `base` is gone, as far as nobody else needs it.
    pub fn leave(&self, place: &Cgroup) {
        if self.usable.is_empty() {
            return;
        }
        for controller in &self.usable {
            let _in_use = place.disable(*controller);
        }
        if place.put(std::process::id()).is_ok() {
            let _in_use = rustix::fs::unlinkat(place.fd(), LEAF, rustix::fs::AtFlags::REMOVEDIR);
        }
    }

    fn each(place: &Cgroup, mut take: impl FnMut(Controller) -> Result<(), Absence>) -> Self {
        let mut found = Self::default();
        let legacy = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        for controller in Controller::ALL {
            let taken = match offered(place, controller) {
                true => take(controller),
                false if is_legacy(&legacy, controller) => Err(Absence::Legacy),
                false => Err(Absence::NotOffered(place.path().into())),
            };
            match taken {
                Ok(()) => found.usable.push(controller),
                Err(why) => found.missing.push(Missing { controller, why }),
            }
        }
        found
    }
}

/// Puts everything that is in `place` itself into a leaf of its own.
fn move_out(place: &Cgroup) -> io::Result<()> {
    let members = place.members();
    if members.is_empty() {
        return Ok(());
    }
    let leaf = place.child(LEAF)?;
    for pid in members {
        match leaf.put(pid) {
            // It has ended meanwhile.
            Err(fault) if fault.raw_os_error() == Some(libc::ESRCH) => {}
            done => done?,
        }
    }
    Ok(())
}

/// The top of the hierarchy is the only cgroup that may share out and have processes.
fn is_root(place: &Cgroup) -> bool {
    !Path::new(place.path()).join("cgroup.type").exists()
}

fn offered(place: &Cgroup, controller: Controller) -> bool {
    place.offered().contains(&controller)
}

/// Whether a hierarchy of version 1 has the controller, by `/proc/self/cgroup`.
fn is_legacy(own: &str, controller: Controller) -> bool {
    let name = match controller {
        Controller::Io => "blkio",
        other => other.as_str(),
    };
    own.lines().filter_map(|line| line.split(':').nth(1)).any(|names| names.split(',').any(|one| one == name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_of_version_1_are_recognised() {
        let hybrid = "9:blkio:/\n8:memory:/a\n2:cpu,cpuacct:/\n1:name=systemd:/\n0::/\n";
        assert!(is_legacy(hybrid, Controller::Io) && is_legacy(hybrid, Controller::Cpu) && is_legacy(hybrid, Controller::Memory));
        assert!(!is_legacy(hybrid, Controller::Pids) && !is_legacy("0::/a\n", Controller::Memory));
    }

    #[test]
    fn every_controller_can_be_used_or_it_is_said_why_not() {
        let found = Controllers::survey();
        for controller in Controller::ALL {
            assert_eq!(found.usable.contains(&controller), found.why_not(controller).is_none(), "{controller}");
        }
        let none = Controllers::none(&Absence::Unwanted);
        assert_eq!(none.why_not(Controller::Pids), Some(&Absence::Unwanted));
    }
}
