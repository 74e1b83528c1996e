//! What a detector is told.

use std::time::Duration;

/// How the silence is judged that is still allowed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// By how unlikely it is, given the intervals so far (Hayashibara and others, SRDS 2004).
    Phi {
        /// Suspected from this [`phi`](super::normal::phi) on: 8 means one mistake in 10⁸ beats if intervals were normal, which they are
        /// not. Sensible: 1 to 30. Below 0.31 even a beat that is on time comes too late.
        threshold: f64,
    },
    /// By [`DetectorPlan::limit`] alone.
    Timeout,
    /// By when the next beat is expected (Chen, Toueg, Aguilera, IEEE ToC 51(5), 2002, NFD-E; the later one of two windows:
    /// Tomsic and others, "2W-FD", IPDPS 2015). For senders that keep to their period: one whose period is longer than declared is
    /// suspected wrongly.
    Chen {
        /// How long after that it is suspected. Instead of [`DetectorPlan::pause`].
        margin: Duration,
    },
}

/// How one sender of beats is watched.
#[derive(Clone, Debug, PartialEq)]
pub struct DetectorPlan {
    /// How the silence is judged. Default: [`Kind::Phi`] with a threshold of 8.
    pub kind: Kind,
    /// The time between two beats that the sender declares. Its mean interval is never taken to be less, so that beats sent between
    /// times do no harm.
    pub period: Duration,
    /// Silence that is allowed on top: for stalls of the sender, which no spread of the usual intervals foretells. Default: two periods.
    pub pause: Duration,
    /// Silence that is a failure whatever the intervals say. It must be longer than a period. Default: ten periods.
    pub limit: Duration,
    /// The smallest standard deviation that is believed, as a part of the period: 0 to 1, default 0.01. It is never less than 1 ms, which is
    /// what timers are good for.
    pub floor: f64,
    /// How many intervals are remembered: 1 to 32768, default 200. Each takes eight bytes.
    pub window: usize,
    /// How many of them are looked at apart, for what has changed just now: 1 to `window`, default 30. The judgement is by whichever of
    /// the two allows the longer silence. With 60 a steady link has an eighth fewer mistakes, and one that changes a third more.
    pub short_window: usize,
}

impl DetectorPlan {
    /// The defaults for a sender that beats every `period`.
    #[must_use]
    pub const fn every(period: Duration) -> Self {
        Self {
            kind: Kind::Phi { threshold: super::THRESHOLD },
            period,
            pause: period.saturating_mul(2),
            limit: period.saturating_mul(10),
            floor: 0.01,
            window: 200,
            short_window: 30,
        }
    }
}
