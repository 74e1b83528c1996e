//! The launcher's side of the keeper.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with, sockopt};

use super::book::Place;
use super::complain;
use super::disk::Disk;
use super::exec::{Command, Executor, Leads, Stream};
use super::keeper::{Operation, Packet, SOCKET_AT, in_order, receive, send};
use super::serve::{Launcher, Role};
use super::store::Store;
use super::wire::ToBrain;
use crate::base::id::UnitId;
use crate::base::time::Mono;
use crate::os::process;

/// How long a keeper may take to give back what it holds.
const RETURN_WITHIN: Duration = Duration::from_secs(2);

/// How soon another one is started after one has died, and how late at most, should they all die soon.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// One that has lived this long is no reason to wait.
const SETTLED: Duration = Duration::from_secs(60);

/// How long it may take to go.
const GONE_WITHIN: Duration = Duration::from_millis(500);

/// What was kept, by place.
pub(super) type Returned = BTreeMap<u32, Packet>;

/// The keeper, as the launcher sees it.
pub(super) struct Keeper {
    path: PathBuf,
    socket: Option<OwnedFd>,
    pid: Option<u32>,
    /// When one is to be started.
    pub(super) start_at: Option<Mono>,
    /// When the latest one was started, and how long the next one has to wait.
    started: Mono,
    backoff: Duration,
    /// Places it has to be told of; `None`: there is nothing there any more.
    untold: BTreeMap<u32, Option<UnitId>>,
    /// What systemd holds besides.
    pub(super) store: Option<Store>,
}

impl Keeper {
    /// One that a launcher before us has left, with what it holds; otherwise one is to be started.
    pub(super) fn find(run_directory: &Path, store: Option<Store>) -> (Self, Returned) {
        let path = run_directory.join("keeper");
        let (started, backoff, untold) = (Mono(0), AGAIN.0, BTreeMap::new());
        let mut keeper = Self { path, socket: None, pid: None, start_at: None, started, backoff, untold, store };
        match keeper.take_back() {
            Ok(returned) => (keeper, returned),
            Err(_) => {
                keeper.socket = None;
                keeper.start_at = Some(Mono(0));
                (keeper, Returned::new())
            }
        }
    }

    fn take_back(&mut self) -> io::Result<Returned> {
        let socket = self.connect()?;
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(RETURN_WITHIN))?;
        send(&socket, Operation::Return, 0, 0, &[None; 4], SendFlags::DONTWAIT)?;
        let mut returned = Returned::new();
        loop {
            let packet = receive(&socket)?.ok_or(io::ErrorKind::InvalidData)?;
            match packet.operation {
                Operation::Keep => drop(returned.insert(packet.place, packet)),
                _ => {
                    self.pid = Some(packet.place);
                    self.socket = Some(socket);
                    return Ok(returned);
                }
            }
        }
    }

    /// One that does not take connections any more is none: nobody waits for it.
    fn connect(&self) -> io::Result<OwnedFd> {
        let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
        connect(&socket, &SocketAddrUnix::new(&self.path)?)?;
        rustix::fs::fcntl_setfl(&socket, OFlags::empty())?;
        Ok(socket)
    }

    /// Its process, our child or not.
    pub(super) const fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// Its process, if that is our child.
    pub(super) fn child(&self) -> Option<u32> {
        self.pid.filter(|&pid| process::stat(pid).is_some_and(|stat| stat.parent == std::process::id()))
    }

    /// It has to be told how the unit stands, and systemd as well.
    pub(super) fn note(&mut self, place: Place, unit: Option<UnitId>) {
        if let Some(store) = &mut self.store {
            store.note(place.number(), unit.clone());
        }
        self.untold.insert(place.number(), unit);
    }

    /// The socket, and whether to wait until it takes more.
    pub(super) fn socket(&self) -> Option<(BorrowedFd<'_>, bool)> {
        self.socket.as_ref().map(|socket| (socket.as_fd(), !self.untold.is_empty()))
    }

    /// Starts it.
    fn start(&mut self, executor: &Executor, disk: &mut Disk, umask: u32, cgroup: Option<BorrowedFd<'_>>) -> io::Result<u32> {
        let path = self.path.clone();
        let listener = disk.call(move || listener(&path))?;
        let path = CString::new(self.path.as_os_str().as_bytes())?;
        let command = Command {
            program: c"/proc/self/exe",
            arguments: &[c"ms-supervisor".into(), c"keep".into(), path],
            environment: &[],
            directory: None,
            credentials: None,
            umask,
            nice: executor.nice(),
            scheduling: None,
            // Not the launcher's own: who waits for that to end would wait for the keeper.
            input: None,
            output: Some((Stream::Open(executor.null()), Stream::Same)),
            extra: Some((listener.as_fd(), SOCKET_AT)),
            book: None,
            outlives: true,
            cgroup,
            leads: Leads::Group,
            confine: None,
        };
        let pid = executor.start_own(&command).map_err(|(_, errno)| io::Error::from_raw_os_error(errno))?;
        self.pid = Some(pid);
        self.socket = Some(self.connect()?);
        Ok(pid)
    }

    /// It is to go.
    pub(super) fn quit(&mut self, disk: &mut Disk) {
        let pidfd = self.child().and_then(|pid| process::open(pid).ok());
        if let Some(socket) = self.socket.take() {
            let _gone = send(&socket, Operation::Quit, 0, 0, &[None; 4], SendFlags::DONTWAIT);
        }
        disk.remove(self.path.clone());
        if let Some(pidfd) = pidfd {
            process::wait_for_end(pidfd.as_fd(), GONE_WITHIN);
        }
        self.start_at = None;
    }
}

