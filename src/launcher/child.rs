//! A process between its birth and its program: a copy of the launcher that becomes a unit.
//!
//! It does raw system calls only: the wrappers of the C library for users and groups would speak to threads that exist in the launcher alone,
//! and no lock another thread holds is ever released here. Each step that may fail or wait is announced first ([`super::report`]), so the
//! launcher can say where a process stands that never gets any further.
//!
//! The order is that of privilege. As the launcher: its id into the book, its cgroup, its log, scores and limits. Then namespaces; nothing is opened
//! by path as root after that. Then its user, and as that user the working directory and the program.
#![expect(unsafe_code, reason = "what happens between clone(2) and execve(2)")]

use std::convert::Infallible;
use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd};

use libc::{c_int, c_long};

use super::book::BirthNote;
use super::confine::{Confine, clear_ambient};
use super::exec::{Failure, Leads, Plan, Stream};
use super::schedule::{self, OOM_SCORE_ADJ};
use super::wire::{Credentials, SpawnStep};

/// How a log is opened: without waiting, as the path may be that of a named pipe nobody reads, and no other file than that of this name.
const LOG_FLAGS: c_int =
    libc::O_WRONLY | libc::O_APPEND | libc::O_CREAT | libc::O_CLOEXEC | libc::O_NOFOLLOW | libc::O_NOCTTY | libc::O_NONBLOCK;

/// The mode a log is made with, less the launcher's mask.
const LOG_MODE: c_int = 0o640;

const INPUT_FLAGS: c_int = libc::O_RDONLY | libc::O_CLOEXEC | libc::O_NOFOLLOW | libc::O_NOCTTY | libc::O_NONBLOCK;

/// The child's life before its program.
pub(super) fn be_born(plan: &Plan<'_>, has_cgroup: bool) -> ! {
    let Err(failure) = become_it(plan, has_cgroup);
    plan.report.fail(failure);
    // SAFETY: takes no pointers, runs no handlers of exit.
    unsafe { libc::_exit(127) }
}

fn become_it(plan: &Plan<'_>, has_cgroup: bool) -> Result<Infallible, Failure> {
    let command = plan.command;
    die_with_launcher(plan.launcher)?;
    // Whatever it may wait for, it holds nothing of the daemon's meanwhile: no lock, no socket, no end of anybody's pipe.
    close_all_but(3, plan.kept)?;
    if let Some((book, note)) = command.book {
        plan.report.at(SpawnStep::Book);
        write_down(book, note);
    }
    plan.report.at(SpawnStep::Cgroup);
    if let Some(cgroup) = command.cgroup.filter(|_| !has_cgroup) {
        enter_cgroup(cgroup)?;
    }
    reset_signals(plan.changed_signals);
    let leader = if command.leads == Leads::Session { call(libc::SYS_setsid, [0; 4]) } else { call(libc::SYS_setpgid, [0; 4]) };
    step(SpawnStep::Session, leader)?;
    let files = open_files(plan)?;
    be_treated(plan)?;
    let restricts = command.confine.map_or(Ok(false), |confine| confine.allow_paths(plan.report))?;
    if let Some(confine) = command.confine {
        confine.enter_namespaces(plan.report, plan.tells)?;
    }
    let ruleset = connect(plan, &files)?;
    become_user(plan)?;
    if let Some(directory) = command.directory {
        plan.report.at(SpawnStep::WorkingDirectory);
        step(SpawnStep::WorkingDirectory, call(libc::SYS_chdir, [directory.as_ptr() as c_long, 0, 0, 0]))?;
    }
    let no_signals = 0_u64;
    let mask = [c_long::from(libc::SIG_SETMASK), (&raw const no_signals) as c_long, 0, size_of::<u64>() as c_long];
    call(libc::SYS_rt_sigprocmask, mask);
    if command.outlives {
        call(libc::SYS_prctl, [libc::PR_SET_PDEATHSIG.into(), 0, 0, 0]);
    }
    if let Some(confine) = command.confine {
        confine.close_the_door(plan.report, restricts.then_some(ruleset))?;
    }
    plan.report.at(SpawnStep::Exec);
    call(libc::SYS_execve, [command.program.as_ptr() as c_long, plan.argv as c_long, plan.envp as c_long, 0]);
    Err((SpawnStep::Exec, last_errno()))
}

/// Sets how the kernel is to treat it. All that is opened by path here is opened before a unit's namespaces are entered.
fn be_treated(plan: &Plan<'_>) -> Result<(), Failure> {
    let command = plan.command;
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
        plan.report.at(SpawnStep::Scheduler);
        schedule::apply(scheduling)?;
    }
    Ok(())
}

