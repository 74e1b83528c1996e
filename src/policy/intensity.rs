//! OTP's restart intensity: more than `intensity` restarts within `period` are too many.

use std::collections::VecDeque;
use std::time::Duration;

use crate::base::time::Mono;

/// The restarts of one supervisor that still count.
///
/// OTP counts whole seconds, so that what happens between P and P+1 seconds depends on the clock's phase. This one is
/// exact, with OTP's inclusive bound: a restart exactly one period ago still counts. It holds at most `intensity + 1` entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Intensity {
    restarts: VecDeque<Mono>,
}

impl Intensity {
    /// Counts a restart at `now`; false if it is one too many.
    pub fn allows(&mut self, now: Mono, intensity: u32, period: Duration) -> bool {
        while self.restarts.front().is_some_and(|&then| now - then > period) {
            self.restarts.pop_front();
        }
        self.restarts.push_back(now);
        let allowed = self.restarts.len() <= intensity as usize;
        while self.restarts.len() > intensity as usize + 1 {
            self.restarts.pop_front();
        }
        allowed
    }

    /// The restarts that may still count, the oldest first.
    pub fn restarts(&self) -> impl DoubleEndedIterator<Item = Mono> {
        self.restarts.iter().copied()
    }

    /// The history of an incarnation that goes on, as [`Intensity::restarts`] told it.
    #[must_use]
    pub fn resumed(restarts: impl IntoIterator<Item = Mono>) -> Self {
        Self { restarts: restarts.into_iter().collect() }
    }

    /// Forgets everything, as a new incarnation would.
    pub fn clear(&mut self) {
        self.restarts.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(history: &mut Intensity, millis: u64) -> bool {
        history.allows(Mono(millis * 1_000_000), 2, Duration::from_secs(5))
    }

    #[test]
    fn the_bound_is_inclusive_and_the_window_slides() {
        let mut history = Intensity::default();
        assert!(at(&mut history, 0));
        assert!(at(&mut history, 1000));
        assert!(!at(&mut history, 5000), "the entry exactly one period old counts");
        let mut history = Intensity::default();
        assert!(at(&mut history, 0) && at(&mut history, 1000) && at(&mut history, 5001));
    }

    #[test]
    fn intensity_zero_allows_nothing() {
        assert!(!Intensity::default().allows(Mono(0), 0, Duration::from_secs(1)));
    }

    #[test]
    fn a_resumed_history_counts_as_the_old_one() {
        let mut history = Intensity::default();
        assert!(at(&mut history, 0) && at(&mut history, 1000));
        let mut resumed = Intensity::resumed(history.restarts());
        assert_eq!(resumed, history);
        assert!(!at(&mut resumed, 2000));
    }

    #[test]
    fn it_is_bounded() {
        let mut history = Intensity::default();
        for n in 0..1000 {
            at(&mut history, n);
        }
        assert_eq!(history.restarts.len(), 3);
    }
}
