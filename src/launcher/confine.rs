//! Keeps a process from what it is to be kept from: prepared here before it is made, and carried out by the process itself.
//!
//! The order is that of privilege. Namespaces and mounts come first, while everything is allowed; then its groups and user, with the
//! capabilities it keeps; then what needs no privilege and cannot be undone: no new privileges, Landlock, the filters of system calls.
#![expect(unsafe_code, reason = "addresses of structures for raw system calls between clone(2) and execve(2)")]

use std::cell::Cell;
use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use libc::{c_int, c_long, sock_filter};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen};

use super::child::{call, last_errno, step};
use super::confinement::{Confinement, MountKind};
use super::exec::Failure;
use super::landlock::{self, Ruleset};
use super::namespaces::{self, Kind, Namespaces};
use super::report::Report;
use super::wire::SpawnStep;

/// At most so much of the memory a directory of temporary files takes.
const TEMPORARY: [(&CStr, &CStr); 3] = [(c"mode", c"1777"), (c"size", c"10%"), (c"nr_inodes", c"1m")];

/// Nobody enters it, and there is nothing.
const HIDDEN: [(&CStr, &CStr); 3] = [(c"mode", c"000"), (c"size", c"4k"), (c"nr_inodes", c"1")];

/// A confinement in the kernel's words.
pub(super) struct Confine<'a> {
    wanted: &'a Confinement,
    mounts: Vec<Place>,
    /// The namespaces to enter.
    join: Option<&'a Namespaces>,
    landlock: Option<Ruleset>,
    filters: Vec<Vec<sock_filter>>,
}

struct Place {
    path: CString,
    kind: MountKind,
    /// What goes there, if that is made beforehand.
    source: Option<OwnedFd>,
    /// What goes there, taken by the process itself.
    taken: Cell<c_int>,
}

impl<'a> Confine<'a> {
    /// Prepares what can be prepared. `join`: the namespaces to enter, made for the unit this is to be beside. `report`: is told what is done without.
    pub(super) fn new(wanted: &'a Confinement, join: Option<&'a Namespaces>, report: &Report) -> Result<Self, Failure> {
        let mut new = Self { wanted, mounts: Vec::new(), join, landlock: None, filters: Vec::new() };
        if wanted.join.is_none() {
            let places = new.places();
            new.mounts = new.unless_missing(report, places)?.unwrap_or_default();
        } else if join.is_none() && wanted.has_namespaces() {
            return Err((SpawnStep::Join, libc::ESRCH));
        }
        if let Some(rules) = &wanted.landlock {
            let temporary = new.mounts.iter().filter(|place| place.kind == MountKind::Temporary).filter_map(|place| place.source.as_ref());
            let ruleset = Ruleset::new(rules, temporary);
            new.landlock = new.unless_missing(report, ruleset)?;
        }
        let instruction = |bytes: &[u8]| sock_filter {
            code: u16::from_ne_bytes([bytes[0], bytes[1]]),
            jt: bytes[2],
            jf: bytes[3],
            k: u32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
        };
        new.filters =
            wanted.filters.iter().map(|filter| filter.chunks_exact(size_of::<sock_filter>()).map(instruction).collect()).collect();
        Ok(new)
    }

    fn places(&self) -> Result<Vec<Place>, Failure> {
        let mut places = Vec::new();
        for (number, mount) in (0..).zip(&self.wanted.mounts) {
            let failed = |errno| (SpawnStep::Mount(number), errno);
            let path = CString::new(mount.path.as_os_str().as_bytes()).map_err(|_| failed(libc::EINVAL))?;
            let options = match mount.kind {
                MountKind::Temporary => Some((&TEMPORARY, MountAttrFlags::empty())),
                MountKind::HiddenDirectory => Some((&HIDDEN, MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NOEXEC)),
                MountKind::ReadOnly | MountKind::Same | MountKind::HiddenFile => None,
            };
            let source = options.map(|(options, flags)| memory(options, flags)).transpose();
            let source = source.map_err(|fault| failed(fault.raw_os_error()))?;
            places.push(Place { path, kind: mount.kind, source, taken: Cell::new(-1) });
        }
        Ok(places)
    }

    /// Every descriptor the process needs for it.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = c_int> {
        let sources = self.mounts.iter().filter_map(|place| place.source.as_ref());
        let own = sources.map(AsRawFd::as_raw_fd).chain(self.ruleset());
        own.chain(self.join.into_iter().flat_map(|join| [&join.mount, &join.network]).flatten().map(AsRawFd::as_raw_fd))
    }

    /// The descriptor that must be open until the program is executed.
    pub(super) fn ruleset(&self) -> Option<c_int> {
        self.landlock.as_ref().map(Ruleset::fd)
    }

    /// Whether the process makes namespaces of its own, and tells of them.
    pub(super) fn makes_namespaces(&self) -> bool {
        self.join.is_none() && (!self.mounts.is_empty() || self.wanted.private_network)
    }

    /// Takes note of what can be done without.
    fn unless_missing<T>(&self, report: &Report, done: Result<T, Failure>) -> Result<Option<T>, Failure> {
        match done {
            Ok(done) => Ok(Some(done)),
            Err(failure) if self.wanted.best_effort && report.miss(failure) => Ok(None),
            Err(failure) => Err(failure),
        }
    }
}

