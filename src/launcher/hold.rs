//! What the launcher keeps of each unit, for this brain and for the next.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use super::complain;
use super::serve::Launcher;
use super::wire::{Exit, Fds, HeldState, NOTE_MAX, Process, ToBrain, VERSION};
use crate::base::id::UnitId;

/// A unit, from its first start until it is forgotten.
#[derive(Default)]
pub(super) struct Slot {
    /// The number of its latest run.
    pub(super) run: u64,
    /// The main process, until it is reaped.
    pub(super) main: Option<Main>,
    /// How the latest run ended, until it is acknowledged.
    pub(super) exit: Option<Exit>,
    /// How many of our children are the unit's, the main process not counted.
    pub(super) strays: usize,
    /// Everything of this run is to be killed, what is found later too.
    pub(super) killing: bool,
    /// The unit's sessions are more than that of its main process.
    pub(super) has_strayed: bool,
    pub(super) note: Box<[u8]>,
    /// Its output pipe; both ends, so that a writer never finds it broken while there is no brain.
    pub(super) output: Option<(OwnedFd, OwnedFd)>,
    pub(super) notify: Option<(OwnedFd, PathBuf)>,
    pub(super) ready: Option<OwnedFd>,
    /// It goes as soon as nothing of it is left.
    pub(super) is_unwanted: bool,
}

/// A main process.
pub(super) struct Main {
    pub(super) process: Process,
    pub(super) pidfd: OwnedFd,
}

impl Slot {
    /// Whether nothing of its latest run is alive.
    pub(super) fn is_over(&self) -> bool {
        self.main.is_none() && self.strays == 0
    }

    fn state(&self) -> HeldState {
        match (&self.main, self.exit) {
            (Some(main), _) => HeldState::Running(main.process),
            (None, Some(exit)) => HeldState::Exited { exit, leftovers: self.strays > 0 },
            (None, None) if self.strays > 0 => HeldState::Leftovers,
            (None, None) => HeldState::Idle,
        }
    }

    /// Its descriptors, as the brain gets them.
    pub(super) fn fds(&self) -> (Fds, Vec<BorrowedFd<'_>>) {
        let fds = [
            self.main.as_ref().map(|main| main.pidfd.as_fd()),
            self.notify.as_ref().map(|(socket, _)| socket.as_fd()),
            self.ready.as_ref().map(AsFd::as_fd),
            self.output.as_ref().map(|(read, _)| read.as_fd()),
        ];
        let [pidfd, notify, ready, output] = fds.map(|fd| fd.is_some());
        (Fds { pidfd, notify, ready, output }, fds.into_iter().flatten().collect())
    }

    /// Lets go of what belongs to one run only.
    pub(super) fn close_run(&mut self) {
        self.killing = false;
        self.has_strayed = false;
        self.ready = None;
        if let Some((_, path)) = self.notify.take() {
            let _already_gone = rustix::fs::unlink(path);
        }
    }
}

impl Launcher {
    /// Tells a new brain how things stand.
    pub(super) fn introduce(&mut self) {
        let generation = self.brain.starts.saturating_sub(1);
        self.brain.send(&ToBrain::Hello { version: VERSION, pid: std::process::id(), generation }, &[]);
        for (unit, slot) in &self.slots {
            let (fds, descriptors) = slot.fds();
            let held = ToBrain::Held { unit: unit.clone(), run: slot.run, state: slot.state(), note: slot.note.to_vec(), fds };
            self.brain.send(&held, &descriptors);
        }
        self.brain.send(&ToBrain::HeldEnd, &[]);
    }

    /// The brain knows how `run` ended.
    pub(super) fn acknowledge(&mut self, unit: &UnitId, run: u64) {
        if let Some(slot) = self.slots.get_mut(unit).filter(|slot| slot.run == run) {
            slot.exit = None;
        }
        self.forget_if_unwanted(unit);
    }

    /// Keeps `note`, also for a unit that has never run.
    pub(super) fn keep_note(&mut self, unit: UnitId, note: Vec<u8>) {
        if note.len() > NOTE_MAX {
            complain(format_args!("cannot keep a note of {} bytes for {unit}: at most {NOTE_MAX}", note.len()));
            return;
        }
        self.slots.entry(unit).or_default().note = note.into();
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
        if self.slots.get(unit).is_some_and(|slot| slot.is_unwanted && slot.is_over() && slot.exit.is_none()) {
            self.slots.remove(unit);
        }
    }
}
