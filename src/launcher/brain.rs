//! The brain as the launcher sees it: a process that is started again when it dies, and a socket to it.

use std::collections::VecDeque;
use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::codec::{self, Decoder};
use super::complain;
use super::exec::{Command, Executor, Failure, Leads};
use super::wire::{ALIVE_WITHIN, BrainEnd, SpawnStep, ToBrain, UP_WITHIN};
use crate::base::exit::{ExitCause, Signal};
use crate::base::time::Mono;
use crate::os::signal;

/// What is between systemd and the launcher, and no matter of the brain's.
const BETWEEN: [&str; 9] = [
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "FDSTORE",
    "LISTEN_PID",
    "LISTEN_PIDFDID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "MS_LAUNCHER_FD",
];

/// Where the brain finds its socket.
const SOCKET_AT: i32 = 3;

/// A brain that has lived this long is started again at once.
const SETTLED: Duration = Duration::from_secs(10);

/// The same in signs of life, of which there is one in a second.
const SETTLED_BEATS: u32 = 10;

/// The first and the longest wait before a brain that keeps dying is started again.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// After so many deaths in a row the launcher is in safe mode: units are kept, and the brain is tried seldom.
const SAFE_AFTER: u32 = 5;

/// The first and the longest wait in safe mode.
const SAFE_BACKOFF: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(60));

/// How long a brain that was asked to end may take.
const GRACE: Duration = Duration::from_secs(5);

/// Above this many bytes that the brain does not take, nothing is read from it, so that answers cannot pile up.
const OUT_MAX: usize = 1 << 20;

/// The brain.
pub(super) struct Brain {
    argv: Vec<CString>,
    /// It is the same program as the launcher.
    is_own_program: bool,
    environment: Vec<CString>,
    pid: Option<u32>,
    socket: Option<OwnedFd>,
    decoder: Decoder,
    outbox: Outbox,
    /// How many were started.
    pub(super) starts: u32,
    has_run: bool,
    started: Mono,
    /// How the last one ended.
    pub(super) last: Option<BrainEnd>,
    backoff: Duration,
    /// It is that of the program before, and about to end.
    is_predecessor: bool,
    /// It was ended because it hung, or talked nonsense.
    is_condemned: bool,
    restart_at: Option<Mono>,
    /// When it last said that it is alive, if ever.
    alive: Option<Mono>,
    /// How often it has said so.
    beats: u32,
    /// When its patience is over.
    kill_at: Option<Mono>,
    /// Since when it is there although it was killed.
    undead_since: Option<Mono>,
}

impl Brain {
    /// A brain to be started at once. It inherits the launcher's environment without what is between systemd and the launcher.
    pub(super) fn new(argv: Vec<OsString>) -> io::Result<Self> {
        let inherited = std::env::vars_os().filter(|(name, _)| BETWEEN.iter().all(|between| name != between));
        let mut environment = Vec::new();
        for (mut entry, value) in inherited {
            entry.push("=");
            entry.push(value);
            environment.push(CString::new(entry.into_vec())?);
        }
        environment.push(CString::new(format!("MS_LAUNCHER_FD={SOCKET_AT}"))?);
        let is_own_program = argv.first() == std::env::args_os().next().as_ref();
        let argv = argv.into_iter().map(|word| CString::new(word.into_vec())).collect::<Result<_, _>>()?;
        Ok(Self {
            is_own_program,
            argv,
            environment,
            pid: None,
            socket: None,
            decoder: Decoder::default(),
            outbox: Outbox::default(),
            starts: 0,
            has_run: false,
            started: Mono(0),
            last: None,
            backoff: Duration::ZERO,
            is_predecessor: false,
            is_condemned: false,
            restart_at: Some(Mono(0)),
            alive: None,
            beats: 0,
            kill_at: None,
            undead_since: None,
        })
    }

    /// First waits for the end of the brain of the program before.
    pub(super) fn succeed(&mut self, predecessor: u32, now: Mono) {
        (self.pid, self.is_predecessor, self.has_run) = (Some(predecessor), true, true);
        (self.restart_at, self.kill_at) = (None, Some(now + GRACE));
    }

    /// Takes note of the end of that one.
    pub(super) fn is_over(&mut self, now: Mono) -> bool {
        let was_predecessor = std::mem::take(&mut self.is_predecessor);
        if was_predecessor {
            (self.pid, self.kill_at, self.restart_at) = (None, None, Some(now));
        }
        was_predecessor
    }

    /// Its process id, while it is there.
    pub(super) fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// Starts it if it is time to; returns its process id if it was.
    pub(super) fn start_if_due(&mut self, executor: &Executor, umask: u32, now: Mono) -> Option<u32> {
        if self.restart_at.is_none_or(|at| at > now) {
            return None;
        }
        (self.restart_at, self.kill_at, self.alive, self.beats, self.is_condemned) = (None, None, None, 0, false);
        self.starts += 1;
        self.started = now;
        self.is_predecessor = false;
        match self.start(executor, umask) {
            Ok(pid) => (self.pid, self.has_run) = (Some(pid), true),
            Err((step, errno)) => {
                complain(format_args!("cannot start the brain: {step:?}: {}", io::Error::from_raw_os_error(errno)));
                self.ended(ExitCause::Code(127), now);
            }
        }
        self.pid
    }