/// A file system in memory that is mounted nowhere yet.
fn memory(options: &[(&CStr, &CStr)], flags: MountAttrFlags) -> rustix::io::Result<OwnedFd> {
    let context = fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        fsconfig_set_string(&context, *key, *value)?;
    }
    fsconfig_create(&context)?;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, flags | MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV)
}

/// What the process does itself: raw system calls only, in this order.
impl Confine<'_> {
    /// Looks at the paths of its Landlock rules, from outside; whether there is a ruleset to go by.
    pub(super) fn allow_paths(&self, report: &Report) -> Result<bool, Failure> {
        let Some(ruleset) = &self.landlock else { return Ok(false) };
        Ok(self.unless_missing(report, ruleset.allow_paths(report))?.is_some())
    }

    /// Enters its namespaces: those of the unit it is to be beside, or new ones, of which it sends descriptors to `tells`. Before its descriptors
    /// are what they are to be: all that are opened here are closed then.
    pub(super) fn enter_namespaces(&self, report: &Report, tells: c_int) -> Result<(), Failure> {
        if self.wanted.join.is_some() {
            report.at(SpawnStep::Join);
            return self.join.map_or(Ok(()), Namespaces::enter);
        }
        if !self.mounts.is_empty() {
            report.at(SpawnStep::Namespace);
            self.unless_missing(report, self.mount(report, tells))?;
        }
        if self.wanted.private_network {
            report.at(SpawnStep::Network);
            self.unless_missing(report, own_network(tells))?;
        }
        Ok(())
    }

    fn mount(&self, report: &Report, tells: c_int) -> Result<(), Failure> {
        step(SpawnStep::Namespace, call(libc::SYS_unshare, [libc::CLONE_NEWNS.into(), 0, 0, 0]))?;
        namespaces::tell(tells, Kind::Mount);
        // What is mounted outside later is seen inside, and nothing the other way round.
        let flags = libc::MS_REC | libc::MS_SLAVE;
        step(SpawnStep::Namespace, mount(c"none", c"/", flags))?;
        for (number, place) in (0..).zip(&self.mounts).filter(|(_, place)| place.kind == MountKind::Same) {
            report.at(SpawnStep::Mount(number));
            let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC | libc::AT_RECURSIVE as u32;
            let fd = call(libc::SYS_open_tree, [libc::AT_FDCWD.into(), address(&place.path), flags.into(), 0]);
            step(SpawnStep::Mount(number), fd)?;
            place.taken.set(fd as c_int);
        }
        (0..).zip(&self.mounts).try_for_each(|(number, place)| {
            report.at(SpawnStep::Mount(number));
            step(SpawnStep::Mount(number), put(place))
        })
    }

    /// While it may still do everything.
    pub(super) fn before_user(&self, report: &Report) -> Result<(), Failure> {
        let Some(kept) = self.wanted.capabilities else { return Ok(()) };
        if self.wanted.drops_bounding {
            self.unless_missing(report, drop_bounding(kept))?;
        }
        if kept != 0 {
            self.unless_missing(report, step(SpawnStep::Capabilities, prctl(libc::PR_SET_KEEPCAPS, 1, 0)))?;
        }
        Ok(())
    }

    /// As the user it stays.
    pub(super) fn after_user(&self, report: &Report) -> Result<(), Failure> {
        if let Some(kept) = self.wanted.capabilities {
            self.unless_missing(report, keep(kept))?;
        }
        if self.wanted.private_keyring {
            self.unless_missing(
                report,
                step(SpawnStep::Keyring, call(libc::SYS_keyctl, [libc::KEYCTL_JOIN_SESSION_KEYRING.into(), 0, 0, 0])),
            )?;
        }
        Ok(())
    }

    /// As the last thing before its program.
    pub(super) fn close_the_door(&self, report: &Report, ruleset: Option<c_int>) -> Result<(), Failure> {
        if self.wanted.no_new_privileges {
            self.unless_missing(report, step(SpawnStep::NoNewPrivileges, prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0)))?;
        }
        if let Some(ruleset) = ruleset {
            report.at(SpawnStep::Landlock);
            self.unless_missing(report, landlock::restrict(ruleset))?;
        }
        for filter in &self.filters {
            let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
            let program = (&raw const program) as c_long;
            let mode = c_long::from(libc::SECCOMP_SET_MODE_FILTER);
            self.unless_missing(report, step(SpawnStep::SystemCallFilter, call(libc::SYS_seccomp, [mode, 0, program, 0])))?;
        }
        Ok(())
    }
}

/// No ambient capability of the launcher's is a unit's.
pub(super) fn clear_ambient() {
    prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as c_long, 0);
}

fn address(text: &CStr) -> c_long {
    text.as_ptr() as c_long
}

