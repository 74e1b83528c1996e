//! The end of processes.

use std::collections::BTreeSet;

use super::hold::Slot;
use super::serve::{Launcher, Role};
use super::wire::{Exit, ToBrain};
use crate::base::exit::{ExitCause, Usage};
use crate::base::id::UnitId;
use crate::base::time::{Mono, Wall};
use crate::os::{clock, process};

/// After so many looks at the list of orphans, those that end count as news for the next time.
const ROUNDS: usize = 4;

/// So many are reaped between two looks, so that who forks faster than we reap cannot keep us from killing.
const ROUND_MAX: usize = 1024;

/// What one round of reaping has found.
#[derive(Default)]
struct Batch {
    /// Units whose main process has ended.
    ended: BTreeSet<UnitId>,
    /// Units that have lost a stray.
    bereft: BTreeSet<UnitId>,
    brain: Option<ExitCause>,
}

impl Launcher {
    /// Reaps every child that has ended, `dead` first, and tells the brain. However many there are, the list of orphans is read once,
    /// and again only if there were new ones on it: they may have ended with their parent.
    pub(super) fn reap(&mut self, mut dead: Option<u32>) {
        let at = (clock::mono(), clock::wall());
        let mut batch = Batch::default();
        for _ in 0..ROUNDS {
            let mut reaped = 0;
            // The kernel finds the one it has named at once, but walks over all children in search of any.
            if let Some((pid, cause, usage)) = dead.take().and_then(|pid| process::reap(Some(pid))) {
                reaped += 1;
                self.bury(pid, cause, usage, at, &mut batch);
            }
            while reaped < ROUND_MAX
                && let Some((pid, cause, usage)) = process::reap(None)
            {
                reaped += 1;
                self.bury(pid, cause, usage, at, &mut batch);
            }
            self.more_to_reap = reaped == ROUND_MAX;
            if reaped == 0 {
                break;
            }
            // What the brain has left behind is no unit's.
            let mut losers = batch.ended.union(&batch.bereft);
            let sole = losers.next().filter(|_| losers.next().is_none() && batch.brain.is_none());
            if !self.adopt(sole) && !self.more_to_reap {
                break;
            }
        }
        for unit in &batch.ended {
            self.report_exit(unit);
        }
        for unit in batch.bereft.difference(&batch.ended) {
            self.report_gone(unit);
        }
        if let Some(cause) = batch.brain {
            self.lose_brain(cause, at.0);
        }
    }

    fn bury(&mut self, pid: u32, cause: ExitCause, usage: Usage, (at, at_wall): (Mono, Wall), batch: &mut Batch) {
        // One that was not our child dies as one if its parent has died just before it.
        match self.children.remove(&pid).or_else(|| self.foreign.release(pid, None)) {
            Some(Role::Main(unit)) if !self.is_end_of_run(&unit) => {}
            Some(Role::Main(unit)) => {
                if let Some(slot) = self.slots.get_mut(&unit)
                    && let Some(main) = slot.main.take()
                {
                    slot.end(Exit { process: main.process, cause, usage, at, at_wall });
                    self.enter(&unit);
                }
                batch.ended.insert(unit);
            }
            Some(Role::Stray(Some(unit))) => {
                if let Some(slot) = self.slots.get_mut(&unit) {
                    slot.strays = slot.strays.saturating_sub(1);
                }
                batch.bereft.insert(unit);
            }
            Some(Role::Keeper) => self.bury_keeper(at),
            Some(Role::Brain) => batch.brain = Some(cause),
            Some(Role::Stray(None)) | None => {}
        }
    }

    pub(super) fn report_exit(&mut self, unit: &UnitId) {
        let Some(slot) = self.slots.get(unit) else { return };
        let Some(exit) = slot.exit() else { return };
        let run = slot.run;
        let leftovers = self.lingers(unit, exit.at) || self.slots.get(unit).is_some_and(|slot| slot.strays > 0);
        self.brain.send(&ToBrain::Exited { unit: unit.clone(), run, exit, leftovers }, &[]);
        if !leftovers {
            self.close_run(unit, exit.process.pid);
        }
    }

    pub(super) fn report_gone(&mut self, unit: &UnitId) {
        let Some(slot) = self.slots.get(unit).filter(|slot| slot.is_over()) else { return };
        self.brain.send(&ToBrain::Gone { unit: unit.clone(), run: slot.run }, &[]);
        self.close_run(unit, 0);
        self.forget_if_unwanted(unit);
    }

    /// Nothing is left of a run whose main process was `main`; 0 when that is not known any more.
    fn close_run(&mut self, unit: &UnitId, main: u32) {
        let has_strayed = self.slots.get(unit).is_none_or(|slot| slot.has_strayed);
        if has_strayed || main == 0 {
            self.sessions.retain(|_, owner| owner != unit);
        } else {
            self.sessions.remove(&main);
        }
        if let Some(slot) = self.slots.get_mut(unit) {
            Slot::close_run(slot, &mut self.book.disk);
        }
    }
}