    fn start(&mut self, executor: &Executor, umask: u32) -> Result<u32, Failure> {
        let (ours, theirs) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .map_err(|fault| (SpawnStep::Stdio, fault.raw_os_error()))?;
        let named = self.argv.first().ok_or((SpawnStep::Exec, libc::EINVAL))?;
        let command = Command {
            // The very image of the launcher, whatever has become of the file since: they have to be of the same version.
            program: if self.is_own_program { c"/proc/self/exe" } else { named },
            arguments: &self.argv,
            environment: &self.environment,
            directory: None,
            credentials: None,
            umask,
            nice: executor.nice(),
            scheduling: None,
            input: None,
            output: None,
            extra: Some((theirs.as_fd(), SOCKET_AT)),
            book: None,
            outlives: false,
            cgroup: None,
            leads: Leads::Group,
            confine: None,
        };
        let pid = executor.start_own(&command)?;
        self.socket = Some(ours);
        Ok(pid)
    }

    /// Takes note of its death, and decides when the next one is started.
    pub(super) fn ended(&mut self, cause: ExitCause, now: Mono) -> BrainEnd {
        self.disconnect();
        (self.kill_at, self.undead_since) = (None, None);
        let lived = now.since(self.started);
        let condemned = std::mem::take(&mut self.is_condemned);
        // One that had come up and was then killed from outside is not to blame.
        let killed = self.alive.is_some() && !condemned && matches!(cause, ExitCause::Signal { signal: Signal::KILL, .. });
        let in_a_row = if killed || lived >= SETTLED { 0 } else { self.deaths() + 1 };
        let (first, longest) = if in_a_row >= SAFE_AFTER { SAFE_BACKOFF } else { BACKOFF };
        self.backoff = if in_a_row == 0 { Duration::ZERO } else { (self.backoff * 2).clamp(first, longest) };
        self.restart_at = Some(now + self.backoff);
        let end = BrainEnd { pid: self.pid.take().unwrap_or_default(), cause, lived, condemned, in_a_row };
        self.last = Some(end);
        end
    }

    /// How many have died in a row before they had settled.
    fn deaths(&self) -> u32 {
        self.last.map_or(0, |last| last.in_a_row)
    }

    /// When brains keep dying: how long until the next one is tried.
    pub(super) fn safe_mode(&self) -> Option<Duration> {
        (self.deaths() >= SAFE_AFTER).then_some(self.backoff)
    }

    /// No other brain is wanted after this one.
    pub(super) fn retire(&mut self) {
        self.restart_at = None;
    }

    /// Not even the first one could be executed.
    pub(super) fn has_never_run(&self) -> bool {
        !self.has_run
    }

    pub(super) fn is_running(&self) -> bool {
        self.pid.is_some()
    }

    /// The socket, and whether to wait until it takes more.
    pub(super) fn socket(&self) -> Option<(BorrowedFd<'_>, bool, bool)> {
        let waiting = self.outbox.size;
        self.socket.as_ref().map(|socket| (socket.as_fd(), waiting <= OUT_MAX, waiting > 0))
    }

    pub(super) fn is_connected(&self) -> bool {
        self.socket.is_some()
    }

    /// Closes the socket: a brain that still runs is to end, and is killed if it does not soon.
    pub(super) fn disconnect(&mut self) {
        self.socket = None;
        self.decoder = Decoder::default();
        self.outbox = Outbox::default();
    }

    /// Asks it to end; kills it if it does not.
    pub(super) fn end(&mut self, now: Mono) {
        self.disconnect();
        self.kill_at.get_or_insert(now + GRACE);
    }

    /// Has it write down what it is about and die: it hangs or talks nonsense. Kills it if it does not.
    pub(super) fn abort(&mut self, now: Mono) {
        self.is_condemned = true;
        self.end(now);
        self.signal(Signal(libc::SIGABRT));
        // One that somebody has stopped could not hear it.
        self.signal(Signal(libc::SIGCONT));
    }

    /// Kills it.
    pub(super) fn kill(&mut self) {
        self.disconnect();
        self.signal(Signal::KILL);
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid {
            // It is our child and not reaped. A failure means that it is about to be.
            let _ending = signal::kill_child(pid, signal);
        }
    }

    /// It has said that it is alive.
    pub(super) fn hear_alive(&mut self, now: Mono) {
        self.alive = Some(now);
        self.beats = self.beats.saturating_add(1);
    }

    /// Whether this one has said so.
    pub(super) fn is_alive(&self) -> bool {
        self.alive.is_some()
    }

    /// Whether it has just settled down.
    pub(super) const fn has_settled(&self) -> bool {
        self.beats == SETTLED_BEATS
    }

    /// Since when it has said nothing, if it is there to say anything.
    pub(super) fn silent_since(&self) -> Option<Mono> {
        self.is_connected().then(|| self.alive.unwrap_or(self.started))
    }

