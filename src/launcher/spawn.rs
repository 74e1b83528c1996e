//! Starting the main process of a unit.

use std::collections::btree_map::Entry;
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};

use zeroize::Zeroizing;

use super::births::Starting;
use super::book::{Book, Place, Record, Ticks};
use super::confine::Confine;
use super::disk::Disk;
use super::exec::{Command, Executor, Failure, Leads, Stream};
use super::hold::{Main, Notify, Slot};
use super::limit;
use super::namespaces::{Kind, Namespaces};
use super::serve::{Launcher, Role};
use super::succession::has_ended;
use super::survivors;
use super::wire::{LimitTarget, Output, Process, Spawn, SpawnStep, ToBrain};
use crate::os::cgroup::Cgroup;
use crate::os::{clock, process, sd_notify};

/// How much output a pipe holds while no brain reads it, where the kernel allows it, in bytes.
const PIPE_SIZE: usize = 1 << 20;

impl Launcher {
    /// Starts a main process. It answers when that has executed its program, or has failed to.
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
        let (unit, run) = (spawn.unit.clone(), spawn.run);
        if let Err((step, errno)) = self.try_spawn(spawn) {
            if let Some(slot) = self.slots.get_mut(&unit) {
                slot.close_run(&mut self.book.disk);
            }
            self.brain.send(&ToBrain::SpawnFailed { unit, run, step, errno }, &[]);
        }
    }

    fn try_spawn(&mut self, spawn: Spawn) -> Result<(), Failure> {
        let gone = (SpawnStep::Clone, libc::ESRCH);
        let slot = self.slots.get_mut(&spawn.unit).ok_or(gone)?;
        self.cgroups.renew(slot, &spawn)?;
        if let Some(limited) = limited(slot, &spawn) {
            self.brain.send(&limited, &[]);
        }
        let place = *slot.place.get_or_insert_with(|| self.book.reserve());
        if spawn.output == Output::Pipe && open_pipe(slot)? {
            // Before anything can be written into it: should we die, somebody has to have it.
            self.keeper.note(place, Some(spawn.unit.clone()));
            self.tend_keeper(clock::mono());
        }
        let joined = self.joined(&spawn)?;
        let slot = self.slots.get_mut(&spawn.unit).ok_or(gone)?;
        let pid = start(&self.executor, (&mut self.book, place), slot, &spawn, joined.as_deref());
        self.enter(&spawn.unit);
        let pid = pid?;
        self.has_spawned = true;
        self.starting.insert(spawn.unit.clone());
        self.keeper.note(place, Some(spawn.unit.clone()));
        self.children.insert(pid, Role::Main(spawn.unit.clone()));
        self.sessions.insert(pid, spawn.unit);
        Ok(())
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
    /// The namespaces that are to be entered: those that were made for the unit's run. A launcher that has taken the unit over from another one does
    /// not have them, and takes those its main process is in, if nobody has made these but a launcher: they belong to its user namespace.
    fn joined(&self, spawn: &Spawn) -> Result<Option<Arc<Namespaces>>, Failure> {
        let Some((unit, confinement)) = spawn.confinement.as_ref().and_then(|wanted| Some((wanted.join.as_ref()?, wanted))) else {
            return Ok(None);
        };
        let wanted = [(Kind::Mount, !confinement.mounts.is_empty()), (Kind::Network, confinement.private_network)];
        let wanted: Vec<Kind> = wanted.into_iter().filter(|(_, is_wanted)| *is_wanted).map(|(kind, _)| kind).collect();
        let slot = self.slots.get(unit).ok_or((SpawnStep::Join, libc::ESRCH))?;
        let main = slot.main.as_ref().ok_or((SpawnStep::Join, libc::ESRCH))?;
        let namespaces = match &slot.namespaces {
            Some(namespaces) if namespaces.have(&wanted) => Arc::clone(namespaces),
            _ => {
                let found = Namespaces::of_process(main.process.pid, &wanted);
                let found = found.map_err(|fault| (SpawnStep::Join, fault.raw_os_error().unwrap_or(libc::ESRCH)))?;
                // What was opened belongs to whoever has the number; that this was the main process is seen by its life.
                if has_ended(&main.pidfd) {
                    return Err((SpawnStep::Join, libc::ESRCH));
                }
                Arc::new(found)
            }
        };
        if namespaces.are_ours() { Ok(Some(namespaces)) } else { Err((SpawnStep::Join, libc::EPERM)) }
    }
}

