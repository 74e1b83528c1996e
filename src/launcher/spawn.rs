//! Starting the main process of a unit.

use std::collections::btree_map::Entry;
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};

use zeroize::Zeroizing;

use super::book::{Book, Place, Record, Ticks};
use super::confine::Confine;
use super::exec::{Command, Executor, Failure, Leads};
use super::hold::{Main, Notify, Slot};
use super::limit;
use super::serve::{Launcher, Role};
use super::survivors;
use super::wire::{LimitTarget, Output, Process, Spawn, SpawnStep, ToBrain};
use crate::os::cgroup::Cgroup;
use crate::os::{clock, process, sd_notify};

/// How much output a pipe holds while no brain reads it, where the kernel allows it, in bytes.
const PIPE_SIZE: usize = 1 << 20;

impl Launcher {
    /// Starts a main process and answers.
    pub(super) fn spawn(&mut self, spawn: Spawn) {
        let slot = match self.slots.entry(spawn.unit.clone()) {
            Entry::Occupied(slot) => slot.into_mut(),
            Entry::Vacant(slot) => slot.insert(Box::default()),
        };
        if !slot.is_over() {
            let busy = ToBrain::SpawnFailed { unit: spawn.unit, run: spawn.run, step: SpawnStep::Busy, errno: libc::EEXIST };
            return self.brain.send(&busy, &[]);
        }
        slot.run = spawn.run;
        (slot.is_unwanted, slot.has_successor) = (false, false);
        self.cgroups.renew(slot, &spawn);
        if let Some(limited) = limited(slot, &spawn) {
            self.brain.send(&limited, &[]);
        }
        let place = *slot.place.get_or_insert_with(|| self.book.reserve());
        let piped = if spawn.output == Output::Pipe { open_pipe(slot) } else { Ok(false) };
        if piped == Ok(true) {
            // Before anything can be written into it: should we die, somebody has to have it.
            self.keeper.note(place, Some(spawn.unit.clone()));
            self.tend_keeper(clock::mono());
        }
        let joined = self.joined(&spawn);
        let Some(slot) = self.slots.get_mut(&spawn.unit) else { return };
        let started = piped.and_then(|_| start(&self.executor, (&mut self.book, place), slot, &spawn, joined.as_ref()));
        self.enter(&spawn.unit);
        let Some(slot) = self.slots.get_mut(&spawn.unit) else { return };
        match started {
            Ok(Started { process, output_lost, missing }) => {
                self.has_spawned = true;
                self.keeper.note(place, Some(spawn.unit.clone()));
                self.children.insert(process.pid, Role::Main(spawn.unit.clone()));
                self.sessions.insert(process.pid, spawn.unit.clone());
                let (mut fds, mut descriptors) = slot.fds();
                if spawn.output != Output::Pipe && std::mem::take(&mut fds.output) {
                    // The pipe of an earlier run: the brain has it, and this run does not write to it.
                    descriptors.pop();
                }
                let cgroup = slot.cgroup.as_ref().map(|cgroup| cgroup.path().to_path_buf());
                let spawned = ToBrain::Spawned { unit: spawn.unit, run: spawn.run, process, output_lost, cgroup, missing, fds };
                self.brain.send(&spawned, &descriptors);
            }
            Err((step, errno)) => {
                slot.close_run();
                self.brain.send(&ToBrain::SpawnFailed { unit: spawn.unit, run: spawn.run, step, errno }, &[]);
            }
        }
    }
}

/// Writes the limits that come with the order, before there is a process; what is to be told of that.
fn limited(slot: &Slot, spawn: &Spawn) -> Option<ToBrain> {
    if spawn.limits.is_empty() {
        return None;
    }
    let cgroup = slot.cgroup.as_ref();
    Some(ToBrain::Limited {
        target: LimitTarget::Unit { unit: spawn.unit.clone(), group: spawn.group.clone() },
        cgroup: cgroup.map(|cgroup| cgroup.path().to_path_buf()),
        applied: cgroup.map(|cgroup| limit::write(cgroup, &spawn.limits)).unwrap_or_default(),
    })
}

