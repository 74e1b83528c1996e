//! From a prepared command to a process that is on its way to its program.
//!
//! The launcher makes the process and goes on at once. The process tells by a descriptor that closes itself when it has executed its program
//! or has ended ([`Birth::told`]), and by a page of shared memory ([`Report`]) where it stands and what went wrong. So a process that never
//! comes to its program, whoever stops it and whatever it waits for, holds nobody but itself.
#![expect(unsafe_code, reason = "limits and priorities, and a process that is a copy of this one")]

use std::cell::RefCell;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;
use std::time::Duration;

use libc::{c_char, c_int};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::pipe::{PipeFlags, pipe_with};

use super::book::BirthNote;
use super::child::be_born;
use super::clone::{Cloned, clone};
use super::confine::Confine;
use super::report::Report;
use super::schedule::OOM_SCORE_ADJ;
use super::wire::{Credentials, SpawnStep};
use crate::base::scheduling::Scheduling;
use crate::os::signal;

/// How long the daemon's own processes may take to come to their program, which is the launcher's own.
const OWN_WITHIN: Timespec = Timespec { tv_sec: 2, tv_nsec: 0 };

/// So many pages of those that have come to their program are kept for others.
const REPORTS_KEPT: usize = 64;

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
    /// Stdin: this file; /dev/null without.
    pub(super) input: Option<&'a CStr>,
    /// Stdout and stderr; `None` leaves them as they are.
    pub(super) output: Option<(Stream<'a>, Stream<'a>)>,
    /// One more descriptor, and where the process finds it.
    pub(super) extra: Option<(BorrowedFd<'a>, i32)>,
    /// What the process writes about itself before it does anything else, and where.
    pub(super) book: Option<(BorrowedFd<'a>, &'a BirthNote)>,
    /// Whether it lives on when the launcher dies.
    pub(super) outlives: bool,
    /// The cgroup it is born in.
    pub(super) cgroup: Option<BorrowedFd<'a>>,
    pub(super) leads: Leads,
    /// What it is kept from.
    pub(super) confine: Option<&'a Confine<'a>>,
}