/// The socket of a keeper to be.
fn listener(path: &Path) -> io::Result<OwnedFd> {
    match rustix::fs::unlink(path) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno.into()),
    }
    let listener = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    bind(&listener, &SocketAddrUnix::new(path)?)?;
    rustix::fs::chmodat(CWD, path, Mode::RUSR | Mode::WUSR, rustix::fs::AtFlags::empty())?;
    listen(&listener, 1)?;
    Ok(listener)
}

impl Launcher {
    /// Starts a keeper if it is time to, and tells it what it does not know.
    pub(super) fn tend_keeper(&mut self, now: Mono) {
        if self.closing.is_none() && self.keeper.start_at.is_some_and(|at| at <= now) {
            (self.keeper.start_at, self.keeper.started) = (None, now);
            match self.keeper.start(&self.executor, &mut self.book.disk, self.umask.bits(), self.cgroups.home()) {
                Ok(pid) => {
                    self.children.insert(pid, Role::Keeper);
                    self.tell_of_keeper();
                    for (unit, slot) in &self.slots {
                        slot.place.into_iter().for_each(|place| self.keeper.note(place, Some(unit.clone())));
                    }
                }
                Err(fault) => {
                    complain(format_args!("cannot start the keeper: {fault}; should I die, some exits will be unknown"));
                    self.lose_keeper(now);
                }
            }
        }
        while let Some(socket) = &self.keeper.socket
            && let Some(entry) = self.keeper.untold.first_entry()
        {
            let place = *entry.key();
            let told = match entry.get().as_ref().and_then(|unit| self.slots.get(unit)) {
                Some(slot) => {
                    let (fds, there) = slot.fds();
                    send(socket, Operation::Keep, place, slot.run, &in_order(fds, &there), SendFlags::DONTWAIT)
                }
                None => send(socket, Operation::Forget, place, 0, &[None; 4], SendFlags::DONTWAIT),
            };
            match told {
                Ok(()) => drop(entry.remove()),
                Err(Errno::AGAIN) => return,
                Err(_) => return self.lose_keeper(now),
            }
        }
    }

    /// There is no keeper any more; there will be another one.
    fn lose_keeper(&mut self, now: Mono) {
        let keeper = &mut self.keeper;
        (keeper.socket, keeper.pid) = (None, None);
        keeper.untold.clear();
        keeper.backoff = if now.since(keeper.started) >= SETTLED { AGAIN.0 } else { (keeper.backoff * 2).min(AGAIN.1) };
        keeper.start_at = Some(now + keeper.backoff);
        self.tell_of_keeper();
    }

    /// Says who the keeper is, or that there is none.
    pub(super) fn tell_of_keeper(&mut self) {
        self.brain.send(&ToBrain::Keeper { pid: self.keeper.pid }, &[]);
    }

    /// The keeper has ended.
    pub(super) fn bury_keeper(&mut self, now: Mono) {
        // Its end is told twice, if it is our child.
        if self.closing.is_none() && self.keeper.socket.is_some() {
            complain(format_args!("the keeper has ended; starting another one"));
            self.lose_keeper(now);
        }
    }
}
