//! How much output a unit may still write.

use std::time::{Duration, Instant};

/// How many seconds' worth may come at once.
const BURST_SECONDS: u64 = 10;

/// An empty one is read from again when there is as much in it as comes in this time.
const PAUSE: Duration = Duration::from_millis(100);

/// Fills at a rate and is emptied by what is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    rate: u64,
    level: u64,
    filled: Instant,
}

impl Bucket {
    /// A full one.
    pub(super) fn new(rate: u64, now: Instant) -> Self {
        Self { rate, level: rate.saturating_mul(BURST_SECONDS), filled: now }
    }

    pub(super) const fn rate(&self) -> u64 {
        self.rate
    }

    /// How many bytes may be written at `now`.
    pub(super) fn allowance(&mut self, now: Instant) -> usize {
        let bytes = now.saturating_duration_since(self.filled).as_nanos() * u128::from(self.rate) / 1_000_000_000;
        // Less than a byte is left to be counted the next time.
        if bytes > 0 {
            let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
            self.level = self.level.saturating_add(bytes).min(self.rate.saturating_mul(BURST_SECONDS));
            self.filled = now;
        }
        // A trickle is none: the unit would be slowed down by it, where it was declared that output is dropped.
        let least = self.rate * PAUSE.as_millis() as u64 / 1000;
        if self.level < least { 0 } else { usize::try_from(self.level).unwrap_or(usize::MAX) }
    }

    pub(super) fn take(&mut self, bytes: usize) {
        self.level = self.level.saturating_sub(bytes as u64);
    }

    /// How long an empty one takes until reading is worth it again.
    pub(super) const fn pause(&self) -> Duration {
        PAUSE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_fills_at_its_rate_up_to_a_burst() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut bucket = Bucket::new(1000, start);
        assert_eq!(bucket.allowance(at(0)), 10_000);
        bucket.take(10_000);
        assert_eq!(bucket.allowance(at(0)), 0);
        assert_eq!(bucket.allowance(at(99)), 0, "a trickle is none");
        assert_eq!(bucket.allowance(at(500)), 500);
        bucket.take(500);
        // However often one looks, nothing is lost by rounding.
        for millis in 501..=1500 {
            bucket.allowance(at(millis));
        }
        assert_eq!(bucket.allowance(at(1500)), 1000);
        assert_eq!(bucket.allowance(at(3_600_000)), 10_000);
        assert_eq!(bucket.allowance(at(0)), 10_000, "time that goes back gives nothing and takes nothing");
    }
}
