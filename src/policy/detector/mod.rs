//! Whether somebody who ought to be heard of regularly is still alive.
//!
//! A [`Detector`] listens to the beats of one sender. It gives two answers: [`Detector::phi`], how suspicious the silence is, and
//! [`Detector::judge`], a verdict. What it knows that a timeout does not:
//!
//! - how regular this sender is: one setting serves a neighbour and a far link (Hayashibara and others, "The φ accrual failure detector",
//!   SRDS 2004), by a long and by a short window of intervals, whichever is more patient (Tomsic and others, "2W-FD", IPDPS 2015);
//! - that an interval that ended a suspicion, or that would have without the pause, says nothing about the usual ones: it is not learned.
//!   Nor are the beats that were held up behind it and come all at once;
//! - that the observer may be the one who was away: [`Detector::stood_still`], told by [`stall::Stall`] or by whoever lost the bus;
//! - that there is an end to patience: [`DetectorPlan::limit`].
//!
//! Once suspected, a sender is alive again with its second beat in time: the first may be a straggler.
//!
//! What it is good for, by `benches/detectors`, where all find a crash after the same time on average: one setting for unlike links (one
//! mistake for 28 of a timeout, and for 3.3 of Akka's formula with its floor) and links that change (one for 16 of either). Most of the
//! first is the low floor. With that Akka's formula makes a fifth fewer mistakes there, since its window is five times as long, but two to
//! four times as many where losses or pauses stretch its intervals and thirteen times as many where links change. On a single link
//! nothing is better than a timeout made for it, and phi takes longer in the worst case, unless the pause is what is tuned and the threshold
//! left alone: then it is as good.

pub mod normal;
mod plan;
pub mod stall;
#[cfg(test)]
mod tests;
pub mod window;

use std::time::Duration;

pub use self::plan::{DetectorPlan, Kind};
use self::window::{Moments, Window};
use crate::base::time::Mono;

/// What timers and schedulers are good for: a smaller deviation is not believed.
const RESOLUTION: Duration = Duration::from_millis(1);

/// The default threshold of phi.
const THRESHOLD: f64 = 8.0;

/// As long as fewer intervals are known, they are taken to spread by a quarter of the period at least.
const FEW: u32 = 10;

/// The beats in a row that make a suspect alive again.
const BEATS_TO_RECOVER: u32 = 2;

/// The intervals in a row that were too long to be learned, after which what was learned is no longer true of this sender.
const STALLS_TO_RELEARN: u32 = 10;

/// What is thought of a sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It beats, or is not silent for long enough.
    Alive,
    /// It has been silent for too long, or said goodbye.
    Suspect,
}

#[derive(Clone, Debug)]
enum State {
    Alive,
    /// With the beats in time that have come since.
    Suspect {
        since: Mono,
        beats: u32,
    },
    Gone,
}

/// Listens to the beats of one incarnation of one sender. One that was started anew counts its beats from the beginning: it gets a new
/// detector.
#[derive(Clone, Debug)]
pub struct Detector {
    plan: DetectorPlan,
    /// The deviations beyond the mean that are still usual: where phi reaches the threshold.
    reach: f64,
    intervals: Window,
    /// The last beat; before the first one, when listening began.
    heard: Mono,
    has_beaten: bool,
    sequence: Option<u64>,
    /// The last beat, later by the time the observer stood still since.
    silent_from: Mono,
    /// The last time the observer stood still since the last beat.
    excused: Option<(Mono, Mono)>,
    /// Nobody is suspected before.
    grace: Mono,
    /// Beats that may have been held up, and come closer together than they were sent.
    held_up: u64,
    stalls_in_a_row: u32,
    state: State,
}

impl Detector {
    /// Begins to listen at `now`. Until two beats have come only [`DetectorPlan::limit`] counts.
    #[must_use]
    pub fn new(plan: DetectorPlan, now: Mono) -> Self {
        let reach = match plan.kind {
            Kind::Phi { threshold } => normal::reaches(threshold),
            Kind::Timeout => normal::reaches(THRESHOLD),
            // Whatever was in time is learned: there is no pause.
            Kind::Chen { .. } => f64::INFINITY,
        };
        Self {
            reach,
            intervals: Window::new(plan.window, plan.short_window),
            plan,
            heard: now,
            has_beaten: false,
            sequence: None,
            silent_from: now,
            excused: None,
            grace: now,
            held_up: 0,
            stalls_in_a_row: 0,
            state: State::Alive,
        }
    }