/// prctl(2); what some options do not use they want to be 0.
fn prctl(option: c_int, second: c_long, third: c_long) -> c_long {
    let none: c_long = 0;
    // SAFETY: the options used here take numbers.
    unsafe { libc::syscall(libc::SYS_prctl, option, second, third, none, none) }
}

/// mount(2) of something that is there, or of nothing.
fn mount(source: &CStr, target: &CStr, flags: libc::c_ulong) -> c_long {
    let none: c_long = 0;
    // SAFETY: two texts that end with a NUL byte, neither type nor options.
    unsafe { libc::syscall(libc::SYS_mount, source.as_ptr(), target.as_ptr(), none, flags, none) }
}

/// Puts what is to be at a path there.
fn put(place: &Place) -> c_long {
    match (place.kind, &place.source) {
        // The root of the process is no place to mount something over: it would still be below.
        (MountKind::ReadOnly, _) if place.path.as_bytes() == b"/" => set_attributes(place, libc::MOUNT_ATTR_RDONLY, true),
        (MountKind::ReadOnly, _) => match mount(&place.path, &place.path, libc::MS_BIND | libc::MS_REC) {
            0 => set_attributes(place, libc::MOUNT_ATTR_RDONLY, true),
            failed => failed,
        },
        (MountKind::HiddenFile, _) => match mount(c"/dev/null", &place.path, libc::MS_BIND) {
            0 => set_attributes(place, libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC, false),
            failed => failed,
        },
        (MountKind::Same, _) => move_mount(place.taken.get(), place),
        (MountKind::HiddenDirectory | MountKind::Temporary, source) => move_mount(source.as_ref().map_or(-1, AsRawFd::as_raw_fd), place),
    }
}

fn move_mount(from: c_int, place: &Place) -> c_long {
    let flags = libc::MOVE_MOUNT_F_EMPTY_PATH;
    // SAFETY: two descriptors and two texts that end with a NUL byte.
    unsafe { libc::syscall(libc::SYS_move_mount, from, c"".as_ptr(), libc::AT_FDCWD, place.path.as_ptr(), flags) }
}

fn set_attributes(place: &Place, set: u64, below: bool) -> c_long {
    let attributes = libc::mount_attr { attr_set: set, attr_clr: 0, propagation: 0, userns_fd: 0 };
    let flags = if below { libc::AT_RECURSIVE } else { 0 };
    let (at, path, size) = (libc::AT_FDCWD, place.path.as_ptr(), size_of::<libc::mount_attr>());
    // SAFETY: a descriptor, a text that ends with a NUL byte, and a live structure with its size.
    unsafe { libc::syscall(libc::SYS_mount_setattr, at, path, flags, &raw const attributes, size) }
}

/// A network with nothing but loopback, which is up.
fn own_network(tells: c_int) -> Result<(), Failure> {
    step(SpawnStep::Network, call(libc::SYS_unshare, [libc::CLONE_NEWNET.into(), 0, 0, 0]))?;
    namespaces::tell(tells, Kind::Network);
    let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC;
    let socket = call(libc::SYS_socket, [libc::AF_INET.into(), kind.into(), 0, 0]);
    step(SpawnStep::Network, socket)?;
    // SAFETY: a structure of numbers, for which zeroes are values.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    (request.ifr_name[0], request.ifr_name[1]) = (b'l' as libc::c_char, b'o' as libc::c_char);
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    let up = call(libc::SYS_ioctl, [socket, libc::SIOCSIFFLAGS as c_long, (&raw const request) as c_long, 0]);
    let up = step(SpawnStep::Network, up);
    call(libc::SYS_close, [socket, 0, 0, 0]);
    up
}

fn drop_bounding(kept: u64) -> Result<(), Failure> {
    for capability in (0..64).filter(|capability| kept & (1 << capability) == 0) {
        if prctl(libc::PR_CAPBSET_DROP, capability, 0) < 0 {
            // It ends with the last one this kernel knows.
            return if last_errno() == libc::EINVAL { Ok(()) } else { Err((SpawnStep::Capabilities, last_errno())) };
        }
    }
    Ok(())
}

/// `struct __user_cap_header_struct` and two of `struct __user_cap_data_struct` (linux/capability.h).
#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: c_int,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct CapabilityData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// `_LINUX_CAPABILITY_VERSION_3`
const CAPABILITY_VERSION: u32 = 0x2008_0522;

/// Keeps these capabilities in every set and no others.
fn keep(kept: u64) -> Result<(), Failure> {
    clear_ambient();
    let header = CapabilityHeader { version: CAPABILITY_VERSION, pid: 0 };
    let half = |bits: u32| CapabilityData { effective: bits, permitted: bits, inheritable: bits };
    let data = [half(kept as u32), half((kept >> 32) as u32)];
    step(SpawnStep::Capabilities, call(libc::SYS_capset, [(&raw const header) as c_long, (&raw const data) as c_long, 0, 0]))?;
    for capability in (0..64).filter(|capability| kept & (1 << capability) != 0) {
        step(SpawnStep::Capabilities, prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE as c_long, capability))?;
    }
    Ok(())
}
