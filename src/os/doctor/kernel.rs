//! What the kernel can do, found out by asking it.
#![expect(unsafe_code, reason = "system calls are asked for with arguments that do nothing")]

use std::path::{Path, PathBuf};

use super::line;
use crate::os::{cgroup, process};

/// What the kernel can do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kernel {
    /// Its release: `6.1.0-18-amd64`.
    pub release: String,
    /// pidfd_open(2).
    pub pidfd_open: bool,
    /// clone3(2), by which a process is born in its cgroup.
    pub clone3: bool,
    /// close_range(2).
    pub close_range: bool,
    /// PIDFD_GET_INFO.
    pub pidfd_info: bool,
    /// The version of Landlock's interface, if it is switched on.
    pub landlock: Option<i32>,
    /// Whether seccomp filters can be had.
    pub seccomp: bool,
    /// Whether it is told how much everything waits (PSI), and where from.
    pub pressure: Option<PathBuf>,
}

impl Kernel {
    /// This one. `pressure` is the directory of the pressure files.
    #[must_use]
    pub fn look(pressure: &Path) -> Self {
        Self {
            release: line("/proc/sys/kernel/osrelease").unwrap_or_default(),
            pidfd_open: process::open(std::process::id()).is_ok(),
            clone3: knows(libc::SYS_clone3, [0, 0, 0]),
            // Closes nothing: the last is before the first.
            close_range: knows(libc::SYS_close_range, [1, 0, 0]),
            pidfd_info: process::tells_exits(),
            landlock: landlock(),
            seccomp: Path::new("/proc/sys/kernel/seccomp/actions_avail").exists(),
            pressure: ["memory", "memory.pressure"].iter().map(|name| pressure.join(name)).find(|path| line(path).is_some()),
        }
    }
}

/// Whether there is a system call of this number. Its arguments are such that it refuses to do anything.
fn knows(number: libc::c_long, arguments: [libc::c_long; 3]) -> bool {
    // SAFETY: with these arguments (no structure, an empty range) the kernel answers EINVAL and touches nothing.
    let answer = unsafe { libc::syscall(number, arguments[0], arguments[1], arguments[2]) };
    answer >= 0 || !matches!(std::io::Error::last_os_error().raw_os_error(), Some(libc::ENOSYS | libc::EPERM))
}

/// The version of Landlock's interface; none if the kernel has it not, or it is switched off.
fn landlock() -> Option<i32> {
    const VERSION: libc::c_long = 1;
    // SAFETY: with this flag the kernel only tells its version; the structure has to be missing.
    let version = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0, VERSION) };
    i32::try_from(version).ok().filter(|version| *version > 0)
}

/// What is known of cgroups, for one process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cgroups {
    /// The process's own cgroup in the v2 hierarchy.
    pub own: Option<PathBuf>,
    /// Whether this process may make cgroups in it and move processes there.
    pub writable: bool,
    /// The controllers that could be switched on below it.
    pub controllers: Vec<String>,
    /// The controllers that a hierarchy of version 1 holds.
    pub held_by_v1: Vec<String>,
    /// Whether a cgroup can be killed as a whole.
    pub kill: bool,
}

impl Cgroups {
    /// Those of the process `pid`.
    #[must_use]
    pub fn look(pid: u32) -> Self {
        let own = cgroup::directory_of(pid);
        let words = |name: &str| {
            let text = own.as_ref().and_then(|own| line(own.join(name))).unwrap_or_default();
            text.split_whitespace().map(str::to_owned).collect()
        };
        let may = |path: PathBuf| rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok();
        Self {
            writable: own
                .as_ref()
                .is_some_and(|own| may(own.clone()) && may(own.join("cgroup.procs")) && may(own.join("cgroup.subtree_control"))),
            controllers: words("cgroup.controllers"),
            held_by_v1: held_by_v1(&line("/proc/cgroups").unwrap_or_default()),
            kill: own.as_ref().is_some_and(|own| own.join("cgroup.kill").exists() || is_root(own)),
            own,
        }
    }
}

impl Cgroups {
    /// The controllers that units below `parent` have: of a running daemon's.
    #[must_use]
    pub fn controllers_of(parent: &Path) -> Vec<String> {
        let text =
            line(parent.join("cgroup.subtree_control")).filter(|text| !text.is_empty()).or_else(|| line(parent.join("cgroup.controllers")));
        text.unwrap_or_default().split_whitespace().map(str::to_owned).collect()
    }
}

/// The root of the hierarchy has no files of this kind.
fn is_root(cgroup: &Path) -> bool {
    !cgroup.join("cgroup.type").exists()
}

/// From `/proc/cgroups`: name, hierarchy, number of cgroups, enabled. Hierarchy 0 is that of version 2, or none.
fn held_by_v1(text: &str) -> Vec<String> {
    let rows = text.lines().filter(|line| !line.starts_with('#')).map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.filter(|row| row.get(1).is_some_and(|hierarchy| *hierarchy != "0")).filter_map(|row| Some((*row.first()?).to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_kernel_is_asked() {
        let kernel = Kernel::look(Path::new("/proc/pressure"));
        assert!(kernel.release.starts_with(|c: char| c.is_ascii_digit()), "{kernel:?}");
        assert!(kernel.pidfd_open && kernel.close_range, "tests do not run without them: {kernel:?}");
        assert!(!knows(100_000, [0; 3]), "there is no such system call");
    }

    #[test]
    fn hierarchies_of_version_1_are_seen() {
        let text = "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t3\t7\t1\nmemory\t0\t55\t1\npids\t9\t4\t1\n";
        assert_eq!(held_by_v1(text), ["cpu", "pids"]);
    }
}