/// Where a process writes to.
#[derive(Clone, Copy)]
pub(super) enum Stream<'a> {
    /// A descriptor.
    Open(BorrowedFd<'a>),
    /// The end of this file, which the process opens itself: its disk may hang. Should it not open, /dev/null.
    Log(&'a CStr),
    /// Stderr: where stdout goes.
    Same,
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

/// A process on its way to its program.
pub(super) struct Birth {
    pub(super) pid: u32,
    pub(super) pidfd: OwnedFd,
    /// The descriptor that comes to its end when the process has executed its program, or has ended.
    pub(super) told: OwnedFd,
    /// Whether `told` is a socket by which it sends descriptors of the namespaces it has made.
    pub(super) makes_namespaces: bool,
    pub(super) report: Report,
}

/// Starts processes.
pub(super) struct Executor {
    null: OwnedFd,
    /// Signals the launcher ignores or handles, which a child must not inherit.
    changed_signals: Vec<i32>,
    /// The limit of open files the launcher was started with; it has raised its own.
    files: libc::rlimit,
    nice: i32,
    /// Whether the kernel, short of memory, would rather kill others than the launcher. Units are not to inherit that.
    spared: bool,
    /// Pages nobody uses.
    reports: RefCell<Vec<Report>>,
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
        let reports = RefCell::default();
        Ok(Self { null, changed_signals: signal::changed(), files, nice, spared: is_spared(), reports })
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

    /// Makes a process and does not wait for it. Its [`Birth`] tells what becomes of it.
    pub(super) fn start(&self, command: &Command<'_>, report: Report) -> Result<Birth, Failure> {
        let pointers = |strings: &[CString]| strings.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect::<Vec<_>>();
        let (argv, envp) = (pointers(command.arguments), pointers(command.environment));
        let makes_namespaces = command.confine.is_some_and(Confine::makes_namespaces);
        let (told, tells) = way_to_tell(makes_namespaces).map_err(|fault| (SpawnStep::Pipe, fault.raw_os_error()))?;
        let kept = self.kept(command, &tells);
        let plan = Plan {
            kept: &kept,
            command,
            argv: argv.as_ptr(),
            envp: envp.as_ptr(),
            null: self.null.as_raw_fd(),
            tells: tells.as_raw_fd(),
            changed_signals: &self.changed_signals,
            files: self.files,
            nice: (command.nice != self.nice).then_some(command.nice),
            spared: self.spared,
            launcher: std::process::id(),
            report: &report,
        };
        // SAFETY: `be_born` does raw system calls only, and never returns.
        match unsafe { clone(command.cgroup) } {
            Ok(Cloned::Child { has_cgroup }) => be_born(&plan, has_cgroup),
            // The launcher's copy of `tells` is closed with this: the next child must not have it.
            Ok(Cloned::Parent(pid, pidfd)) => Ok(Birth { pid, pidfd, told, makes_namespaces, report }),
            Err(errno) => Err((if command.cgroup.is_some() { SpawnStep::Cgroup } else { SpawnStep::Clone }, errno)),
        }
    }

    /// Starts one of the daemon's own processes and waits, for [`OWN_WITHIN`] at most, until it has come to its program. After a failure nothing
    /// of it is left.
    pub(super) fn start_own(&self, command: &Command<'_>) -> Result<u32, Failure> {
        let birth = self.start(command, self.take_report()?)?;
        let mut fds = [PollFd::new(&birth.told, PollFlags::IN)];
        let ready = rustix::io::retry_on_intr(|| poll(&mut fds, Some(&OWN_WITHIN)));
        let failure = match (ready, birth.report.failure()) {
            (Ok(1..), None) => return Ok(birth.pid),
            (_, Some(failure)) => failure,
            _ => (birth.report.step(), libc::ETIMEDOUT),
        };
        // Killed, it ends soon unless it waits for something that cannot be interrupted. Then it is reaped as nobody's child.
        let _already_gone = signal::kill_pidfd(birth.pidfd.as_fd(), crate::base::exit::Signal::KILL);
        crate::os::process::wait_for_end(birth.pidfd.as_fd(), Duration::from_secs(1));
        let _reaped = crate::os::process::reap(Some(birth.pid));
        Err(failure)
    }

    /// The descriptors the child needs on its way, in ascending order.
    fn kept(&self, command: &Command<'_>, tells: &OwnedFd) -> Vec<c_int> {
        let streams = command.output.map(|(stdout, stderr)| [stdout, stderr]).into_iter().flatten();
        let streams = streams.filter_map(|stream| if let Stream::Open(fd) = stream { Some(fd) } else { None });
        let single = [command.extra.map(|(fd, _)| fd), command.book.map(|(fd, _)| fd), command.cgroup];
        let single = single.into_iter().flatten().chain([self.null.as_fd(), tells.as_fd()]);
        let mut kept: Vec<c_int> = single.chain(streams).map(|fd| fd.as_raw_fd()).collect();
        kept.extend(command.confine.into_iter().flat_map(Confine::descriptors));
        kept.sort_unstable();
        kept.dedup();
        kept
    }

    /// A page for the next process to be.
    pub(super) fn take_report(&self) -> Result<Report, Failure> {
        let Some(report) = self.reports.borrow_mut().pop() else {
            return Report::new().map_err(|fault| (SpawnStep::Clone, fault.raw_os_error().unwrap_or(libc::ENOMEM)));
        };
        report.clear();
        Ok(report)
    }

    /// Keeps the page of a process that has executed its program or ended, and so writes to it no more.
    pub(super) fn give_back(&self, report: Report) {
        let mut reports = self.reports.borrow_mut();
        if reports.len() < REPORTS_KEPT {
            reports.push(report);
        }
    }
}

/// What the child goes by.
pub(super) struct Plan<'a> {
    pub(super) command: &'a Command<'a>,
    pub(super) argv: *const *const c_char,
    pub(super) envp: *const *const c_char,
    pub(super) null: c_int,
    /// The other end of [`Birth::told`].
    pub(super) tells: c_int,
    /// The descriptors above 2 that it needs; it lets go of all others first.
    pub(super) kept: &'a [c_int],
    pub(super) changed_signals: &'a [i32],
    pub(super) files: libc::rlimit,
    pub(super) nice: Option<i32>,
    pub(super) spared: bool,
    pub(super) launcher: u32,
    pub(super) report: &'a Report,
}

/// The way by which a child tells that it has executed its program: both ends close themselves then. `with_descriptors`: a socket.
fn way_to_tell(with_descriptors: bool) -> Result<(OwnedFd, OwnedFd), Errno> {
    if with_descriptors {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        return rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None);
    }
    pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)
}

/// Whether the launcher has a negative score.
fn is_spared() -> bool {
    let mut first = [0; 1];
    let file = rustix::fs::openat(CWD, OOM_SCORE_ADJ, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    file.is_ok_and(|file| rustix::io::read(file, &mut first).is_ok()) && first == *b"-"
}
