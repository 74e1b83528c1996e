//! The launcher's loop: it sleeps until a signal, the brain or a clock wants something.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::Mode;

use super::aside::Aside;
use super::book::{Book, Found, Place};
use super::brain::Brain;
use super::cgroup::Cgroups;
use super::closing::Closing;
use super::codec::Fault;
use super::complain;
use super::exec::Executor;
use super::foreign::Foreign;
use super::hold::Slot;
use super::kept::{Keeper, Returned};
use super::options::Options;
use super::passed::{self, Passed};
use super::spill::Spilling;
use super::store::{Store, Stored};
use super::systemd::Systemd;
use super::tree::Killing;
use super::turn::Turns;
use super::upgrade::{Handover, Trial, listeners};
use super::wire::{ToBrain, ToLauncher, Upgrade};
use crate::base::exit::{ExitCause, Signal};
use crate::base::id::UnitId;
use crate::base::time::Mono;
use crate::os::clock;
use crate::os::process::{self, Orphans};
use crate::os::signal::SignalFd;

/// Signals that are read as data.
const TAKEN: [i32; 5] = [libc::SIGCHLD, libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT];

/// Signals that keep their deadly effect. All others are blocked: a launcher that is stopped or dies by them helps nobody.
const OPEN: [i32; 7] = [libc::SIGABRT, libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGTRAP, libc::SIGSYS];

/// So many requests to end, and the launcher kills everything itself; without a brain to ask, one less.
const QUITS: u32 = 3;

/// Takes the signals the launcher reads, for this thread and those it starts.
pub(super) fn take_signals() -> io::Result<SignalFd> {
    SignalFd::new(&TAKEN, &OPEN)
}

/// What a child of the launcher is.
pub(super) enum Role {
    Brain,
    Keeper,
    Main(UnitId),
    /// An orphan, of a unit or of nobody we know.
    Stray(Option<UnitId>),
}

impl Role {
    pub(super) const fn unit(&self) -> Option<&UnitId> {
        match self {
            Self::Main(unit) | Self::Stray(Some(unit)) => Some(unit),
            Self::Brain | Self::Keeper | Self::Stray(None) => None,
        }
    }

    pub(super) fn stray_of(&self) -> Option<&UnitId> {
        if let Self::Stray(owner) = self { owner.as_ref() } else { None }
    }
}

/// Why the launcher has woken up.
struct Woken {
    /// There are signals.
    signalled: bool,
    /// The brain has spoken.
    spoken: bool,
    keeper_gone: bool,
    /// Units whose process on its way has something to say.
    born: Vec<UnitId>,
}

/// Everything the launcher knows.
pub(super) struct Launcher {
    pub(super) executor: Executor,
    pub(super) brain: Brain,
    /// Boxed: the nodes of the tree are half empty, and a slot is large.
    pub(super) slots: BTreeMap<UnitId, Box<Slot>>,
    /// Units whose main process is on its way to its program.
    pub(super) starting: BTreeSet<UnitId>,
    /// Every child by its process id, which is its own until it is reaped.
    pub(super) children: BTreeMap<u32, Role>,
    /// Processes of units that are not our children.
    pub(super) foreign: Foreign,
    pub(super) book: Book,
    pub(super) cgroups: Cgroups,
    pub(super) keeper: Keeper,
    /// There was a launcher before us that has left its units.
    pub(super) inherited: bool,
    /// The sessions of units. A session's number is not given to another while a process is in it.
    pub(super) sessions: BTreeMap<u32, UnitId>,
    pub(super) own_session: u32,
    pub(super) orphans: Orphans,
    /// The list of orphans has been read since the launcher last slept.
    pub(super) has_looked: bool,
    /// Room for that list.
    pub(super) pids: Vec<u32>,
    pub(super) killing: Killing,
    turns: Turns,
    /// Looks at what processes have in their memory.
    pub(super) looks: RefCell<Aside>,
    pub(super) spilling: Spilling,
    pub(super) closing: Option<Closing>,
    /// It ends now, and the next launcher finds everything in the book.
    pub(super) leaves: bool,
    /// There were more dead children than are reaped at once.
    pub(super) more_to_reap: bool,
    /// Some unit has been started, by us or by a launcher before us.
    pub(super) has_spawned: bool,
    signals: SignalFd,
    pub(super) systemd: Systemd,
    /// Sockets that systemd listens on for us, by name.
    pub(super) listeners: Vec<(String, OwnedFd)>,
    pub(super) options: Arc<Options>,
    /// The program has been gone over to, or back to.
    pub(super) upgraded: Option<Upgrade>,
    /// It may still have to go back.
    pub(super) trial: Option<Trial>,
    pub(super) umask: Mode,
    /// The last request to end, and how many there were.
    quit: Option<Signal>,
    quits: u32,
    /// A hang-up no brain has heard of.
    hung_up: bool,
}