    /// A beat has come. With a `sequence` number, which goes up by one with each beat that is sent, lost beats are not mistaken for a slow
    /// sender: a gap of k is k intervals, each a k-th of it. One that is not larger than the last is a duplicate or a straggler, and no beat.
    pub fn beat(&mut self, now: Mono, sequence: Option<u64>) {
        let sent = match (sequence, self.sequence) {
            (Some(new), Some(last)) if new <= last => return,
            (Some(new), Some(last)) => new - last,
            _ => 1,
        };
        self.sequence = sequence.or(self.sequence);
        let interval = now.since(self.heard);
        let is_late = now >= self.due();
        self.judge(now);
        if is_late {
            self.hold_up(interval);
        }
        if self.has_beaten && self.excused.is_none() && !matches!(self.state, State::Gone) {
            self.consider(interval, sent, is_late);
        }
        self.state = match self.state {
            State::Alive => State::Alive,
            State::Suspect { beats, .. } if !is_late && beats + 1 >= BEATS_TO_RECOVER => State::Alive,
            State::Suspect { since, beats } => State::Suspect { since, beats: if is_late { 1 } else { beats + 1 } },
            State::Gone => State::Suspect { since: now, beats: 1 },
        };
        (self.heard, self.silent_from, self.excused, self.has_beaten) = (now, now, None, true);
    }

    /// How suspicious the silence is: −log₁₀ of the probability that a sender like this one is silent for longer and beats again, by the
    /// more patient of the two windows. 0 while nothing is known, and in the grace after the observer stood still. The same for every
    /// [`Kind`], for display and for rules of one's own; [`Detector::judge`] knows more.
    #[must_use]
    pub fn phi(&self, now: Mono) -> f64 {
        if self.intervals.is_empty() || now < self.grace {
            return 0.0;
        }
        let late = |moments: &Moments| {
            let (mean, deviation) = self.usual(moments);
            (nanos(now.since(self.silent_from)) - mean - nanos(self.plan.pause)) / deviation
        };
        let [long, short] = self.intervals.both().map(late);
        normal::phi(long.min(short))
    }

    /// What is to be thought of the sender at `now`. To be asked at [`Detector::deadline`], or as often as one likes.
    pub fn judge(&mut self, now: Mono) -> Verdict {
        let due = self.due();
        if matches!(self.state, State::Alive) && now >= due {
            self.state = State::Suspect { since: due, beats: 0 };
        }
        self.verdict()
    }

    /// What was last thought of it.
    #[must_use]
    pub const fn verdict(&self) -> Verdict {
        match self.state {
            State::Alive => Verdict::Alive,
            State::Suspect { .. } | State::Gone => Verdict::Suspect,
        }
    }

    /// When the sender will be suspected if nothing comes: [`Detector::judge`] says so from then on and not before. None if it is already.
    #[must_use]
    pub fn deadline(&self) -> Option<Mono> {
        match self.state {
            State::Alive => Some(self.due()),
            State::Suspect { .. } | State::Gone => None,
        }
    }

    /// The observer itself could not hear between `from` and `to`: it did not run, was suspended, or was cut off from the bus. To be told
    /// before the beats that have piled up, and before anything is judged.
    ///
    /// It may be told again and again while it lasts. That time is no silence, and the interval across it is not learned. A suspicion that arose in it or in the
    /// grace after it is withdrawn. Nobody is suspected
    /// before a full grace after `to`: one period and [`DetectorPlan::pause`].
    pub fn stood_still(&mut self, from: Mono, to: Mono) {
        self.grace = self.grace.max(to + self.plan.period.saturating_add(self.plan.pause));
        if matches!(self.state, State::Suspect { since, .. } if since >= from && since < self.grace) {
            self.state = State::Alive;
        }
        let from = from.max(self.heard);
        if to <= from {
            return;
        }
        let (before, now) = match self.excused {
            // Two reasons for the same time: it is given once.
            Some((first, last)) if from <= last && to >= first => (last - first, (first.min(from), last.max(to))),
            _ => (Duration::ZERO, (from, to)),
        };
        self.silent_from = self.silent_from + (now.1 - now.0).saturating_sub(before);
        self.excused = Some(now);
        self.hold_up(to - from);
    }

