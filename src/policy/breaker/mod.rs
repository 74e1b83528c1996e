//! A circuit breaker: calls to something that fails are refused for a while, then tried with a few.
//!
//! ```text
//!             too many failures, or slow calls              open time over
//!   closed ────────────────────────────────► open ─────────────────────────► half-open
//!      ▲                                       ▲                                │ │
//!      │                                       └── one failed, or took too long ┘ │
//!      └───────────────────────────────────────────── all permits succeeded ──────┘
//! ```
//!
//! After M. Nygard, "Release It!" (2007); the rates over a window and the bounded half-open state are those of resilience4j. Each opening in a
//! row lasts longer, up to a limit. Whoever asks in the open state is told when to come again. Results of calls that began in an earlier state
//! change nothing. An operator may force it open or closed; in the mode `metrics_only` it judges and refuses nothing.

mod window;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use window::Calls;
use window::Record;

pub use crate::base::breaker::{BreakerPlan, BreakerState, Window};
use crate::base::rng::Rng;
use crate::base::time::Mono;

/// What came of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallOutcome {
    /// It has succeeded.
    Success,
    /// It has failed.
    Failure,
    /// Nobody waited for its end: it says nothing.
    Cancelled,
}

/// Leave to make one call. It belongs to the state it was given in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permit {
    generation: u64,
    begun: Mono,
}

/// A call that is not to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// When asking again makes sense; `None`: nobody knows, because an operator holds it open or the permits are out.
    pub until: Option<Mono>,
}

/// It stands elsewhere now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changed {
    /// Where it stood.
    pub from: BreakerState,
    /// Where it stands.
    pub to: BreakerState,
    /// The calls that counted.
    pub calls: Calls,
    /// Until when it is open.
    pub until: Option<Mono>,
}

/// What of a breaker outlives whoever holds it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakerMemory {
    /// How it stands.
    pub state: BreakerState,
    /// Openings in a row.
    pub openings: u32,
    /// Failures one after the other.
    pub row: u32,
    /// When the open state ends.
    pub until: Option<Mono>,
}

/// A circuit breaker. It has no clock: time comes in.
#[derive(Clone, Debug)]
pub struct Breaker {
    plan: BreakerPlan,
    rng: Rng,
    state: BreakerState,
    record: Record,
    /// Failures one after the other.
    row: u32,
    /// Counts states, so that a late result is told apart.
    generation: u64,
    /// Openings in a row.
    openings: u32,
    /// When the open state ends, or the half-open one is given up.
    until: Option<Mono>,
    /// Of the half-open state: permits given, and calls that succeeded.
    given: u32,
    succeeded: u32,
    /// What an operator holds it at.
    forced: Option<BreakerState>,
}

impl Breaker {
    /// A closed one. `rng` is its own stream, for jitter.
    #[must_use]
    pub fn new(plan: BreakerPlan, rng: Rng) -> Self {
        let record = Record::new(plan.window);
        Self {
            plan,
            rng,
            record,
            state: BreakerState::Closed,
            row: 0,
            generation: 0,
            openings: 0,
            until: None,
            given: 0,
            succeeded: 0,
            forced: None,
        }
    }

    /// What of it outlives whoever holds it: not the calls it has counted.
    #[must_use]
    pub const fn memory(&self) -> BreakerMemory {
        BreakerMemory { state: self.state, openings: self.openings, row: self.row, until: self.until }
    }

    /// One that goes on from there.
    #[must_use]
    pub fn resumed(mut self, memory: &BreakerMemory) -> Self {
        (self.state, self.openings, self.row, self.until) = (memory.state, memory.openings, memory.row, memory.until);
        self
    }

    /// How it stands; what an operator holds it at, if he does.
    #[must_use]
    pub fn state(&self) -> BreakerState {
        self.forced.unwrap_or(self.state)
    }

    /// Whether an operator holds it where it is.
    #[must_use]
    pub const fn is_forced(&self) -> bool {
        self.forced.is_some()
    }

    /// The calls that count at `now`.
    pub fn calls(&mut self, now: Mono) -> Calls {
        self.record.calls(now)
    }

    /// When it changes by itself.
    #[must_use]
    pub const fn deadline(&self) -> Option<Mono> {
        self.until
    }

