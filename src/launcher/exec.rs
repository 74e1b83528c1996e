//! From a prepared command to a running process.
//!
//! The child shares the memory of the launcher and the launcher waits until it has executed its program or given up
//! (`CLONE_VM | CLONE_VFORK`), so that a start copies no page tables however large the launcher is, and the child can say in plain
//! memory what went wrong. The price: the child may do nothing but raw system calls.
#![expect(unsafe_code, reason = "clone(2) and what happens between it and execve(2)")]

use std::cell::Cell;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

use libc::{c_char, c_int, c_long, c_void};
use rustix::fs::{CWD, Mode, OFlags};

use super::clone::clone_into;
use super::confine::{Confine, clear_ambient};
use super::schedule::{self, OOM_SCORE_ADJ};
use super::wire::{Credentials, SpawnStep};
use crate::base::scheduling::Scheduling;
use crate::os::signal;

/// The child's stack, in bytes, without the guard below it.
const STACK: usize = 64 << 10;

/// Everything about a process to be, in the kernel's words.
pub(super) struct Command<'a> {
    pub(super) program: &'a CStr,
    pub(super) arguments: &'a [CString],
    pub(super) environment: &'a [CString],
    /// `None`: the launcher's own.
    pub(super) directory: Option<&'a CStr>,
    pub(super) credentials: Option<&'a Credentials>,
    pub(super) umask: u32,
    pub(super) nice: i32,
    /// How else the kernel is to treat it.
    pub(super) scheduling: Option<&'a Scheduling>,
    /// Stdin; `None`: /dev/null.
    pub(super) input: Option<BorrowedFd<'a>>,
    /// Stdout and stderr; `None` leaves them as they are.
    pub(super) output: Option<(BorrowedFd<'a>, BorrowedFd<'a>)>,
    /// One more descriptor, and where the process finds it.
    pub(super) extra: Option<(BorrowedFd<'a>, i32)>,
    /// Where the process writes its id before it does anything else.
    pub(super) book: Option<(BorrowedFd<'a>, u64)>,
    /// Whether it lives on when the launcher dies.
    pub(super) outlives: bool,
    /// The cgroup it is born in.
    pub(super) cgroup: Option<BorrowedFd<'a>>,
    pub(super) leads: Leads,
    /// What it is kept from.
    pub(super) confine: Option<&'a Confine<'a>>,
}

/// What a process is the leader of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Leads {
    /// A session, as a unit does: signals of a terminal do not reach it.
    Session,
    /// A process group, as the brain does: it keeps the terminal, but what is typed there goes to the launcher. It keeps the raised
    /// limit of open files, too, because it gets descriptors of every unit.
    Group,
}

/// The step that failed, and its errno.
pub(super) type Failure = (SpawnStep, i32);

/// Starts processes.
pub(super) struct Executor {
    stack: Stack,
    null: OwnedFd,
    /// Signals the launcher ignores or handles, which a child must not inherit.
    changed_signals: Vec<i32>,
    /// The limit of open files the launcher was started with; it has raised its own.
    files: libc::rlimit,
    nice: i32,
    /// Whether the kernel, short of memory, would rather kill others than the launcher. Units are not to inherit that.
    spared: bool,
}

impl Executor {
    /// Raises the launcher's own limit of open files as far as it goes: it holds some for each unit.
    ///
    /// `limit`: what it was before, if a launcher before has raised it.
    pub(super) fn new(limit: Option<(u64, u64)>) -> io::Result<Self> {
        let mut files = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: the structure is live; the raised copy outlives the call.
        let nice = unsafe {
            if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut files) != 0 {
                return Err(io::Error::last_os_error());
            }
            let raised = libc::rlimit { rlim_cur: files.rlim_max, rlim_max: files.rlim_max };
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const raised);
            libc::getpriority(libc::PRIO_PROCESS, 0)
        };
        if let Some((soft, hard)) = limit {
            (files.rlim_cur, files.rlim_max) = (soft, hard);
        }
        let null = rustix::fs::openat(CWD, c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { stack: Stack::new()?, null, changed_signals: signal::changed(), files, nice, spared: is_spared() })
    }

    /// /dev/null, open for reading and writing.
    pub(super) fn null(&self) -> BorrowedFd<'_> {
        self.null.as_fd()
    }

    /// The limit of open files for units: soft, hard.
    pub(super) fn files(&self) -> (u64, u64) {
        (self.files.rlim_cur, self.files.rlim_max)
    }

    /// The launcher's own niceness.
    pub(super) fn nice(&self) -> i32 {
        self.nice
    }

    /// Starts a process. When this returns it has executed its program; after a failure nothing of it is left.
    pub(super) fn start(&self, command: &Command<'_>) -> Result<(u32, OwnedFd), Failure> {
        let pointers = |strings: &[CString]| strings.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect::<Vec<_>>();
        let (argv, envp) = (pointers(command.arguments), pointers(command.environment));
        let plan = Plan {
            command,
            argv: argv.as_ptr(),
            envp: envp.as_ptr(),
            null: self.null.as_raw_fd(),
            changed_signals: &self.changed_signals,
            files: self.files,
            nice: (command.nice != self.nice).then_some(command.nice),
            spared: self.spared,
            launcher: std::process::id(),
            enters_cgroup: Cell::new(false),
            failure: Cell::new(None),
        };
        let (pid, pidfd) = self.clone(&plan)?;
        match plan.failure.get() {
            None => Ok((pid, pidfd)),
            Some(failure) => {
                // It has called _exit: this does not block for longer than that takes.
                let _status =
                    rustix::process::waitid(rustix::process::WaitId::PidFd(pidfd.as_fd()), rustix::process::WaitIdOptions::EXITED);
                Err(failure)
            }
        }
    }
}

