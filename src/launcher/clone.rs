//! clone3(2) with a stack of its own for the child, which the C library does not offer: it alone can put a process into its cgroup at birth.
#![expect(unsafe_code, reason = "the child returns from the system call on another stack")]

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use libc::{c_int, c_long, c_void};

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

/// Makes a child that runs `entry(argument)` in our memory while we wait for it to execute something or to exit; it is in `cgroup` from its first
/// instruction on. Returns its process id and descriptor, or an errno: `ENOSYS` where there is no such call.
///
/// # Safety
/// `stack` to `stack + size` is memory nobody else uses; `entry` never returns, and does only what a vforked child may.
pub(super) unsafe fn clone_into(
    cgroup: BorrowedFd<'_>,
    stack: *mut c_void,
    size: usize,
    entry: extern "C" fn(*mut c_void) -> c_int,
    argument: *mut c_void,
) -> Result<(u32, OwnedFd), i32> {
    let mut pidfd: c_int = -1;
    let arguments = CloneArgs {
        flags: CLONE_INTO_CGROUP | (libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD) as u64,
        pidfd: (&raw mut pidfd) as u64,
        exit_signal: libc::SIGCHLD as u64,
        stack: stack as u64,
        stack_size: size as u64,
        cgroup: cgroup.as_raw_fd() as u64,
        ..CloneArgs::default()
    };
    // SAFETY: the structure is live and as large as said; the rest is what our caller promises.
    let pid = unsafe { clone3(&arguments, entry, argument) };
    match u32::try_from(pid) {
        // SAFETY: the kernel has just made this descriptor, and nobody else knows it.
        Ok(pid) => Ok((pid, unsafe { OwnedFd::from_raw_fd(pidfd) })),
        Err(_) => Err(i32::try_from(-pid).unwrap_or(libc::EINVAL)),
    }
}

/// The system call. In the child, which begins on an empty stack, it goes on in `entry`.
///
/// # Safety
/// See [`clone_into`].
#[cfg(target_arch = "x86_64")]
unsafe fn clone3(arguments: &CloneArgs, entry: extern "C" fn(*mut c_void) -> c_int, argument: *mut c_void) -> c_long {
    let result: c_long;
    // SAFETY: the kernel keeps every register but rax, rcx and r11; the child does not come out of this block.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r13",
            "call r12",
            "ud2",
            "2:",
            inlateout("rax") libc::SYS_clone3 => result,
            in("rdi") arguments,
            in("rsi") size_of::<CloneArgs>(),
            in("r12") entry,
            in("r13") argument,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    result
}

/// The system call. In the child, which begins on an empty stack, it goes on in `entry`.
///
/// # Safety
/// See [`clone_into`].
#[cfg(target_arch = "aarch64")]
unsafe fn clone3(arguments: &CloneArgs, entry: extern "C" fn(*mut c_void) -> c_int, argument: *mut c_void) -> c_long {
    let result: c_long;
    // SAFETY: the kernel keeps every register but x0; the child does not come out of this block.
    unsafe {
        std::arch::asm!(
            "svc 0",
            "cbnz x0, 2f",
            "mov x29, 0",
            "mov x0, x21",
            "blr x20",
            "brk 1",
            "2:",
            inlateout("x0") arguments => result,
            in("x1") size_of::<CloneArgs>(),
            in("x8") libc::SYS_clone3,
            in("x20") entry,
            in("x21") argument,
        );
    }
    result
}

/// Elsewhere the child enters its cgroup by itself.
///
/// # Safety
/// See [`clone_into`].
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
unsafe fn clone3(_: &CloneArgs, _: extern "C" fn(*mut c_void) -> c_int, _: *mut c_void) -> c_long {
    -c_long::from(libc::ENOSYS)
}
