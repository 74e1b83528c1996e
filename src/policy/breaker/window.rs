//! The calls a breaker judges by.

use std::collections::VecDeque;
use std::time::Duration;

use super::{CallOutcome, Window};
use crate::base::time::Mono;

/// Into how many pieces a window of time is cut: so much of it is forgotten at once.
const PIECES: u32 = 10;

/// How many calls there were, and what came of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// All of them.
    pub total: u32,
    /// Those that failed.
    pub failed: u32,
    /// Those that took too long, whatever came of them.
    pub slow: u32,
}

impl Calls {
    fn one(outcome: CallOutcome, slow: bool) -> Self {
        Self { total: 1, failed: u32::from(outcome == CallOutcome::Failure), slow: u32::from(slow) }
    }

    fn add(&mut self, other: Self) {
        self.total = self.total.saturating_add(other.total);
        self.failed = self.failed.saturating_add(other.failed);
        self.slow = self.slow.saturating_add(other.slow);
    }

    fn take(&mut self, other: Self) {
        self.total = self.total.saturating_sub(other.total);
        self.failed = self.failed.saturating_sub(other.failed);
        self.slow = self.slow.saturating_sub(other.slow);
    }

    /// The share of failures among them; 0 where there are none.
    #[must_use]
    pub fn failure_rate(self) -> f64 {
        f64::from(self.failed) / f64::from(self.total.max(1))
    }

    /// The share of slow ones among them; 0 where there are none.
    #[must_use]
    pub fn slow_rate(self) -> f64 {
        f64::from(self.slow) / f64::from(self.total.max(1))
    }
}

/// The calls of the recent past.
#[derive(Clone, Debug)]
pub(super) struct Record {
    window: Window,
    /// Of a window of calls one piece for each; of a window of time one for each tenth of it, with the time it began.
    pieces: VecDeque<(Mono, Calls)>,
    sum: Calls,
}

impl Record {
    pub(super) const fn new(window: Window) -> Self {
        Self { window, pieces: VecDeque::new(), sum: Calls { total: 0, failed: 0, slow: 0 } }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::new(self.window);
    }

    pub(super) fn add(&mut self, now: Mono, outcome: CallOutcome, slow: bool) {
        let call = Calls::one(outcome, slow);
        self.forget(now);
        self.sum.add(call);
        match (self.window, self.pieces.back_mut()) {
            (Window::Time(length), Some((begun, piece))) if now - *begun < length / PIECES => piece.add(call),
            _ => self.pieces.push_back((now, call)),
        }
        self.forget(now);
    }

    /// What counts at `now`.
    pub(super) fn calls(&mut self, now: Mono) -> Calls {
        self.forget(now);
        self.sum
    }

    fn forget(&mut self, now: Mono) {
        while let Some(&(begun, piece)) = self.pieces.front() {
            let is_old = match self.window {
                Window::Calls(count) => self.pieces.len() > count.max(1) as usize,
                Window::Time(length) => now - begun >= length.max(Duration::from_nanos(1)),
            };
            if !is_old {
                return;
            }
            self.sum.take(piece);
            self.pieces.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Mono {
        Mono(seconds * 1_000_000_000)
    }

    #[test]
    fn the_last_calls_count() {
        let mut record = Record::new(Window::Calls(3));
        for outcome in [CallOutcome::Failure, CallOutcome::Success, CallOutcome::Failure, CallOutcome::Success] {
            record.add(at(0), outcome, outcome == CallOutcome::Success);
        }
        assert_eq!(record.calls(at(1_000_000)), Calls { total: 3, failed: 1, slow: 2 });
        record.clear();
        assert_eq!(record.calls(at(0)).failure_rate(), 0.0);
    }

    #[test]
    fn calls_of_a_time_count_and_take_little_room() {
        let mut record = Record::new(Window::Time(Duration::from_secs(10)));
        for second in 0..1000 {
            for _ in 0..100 {
                record.add(at(second), CallOutcome::Failure, false);
            }
        }
        assert_eq!(record.calls(at(999)), Calls { total: 1000, failed: 1000, slow: 0 });
        assert!(record.pieces.len() <= PIECES as usize + 1);
        assert_eq!(record.calls(at(1004)).total, 500);
        assert_eq!(record.calls(at(2000)), Calls::default());
    }
}