    /// The sender said that it goes. It is suspected at once, and a beat after that is as one after a suspicion.
    pub fn goodbye(&mut self) {
        self.state = State::Gone;
    }

    /// Whether it said goodbye: a suspicion nobody need be told of.
    #[must_use]
    pub const fn has_gone(&self) -> bool {
        matches!(self.state, State::Gone)
    }

    /// When the silence becomes too long, whatever is thought of the sender now.
    fn due(&self) -> Mono {
        let patience = |patience: f64| Duration::from_nanos(whole(patience)).min(self.plan.limit);
        let allowed = match self.plan.kind {
            _ if self.intervals.is_empty() => self.plan.limit,
            Kind::Timeout => self.plan.limit,
            Kind::Phi { .. } => patience(self.usual_longest() + nanos(self.plan.pause)),
            Kind::Chen { margin } => {
                let [long, short] = self.intervals.both().map(|moments| moments.expected(whole(nanos(self.plan.period))));
                patience(long.max(short) + nanos(margin))
            }
        };
        (self.silent_from + allowed).max(self.grace)
    }

    /// The longest interval, in nanoseconds, that is no stall of the sender: after it the pause begins.
    fn usual_longest(&self) -> f64 {
        let [long, short] = self.intervals.both().map(|moments| {
            let (mean, deviation) = self.usual(moments);
            mean + self.reach * deviation
        });
        long.max(short)
    }

    /// The mean and the standard deviation that intervals are believed to have, in nanoseconds.
    fn usual(&self, moments: &Moments) -> (f64, f64) {
        let period = nanos(self.plan.period);
        let floor = if moments.count() < FEW { self.plan.floor.max(0.25) } else { self.plan.floor };
        (moments.mean().max(period), moments.deviation().max(floor * period).max(nanos(RESOLUTION)))
    }

    /// Learns an interval with `sent` beats, if it is one of the usual: not one that ended a suspicion, or would have without the pause,
    /// nor one between beats that were held up.
    fn consider(&mut self, interval: Duration, sent: u64, is_late: bool) {
        let each = whole(nanos(interval)) / sent;
        let is_stall = is_late || (!self.intervals.is_empty() && each > whole(self.usual_longest()));
        self.stalls_in_a_row = if is_stall { self.stalls_in_a_row + 1 } else { 0 };
        if self.stalls_in_a_row >= STALLS_TO_RELEARN {
            self.intervals.clear();
            self.stalls_in_a_row = 0;
        }
        if !is_stall && !self.was_held_up(interval) {
            let places = u64::try_from(self.plan.window).unwrap_or(u64::MAX);
            (0..sent.min(places)).for_each(|_| self.intervals.push(each));
        }
    }

    /// Beats may have piled up for so long.
    fn hold_up(&mut self, time: Duration) {
        let beats = time.as_nanos() / self.plan.period.as_nanos().max(1);
        self.held_up = self.held_up.max(u64::try_from(beats).unwrap_or(u64::MAX));
    }

    /// Whether a beat was held up with the one before it, to judge by how close they are.
    fn was_held_up(&mut self, interval: Duration) -> bool {
        let held_up = self.held_up > 0 && interval < self.plan.period;
        self.held_up = if held_up { self.held_up - 1 } else { 0 };
        held_up
    }
}

#[expect(clippy::cast_precision_loss, reason = "less than a microsecond in a century")]
fn nanos(duration: Duration) -> f64 {
    duration.as_nanos() as f64
}

/// At most the end of time; nothing below zero.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "such a cast saturates, as it should")]
const fn whole(nanos: f64) -> u64 {
    nanos as u64
}