impl Launcher {
    pub(super) fn new(options: Arc<Options>, signals: SignalFd) -> Result<Self, String> {
        let cannot = |what: &'static str| move |fault: io::Error| format!("cannot {what}: {fault}");
        let own = rustix::process::getpid();
        rustix::process::set_child_subreaper(Some(own)).map_err(io::Error::from).map_err(cannot("become child subreaper"))?;
        let after: Option<Handover> = match &options.after {
            Some(after) => {
                Some(serde_json::from_str(after).map_err(|fault| format!("cannot read what the launcher before has left: {fault}"))?)
            }
            None => None,
        };
        let directory = &options.run_directory;
        std::os::unix::fs::DirBuilderExt::mode(std::fs::DirBuilder::new().recursive(true), 0o700)
            .create(directory)
            .map_err(|fault| format!("cannot make {}: {fault}", directory.display()))?;
        let (book, found) = Book::open(directory)?;
        let mut passed = if after.is_none() { passed::take() } else { Passed::default() };
        let (keeper, returned) = Keeper::find(directory, Store::offered(&passed.stored));
        let ours = [Some(std::process::id()), keeper.pid(), after.as_ref().and_then(|after| after.brain)];
        let ours: Vec<u32> = ours.into_iter().flatten().collect();
        let mut launcher = Self {
            executor: Executor::new(after.as_ref().map(|after| after.files)).map_err(cannot("prepare to start processes"))?,
            brain: Brain::new(options.brain.clone()).map_err(cannot("prepare the brain"))?,
            slots: BTreeMap::new(),
            starting: BTreeSet::new(),
            children: BTreeMap::new(),
            foreign: Foreign::new().map_err(cannot("watch processes"))?,
            cgroups: Cgroups::new(book.instance(), &ours),
            keeper,
            book,
            inherited: !found.is_empty(),
            sessions: BTreeMap::new(),
            own_session: process::stat(std::process::id()).map_or(0, |own| own.session),
            orphans: Orphans::open().map_err(cannot("read the list of orphans"))?,
            has_looked: false,
            pids: Vec::new(),
            killing: Killing::default(),
            turns: Turns::default(),
            looks: RefCell::default(),
            spilling: Spilling::default(),
            closing: None,
            leaves: false,
            more_to_reap: false,
            has_spawned: !found.is_empty(),
            signals,
            systemd: Systemd::from_environment(after.as_ref().is_some_and(|after| after.announced)),
            listeners: std::mem::take(&mut passed.listeners),
            upgraded: after.as_ref().map(Handover::outcome),
            trial: None,
            // Log files get the mode they are made with, whatever mask the launcher was started under.
            umask: rustix::process::umask(Mode::WGRP | Mode::RWXO),
            quit: None,
            quits: 0,
            hung_up: false,
            options,
        };
        launcher.leave_safe_mode();
        if let Some(keeper) = launcher.keeper.child() {
            launcher.children.insert(keeper, Role::Keeper);
        }
        match after {
            Some(after) => launcher.go_on(after, found)?,
            None => launcher.take_over(found, false, returned, passed.stored),
        }
        Ok(launcher)
    }

    /// Goes on where a launcher of another version stood, in the same process.
    fn go_on(&mut self, after: Handover, found: Vec<(Place, Found)>) -> Result<(), String> {
        let now = clock::mono();
        self.umask = Mode::from_bits_truncate(after.umask);
        self.has_spawned = true;
        if let Some(brain) = after.brain {
            self.children.insert(brain, Role::Brain);
            self.brain.succeed(brain, now);
        }
        self.trial = Trial::of(&after, now)?;
        self.listeners = listeners(after.listeners);
        self.take_over(found, true, Returned::new(), Stored::new());
        // Signals that came meanwhile may have been one for many.
        self.more_to_reap = true;
        Ok(())
    }

