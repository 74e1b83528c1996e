//! Going over to another program in place: the launcher executes it with the same process id, so that its children stay its children.
//!
//! What the next program has to know is in the book, whose format is versioned; descriptors go along. The new program is on trial until a
//! brain of its own has come up; if that takes too long or fails, the launcher executes the old program again, of which it keeps a descriptor,
//! whatever has become of the file.
#![expect(unsafe_code, reason = "execve(2) that leaves the signal mask alone, unlike the standard library's")]

use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::FdFlags;
use serde::{Deserialize, Serialize};

use super::complain;
use super::options::{Options, inherited};
use super::serve::Launcher;
use super::voice;
use super::wire::{ToBrain, Upgrade};
use crate::base::time::Mono;

/// How long the new program's brain may take to come up.
const UP_WITHIN: Duration = Duration::from_secs(30);

/// What the next program is told by the one before. As JSON in an argument: they are of different versions, so fields are only ever added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Handover {
    /// Where the program before was executed from, and its version.
    pub(super) from: PathBuf,
    pub(super) version: String,
    /// A descriptor it can be executed by.
    image: RawFd,
    /// Why the program before gives up: we are the one it came from.
    failed: Option<String>,
    /// The process id of the brain before.
    pub(super) brain: Option<u32>,
    /// What the launcher changed of itself and units are not to inherit.
    pub(super) umask: u32,
    pub(super) files: (u64, u64),
    /// systemd was told that the service is up.
    #[serde(default)]
    pub(super) announced: bool,
    /// Sockets that systemd listens on for us: name and number.
    #[serde(default)]
    pub(super) listeners: Vec<(String, RawFd)>,
}

impl Handover {
    /// What brains hear of it.
    pub(super) fn outcome(&self) -> Upgrade {
        Upgrade { other: self.version.clone(), failed: self.failed.clone() }
    }
}

/// A program that has just been gone over to.
pub(super) struct Trial {
    image: OwnedFd,
    from: Handover,
    /// When it has failed, if its brain is not up by then.
    pub(super) until: Mono,
}

impl Trial {
    /// A trial, unless this is the way back from one.
    pub(super) fn of(handover: &Handover, now: Mono) -> Result<Option<Self>, String> {
        let image = inherited(handover.image)?;
        Ok(handover.failed.is_none().then(|| Self { image, from: handover.clone(), until: now + UP_WITHIN }))
    }
}

/// The descriptors that go along with a unit, as numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Carried {
    pub(super) output: Option<(RawFd, RawFd)>,
    pub(super) notify: Option<RawFd>,
    pub(super) ready: Option<RawFd>,
}