impl Launcher {
    /// The main process whose namespaces are to be entered, if it is there.
    fn joined(&self, spawn: &Spawn) -> Option<OwnedFd> {
        let unit = spawn.confinement.as_ref()?.join.as_ref()?;
        self.slots.get(unit)?.main.as_ref()?.pidfd.try_clone().ok()
    }
}

fn start(
    executor: &Executor,
    (book, place): (&mut Book, Place),
    slot: &mut Slot,
    spawn: &Spawn,
    joined: Option<&OwnedFd>,
) -> Result<Started, Failure> {
    let no_text = |_| (SpawnStep::Exec, libc::EINVAL);
    let text = |path: &Path| CString::new(path.as_os_str().as_bytes()).map_err(no_text);
    let texts = |words: &[String]| words.iter().map(|word| CString::new(word.as_str()).map_err(no_text)).collect::<Result<Vec<_>, _>>();
    let (program, directory) = (text(&spawn.program)?, text(&spawn.directory)?);
    let (arguments, mut environment) = (texts(&spawn.arguments)?, Zeroizing::new(texts(&spawn.environment)?));
    for secret in &spawn.secrets {
        environment.push(CString::new(secret.reveal()).map_err(no_text)?);
    }
    environment.extend(CString::new(survivors::invocation(&spawn.unit, spawn.run, book.instance())).ok());

    if let Some(path) = &spawn.notify {
        let owner = spawn.credentials.as_ref().map(|user| (user.uid, user.gid));
        let socket =
            sd_notify::bind(path, owner).map_err(|fault| (SpawnStep::NotifySocket, fault.raw_os_error().unwrap_or(libc::EINVAL)))?;
        slot.notify = Some(Notify { socket, path: path.clone(), owner });
    }
    let mut ready_end = None;
    if let Some(at) = spawn.ready_fd {
        let (read, write) = pipe()?;
        (slot.ready, slot.ready_at) = (Some(read), Some(at));
        ready_end = Some((write, at));
    }
    let input = spawn.input.as_deref().map(open_input).transpose().map_err(|fault| (SpawnStep::Stdio, fault.raw_os_error()))?;
    let outputs = Outputs::open(slot, spawn);
    let null = executor.null();
    let stdout = match (&outputs.file, &slot.output) {
        (Some(file), _) => file.as_fd(),
        (None, Some((_, write))) if spawn.output == Output::Pipe => write.as_fd(),
        (None, _) => null,
    };
    let stderr = match &outputs.stderr {
        Some(file) => file.as_fd(),
        None if spawn.stderr.is_some() => null,
        None => stdout,
    };
    let above = spawn.ready_fd.unwrap_or(2);
    let confine = spawn.confinement.as_deref().map(|wanted| Confine::new(wanted, joined.map(AsFd::as_fd), above)).transpose()?;
    let (started, started_wall) = (clock::mono(), clock::wall());
    book.enter(place, None, &Record { started, started_wall, ticks: Ticks::Since(clock::ticks()), ..slot.record(&spawn.unit) });
    let command = Command {
        program: &program,
        arguments: &arguments,
        environment: &environment,
        directory: Some(&directory),
        credentials: spawn.credentials.as_ref(),
        umask: spawn.umask,
        nice: spawn.nice,
        scheduling: Some(&spawn.scheduling),
        input: input.as_ref().map(AsFd::as_fd),
        output: Some((stdout, stderr)),
        extra: ready_end.as_ref().map(|(write, at)| (write.as_fd(), *at)),
        book: Some((book.file(), place.offset())),
        outlives: true,
        cgroup: slot.cgroup.as_ref().map(Cgroup::fd),
        leads: Leads::Session,
        confine: confine.as_ref(),
    };
    let (pid, pidfd) = executor.start(&command)?;
    let process = Process { pid, started, started_wall };
    let ticks = process::stat(pid).map_or(Ticks::Unknown, |stat| Ticks::At(stat.started));
    slot.main = Some(Main { process, pidfd, ticks });
    Ok(Started { process, output_lost: outputs.lost, missing: confine.map(|confine| confine.missing()).unwrap_or_default() })
}

