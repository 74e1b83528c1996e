//! Signals: taking them as data, and sending them.
#![expect(unsafe_code, reason = "no safe wrapper takes signals by number, real-time signals among them")]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::base::exit::Signal;

/// The largest signal number.
const SIGNAL_MAX: i32 = 64;

/// Signals as data to read.
#[derive(Debug)]
pub struct SignalFd(OwnedFd);

impl SignalFd {
    /// Blocks every signal but those in `open` for this thread, for good, and makes those in `taken` readable.
    ///
    /// # Errors
    /// As signalfd(2).
    pub fn new(taken: &[i32], open: &[i32]) -> io::Result<Self> {
        let blocked = without(open);
        let taken = set_of(taken);
        // SAFETY: both sets are initialised and live; a null third argument is allowed.
        let fd = unsafe {
            libc::sigprocmask(libc::SIG_SETMASK, &raw const blocked, std::ptr::null_mut());
            libc::signalfd(-1, &raw const taken, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK)
        };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just made this descriptor, and nobody else knows it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// The next signal, and the process it came from or, with SIGCHLD, is about; `None` when there is none now.
    #[must_use]
    pub fn take(&self) -> Option<(Signal, u32)> {
        let mut taken = MaybeUninit::<libc::signalfd_siginfo>::uninit();
        let size = size_of::<libc::signalfd_siginfo>();
        // SAFETY: the buffer is as large as said.
        let read = unsafe { libc::read(self.0.as_raw_fd(), taken.as_mut_ptr().cast(), size) };
        if usize::try_from(read) != Ok(size) {
            return None;
        }
        // SAFETY: the kernel has filled the whole structure.
        let taken = unsafe { taken.assume_init() };
        Some((Signal(i32::try_from(taken.ssi_signo).ok()?), taken.ssi_pid))
    }
}

impl AsFd for SignalFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Sends `signal` to `pid`, which must be a child of this process that is not reaped yet: no other process has its number then.
///
/// # Errors
/// As kill(2).
pub fn kill_child(pid: u32, signal: Signal) -> io::Result<()> {
    // Never 0 or negative: that would be a process group, our own among them.
    let pid = i32::try_from(pid).ok().filter(|&pid| pid > 0).ok_or(io::ErrorKind::InvalidInput)?;
    // SAFETY: takes no pointers.
    if unsafe { libc::kill(pid, signal.0) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sends `signal` to the process behind `pidfd`.
///
/// # Errors
/// As pidfd_send_signal(2).
pub fn kill_pidfd(pidfd: BorrowedFd<'_>, signal: Signal) -> io::Result<()> {
    // SAFETY: the descriptor is open; a null siginfo and no flags are allowed.
    let sent = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal.0, std::ptr::null::<u8>(), 0) };
    if sent == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The signals that are ignored or handled: what a child has to put back before it executes something.
#[must_use]
pub fn changed() -> Vec<i32> {
    // Not through the C library, which hides the two signals it keeps for itself; somebody may ignore them all the same.
    let handler = |signal: i32| {
        // At least as large as the kernel's own structure, whose first member is the handler.
        let mut action = [0_usize; 8];
        let nothing_new = std::ptr::null::<usize>();
        // SAFETY: a null new action only asks; the old one is written to live memory; the size is that of the kernel's signal set.
        let known = unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, nothing_new, action.as_mut_ptr(), size_of::<u64>()) };
        if known == 0 { action[0] } else { libc::SIG_DFL }
    };
    (1..=SIGNAL_MAX).filter(|&signal| handler(signal) != libc::SIG_DFL).collect()
}

fn set_of(signals: &[i32]) -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigemptyset initialises the set before anything else uses it.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for &signal in signals {
            libc::sigaddset(set.as_mut_ptr(), signal);
        }
        set.assume_init()
    }
}

fn without(signals: &[i32]) -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigfillset initialises the set before anything else uses it.
    unsafe {
        libc::sigfillset(set.as_mut_ptr());
        for &signal in signals {
            libc::sigdelset(set.as_mut_ptr(), signal);
        }
        set.assume_init()
    }
}
