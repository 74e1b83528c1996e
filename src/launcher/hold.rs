//! What the launcher keeps of each unit, for this brain and for the next.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use super::births::Starting;
use super::book::{Place, Record, Ticks};
use super::complain;
use super::disk::Disk;
use super::namespaces::Namespaces;
use super::pause::Pauses;
use super::serve::Launcher;
use super::spill::Spill;
use super::upgrade::Carried;
use super::wire::{Exit, Fds, HeldState, NOTE_MAX, Process, ToBrain, VERSION};
use crate::base::id::UnitId;
use crate::base::time::{Mono, Wall};
use crate::os::cgroup::Cgroup;
use crate::os::clock;

/// So many exits of a unit are kept until somebody takes note of them; the oldest go first.
pub(super) const EXITS_MAX: usize = 8;

/// A unit, from its first start until it is forgotten.
#[derive(Default)]
pub(super) struct Slot {
    /// The number of its latest run.
    pub(super) run: u64,
    /// The main process, until it is reaped.
    pub(super) main: Option<Main>,
    /// That process is on its way to its program.
    pub(super) starting: Option<Starting>,
    /// What was made for the run.
    pub(super) namespaces: Option<Arc<Namespaces>>,
    /// How runs ended, until that is acknowledged; the oldest first, at most [`EXITS_MAX`].
    pub(super) exits: VecDeque<(u64, Exit)>,
    /// How many of our children are the unit's, the main process not counted.
    pub(super) strays: usize,
    /// Where everything of it is.
    pub(super) cgroup: Option<Cgroup>,
    /// It was killed as a whole. What clone3(2) puts into it afterwards dies at once with Linux 6.18, for one: that compares the number of kills with
    /// that of the parent's cgroup.
    pub(super) is_cgroup_spent: bool,
    /// Why it stands still, or is about to.
    pub(super) pauses: Pauses,
    /// Until when it may take to do so.
    pub(super) freezes_until: Option<Mono>,
    /// The main process has ended, and the cgroup has others.
    pub(super) lingers: bool,
    /// Everything of this run is to be killed, what is found later too.
    pub(super) killing: bool,
    /// The main process is, or was, not the one that was started.
    pub(super) has_successor: bool,
    /// The unit's sessions are more than that of its main process.
    pub(super) has_strayed: bool,
    pub(super) note: Box<[u8]>,
    /// Its output pipe; both ends, so that a writer never finds it broken while there is no brain.
    pub(super) output: Option<(OwnedFd, OwnedFd)>,
    /// The inode of that pipe.
    pub(super) output_inode: Option<u64>,
    /// Where it is emptied to while there is no brain.
    pub(super) spill: Option<Spill>,
    pub(super) notify: Option<Notify>,
    /// The read end of its readiness pipe, and where the process has the other one.
    pub(super) ready: Option<OwnedFd>,
    pub(super) ready_at: Option<i32>,
    /// Where it is written in the book.
    pub(super) place: Option<Place>,
    /// Its descriptors go along with the next program, under these numbers.
    pub(super) carried: Option<Carried>,
    /// It goes as soon as nothing of it is left.
    pub(super) is_unwanted: bool,
}

/// A notification socket.
pub(super) struct Notify {
    pub(super) socket: OwnedFd,
    pub(super) path: PathBuf,
    /// User and group it belongs to; `None`: the launcher's.
    pub(super) owner: Option<(u32, u32)>,
}

/// A main process.
pub(super) struct Main {
    pub(super) process: Process,
    pub(super) pidfd: OwnedFd,
    pub(super) ticks: Ticks,
}

impl Slot {
    /// Whether nothing of its latest run is alive.
    pub(super) fn is_over(&self) -> bool {
        self.main.is_none() && self.strays == 0 && !self.lingers
    }

    /// How the latest run ended, if that is not acknowledged.
    pub(super) fn exit(&self) -> Option<Exit> {
        self.exits.back().filter(|(run, _)| *run == self.run).map(|&(_, exit)| exit)
    }

    /// The main process has ended.
    pub(super) fn end(&mut self, exit: Exit) {
        if self.exits.len() == EXITS_MAX
            && let Some((run, exit)) = self.exits.pop_front()
        {
            complain(format_args!("nobody took note of the end of process {} (run {run}): {}", exit.process.pid, exit.cause));
        }
        self.exits.push_back((self.run, exit));
    }

    fn state(&self) -> HeldState {
        match (&self.main, self.exit()) {
            (Some(main), _) => HeldState::Running(main.process),
            (None, Some(exit)) => HeldState::Exited { exit, leftovers: !self.is_over() },
            (None, None) if !self.is_over() => HeldState::Leftovers,
            (None, None) => HeldState::Idle,
        }
    }

    /// Its descriptors, as the brain gets them.
    pub(super) fn fds(&self) -> (Fds, Vec<BorrowedFd<'_>>) {
        let fds = [
            self.main.as_ref().map(|main| main.pidfd.as_fd()),
            self.notify.as_ref().map(|notify| notify.socket.as_fd()),
            self.ready.as_ref().map(AsFd::as_fd),
            self.output.as_ref().map(|(read, _)| read.as_fd()),
        ];
        let [pidfd, notify, ready, output] = fds.map(|fd| fd.is_some());
        (Fds { pidfd, notify, ready, output }, fds.into_iter().flatten().collect())
    }