/// Until it executes its program, the process dies with the launcher: only the launcher knows of it. The brain does so all its life.
fn die_with_launcher(launcher: u32) -> Result<(), Failure> {
    call(libc::SYS_prctl, [libc::PR_SET_PDEATHSIG.into(), libc::SIGKILL.into(), 0, 0]);
    // It may be dead already.
    if call(libc::SYS_getppid, [0; 4]) == c_long::from(launcher) { Ok(()) } else { Err((SpawnStep::Clone, libc::ESRCH)) }
}

/// The next launcher is to know of this process whatever becomes of this one. Units run even if nothing can be written.
fn write_down(book: BorrowedFd<'_>, note: &BirthNote) {
    let bytes = note.bytes(call(libc::SYS_getpid, [0; 4]) as u32);
    let (from, length) = (bytes.as_ptr() as c_long, size_of_val(&bytes) as c_long);
    call(libc::SYS_pwrite64, [book.as_raw_fd().into(), from, length, note.offset as c_long]);
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
fn be_like_others() {
    let fd = call(libc::SYS_openat, [libc::AT_FDCWD.into(), OOM_SCORE_ADJ.as_ptr() as c_long, libc::O_WRONLY.into(), 0]);
    if fd >= 0 {
        call(libc::SYS_write, [fd, c"0".as_ptr() as c_long, 1, 0]);
        call(libc::SYS_close, [fd, 0, 0, 0]);
    }
}

/// What its stdin, stdout and stderr are to be; `None` leaves the last two as they are.
struct Files {
    input: c_int,
    output: Option<(c_int, c_int)>,
}

/// Opens the files it reads and writes. They may be on a disk that hangs.
fn open_files(plan: &Plan<'_>) -> Result<Files, Failure> {
    let mut input = plan.null;
    if let Some(path) = plan.command.input {
        plan.report.at(SpawnStep::Input);
        input = open(path, INPUT_FLAGS).map_err(|errno| (SpawnStep::Input, errno))?;
    }
    let Some((stdout, stderr)) = plan.command.output else { return Ok(Files { input, output: None }) };
    plan.report.at(SpawnStep::Log);
    let stdout = open_stream(plan, stdout, plan.null);
    Ok(Files { input, output: Some((stdout, open_stream(plan, stderr, stdout))) })
}

/// The descriptor of a stream; /dev/null, and a word to the launcher, when its log cannot be opened.
fn open_stream(plan: &Plan<'_>, stream: Stream<'_>, same: c_int) -> c_int {
    match stream {
        Stream::Open(fd) => fd.as_raw_fd(),
        Stream::Same => same,
        Stream::Log(path) => open_log(path, plan).unwrap_or_else(|errno| {
            plan.report.lose_output(errno);
            plan.null
        }),
    }
}

fn open_log(path: &CStr, plan: &Plan<'_>) -> Result<c_int, i32> {
    let log = open(path, LOG_FLAGS)?;
    if call(libc::SYS_fcntl, [log.into(), libc::F_SETFL.into(), libc::O_APPEND.into(), 0]) < 0 {
        return Err(last_errno());
    }
    give_to_unit(log, plan);
    Ok(log)
}

/// Lets the unit open its own output anew, as /dev/stdout: the kernel asks the file behind it whether this user may.
fn give_to_unit(log: c_int, plan: &Plan<'_>) {
    let uid = plan.command.credentials.map_or_else(|| call(libc::SYS_geteuid, [0; 4]) as u32, |user| user.uid);
    // SAFETY: a structure of numbers, for which zeroes are values.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: the structure is live.
    let is_known = unsafe { libc::fstat(log, &raw mut stat) } == 0;
    let is_own = matches!(stat.st_mode & libc::S_IFMT, libc::S_IFREG | libc::S_IFIFO);
    if is_known && is_own && stat.st_uid != uid {
        // Without the right to, the unit cannot do this one thing.
        let same_group = c_long::from(u32::MAX);
        call(libc::SYS_fchown, [log.into(), uid.into(), same_group, 0]);
    }
}

fn open(path: &CStr, flags: c_int) -> Result<c_int, i32> {
    let fd = call(libc::SYS_openat, [libc::AT_FDCWD.into(), path.as_ptr() as c_long, flags.into(), LOG_MODE.into()]);
    if fd < 0 { Err(last_errno()) } else { Ok(fd as c_int) }
}

/// Descriptors: every source is above 2, and none is needed any more when `extra` goes to its place, so none is overwritten too early. Returns
/// that of the Landlock ruleset.
fn connect(plan: &Plan<'_>, files: &Files) -> Result<c_int, Failure> {
    plan.report.at(SpawnStep::Stdio);
    let dup = |from: c_int, to: c_int| step(SpawnStep::Stdio, call(libc::SYS_dup3, [from.into(), to.into(), 0, 0]));
    dup(files.input, 0)?;
    if let Some((stdout, stderr)) = files.output {
        dup(stdout, 1)?;
        dup(stderr, 2)?;
    }
    let ruleset = plan.command.confine.and_then(Confine::ruleset).unwrap_or(-1);
    let Some((extra, at)) = plan.command.extra else {
        let mut kept = [plan.tells, ruleset];
        kept.sort_unstable();
        close_all_but(3, &kept)?;
        return Ok(ruleset);
    };
    // Both close themselves when the program is executed, and must not be in the way.
    let (tells, ruleset) = (aside(plan.tells, at)?, aside(ruleset, at)?);
    if extra.as_raw_fd() == at {
        step(SpawnStep::Stdio, call(libc::SYS_fcntl, [at.into(), libc::F_SETFD.into(), 0, 0]))?;
    } else {
        dup(extra.as_raw_fd(), at)?;
    }
    let mut kept = [at, tells, ruleset];
    kept.sort_unstable();
    close_all_but(3, &kept)?;
    Ok(ruleset)
}

/// The same descriptor under another number than `at`.
fn aside(fd: c_int, at: c_int) -> Result<c_int, Failure> {
    if fd != at {
        return Ok(fd);
    }
    let moved = call(libc::SYS_fcntl, [fd.into(), libc::F_DUPFD_CLOEXEC.into(), 3, 0]);
    step(SpawnStep::Stdio, moved)?;
    Ok(moved as c_int)
}

/// Closes all descriptors from `first` on but `kept`, which are in ascending order.
fn close_all_but(first: c_int, kept: &[c_int]) -> Result<(), Failure> {
    let mut first = c_long::from(first);
    for fd in kept.iter().map(|fd| c_long::from(*fd)).filter(|fd| *fd >= 0) {
        if fd > first {
            close_range(first, fd - 1)?;
        }
        first = first.max(fd + 1);
    }
    close_range(first, c_long::from(u32::MAX))
}

fn close_range(first: c_long, last: c_long) -> Result<(), Failure> {
    step(SpawnStep::Stdio, call(libc::SYS_close_range, [first, last, 0, 0]))
}

/// With the capabilities it keeps, which are none of the launcher's if nothing else is said. Nobody but the launcher looks into its memory, a copy
/// of the launcher's, whoever it is by now: executing a program ends that.
fn become_user(plan: &Plan<'_>) -> Result<(), Failure> {
    let command = plan.command;
    plan.report.at(SpawnStep::User);
    if command.leads == Leads::Session {
        call(libc::SYS_prctl, [libc::PR_SET_DUMPABLE.into(), 0, 0, 0]);
    }
    if let Some(confine) = command.confine {
        confine.before_user(plan.report)?;
    }
    if let Some(credentials) = command.credentials {
        change_user(credentials)?;
    }
    match command.confine {
        Some(confine) => confine.after_user(plan.report)?,
        None if command.leads == Leads::Session => clear_ambient(),
        None => {}
    }
    Ok(())
}

/// Raw calls: the wrappers of the C library would change every thread of the process, and its memory says that there are others.
fn change_user(credentials: &Credentials) -> Result<(), Failure> {
    let Credentials { uid, gid, groups } = credentials;
    let (uid, gid) = (c_long::from(*uid), c_long::from(*gid));
    step(SpawnStep::Groups, call(libc::SYS_setgroups, [groups.len() as c_long, groups.as_ptr() as c_long, 0, 0]))?;
    step(SpawnStep::Group, call(libc::SYS_setresgid, [gid, gid, gid, 0]))?;
    step(SpawnStep::User, call(libc::SYS_setresuid, [uid, uid, uid, 0]))
}

pub(super) fn call(number: c_long, arguments: [c_long; 4]) -> c_long {
    let [a, b, c, d] = arguments;
    // SAFETY: the callers, here and beside, pass what the call with this number takes; surplus arguments are ignored.
    unsafe { libc::syscall(number, a, b, c, d) }
}

pub(super) fn step(which: SpawnStep, result: c_long) -> Result<(), Failure> {
    if result < 0 { Err((which, last_errno())) } else { Ok(()) }
}

pub(super) fn last_errno() -> i32 {
    // SAFETY: the location is always valid.
    unsafe { *libc::__errno_location() }
}