impl Executor {
    /// Makes the child; when this returns it has let go of our memory.
    fn clone(&self, plan: &Plan<'_>) -> Result<(u32, OwnedFd), Failure> {
        let argument = (&raw const *plan).cast_mut().cast::<c_void>();
        if let Some(cgroup) = plan.command.cgroup {
            // SAFETY: as below.
            match unsafe { clone_into(cgroup, self.stack.lowest(), STACK, enter, argument) } {
                // It enters by itself.
                Err(libc::ENOSYS) => plan.enters_cgroup.set(true),
                made => return made.map_err(|errno| (SpawnStep::Cgroup, errno)),
            }
        }
        let mut pidfd: c_int = -1;
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD;
        // SAFETY: `enter` gets a plan that lives until clone returns, which is after the child has let go of this memory
        // (CLONE_VFORK); the stack is ours, unused and as large as said; every signal that has a handler is blocked or
        // fatal, so no handler runs in the child; the kernel stores the pidfd through a live pointer.
        let pid = unsafe { libc::clone(enter, self.stack.top(), flags, argument, &raw mut pidfd) };
        let Ok(pid) = u32::try_from(pid) else { return Err((SpawnStep::Clone, last_errno())) };
        // SAFETY: the kernel has just made this descriptor, and nobody else knows it.
        Ok((pid, unsafe { OwnedFd::from_raw_fd(pidfd) }))
    }
}

/// What the child reads, and the one thing it writes.
struct Plan<'a> {
    command: &'a Command<'a>,
    argv: *const *const c_char,
    envp: *const *const c_char,
    null: c_int,
    changed_signals: &'a [i32],
    files: libc::rlimit,
    nice: Option<i32>,
    spared: bool,
    launcher: u32,
    /// It was not born in its cgroup.
    enters_cgroup: Cell<bool>,
    failure: Cell<Option<Failure>>,
}