    /// What the book is told of it.
    pub(super) fn record(&self, unit: &UnitId) -> Record {
        let process = self.main.as_ref().map(|main| main.process).or_else(|| self.exit().map(|exit| exit.process));
        Record {
            unit: unit.clone(),
            run: self.run,
            started: process.map_or(Mono(0), |process| process.started),
            started_wall: process.map_or(Wall(0), |process| process.started_wall),
            ticks: self.main.as_ref().map_or(Ticks::Unknown, |main| main.ticks),
            exits: self.exits.iter().copied().collect(),
            note: self.note.to_vec(),
            output: self.output_inode,
            ready: self.ready_at,
            notify: self.notify.as_ref().map(|notify| (notify.path.clone(), notify.owner)),
            carried: self.carried,
            has_successor: self.has_successor,
            cgroup: self.cgroup.as_ref().map(|cgroup| cgroup.path().to_owned()),
        }
    }

    /// Lets go of what belongs to one run only, on `disk` too.
    pub(super) fn close_run(&mut self, disk: &mut Disk) {
        self.killing = false;
        if std::mem::take(&mut self.pauses).any() {
            self.thaw();
        }
        self.has_strayed = false;
        self.namespaces = None;
        (self.ready, self.ready_at) = (None, None);
        if let Some(notify) = self.notify.take() {
            disk.remove(notify.path);
        }
    }
}

impl Launcher {
    /// Tells a new brain how things stand.
    pub(super) fn introduce(&mut self) {
        let generation = self.brain.starts.saturating_sub(1);
        let hello = ToBrain::Hello {
            version: VERSION,
            pid: std::process::id(),
            generation,
            inherited: self.inherited,
            last: self.brain.last,
            upgrade: self.upgraded.clone(),
            cgroup: self.cgroups.path(),
            announced: self.systemd.announced,
            controllers: self.cgroups.controllers.clone(),
        };
        self.brain.send(&hello, &[]);
        for (name, socket) in &self.listeners {
            self.brain.send(&ToBrain::Listener { name: name.clone() }, &[socket.as_fd()]);
        }
        self.introduce_births();
        for (unit, slot) in &self.slots {
            let (fds, descriptors) = slot.fds();
            let earlier = slot.exits.iter().filter(|(run, _)| *run != slot.run).copied().collect();
            let held = ToBrain::Held {
                unit: unit.clone(),
                run: slot.run,
                state: slot.state(),
                earlier,
                has_successor: slot.has_successor,
                cgroup: slot.cgroup.as_ref().map(|cgroup| cgroup.path().to_path_buf()),
                note: slot.note.to_vec(),
                fds,
            };
            self.brain.send(&held, &descriptors);
        }
        self.brain.send(&ToBrain::HeldEnd, &[]);
        self.tell_of_keeper();
    }

    /// The end of `run` is written down for good.
    pub(super) fn acknowledge(&mut self, unit: &UnitId, run: u64) {
        if let Some(slot) = self.slots.get_mut(unit) {
            slot.exits.retain(|(ended, _)| *ended != run);
            self.enter(unit);
        }
        self.forget_if_unwanted(unit);
    }

    /// Keeps `note`, also for a unit that has never run.
    pub(super) fn keep_note(&mut self, unit: UnitId, note: Vec<u8>) {
        if note.len() > NOTE_MAX {
            complain(format_args!("cannot keep a note of {} bytes for {unit}: at most {NOTE_MAX}", note.len()));
            return;
        }
        self.slots.entry(unit.clone()).or_default().note = note.into();
        self.enter(&unit);
    }

    /// Writes into the book how a unit stands.
    pub(super) fn enter(&mut self, unit: &UnitId) {
        let Some(slot) = self.slots.get_mut(unit) else { return };
        let place = *slot.place.get_or_insert_with(|| self.book.reserve());
        self.book.enter(place, slot.main.as_ref().map(|main| main.process.pid), &slot.record(unit));
    }

    /// The unit is not wanted any more.
    pub(super) fn forget(&mut self, unit: &UnitId) {
        if let Some(slot) = self.slots.get_mut(unit) {
            slot.is_unwanted = true;
        }
        self.forget_if_unwanted(unit);
    }

    /// Forgets the unit if it was to be forgotten and nothing of it is left.
    pub(super) fn forget_if_unwanted(&mut self, unit: &UnitId) {
        if self.slots.get(unit).is_some_and(|slot| slot.is_unwanted && slot.is_over() && slot.exits.is_empty()) {
            let gone = self.slots.remove(unit);
            let (place, cgroup) = gone.map_or((None, None), |slot| (slot.place, slot.cgroup));
            cgroup.into_iter().for_each(|cgroup| self.cgroups.dispose(cgroup, clock::mono()));
            if let Some(place) = place {
                self.book.erase(place);
                self.keeper.note(place, None);
            }
        }
    }
}
