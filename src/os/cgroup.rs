//! Control groups, version 2 (cgroups(7), Documentation/admin-guide/cgroup-v2.rst): what belongs together, ends together.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::base::limit::{Controller, Setting};

/// The cgroup the daemon's own processes go into, where the one they were started in is to share out to others.
pub const LEAF: &str = "ms-supervisor";

/// How much of a control file is read, in bytes: `io.stat` has a line for each device.
const READ_MAX: usize = 16 << 10;

/// How deep cgroups below a unit's own are followed.
const DEPTH: usize = 32;

/// A cgroup, by descriptor: its name may be another's after it is gone.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
    directory: OwnedFd,
}

impl Cgroup {
    /// The cgroup of this process in the v2 hierarchy, wherever that is mounted.
    ///
    /// # Errors
    /// There is no such hierarchy, or this process does not see its own place in it.
    pub fn own() -> io::Result<Self> {
        let own = fs::read_to_string("/proc/self/cgroup")?;
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        let path = place(&own, &mounts).ok_or_else(|| io::Error::other("there is no cgroup v2 hierarchy here"))?;
        Self::at(path)
    }

    /// The cgroup that this daemon shares out: its own, or the one above it, if it has moved into a leaf.
    ///
    /// # Errors
    /// As [`Cgroup::own`].
    pub fn delegated() -> io::Result<Self> {
        let own = Self::own()?;
        match (own.path.file_name(), own.path.parent()) {
            (Some(name), Some(above)) if name == LEAF => Self::at(above.to_path_buf()),
            _ => Ok(own),
        }
    }

    /// The cgroup `name` in the same one as this.
    ///
    /// # Errors
    /// As open(2), with what to look at; this one is the root.
    pub fn beside(&self, name: &str) -> io::Result<Self> {
        let above = self.path.parent().ok_or(io::ErrorKind::NotFound)?;
        let explain =
            |fault: io::Error| format!("{name} is not in {}: {fault}; does it run, in the same slice (`Slice=`)?", above.display());
        Self::at(above.join(name)).map_err(|fault| io::Error::new(fault.kind(), explain(fault)))
    }

    /// The cgroup that is the directory `path`.
    ///
    /// # Errors
    /// As open(2).
    pub fn at(path: PathBuf) -> io::Result<Self> {
        let directory = rustix::fs::openat(CWD, &path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { path, directory })
    }

