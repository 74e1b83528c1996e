//! What is there of a unit when a brain begins.

use std::path::PathBuf;

use super::note::{ForeignNote, Note};
use crate::base::exit::{ExitCause, Signal};
use crate::base::id::UnitId;
use crate::event::Event;
use crate::launcher::link::FdSet;
use crate::launcher::wire::{Exit, HeldState};

/// What the launcher holds of a unit from an earlier brain.
#[derive(Debug)]
pub struct Held {
    /// The number of its latest run.
    pub run: u64,
    /// Where that run stands.
    pub state: HeldState,
    /// Runs whose end an earlier brain has dealt with, and perhaps not written down.
    pub earlier: Vec<(u64, Exit)>,
    /// The end of the latest run is written down already.
    pub reported: bool,
    /// Its main process is, or was, not the one that was started.
    pub(super) has_successor: bool,
    pub(crate) note: Note,
    /// It is to be stopped and started anew, as what a dead launcher left may have to be.
    pub unwelcome: bool,
    /// It was ended together with the daemon.
    pub(super) fell: Option<Exit>,
    /// The directory of its cgroup.
    pub(super) cgroup: Option<PathBuf>,
    pub(super) fds: FdSet,
}

impl Held {
    /// What the launcher said it holds.
    ///
    /// # Errors
    /// The note is one this version cannot read.
    pub fn new(
        run: u64,
        mut state: HeldState,
        mut earlier: Vec<(u64, Exit)>,
        has_successor: bool,
        note: &[u8],
        (cgroup, fds): (Option<PathBuf>, FdSet),
    ) -> Result<Self, ForeignNote> {
        let note = Note::decode(note)?;
        if let HeldState::Exited { exit, leftovers } = state
            && note.handled == run
        {
            earlier.push((run, exit));
            state = if leftovers { HeldState::Leftovers } else { HeldState::Idle };
        }
        Ok(Self { run, state, earlier, reported: false, has_successor, note, unwelcome: false, fell: None, cgroup, fds })
    }

    /// What ended with the daemon has not failed: it begins anew, without an account of restarts being charged. An end of its own is one that
    /// nobody else could have caused.
    pub fn begin_anew(&mut self) {
        let HeldState::Exited { exit, leftovers } = self.state else { return };
        if matches!(exit.cause, ExitCause::Unknown | ExitCause::Signal { signal: Signal::KILL, .. }) {
            self.earlier.push((self.run, exit));
            self.state = if leftovers { HeldState::Leftovers } else { HeldState::Idle };
            self.note.ready = false;
            self.fell = Some(exit);
        }
    }

    /// Whether the end of an earlier run was expected, as far as that is known.
    #[must_use]
    pub fn expected(&self, run: u64) -> bool {
        self.note.handled == run && self.note.expected
    }
}

/// The end of a run as an event. Once it is written down, the launcher hears that it may forget it.
#[must_use]
pub fn exit_event(unit: &UnitId, run: u64, exit: &Exit, expected: bool) -> Event {
    Event::UnitExited {
        unit: unit.clone(),
        run,
        pid: exit.process.pid,
        cause: exit.cause,
        expected,
        after: exit.at - exit.process.started,
        usage: exit.usage,
    }
}