    /// Serves until the end; returns the exit code.
    pub(super) fn serve(&mut self) -> u8 {
        let mut woke = clock::mono();
        loop {
            let now = clock::mono();
            self.tick(now);
            if let Some(code) = self.close_if_done(now) {
                return code;
            }
            self.brain.flush();
            self.tend_keeper(now);
            self.tend_store(now);
            self.turns.note(woke);
            let woken = self.sleep();
            woke = self.turns.begin();
            self.has_looked = false;
            self.attend_births(woken.born);
            if woken.signalled || self.more_to_reap {
                self.take_signals();
            }
            self.lose_foreign();
            if woken.keeper_gone {
                self.bury_keeper(clock::mono());
            }
            if woken.spoken {
                self.listen();
            }
        }
    }

    /// Sleeps until something is to be done, and says what.
    fn sleep(&self) -> Woken {
        let closing = self.closing.as_ref().map(|end| end.give_up_at);
        let trial = self.trial.as_ref().map(|trial| trial.until);
        let deadlines = [
            self.brain.deadline(),
            self.systemd.deadline(),
            self.killing.again_at,
            self.foreign.deadline(),
            self.cgroups.look_at,
            self.keeper.start_at,
            self.keeper.store.as_ref().and_then(Store::deadline),
            self.births_deadline(),
            trial,
            closing,
        ];
        let at_once = self.more_to_reap.then_some(Mono(0));
        let timeout =
            deadlines.into_iter().chain([self.spilling.deadline()]).flatten().chain(at_once).min().map(|at| at.since(clock::mono()));
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let mut fds = vec![PollFd::new(&self.signals, PollFlags::IN)];
        if let Some((socket, read, write)) = self.brain.socket() {
            let mut events = PollFlags::empty();
            events.set(PollFlags::IN, read);
            events.set(PollFlags::OUT, write);
            fds.push(PollFd::from_borrowed_fd(socket, events));
        }
        let spoken_at = fds.len() - 1;
        fds.extend(self.foreign.readable().map(|foreign| PollFd::from_borrowed_fd(foreign, PollFlags::IN)));
        let keeper_at = fds.len();
        let keeper = self.keeper.socket();
        if let Some((socket, write)) = keeper {
            // That it has ended wakes us in any case.
            fds.push(PollFd::from_borrowed_fd(socket, if write { PollFlags::OUT } else { PollFlags::empty() }));
        }
        let births_at = fds.len();
        let born = self.births().map(|(unit, told)| {
            fds.push(PollFd::from_borrowed_fd(told, PollFlags::IN));
            unit
        });
        let born: Vec<&UnitId> = born.collect();
        if let Err(fault) = poll(&mut fds, timeout.as_ref()).map_err(io::Error::from)
            && fault.kind() != io::ErrorKind::Interrupted
        {
            complain(format_args!("cannot wait for events: {fault}"));
        }
        let came = PollFlags::IN | PollFlags::HUP | PollFlags::ERR;
        let came = |at: usize| fds.get(at).is_some_and(|fd| fd.revents().intersects(came));
        let is_gone = keeper.is_some() && fds.get(keeper_at).is_some_and(|fd| fd.revents().intersects(PollFlags::HUP | PollFlags::ERR));
        let born = (births_at..).zip(born).filter(|(at, _)| came(*at)).map(|(_, unit)| unit.clone()).collect();
        Woken { signalled: came(0), spoken: spoken_at > 0 && came(spoken_at), keeper_gone: is_gone, born }
    }

    fn tick(&mut self, now: Mono) {
        self.spill(now);
        let starts = self.brain.starts;
        let started = self.brain.start_if_due(&self.executor, self.umask.bits(), now);
        if let (true, None, Some(end)) = (starts != self.brain.starts, started, self.brain.last) {
            self.enter_safe_mode(&end);
        }
        if let Some(pid) = started {
            self.children.insert(pid, Role::Brain);
            self.end_spill();
            self.introduce();
            // A request to end outlives the brain that heard it first.
            let pending = self.quit.into_iter().chain(std::mem::take(&mut self.hung_up).then_some(Signal(libc::SIGHUP)));
            for signal in pending {
                self.brain.send(&ToBrain::Signalled { signal }, &[]);
            }
        }
        if self.brain.starts == 1 && self.brain.has_never_run() && !self.has_spawned {
            self.close(1);
        }
        self.brain.tick(now);
        self.bury_undead_brain(now);
        self.judge_trial(now);
        self.look_at_cgroups(now);
        let is_well = self.brain.is_well(now);
        self.systemd.tick(now, is_well);
        self.kill_again(now);
        self.judge_births(now);
    }

