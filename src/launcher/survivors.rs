//! What a launcher that died has left behind, found again by the book and by what processes say of themselves.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, OFlags};

use super::book::{Found, Place, Record};
use super::complain;
use super::hold::{Main, Notify, Slot};
use super::keeper::Packet;
use super::kept::Returned;
use super::options::inherited;
use super::serve::{Launcher, Role};
use super::store::{self, Stored};
use super::succession::has_ended;
use super::upgrade::Carried;
use super::wire::{Exit, Process};
use crate::base::exit::{ExitCause, Signal, Usage};
use crate::base::id::UnitId;
use crate::os::cgroup::Cgroup;
use crate::os::process::INVOCATION;
use crate::os::{clock, process, sd_notify, signal};

/// How long a look at the environment of a process may take.
const LOOK_WITHIN: Duration = Duration::from_millis(200);

/// No signal: only asks whether the process is there.
const NONE: Signal = Signal(0);

/// What the processes of a run carry in their environment. `instance` is the book's: other daemons have units of the same name.
pub(super) fn invocation(unit: &UnitId, run: u64, instance: u64) -> String {
    format!("{INVOCATION}={unit}:{run}:{instance:016x}")
}

impl Launcher {
    /// Takes over what the book tells of; after an upgrade it is `ours` as it was.
    pub(super) fn take_over(&mut self, found: Vec<(Place, Found)>, ours: bool, mut returned: Returned, mut stored: Stored) {
        for (place, (pid, mut record)) in found {
            record.carried.take_if(|_| !ours);
            let kept = returned.remove(&place.number()).or_else(|| store::returned(&mut stored, place.number(), &record));
            let kept = kept.map_or([const { None }; 4], |kept| fitting(kept, &record));
            self.inherit(place, pid, record, kept);
        }
        if !self.slots.is_empty() {
            self.cgroups.look_at = Some(clock::mono());
            self.adopt(None);
            self.find_survivors(None);
            // Some are dead and only not reaped yet.
            self.lose_foreign();
        }
        // What the one before us had not yet told, and what was opened again.
        for (unit, slot) in &self.slots {
            slot.place.into_iter().for_each(|place| self.keeper.note(place, Some(unit.clone())));
        }
    }

    /// `kept`: its process, notification socket, readiness pipe and output pipe, as the keeper had them.
    fn inherit(&mut self, place: Place, pid: Option<u32>, record: Record, kept: [Option<OwnedFd>; 4]) {
        let unit = record.unit.clone();
        let mut slot = Slot { run: record.run, exits: record.exits.iter().copied().collect(), place: Some(place), ..Slot::default() };
        let [kept_process, notify, ready, output] = kept;
        if record.carried.is_none() {
            slot.output = output.and_then(|read| for_unit(&read).ok().map(|write| (read, write)));
            slot.ready = ready;
            slot.notify = notify.zip(record.notify.clone()).map(|(socket, (path, owner))| Notify { socket, path, owner });
        }
        if let Some(pid) = pid {
            let process = Process { pid, started: record.started, started_wall: record.started_wall };
            // What is behind a descriptor that was kept is known, and how it has ended as well.
            let known = identify(pid, &record);
            let over = kept_process.as_ref().filter(|pidfd| known.is_none() && has_ended(pidfd));
            let cause = over.and_then(|pidfd| process::exit_of(pidfd.as_fd())).unwrap_or(ExitCause::Unknown);
            let is_over = over.is_some();
            let known = known.or_else(|| kept_process.filter(|_| !is_over).map(|pidfd| (pidfd, 0)));
            let watched = known.and_then(|(pidfd, parent)| {
                if parent == std::process::id() {
                    self.children.insert(pid, Role::Main(unit.clone()));
                    return Some(pidfd);
                }
                let watch = self.foreign.add(pid, pidfd.try_clone().ok()?, unit.clone(), true);
                watch.inspect_err(|fault| complain(format_args!("cannot watch process {pid} of {unit}: {fault}"))).ok()?;
                Some(pidfd)
            });
            match watched {
                Some(pidfd) => {
                    self.sessions.insert(pid, unit.clone());
                    if record.carried.is_none() {
                        reconnect(&mut slot, pid, &record);
                    }
                    slot.main = Some(Main { process, pidfd, ticks: record.ticks });
                }
                None => {
                    let (at, at_wall) = (clock::mono(), clock::wall());
                    slot.end(Exit { process, cause, usage: Usage::default(), at, at_wall });
                }
            }
        }
        if let Some(carried) = record.carried {
            resume(&mut slot, &record, carried);
        }
        slot.has_successor = record.has_successor;
        slot.output_inode = record.output;
        slot.cgroup = record.cgroup.clone().and_then(|path| Cgroup::at(path).ok());
        // It may have been killed before.
        slot.is_cgroup_spent = true;
        slot.lingers = slot.main.is_none() && slot.is_populated();
        slot.note = record.note.into();
        self.slots.insert(unit.clone(), Box::new(slot));
        self.enter(&unit);
    }