/// The child's life before its program.
extern "C" fn enter(plan: *mut c_void) -> c_int {
    // SAFETY: `Executor::start` passes a plan that outlives the child's use of it, and does not touch it meanwhile.
    let plan = unsafe { &*plan.cast_const().cast::<Plan<'_>>() };
    let Err(failure) = become_it(plan);
    plan.failure.set(Some(failure));
    // SAFETY: takes no pointers, runs no handlers of exit.
    unsafe { libc::_exit(127) }
}

fn become_it(plan: &Plan<'_>) -> Result<std::convert::Infallible, Failure> {
    let command = plan.command;
    die_with_launcher(plan.launcher)?;
    if let Some((book, offset)) = command.book {
        write_id(book, offset);
    }
    if let Some(cgroup) = command.cgroup.filter(|_| plan.enters_cgroup.get()) {
        enter_cgroup(cgroup)?;
    }
    if let Some(confine) = command.confine {
        confine.enter_namespaces()?;
    }
    reset_signals(plan.changed_signals);
    let leader = if command.leads == Leads::Session { call(libc::SYS_setsid, [0; 4]) } else { call(libc::SYS_setpgid, [0; 4]) };
    step(SpawnStep::Session, leader)?;
    connect(plan)?;
    call(libc::SYS_umask, [c_long::from(command.umask), 0, 0, 0]);
    if let Some(nice) = plan.nice {
        let set = call(libc::SYS_setpriority, [c_long::from(libc::PRIO_PROCESS), 0, c_long::from(nice), 0]);
        // 0 is what a unit that says nothing gets; a launcher which was itself started with a lower priority may not give it.
        if nice != 0 {
            step(SpawnStep::Nice, set)?;
        }
    }
    if command.leads == Leads::Session {
        let files = (&raw const plan.files) as c_long;
        step(SpawnStep::Stdio, call(libc::SYS_prlimit64, [0, c_long::from(libc::RLIMIT_NOFILE), files, 0]))?;
        if plan.spared {
            be_like_others();
        }
    }
    if let Some(scheduling) = command.scheduling {
        schedule::apply(scheduling)?;
    }
    become_user(command)?;
    if let Some(directory) = command.directory {
        step(SpawnStep::WorkingDirectory, call(libc::SYS_chdir, [directory.as_ptr() as c_long, 0, 0, 0]))?;
    }
    let no_signals = 0_u64;
    let mask = [c_long::from(libc::SIG_SETMASK), (&raw const no_signals) as c_long, 0, size_of::<u64>() as c_long];
    call(libc::SYS_rt_sigprocmask, mask);
    if command.outlives {
        call(libc::SYS_prctl, [libc::PR_SET_PDEATHSIG.into(), 0, 0, 0]);
    }
    if let Some(confine) = command.confine {
        confine.close_the_door()?;
    }
    call(libc::SYS_execve, [command.program.as_ptr() as c_long, plan.argv as c_long, plan.envp as c_long, 0]);
    Err((SpawnStep::Exec, last_errno()))
}

/// Until it executes its program, the process dies with the launcher: only the launcher knows of it. The brain does so all its life.
fn die_with_launcher(launcher: u32) -> Result<(), Failure> {
    call(libc::SYS_prctl, [libc::PR_SET_PDEATHSIG.into(), libc::SIGKILL.into(), 0, 0]);
    // It may be dead already.
    if call(libc::SYS_getppid, [0; 4]) == c_long::from(launcher) { Ok(()) } else { Err((SpawnStep::Clone, libc::ESRCH)) }
}

/// The next launcher is to know of this process whatever becomes of this one. Units run even if nothing can be written.
fn write_id(book: BorrowedFd<'_>, offset: u64) {
    let id = call(libc::SYS_getpid, [0; 4]) as u32;
    let bytes = id.to_le_bytes();
    call(libc::SYS_pwrite64, [book.as_raw_fd().into(), bytes.as_ptr() as c_long, size_of_val(&bytes) as c_long, offset as c_long]);
}

fn enter_cgroup(cgroup: BorrowedFd<'_>) -> Result<(), Failure> {
    let fd = call(libc::SYS_openat, [cgroup.as_raw_fd().into(), c"cgroup.procs".as_ptr() as c_long, libc::O_WRONLY.into(), 0]);
    step(SpawnStep::Cgroup, fd)?;
    let entered = step(SpawnStep::Cgroup, call(libc::SYS_write, [fd, c"0".as_ptr() as c_long, 1, 0]));
    call(libc::SYS_close, [fd, 0, 0, 0]);
    entered
}

fn reset_signals(signals: &[i32]) {
    // The kernel's own structure is at most this large on every architecture; zeroes mean the default action.
    let default_action = [0_u64; 4];
    for &signal in signals {
        let action = (&raw const default_action) as c_long;
        call(libc::SYS_rt_sigaction, [c_long::from(signal), action, 0, size_of::<u64>() as c_long]);
    }
}

/// A process may be no more spared than its launcher, and less at will; that it stays as it is harms nobody but the launcher.
/// The kernel leaves the launcher's own value alone, although the memory is still shared: it knows about vfork.
fn be_like_others() {
    let fd = call(libc::SYS_openat, [libc::AT_FDCWD.into(), OOM_SCORE_ADJ.as_ptr() as c_long, libc::O_WRONLY.into(), 0]);
    if fd >= 0 {
        call(libc::SYS_write, [fd, c"0".as_ptr() as c_long, 1, 0]);
        call(libc::SYS_close, [fd, 0, 0, 0]);
    }
}

/// Whether the launcher has a negative score.
fn is_spared() -> bool {
    let mut first = [0; 1];
    let file = rustix::fs::openat(CWD, OOM_SCORE_ADJ, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    file.is_ok_and(|file| rustix::io::read(file, &mut first).is_ok()) && first == *b"-"
}

/// Descriptors: every source is above 2, and none is needed any more when `extra` goes to its place, so none is overwritten too early.
fn connect(plan: &Plan<'_>) -> Result<(), Failure> {
    let dup = |from: c_int, to: c_int| step(SpawnStep::Stdio, call(libc::SYS_dup3, [from.into(), to.into(), 0, 0]));
    dup(plan.command.input.map_or(plan.null, |input| input.as_raw_fd()), 0)?;
    if let Some((stdout, stderr)) = plan.command.output {
        dup(stdout.as_raw_fd(), 1)?;
        dup(stderr.as_raw_fd(), 2)?;
    }
    let kept = plan.command.confine.and_then(Confine::kept);
    let Some((extra, at)) = plan.command.extra else { return close_above(2, kept) };
    if extra.as_raw_fd() == at {
        step(SpawnStep::Stdio, call(libc::SYS_fcntl, [at.into(), libc::F_SETFD.into(), 0, 0]))?;
    } else {
        dup(extra.as_raw_fd(), at)?;
    }
    if at > 3 {
        close(3, c_long::from(at) - 1)?;
    }
    close_above(at.max(2), kept)
}

/// Closes all descriptors above `last` but one, which is closed when the program is executed.
fn close_above(last: c_int, kept: Option<c_int>) -> Result<(), Failure> {
    let mut first = last + 1;
    if let Some(kept) = kept {
        if kept > first {
            close(first, c_long::from(kept) - 1)?;
        }
        first = kept + 1;
    }
    close(first, c_long::from(u32::MAX))
}

fn close(first: c_int, last: c_long) -> Result<(), Failure> {
    step(SpawnStep::Stdio, call(libc::SYS_close_range, [first.into(), last, 0, 0]))
}

/// With the capabilities it keeps, which are none of the launcher's if nothing else is said.
fn become_user(command: &Command<'_>) -> Result<(), Failure> {
    if let Some(confine) = command.confine {
        confine.before_user()?;
    }
    if let Some(credentials) = command.credentials {
        change_user(credentials)?;
    }
    match command.confine {
        Some(confine) => confine.after_user()?,
        None if command.leads == Leads::Session => clear_ambient(),
        None => {}
    }
    Ok(())
}

/// Raw calls: the wrappers of the C library would change every thread of the process, and the launcher's memory says we are it.
fn change_user(credentials: &Credentials) -> Result<(), Failure> {
    let Credentials { uid, gid, groups } = credentials;
    let (uid, gid) = (c_long::from(*uid), c_long::from(*gid));
    step(SpawnStep::Groups, call(libc::SYS_setgroups, [groups.len() as c_long, groups.as_ptr() as c_long, 0, 0]))?;
    step(SpawnStep::Group, call(libc::SYS_setresgid, [gid, gid, gid, 0]))?;
    step(SpawnStep::User, call(libc::SYS_setresuid, [uid, uid, uid, 0]))
}

pub(super) fn call(number: c_long, arguments: [c_long; 4]) -> c_long {
    let [a, b, c, d] = arguments;
    // SAFETY: the callers, here and in `confine`, pass what the call with this number takes; surplus arguments are ignored.
    unsafe { libc::syscall(number, a, b, c, d) }
}

pub(super) fn step(which: SpawnStep, result: c_long) -> Result<(), Failure> {
    if result < 0 { Err((which, last_errno())) } else { Ok(()) }
}

pub(super) fn last_errno() -> i32 {
    // SAFETY: the location is always valid; the child has the launcher's, which waits meanwhile.
    unsafe { *libc::__errno_location() }
}

/// A stack with a page below it that faults.
struct Stack {
    bottom: *mut c_void,
    guard: usize,
}

impl Stack {
    fn new() -> io::Result<Self> {
        let guard = rustix::param::page_size();
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK;
        // SAFETY: a fresh mapping at a place of the kernel's choice; its lowest page is inside it.
        unsafe {
            let bottom = libc::mmap(ptr::null_mut(), guard + STACK, protection, flags, -1, 0);
            if bottom == libc::MAP_FAILED || libc::mprotect(bottom, guard, libc::PROT_NONE) != 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(Self { bottom, guard })
        }
    }

    /// Its lowest byte above the guard.
    fn lowest(&self) -> *mut c_void {
        // SAFETY: inside the mapping.
        unsafe { self.bottom.add(self.guard) }
    }

    /// The first byte above it: stacks grow down.
    fn top(&self) -> *mut c_void {
        // SAFETY: one past the end of the mapping, which is a multiple of 16.
        unsafe { self.bottom.add(self.guard + STACK) }
    }
}