    fn take_signals(&mut self) {
        let mut reap = self.more_to_reap;
        let mut dead = None;
        while let Some((signal, sender)) = self.signals.take() {
            match signal.0 {
                libc::SIGCHLD => (reap, dead) = (true, Some(sender)),
                libc::SIGHUP => {
                    self.hung_up = !self.brain.is_connected();
                    self.brain.send(&ToBrain::Signalled { signal }, &[]);
                }
                libc::SIGQUIT => self.force(signal),
                _ => {
                    self.quits += 1;
                    self.quit = Some(signal);
                    if self.quits >= QUITS - u32::from(!self.brain.is_connected()) {
                        self.force(signal);
                    } else {
                        self.brain.send(&ToBrain::Signalled { signal }, &[]);
                    }
                }
            }
        }
        if reap {
            self.reap(dead);
        }
    }

    /// Reads what the brain has said, and does it.
    fn listen(&mut self) {
        if !self.brain.is_connected() {
            // It has been reaped since, and all it said was heard then.
            return;
        }
        match self.brain.read() {
            Ok(0) => self.brain.end(clock::mono()),
            Ok(_) => {
                if let Err(fault) = self.obey() {
                    complain(format_args!("cannot understand the brain: {fault}"));
                    self.brain.abort(clock::mono());
                }
            }
            Err(fault) if matches!(fault.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            // It is gone, and about to be reaped.
            Err(_) => self.brain.end(clock::mono()),
        }
    }

    fn obey(&mut self) -> Result<(), Fault> {
        while let Some(message) = self.brain.next()? {
            match message {
                ToLauncher::Spawn(_) if self.closing.is_some() => {}
                ToLauncher::Spawn(spawn) => self.spawn(*spawn),
                ToLauncher::Signal { unit, run, signal, target } => self.signal(&unit, run, signal, target, clock::mono()),
                ToLauncher::SetMain { unit, run, pid } => self.set_main(&unit, run, pid),
                ToLauncher::Pause { unit, run, pause: true, cause } => self.pause(&unit, run, cause, clock::mono()),
                ToLauncher::Pause { unit, run, pause: false, cause } => self.resume(&unit, run, cause),
                ToLauncher::Ack { unit, run } => self.acknowledge(&unit, run),
                ToLauncher::Note { unit, note } => self.keep_note(unit, note),
                ToLauncher::Forget { unit } => self.forget(&unit),
                ToLauncher::Notify { state } => self.systemd.tell(&state),
                ToLauncher::Alive => {
                    self.hear_alive(clock::mono());
                    self.brain.send(&self.turns.told(), &[]);
                }
                ToLauncher::Upgrade { program } => self.upgrade(&program),
                ToLauncher::Exit { code } => self.close(code),
                ToLauncher::Leave => self.leaves = true,
                ToLauncher::Spill { unit, to } => self.spill_to(&unit, to),
                ToLauncher::Limit { target, settings } => self.limit(target, &settings),
                ToLauncher::Prune { group } => self.prune(&group),
            }
        }
        Ok(())
    }

    /// The brain has ended. What it said last still counts.
    pub(super) fn lose_brain(&mut self, cause: ExitCause, now: Mono) {
        if self.brain.is_over(now) {
            return;
        }
        while matches!(self.brain.read(), Ok(1..)) && self.obey().is_ok() {}
        let end = self.brain.ended(cause, now);
        self.go_back(&format!("its brain has ended: {cause}"));
        match cause {
            _ if self.closing.is_some() => self.brain.retire(),
            // It could not even begin, and has said why; the next one would fare no better.
            ExitCause::Code(code @ 1..) if self.brain.starts == 1 && !self.has_spawned => self.close(u8::try_from(code).unwrap_or(1)),
            _ => complain(format_args!("the brain (pid {}) has ended after {:.1} s: {cause}", end.pid, end.lived.as_secs_f64())),
        }
        if self.closing.is_none() {
            self.enter_safe_mode(&end);
        }
    }

    /// A brain that was killed, and of which nothing is left but threads that wait for a dead disk, is over: they will never do anything again, and
    /// may be there for ever. The kernel says so of its first thread; the rest is reaped as nobody's.
    fn bury_undead_brain(&mut self, now: Mono) {
        if let Some(pid) = self.brain.undead()
            && let Some(cause) = process::exit_of_first_thread(pid)
        {
            complain(format_args!("the brain (pid {pid}) has ended, but for threads that wait for a disk or a mount"));
            self.children.insert(pid, Role::Stray(None));
            self.lose_brain(cause, now);
        }
    }
}