    /// The run that `pid` says it belongs to, in the environment it was executed with.
    ///
    /// A process can make whoever reads that wait, by keeping its memory locked (mmap_lock): it is nobody's then.
    pub(super) fn owner_by_environment(&self, pid: u32) -> Option<(UnitId, u64)> {
        let invocation = self.looks.borrow_mut().within(LOOK_WITHIN, move || process::variable(pid, INVOCATION))??;
        self.owner_of(&invocation)
    }

    fn owner_of(&self, invocation: &str) -> Option<(UnitId, u64)> {
        let (run, instance) = invocation.rsplit_once(':')?;
        let (unit, run) = run.rsplit_once(':')?;
        let is_ours = u64::from_str_radix(instance, 16) == Ok(self.book.instance());
        Some((unit.into(), run.parse().ok()?)).filter(|_| is_ours)
    }

    /// Looks for processes of `unit`, or of any, that are neither our children nor below one we know: the launcher that was their reaper is dead.
    pub(super) fn find_survivors(&mut self, unit: Option<&UnitId>) {
        let strangers = process::all().filter(|pid| !self.children.contains_key(pid) && !self.foreign.contains(*pid)).collect();
        let told = self.looks.get_mut().each(LOOK_WITHIN, strangers, |pid| process::variable(pid, INVOCATION));
        for (pid, invocation) in told {
            let Some((owner, run)) = self.owner_of(&invocation) else { continue };
            // A process writes into its environment what it likes. Where there are cgroups, they say whose it is.
            if self.owner_by_cgroup(pid).is_some_and(|found| found != owner) {
                continue;
            }
            let is_wanted = unit.is_none_or(|unit| *unit == owner);
            if !is_wanted || self.slots.get(&owner).is_none_or(|slot| slot.run != run) {
                continue;
            }
            // The number may be another's by now. What is behind the descriptor and lives now was it all the time since it was opened.
            let pinned = process::open(pid).ok().filter(|pidfd| {
                self.owner_by_environment(pid).as_ref() == Some(&(owner.clone(), run)) && signal::kill_pidfd(pidfd.as_fd(), NONE).is_ok()
            });
            if let Some(pidfd) = pinned
                && self.foreign.add(pid, pidfd, owner.clone(), false).is_ok()
                && let Some(slot) = self.slots.get_mut(&owner)
            {
                slot.strays += 1;
                slot.has_strayed = true;
                if let (None, Some(inode)) = (&slot.output, slot.output_inode) {
                    // Its main process is gone, but what that has written waits in the pipe, which this one has, too.
                    slot.output = reopen_pipe(pid, inode).ok();
                }
            }
        }
    }
}

/// What of a kept packet belongs to the run in the book. A pipe may serve several runs; of the others the keeper may not have heard of the last one.
fn fitting(kept: Packet, record: &Record) -> [Option<OwnedFd>; 4] {
    let [process, notify, ready, output] = kept.fds;
    let output = output.filter(|pipe| record.output.is_some() && rustix::fs::fstat(pipe).ok().map(|pipe| pipe.st_ino) == record.output);
    if kept.run == record.run { [process, notify, ready, output] } else { [None, None, None, output] }
}