    fn hangs_at(&self) -> Option<Mono> {
        let patience = self.alive.map_or(self.started + UP_WITHIN, |alive| alive + ALIVE_WITHIN);
        self.is_connected().then_some(patience)
    }

    pub(super) fn deadline(&self) -> Option<Mono> {
        [self.restart_at, self.kill_at, self.hangs_at()].into_iter().flatten().min()
    }

    /// Ends a brain that hangs, and one that does not end.
    pub(super) fn tick(&mut self, now: Mono) {
        if self.hangs_at().is_some_and(|at| at <= now) {
            let silent = now.since(self.alive.unwrap_or(self.started));
            complain(format_args!("the brain hangs: it has said nothing for {} s", silent.as_secs()));
            self.abort(now);
        }
        if self.kill_at.is_some_and(|at| at <= now) {
            self.kill_at = Some(now + GRACE);
            self.undead_since.get_or_insert(now);
            self.signal(Signal::KILL);
        }
    }

    /// Its process id, if it was killed some time ago and is there all the same.
    pub(super) fn undead(&self) -> Option<u32> {
        self.pid.filter(|_| self.undead_since.is_some())
    }

    /// Whether there is one, or another one can be expected: false when one that was killed does not go, so that none can follow.
    pub(super) fn is_well(&self, now: Mono) -> bool {
        self.undead_since.is_none_or(|since| now.since(since) < GRACE)
    }

    /// Sends a message with its descriptors, or keeps it until the socket takes more. Without a brain it is dropped: the next one
    /// hears how things stand.
    pub(super) fn send(&mut self, message: &ToBrain, fds: &[BorrowedFd<'_>]) {
        let Some(socket) = &self.socket else { return };
        if let Err(fault) = self.outbox.push(socket.as_fd(), message, fds) {
            complain(format_args!("cannot speak to the brain: {fault}"));
        }
    }

    /// Sends what was kept.
    pub(super) fn flush(&mut self) {
        let Some(socket) = &self.socket else { return };
        // A brain that is gone is dealt with when it is reaped.
        let _gone = self.outbox.flush(socket.as_fd());
    }

    /// Reads once; returns how many bytes came, 0 at the end of the stream.
    pub(super) fn read(&mut self) -> io::Result<usize> {
        let Some(socket) = &self.socket else { return Ok(0) };
        let room = self.decoder.room();
        Ok(rustix::net::recv(socket, rustix::buffer::spare_capacity(room), rustix::net::RecvFlags::DONTWAIT)?.0)
    }

    /// The next message of what was read.
    pub(super) fn next(&mut self) -> Result<Option<super::wire::ToLauncher>, codec::Fault> {
        self.decoder.next()
    }
}

/// Frames that wait for the brain to take them.
#[derive(Default)]
struct Outbox {
    pieces: VecDeque<Piece>,
    /// Bytes in all pieces.
    size: usize,
}

/// Bytes, and the descriptors that go with the first of them.
struct Piece {
    bytes: Vec<u8>,
    sent: usize,
    fds: Vec<OwnedFd>,
}

impl Outbox {
    /// Frames without descriptors wait for [`Outbox::flush`], so that many go at once; one with descriptors goes now if it can.
    fn push(&mut self, socket: BorrowedFd<'_>, message: &ToBrain, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        if fds.is_empty() {
            let bytes = match self.pieces.back_mut() {
                Some(last) => &mut last.bytes,
                None => &mut self.pieces.push_back_mut(Piece { bytes: Vec::new(), sent: 0, fds: Vec::new() }).bytes,
            };
            let before = bytes.len();
            codec::encode(message, bytes)?;
            self.size += bytes.len() - before;
            return Ok(());
        }
        self.flush(socket)?;
        let mut bytes = Vec::new();
        codec::encode(message, &mut bytes)?;
        let sent = if self.pieces.is_empty() { would_block_is_nothing(codec::send(socket, &bytes, fds))? } else { 0 };
        if sent < bytes.len() {
            let fds = if sent == 0 { fds.iter().map(|fd| fd.try_clone_to_owned()).collect::<Result<_, _>>()? } else { Vec::new() };
            self.size += bytes.len() - sent;
            self.pieces.push_back(Piece { bytes, sent, fds });
        }
        Ok(())
    }

    fn flush(&mut self, socket: BorrowedFd<'_>) -> io::Result<()> {
        while let Some(piece) = self.pieces.front_mut() {
            let fds: Vec<_> = piece.fds.iter().map(AsFd::as_fd).collect();
            let rest = piece.bytes.get(piece.sent..).unwrap_or_default();
            let sent = if rest.is_empty() { 0 } else { would_block_is_nothing(codec::send(socket, rest, &fds))? };
            if sent > 0 {
                piece.fds.clear();
            }
            piece.sent += sent;
            self.size -= sent;
            if piece.sent < piece.bytes.len() {
                return Ok(());
            }
            self.pieces.pop_front();
        }
        Ok(())
    }
}

fn would_block_is_nothing(sent: io::Result<usize>) -> io::Result<usize> {
    match sent {
        Err(fault) if matches!(fault.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(0),
        sent => sent,
    }
}