impl Launcher {
    /// Goes over to `program`. Returns only if that cannot be done.
    pub(super) fn upgrade(&mut self, program: &Path) {
        let why = if self.closing.is_some() {
            "the daemon is going down".into()
        } else {
            let own = || rustix::fs::openat(CWD, "/proc/self/exe", OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
            let fault = match own() {
                Ok(image) => self.execute(program, program, &image, None),
                Err(fault) => fault.into(),
            };
            format!("cannot execute {}: {fault}", program.display())
        };
        complain(format_args!("no upgrade: {why}"));
        self.brain.send(&ToBrain::UpgradeRefused { why }, &[]);
    }

    /// The program on trial has failed: goes back to the one before. Without a trial it does nothing.
    pub(super) fn go_back(&mut self, why: &str) {
        let Some(trial) = self.trial.take() else { return };
        complain(format_args!("the upgrade has failed, going back to {}: {why}", trial.from.from.display()));
        let path = PathBuf::from(format!("/proc/self/fd/{}", trial.image.as_raw_fd()));
        let fault = self.execute(&path, &trial.from.from, &trial.image, Some(why.into()));
        complain(format_args!("cannot go back: {fault}; staying"));
    }

    /// The new program's brain is up.
    pub(super) fn pass_trial(&mut self) {
        if let Some(trial) = self.trial.take() {
            complain(format_args!("upgraded from {} to {}", trial.from.version, env!("CARGO_PKG_VERSION")));
        }
    }

    /// Ends a trial that takes too long.
    pub(super) fn judge_trial(&mut self, now: Mono) {
        if self.trial.as_ref().is_some_and(|trial| trial.until <= now) {
            self.go_back(&format!("its brain was not up within {} s", UP_WITHIN.as_secs()));
        }
    }

    /// Executes `program`, called `name`, in place of this one. Returns only the reason why not; all is as before then.
    fn execute(&mut self, program: &Path, name: &Path, image: &OwnedFd, failed: Option<String>) -> io::Error {
        let handover = Handover {
            from: std::env::args_os().next().map(PathBuf::from).unwrap_or_default(),
            version: env!("CARGO_PKG_VERSION").into(),
            image: image.as_raw_fd(),
            failed,
            brain: self.brain.pid(),
            umask: self.umask.bits(),
            files: self.executor.files(),
            announced: self.systemd.announced,
            listeners: self.listeners.iter().map(|(name, socket)| (name.clone(), socket.as_raw_fd())).collect(),
        };
        let arguments = self.options.to_argv_after(name, &serde_json::to_string(&handover).unwrap_or_default());
        self.carry(image, true);
        let _unsaid = voice::finish();
        if !self.book.settle() {
            self.carry(image, false);
            return io::Error::other("the book in the run directory cannot be written");
        }
        let fault = match (text(program.as_os_str().to_owned()), arguments.into_iter().map(text).collect::<io::Result<Vec<_>>>()) {
            (Ok(program), Ok(arguments)) => execve(&program, &arguments),
            (Err(fault), _) | (_, Err(fault)) => fault,
        };
        self.carry(image, false);
        fault
    }

    /// Lets descriptors go along with the next program, and writes their numbers into the book; or takes that back.
    fn carry(&mut self, image: &OwnedFd, along: bool) {
        let flags = if along { FdFlags::empty() } else { FdFlags::CLOEXEC };
        let set = |fd: &OwnedFd| {
            if let Err(fault) = rustix::io::fcntl_setfd(fd, flags) {
                complain(format_args!("descriptor {}: {fault}", fd.as_raw_fd()));
            }
        };
        set(image);
        self.options.lock_fd.iter().for_each(set);
        self.listeners.iter().for_each(|(_, socket)| set(socket));
        for slot in self.slots.values_mut() {
            let (output, notify) = (slot.output.as_ref(), slot.notify.as_ref().map(|notify| &notify.socket));
            output.into_iter().flat_map(|(read, write)| [read, write]).chain(notify).chain(slot.ready.as_ref()).for_each(set);
            slot.carried = along.then(|| Carried {
                output: output.map(|(read, write)| (read.as_raw_fd(), write.as_raw_fd())),
                notify: notify.map(AsRawFd::as_raw_fd),
                ready: slot.ready.as_ref().map(AsRawFd::as_raw_fd),
            });
        }
        for unit in self.slots.keys().cloned().collect::<Vec<_>>() {
            self.enter(&unit);
        }
    }
}

/// Takes the sockets that came along. One that has not come is done without: it would have been listened on anew as well.
pub(super) fn listeners(carried: Vec<(String, RawFd)>) -> Vec<(String, OwnedFd)> {
    carried.into_iter().filter_map(|(name, number)| Some((name, inherited(number).ok()?))).collect()
}

/// Goes back before there even is a launcher, with everything as it came. Returns only the reason why not.
pub(super) fn abandon(options: &Options, why: &str) -> io::Error {
    let back = || {
        let after = options.after.as_deref().and_then(|after| serde_json::from_str::<Handover>(after).ok());
        let (after, lock) = (after.ok_or(io::ErrorKind::InvalidData)?, options.lock_fd.as_ref());
        complain(format_args!("the upgrade has failed, going back to {}: {why}", after.from.display()));
        lock.map_or(Ok(()), |lock| rustix::io::fcntl_setfd(lock, FdFlags::empty()))?;
        let own = rustix::fs::openat(CWD, "/proc/self/exe", OFlags::PATH, Mode::empty())?;
        let program = text(format!("/proc/self/fd/{}", after.image).into())?;
        let handover = Handover {
            from: std::env::args_os().next().map(PathBuf::from).unwrap_or_default(),
            version: env!("CARGO_PKG_VERSION").into(),
            image: own.as_raw_fd(),
            failed: Some(why.into()),
            ..after.clone()
        };
        let arguments = options.to_argv_after(&after.from, &serde_json::to_string(&handover).unwrap_or_default());
        Err(execve(&program, &arguments.into_iter().map(text).collect::<io::Result<Vec<_>>>()?))
    };
    let never: io::Result<std::convert::Infallible> = back();
    match never {
        Err(fault) => fault,
    }
}

fn text(words: OsString) -> io::Result<CString> {
    Ok(CString::new(words.into_vec())?)
}

fn execve(program: &CString, arguments: &[CString]) -> io::Error {
    let environment: Vec<CString> = std::env::vars_os()
        .filter_map(|(mut name, value)| {
            name.push("=");
            name.push(value);
            text(name).ok()
        })
        .collect();
    let pointers = |words: &[CString]| words.iter().map(|word| word.as_ptr()).chain([std::ptr::null()]).collect::<Vec<_>>();
    let (argv, envp) = (pointers(arguments), pointers(&environment));
    // SAFETY: both lists end with null and, as the strings they point to, live until the call returns or this program is gone.
    unsafe { libc::execve(program.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
    io::Error::last_os_error()
}