/// Makes the process of a run. Returns its process id.
fn start(
    executor: &Executor,
    (book, place): (&mut Book, Place),
    slot: &mut Slot,
    spawn: &Spawn,
    joined: Option<&Namespaces>,
) -> Result<u32, Failure> {
    let no_text = |_| (SpawnStep::Exec, libc::EINVAL);
    let text = |path: &Path| CString::new(path.as_os_str().as_bytes()).map_err(no_text);
    let texts = |words: &[String]| words.iter().map(|word| CString::new(word.as_str()).map_err(no_text)).collect::<Result<Vec<_>, _>>();
    let (program, directory) = (text(&spawn.program)?, text(&spawn.directory)?);
    let input = spawn.input.as_deref().map(text).transpose()?;
    let logs = Logs::of(spawn)?;
    let (arguments, mut environment) = (texts(&spawn.arguments)?, Zeroizing::new(texts(&spawn.environment)?));
    for secret in &spawn.secrets {
        environment.push(CString::new(secret.reveal()).map_err(no_text)?);
    }
    environment.extend(CString::new(survivors::invocation(&spawn.unit, spawn.run, book.instance())).ok());
    let ready_end = open_run(slot, spawn, &mut book.disk)?;
    let report = executor.take_report()?;
    let confine = spawn.confinement.as_deref().map(|wanted| Confine::new(wanted, joined, &report)).transpose()?;
    let (started, started_wall) = (clock::mono(), clock::wall());
    let record = Record { started, started_wall, ticks: Ticks::Since(clock::ticks()), ..slot.record(&spawn.unit) };
    let note = book.birth_note(place, &record);
    let command = Command {
        program: &program,
        arguments: &arguments,
        environment: &environment,
        directory: Some(&directory),
        credentials: spawn.credentials.as_ref(),
        umask: spawn.umask,
        nice: spawn.nice,
        scheduling: Some(&spawn.scheduling),
        input: input.as_deref(),
        output: Some(logs.streams(slot, executor)),
        extra: ready_end.as_ref().map(|(write, at)| (write.as_fd(), *at)),
        book: Some((book.file(), &note)),
        outlives: true,
        cgroup: slot.cgroup.as_ref().map(Cgroup::fd),
        leads: Leads::Session,
        confine: confine.as_ref(),
    };
    let birth = executor.start(&command, report)?;
    let pid = birth.pid;
    let process = Process { pid, started, started_wall };
    let ticks = process::stat(pid).map_or(Ticks::Unknown, |stat| Ticks::At(stat.started));
    let pidfd = birth.pidfd.try_clone().map_err(|fault| (SpawnStep::Clone, fault.raw_os_error().unwrap_or(libc::EMFILE)));
    slot.main = Some(Main { process, pidfd: pidfd?, ticks });
    slot.starting = Some(Starting::new(process, birth, spawn.output.clone()));
    Ok(pid)
}

/// Opens what a run has besides its files: its notification socket, its readiness pipe. Returns the unit's end of that, and where it goes.
fn open_run(slot: &mut Slot, spawn: &Spawn, disk: &mut Disk) -> Result<Option<(OwnedFd, i32)>, Failure> {
    if let Some(path) = &spawn.notify {
        let owner = spawn.credentials.as_ref().map(|user| (user.uid, user.gid));
        let bound = path.clone();
        let socket = disk
            .call(move || sd_notify::bind(&bound, owner))
            .map_err(|fault| (SpawnStep::NotifySocket, fault.raw_os_error().unwrap_or(libc::EINVAL)))?;
        slot.notify = Some(Notify { socket, path: path.clone(), owner });
    }
    if let Some((_, write)) = slot.output.as_ref().filter(|_| spawn.output == Output::Pipe) {
        give_to(write, spawn);
    }
    let Some(at) = spawn.ready_fd else { return Ok(None) };
    let (read, write) = pipe()?;
    (slot.ready, slot.ready_at) = (Some(read), Some(at));
    Ok(Some((write, at)))
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

/// The paths of the files a unit writes to.
struct Logs {
    stdout: Option<CString>,
    stderr: Option<CString>,
    piped: bool,
}

impl Logs {
    fn of(spawn: &Spawn) -> Result<Self, Failure> {
        let text = |path: &Path| CString::new(path.as_os_str().as_bytes()).map_err(|_| (SpawnStep::Log, libc::EINVAL));
        let stdout = if let Output::File(path) = &spawn.output { Some(text(path)?) } else { None };
        Ok(Self { stdout, stderr: spawn.stderr.as_deref().map(text).transpose()?, piped: spawn.output == Output::Pipe })
    }

    /// Where stdout and stderr go.
    fn streams<'a>(&'a self, slot: &'a Slot, executor: &'a Executor) -> (Stream<'a>, Stream<'a>) {
        let stdout = match (&self.stdout, &slot.output) {
            (Some(path), _) => Stream::Log(path),
            (None, Some((_, write))) if self.piped => Stream::Open(write.as_fd()),
            (None, _) => Stream::Open(executor.null()),
        };
        (stdout, self.stderr.as_deref().map_or(Stream::Same, Stream::Log))
    }
}

/// Lets the unit open its own output anew, as /dev/stdout: the kernel asks the pipe behind it whether this user may.
fn give_to(pipe: impl AsFd, spawn: &Spawn) {
    let uid = spawn.credentials.as_ref().map_or_else(|| rustix::process::geteuid().as_raw(), |user| user.uid);
    if rustix::fs::fstat(&pipe).is_ok_and(|stat| stat.st_uid != uid) {
        // Without the right to, the unit cannot do this one thing.
        let _stays = rustix::fs::fchown(&pipe, Some(rustix::fs::Uid::from_raw(uid)), None);
    }
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
