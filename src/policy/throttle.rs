//! A unit that writes directly into its log, faster than that is kept in bounds: it stands still for a while.

use std::time::Duration;

use crate::base::time::Mono;

/// So many times the log's quota its live file may be when it is looked at; with more the unit is stopped.
const OVERSHOOT: u64 = 2;

/// How long it is stopped at least.
const STOPPED_FOR: Duration = Duration::from_secs(1);

/// How long it is looked at more often after that.
const WARY_FOR: Duration = Duration::from_secs(10);

/// How often it is told at most.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// A log that grew at so many looks while its unit was stopped is not kept in bounds by stopping it.
const RESISTS: u32 = 10;

/// What is to be done with the unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Throttling {
    /// Its processes are to be stopped; whether that is to be told.
    Stop {
        /// It was not told within the last minute.
        tell: bool,
    },
    /// They are stopped and yet write: they are to be stopped again.
    StopAgain,
    /// That has not helped: they are to be killed.
    Kill,
    /// They are to go on.
    GoOn,
}

/// How a log grows while its unit is stopped.
#[derive(Clone, Debug, Default)]
pub struct Resistance {
    /// What it took at the last look.
    seen: u64,
    /// How often it has grown since its unit was stopped.
    grew: u32,
}

impl Resistance {
    /// Of a unit that is being stopped, with a log of `bytes`.
    #[must_use]
    pub const fn begun(bytes: u64) -> Self {
        Self { seen: bytes, grew: 0 }
    }

    /// It takes `bytes` now.
    pub const fn look(&mut self, bytes: u64) -> Option<Throttling> {
        let grows = bytes > self.seen;
        self.seen = bytes;
        if !grows {
            return None;
        }
        self.grew += 1;
        if self.grew < RESISTS {
            return Some(Throttling::StopAgain);
        }
        self.grew = 0;
        Some(Throttling::Kill)
    }
}

/// What is known of one unit.
#[derive(Clone, Debug, Default)]
pub struct Throttle {
    /// Until when it is stopped, at least.
    stopped_until: Option<Mono>,
    /// When it was stopped last.
    stopped: Option<Mono>,
    told: Option<Mono>,
    resistance: Resistance,
}

impl Throttle {
    /// Its live file takes `live` bytes, and the log may take `quota` with all its archives.
    pub fn look(&mut self, now: Mono, live: u64, quota: u64) -> Option<Throttling> {
        let is_over = live > quota.saturating_mul(OVERSHOOT);
        match self.stopped_until {
            None if is_over => {
                (self.stopped_until, self.stopped) = (Some(now + STOPPED_FOR), Some(now));
                self.resistance = Resistance::begun(live);
                let tell = self.told.is_none_or(|told| now.since(told) >= TOLD_EVERY);
                if tell {
                    self.told = Some(now);
                }
                Some(Throttling::Stop { tell })
            }
            Some(until) if until <= now && !is_over => {
                self.stopped_until = None;
                Some(Throttling::GoOn)
            }
            Some(_) => self.resistance.look(live),
            None => None,
        }
    }

    /// Whether it is worth to look again soon.
    #[must_use]
    pub fn is_wary(&self, now: Mono) -> bool {
        self.stopped.is_some_and(|stopped| now.since(stopped) < WARY_FOR)
    }

    /// Whether it is stopped.
    #[must_use]
    pub const fn is_stopped(&self) -> bool {
        self.stopped_until.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Mono {
        Mono(0) + Duration::from_millis(milliseconds)
    }

    #[test]
    fn who_is_far_beyond_its_quota_stands_still_until_it_is_not_and_for_a_second() {
        let mut throttle = Throttle::default();
        assert_eq!(throttle.look(at(0), 200, 100), None, "twice its quota is allowed");
        assert!(!throttle.is_wary(at(0)));
        assert_eq!(throttle.look(at(100), 201, 100), Some(Throttling::Stop { tell: true }));
        assert_eq!(throttle.look(at(1200), 201, 100), None, "it still is too much");
        assert_eq!(throttle.look(at(1300), 200, 100), Some(Throttling::GoOn));
        assert_eq!(throttle.look(at(2000), 201, 100), Some(Throttling::Stop { tell: false }));
        assert_eq!(throttle.look(at(2500), 0, 100), None, "it is in bounds, but not for a second");
        assert_eq!(throttle.look(at(3000), 0, 100), Some(Throttling::GoOn));
        assert!(throttle.is_wary(at(10_000)) && !throttle.is_stopped());
    }

    #[test]
    fn who_writes_while_it_is_stopped_is_stopped_again_and_at_last_killed() {
        let mut throttle = Throttle::default();
        assert_eq!(throttle.look(at(0), 300, 100), Some(Throttling::Stop { tell: true }));
        assert_eq!(throttle.look(at(20), 300, 100), None, "it stands still");
        assert_eq!(throttle.look(at(40), 10, 100), None, "its log was rotated");
        let looks: Vec<_> = (1..=10).map(|look| throttle.look(at(40 + 20 * look), 10 + look, 100)).collect();
        assert!(looks[..9].iter().all(|look| *look == Some(Throttling::StopAgain)), "{looks:?}");
        assert_eq!(looks[9], Some(Throttling::Kill));
        assert_eq!(throttle.look(at(2000), 20, 100), Some(Throttling::GoOn));
    }

    #[test]
    fn it_is_told_once_a_minute() {
        let mut throttle = Throttle::default();
        let mut told = 0;
        for second in 0..600 {
            let decision = throttle.look(at(second * 1000), if second % 2 == 0 { 1000 } else { 0 }, 100);
            told += u32::from(decision == Some(Throttling::Stop { tell: true }));
        }
        assert_eq!(told, 10);
    }

    #[test]
    fn a_quota_as_large_as_can_be_is_never_reached() {
        assert_eq!(Throttle::default().look(at(0), u64::MAX, u64::MAX), None);
    }
}
