//! Making a process: a copy of the launcher that goes on where it was made, in the cgroup it is to be in.
//!
//! It has memory of its own. Sharing the launcher's (CLONE_VM) would be cheaper by a copy of the page tables, but then the launcher has to
//! wait (CLONE_VFORK), and what becomes of the child, as a user who is not ours, would become of the launcher: a stop, a core dump, an end
//! for want of memory.
#![expect(unsafe_code, reason = "clone3(2) and clone(2)")]

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use libc::{c_int, c_long};

/// Put the process into the cgroup of the given descriptor (linux/sched.h).
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// `struct clone_args` in linux/sched.h, as far as `cgroup`.
#[repr(C, align(8))]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Who has returned from a clone.
pub(super) enum Cloned {
    /// The launcher: the child's process id and descriptor.
    Parent(u32, OwnedFd),
    /// The child. `has_cgroup`: it was born in the cgroup it is to be in.
    Child {
        /// See above.
        has_cgroup: bool,
    },
}

/// Makes a child that is a copy of this thread, in `cgroup` if the kernel can do that at birth. An errno if it cannot be made.
///
/// # Safety
/// The child must not allocate, take a lock or return from its caller's caller: another thread may have held the lock. It does raw system
/// calls and ends by execve(2) or `_exit`.
pub(super) unsafe fn clone(cgroup: Option<BorrowedFd<'_>>) -> Result<Cloned, i32> {
    let mut pidfd: c_int = -1;
    let arguments = CloneArgs {
        flags: libc::CLONE_PIDFD as u64 | cgroup.map_or(0, |_| CLONE_INTO_CGROUP),
        pidfd: (&raw mut pidfd) as u64,
        exit_signal: libc::SIGCHLD as u64,
        cgroup: cgroup.map_or(0, |cgroup| cgroup.as_raw_fd() as u64),
        ..CloneArgs::default()
    };
    let mut has_cgroup = true;
    // SAFETY: the structure is live and as large as said; without CLONE_VM the child has its own copy of everything.
    let mut pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size_of::<CloneArgs>()) };
    if pid < 0 && errno() == libc::ENOSYS {
        // An old kernel, or a filter of system calls that does not know this one. The child enters its cgroup by itself.
        has_cgroup = false;
        let (none, flags): (c_long, _) = (0, c_long::from(libc::CLONE_PIDFD | libc::SIGCHLD));
        // SAFETY: as above; no stack of its own, and the third argument is where the descriptor goes.
        pid = unsafe { libc::syscall(libc::SYS_clone, flags, none, &raw mut pidfd, none, none) };
    }
    match u32::try_from(pid) {
        Ok(0) => Ok(Cloned::Child { has_cgroup }),
        // SAFETY: the kernel has just made this descriptor, and nobody else knows it.
        Ok(pid) => Ok(Cloned::Parent(pid, unsafe { OwnedFd::from_raw_fd(pidfd) })),
        Err(_) => Err(errno()),
    }
}

fn errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL)
}