    /// The cgroup `name` below this one, made if it is not there.
    ///
    /// # Errors
    /// As mkdir(2), in particular when nobody has delegated this place to us.
    pub fn child(&self, name: &str) -> io::Result<Self> {
        match rustix::fs::mkdirat(&self.directory, name, Mode::from_bits_truncate(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(fault) => return Err(fault.into()),
        }
        let directory = rustix::fs::openat(&self.directory, name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { path: self.path.join(name), directory })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// For `CLONE_INTO_CGROUP`.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// The controllers that can be switched on for those below it.
    #[must_use]
    pub fn offered(&self) -> Vec<Controller> {
        self.controllers("cgroup.controllers")
    }

    /// The controllers that are switched on for those below it.
    #[must_use]
    pub fn enabled(&self) -> Vec<Controller> {
        self.controllers("cgroup.subtree_control")
    }

    fn controllers(&self, file: &str) -> Vec<Controller> {
        let listed = self.read(file).unwrap_or_default();
        Controller::ALL.into_iter().filter(|controller| listed.split_whitespace().any(|name| name == controller.as_str())).collect()
    }

    /// Switches a controller on for those below it.
    ///
    /// # Errors
    /// As write(2): `ResourceBusy` while it has processes of its own.
    pub fn enable(&self, controller: Controller) -> io::Result<()> {
        self.write("cgroup.subtree_control", &format!("+{controller}"))
    }

    /// Switches it off again.
    ///
    /// # Errors
    /// As write(2): `ResourceBusy` while it is in use.
    pub fn disable(&self, controller: Controller) -> io::Result<()> {
        self.write("cgroup.subtree_control", &format!("-{controller}"))
    }

    /// Puts a process into it.
    ///
    /// # Errors
    /// As write(2).
    pub fn put(&self, pid: u32) -> io::Result<()> {
        self.write("cgroup.procs", &pid.to_string())
    }

    /// Writes a setting, and reads what stands in the file then.
    ///
    /// # Errors
    /// As open(2) and write(2): `NotFound` without the controller.
    pub fn set(&self, setting: &Setting) -> io::Result<String> {
        // An empty value has to be written all the same.
        self.write(setting.file.as_str(), if setting.value.is_empty() { "\n" } else { &setting.value })?;
        self.read(setting.file.as_str())
    }

    /// Whether any process is in it or below it. One that has ended and is not reaped does not count.
    ///
    /// # Errors
    /// As read(2); the cgroup may be gone.
    pub fn is_populated(&self) -> io::Result<bool> {
        self.event("populated")
    }

    /// Whether all its processes stand still.
    ///
    /// # Errors
    /// As [`Cgroup::is_populated`].
    pub fn is_frozen(&self) -> io::Result<bool> {
        self.event("frozen")
    }

    fn event(&self, name: &str) -> io::Result<bool> {
        let events = self.read("cgroup.events")?;
        Ok(events.lines().any(|line| line.split_once(' ') == Some((name, "1"))))
    }

    /// Kills every process in it and below it, whatever they fork meanwhile.
    ///
    /// # Errors
    /// As write(2); `NotFound` with kernels before 5.14, which have no such thing.
    pub fn kill(&self) -> io::Result<()> {
        self.write("cgroup.kill", "1")
    }

    /// Lets everything in it and below it stand still, or go on. That takes a moment: see [`Cgroup::is_frozen`].
    ///
    /// # Errors
    /// As write(2).
    pub fn freeze(&self, freeze: bool) -> io::Result<()> {
        self.write("cgroup.freeze", if freeze { "1" } else { "0" })
    }

    /// The processes in it and below it, as far as they can be seen; they may be others by now.
    #[must_use]
    pub fn processes(&self) -> Vec<u32> {
        let mut found = Vec::new();
        collect(&self.path, DEPTH, &mut found);
        found
    }

    /// The processes in it, not those below it.
    #[must_use]
    pub fn members(&self) -> Vec<u32> {
        let mut found = Vec::new();
        collect(&self.path, 0, &mut found);
        found
    }

    /// Removes it, if there is nothing below it.
    ///
    /// # Errors
    /// As rmdir(2).
    pub fn remove_only(&self) -> io::Result<()> {
        remove(&self.path, 0)
    }

    /// The same once more.
    ///
    /// # Errors
    /// There are too many open files.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { path: self.path.clone(), directory: self.directory.try_clone()? })
    }

    /// Removes it and those below it.
    ///
    /// # Errors
    /// As rmdir(2): `ResourceBusy` while there are processes, and for a moment after.
    pub fn remove(&self) -> io::Result<()> {
        remove(&self.path, DEPTH)
    }

    /// What stands in one of its files.
    ///
    /// # Errors
    /// As open(2) and read(2): `NotFound` if it is gone, or has no such controller.
    pub fn read(&self, name: &str) -> io::Result<String> {
        let file = rustix::fs::openat(&self.directory, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        let mut text = Vec::with_capacity(512);
        let mut part = [0; 2048];
        while text.len() < READ_MAX {
            match rustix::io::read(&file, &mut part)? {
                0 => break,
                length => text.extend_from_slice(part.get(..length).unwrap_or_default()),
            }
        }
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    fn write(&self, name: &str, value: &str) -> io::Result<()> {
        let file = rustix::fs::openat(&self.directory, name, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
        rustix::io::write(file, value.as_bytes())?;
        Ok(())
    }
}

/// Where in the v2 hierarchy a process is, from `/proc/PID/cgroup`.
#[must_use]
pub fn of_process(pid: u32) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("0::")).map(str::to_owned)
}

/// The directory of the cgroup of a process in the v2 hierarchy; none if there is no such hierarchy, or it cannot be seen.
#[must_use]
pub fn directory_of(pid: u32) -> Option<PathBuf> {
    place(&fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?, &fs::read_to_string("/proc/self/mountinfo").ok()?)
}

/// The directory of the cgroup that `/proc/self/cgroup` names, under the mount that `/proc/self/mountinfo` tells of.
fn place(own: &str, mounts: &str) -> Option<PathBuf> {
    let own = own.lines().find_map(|line| line.strip_prefix("0::"))?;
    mounts.lines().find_map(|line| {
        // Fields 4 and 5 of proc_pid_mountinfo(5) are the root of the mount within its file system and where it is mounted.
        let (fields, system) = line.split_once(" - ")?;
        let mut fields = fields.split(' ').skip(3);
        let (root, mounted) = (fields.next()?, fields.next()?);
        let below = own.strip_prefix(root.trim_end_matches('/'))?.trim_start_matches('/');
        system.starts_with("cgroup2 ").then(|| Path::new(mounted).join(below))
    })
}

/// How `/proc/PID/cgroup` names the cgroup that is this directory.
#[must_use]
pub fn name_of(directory: &Path) -> Option<String> {
    named(directory, &fs::read_to_string("/proc/self/mountinfo").ok()?)
}

/// The reverse of [`place`].
fn named(directory: &Path, mounts: &str) -> Option<String> {
    mounts.lines().find_map(|line| {
        let (fields, system) = line.split_once(" - ")?;
        let mut fields = fields.split(' ').skip(3);
        let (root, mounted) = (fields.next()?, fields.next()?);
        let below = directory.strip_prefix(mounted).ok().filter(|_| system.starts_with("cgroup2 "))?;
        Some(format!("{}/{}", root.trim_end_matches('/'), below.to_str()?).trim_end_matches('/').to_owned())
    })
}

fn collect(path: &Path, depth: usize, out: &mut Vec<u32>) {
    let listed = fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
    // Processes of other name spaces are shown as 0.
    out.extend(listed.lines().filter_map(|pid| pid.parse().ok()).filter(|&pid: &u32| pid != 0));
    for below in children(path).filter(|_| depth > 0) {
        collect(&below, depth - 1, out);
    }
}

fn remove(path: &Path, depth: usize) -> io::Result<()> {
    match rustix::fs::unlinkat(CWD, path, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        // It may be because of those below it.
        Err(Errno::BUSY | Errno::NOTEMPTY) if depth > 0 => {}
        Err(fault) => return Err(fault.into()),
    }
    for below in children(path) {
        remove(&below, depth - 1)?;
    }
    match rustix::fs::unlinkat(CWD, path, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(fault) => Err(fault.into()),
    }
}

fn children(path: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hierarchy_is_found_wherever_it_is() {
        let check = |own: &str, mounts: &str, expected: Option<&str>| {
            assert_eq!(place(own, mounts), expected.map(PathBuf::from), "{own} in {mounts}");
        };
        let unified = "29 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
        check("0::/user.slice/user-1000.slice\n", unified, Some("/sys/fs/cgroup/user.slice/user-1000.slice"));
        check("0::/\n", unified, Some("/sys/fs/cgroup"));
        let hybrid =
            "30 29 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n31 29 0:28 / /sys/fs/cgroup/unified rw - cgroup2 none rw\n";
        check("8:memory:/a\n0::/b\n", hybrid, Some("/sys/fs/cgroup/unified/b"));
        // A container sees the part of the hierarchy that is its own.
        let part = "31 29 0:28 /docker/1 /sys/fs/cgroup rw - cgroup2 none rw\n";
        check("0::/docker/1/inner\n", part, Some("/sys/fs/cgroup/inner"));
        for (directory, mounts, name) in
            [("/sys/fs/cgroup/a/b", unified, Some("/a/b")), ("/sys/fs/cgroup", part, Some("/docker/1")), ("/srv", unified, None)]
        {
            assert_eq!(named(Path::new(directory), mounts).as_deref(), name, "{directory}");
        }
        check("0::/elsewhere\n", part, None);
        check("8:memory:/a\n", hybrid, None);
        check("0::/\n", "", None);
    }

    #[test]
    fn a_cgroup_is_made_populated_killed_and_removed() {
        let name = format!("ms-supervisor-test-{}", std::process::id());
        let cgroup = match Cgroup::own().and_then(|own| own.child(&name)) {
            Ok(cgroup) => cgroup,
            Err(error) => return println!("SKIPPED: cgroups cannot be made here: {error}"),
        };
        assert!(!cgroup.is_populated().unwrap());
        let below = cgroup.child("below").unwrap();
        #[expect(clippy::disallowed_methods, reason = "some process")]
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        below.write("cgroup.procs", &child.id().to_string()).unwrap();
        assert!(cgroup.is_populated().unwrap() && cgroup.remove().is_err());
        assert_eq!(cgroup.processes(), [child.id()]);
        assert!(of_process(child.id()).unwrap().ends_with(&format!("{name}/below")));
        cgroup.freeze(true).unwrap();
        while !cgroup.is_frozen().unwrap() {
            std::thread::yield_now();
        }
        cgroup.kill().unwrap();
        child.wait().unwrap();
        while cgroup.is_populated().unwrap() || cgroup.remove().is_err() {
            std::thread::yield_now();
        }
        assert!(!cgroup.path().exists());
    }
}
