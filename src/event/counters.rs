//! What is counted of a unit, for metrics.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{GapReason, NoticeDrop, RemediationStage, RestartCause};
use crate::base::exit::ExitCause;

/// Counts of one unit since the brain started.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counters {
    /// Restarts by cause.
    pub restarts: BTreeMap<RestartCause, u64>,
    /// Exits by code or signal: at most 256 codes and 64 signals.
    pub exits: BTreeMap<ExitLabel, u64>,
    /// From the order to start until it was in operation.
    pub start: Histogram,
    /// From an unexpected exit until it was in operation again.
    pub restart: Histogram,
    /// What has become of its remedies and those of its probes.
    pub remedies: BTreeMap<RemediationStage, u64>,
    /// Bytes of its output that were dropped, by reason.
    pub log_dropped: BTreeMap<GapReason, u64>,
    /// Notifications that were not told for themselves, by reason.
    pub notices_dropped: BTreeMap<NoticeDrop, u64>,
    /// Bytes its log files take.
    pub log_bytes: u64,
    /// Processes of it that were killed because memory was short.
    pub oom_kills: u64,
    /// How often a limit was changed because it follows the pressure, by its key.
    pub adjustments: BTreeMap<String, u64>,
}

/// An exit as metric labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ExitLabel {
    /// `code="…"`.
    Code(i32),
    /// `signal="…"`.
    Signal(crate::base::exit::Signal),
    /// Nobody saw it.
    Unknown,
}

impl From<ExitCause> for ExitLabel {
    fn from(cause: ExitCause) -> Self {
        match cause {
            ExitCause::Code(code) => Self::Code(code),
            ExitCause::Signal { signal, .. } => Self::Signal(signal),
            ExitCause::Unknown => Self::Unknown,
        }
    }
}

/// Durations in buckets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// How many fell into each bucket of [`BOUNDS`], and into the last one beyond them.
    pub buckets: [u64; BOUNDS.len() + 1],
    /// Their sum, in seconds.
    pub sum: f64,
}

/// The upper bounds of the buckets, in seconds.
pub const BOUNDS: [f64; 12] = [0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0];

impl Histogram {
    /// Counts a duration.
    pub fn observe(&mut self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let bucket = BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len());
        self.buckets[bucket] += 1;
        self.sum += seconds;
    }

    /// How many durations were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_fall_into_their_buckets() {
        let mut histogram = Histogram::default();
        for millis in [1, 3, 700, 100_000] {
            histogram.observe(Duration::from_millis(millis));
        }
        assert_eq!((histogram.buckets[0], histogram.buckets[2], histogram.buckets[8], histogram.buckets[12]), (1, 1, 1, 1));
        assert_eq!(histogram.count(), 4);
    }
}