/// The process of a record, if it still is that one, and its parent. (The order counts: what has the number after the descriptor was opened, and was started
/// before that, had it all the time.)
fn identify(pid: u32, record: &Record) -> Option<(OwnedFd, u32)> {
    let pidfd = process::open(pid).ok()?;
    let stat = process::stat(pid)?;
    record.ticks.matches(stat.started).then_some((pidfd, stat.parent))
}

/// Opens again what the dead launcher had open towards the process.
fn reconnect(slot: &mut Slot, pid: u32, record: &Record) {
    slot.output_inode = record.output;
    slot.ready_at = record.ready;
    let complain_of = |what: &str, fault: io::Error| complain(format_args!("cannot reconnect the {what} of {}: {fault}", record.unit));
    if let (Some(inode), None) = (record.output, &slot.output) {
        match reopen_pipe(pid, inode) {
            Ok(pipe) => slot.output = Some(pipe),
            Err(fault) => complain_of("output pipe", fault),
        }
    }
    // Without it a unit that is not ready yet is not heard to become so; that it has said so already is in the note.
    slot.ready = slot.ready.take().or_else(|| open_end(pid, record.ready?, OFlags::RDONLY | OFlags::NONBLOCK).ok());
    if let (Some((path, owner)), None) = (&record.notify, &slot.notify) {
        match sd_notify::bind(path, *owner) {
            Ok(socket) => slot.notify = Some(Notify { socket, path: path.clone(), owner: *owner }),
            Err(fault) => complain_of("notification socket", fault),
        }
    }
}

/// Takes the descriptors that came along.
fn resume(slot: &mut Slot, record: &Record, carried: Carried) {
    let take = |number| inherited(number).inspect_err(|fault| complain(format_args!("{}: {fault}", record.unit))).ok();
    slot.output = carried.output.and_then(|(read, write)| Some((take(read)?, take(write)?)));
    slot.output_inode = record.output;
    slot.ready = carried.ready.and_then(take);
    slot.ready_at = record.ready;
    let socket = carried.notify.and_then(take);
    slot.notify = record.notify.clone().and_then(|(path, owner)| socket.map(|socket| Notify { socket, path, owner }));
}

/// Both ends of the pipe `inode` that `pid` writes to. What was written into it meanwhile is still there.
fn reopen_pipe(pid: u32, inode: u64) -> io::Result<(OwnedFd, OwnedFd)> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd"))?.flatten();
    let numbers = [1, 2].into_iter().chain(entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()));
    for at in numbers {
        let Ok(read) = open_end(pid, at, OFlags::RDONLY | OFlags::NONBLOCK) else { continue };
        if rustix::fs::fstat(&read)?.st_ino == inode {
            return Ok((read, open_end(pid, at, OFlags::WRONLY)?));
        }
    }
    Err(io::Error::other("the process has closed it"))
}

/// Opens the pipe behind descriptor `at` of `pid`, and nothing else: other files may do things when they are opened.
fn open_end(pid: u32, at: i32, flags: OFlags) -> io::Result<OwnedFd> {
    let path = format!("/proc/{pid}/fd/{at}");
    let kind = FileType::from_raw_mode(rustix::fs::stat(&path)?.st_mode);
    if kind != FileType::Fifo {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    Ok(rustix::fs::openat(CWD, &path, flags | OFlags::CLOEXEC, Mode::empty())?)
}

/// The write end for a unit: open for reading, too. Should the launcher die, the unit is its own reader then: what it writes waits in the pipe
/// for the next launcher, and no SIGPIPE ends it.
pub(super) fn for_unit(write: &OwnedFd) -> io::Result<OwnedFd> {
    use std::os::fd::AsRawFd;
    let path = format!("/proc/self/fd/{}", write.as_fd().as_raw_fd());
    Ok(rustix::fs::openat(CWD, &path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?)
}