    /// Leave to make a call at `now`, or not; and whether the state has changed by that.
    ///
    /// # Errors
    /// The call is not to be made now.
    pub fn ask(&mut self, now: Mono) -> (Result<Permit, Refused>, Option<Changed>) {
        let changed = self.wake(now);
        let permit = Permit { generation: self.generation, begun: now };
        if self.plan.metrics_only {
            return (Ok(permit), changed);
        }
        let answer = match self.state() {
            BreakerState::Closed => Ok(permit),
            BreakerState::Open => Err(Refused { until: self.until.filter(|_| self.forced.is_none()) }),
            BreakerState::HalfOpen if self.given < self.plan.permits.max(1) => {
                self.given += 1;
                Ok(permit)
            }
            BreakerState::HalfOpen => Err(Refused { until: None }),
        };
        (answer, changed)
    }

    /// A call has come to its end at `now`.
    pub fn report(&mut self, now: Mono, permit: Permit, outcome: CallOutcome) -> Option<Changed> {
        let changed = self.wake(now);
        if permit.generation != self.generation {
            return changed;
        }
        if outcome == CallOutcome::Cancelled {
            // Somebody else may try in its place.
            self.given = self.given.saturating_sub(u32::from(self.state == BreakerState::HalfOpen));
            return changed;
        }
        let slow = now - permit.begun > self.plan.slow_after;
        self.record.add(now, outcome, slow);
        self.row = if outcome == CallOutcome::Failure { self.row.saturating_add(1) } else { 0 };
        let news = match self.state {
            BreakerState::Closed => self.is_too_much(now).then(|| self.open(now)),
            BreakerState::HalfOpen if outcome == CallOutcome::Failure || (slow && self.plan.slow_rate.is_some()) => Some(self.open(now)),
            BreakerState::HalfOpen => {
                self.succeeded += 1;
                (self.succeeded >= self.plan.permits.max(1)).then(|| self.close(now))
            }
            // Only in the mode that refuses nothing.
            BreakerState::Open => None,
        };
        news.or(changed)
    }

    /// Time has passed.
    pub fn wake(&mut self, now: Mono) -> Option<Changed> {
        if self.until.is_none_or(|until| until > now) {
            return None;
        }
        match self.state {
            BreakerState::Closed => None,
            BreakerState::Open => Some(self.enter(now, BreakerState::HalfOpen, Some(now + self.plan.half_open_for))),
            // What was let through and has not come back has failed. If nothing was, there is nothing to judge: it waits on.
            BreakerState::HalfOpen if self.given == 0 => {
                self.until = Some(now + self.plan.half_open_for);
                None
            }
            BreakerState::HalfOpen => Some(self.open(now)),
        }
    }

    /// It begins anew.
    pub fn reset(&mut self, now: Mono) -> Option<Changed> {
        self.openings = 0;
        (self.state != BreakerState::Closed).then(|| self.enter(now, BreakerState::Closed, None))
    }

    /// An operator holds it open or closed, or lets it go (`None`): it begins closed then.
    pub fn force(&mut self, now: Mono, forced: Option<BreakerState>) -> Option<Changed> {
        let from = self.state();
        if self.forced.take().is_some() && forced.is_none() {
            self.openings = 0;
            self.close(now);
        }
        self.forced = forced;
        let to = self.state();
        (from != to).then(|| Changed { from, to, calls: self.record.calls(now), until: None })
    }

    fn is_too_much(&mut self, now: Mono) -> bool {
        let calls = self.record.calls(now);
        let by_rate = calls.total >= self.plan.minimum.max(1)
            && (calls.failure_rate() >= self.plan.failure_rate || self.plan.slow_rate.is_some_and(|rate| calls.slow_rate() >= rate));
        by_rate || self.plan.consecutive.is_some_and(|most| self.row >= most.max(1))
    }

    fn open(&mut self, now: Mono) -> Changed {
        let grown = self.plan.open_for.as_secs_f64() * self.plan.factor.max(1.0).powi(i32::try_from(self.openings).unwrap_or(i32::MAX));
        let longest = Duration::try_from_secs_f64(grown).unwrap_or(self.plan.max_open).min(self.plan.max_open);
        self.openings = self.openings.saturating_add(1);
        // Those that opened together do not try together.
        let time = longest.mul_f64(0.75 + self.rng.unit() / 4.0);
        self.enter(now, BreakerState::Open, Some(now + time))
    }

    fn close(&mut self, now: Mono) -> Changed {
        self.openings = 0;
        self.enter(now, BreakerState::Closed, None)
    }

    fn enter(&mut self, now: Mono, to: BreakerState, until: Option<Mono>) -> Changed {
        let changed = Changed { from: self.state, to, calls: self.record.calls(now), until };
        self.state = to;
        self.until = until;
        self.generation += 1;
        (self.given, self.succeeded, self.row) = (0, 0, 0);
        self.record.clear();
        changed
    }
}

#[cfg(test)]
mod tests;
