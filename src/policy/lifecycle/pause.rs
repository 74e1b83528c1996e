//! A unit that stands still. A pause belongs to a run: whatever ends the run ends the pause, and the next run does not begin in it. Who stops a
//! paused unit wants it to end in good order: it goes on first. Who kills it does not: killing works on what stands still.

use std::time::Duration;

use super::{Effect, Lifecycle, State};
use crate::base::time::Mono;
use crate::event::ResumeCause;

impl Lifecycle {
    /// Whether it stands still, or is about to.
    #[must_use]
    pub const fn is_paused(&self) -> bool {
        self.paused.is_some()
    }

    /// Whether there is anything to pause: a process that nobody has asked to end.
    #[must_use]
    pub const fn can_pause(&self) -> bool {
        match self.state {
            State::Activating | State::Active => true,
            State::Stopped | State::Backoff | State::Waiting | State::Spawning | State::Stopping | State::Killing | State::Cleaning => {
                false
            }
        }
    }

    /// The time it may take to become ready stands still with it.
    pub(super) fn pause(&mut self, now: Mono, out: &mut Vec<Effect>) {
        if self.can_pause() && !self.is_paused() {
            self.paused = Some(self.deadline.take().map(|at| at.since(now)));
            out.push(Effect::Freeze);
        }
    }

    /// `cause`: why it is to go on; `None`: it goes on already.
    pub(super) fn resume(&mut self, now: Mono, cause: Option<ResumeCause>, out: &mut Vec<Effect>) {
        // What is being killed stays as it is.
        if !self.can_pause() {
            return;
        }
        let Some(left) = self.paused.take() else { return };
        // It may have become ready on the way into its pause.
        self.deadline = left.filter(|_| self.state == State::Activating).map(|left| now + left);
        out.extend(cause.map(Effect::Thaw));
    }

    /// Its run is about to end, or has.
    pub(super) fn thaw(&mut self, cause: ResumeCause, out: &mut Vec<Effect>) {
        if self.paused.take().is_some() {
            out.push(Effect::Thaw(cause));
        }
    }

    /// Found standing still by another brain.
    pub(super) fn stand_still(&mut self, left: Option<Duration>) {
        self.paused = Some(left);
        self.deadline = None;
    }
}
