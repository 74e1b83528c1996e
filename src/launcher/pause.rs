//! Units that stand still: by their cgroup where they have one, else by SIGSTOP to each of their processes.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::hold::Slot;
use super::serve::Launcher;
use super::wire::ToBrain;
use crate::base::exit::Signal;
use crate::base::id::UnitId;
use crate::base::time::Mono;

/// How long a cgroup may take to stand still. A process that waits for a broken disk may never do so; then all go on.
const FREEZES_WITHIN: Duration = Duration::from_secs(5);

/// So often SIGSTOP is sent to everything that is found: what was forked while the first look was on is found by the next.
const ROUNDS: usize = 3;

const STOP: Signal = Signal(libc::SIGSTOP);
const CONTINUE: Signal = Signal(libc::SIGCONT);

/// Why a run is to stand still.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PauseCause {
    /// An operator wants it, or it rests.
    Request,
    /// There is no room in its log.
    FullLog,
}

/// What became of the wish that a run stand still.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Paused {
    /// Its cgroup is frozen.
    Frozen,
    /// It has no cgroup; each of its processes that was found has got SIGSTOP.
    Stopped,
    /// It goes on.
    Failed {
        /// Why.
        why: String,
    },
}

/// The causes for which a run stands still, or is about to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pauses {
    request: bool,
    full_log: bool,
}

impl Pauses {
    /// Whether there is any.
    pub(super) const fn any(self) -> bool {
        self.request || self.full_log
    }

    const fn set(&mut self, cause: PauseCause, is: bool) {
        match cause {
            PauseCause::Request => self.request = is,
            PauseCause::FullLog => self.full_log = is,
        }
    }
}

impl Slot {
    /// Lets its cgroup go on; whether that has an answer to it.
    pub(super) fn thaw(&mut self) -> bool {
        self.freezes_until = None;
        self.cgroup.as_ref().is_some_and(|cgroup| cgroup.freeze(false).is_ok())
    }

    /// A cause is gone; whether there is no other.
    fn lift(&mut self, cause: PauseCause) -> bool {
        self.pauses.set(cause, false);
        !self.pauses.any()
    }
}

impl Launcher {
    /// Lets everything of a run stand still, and answers a request. A run that is over has been answered by its exit.
    pub(super) fn pause(&mut self, unit: &UnitId, run: u64, cause: PauseCause, now: Mono) {
        let Some(slot) = self.slots.get_mut(unit).filter(|slot| slot.run == run && slot.main.is_some()) else { return };
        slot.pauses.set(cause, true);
        let freezes = slot.cgroup.as_ref().is_some_and(|cgroup| cgroup.freeze(true).is_ok());
        if freezes && cause == PauseCause::Request {
            slot.freezes_until = Some(now + FREEZES_WITHIN);
            self.cgroups.look_soon(now);
            self.look_at_freezing(now);
        }
        if freezes {
            return;
        }
        for _ in 0..ROUNDS {
            self.adopt(None);
            self.signal_tree(unit, STOP);
        }
        if cause == PauseCause::Request {
            self.brain.send(&ToBrain::Paused { unit: unit.clone(), run, outcome: Paused::Stopped }, &[]);
        }
    }

    /// Lets everything of a run go on, unless there is another cause for it to stand still.
    pub(super) fn resume(&mut self, unit: &UnitId, run: u64, cause: PauseCause) {
        let Some(slot) = self.slots.get_mut(unit).filter(|slot| slot.run == run) else { return };
        if slot.lift(cause) && !slot.thaw() && !slot.is_over() {
            self.adopt_once();
            self.signal_tree(unit, CONTINUE);
        }
    }

    /// Tells of those that stand still by now, and lets those go on that have taken too long; whether there are others.
    pub(super) fn look_at_freezing(&mut self, now: Mono) -> bool {
        let mut left = false;
        for (unit, slot) in &mut self.slots {
            let (Some(until), Some(cgroup)) = (slot.freezes_until, &slot.cgroup) else { continue };
            let outcome = match cgroup.is_frozen() {
                Ok(true) => Paused::Frozen,
                Ok(false) if until > now => {
                    left = true;
                    continue;
                }
                Ok(false) => Paused::Failed { why: format!("its processes did not stand still within {} s", FREEZES_WITHIN.as_secs()) },
                Err(fault) => Paused::Failed { why: format!("cannot look at its cgroup: {fault}") },
            };
            slot.freezes_until = None;
            if outcome != Paused::Frozen && slot.lift(PauseCause::Request) {
                slot.thaw();
            }
            self.brain.send(&ToBrain::Paused { unit: unit.clone(), run: slot.run, outcome }, &[]);
        }
        left
    }
}