/// A process that was started.
struct Started {
    process: Process,
    output_lost: Option<i32>,
    missing: Vec<(SpawnStep, i32)>,
}

/// Sees to it that there is a pipe for the output; whether it is a new one.
fn open_pipe(slot: &mut Slot) -> Result<bool, Failure> {
    if slot.output.is_some() {
        return Ok(false);
    }
    let (read, write) = pipe()?;
    // Without it the pipe is only smaller.
    let _size = fcntl_setpipe_size(&write, PIPE_SIZE);
    let for_unit = survivors::for_unit(&write).map_err(|fault| (SpawnStep::Pipe, fault.raw_os_error().unwrap_or(libc::EINVAL)))?;
    slot.output_inode = rustix::fs::fstat(&read).ok().map(|pipe| pipe.st_ino);
    slot.output = Some((read, for_unit));
    Ok(true)
}

/// The files a unit writes to.
struct Outputs {
    /// Its stdout, if that is a file.
    file: Option<OwnedFd>,
    /// Its stderr, if that is a file of its own.
    stderr: Option<OwnedFd>,
    /// Why one of them could not be opened: an errno.
    lost: Option<i32>,
}

impl Outputs {
    fn open(slot: &Slot, spawn: &Spawn) -> Self {
        let mut lost = None;
        let mut open = |path: &Path| match open_log(path) {
            Ok(log) => {
                give_to(&log, spawn);
                Some(log)
            }
            Err(fault) => {
                lost = Some(fault.raw_os_error());
                None
            }
        };
        let stderr = spawn.stderr.as_deref().and_then(&mut open);
        let file = if let Output::File(path) = &spawn.output { open(path) } else { None };
        if let Some((_, write)) = slot.output.as_ref().filter(|_| spawn.output == Output::Pipe) {
            give_to(write, spawn);
        }
        Self { file, stderr, lost }
    }
}

/// Lets the unit open its own output anew, as /dev/stdout: the kernel asks the file behind it whether this user may.
fn give_to(output: impl AsFd, spawn: &Spawn) {
    let uid = spawn.credentials.as_ref().map_or_else(|| rustix::process::geteuid().as_raw(), |user| user.uid);
    let is_own = |stat: &rustix::fs::Stat| matches!(FileType::from_raw_mode(stat.st_mode), FileType::RegularFile | FileType::Fifo);
    if rustix::fs::fstat(&output).is_ok_and(|stat| stat.st_uid != uid && is_own(&stat)) {
        // Without the right to, the unit cannot do this one thing.
        let _stays = rustix::fs::fchown(&output, Some(rustix::fs::Uid::from_raw(uid)), None);
    }
}

/// Opens what a program is to read, without waiting.
fn open_input(path: &Path) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NOCTTY | OFlags::NONBLOCK, Mode::empty())
}

/// Opens without waiting: the path may be that of a named pipe nobody reads.
fn open_log(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NOCTTY;
    let log = rustix::fs::openat(CWD, path, flags | OFlags::NONBLOCK, Mode::RUSR | Mode::WUSR | Mode::RGRP)?;
    rustix::fs::fcntl_setfl(&log, OFlags::APPEND)?;
    Ok(log)
}

/// A pipe whose read end does not block; the other end is a unit's, and units expect that it does.
fn pipe() -> Result<(OwnedFd, OwnedFd), Failure> {
    let make = || {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        rustix::fs::fcntl_setfl(&read, OFlags::NONBLOCK)?;
        Ok((read, write))
    };
    make().map_err(|fault: Errno| (SpawnStep::Pipe, fault.raw_os_error()))
}
