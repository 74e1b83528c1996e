//! What of a unit's life goes on under another brain.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Lifecycle, StartTimes, State, Verdict};
use crate::base::time::Mono;
use crate::policy::backoff::Streak;

/// What a unit's life has to know of its past to go on under another brain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// How many restarts in a row there were ([`Streak`]).
    pub streak: u32,
    /// What it was about.
    pub phase: Phase,
}

/// What a unit was about when its brain died, if that cannot be seen from its process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Nothing that cannot be seen.
    #[default]
    Plain,
    /// Its restart is held back until then.
    Backoff(Mono),
    /// It was asked to end, and is killed then; `None`: never.
    Stopping(Option<Mono>),
    /// It is being killed.
    Killing,
    /// It stands still, and may still take so long to become ready.
    Paused(Option<Duration>),
}

impl Lifecycle {
    /// What the next brain has to know of it.
    #[must_use]
    pub fn memory(&self) -> Memory {
        let phase = match (self.state, self.deadline) {
            (State::Activating | State::Active, _) if let Some(left) = self.paused => Phase::Paused(left),
            (State::Backoff, Some(until)) => Phase::Backoff(until),
            (State::Stopping, deadline) => Phase::Stopping(deadline),
            (State::Killing, _) => Phase::Killing,
            _ => Phase::Plain,
        };
        Memory { streak: self.streak.restarts(), phase }
    }

    /// What is known of how long its starts take.
    #[must_use]
    pub const fn start_times(&self) -> StartTimes {
        self.start_times
    }

    /// Goes on from what an earlier brain knew of that.
    #[must_use]
    pub const fn with_start_times(mut self, known: StartTimes) -> Self {
        self.start_times = known;
        self
    }

    /// When it failed, as far as that still counts.
    #[must_use]
    pub fn failures(&self) -> &[Mono] {
        self.streak.failures()
    }

    /// Goes on from what an earlier brain knew of it, and from failures at these times. What it was about only counts while its process still runs, a restart that
    /// was held back only while none does.
    #[must_use]
    pub fn resumed(mut self, memory: &Memory, failures: Vec<Mono>) -> Self {
        self.streak = Streak::resumed(memory.streak, failures);
        match (memory.phase, self.state) {
            (Phase::Backoff(until), State::Stopped) => self.held_until = Some(until),
            (Phase::Stopping(deadline), State::Activating | State::Active) => {
                (self.state, self.deadline, self.verdict) = (State::Stopping, deadline, Some(Verdict::Silent));
            }
            (Phase::Killing, State::Activating | State::Active) => {
                (self.state, self.deadline, self.verdict) = (State::Killing, Some(Mono(0)), Some(Verdict::Silent));
            }
            (Phase::Paused(left), State::Activating | State::Active) => self.stand_still(left),
            _ => {}
        }
        self
    }
}
