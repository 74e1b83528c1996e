//! When the observer itself stood still.
//!
//! An observer that was not running hears nobody, and would suspect everybody at once. Two clocks tell: one that goes on while the machine
//! is suspended, and one that does not.

use std::time::Duration;

use crate::base::time::Mono;

/// By how much the two clocks may differ because one was read after the other. A shorter suspension does no harm.
const READING: Duration = Duration::from_millis(100);

/// The longest delay of a tick that is still called late and not a stall.
const LATE_MAX: Duration = Duration::from_secs(1);

/// Watches a tick that should come regularly.
#[derive(Clone, Debug)]
pub struct Stall {
    tick: Duration,
    late: Duration,
    last: Option<(Mono, Mono)>,
}

impl Stall {
    /// Watches a tick that comes every `tick`. It has stood still if one comes later than it should by more than 1 s, or by more than half
    /// of `shortest_limit` if that is less: the shortest time of silence after which anybody is called failed.
    #[must_use]
    pub fn new(tick: Duration, shortest_limit: Duration) -> Self {
        Self { tick, late: LATE_MAX.min(shortest_limit / 2), last: None }
    }

    /// The tick has come, at `now` on `CLOCK_MONOTONIC` and at `boottime` on `CLOCK_BOOTTIME`, read one right after the other.
    ///
    /// From when to when, on the monotonic clock, the observer may have stood still: to be passed to
    /// [`Detector::stood_still`](super::Detector::stood_still) before anything else is decided. A suspension takes next to no time on that
    /// clock; what counts then is that everybody gets a new grace.
    pub fn tick(&mut self, now: Mono, boottime: Mono) -> Option<(Mono, Mono)> {
        let (last, last_boottime) = self.last.replace((now, boottime))?;
        let passed = now.since(last);
        let suspended = boottime.since(last_boottime).saturating_sub(passed);
        let stalled = passed > self.tick.saturating_add(self.late);
        (stalled || suspended > READING).then_some((last, now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(millis: u64) -> Mono {
        Mono(millis * 1_000_000)
    }

    fn ticks(limit: Duration, readings: &[(u64, u64)]) -> Vec<Option<(Mono, Mono)>> {
        let mut stall = Stall::new(Duration::from_millis(500), limit);
        readings.iter().map(|(now, boottime)| stall.tick(at(*now), at(*boottime))).collect()
    }

    #[test]
    fn regular_and_late_ticks_are_nothing() {
        let found = ticks(Duration::from_secs(10), &[(500, 500), (1000, 1000), (2500, 2500), (2600, 2600), (3000, 3000)]);
        assert!(found.iter().all(Option::is_none), "{found:?}");
    }

    #[test]
    fn a_tick_that_is_too_late_is_a_stall() {
        let found = ticks(Duration::from_secs(10), &[(500, 500), (2001, 2001), (2500, 2500)]);
        assert_eq!(found, [None, Some((at(500), at(2001))), None]);
    }

    #[test]
    fn with_short_limits_less_is_a_stall() {
        let found = ticks(Duration::from_millis(600), &[(500, 500), (1300, 1300), (2101, 2101)]);
        assert_eq!(found, [None, None, Some((at(1300), at(2101)))]);
    }

    #[test]
    fn a_suspension_shows_on_the_other_clock_alone() {
        let found = ticks(Duration::from_secs(10), &[(500, 500), (1000, 7_201_000), (1500, 7_201_500)]);
        assert_eq!(found, [None, Some((at(500), at(1000))), None]);
    }

    #[test]
    fn a_preemption_between_the_readings_is_no_suspension() {
        let found = ticks(Duration::from_secs(10), &[(500, 500), (1000, 1060), (1500, 1500)]);
        assert!(found.iter().all(Option::is_none), "{found:?}");
    }
}
